//! Sends a request on and its answer back. What may safely be sent again goes to the next replica when one gives no
//! answer: every command carries its `Idempotency-Key`, so that a second sending has no second effect.
//!
//! *Invariant:* a replica's refusal is the client's answer. Only what another replica can do better is sent again: where one
//! cannot be reached, gives no answer, is being stopped, or has not the partition that it takes. All sendings of a request
//! together have one deadline, and all repeats together one budget, so that a fault never multiplies the load.

use std::error::Error as _;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use service_kit::limits::DRAINING;
use service_kit::serve::Peer;
use service_kit::{Class, Pauses, Problem};

use crate::body::Watched;
use crate::budget::Budget;
use crate::replicas::{Replica, Replicas};
use crate::routes::{Service, service};
use crate::{headers, path};

/// The client towards the replicas. It sends a request unchanged to the given replica: it follows no redirect, uses no
/// proxy and rewrites no path.
pub(super) type Towards = Client<HttpConnector, Full<Bytes>>;

/// How long a replica may take to accept a connection: on one network that is a matter of milliseconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long the beginning of a command's answer may take before another replica is asked: many commits' time. A replica
/// that was paused takes connections and says nothing.
const COMMAND_WITHIN: Duration = Duration::from_secs(5);
/// How long all sendings of a command, or of a read that does not wait, may take together: shorter than clients wait.
const USUAL_IN_ALL: Duration = Duration::from_secs(15);
/// The same for what reads much: as long as the services themselves allow.
const HEAVY_IN_ALL: Duration = Duration::from_secs(45);
/// How much longer than a client's `Prefer: wait` its answer may take.
const BEYOND_WAIT: Duration = Duration::from_secs(5);
/// The longest wait that the services grant.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Rounds over all replicas, and the pauses between them: together longer than a replica's place is empty in a rolling
/// restart or a partition is without an owner.
const ROUNDS: u32 = 6;
const PAUSES: Pauses = Pauses::doubling(Duration::from_millis(150), Duration::from_secs(2));
/// How long a replica may be silent in the middle of an answer: three heartbeats of server-sent events, which no other
/// body needs.
const SILENCE: Duration = Duration::from_secs(45);
/// Connections that are kept open to a replica without a request: more are opened when they are needed.
const IDLE_CONNECTIONS: usize = 256;

/// What the gateway needs for a request.
#[derive(Debug, Clone)]
pub(super) struct Gateway {
    pub commands: Replicas,
    pub queries: Replicas,
    pub sagas: Replicas,
    pub client: Towards,
    pub budget: Budget,
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
}

/// The client towards the replicas.
pub(super) fn client() -> Towards {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_WITHIN));
    connector.set_nodelay(true);
    connector.set_keepalive(Some(Duration::from_secs(60)));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30)) // Half of what the services keep them for.
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(connector)
}

/// Every path below `/v1`.
pub(super) fn router(gateway: Gateway) -> Router {
    Router::new().route("/v1/{*path}", axum::routing::any(forward)).with_state(gateway)
}

/// A request as it is sent on, as often as it takes.
struct Forwarded {
    service: Service,
    method: Method,
    path_and_query: String,
    headers: HeaderMap,
    body: Bytes,
    /// How long one sending may take.
    within: Duration,
    /// How long all sendings may take together.
    in_all: Duration,
    /// Whether a second sending has no second effect even if the first arrived.
    repeatable: bool,
}

type Answered = axum::http::Response<Incoming>;

/// What came of one sending.
enum Sent {
    /// An answer for the client.
    Answer(Answered),
    /// An answer that says: another replica has that.
    Misdirected(Answered),
    /// An answer that says: another replica can do that, as this one is being stopped.
    Draining(Answered),
    /// No connection: the request did not arrive.
    Unreached(String),
    /// No answer: the request may have arrived.
    Unanswered(String),
}

async fn forward(State(gateway): State<Gateway>, request: Request) -> Response {
    if let Err(problem) = path::checked(request.uri().path()) {
        return problem.into_response();
    }
    let Some(service) = service(request.method(), request.uri().path()) else {
        return Problem::not_found("there is no such path").into_response();
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, gateway.body_bytes).await else {
        return service_kit::limits::too_large(gateway.body_bytes).into_response();
    };
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let webhook = parts.uri.path().starts_with("/v1/payments/webhooks/");
    let in_all = in_all(Class::of(&parts.method, parts.uri.path(), &parts.headers), &parts.headers);
    let mut headers = parts.headers;
    let repeatable = reads || webhook || headers.contains_key("idempotency-key");
    headers::towards_replica(&mut headers, parts.extensions.get::<Peer>().map(|peer| peer.0.ip()));
    let path_and_query = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let within = if reads { in_all } else { COMMAND_WITHIN };
    let method = parts.method;
    let forwarded = Forwarded { service, method, path_and_query, headers, body, within, in_all, repeatable };
    let answer = gateway.ask(&forwarded).await;
    let outcome = if answer.status() == StatusCode::SERVICE_UNAVAILABLE { "unavailable" } else { "answered" };
    metrics::counter!("backstitch_gateway_requests_total", "service" => service.name(), "outcome" => outcome)
        .increment(1);
    answer
}

/// How long all sendings of a request may take together.
fn in_all(class: Option<Class>, headers: &HeaderMap) -> Duration {
    match class {
        Some(Class::LongWait) => wait(headers).map_or(USUAL_IN_ALL, |wait| wait.min(LONGEST_WAIT) + BEYOND_WAIT),
        Some(Class::Heavy) => HEAVY_IN_ALL,
        Some(Class::Command | Class::OneRow | Class::List | Class::Stream) | None => USUAL_IN_ALL,
    }
}

