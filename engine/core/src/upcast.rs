//! Older events made new: a stored event never changes, so a reader lifts it, version by version, to the one that it knows.
//!
//! When the payload of an event type changes in a way that an optional field cannot express, its newest schema version
//! rises by one, and a step is added to its list that makes the older payload the newer one. Steps are never removed. Decoding
//! applies them ([`crate::aggregate::decoded`]), so every reader of the log sees the newest version only.

use serde_json::Value;

/// One step: the payload of `event_type` at schema version `from` becomes that of `from + 1`.
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    /// The type of the events that it lifts.
    pub event_type: &'static str,
    /// The schema version that it lifts.
    pub from: u16,
    /// Total: what was written under the older schema always becomes something under the newer one.
    pub step: fn(Value) -> Value,
}

/// Lifts a payload from schema version `found` to `newest`; `None` if a step is missing.
pub fn lift(steps: &[Upcaster], event_type: &str, found: u16, newest: u16, data: Value) -> Option<Value> {
    (found..newest).try_fold(data, |data, version| {
        let step = steps.iter().find(|step| step.event_type == event_type && step.from == version)?;
        Some((step.step)(data))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A price that was a number of cents, then got a currency, then a name for the number.
    const PRICE: &[Upcaster] = &[
        Upcaster {
            event_type: "PriceSet",
            from: 2,
            step: |mut data| {
                let price = data["price"].take();
                json!({ "amount": price, "currency": data["currency"].take() })
            },
        },
        Upcaster {
            event_type: "PriceSet",
            from: 1,
            step: |mut data| {
                data["currency"] = json!("EUR");
                data
            },
        },
    ];

    #[test]
    fn an_older_payload_is_lifted_step_by_step_to_the_newest_version() {
        let lifted = |found, data| lift(PRICE, "PriceSet", found, 3, data);
        let newest = json!({ "amount": 995, "currency": "EUR" });
        assert_eq!(lifted(1, json!({ "price": 995 })), Some(newest.clone()));
        assert_eq!(lifted(2, json!({ "price": 995, "currency": "EUR" })), Some(newest.clone()));
        assert_eq!(lifted(3, newest.clone()), Some(newest));
    }

    #[test]
    fn a_payload_without_a_step_to_the_next_version_is_not_guessed_at() {
        assert_eq!(lift(PRICE, "PriceSet", 1, 4, json!({ "price": 995 })), None);
        assert_eq!(lift(PRICE, "PriceSet", 0, 3, json!({ "price": 995 })), None);
        assert_eq!(lift(PRICE, "NameSet", 1, 2, json!({})), None);
    }
}
