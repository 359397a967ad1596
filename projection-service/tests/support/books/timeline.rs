//! What an order's timeline says.

use domain::money::Money;
use event_store::RecordedEvent;
use serde_json::{Value, json};

use super::{Books, head, put, text, time};

/// A saga's events that an order's timeline tells.
const TOLD_OF_SAGAS: [&str; 9] = [
    "SagaStarted",
    "StepFailed",
    "StepRetryScheduled",
    "CompensationStarted",
    "SagaCompleted",
    "SagaCompensated",
    "SagaHandedOver",
    "SagaNeedsAttention",
    "OperatorActed",
];

impl Books {
    pub(super) fn timeline(&mut self, event: &RecordedEvent, data: &Value) {
        let key = match event.stream.category() {
            "product" => return,
            "stock" => text(&data["order_id"]),
            "order" | "payment" | "shipment" => event.metadata.partition_key.clone(),
            _ if !TOLD_OF_SAGAS.contains(&&*event.event_type) => return,
            _ => event.metadata.partition_key.clone(),
        };
        if key.is_empty() {
            return;
        }
        let trace_id = event.metadata.traceparent.as_deref().and_then(|parent| parent.split('-').nth(1));
        let at = time(event.metadata.occurred_at);
        let row = self.row("order_timeline", &format!("{key} {}", event.position));
        *row = json!({
            "order_id": key, "position": event.position.0, "event_id": event.id, "stream": event.stream,
            "event_type": event.event_type, "version": event.version, "actor": event.metadata.actor,
            "correlation_id": event.metadata.correlation_id, "causation_id": event.metadata.causation_id,
            "command_id": event.metadata.command_id, "trace_id": trace_id, "summary": summary(data), "occurred_at": at,
        });
        put(row, head(event));
    }
}

fn summary(data: &Value) -> String {
    let word = |name: &str| data[name].as_str().map(str::to_owned);
    let money = |value: &Value| serde_json::from_value::<Money>(value.clone()).ok().map(|money| money.to_string());
    let failure = &data["failure"];
    let detail = text(&failure["detail"]);
    let code = failure["code"].as_str();
    [
        word("action"),
        word("step"),
        word("to").map(|to| format!("to {to}")),
        money(&data["totals"]["total"]).or_else(|| money(&data["amount"])),
        data["quantity"].as_i64().map(|quantity| format!("{quantity} pieces")),
        word("reason"),
        word("decline_code"),
        word("failure_code"),
        code.map(|code| if detail.is_empty() { code.to_owned() } else { format!("{code}: {detail}") }),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(", ")
    .replace('\0', "\u{fffd}") // Postgres keeps no zero characters.
}
