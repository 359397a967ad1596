//! The way to the driver: code that has made a payment request durable reports it here.

use domain::ids::PaymentId;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Payments waiting to be looked at. 16 384 at 64 bytes are 1 MB; beyond that the wake is dropped and counted, and the
/// saga's next dispatch of the command, whose answer has not come, wakes again.
const WAKES_MAX: usize = 16_384;

/// The cause that woke the driver, for the metadata of the events that it appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Id of the client's request from which everything follows.
    pub correlation_id: Uuid,
    /// Id of the command that made the request to the provider.
    pub causation_id: Uuid,
    /// The W3C trace context (`traceparent`) of the client's request.
    pub traceparent: Option<String>,
}

/// The sender that wakes the driver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Wake {
    wakes: mpsc::Sender<(PaymentId, Cause)>,
}

/// The driver's end of the channel.
#[derive(Debug)]
pub struct Queue {
    pub(super) wakes: mpsc::Receiver<(PaymentId, Cause)>,
}

/// A channel to a driver that is started later: the bus needs the one end, the driver needs the bus.
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
