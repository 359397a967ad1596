//! The parts of the OpenAPI document that all services share: its introduction, the words of its enums, the shapes of
//! common parameters, and the rules that complete it. Each service adds its own routes; `schemas/openapi.json` is the whole.

mod complete;
#[macro_use]
mod named;
mod shapes;
mod words;

use serde_json::Value;
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

pub use shapes::{
    ConditionText, CursorText, DayText, LimitQuery, LocationText, LogPosition, LongReasonText, MomentText, Money,
    NewSkuText, OrderPath, PAGE_MAX, POSITION_MAX, PageQuery, PersonText, ProductNameText, ReasonText, SagaPath,
    SkuText, StreamText, TagText, TimeSpanText, TimeZoneText,
};
pub use words::{
    CustomerAction, DeadLetterCause, DeadLetterVerb, DependencyStatus, FulfilmentStatus, GenerationState, GraphFormat,
    HoldReasonWord, IfFailsWay, LedgerKind, LedgerState, LineageKind, LineageReason, OneOf, OrderStatus, PaymentStatus,
    ProductStatus, ProjectionState, ProviderMode, ProviderPaymentState, ReadDirection, ReservationState, RiskVerdict,
    SagaActed, SagaAction, SagaDirection, SagaErrorKind, SagaState, SagaStepKind, SagaStepStatus, SagaWay,
    ShipmentStatus, Until, Words,
};

/// The introduction of the document: what holds for every request.
const HABITS: &str = "\
Orders, payments, stock and shipments as event-sourced aggregates behind HTTP commands, with read models beside them.

* **Commands** are POST requests with an `Idempotency-Key`: the same key and body get the same answer again \
(`Idempotent-Replayed: true`), another body 422. An answer is durable when it arrives. It carries the stream's version \
as `ETag`, and in `X-Commit-Position` how far the log had come; `If-Match` refuses a command whose stream has moved on.
* **Queries** may carry `X-Min-Position` and `Prefer: wait=N` to read what was just written. Lists are paged: `next` is \
the `cursor` of the next page.
* **Refusals** are problem documents (RFC 9457, `application/problem+json`) with a stable `type`; `/problems` explains \
each. Money is in minor units: `{\"amount\": 1999, \"currency\": \"EUR\"}` is 19.99 €.
* **Positions** of the log are integers of at most 2^53 - 1, which JavaScript reads exactly.
* **Status words** in answers come from open lists: a later version may add a word, and a client must accept a word that \
it does not know. Words in requests come from closed lists: an unknown word is refused with 400.

**A first order, on a fresh server.** Each example of this document can be sent as it is, in this order: `createProduct`, \
`receiveStock`, `placeOrder`, and `showOrder` with the `id` of its answer, `until=settled` and `Prefer: wait=10`.";

/// The description without any route.
pub fn description() -> OpenApi {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("Backstitch")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(HABITS))
        .license(Some(license));
    OpenApiBuilder::new().info(info).build()
}

/// The document as it is served and checked in: the descriptions of all services, completed by the rules that hold for
/// every operation.
pub fn document(described: &OpenApi) -> Value {
    let described = serde_json::to_value(described);
    complete::complete(described.expect("an OpenAPI document is strings, lists and maps with string keys"))
}
