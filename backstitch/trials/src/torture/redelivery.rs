//! Everything once more: all followers of the bus are sent back to its beginning, and must end in the same state.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use event_store::kurrentdb::KurrentStore;
use event_store::{EventStore as _, StreamSnapshot};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use crate::cluster::Cluster;
use crate::demo::books::Books;
use crate::demo::client::Client;

/// The services that follow the bus.
const FOLLOWERS: [&str; 2] = ["queries", "sagas"];
/// How long they may take to read everything again: some thousand events a second in a debug build.
const CONSUMED_WITHIN: Duration = Duration::from_secs(300);
/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The metric that counts the events read from Kafka, repeats included.
const CONSUMED: &str = "backstitch_bus_records_total";

/// What was consumed again.
#[derive(Debug, Clone, Serialize)]
pub struct Redelivery {
    /// Events that the log held.
    pub log_events: u64,
    /// Events that each service read from Kafka, beginning with its first record, over all its replicas.
    pub consumed: BTreeMap<String, u64>,
}

/// Stops all followers, takes their checkpoints from them, and starts them: each reads the topic from offset 0 on.
///
/// # Errors
/// If one does not come back, or reads less than the log holds.
pub async fn of_everything(cluster: &Cluster, client: &Client) -> anyhow::Result<Redelivery> {
    let log_events = Books::read(client).await?.events;
    let replicas = |service: &str| {
        let own = |member: &&crate::cluster::Member| member.name.starts_with(&format!("{service}-"));
        cluster.plan.members.iter().filter(own).collect::<Vec<_>>()
    };
    for member in FOLLOWERS.iter().flat_map(|service| replicas(service)) {
        cluster.stop(&member.name).await?;
    }
    forget_rows(&cluster.plan.database).await.context("the read models' checkpoints")?;
    forget_sagas(cluster).await.context("the sagas' checkpoints")?;
    for member in FOLLOWERS.iter().flat_map(|service| replicas(service)) {
        cluster.start(&member.name).await?;
    }
    let begun = Instant::now();
    loop {
        let mut consumed = BTreeMap::new();
        for service in FOLLOWERS {
            let mut sum = 0;
            for member in replicas(service) {
                sum += counted(member.probe.base()).await.unwrap_or_default();
            }
            consumed.insert(service.to_owned(), sum);
        }
        if consumed.values().all(|count| *count >= log_events) {
            return Ok(Redelivery { log_events, consumed });
        }
        if begun.elapsed() > CONSUMED_WITHIN {
            bail!("of {log_events} events only {consumed:?} were consumed again within {CONSUMED_WITHIN:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn forget_rows(database: &str) -> anyhow::Result<()> {
    let mut sql = PgConnection::connect(database).await?;
    let done = sqlx::query("update backstitch.projection_checkpoints set position = 0").execute(&mut sql).await?;
    if done.rows_affected() == 0 {
        bail!("there were none");
    }
    sql.close().await?;
    Ok(())
}

/// A checkpoint that no program reads stands for none: then the feed is taken in from its beginning.
async fn forget_sagas(cluster: &Cluster) -> anyhow::Result<()> {
    let store = KurrentStore::connect(&cluster.plan.event_store).await?;
    for partition in 0..cluster.plan.shape.partitions {
        let stream = format!("saga_checkpoint-{partition}").parse()?;
        let nothing = StreamSnapshot { version: 0, schema: 0, state: "{}".to_owned() };
        store.save_snapshot(&stream, nothing).await?;
    }
    Ok(())
}

/// What a process has counted.
async fn counted(base: &str) -> anyhow::Result<u64> {
    let text = reqwest::get(format!("{base}/metrics")).await?.text().await?;
    let own = text.lines().filter(|line| line.starts_with(CONSUMED));
    Ok(own.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}
