//! Sagas as the log knows them: their events, and a pure fold that says how a saga stands.
//!
//! The engine and the tables of steps live in `saga-orchestrator`; code that only shows sagas needs nothing but this.
//! *Invariant:* what a saga is waiting for, and whether it is settled, follows from its events alone.

pub mod events;
pub mod facts;
mod fold;
pub mod parts;
pub mod shop;
pub mod story;
#[cfg(test)]
mod tests;
pub mod view;

pub use events::{
    CommandAnswered, CompensationStarted, OperatorActed, SagaCompensated, SagaCompleted, SagaNeedsAttention,
    StepFailed, StepRenewed, StepRetryScheduled, StepSucceeded, UndoSucceeded,
};
pub use facts::*;
pub use parts::{
    Action, Answer, CommandBody, Direction, ErrorKind, Failure, Holds, IssuedCommand, Kind, LateBy, Source, StepRef,
    TOO_LATE,
};
pub use shop::{Note, Party, REVIEW_HOLD, Shop, Subject};
pub use story::Story;
pub use view::{ActionView, LegStatus, SagaState};

/// An event of a saga of the shop.
pub type Event = events::Event<Shop>;
/// It began.
pub type SagaStarted = events::SagaStarted<Shop>;
/// A fact from outside came that ends no step by itself.
pub type SagaInputRecorded = events::SagaInputRecorded<Shop>;
/// A step began; its commands are on their way.
pub type StepStarted = events::StepStarted<Shop>;
/// A step is being undone.
pub type UndoStarted = events::UndoStarted<Shop>;
/// Another saga takes over from here on.
pub type SagaHandedOver = events::SagaHandedOver<Shop>;
/// A fact from outside that must follow before a step ends.
pub type Awaits = parts::Awaits<Shop>;
/// How a saga of the shop stands.
pub type View = view::View<Shop>;
/// How one attempt group of a step stands, one way.
pub type LegView = view::LegView<Shop>;
