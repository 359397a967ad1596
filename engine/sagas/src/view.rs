//! The state of a saga for people and tables: a pure fold of its events that knows no table of steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::events::Event;
use super::parts::{Action, Awaits, Direction, Failure, Holds, Kind, StepRef};
use super::story::{Party as _, Story};
use eventsourcing::aggregate::Timestamp;

/// The state of a saga in one word.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr, VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SagaState {
    /// Commands of forward steps are being sent.
    #[default]
    Running,
    /// Every open step waits for a party outside.
    Waiting,
    /// The saga is being compensated.
    Compensating,
    /// A person must look.
    NeedsAttention,
    /// The saga completed: its last step succeeded.
    Completed,
    /// The saga was compensated: all its effects are undone.
    Compensated,
    /// Another saga has taken over.
    HandedOver,
}

impl SagaState {
    /// The stored names of all states.
    pub const NAMES: &'static [&'static str] = Self::VARIANTS;

    /// The stored name of the state, such as `needs_attention`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the saga has ended: nothing more will happen to it.
    pub fn is_end(self) -> bool {
        match self {
            Self::Completed | Self::Compensated | Self::HandedOver => true,
            Self::Running | Self::Waiting | Self::Compensating | Self::NeedsAttention => false,
        }
    }
}

/// The status of one step attempt, forward, in compensation or in renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum LegStatus {
    /// The commands are being sent, or their outcome is awaited.
    Open,
    /// The attempt succeeded; in compensation, the step is undone.
    Succeeded,
    /// The attempt failed for good.
    Failed,
    /// The attempt stands still until an operator acts.
    Stuck,
}

impl LegStatus {
    /// The stored name of the status, such as `succeeded`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One step attempt, forward, in compensation or in renewal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "LegView")]
pub struct LegView<S: Story> {
    /// Name of the step in the saga's table.
    pub step: String,
    /// Number of the step attempt, from 0.
    pub group: u32,
    /// Whether this is the step itself, its compensation or its renewal.
    pub direction: Direction,
    /// Role of the step in the saga. A compensation has the kind of the step that it undoes, `start` where it undoes
    /// the start.
    pub kind: Kind,
    /// Status of the attempt.
    pub status: LegStatus,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// When the attempt ended; absent while it is open.
    pub ended_at: Option<Timestamp>,
    /// How often its commands have been sent, from 1.
    pub attempts: u32,
    /// Names of the commands without a final answer.
    pub open_commands: Vec<String>,
    /// Names of the streams that its commands are for.
    pub targets: Vec<String>,
    /// The fact from outside that must follow.
    pub awaits: Option<Awaits<S>>,
    /// When its commands are sent again after a failure.
    pub next_at: Option<Timestamp>,
    /// When its commands are sent again if neither an answer nor the fact has come by then.
    pub check_at: Option<Timestamp>,
    /// When the attempt has taken too long.
    pub deadline: Option<Timestamp>,
    /// The latest failure of the attempt.
    pub last_error: Option<Failure>,
    /// Whether the attempt needs attention, and nothing has changed since.
    pub attention: bool,
    /// Whether it needs attention because there was no answer: the first answer ends that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unanswered: bool,
    /// The ids of `open_commands`, one for each.
    pub(super) open_ids: Vec<uuid::Uuid>,
}

impl<S: Story> LegView<S> {
    /// Whether it waits only for a party that acts when it wants to: no command, retry or request to a party is open.
    pub fn waits_for_people(&self) -> bool {
        let by_people = self.awaits.as_ref().is_some_and(|awaits| !awaits.from.is_asked());
        by_people && self.open_commands.is_empty()
    }
}

/// An action of an operator on a saga.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionView {
    /// What the operator did.
    pub action: Action,
    /// The operator who did it.
    pub actor: String,
    /// The reason that the operator gave.
    pub reason: String,
    /// Name of the step that the action was about; absent where it was about the whole saga.
    pub step: Option<String>,
    /// Whether the action was about the step, its compensation or its renewal.
    pub direction: Option<Direction>,
    /// When the operator did it.
    pub at: Timestamp,
}

/// The state of a saga in detail. Fold its events, oldest first, with [`View::fold`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "View")]
pub struct View<S: Story> {
    /// Type of the saga, which is a part of its stream's name.
    pub saga: String,
    /// Version of the table of steps that the saga follows.
    pub definition_version: u32,
    /// What the saga is about.
    #[serde(flatten)]
    pub subject: S::Subject,
    /// When the saga began.
    pub started_at: Option<Timestamp>,
    /// When an event of the saga last occurred.
    pub changed_at: Option<Timestamp>,
    /// When the saga ended; absent while it is active.
    pub ended_at: Option<Timestamp>,
    /// Code of the reason for which the saga is compensated or was handed over.
    pub reason: Option<String>,
    /// The saga that has taken over.
    pub handed_over_to: Option<String>,
    /// The notes about facts from outside, oldest first, each kind once per step.
    pub notes: Vec<(<S as Story>::Note, Option<StepRef>)>,
    /// The step attempts to compensate, in this order.
    pub to_undo: Vec<StepRef>,
    /// The step attempts in the order in which they began; each number and each direction has its own.
    pub legs: Vec<LegView<S>>,
    /// The actions of operators, oldest first.
    pub actions: Vec<ActionView>,
    /// The failure that says that no program that has seen the saga can follow it.
    pub unsupported: Option<Failure>,
    /// The holds of the saga, by reason.
    #[serde(default)]
    pub holds: Holds,
    pub(super) ended: Option<SagaState>,
    pub(super) last: Option<Failure>,
}

