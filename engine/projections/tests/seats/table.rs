//! The read model: one row a seat, which follows the seat's stream, and counts how often it was held.

use std::sync::Arc;

use async_trait::async_trait;
use event_store::{RecordedEvent, StreamName};
use eventsourcing::aggregate::decoded;
use eventsourcing::{DecodeError, Namespace, Timestamp};
use projection_engine::projecting::changes::{Changes, Head, text};
use projection_engine::projecting::upsert::Upsert;
use projection_engine::{Projection, ReadModel, ReadModels};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row as _};

/// The ids of this application. Drawn once, and never changed.
pub const IDS: Namespace = Namespace::new(0x7365_6174_735f_4000_8000_0000_0000_0002);

const TABLE: &str = "
create table seats (
    seat text collate \"C\" primary key, state text not null, guest varchar(40), held_until timestamptz,
    holds integer not null,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null
);
";

const LOAD: &str = "
select seat, state, guest, held_until, holds, stream_version, global_position, updated_at from seats where seat = any($1)";

/// How many seats are in each state: a view over the tables of read models.
const VIEWS: &str = "create view seats_by_state as select state, count(*) as seats from seats group by state;";

/// The read model of this release.
pub const SEATS: ReadModel = ReadModel {
    name: "seats",
    ddl: &[TABLE],
    indexes: &[],
    tables: &["seats"],
    marks: false,
    begins_row: true,
    folds: 1,
    earlier: None,
    make: || Box::new(Seats::default()),
};

/// The read models of a release.
pub fn release(model: ReadModel) -> Arc<ReadModels> {
    Arc::new(ReadModels::new(IDS, [model]).with_views(VIEWS))
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SeatHeld {
    pub guest: String,
    pub until: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SeatSold {
    pub guest: String,
}

#[derive(Debug, Default)]
struct Seat {
    state: String,
    guest: Option<String>,
    held_until: Option<Timestamp>,
    /// How often it was held: an event that is counted twice, or left out, shows.
    holds: i32,
}

/// The projection. `knows` is the newest schema version of `SeatHeld` that this program reads.
#[derive(Debug)]
pub struct Seats {
    seats: Changes<Seat>,
    knows: u16,
}

impl Default for Seats {
    fn default() -> Self {
        Self { seats: Changes::default(), knows: 1 }
    }
}

impl Seats {
    /// That of the next release, which reads `SeatHeld` of schema version 2 as well.
    pub fn of_next_release() -> Self {
        Self { knows: 2, ..Self::default() }
    }
}

#[async_trait]
impl Projection for Seats {
    fn name(&self) -> &'static str {
        SEATS.name
    }

    fn takes(&self, stream: &StreamName) -> bool {
        stream.category() == "seat"
    }

    async fn load(&mut self, sql: &mut PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
        let missing = self.seats.missing(events.iter().map(AsRef::as_ref));
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = missing.iter().map(StreamName::id).collect();
        for row in sqlx::query(LOAD).bind(names).fetch_all(sql).await? {
            let (state, guest, held_until) = (row.try_get("state")?, row.try_get("guest")?, row.try_get("held_until")?);
            let seat = Seat { state, guest, held_until, holds: row.try_get("holds")? };
            if let Ok(stream) = format!("seat-{}", row.try_get::<&str, _>("seat")?).parse() {
                self.seats.loaded(stream, Head::of_row(&row)?, seat);
            }
        }
        Ok(())
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.seats.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let (name, schema, data) = (&*event.event_type, event.schema_version, event.data.get());
        match name {
            "SeatHeld" => {
                let SeatHeld { guest, until } = decoded(&[], name, self.knows.min(schema), schema, data)?;
                let seat = self.seats.row(event);
                let holds = seat.holds + 1;
                *seat = Seat { state: "held".to_owned(), guest: Some(guest), held_until: Some(until), holds };
            }
            "SeatSold" => {
                let SeatSold { guest } = decoded(&[], name, 1, schema, data)?;
                let seat = self.seats.row(event);
                *seat = Seat { state: "sold".to_owned(), guest: Some(guest), held_until: None, holds: seat.holds };
            }
            unknown => return Err(DecodeError::UnknownType(unknown.to_owned())),
        }
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.seats.row(event);
    }

    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        let changed = self.seats.changed();
        if changed.is_empty() {
            return Ok(());
        }
        Upsert::new("seats", &changed)
            .key("seat", |(stream, _)| stream.id().to_owned())
            .set("state", |(_, row)| row.value.state.clone())
            .set("guest", |(_, row)| row.value.guest.as_deref().map(text))
            .set("held_until", |(_, row)| row.value.held_until)
            .set("holds", |(_, row)| row.value.holds)
            .head(|(_, row)| row.head)
            .execute(sql)
            .await?;
        self.seats.written();
        Ok(())
    }
}
