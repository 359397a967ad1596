//! Tests that take minutes each: `script/test --long`. They run one after the other, so that none disturbs another.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod killed;
mod starvation;
mod torture;

use std::path::PathBuf;

/// The program under test: that of this build, or the one that `BACKSTITCH_BIN` names (a release build).
fn program() -> PathBuf {
    std::env::var_os("BACKSTITCH_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_backstitch").into()).into()
}

/// A number of a test, in the share of it that `BACKSTITCH_LONG_PERCENT` asks for (all of it by default): a run in small while
/// a test is being written.
fn scaled(number: usize) -> usize {
    let percent = std::env::var("BACKSTITCH_LONG_PERCENT").ok().and_then(|percent| percent.parse().ok()).unwrap_or(100);
    (number * percent / 100).max(1)
}
