//! What puts the program to the test, with the program itself: a demo that proves that everything adds up, benches, a cluster
//! on one machine, and faults in it.

pub mod bench;
mod child_log;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod demo;
#[cfg(feature = "cluster")]
pub mod torture;
