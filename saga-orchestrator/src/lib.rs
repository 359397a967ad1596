//! The sagas: the engine, the definitions, timers and what operators see of them.

pub mod ports;
