//! The actions of operators on one saga, judged like every other input by the state alone.
//!
//! *Invariant:* an action that would break a rule of the saga is refused with the reason and leaves no trace. An
//! accepted action is one append: who did what and why, followed by the events that result.

use crate::events::{Event, OperatorActed, StepFailed, UndoSucceeded};
use crate::parts::{Action, Direction, ErrorKind, Failure, Kind};
use crate::story::Party as _;
use crate::view::LegStatus;
use eventsourcing::Timestamp;
use uuid::Uuid;

use super::back::undo_direction;
use super::react::Draft;
use super::state::{Leg, State};
use crate::definition::Undo;
use crate::process::{EventOf, Process, Settings as _, SettingsOf};

/// The code of the reason for which a saga compensates or hands over when an operator decided it.
pub const OPERATOR: &str = "operator";

/// An action that an operator requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// The action that is requested.
    pub action: Action,
    /// The operator who requests it.
    pub actor: String,
    /// The reason that the operator gives.
    pub reason: String,
    /// Name of the step, needed if several could be meant.
    pub step: Option<String>,
    /// Id of the request; a repeat of it changes nothing.
    pub request_id: Uuid,
}

/// The reason why an action is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The saga has ended.
    #[error("the saga has ended; nothing of it moves any more")]
    Ended,
    /// This program does not have the definition that the saga follows.
    #[error(
        "this program does not know version {version} of the saga `{saga}`, or not all of its events; run the release that does"
    )]
    Unknown {
        /// Type of the saga.
        saga: String,
        /// Version of its definition.
        version: u32,
    },
    /// The saga could not be followed for a while, and now it can.
    #[error("no program could follow the saga for a while; resume it, and look how it stands then")]
    ResumeFirst,
    /// No step is open, and none stands still.
    #[error("no step is on its way, and none stands still")]
    NothingOpen,
    /// The named step is not open.
    #[error("`{step}` is neither on its way nor does it stand still; {there} is")]
    NotThere {
        /// Name of the step in the request.
        step: String,
        /// Names of the open steps.
        there: String,
    },
    /// Several steps could be meant.
    #[error("several steps could be meant, {0}; name one")]
    Several(String),
    /// There is no command that could be sent again.
    #[error("`{step}` has nothing to send: it waits for {awaits}")]
    NothingToSend {
        /// Name of the step.
        step: &'static str,
        /// The fact that it waits for.
        awaits: String,
    },
    /// Sending the command again would not bring the awaited fact.
    #[error("what `{step}` sent is done, and {awaits} can no longer come ({failure})")]
    CannotCome {
        /// Name of the step.
        step: &'static str,
        /// The fact that it waited for.
        awaits: String,
        /// The failure that came instead.
        failure: String,
    },
    /// The step does not need attention: it goes on by itself.
    #[error("no person was called for `{0}`: it goes on by itself")]
    NotCalled(&'static str),
    /// The step does not go on by itself.
    #[error("`{0}` stands still: there is nothing it could go on waiting for")]
    StandsStill(&'static str),
    /// Skipping the step would break a rule.
    #[error("{what} cannot count as done: {why}")]
    NotSkipped {
        /// Name of the step, or of its compensation.
        what: String,
        /// The rule that skipping would break.
        why: &'static str,
    },
    /// The saga is being compensated already.
    #[error("the saga already goes back ({0})")]
    GoesBack(String),
    /// The saga has no step that could be compensated.
    #[error("this saga only goes forward")]
    ForwardOnly,
    /// The outcome of the pivot is unknown.
    #[error("the outcome of `{0}` is not known: until it is, nothing can be decided")]
    PivotOpen(&'static str),
    /// The pivot has succeeded, so the saga cannot be compensated.
    #[error("`{0}` is done: there is no way back any more, only handing over")]
    AfterPivot(&'static str),
    /// The pivot has not succeeded, so there is nothing to hand over.
    #[error("`{0}` is not done: there is nothing to take back yet, the saga itself can go back")]
    BeforePivot(&'static str),
    /// The saga's definition names no saga to hand over to.
    #[error("no other saga could take over from this one")]
    NobodyTakesOver,
    /// A compensation is under way that no saga would finish.
    #[error("`{0}` is being undone, which would be nobody's any more")]
    Undoing(&'static str),
    /// No other saga can take over any more.
    #[error("{0}")]
    TooLate(&'static str),
}

/// Decides which events follow from an operator's action. The first of them records the action.
///
/// # Errors
/// [`Refusal`]: it would break a rule, or change nothing.
pub fn act<P: Process>(
    state: &State<P>,
    asked: &Act,
    now: Timestamp,
    config: &SettingsOf<P>,
) -> Result<Vec<EventOf<P>>, Refusal> {
    if state.ended {
        return Err(Refusal::Ended);
    }
    let Some(definition) = state.definition else {
        let (saga, version) = state.follows.clone();
        return Err(Refusal::Unknown { saga, version });
    };
    let mut draft = Draft::new(state.clone(), definition, now, config);
    if state.unsupported.is_some() {
        if asked.action != Action::Resume {
            return Err(Refusal::ResumeFirst);
        }
        draft.acted(asked, None, None);
        draft.advance();
        return Ok(draft.events);
    }
    match asked.action {
        Action::Retry => draft.try_anew(asked)?,
        Action::Skip => draft.skip(asked)?,
        Action::Compensate => draft.go_back(asked)?,
        Action::Resume => draft.resume(asked)?,
        Action::HandOver => draft.give_away(asked)?,
    }
    Ok(draft.events)
}

/// The actions that an operator could take now without naming a step.
pub fn fits<P: Process>(state: &State<P>, now: Timestamp, config: &SettingsOf<P>) -> Vec<Action> {
    let asked =
        |action| Act { action, actor: String::new(), reason: String::new(), step: None, request_id: Uuid::nil() };
    Action::ALL.into_iter().filter(|action| act(state, &asked(*action), now, config).is_ok()).collect()
}

impl<P: Process> Draft<'_, P> {
    fn acted(&mut self, asked: &Act, leg: Option<&Leg<P>>, deadline: Option<Timestamp>) {
        self.emit(Event::OperatorActed(OperatorActed {
            action: asked.action,
            actor: asked.actor.clone(),
            reason: asked.reason.clone(),
            step: leg.map(|leg| leg.step.name.to_owned()),
            group: leg.map(|leg| leg.group),
            direction: leg.map(|leg| leg.direction),
            deadline,
            request_id: asked.request_id,
        }));
    }

    /// Gives a step that stands still a new attempt, or its compensation a new round, with new requests. The commands
    /// of an open step are sent again unchanged.
    fn try_anew(&mut self, asked: &Act) -> Result<(), Refusal> {
        let leg = chosen(&self.state, asked)?;
        if leg.status == LegStatus::Open {
            let open = leg.commands.iter().any(|(_, answer)| answer.is_none()) || leg.awaits_asked();
            if !open || leg.commands.is_empty() {
                return Err(Refusal::NothingToSend { step: leg.step.name, awaits: awaits(&leg) });
            }
            self.acted(asked, Some(&leg), self.called_again_at(&leg));
            let leg = self.open(leg.step.name, leg.group, leg.direction).unwrap_or(leg);
            self.send_again(&leg);
            return Ok(());
        }
        match leg.direction {
            Direction::Undo => self.undo_anew(asked, &leg),
            Direction::Do | Direction::Renew => self.do_anew(asked, &leg),
        }
    }

    fn undo_anew(&mut self, asked: &Act, leg: &Leg<P>) -> Result<(), Refusal> {
        let nothing = || Refusal::NothingToSend { step: leg.step.name, awaits: awaits(leg) };
        let Some(Undo::Send(sends, undone)) = leg.step.undo else { return Err(nothing()) };
        let round = leg.round + 1;
        let direction = undo_direction(round);
        let refused = leg.failure.as_ref().filter(|failure| failure.kind == ErrorKind::Rejected);
        let refused = refused.map(|failure| failure.code.as_str());
        let commands = sends(&self.ctx(leg.step, leg.group, &direction, refused));
        // A compensation that was refused because nothing was left to undo starts from the beginning.
        let anew = || sends(&self.ctx(leg.step, leg.group, &direction, None));
        let commands = if commands.is_empty() && refused.is_some() { anew() } else { commands };
        if commands.is_empty() {
            return Err(nothing());
        }
        self.acted(asked, Some(leg), None);
        self.begin_undo((leg.step, leg.group, round), &direction, commands, undone, None);
        Ok(())
    }

    fn do_anew(&mut self, asked: &Act, leg: &Leg<P>) -> Result<(), Refusal> {
        let failure = leg.failure.clone().unwrap_or_else(|| Failure {
            kind: ErrorKind::Failed,
            code: "stood-still".to_owned(),
            detail: String::new(),
        });
        if leg.all_done() && !leg.commands.is_empty() && leg.awaits.is_some() && !leg.awaits_asked() {
            let failure = failure.to_string();
            return Err(Refusal::CannotCome { step: leg.step.name, awaits: awaits(leg), failure });
        }
        self.acted(asked, Some(leg), None);
        let (step, group) = (leg.step.name.to_owned(), leg.group);
        let (source, answers, leaves_nothing) = (None, Vec::new(), false);
        self.emit(Event::StepFailed(StepFailed { step, group, source, failure, answers, leaves_nothing }));
        if self.to_be_undone(leg.step, leg.group) {
            self.undo(leg.step, leg.group); // The effect of the last attempt is compensated meanwhile.
        }
        self.begin_step(leg.step, self.state.group_of(leg.step.name) + 1, false);
        Ok(())
    }

    fn skip(&mut self, asked: &Act) -> Result<(), Refusal> {
        let leg = chosen(&self.state, asked)?;
        (self.definition.people.skips)(&self.state, &leg)
            .map_err(|why| Refusal::NotSkipped { what: what(&leg), why })?;
        if leg.status == LegStatus::Open && !leg.alerted {
            return Err(Refusal::NotCalled(leg.step.name));
        }
        self.acted(asked, Some(&leg), None);
        match leg.direction {
            Direction::Undo => {
                let (step, group) = (leg.step.name.to_owned(), leg.group);
                self.emit(Event::UndoSucceeded(UndoSucceeded { step, group, source: None }));
            }
            Direction::Do | Direction::Renew => self.succeed(&leg, None, None),
        }
        self.advance();
        Ok(())
    }

    fn resume(&mut self, asked: &Act) -> Result<(), Refusal> {
        let leg = chosen(&self.state, asked)?;
        if leg.status == LegStatus::Stuck {
            return Err(Refusal::StandsStill(leg.step.name));
        }
        if !leg.alerted {
            return Err(Refusal::NotCalled(leg.step.name));
        }
        self.acted(asked, Some(&leg), self.called_again_at(&leg));
        Ok(())
    }

    /// When the saga needs attention again for the same problem: not at once, also where an effect has lapsed.
    fn called_again_at(&self, leg: &Leg<P>) -> Option<Timestamp> {
        let soonest = self.now + self.config.duration(leg.step.within);
        match leg.direction {
            Direction::Do if leg.alerted => self.deadline_of(leg.step).map(|at| at.max(soonest)),
            Direction::Do | Direction::Undo | Direction::Renew => None,
        }
    }

    fn go_back(&mut self, asked: &Act) -> Result<(), Refusal> {
        if !self.definition.steps.iter().any(|step| matches!(step.kind, Kind::Start | Kind::Compensatable)) {
            return Err(Refusal::ForwardOnly);
        }
        if let Some(reason) = &self.state.reason {
            return Err(Refusal::GoesBack(reason.clone()));
        }
        if let Some((pivot, status)) = self.pivot() {
            match status {
                Some(LegStatus::Open) => return Err(Refusal::PivotOpen(pivot)),
                Some(LegStatus::Succeeded) => return Err(Refusal::AfterPivot(pivot)),
                // A pivot that stands still has an outcome: its effect is compensated, too.
                Some(LegStatus::Failed | LegStatus::Stuck) | None => {}
            }
        }
        self.acted(asked, None, None);
        self.compensate(OPERATOR);
        Ok(())
    }

    fn give_away(&mut self, asked: &Act) -> Result<(), Refusal> {
        let Some((pivot, status)) = self.pivot().filter(|_| self.definition.hands_over.is_some()) else {
            return Err(Refusal::NobodyTakesOver);
        };
        if let Some(reason) = &self.state.reason {
            return Err(Refusal::GoesBack(reason.clone()));
        }
        match status {
            Some(LegStatus::Open) => return Err(Refusal::PivotOpen(pivot)),
            Some(LegStatus::Failed) | None => return Err(Refusal::BeforePivot(pivot)),
            Some(LegStatus::Stuck) if self.pivot_did_nothing() => return Err(Refusal::BeforePivot(pivot)),
            Some(LegStatus::Succeeded | LegStatus::Stuck) => {}
        }
        if let Some(why) = (self.definition.people.keeps)(&self.state) {
            return Err(Refusal::TooLate(why));
        }
        if let Some(leg) = self.undoing() {
            return Err(Refusal::Undoing(leg.step.name));
        }
        self.acted(asked, None, None);
        self.hand_over(OPERATOR);
        Ok(())
    }

    fn pivot(&self) -> Option<(&'static str, Option<LegStatus>)> {
        let pivot = self.definition.pivot()?;
        Some((pivot.name, self.state.latest(pivot.name).map(|leg| leg.status)))
    }
}

/// The step attempt that the operator means: one that stands still, else one that needs attention, else one that is
/// open; of several attempts of one step the oldest.
pub(super) fn chosen<P: Process>(state: &State<P>, asked: &Act) -> Result<Leg<P>, Refusal> {
    let open =
        |leg: &&Leg<P>| leg.direction != Direction::Renew && matches!(leg.status, LegStatus::Open | LegStatus::Stuck);
    let all: Vec<&Leg<P>> = state.legs.iter().filter(open).collect();
    let names = |legs: &[&Leg<P>]| {
        let mut names: Vec<String> = legs.iter().map(|leg| format!("`{}`", leg.step.name)).collect();
        names.dedup();
        names.join(", ")
    };
    let mut legs = all.clone();
    if let Some(step) = &asked.step {
        legs.retain(|leg| leg.step.name == step);
        if legs.is_empty() && !all.is_empty() {
            return Err(Refusal::NotThere { step: step.clone(), there: names(&all) });
        }
    }
    let rank = |leg: &Leg<P>| match (leg.status, leg.alerted) {
        (LegStatus::Stuck, _) => 0,
        (LegStatus::Open | LegStatus::Succeeded | LegStatus::Failed, alerted) => 2 - u8::from(alerted),
    };
    let first = legs.iter().map(|leg| rank(leg)).min().ok_or(Refusal::NothingOpen)?;
    legs.retain(|leg| rank(leg) == first);
    if legs.iter().any(|leg| leg.step.name != legs[0].step.name) {
        return Err(Refusal::Several(names(&legs)));
    }
    Ok(legs[0].clone())
}

fn what<P: Process>(leg: &Leg<P>) -> String {
    match leg.direction {
        Direction::Do => format!("`{}`", leg.step.name),
        Direction::Undo => format!("undoing `{}`", leg.step.name),
        Direction::Renew => format!("renewing `{}`", leg.step.name),
    }
}

fn awaits<P: Process>(leg: &Leg<P>) -> String {
    match &leg.awaits {
        Some(awaits) => format!("{} from {}", awaits.fact, awaits.from.as_str()),
        None => "nothing".to_owned(),
    }
}
