//! The shop's own types in the events of its sagas.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::facts::{Facts, RefundFacts};
use crate::ids::OrderId;
use saga_engine::story::{self, HoldNotes, Story};

/// The sagas of the shop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Shop;

impl Story for Shop {
    type Subject = Subject;
    type Facts = Facts;
    type Handover = RefundFacts;
    type Note = Note;
    type Party = Party;

    const NOUN: &'static str = "order";

    fn subject(facts: &Facts) -> Subject {
        Subject { order_id: facts.order_id() }
    }
}

/// The subject of a saga of the shop: one order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// Id of the order that the saga is about.
    pub order_id: OrderId,
}

impl story::Subject for Subject {
    fn id(&self) -> Uuid {
        self.order_id.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.order_id.fmt(f)
    }
}

impl From<RefundFacts> for Facts {
    fn from(facts: RefundFacts) -> Self {
        Self::Refund(facts)
    }
}

/// The party that must act before a step can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// The payment provider, or the customer on the provider's page: a request is open there.
    Provider,
    /// The warehouse, or the carrier.
    Warehouse,
    /// A person of the shop.
    Person,
}

impl story::Party for Party {
    fn is_asked(self) -> bool {
        match self {
            Self::Provider => true,
            Self::Warehouse | Self::Person => false,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "the payment provider",
            Self::Warehouse => "the warehouse",
            Self::Person => "a person",
        }
    }
}

/// The meaning of a fact from outside that by itself ends no step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// The customer requested the cancellation of the order.
    CancellationRequested,
    /// The order is held; the detail is the reason.
    Held,
    /// An order hold was released. The detail is its reason; without one all holds were released.
    HoldReleased,
    /// The customer must confirm the payment first.
    CustomerMustAct,
    /// The outcome of a request to the provider is unknown, because it has been open for too long.
    OutcomeUnknown,
    /// The effect of the step is gone, or never was: there is nothing left to compensate.
    NothingLeft,
    /// The fact that a step will wait for arrived before the step began.
    CameEarly,
    /// The compensation failed once; it is retried.
    UndoFailed,
}

impl story::Note for Note {
    const NOTHING_LEFT: Self = Self::NothingLeft;
    const CAME_EARLY: Self = Self::CameEarly;
    const UNDO_FAILED: Self = Self::UndoFailed;
    const HOLD: Option<HoldNotes<Self>> =
        Some(HoldNotes { held: Self::Held, released: Self::HoldReleased, of_step: REVIEW_HOLD });
}

/// The reason of the hold that a risk review puts on an order.
pub const REVIEW_HOLD: &str = crate::order::HoldReason::HighRiskOfFraud.as_str();
