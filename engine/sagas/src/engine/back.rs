//! Compensation of the steps, the last one first, attempts with an unknown outcome included. No compensation
//! fails silently.

use std::borrow::Cow;

use crate::events::{CompensationStarted, Event, SagaCompensated, UndoStarted, UndoSucceeded};
use crate::parts::{Awaits, Direction, Failure, StepRef};
use crate::story::{Note as _, Party as _};
use crate::view::LegStatus;
use eventsourcing::Timestamp;

use super::react::Draft;
use super::state::Leg;
use crate::definition::{Awaited, Step, Undo};
use crate::process::{Commands, NoteOf, Process, Settings as _, Time as _, TimeOf};

/// How many different compensations, or new requests after a refusal, are tried before the saga needs attention. Five
/// with growing waits are some minutes, in which a short outage of another system has passed.
const UNDO_ROUNDS: u32 = 5;

/// The direction of a compensation in this round, as it is written in the ids of its commands.
pub fn undo_direction(round: u32) -> Cow<'static, str> {
    let undo = Direction::Undo.as_str();
    if round == 0 { undo.into() } else { format!("{undo}.{round}").into() }
}

impl<P: Process> Draft<'_, P> {
    /// Begins the compensation of the saga.
    pub fn compensate(&mut self, reason: &str) {
        let mut steps = Vec::new();
        for leg in self.state.legs.iter().rev().filter(|leg| leg.direction == Direction::Do) {
            if self.to_be_undone(leg.step, leg.group) {
                steps.push(StepRef { step: leg.step.name.to_owned(), group: leg.group });
            }
        }
        self.emit(Event::CompensationStarted(CompensationStarted { reason: reason.to_owned(), steps }));
        self.advance_back();
    }

    /// Whether a step attempt has, or may have, an effect to compensate.
    pub fn to_be_undone(&self, step: &'static Step<P>, group: u32) -> bool {
        let Some(leg) = self.state.leg(step.name, group, Direction::Do) else { return false };
        let undone =
            self.state.leg(step.name, group, Direction::Undo).is_some_and(|l| l.status == LegStatus::Succeeded);
        let gone = leg.left_nothing || self.state.noted_of(NoteOf::<P>::NOTHING_LEFT, step.name, group) || undone;
        !gone
            && match step.undo {
                None | Some(Undo::Nothing) => false,
                Some(Undo::Send(sends, _)) => !sends(&self.ctx(step, group, &undo_direction(0), None)).is_empty(),
            }
    }

    /// Compensates the step attempts one after the other. An attempt that only waits for the fact of a party does not
    /// delay the rest, but the saga ends only with that fact.
    pub fn advance_back(&mut self) {
        for StepRef { step, group } in self.state.to_undo.clone() {
            let Some(row) = self.definition.step(&step) else { continue };
            match self.state.leg(&step, group, Direction::Undo) {
                Some(leg) if leg.status == LegStatus::Succeeded => {}
                Some(leg) if leg.status == LegStatus::Open && leg.awaits.is_some() && leg.all_done() => {}
                Some(_) => return,
                None if self.state.noted_of(NoteOf::<P>::NOTHING_LEFT, &step, group) => {
                    self.emit(Event::UndoSucceeded(UndoSucceeded { step, group, source: None }));
                }
                None => {
                    self.undo(row, group);
                    return;
                }
            }
        }
        let undone = |step: &StepRef| {
            self.state
                .leg(&step.step, step.group, Direction::Undo)
                .is_some_and(|leg| leg.status == LegStatus::Succeeded)
        };
        let reason = self.state.reason.clone();
        if let (Some(reason), true) = (reason, self.state.to_undo.iter().all(undone)) {
            self.emit(Event::SagaCompensated(SagaCompensated { reason }));
        }
    }

    /// Begins to compensate a step attempt.
    pub fn undo(&mut self, step: &'static Step<P>, group: u32) {
        if let Some(Undo::Send(sends, awaits)) = step.undo {
            let direction = undo_direction(0);
            let commands = sends(&self.ctx(step, group, &direction, None));
            self.begin_undo((step, group, 0), &direction, commands, awaits, None);
        }
    }

    /// Sends the commands of one round of a compensation.
    pub fn begin_undo(
        &mut self,
        (step, group, round): (&'static Step<P>, u32, u32),
        direction: &str,
        commands: Commands<P>,
        awaits: Option<Awaited<P>>,
        next_at: Option<Timestamp>,
    ) {
        let awaits = awaits.filter(|awaits| !(awaits.unless)(&self.ctx(step, group, direction, None)));
        let is_asked = awaits.is_some_and(|awaits| awaits.from.is_asked());
        let check = self.config.duration(TimeOf::<P>::CHECK);
        self.emit(Event::UndoStarted(UndoStarted {
            step: step.name.to_owned(),
            group,
            round,
            commands: self.issue(step, group, direction, commands),
            awaits: awaits.map(|awaits| Awaits { fact: awaits.fact.to_owned(), from: awaits.from }),
            next_at,
            check_at: is_asked.then(|| next_at.unwrap_or(self.now) + check),
        }));
    }

    /// Continues after a compensation was refused (`refused`) or had a bad outcome: with another compensation if there
    /// is one, else with the same one in a new request; after that the saga needs attention.
    pub fn undo_again(&mut self, leg: &Leg<P>, failure: Failure, refused: Option<&str>) {
        let Some(Undo::Send(sends, awaits)) = leg.step.undo else { return };
        let round = leg.round + 1;
        let direction = undo_direction(round);
        let commands = sends(&self.ctx(leg.step, leg.group, &direction, refused));
        if refused.is_some() && commands.is_empty() {
            let (step, group) = (leg.step.name.to_owned(), leg.group);
            return self.emit(Event::UndoSucceeded(UndoSucceeded { step, group, source: None }));
        }
        let bodies =
            |commands: &Commands<P>| commands.iter().map(|c| (P::target(c), P::command_name(c))).collect::<Vec<_>>();
        let before: Vec<_> = leg.commands.iter().map(|(c, _)| (c.target.clone(), c.name.as_str())).collect();
        // The same command, refused, would be refused again; the same command after a bad outcome is a new request.
        let other =
            refused.is_none() || bodies(&commands) != before.iter().map(|(t, n)| (t.clone(), *n)).collect::<Vec<_>>();
        // A refusal comes at once, so rounds are counted from the one that an operator began: a refused compensation
        // then leads to the other one, not back to the operator.
        let tried = if refused.is_some() { round.saturating_sub(leg.acted_round) } else { round };
        if tried >= UNDO_ROUNDS || !other || commands.is_empty() {
            return self.attention(leg, failure, true, None);
        }
        let next_at = refused.is_none().then(|| self.now + self.backoff(leg, round));
        self.begin_undo((leg.step, leg.group, round), &direction, commands, awaits, next_at);
    }
}
