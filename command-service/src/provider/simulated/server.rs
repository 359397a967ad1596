//! The simulated provider as a process of its own: `backstitch provider-sim`.
//!
//! | route | |
//! |---|---|
//! | `POST /v1/authorizations`, `/v1/captures`, `/v1/voids`, `/v1/refunds` | the port's requests as JSON, answered by [`Answer`] |
//! | `GET /v1/requests?key=…` or `?provider_ref=…` | what became of one; 404 if it never came |
//! | `GET /actions/{payment id}` | the page where a customer confirms or gives up |
//! | `POST /actions/{payment id}/approve` or `/abandon` | a customer confirms or gives up (3-D Secure) |
//! | `POST /actions/{payment id}/charge` or `/lapse` | the money is taken at once, late too; the hold runs out |
//! | `GET /ledger?after=…&limit=…` | the bank's own word ([`Statement`]) |
//! | `GET /health` | whether it serves |

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use service_kit::serve::{self, Options};
use service_kit::{Clock, Health, Limits, Problem, Tasks, health};
use tokio::net::TcpListener;

use super::ledger::LedgerError;
use super::outbox::Deliver;
use super::page::page;
use super::record::Call;
use super::{Action, Simulator};
use crate::provider::config::{SimulatedConfig, WebhookSecrets};
use crate::provider::port::{
    Answer, Authorize, Capture, Lookup, PaymentProvider, ProviderError, Refund, RequestKey, Void,
};
use crate::provider::statement::{Page, Statement};

/// Bytes of a request's body: the largest is an authorization with an order's tags.
const BODY_MAX: usize = 64 * 1024;

/// How long a receiver may take for a webhook. Source: Standard Webhooks, 15 to 30 s.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// The settings of the process.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address on which to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Path of the file in which the provider keeps its ledger.
    pub ledger: PathBuf,
    /// URL for webhooks, such as `http://127.0.0.1:7400/v1/payments/webhooks/simulated`; without it none are delivered.
    pub webhook_url: Option<String>,
    /// The secrets with which webhooks are signed.
    pub secret: WebhookSecrets,
    /// The settings of the simulation: delays and their seed.
    pub simulated: SimulatedConfig,
}

/// The reason why the process did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The address.
    #[error("cannot listen on {listen}; stop who does, or give another address")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The client for webhooks.
    #[error("webhooks cannot be sent")]
    Client(#[source] reqwest::Error),
}

/// Opens the ledger, sends webhooks, and serves until `tasks` stops. Returns where it listens.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(config: ServerConfig, clock: Clock, tasks: &Tasks) -> Result<SocketAddr, ServeError> {
    let listen = |source| ServeError::Listen { listen: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let base = format!("http://{address}");
    let simulator = Simulator::open(&config.ledger, &config.simulated, config.secret, &base, clock)?;
    let deliver = deliver_to(config.webhook_url).map_err(ServeError::Client)?;
    simulator.start(deliver, tasks);
    // No grace for calls under way: their callers ask again, and withheld answers would take a minute.
    let options = Options::new("provider-sim", &Limits::default(), Duration::ZERO);
    tasks.spawn("provider-sim-http", serve::run(listener, router(simulator), options, None, tasks.stopping()));
    Ok(address)
}

