//! `stock_levels` and the `reservations` on them, from the stock item's stream.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::DecodeError;
use domain::stock::{Event, ReservationCommitted, ReservationRenewed};
use event_store::{RecordedEvent, StreamName};
use projection_engine::projecting::changes::{Changes, Head, Row, text};
use projection_engine::projecting::upsert::Upsert;
use projection_engine::{Index, Projection};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::stream_named;

/// The name of the read model.
pub const NAME: &str = "stock";

/// Open reservations kept in memory beyond their batch: 32 768 of about 200 bytes; others are looked up again.
const RESERVATIONS_KEPT: usize = 32_768;

/// The DDL of the tables.
pub const DDL: &str = "
create table stock_levels (
    sku text collate \"C\" not null, location text collate \"C\" not null, on_hand bigint not null,
    reserved bigint not null, committed bigint not null,
    available bigint not null generated always as (on_hand - reserved - committed) stored,
    received bigint not null, adjusted bigint not null, shipped bigint not null, restocked bigint not null,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null,
    primary key (sku, location)
) with (fillfactor = 50);
create table reservations (
    reservation_id uuid primary key, order_id uuid not null, sku text collate \"C\" not null,
    location text collate \"C\" not null, quantity bigint not null, state text not null, expires_at timestamptz,
    ended_at timestamptz, reason text,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null
) with (fillfactor = 80);
";

/// The indexes of both tables.
pub const INDEXES: &[Index] = &[
    Index::new("stock_levels_by_location", "stock_levels", "(location, sku)"),
    Index::new("reservations_by_order", "reservations", "(order_id)"),
    Index::new("reservations_by_sku", "reservations", "(sku, reservation_id)"),
    Index::new("reservations_by_location", "reservations", "(location, reservation_id)"),
    Index::new("reservations_by_state", "reservations", "(state, reservation_id)"),
    Index::new("reservations_by_expiry", "reservations", "(expires_at) where state = 'reserved'"),
];

const LOAD: &str = "
select sku || '@' || location as item, on_hand, reserved, committed, received, adjusted, shipped, restocked, stream_version,
       global_position, updated_at
from stock_levels where (sku, location) in (select * from unnest($1::text[], $2::text[]))";

const LOAD_RESERVATIONS: &str = "
select reservation_id, order_id, sku || '@' || location as item, quantity, state, expires_at, stream_version, global_position,
       updated_at
from reservations where reservation_id = any($1)";

#[derive(Debug, Clone, Default)]
struct Level {
    on_hand: i64,
    reserved: i64,
    committed: i64,
    received: i64,
    adjusted: i64,
    shipped: i64,
    restocked: i64,
}

#[derive(Debug, Clone)]
struct Reservation {
    order_id: Uuid,
    stream: StreamName,
    quantity: i64,
    state: &'static str,
    expires_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    reason: Option<String>,
    head: Head,
    changed: bool,
}

/// The projection that writes `stock_levels` and `reservations`.
#[derive(Debug, Default)]
pub struct Stock {
    levels: Changes<Level>,
    reservations: HashMap<Uuid, Reservation>,
}

#[async_trait]
impl Projection for Stock {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, stream: &StreamName) -> bool {
        stream.category() == "stock" && stream.id().contains('@')
    }

    async fn load(&mut self, sql: &mut PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
        let missing = self.levels.missing(events.iter().map(AsRef::as_ref));
        if !missing.is_empty() {
            self.load_levels(sql, &missing).await?;
        }
        let ids = self.unknown_reservations(events);
        if !ids.is_empty() {
            self.load_reservations(sql, ids).await?;
        }
        Ok(())
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.levels.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let decoded = Event::decode(&event.event_type, event.schema_version, event.data.get())?;
        self.fold_decoded(event, decoded);
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.levels.row(event);
    }

    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        let changed = self.levels.changed();
        if changed.is_empty() {
            return Ok(());
        }
        write_levels(&changed, sql).await?;
        let changed: Vec<_> = self.reservations.iter().filter(|(_, reservation)| reservation.changed).collect();
        if !changed.is_empty() {
            write_reservations(&changed, sql).await?;
        }
        self.levels.written();
        // Ended ones are not asked for again; a bounded number of the others is kept.
        self.reservations.retain(|_, reservation| reservation.ended_at.is_none());
        if self.reservations.len() > RESERVATIONS_KEPT {
            self.reservations.clear();
        }
        self.reservations.values_mut().for_each(|reservation| reservation.changed = false);
        Ok(())
    }
}

