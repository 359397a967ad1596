//! The explanation of a saga's state: what it waits for, since when, and what an operator can do about it.

use chrono::{DateTime, Utc};
use domain::saga::{Action, Direction, LegStatus, LegView, Party, SagaState, View};
use saga_engine::story::Party as _;
use serde::{Deserialize, Serialize};
use service_kit::api::{self, SagaDirection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::show::{Trouble, next_saga, trouble};
use super::{Handle, Loaded};
use saga_engine::engine::{Act, act, effect};

/// The explanation of a saga's state.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaWhy)]
pub struct Why {
    /// The id of the saga.
    pub id: String,
    /// The state of the saga.
    #[schema(value_type = api::SagaState)]
    pub state: String,
    /// Whether nothing changes any more until a party outside acts.
    pub settled: bool,
    /// What the saga waits for, in one sentence.
    pub summary: String,
    /// The reason for which it is compensated or was handed over.
    pub reason: Option<String>,
    /// What the saga waits for, oldest first; empty once it has ended.
    pub waits: Vec<Wait>,
    /// The actions that are possible now, each with the command to type or call.
    pub can_do: Vec<String>,
}

/// One thing that a saga waits for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaWait)]
pub struct Wait {
    /// The name of the step that waits.
    pub step: String,
    /// Whether the step, its compensation or its renewal waits.
    #[schema(value_type = SagaDirection)]
    pub direction: String,
    /// The fact or answer that must come.
    pub waits_for: String,
    /// The party from which it must come.
    pub from: String,
    /// The moment since which the step waits.
    pub since: DateTime<Utc>,
    /// The number of seconds that it has waited.
    pub for_s: i64,
    /// How often the commands have been sent.
    pub attempts: u32,
    /// The latest failure, also where a later try succeeded.
    pub last_error: Option<Trouble>,
    /// When it is tried again, or asked about again.
    pub next_attempt: Option<DateTime<Utc>>,
    /// When it has taken too long.
    pub deadline: Option<DateTime<Utc>>,
    /// Whether it stands still until a person acts.
    pub stuck: bool,
}

pub(super) fn why(loaded: &Loaded, handle: &Handle) -> Why {
    let now = handle.clock.now();
    let view = &loaded.view;
    let waits: Vec<Wait> = view.open_legs().map(|leg| wait(leg, now)).collect();
    Why {
        id: loaded.id.clone(),
        state: view.state().as_str().to_owned(),
        settled: view.settled(),
        summary: summary(view, &waits),
        reason: view.reason.clone(),
        waits,
        can_do: can_do(view).into_iter().chain(verbs(loaded, handle)).collect(),
    }
}

fn wait(leg: &LegView, now: DateTime<Utc>) -> Wait {
    let stuck = leg.status == LegStatus::Stuck;
    let answered = leg.open_commands.is_empty();
    let (waits_for, from) = match &leg.awaits {
        Some(_) | None if stuck => ("a decision".to_owned(), Party::Person.as_str()),
        Some(awaits) if answered || awaits.from.is_asked() => (awaits.fact.clone(), awaits.from.as_str()),
        Some(_) | None => (format!("the answer to {}", leg.open_commands.join(", ")), "the command service"),
    };
    let next = [leg.next_at, leg.check_at].into_iter().flatten().filter(|at| *at > now).min();
    Wait {
        step: leg.step.clone(),
        direction: leg.direction.as_str().to_owned(),
        waits_for,
        from: from.to_owned(),
        since: leg.started_at,
        for_s: (now - leg.started_at).num_seconds().max(0), // The clock may have been ahead then.
        attempts: leg.attempts,
        last_error: leg.last_error.as_ref().map(trouble),
        next_attempt: next,
        deadline: leg.deadline,
        stuck,
    }
}

fn summary(view: &View, waits: &[Wait]) -> String {
    let reason = view.reason.as_deref().unwrap_or("no reason given");
    let waits = || {
        let one = |wait: &Wait| format!("`{}` waits for {} from {}", wait.step, wait.waits_for, wait.from);
        waits.iter().map(one).collect::<Vec<_>>().join("; ")
    };
    match view.state() {
        SagaState::Completed => "it has completed".to_owned(),
        SagaState::Compensated => format!("it has undone everything: {reason}"),
        SagaState::HandedOver => {
            format!("`{}` drives the order now: {reason}", next_saga(view).unwrap_or_default())
        }
        SagaState::Running | SagaState::Waiting => waits(),
        SagaState::Compensating => format!("it goes back ({reason}): {}", waits()),
        SagaState::NeedsAttention => {
            match (&view.unsupported, view.current().and_then(|leg| leg.last_error.as_ref())) {
                (Some(failure), _) => failure.detail.clone(),
                (None, Some(failure)) => format!("a person must look: {failure}; {}", waits()),
                (None, None) => format!("a person must look: {}", waits()),
            }
        }
    }
}

/// What a person can do, as the shop stands today.
fn can_do(view: &View) -> Vec<String> {
    let order = view.subject.order_id;
    if let Some(next) = next_saga(view) {
        return vec![format!("look at the saga that drives the order now: backstitch saga why {next}")];
    }
    let targets = view.legs.iter().flat_map(|leg| &leg.targets);
    let shipment = targets.filter_map(|target| target.strip_prefix("shipment-")).next().unwrap_or("<id>");
    let mut ways: Vec<String> = view.open_legs().flat_map(|leg| ways_on(leg, &order.to_string(), shipment)).collect();
    let forward = matches!(view.state(), SagaState::Running | SagaState::Waiting | SagaState::NeedsAttention);
    let dispatched = view.legs.iter().any(|leg| leg.step == "dispatch");
    if forward && !view.going_back() && view.saga == "order_fulfilment" && !dispatched {
        ways.push(format!("cancel the order: POST /v1/orders/{order}/cancel"));
    }
    if let Some(failure) = &view.unsupported {
        ways.push(failure.detail.clone());
    }
    ways
}

/// What a person can do about the saga itself: what would not be refused, with what it would do.
fn verbs(loaded: &Loaded, handle: &Handle) -> Vec<String> {
    let (now, config) = (handle.clock.now(), &handle.config);
    let verb = |action: Action| {
        let (actor, reason) = (String::new(), String::new());
        let asked = Act { action, actor, reason, step: None, request_id: Uuid::nil() };
        let events = act(&loaded.state, &asked, now, config).ok()?;
        let effect = effect(&loaded.state, &events, now, config)?;
        let (what, verb) = (effect.summary, action.as_str());
        Some(format!("{verb}, which {what}: backstitch saga {verb} {} --reason …", loaded.id))
    };
    Action::ALL.into_iter().filter_map(verb).collect()
}

fn ways_on(leg: &LegView, order: &str, shipment: &str) -> Vec<String> {
    let target = leg.targets.first().cloned().unwrap_or_default();
    let fact = leg.awaits.as_ref().map(|awaits| awaits.fact.as_str());
    let mut ways = match (leg.status, fact) {
        (LegStatus::Stuck, _) => {
            vec![format!("find out what stands against it: backstitch stream read {target} --backward")]
        }
        (_, Some("ShipmentReady")) => vec![
            format!("mark the shipment ready: POST /v1/shipments/{shipment}/ready"),
            format!("or give it up: POST /v1/shipments/{shipment}/cancel"),
        ],
        (_, Some("ShipmentDelivered")) => vec![
            format!("report the shipment delivered: POST /v1/shipments/{shipment}/deliver"),
            format!("or lost: POST /v1/shipments/{shipment}/lost"),
        ],
        (_, Some("OrderHoldReleased")) if leg.step == "risk_review" => vec![
            format!("say what was found, `approve` or `refuse`: POST /v1/orders/{order}/assess"),
            format!("or release the hold HIGH_RISK_OF_FRAUD by its reason: POST /v1/orders/{order}/release"),
        ],
        (_, Some("OrderHoldReleased")) => vec![format!("let the order go on: POST /v1/orders/{order}/release")],
        (_, Some(_)) => vec!["nothing: the provider is asked again by itself".to_owned()],
        (_, None) => vec!["nothing: it is tried again by itself".to_owned()],
    };
    if leg.attention && leg.direction == Direction::Undo && leg.status == LegStatus::Open {
        ways.push(format!("ask the provider about {target}"));
    }
    ways
}
