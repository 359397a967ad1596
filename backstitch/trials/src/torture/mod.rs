//! `backstitch torture`: a cluster that is hurt again and again while a shop lives on it, and the proof that nothing of
//! what was acknowledged is lost, nothing happened twice, every saga ended, and the tables are what the log says.
//!
//! *Invariant:* a fault only happens under load: so many commands were acknowledged just before it, and as many again
//! must be after it, or the run has failed.

mod args;
pub mod faults;
pub mod redelivery;
pub mod report;

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;

pub use self::args::Args;
use self::faults::{Fault, Hurt, Step};
use self::redelivery::Redelivery;
use crate::cluster::Cluster;
use crate::demo::client::{Client, PATIENCE, Tally};
use crate::demo::drive::{End, Shop};
use crate::demo::proof::Check;
use crate::demo::script::PATTERN;
use crate::demo::{self, CUSTOMERS, Ledger, Outcome};

/// Pieces of each product: more than the longest run sells, fewer than an order that is to find too little.
const PIECES: i64 = 500_000;

/// What a run does.
#[derive(Debug, Clone)]
pub struct Options {
    /// The faults, one after the other.
    pub steps: Vec<Step>,
    /// Commands that must be acknowledged before each fault, and again after it.
    pub acknowledged_min: u64,
}

/// What a run has done and proven.
#[derive(Debug)]
pub struct Report {
    /// Each fault, and how much was acknowledged around it.
    pub hurts: Vec<Hurt>,
    /// A restart of every replica in turn.
    pub rolling: Rolling,
    /// All that the log holds, fed a second time.
    pub redelivery: Redelivery,
    /// The shop's proof.
    pub outcome: Outcome,
    /// What must hold besides.
    pub checks: Vec<Check>,
    /// Commands that were acknowledged.
    pub acknowledged: u64,
}

/// A rolling restart: what clients noticed of it.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Rolling {
    /// Processes that were stopped and started again.
    pub restarted: usize,
    /// Commands that were acknowledged meanwhile.
    pub acknowledged: u64,
    /// Requests that were answered with 503 and sent again.
    pub later: u64,
    /// Requests that got no answer at all: there must be none.
    pub unanswered: u64,
}

impl Report {
    /// Whether everything holds.
    pub fn holds(&self) -> bool {
        self.outcome.holds() && self.checks.iter().all(|check| check.holds)
    }
}

/// Hurts a running cluster under load, and proves what is left. `told` hears of each fault when it is over.
///
/// # Errors
/// If a customer is refused what must not be refused or gets no answer, a member does not come back, or too little was
/// acknowledged around a fault.
pub async fn run(cluster: &Cluster, options: &Options, told: impl Fn(&Hurt)) -> anyhow::Result<Report> {
    let run = demo::name_of_run()?;
    let client = Client::new(&cluster.plan.url, PATIENCE)?;
    let shop = Shop { client: client.clone(), run };
    let tally = Arc::clone(client.tally());
    shop.stock_up(PIECES).await?;
    let done = CancellationToken::new();
    let hurting = async {
        let _done = done.clone().drop_guard();
        let mut hurts = Vec::with_capacity(options.steps.len());
        for step in &options.steps {
            let hurt = faults::hurt(cluster, step, &tally, options.acknowledged_min).await?;
            told(&hurt);
            hurts.push(hurt);
        }
        let rolling = roll(cluster, &tally, options.acknowledged_min).await?;
        Ok::<_, anyhow::Error>((hurts, rolling))
    };
    let (ends, (hurts, rolling)) = tokio::try_join!(live(&shop, &done), hurting)?;
    let redelivery = redelivery::of_everything(cluster, &client).await?;
    let outcome = demo::prove(&shop, &Ledger::Provider(cluster.plan.provider.clone()), ends).await?;
    let checks = checks(&tally, &outcome, &rolling, &redelivery);
    Ok(Report { hurts, rolling, redelivery, outcome, checks, acknowledged: tally.acknowledged() })
}

/// Customers come until `done`; each goes with its order to the end.
async fn live(shop: &Shop, done: &CancellationToken) -> anyhow::Result<Vec<End>> {
    let lives = stream::iter(0..usize::MAX).take_until(done.cancelled());
    let lives = lives.map(|n| shop.live_through(n, PATTERN[n % PATTERN.len()])).buffer_unordered(CUSTOMERS);
    let mut lives = std::pin::pin!(lives);
    let mut ends = Vec::new();
    while let Some(end) = lives.next().await {
        ends.push(end?);
    }
    Ok(ends)
}

/// Stops every replica of every service cleanly and starts it again, one after the other.
async fn roll(cluster: &Cluster, tally: &Tally, acknowledged_min: u64) -> anyhow::Result<Rolling> {
    let before = (tally.acknowledged(), tally.later(), tally.unanswered());
    let mut restarted = 0;
    for member in &cluster.plan.members {
        let service = member.name.rsplit_once('-').map_or("", |(service, _)| service);
        if ["relay", "commands", "queries", "sagas"].contains(&service) {
            faults::acknowledged(tally, acknowledged_min).await.context("the rolling restart")?;
            faults::carry_out(cluster, &Step { target: member.name.clone(), fault: Fault::Restart }).await?;
            restarted += 1;
        }
    }
    faults::acknowledged(tally, acknowledged_min).await.context("after the rolling restart")?;
    Ok(Rolling {
        restarted,
        acknowledged: tally.acknowledged() - before.0,
        later: tally.later() - before.1,
        unanswered: tally.unanswered() - before.2,
    })
}

fn checks(tally: &Tally, outcome: &Outcome, rolling: &Rolling, redelivery: &Redelivery) -> Vec<Check> {
    let places = tally.places();
    // Not only that there is an event: a log that had lost its end would have filled the position with another.
    let lost = places.iter().filter_map(|place| {
        let there = outcome.books.places.get(&place.position);
        let as_told = there.is_some_and(|(id, version)| *id == place.id && *version == place.version);
        (!as_told).then(|| format!("{place:?}, there is {there:?}"))
    });
    let fed = redelivery.log_events;
    let consumer =
        |(name, consumed): (&String, &u64)| (*consumed < fed).then(|| format!("{name}: {consumed} of {fed}"));
    vec![
        Check::each("what was acknowledged stands in the log where it was said to", places.len(), lost),
        Check::each(
            "all that the log held was consumed again by each group",
            redelivery.consumed.len(),
            redelivery.consumed.iter().filter_map(consumer),
        ),
        Check::each(
            "a rolling restart left no request without an answer",
            usize::try_from(rolling.acknowledged).unwrap_or(usize::MAX),
            (rolling.unanswered > 0).then(|| format!("{} had none", rolling.unanswered)),
        ),
    ]
}
