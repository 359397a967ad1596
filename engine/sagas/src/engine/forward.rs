//! The forward direction: which step is next, what its failure means, when it ends.

use crate::events::{CommandAnswered, Event, SagaCompleted, SagaHandedOver, StepFailed, StepStarted};
use crate::parts::{Answer, Awaits, Direction, Failure, Kind, Source};
use crate::story::{Note as _, Party as _};
use crate::view::LegStatus;
use eventsourcing::Timestamp;

use super::react::Draft;
use super::state::Leg;
use crate::definition::{Limit, Meaning, Step};
use crate::process::{NoteOf, Process, Settings as _, Time as _, TimeOf};

impl<P: Process> Draft<'_, P> {
    /// Takes all actions that follow from the present state of the saga.
    pub fn advance(&mut self) {
        if self.state.ended {
            return;
        }
        if self.state.reason.is_some() {
            return self.advance_back();
        }
        if let Some(reason) = (self.definition.stops)(&self.state).or_else(|| self.must_hand_over()) {
            return self.stop(reason);
        }
        if let Some((target, group)) = self.owed() {
            self.begin_step(target, group + 1, true);
        }
        for step in self.definition.steps {
            if self.startable(step) {
                self.start(step);
            }
        }
        if self.undoing().is_none() && self.definition.steps.iter().all(|step| self.satisfied(step)) {
            self.emit(Event::SagaCompleted(SagaCompleted {}));
        }
    }

    /// Stops the saga: it compensates before the pivot and hands over after it; while the pivot is open, it waits.
    fn stop(&mut self, reason: &'static str) {
        let pivot = self.definition.pivot().and_then(|pivot| self.state.latest(pivot.name)).map(|leg| leg.status);
        match pivot {
            Some(LegStatus::Open) => {}
            Some(LegStatus::Stuck) if self.pivot_did_nothing() => self.compensate(reason),
            // A handover now would leave the compensations that are under way to no saga.
            Some(LegStatus::Succeeded | LegStatus::Stuck) if self.undoing().is_some() => {}
            // A pivot that stands still has a bad outcome: its effect is taken back.
            Some(LegStatus::Succeeded | LegStatus::Stuck) => self.hand_over(reason),
            Some(LegStatus::Failed) | None => self.compensate(reason),
        }
    }

    /// Whether the pivot stands still and has certainly had no effect: the saga can still compensate.
    pub fn pivot_did_nothing(&self) -> bool {
        let pivot = self.definition.pivot().and_then(|pivot| self.state.latest(pivot.name));
        let did_nothing =
            |leg: &Leg<P>| leg.failure.as_ref().is_some_and(|failure| (leg.step.means)(failure) == Meaning::DidNothing);
        pivot.filter(|leg| leg.status == LegStatus::Stuck).is_some_and(did_nothing)
    }

    /// The compensation that is under way, or cannot be done.
    pub fn undoing(&self) -> Option<&Leg<P>> {
        let open = |leg: &Leg<P>| matches!(leg.status, LegStatus::Open | LegStatus::Stuck);
        self.state.legs.iter().find(|leg| leg.direction == Direction::Undo && open(leg))
    }

    /// The reason of a failed step that another saga must take up.
    fn must_hand_over(&self) -> Option<&'static str> {
        let failed =
            |leg: &&Leg<P>| leg.direction == Direction::Do && leg.status == LegStatus::Failed && !leg.superseded;
        self.state.legs.iter().filter(failed).find_map(|leg| match (leg.step.means)(leg.failure.as_ref()?) {
            Meaning::HandOver(reason) => Some(reason),
            Meaning::Fail(_) | Meaning::Redo(_) | Meaning::Attention | Meaning::DidNothing | Meaning::AlreadySo => None,
        })
    }

    /// Hands over to another saga.
    pub fn hand_over(&mut self, reason: &'static str) {
        if let Some(hands_over) = self.definition.hands_over {
            let (to, facts) = hands_over(&self.state, reason);
            let (to, reason) = (to.to_owned(), reason.to_owned());
            self.emit(Event::SagaHandedOver(SagaHandedOver { to, reason, facts, source: None }));
        }
    }

    fn startable(&self, step: &'static Step<P>) -> bool {
        let latest = self.state.latest(step.name);
        let free = latest.is_none_or(|leg| leg.status == LegStatus::Failed && leg.superseded);
        // A step that is tried again also depends on the new attempt of the step that was redone.
        let redone = step.redo.is_none_or(|(target, _)| latest.is_none() || self.is_satisfied(target));
        step.kind != Kind::Start && free && redone && step.after.iter().all(|name| self.is_satisfied(name))
    }

    fn is_satisfied(&self, name: &str) -> bool {
        self.definition.step(name).is_some_and(|step| self.satisfied(step))
    }

    /// Whether the step has succeeded, or has no commands and no awaited fact.
    fn satisfied(&self, step: &'static Step<P>) -> bool {
        match self.state.latest(step.name) {
            Some(leg) => leg.status == LegStatus::Succeeded,
            None => step.after.iter().all(|name| self.is_satisfied(name)) && self.silent(step, 0),
        }
    }

    fn silent(&self, step: &'static Step<P>, group: u32) -> bool {
        let ctx = self.ctx(step, group, Direction::Do.as_str(), None);
        step.awaits.is_none_or(|awaits| (awaits.unless)(&ctx)) && (step.sends)(&ctx).is_empty()
    }

    /// Begins the next attempt of a step.
    fn start(&mut self, step: &'static Step<P>) {
        let group = self.state.latest(step.name).map_or(0, |leg| leg.group + 1);
        if group > 0 || !self.silent(step, group) {
            self.begin_step(step, group, group > 0);
        }
    }

    /// Begins a step attempt. A repeated step is awaited in any case, because its missing effect is the reason for the
    /// repeat.
    pub fn begin_step(&mut self, step: &'static Step<P>, group: u32, again: bool) {
        let ctx = self.ctx(step, group, Direction::Do.as_str(), None);
        let commands = (step.sends)(&ctx);
        let came = self.state.noted_of(NoteOf::<P>::CAME_EARLY, step.name, group);
        let awaits = step.awaits.filter(|awaits| !came && (again || !(awaits.unless)(&ctx)));
        let commands = self.issue(step, group, Direction::Do.as_str(), commands);
        let is_asked = awaits.is_some_and(|awaits| awaits.from.is_asked());
        let awaits = awaits.map(|awaits| Awaits { fact: awaits.fact.to_owned(), from: awaits.from });
        // The awaited fact may be there already, unless it is known to be still to come: look again soon.
        let look_again = step.awaits.is_some_and(|awaits| awaits.silence_ends) && !self.state.is_held();
        let check_at = match (is_asked, look_again) {
            (true, _) => Some(self.now + self.config.duration(step.within)),
            (false, true) => Some(self.now + self.config.duration(TimeOf::<P>::COMMAND)),
            (false, false) => None,
        };
        let deadline = self.deadline_of(step);
        let (name, kind, at_once) = (step.name.to_owned(), step.kind, came && commands.is_empty());
        self.emit(Event::StepStarted(StepStarted { step: name, kind, group, commands, awaits, check_at, deadline }));
        // The effect of the step is there already: there is nothing to ask for, and no party that would answer.
        if let Some(leg) = self.open(step.name, group, Direction::Do).filter(|_| at_once) {
            self.succeed(&leg, None, None);
        }
    }

    /// When a step that begins now, or starts to wait again, has taken too long.
    pub fn deadline_of(&self, step: &Step<P>) -> Option<Timestamp> {
        match step.limit {
            Limit::Never => None,
            Limit::Fail(time, _) | Limit::Alert(time) => Some(self.now + self.config.duration(time)),
            Limit::AlertBeforeLapse(margin) => {
                let lapses = self.state.legs.iter().rev().find_map(|leg| leg.lapses_at);
                // Where the authorization lapses sooner than the margin, half of the remaining time.
                let half = |lapses: Timestamp| self.now + (lapses - self.now) / 2;
                lapses.map(|lapses| (lapses - self.config.duration(margin)).max(half(lapses)).max(self.now))
            }
        }
    }

    /// Fails a step attempt because of an answer, a fact or the time limit. A fact leaves nothing to compensate.
    pub fn fail(&mut self, leg: &Leg<P>, failure: Failure, answers: Vec<Answer>, source: Option<&Source>) {
        let meaning = (leg.step.means)(&failure);
        if meaning == Meaning::AlreadySo {
            let (step, group, direction) = (leg.step.name.to_owned(), leg.group, leg.direction);
            self.emit(Event::CommandAnswered(CommandAnswered { step, group, direction, answers, deadline: None }));
            return self.succeed(leg, source.cloned(), None);
        }
        let stopped = (self.definition.stops)(&self.state);
        let failed = Event::StepFailed(StepFailed {
            step: leg.step.name.to_owned(),
            group: leg.group,
            source: source.cloned(),
            failure: failure.clone(),
            answers,
            leaves_nothing: source.is_some(),
        });
        let redo = leg.step.redo.filter(|(target, max)| self.state.group_of(target) < *max && stopped.is_none());
        let redo = redo.filter(|_| !self.for_good);
        match (meaning, redo) {
            (Meaning::HandOver(_), _) => self.emit(failed), // `advance` hands over, once nothing is being undone.
            (Meaning::Redo(_), Some((target, _))) => {
                self.emit(failed);
                self.redo(target);
            }
            (Meaning::Fail(reason) | Meaning::Redo(reason), _) if !self.definition.forward_only(leg.step) => {
                let cause = self.redone_because(leg).unwrap_or(reason);
                self.emit(failed);
                self.compensate(stopped.unwrap_or(cause));
            }
            (
                Meaning::Attention | Meaning::DidNothing | Meaning::AlreadySo | Meaning::Fail(_) | Meaning::Redo(_),
                _,
            ) => self.attention(leg, failure, true, source),
        }
    }

    /// The reason why a step was redone. The saga fails for the same reason when the new attempt fails.
    fn redone_because(&self, leg: &Leg<P>) -> Option<&'static str> {
        let again = |by: &&Leg<P>| by.superseded && by.step.redo.is_some_and(|(target, _)| target == leg.step.name);
        let cause = self.state.legs.iter().rev().filter(|_| leg.group > 0).find(again)?;
        match (cause.step.means)(cause.failure.as_ref()?) {
            Meaning::Redo(reason) => Some(reason),
            Meaning::Fail(_) | Meaning::HandOver(_) | Meaning::Attention | Meaning::DidNothing | Meaning::AlreadySo => {
                None
            }
        }
    }

    /// Redoes an earlier step. The effect of its last attempt is compensated first, and the new attempt begins when
    /// that was answered (`owed`): two replicas could otherwise carry out the new attempt first, which would then fail
    /// because the old one still holds what it needs.
    fn redo(&mut self, target: &'static str) {
        let Some(step) = self.definition.step(target) else { return };
        let before = self.state.latest(target).map(|leg| leg.group);
        match before.filter(|group| self.to_be_undone(step, *group)) {
            Some(group) => self.undo(step, group),
            None => self.begin_step(step, before.map_or(0, |group| group + 1), true),
        }
    }

    /// The step to redo because another one failed, and its last attempt, once the compensation of that was answered.
    /// The fact of a party that was asked need not have come.
    fn owed(&self) -> Option<(&'static Step<P>, u32)> {
        let failed =
            |leg: &&Leg<P>| leg.direction == Direction::Do && leg.status == LegStatus::Failed && !leg.superseded;
        let target = self.state.legs.iter().filter(failed).find_map(|leg| {
            let again = matches!((leg.step.means)(leg.failure.as_ref()?), Meaning::Redo(_));
            leg.step.redo.filter(|_| again).and_then(|(target, _)| self.definition.step(target))
        })?;
        let group = self.state.latest(target.name)?.group;
        let undo = self.state.leg(target.name, group, Direction::Undo)?;
        let waits = undo.status == LegStatus::Open && undo.awaits.is_some() && undo.all_done();
        (undo.status == LegStatus::Succeeded || waits).then_some((target, group))
    }
}
