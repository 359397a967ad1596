//! The parked streams of an answer: the answer does not reflect them beyond the event at which they stand.

use event_store::StreamName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use projection_engine::dead_letters::Letter;

/// The most streams that an answer names; `GET /v1/dead-letters` lists all.
pub const MOST_NAMED: usize = 50;

/// A stream that this answer touches and that a read model has parked: an event of it cannot be applied. The answer
/// reflects it up to before `version`, whatever `X-Position` says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[schema(as = StaleStream)]
pub struct Stale {
    /// The name of the read model that parked the stream.
    #[schema(example = "orders")]
    pub projection: String,
    /// The name of the parked stream.
    #[schema(example = "order-7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11")]
    pub stream: String,
    /// The version of the event that cannot be applied.
    pub version: u64,
}

/// Whether a parked stream is in all answers of its read model.
pub fn any(_: &StreamName, _: &Letter) -> bool {
    true
}

/// Whether a parked stream belongs to an order: its own, those of its payments, shipments and sagas.
pub fn of_order(order: Uuid) -> impl Fn(&StreamName, &Letter) -> bool {
    let key = order.to_string();
    move |_, letter| letter.partition_key == key
}

/// Whether a parked stream may lack in an order's timeline: a stock stream says only in its events which orders it is about.
pub fn of_timeline(order: Uuid) -> impl Fn(&StreamName, &Letter) -> bool {
    let of = of_order(order);
    move |stream, letter| stream.category() == "stock" || of(stream, letter)
}

/// Whether a parked stream belongs to the order that is asked for, if one is.
pub fn of_order_or_any(order: Option<Uuid>) -> impl Fn(&StreamName, &Letter) -> bool {
    let of = order.map(of_order);
    move |stream, letter| of.as_ref().is_none_or(|of| of(stream, letter))
}

/// Whether it is this stream.
pub fn stream(name: String) -> impl Fn(&StreamName, &Letter) -> bool {
    move |stream, _| stream.as_str() == name
}
