//! The bank does less than it is asked for: it is asked about that once more, and never told to do it a second time.

use super::*;

#[tokio::test]
async fn a_capture_of_less_is_asked_about_and_recorded_and_never_sent_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = Process::open(folder.path());
    let door = Door::new(bank(folder.path()), At::Open);
    process.start(door.clone(), None);
    process.send(1, authorize(1, "tok_capture_short")).await;
    process.until(1, "authorized", is_authorized).await;
    process.send(1, capture()).await;
    let short = process.until(1, "short", |payment| !payment.has_open(domain::payment::RequestKind::Capture)).await;
    assert_eq!((short.captured, short.authorized), (eur(1), eur(1_000)));
    let types = process.types(1).await;
    assert_eq!(types[2..], ["CaptureRequested", "PaymentCaptured", "PaymentFellShort"]);
    assert_eq!(door.calls.load(Ordering::SeqCst), 2, "one authorization and one capture");
    assert!(door.fetches.load(Ordering::SeqCst) >= 1, "it was asked");
    process.crash().await;
}
