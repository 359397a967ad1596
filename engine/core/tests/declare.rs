//! What follows from a declaration: names, versions, writing, reading, codes, and what the compiler is to refuse.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::any::type_name;
use std::panic::catch_unwind;

use eventsourcing::declare::{assert_codes, assert_upcasters};
use eventsourcing::{DecodeError, Rejected, StoredEvent, Upcaster, Visit, commands, events, rejections};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

events! {
    /// What has happened to a seat.
    #[derive(Debug, Clone, PartialEq)]
    pub enum Event {
        SeatHeld,
        SeatSold = 3,
    }
    upcasters: STEPS
}

/// The seat is held for a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatHeld {
    guest: String,
}

/// The seat is sold. Version 1 had no price, version 2 no currency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeatSold {
    price: u32,
    currency: String,
}

const STEPS: &[Upcaster] = &[
    Upcaster { event_type: "SeatSold", from: 1, step: |sold| with(sold, "price", json!(0)) },
    Upcaster { event_type: "SeatSold", from: 2, step: |sold| with(sold, "currency", json!("EUR")) },
];

fn with(mut data: Value, field: &str, value: Value) -> Value {
    data[field] = value;
    data
}

commands! {
    /// What may be asked of a seat.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum Command {
        HoldSeat,
        SellSeat,
    }
}

/// Holds the seat for a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldSeat {
    guest: String,
}

/// Sells the seat to the guest that holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SellSeat {}

/// The most rows of a hall.
const MAX_ROWS: u32 = 60;

rejections! {
    /// Why a command on a seat is refused.
    #[derive(Debug, Clone, PartialEq, thiserror::Error)]
    pub enum Rejection {
        /// There is no such row.
        #[error("there is no row {0}; give 1 to {max}", max = MAX_ROWS)]
        NoSuchRow(u32) = "no-such-row",
        /// Another guest holds the seat.
        #[error("the seat is held for {guest}; choose another seat")]
        Taken {
            /// The guest that holds it.
            guest: String,
        } = "seat-taken",
        /// The seat is sold.
        #[error("the seat is sold; choose another seat")]
        Sold = "seat-sold",
    }
}

fn held() -> Event {
    Event::SeatHeld(SeatHeld { guest: "Ada".to_owned() })
}

fn sold(price: u32) -> Event {
    Event::SeatSold(SeatSold { price, currency: "EUR".to_owned() })
}

#[test]
fn names_and_schema_versions_follow_from_the_list_of_events() {
    assert_eq!(Event::TYPES, [("SeatHeld", 1), ("SeatSold", 3)]);
    assert_eq!(<Event as StoredEvent>::TYPES, Event::TYPES);
    assert_eq!((held().name(), sold(1).name()), ("SeatHeld", "SeatSold"));
}

