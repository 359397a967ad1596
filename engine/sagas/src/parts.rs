//! The types that the events of sagas consist of.

use std::collections::BTreeSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strum::{EnumString, IntoStaticStr, VariantNames};
use uuid::Uuid;

use super::story::Story;
use eventsourcing::aggregate::Timestamp;

/// The direction of a step's commands: forward, back or renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Direction {
    /// Forward: the step is carried out.
    Do,
    /// Back: the step is compensated.
    Undo,
    /// Neither: the effect of the step is renewed.
    Renew,
}

impl Direction {
    /// The name of the direction in ids and for people.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The role of a step in its saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// The event that began the saga; it is compensated last.
    Start,
    /// A step before the pivot, which can be compensated.
    Compensatable,
    /// The point of no return: while it is open the saga waits for its outcome, after it the saga only goes forward.
    Pivot,
    /// A step after the pivot, which is retried until it succeeds.
    Retriable,
}

impl Kind {
    /// The stored name of the role, such as `compensatable`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A fact from outside that must follow before a step ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
#[schemars(bound = "", rename = "Awaits")]
pub struct Awaits<S: Story> {
    /// Name of the fact: the type of the event that brings it.
    pub fact: String,
    /// The party that brings the fact.
    pub from: S::Party,
}

/// The event of another stream that an input came from. A later event of the same stream has a higher version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Name of the stream of the event, `<category>-<id>`.
    pub stream: String,
    /// Number of the event in its stream, from 0.
    pub version: u64,
    /// Type of the event, in the past tense and camel case.
    pub event: String,
}

/// The JSON of a command, kept to the byte: new code can never send another body under an old id.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandBody(Box<RawValue>);

impl CommandBody {
    /// Serializes a command as it will be sent, now and in every retry.
    pub fn of<C: Serialize>(command: &C) -> Self {
        let json = serde_json::value::to_raw_value(command)
            .expect("commands are structs of strings, numbers and lists with string keys, which serialise");
        Self(json)
    }

    /// The stored JSON, unparsed.
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// Parses the stored JSON as a command.
    ///
    /// # Errors
    /// The error of serde, when this program does not know the command any more.
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
    /// Id of the command. It is derived, so the same command again has the same id.
    pub id: Uuid,
    /// Name of the stream that the command is for.
    pub target: String,
    /// Name of the command, in camel case.
    pub name: String,
    /// The JSON of the command, kept to the byte.
    pub body: CommandBody,
}

/// The final answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Id of the command that was answered.
    pub command_id: Uuid,
    /// The failure with which the command was refused; without it the command was accepted, or changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Failure>,
}

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ErrorKind {
    /// A rule refused the command.
    Rejected,
    /// There was no answer; a retry may help.
    Unavailable,
    /// A fact from outside reports the failure.
    Failed,
    /// The time limit of the step passed.
    TimedOut,
    /// This program cannot do it: the definition or the command is unknown to it.
    Unsupported,
}

impl ErrorKind {
    /// The stored names of all kinds.
    pub const NAMES: &'static [&'static str] = Self::VARIANTS;

    /// The stored name of the kind, such as `timed_out`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The failure of a command, a step or a compensation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Kind of the failure.
    pub kind: ErrorKind,
    /// Stable code of the failure, such as `too-late`.
    pub code: String,
    /// Description of the failure for people.
    pub detail: String,
}

/// The code of the failure of a command that came after its deadline.
pub const TOO_LATE: &str = "too-late";

impl Failure {
    /// Whether nothing was decided: the participant could not be reached, or the command came after its deadline. The
    /// command may well be answered when it is sent again, so no step fails because of it.
    pub fn is_no_answer(&self) -> bool {
        self.kind == ErrorKind::Unavailable || self.code == TOO_LATE
    }
}

/// The times by which a participant refused a command as too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LateBy {
    /// Time of the participant's clock when it refused.
    pub now: Timestamp,
    /// Time of the latest event in the participant's stream; absent if the stream has no events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_time: Option<Timestamp>,
}

