//! `/v1/orders`: placing an order, and what people may ask of it afterwards.

use axum::extract::State;
use domain::ids::{CustomerId, Location, OrderId, Sku, StockId};
use domain::money::{Currency, Money};
use domain::order::pricing::PricingError;
use domain::order::{
    AssessOrderRisk, Command, Event, HoldOrder, HoldReason, MAX_LINES, MAX_REASON_CHARS, MAX_TAG_CHARS, MAX_TAGS,
    OrderLine, OrderPlaced, PlaceOrder, ReleaseOrderHold, RequestOrderCancellation, RiskAssessment, Totals,
};
use domain::quantity::Quantity;
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{
    HoldReasonWord, LocationText, OneOf, OrderStatus, PersonText, ReasonText, RiskVerdict, SkuText, TagText,
};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::HttpState;
use super::extract::{About, Body, CommandHeaders, Of, check_text};
use super::problems::{Refusal, Refusals, named, refused};
use super::reply::{Answer, CommandReply};
use super::schema::{CurrencyText, ExpectedTotal, MoneySchema, OrderIdPath};
use crate::bus::{CommandMeta, Reply};
use crate::preconditions::is_payment_method;
use crate::pricing::{self, Unpriced, Wish};

pub(super) fn router() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(place))
        .routes(routes!(cancel))
        .routes(routes!(hold))
        .routes(routes!(release))
        .routes(routes!(assess))
}

/// An order to place. Prices are not in it: they are looked up.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrderBody {
    /// The id of the customer who orders.
    #[schema(value_type = Uuid, example = "7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11")]
    pub customer_id: CustomerId,
    /// The lines of the order, 1 to 100.
    #[schema(min_items = 1, max_items = 100)]
    pub lines: Vec<PlaceOrderLine>,
    /// The card's token at the payment provider. The simulated provider's tokens say what it does: `tok_approve`,
    /// `tok_decline` and others.
    #[schema(example = "tok_approve", min_length = 1, max_length = 100, pattern = "^[!-~]+$")]
    pub payment_method: String,
    /// The currency that the prices must have (ISO 4217); else that of the first product.
    #[schema(value_type = Option<CurrencyText>, inline)]
    #[serde(default)]
    pub currency: Option<Currency>,
    /// Free labels, at most 20 of 1 to 50 characters.
    #[schema(value_type = Vec<TagText>, inline, max_items = 20)]
    #[serde(default)]
    pub tags: Vec<String>,
    /// The total that the client expects, tax and shipping included; if the order costs something else, it is not placed.
    #[schema(value_type = Option<ExpectedTotal>)]
    #[serde(default)]
    pub expected_total: Option<Money>,
}

/// Pieces of one product.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrderLine {
    /// The SKU of the product that is ordered.
    #[schema(value_type = SkuText, inline)]
    pub sku: Sku,
    /// The number of pieces.
    #[schema(value_type = i64, minimum = 1, maximum = 1_000_000, example = 2)]
    pub quantity: Quantity,
    /// The location that it is shipped from; `main` where it is not given.
    #[schema(value_type = LocationText, inline)]
    #[serde(default)]
    pub location: Location,
}

/// What an order costs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OrderTotals {
    /// Net value of the lines.
    #[schema(value_type = MoneySchema)]
    pub subtotal: Money,
    /// The discount, taken off the subtotal.
    #[schema(value_type = MoneySchema)]
    pub discount: Money,
    /// Tax on lines and shipping.
    #[schema(value_type = MoneySchema)]
    pub tax: Money,
    /// The net cost of shipping; 0 where shipping is free.
    #[schema(value_type = MoneySchema)]
    pub shipping: Money,
    /// The sum that the customer pays.
    #[schema(value_type = MoneySchema)]
    pub total: Money,
}

/// An order that was placed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PlacedOrder {
    /// The answer to the command.
    #[serde(flatten)]
    pub reply: CommandReply,
    /// The order's number, for people: 12 characters without I, L, O and U.
    #[schema(example = "4QX9K2M7R1TB", min_length = 12, max_length = 12)]
    pub number: String,
    /// The order's status: `pending`, as its saga takes it from here.
    #[schema(value_type = OrderStatus)]
    pub status: &'static str,
    /// The cost of the order and its parts.
    #[serde(flatten)]
    pub totals: OrderTotals,
}

