//! The relay: publishes the log to the topic, in the order in which it was committed.
//!
//! The topic is its own checkpoint. A session begins where the partition that is furthest behind ends (watermarks keep
//! them close together), so it can only be behind acknowledged records, never ahead; it repeats some, and followers pass
//! repeats by. Whatever fails, the session ends and another begins from what the topic then holds.
//!
//! One relay is active at a time: the member of a consumer group to which the one partition of the control topic
//! `<topic>.relay` is assigned. One that dies is replaced within the session time-out and a second. A relay that was paused
//! and wakes does not know that it was replaced; it can only repeat what is published already, in the midst of its
//! successor's records, until it hears of it. Claims (see [`crate::cloudevents`]) make that harmless, so no lease is
//! needed that would grow the log for ever.
//!
//! A follower cannot see from repeats at the very end of a partition that it is behind them. So an idle relay looks every
//! five seconds whether its own record is the last one of each partition, and says again how far the log is where it is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use event_store::{Delivery, EventStore, Filter, Position};
use parking_lot::Mutex;
use service_kit::Pauses;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::BusConfig;
use crate::connection::blocking;
use crate::error::BusError;
use crate::membership::{Held, Membership};
use crate::outgoing::{Large, Run};
use crate::records::Records;
use crate::tails::Tails;
use crate::topics::{self, Room};
use crate::word::{self, Word};

/// Between two sessions of which the first failed.
const PAUSES: Pauses = Pauses::doubling(Duration::from_millis(200), Duration::from_secs(2));
/// A session that lasted so long was not failed by what failed the one before.
const WENT_WELL: Duration = Duration::from_secs(4);
/// The interval at which the metrics are updated.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// The interval at which followers are informed why no events arrive.
const SAY_EVERY: Duration = Duration::from_secs(30);
/// How often an idle relay looks whether its records are the last ones.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often a relay that stands by looks whether the topics are still there.
const TOPICS_EVERY: Duration = Duration::from_secs(10);
/// How long what is under way may take to be acknowledged at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// How the relay is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether this is the active one.
    pub active: bool,
    /// Everything at or below is acknowledged by Kafka.
    pub position: Position,
    /// Where the log ends.
    pub head: Position,
    /// Why nothing is published, if it should be.
    pub trouble: Option<String>,
    /// The same in one word: [`BusError::cause`].
    pub cause: Option<&'static str>,
    /// What will be trouble one day: a topic that takes less than an event can have.
    pub note: Option<String>,
}

/// Publishes a log while it is the active one.
pub struct Relay {
    config: Arc<BusConfig>,
    store: Arc<dyn EventStore>,
    status: watch::Sender<Status>,
    /// Since when nothing is published, and whether those who follow were told why.
    stalled: Mutex<Option<Stalled>>,
    /// Whether those who follow were last told, by this relay or by one before it, why nothing comes.
    complained: AtomicBool,
}

/// That nothing is published.
#[derive(Debug, Clone)]
struct Stalled {
    since: Instant,
    cause: &'static str,
    said: Option<Instant>,
}

impl Relay {
    /// A relay of this log. Nothing happens until [`Self::run`].
    pub fn new(config: BusConfig, store: Arc<dyn EventStore>) -> Self {
        let (status, stalled, complained) = (watch::Sender::default(), Mutex::default(), AtomicBool::new(false));
        Self { config: Arc::new(config), store, status, stalled, complained }
    }

