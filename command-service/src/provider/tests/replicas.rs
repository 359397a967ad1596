//! Two command services over one log drive the same payments: whichever of them is asked, money moves once.

use event_store::Delegate;

use super::*;

/// A log that says that others write it, too.
struct SharedLog(Arc<SqliteStore>);

#[async_trait]
impl Delegate for SharedLog {
    fn inner(&self) -> &dyn EventStore {
        &*self.0
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Two replicas over the log of this folder; their drivers do not run yet.
fn two_over(folder: &Path) -> [Process; 2] {
    let store = SqliteStore::open(&folder.join("log"), SqliteOptions::default()).expect("the log opens");
    [(); 2].map(|()| {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let (wake, queue) = wake::channel();
        let bus = CommandBus::new(Arc::new(SharedLog(store.clone())), clock.clone(), tasks.clone(), wake);
        Process { store: store.clone(), bus, clock, tasks, queue: Some(queue) }
    })
}

#[tokio::test]
async fn payments_that_both_replicas_are_asked_for_take_each_sum_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bank = bank(folder.path());
    let mut replicas = two_over(folder.path());
    for replica in &mut replicas {
        replica.start(Arc::new(bank.clone()), None);
    }
    let [one, two] = &replicas;
    let payments = 1..=30;
    for payment in payments.clone() {
        tokio::join!(
            one.send(payment, authorize(payment, "tok_approve")),
            two.send(payment, authorize(payment, "tok_approve"))
        );
    }
    for payment in payments.clone() {
        two.until(payment, "authorized", is_authorized).await;
        tokio::join!(one.send(payment, capture()), two.send(payment, capture()));
    }
    for payment in payments.clone() {
        one.until(payment, "captured", |payment| payment.status == Status::Captured).await;
        let types = one.types(payment).await;
        assert_eq!(
            types,
            ["PaymentAuthorizationRequested", "PaymentAuthorized", "CaptureRequested", "PaymentCaptured"]
        );
        let entry = entry(&bank, payment).await.expect("seen");
        assert_eq!((entry.authorized, entry.captured), (1_000, 1_000), "payment {payment}");
    }
    assert_eq!(statement(&bank).await.effects, 2 * payments.count() as u64, "an authorization and a capture each");
}

#[tokio::test]
async fn a_replica_that_dies_between_append_and_call_is_replaced_at_the_retry() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bank = bank(folder.path());
    let [mut dies, mut lives] = two_over(folder.path());
    lives.start(Arc::new(bank.clone()), None);
    let door = Door::new(bank.clone(), At::Before);
    dies.start(door.clone(), None);
    dies.send(1, authorize(1, "tok_approve")).await;
    assert_eq!(lives.types(1).await, ["PaymentAuthorizationRequested"], "appended, and not called");
    assert!(dies.tasks.shut_down(PATIENCE).await);
    lives.send(1, authorize(1, "tok_approve")).await; // As the saga does when its command has no outcome.
    lives.until(1, "authorized", is_authorized).await;
    assert_eq!(statement(&bank).await.effects, 1);
}

#[tokio::test]
async fn a_replica_that_dies_between_call_and_append_causes_no_second_effect() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bank = bank(folder.path());
    let [mut dies, mut lives] = two_over(folder.path());
    lives.start(Arc::new(bank.clone()), None);
    let door = Door::new(bank.clone(), At::After);
    dies.start(door.clone(), None);
    dies.send(1, authorize(1, "tok_approve")).await;
    door.done.subscribe().wait_for(|done| *done == 1).await.expect("the bank did it");
    assert!(dies.tasks.shut_down(PATIENCE).await);
    assert_eq!(lives.types(1).await, ["PaymentAuthorizationRequested"], "called, and not appended");
    lives.send(1, authorize(1, "tok_approve")).await;
    lives.until(1, "authorized", is_authorized).await;
    assert_eq!((entry(&bank, 1).await.expect("seen").authorized, statement(&bank).await.effects), (1_000, 1));
}
