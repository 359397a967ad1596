//! The parts of which the sagas of a program consist. One type names them, and the engine is compiled for that type.

use std::fmt::{Debug, Display};
use std::time::Duration;

use crate::events::Event;
use crate::parts::Source;
use crate::story::Story;
use eventsourcing::Namespace;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::definition::{Definition, DefinitionError};

/// The sagas of a program. An empty type implements it.
pub trait Process: Copy + Debug + Default + Eq + Send + Sync + 'static {
    /// The types that are stored in events.
    type Story: Story;
    /// A command that steps send. Its JSON is stored, and sent as it was stored.
    type Command: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// A fact from outside, read from an event of the log.
    type Outside: Clone + Debug + PartialEq + Send + Sync + 'static;
    /// The settings of the operator.
    type Settings: Settings;

    /// All definitions, every version that active sagas may still follow.
    const DEFINITIONS: &'static [&'static Definition<Self>];
    /// The namespace of the ids of commands and events. It never changes.
    const IDS: Namespace;
    /// The prefix of the category of each saga's stream; the saga's type follows. It never changes.
    const CATEGORY_PREFIX: &'static str = "saga_";

    /// The id of the saga that begins with this event and these facts. Where a subject has at most one saga of the
    /// type, it is the subject's id. Otherwise it is derived from the event, so that a repeat of the event finds the
    /// saga.
    fn saga_id(source: &Source, facts: &FactsOf<Self>) -> Uuid;

    /// The name of the stream that a command is for.
    fn target(command: &Self::Command) -> String;

    /// The name of a command.
    fn command_name(command: &Self::Command) -> &'static str;

    /// The effect of a command that cannot be undone, only made good. People read it in the plan of a saga. The default is none.
    fn lasting(_command: &Self::Command) -> Option<&'static str> {
        None
    }

    /// The definition with this name and version.
    fn definition(name: &str, version: u32) -> Option<&'static Definition<Self>> {
        let mut all = Self::DEFINITIONS.iter().copied();
        all.find(|definition| definition.name == name && definition.version == version)
    }

    /// The newest definition with this name.
    fn newest(name: &str) -> Option<&'static Definition<Self>> {
        let named = Self::DEFINITIONS.iter().copied().filter(|definition| definition.name == name);
        named.max_by_key(|definition| definition.version)
    }

    /// The newest definition that starts on this type of event.
    fn started_by(event_type: &str) -> Option<&'static Definition<Self>> {
        let starts = |definition: &&'static Definition<Self>| definition.starts_on.contains(&event_type);
        Self::DEFINITIONS.iter().copied().filter(starts).max_by_key(|definition| definition.version)
    }

    /// The name of a saga's stream: `<prefix><type>-<id>`.
    fn stream(name: &str, id: impl Display) -> String {
        format!("{}{name}-{id}", Self::CATEGORY_PREFIX)
    }

    /// Checks all tables of steps.
    ///
    /// # Errors
    /// [`DefinitionError`] of the first table that cannot be followed.
    fn validate() -> Result<(), DefinitionError> {
        Self::DEFINITIONS.iter().try_for_each(|definition| definition.validate())
    }
}

/// The settings of the operator: the durations of waits and time limits.
pub trait Settings: Clone + Debug + Send + Sync + 'static {
    /// The times that tables of steps name.
    type Time: Time;

    /// The duration of a time.
    fn duration(&self, time: Self::Time) -> Duration;

    /// The waits between two tries.
    fn retry(&self) -> Retry;
}

/// A time that a table of steps names. The engine itself needs three of them.
pub trait Time: Copy + Debug + Eq + Send + Sync + 'static {
    /// Time until a command counts as unanswered.
    const COMMAND: Self;
    /// Time until a party that was asked to compensate is asked again.
    const CHECK: Self;
    /// Time without an answer until the saga needs attention.
    const UNANSWERED: Self;
}

/// The waits between two tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The wait before the first retry; it doubles with each.
    pub base: Duration,
    /// The longest wait during the first while of a failure.
    pub cap: Duration,
}

/// The stored types of a process.
pub type StoryOf<P> = <P as Process>::Story;
/// An event of a process's sagas.
pub type EventOf<P> = Event<StoryOf<P>>;
/// The facts that a process's sagas start with.
pub type FactsOf<P> = <StoryOf<P> as Story>::Facts;
/// The facts that one saga of a process hands over to another.
pub type HandoverOf<P> = <StoryOf<P> as Story>::Handover;
/// The subject of a process's sagas.
pub type SubjectOf<P> = <StoryOf<P> as Story>::Subject;
/// The notes of a process's sagas.
pub type NoteOf<P> = <StoryOf<P> as Story>::Note;
/// The parties that bring the facts for which a process's steps wait.
pub type PartyOf<P> = <StoryOf<P> as Story>::Party;
/// The settings of a process.
pub type SettingsOf<P> = <P as Process>::Settings;
/// The times that a process's tables of steps name.
pub type TimeOf<P> = <SettingsOf<P> as Settings>::Time;
/// The commands of a step.
pub type Commands<P> = Vec<<P as Process>::Command>;
