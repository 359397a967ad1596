//! Two command services, each a process of its own, over one served log and one payment provider: reached by HTTP and by
//! the sagas' client, killed, stopped and started again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod client;
mod edges;
mod world;
