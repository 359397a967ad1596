//! Sagas as the log knows them: their events, and a pure fold that says how a saga stands.
//!
//! The types are those of `saga-engine`, with what is the shop's own filled in. The tables of steps are in `saga-orchestrator`;
//! code that only shows sagas needs nothing but this.
//! *Invariant:* what a saga is waiting for, and whether it is settled, follows from its events alone.

pub mod facts;
pub mod shop;
#[cfg(test)]
mod tests;

pub use facts::*;
pub use saga_engine::Story;
pub use saga_engine::events::{
    CommandAnswered, CompensationStarted, OperatorActed, SagaCompensated, SagaCompleted, SagaNeedsAttention,
    StepFailed, StepRenewed, StepRetryScheduled, StepSucceeded, UndoSucceeded,
};
pub use saga_engine::parts::{
    Action, Answer, CommandBody, Direction, ErrorKind, Failure, Holds, IssuedCommand, Kind, LateBy, Source, StepRef,
    TOO_LATE,
};
pub use saga_engine::view::{ActionView, LegStatus, SagaState};
pub use shop::{Note, Party, REVIEW_HOLD, Shop, Subject};

/// An event of a saga of the shop.
pub type Event = saga_engine::events::Event<Shop>;
/// The first event of a saga of the shop.
pub type SagaStarted = saga_engine::events::SagaStarted<Shop>;
/// A fact from outside came that ends no step by itself.
pub type SagaInputRecorded = saga_engine::events::SagaInputRecorded<Shop>;
/// A step began; its commands are on their way.
pub type StepStarted = saga_engine::events::StepStarted<Shop>;
/// A step is being undone.
pub type UndoStarted = saga_engine::events::UndoStarted<Shop>;
/// Another saga takes over from here on.
pub type SagaHandedOver = saga_engine::events::SagaHandedOver<Shop>;
/// A fact from outside that must follow before a step ends.
pub type Awaits = saga_engine::parts::Awaits<Shop>;
/// How a saga of the shop stands.
pub type View = saga_engine::view::View<Shop>;
/// How one attempt group of a step stands, one way.
pub type LegView = saga_engine::view::LegView<Shop>;
