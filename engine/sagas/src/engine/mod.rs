//! The engine: pure. Nothing here waits, sends or reads a clock.
//!
//! `react` decides from an input and the state which events follow; `State::evolve` folds events without judging them;
//! `pending` says which commands must be sent. A process that dies between two appends loses nothing: the same events
//! give the same pending commands.

mod back;
mod effect;
mod forward;
mod leg;
pub mod operator;
mod pending;
mod plan;
mod react;
mod retry;
mod sent;
pub mod state;

pub use effect::{Effect, effect};
pub use operator::{Act, Refusal, act, fits};
pub use pending::{Pending, next_timer, pending};
pub use plan::{Fails, Plan, Undone, Way, plan};
pub use react::{Begin, Input, begin, react};
pub use sent::Sent;
pub use state::{Leg, Meta, State};
