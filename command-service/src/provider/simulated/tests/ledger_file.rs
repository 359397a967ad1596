//! The ledger's file: what a crash leaves, what damage is, who else's file it may not be.

use std::io::Write;
use std::time::Duration;

use super::*;
use crate::provider::port::{Lookup, ProviderError};
use crate::provider::simulated::ledger::LedgerError;
use crate::provider::statement::EntryState;

fn reopen(path: &Path, clock: &Clock) -> Result<Simulator, LedgerError> {
    Simulator::open(path, &SimulatedConfig::default(), crate::provider::tests::secrets(), "http://bank", clock.clone())
}

async fn two_payments(path: &Path, clock: &Clock) {
    let bank = open(path, clock);
    bank.authorize(&authorize(1, "tok_approve")).await.expect("an answer");
    bank.capture(&capture(1, 2, 700)).await.expect("an answer");
    bank.authorize(&authorize(2, "tok_3ds_approve")).await.expect("an answer");
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart_and_the_same_key_still_does_nothing() {
    let (_folder, path, clock) = world();
    two_payments(&path, &clock).await;
    let bank = open(&path, &clock);
    assert!(is_authorized(&bank.authorize(&authorize(1, "tok_approve")).await.expect("an answer").result));
    bank.capture(&capture(1, 2, 700)).await.expect("an answer");
    let (first, second) = (entry(&bank, 1).await, entry(&bank, 2).await);
    assert_eq!((first.authorized, first.captured, first.voided), (1_000, 700, 300));
    assert_eq!(second.state, EntryState::ActionRequired);
    assert_eq!(statement(&bank).await.effects, 2);
}

#[tokio::test]
async fn what_a_script_does_by_itself_still_happens_after_a_restart() {
    let (_folder, path, clock) = world();
    two_payments(&path, &clock).await;
    let bank = open(&path, &clock);
    clock.advance(Duration::from_secs(1));
    bank.let_happen().await;
    assert_eq!(entry(&bank, 2).await.authorized, 1_000);
    drop(bank);
    clock.advance(Duration::from_secs(60));
    let bank = open(&path, &clock);
    bank.let_happen().await;
    assert_eq!((entry(&bank, 2).await.authorized, statement(&bank).await.effects), (1_000, 3), "it happens once");
}

#[tokio::test]
async fn a_file_cut_off_anywhere_opens_with_all_lines_before_the_cut() {
    let (folder, path, clock) = world();
    two_payments(&path, &clock).await;
    let whole = std::fs::read(&path).expect("the ledger");
    let cut = folder.path().join("cut.jsonl");
    // Each place around the ends of lines, and every 13th between them: each opening waits for the disk.
    let near_an_end = |length: usize| whole[length.saturating_sub(2)..(length + 2).min(whole.len())].contains(&b'\n');
    for length in (0..whole.len()).filter(|length| length % 13 == 0 || near_an_end(*length)) {
        std::fs::write(&cut, &whole[..length]).expect("a copy");
        let bank = reopen(&cut, &clock).unwrap_or_else(|error| panic!("cut at {length}: {error}"));
        let lines = whole[..length].iter().filter(|byte| **byte == b'\n').count();
        let payments = statement(&bank).await.payments;
        let expected = match lines {
            0 | 1 => 0,
            2 | 3 => 1,
            _ => 2,
        };
        assert_eq!(payments, expected, "cut at {length}, after {lines} lines");
        if length % 91 == 0 {
            // It can be written again, and what is written stays.
            bank.authorize(&authorize(3, "tok_approve")).await.expect("an answer");
            drop(bank);
            let bank = reopen(&cut, &clock).expect("it opens again");
            assert!(bank.fetch(&Lookup::Key(key(3, 1))).await.expect("an answer").is_some());
        }
    }
}

#[tokio::test]
async fn a_changed_byte_before_a_valid_line_is_refused_with_the_lines_number() {
    let (_folder, path, clock) = world();
    two_payments(&path, &clock).await;
    let mut bytes = std::fs::read(&path).expect("the ledger");
    let second = bytes.iter().position(|byte| *byte == b'\n').expect("a line") + 40;
    bytes[second] ^= 1;
    std::fs::write(&path, &bytes).expect("a copy");
    assert!(matches!(reopen(&path, &clock), Err(LedgerError::Damaged { line: 2, .. })));
    assert_eq!(std::fs::read(&path).expect("the ledger"), bytes, "a refused file is not touched");
}

#[tokio::test]
async fn a_whole_line_that_says_something_unknown_is_never_cut_off() {
    let (_folder, path, clock) = world();
    two_payments(&path, &clock).await;
    let records = r#"[{"kind":"of_a_later_release"}]"#;
    let line = format!("{{\"crc\":{},\"records\":{records}}}\n", crc32fast::hash(records.as_bytes()));
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("the ledger");
    file.write_all(line.as_bytes()).expect("written");
    assert!(matches!(reopen(&path, &clock), Err(LedgerError::Damaged { line: 5, .. })));
}

#[tokio::test]
async fn somebody_elses_file_is_refused_and_left_alone() {
    let (_folder, path, clock) = world();
    for text in ["hello\n", "hello", "{\"crc\":1,\"records\":[]}\n", "\n"] {
        std::fs::write(&path, text).expect("written");
        assert!(matches!(reopen(&path, &clock), Err(LedgerError::Damaged { line: 1, .. })), "{text:?}");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_ledger_is_refused() {
    let (_folder, path, clock) = world();
    let _first = open(&path, &clock);
    assert!(matches!(reopen(&path, &clock), Err(LedgerError::Locked { .. })));
}

#[tokio::test]
async fn after_a_full_disk_the_ledger_goes_on_by_itself_and_has_lost_and_doubled_nothing() {
    let (_folder, path, clock) = world();
    let bank = open(&path, &clock);
    bank.authorize(&authorize(1, "tok_approve")).await.expect("an answer");
    let faults = bank.inner.ledger.as_ref().expect("a ledger").faults.clone();
    faults.fill_disk(true);
    for _ in 0..3 {
        // The first is decided and cannot be written; the same call again must not be answered from memory.
        let refused = bank.authorize(&authorize(2, "tok_approve")).await;
        assert!(matches!(refused, Err(ProviderError::Transient { .. })), "{refused:?}");
        // Another one is not even decided.
        let refused = bank.capture(&capture(1, 2, 700)).await;
        assert!(matches!(refused, Err(ProviderError::Transient { .. })), "{refused:?}");
        assert!(bank.fetch(&Lookup::Key(key(2, 1))).await.is_err(), "what is not on the disk is not told");
    }
    let waiting = bank.engine().bank.accounts.values().map(|account| account.requests.len()).sum::<usize>();
    assert_eq!(waiting, 2, "nothing was decided that could not be written but what was under way");
    faults.fill_disk(false);
    bank.capture(&capture(1, 2, 700)).await.expect("it goes on by itself");
    assert!(is_authorized(&bank.authorize(&authorize(2, "tok_approve")).await.expect("an answer").result));
    let before = (entry(&bank, 1).await, entry(&bank, 2).await, statement(&bank).await.effects);
    drop(bank);
    let bank = open(&path, &clock);
    let after = (entry(&bank, 1).await, entry(&bank, 2).await, statement(&bank).await.effects);
    assert_eq!(format!("{before:?}"), format!("{after:?}"), "the file has all of it, once");
    assert_eq!(after.2, 3);
}
