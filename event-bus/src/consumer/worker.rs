//! The work on one partition: its records in order, in transactions, until the partition is taken away.
//!
//! *Invariant:* one record after the other: a record is begun when what came before it in the partition is committed or is
//! in the same transaction, or is parked.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use service_kit::pg;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::commit::{self, Fault, Kind, Passed, Step, judge};
use super::letters::{self, Verdict};
use super::offsets::{self, Place, Reached};
use super::reading::{self, Read, Reading};
use super::shared::{At, Shared};
use crate::dead_letter::Cause;
use crate::membership::Held;
use crate::source::Progress;

/// How often the table of dead letters is looked into for what people ask.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Skipped records (watermarks, other types) move the offsets at this interval: read again after a crash, they are
/// skipped again.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// The most keys of a partition that are parked one by one. A larger number is not the fault of some events but of the
/// program or the database: the partition stops and reports that.
const MOST_PARKED: usize = 10_000;
/// The pause before everything of a partition is begun anew: its offsets were moved by others, or Postgres is away.
const AGAIN: Duration = Duration::from_millis(200);
/// What people asked for is looked at in portions of this size.
const ASKED_AT_ONCE: i64 = 100;

/// One partition's worker.
pub(super) struct Worker {
    pub shared: Arc<Shared>,
    pub place: Place,
    revoked: CancellationToken,
    progress: Progress,
    /// What the table says.
    stored: Reached,
    /// How far the worker is; ahead of `stored` only by what is passed by.
    at: Reached,
    stored_at: Instant,
    pub parked: HashSet<Vec<u8>>,
}

/// The reason why the work stops here.
#[derive(Debug)]
pub(super) enum Halt {
    /// The partition is taken away, or the consumer stops.
    Stopped,
    /// It is begun anew from the tables, for this reason.
    Again(String),
}

/// Works until the partition is taken away. `held` is dropped when nothing is under way any more.
pub(super) async fn run(shared: Arc<Shared>, topic: String, held: Held) {
    let place = Place { group: shared.group.clone(), topic, partition: held.partition.cast_signed() };
    let mut worker = Worker {
        shared,
        place,
        revoked: held.revoked.clone(),
        progress: held.progress.clone(),
        stored: Reached::default(),
        at: Reached::default(),
        stored_at: Instant::now(),
        parked: HashSet::new(),
    };
    while let Err(Halt::Again(reason)) = worker.session().await {
        tracing::info!(topic = worker.place.topic, partition = worker.place.partition, reason, "beginning anew");
        if worker.pause(AGAIN).await.is_err() {
            break;
        }
    }
    for at in [At::Reading, At::Working] {
        worker.shared.trouble(&worker.place, at, None);
    }
    drop(held);
}

impl Worker {
    async fn session(&mut self) -> Result<(), Halt> {
        self.load().await?;
        let (sender, mut reads) = mpsc::channel(self.shared.batch);
        self.read_from_here(sender)?;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (stopping, revoked) = (self.shared.stopping.clone(), self.revoked.clone());
        loop {
            let read = tokio::select! {
                biased;
                () = stopping.cancelled() => return Err(Halt::Stopped),
                () = revoked.cancelled() => return Err(Halt::Stopped),
                _ = look.tick() => {
                    self.settle_what_was_asked().await?;
                    continue;
                }
                read = reads.recv() => read,
            };
            let Some(read) = read else { return Err(Halt::Again("the topic has to be found again".to_owned())) };
            let mut batch = vec![read];
            while batch.len() < self.shared.batch
                && let Ok(more) = reads.try_recv()
            {
                batch.push(more);
            }
            self.take(batch).await?;
        }
    }

    /// Where the partition stands, and what is parked. Waits for Postgres.
    async fn load(&mut self) -> Result<(), Halt> {
        let (pool, schema) = (self.shared.pool.clone(), self.shared.schema.clone());
        let mut failed = 0;
        let (reached, keys) = loop {
            let place = self.place.clone();
            let loaded = pg::tx(&pool, &schema, move |connection| {
                Box::pin(async move {
                    let reached = offsets::load(connection, &place).await?;
                    Ok((reached, letters::keys(connection, &place, MOST_PARKED).await?))
                })
            });
            match loaded.await {
                Ok(loaded) => break loaded,
                Err(error) => {
                    failed += 1;
                    self.wait(failed, format!("Postgres does not say where the partition stands: {error}")).await?;
                }
            }
        };
        (self.stored, self.at, self.stored_at) = (reached.clone(), reached, Instant::now());
        self.parked = keys.into_iter().collect();
        self.progress.moved(self.at.next_offset);
        Ok(())
    }

    fn read_from_here(&self, to: mpsc::Sender<Read>) -> Result<(), Halt> {
        let reading = Reading {
            config: self.shared.config.clone(),
            group: self.shared.group.clone(),
            topic: self.place.topic.clone(),
            partition: self.place.partition.cast_unsigned(),
            progress: self.progress.clone(),
        };
        let from = self.stored.clone();
        let thread = std::thread::Builder::new().name(format!("bus-consumer-{}", self.place.partition));
        // librdkafka is asked by blocking calls: on a thread that ends when the session does.
        match thread.spawn(move || reading.run(&from, &to)) {
            Ok(_ends_by_itself) => Ok(()),
            Err(error) => Err(Halt::Again(format!("no thread to read with: {error}"))),
        }
    }

