//! What the events of sagas are made of.

use std::collections::BTreeSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::story::Story;
use eventsourcing::aggregate::Timestamp;

/// The way forward, or the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Forward.
    Do,
    /// Back.
    Undo,
    /// On the spot: what was done is kept alive.
    Renew,
}

impl Direction {
    /// As it is written in ids and shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Undo => "undo",
            Self::Renew => "renew",
        }
    }
}

/// What a step is to the saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What began the saga; it is undone last.
    Start,
    /// Before the pivot: it can be undone.
    Compensatable,
    /// The point of no return: while it is open everything waits, after it the saga only goes forward.
    Pivot,
    /// After the pivot: tried until it succeeds.
    Retriable,
}

/// A fact from outside that must follow before a step ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "Awaits")]
pub struct Awaits<S: Story> {
    /// The name of the fact.
    pub fact: String,
    /// Who brings it.
    pub from: S::Party,
}

/// Which event of another stream an input was; a later one of the same stream has a higher version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The stream.
    pub stream: String,
    /// The event's version.
    pub version: u64,
    /// The event's type.
    pub event: String,
}

/// The JSON of a command, to the byte: new code can never send another body under an old id.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandBody(Box<RawValue>);

impl CommandBody {
    /// A command as it will be sent, now and ever after.
    pub fn of<C: Serialize>(command: &C) -> Self {
        let json = serde_json::value::to_raw_value(command)
            .expect("commands are structs of strings, numbers and lists with string keys, which serialise");
        Self(json)
    }

    /// The bytes.
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// The command.
    ///
    /// # Errors
    /// What serde says, when this program does not know the command any more.
    pub fn parse<C: DeserializeOwned>(&self) -> Result<C, serde_json::Error> {
        serde_json::from_str(self.0.get())
    }
}

impl PartialEq for CommandBody {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl JsonSchema for CommandBody {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CommandBody".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "object", "description": "A command as it was and will be sent." })
    }
}

/// A command as a saga has issued it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IssuedCommand {
    /// Its id, derived: the same command again has the same id.
    pub id: Uuid,
    /// The stream that it is for.
    pub target: String,
    /// The name of the command.
    pub name: String,
    /// The command itself.
    pub body: CommandBody,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The command.
    pub command_id: Uuid,
    /// Why the answer is no; none: it is done, or was already so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Failure>,
}

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A rule says no.
    Rejected,
    /// There was no answer; trying again may help.
    Unavailable,
    /// An outside fact says that it failed.
    Failed,
    /// It took too long.
    TimedOut,
    /// This program cannot do it: an unknown definition, a command it does not know.
    Unsupported,
}

impl ErrorKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What kind of trouble.
    pub kind: ErrorKind,
    /// Its stable name, such as `too-late`.
    pub code: String,
    /// What happened, for people.
    pub detail: String,
}

/// The code of a failure that says that a command came after its deadline.
pub const TOO_LATE: &str = "too-late";

impl Failure {
    /// Whether nothing was decided: nobody could be reached, or the command came after its deadline. Sending it again
    /// may well be answered, so that no step fails by it.
    pub fn is_no_answer(&self) -> bool {
        self.kind == ErrorKind::Unavailable || self.code == TOO_LATE
    }
}

/// The times by which a participant refused a command as too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LateBy {
    /// The participant's clock.
    pub now: Timestamp,
    /// The time of the latest event in the participant's stream; none: the stream has no events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_time: Option<Timestamp>,
}

impl LateBy {
    /// The later times of two refusals.
    pub fn max(self, other: Self) -> Self {
        Self { now: self.now.max(other.now), stream_time: self.stream_time.max(other.stream_time) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() { f.write_str(&self.code) } else { write!(f, "{}: {}", self.code, self.detail) }
    }
}

/// What holds a saga up, as it has noted it: a set by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Holds(BTreeSet<String>);

impl Holds {
    /// Notes a hold. Notes up to 0.2.0 say no reason: such a hold is released with any other.
    pub fn add(&mut self, reason: Option<&str>) {
        self.0.insert(reason.unwrap_or_default().to_owned());
    }

    /// Notes a release: of one hold, or without a reason (up to 0.2.0) of all.
    pub fn release(&mut self, reason: Option<&str>) {
        match reason {
            Some(reason) => self.0.retain(|held| !held.is_empty() && held != reason),
            None => self.0.clear(),
        }
    }

    /// Whether the saga is held up for this reason; without one, whether it is held up at all.
    pub fn has(&self, reason: Option<&str>) -> bool {
        reason.map_or(!self.0.is_empty(), |reason| self.0.contains(reason))
    }

    /// Whether nothing holds the saga up.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a person does to one saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The step that stands still, or waits, is sent again now.
    Retry,
    /// The step counts as done: somebody did it outside.
    Skip,
    /// The saga goes back.
    Compensate,
    /// The call for a person is taken away, and the saga goes on waiting.
    Resume,
    /// Another saga takes over, to take back what was done.
    HandOver,
}

impl Action {
    /// All of them, what repairs first.
    pub const ALL: [Self; 5] = [Self::Retry, Self::Resume, Self::Skip, Self::Compensate, Self::HandOver];

    /// As it is written, and typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
            Self::Compensate => "compensate",
            Self::Resume => "resume",
            Self::HandOver => "hand-over",
        }
    }
}

/// One attempt group of a step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct StepRef {
    /// The step.
    pub step: String,
    /// The attempt group, from 0.
    pub group: u32,
}
