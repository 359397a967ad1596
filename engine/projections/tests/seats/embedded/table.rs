//! The read model in a file: one row a seat, which follows the seat's stream, and counts how often it was held.

use std::sync::Arc;

use async_trait::async_trait;
use event_store::{RecordedEvent, StreamName};
use eventsourcing::aggregate::decoded;
use eventsourcing::{DecodeError, Timestamp};
use projection_engine::Projection;
use projection_engine::embedded::rows::{head, micros, time};
use projection_engine::embedded::{EmbeddedModel, Sqlite, SqliteError};
use projection_engine::projecting::changes::Changes;
use rusqlite::{Connection, params};

use crate::table::{SeatHeld, SeatSold};

const TABLE: &str = "
create table seats (
    seat text primary key, state text not null, guest text check (length(guest) <= 40), held_until integer,
    holds integer not null, stream_version integer not null, global_position integer not null, updated_at integer not null
) strict, without rowid;
";

const LOAD: &str = "
select state, guest, held_until, holds, stream_version, global_position, updated_at from seats where seat = ?1";

const UPSERT: &str = "insert or replace into seats values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// The read model of this release.
pub const SEATS: EmbeddedModel = EmbeddedModel {
    name: "seats",
    ddl: &[TABLE],
    tables: &["seats"],
    folds: 1,
    make: || Box::new(Seats::<1>::default()),
};

#[derive(Debug, Default)]
struct Seat {
    state: String,
    guest: Option<String>,
    held_until: Option<Timestamp>,
    holds: u32,
}

/// The projection of a release that reads `SeatHeld` up to schema version `KNOWS`.
#[derive(Debug, Default)]
pub struct Seats<const KNOWS: u16>(Changes<Seat>);

#[async_trait]
impl<const KNOWS: u16> Projection<Sqlite> for Seats<KNOWS> {
    fn name(&self) -> &'static str {
        SEATS.name
    }

    fn takes(&self, stream: &StreamName) -> bool {
        stream.category() == "seat"
    }

    async fn load(&mut self, sql: &mut Connection, events: &[Arc<RecordedEvent>]) -> Result<(), SqliteError> {
        self.0.look_up(sql, events, LOAD, |statement, stream| {
            statement.query_row([stream.id()], |row| {
                let held_until = row.get::<_, Option<i64>>(2)?.map(time);
                Ok((head(row)?, Seat { state: row.get(0)?, guest: row.get(1)?, held_until, holds: row.get(3)? }))
            })
        })
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.0.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let (name, schema, data) = (&*event.event_type, event.schema_version, event.data.get());
        match name {
            "SeatHeld" => {
                let SeatHeld { guest, until } = decoded(&[], name, KNOWS.min(schema), schema, data)?;
                let seat = self.0.row(event);
                let holds = seat.holds + 1;
                *seat = Seat { state: "held".to_owned(), guest: Some(guest), held_until: Some(until), holds };
            }
            "SeatSold" => {
                let SeatSold { guest } = decoded(&[], name, 1, schema, data)?;
                let seat = self.0.row(event);
                *seat = Seat { state: "sold".to_owned(), guest: Some(guest), held_until: None, holds: seat.holds };
            }
            unknown => return Err(DecodeError::UnknownType(unknown.to_owned())),
        }
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.0.row(event);
    }

    async fn write(&mut self, sql: &mut Connection) -> Result<(), SqliteError> {
        self.0.upsert(sql, UPSERT, |statement, stream, row| {
            let (seat, head) = (&row.value, &row.head);
            let (held_until, updated_at) = (seat.held_until.map(micros), micros(head.updated_at));
            let at = (head.version_column(), head.position_column());
            statement.execute(params![
                stream.id(),
                seat.state,
                seat.guest,
                held_until,
                seat.holds,
                at.0,
                at.1,
                updated_at
            ])
        })
    }
}
