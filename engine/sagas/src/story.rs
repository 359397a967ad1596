//! The types of an application that are stored in the events of its sagas.

use std::fmt::{Debug, Display};
use std::hash::Hash;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// The traits that a stored type needs.
pub trait Stored:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
}

impl<T: Clone + Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static> Stored for T {}

/// The types of an application that are stored in the events of its sagas. An empty type implements it.
pub trait Story: Copy + Debug + Default + Eq + Hash + Send + Sync + 'static {
    /// The subject of a saga. A struct with one field: its name and value are in the first event of each saga.
    type Subject: Subject;
    /// The facts that a saga starts with, frozen in its first event.
    type Facts: Stored + From<Self::Handover>;
    /// The facts that one saga hands over to another.
    type Handover: Stored;
    /// The meaning of a fact from outside that ends no step.
    type Note: Note;
    /// The party that brings a fact that steps wait for.
    type Party: Party;

    /// The noun for a subject, such as `booking`.
    const NOUN: &'static str;

    /// The subject of a saga with these facts.
    fn subject(facts: &Self::Facts) -> Self::Subject;
}

/// The subject of a saga. All sagas of one subject are worked on by one worker, which takes their inputs one after the
/// other.
pub trait Subject: Stored + Copy + Default + Eq + Ord + Hash + Display {
    /// The id of the subject.
    fn id(&self) -> Uuid;
}

/// A note about a fact from outside. Three notes are made by the engine itself; the others are the application's.
pub trait Note: Stored + Copy + Eq + Hash {
    /// The effect of the step is gone, or never was: there is nothing left to compensate.
    const NOTHING_LEFT: Self;
    /// The fact that a step will wait for arrived before the step began.
    const CAME_EARLY: Self;
    /// The compensation failed once; it is retried.
    const UNDO_FAILED: Self;
    /// The notes that say that a hold of the saga began or ended, if the application has holds.
    const HOLD: Option<HoldNotes<Self>> = None;
}

/// The two notes of a hold. A saga may have several holds at a time, each with the reason that is the detail of its
/// notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldNotes<N> {
    /// The note that a hold with this reason began.
    pub held: N,
    /// The hold with this reason was released; without a reason, all holds.
    pub released: N,
    /// The reason of a hold that is noted about a step, without a detail.
    pub of_step: &'static str,
}

/// The party that must act before a step can end.
pub trait Party: Stored + Copy + Eq {
    /// Whether this party was asked for something. It is asked again when the step's commands are sent again, so such
    /// commands stay pending until the fact comes. Other parties act when they want to.
    fn is_asked(self) -> bool;

    /// The party as it is shown to people.
    fn as_str(self) -> &'static str;
}
