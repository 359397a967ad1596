//! How a saga stands, for people and tables: a pure fold of its events that knows no table of steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events::Event;
use super::parts::{Action, Awaits, Direction, Failure, Holds, Kind, StepRef};
use super::story::{Party as _, Story};
use eventsourcing::aggregate::Timestamp;

/// How a saga stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SagaState {
    /// Commands of the way forward are on their way.
    #[default]
    Running,
    /// Everything that is open waits for somebody outside.
    Waiting,
    /// It goes back.
    Compensating,
    /// A person must look.
    NeedsAttention,
    /// It reached its end.
    Completed,
    /// It is back where it began.
    Compensated,
    /// Another saga has taken over.
    HandedOver,
}

impl SagaState {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Compensating => "compensating",
            Self::NeedsAttention => "needs_attention",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::HandedOver => "handed_over",
        }
    }

    /// Whether the saga has ended: nothing more will happen to it.
    pub fn is_end(self) -> bool {
        match self {
            Self::Completed | Self::Compensated | Self::HandedOver => true,
            Self::Running | Self::Waiting | Self::Compensating | Self::NeedsAttention => false,
        }
    }
}

/// How one attempt group of a step stands, one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegStatus {
    /// On its way.
    Open,
    /// Done, or undone.
    Succeeded,
    /// It cannot be done.
    Failed,
    /// It stands still until a person acts.
    Stuck,
}

/// One attempt group of a step, one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "LegView")]
pub struct LegView<S: Story> {
    /// The step.
    pub step: String,
    /// The attempt group, from 0.
    pub group: u32,
    /// The way.
    pub direction: Direction,
    /// What the step is to the saga; the way back has the kind of the step it undoes, `start` where it undoes the start.
    pub kind: Kind,
    /// How it stands.
    pub status: LegStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How often its commands have been sent, from 1.
    pub attempts: u32,
    /// Commands without a final answer.
    pub open_commands: Vec<String>,
    /// The streams its commands are for.
    pub targets: Vec<String>,
    /// The fact that must follow.
    pub awaits: Option<Awaits<S>>,
    /// When its commands are sent again after a failure.
    pub next_at: Option<Timestamp>,
    /// When its commands are sent again if nothing was heard.
    pub check_at: Option<Timestamp>,
    /// When it has taken too long.
    pub deadline: Option<Timestamp>,
    /// The last thing that did not work.
    pub last_error: Option<Failure>,
    /// Whether a person was called, and nothing has moved since.
    pub attention: bool,
    /// Whether the person was called because there was no answer: the first answer takes the call back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unanswered: bool,
    /// The ids of `open_commands`, one for each.
    pub(super) open_ids: Vec<uuid::Uuid>,
}

impl<S: Story> LegView<S> {
    /// Whether it waits only for somebody who acts when they want to: no command, retry or request to a party is open.
    pub fn waits_for_people(&self) -> bool {
        let by_people = self.awaits.as_ref().is_some_and(|awaits| !awaits.from.is_asked());
        by_people && self.open_commands.is_empty()
    }
}

/// Something that a person did about a saga.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionView {
    /// What the operator did.
    pub action: Action,
    /// The operator who did it.
    pub actor: String,
    /// The reason that the operator gave.
    pub reason: String,
    /// The step that it was about; none: the saga as a whole.
    pub step: Option<String>,
    /// The way.
    pub direction: Option<Direction>,
    /// When the operator did it.
    pub at: Timestamp,
}

/// How a saga stands. Fold its events, oldest first, with [`View::fold`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "View")]
pub struct View<S: Story> {
    /// Its type, which is a part of its stream's name.
    pub saga: String,
    /// Which version of the table of steps it follows.
    pub definition_version: u32,
    /// What the saga is about.
    #[serde(flatten)]
    pub subject: S::Subject,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When something last happened to it.
    pub changed_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it goes back or was handed over.
    pub reason: Option<String>,
    /// The saga that has taken over.
    pub handed_over_to: Option<String>,
    /// What was noted of the outside, oldest first, each kind once per step.
    pub notes: Vec<(<S as Story>::Note, Option<StepRef>)>,
    /// What is to be undone, in this order.
    pub to_undo: Vec<StepRef>,
    /// Its steps, in the order they began; each attempt group and each way of its own.
    pub legs: Vec<LegView<S>>,
    /// What people did about it, oldest first.
    pub actions: Vec<ActionView>,
    /// Why no program that has seen it can follow it.
    pub unsupported: Option<Failure>,
    /// What holds the saga up, by reason.
    #[serde(default)]
    pub holds: Holds,
    pub(super) ended: Option<SagaState>,
    pub(super) last: Option<Failure>,
}

impl<S: Story> View<S> {
    /// The saga after these events, each with the moment it occurred.
    pub fn of<'a>(events: impl IntoIterator<Item = (&'a Event<S>, Timestamp)>) -> Self {
        let mut view = Self::default();
        events.into_iter().for_each(|(event, at)| view.fold(event, at));
        view
    }

    /// How it stands.
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

    /// What is on its way or stands still, oldest first. Renewals count only while nothing else is open.
    pub fn open_legs(&self) -> impl Iterator<Item = &LegView<S>> {
        self.legs.iter().filter(|leg| match leg.status {
            LegStatus::Open | LegStatus::Stuck => true,
            LegStatus::Succeeded | LegStatus::Failed => false,
        })
    }

    /// The one to look at: what needs a person, else the newest that is open, else the newest.
    pub fn current(&self) -> Option<&LegView<S>> {
        self.open_legs().find(|leg| leg.attention).or_else(|| self.open_legs().last()).or_else(|| self.legs.last())
    }

    /// The step that it is at.
    pub fn step(&self) -> Option<&str> {
        self.current().map(|leg| leg.step.as_str())
    }

    /// How often the current step's commands have been sent.
    pub fn attempts(&self) -> u32 {
        self.current().map_or(0, |leg| leg.attempts)
    }

    /// The last thing that did not work, also where a later try did.
    pub fn last_error(&self) -> Option<&Failure> {
        self.last.as_ref()
    }

    /// What kind of trouble the last error was.
    pub fn error_kind(&self) -> Option<&'static str> {
        self.last.as_ref().map(|failure| failure.kind.as_str())
    }

    /// The next moment at which it acts by itself or calls a person: the earliest of all retries, checks and deadlines.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.open_legs().flat_map(|leg| [leg.next_at, leg.check_at, leg.deadline]).flatten().min()
    }

    /// When something that failed is tried again.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        self.open_legs().filter_map(|leg| leg.next_at).min()
    }

    /// What it waits for, in words; nothing once it has ended.
    pub fn waits_for(&self) -> Vec<String> {
        self.open_legs().map(waits_for).collect()
    }

    /// The way back: each step and how its undoing stands, in order. Steps still to come are `None`.
    pub fn compensations(&self) -> Vec<(StepRef, Option<LegStatus>)> {
        let undone = |step: &StepRef| {
            self.legs
                .iter()
                .find(|leg| leg.direction == Direction::Undo && leg.step == step.step && leg.group == step.group)
                .map(|leg| leg.status)
        };
        self.to_undo.iter().map(|step| (step.clone(), undone(step))).collect()
    }

    /// Whether nothing will move until somebody outside acts: it has ended, or needs attention, or waits only for a
    /// party that acts when it wants to, with no command, retry or request open. A person who was called only because
    /// nobody answers is not waited for: it goes on by itself as soon as somebody does.
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
