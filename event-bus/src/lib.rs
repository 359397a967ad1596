//! The log on Kafka: the relay that publishes it, the feed of its partitions, and a consumer that any team can use.

pub mod testing;
