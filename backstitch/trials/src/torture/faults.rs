//! What is done to a member, and what the load must have done around it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::demo::client::Tally;

/// How long the load may take to have so much acknowledged: as long as a customer is patient, and a little.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(120);
/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is done to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// `kill -9`; started again after so long.
    Kill(Duration),
    /// SIGSTOP; goes on after so long.
    Pause(Duration),
    /// SIGTERM; started again when it has ended.
    Restart,
}

impl Fault {
    /// As people say it.
    pub fn name(self) -> String {
        match self {
            Self::Kill(_) => "kill -9".to_owned(),
            Self::Pause(long) => format!("paused {} s", long.as_secs_f32()),
            Self::Restart => "restarted".to_owned(),
        }
    }
}

/// A fault of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The process that is hurt.
    pub target: String,
    /// What is done to it.
    pub fault: Fault,
}

/// A fault that has happened, and what was acknowledged around it.
#[derive(Debug, Clone, Serialize)]
pub struct Hurt {
    /// The planned fault.
    pub step: Step,
    /// Commands acknowledged since the fault before.
    pub before: u64,
    /// Commands acknowledged while it lasted.
    pub meanwhile: u64,
    /// From its beginning until the member was ready again, in ms.
    pub lasted_ms: u64,
    /// From then until as many commands as are asked for had been acknowledged, in ms.
    pub recovered_ms: u64,
}

/// The members that are hurt: each replica of each service, the relays, Kafka, Postgres, the event store. The front door
/// and the payment provider stand for the world outside.
pub fn targets(cluster: &Cluster) -> Vec<String> {
    let outside = ["gateway", "provider"];
    let names = cluster.plan.members.iter().map(|member| member.name.clone());
    names.filter(|name| !outside.contains(&name.as_str())).collect()
}

/// One fault for each target, in an order and of a kind that follow from the seed.
pub fn one_each(targets: &[String], seed: u64, pause: Duration) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut steps: Vec<Step> = targets
        .iter()
        .map(|target| {
            let fault = match rng.random_range(0..3) {
                0 => Fault::Kill(Duration::from_millis(rng.random_range(0..1_000))),
                1 => Fault::Pause(pause),
                _ => Fault::Restart,
            };
            Step { target: target.clone(), fault }
        })
        .collect();
    steps.shuffle(&mut rng);
    steps
}

/// Every fault for every target, in an order that follows from the seed.
pub fn every(targets: &[String], seed: u64, pause: Duration) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut steps: Vec<Step> = targets
        .iter()
        .flat_map(|target| {
            let down = Duration::from_millis(rng.random_range(0..3_000));
            [Fault::Kill(down), Fault::Pause(pause), Fault::Restart].map(|fault| Step { target: target.clone(), fault })
        })
        .collect();
    steps.shuffle(&mut rng);
    steps
}

/// Waits for load, lets the fault happen, and waits until the load goes on.
///
/// # Errors
/// If the member does not come back, or too little is acknowledged before or after.
pub async fn hurt(cluster: &Cluster, step: &Step, tally: &Tally, acknowledged_min: u64) -> anyhow::Result<Hurt> {
    let told = || format!("{} of {}", step.fault.name(), step.target);
    let before = acknowledged(tally, acknowledged_min).await.with_context(|| format!("before {}", told()))?;
    let (begun, at) = (Instant::now(), tally.acknowledged());
    carry_out(cluster, step).await.with_context(told)?;
    let (lasted, back) = (begun.elapsed(), tally.acknowledged());
    let healing = Instant::now();
    acknowledged(tally, acknowledged_min).await.with_context(|| format!("after {}", told()))?;
    Ok(Hurt {
        step: step.clone(),
        before,
        meanwhile: back - at,
        lasted_ms: ms(lasted),
        recovered_ms: ms(healing.elapsed()),
    })
}

/// Lets a fault happen and waits until the member is ready again.
///
/// # Errors
/// If the fault did not happen, or the member does not come back.
pub async fn carry_out(cluster: &Cluster, step: &Step) -> anyhow::Result<()> {
    let member = cluster.member(&step.target)?;
    let Some(pid) = member.pid(&cluster.dir) else { bail!("{} does not run", step.target) };
    match step.fault {
        Fault::Kill(down) => {
            member.kill(&cluster.dir);
            tokio::time::sleep(down).await;
            cluster.start(&step.target).await?;
        }
        Fault::Pause(long) => {
            member.pause(&cluster.dir);
            tokio::time::sleep(long).await;
            member.resume(&cluster.dir);
            cluster.start(&step.target).await?; // It may have ended itself when it woke: then it comes back.
            return Ok(());
        }
        Fault::Restart => {
            if !cluster.stop(&step.target).await? {
                bail!("{} did not stop cleanly; it said:\n{}", step.target, member.said(&cluster.dir));
            }
            cluster.start(&step.target).await?;
        }
    }
    if member.pid(&cluster.dir) == Some(pid) {
        bail!("{} is the same process as before: nothing happened", step.target);
    }
    Ok(())
}

/// Waits until so many commands more have been acknowledged; how many it were.
///
/// # Errors
/// If it takes too long.
pub async fn acknowledged(tally: &Tally, more: u64) -> anyhow::Result<u64> {
    let (begun, from) = (Instant::now(), tally.acknowledged());
    while tally.acknowledged() < from + more {
        if begun.elapsed() > ACKNOWLEDGED_WITHIN {
            let found = tally.acknowledged() - from;
            bail!("only {found} commands of {more} were acknowledged within {ACKNOWLEDGED_WITHIN:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(tally.acknowledged() - from)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_hurts_the_same_and_nobody_is_left_out() {
        let targets: Vec<String> = ["kafka", "commands-1", "sagas-2"].map(str::to_owned).into();
        let pause = Duration::from_secs(10);
        assert_eq!(one_each(&targets, 7, pause), one_each(&targets, 7, pause));
        assert_ne!(every(&targets, 7, pause), every(&targets, 8, pause));
        let hurt: BTreeSet<String> = one_each(&targets, 7, pause).into_iter().map(|step| step.target).collect();
        assert_eq!(hurt, targets.iter().cloned().collect());
        assert_eq!(every(&targets, 7, pause).len(), 9);
    }
}
