//! Sends a request on and its answer back. What may safely be sent again goes to the next replica when one gives no
//! answer: every command carries its `Idempotency-Key`, so that a second sending has no second effect.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use service_kit::Problem;

use super::replicas::{Replica, Replicas};
use super::routes::{Service, service};

/// How long a replica may take to accept a connection: on one network that is a matter of milliseconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long the beginning of a command's answer may take before another replica is asked: many commits' time. A replica
/// that was paused takes connections and says nothing.
const COMMAND_WITHIN: Duration = Duration::from_secs(5);
/// How long the beginning of another answer may take: the longest `Prefer: wait` (30 s) and a little.
const QUERY_WITHIN: Duration = Duration::from_secs(35);
/// Rounds over all replicas, and the pauses between them: together longer than a replica's place is empty in a rolling
/// restart or a partition is without an owner, shorter than clients wait.
const ROUNDS: u32 = 6;
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// Headers that belong to one connection only. Source: RFC 9110 §7.6.1.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::PROXY_AUTHENTICATE,
];

/// What the gateway needs for a request.
#[derive(Debug, Clone)]
pub(super) struct Gateway {
    pub commands: Replicas,
    pub queries: Replicas,
    pub sagas: Replicas,
    pub client: reqwest::Client,
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
}

/// The client towards the replicas: it follows nothing and waits for no connection.
///
/// # Errors
/// When the system gives it no threads or sockets.
pub(super) fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true)
        .build()
}

/// Every path below `/v1`.
pub(super) fn router(gateway: Gateway) -> Router {
    Router::new().route("/v1/{*path}", axum::routing::any(forward)).with_state(gateway)
}

/// A request as it is sent on, as often as it takes.
struct Forwarded {
    method: Method,
    path_and_query: String,
    headers: HeaderMap,
    body: Bytes,
    within: Duration,
    /// Whether a second sending has no second effect even if the first arrived.
    repeatable: bool,
}

/// What came of one sending.
enum Sent {
    /// An answer for the client.
    Answer(reqwest::Response),
    /// An answer that says: ask another replica, or again.
    Elsewhere(reqwest::Response),
    /// No connection: the request did not arrive.
    Unreached(String),
    /// No answer: the request may have arrived.
    Unanswered(String),
}

async fn forward(State(gateway): State<Gateway>, request: Request) -> Response {
    let Some(service) = service(request.method(), request.uri().path()) else {
        return Problem::not_found("there is no such path").into_response();
    };
    let replicas = match service {
        Service::Commands => &gateway.commands,
        Service::Queries => &gateway.queries,
        Service::Sagas => &gateway.sagas,
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, gateway.body_bytes).await else {
        return service_kit::limits::too_large(gateway.body_bytes).into_response();
    };
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let webhook = parts.uri.path().starts_with("/v1/payments/webhooks/");
    let repeatable = reads || webhook || parts.headers.contains_key("idempotency-key");
    let mut headers = parts.headers;
    HOP_BY_HOP.iter().for_each(|name| _ = headers.remove(name));
    headers.remove(header::CONTENT_LENGTH); // Set anew from the body that was read.
    let path_and_query = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let within = if reads { QUERY_WITHIN } else { COMMAND_WITHIN };
    let forwarded = Forwarded { method: parts.method, path_and_query, headers, body, within, repeatable };
    let answer = gateway.ask(replicas, &forwarded).await;
    let outcome = if answer.status() == StatusCode::SERVICE_UNAVAILABLE { "unavailable" } else { "answered" };
    metrics::counter!("backstitch_gateway_requests_total", "service" => service.name(), "outcome" => outcome)
        .increment(1);
    answer
}

impl Gateway {
    /// Asks one replica after the other until one answers. Dropped by a client that goes away, what was sent is done or
    /// not, as with any lost connection.
    async fn ask(&self, replicas: &Replicas, request: &Forwarded) -> Response {
        let mut last: Option<Response> = None;
        let mut pause = PAUSE_FIRST;
        for round in 0..ROUNDS {
            for replica in replicas.in_turn() {
                match self.send(replica, request).await {
                    Sent::Answer(answer) => return back(answer),
                    Sent::Elsewhere(answer) => last = Some(back(answer)),
                    Sent::Unreached(why) => {
                        replica.failed();
                        tracing::info!(replica = replica.base, why, "a replica cannot be reached");
                    }
                    Sent::Unanswered(why) => {
                        replica.failed();
                        tracing::warn!(replica = replica.base, why, "a replica gave no answer");
                        if !request.repeatable {
                            return no_answer("the request may have been carried out, and carries no Idempotency-Key");
                        }
                    }
                }
            }
            if round + 1 < ROUNDS {
                metrics::counter!("backstitch_gateway_rounds_total").increment(1);
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        last.unwrap_or_else(|| no_answer("no replica of the service answers; send the same request again"))
    }

    async fn send(&self, replica: &Replica, request: &Forwarded) -> Sent {
        let url = format!("{}{}", replica.base, request.path_and_query);
        let asked = self.client.request(request.method.clone(), url).headers(request.headers.clone());
        let silence = replica.falls_silent();
        let answer = tokio::select! {
            answer = tokio::time::timeout(request.within, asked.body(request.body.clone()).send()) => answer,
            // One that was paused or has lost its network; a read would wait for it far longer than for a command.
            () = silence, if request.repeatable => return Sent::Unanswered("it says nothing any more".to_owned()),
        };
        match answer {
            Ok(Ok(answer)) => match answer.status() {
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::MISDIRECTED_REQUEST => Sent::Elsewhere(answer),
                _ => Sent::Answer(answer),
            },
            Ok(Err(error)) if error.is_connect() => Sent::Unreached(error.to_string()),
            Ok(Err(error)) => Sent::Unanswered(error.to_string()),
            Err(_) => Sent::Unanswered(format!("no answer within {:?}", request.within)),
        }
    }
}

fn no_answer(detail: &str) -> Response {
    Problem::unavailable(detail, 1).into_response()
}

/// The answer as the client gets it: its body is passed on as it comes, so that server-sent events stay live.
fn back(answer: reqwest::Response) -> Response {
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    HOP_BY_HOP.iter().for_each(|name| _ = headers.remove(name));
    if status == StatusCode::MISDIRECTED_REQUEST {
        // No replica has what it takes at the moment: for the client that is a matter of waiting.
        headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
    }
    let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}
