//! `shipments`, from the shipment's stream.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::DecodeError;
use domain::shipment::Event;
use event_store::{RecordedEvent, StreamName};
use projection_engine::projecting::changes::{Changes, Head, Row, text};
use projection_engine::projecting::upsert::Upsert;
use projection_engine::{Index, Projection};
use sqlx::types::Json;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::{stream_named, uuid_of, uuids_of};

/// The name of the read model.
pub const NAME: &str = "shipments";

/// The DDL of the table.
pub const DDL: &str = "
create table shipments (
    id uuid primary key, order_id uuid not null, status text not null, lines jsonb not null, reason text,
    began_at timestamptz not null, planned_at timestamptz, ready_at timestamptz, dispatched_at timestamptz, ended_at timestamptz,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null
) with (fillfactor = 80);
";

/// The indexes of the table.
pub const INDEXES: &[Index] = &[
    Index::new("shipments_by_order", "shipments", "(order_id)"),
    Index::new("shipments_by_time", "shipments", "(began_at, id)"),
    Index::new("shipments_by_status", "shipments", "(status, began_at, id)"),
];

const LOAD: &str = "
select id, order_id, status, lines, reason, planned_at, ready_at, dispatched_at, ended_at, stream_version,
       global_position, updated_at, began_at
from shipments where id = any($1)";

#[derive(Debug, Clone, Default)]
struct Shipment {
    order_id: Uuid,
    status: &'static str,
    lines: Vec<serde_json::Value>,
    reason: Option<String>,
    /// When its first event occurred.
    began_at: Option<DateTime<Utc>>,
    planned_at: Option<DateTime<Utc>>,
    ready_at: Option<DateTime<Utc>>,
    dispatched_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

/// The projection that writes `shipments`.
#[derive(Debug, Default)]
pub struct Shipments {
    shipments: Changes<Shipment>,
}

#[async_trait]
impl Projection for Shipments {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, stream: &StreamName) -> bool {
        stream.category() == "shipment" && uuid_of(stream).is_some()
    }

    async fn load(&mut self, sql: &mut PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
        let missing = self.shipments.missing(events.iter().map(AsRef::as_ref));
        if missing.is_empty() {
            return Ok(());
        }
        for row in sqlx::query(LOAD).bind(uuids_of(&missing)).fetch_all(sql).await? {
            let head = Head::of_row(&row)?;
            let Json(lines) = row.try_get("lines")?;
            let shipment = Shipment {
                order_id: row.try_get("order_id")?,
                status: status(row.try_get("status")?),
                lines,
                reason: row.try_get("reason")?,
                planned_at: row.try_get("planned_at")?,
                ready_at: row.try_get("ready_at")?,
                dispatched_at: row.try_get("dispatched_at")?,
                ended_at: row.try_get("ended_at")?,
                began_at: row.try_get("began_at")?,
            };
            if let Some(stream) = stream_named("shipment", row.try_get::<Uuid, _>("id")?) {
                self.shipments.loaded(stream, head, shipment);
            }
        }
        Ok(())
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.shipments.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let decoded = Event::decode(&event.event_type, event.schema_version, event.data.get())?;
        fold(self.shipments.row(event), event.metadata.occurred_at, decoded);
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.shipments.row(event);
    }

    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        let changed = self.shipments.changed();
        if changed.is_empty() {
            return Ok(());
        }
        write(&changed, sql).await?;
        self.shipments.written();
        Ok(())
    }
}

fn fold(shipment: &mut Shipment, at: DateTime<Utc>, decoded: Event) {
    shipment.began_at.get_or_insert(at);
    let at = Some(at);
    match decoded {
        Event::ShipmentPlanned(e) => {
            (shipment.order_id, shipment.status, shipment.planned_at) = (e.order_id.0, "planned", at);
            let line = |line: &domain::shipment::ShipmentLine| serde_json::json!({ "sku": line.item.sku.as_str(), "location": line.item.location.as_str(), "quantity": line.quantity });
            shipment.lines = e.lines.iter().map(line).collect();
        }
        Event::ShipmentReady(_) => (shipment.status, shipment.ready_at) = ("ready", at),
        Event::ShipmentDispatched(_) => (shipment.status, shipment.dispatched_at) = ("dispatched", at),
        Event::ShipmentDelivered(_) => (shipment.status, shipment.ended_at) = ("delivered", at),
        Event::ShipmentLost(e) => {
            (shipment.status, shipment.ended_at, shipment.reason) = ("lost", at, Some(text(&e.reason)));
        }
        Event::ShipmentCancelled(e) => {
            (shipment.order_id, shipment.status, shipment.ended_at) = (e.order_id.0, "cancelled", at);
            shipment.reason = Some(text(&e.reason));
        }
    }
}

/// A stored status is one of ours.
fn status(stored: String) -> &'static str {
    ["planned", "ready", "dispatched", "delivered", "lost", "cancelled"]
        .into_iter()
        .find(|status| *status == stored)
        .unwrap_or_default()
}

async fn write(changed: &[(&StreamName, &Row<Shipment>)], sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    Upsert::new("shipments", changed)
        .key("id", |(stream, _)| uuid_of(stream).unwrap_or_default())
        .set("order_id", |(_, row)| row.value.order_id)
        .set("status", |(_, row)| row.value.status)
        .set("lines", |(_, row)| Json(row.value.lines.clone()))
        .set("reason", |(_, row)| row.value.reason.clone())
        .once("began_at", |(_, row)| row.value.began_at.unwrap_or(row.head.updated_at))
        .set("planned_at", |(_, row)| row.value.planned_at)
        .set("ready_at", |(_, row)| row.value.ready_at)
        .set("dispatched_at", |(_, row)| row.value.dispatched_at)
        .set("ended_at", |(_, row)| row.value.ended_at)
        .head(|(_, row)| row.head)
        .execute(sql)
        .await
}