/// The reason why the customer cancels the order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelOrderBody {
    /// The reason, for people: 1 to 200 characters; `customer_request` where it is not given.
    #[schema(value_type = ReasonText, inline)]
    #[serde(default = "customer_request")]
    pub reason: String,
}

fn customer_request() -> String {
    "customer_request".to_owned()
}

/// Why an order must wait.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldOrderBody {
    /// The reason of the hold. The same words in capital letters, as they stood before 0.3, are accepted too.
    #[schema(value_type = OneOf<HoldReasonWord>, inline, example = "incorrect_address")]
    #[serde(deserialize_with = "hold_reason")]
    pub reason: HoldReason,
}

/// A hold's reason in small letters, as all words of the API, or in capitals, as it is stored.
fn hold_reason<'de, D: serde::Deserializer<'de>>(from: D) -> Result<HoldReason, D::Error> {
    use serde::de::IntoDeserializer as _;
    let word = String::deserialize(from)?;
    HoldReason::deserialize(word.to_ascii_uppercase().into_deserializer()).map_err(|_: serde::de::value::Error| {
        let words = <HoldReasonWord as service_kit::api::Words>::WORDS.join(", ");
        serde::de::Error::custom(format_args!("the reason of a hold is one of {words}, not `{word}`"))
    })
}

/// As [`hold_reason`], where it need not be given.
fn optional_hold_reason<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<HoldReason>, D::Error> {
    #[derive(Deserialize)]
    struct Given(#[serde(deserialize_with = "hold_reason")] HoldReason);
    Ok(Option::<Given>::deserialize(from)?.map(|given| given.0))
}

/// Which hold of an order is released.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseOrderBody {
    /// The reason of the hold, as in `held_reasons` of the order; needed where the order has several holds, and for
    /// `high_risk_of_fraud` while the order is under review.
    #[schema(value_type = Option<OneOf<HoldReasonWord>>, inline, example = "incorrect_address")]
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_hold_reason")]
    pub reason: Option<HoldReason>,
}

/// What a person who has looked says of an order's risk.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may go on.
    Approve,
    /// It is rejected, and its stock comes back.
    Refuse,
}

/// The result of a person's risk review.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssessOrderBody {
    /// The verdict: the order goes on, or it is rejected.
    #[schema(value_type = OneOf<RiskVerdict>, inline)]
    pub assessment: Verdict,
    /// The name of the person who decided: 1 to 64 characters.
    #[schema(value_type = PersonText, inline)]
    pub assessed_by: String,
}

/// The longest name of somebody who assesses, in characters.
const ASSESSOR_MAX: usize = 64;

/// Places an order.
///
/// The order is `pending` then; `GET /v1/orders/{id}?until=settled` waits for its outcome. On a fresh server send the
/// examples of `createProduct` and `receiveStock` first: they make the product that this example orders.
#[utoipa::path(post, path = "/v1/orders", tag = "orders", operation_id = "placeOrder", params(CommandHeaders),
    request_body = PlaceOrderBody,
    responses((status = 201, description = "The order is placed; `Location` is its path.", body = PlacedOrder), Refusals))]
async fn place(
    State(state): State<HttpState>,
    about: About,
    body: Body<PlaceOrderBody>,
) -> Result<Answer<PlacedOrder>, Refusal> {
    check(&body.value)?;
    let (order_id, meta) = (about.order_id(), about.meta(body.hash));
    let (lines, totals) = match price(&state, &body.value).await {
        Ok(priced) => priced,
        // A product that has left the catalogue since does not change what was answered before.
        Err(problem) => return replay(&state, order_id, &meta).await?.ok_or(problem),
    };
    let PlaceOrderBody { customer_id, payment_method, tags, expected_total, .. } = body.value;
    let command = PlaceOrder { order_id, customer_id, lines, totals, payment_method, tags, expected_total };
    let command = domain::Command::Order { id: order_id, command: Command::PlaceOrder(command) };
    let reply = state.bus.send(command, meta).await.map_err(refused)?;
    // The first answer again has the prices of then.
    let totals = if reply.replayed || !reply.changed { placed(&state, order_id).await?.totals } else { totals };
    Ok(created(order_id, reply, totals))
}