impl LateBy {
    /// Takes the later times of two refusals.
    pub fn max(self, other: Self) -> Self {
        Self { now: self.now.max(other.now), stream_time: self.stream_time.max(other.stream_time) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() { f.write_str(&self.code) } else { write!(f, "{}: {}", self.code, self.detail) }
    }
}

/// The holds of a saga, by reason: while there is one, the saga does not go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Holds(BTreeSet<String>);

impl Holds {
    /// Adds a hold. Notes of releases up to 0.2.0 have no reason: such a hold is released together with any other.
    pub fn add(&mut self, reason: Option<&str>) {
        self.0.insert(reason.unwrap_or_default().to_owned());
    }

    /// Releases the hold with this reason; without a reason (up to 0.2.0) all holds.
    pub fn release(&mut self, reason: Option<&str>) {
        match reason {
            Some(reason) => self.0.retain(|held| !held.is_empty() && held != reason),
            None => self.0.clear(),
        }
    }

    /// Whether there is a hold with this reason; without a reason, whether there is any.
    pub fn has(&self, reason: Option<&str>) -> bool {
        reason.map_or(!self.0.is_empty(), |reason| self.0.contains(reason))
    }

    /// Whether there is no hold.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An action of an operator on one saga.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, EnumString, IntoStaticStr, VariantNames,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Action {
    /// Sends the open or stopped step again now.
    Retry,
    /// Counts the step as done, because a person did it outside of the system.
    Skip,
    /// Compensates the saga.
    Compensate,
    /// Ends the need for attention; the saga keeps waiting.
    Resume,
    /// Hands over to another saga, which takes back what was done.
    HandOver,
}

impl Action {
    /// All actions, repairing ones first.
    pub const ALL: [Self; 5] = [Self::Retry, Self::Resume, Self::Skip, Self::Compensate, Self::HandOver];

    /// The names of all actions, in the order of their declaration.
    pub const NAMES: &'static [&'static str] = Self::VARIANTS;

    /// The name of the action in the log, in paths and on the command line.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One attempt group of a step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct StepRef {
    /// Name of the step in the saga's table.
    pub step: String,
    /// The attempt group, from 0.
    pub group: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Way;
    use crate::view::{LegStatus, SagaState};

    #[test]
    fn names_are_stored_and_shown_to_the_letter() {
        let directions = [Direction::Do, Direction::Undo, Direction::Renew].map(Direction::as_str);
        assert_eq!(directions, ["do", "undo", "renew"]);
        let kinds = [Kind::Start, Kind::Compensatable, Kind::Pivot, Kind::Retriable].map(Kind::as_str);
        assert_eq!(kinds, ["start", "compensatable", "pivot", "retriable"]);
        assert_eq!(ErrorKind::NAMES, ["rejected", "unavailable", "failed", "timed_out", "unsupported"]);
        assert_eq!(ErrorKind::TimedOut.as_str(), "timed_out");
        assert_eq!(Action::NAMES, ["retry", "skip", "compensate", "resume", "hand-over"]);
        assert_eq!(Action::ALL.map(Action::as_str), ["retry", "resume", "skip", "compensate", "hand-over"]);
        let states =
            ["running", "waiting", "compensating", "needs_attention", "completed", "compensated", "handed_over"];
        assert_eq!(SagaState::NAMES, states);
        assert_eq!(SagaState::NeedsAttention.as_str(), "needs_attention");
        let statuses = [LegStatus::Open, LegStatus::Succeeded, LegStatus::Failed, LegStatus::Stuck];
        assert_eq!(statuses.map(LegStatus::as_str), ["open", "succeeded", "failed", "stuck"]);
        let ways = [Way::Compensate, Way::HandOver, Way::Attention].map(Way::as_str);
        assert_eq!(ways, ["compensate", "hand_over", "attention"]);
    }

    #[test]
    fn an_action_is_found_by_its_name_and_by_no_other_spelling() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
        for other in ["", "Retry", "hand_over", "HandOver"] {
            assert!(other.parse::<Action>().is_err(), "{other}");
        }
    }
}
