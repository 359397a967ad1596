//! `backstitch cluster`: a whole cluster on this machine's loopback, to look at and to hurt.

mod rewind;

use std::path::PathBuf;
use std::time::Duration;

use all_in_one::config;
use anyhow::Context as _;
use serde::Serialize;
use service_kit::shutdown;
use service_kit::telemetry::{self, LogConfig};
use terminal::output::{self, Table, Tone};
use terminal::{Exit, Failure};
use trials::cluster::{self, Cluster, Shape, State};

/// A whole cluster on this machine: Kafka, Postgres, the event store, two replicas of each service, a front door.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
`script/cluster` builds the program, fetches Kafka and passes its arguments on to this.

Examples:
  script/cluster up                     # prints the address of the front door; the README's walk works there
  script/cluster status
  script/cluster kill commands-1        # as kill -9; `start commands-1` brings it back
  script/cluster pause sagas-2 --for 10 # SIGSTOP for ten seconds: others take over its sagas
  script/cluster down")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, clap::Args)]
struct Folder {
    /// Where it keeps its data, pids, logs and secrets [default: /var/lib/backstitch-cluster for root, else
    /// ~/.local/state/backstitch/cluster].
    #[arg(long, env = "BACKSTITCH_CLUSTER", value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
}

impl Folder {
    fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| config::state_dir("cluster"))
    }
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Starts the processes that do not run, and waits until all are ready.
    #[command(after_help = "Example:\n  script/cluster up --replicas 2 --partitions 6")]
    Up {
        #[command(flatten)]
        folder: Folder,
        /// Replicas of each service; a cluster that is there keeps its own.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
        replicas: u8,
        /// Partitions of the topic; a cluster that is there keeps its own.
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=256))]
        partitions: u16,
    },
    /// The processes of the cluster, and the state of each.
    #[command(after_help = "Example:\n  script/cluster status --json")]
    Status {
        #[command(flatten)]
        folder: Folder,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
    /// Kills members as `kill -9` does.
    #[command(after_help = "Example:\n  script/cluster kill kafka; script/cluster start kafka")]
    Kill {
        #[command(flatten)]
        folder: Folder,
        /// The names of the members.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Stops a member in its tracks (SIGSTOP), and lets it go on after a while.
    #[command(after_help = "Example:\n  script/cluster pause queries-1 --for 10")]
    Pause {
        #[command(flatten)]
        folder: Folder,
        /// The name of the member.
        name: String,
        /// For how many seconds.
        #[arg(long = "for", default_value_t = 10, value_name = "SECONDS")]
        seconds: u64,
    },
    /// Starts members that were killed or stopped.
    #[command(after_help = "Example:\n  script/cluster start commands-1")]
    Start {
        #[command(flatten)]
        folder: Folder,
        /// The names of the members.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Stops members cleanly (SIGTERM): they finish what is under way.
    #[command(after_help = "Example:\n  script/cluster stop commands-1")]
    Stop {
        #[command(flatten)]
        folder: Folder,
        /// The names of the members.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Stops all processes cleanly. The data stays, and `up` goes on with it.
    #[command(after_help = "Example:\n  script/cluster down --remove   # and forget all of it")]
    Down {
        #[command(flatten)]
        folder: Folder,
        /// Removes the folder as well.
        #[arg(long)]
        remove: bool,
    },
    /// Drops what has seen more than a restored log holds, so that it is made from the log again: the topic, the read models.
    #[command(after_help = "\
Settings: `[event_store] url`, `[bus]`, `[postgres] url`. It works on any cluster that these name. Without
--accept-restore it only says what is ahead of the log (exit 1), or that nothing is.

Example:
  backstitch cluster rewind
  backstitch cluster rewind --accept-restore")]
    Rewind(rewind::Args),
    /// Keeps the cluster's Postgres; `up` starts it.
    #[command(hide = true)]
    KeepPostgres {
        /// Its folder.
        #[arg(long)]
        folder: PathBuf,
        /// Its port.
        #[arg(long)]
        port: u16,
    },
}

impl Args {
    /// Does it.
    ///
    /// # Errors
    /// A [`Failure`]: there is no such cluster or member, or one does not become ready.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let failed =
            |error: anyhow::Error| Failure::no_answer(format!("{error:#}"), "script/cluster status; script/cluster up");
        match self.verb {
            Verb::Up { folder, replicas, partitions } => {
                let shape = Shape { replicas: replicas.into(), partitions: partitions.into() };
                up(&folder, shape).await.map_err(failed)?;
            }
            Verb::Status { folder, json } => return status(&Cluster::open(&folder.dir()).map_err(failed)?, json).await,
            Verb::Kill { folder, names } => {
                let cluster = Cluster::open(&folder.dir()).map_err(failed)?;
                for name in names {
                    cluster.member(&name).map_err(failed)?.kill(&cluster.dir);
                    output::note(format_args!("killed   {name}"));
                }
            }
            Verb::Pause { folder, name, seconds } => {
                let cluster = Cluster::open(&folder.dir()).map_err(failed)?;
                let member = cluster.member(&name).map_err(failed)?;
                member.pause(&cluster.dir);
                output::note(format_args!("paused   {name}, for {seconds} s"));
                // Interrupted, it would stand still for ever.
                let interrupted = shutdown::signalled().map_err(|error| failed(error.into()))?;
                _ = tokio::time::timeout(Duration::from_secs(seconds), interrupted).await;
                member.resume(&cluster.dir);
                output::note(format_args!("resumed  {name}"));
            }
            Verb::Start { folder, names } => {
                let cluster = Cluster::open(&folder.dir()).map_err(failed)?;
                for name in names {
                    cluster.start(&name).await.map_err(failed)?;
                    output::note(format_args!("ready    {name}"));
                }
            }
            Verb::Stop { folder, names } => {
                let cluster = Cluster::open(&folder.dir()).map_err(failed)?;
                for name in names {
                    match cluster.stop(&name).await.map_err(failed)? {
                        true => output::note(format_args!("stopped  {name}")),
                        false => output::note(format_args!("killed   {name}: it did not stop in time")),
                    }
                }
            }
            Verb::Down { folder, remove } => {
                let cluster = Cluster::open(&folder.dir()).map_err(failed)?;
                cluster.down().await;
                if remove {
                    std::fs::remove_dir_all(&cluster.dir).context("removing the folder").map_err(failed)?;
                }
            }
            Verb::Rewind(args) => return args.run().await,
            Verb::KeepPostgres { folder, port } => {
                telemetry::start(&LogConfig::default()).map_err(|error| failed(error.into()))?;
                cluster::keep_postgres(&folder, port).await?;
            }
        }
        Ok(Exit::Done)
    }
}

async fn up(folder: &Folder, shape: Shape) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("where this program lies")?;
    let cluster = Cluster::plan(&folder.dir(), &program, shape)?;
    cluster.up(|member| output::note(format_args!("ready    {}", member.name))).await?;
    let plan = &cluster.plan;
    output::line(format_args!("The cluster's front door is {}", plan.url));
    output::line(format_args!("  event store  {}", plan.event_store));
    output::line(format_args!("  kafka        {}", plan.brokers));
    output::line(format_args!("  read models  {}", plan.database));
    output::line(format_args!("  provider     {}/ledger", plan.provider));
    output::line(format_args!("  logs, data   {}", cluster.dir.display()));
    output::line(format_args!("\nexport BACKSTITCH_URL={}   # for every verb of the command line", plan.url));
    output::line(format_args!("export BACKSTITCH__BUS__BROKERS={}   # for `backstitch bus`", plan.brokers));
    Ok(())
}

/// A member as `status` tells it.
#[derive(Debug, Serialize)]
struct Told<'m> {
    name: &'m str,
    state: State,
    pid: Option<u32>,
    log: String,
}

async fn status(cluster: &Cluster, json: bool) -> anyhow::Result<Exit> {
    let mut told = Vec::new();
    for member in &cluster.plan.members {
        let (state, pid) = (member.state(&cluster.dir).await, member.pid(&cluster.dir));
        told.push(Told { name: &member.name, state, pid, log: member.log(&cluster.dir).display().to_string() });
    }
    let all = told.iter().all(|member| member.state == State::Ready);
    if json {
        output::list(&told, false)?;
    } else {
        let mut table = Table::new(&["name", "*state", ">pid", "log"]);
        for member in &told {
            let (tone, state) = match member.state {
                State::Ready => (Tone::Good, "ready"),
                State::Running => (Tone::Warn, "running, not ready"),
                State::Paused => (Tone::Warn, "paused"),
                State::Down => (Tone::Bad, "down"),
            };
            let pid = member.pid.map_or_else(|| "–".to_owned(), |pid| pid.to_string());
            table.row(tone, [member.name.to_owned(), state.to_owned(), pid, member.log.clone()]);
        }
        table.print();
    }
    Ok(if all { Exit::Done } else { Exit::No })
}
