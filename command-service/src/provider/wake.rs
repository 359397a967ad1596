//! The way to the driver: code that has made a payment request durable reports it here.

use domain::ids::PaymentId;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Payments waiting to be looked at. 16 384 at 64 bytes are 1 MB; beyond that the wake is dropped and counted, and the
/// saga's next dispatch of the command, whose answer has not come, wakes again.
const WAKES_MAX: usize = 16_384;

/// What woke the driver, for the metadata of what it appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The request that began it all.
    pub correlation_id: Uuid,
    /// The command that asked for the provider.
    pub causation_id: Uuid,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// Wakes the driver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Wake {
    wakes: mpsc::Sender<(PaymentId, Cause)>,
}

/// The driver's end.
#[derive(Debug)]
pub struct Queue {
    pub(super) wakes: mpsc::Receiver<(PaymentId, Cause)>,
}

/// A way to a driver that is yet to be started: the bus needs the one end, the driver needs the bus.
pub fn channel() -> (Wake, Queue) {
    let (sender, receiver) = mpsc::channel(WAKES_MAX);
    (Wake { wakes: sender }, Queue { wakes: receiver })
}

impl Wake {
    /// Says that a payment has, or may have, a request open at the provider. To be called only when the Requested
    /// event is durable; again when a command whose request may still be open is repeated. Never waits.
    pub fn wake(&self, payment_id: PaymentId, cause: Cause) {
        if self.wakes.try_send((payment_id, cause)).is_err() {
            metrics::counter!("backstitch_provider_wakes_dropped_total").increment(1);
        }
    }
}