    /// Takes what was read, in order.
    async fn take(&mut self, reads: Vec<Read>) -> Result<(), Halt> {
        let mut steps = Vec::with_capacity(reads.len());
        for read in reads {
            match read {
                Read::Record(record) => {
                    self.shared.trouble(&self.place, At::Reading, None);
                    let step = self.plan(*record, steps.last());
                    steps.push(step);
                }
                Read::Away(reason) => self.shared.trouble(&self.place, At::Reading, Some(&reason)),
                Read::Back => self.shared.trouble(&self.place, At::Reading, None),
                Read::Lost { from, to } => {
                    metrics::counter!("backstitch_bus_records_lost_total", "topic" => self.place.topic.clone())
                        .increment(u64::try_from(to - from).unwrap_or_default());
                    tracing::error!(
                        topic = self.place.topic,
                        partition = self.place.partition,
                        from,
                        to,
                        "records were deleted before they were consumed; the topic's retention is too short"
                    );
                }
                Read::Anew(low) => {
                    self.apply(std::mem::take(&mut steps)).await?;
                    return self.begin_anew(low).await;
                }
            }
        }
        self.apply(steps).await
    }

    /// The topic was made anew: from its beginning, past what the log's positions show to be dealt with.
    async fn begin_anew(&mut self, low: i64) -> Result<(), Halt> {
        tracing::warn!(
            topic = self.place.topic,
            partition = self.place.partition,
            next_offset = self.stored.next_offset,
            low,
            "the topic is not the one it was: reading it from its beginning"
        );
        let to = Reached { next_offset: low, position: self.at.position, mark: String::new() };
        let (place, from) = (self.place.clone(), self.stored.clone());
        let moved = pg::tx(&self.shared.pool, &self.shared.schema, move |connection| {
            Box::pin(async move { offsets::advance(connection, &place, &from, &to).await })
        });
        match moved.await {
            Ok(_) => Err(Halt::Again("the topic was made anew".to_owned())),
            Err(error) => Err(Halt::Again(error.to_string())),
        }
    }

    /// What is to be done about the next record.
    fn plan(&self, record: rdkafka::message::OwnedMessage, before: Option<&Step>) -> Step {
        let before = before.map_or(&self.at, |step| &step.after);
        let (mut kind, position) = judge(&self.shared, &record);
        if position > 0 && position <= before.position {
            kind = Kind::PassBy(Passed::Repeat);
        }
        let after = Reached {
            next_offset: record.offset() + 1,
            position: position.max(before.position),
            mark: reading::mark(&record),
        };
        Step { record: Arc::new(record), after, kind }
    }

    /// Does the steps, all in one transaction if that works, else one by one up to whatever is at fault.
    async fn apply(&mut self, mut steps: Vec<Step>) -> Result<(), Halt> {
        self.shared.stats.consumed.fetch_add(steps.len() as u64, Ordering::Relaxed);
        // An outage is nobody's fault: it lengthens the pauses and is no attempt at a record.
        let (mut failed, mut outages, mut size) = (0_u32, 0_u32, steps.len());
        while !steps.is_empty() {
            let size_now = size.clamp(1, steps.len());
            self.put_behind(&mut steps[..size_now]);
            if let Some(fault) = self.send_letters(&steps[..size_now]).await {
                outages += 1;
                self.wait(outages, fault).await?;
                continue;
            }
            match self.commit(&steps[..size_now]).await {
                Ok(()) => {
                    steps.drain(..size_now);
                    // One by one to the end of the batch, once it had to be: better than to try the rest whole again and again.
                    (failed, outages, size) = (0, 0, if size == 1 { 1 } else { steps.len() });
                }
                Err(Fault::Fenced) => return Err(Halt::Again("somebody else has moved its offsets".to_owned())),
                Err(Fault::Away(reason)) => {
                    outages += 1;
                    self.wait(outages, reason).await?;
                }
                // First what came before it; then it alone.
                Err(Fault::At(index, _)) if index > 0 => size = index,
                Err(Fault::Rows(_)) if size_now > 1 => size = 1,
                Err(Fault::Rows(error)) if !matches!(steps[0].kind, Kind::Handle(_)) => {
                    outages += 1;
                    self.wait(outages, format!("Postgres refuses the consumer's own rows: {error}")).await?;
                }
                Err(fault) => {
                    (failed, outages, size) = (failed + 1, 0, 1);
                    self.judge_failure(&mut steps[0], fault, failed).await?;
                }
            }
        }
        Ok(())
    }

