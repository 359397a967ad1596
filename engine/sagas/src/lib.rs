//! Sagas as pure rules, for any domain: a table of steps, and what follows from an input. No IO.
//!
//! An application implements [`Story`] (the types in the stored events of its sagas) and [`Process`] (its definitions,
//! commands and settings). [`react`] decides from an input and the state which events follow; [`State::evolve`] folds
//! them; [`pending`] says which commands must be sent. A process that dies between two appends loses nothing: the same
//! events give the same pending commands, with the same ids and bytes.
//!
//! *Invariant:* nothing here waits, sends, reads a clock or draws a number. *Invariant:* the engine knows no saga by
//! name: the peculiarities of a saga are in its definition.

pub mod definition;
pub mod engine;
pub mod events;
mod fold;
pub mod ids;
pub mod outcome;
pub mod parts;
pub mod plain;
pub mod process;
pub mod story;
#[cfg(feature = "testing")]
pub mod testing;
pub mod view;

pub use definition::{
    Awaited, Ctx, Definition, DefinitionError, Heard, Keep, Limit, Meaning, People, Step, Undo, always, sends_nothing,
};
pub use engine::{
    Act, Begin, Effect, Fails, Input, Leg, Meta, Pending, Plan, Refusal, Sent, State, Undone, Way, act, begin, effect,
    fits, next_timer, pending, plan, react,
};
pub use events::Event;
pub use outcome::{Answered, Outcome};
pub use parts::{
    Action, Answer, Awaits, CommandBody, Direction, ErrorKind, Failure, Holds, IssuedCommand, Kind, LateBy, Source,
    StepRef,
};
pub use plain::{PlainNote, PlainParty, Seconds, TimesInTable};
pub use process::{Process, Retry, Settings, Time};
pub use story::{HoldNotes, Note, Party, Story, Subject};
pub use view::{ActionView, LegStatus, LegView, SagaState, View};
