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
    /// It began.
    SagaStarted<S>,
    /// A fact from outside came that ends no step by itself.
    SagaInputRecorded<S>,
    /// A step began; its commands are on their way.
    StepStarted<S>,
    /// Commands were answered, and the step goes on.
    CommandAnswered,
    /// A step is tried again, or asked about again.
    StepRetryScheduled,
    /// What a step did is kept alive for longer.
    StepRenewed,
    /// A step is done.
    StepSucceeded,
    /// A step cannot be done.
    StepFailed,
    /// From here on the saga goes back.
    CompensationStarted,
    /// A step is being undone.
    UndoStarted<S>,
    /// A step is undone.
    UndoSucceeded,
    /// It reached its end.
    SagaCompleted,
    /// It is back where it began.
    SagaCompensated,
    /// Another saga takes over from here on.
    SagaHandedOver<S>,
    /// It cannot go on by itself, or takes too long: a person must look.
    SagaNeedsAttention,
    /// A person did something about it; what follows from that stands behind it in the same append.
    OperatorActed,
);

/// It began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "SagaStarted")]
pub struct SagaStarted<S: Story> {
    /// Its type, which is a part of its stream's name.
    pub saga: String,
    /// Which version of the table of steps it follows to its end.
    pub definition_version: u32,
    /// What the saga is about.
    #[serde(flatten)]
    pub subject: S::Subject,
    /// What it started on.
    pub source: Source,
    /// What it knows.
    pub facts: S::Facts,
}

/// A fact from outside came that ends no step by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "SagaInputRecorded")]
pub struct SagaInputRecorded<S: Story> {
    /// Which event it was.
    pub source: Source,
    /// What it means.
    pub note: S::Note,
    /// The step that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<StepRef>,
    /// More, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A step began; its commands are on their way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "StepStarted")]
pub struct StepStarted<S: Story> {
    /// The step.
    pub step: String,
    /// What it is to the saga.
    pub kind: Kind,
    /// The attempt group, from 0; ids of commands and of what they make depend on it.
    pub group: u32,
    /// What is sent, to the byte.
    pub commands: Vec<IssuedCommand>,
    /// The fact that must follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<Awaits<S>>,
    /// When the commands are sent again if nothing was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_at: Option<Timestamp>,
    /// When it has taken too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

/// Commands were answered, and the step goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandAnswered {
    /// The step.
    pub step: String,
    /// The attempt group.
    pub group: u32,
    /// The way they were for.
    pub direction: Direction,
    /// The answers.
    pub answers: Vec<Answer>,
    /// When the step has taken too long, where that is later than it was because nobody could be reached for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

/// A step is tried again, or asked about again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepRetryScheduled {
    /// The step.
    pub step: String,
    /// The attempt group.
    pub group: u32,
    /// The way.
    pub direction: Direction,
    /// How often its commands have been sent before, from 1.
    pub attempt: u32,
    /// When they are sent again.
    pub next_at: Timestamp,
    /// When they are sent once more if nothing was heard by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_at: Option<Timestamp>,
    /// Answers that did come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// The failure after which the step is tried again.
    pub failure: Failure,
    /// By which times a participant refused the commands as too late. The next deadline counts from these times: this
    /// event, appended at the expected version, proves that the step is still open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub too_late: Option<LateBy>,
}

/// What a step did is kept alive for longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepRenewed {
    /// The step.
    pub step: String,
    /// The attempt group.
    pub group: u32,
    /// How often it has been renewed, from 1.
    pub round: u32,
    /// What is sent, to the byte.
    pub commands: Vec<IssuedCommand>,
    /// When it is due again.
    pub next_at: Timestamp,
}

/// A step is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepSucceeded {
    /// The step.
    pub step: String,
    /// The attempt group.
    pub group: u32,
    /// The fact that ended it; none: its commands' answers did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// When what was gained lapses by itself, such as an authorization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses_at: Option<Timestamp>,
    /// When what was gained is to be renewed, such as a reservation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Timestamp>,
}

/// A step cannot be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepFailed {
    /// The step.
    pub step: String,
    /// The attempt group.
    pub group: u32,
    /// The fact that ended it; none: an answer or a deadline did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The failure that ended the step.
    pub failure: Failure,
    /// Answers that its commands had: what was refused needs no undoing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// Whether it is certain that it left nothing to undo.
    pub leaves_nothing: bool,
}

/// From here on the saga goes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompensationStarted {
    /// Why, in one word; `operator` where a person wanted it.
    pub reason: String,
    /// What is undone, in this order.
    pub steps: Vec<StepRef>,
}

/// A step is being undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "UndoStarted")]
pub struct UndoStarted<S: Story> {
    /// The step.
    pub step: String,
    /// The attempt group that is undone.
    pub group: u32,
    /// The how-manieth way back is tried, from 0.
    pub round: u32,
    /// What is sent, to the byte.
    pub commands: Vec<IssuedCommand>,
    /// The fact that must follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<Awaits<S>>,
    /// When the commands are sent (not before); none: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// When the commands are sent again if nothing was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_at: Option<Timestamp>,
}

/// A step is undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UndoSucceeded {
    /// The step.
    pub step: String,
    /// The attempt group that is undone.
    pub group: u32,
    /// The fact that ended it; none: its commands' answers did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// It reached its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaCompleted {}

/// It is back where it began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaCompensated {
    /// Why it went back.
    pub reason: String,
}

/// Another saga takes over from here on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "SagaHandedOver")]
pub struct SagaHandedOver<S: Story> {
    /// That saga's type, which is a part of its stream's name.
    pub to: String,
    /// The reason for the handover.
    pub reason: String,
    /// What it needs to know.
    pub facts: S::Handover,
    /// The fact that caused it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// It cannot go on by itself, or takes too long: a person must look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaNeedsAttention {
    /// The step.
    pub step: String,
    /// The attempt group.
    pub group: u32,
    /// The way.
    pub direction: Direction,
    /// The failure that a person must look at.
    pub failure: Failure,
    /// Whether the step stands still until a person acts; otherwise it goes on trying or waiting meanwhile.
    pub stuck: bool,
    /// The fact that caused it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// A person did something about it; what follows from that stands behind it in the same append.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorActed {
    /// What the operator did.
    pub action: Action,
    /// The operator who did it.
    pub actor: String,
    /// Why, in that person's words.
    pub reason: String,
    /// The step that it is about; none: the saga as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The attempt group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// The way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// When a person is called again if nothing has moved by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The request; the same one again changes nothing.
    pub request_id: Uuid,
}