impl Stock {
    /// Reservations that these events name without saying how much they hold.
    fn unknown_reservations(&self, events: &[Arc<RecordedEvent>]) -> Vec<Uuid> {
        let id = |event: &RecordedEvent| match &*event.event_type {
            "ReservationCommitted" => {
                serde_json::from_str(event.data.get()).ok().map(|e: ReservationCommitted| e.reservation_id.0)
            }
            "ReservationRenewed" => {
                serde_json::from_str(event.data.get()).ok().map(|e: ReservationRenewed| e.reservation_id.0)
            }
            _ => None,
        };
        let known = |id: &Uuid| self.reservations.contains_key(id);
        events.iter().filter_map(|event| id(event)).filter(|id| !known(id)).collect()
    }

    async fn load_levels(&mut self, sql: &mut PgConnection, missing: &[StreamName]) -> Result<(), sqlx::Error> {
        let (skus, locations): (Vec<&str>, Vec<&str>) = missing.iter().map(item_of).unzip();
        for row in sqlx::query(LOAD).bind(skus).bind(locations).fetch_all(sql).await? {
            let head = Head::of_row(&row)?;
            let level = Level {
                on_hand: row.try_get("on_hand")?,
                reserved: row.try_get("reserved")?,
                committed: row.try_get("committed")?,
                received: row.try_get("received")?,
                adjusted: row.try_get("adjusted")?,
                shipped: row.try_get("shipped")?,
                restocked: row.try_get("restocked")?,
            };
            if let Some(stream) = stream_named("stock", row.try_get::<String, _>("item")?) {
                self.levels.loaded(stream, head, level);
            }
        }
        Ok(())
    }

    async fn load_reservations(&mut self, sql: &mut PgConnection, ids: Vec<Uuid>) -> Result<(), sqlx::Error> {
        for row in sqlx::query(LOAD_RESERVATIONS).bind(ids).fetch_all(sql).await? {
            let Some(stream) = stream_named("stock", row.try_get::<String, _>("item")?) else { continue };
            let reservation = Reservation {
                order_id: row.try_get("order_id")?,
                stream,
                quantity: row.try_get("quantity")?,
                state: if row.try_get::<String, _>("state")? == "committed" { "committed" } else { "reserved" },
                expires_at: row.try_get("expires_at")?,
                ended_at: None,
                reason: None,
                head: Head::of_row(&row)?,
                changed: false,
            };
            self.reservations.insert(row.try_get("reservation_id")?, reservation);
        }
        Ok(())
    }

