//! The cluster's proof in the gate: every process of a cluster on loopback is hurt once under load, all services are
//! restarted in turn, everything is delivered again, and everything adds up. `script/torture` is the long form.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use trials::cluster::{Cluster, Shape};
use trials::torture::{self, Options, faults};

const PROGRAM: &str = env!("CARGO_BIN_EXE_backstitch");
/// Commands that must be acknowledged before and after each fault.
const ACKNOWLEDGED_MIN: u64 = 15;

/// A cluster that ends with the test.
struct Ended(Cluster);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill_all();
    }
}

async fn started(dir: &Path) -> Ended {
    let shape = Shape { replicas: 2, partitions: 3 };
    let cluster = Ended(Cluster::plan(dir, Path::new(PROGRAM), shape).unwrap());
    cluster.0.up(|member| println!("ready {}", member.name)).await.unwrap();
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_any_part_dead_loses_nothing_and_does_nothing_twice() {
    let folder = tempfile::Builder::new().prefix("backstitch-cluster-").tempdir().unwrap();
    let cluster = started(folder.path()).await;
    let targets = faults::targets(&cluster.0);
    // The gate hurts the same each time; `script/torture` draws its seeds.
    let seed = std::env::var("BACKSTITCH_SEED").ok().map_or(42, |seed| seed.parse().unwrap());
    let steps = faults::one_each(&targets, seed, Duration::from_secs(3));
    let options = Options { steps, acknowledged_min: ACKNOWLEDGED_MIN };
    let told = |hurt: &faults::Hurt| println!("{hurt:?}");
    let report = torture::run(&cluster.0, &options, told).await.unwrap_or_else(|error| {
        let logs =
            targets.iter().map(|name| format!("== {name}\n{}", cluster.0.member(name).unwrap().said(&cluster.0.dir)));
        panic!("seed {seed}: {error:#}\n{}", logs.collect::<Vec<_>>().join("\n"))
    });
    let failing: Vec<_> = report.outcome.checks.iter().chain(&report.checks).filter(|check| !check.holds).collect();
    assert!(report.holds(), "seed {seed}: {failing:#?}");
    let hurt: BTreeSet<&String> = report.hurts.iter().map(|hurt| &hurt.step.target).collect();
    assert_eq!(hurt, targets.iter().collect(), "everybody was hurt");
    assert!(report.hurts.iter().all(|hurt| hurt.before >= ACKNOWLEDGED_MIN), "under load");
    assert!(report.acknowledged > 13 * 2 * ACKNOWLEDGED_MIN, "{} were acknowledged", report.acknowledged);
    assert_eq!(report.rolling.restarted, 8);
    // The command line works at the front door as at a single process.
    for verb in [vec!["saga", "list"], vec!["projection", "list"], vec!["saga", "incidents"], vec!["stream", "list"]] {
        let output = std::process::Command::new(PROGRAM)
            .args(&verb)
            .args(["--json", "--url", &cluster.0.plan.url])
            .output()
            .unwrap();
        assert!(output.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    cluster.0.down().await;
}
