//! The bookings, a read model in Postgres: one row a booking, with what became of it.

use std::sync::Arc;

use async_trait::async_trait;
use event_store::{RecordedEvent, StreamName};
use eventsourcing::{Aggregate, DecodeError};
use projection_engine::projecting::changes::{Changes, Head, signed, text};
use projection_engine::projecting::upsert::Upsert;
use projection_engine::{Projection, ReadModel};
use sqlx::{PgConnection, Row as _};

use crate::booking::{Booking, Event};

pub const BOOKINGS: ReadModel = ReadModel {
    name: "bookings",
    ddl: &["create table bookings (
        booking text primary key, seat text not null, guest text not null, cents bigint not null, state text not null,
        stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null
    );"],
    indexes: &[],
    tables: &["bookings"],
    marks: false,
    begins_row: true,
    folds: 1,
    earlier: None,
    make: || Box::new(Bookings::default()),
};

const LOAD: &str = "
select booking, seat, guest, cents, state, stream_version, global_position, updated_at
from bookings where booking = any($1)";

#[derive(Debug, Default)]
struct Row {
    seat: String,
    guest: String,
    cents: i64,
    state: String,
}

#[derive(Debug, Default)]
struct Bookings(Changes<Row>);

#[async_trait]
impl Projection for Bookings {
    fn name(&self) -> &'static str {
        BOOKINGS.name
    }

    fn takes(&self, stream: &StreamName) -> bool {
        stream.category() == Booking::CATEGORY
    }

    async fn load(&mut self, sql: &mut PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
        let missing = self.0.missing(events.iter().map(AsRef::as_ref));
        let ids: Vec<&str> = missing.iter().map(StreamName::id).collect();
        for row in sqlx::query(LOAD).bind(ids).fetch_all(sql).await? {
            let (seat, guest) = (row.try_get("seat")?, row.try_get("guest")?);
            let value = Row { seat, guest, cents: row.try_get("cents")?, state: row.try_get("state")? };
            if let Ok(stream) = format!("booking-{}", row.try_get::<&str, _>("booking")?).parse() {
                self.0.loaded(stream, Head::of_row(&row)?, value);
            }
        }
        Ok(())
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.0.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let decoded = Booking::decode(&event.event_type, event.schema_version, event.data.get())?;
        let row = self.0.row(event);
        row.state = match decoded {
            Event::SeatBooked(e) => {
                (row.seat, row.guest, row.cents) = (text(&e.seat), text(&e.guest), signed(e.price_cents));
                "open"
            }
            Event::BookingPaid(_) => "paid",
            Event::BookingConfirmed(_) => "confirmed",
            Event::BookingRejected(_) => "rejected",
        }
        .to_owned();
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.0.row(event);
    }

    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        let changed = self.0.changed();
        if !changed.is_empty() {
            Upsert::new("bookings", &changed)
                .key("booking", |(stream, _)| stream.id().to_owned())
                .once("seat", |(_, row)| row.value.seat.clone())
                .once("guest", |(_, row)| row.value.guest.clone())
                .once("cents", |(_, row)| row.value.cents)
                .set("state", |(_, row)| row.value.state.clone())
                .head(|(_, row)| row.head)
                .execute(sql)
                .await?;
        }
        self.0.written();
        Ok(())
    }
}
