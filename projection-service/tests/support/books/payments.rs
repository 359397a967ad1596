//! What the tables say of payments, and the ledger.

use event_store::RecordedEvent;
use serde_json::{Value, json};

use super::{Books, head, moment, number, put, text, time};

impl Books {
    pub(super) fn payment(&mut self, event: &RecordedEvent, data: &Value) {
        let row = self.row("payments", event.stream.id());
        if row.is_null() {
            *row = json!({
                "id": event.stream.id(), "order_id": uuid::Uuid::nil(), "attempt_group": null, "state": "",
                "outcome_unknown": false, "open_kind": null, "currency": null, "amount": 0, "authorized": 0,
                "captured": 0, "refunded": 0, "voided": 0, "payment_method": "", "provider_ref": null,
                "action_url": null, "failure_code": null, "placed_on": null,
                "began_at": time(event.metadata.occurred_at), "capture_before": null,
            });
        }
        put(row, head(event));
        if !data["provider_ref"].is_null() {
            row["provider_ref"] = data["provider_ref"].clone();
        }
        if let (false, true) = (data["order_id"].is_null(), &*event.event_type != "PaymentAuthorizationRequested") {
            row["order_id"] = data["order_id"].clone(); // It says so itself when it is given up before it began.
        }
        let asks = event.event_type.ends_with("Requested");
        let answers = !asks && !["PaymentActionRequired", "PaymentOutcomeUnknown"].contains(&&*event.event_type);
        let kind = row["open_kind"].clone();
        let portion = &data["portion"];
        let is_part = !portion.is_null() && number(&portion["done"]["amount"]) < number(&portion["asked"]["amount"]);
        if answers && is_part {
            put(row, json!({ "outcome_unknown": false }));
        } else if answers {
            put(row, json!({ "open_kind": null, "outcome_unknown": false }));
        }
        move_payment(row, &event.event_type, data);
        let (order_id, currency) = (row["order_id"].clone(), row["currency"].clone());
        self.ledger(event, data, &[order_id, currency, kind]);
    }

    fn ledger(&mut self, event: &RecordedEvent, data: &Value, [order_id, currency, open]: &[Value; 3]) {
        let late = if data["kind"] == "captured" { "capture" } else { "authorize" };
        let unknown = open.as_str().unwrap_or("authorize");
        let (kind, state) = match &*event.event_type {
            "PaymentAuthorizationRequested" => ("authorize", "requested"),
            "PaymentActionRequired" => ("authorize", "action_required"),
            "PaymentAuthorized" => ("authorize", "succeeded"),
            "PaymentDeclined" => ("authorize", "failed"),
            "PaymentOutcomeUnknown" => (unknown, "unknown"),
            "PaymentExpired" => ("authorize", "expired"),
            "PaymentSucceededLate" => (late, "succeeded_late"),
            "CaptureRequested" => ("capture", "requested"),
            "PaymentCaptured" => ("capture", "succeeded"),
            "CaptureFailed" => ("capture", "failed"),
            "VoidRequested" => ("void", "requested"),
            "PaymentVoided" => ("void", "succeeded"),
            "VoidFailed" => ("void", "failed"),
            "RefundRequested" => ("refund", "requested"),
            "PaymentRefunded" => ("refund", "succeeded"),
            "RefundFailed" => ("refund", "failed"),
            "PaymentFellShort" if data["kind"] == "authorization" => ("authorize", "fell_short"),
            "PaymentFellShort" if data["kind"] == "capture" => ("capture", "fell_short"),
            "PaymentFellShort" => ("refund", "fell_short"),
            _ => return,
        };
        let details = [&data["reason"], &data["decline_code"], &data["failure_code"]];
        let row = self.row("payments_ledger", &event.id.to_string());
        *row = json!({
            "entry_id": event.id, "payment_id": event.stream.id(), "order_id": order_id, "kind": kind, "state": state,
            "amount": if data["done"].is_null() { &data["amount"] } else { &data["done"] }["amount"], "currency": currency,
            "provider": event.metadata.actor.strip_prefix("provider:"), "provider_ref": data["provider_ref"],
            "request_id": data["request_id"], "detail": details.into_iter().find(|detail| !detail.is_null()),
            "occurred_at": time(event.metadata.occurred_at),
        });
        put(row, head(event));
    }
}

/// Moves what a payment says of itself; what was open is answered by then.
fn move_payment(row: &mut Value, event_type: &str, data: &Value) {
    let amount = &data["amount"]["amount"];
    let more = |of: &str| json!(number(&row[of]) + amount.as_i64().unwrap_or_default());
    let most = json!(number(&row["authorized"]).max(number(&more("captured")) + number(&row["voided"])));
    let live = ["requested", "action_required", "authorized"].contains(&text(&row["state"]).as_str());
    let change = match event_type {
        "PaymentAuthorizationRequested" => json!({
            "order_id": data["order_id"], "attempt_group": data["attempt_group"], "state": "requested",
            "open_kind": "authorize", "currency": data["amount"]["currency"], "amount": amount,
            "payment_method": data["payment_method"], "placed_on": data["placed_on"],
        }),
        "PaymentActionRequired" => {
            json!({ "state": "action_required", "outcome_unknown": false, "action_url": data["action_url"] })
        }
        "PaymentAuthorized" => {
            json!({ "state": "authorized", "authorized": more("authorized"), "capture_before": moment(&data["capture_before"]) })
        }
        "PaymentDeclined" if live => json!({ "state": "declined", "failure_code": data["decline_code"] }),
        "PaymentDeclined" => json!({ "failure_code": data["decline_code"] }),
        "PaymentOutcomeUnknown" => json!({ "outcome_unknown": true }),
        "PaymentExpired" if live => json!({ "state": "expired" }),
        "PaymentSucceededLate" => {
            let is_captured = data["kind"] == "captured";
            let authorized = if is_captured { most } else { more("authorized") };
            let captured = if is_captured { more("captured") } else { row["captured"].clone() };
            json!({ "state": "succeeded_late", "authorized": authorized, "captured": captured })
        }
        "CaptureRequested" => json!({ "open_kind": "capture" }),
        "PaymentCaptured" => json!({ "state": "captured", "captured": more("captured"), "authorized": most }),
        "VoidRequested" => json!({ "open_kind": "void" }),
        "PaymentVoided" => json!({ "state": "voided", "voided": more("voided") }),
        "RefundRequested" => json!({ "open_kind": "refund" }),
        "PaymentRefunded" => {
            let refunded = number(&row["refunded"]) + number(amount);
            let all = refunded >= number(&row["captured"]);
            json!({ "refunded": refunded, "state": if all { "refunded" } else { row["state"].as_str().expect("a state") } })
        }
        "RefundFailed" => json!({ "state": "refund_failed", "failure_code": data["failure_code"] }),
        "CaptureFailed" | "VoidFailed" => json!({ "failure_code": data["failure_code"] }),
        _ => json!({}),
    };
    put(row, change);
}
