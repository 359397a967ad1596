//! A saga's definition: a table of steps as data, and the few functions that only make sense beside it.
//!
//! *Invariant:* the engine knows no saga by name. What is special about one stands in its table.

use std::fmt;

use crate::parts::{Failure, Kind};
use eventsourcing::Timestamp;
use uuid::Uuid;

use crate::engine::{Leg, State};
use crate::ids;
use crate::process::{Commands, HandoverOf, NoteOf, PartyOf, Process, SettingsOf, Time as _, TimeOf};

/// What the functions of a row may know. All of it follows from the saga's events and the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Ctx<'a, P: Process> {
    /// The saga as it stands.
    pub state: &'a State<P>,
    /// What the operator has set.
    pub config: &'a SettingsOf<P>,
    /// The row.
    pub step: &'static str,
    /// The attempt group that is done or undone.
    pub group: u32,
    /// `do`, `undo`, `undo.1` …, as it stands in command ids.
    pub direction: &'a str,
    /// On the way back: what the try before was refused with.
    pub refused: Option<&'a str>,
}

impl<P: Process> Ctx<'_, P> {
    /// The id that this attempt's command for `target` has.
    pub fn command_id(&self, target: &str) -> Uuid {
        ids::command(&P::IDS, &self.state.stream, self.step, self.direction, self.group, target)
    }
}

/// A fact from outside that must follow a step's commands.
#[derive(Debug, Clone, Copy)]
pub struct Awaited<P: Process> {
    /// The name of the fact.
    pub fact: &'static str,
    /// Who brings it. What a party owes that is asked keeps the command pending; what others owe does not.
    pub from: PartyOf<P>,
    /// Whether this time nothing is awaited.
    pub unless: fn(&Ctx<P>) -> bool,
    /// Whether silence ends it after a while: only where the step after it asks for the fact itself, and is refused
    /// without it. Everywhere else what has not been heard may be on its way, however long that takes.
    pub silence_ends: bool,
}

impl<P: Process> Awaited<P> {
    /// One that only its fact ends.
    pub const fn heard(fact: &'static str, from: PartyOf<P>, unless: fn(&Ctx<P>) -> bool) -> Self {
        Self { fact, from, unless, silence_ends: false }
    }
}

/// The way back of a step.
#[derive(Debug, Clone, Copy)]
pub enum Undo<P: Process> {
    /// There is nothing to undo, on purpose.
    Nothing,
    /// These commands undo one attempt group. After a refusal they may be others (`Ctx::refused`); the same ones
    /// again mean that a person must look, and none that the refusal says that nothing is left to undo.
    Send(fn(&Ctx<P>) -> Commands<P>, Option<Awaited<P>>),
}

impl<P: Process> Undo<P> {
    /// These commands undo it; the answers to them are all that is waited for.
    pub const fn by(sends: fn(&Ctx<P>) -> Commands<P>) -> Option<Self> {
        Some(Self::Send(sends, None))
    }

    /// These commands undo it, and a fact from outside says that they have.
    pub const fn awaiting(sends: fn(&Ctx<P>) -> Commands<P>, fact: Awaited<P>) -> Option<Self> {
        Some(Self::Send(sends, Some(fact)))
    }
}

/// When a step has taken too long, and what then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit<T> {
    /// It may take for ever.
    Never,
    /// It fails with this reason.
    Fail(T, &'static str),
    /// A person is called; it goes on waiting.
    Alert(T),
    /// A person is called this long before what was gained lapses.
    AlertBeforeLapse(T),
}

