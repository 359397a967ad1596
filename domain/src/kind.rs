//! The kinds of aggregates, in one list: what reads the declarations of all of them reads it here.

use eventsourcing::{Aggregate, DecodeError, EncodedEvent, Rejected, StoredEvent};

use crate::order::{self, Order};
use crate::payment::{self, Payment};
use crate::product::{self, Product};
use crate::shipment::{self, Shipment};
use crate::stock::{self, StockItem};

/// What a kind of aggregate declares.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The category of its streams, such as `order`.
    pub category: &'static str,
    /// The types of its events, each with its newest schema version.
    pub events: &'static [(&'static str, u16)],
    /// The names of its commands.
    pub commands: &'static [&'static str],
    /// The codes of its rejections.
    pub rejections: &'static [&'static str],
    /// Reads the payload of an event by its type and schema version, and writes it again in the newest version.
    pub rewrite: fn(&str, u16, &str) -> Result<EncodedEvent, DecodeError>,
}

impl Kind {
    const fn of<A: Aggregate>(commands: &'static [&'static str]) -> Self {
        Self {
            category: A::CATEGORY,
            events: A::Event::TYPES,
            commands,
            rejections: A::Rejection::CODES,
            rewrite: |event_type, schema_version, data| {
                A::Event::decode(event_type, schema_version, data).map(|event| event.encode())
            },
        }
    }

    /// All kinds of aggregates. Sagas are not among them: their events are in [`crate::saga`].
    pub const ALL: &'static [Self] = &[
        Self::of::<Order>(order::Command::NAMES),
        Self::of::<Payment>(payment::Command::NAMES),
        Self::of::<Product>(product::Command::NAMES),
        Self::of::<Shipment>(shipment::Command::NAMES),
        Self::of::<StockItem>(stock::Command::NAMES),
    ];
}
