//! What every table should say, folded in memory in the plainest way: from the JSON of the events, one after another,
//! without the code that the read models are made of.
//!
//! Left out: `applied`, which is the runner's own book-keeping and no answer to anybody. The columns of `saga_view` that
//! sum up the steps (`step` to `awaits`, `settled` to `stuck`) are those of `domain::saga::View`, which has its own tests.

mod payments;
mod sales;
mod timeline;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::saga::{self, LegStatus, View};
use event_store::RecordedEvent;
use serde_json::{Value, json};

/// The rows of all tables, by table and key.
#[derive(Default)]
pub struct Books {
    rows: BTreeMap<&'static str, BTreeMap<String, Value>>,
    views: BTreeMap<String, View>,
}

/// What an order is held for after one more event about holds.
fn holds(row: &Value, event_type: &str, reason: &Value) -> Value {
    let mut held = row["held_reasons"].as_array().cloned().unwrap_or_default();
    if event_type == "OrderHoldReleased" {
        held.retain(|one| !reason.is_null() && one != reason);
    } else if !held.contains(reason) {
        held.push(reason.clone());
    }
    json!({ "held_reason": held.first().cloned().unwrap_or_default(), "held_reasons": held })
}

impl Books {
    /// The tables after these events.
    pub fn fold(events: &[Arc<RecordedEvent>]) -> Self {
        let mut books = Self::default();
        for event in events {
            let data: Value = serde_json::from_str(event.data.get()).expect("payloads are JSON");
            match event.stream.category() {
                "order" => books.order(event, &data),
                "payment" => books.payment(event, &data),
                "shipment" => books.shipment(event, &data),
                "stock" => books.stock(event, &data),
                "product" => books.product(event, &data),
                _ => books.saga(event),
            }
            books.timeline(event, &data);
        }
        books.sales(events);
        books
    }