/// What a refusal of a step's command, or an outcome that says no, means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The step has failed: the saga goes back, with this reason.
    Fail(&'static str),
    /// Try the row's `redo` first; when that is used up, as `Fail`.
    Redo(&'static str),
    /// Another saga must take over, with this reason.
    HandOver(&'static str),
    /// A person must look.
    Attention,
    /// A person must look, and it is certain that the step has done nothing: a saga whose pivot stands still for this
    /// can still go back, and has nothing to hand over.
    DidNothing,
    /// The refusal says that what the step is for is so already: the step is done. Only for a step that sends one command.
    AlreadySo,
}

/// Keeping alive what a step did, until another one has begun.
#[derive(Debug, Clone, Copy)]
pub struct Keep<P: Process> {
    /// How often.
    pub every: TimeOf<P>,
    /// What is sent.
    pub sends: fn(&Ctx<P>) -> Commands<P>,
    /// The step whose beginning ends it.
    pub until: &'static str,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Step<P: Process> {
    /// Its name, in ids and for people.
    pub name: &'static str,
    /// What it is to the saga.
    pub kind: Kind,
    /// What must have succeeded before.
    pub after: &'static [&'static str],
    /// What is sent, one command a target. Nothing sent and nothing awaited: the step is silently done.
    pub sends: fn(&Ctx<P>) -> Commands<P>,
    /// What must follow.
    pub awaits: Option<Awaited<P>>,
    /// The way back; `None` only from the pivot on.
    pub undo: Option<Undo<P>>,
    /// When its commands are sent again if nothing was heard.
    pub within: TimeOf<P>,
    /// When it has taken too long.
    pub limit: Limit<TimeOf<P>>,
    /// How often it is sent at least before a person is called because there is no answer. It goes on trying without
    /// end: only an answer can fail a step.
    pub tries: u32,
    /// On `Meaning::Redo`: the step that gets its next attempt group, and how many it may get.
    pub redo: Option<(&'static str, u32)>,
    /// What a refusal or a bad outcome means.
    pub means: fn(&Failure) -> Meaning,
    /// What keeps it alive.
    pub keep: Option<Keep<P>>,
}

/// Tries without an answer after which a person may be called; the saga goes on trying.
const TRIES: u32 = 5;

impl<P: Process> Step<P> {
    /// A step that can be undone. A table sets what differs; a row that says nothing of its `undo` is refused at start.
    pub const COMPENSATABLE: Self = Self {
        name: "",
        kind: Kind::Compensatable,
        after: &[],
        sends: sends_nothing,
        awaits: None,
        undo: None,
        within: TimeOf::<P>::COMMAND,
        limit: Limit::Never,
        tries: TRIES,
        redo: None,
        means: |_| Meaning::Attention,
        keep: None,
    };
    /// What began the saga.
    pub const START: Self = Self { name: "start", kind: Kind::Start, ..Self::COMPENSATABLE };
    /// The point of no return.
    pub const PIVOT: Self = Self { kind: Kind::Pivot, ..Self::COMPENSATABLE };
    /// A step after the pivot, or of a saga that only goes forward.
    pub const RETRIABLE: Self = Self { kind: Kind::Retriable, ..Self::COMPENSATABLE };
}

/// What a fact from outside means to a saga.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard<N> {
    /// An attempt group of a step has succeeded; what it gained lapses at some time.
    Succeeded(&'static str, u32, Option<Timestamp>),
    /// It has failed and left nothing to undo; or, where it is done already: what it did is gone.
    Failed(&'static str, u32, Failure),
    /// Undoing it did not work this time.
    UndoFailed(&'static str, u32, Failure),
    /// Undoing it was done in part only: a person must look, and nothing more is asked for until then.
    UndoFellShort(&'static str, u32, Failure),
    /// To be remembered.
    Noted(N, Option<(&'static str, u32)>, Option<String>),
}

/// A saga: its table, and what it makes of the outside.
#[derive(Debug, Clone, Copy)]
pub struct Definition<P: Process> {
    /// Its type.
    pub name: &'static str,
    /// Its version: another table is another version, and old ones stay while sagas follow them.
    pub version: u32,
    /// The events it starts on.
    pub starts_on: &'static [&'static str],
    /// The table.
    pub steps: &'static [Step<P>],
    /// What a fact from outside means.
    pub hears: Hears<P>,
    /// Whether the saga must not go on, and why: before the pivot it goes back, after it it hands over.
    pub stops: fn(&State<P>) -> Option<&'static str>,
    /// To whom it hands over, and with what.
    pub hands_over: Option<HandsOver<P>>,
    /// What people may decide about it.
    pub people: People<P>,
}

/// What people may decide about a saga. It stands beside the table: the saga does nothing of it by itself.
#[derive(Debug, Clone, Copy)]
pub struct People<P: Process> {
    /// Whether what needs a person may count as done because somebody did it outside: what that leaves, or why not.
    pub skips: fn(&State<P>, &Leg<P>) -> Result<&'static str, &'static str>,
    /// Why no other saga can take over any more, although the pivot is behind it.
    pub keeps: fn(&State<P>) -> Option<&'static str>,
}

impl<P: Process> People<P> {
    /// Nothing counts as done that the saga did not do.
    pub const SKIP_NOTHING: Self =
        Self { skips: |_, _| Err("what this saga does cannot be done outside"), keeps: |_| None };
}

/// From the state and the reason to the other saga's type and what it needs to know.
pub type HandsOver<P> = fn(&State<P>, &'static str) -> (&'static str, HandoverOf<P>);

/// From the state and a fact from outside to what the fact means.
pub type Hears<P> = fn(&State<P>, &<P as Process>::Outside) -> Vec<Heard<NoteOf<P>>>;

/// Why a definition is refused at start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Nothing says how to undo a step that may have to be undone.
    #[error(
        "saga `{saga}`: step `{step}` is compensatable and lacks its compensation; give it one, or `Undo::Nothing`"
    )]
    NoUndo {
        /// The saga.
        saga: &'static str,
        /// The step.
        step: &'static str,
    },
    /// A step that is only tried forward, at a place from where the saga may still go back.
    #[error("saga `{saga}`: step `{step}` is retriable and does not come after the pivot `{pivot}`")]
    RetriableBeforePivot {
        /// The saga.
        saga: &'static str,
        /// The step.
        step: &'static str,
        /// The pivot.
        pivot: &'static str,
    },
    /// A step that would have to be undone at a place from where there is no way back.
    #[error("saga `{saga}`: step `{step}` is compensatable and comes after the pivot `{pivot}`")]
    CompensatableAfterPivot {
        /// The saga.
        saga: &'static str,
        /// The step.
        step: &'static str,
        /// The pivot.
        pivot: &'static str,
    },
    /// A name that no row above bears.
    #[error("saga `{saga}`: step `{step}` names `{unknown}`, which is no step before it")]
    UnknownStep {
        /// The saga.
        saga: &'static str,
        /// The step.
        step: &'static str,
        /// The name.
        unknown: &'static str,
    },
    /// Two points of no return.
    #[error("saga `{saga}` has two pivots, `{first}` and `{second}`")]
    TwoPivots {
        /// The saga.
        saga: &'static str,
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// Two rows of one name.
    #[error("saga `{saga}` has two steps named `{step}`")]
    SameName {
        /// The saga.
        saga: &'static str,
        /// The name.
        step: &'static str,
    },
}

impl<P: Process> Definition<P> {
    /// The row of this name.
    pub fn step(&self, name: &str) -> Option<&'static Step<P>> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The pivot, if there is one.
    pub fn pivot(&self) -> Option<&'static Step<P>> {
        self.steps.iter().find(|step| step.kind == Kind::Pivot)
    }

    /// Whether `step` comes after the pivot (or there is none, and the saga only goes forward).
    pub fn forward_only(&self, step: &Step<P>) -> bool {
        match step.kind {
            Kind::Retriable => true,
            Kind::Start | Kind::Compensatable | Kind::Pivot => false,
        }
    }

    /// Checks that the table can be followed, both ways.
    ///
    /// # Errors
    /// [`DefinitionError`], naming the saga and the row.
    pub fn validate(&self) -> Result<(), DefinitionError> {
        let saga = self.name;
        let pivot = self.pivot();
        for (at, step) in self.steps.iter().enumerate() {
            let before = &self.steps[..at];
            let known = |name: &str| before.iter().any(|other| other.name == name);
            if known(step.name) {
                return Err(DefinitionError::SameName { saga, step: step.name });
            }
            let named = step.after.iter().copied().chain(step.redo.map(|(name, _)| name));
            if let Some(unknown) = named.into_iter().find(|name| !known(name)) {
                return Err(DefinitionError::UnknownStep { saga, step: step.name, unknown });
            }
            if let Some(keep) = step.keep.filter(|keep| self.step(keep.until).is_none()) {
                return Err(DefinitionError::UnknownStep { saga, step: step.name, unknown: keep.until });
            }
            let after_pivot = pivot.is_some_and(|pivot| self.comes_after(step, pivot.name));
            match (step.kind, pivot) {
                (Kind::Start | Kind::Compensatable, _) if step.undo.is_none() => {
                    return Err(DefinitionError::NoUndo { saga, step: step.name });
                }
                (Kind::Start | Kind::Compensatable, Some(pivot)) if after_pivot => {
                    return Err(DefinitionError::CompensatableAfterPivot { saga, step: step.name, pivot: pivot.name });
                }
                (Kind::Pivot, Some(first)) if first.name != step.name => {
                    return Err(DefinitionError::TwoPivots { saga, first: first.name, second: step.name });
                }
                (Kind::Retriable, Some(pivot)) if !after_pivot => {
                    return Err(DefinitionError::RetriableBeforePivot { saga, step: step.name, pivot: pivot.name });
                }
                (Kind::Start | Kind::Compensatable | Kind::Pivot | Kind::Retriable, _) => {}
            }
        }
        Ok(())
    }

    fn comes_after(&self, step: &Step<P>, other: &str) -> bool {
        step.after.iter().any(|name| *name == other || self.step(name).is_some_and(|s| self.comes_after(s, other)))
    }

    /// The table as text. A test compares it with the golden file of this version: another table needs another version.
    pub fn fingerprint(&self) -> String {
        let mut text = format!("{} v{} starts on {}\n", self.name, self.version, self.starts_on.join(", "));
        for step in self.steps {
            text.push_str(&step.to_string());
            text.push('\n');
        }
        text
    }
}

impl<P: Process> fmt::Display for Step<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} after=[{}]", self.name, self.kind, self.after.join(","))?;
        if let Some(awaits) = self.awaits {
            write!(f, " awaits={}/{:?}", awaits.fact, awaits.from)?;
        }
        match self.undo {
            None => write!(f, " undo=none")?,
            Some(Undo::Nothing) => write!(f, " undo=nothing")?,
            Some(Undo::Send(_, None)) => write!(f, " undo=sends")?,
            Some(Undo::Send(_, Some(awaits))) => write!(f, " undo=sends/awaits={}", awaits.fact)?,
        }
        write!(f, " within={:?} limit={:?} tries={}", self.within, self.limit, self.tries)?;
        if let Some((step, max)) = self.redo {
            write!(f, " redo={step}x{max}")?;
        }
        if let Some(keep) = self.keep {
            write!(f, " keep={:?}/until={}", keep.every, keep.until)?;
        }
        Ok(())
    }
}

/// Nothing is sent.
pub fn sends_nothing<P: Process>(_: &Ctx<P>) -> Commands<P> {
    Vec::new()
}

/// It is always awaited.
pub fn always<P: Process>(_: &Ctx<P>) -> bool {
    false
}