    /// How it is, as that changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Publishes while it is the active one, until `stop` fires; then what is under way is acknowledged (bounded) and the
    /// next relay takes over at once. Waits for Kafka and the store, and says so.
    ///
    /// # Errors
    /// [`BusError`] that trying again does not help: wrong settings, a topic that is refused.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), BusError> {
        tokio::select! {
            ready = self.topics_ready() => { ready?; }
            () = stop.cancelled() => return Ok(()),
        }
        service_kit::metrics::present_with(
            "backstitch_relay_sessions_failed_total",
            "cause",
            BusError::CAUSES.iter().copied(),
        );
        service_kit::metrics::present_with("backstitch_bus_published_total", "kind", ["event", "public", "watermark"]);
        let control = self.config.control_topic();
        let membership = Membership::join(&self.config, &control, &control)?;
        let outcome = self.take_turns(&membership, &stop).await;
        membership.leave().await;
        outcome
    }

    async fn take_turns(&self, membership: &Membership, stop: &CancellationToken) -> Result<(), BusError> {
        loop {
            self.tell(|status| status.active = false);
            let held = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                held = membership.next() => held,
                () = tokio::time::sleep(TOPICS_EVERY) => {
                    // A Kafka that was emptied has no control topic by which anybody could become active.
                    tokio::select! {
                        ready = self.topics_ready() => { ready?; }
                        () = stop.cancelled() => return Ok(()),
                    }
                    continue;
                }
            };
            let Some(held) = held else { return Ok(()) };
            tracing::info!(topic = self.config.topic, "this relay is the active one");
            self.tell(|status| status.active = true);
            self.while_active(&held, stop).await?;
            tracing::info!(topic = self.config.topic, "this relay stands by");
        }
    }

    /// Session after session, until another relay's turn comes.
    async fn while_active(&self, held: &Held, stop: &CancellationToken) -> Result<(), BusError> {
        let mut pauses = PAUSES;
        let mut heard = false;
        loop {
            let began = Instant::now();
            // Beside the session: nothing is published any later for it.
            let hears = async { heard || self.hears_the_last_word(held, stop).await };
            let (outcome, answered) = tokio::join!(self.session(held, stop), hears);
            heard = answered;
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, cause = error.cause(), "the relay begins again from where the topic ends");
                    self.stalls(&error).await;
                }
            }
            if began.elapsed() > WENT_WELL {
                pauses.went_well();
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = held.revoked.cancelled() => return Ok(()),
                () = tokio::time::sleep(pauses.failed()) => {}
            }
        }
    }

    /// Reads what the relay before this one said last: a complaint of it is taken back once something is published. `false`:
    /// Kafka did not answer.
    async fn hears_the_last_word(&self, held: &Held, stop: &CancellationToken) -> bool {
        let heard = tokio::select! {
            heard = word::heard(&self.config) => heard,
            () = stop.cancelled() => return true,
            () = held.revoked.cancelled() => return true,
        };
        if let Ok(Some(Word { trouble: Some(_), .. })) = &heard {
            self.complained.store(true, Ordering::Relaxed);
        }
        heard.is_ok()
    }

    /// Nothing is published: counts it, and tells `/health` and those who follow why.
    async fn stalls(&self, error: &BusError) {
        let cause = error.cause();
        metrics::counter!("backstitch_relay_sessions_failed_total", "cause" => cause).increment(1);
        self.tell(|status| (status.trouble, status.cause) = (Some(error.to_string()), Some(cause)));
        let due = {
            let mut stalled = self.stalled.lock();
            let before = stalled.take();
            if let Some(before) = before.as_ref().filter(|before| before.cause != cause) {
                metrics::gauge!("backstitch_relay_stalled_s", "cause" => before.cause).set(0.0);
            }
            let since = before.as_ref().map_or_else(Instant::now, |before| before.since);
            let said = before.filter(|before| before.cause == cause).and_then(|before| before.said);
            let due = said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
            metrics::gauge!("backstitch_relay_stalled_s", "cause" => cause).set(since.elapsed().as_secs_f64());
            *stalled = Some(Stalled { since, cause, said: if due { Some(Instant::now()) } else { said } });
            due
        };
        // A Kafka that is away cannot be told anything.
        if due && cause != "kafka" {
            self.say(Some(error.to_string()), Some(cause)).await;
        }
    }

    /// Something was published again.
    async fn goes_on(&self) {
        let stalled = self.stalled.lock().take();
        if let Some(stalled) = stalled {
            metrics::gauge!("backstitch_relay_stalled_s", "cause" => stalled.cause).set(0.0);
            tracing::info!(
                stalled_s = stalled.since.elapsed().as_secs(),
                cause = stalled.cause,
                "the relay publishes again"
            );
        }
        if self.complained.load(Ordering::Relaxed) {
            self.say(None, None).await;
        }
    }

    async fn say(&self, trouble: Option<String>, cause: Option<&str>) {
        let word = Word { position: self.status.borrow().position, trouble, cause: cause.map(str::to_owned) };
        let complains = word.trouble.is_some();
        match word::say(&self.config, &word).await {
            Ok(()) => self.complained.store(complains, Ordering::Relaxed),
            Err(error) => {
                // It may have been taken all the same. What is not taken back now is taken back at the next look.
                self.complained.fetch_or(complains, Ordering::Relaxed);
                tracing::debug!(%error, "those who follow could not be told how the relay is");
            }
        }
    }

    /// Publishes until the turn is over (`Ok`) or something fails.
    async fn session(&self, held: &Held, stop: &CancellationToken) -> Result<(), BusError> {
        let over = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = held.revoked.cancelled() => {}
            }
        };
        tokio::pin!(over);
        let begin = async {
            let room = self.topics_ready().await?;
            let tails = Tails::of(&self.config).await?;
            tails.are_of(&self.config, &*self.store).await?;
            Ok::<_, BusError>((tails.whole_up_to(), room))
        };
        let (after, room) = tokio::select! {
            begun = begin => begun?,
            () = &mut over => return Ok(()),
        };
        tracing::info!(topic = self.config.topic, %after, "publishing");
        // A session that begins is not over what the last one failed at: that shows when something is acknowledged.
        self.tell(|status| status.position = after);
        let whole = after >= *self.store.head().borrow();
        if self.stalled.lock().is_none() || whole {
            self.tell(|status| (status.trouble, status.cause) = (None, None));
        }
        if whole {
            self.goes_on().await;
        }
        let mut session = Session {
            run: Run::new(self.config.clone(), after, true, room)?,
            relay: self,
            published: after,
            watermark: None,
            last_watermark: Instant::now(),
        };
        // What is dropped here in the midst of a wait was not handed over; what was is waited for below.
        let outcome = tokio::select! {
            outcome = session.publish(after) => outcome,
            () = over => Ok(()),
        };
        if outcome.is_ok() {
            match tokio::time::timeout(DRAIN, session.drain()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "not everything was acknowledged; the next relay repeats it"),
                Err(_) => tracing::warn!("not everything was acknowledged in time; the next relay repeats it"),
            }
        }
        self.tell(|status| status.position = session.run.position());
        outcome
    }

    async fn topics_ready(&self) -> Result<Room, BusError> {
        let waits = |error: &BusError| {
            self.tell(|status| (status.trouble, status.cause) = (Some(error.to_string()), Some(error.cause())));
        };
        let room = topics::all_ready(&self.config, waits).await?;
        let note = too_small(&room);
        if let Some(note) = note.as_ref().filter(|note| self.status.borrow().note.as_ref() != Some(*note)) {
            tracing::warn!("{note}");
        }
        let stalled = self.stalled.lock().is_some();
        self.tell(|status| {
            status.note = note;
            if !stalled {
                (status.trouble, status.cause) = (None, None);
            }
        });
        Ok(room)
    }

    fn tell(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            status.head = (*self.store.head().borrow()).max(status.position);
            #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
            {
                metrics::gauge!("backstitch_relay_active").set(f64::from(u8::from(status.active)));
                metrics::gauge!("backstitch_relay_position").set(status.position.0 as f64);
                let lag = if status.active { status.head.0 - status.position.0 } else { 0 };
                metrics::gauge!("backstitch_relay_lag_positions").set(lag as f64);
            }
            *status != before
        });
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relay({})", self.config.topic)
    }
}

