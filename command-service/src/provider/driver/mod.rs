//! Calls the provider for every open request, outside the streams, and appends what it says.
//!
//! *Invariant:* a call leaves only after its Requested event is durable: the driver acts on loaded states, and a loaded
//! state is durable.
//! *Invariant:* one task a request. A call that may have been sent before is asked about (`fetch`) before it is sent
//! again, under the same key with the same body: both are read from the payment, never made up anew.
//! *Invariant:* nothing is lost with the driver. A crash between append and call, or call and append, leaves the request
//! open; the saga's next dispatch of the command wakes the driver again.

mod attempt;
mod budget;
mod record;
mod waiting;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::Timestamp;
use domain::ids::PaymentId;
use domain::money::Money;
use domain::payment::{OpenRequest, Payment, ProviderResult, ResultSource};
use futures_util::future::{join, join_all};
use lru::LruCache;
use parking_lot::Mutex;
use service_kit::{Clock, Pauses, Tasks};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use self::attempt::Heard;
use self::budget::RetryBudget;
pub(super) use self::record::result_command_id;
use self::waiting::Waiting;
use super::config::ProviderConfig;
use super::port::{PaymentProvider, RequestKey};
use super::wake::{Cause, Queue};
use crate::{CommandBus, SendError};

/// Payments being driven at once, most of them asleep until their next attempt: some 4 MB. Beyond, payments wait for a
/// place (`waiting.rs`), and their requests are marked as unknown in time all the same.
const PAYMENTS_MAX: usize = 4_096;

/// Calls of the provider under way at once: what one saga process has in flight, and what providers allow a merchant
/// before they answer 429.
const CALLS_MAX: usize = 256;

/// Attempts at one request before its task ends: some 35 s at the quick pace and an hour at the slow one. When the saga,
/// reconciliation or a person wakes it afterwards, it makes as many again.
const ATTEMPTS_MAX: u32 = 24;

/// The delay after the first attempt, doubled for each further one.
const DELAY_FIRST: Duration = Duration::from_millis(250);

/// The longest delay while the request is young: a short outage must not cost more than this.
const DELAY_QUICK_MAX: Duration = Duration::from_secs(5);

/// The longest delay once its outcome is recorded as unknown, and the longest that a provider may ask for.
const DELAY_SLOW_MAX: Duration = Duration::from_secs(300);

/// Requests remembered as sent without an outcome; one that is forgotten is taken for sent by its age.
const SENT_MAX: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// Tries to load a payment before a wake is dropped: the bus is full, or the log begins a new epoch.
const LOADS_MAX: u32 = 8;

/// What every task of the driver needs.
struct Driver {
    bus: CommandBus,
    provider: Arc<dyn PaymentProvider>,
    clock: Clock,
    tasks: Tasks,
    started_at: Timestamp,
    call_timeout: Duration,
    unknown_after: Duration,
    actor: String,
    calls: Semaphore,
    running: Mutex<HashMap<RequestKey, Arc<Claim>>>,
    sent: Mutex<LruCache<RequestKey, ()>>,
    waiting: Waiting,
    retries: RetryBudget,
}

/// A request that a task is at.
#[derive(Default)]
struct Claim {
    notify: Notify,
    /// Somebody woke it since it last looked.
    again: AtomicBool,
}

impl Claim {
    fn alarm(&self) {
        self.again.store(true, Ordering::Release);
        self.notify.notify_one();
    }
}

/// Starts the driver. It ends, with all its calls, when `tasks` stops.
pub fn start(
    queue: Queue,
    bus: CommandBus,
    provider: Arc<dyn PaymentProvider>,
    clock: Clock,
    tasks: &Tasks,
    config: &ProviderConfig,
) {
    service_kit::metrics::present(&[
        "backstitch_provider_failures_total",
        "backstitch_provider_inbox_total",
        "backstitch_provider_results_refused_total",
        "backstitch_provider_retries_deferred_total",
        "backstitch_provider_wakes_dropped_total",
    ]);
    let started_at = clock.now();
    let driver = Arc::new(Driver {
        bus,
        actor: format!("provider:{}", provider.name()),
        provider,
        started_at,
        clock,
        tasks: tasks.clone(),
        call_timeout: config.call_timeout(),
        unknown_after: config.unknown_after(),
        calls: Semaphore::new(CALLS_MAX),
        running: Mutex::default(),
        sent: Mutex::new(LruCache::new(SENT_MAX)),
        waiting: Waiting::default(),
        retries: RetryBudget::new(started_at),
    });
    tasks.spawn("provider-driver", driver.run(queue));
}

