//! What others see of the runner as a whole: which partitions run here, why one stands still, how many sagas are active.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// How the sagas of a process are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The partitions that run here; with each, why it stands still or receives no events, if it does.
    pub partitions: BTreeMap<u32, Option<String>>,
}

impl Standing {
    /// The standing in one sentence, for a health check.
    ///
    /// # Errors
    /// The reason, if a partition stands still or receives no events.
    pub fn describe(&self) -> Result<String, String> {
        let trouble = self.partitions.iter().find_map(|(number, trouble)| Some((number, trouble.as_ref()?)));
        if let Some((number, why)) = trouble {
            return Err(format!("the sagas of partition {number} wait: {why}"));
        }
        Ok(match self.partitions.keys().map(ToString::to_string).collect::<Vec<_>>().as_slice() {
            [] => "no partition is assigned: other replicas have them all, or the group is forming".to_owned(),
            [one] => format!("runs partition {one}"),
            several => format!("runs partitions {}", several.join(", ")),
        })
    }
}

/// Keeps how each partition is.
pub(super) struct Report {
    standing: watch::Sender<Standing>,
    /// How many sagas of each partition are active.
    active: parking_lot::Mutex<BTreeMap<u32, usize>>,
}

impl Report {
    /// No partition runs yet.
    pub fn new() -> Self {
        Self { standing: watch::Sender::default(), active: parking_lot::Mutex::default() }
    }

    /// Follows how the sagas are.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// A partition runs here, and goes on (again).
    pub fn runs(&self, partition: u32) {
        self.standing.send_modify(|standing| {
            standing.partitions.insert(partition, None);
        });
    }

    /// A partition stands still, or receives no events.
    pub fn pauses(&self, partition: u32, why: &dyn std::error::Error) {
        let chain = std::iter::successors(Some(why), |error| error.source());
        let why = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        self.standing.send_modify(|standing| {
            standing.partitions.insert(partition, Some(why));
        });
    }

    /// A partition does not run here any more.
    pub fn ended(&self, partition: u32) {
        self.standing.send_modify(|standing| {
            standing.partitions.remove(&partition);
        });
        self.count(|active| active.remove(&partition));
    }

    /// How many sagas of a partition are active.
    pub fn active(&self, partition: u32, sagas: usize) {
        self.count(|active| active.insert(partition, sagas));
    }

    fn count(&self, change: impl FnOnce(&mut BTreeMap<u32, usize>) -> Option<usize>) {
        let mut active = self.active.lock();
        change(&mut active);
        metrics::gauge!("backstitch_sagas_active").set(active.values().sum::<usize>() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_stands_still_is_described_with_its_reason() {
        let report = Report::new();
        let describe = || report.standing().borrow().describe();
        assert!(describe().unwrap().starts_with("no partition is assigned"));
        report.runs(2);
        assert_eq!(describe().unwrap(), "runs partition 2");
        report.runs(4);
        assert_eq!(describe().unwrap(), "runs partitions 2, 4");
        report.pauses(4, &std::io::Error::other("the disk is full"));
        assert_eq!(describe().unwrap_err(), "the sagas of partition 4 wait: the disk is full");
        report.ended(4);
        assert_eq!(describe().unwrap(), "runs partition 2");
    }
}
