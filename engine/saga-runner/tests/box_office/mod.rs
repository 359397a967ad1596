//! A box office over an embedded log: its desk books seats, its seats are held and sold by the commands of sagas.

#[path = "process.rs"]
pub mod process;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use engine_runtime::{Clock, Tasks};
use event_store::{
    Append, AppendError, Direction, EventStore, Expected, Filter, Metadata, NewEvent, Position, RecordedEvent, Source,
    SqliteOptions, SqliteStore, StreamName, Subscription, WholeLog,
};
use parking_lot::Mutex;
use process::{BOOKING, Booking, BoxOffice, Command, Facts, Patience};
use saga_engine::process::Process as _;
use saga_engine::view::View;
use saga_runner::checkpoint::Key;
use saga_runner::{CommandPort, Dispatch, Limits, Outcome, Partitions, Sagas, Setup};
use serde_json::value::to_raw_value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a guest has to pay.
pub const TO_PAY: Duration = Duration::from_secs(600);

/// The seats: they carry the sagas' commands out, each with an event of the log.
pub struct Seats {
    store: Arc<SqliteStore>,
    clock: Clock,
    /// Whether the answers get lost, after a command was carried out.
    pub silent: AtomicBool,
    /// The ids and bodies of all commands that came.
    pub came: Mutex<Vec<(Uuid, String)>>,
}

#[async_trait]
impl CommandPort for Seats {
    async fn dispatch(&self, dispatch: Dispatch) -> Outcome {
        self.came.lock().push((dispatch.command_id, dispatch.body.get().to_owned()));
        let outcome = self.decide(&dispatch).await;
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        outcome
    }
}

impl Seats {
    async fn decide(&self, dispatch: &Dispatch) -> Outcome {
        let command: Command = serde_json::from_str(dispatch.body.get()).expect("the saga's own command");
        let stream: StreamName = BoxOffice::target(&command).parse().expect("a seat's stream");
        let events = self.store.read_stream(&stream, 0, Direction::Forward, 1_000).await.expect("the log is open");
        if events.iter().any(|event| event.metadata.command_id == dispatch.command_id) {
            return Outcome::Done; // It was carried out before.
        }
        let holder = events.last().filter(|event| &*event.event_type != "SeatReleased").map(|event| event.data.get());
        let (event_type, guest, needs_hold) = match &command {
            Command::Hold { guest, .. } => ("SeatHeld", guest, false),
            Command::Release { guest, .. } => ("SeatReleased", guest, true),
            Command::Sell { guest, .. } => ("SeatSold", guest, true),
        };
        let data = to_raw_value(guest).expect("a name is JSON");
        if matches!(command, Command::Release { .. }) && holder != Some(data.get()) {
            return Outcome::Done; // The guest holds nothing that could be released.
        }
        if holder.is_some_and(|holder| holder != data.get()) || (holder.is_none() && needs_hold) {
            return Outcome::Rejected { code: "seat-taken".into(), detail: "another guest has the seat".into() };
        }
        let metadata = Metadata {
            partition_key: stream.to_string(),
            correlation_id: dispatch.correlation_id,
            causation_id: dispatch.causation_id,
            command_id: dispatch.command_id,
            command_hash: None,
            traceparent: None,
            actor: dispatch.actor.clone(),
            occurred_at: self.clock.now(),
        };
        let id = BoxOffice::IDS.event_id(dispatch.command_id, 0, data.get());
        let event_type = event_type.into();
        let event = NewEvent { id, event_type, schema_version: 1, data, metadata: Arc::new(metadata) };
        let expected = Expected::at(events.last().map(|event| event.version));
        match append(&self.store, Append { stream, expected, events: vec![event] }).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Unavailable { detail: error.to_string(), retry_after: None },
        }
    }
}

async fn append(store: &SqliteStore, append: Append) -> Result<(), AppendError> {
    store.append(append).await?.durable().await.map(|_| ())
}

/// The log as its only partition, and from where it was followed.
struct Followed {
    log: WholeLog,
    after: Mutex<Vec<Position>>,
}

#[async_trait]
impl Source for Followed {
    fn partition(&self) -> u32 {
        self.log.partition()
    }

    async fn follow(&self, after: Position, filter: Filter) -> Result<Subscription, event_store::ReadError> {
        self.after.lock().push(after);
        self.log.follow(after, filter).await
    }
}

/// A box office that is open.
pub struct Office {
    pub store: Arc<SqliteStore>,
    pub seats: Arc<Seats>,
    pub sagas: Sagas<BoxOffice>,
    clock: Clock,
    tasks: Tasks,
    source: Arc<Followed>,
    running: JoinSet<()>,
}