impl Driver {
    async fn run(self: Arc<Self>, mut queue: Queue) {
        let stopping = self.tasks.stopping();
        let places = Arc::new(Semaphore::new(PAYMENTS_MAX));
        loop {
            let woken = tokio::select! {
                () = stopping.cancelled() => return,
                woken = queue.wakes.recv() => woken,
            };
            let Some((payment_id, cause)) = woken else { return };
            let place = places.clone().try_acquire_owned().ok();
            let waits = match &place {
                Some(_) => None,
                None => match self.waiting.enter(payment_id) {
                    Some(waits) => Some(waits),
                    None => continue, // It waits already, or too many do: the saga's next dispatch wakes it again.
                },
            };
            let (driver, places) = (self.clone(), places.clone());
            let stopping = stopping.clone();
            self.tasks.spawn("provider-request", async move {
                let look = async {
                    let place = match place {
                        Some(place) => Some(place),
                        None => driver.place_for(payment_id, &cause, &places).await,
                    };
                    drop(waits);
                    if let Some(place) = place {
                        driver.look(payment_id, &cause, place).await;
                    }
                };
                tokio::select! {
                    // What a call did that is dropped here is asked about at the next start.
                    () = stopping.cancelled() => {}
                    () = look => {}
                }
            });
        }
    }

    /// Loads a payment and drives each of its open requests that no task is at yet.
    async fn look(&self, payment_id: PaymentId, cause: &Cause, _place: OwnedSemaphorePermit) {
        let Some(payment) = self.load(payment_id).await else { return };
        let open = payment.open_requests();
        let claimed = open.into_iter().filter_map(|request| {
            let key = RequestKey { payment_id, request_id: request.request_id };
            let claim = self.claim(key)?;
            Some(self.drive(key, payment.clone(), request, claim, cause))
        });
        join_all(claimed).await;
    }

    async fn load(&self, payment_id: PaymentId) -> Option<Arc<Payment>> {
        let stream = payment_id.stream().parse().expect("`payment-<uuid>` is a stream's name");
        for attempt in 0..LOADS_MAX {
            match self.bus.load::<Payment>(&stream).await {
                Ok(loaded) => return Some(loaded.state),
                Err(error) => self.after_failed_send(attempt, "load a payment", &error).await,
            }
        }
        None
    }

    async fn after_failed_send(&self, attempt: u32, what: &'static str, error: &SendError) {
        tracing::warn!(%error, what, attempt, "the provider's driver tries again");
        self.clock.sleep(delay(attempt, DELAY_QUICK_MAX)).await;
    }

    /// Takes a request for this task; `None`: another is at it, and has been alarmed.
    fn claim(&self, key: RequestKey) -> Option<Arc<Claim>> {
        let mut running = self.running.lock();
        if let Some(claim) = running.get(&key) {
            claim.alarm();
            return None;
        }
        let claim = Arc::new(Claim::default());
        running.insert(key, claim.clone());
        Some(claim)
    }

    /// Alarms the task that is at a request; whether there is one.
    fn alarm(&self, key: RequestKey) -> bool {
        let running = self.running.lock();
        running.get(&key).inspect(|claim| claim.alarm()).is_some()
    }

    /// Calls the provider until the request has its outcome, its customer is awaited, or the attempts are used up.
    async fn drive(
        &self,
        key: RequestKey,
        payment: Arc<Payment>,
        request: OpenRequest,
        claim: Arc<Claim>,
        cause: &Cause,
    ) {
        let release = Release { driver: self, key };
        let mut maybe_sent = self.may_have_been_sent(key, &request);
        let mark_at = self.clock.now() + self.unknown_after;
        let mut now = (payment, request);
        self.retries.first();
        for attempt in 0..ATTEMPTS_MAX {
            claim.again.store(false, Ordering::Release);
            let heard = self.attempt_in_time((key, mark_at), &now, maybe_sent, cause).await;
            let (done, retry_after) = self.take_in(key.payment_id, &now.1, &heard, cause).await;
            if done && !claim.again.load(Ordering::Acquire) {
                return;
            }
            maybe_sent = true;
            let slow = self.age(&now.1) > self.unknown_after;
            let longest = if slow { DELAY_SLOW_MAX } else { DELAY_QUICK_MAX };
            let delay = delay(attempt, longest).max(retry_after.unwrap_or_default().min(DELAY_SLOW_MAX));
            self.pause(delay, &claim).await;
            let Some(payment) = self.load(key.payment_id).await else { break };
            let found = payment.open_requests().into_iter().find(|open| open.request_id == key.request_id);
            let Some(request) = found else { return }; // A webhook, or the end of the payment, has closed it.
            now = (payment, request);
        }
        self.sent.lock().put(key, ());
        tracing::warn!(%key, "a request has no outcome yet");
        drop(release);
    }