/// The seconds of `Prefer: wait=N`.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split([',', ';'])).filter_map(|one| one.split_once('='));
    let (_, seconds) = preferences.find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))?;
    seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs)
}

impl Gateway {
    /// Asks one replica after the other until one answers. Dropped by a client that goes away, what was sent is done or
    /// not, as with any lost connection.
    async fn ask(&self, request: &Forwarded) -> Response {
        self.budget.deposit();
        match tokio::time::timeout(request.in_all, self.rounds(request)).await {
            Ok(answer) => answer,
            Err(_) => no_answer(&format!(
                "no replica answered within {} s; send the same request again",
                request.in_all.as_secs()
            )),
        }
    }

    async fn rounds(&self, request: &Forwarded) -> Response {
        let replicas = match request.service {
            Service::Commands => &self.commands,
            Service::Queries => &self.queries,
            Service::Sagas => &self.sagas,
        };
        let mut last: Option<Response> = None;
        for round in 1..=ROUNDS {
            for replica in replicas.in_turn() {
                let reason = match self.send(replica, request).await {
                    Sent::Answer(answer) => return back(answer),
                    // Whose partition it is only the replicas know: looking for the right one is no repeat.
                    Sent::Misdirected(answer) => {
                        last = Some(back(answer));
                        continue;
                    }
                    Sent::Unreached(why) => {
                        replica.failed();
                        tracing::info!(replica = replica.base, why, "a replica cannot be reached");
                        continue;
                    }
                    Sent::Draining(answer) => {
                        replica.failed();
                        last = Some(back(answer));
                        "draining"
                    }
                    Sent::Unanswered(why) => {
                        replica.failed();
                        tracing::warn!(replica = replica.base, why, "a replica gave no answer");
                        if !request.repeatable {
                            return no_answer("the request may have been carried out, and carries no Idempotency-Key");
                        }
                        "no answer"
                    }
                };
                if !self.may_repeat(request, reason) {
                    return last.unwrap_or_else(exhausted);
                }
            }
            if round < ROUNDS {
                if !self.may_repeat(request, "nobody") {
                    return last.unwrap_or_else(exhausted);
                }
                metrics::counter!("backstitch_gateway_rounds_total").increment(1);
                // Clients that failed together do not come back together.
                tokio::time::sleep(PAUSES.after(round).mul_f64(rand::random_range(0.5..=1.0))).await;
            }
        }
        last.unwrap_or_else(|| no_answer("no replica of the service answers; send the same request again"))
    }

    /// Whether the budget allows another sending.
    fn may_repeat(&self, request: &Forwarded, reason: &'static str) -> bool {
        let allowed = self.budget.withdraw();
        let outcome = if allowed { "repeated" } else { "given-up" };
        metrics::counter!("backstitch_gateway_repeats_total",
            "service" => request.service.name(), "reason" => reason, "outcome" => outcome)
        .increment(1);
        allowed
    }

    async fn send(&self, replica: &Replica, request: &Forwarded) -> Sent {
        // Put together from bytes that the services understand as they are: nothing is resolved or escaped here.
        let mut asked = axum::http::Request::new(Full::new(request.body.clone()));
        match format!("{}{}", replica.base, request.path_and_query).parse() {
            Ok(uri) => *asked.uri_mut() = uri,
            Err(error) => return Sent::Unreached(format!("{} is no address: {error}", replica.base)),
        }
        (*asked.method_mut(), *asked.headers_mut()) = (request.method.clone(), request.headers.clone());
        let silence = replica.falls_silent();
        let answer = tokio::select! {
            answer = tokio::time::timeout(request.within, self.client.request(asked)) => answer,
            // One that was paused or has lost its network; a read would wait for it far longer than for a command.
            () = silence, if request.repeatable => return Sent::Unanswered("it says nothing any more".to_owned()),
        };
        match answer {
            Ok(Ok(answer)) => match answer.status() {
                StatusCode::MISDIRECTED_REQUEST => Sent::Misdirected(answer),
                StatusCode::SERVICE_UNAVAILABLE if answer.headers().contains_key(DRAINING) => Sent::Draining(answer),
                _ => Sent::Answer(answer),
            },
            Ok(Err(error)) => {
                let why = error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
                if error.is_connect() { Sent::Unreached(why) } else { Sent::Unanswered(why) }
            }
            Err(_) => Sent::Unanswered(format!("no answer within {:?}", request.within)),
        }
    }
}

fn no_answer(detail: &str) -> Response {
    Problem::unavailable(detail, 1).into_response()
}

fn exhausted() -> Response {
    no_answer("replicas fail, and too many requests are being sent again already; send the same request again")
}

/// The answer as the client gets it: its body is passed on as it comes, so that server-sent events stay live.
fn back(answer: Answered) -> Response {
    let (mut parts, body) = answer.into_parts();
    headers::towards_client(&mut parts.headers, parts.status);
    let mut response = Response::new(Body::new(Watched::new(body, SILENCE)));
    (*response.status_mut(), *response.headers_mut()) = (parts.status, parts.headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_waits_has_as_long_as_it_waits_and_a_little() {
        let wait = |text: &str| {
            let headers = HeaderMap::from_iter([("prefer".parse().unwrap(), text.parse().unwrap())]);
            in_all(Class::of(&Method::GET, "/v1/orders/x", &headers), &headers).as_secs()
        };
        assert_eq!((wait("wait=2"), wait("respond-async, Wait=\"7\""), wait("wait=9999")), (7, 12, 35));
        assert_eq!(wait("return=minimal"), 15);
    }
}
