//! The vocabulary of sagas: what happens to them, as events.