    /// A record whose key is parked follows it there.
    fn put_behind(&self, steps: &mut [Step]) {
        let mut parked_now: HashSet<&[u8]> = HashSet::new();
        for Step { record, kind, .. } in steps {
            let Some(key) = record.key() else { continue };
            match kind {
                Kind::Handle(_) | Kind::Park(_) if self.parked.contains(key) || parked_now.contains(key) => {
                    let error = "an earlier record of its key is parked".to_owned();
                    *kind = Kind::Park(Verdict { cause: Cause::Behind, error, attempts: 0 });
                }
                Kind::Park(_) => _ = parked_now.insert(key),
                Kind::Handle(_) | Kind::PassBy(_) => {}
            }
        }
    }

    /// Writes what will be parked to the topic of dead letters; what went wrong.
    async fn send_letters(&self, steps: &[Step]) -> Option<String> {
        let parks = |step: &&Step| matches!(&step.kind, Kind::Park(verdict) if verdict.cause != Cause::Behind);
        let new = steps.iter().filter(parks);
        if new.clone().count() + self.parked.len() > MOST_PARKED {
            return Some(format!("{MOST_PARKED} keys are parked already: this is no longer the fault of some events"));
        }
        for step in new {
            let Kind::Park(verdict) = &step.kind else { continue };
            if let Err(error) = self.shared.letters.send(&self.place, &step.record, verdict).await {
                return Some(error);
            }
        }
        None
    }

    async fn commit(&mut self, steps: &[Step]) -> Result<(), Fault> {
        let Some(last) = steps.last() else { return Ok(()) };
        let passing = steps.iter().all(|step| matches!(step.kind, Kind::PassBy(_)));
        if !passing || self.stored_at.elapsed() >= PASS_EVERY {
            commit::commit(&self.shared, &self.place, &self.stored, steps).await?;
            (self.stored, self.stored_at) = (last.after.clone(), Instant::now());
        }
        self.at = last.after.clone();
        self.progress.moved(self.at.next_offset);
        for step in steps {
            if let (Kind::Park(_), Some(key)) = (&step.kind, step.record.key()) {
                self.parked.insert(key.to_vec());
            }
            self.shared.count(&self.place, step);
        }
        self.shared.trouble(&self.place, At::Working, None);
        Ok(())
    }

    /// A record failed alone: again after a pause, or parked.
    async fn judge_failure(&mut self, step: &mut Step, fault: Fault, failed: u32) -> Result<(), Halt> {
        let (cause, error) = match fault {
            Fault::At(_, verdict) => (verdict.cause, verdict.error),
            Fault::Rows(error) => (Cause::Failed, error),
            Fault::Away(error) => return self.wait(failed, error).await,
            Fault::Fenced => return Err(Halt::Again("somebody else has moved its offsets".to_owned())),
        };
        let handler_failed = cause == Cause::Failed;
        if handler_failed {
            self.shared.stats.handler_errors.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("event_handler_error", "group" => self.place.group.clone(), "topic" => self.place.topic.clone())
                .increment(1);
        }
        let offset = step.record.offset();
        let retry = self.shared.retry;
        if handler_failed && failed < retry.attempts {
            tracing::warn!(
                topic = self.place.topic,
                partition = self.place.partition,
                offset,
                failed,
                error,
                "a handler failed"
            );
            return self.pause(retry.pause(failed)).await;
        }
        tracing::error!(
            topic = self.place.topic,
            partition = self.place.partition,
            offset,
            attempts = failed,
            error,
            "an event becomes a dead letter, and its key waits behind it"
        );
        step.kind = Kind::Park(Verdict { cause, error, attempts: i32::try_from(failed).unwrap_or(i32::MAX) });
        Ok(())
    }

    /// Says what is wrong, and waits before the next attempt.
    pub(super) async fn wait(&self, failed: u32, reason: String) -> Result<(), Halt> {
        self.shared.trouble(&self.place, At::Working, Some(&reason));
        self.pause(self.shared.retry.pause(failed)).await
    }

    async fn pause(&self, pause: Duration) -> Result<(), Halt> {
        tokio::select! {
            biased;
            () = self.shared.stopping.cancelled() => Err(Halt::Stopped),
            () = self.revoked.cancelled() => Err(Halt::Stopped),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// Does what people asked about dead letters.
    async fn settle_what_was_asked(&mut self) -> Result<(), Halt> {
        let place = self.place.clone();
        let asked = pg::tx(&self.shared.pool, &self.shared.schema, move |connection| {
            Box::pin(async move { letters::asked(connection, &place, ASKED_AT_ONCE).await })
        });
        let asked = match asked.await {
            Ok(asked) => asked,
            Err(error) => {
                self.shared.trouble(&self.place, At::Working, Some(&format!("Postgres: {error}")));
                return Ok(()); // The next look, or the next record, tells whether it is back.
            }
        };
        let mut all_done = true;
        for one in asked {
            all_done &= self.settle_key(&one).await?;
        }
        if all_done {
            self.shared.trouble(&self.place, At::Working, None);
        }
        Ok(())
    }

    pub(super) fn stopped(&self) -> bool {
        self.shared.stopping.is_cancelled() || self.revoked.is_cancelled()
    }
}
