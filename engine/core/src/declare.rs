//! One declaration for each event, command and rejection.
//!
//! [`events!`](crate::events), [`commands!`](crate::commands) and [`rejections!`](crate::rejections) take an enum and add
//! what follows from the list of its variants: names, codes, writing, reading. Payloads are plain structs: the variant
//! `SeatHeld` holds the struct `SeatHeld`.

use crate::Upcaster;

/// Is shown the payload structs of the events or commands of an enum, each with its name and newest schema version
/// (`Event::visit`). It makes lists that need the Rust type of each payload, such as JSON Schemas.
pub trait Visit<Payload> {
    /// Takes note of one payload struct.
    fn visit(&mut self, name: &'static str, schema_version: u16);
}

/// Declares the events of an aggregate.
///
/// Each variant is named like the payload struct that it holds. `= 2` behind it is the newest schema version of the event;
/// without a number it is 1. An event of version 2 needs an [`Upcaster`] from version 1 in the list `upcasters`, which is left
/// out while no event has an older version.
///
/// ```
/// use eventsourcing::{Upcaster, events};
/// use serde::{Deserialize, Serialize};
///
/// events! {
///     /// What has happened to a seat.
///     #[derive(Debug, Clone, PartialEq)]
///     pub enum Event {
///         SeatHeld,
///         SeatSold = 2,
///     }
///     upcasters: &[Upcaster { event_type: "SeatSold", from: 1, step: |mut sold| { sold["price"] = 0.into(); sold } }]
/// }
///
/// /// The seat is held for a guest.
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// pub struct SeatHeld { guest: String }
///
/// /// The seat is sold. Version 1 had no price.
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// pub struct SeatSold { guest: String, price: u32 }
///
/// let sold = Event::decode("SeatSold", 1, r#"{"guest":"Ada"}"#).unwrap();
/// assert_eq!(sold, Event::SeatSold(SeatSold { guest: "Ada".to_owned(), price: 0 }));
/// assert_eq!((sold.name(), sold.encode().schema_version), ("SeatSold", 2));
/// assert_eq!(Event::TYPES, [("SeatHeld", 1), ("SeatSold", 2)]);
/// ```
///
/// The compiler refuses a type that stands in the list twice, and an older version without its upcaster:
///
/// ```compile_fail
/// eventsourcing::events! {
///     #[derive(Debug, Clone, PartialEq)]
///     enum Event { SeatHeld, SeatHeld }
/// }
/// # #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
/// # struct SeatHeld {}
/// ```
///
/// ```compile_fail
/// eventsourcing::events! {
///     #[derive(Debug, Clone, PartialEq)]
///     enum Event { SeatHeld = 2 }
/// }
/// # #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
/// # struct SeatHeld {}
/// ```
#[macro_export]
macro_rules! events {
    (@newest) => { 1 };
    (@newest $version:literal) => { $version };
    (@steps) => { &[] };
    (@steps $steps:expr) => { $steps };
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $event:ident { $($payload:ident $(= $version:literal)?),+ $(,)? }
        $(upcasters: $steps:expr)?
    ) => {
        $(#[$attribute])*
        $visibility enum $event {
            $(#[doc = concat!("Holds [`", stringify!($payload), "`].")] $payload($payload),)+
        }

        impl $event {
            /// The types of all events, each with its newest schema version.
            pub const TYPES: &'static [(&'static str, u16)] =
                &[$((stringify!($payload), $crate::events!(@newest $($version)?))),+];
            const UPCASTERS: &'static [$crate::Upcaster] = $crate::events!(@steps $($steps)?);

            /// The event's own name, which is its type in the log.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$payload(_) => stringify!($payload),)+ }
            }

            /// Writes the event for the log.
            pub fn encode(&self) -> $crate::EncodedEvent {
                match self {
                    $(Self::$payload(payload) => $crate::aggregate::encoded::<$payload>(
                        stringify!($payload), $crate::events!(@newest $($version)?), payload),)+
                }
            }

            /// Reads an event of the log, older schema versions included.
            ///
            /// # Errors
            /// An unknown type, a newer schema version, or data that does not fit.
            pub fn decode(
                event_type: &str, schema_version: u16, data: &str,
            ) -> ::core::result::Result<Self, $crate::DecodeError> {
                match event_type {
                    $(stringify!($payload) => $crate::aggregate::decoded::<$payload>(
                        Self::UPCASTERS, event_type, $crate::events!(@newest $($version)?), schema_version, data,
                    ).map(Self::$payload),)+
                    unknown => Err($crate::DecodeError::UnknownType(unknown.to_owned())),
                }
            }

            /// Shows the visitor the payload struct of each event, in the order of the declaration.
            pub fn visit<V: $($crate::Visit<$payload> +)+>(visitor: &mut V) {
                $(<V as $crate::Visit<$payload>>::visit(
                    visitor, stringify!($payload), $crate::events!(@newest $($version)?));)+
            }
        }

        impl $crate::StoredEvent for $event {
            const TYPES: &'static [(&'static str, u16)] = Self::TYPES;
            fn encode(&self) -> $crate::EncodedEvent { Self::encode(self) }
            fn decode(name: &str, version: u16, data: &str) -> ::core::result::Result<Self, $crate::DecodeError> {
                Self::decode(name, version, data)
            }
        }

        const _: () = $crate::declare::assert_upcasters($event::TYPES, $event::UPCASTERS);
        // Two type parameters with one name are an error at the line of the second, which two variants are not.
        const _: () = { #[allow(dead_code)] fn names_are_distinct<$($payload),+>() {} };
    };
}

