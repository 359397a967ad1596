//! `backstitch torture`: hurts a cluster for so many minutes and proves that everything adds up.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use all_in_one::config;
use anyhow::Context as _;
use service_kit::shutdown;
use terminal::{Exit, Failure, output};

use super::{Options, faults, report};
use crate::cluster::{Cluster, Shape};

/// Kills, pauses and restarts every part of a cluster under load, and proves that nothing acknowledged is lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A cluster of its own is started for the run and removed after it, unless something does not hold: then it stays.
Every round hurts each member in each way (kill -9, SIGSTOP, restart), in an order that follows from the seed. Then all
replicas are restarted in turn, everything is delivered once more, and the proof is made from the log.

Examples:
  script/torture 30                         # half an hour
  script/torture 10 --seed 4711             # the same faults in the same order again

Exit 1 if it does not add up.")]
pub struct Args {
    /// For how many minutes new rounds begin; 0: one round with one fault for each member.
    #[arg(default_value_t = 10, value_name = "MINUTES")]
    minutes: u64,
    /// What the faults and their order follow from; else it is drawn, and told.
    #[arg(long)]
    seed: Option<u64>,
    /// How long a member is paused, in seconds.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pause: u64,
    /// Commands that must be acknowledged before each fault and after it.
    #[arg(long, default_value_t = 30, value_name = "N")]
    acknowledged: u64,
    /// Replicas of each service.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    replicas: u8,
    /// Where the cluster lives [default: /var/lib/backstitch-torture for root, else ~/.local/state/backstitch/torture].
    #[arg(long, default_value_os_t = config::state_dir("torture"), hide_default_value = true, value_name = "DIR")]
    dir: PathBuf,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs it.
    ///
    /// # Errors
    /// A [`Failure`] (exit 2): a member does not come back, a customer gets no answer, or it was interrupted.
    pub async fn run(self) -> anyhow::Result<Exit> {
        let failed = |error: anyhow::Error| {
            Failure::no_answer(format!("{error:#}"), format!("script/cluster status --dir {}", self.dir.display()))
        };
        let seed = self.seed.unwrap_or_else(rand::random);
        output::note(format_args!("seed {seed}"));
        let program = std::env::current_exe().context("where this program lies")?;
        let shape = Shape { replicas: self.replicas.into(), ..Shape::default() };
        let cluster = Cluster::plan(&self.dir, &program, shape).map_err(failed)?;
        let interrupted = shutdown::signalled()?;
        let holds = tokio::select! {
            holds = self.rounds(&cluster, seed) => holds.map_err(failed)?,
            _ = interrupted => {
                cluster.kill_all(); // One of them may stand still.
                self.remove()?;
                return Err(Failure::no_answer("interrupted", format!("script/torture --seed {seed}   # the same again")));
            }
        };
        if holds {
            cluster.down().await;
            self.remove()?;
        } else {
            output::note(format_args!("the cluster is left as it is, in {}", self.dir.display()));
        }
        Ok(if holds { Exit::Done } else { Exit::No })
    }

    /// One round after the other, until the time is over or one does not add up.
    async fn rounds(&self, cluster: &Cluster, seed: u64) -> anyhow::Result<bool> {
        cluster.up(|member| output::note(format_args!("ready  {}", member.name))).await?;
        let (begun, bound) = (Instant::now(), Duration::from_secs(self.minutes * 60));
        let (targets, pause) = (faults::targets(cluster), Duration::from_secs(self.pause));
        let mut holds = true;
        for round in 0.. {
            let seed = seed.wrapping_add(round);
            let steps = match self.minutes {
                0 => faults::one_each(&targets, seed, pause),
                _ => faults::every(&targets, seed, pause),
            };
            let (count, number) = (steps.len(), std::cell::Cell::new(0));
            let told = |hurt: &faults::Hurt| {
                number.set(number.get() + 1);
                output::note(format_args!("{}", report::line(number.get(), count, hurt)));
            };
            let options = Options { steps, acknowledged_min: self.acknowledged };
            let done = super::run(cluster, &options, told).await?;
            report::print(&done, seed, self.json)?;
            holds &= done.holds();
            if !holds || begun.elapsed() > bound {
                break;
            }
        }
        Ok(holds)
    }

    fn remove(&self) -> anyhow::Result<()> {
        std::fs::remove_dir_all(&self.dir).context("removing the cluster's folder")
    }
}
