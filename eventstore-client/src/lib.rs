//! A thin client of the EventStoreDB/KurrentDB gRPC protocol, as much of it as an event log needs.
//!
//! Only service paths, field numbers and types matter on the wire: `proto/` tells them in our own words.

pub mod proto;
