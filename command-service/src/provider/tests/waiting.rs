//! A provider that hangs: what waits for its turn is known to be unknown all the same.

use super::*;

#[tokio::test]
async fn a_request_that_waits_behind_calls_that_hang_is_marked_as_unknown_in_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = Process::open(folder.path());
    let door = Door::new(bank(folder.path()), At::Before);
    let config = ProviderConfig { call_timeout_ms: 600_000, unknown_after_ms: 200, ..config() };
    process.start_with(door.clone(), None, config);
    let behind = 270; // More than the 256 calls that are under way at once.
    for payment in 1..=behind {
        process.send(payment, authorize(payment, "tok_approve")).await;
    }
    for payment in [1, behind - 1, behind] {
        process.until(payment, "unknown", Payment::has_unknown).await;
    }
    door.door.send_replace(At::Open);
    process.until(behind, "authorized", is_authorized).await;
    assert!(door.calls.load(Ordering::SeqCst) <= u32::try_from(behind).expect("few"), "each was sent once");
    process.crash().await;
}