    /// The tables that it keeps.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> {
        self.rows.keys().copied()
    }

    /// The rows of a table, in an order of their own.
    pub fn rows(&self, table: &str) -> Vec<Value> {
        in_order(self.rows[table].values().cloned().collect())
    }

    /// All values of a column.
    pub fn values(&self, table: &str, column: &str) -> BTreeSet<String> {
        self.rows[table].values().map(|row| row[column].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn row(&mut self, table: &'static str, key: &str) -> &mut Value {
        self.rows.entry(table).or_default().entry(key.to_owned()).or_default()
    }

    fn order(&mut self, event: &RecordedEvent, data: &Value) {
        let (id, at) = (event.stream.id(), time(event.metadata.occurred_at));
        if &*event.event_type == "OrderPlaced" {
            self.placed(event, data);
        }
        let row = self.row("orders", id);
        put(row, head(event));
        let change = match &*event.event_type {
            "OrderConfirmed" => json!({ "status": "confirmed", "confirmed_at": at }),
            "OrderRejected" => json!({ "status": "rejected", "reason": data["reason"], "cancelled_at": at }),
            "OrderHeld" | "OrderHoldReleased" => holds(row, &event.event_type, &data["reason"]),
            "OrderCancellationRequested" => {
                let said = if data["reason"] == "customer_request" { Value::Null } else { data["reason"].clone() };
                json!({ "status": "cancel_pending", "reason": data["reason"], "customer_reason": said })
            }
            "OrderCancelled" => json!({ "status": "cancelled", "reason": data["reason"], "cancelled_at": at }),
            "OrderDispatchAllowed" => json!({ "status": "dispatching" }),
            "OrderShipped" => json!({ "status": "shipped", "shipment_id": data["shipment_id"], "shipped_at": at }),
            "OrderCompleted" => json!({ "status": "completed", "completed_at": at }),
            _ => json!({}),
        };
        put(row, change);
    }

    fn placed(&mut self, event: &RecordedEvent, data: &Value) {
        let (id, totals, lines) = (event.stream.id(), &data["totals"], data["lines"].as_array().expect("lines"));
        let amount = |name: &str| totals[name]["amount"].clone();
        let pieces: i64 = lines.iter().map(|line| number(&line["quantity"])).sum();
        let (currency, placed_at) = (&totals["total"]["currency"], moment(&data["placed_at"]));
        let row = json!({
            "id": id, "number": data["number"], "customer_id": data["customer_id"], "status": "pending",
            "held_reason": null, "held_reasons": [], "customer_reason": null, "currency": currency, "subtotal": amount("subtotal"), "discount": amount("discount"),
            "tax": amount("tax"), "shipping": amount("shipping"), "total": amount("total"), "item_count": pieces,
            "tags": data["tags"], "payment_method": data["payment_method"], "placed_at": placed_at,
            "confirmed_at": null, "shipped_at": null, "completed_at": null, "cancelled_at": null, "reason": null,
            "shipment_id": null,
        });
        *self.row("orders", id) = row;
        for line in lines {
            let (sku, location) = item(&text(&line["item"]));
            let row = self.row("order_lines", &format!("{id} {}", line["line"]));
            *row = json!({
                "order_id": id, "line": line["line"], "sku": sku, "location": location, "name": line["name"],
                "quantity": line["quantity"], "unit_price": line["unit_price"]["amount"],
                "net": line["net"]["amount"], "discount_share": line["discount_share"]["amount"],
                "tax_share": line["tax_share"]["amount"], "currency": line["net"]["currency"],
                "placed_at": placed_at,
            });
            put(row, head(event));
        }
    }

    fn shipment(&mut self, event: &RecordedEvent, data: &Value) {
        let at = time(event.metadata.occurred_at);
        let row = self.row("shipments", event.stream.id());
        if row.is_null() {
            *row = json!({
                "id": event.stream.id(), "order_id": uuid::Uuid::nil(), "status": "", "lines": [], "reason": null,
                "began_at": at, "planned_at": null, "ready_at": null, "dispatched_at": null, "ended_at": null,
            });
        }
        put(row, head(event));
        let line = |line: &Value| {
            let (sku, location) = item(&text(&line["item"]));
            json!({ "sku": sku, "location": location, "quantity": line["quantity"] })
        };
        let lines: Vec<Value> = data["lines"].as_array().into_iter().flatten().map(line).collect();
        let (order_id, reason) = (&data["order_id"], &data["reason"]);
        let change = match &*event.event_type {
            "ShipmentPlanned" => json!({ "status": "planned", "planned_at": at, "order_id": order_id, "lines": lines }),
            "ShipmentReady" => json!({ "status": "ready", "ready_at": at }),
            "ShipmentDispatched" => json!({ "status": "dispatched", "dispatched_at": at }),
            "ShipmentDelivered" => json!({ "status": "delivered", "ended_at": at }),
            "ShipmentLost" => json!({ "status": "lost", "ended_at": at, "reason": reason }),
            "ShipmentCancelled" => {
                json!({ "status": "cancelled", "ended_at": at, "reason": reason, "order_id": order_id })
            }
            _ => json!({}),
        };
        put(row, change);
    }

    fn stock(&mut self, event: &RecordedEvent, data: &Value) {
        let (sku, location) = item(event.stream.id());
        let id = text(&data["reservation_id"]);
        let held = self.rows.get("reservations").and_then(|rows| rows.get(&id)).map_or(0, |r| number(&r["quantity"]));
        let row = self.row("stock_levels", event.stream.id());
        if row.is_null() {
            *row = json!({
                "sku": sku, "location": location, "on_hand": 0, "reserved": 0, "committed": 0, "received": 0,
                "adjusted": 0, "shipped": 0, "restocked": 0,
            });
        }
        put(row, head(event));
        let count = number(&data["quantity"]);
        let open = if data["committed"] == true { "committed" } else { "reserved" };
        let moves: &[(&str, i64)] = match &*event.event_type {
            "StockReceived" => &[("on_hand", count), ("received", count)],
            "StockAdjusted" => &[("on_hand", number(&data["delta"])), ("adjusted", number(&data["delta"]))],
            "StockRestocked" => &[("on_hand", count), ("restocked", count)],
            "StockReserved" => &[("reserved", count)],
            "ReservationCommitted" => &[("reserved", -held), ("committed", held)],
            "ReservationReleased" => &[(open, -count)],
            "ReservationExpired" => &[("reserved", -count)],
            "StockShipped" => &[("committed", -count), ("on_hand", -count), ("shipped", count)],
            _ => &[],
        };
        moves.iter().for_each(|(name, more)| row[*name] = json!(number(&row[*name]) + more));
        row["available"] = json!(number(&row["on_hand"]) - number(&row["reserved"]) - number(&row["committed"]));
        let change = match &*event.event_type {
            "StockReserved" => json!({ "state": "reserved", "expires_at": moment(&data["expires_at"]) }),
            "ReservationRenewed" => json!({ "expires_at": moment(&data["expires_at"]) }),
            "ReservationCommitted" => json!({ "state": "committed", "expires_at": null }),
            "ReservationReleased" => json!({ "state": "released", "reason": data["reason"] }),
            "ReservationExpired" => json!({ "state": "expired" }),
            "StockShipped" => json!({ "state": "shipped" }),
            _ => return,
        };
        let row = self.row("reservations", &id);
        if row.is_null() {
            *row = json!({
                "reservation_id": id, "order_id": data["order_id"], "sku": sku, "location": location,
                "expires_at": null, "ended_at": null, "reason": null,
            });
        }
        if !data["quantity"].is_null() {
            row["quantity"] = data["quantity"].clone();
        }
        if !data["at"].is_null() {
            put(row, json!({ "ended_at": moment(&data["at"]), "expires_at": null }));
        }
        put(row, change);
        put(row, head(event));
    }

    fn product(&mut self, event: &RecordedEvent, data: &Value) {
        let row = self.row("products", event.stream.id());
        put(row, head(event));
        let price = json!({ "price": data["price"]["amount"], "currency": data["price"]["currency"] });
        match &*event.event_type {
            "ProductCreated" => {
                let created_at = time(event.metadata.occurred_at);
                put(row, price);
                put(
                    row,
                    json!({ "sku": event.stream.id(), "name": data["name"], "status": "created", "created_at": created_at }),
                );
            }
            "ProductPriceChanged" => put(row, price),
            "ProductActivated" => row["status"] = json!("active"),
            "ProductDiscontinued" => row["status"] = json!("discontinued"),
            _ => {}
        }
    }

    fn saga(&mut self, event: &RecordedEvent) {
        let view = self.views.entry(event.stream.to_string()).or_default();
        let decoded = saga::Event::decode(&event.event_type, event.schema_version, event.data.get());
        view.fold(&decoded.expect("a saga's event"), event.metadata.occurred_at);
        let status = |status: LegStatus| serde_json::to_value(status).expect("a word");
        let undo = |(step, undone): (saga::StepRef, Option<LegStatus>)| json!({ "step": step.step, "group": step.group, "status": undone.map_or(json!("to come"), status) });
        let awaits = view.open_legs().filter_map(|leg| leg.awaits.as_ref().map(|awaits| awaits.fact.clone()));
        let saga_id = event.stream.as_str().trim_start_matches("saga_");
        let called = view.open_legs().find(|leg| leg.attention).and_then(|leg| leg.last_error.clone());
        let trouble = view.unsupported.clone().or(called).or_else(|| view.last_error().cloned());
        let stuck = view.unsupported.is_some() || view.open_legs().any(|leg| leg.status == LegStatus::Stuck);
        let row = json!({
            "saga_id": saga_id, "type": view.saga, "definition_version": view.definition_version,
            "order_id": view.subject.order_id, "state": view.state().as_str(), "step": view.step(),
            "attempts": view.attempts(), "last_error": trouble.as_ref().map(ToString::to_string),
            "error_kind": trouble.as_ref().map(|failure| failure.kind.as_str()),
            "error_code": trouble.as_ref().map(|failure| failure.code.clone()), "stuck": stuck,
            "direction": view.current().map(|leg| leg.direction.as_str()), "deadline": view.deadline().map(time),
            "next_attempt": view.next_attempt().map(time),
            "compensations": view.compensations().into_iter().map(undo).collect::<Vec<_>>(),
            "waits_for": view.waits_for(), "awaits": awaits.collect::<Vec<_>>(),
            "started_at": view.started_at.map(time), "changed_at": view.changed_at.map(time),
            "ended_at": view.ended_at.map(time), "reason": view.reason, "handed_over_to": view.handed_over_to,
            "settled": view.settled(),
        });
        let called = row["state"] == "needs_attention";
        let kept = self.row("saga_view", saga_id);
        let since = Some(kept["attention_since"].clone()).filter(|since| !since.is_null());
        *kept = row;
        kept["attention_since"] = match called {
            true => since.unwrap_or_else(|| time(event.metadata.occurred_at)),
            false => Value::Null,
        };
        put(kept, head(event));
    }
}

/// Rows in an order that depends on nothing but them.
pub fn in_order(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_cached_key(Value::to_string);
    rows
}

fn head(event: &RecordedEvent) -> Value {
    let updated_at = time(event.metadata.occurred_at);
    json!({ "stream_version": event.version, "global_position": event.position.0, "updated_at": updated_at })
}

fn put(row: &mut Value, fields: Value) {
    let Value::Object(fields) = fields else { panic!("{fields} is no object") };
    fields.into_iter().for_each(|(name, value)| row[name.as_str()] = value);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn item(id: &str) -> (String, String) {
    let (sku, location) = id.split_once('@').expect("a stock item");
    (sku.to_owned(), location.to_owned())
}

/// A moment as Postgres writes it.
fn time(at: chrono::DateTime<chrono::Utc>) -> Value {
    json!(at.to_rfc3339())
}

fn moment(value: &Value) -> Value {
    time(text(value).parse().expect("a moment"))
}
