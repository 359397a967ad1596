//! The actions of operators on a saga. The answer is derived from the log, so a repeat gets the same one.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::ids::ClientKey;
use domain::money::Money;
use domain::saga::{Action, Event, Facts, View};
use event_store::Position;
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::{self, LongReasonText, OneOf, PersonText, SagaActed, SagaAction, SagaDirection, SagaPath};
use service_kit::request::{Body, CommandHeaders, PRINCIPAL, TENANT};
use service_kit::request::{check_act, idempotency_key, if_match, only_parameter, reply_headers};
use utoipa::{IntoParams, ToSchema};

use super::{Handle, Loaded};
use crate::shop::{self, State as SagaState};
use saga_engine::engine::{self, Act, Effect, Refusal, fits};
use saga_runner::checkpoint::Key;
use saga_runner::{Answer, Request};

/// Why a person acts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SagaActionBody)]
pub struct ActBody {
    /// The reason, 1 to 500 characters; it stays in the saga's story.
    #[schema(value_type = LongReasonText, inline)]
    pub reason: String,
    /// The name of the person who acts: 1 to 64 characters; `operator` where it is not given.
    #[serde(default = "somebody")]
    #[schema(value_type = PersonText, inline, default = "operator")]
    pub actor: String,
    /// Which step, if several could be meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

fn somebody() -> String {
    "operator".to_owned()
}

/// Whether to do it.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ActQuery {
    /// `true`: only say what would happen.
    #[serde(default)]
    #[param(inline)]
    pub dry_run: bool,
}

/// The result of an operator's action, or what it would be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaActionReply)]
pub struct Acted {
    /// The id of the saga.
    pub saga: String,
    /// The action that was asked for.
    #[schema(value_type = SagaActed)]
    pub action: String,
    /// Whether it was a dry run, in which nothing was done.
    pub dry_run: bool,
    /// The version of the saga that the answer is based on; once the action is done, the version after it.
    pub version: u64,
    /// What happens, in a sentence.
    pub summary: String,
    /// The name of the step that the action is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The direction of that step.
    #[schema(value_type = Option<SagaDirection>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// The commands that are sent.
    pub sends: Vec<Sent>,
    /// The effects that cannot be undone.
    pub irreversible: Vec<String>,
    /// The saga's state afterwards.
    #[schema(value_type = api::SagaState)]
    pub state: String,
}

/// A command that is sent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaCommand)]
pub struct Sent {
    /// The name of the command.
    pub command: String,
    /// The stream that it is for.
    pub target: String,
    /// The amount that the command moves or lets go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<api::Money>,
}

/// An amount of money as the API writes it.
fn amount(money: Money) -> api::Money {
    api::Money { amount: money.amount, currency: money.currency.code().to_owned() }
}

/// What is sent of a saga with these facts.
pub(super) fn sends(sends: Vec<engine::Sent>, facts: Option<&Facts>) -> Vec<Sent> {
    let one = |engine::Sent { command, target, body, .. }: engine::Sent| {
        let moved = body.parse().ok().and_then(|command| shop::amount(&command, facts));
        Sent { command, target, amount: moved.map(amount) }
    };
    sends.into_iter().map(one).collect()
}

