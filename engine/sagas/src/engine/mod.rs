//! The engine: pure. Nothing here waits, sends or reads a clock.
//!
//! `react` judges an input by the state and says what happens; `State::evolve` believes; `pending` says which commands
//! must be on their way. A process that dies between two appends loses nothing: the same events, the same pending.

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
