//! Another domain on the engine, the embedded log and a private Postgres: seats of a concert, each held and sold once. In
//! `embedded/` the same read model is in an SQLite file.
//! `docs/library.md` explains it.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod box_office;
mod conformance;
mod embedded;
mod following;
mod operating;
mod releases;

mod table;
