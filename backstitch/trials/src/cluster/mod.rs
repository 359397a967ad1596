//! A whole cluster on one machine's loopback, from the machine's own parts: Kafka, Postgres, the event store, two replicas
//! of each service, the relays, a payment provider and the front door. Each is a process of its own that can be killed,
//! paused and started again by its name.
//!
//! The folder keeps it all: `cluster.json` (the plan: who runs with what, at which port), `NAME.pid`, `NAME.log`, and the
//! data of the log, Kafka, Postgres and the provider. The plan is written once, so that a process that is started again
//! comes back at the same address.

pub mod member;
pub mod plan;
mod postgres;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use service_kit::rights;

pub use self::member::{Member, State};
pub use self::plan::{Plan, Shape};
pub use self::postgres::keep as keep_postgres;

/// How long a member may take until it is ready: Kafka takes 1.5 s, Postgres makes its cluster in 1 s, a debug build on a
/// busy machine takes its time.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a member may take to stop cleanly before it is killed.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// The plan's file.
const PLAN: &str = "cluster.json";

/// A cluster in a folder.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its folder.
    pub dir: PathBuf,
    /// Who is in it.
    pub plan: Plan,
}

impl Cluster {
    /// The cluster of a folder.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(PLAN);
        if path.exists() {
            // Its programs are run: nobody else may have written it, or the folder it stands in.
            rights::trusted(dir, false).and_then(|()| rights::trusted(&path, true)).map_err(anyhow::Error::msg)?;
        }
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("there is no cluster in {}", dir.display()))?;
        let plan = serde_json::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Self { dir: dir.to_owned(), plan })
    }

    /// The cluster of a folder, planned anew where there is none. Nothing is started.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn plan(dir: &Path, program: &Path, shape: Shape) -> anyhow::Result<Self> {
        if dir.join(PLAN).is_file() {
            return Self::open(dir);
        }
        rights::data_folder(dir, PLAN).with_context(|| format!("{} cannot be made", dir.display()))?;
        rights::trusted(dir, false).map_err(anyhow::Error::msg)?;
        rights::let_postgres_through(dir)?;
        let dir = dir.canonicalize()?;
        let plan = Plan::new(&dir, program, shape)?;
        // It holds the cluster's secrets.
        let mut file = File::options().create_new(true).write(true).mode(0o600).open(dir.join(PLAN))?;
        file.write_all(serde_json::to_string_pretty(&plan)?.as_bytes())?;
        Ok(Self { dir, plan })
    }

    /// Starts the processes that do not run, those that others need first, and waits until all are ready. `told` hears of each.
    ///
    /// # Errors
    /// If one does not become ready; with what it said last.
    pub async fn up(&self, told: impl Fn(&Member)) -> anyhow::Result<()> {
        for stage in self.plan.stages() {
            for member in &stage {
                if !member.runs(&self.dir) {
                    member.start(&self.dir)?;
                }
            }
            for member in stage {
                self.ready(member, READY_WITHIN).await?;
                told(member);
            }
        }
        Ok(())
    }

    /// The member of this name.
    ///
    /// # Errors
    /// If there is none; with the names that there are.
    pub fn member(&self, name: &str) -> anyhow::Result<&Member> {
        self.plan.members.iter().find(|member| member.name == name).with_context(|| {
            let names: Vec<&str> = self.plan.members.iter().map(|member| &*member.name).collect();
            format!("nobody is called `{name}`; there are {}", names.join(", "))
        })
    }

    /// Waits until a member is ready.
    ///
    /// # Errors
    /// If it ends before, or takes longer than `bound`; with what it said last.
    pub async fn ready(&self, member: &Member, bound: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !member.is_ready().await {
            if !member.runs(&self.dir) || begun.elapsed() > bound {
                let said = member.said(&self.dir);
                bail!("{} is not ready after {:?}; it said:\n{said}", member.name, begun.elapsed());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Starts a member again that was stopped or killed, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not come back.
    pub async fn start(&self, name: &str) -> anyhow::Result<()> {
        let member = self.member(name)?;
        if !member.runs(&self.dir) {
            member.start(&self.dir)?;
        }
        self.ready(member, READY_WITHIN).await
    }

    /// Asks a member to stop (SIGTERM) and waits for its end; what does not end in time is killed. Whether it ended by
    /// itself.
    ///
    /// # Errors
    /// If there is no such member.
    pub async fn stop(&self, name: &str) -> anyhow::Result<bool> {
        let member = self.member(name)?;
        member.signal(&self.dir, libc::SIGTERM);
        let begun = Instant::now();
        while member.runs(&self.dir) {
            if begun.elapsed() > STOPS_WITHIN {
                member.kill(&self.dir);
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(true)
    }

    /// Ends everybody: the front door first, what others need last.
    pub async fn down(&self) {
        for stage in self.plan.stages().into_iter().rev() {
            futures_util::future::join_all(stage.into_iter().map(|member| self.stop(&member.name))).await;
        }
    }

    /// Ends everybody at once, as a power cut would.
    pub fn kill_all(&self) {
        self.plan.members.iter().rev().for_each(|member| member.kill(&self.dir));
    }
}
