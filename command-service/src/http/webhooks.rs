//! `/v1/payments/webhooks` and `/v1/provider`: what the payment provider tells us, and its own account of what it did.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Html;
use serde::{Deserialize, Serialize};
use service_kit::api::{CustomerAction, OneOf, ProviderMode};
use service_kit::request::refuse_parameter;
use service_kit::{Problem, limits};
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::provider::intake::{IntakeError, ProviderEventReceived};
use crate::provider::port::{Capabilities, ProviderError, WebhookError};
use crate::provider::simulated::Action;
use crate::provider::simulated::page::page;
use crate::provider::statement::{PAGE_MAX, Page, Statement};
use crate::provider::{Mode, Provider};

/// Bytes of a webhook: providers send thin events of some kB.
const WEBHOOK_MAX: usize = 64 * 1024;

/// Seconds after which to ask again for what the provider could not say.
const RETRY_AFTER_S: u32 = 1;

/// What a browser may do with the page at an `action_url`: send its own forms, and say that they come from this server (without
/// a referrer a form is sent with `Origin: null`, which is refused).
const POLICIES_OF_ACTION_PAGE: [(HeaderName, &str); 2] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    (header::REFERRER_POLICY, "same-origin"),
];

/// The routes of the provider.
pub fn router(provider: Provider) -> OpenApiRouter {
    routes().with_state(provider)
}

/// What the routes here are, for the contract.
pub(super) fn openapi() -> OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Provider> {
    OpenApiRouter::new()
        .routes(routes!(receive))
        .layer(DefaultBodyLimit::max(WEBHOOK_MAX))
        .routes(routes!(about))
        .routes(routes!(inbox))
        .routes(routes!(ledger))
        .routes(routes!(action_page))
        .routes(routes!(act))
}

/// The events that the webhook made durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookReply {
    /// How many events the webhook told, each of them durable now; repeated ones count too.
    pub events: usize,
}

/// Takes in what the provider tells. Signed as Standard Webhooks: `webhook-id`, `webhook-timestamp`,
/// `webhook-signature`. Answered when durable; a repeated one appends nothing.
#[utoipa::path(post, path = "/v1/payments/webhooks/{provider}", tag = "payments", operation_id = "receiveWebhook",
    params(("provider" = String, Path, description = "The provider's name", example = "simulated")),
    request_body(content = Object, description = "As the provider sends it; the bytes are signed"),
    responses((status = 200, description = "It is durable", body = WebhookReply),
        (status = 400, description = "It is signed and cannot be read", body = Problem,
            content_type = "application/problem+json"),
        (status = 401, description = "The signature is not valid, or its time is over 300 s away", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "There is no such provider", body = Problem,
            content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "Not now: send it again", body = Problem,
            content_type = "application/problem+json")))]
async fn receive(
    State(provider): State<Provider>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<WebhookReply>, Problem> {
    if name != provider.port.name() {
        return Err(Problem::not_found("there is no payment provider of that name"));
    }
    let body = body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            limits::too_large(WEBHOOK_MAX)
        } else {
            Problem::invalid(rejection.body_text())
        }
    })?;
    let events = provider.intake.receive(&headers, &body).await.map_err(refused)?;
    Ok(Json(WebhookReply { events }))
}

fn refused(error: IntakeError) -> Problem {
    let detail = error.to_string();
    match error {
        IntakeError::Webhook(WebhookError::Signature(_)) => {
            Problem::new(StatusCode::UNAUTHORIZED, "webhook-signature", "The signature is not valid").detail(detail)
        }
        IntakeError::Webhook(WebhookError::Malformed(_)) => Problem::invalid(detail),
        IntakeError::Unavailable(_) => Problem::unavailable(detail, RETRY_AFTER_S),
    }
}

/// What the provider told that fits no request of ours so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProviderInbox)]
pub struct InboxView {
    /// How many there are; only the first 200 are listed.
    pub open: usize,
    /// The entries, by their streams' names.
    pub entries: Vec<InboxEntry>,
}

/// An entry of the inbox: a result that fits no payment yet. It is tried every minute, and stays until it fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProviderInboxEntry)]
pub struct InboxEntry {
    /// The name of the provider that reported the result.
    pub provider: String,
    /// The provider's own id of the event.
    pub event_id: String,
    /// The payment and the request that the event names: `{payment id}:{request id}`.
    pub key: String,
    /// The provider's own id of the operation.
    pub provider_ref: String,
    /// The result that the provider reported, as it was received.
    #[schema(value_type = Object)]
    pub result: serde_json::Value,
    /// The reason why it fits nothing: `no-such-payment`, `unknown-request`, or the payment's refusal when it came.
    pub because: String,
}

/// Entries listed at most.
const INBOX_LISTED: usize = 200;

/// What the provider told that fits no request of ours so far.
#[utoipa::path(get, path = "/v1/provider-inbox", tag = "payments", operation_id = "listProviderInbox",
    responses((status = 200, description = "What is open", body = InboxView)))]
