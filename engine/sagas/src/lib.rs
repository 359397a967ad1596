//! Sagas as pure rules, for any domain: a table of steps, and what follows from an input. No IO.
//!
//! An application implements [`Story`] (what stands in the stored events of its sagas) and [`Process`] (its definitions,
//! commands and settings). [`react`] judges an input by the state and says which events follow; [`State::evolve`] folds
//! them; [`pending`] says which commands must be on their way. A process that dies between two appends loses nothing:
//! from the same events follow the same pending commands, with the same ids and bytes.
//!
//! *Invariant:* nothing here waits, sends, reads a clock or draws a number. *Invariant:* the engine knows no saga by name:
//! what is special about one stands in its definition.

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
