//! What puts the program to the test, with the program itself: a demo that proves that everything adds up, benches, a cluster
//! on one machine, and faults in it.

pub mod bench;
mod child_log;
pub mod cluster;
pub mod demo;
pub mod torture;