async fn inbox(State(provider): State<Provider>) -> Json<InboxView> {
    let (entries, open) = provider.inbox.open(INBOX_LISTED);
    let entry = |received: ProviderEventReceived| InboxEntry {
        provider: received.provider,
        event_id: received.event.event_id,
        key: received.event.key.to_string(),
        provider_ref: received.event.provider_ref,
        result: serde_json::to_value(received.event.result)
            .expect("a result is an enum of strings, numbers and times, which serialises"),
        because: received.because,
    };
    Json(InboxView { open, entries: entries.into_iter().map(entry).collect() })
}

/// The payment provider that is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderView {
    /// The name of the provider, such as `simulated`.
    pub name: String,
    /// The kind of provider: simulated in this process, answering at once, or a process of its own.
    #[schema(value_type = ProviderMode)]
    pub mode: String,
    /// The URL of the provider's process, for the mode `http`.
    pub url: Option<String>,
    /// The features that the provider has.
    pub capabilities: Capabilities,
}

/// Which payment provider is called, and what it can do.
#[utoipa::path(get, path = "/v1/provider", tag = "payments", operation_id = "getProvider",
    responses((status = 200, description = "The provider", body = ProviderView)))]
async fn about(State(provider): State<Provider>) -> Json<ProviderView> {
    Json(ProviderView {
        name: provider.port.name().to_owned(),
        mode: mode(provider.mode).to_owned(),
        url: provider.url.clone(),
        capabilities: provider.port.capabilities(),
    })
}

/// A mode in the words of the API; the configuration writes `in-process`.
fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::InProcess => "in_process",
        Mode::Instant => "instant",
        Mode::Http => "http",
    }
}

/// The provider's own account of what it did: totals over everything, and its payments by id.
#[utoipa::path(get, path = "/v1/provider/ledger", tag = "payments", operation_id = "getProviderLedger",
    params(Page),
    responses((status = 200, description = "The provider's word", body = Statement),
        (status = 400, description = "Not valid", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "The provider does not answer", body = Problem,
            content_type = "application/problem+json")))]
async fn ledger(
    State(provider): State<Provider>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Statement>, Problem> {
    let Query(page) = page.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    if let Some(limit) = page.limit.filter(|limit| !(1..=PAGE_MAX).contains(limit)) {
        let wrong = format_args!("it is a whole number from 1 to {PAGE_MAX}, not {limit}");
        return Err(refuse_parameter("limit", wrong));
    }
    provider.port.statement(&page).await.map(Json).map_err(no_answer)
}

/// What a customer did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = CustomerActionReply)]
pub struct ActionReply {
    /// The action that was done.
    #[schema(value_type = CustomerAction)]
    pub action: String,
}

/// The page at a payment's `action_url`: where a customer of the simulated provider confirms or gives up (3-D Secure).
#[utoipa::path(get, path = "/v1/provider/actions/{payment_id}", tag = "payments", operation_id = "showActionPage",
    params(("payment_id" = Uuid, Path, description = "The payment, such as `018f4e2a-7b1c-5d3e-9a4f-0c2b6d8e1f30`")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 400, description = "Not valid", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "There is no such payment at the provider of this process", body = Problem,
            content_type = "application/problem+json")))]
async fn action_page(
    State(provider): State<Provider>,
    Path(payment_id): Path<String>,
) -> Result<([(HeaderName, &'static str); 2], Html<String>), Problem> {
    let payment =
        payment_id.parse().map_err(|_| Problem::invalid("not a UUID").field("path:payment_id", "must be a UUID"))?;
    let customer = provider.simulator.as_ref().and_then(|simulator| simulator.customer(payment));
    let customer = customer.ok_or_else(|| Problem::not_found("the provider of this process has no such payment"))?;
    Ok((POLICIES_OF_ACTION_PAGE, Html(page(payment, customer))))
}

/// A customer confirms a payment at the simulated provider of this process, or gives up (3-D Secure).
#[utoipa::path(post, path = "/v1/provider/actions/{payment_id}/{action}", tag = "payments", operation_id = "actAsCustomer",
    params(("payment_id" = Uuid, Path, description = "The id of the payment that waits for its customer"),
        ("action" = inline(OneOf<CustomerAction>), Path, description = "The customer's action")),
    responses((status = 200, description = "Done; the provider tells us by webhook", body = ActionReply),
        (status = 400, description = "Not valid", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "Nothing waits for its customer there", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "The provider does not answer", body = Problem,
            content_type = "application/problem+json")))]
async fn act(
    State(provider): State<Provider>,
    Path((payment_id, action)): Path<(String, String)>,
) -> Result<Json<ActionReply>, Problem> {
    let payment =
        payment_id.parse().map_err(|_| Problem::invalid("not a UUID").field("path:payment_id", "must be a UUID"))?;
    let deed = match action.as_str() {
        "approve" => Action::Approve,
        "abandon" => Action::Abandon,
        _ => {
            let problem = Problem::invalid("a customer can `approve` or `abandon`");
            return Err(problem.field("path:action", "must be `approve` or `abandon`"));
        }
    };
    let Some(simulator) = &provider.simulator else {
        return Err(Problem::not_found(
            "the provider is another process: its customers act at the payment's `action_url`",
        ));
    };
    if simulator.act(payment, deed).await.map_err(no_answer)? {
        Ok(Json(ActionReply { action }))
    } else {
        Err(Problem::not_found("no authorization waits for its customer there"))
    }
}

fn no_answer(error: ProviderError) -> Problem {
    Problem::unavailable(error, RETRY_AFTER_S)
}
