//! What has happened to a saga. Stored for ever: a field is only ever added, as optional, or a new version is made.
//! Several transitions that one input causes are appended together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::parts::{Action, Answer, Awaits, Direction, Failure, IssuedCommand, Kind, LateBy, Source, StepRef};
use super::story::Story;
use eventsourcing::Upcaster;
use eventsourcing::aggregate::{DecodeError, EncodedEvent, Timestamp, decoded, encoded};

/// The steps that lift events of older schema versions to the newest one. (None yet.)
const UPCASTERS: &[Upcaster] = &[];

/// Declares the enum of events together with how each is named, written and read.
macro_rules! saga_events {
    ($($(#[$doc:meta])* $name:ident $(<$story:ident>)?),+ $(,)?) => {
        /// An event. Each variant bears the name of its payload.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event<S: Story> {
            $($(#[$doc])* $name($name $(<$story>)?),)+
        }

        const TYPES: &[(&str, u16)] = &[$((stringify!($name), 1)),+];
        const _: () = eventsourcing::declare::assert_upcasters(TYPES, UPCASTERS);

        impl<S: Story> Event<S> {
            /// The names of all events here, with the newest schema version of each.
            pub const TYPES: &'static [(&'static str, u16)] = TYPES;

            /// The event's own name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)+
                }
            }

            /// Writes an event for the log.
            pub fn encode(&self) -> EncodedEvent {
                match self {
                    $(Self::$name(e) => encoded(stringify!($name), 1, e),)+
                }
            }

            /// Reads an event of the log.
            ///
            /// # Errors
            /// [`DecodeError`]: an unknown type, a newer schema version, or data that does not fit.
            pub fn decode(event_type: &str, schema_version: u16, data: &str) -> Result<Self, DecodeError> {
                match event_type {
                    $(stringify!($name) => decoded(UPCASTERS, event_type, 1, schema_version, data).map(Self::$name),)+
                    other => Err(DecodeError::UnknownType(other.to_owned())),
                }
            }
        }
    };
}

saga_events!(
    /// The first event of a saga: it began.
    SagaStarted<S>,
    /// A fact from outside was recorded that ends no step by itself.
    SagaInputRecorded<S>,
    /// A step attempt began; its commands are being sent.
    StepStarted<S>,
    /// Commands of a step were answered, and the step goes on.
    CommandAnswered,
    /// The commands of a step are to be sent again.
    StepRetryScheduled,
    /// The effect of a step was renewed, so that it does not lapse.
    StepRenewed,
    /// A step attempt succeeded.
    StepSucceeded,
    /// A step attempt failed for good.
    StepFailed,
    /// The compensation of the saga began.
    CompensationStarted,
    /// The compensation of a step attempt began.
    UndoStarted<S>,
    /// A step attempt was compensated.
    UndoSucceeded,
    /// The saga completed: its last step succeeded.
    SagaCompleted,
    /// The saga was compensated: all its effects are undone.
    SagaCompensated,
    /// The saga handed its subject over to another saga.
    SagaHandedOver<S>,
    /// The saga cannot go on by itself, or takes too long: a person must look.
    SagaNeedsAttention,
    /// An operator acted on the saga. The events that follow from it are in the same append.
    OperatorActed,
);

/// The first event of a saga: it began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "SagaStarted")]
pub struct SagaStarted<S: Story> {
    /// Type of the saga, which is a part of its stream's name.
    pub saga: String,
    /// Version of the table of steps that the saga follows to its end.
    pub definition_version: u32,
    /// What the saga is about.
    #[serde(flatten)]
    pub subject: S::Subject,
    /// The event that started the saga.
    pub source: Source,
    /// The facts that the saga starts with. They are frozen here: no later event changes them.
    pub facts: S::Facts,
}

