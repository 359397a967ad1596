//! A box office on the engines and the embedded log: a guest books a seat, pays in time, and gets it. `README.md` is a
//! tutorial that reads these files in this sequence: `seat.rs`, `booking.rs`, `saga.rs`, `seat_map.rs`, `bookings.rs`, and
//! this one, which starts everything.

#![allow(missing_docs, reason = "an example: its payloads and states say what they are")]

pub mod booking;
pub mod bookings;
pub mod saga;
pub mod seat;
pub mod seat_map;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use command_engine::{CommandEngine, CommandMeta, Origin, Reply, Request, SendError};
use engine_runtime::{Clock, Tasks};
use event_store::{EventStore, Position, SqliteOptions, SqliteStore};
use eventsourcing::{Aggregate, Namespace, ids};
use projection_engine::embedded::{self, EmbeddedReadModels};
use projection_engine::{ProjectionEngine, ReadModels};
use saga_engine::TimesInTable;
use saga_runner::{CommandPort, Dispatch, Limits, Outcome, Partitions, Sagas, Setup, in_process};
use tokio::sync::watch;
use uuid::Uuid;

use crate::booking::{BookSeat, Booking, PayBooking};
use crate::saga::Tickets;
use crate::seat::Seat;

/// The namespace of this program's ids. Drawn once, and never changed.
pub const IDS: Namespace = Namespace::new(0x7469_636b_6574_4000_8000_0000_0000_0001);

/// Everything at work over one folder.
pub struct BoxOffice {
    commands: Arc<CommandEngine>,
    /// The seat map, in a file beside the log.
    pub seat_map: EmbeddedReadModels,
    /// The bookings, where there is a Postgres.
    pub bookings: Option<ProjectionEngine>,
    pub sagas: Sagas<Tickets>,
    store: Arc<SqliteStore>,
    tasks: Tasks,
}

impl BoxOffice {
    /// Opens the box office in a folder. What it had begun before goes on.
    ///
    /// # Errors
    /// The log, the read models or the sagas cannot be opened.
    pub async fn open(folder: &Path, clock: &Clock, postgres: Option<String>) -> anyhow::Result<Self> {
        let (tasks, options) = (Tasks::new(), SqliteOptions::default());
        let sqlite = SqliteStore::open(folder, options).context("the log cannot be opened")?;
        let store: Arc<dyn EventStore> = sqlite.clone();
        let commands = CommandEngine::new(store.clone(), clock.clone(), tasks.clone(), IDS);
        let commands = Arc::new(commands.with::<Seat>().with::<Booking>());
        let (path, models) = (folder.join("seat_map.db"), vec![seat_map::SEAT_MAP]);
        let file = embedded::Setup { path, ids: IDS, models, store: store.clone(), tasks: tasks.clone() };
        let seat_map = EmbeddedReadModels::open(file).await?;
        let bookings = postgres.map(|url| {
            let models = Arc::new(ReadModels::new(IDS, [bookings::BOOKINGS]));
            let (store, url) = (store.clone(), watch::Sender::new(Some(url)).subscribe());
            let setup = projection_engine::Setup { models, only: Vec::new(), store, url, tasks: tasks.clone() };
            ProjectionEngine::start(setup)
        });
        let sagas = Sagas::start(Setup {
            store,
            commands: Arc::new(ToAggregates(commands.clone())),
            clock: clock.clone(),
            tasks: tasks.clone(),
            settings: TimesInTable,
            limits: Limits::default(),
            partitions: Partitions::ONE,
        })?;
        Ok(Self { commands, seat_map, bookings, sagas, store: sqlite, tasks })
    }

    /// Books a seat for a guest. The same request again, under the same key, is the same booking.
    ///
    /// # Errors
    /// [`SendError`]
    pub async fn book(&self, key: &str, seat: &str, guest: &str, price_cents: u64) -> Result<Uuid, SendError> {
        let booking = IDS.derive(&["booking", key]);
        let (seat, guest) = (seat.to_owned(), guest.to_owned());
        let command = booking::Command::BookSeat(BookSeat { booking, seat, guest, price_cents });
        self.ask::<Booking>(key, booking.to_string(), command.name(), &command).await?;
        Ok(booking)
    }

    /// A guest pays.
    ///
    /// # Errors
    /// [`SendError`]: the sum is another one, or the booking has ended.
    pub async fn pay(&self, key: &str, booking: Uuid, cents: u64) -> Result<Reply, SendError> {
        let command = booking::Command::PayBooking(PayBooking { cents });
        self.ask::<Booking>(key, booking.to_string(), command.name(), &command).await
    }

    async fn ask<A: Aggregate>(
        &self,
        key: &str,
        id: String,
        name: &'static str,
        command: &A::Command,
    ) -> Result<Reply, SendError> {
        let command_id = IDS.derive(&["request", key]);
        let hash = serde_json::to_string(command).map(|body| ids::sha256_hex(&body)).map_err(SendError::unavailable)?;
        let machine = CommandMeta::machine(command_id, command_id, command_id, "guest");
        let meta = CommandMeta { origin: Origin::Client, command_hash: Some(hash), ..machine };
        send::<A>(&self.commands, &id, name, command, &meta).await
    }

    /// Where the log ends now.
    pub fn position(&self) -> Position {
        *self.store.head().borrow()
    }

    /// The log, for readers of what happened.
    pub fn log(&self) -> Arc<dyn EventStore> {
        self.store.clone()
    }

    /// Stops everything. Nothing is lost without it, either.
    pub async fn close(self) {
        self.tasks.shut_down(Duration::from_secs(10)).await;
        self.store.close().await;
    }
}

/// Carries the commands of sagas to the aggregates of this process.
struct ToAggregates(Arc<CommandEngine>);

#[async_trait]
impl CommandPort for ToAggregates {
    async fn dispatch(&self, dispatch: Dispatch) -> Outcome {
        let (command, meta) = match in_process::command(dispatch) {
            Ok(both) => both,
            Err(unknown) => return unknown,
        };
        in_process::outcome(match command {
            saga::Command::Seat { seat, command } => {
                send::<Seat>(&self.0, &seat, command.name(), &command, &meta).await
            }
            saga::Command::Booking { booking, command } => {
                send::<Booking>(&self.0, &booking.to_string(), command.name(), &command, &meta).await
            }
        })
    }
}

async fn send<A: Aggregate>(
    commands: &CommandEngine,
    id: &str,
    name: &'static str,
    command: &A::Command,
    meta: &CommandMeta,
) -> Result<Reply, SendError> {
    let stream = format!("{}-{id}", A::CATEGORY).parse().map_err(SendError::unavailable)?;
    commands.send::<A>(Request { name, stream, command, meta, begins: false }).await
}
