//! Tests that take minutes each: `script/test --long`. They run one after the other, so that none disturbs another.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod torture;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_backstitch");
