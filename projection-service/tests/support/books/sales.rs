//! What `sales_by_day` says, counted from how everything ended: the orders, their lines and the payments as they stand after
//! the last event. Nothing is added event by event, as the read model does it, so that both cannot share a fault.

use std::collections::BTreeMap;
use std::sync::Arc;

use event_store::RecordedEvent;
use serde_json::{Value, json};

use super::{Books, number, text};

/// What the events say that moved a sum: it is the last one's position that a row keeps.
const MOVES: &[&str] =
    &["OrderPlaced", "OrderRejected", "OrderCancelled", "PaymentCaptured", "PaymentRefunded", "PaymentSucceededLate"];

impl Books {
    pub(super) fn sales(&mut self, events: &[Arc<RecordedEvent>]) {
        let mut days = BTreeMap::new();
        for (id, order) in self.rows.get("orders").into_iter().flatten() {
            // A stream that does not begin with a placed order has no day.
            let Some(day) = order["placed_at"].as_str().map(|at| at[..10].to_owned()) else { continue };
            let sold = order["status"] != "rejected";
            let row = row(&mut days, &day, &text(&order["currency"]));
            if sold {
                // The lines of an order lie beside each other: their key begins with its id and a space.
                for (_, line) in self.rows["order_lines"].range(format!("{id} ")..format!("{id}!")) {
                    add(row, "units", number(&line["quantity"]));
                    add(row, "gross", number(&line["net"]));
                }
                // The total is made of goods, discount, tax and shipping: two of them are not in the lines.
                add(row, "discounts", number(&order["discount"]));
                add(row, "tax", number(&order["tax"]));
                add(row, "shipping", number(&order["shipping"]));
            }
            add(row, "orders", i64::from(sold));
            add(row, "rejected", i64::from(!sold));
            add(row, "cancelled", i64::from(order["status"] == "cancelled"));
        }
        for payment in self.rows.get("payments").into_iter().flat_map(BTreeMap::values) {
            let money = (number(&payment["captured"]), number(&payment["refunded"]));
            if let (Some(day), true) = (payment["placed_on"].as_str(), money != (0, 0)) {
                let row = row(&mut days, day, &text(&payment["currency"]));
                add(row, "captured", money.0);
                add(row, "refunded", money.1);
            }
        }
        for event in events.iter().filter(|event| MOVES.contains(&&*event.event_type)) {
            let late = event.event_type.ends_with("Late") && !event.data.get().contains(r#""kind":"captured""#);
            if let (Some((day, currency)), false) = (self.day_of(event), late) {
                row(&mut days, &day, &currency)["global_position"] = json!(event.position.0);
            }
        }
        if !days.is_empty() {
            self.rows.insert("sales_by_day", days);
        }
    }

    /// The day and currency of an order or a payment.
    fn day_of(&self, event: &RecordedEvent) -> Option<(String, String)> {
        let (table, day) = match event.stream.category() {
            "order" => ("orders", "placed_at"),
            _ => ("payments", "placed_on"),
        };
        let row = self.rows.get(table)?.get(event.stream.id())?;
        Some((row[day].as_str()?[..10].to_owned(), text(&row["currency"])))
    }
}

fn row<'d>(days: &'d mut BTreeMap<String, Value>, day: &str, currency: &str) -> &'d mut Value {
    days.entry(format!("{day} {currency}")).or_insert_with(|| {
        json!({
            "day": day, "currency": currency, "orders": 0, "units": 0, "gross": 0, "discounts": 0, "tax": 0,
            "shipping": 0, "captured": 0, "refunded": 0, "cancelled": 0, "rejected": 0,
        })
    })
}

fn add(row: &mut Value, name: &str, more: i64) {
    row[name] = json!(number(&row[name]) + more);
}
