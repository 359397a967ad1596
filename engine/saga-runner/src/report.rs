//! What others see of the runner as a whole: in `/health` which partitions run here and why one does not, and how many
//! sagas are active.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use service_kit::health::Reporter;

/// Keeps how each partition is.
pub(super) struct Report {
    health: Option<Reporter>,
    // Held for a write of one entry, never across an await.
    partitions: Mutex<BTreeMap<u32, Partition>>,
}

#[derive(Default)]
struct Partition {
    active: usize,
    /// Why it stands still, or is fed nothing.
    trouble: Option<String>,
}

impl Report {
    /// Shown in `/health`, if there is somebody to show it.
    pub fn new(health: Option<Reporter>) -> Self {
        let report = Self { health, partitions: Mutex::default() };
        report.show(&report.lock());
        report
    }

    /// A partition is ours, and goes on (again).
    pub fn runs(&self, partition: u32) {
        let mut partitions = self.lock();
        partitions.entry(partition).or_default().trouble = None;
        self.show(&partitions);
    }

    /// A partition stands still, or is fed nothing.
    pub fn pauses(&self, partition: u32, why: &dyn std::error::Error) {
        let chain = std::iter::successors(Some(why), |error| error.source());
        let why = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let mut partitions = self.lock();
        partitions.entry(partition).or_default().trouble = Some(why);
        self.show(&partitions);
    }

    /// A partition is no longer ours.
    pub fn ended(&self, partition: u32) {
        let mut partitions = self.lock();
        partitions.remove(&partition);
        count(&partitions);
        self.show(&partitions);
    }

    /// How many sagas of a partition are active.
    pub fn active(&self, partition: u32, active: usize) {
        let mut partitions = self.lock();
        partitions.entry(partition).or_default().active = active;
        count(&partitions);
    }

    fn show(&self, partitions: &BTreeMap<u32, Partition>) {
        let Some(health) = &self.health else { return };
        let trouble = partitions.iter().find_map(|(number, it)| Some((number, it.trouble.as_ref()?)));
        if let Some((number, why)) = trouble {
            return health.down(format_args!("the sagas of partition {number} wait: {why}"));
        }
        match partitions.keys().map(ToString::to_string).collect::<Vec<_>>().as_slice() {
            [] => health.up_with("no partition is assigned: other replicas have them all, or the group is forming"),
            [one] => health.up_with(format_args!("runs partition {one}")),
            several => health.up_with(format_args!("runs partitions {}", several.join(", "))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Partition>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(partitions: &BTreeMap<u32, Partition>) {
    let all: usize = partitions.values().map(|partition| partition.active).sum();
    metrics::gauge!("backstitch_sagas_active").set(all as f64);
}