/// Sends webhooks by HTTP; without an address they stay owed and are given up in time.
fn deliver_to(url: Option<String>) -> Result<Deliver, reqwest::Error> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(WEBHOOK_TIMEOUT)
        .build()?;
    Ok(Arc::new(move |headers, body| {
        let request = url.as_ref().map(|url| http.post(url).headers(headers).body(body));
        Box::pin(async move {
            let Some(request) = request else { return Err("no address for webhooks is set".to_owned()) };
            let request = request.header("content-type", "application/json");
            match request.send().await {
                Ok(response) if response.status().is_success() => Ok(()),
                Ok(response) => Err(response.status().to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
    }))
}

/// The routes of the simulated provider.
pub fn router(simulator: Simulator) -> Router {
    Router::new()
        .route("/v1/authorizations", post(authorize))
        .route("/v1/captures", post(capture))
        .route("/v1/voids", post(void))
        .route("/v1/refunds", post(refund))
        .route("/v1/requests", get(fetch))
        .route("/actions/{payment}", get(action_page))
        .route("/actions/{payment}/{action}", post(act))
        .route("/ledger", get(ledger))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(simulator)
        // It depends on nothing: it is ready once it listens. Asked like every other process.
        .merge(Router::from(health::router(Health::new(Clock::system()))))
}

type Body<T> = Result<Json<T>, JsonRejection>;
type Answered = Result<Json<Answer>, Problem>;

async fn authorize(simulator: State<Simulator>, body: Body<Authorize>) -> Answered {
    answer(&simulator, body, Call::Authorize).await
}

async fn capture(simulator: State<Simulator>, body: Body<Capture>) -> Answered {
    answer(&simulator, body, Call::Capture).await
}

async fn void(simulator: State<Simulator>, body: Body<Void>) -> Answered {
    answer(&simulator, body, Call::Void).await
}

async fn refund(simulator: State<Simulator>, body: Body<Refund>) -> Answered {
    answer(&simulator, body, Call::Refund).await
}

async fn answer<T>(simulator: &Simulator, body: Body<T>, call: fn(T) -> Call) -> Answered {
    let body = body.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    simulator.call(call(body.0)).await.map(Json).map_err(problem)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FetchQuery {
    key: Option<RequestKey>,
    provider_ref: Option<String>,
}

async fn fetch(
    State(simulator): State<Simulator>,
    query: Result<Query<FetchQuery>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    let lookup = match (query.key, query.provider_ref) {
        (Some(key), None) => Lookup::Key(key),
        (None, Some(name)) => Lookup::ProviderRef(name),
        (Some(_), Some(_)) | (None, None) => return Err(Problem::invalid("give `key` or `provider_ref`")),
    };
    let found = simulator.fetch(&lookup).await.map_err(problem)?;
    found.map(Json).ok_or_else(|| Problem::not_found("there is no such request"))
}

#[derive(Debug, Serialize)]
struct Acted {
    done: bool,
}

async fn action_page(State(simulator): State<Simulator>, Path(payment): Path<String>) -> Result<Html<String>, Problem> {
    let payment = payment.parse().map_err(|_| Problem::invalid("the payment's id is not a UUID"))?;
    let customer = simulator.customer(payment).ok_or_else(|| Problem::not_found("there is no such payment"))?;
    Ok(Html(page(payment, customer)))
}

async fn act(
    State(simulator): State<Simulator>,
    Path((payment, action)): Path<(String, String)>,
) -> Result<Json<Acted>, Problem> {
    let payment = payment.parse().map_err(|_| Problem::invalid("the payment's id is not a UUID"))?;
    let Some(action) = Action::named(&action) else {
        return Err(Problem::not_found(format!("`{action}` is none of `approve`, `abandon`, `charge`, `lapse`")));
    };
    let done = simulator.act(payment, action).await.map_err(problem)?;
    if done {
        Ok(Json(Acted { done }))
    } else {
        Err(Problem::not_found("the payment is in a state in which that cannot happen"))
    }
}

async fn ledger(
    State(simulator): State<Simulator>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Statement>, Problem> {
    let Query(page) = query.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    simulator.statement(&page).await.map(Json).map_err(problem)
}

/// What a provider's API answers: the 500 is the script's, as a provider's own fault would show.
fn problem(error: ProviderError) -> Problem {
    match error {
        ProviderError::Unknown { detail } => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "No answer in time").detail(detail)
        }
        ProviderError::Transient { detail, retry_after } => {
            let problem =
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", "Something failed").detail(detail);
            retry_after
                .into_iter()
                .fold(problem, |problem, after| problem.retry_after(u32::try_from(after.as_secs()).unwrap_or(u32::MAX)))
        }
        ProviderError::Refused { code, detail } => {
            Problem::new(StatusCode::CONFLICT, &code.replace('_', "-"), "The call is refused").detail(detail)
        }
    }
}