    fn fold_decoded(&mut self, event: &RecordedEvent, decoded: Event) {
        let level = self.levels.row(event);
        match decoded {
            Event::StockReceived(e) => {
                level.on_hand += e.quantity.get();
                level.received += e.quantity.get();
            }
            Event::StockAdjusted(e) => {
                level.on_hand += e.delta;
                level.adjusted += e.delta;
            }
            Event::StockReserved(e) => {
                level.reserved += e.quantity.get();
                let opened = Reservation {
                    order_id: e.order_id.0,
                    stream: event.stream.clone(),
                    quantity: e.quantity.get(),
                    state: "reserved",
                    expires_at: Some(e.expires_at),
                    ended_at: None,
                    reason: None,
                    head: Head::of(event),
                    changed: true,
                };
                self.reservations.insert(e.reservation_id.0, opened);
            }
            Event::ReservationRenewed(e) => {
                if let Some(reservation) = self.reservations.get_mut(&e.reservation_id.0) {
                    reservation.expires_at = Some(e.expires_at);
                    (reservation.head, reservation.changed) = (Head::of(event), true);
                }
            }
            Event::ReservationCommitted(e) => {
                if let Some(reservation) = self.reservations.get_mut(&e.reservation_id.0) {
                    level.reserved -= reservation.quantity;
                    level.committed += reservation.quantity;
                    (reservation.state, reservation.expires_at) = ("committed", None);
                    (reservation.head, reservation.changed) = (Head::of(event), true);
                }
            }
            Event::ReservationReleased(e) => {
                *(if e.committed { &mut level.committed } else { &mut level.reserved }) -= e.quantity;
                let reason = Some(text(&e.reason));
                self.end(event, e.reservation_id.0, e.order_id.0, e.quantity, ("released", e.at, reason));
            }
            Event::ReservationExpired(e) => {
                level.reserved -= e.quantity;
                self.end(event, e.reservation_id.0, e.order_id.0, e.quantity, ("expired", e.at, None));
            }
            Event::StockShipped(e) => {
                level.committed -= e.quantity;
                level.on_hand -= e.quantity;
                level.shipped += e.quantity;
                self.end(event, e.reservation_id.0, e.order_id.0, e.quantity, ("shipped", e.at, None));
            }
            Event::StockRestocked(e) => {
                level.on_hand += e.quantity.get();
                level.restocked += e.quantity.get();
            }
        }
    }

    /// The events that end a reservation freeze all that its row says.
    fn end(
        &mut self,
        event: &RecordedEvent,
        id: Uuid,
        order_id: Uuid,
        quantity: i64,
        (state, at, reason): (&'static str, DateTime<Utc>, Option<String>),
    ) {
        let (stream, head) = (event.stream.clone(), Head::of(event));
        let ended_at = Some(at);
        let ended =
            Reservation { order_id, stream, quantity, state, expires_at: None, ended_at, reason, head, changed: true };
        self.reservations.insert(id, ended);
    }
}

fn item_of(stream: &StreamName) -> (&str, &str) {
    stream.id().split_once('@').unwrap_or((stream.id(), ""))
}

async fn write_levels(changed: &[(&StreamName, &Row<Level>)], sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    Upsert::new("stock_levels", changed)
        .key("sku", |(stream, _)| item_of(stream).0.to_owned())
        .key("location", |(stream, _)| item_of(stream).1.to_owned())
        .set("on_hand", |(_, row)| row.value.on_hand)
        .set("reserved", |(_, row)| row.value.reserved)
        .set("committed", |(_, row)| row.value.committed)
        .set("received", |(_, row)| row.value.received)
        .set("adjusted", |(_, row)| row.value.adjusted)
        .set("shipped", |(_, row)| row.value.shipped)
        .set("restocked", |(_, row)| row.value.restocked)
        .head(|(_, row)| row.head)
        .execute(sql)
        .await
}

async fn write_reservations(changed: &[(&Uuid, &Reservation)], sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    Upsert::new("reservations", changed)
        .key("reservation_id", |(id, _)| **id)
        .once("order_id", |(_, r)| r.order_id)
        .once("sku", |(_, r)| item_of(&r.stream).0.to_owned())
        .once("location", |(_, r)| item_of(&r.stream).1.to_owned())
        .set("quantity", |(_, r)| r.quantity)
        .set("state", |(_, r)| r.state)
        .set("expires_at", |(_, r)| r.expires_at)
        .set("ended_at", |(_, r)| r.ended_at)
        .set("reason", |(_, r)| r.reason.clone())
        .head(|(_, r)| r.head)
        .execute(sql)
        .await
}
