//! The state of a saga, for programs and people.

use chrono::{DateTime, Utc};
use domain::saga::{Direction, Failure, LegStatus, LegView, StepRef, View};
use serde::{Deserialize, Serialize};
use service_kit::api::{LogPosition, SagaDirection, SagaErrorKind, SagaState, SagaStepStatus};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Loaded;

/// A saga with its current state and its steps.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaInFull)]
pub struct Saga {
    /// The id of the saga: its stream's name without `saga_`.
    pub id: String,
    /// The type of the saga.
    #[serde(rename = "type")]
    pub saga_type: String,
    /// The version of the table of steps that the saga follows.
    pub definition_version: u32,
    /// The id of the order that the saga is about.
    pub order_id: Uuid,
    /// The state of the saga.
    #[schema(value_type = SagaState)]
    pub state: String,
    /// Whether nothing changes any more until a party outside acts.
    pub settled: bool,
    /// The name of the current step.
    pub step: Option<String>,
    /// How often the commands of that step have been sent.
    pub attempts: u32,
    /// Why it goes back or was handed over.
    pub reason: Option<String>,
    /// The id of the saga that drives the order now.
    pub handed_over_to: Option<String>,
    /// What the saga waits for, in words.
    pub waits_for: Vec<String>,
    /// The latest failure, also where a later try succeeded.
    pub last_error: Option<Trouble>,
    /// The moment when the saga next acts by itself or needs attention.
    pub deadline: Option<DateTime<Utc>>,
    /// The moment when the next retry is made.
    pub next_attempt: Option<DateTime<Utc>>,
    /// The moment when the saga began.
    pub started_at: Option<DateTime<Utc>>,
    /// The moment of the saga's latest event.
    pub changed_at: Option<DateTime<Utc>>,
    /// The moment when the saga ended; null while it is active.
    pub ended_at: Option<DateTime<Utc>>,
    /// The step attempts, in the order in which they began.
    pub steps: Vec<Step>,
    /// The compensations, in order.
    pub compensations: Vec<Compensation>,
    /// The version of the saga's last event.
    pub version: u64,
    /// The position of its last event.
    #[schema(value_type = LogPosition)]
    pub position: u64,
}

/// A failure of a step, its command or its compensation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaFailure)]
pub struct Trouble {
    /// The kind of the failure.
    #[schema(value_type = SagaErrorKind)]
    pub kind: String,
    /// The stable code of the failure, such as `out-of-stock`.
    pub code: String,
    /// The description of the failure for people.
    pub detail: String,
}

/// One step attempt, forward, in compensation or in renewal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaStep)]
pub struct Step {
    /// The name of the step.
    pub step: String,
    /// The number of the step attempt, from 0.
    pub group: u32,
    /// Whether this is the step itself, its compensation or its renewal.
    #[schema(value_type = SagaDirection)]
    pub direction: String,
    /// The status of the step attempt.
    #[schema(value_type = SagaStepStatus)]
    pub status: String,
    /// The moment when the attempt began.
    pub started_at: DateTime<Utc>,
    /// The moment when the attempt ended; null while it is open.
    pub ended_at: Option<DateTime<Utc>>,
    /// How often the commands have been sent.
    pub attempts: u32,
    /// The names of the commands without a final answer.
    pub open_commands: Vec<String>,
    /// The names of the streams that the commands are for.
    pub targets: Vec<String>,
    /// The fact that must follow.
    pub awaits: Option<String>,
    /// The last thing that did not work.
    pub last_error: Option<Trouble>,
}

/// A compensation of the saga: a step attempt to undo.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaCompensation)]
pub struct Compensation {
    /// The name of the step that is undone.
    pub step: String,
    /// The number of the step attempt, from 0.
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

fn step(leg: &LegView) -> Step {
    Step {
        step: leg.step.clone(),
        group: leg.group,
        direction: Direction::as_str(leg.direction).to_owned(),
        status: leg.status.as_str().to_owned(),
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
    Compensation { step: step.step, group: step.group, status: leg.map_or("to_come", LegStatus::as_str).to_owned() }
}