/// A fact from outside was recorded that ends no step by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "SagaInputRecorded")]
pub struct SagaInputRecorded<S: Story> {
    /// The event that brought the fact.
    pub source: Source,
    /// Meaning of the fact to the saga.
    pub note: S::Note,
    /// The step attempt that the fact is about; without it the fact is about the saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<StepRef>,
    /// Detail for people, such as the reason of a hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A step attempt began; its commands are being sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "StepStarted")]
pub struct StepStarted<S: Story> {
    /// Name of the step in the saga's table.
    pub step: String,
    /// Role of the step in the saga, such as the pivot.
    pub kind: Kind,
    /// Number of the step attempt, from 0. The ids of its commands, and of what the commands create, depend on it.
    pub group: u32,
    /// The commands of the attempt, stored to the byte as they are sent.
    pub commands: Vec<IssuedCommand>,
    /// The fact from outside that must follow before the step ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<Awaits<S>>,
    /// When the commands are sent again if neither an answer nor the fact has come by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_at: Option<Timestamp>,
    /// When the step has taken too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

/// Commands of a step were answered, and the step goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandAnswered {
    /// Name of the step whose commands were answered.
    pub step: String,
    /// Number of the step attempt, from 0.
    pub group: u32,
    /// Direction of the commands: forward, compensation or renewal.
    pub direction: Direction,
    /// The answers, one for each command that was answered.
    pub answers: Vec<Answer>,
    /// The new deadline of the step. It is later than before because the participants could not be reached for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

/// The commands of a step are to be sent again, after a failure or because nothing was heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepRetryScheduled {
    /// Name of the step to retry.
    pub step: String,
    /// Number of the step attempt, from 0.
    pub group: u32,
    /// Direction of the commands: forward, compensation or renewal.
    pub direction: Direction,
    /// How often the commands have been sent before, from 1.
    pub attempt: u32,
    /// When the commands are sent again.
    pub next_at: Timestamp,
    /// When the commands are sent once more if nothing was heard by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_at: Option<Timestamp>,
    /// The answers that did come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// The failure because of which the commands are sent again.
    pub failure: Failure,
    /// The times by which a participant refused the commands as too late. The next deadline counts from these times:
    /// this event, appended at the expected version, proves that the step is still open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub too_late: Option<LateBy>,
}

/// The effect of a step was renewed, so that it does not lapse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepRenewed {
    /// Name of the step whose effect is renewed.
    pub step: String,
    /// Number of the step attempt, from 0.
    pub group: u32,
    /// Number of the renewal, from 1.
    pub round: u32,
    /// The commands of the renewal, stored to the byte as they are sent.
    pub commands: Vec<IssuedCommand>,
    /// When the next renewal is due.
    pub next_at: Timestamp,
}

/// A step attempt succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepSucceeded {
    /// Name of the step that succeeded.
    pub step: String,
    /// Number of the step attempt, from 0.
    pub group: u32,
    /// The fact from outside that ended the step; without it the answers to its commands did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// When the effect of the step, such as an authorization, lapses by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses_at: Option<Timestamp>,
    /// When the effect of the step, such as a reservation, is to be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Timestamp>,
}

/// A step attempt failed for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepFailed {
    /// Name of the step that failed.
    pub step: String,
    /// Number of the step attempt, from 0.
    pub group: u32,
    /// The fact from outside that ended the step; without it an answer or a deadline did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The failure that ended the step.
    pub failure: Failure,
    /// The answers to its commands: a refused command needs no compensation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// Whether it is certain that the step left no effect to compensate.
    pub leaves_nothing: bool,
}

/// The compensation of the saga began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompensationStarted {
    /// Code of the reason, in snake case; `operator` where a person decided it.
    pub reason: String,
    /// The step attempts to compensate, in this order.
    pub steps: Vec<StepRef>,
}

/// The compensation of a step attempt began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "UndoStarted")]
pub struct UndoStarted<S: Story> {
    /// Name of the step to compensate.
    pub step: String,
    /// Number of the step attempt that is compensated, from 0.
    pub group: u32,
    /// Number of the try at this compensation, from 0.
    pub round: u32,
    /// The commands of the compensation, stored to the byte as they are sent.
    pub commands: Vec<IssuedCommand>,
    /// The fact from outside that must follow before the compensation ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<Awaits<S>>,
    /// When the commands are sent; without it they are sent at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// When the commands are sent again if neither an answer nor the fact has come by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_at: Option<Timestamp>,
}

/// A step attempt was compensated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UndoSucceeded {
    /// Name of the step that was compensated.
    pub step: String,
    /// Number of the step attempt that was compensated, from 0.
    pub group: u32,
    /// The fact from outside that ended the compensation; without it the answers to its commands did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// The saga completed: its last step succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaCompleted {}

/// The saga was compensated: all its effects are undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaCompensated {
    /// Code of the reason for the compensation, in snake case.
    pub reason: String,
}

/// The saga handed its subject over to another saga.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "SagaHandedOver")]
pub struct SagaHandedOver<S: Story> {
    /// Type of the other saga, which is a part of its stream's name.
    pub to: String,
    /// The reason for the handover.
    pub reason: String,
    /// The facts that the other saga starts with.
    pub facts: S::Handover,
    /// The fact from outside that caused the handover, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// The saga cannot go on by itself, or takes too long: a person must look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaNeedsAttention {
    /// Name of the step that needs attention.
    pub step: String,
    /// Number of the step attempt, from 0.
    pub group: u32,
    /// Whether the step, its compensation or its renewal needs attention.
    pub direction: Direction,
    /// The failure that a person must look at.
    pub failure: Failure,
    /// Whether the step stands still until an operator acts. Otherwise it keeps retrying or waiting.
    pub stuck: bool,
    /// The fact from outside that caused it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// An operator acted on the saga. The events that follow from it are in the same append.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorActed {
    /// What the operator did.
    pub action: Action,
    /// The operator who did it.
    pub actor: String,
    /// The reason that the operator gave.
    pub reason: String,
    /// Name of the step that the action is about; without it the action is about the whole saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Number of the step attempt that the action is about, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Whether the action is about the step, its compensation or its renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// When the saga needs attention again if nothing has changed by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Id of the operator's request. A repeat of the request changes nothing.
    pub request_id: Uuid,
}
