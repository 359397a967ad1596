//! How sagas reach the command service in a cluster: gRPC to any of its replicas.
//!
//! *Invariant:* only an answer of the rules is an outcome. Whatever else happens (no connection, no answer in time, a
//! replica that is full or does not serve the context) the next replica is asked, and if none answers, the saga tries again
//! later: the command's id makes every repetition harmless, as a replica that was asked before may have carried it out.

pub mod breaker;
mod budget;
mod endpoint;
mod status;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use tonic::{Code, Request, Status};

use self::breaker::State;
use self::budget::Budget;
use self::endpoint::Endpoint;
use self::proto::command_reply::Answer;
use self::proto::command_request::Sender;
use self::proto::commands_client::CommandsClient as Client;
use self::proto::{CommandReply, CommandRequest, Machine};
use saga_runner::{CommandPort, Dispatch, Outcome};

pub use endpoint::Address;

/// The messages and the stub of `schemas/proto/backstitch/v1/commands.proto`.
#[allow(missing_docs, clippy::all, clippy::wildcard_enum_match_arm, reason = "generated; the .proto file tells")]
mod proto {
    tonic::include_proto!("backstitch.v1");
}

/// How long one replica may take: a third of the 10 s that a command has, so that two others can be asked.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Sends what sagas issue to the replicas of the command service.
#[derive(Debug)]
pub struct CommandsClient {
    endpoints: Vec<Endpoint>,
    turn: AtomicUsize,
    attempt: Duration,
    budget: Budget,
}

/// What a command says of itself.
#[derive(Deserialize)]
struct Head<'a> {
    aggregate: &'a str,
    #[serde(borrow)]
    command: Name<'a>,
}

#[derive(Deserialize)]
struct Name<'a> {
    #[serde(rename = "type")]
    name: &'a str,
}

impl CommandsClient {
    /// To these replicas, none of which need be there yet.
    ///
    /// # Errors
    /// An address that is none, by its name.
    pub fn new(addresses: Vec<Address>) -> Result<Self, String> {
        Self::with_deadline(addresses, ATTEMPT)
    }

    /// As [`Self::new`], with this time for one replica to answer in.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_deadline(addresses: Vec<Address>, attempt: Duration) -> Result<Self, String> {
        let endpoint = |address: Address| {
            let url = address.url.clone();
            Endpoint::new(address).map_err(|error| format!("`{url}` is no address of a command service: {error}"))
        };
        let endpoints = addresses.into_iter().map(endpoint).collect::<Result<_, _>>()?;
        Ok(Self { endpoints, turn: AtomicUsize::new(0), attempt, budget: Budget::new() })
    }

    /// Each replica's address, and whether it is asked.
    pub fn states(&self) -> Vec<(&str, State)> {
        self.endpoints.iter().map(|endpoint| (endpoint.address.url.as_str(), endpoint.breaker.state())).collect()
    }

    /// Asks one replica after the other until one answers.
    async fn send(&self, context: &str, request: &CommandRequest) -> Outcome {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.endpoints.len();
        let order = (0..count).map(|index| &self.endpoints[(first + index) % count]);
        let mut last = None;
        let mut soonest: Option<Duration> = None;
        self.budget.pay_in();
        for endpoint in order.filter(|endpoint| endpoint.serves(context)) {
            if last.is_some() && !self.budget.pays_for_another() {
                metrics::counter!("backstitch_commands_retry_budget_spent_total").increment(1);
                break; // The saga sends it again, later.
            }
            let pass = match endpoint.breaker.pass(Instant::now()) {
                Ok(pass) => pass,
                Err(pause) => {
                    soonest = Some(soonest.map_or(pause, |other| other.min(pause)));
                    if last.is_some() {
                        self.budget.give_back(); // It was not sent.
                    }
                    continue;
                }
            };
            let answer = self.ask(endpoint, request).await;
            match &answer {
                Err(status) if status::is_silence(status) => pass.failed(Instant::now()),
                Ok(_) | Err(_) => pass.answered(),
            }
            let url = &endpoint.address.url;
            let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
            metrics::counter!("backstitch_commands_sent_total", "endpoint" => url.clone(), "code" => format!("{code:?}"))
                .increment(1);
            match answer.map(CommandReply::into_outcome) {
                Ok(Some(outcome)) => return outcome,
                Ok(None) => last = Some(status::unavailable(url, "an answer that this release does not know")),
                Err(status) if status::is_final(&status) => return status::outcome(url, &status),
                Err(status) => last = Some(status::outcome(url, &status)),
            }
        }
        // What a replica said is worth more than that another was not asked.
        last.unwrap_or_else(|| Outcome::Unavailable {
            detail: match soonest {
                Some(_) => "no command service has answered lately".to_owned(),
                None => format!("no command service that is known serves `{context}`; see `[saga] commands_url`"),
            },
            retry_after: soonest,
        })
    }

    /// If the future is dropped, the command may still be carried out: sending it again is safe.
    async fn ask(&self, endpoint: &Endpoint, request: &CommandRequest) -> Result<CommandReply, Status> {
        let mut request = Request::new(request.clone());
        request.set_timeout(self.attempt); // For the other side, so that it does not work in vain.
        let mut client = Client::new(endpoint.channel.clone());
        let begun = Instant::now();
        // For this side: a process that is stopped does not look at its clock.
        let answer = match tokio::time::timeout(self.attempt, client.execute(request)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {:?}", self.attempt))),
        };
        metrics::histogram!("backstitch_commands_sent_seconds").record(begun.elapsed());
        answer
    }
}

#[async_trait]
impl CommandPort for CommandsClient {
    async fn dispatch(&self, dispatch: Dispatch) -> Outcome {
        let (context, request) = match request(dispatch) {
            Ok(request) => request,
            Err(error) => {
                return Outcome::Unavailable {
                    detail: format!("the stored command cannot be read: {error}"),
                    retry_after: None,
                };
            }
        };
        self.send(&context, &request).await
    }
}

/// The context and the request of a command, its body to the byte.
fn request(dispatch: Dispatch) -> Result<(String, CommandRequest), serde_json::Error> {
    let body = dispatch.body.get();
    let head: Head<'_> = serde_json::from_str(body)?;
    let (context, name) = (head.aggregate.to_owned(), head.command.name.to_owned());
    let moment = |at: domain::Timestamp| prost_types::Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default(), // Below 10⁹.
    };
    let machine = Machine {
        command_id: dispatch.command_id.to_string(),
        causation_id: dispatch.causation_id.to_string(),
        not_after: Some(moment(dispatch.not_after)),
        stream_not_after: dispatch.stream_not_after.map(moment),
    };
    let request = CommandRequest {
        name,
        body: body.as_bytes().to_vec().into(),
        correlation_id: dispatch.correlation_id.to_string(),
        traceparent: dispatch.traceparent.unwrap_or_default(),
        actor: dispatch.actor,
        sender: Some(Sender::Machine(machine)),
    };
    Ok((context, request))
}

impl CommandReply {
    fn into_outcome(self) -> Option<Outcome> {
        Some(match self.answer? {
            Answer::Accepted(_) => Outcome::Done,
            Answer::Rejected(rejected) => Outcome::Rejected { code: rejected.code, detail: rejected.detail },
        })
    }
}
