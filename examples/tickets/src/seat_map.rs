//! The seat map, a read model in a file: one row a seat, with the booking that has it.

use std::sync::Arc;

use async_trait::async_trait;
use event_store::{RecordedEvent, StreamName};
use eventsourcing::{Aggregate, DecodeError};
use projection_engine::Projection;
use projection_engine::embedded::rows::{head, micros};
use projection_engine::embedded::{EmbeddedModel, Sqlite, SqliteError};
use projection_engine::projecting::changes::Changes;
use rusqlite::{Connection, params};

use crate::seat::Seat;

pub const SEAT_MAP: EmbeddedModel = EmbeddedModel {
    name: "seat_map",
    ddl: &["create table seat_map (
        seat text primary key, state text not null, booking text,
        stream_version integer not null, global_position integer not null, updated_at integer not null
    ) strict, without rowid;"],
    tables: &["seat_map"],
    folds: 1,
    make: || Box::new(SeatMap::default()),
};

const LOAD: &str = "select state, booking, stream_version, global_position, updated_at from seat_map where seat = ?1";
const UPSERT: &str = "insert or replace into seat_map values (?1, ?2, ?3, ?4, ?5, ?6)";

/// Keeps the aggregate itself as the row: its fold is the projection's.
#[derive(Debug, Default)]
struct SeatMap(Changes<Seat>);

#[async_trait]
impl Projection<Sqlite> for SeatMap {
    fn name(&self) -> &'static str {
        SEAT_MAP.name
    }

    fn takes(&self, stream: &StreamName) -> bool {
        stream.category() == Seat::CATEGORY
    }

    async fn load(&mut self, sql: &mut Connection, events: &[Arc<RecordedEvent>]) -> Result<(), SqliteError> {
        self.0.look_up(sql, events, LOAD, |statement, stream| {
            statement.query_row([stream.id()], |row| {
                let booking: Option<String> = row.get("booking")?;
                let booking = booking.and_then(|id| id.parse().ok()).unwrap_or_default();
                let seat = match row.get::<_, String>("state")?.as_str() {
                    "held" => Seat::Held(booking),
                    "sold" => Seat::Sold(booking),
                    _ => Seat::Free,
                };
                Ok((head(row)?, seat))
            })
        })
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.0.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let decoded = Seat::decode(&event.event_type, event.schema_version, event.data.get())?;
        self.0.row(event).evolve(&decoded);
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.0.row(event);
    }

    async fn write(&mut self, sql: &mut Connection) -> Result<(), SqliteError> {
        self.0.upsert(sql, UPSERT, |statement, stream, row| {
            let (state, booking) = match row.value {
                Seat::Free => ("free", None),
                Seat::Held(booking) => ("held", Some(booking.to_string())),
                Seat::Sold(booking) => ("sold", Some(booking.to_string())),
            };
            let (version, position) = (row.head.version_column(), row.head.position_column());
            statement.execute(params![stream.id(), state, booking, version, position, micros(row.head.updated_at)])
        })
    }
}