/// A person acts on a saga: `retry` sends a step again now, `skip` takes one as done that somebody did outside, `compensate`
/// goes back, `resume` takes the call for a person away, `hand-over` lets another saga take the order back. What would
/// break a rule is refused with the reason.
#[utoipa::path(post, path = "/v1/sagas/{id}/{action}", tag = "sagas", operation_id = "actOnSaga",
    params(("id" = inline(SagaPath), Path, description = "The saga's id: `<type>-<id>`, such as `order_fulfilment-<order id>`"),
        ("action" = inline(OneOf<SagaAction>), Path, description = "The action"), ActQuery, CommandHeaders),
    request_body(content = ActBody),
    responses((status = 200, description = "It is done, or with `dry_run` this is what would happen", body = Acted),
        (status = 400, description = "Not valid; `errors` names the fields", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such saga, or no such action", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It would break a rule, or the same request is still being carried out (`Retry-After`)", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "The version is not the one that `If-Match` names", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 421, description = "Another replica of a cluster has this saga: ask the next one", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The `Idempotency-Key` was used before with another body", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not now, or sagas do not run here; nothing was done", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn act(
    State(handle): State<Handle>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<ActQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body<ActBody>,
) -> Result<Response, Problem> {
    let Path((id, name)) =
        path.map_err(|error| Problem::invalid(error.body_text()).field("path:id", "is not readable"))?;
    let query = only_parameter(query, "dry_run", "is `true` or `false`")?;
    let action = name.parse::<Action>().map_err(|_| {
        let all = Action::ALL.map(Action::as_str).join(", ");
        Problem::not_found(format!("there is no action `{name}` on sagas; the actions are {all}"))
    })?;
    let asked = asked(action, &id, &headers, &body.value)?;
    let expected = if_match(&headers)?;
    let loaded = Loaded::of(&handle, Ok(Path(id.clone()))).await?;
    if query.dry_run {
        expected.map_or(Ok(()), |expected| check(expected, loaded.version()))?;
        return dry_run(&handle, &loaded, &asked);
    }
    if loaded.state.requests.contains(&asked.request_id) {
        return done(&handle, &loaded, &asked, &body.hash, true);
    }
    let subject = loaded.state.subject();
    let key = Key { saga: loaded.state.follows.0.as_str().into(), id: loaded.saga_id, subject };
    let operator = handle.operator.as_ref().ok_or_else(|| Problem::unavailable("sagas do not run here", 30))?;
    let request = Request { key, act: asked.clone(), if_match: expected, hash: body.hash.clone() };
    match operator.act(request).await {
        answer @ (Answer::Done | Answer::AlreadyDone) => {
            let loaded = Loaded::of(&handle, Ok(Path(id))).await?;
            done(&handle, &loaded, &asked, &body.hash, matches!(answer, Answer::AlreadyDone))
        }
        Answer::VersionMismatch { version } => Err(moved(version)),
        Answer::Refused { refusal, fits } => Err(refused(&refusal, &fits)),
        Answer::NotNow => Err(Problem::unavailable("the sagas are being read again; repeat it with the same key", 1)),
        Answer::Elsewhere { partition } => Err(Problem::misdirected(format_args!(
            "the saga belongs to partition {partition}, which another replica has; nothing was done: ask the next one"
        ))),
    }
}

fn asked(action: Action, id: &str, headers: &HeaderMap, body: &ActBody) -> Result<Act, Problem> {
    check_act(&body.actor, &body.reason)?;
    let operation = format!("POST /v1/sagas/{id}/{}", action.as_str());
    let idempotency_key = idempotency_key(headers)?;
    let key =
        ClientKey { tenant: TENANT, principal: PRINCIPAL, operation: &operation, idempotency_key: &idempotency_key };
    let (actor, reason, step) = (body.actor.clone(), body.reason.clone(), body.step.clone());
    Ok(Act { action, actor, reason, step, request_id: key.command_id() })
}

fn check(expected: u64, actual: u64) -> Result<(), Problem> {
    if expected == actual { Ok(()) } else { Err(moved(actual)) }
}

fn moved(version: u64) -> Problem {
    let detail = format_args!("the saga has moved on to version {version}; nothing was done");
    Problem::version_mismatch(detail, "is not the current version; look at the saga again and decide anew")
}

fn refused(refusal: &Refusal, fits: &[Action]) -> Problem {
    let fits: Vec<&str> = fits.iter().map(|action| action.as_str()).collect();
    let way = match fits.as_slice() {
        [] => "nothing that a person could do now would be accepted".to_owned(),
        fits => format!("what would be accepted now: {}", fits.join(", ")),
    };
    Problem::new(StatusCode::CONFLICT, "saga-action-refused", "That would break a rule of the saga, or change nothing")
        .detail(format_args!("{refusal}; {way}"))
}

fn dry_run(handle: &Handle, loaded: &Loaded, asked: &Act) -> Result<Response, Problem> {
    let now = handle.clock.now();
    let events = engine::act(&loaded.state, asked, now, &handle.config)
        .map_err(|refusal| refused(&refusal, &fits(&loaded.state, now, &handle.config)))?;
    let mut view = loaded.view.clone();
    events.iter().for_each(|event| view.fold(event, now));
    let effect = engine::effect(&loaded.state, &events, now, &handle.config);
    let version = loaded.version();
    Ok(sent(acted(loaded, asked, effect, (version, &view), true), version, loaded.position(), false))
}

/// The answer to what is in the log, as it stood when it was done.
fn done(handle: &Handle, loaded: &Loaded, asked: &Act, hash: &str, replayed: bool) -> Result<Response, Problem> {
    let (mut before, mut view) = (SagaState::new(loaded.state.stream.clone()), View::default());
    let mut own: Vec<Event> = Vec::new();
    let mut last = None;
    for (recorded, event) in &loaded.events {
        let mine = recorded.metadata.command_id == asked.request_id;
        if !own.is_empty() && !mine {
            break;
        }
        let Some(event) = event else { continue };
        view.fold(event, recorded.metadata.occurred_at);
        if mine {
            own.push(event.clone());
            last = Some(recorded);
        } else {
            before.evolve(event, &saga_runner::stream::meta_of(recorded));
        }
    }
    let last = last.ok_or_else(Problem::in_flight)?;
    if last.metadata.command_hash.as_deref() != Some(hash) {
        return Err(Problem::key_reused());
    }
    let effect = engine::effect(&before, &own, last.metadata.occurred_at, &handle.config);
    Ok(sent(acted(loaded, asked, effect, (last.version, &view), false), last.version, last.position, replayed))
}

fn acted(loaded: &Loaded, asked: &Act, effect: Option<Effect>, after: (u64, &View), dry_run: bool) -> Acted {
    let (version, view) = after;
    let effect = effect.unwrap_or_else(|| Effect {
        summary: "done".to_owned(),
        step: asked.step.clone(),
        direction: None,
        sends: Vec::new(),
        irreversible: Vec::new(),
    });
    Acted {
        saga: loaded.id.clone(),
        action: asked.action.as_str().replace('-', "_"),
        dry_run,
        version,
        summary: effect.summary,
        step: effect.step,
        direction: effect.direction.map(|direction| direction.as_str().to_owned()),
        sends: sends(effect.sends, loaded.state.facts.as_ref()),
        irreversible: effect.irreversible,
        state: view.state().as_str().to_owned(),
    }
}

fn sent(acted: Acted, version: u64, position: Position, replayed: bool) -> Response {
    (reply_headers(Some(version), position.0, replayed), axum::Json(acted)).into_response()
}
