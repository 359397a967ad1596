//! What the files that start a cluster elsewhere say is what the code reads: images, commands, variables, ports, health.
//! `script/checks` asks besides whether they have the shape that Docker Compose and Kubernetes want.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod compose;
mod image;
mod kubernetes;
mod metrics;
mod started;
mod yaml;
