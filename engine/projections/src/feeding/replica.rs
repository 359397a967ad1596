//! Which replica of the service this is, and how the events are divided among all of them.

/// A replica. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Replica {
    /// As people are shown it, such as `host:7402`.
    pub name: String,
    /// How many partitions the events are divided into, the same for all replicas; at least 1.
    pub partitions: u32,
    /// The partition of a partition key, among so many: as the bus divides them.
    pub of: fn(&str, u32) -> u32,
}

impl Replica {
    /// The only one: the log itself is its partition.
    pub fn alone() -> Self {
        Self { name: format!("process {}", std::process::id()), partitions: 1, of: |_, _| 0 }
    }

    /// The partition of the events with this partition key.
    pub fn partition_of(&self, key: &str) -> u32 {
        (self.of)(key, self.partitions)
    }
}
