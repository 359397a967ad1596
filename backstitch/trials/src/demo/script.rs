//! What the demo's customers do: a repeating pattern of payment behaviors and second thoughts, each with the end that
//! the failure matrix promises it.

/// What becomes of an order after it was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// Paid, packed, dispatched, delivered.
    Delivered,
    /// The card is refused.
    Declined,
    /// The customer never confirms the payment.
    Abandoned,
    /// Asks for more than there is.
    Shortage,
    /// Cancelled while it waits for the warehouse.
    CancelledBeforeCapture,
    /// Held, packed and thereby captured, then cancelled: the money goes back.
    CancelledAfterCapture,
    /// Cancelled at the moment it is packed: shipped or cancelled, never both.
    CancelRacesDispatch,
}

/// One customer's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The card.
    pub token: &'static str,
    /// What the customer and the warehouse do.
    pub story: Story,
    /// Under which the table counts it.
    pub case: &'static str,
}

const fn part(case: &'static str, token: &'static str, story: Story) -> Part {
    Part { token, story, case }
}

/// The pattern: 20 orders, then again. Each row is one of the failure matrix that this release promises.
pub const PATTERN: &[Part] = &[
    part("card approves", "tok_approve", Story::Delivered),
    part("card declined", "tok_decline", Story::Declined),
    part("3-D Secure confirmed", "tok_3ds_approve", Story::Delivered),
    part("cancelled before capture", "tok_approve", Story::CancelledBeforeCapture),
    part("webhooks duplicated", "tok_duplicate_webhooks", Story::Delivered),
    part("cancelled after capture", "tok_approve", Story::CancelledAfterCapture),
    part("webhooks reordered", "tok_reordered_webhooks", Story::Delivered),
    part("3-D Secure abandoned", "tok_3ds_abandon", Story::Abandoned),
    part("card approves", "tok_approve", Story::Delivered),
    part("more than there is", "tok_approve", Story::Shortage),
    part("cancel races dispatch", "tok_approve", Story::CancelRacesDispatch),
    part("card approves", "tok_approve", Story::Delivered),
    part("time-out, yet charged", "tok_timeout_charged", Story::Delivered),
    part("card approves", "tok_approve", Story::Delivered),
    part("card declined", "tok_decline.insufficient_funds", Story::Declined),
    part("cancel races dispatch", "tok_duplicate_webhooks", Story::CancelRacesDispatch),
    part("cancelled before capture", "tok_3ds_approve", Story::CancelledBeforeCapture),
    part("card approves", "tok_approve", Story::Delivered),
    part("cancelled after capture", "tok_reordered_webhooks", Story::CancelledAfterCapture),
    part("webhook before the answer", "tok_webhook_first", Story::Delivered),
];

impl Story {
    /// Whether an order of this story may end like this: `(order, payment)` statuses.
    pub fn may_end(self, order: &str, payment: &str) -> bool {
        match self {
            Self::Delivered => (order, payment) == ("completed", "captured"),
            Self::Declined => (order, payment) == ("rejected", "declined"),
            Self::Abandoned => order == "rejected" && matches!(payment, "expired" | "declined" | "voided"),
            Self::Shortage => (order, payment) == ("rejected", "none"),
            Self::CancelledBeforeCapture => (order, payment) == ("cancelled", "voided"),
            Self::CancelledAfterCapture => (order, payment) == ("cancelled", "refunded"),
            Self::CancelRacesDispatch => {
                matches!((order, payment), ("completed", "captured") | ("cancelled", "voided" | "refunded"))
            }
        }
    }
}