/// Declares the commands of an aggregate.
///
/// Each variant is named like the payload struct that it holds. The attributes say how a command is written: with
/// `#[serde(tag = "type")]` it is its payload with its name as `type`.
///
/// ```
/// use eventsourcing::commands;
/// use serde::{Deserialize, Serialize};
///
/// commands! {
///     /// What may be asked of a seat.
///     #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
///     #[serde(tag = "type")]
///     pub enum Command {
///         HoldSeat,
///     }
/// }
///
/// /// Holds the seat for a guest.
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// pub struct HoldSeat { guest: String }
///
/// let command: Command = serde_json::from_str(r#"{"type":"HoldSeat","guest":"Ada"}"#).unwrap();
/// assert_eq!(command.name(), "HoldSeat");
/// assert_eq!(Command::NAMES, ["HoldSeat"]);
/// ```
#[macro_export]
macro_rules! commands {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $command:ident { $($payload:ident),+ $(,)? }
    ) => {
        $(#[$attribute])*
        $visibility enum $command {
            $(#[doc = concat!("Holds [`", stringify!($payload), "`].")] $payload($payload),)+
        }

        impl $command {
            /// The names of all commands.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($payload)),+];

            /// The command's own name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$payload(_) => stringify!($payload),)+ }
            }

            /// Shows the visitor the payload struct of each command, in the order of the declaration. Their version is 1.
            pub fn visit<V: $($crate::Visit<$payload> +)+>(visitor: &mut V) {
                $(<V as $crate::Visit<$payload>>::visit(visitor, stringify!($payload), 1);)+
            }
        }

        // As in `events!`: a name that is given twice is an error at its line.
        const _: () = { #[allow(dead_code)] fn names_are_distinct<$($payload),+>() {} };
    };
}

/// Declares the rejections of an aggregate, each with its code.
///
/// A code is kebab-case, stable, and the last part of the problem type's URI. The sentence is the `Display` of the variant;
/// `thiserror` writes it.
///
/// ```
/// use eventsourcing::{Rejected, rejections};
///
/// rejections! {
///     /// Why a command on a seat is refused.
///     #[derive(Debug, Clone, PartialEq, thiserror::Error)]
///     pub enum Rejection {
///         /// Another guest holds the seat.
///         #[error("the seat is held for {guest}; choose another seat")]
///         Taken { guest: String } = "seat-taken",
///         /// The seat is sold.
///         #[error("the seat is sold; choose another seat")]
///         Sold = "seat-sold",
///     }
/// }
///
/// assert_eq!(Rejection::Sold.code(), "seat-sold");
/// assert_eq!(Rejection::CODES, ["seat-taken", "seat-sold"]);
/// ```
///
/// The compiler refuses a code that stands in the list twice:
///
/// ```compile_fail
/// eventsourcing::rejections! {
///     #[derive(Debug, Clone, PartialEq, thiserror::Error)]
///     enum Rejection {
///         #[error("the seat is taken")]
///         Taken = "seat-taken",
///         #[error("the seat is sold")]
///         Sold = "seat-taken",
///     }
/// }
/// ```
#[macro_export]
macro_rules! rejections {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $rejection:ident {
            $($(#[$about:meta])* $name:ident $(($($tuple:tt)*))? $({$($fields:tt)*})? = $code:literal),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        $visibility enum $rejection {
            $($(#[$about])* $name $(($($tuple)*))? $({$($fields)*})?,)+
        }

        impl $crate::Rejected for $rejection {
            const CODES: &'static [&'static str] = &[$($code),+];
            fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code,)+ }
            }
        }

        const _: () = $crate::declare::assert_codes(<$rejection as $crate::Rejected>::CODES);
    };
}

/// Stops the build unless every code is kebab-case and stands in the list once. Called by [`rejections!`](crate::rejections).
#[doc(hidden)]
pub const fn assert_codes(codes: &[&str]) {
    let mut at = 0;
    while at < codes.len() {
        let (code, mut byte, mut later) = (codes[at].as_bytes(), 0, at + 1);
        let mut hyphen = true; // No code begins or ends with one, and no two stand beside each other.
        while byte < code.len() {
            let letter = code[byte].is_ascii_lowercase() || code[byte].is_ascii_digit();
            assert!(letter || (code[byte] == b'-' && !hyphen), "the code of a rejection is not kebab-case");
            (hyphen, byte) = (!letter, byte + 1);
        }
        assert!(!hyphen, "the code of a rejection is not kebab-case");
        while later < codes.len() {
            assert!(!same(codes[at], codes[later]), "two rejections have the same code");
            later += 1;
        }
        at += 1;
    }
}

/// Stops the build unless there is one step from each older schema version of each type, and no other. Called by
/// [`events!`](crate::events).
#[doc(hidden)]
pub const fn assert_upcasters(types: &[(&str, u16)], steps: &[Upcaster]) {
    let (mut at, mut needed) = (0, 0);
    while at < types.len() {
        let (name, newest) = types[at];
        let mut from = 1;
        while from < newest {
            assert!(count(steps, name, from) == 1, "an older schema version of an event has no upcaster, or has two");
            (from, needed) = (from + 1, needed + 1);
        }
        at += 1;
    }
    assert!(steps.len() == needed, "an upcaster is of no type or no older version of these events");
}

const fn count(steps: &[Upcaster], name: &str, from: u16) -> usize {
    let (mut at, mut found) = (0, 0);
    while at < steps.len() {
        if same(steps[at].event_type, name) && steps[at].from == from {
            found += 1;
        }
        at += 1;
    }
    found
}

/// Whether two texts are equal; `==` cannot be used where constants are evaluated.
const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    left.len() == right.len() && at == left.len()
}
