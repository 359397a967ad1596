//! How a saga stands, for programs and people.

use chrono::{DateTime, Utc};
use domain::saga::{Direction, Failure, LegStatus, LegView, StepRef, View};
use serde::{Deserialize, Serialize};
use service_kit::api::{LogPosition, SagaDirection, SagaErrorKind, SagaState, SagaStepStatus};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Loaded;

/// How a saga stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaInFull)]
pub struct Saga {
    /// Its id: its stream's name without `saga_`.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub saga_type: String,
    /// Which version of the type's table it follows.
    pub definition_version: u32,
    /// The order.
    pub order_id: Uuid,
    /// The saga's state.
    #[schema(value_type = SagaState)]
    pub state: String,
    /// Whether nothing will move until somebody outside acts.
    pub settled: bool,
    /// The step that it is at.
    pub step: Option<String>,
    /// How often that step's commands have been sent.
    pub attempts: u32,
    /// Why it goes back or was handed over.
    pub reason: Option<String>,
    /// The id of the saga that drives the order now.
    pub handed_over_to: Option<String>,
    /// What it waits for.
    pub waits_for: Vec<String>,
    /// The last thing that did not work.
    pub last_error: Option<Trouble>,
    /// When it next acts by itself or calls a person.
    pub deadline: Option<DateTime<Utc>>,
    /// When something that failed is tried again.
    pub next_attempt: Option<DateTime<Utc>>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When something last happened to it.
    pub changed_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Its steps, in the order they began.
    pub steps: Vec<Step>,
    /// What is undone, in this order.
    pub compensations: Vec<Compensation>,
    /// The version of its last event.
    pub version: u64,
    /// The position of its last event.
    #[schema(value_type = LogPosition)]
    pub position: u64,
}

/// Something that did not work.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaFailure)]
pub struct Trouble {
    /// The kind of the failure.
    #[schema(value_type = SagaErrorKind)]
    pub kind: String,
    /// Its stable name.
    pub code: String,
    /// What happened.
    pub detail: String,
}

/// One attempt group of a step, one way.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaStep)]
pub struct Step {
    /// Its name.
    pub step: String,
    /// The attempt group, from 0.
    pub group: u32,
    /// The direction of the step.
    #[schema(value_type = SagaDirection)]
    pub direction: String,
    /// The state of the step.
    #[schema(value_type = SagaStepStatus)]
    pub status: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// How often its commands have been sent.
    pub attempts: u32,
    /// Its commands without a final answer.
    pub open_commands: Vec<String>,
    /// The streams its commands are for.
    pub targets: Vec<String>,
    /// The fact that must follow.
    pub awaits: Option<String>,
    /// The last thing that did not work.
    pub last_error: Option<Trouble>,
}

/// A step of the way back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaCompensation)]
pub struct Compensation {
    /// The name of the step that is undone.
    pub step: String,
    /// The attempt group of the step, from 0.
    pub group: u32,
    /// The state of its compensation.
    #[schema(value_type = SagaStepStatus)]
    pub status: String,
}

pub(super) fn saga(loaded: &Loaded) -> Saga {
    let view = &loaded.view;
    let last = loaded.events.last();
    Saga {
        id: loaded.id.clone(),
        saga_type: view.saga.clone(),
        definition_version: view.definition_version,
        order_id: view.subject.order_id.0,
        state: view.state().as_str().to_owned(),
        settled: view.settled(),
        step: view.step().map(str::to_owned),
        attempts: view.attempts(),
        reason: view.reason.clone(),
        handed_over_to: next_saga(view),
        waits_for: view.waits_for(),
        last_error: view.last_error().map(trouble),
        deadline: view.deadline(),
        next_attempt: view.next_attempt(),
        started_at: view.started_at,
        changed_at: view.changed_at,
        ended_at: view.ended_at,
        steps: view.legs.iter().map(step).collect(),
        compensations: view.compensations().into_iter().map(compensation).collect(),
        version: last.map_or(0, |(recorded, _)| recorded.version),
        position: last.map_or(0, |(recorded, _)| recorded.position.0),
    }
}

/// The id of the saga that drives the order now.
pub(super) fn next_saga(view: &View) -> Option<String> {
    view.handed_over_to.as_ref().map(|to| format!("{to}-{}", view.subject))
}

pub(super) fn trouble(failure: &Failure) -> Trouble {
    Trouble { kind: failure.kind.as_str().to_owned(), code: failure.code.clone(), detail: failure.detail.clone() }
}

pub(super) fn status(status: LegStatus) -> &'static str {
    match status {
        LegStatus::Open => "open",
        LegStatus::Succeeded => "succeeded",
        LegStatus::Failed => "failed",
        LegStatus::Stuck => "stuck",
    }
}

fn step(leg: &LegView) -> Step {
    Step {
        step: leg.step.clone(),
        group: leg.group,
        direction: Direction::as_str(leg.direction).to_owned(),
        status: status(leg.status).to_owned(),
        started_at: leg.started_at,
        ended_at: leg.ended_at,
        attempts: leg.attempts,
        open_commands: leg.open_commands.clone(),
        targets: leg.targets.clone(),
        awaits: leg.awaits.as_ref().map(|awaits| awaits.fact.clone()),
        last_error: leg.last_error.as_ref().map(trouble),
    }
}

fn compensation((step, leg): (StepRef, Option<LegStatus>)) -> Compensation {
    Compensation { step: step.step, group: step.group, status: leg.map_or("to_come", status).to_owned() }
}
