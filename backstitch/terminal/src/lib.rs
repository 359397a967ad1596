//! What the program says to people: lines, tables, progress, exit codes, and failures with what to type next.
//!
//! *Invariant:* data goes to stdout and everything else to stderr, so that every verb can stand in a pipe.
//! *Invariant:* exit 0 means done, 1 means the answer is no, 2 means that there is no answer.

pub mod failure;
pub mod output;
pub mod progress;
mod table;

pub use failure::{Exit, Failure};
