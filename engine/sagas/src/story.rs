//! What the sagas of an application are about: the types that stand in their stored events.

use std::fmt::{Debug, Display};
use std::hash::Hash;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// What stored events may consist of.
pub trait Stored:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
}

impl<T: Clone + Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static> Stored for T {}

/// The types of an application that stand in the stored events of its sagas. An empty type implements it.
pub trait Story: Copy + Debug + Default + Eq + Hash + Send + Sync + 'static {
    /// What a saga is about. A struct with one field: its name and value stand in the first event of each saga.
    type Subject: Subject;
    /// What a saga knows from its start on, frozen in its first event.
    type Facts: Stored + From<Self::Handover>;
    /// What a saga that takes over from another one needs to know.
    type Handover: Stored;
    /// What a fact from outside means to a saga that it does not carry a step further.
    type Note: Note;
    /// Who brings the facts that steps wait for.
    type Party: Party;

    /// What people call a subject, such as `booking`.
    const NOUN: &'static str;

    /// What a saga with these facts is about.
    fn subject(facts: &Self::Facts) -> Self::Subject;
}

/// What a saga is about. All sagas of one subject meet one worker, which takes their inputs in one after the other.
pub trait Subject: Stored + Copy + Default + Eq + Ord + Hash + Display {
    /// The id of the subject.
    fn id(&self) -> Uuid;
}

/// A note about a fact from outside. Three of them the engine makes itself; the others are the application's.
pub trait Note: Stored + Copy + Eq + Hash {
    /// The step's effect is gone, or never was: there is nothing left to undo.
    const NOTHING_LEFT: Self;
    /// The fact that a step will wait for is there before the step began.
    const CAME_EARLY: Self;
    /// The compensation failed once; it is tried again.
    const UNDO_FAILED: Self;
    /// The notes that say that something holds a saga up, and that it does not any more.
    const HOLD: Option<HoldNotes<Self>> = None;
}

/// The two notes of a hold. There may be several holds at a time, each with the reason that is the detail of its notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldNotes<N> {
    /// It is held.
    pub held: N,
    /// The hold with this reason was released; without a reason, all holds.
    pub released: N,
    /// The reason of a hold that is noted about a step, without a detail.
    pub of_step: &'static str,
}

/// Who must do something before a step can end.
pub trait Party: Stored + Copy + Eq {
    /// Whether this party was asked for something and is asked again when the step's commands are sent again: such
    /// commands stay pending until the fact comes. Other parties act when they want to.
    fn is_asked(self) -> bool;

    /// The party as it is shown to people.
    fn as_str(self) -> &'static str;
}