fn created(order_id: OrderId, reply: Reply, totals: Totals) -> Answer<PlacedOrder> {
    let Totals { subtotal, discount, tax, shipping, total } = totals;
    let body = PlacedOrder {
        reply: CommandReply::new(order_id, &reply),
        number: order_id.number(),
        status: "pending",
        totals: OrderTotals { subtotal, discount, tax, shipping, total },
    };
    Answer::created(format!("/v1/orders/{order_id}"), reply, body)
}

/// What the rules of the domain say too, said here with the field's name.
fn check(body: &PlaceOrderBody) -> Result<(), Problem> {
    let invalid = |field: String, message: &str| {
        Err(Problem::invalid("a field of the body has a value that is not valid").field(field, message))
    };
    if body.lines.is_empty() || body.lines.len() > MAX_LINES {
        return invalid("/lines".to_owned(), "must have 1 to 100 lines");
    }
    if !is_payment_method(&body.payment_method) {
        return invalid("/payment_method".to_owned(), "must have 1 to 100 printable ASCII characters without spaces");
    }
    if body.tags.len() > MAX_TAGS {
        return invalid("/tags".to_owned(), "must have at most 20 labels");
    }
    if let Some(index) = body.tags.iter().position(|tag| !(1..=MAX_TAG_CHARS).contains(&tag.chars().count())) {
        return invalid(format!("/tags/{index}"), "must have 1 to 50 characters");
    }
    match body.expected_total {
        Some(total) if !(0..=Money::MAX_TOTAL).contains(&total.amount) => {
            invalid("/expected_total/amount".to_owned(), "must be from 0 to 1000000000000")
        }
        Some(_) | None => Ok(()),
    }
}

/// Prices the order of a body.
async fn price(state: &HttpState, body: &PlaceOrderBody) -> Result<(Vec<OrderLine>, Totals), Refusal> {
    let wish = |line: &PlaceOrderLine| {
        let PlaceOrderLine { sku, quantity, location } = line.clone();
        Wish { item: StockId { sku, location }, quantity }
    };
    let wishes: Vec<Wish> = body.lines.iter().map(wish).collect();
    pricing::price(&state.bus, &state.pricing, &wishes, body.currency).await.map_err(unpriced)
}

/// Why an order has no price, with the field of the body that is the reason.
fn unpriced(why: Unpriced) -> Refusal {
    let at_line = |line: usize| format!("/lines/{}/sku", line - 1);
    let (field, fault) = match &why {
        Unpriced::NoProduct { line } => (at_line(*line), "names no product".to_owned()),
        Unpriced::OtherCurrency { .. } => ("/currency".to_owned(), why.to_string()),
        Unpriced::LineCount(_) | Unpriced::Rule(PricingError::NoLines | PricingError::TotalOutOfRange) => {
            ("/lines".to_owned(), why.to_string())
        }
        Unpriced::Rule(PricingError::ProductNotForSale { line, .. } | PricingError::CurrencyMismatch { line, .. }) => {
            (at_line(*line), why.to_string())
        }
        Unpriced::NotNow(error) => return refused(error.clone()),
    };
    named(why.code().unwrap_or("refused"), &why).field(field, fault).into()
}

/// The first answer again, if this request was answered before.
async fn replay(
    state: &HttpState,
    order_id: OrderId,
    meta: &CommandMeta,
) -> Result<Option<Answer<PlacedOrder>>, Refusal> {
    let stream = order_id.stream().parse().map_err(Problem::invalid)?;
    match state.bus.recall::<domain::order::Order>(&stream, meta).await.map_err(refused)? {
        Some(reply) => Ok(Some(created(order_id, reply, placed(state, order_id).await?.totals))),
        None => Ok(None),
    }
}

/// How the order was placed, from the log.
async fn placed(state: &HttpState, order_id: OrderId) -> Result<OrderPlaced, Refusal> {
    let stream = order_id.stream().parse().map_err(Problem::invalid)?;
    let first = state.bus.first_event(&stream).await.map_err(refused)?;
    let event = first.map(|event| Event::decode(&event.event_type, event.schema_version, event.data.get()));
    match event {
        Some(Ok(Event::OrderPlaced(placed))) => Ok(placed),
        Some(Ok(_) | Err(_)) | None => Err(Problem::unavailable("the order's first event cannot be read", 1).into()),
    }
}