/// One attempt.
struct Session<'a> {
    relay: &'a Relay,
    run: Run,
    /// The last event that was handed to the producer.
    published: Position,
    /// When to say how far the log is; `None`: it was said.
    watermark: Option<Instant>,
    last_watermark: Instant,
}

impl Session<'_> {
    /// Until something fails.
    async fn publish(&mut self, after: Position) -> Result<(), BusError> {
        let every = self.relay.config.watermark_every();
        let mut subscription = self.relay.store.subscribe(after, Filter::default()).await?;
        let (mut told, mut looked) = (Instant::now(), Instant::now());
        loop {
            let wake = [Some(told + TELL_EVERY), Some(looked + LOOK_EVERY), self.watermark];
            let wake = wake.into_iter().flatten().min().unwrap_or(told + TELL_EVERY);
            tokio::select! {
                biased;
                error = self.run.failed() => return Err(error),
                () = tokio::time::sleep_until(wake) => {}
                delivery = subscription.next() => match delivery {
                    Some(Ok(Delivery::Events { events, .. })) if !events.is_empty() => {
                        self.run.publish(&events).await?;
                        self.published = events.last().map_or(self.published, |event| event.position);
                        // At once if the last one is long ago, so that a single event is told without delay.
                        self.watermark.get_or_insert((self.last_watermark + every).max(Instant::now()));
                    }
                    Some(Ok(Delivery::Events { .. } | Delivery::CaughtUp)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(closed()),
                },
            }
            let now = Instant::now();
            if self.watermark.is_some_and(|due| due <= now) {
                self.watermark = None;
                self.last_watermark = now;
                let all: Vec<u32> = (0..self.relay.config.partitions).collect();
                self.run.watermark(self.published, &all, false).await?;
            }
            if told + TELL_EVERY <= now {
                told = now;
                let position = self.run.position();
                if position > after {
                    self.relay.tell(|status| (status.trouble, status.cause) = (None, None));
                    self.relay.goes_on().await;
                }
                let large = self.run.large().filter(|large| large.position > position).map(Large::told);
                self.relay.tell(|status| {
                    status.position = position;
                    status.note = large.or(status.note.take().filter(|note| !note.starts_with(Large::TOLD)));
                });
            }
            if looked + LOOK_EVERY <= now {
                looked = now;
                self.look().await?;
            }
        }
    }

    /// Says how far the log is, where that is still to be said, and waits until everything is acknowledged.
    async fn drain(&mut self) -> Result<(), BusError> {
        if self.watermark.is_some() {
            let all: Vec<u32> = (0..self.relay.config.partitions).collect();
            self.run.watermark(self.published, &all, false).await?;
        }
        self.run.acknowledged().await
    }

    /// Where somebody else's record is the last one, says again how far the log is.
    async fn look(&mut self) -> Result<(), BusError> {
        if self.watermark.is_some() || self.run.position() < self.published {
            return Ok(()); // Not idle: more follows anyway.
        }
        let config = self.relay.config.clone();
        let ends = blocking(move || {
            let ends = (0..config.partitions).map(|partition| {
                let records = Records::new(&config, &config.topic, partition)?;
                let (_, end) = records.ends()?;
                crate::connection::close_apart(records);
                Ok(end)
            });
            ends.collect::<Result<Vec<i64>, BusError>>()
        });
        let ends = ends.await?;
        let others: Vec<u32> = (0_u32..)
            .zip(ends)
            .filter(|(partition, end)| self.run.last_offset(*partition).map_or(*end > 0, |last| last + 1 < *end))
            .map(|(partition, _)| partition)
            .collect();
        if !others.is_empty() {
            tracing::info!(partitions = ?others, "others have published behind this relay; saying again how far the log is");
            self.run.watermark(self.published, &others, true).await?;
        }
        Ok(())
    }
}

/// Which topics take less than an event can have, and what to do: better known before there is such an event.
fn too_small(room: &Room) -> Option<String> {
    let largest: usize = topics::MAX_RECORD_BYTES.parse().ok()?;
    let (topic, bytes) = room.iter().find(|(_, bytes)| **bytes < largest)?;
    Some(format!(
        "the topic `{topic}` takes records of up to {bytes} bytes, and an event can have up to {largest}: the relay would wait \
         at a larger one; raise it: kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config \
         max.message.bytes={largest}"
    ))
}

fn closed() -> BusError {
    BusError::Store(event_store::ReadError::Unavailable {
        path: "the log".to_owned(),
        reason: "it was closed".to_owned(),
    })
}