#[test]
fn an_event_is_written_under_its_newest_version_and_read_again() {
    for (event, schema_version) in [(held(), 1), (sold(995), 3)] {
        let written = event.encode();
        assert_eq!((written.event_type, written.schema_version), (event.name(), schema_version));
        assert_eq!(Event::decode(written.event_type, schema_version, written.data.get()).unwrap(), event);
        let by_trait =
            <Event as StoredEvent>::decode(event.name(), schema_version, StoredEvent::encode(&event).data.get());
        assert_eq!(by_trait.unwrap(), event);
    }
    assert_eq!(held().encode().data.get(), r#"{"guest":"Ada"}"#, "the payload alone, in the order of its fields");
}

#[test]
fn older_payloads_are_lifted_by_the_upcasters_of_the_declaration() {
    assert_eq!(Event::decode("SeatSold", 1, "{}").unwrap(), sold(0));
    assert_eq!(Event::decode("SeatSold", 2, r#"{"price":995}"#).unwrap(), sold(995));
}

#[test]
fn what_cannot_be_read_says_why() {
    let why = |name, version, data| Event::decode(name, version, data).unwrap_err();
    assert!(matches!(why("SeatFlew", 1, "{}"), DecodeError::UnknownType(name) if name == "SeatFlew"));
    assert!(matches!(why("SeatHeld", 2, "{}"), DecodeError::NewerSchema { found: 2, known: 1, .. }));
    assert!(matches!(why("SeatSold", 4, "{}"), DecodeError::NewerSchema { found: 4, known: 3, .. }));
    assert!(matches!(why("SeatHeld", 1, "{}"), DecodeError::Malformed { event_type, .. } if event_type == "SeatHeld"));
    assert!(matches!(why("SeatSold", 0, "{}"), DecodeError::Malformed { .. }));
}

#[test]
fn a_command_is_its_payload_with_its_name_as_type() {
    let command = Command::HoldSeat(HoldSeat { guest: "Ada".to_owned() });
    let written = json!({ "type": "HoldSeat", "guest": "Ada" });
    assert_eq!(serde_json::to_value(&command).unwrap(), written);
    assert_eq!(serde_json::from_value::<Command>(written).unwrap(), command);
    assert_eq!(Command::NAMES, ["HoldSeat", "SellSeat"]);
    assert_eq!((command.name(), Command::SellSeat(SellSeat {}).name()), ("HoldSeat", "SellSeat"));
}

#[test]
fn a_rejection_has_its_code_and_its_sentence() {
    let all = [Rejection::NoSuchRow(61), Rejection::Taken { guest: "Ada".to_owned() }, Rejection::Sold];
    assert_eq!(all.each_ref().map(Rejected::code), Rejection::CODES);
    assert_eq!(Rejection::CODES, ["no-such-row", "seat-taken", "seat-sold"]);
    let sentences = all.each_ref().map(ToString::to_string);
    assert_eq!(sentences[0], "there is no row 61; give 1 to 60");
    assert_eq!(sentences[1], "the seat is held for Ada; choose another seat");
}

/// Notes the Rust type of each payload with its name and version.
#[derive(Default)]
struct Seen(Vec<(&'static str, &'static str, u16)>);

impl<Payload> Visit<Payload> for Seen {
    fn visit(&mut self, name: &'static str, schema_version: u16) {
        let path = type_name::<Payload>();
        self.0.push((path.rsplit(':').next().unwrap(), name, schema_version));
    }
}

#[test]
fn a_visitor_sees_the_payload_struct_of_each_variant() {
    let mut seen = Seen::default();
    Event::visit(&mut seen);
    Command::visit(&mut seen);
    let expected = [("SeatHeld", 1), ("SeatSold", 3), ("HoldSeat", 1), ("SellSeat", 1)];
    assert_eq!(seen.0, expected.map(|(name, version)| (name, name, version)));
}

#[test]
fn a_version_without_its_one_upcaster_stops_the_build() {
    let step = |event_type, from| Upcaster { event_type, from, step: |data| data };
    let builds = |types: &'static [(&str, u16)], steps: Vec<Upcaster>| {
        catch_unwind(move || assert_upcasters(types, &steps)).is_ok()
    };
    assert!(builds(&[("A", 1), ("B", 3)], vec![step("B", 2), step("B", 1)]));
    assert!(!builds(&[("A", 1), ("B", 3)], vec![step("B", 1)]), "one is missing");
    assert!(!builds(&[("B", 3)], vec![step("B", 1), step("B", 1)]), "one stands there twice");
    assert!(!builds(&[("B", 2)], vec![step("B", 1), step("B", 2)]), "one lifts the newest version");
    assert!(!builds(&[("A", 1), ("B", 2)], vec![step("B", 1), step("Z", 1)]), "one is of another type");
}

#[test]
fn a_code_that_is_not_kebab_case_or_stands_there_twice_stops_the_build() {
    let builds = |codes: &'static [&str]| catch_unwind(|| assert_codes(codes)).is_ok();
    assert!(builds(&[]) && builds(&["not-found", "found", "not-found-2"]));
    assert!(!builds(&["not-found", "other", "not-found"]));
    assert!(!builds(&["NotFound"]) && !builds(&["not_found"]) && !builds(&["not found"]));
}
