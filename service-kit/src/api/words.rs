//! The words of the API's enums. An answer's words form an open list, so that a later version can add one without
//! breaking a generated client; a request's words form a closed list ([`OneOf`]).

use std::borrow::Cow;
use std::marker::PhantomData;

use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A list of words that a field of an answer may have.
pub trait Words {
    /// The name of its schema.
    const NAME: &'static str;
    /// The description of its schema.
    const MEANING: &'static str;
    /// The words, those of planned versions included.
    const WORDS: &'static [&'static str];
}

/// The schema of one of the words of `T` in a request: any other word is refused.
#[derive(Debug)]
pub struct OneOf<T>(PhantomData<T>);

// What utoipa's derive asks of a type with parameters; it brings `PartialSchema` along.
impl<T: Words> utoipa::__dev::ComposeSchema for OneOf<T> {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        closed::<T>().build().into()
    }
}

impl<T: Words> ToSchema for OneOf<T> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("{}Filter", T::NAME))
    }
}

fn closed<T: Words>() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(T::WORDS.iter().copied()))
}

/// `anyOf` the known words and any string. Source: the usual form of an extensible enum in OpenAPI 3.1.
fn open<T: Words>() -> RefOr<Schema> {
    let later = ObjectBuilder::new().schema_type(Type::String).description(Some("A word of a later version."));
    let words = closed::<T>().description(Some("The words of this version and those that are planned."));
    let meaning = format!("{} An open list: accept words that you do not know.", T::MEANING);
    RefOr::T(Schema::AnyOf(AnyOfBuilder::new().item(words).item(later).description(Some(meaning)).build()))
}

/// Declares open lists of words: the type's doc comment is the schema's description.
macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident: $($word:literal),+;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub struct $name;

        impl Words for $name {
            const NAME: &'static str = stringify!($name);
            const MEANING: &'static str = (concat!($($doc),+)).trim_ascii();
            const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                open::<Self>()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(Self::NAME)
            }
        }
    )+};
}

words! {
    /// The state of an order.
    OrderStatus: "pending", "confirmed", "dispatching", "partially_shipped", "shipped", "completed", "edit_pending",
        "cancel_pending", "cancelled", "rejected";
    /// The state of an order's or a payment's money.
    PaymentStatus: "none", "requested", "action_required", "unknown", "authorized", "partially_captured", "captured",
        "voided", "expired", "declined", "partially_refunded", "refunded", "refund_failed", "succeeded_late", "disputed";
    /// The state of an order's goods.
    FulfilmentStatus: "none", "planned", "ready", "dispatched", "delivered", "lost", "cancelled", "returned";
    /// The state of a shipment.
    ShipmentStatus: "planned", "ready", "dispatched", "delivered", "lost", "cancelled", "returned";
    /// The reason for which an order is held.
    HoldReasonWord: "high_risk_of_fraud", "awaiting_payment", "incorrect_address", "inventory_out_of_stock",
        "awaiting_return_items", "other";
    /// The state of a product. A product that is `created` cannot be ordered yet.
    ProductStatus: "created", "active", "discontinued";
    /// The state of a reservation.
    ReservationState: "reserved", "committed", "released", "expired", "shipped";
    /// The kind of a payment's ledger entry.
    LedgerKind: "authorize", "capture", "void", "refund";
    /// The state of a payment's ledger entry.
    LedgerState: "requested", "action_required", "succeeded", "failed", "unknown", "expired", "succeeded_late",
        "fell_short";
    /// The state of a saga.
    SagaState: "running", "waiting", "compensating", "needs_attention", "completed", "compensated", "handed_over";
    /// The direction of a saga's step: forward, its compensation, or its renewal.
    SagaDirection: "do", "undo", "renew";
    /// The state of a saga's step.
    SagaStepStatus: "to_come", "open", "succeeded", "failed", "stuck";
    /// The kind of a saga step's failure.
    SagaErrorKind: "rejected", "unavailable", "failed", "timed_out", "unsupported";
    /// The kind of a saga's step.
    SagaStepKind: "start", "compensatable", "pivot", "retriable";
    /// The way of a saga, before and after its compensation began.
    SagaWay: "forward", "back";
    /// The way that a saga takes when a step fails for good.
    IfFailsWay: "compensate", "hand_over", "attention";
    /// The action of an operator on a saga, as the path names it.
    SagaAction: "retry", "skip", "compensate", "resume", "hand-over";
    /// The action of an operator on a saga.
    SagaActed: "retry", "skip", "compensate", "resume", "hand_over";
    /// The cause of a dead letter: the program cannot decode the event, or Postgres refuses its rows.
    DeadLetterCause: "unreadable", "refused";
    /// The operation on a dead letter.
    DeadLetterVerb: "try", "retry", "discard";
    /// The state of a read model's generation.
    GenerationState: "building", "ready", "differs", "live", "previous", "retiring", "replaying", "replayed";
    /// The state of a read model: whether it follows the log.
    ProjectionState: "starting", "running", "stopped", "down";
    /// The state of a dependency of the process.
    DependencyStatus: "starting", "up", "down", "damaged";
    /// The kind of a node of a lineage.
    LineageKind: "request", "event", "command", "provider_call", "elsewhere";
    /// The state of a payment at the provider.
    ProviderPaymentState: "action_required", "pending", "authorized", "declined", "expired", "captured", "voided",
        "refunded";
    /// The verdict of a person on an order's risk.
    RiskVerdict: "approve", "refuse";
    /// The form of a graph: for Markdown and <https://mermaid.js.org>, or for Graphviz.
    GraphFormat: "mermaid", "dot";
    /// The link between a cause and its effect.
    LineageReason: "made", "moved", "issued", "answered", "asked", "told", "by_itself";
    /// The kind of payment provider that is configured.
    ProviderMode: "in_process", "instant", "http";
    /// The action of a customer at the simulated provider.
    CustomerAction: "approve", "abandon";
    /// The order in which a stream is read: the oldest event first, or the newest.
    ReadDirection: "forward", "backward";
    /// The condition that a query waits for.
    Until: "settled";
}