/// Cancels an order. It is undone step by step; `Location` is the saga that does it.
#[utoipa::path(post, path = "/v1/orders/{id}/cancel", tag = "orders", operation_id = "cancelOrder",
    params(OrderIdPath, CommandHeaders), request_body = Option<CancelOrderBody>,
    responses((status = 202, description = "The cancellation is recorded; the saga at `Location` carries it out.", body = CommandReply), Refusals))]
async fn cancel(
    State(state): State<HttpState>,
    Of(id): Of<OrderId>,
    about: About,
    body: Body<CancelOrderBody>,
) -> Result<Answer<CommandReply>, Refusal> {
    check_text("/reason", &body.value.reason, MAX_REASON_CHARS)?;
    let command = RequestOrderCancellation { reason: body.value.reason };
    let reply = send(&state, id, Command::RequestOrderCancellation(command), &about, body.hash).await?;
    let location = format!("/v1/sagas/order_fulfilment-{id}");
    Ok(Answer::accepted(location, reply, CommandReply::new(id, &reply)))
}

/// Stops an order from being dispatched until it is released.
#[utoipa::path(post, path = "/v1/orders/{id}/hold", tag = "orders", operation_id = "holdOrder",
    params(OrderIdPath, CommandHeaders), request_body = HoldOrderBody,
    responses((status = 200, description = "The order is held.", body = CommandReply), Refusals))]
async fn hold(
    State(state): State<HttpState>,
    Of(id): Of<OrderId>,
    about: About,
    body: Body<HoldOrderBody>,
) -> Result<Answer<CommandReply>, Refusal> {
    let command = Command::HoldOrder(HoldOrder { reason: body.value.reason });
    send(&state, id, command, &about, body.hash).await.map(|reply| Answer::done(id, reply))
}

/// Releases one hold of an order; the order goes on when it has none left. Without a `reason` it must be the only hold,
/// and not that of a risk review.
#[utoipa::path(post, path = "/v1/orders/{id}/release", tag = "orders", operation_id = "releaseOrder",
    params(OrderIdPath, CommandHeaders), request_body = Option<ReleaseOrderBody>,
    responses((status = 200, description = "The hold is released.", body = CommandReply), Refusals))]
async fn release(
    State(state): State<HttpState>,
    Of(id): Of<OrderId>,
    about: About,
    body: Body<ReleaseOrderBody>,
) -> Result<Answer<CommandReply>, Refusal> {
    let command = Command::ReleaseOrderHold(ReleaseOrderHold { reason: body.value.reason });
    send(&state, id, command, &about, body.hash).await.map(|reply| Answer::done(id, reply))
}

/// Ends the risk review of an order: it goes on, or is rejected.
#[utoipa::path(post, path = "/v1/orders/{id}/assess", tag = "orders", operation_id = "assessOrder",
    params(OrderIdPath, CommandHeaders), request_body = AssessOrderBody,
    responses((status = 200, description = "The verdict is recorded.", body = CommandReply), Refusals))]
async fn assess(
    State(state): State<HttpState>,
    Of(id): Of<OrderId>,
    about: About,
    body: Body<AssessOrderBody>,
) -> Result<Answer<CommandReply>, Refusal> {
    let AssessOrderBody { assessment, assessed_by } = body.value;
    check_text("/assessed_by", &assessed_by, ASSESSOR_MAX)?;
    let assessment = match assessment {
        Verdict::Approve => RiskAssessment::Approve,
        Verdict::Refuse => RiskAssessment::Refuse,
    };
    let command = Command::AssessOrderRisk(AssessOrderRisk { assessment, assessed_by, by_person: true });
    send(&state, id, command, &about, body.hash).await.map(|reply| Answer::done(id, reply))
}

async fn send(state: &HttpState, id: OrderId, command: Command, about: &About, hash: String) -> Result<Reply, Refusal> {
    state.bus.send(domain::Command::Order { id, command }, about.meta(hash)).await.map_err(refused)
}
