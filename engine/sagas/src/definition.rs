//! The definition of a saga: a table of steps as data, and the few functions that belong to its rows.
//!
//! *Invariant:* the engine knows no saga by name. The peculiarities of a saga are in its table.

use std::fmt;

use crate::parts::{Failure, Kind};
use eventsourcing::Timestamp;
use uuid::Uuid;

use crate::engine::{Leg, State};
use crate::ids;
use crate::process::{Commands, HandoverOf, NoteOf, PartyOf, Process, SettingsOf, Time as _, TimeOf};

/// The context of a row's functions. All of it follows from the saga's events and the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Ctx<'a, P: Process> {
    /// The current state of the saga.
    pub state: &'a State<P>,
    /// The settings of the operator.
    pub config: &'a SettingsOf<P>,
    /// Name of the row's step.
    pub step: &'static str,
    /// Number of the step attempt that is carried out or compensated, from 0.
    pub group: u32,
    /// The direction as it is written in the ids of commands: `do`, `undo`, `undo.1` and so on.
    pub direction: &'a str,
    /// In a compensation: the code with which the try before was refused.
    pub refused: Option<&'a str>,
}

impl<P: Process> Ctx<'_, P> {
    /// Derives the id of this attempt's command for `target`.
    pub fn command_id(&self, target: &str) -> Uuid {
        ids::command(&P::IDS, &self.state.stream, self.step, self.direction, self.group, target)
    }
}

/// A fact from outside that must follow the commands of a step.
#[derive(Debug, Clone, Copy)]
pub struct Awaited<P: Process> {
    /// Name of the fact: the type of the event that brings it.
    pub fact: &'static str,
    /// The party that brings the fact. While a party that is asked owes it, the command stays pending; for other
    /// parties it does not.
    pub from: PartyOf<P>,
    /// Decides that in this case the fact is not awaited.
    pub unless: fn(&Ctx<P>) -> bool,
    /// Whether the wait ends by itself after a while. Set it only where the step after it asks for the fact itself, and
    /// is refused without it: everywhere else a fact that has not arrived may still come, however late.
    pub silence_ends: bool,
}

impl<P: Process> Awaited<P> {
    /// A fact whose wait ends only with the fact itself.
    pub const fn heard(fact: &'static str, from: PartyOf<P>, unless: fn(&Ctx<P>) -> bool) -> Self {
        Self { fact, from, unless, silence_ends: false }
    }
}

/// The compensation of a step.
#[derive(Debug, Clone, Copy)]
pub enum Undo<P: Process> {
    /// The step has no compensation, on purpose.
    Nothing,
    /// These commands compensate one step attempt. After a refusal (`Ctx::refused`) they may be other commands. The
    /// same commands again mean that a person must look; no commands mean that, by the refusal, nothing is left to
    /// compensate.
    Send(fn(&Ctx<P>) -> Commands<P>, Option<Awaited<P>>),
}

impl<P: Process> Undo<P> {
    /// A compensation that is complete when its commands are answered.
    pub const fn by(sends: fn(&Ctx<P>) -> Commands<P>) -> Option<Self> {
        Some(Self::Send(sends, None))
    }

    /// A compensation that is complete when its commands are answered and a fact from outside has come.
    pub const fn awaiting(sends: fn(&Ctx<P>) -> Commands<P>, fact: Awaited<P>) -> Option<Self> {
        Some(Self::Send(sends, Some(fact)))
    }
}

/// The time limit of a step, and what happens when it passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit<T> {
    /// The step may take for ever.
    Never,
    /// The step fails with this code of a reason.
    Fail(T, &'static str),
    /// The saga needs attention; the step keeps waiting.
    Alert(T),
    /// The saga needs attention this long before the effect of an earlier step lapses.
    AlertBeforeLapse(T),
}

