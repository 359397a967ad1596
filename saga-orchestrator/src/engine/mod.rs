//! The engine: pure. Nothing here waits, sends or reads a clock.
//!
//! `react` judges an input by the state and says what happens; `State::evolve` believes; `pending` says which commands
//! must be on their way. A process that dies between two appends loses nothing: the same events, the same pending.

mod back;
mod forward;
mod pending;
mod react;
mod retry;
pub mod state;

pub use pending::{Pending, next_timer, pending};
pub use react::{Answered, Begin, Input, Outside, begin, react};
pub use state::{Leg, Meta, State};
