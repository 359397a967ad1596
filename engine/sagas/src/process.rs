//! What the sagas of a program are made of: one type says it, and the engine is compiled for that type.

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
    /// The types that stand in stored events.
    type Story: Story;
    /// A command that steps send. Its JSON is stored, and is sent as it was stored.
    type Command: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// A fact from outside, read from an event of the log.
    type Outside: Clone + Debug + PartialEq + Send + Sync + 'static;
    /// What an operator has set.
    type Settings: Settings;

    /// All definitions, every version that active sagas may still follow.
    const DEFINITIONS: &'static [&'static Definition<Self>];
    /// The namespace of the ids of commands and events. It never changes.
    const IDS: Namespace;
    /// What the category of each saga's stream begins with; the saga's type follows. It never changes.
    const CATEGORY_PREFIX: &'static str = "saga_";

    /// The id of the saga that begins with this event and these facts. Where a subject has at most one saga of the type
    /// that is the subject's id; otherwise it follows from the event, so that the event again finds the saga.
    fn saga_id(source: &Source, facts: &FactsOf<Self>) -> Uuid;

    /// The stream that a command is for.
    fn target(command: &Self::Command) -> String;

    /// The name of a command.
    fn command_name(command: &Self::Command) -> &'static str;

    /// What of a command cannot be undone, only made good. People read it in the plan of a saga.
    fn lasting(_command: &Self::Command) -> Option<&'static str> {
        None
    }

    /// The definition of this name and version.
    fn definition(name: &str, version: u32) -> Option<&'static Definition<Self>> {
        let mut all = Self::DEFINITIONS.iter().copied();
        all.find(|definition| definition.name == name && definition.version == version)
    }

    /// The newest definition of this name.
    fn newest(name: &str) -> Option<&'static Definition<Self>> {
        let named = Self::DEFINITIONS.iter().copied().filter(|definition| definition.name == name);
        named.max_by_key(|definition| definition.version)
    }

    /// The newest definition that starts on this type of event.
    fn started_by(event_type: &str) -> Option<&'static Definition<Self>> {
        let starts = |definition: &&'static Definition<Self>| definition.starts_on.contains(&event_type);
        Self::DEFINITIONS.iter().copied().filter(starts).max_by_key(|definition| definition.version)
    }

    /// The stream of a saga: `<prefix><type>-<id>`.
    fn stream(name: &str, id: impl Display) -> String {
        format!("{}{name}-{id}", Self::CATEGORY_PREFIX)
    }

    /// Checks all tables of steps.
    ///
    /// # Errors
    /// [`DefinitionError`] of the first that cannot be followed.
    fn validate() -> Result<(), DefinitionError> {
        Self::DEFINITIONS.iter().try_for_each(|definition| definition.validate())
    }
}

/// What an operator has set: how long things may take.
pub trait Settings: Clone + Debug + Send + Sync + 'static {
    /// The times that tables of steps name.
    type Time: Time;

    /// How long a time is.
    fn duration(&self, time: Self::Time) -> Duration;

    /// How long to wait between two tries.
    fn retry(&self) -> Retry;
}

/// A time that a table of steps names. The engine itself needs three of them.
pub trait Time: Copy + Debug + Eq + Send + Sync + 'static {
    /// Until a command counts as unanswered.
    const COMMAND: Self;
    /// Until a party that was asked to compensate is asked again.
    const CHECK: Self;
    /// Without an answer, until a person is called.
    const UNANSWERED: Self;
}

/// How long to wait between two tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The wait before the first retry; it doubles with each.
    pub base: Duration,
    /// The longest wait while the trouble is young.
    pub cap: Duration,
}

/// The stored types of a process.
pub type StoryOf<P> = <P as Process>::Story;
/// An event of a process's sagas.
pub type EventOf<P> = Event<StoryOf<P>>;
/// What a process's sagas know from their start on.
pub type FactsOf<P> = <StoryOf<P> as Story>::Facts;
/// What a saga of a process needs to know to take over.
pub type HandoverOf<P> = <StoryOf<P> as Story>::Handover;
/// What a process's sagas are about.
pub type SubjectOf<P> = <StoryOf<P> as Story>::Subject;
/// What a process's sagas note.
pub type NoteOf<P> = <StoryOf<P> as Story>::Note;
/// Who brings the facts that a process's steps wait for.
pub type PartyOf<P> = <StoryOf<P> as Story>::Party;
/// What an operator has set for a process.
pub type SettingsOf<P> = <P as Process>::Settings;
/// The times that a process's tables of steps name.
pub type TimeOf<P> = <SettingsOf<P> as Settings>::Time;
/// The commands of a step.
pub type Commands<P> = Vec<<P as Process>::Command>;