impl Office {
    /// Opens the log and runs its sagas.
    pub fn open(dir: &Path, clock: &Clock) -> Self {
        let store = SqliteStore::open(dir, SqliteOptions::default()).expect("the log can be opened");
        let (silent, came) = (AtomicBool::new(false), Mutex::default());
        let seats = Arc::new(Seats { store: store.clone(), clock: clock.clone(), silent, came });
        let tasks = Tasks::new();
        let sagas = Sagas::new(Setup {
            store: store.clone(),
            commands: seats.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            settings: Patience { to_pay: TO_PAY },
            limits: Limits::default(),
            partitions: Partitions::ONE,
        })
        .expect("the table of steps can be followed");
        let source = Arc::new(Followed { log: WholeLog(store.clone()), after: Mutex::default() });
        let mut running = JoinSet::new();
        let (run, partition) = (sagas.clone(), source.clone());
        running.spawn(async move { run.run(partition, CancellationToken::new()).await });
        Self { store, seats, sagas, clock: clock.clone(), tasks, source, running }
    }

    /// From which position the log was followed first.
    pub fn followed_after(&self) -> Option<Position> {
        self.source.after.lock().first().copied()
    }

    /// Stops as a program does: the checkpoint is saved.
    pub async fn close(mut self) {
        assert!(self.tasks.shut_down(Duration::from_secs(10)).await, "the sagas stop in time");
        while self.running.join_next().await.is_some() {}
        self.store.close().await;
    }

    /// Dies in the midst of whatever it does: no checkpoint is saved.
    pub async fn die(mut self) {
        self.running.abort_all();
        while self.running.join_next().await.is_some() {}
        self.store.close().await;
    }

    /// Something happens to a booking.
    pub async fn happens(&self, stream: &str, booking: u128, event_type: &str, data: &impl serde::Serialize) {
        let id = BoxOffice::IDS.derive(&[stream, event_type]);
        let metadata = Metadata {
            partition_key: Uuid::from_u128(booking).to_string(),
            correlation_id: id,
            causation_id: id,
            command_id: id,
            command_hash: None,
            traceparent: None,
            actor: "the desk".into(),
            occurred_at: self.clock.now(),
        };
        let data = to_raw_value(data).expect("plain structs are JSON");
        let event_type = event_type.into();
        let event = NewEvent { id, event_type, schema_version: 1, data, metadata: Arc::new(metadata) };
        let stream = stream.parse().expect("a stream's name");
        let appended = append(&self.store, Append { stream, expected: Expected::Any, events: vec![event] }).await;
        appended.expect("the log can be written");
    }

    /// The desk books a seat.
    pub async fn book(&self, booking: u128, seat: &str, guest: &str) {
        let facts = Facts { booking_id: Uuid::from_u128(booking), seat: seat.into(), guest: guest.into() };
        self.happens(&format!("desk-{booking}"), booking, "SeatBooked", &facts).await;
    }

    /// The guest pays.
    pub async fn pay(&self, booking: u128) {
        let stream = format!("bill-{}", Uuid::from_u128(booking));
        self.happens(&stream, booking, "BillPaid", &serde_json::json!({})).await;
    }

    /// The events of a stream.
    pub async fn events(&self, stream: &str) -> Vec<RecordedEvent> {
        let stream = stream.parse().expect("a stream's name");
        self.store.read_stream(&stream, 0, Direction::Forward, 1_000).await.expect("the log is open")
    }

    /// The types of the events of a stream.
    pub async fn types(&self, stream: &str) -> Vec<String> {
        self.events(stream).await.iter().map(|event| event.event_type.to_string()).collect()
    }

    /// The types of the events of a booking's saga once the last of them is this one.
    pub async fn saga_until(&self, booking: u128, last: &str) -> Vec<String> {
        let stream = saga(booking);
        let follows = async {
            loop {
                let types = self.types(&stream).await;
                if types.last().is_some_and(|it| it == last) {
                    return types;
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), follows).await {
            Ok(types) => types,
            Err(_) => panic!("no {last} at the end of {:?}", self.types(&stream).await),
        }
    }

    /// How a booking's saga stands.
    pub async fn view(&self, booking: u128) -> View<process::Tickets> {
        let mut view = View::default();
        let stream = saga(booking).parse().expect("a stream's name");
        let fold = |recorded: &RecordedEvent, event: Result<_, _>| {
            view.fold(&event.expect("an event of ours"), recorded.metadata.occurred_at);
        };
        saga_runner::stream::read::<BoxOffice>(&*self.store, &stream, fold).await.expect("the log is open");
        view
    }
}

/// The stream of a booking's saga.
pub fn saga(booking: u128) -> String {
    BoxOffice::stream(BOOKING, Uuid::from_u128(booking))
}

/// A booking's saga.
pub fn key(booking: u128) -> Key<Booking> {
    let id = Uuid::from_u128(booking);
    Key { saga: BOOKING.into(), id, subject: Booking { booking_id: id } }
}
