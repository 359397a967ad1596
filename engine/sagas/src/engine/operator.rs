//! What a person does about one saga: judged like every other input, by the state alone.
//!
//! *Invariant:* what would break a rule of the saga is refused, with the reason, and leaves nothing. What is accepted is one
//! append: who did what and why, and behind it what follows.

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

/// Why a saga goes back, or hands over, when a person decided it.
pub const OPERATOR: &str = "operator";

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// What the operator does.
    pub action: Action,
    /// The operator who does it.
    pub actor: String,
    /// The reason that the operator gives.
    pub reason: String,
    /// Which step, if several could be meant.
    pub step: Option<String>,
    /// The request.
    pub request_id: Uuid,
}

/// Why the answer is no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is over.
    #[error("the saga has ended; nothing of it moves any more")]
    Ended,
    /// This program cannot follow it.
    #[error(
        "this program does not know version {version} of the saga `{saga}`, or not all of its events; run the release that does"
    )]
    Unknown {
        /// Its type.
        saga: String,
        /// Its version.
        version: u32,
    },
    /// It could not be followed, and now it can.
    #[error("no program could follow the saga for a while; resume it, and look how it stands then")]
    ResumeFirst,
    /// Nothing to act on.
    #[error("no step is on its way, and none stands still")]
    NothingOpen,
    /// Not that step.
    #[error("`{step}` is neither on its way nor does it stand still; {there} is")]
    NotThere {
        /// The step that was named.
        step: String,
        /// Those that are.
        there: String,
    },
    /// Which one?
    #[error("several steps could be meant, {0}; name one")]
    Several(String),
    /// There is nothing that could be sent again.
    #[error("`{step}` has nothing to send: it waits for {awaits}")]
    NothingToSend {
        /// The step.
        step: &'static str,
        /// What for.
        awaits: String,
    },
    /// Sending it again would not bring what it waits for.
    #[error("what `{step}` sent is done, and {awaits} can no longer come ({failure})")]
    CannotCome {
        /// The step.
        step: &'static str,
        /// What it waited for.
        awaits: String,
        /// What came instead.
        failure: String,
    },
    /// It goes on by itself.
    #[error("no person was called for `{0}`: it goes on by itself")]
    NotCalled(&'static str),
    /// It does not go on by itself.
    #[error("`{0}` stands still: there is nothing it could go on waiting for")]
    StandsStill(&'static str),
    /// A rule would be broken.
    #[error("{what} cannot count as done: {why}")]
    NotSkipped {
        /// The step, or its undoing.
        what: String,
        /// The rule that it would break.
        why: &'static str,
    },
    /// It has turned back already.
    #[error("the saga already goes back ({0})")]
    GoesBack(String),
    /// Nothing of it can be undone.
    #[error("this saga only goes forward")]
    ForwardOnly,
    /// The point of no return is being passed, or not.
    #[error("the outcome of `{0}` is not known: until it is, nothing can be decided")]
    PivotOpen(&'static str),
    /// The point of no return has been passed.
    #[error("`{0}` is done: there is no way back any more, only handing over")]
    AfterPivot(&'static str),
    /// The point of no return has not been passed.
    #[error("`{0}` is not done: there is nothing to take back yet, the saga itself can go back")]
    BeforePivot(&'static str),
    /// No other saga could.
    #[error("no other saga could take over from this one")]
    NobodyTakesOver,
    /// Something would be nobody's.
    #[error("`{0}` is being undone, which would be nobody's any more")]
    Undoing(&'static str),
    /// Too late.
    #[error("{0}")]
    TooLate(&'static str),
}

/// What follows from what a person does. The first event says who did what.
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

/// What a person could do now, without naming a step.
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

    /// What stands still gets a new attempt group, or a new round of its undo: new requests. What is on its way is sent
    /// again as it is.
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
        // What was refused because nothing was left to undo is asked for from the beginning.
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
            self.undo(leg.step, leg.group); // What the attempt left is undone on the side.
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

    /// When a person is called again for what one was called for: not at once, also where what was gained has lapsed.
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
                // A pivot that stands still has an outcome: what it did is undone, too.
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

/// The leg that a person means: what stands still before what a person was called for, before what is on its way; of
/// several attempts of one step the oldest.
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
