//! Payments that wait for a place among those being driven: a provider that hangs keeps all places for a long time.

use std::collections::HashSet;
use std::sync::Arc;

use domain::ids::PaymentId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Driver;
use crate::provider::port::RequestKey;
use crate::provider::wake::Cause;

/// Payments that may wait, each with a task of some 2 kB: 32 MB. Beyond it a wake is dropped and counted; the saga's next
/// dispatch of the command wakes again.
const WAITING_MAX: usize = 16_384;

/// The payments that wait, each once. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    // Held for one look or write, never across an await.
    payments: Arc<Mutex<HashSet<PaymentId>>>,
}

impl Waiting {
    /// Lets a payment wait; `None`: it does already, or too many do.
    pub fn enter(&self, payment_id: PaymentId) -> Option<Waits> {
        let mut payments = self.payments.lock();
        if payments.len() >= WAITING_MAX {
            metrics::counter!("backstitch_provider_wakes_dropped_total").increment(1);
            return None;
        }
        payments.insert(payment_id).then(|| Waits { waiting: self.clone(), payment_id })
    }
}

/// A payment that waits, until this is dropped.
pub(super) struct Waits {
    waiting: Waiting,
    payment_id: PaymentId,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.waiting.payments.lock().remove(&self.payment_id);
    }
}

impl Driver {
    /// A place for a payment, however long that takes. What is at it already is only alarmed, and what has been open for
    /// too long by then is marked as unknown, so that reconciliation and people know. `None`: no place is needed.
    pub(super) async fn place_for(
        &self,
        payment_id: PaymentId,
        cause: &Cause,
        places: &Arc<Semaphore>,
    ) -> Option<OwnedSemaphorePermit> {
        let open = self.load(payment_id).await?.open_requests();
        let idle =
            open.into_iter().filter(|request| !self.alarm(RequestKey { payment_id, request_id: request.request_id }));
        let idle: Vec<_> = idle.collect();
        let oldest = idle.iter().map(|request| self.age(request)).max()?;
        let place = places.clone().acquire_owned();
        tokio::pin!(place);
        tokio::select! {
            place = &mut place => return place.ok(),
            () = self.clock.sleep(self.unknown_after.saturating_sub(oldest)) => {}
        }
        for request in idle.iter().filter(|request| !request.unknown && !request.awaits_customer) {
            self.mark_unknown(payment_id, request, cause).await;
        }
        place.await.ok()
    }
}