    /// One attempt. It may wait long for its place among all calls, so the mark that its outcome is unknown has a timer of
    /// its own.
    async fn attempt_in_time(
        &self,
        (key, mark_at): (RequestKey, Timestamp),
        (payment, request): &(Arc<Payment>, OpenRequest),
        maybe_sent: bool,
        cause: &Cause,
    ) -> Heard {
        let mut attempt = std::pin::pin!(self.attempt(key, payment, request, maybe_sent));
        if request.unknown || request.awaits_customer {
            return attempt.await;
        }
        let left = (mark_at - self.clock.now()).to_std().unwrap_or_default();
        tokio::select! {
            biased;
            heard = &mut attempt => return heard,
            () = self.clock.sleep(left) => {}
        }
        // Both at once: the attempt may hold a place among the calls, and who holds one must be polled.
        join(self.mark_unknown(key.payment_id, request, cause), attempt).await.1
    }

    /// Waits before the next attempt: this long, and then until the budget of all retries has one to give. A wake ends
    /// both: somebody wants to know now.
    async fn pause(&self, delay: Duration, claim: &Claim) {
        let mut delay = delay;
        loop {
            tokio::select! {
                () = self.clock.sleep(delay) => {}
                () = claim.notify.notified() => return,
            }
            if self.retries.take(self.clock.now()) {
                return;
            }
            metrics::counter!("backstitch_provider_retries_deferred_total").increment(1);
            delay = self::delay(u32::MAX, DELAY_QUICK_MAX);
        }
    }

    /// Appends what was heard. Whether nothing is left to do, and how long the provider asks us to wait.
    async fn take_in(
        &self,
        payment_id: PaymentId,
        request: &OpenRequest,
        heard: &Heard,
        cause: &Cause,
    ) -> (bool, Option<Duration>) {
        let (done, retry_after, outcome_unknown) = match heard {
            Heard::Result { result, provider_ref, source } => {
                let provider_ref = provider_ref.clone();
                let recorded = self.record(payment_id, request, result.clone(), provider_ref, *source, cause).await;
                // Less than was asked for: the provider is asked (`fetch`) before anybody else is.
                let asks = *source != ResultSource::Fetch && is_part(result, request.amount);
                (recorded && !asks, None, !recorded)
            }
            Heard::Nothing { retry_after } => (false, *retry_after, true),
            Heard::StillAtIt => (false, None, false), // Known to be under way: neither lost nor unknown.
            Heard::Moot => (true, None, false),
        };
        if outcome_unknown && !request.unknown && self.age(request) > self.unknown_after {
            self.mark_unknown(payment_id, request, cause).await;
        }
        (done, retry_after)
    }

    /// Whether another task, or another process, may have sent the call already.
    fn may_have_been_sent(&self, key: RequestKey, request: &OpenRequest) -> bool {
        request.unknown
            || request.awaits_customer
            || request.partly_done
            || request.opened_at <= self.started_at
            || self.age(request) > self.call_timeout
            || self.sent.lock().pop(&key).is_some()
    }

    fn age(&self, request: &OpenRequest) -> Duration {
        (self.clock.now() - request.opened_at).to_std().unwrap_or_default() // Clocks may step back.
    }
}

/// Whether a result tells of less money than was asked for.
fn is_part(result: &ProviderResult, asked: Money) -> bool {
    match result {
        ProviderResult::Authorized { amount, .. }
        | ProviderResult::Captured { amount }
        | ProviderResult::Refunded { amount } => amount.amount < asked.amount,
        ProviderResult::ActionRequired { .. }
        | ProviderResult::Declined { .. }
        | ProviderResult::Expired
        | ProviderResult::CaptureFailed { .. }
        | ProviderResult::Voided
        | ProviderResult::VoidFailed { .. }
        | ProviderResult::RefundFailed { .. } => false,
    }
}

/// Gives a request back when its task ends, however it ends.
struct Release<'a> {
    driver: &'a Driver,
    key: RequestKey,
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.driver.running.lock().remove(&self.key);
    }
}

/// The delay after an attempt, counted from 0, with a quarter of chance either way so that many do not come at once.
fn delay(attempt: u32, longest: Duration) -> Duration {
    let delay = Pauses::doubling(DELAY_FIRST, longest).after(attempt.saturating_add(1));
    delay.mul_f64(0.75 + rand::random::<f64>() / 2.0)
}