/// The meaning of a refused command of a step, or of a bad outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The step has failed: the saga compensates, with this code of a reason.
    Fail(&'static str),
    /// The row's `redo` is tried first; when that is used up, the step has failed with this code of a reason.
    Redo(&'static str),
    /// Another saga must take over, with this code of a reason.
    HandOver(&'static str),
    /// A person must look.
    Attention,
    /// A person must look, and it is certain that the step has had no effect: a saga whose pivot stands still for this
    /// can still compensate, and has nothing to hand over.
    DidNothing,
    /// The refusal says that the effect of the step is there already: the step is done. Only for a step that sends one
    /// command.
    AlreadySo,
}

/// The renewal of a step's effect until another step has begun.
#[derive(Debug, Clone, Copy)]
pub struct Keep<P: Process> {
    /// Time between two renewals.
    pub every: TimeOf<P>,
    /// Makes the commands of a renewal.
    pub sends: fn(&Ctx<P>) -> Commands<P>,
    /// Name of the step whose beginning ends the renewals.
    pub until: &'static str,
}

/// A row of the table: one step of the saga.
#[derive(Debug, Clone, Copy)]
pub struct Step<P: Process> {
    /// Name of the step, in ids and for people.
    pub name: &'static str,
    /// Role of the step in the saga.
    pub kind: Kind,
    /// Names of the steps that must have succeeded before.
    pub after: &'static [&'static str],
    /// Makes the commands of the step, one for each target. A step without commands and without an awaited fact is done
    /// at once, without an event.
    pub sends: fn(&Ctx<P>) -> Commands<P>,
    /// The fact from outside that must follow.
    pub awaits: Option<Awaited<P>>,
    /// The compensation of the step; `None` only from the pivot on.
    pub undo: Option<Undo<P>>,
    /// Time after which the commands are sent again if nothing was heard.
    pub within: TimeOf<P>,
    /// The time limit of the step.
    pub limit: Limit<TimeOf<P>>,
    /// Least number of tries without an answer before the saga needs attention. The retries do not end: only an answer
    /// can fail a step.
    pub tries: u32,
    /// On `Meaning::Redo`: the step that gets another attempt, and how many further attempts it may get.
    pub redo: Option<(&'static str, u32)>,
    /// Decides the meaning of a refusal or a bad outcome.
    pub means: fn(&Failure) -> Meaning,
    /// The renewal of the step's effect, if it would lapse.
    pub keep: Option<Keep<P>>,
}

/// Tries without an answer after which a saga may need attention; the saga goes on trying.
const TRIES: u32 = 5;

impl<P: Process> Step<P> {
    /// A step that can be compensated. A table sets what differs. A row that does not set its `undo` is refused at
    /// start.
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
    /// The event that began the saga, as a row of the table.
    pub const START: Self = Self { name: "start", kind: Kind::Start, ..Self::COMPENSATABLE };
    /// The point of no return.
    pub const PIVOT: Self = Self { kind: Kind::Pivot, ..Self::COMPENSATABLE };
    /// A step after the pivot, or of a saga that only goes forward.
    pub const RETRIABLE: Self = Self { kind: Kind::Retriable, ..Self::COMPENSATABLE };
}

/// The meaning of a fact from outside to a saga.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard<N> {
    /// A step attempt has succeeded; its effect lapses at the given time, if there is one.
    Succeeded(&'static str, u32, Option<Timestamp>),
    /// A step attempt has failed and left nothing to compensate. Where the step was done already, its effect is gone.
    Failed(&'static str, u32, Failure),
    /// The compensation of a step attempt failed this time.
    UndoFailed(&'static str, u32, Failure),
    /// The compensation was done only in part: a person must look, and nothing more is asked for until then.
    UndoFellShort(&'static str, u32, Failure),
    /// The fact is noted, about the saga or a step attempt, with a detail for people.
    Noted(N, Option<(&'static str, u32)>, Option<String>),
}

/// The definition of a saga: its table of steps, and the meaning of the outside to it.
#[derive(Debug, Clone, Copy)]
pub struct Definition<P: Process> {
    /// Type of the saga, which is a part of its stream's name.
    pub name: &'static str,
    /// Version of the table: a changed table is another version, and old versions stay while sagas follow them.
    pub version: u32,
    /// Types of the events that start the saga.
    pub starts_on: &'static [&'static str],
    /// The rows of the table, each after those that it depends on.
    pub steps: &'static [Step<P>],
    /// Decides the meaning of a fact from outside.
    pub hears: Hears<P>,
    /// The code of a reason for which the saga must not go on: it then compensates before the pivot, and hands over
    /// after it.
    pub stops: fn(&State<P>) -> Option<&'static str>,
    /// The saga that takes over, and the facts that it starts with.
    pub hands_over: Option<HandsOver<P>>,
    /// The decisions that people may take about the saga.
    pub people: People<P>,
}

/// The decisions that people may take about a saga. They are not in the table, because the saga takes none of them by
/// itself.
#[derive(Debug, Clone, Copy)]
pub struct People<P: Process> {
    /// Whether a step that needs attention may count as done because a person did it outside of the system: the effect
    /// in words, or the reason why not.
    pub skips: fn(&State<P>, &Leg<P>) -> Result<&'static str, &'static str>,
    /// The reason why no other saga can take over any more, although the pivot has passed.
    pub keeps: fn(&State<P>) -> Option<&'static str>,
}

impl<P: Process> People<P> {
    /// No step counts as done that the saga did not do.
    pub const SKIP_NOTHING: Self =
        Self { skips: |_, _| Err("what this saga does cannot be done outside"), keeps: |_| None };
}

/// A function from the state and the reason to the other saga's type and the facts that it starts with.
pub type HandsOver<P> = fn(&State<P>, &'static str) -> (&'static str, HandoverOf<P>);

/// A function from the state and a fact from outside to the meaning of the fact.
pub type Hears<P> = fn(&State<P>, &<P as Process>::Outside) -> Vec<Heard<NoteOf<P>>>;

/// The reason why a definition is refused at start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// A step may have to be compensated and does not say how.
    #[error(
        "saga `{saga}`: step `{step}` is compensatable and lacks its compensation; give it one, or `Undo::Nothing`"
    )]
    NoUndo {
        /// Type of the saga.
        saga: &'static str,
        /// Name of the step.
        step: &'static str,
    },
    /// A step that is only tried forward comes before the pivot, where the saga may still be compensated.
    #[error("saga `{saga}`: step `{step}` is retriable and does not come after the pivot `{pivot}`")]
    RetriableBeforePivot {
        /// Type of the saga.
        saga: &'static str,
        /// Name of the step.
        step: &'static str,
        /// Name of the pivot.
        pivot: &'static str,
    },
    /// A step that would have to be compensated comes after the pivot, where the saga is not compensated any more.
    #[error("saga `{saga}`: step `{step}` is compensatable and comes after the pivot `{pivot}`")]
    CompensatableAfterPivot {
        /// Type of the saga.
        saga: &'static str,
        /// Name of the step.
        step: &'static str,
        /// Name of the pivot.
        pivot: &'static str,
    },
    /// A row names a step that no row above it has.
    #[error("saga `{saga}`: step `{step}` names `{unknown}`, which is no step before it")]
    UnknownStep {
        /// Type of the saga.
        saga: &'static str,
        /// Name of the step.
        step: &'static str,
        /// The unknown name.
        unknown: &'static str,
    },
    /// The table has two pivots.
    #[error("saga `{saga}` has two pivots, `{first}` and `{second}`")]
    TwoPivots {
        /// Type of the saga.
        saga: &'static str,
        /// Name of the first pivot.
        first: &'static str,
        /// Name of the second pivot.
        second: &'static str,
    },
    /// Two rows have the same name.
    #[error("saga `{saga}` has two steps named `{step}`")]
    SameName {
        /// Type of the saga.
        saga: &'static str,
        /// The name that occurs twice.
        step: &'static str,
    },
}

impl<P: Process> Definition<P> {
    /// The row with this name.
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

    /// Checks that the table can be followed, forward and in compensation.
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

    /// Writes the table as text. A test compares it with the golden file of this version: a changed table needs another
    /// version.
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

/// Makes no commands, for a step that sends none.
pub fn sends_nothing<P: Process>(_: &Ctx<P>) -> Commands<P> {
    Vec::new()
}

/// The fact is always awaited: an `unless` that never holds.
pub fn always<P: Process>(_: &Ctx<P>) -> bool {
    false
}
