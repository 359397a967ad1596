//! Sagas as the event log knows them: their events, and a pure fold into the state of a saga.
//!
//! The types are those of `saga-engine`, filled in with the shop's own. The tables of steps are in `saga-orchestrator`;
//! code that only shows sagas does not need them.
//! *Invariant:* what a saga waits for, and whether it is settled, follows from its events alone.

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
/// A fact from outside was recorded that ends no step by itself.
pub type SagaInputRecorded = saga_engine::events::SagaInputRecorded<Shop>;
/// A step attempt began; its commands are being sent.
pub type StepStarted = saga_engine::events::StepStarted<Shop>;
/// The compensation of a step attempt began.
pub type UndoStarted = saga_engine::events::UndoStarted<Shop>;
/// The saga handed its subject over to another saga.
pub type SagaHandedOver = saga_engine::events::SagaHandedOver<Shop>;
/// A fact from outside that must follow before a step ends.
pub type Awaits = saga_engine::parts::Awaits<Shop>;
/// The state of a saga of the shop, for people.
pub type View = saga_engine::view::View<Shop>;
/// The state of one step attempt, forward or in compensation.
pub type LegView = saga_engine::view::LegView<Shop>;