impl<S: Story> View<S> {
    /// Folds these events, each with the moment at which it occurred.
    pub fn of<'a>(events: impl IntoIterator<Item = (&'a Event<S>, Timestamp)>) -> Self {
        let mut view = Self::default();
        events.into_iter().for_each(|(event, at)| view.fold(event, at));
        view
    }

    /// The state in one word.
    pub fn state(&self) -> SagaState {
        if let Some(end) = self.ended {
            return end;
        }
        if self.unsupported.is_some() || self.open_legs().any(|leg| leg.attention) {
            SagaState::NeedsAttention
        } else if self.going_back() {
            SagaState::Compensating
        } else if self.open_legs().next().is_some() && self.open_legs().all(|leg| leg.awaits.is_some()) {
            SagaState::Waiting
        } else {
            SagaState::Running
        }
    }

    /// Whether compensation has begun.
    pub fn going_back(&self) -> bool {
        self.reason.is_some() && self.ended.is_none()
    }

    /// The attempts that are open or stand still, oldest first. Renewals count only while nothing else is open.
    pub fn open_legs(&self) -> impl Iterator<Item = &LegView<S>> {
        self.legs.iter().filter(|leg| match leg.status {
            LegStatus::Open | LegStatus::Stuck => true,
            LegStatus::Succeeded | LegStatus::Failed => false,
        })
    }

    /// The attempt to look at: one that needs attention, else the newest that is open, else the newest.
    pub fn current(&self) -> Option<&LegView<S>> {
        self.open_legs().find(|leg| leg.attention).or_else(|| self.open_legs().last()).or_else(|| self.legs.last())
    }

    /// Name of the current step.
    pub fn step(&self) -> Option<&str> {
        self.current().map(|leg| leg.step.as_str())
    }

    /// How often the current step's commands have been sent.
    pub fn attempts(&self) -> u32 {
        self.current().map_or(0, |leg| leg.attempts)
    }

    /// The latest failure, also where a later try succeeded.
    pub fn last_error(&self) -> Option<&Failure> {
        self.last.as_ref()
    }

    /// The kind of the latest failure.
    pub fn error_kind(&self) -> Option<&'static str> {
        self.last.as_ref().map(|failure| failure.kind.as_str())
    }

    /// The next moment at which the saga acts by itself or needs attention: the earliest of all retries, checks and
    /// deadlines.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.open_legs().flat_map(|leg| [leg.next_at, leg.check_at, leg.deadline]).flatten().min()
    }

    /// When a failed command is next retried.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        self.open_legs().filter_map(|leg| leg.next_at).min()
    }

    /// What the saga waits for, in words; empty once it has ended.
    pub fn waits_for(&self) -> Vec<String> {
        self.open_legs().map(waits_for).collect()
    }

    /// The compensations in order: each step attempt and the status of its compensation, `None` where that is still to
    /// come.
    pub fn compensations(&self) -> Vec<(StepRef, Option<LegStatus>)> {
        let undone = |step: &StepRef| {
            self.legs
                .iter()
                .find(|leg| leg.direction == Direction::Undo && leg.step == step.step && leg.group == step.group)
                .map(|leg| leg.status)
        };
        self.to_undo.iter().map(|step| (step.clone(), undone(step))).collect()
    }

    /// Whether nothing will change until a party outside acts: the saga has ended, or needs attention, or waits only
    /// for a party that acts when it wants to, with no command, retry or request open. A saga that needs attention only
    /// because there was no answer is not settled: it goes on by itself as soon as there is one.
    pub fn settled(&self) -> bool {
        match self.state() {
            SagaState::Completed | SagaState::Compensated | SagaState::HandedOver => true,
            SagaState::NeedsAttention => {
                self.unsupported.is_some() || self.open_legs().any(|leg| leg.attention && !leg.unanswered)
            }
            SagaState::Waiting => self.open_legs().all(LegView::waits_for_people),
            SagaState::Running | SagaState::Compensating => false,
        }
    }
}

fn waits_for<S: Story>(leg: &LegView<S>) -> String {
    let what = match leg.direction {
        Direction::Do => leg.step.clone(),
        Direction::Undo => format!("undoing {}", leg.step),
        Direction::Renew => format!("renewing {}", leg.step),
    };
    if leg.status == LegStatus::Stuck {
        return format!("{what}: a person");
    }
    match &leg.awaits {
        Some(awaits) if leg.open_commands.is_empty() || awaits.from.is_asked() => {
            format!("{what}: {} from {}", awaits.fact, awaits.from.as_str())
        }
        Some(_) | None => format!("{what}: the answer to {}", leg.open_commands.join(", ")),
    }
}
