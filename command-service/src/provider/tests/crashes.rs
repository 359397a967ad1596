//! Crashes, silence and repetition: whatever happens, a request has one effect.

use super::*;

#[tokio::test]
async fn a_crash_between_append_and_call_is_made_good_by_the_command_sent_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let process = Process::open(folder.path());
    process.send(1, authorize(1, "tok_approve")).await; // Nobody calls: the process dies first.
    assert_eq!(process.types(1).await, ["PaymentAuthorizationRequested"]);
    process.crash().await;

    let mut process = Process::open(folder.path());
    let bank = bank(folder.path());
    process.start(Arc::new(bank.clone()), None);
    process.send(1, authorize(1, "tok_approve")).await;
    process.until(1, "authorized", is_authorized).await;
    assert_eq!(process.types(1).await, ["PaymentAuthorizationRequested", "PaymentAuthorized"]);
    assert_eq!((entry(&bank, 1).await.expect("seen").authorized, statement(&bank).await.effects), (1_000, 1));
    process.crash().await;
}

#[tokio::test]
async fn a_crash_between_call_and_append_is_made_good_by_asking_not_by_calling_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bank_here = bank(folder.path());
    let mut process = Process::open(folder.path());
    let door = Door::new(bank_here.clone(), At::After);
    process.start(door.clone(), None);
    process.send(1, authorize(1, "tok_approve")).await;
    door.done.subscribe().wait_for(|done| *done == 1).await.expect("the bank did it");
    process.crash().await;
    drop((door, bank_here)); // The bank's process is killed too: only its file is left.

    let mut process = Process::open(folder.path());
    let door = Door::new(bank(folder.path()), At::Open);
    process.start(door.clone(), None);
    process.send(1, authorize(1, "tok_approve")).await;
    process.until(1, "authorized", is_authorized).await;
    assert_eq!(door.calls.load(Ordering::SeqCst), 0, "fetch told, no second call was made");
    assert_eq!((entry(&*door, 1).await.expect("seen").authorized, statement(&*door).await.effects), (1_000, 1));
    process.crash().await;
}

#[tokio::test]
async fn a_request_that_is_woken_many_times_is_called_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = Process::open(folder.path());
    let door = Door::new(bank(folder.path()), At::Before);
    let patient = ProviderConfig { call_timeout_ms: 60_000, ..config() };
    process.start_with(door.clone(), None, patient);
    for _ in 0..50 {
        process.send(1, authorize(1, "tok_approve")).await;
    }
    door.door.send_replace(At::Open);
    process.until(1, "authorized", is_authorized).await;
    process.send(1, authorize(1, "tok_approve")).await;
    process.send(1, capture()).await;
    process.until(1, "captured", |payment| payment.status == Status::Captured).await;
    assert_eq!(door.calls.load(Ordering::SeqCst), 2, "one authorization and one capture");
    assert_eq!(statement(&*door).await.effects, 2);
    process.crash().await;
}

#[tokio::test]
async fn a_call_without_an_answer_is_unknown_and_repeated_with_the_same_body() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = Process::open(folder.path());
    let door = Door::new(bank(folder.path()), At::Before);
    process.start_with(door.clone(), None, ProviderConfig { unknown_after_ms: 300, ..config() });
    process.send(1, authorize(1, "tok_approve")).await;
    process.until(1, "unknown", Payment::has_unknown).await;
    door.door.send_replace(At::Open);
    process.send(1, authorize(1, "tok_approve")).await; // The saga's command, repeated, wakes the driver at once.
    process.until(1, "authorized", is_authorized).await;
    let types = process.types(1).await;
    assert_eq!(types, ["PaymentAuthorizationRequested", "PaymentOutcomeUnknown", "PaymentAuthorized"]);
    let bodies = door.bodies.lock().expect("no panic while held").clone();
    assert!(bodies.len() >= 2 && bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert_eq!(statement(&*door).await.effects, 1);
    process.crash().await;
}

#[tokio::test]
async fn while_the_provider_is_down_nothing_is_decided_and_it_goes_on_when_it_is_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = Process::open(folder.path());
    let door = Door::new(bank(folder.path()), At::Down);
    process.start(door.clone(), None);
    process.send(1, authorize(1, "tok_approve")).await;
    let mut fetched = 0;
    while fetched < 2 {
        // Each time it is woken it asks, and learns nothing.
        process.send(1, authorize(1, "tok_approve")).await;
        tokio::task::yield_now().await;
        fetched = door.fetches.load(Ordering::SeqCst);
    }
    assert_eq!(process.types(1).await, ["PaymentAuthorizationRequested"]);
    door.door.send_replace(At::Open);
    process.until(1, "authorized", is_authorized).await;
    assert_eq!(statement(&*door).await.effects, 1);
    process.crash().await;
}

#[tokio::test]
async fn an_authorization_that_is_given_up_before_it_was_sent_is_not_sent_any_more() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let process = Process::open(folder.path());
    process.send(1, authorize(1, "tok_approve")).await;
    process.send(1, void(1)).await;
    process.crash().await;

    let mut process = Process::open(folder.path());
    let bank = bank(folder.path());
    process.start(Arc::new(bank.clone()), None);
    process.send(1, void(1)).await;
    process.until(1, "voided", |payment| payment.status == Status::Voided).await;
    assert_eq!(entry(&bank, 1).await.expect("the void marks it").authorized, 0);
    assert_eq!(statement(&bank).await.effects, 0, "nothing was held, nothing let go");
    process.crash().await;
}

#[tokio::test]
async fn what_the_driver_appends_belongs_to_the_story_that_asked_for_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut process = Process::open(folder.path());
    process.start(Arc::new(bank(folder.path())), None);
    process.send(1, authorize(1, "tok_approve")).await;
    process.until(1, "authorized", is_authorized).await;
    let events = process.events(1).await;
    assert_eq!(events[1].metadata.correlation_id, Uuid::from_u128(77));
    assert_eq!(events[1].metadata.causation_id, events[0].metadata.command_id);
    assert_eq!(events[1].metadata.actor, "provider:simulated");
    process.crash().await;
}
