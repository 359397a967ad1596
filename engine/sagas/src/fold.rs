//! How events change the view of a saga.

use super::events::{Event, OperatorActed, SagaNeedsAttention, StepRetryScheduled, UndoStarted};
use super::parts::{Action, Answer, Direction, ErrorKind, Failure, IssuedCommand, Kind, StepRef};
use super::story::{Note as _, Story};
use super::view::{ActionView, LegStatus, LegView, SagaState, View};
use eventsourcing::aggregate::Timestamp;

impl<S: Story> View<S> {
    /// Folds one event, which occurred at `at`.
    pub fn fold(&mut self, event: &Event<S>, at: Timestamp) {
        self.changed_at = Some(at);
        match event {
            Event::SagaStarted(e) => {
                self.saga.clone_from(&e.saga);
                self.definition_version = e.definition_version;
                self.subject = e.subject;
                self.started_at = Some(at);
            }
            Event::SagaInputRecorded(e) => self.note(e.note, e.about.clone(), e.detail.as_deref()),
            Event::StepStarted(e) => {
                let mut leg = new_leg((&e.step, e.group, Direction::Do), e.kind, &e.commands, at);
                leg.awaits.clone_from(&e.awaits);
                (leg.check_at, leg.deadline) = (e.check_at, e.deadline);
                self.legs.push(leg);
            }
            Event::CommandAnswered(e) => self.on_leg(&e.step, e.group, e.direction, |leg| {
                answered(leg, &e.answers);
                leg.deadline = e.deadline.or(leg.deadline);
                if leg.unanswered {
                    (leg.attention, leg.unanswered) = (false, false); // A participant answers again.
                }
                if leg.direction == Direction::Renew && leg.open_commands.is_empty() {
                    (leg.status, leg.ended_at) = (LegStatus::Succeeded, Some(at));
                }
            }),
            Event::StepRetryScheduled(e) => self.retry(e),
            Event::StepRenewed(e) => {
                let kind = self.kind_of(&e.step);
                self.legs.retain(|leg| !(leg.direction == Direction::Renew && leg.step == e.step)); // It replaces the one before.
                self.legs.push(new_leg((&e.step, e.group, Direction::Renew), kind, &e.commands, at));
            }
            Event::StepSucceeded(e) => self.end(&e.step, e.group, Direction::Do, LegStatus::Succeeded, at),
            Event::StepFailed(e) => {
                self.last = Some(e.failure.clone());
                self.on_leg(&e.step, e.group, Direction::Do, |leg| leg.last_error = Some(e.failure.clone()));
                self.end(&e.step, e.group, Direction::Do, LegStatus::Failed, at);
            }
            Event::CompensationStarted(e) => {
                self.reason = Some(e.reason.clone());
                self.to_undo.clone_from(&e.steps);
                self.abandon(at);
            }
            Event::UndoStarted(e) => self.undo_started(e, at),
            Event::UndoSucceeded(e) => self.end(&e.step, e.group, Direction::Undo, LegStatus::Succeeded, at),
            Event::SagaCompleted(_) => self.finish(SagaState::Completed, at),
            Event::SagaCompensated(e) => {
                self.reason = Some(e.reason.clone());
                self.finish(SagaState::Compensated, at);
            }
            Event::SagaHandedOver(e) => {
                (self.reason, self.handed_over_to) = (Some(e.reason.clone()), Some(e.to.clone()));
                self.finish(SagaState::HandedOver, at);
            }
            Event::SagaNeedsAttention(e) => self.attention(e),
            Event::OperatorActed(e) => self.acted(e, at),
        }
    }

    fn undo_started(&mut self, e: &UndoStarted<S>, at: Timestamp) {
        let mut leg = new_leg((&e.step, e.group, Direction::Undo), self.kind_of(&e.step), &e.commands, at);
        leg.awaits.clone_from(&e.awaits);
        (leg.next_at, leg.check_at, leg.attempts) = (e.next_at, e.check_at, e.round + 1);
        let before = |old: &LegView<S>| old.direction == Direction::Undo && old.step == e.step && old.group == e.group;
        match self.legs.iter_mut().find(|old| before(old)) {
            Some(old) => *old = LegView { started_at: old.started_at, last_error: old.last_error.take(), ..leg },
            None => self.legs.push(leg),
        }
    }

    fn attention(&mut self, e: &SagaNeedsAttention) {
        self.last = Some(e.failure.clone());
        if e.failure.kind == ErrorKind::Unsupported {
            self.unsupported = Some(e.failure.clone());
        }
        self.on_leg(&e.step, e.group, e.direction, |leg| {
            leg.attention = true;
            leg.unanswered = !e.stuck && e.failure.is_no_answer();
            leg.last_error = Some(e.failure.clone());
            if e.stuck {
                leg.status = LegStatus::Stuck;
                (leg.next_at, leg.check_at, leg.deadline) = (None, None, None);
            }
        });
    }

    /// Records the action and ends the need for attention. The other consequences have their own events.
    fn acted(&mut self, e: &OperatorActed, at: Timestamp) {
        let (action, actor, reason) = (e.action, e.actor.clone(), e.reason.clone());
        let (step, direction) = (e.step.clone(), e.direction);
        self.actions.push(ActionView { action, actor, reason, step, direction, at });
        match (&e.step, e.direction) {
            (Some(step), Some(direction)) => self.on_leg(step, e.group.unwrap_or(0), direction, |leg| {
                (leg.attention, leg.unanswered, leg.deadline) = (false, false, e.deadline.or(leg.deadline));
            }),
            (Some(_) | None, _) if e.action == Action::Resume => self.unsupported = None,
            (Some(_) | None, _) => {}
        }
    }

    fn note(&mut self, note: S::Note, about: Option<StepRef>, detail: Option<&str>) {
        if let Some(hold) = S::Note::HOLD.filter(|hold| hold.released == note) {
            self.holds.release(detail);
            let is_steps = detail.is_none_or(|reason| reason == hold.of_step);
            let ends = |about: &Option<StepRef>| if about.is_some() { is_steps } else { self.holds.is_empty() };
            return self.notes.retain(|(old, about)| *old != hold.held || !ends(about));
        }
        if let Some(hold) = S::Note::HOLD.filter(|hold| hold.held == note) {
            self.holds.add(if about.is_some() { Some(hold.of_step) } else { detail });
        }
        if !self.notes.contains(&(note, about.clone())) {
            self.notes.push((note, about));
        }
    }

    fn retry(&mut self, e: &StepRetryScheduled) {
        self.last = Some(e.failure.clone());
        self.on_leg(&e.step, e.group, e.direction, |leg| {
            answered(leg, &e.answers);
            leg.attempts = e.attempt + 1;
            (leg.next_at, leg.check_at) = (Some(e.next_at), e.check_at);
            leg.last_error = Some(e.failure.clone());
        });
    }

    fn kind_of(&self, step: &str) -> Kind {
        self.legs
            .iter()
            .find(|leg| leg.step == step && leg.direction == Direction::Do)
            .map_or(Kind::Start, |leg| leg.kind)
    }

    fn on_leg(&mut self, step: &str, group: u32, direction: Direction, change: impl FnOnce(&mut LegView<S>)) {
        let found = |leg: &&mut LegView<S>| leg.step == step && leg.group == group && leg.direction == direction;
        if let Some(leg) = self.legs.iter_mut().rev().find(found) {
            change(leg);
        }
    }

    fn end(&mut self, step: &str, group: u32, direction: Direction, status: LegStatus, at: Timestamp) {
        self.on_leg(step, group, direction, |leg| close(leg, status, at));
    }

    /// Open forward attempts are not awaited any more once the saga compensates.
    fn abandon(&mut self, at: Timestamp) {
        let forward = |leg: &&mut LegView<S>| {
            leg.direction != Direction::Undo && matches!(leg.status, LegStatus::Open | LegStatus::Stuck)
        };
        self.legs.iter_mut().filter(forward).for_each(|leg| close(leg, LegStatus::Failed, at));
    }

    fn finish(&mut self, state: SagaState, at: Timestamp) {
        (self.ended, self.ended_at) = (Some(state), Some(at));
        self.abandon(at);
    }
}

fn new_leg<S: Story>(
    (step, group, direction): (&str, u32, Direction),
    kind: Kind,
    commands: &[IssuedCommand],
    at: Timestamp,
) -> LegView<S> {
    LegView {
        step: step.to_owned(),
        group,
        direction,
        kind,
        status: LegStatus::Open,
        started_at: at,
        ended_at: None,
        attempts: 1,
        open_commands: commands.iter().map(|command| command.name.clone()).collect(),
        targets: commands.iter().map(|command| command.target.clone()).collect(),
        awaits: None,
        next_at: None,
        check_at: None,
        deadline: None,
        last_error: None,
        attention: false,
        unanswered: false,
        open_ids: commands.iter().map(|command| command.id).collect(),
    }
}

fn answered<S: Story>(leg: &mut LegView<S>, answers: &[Answer]) {
    for answer in answers {
        if let Some(at) = leg.open_ids.iter().position(|id| *id == answer.command_id) {
            leg.open_ids.remove(at);
            leg.open_commands.remove(at);
        }
        if let Some(failure) = &answer.rejected {
            leg.last_error = Some(Failure::clone(failure));
        }
    }
    if leg.open_ids.is_empty() {
        (leg.next_at, leg.check_at) = (None, None); // Nothing is left to be sent again.
    }
}

fn close<S: Story>(leg: &mut LegView<S>, status: LegStatus, at: Timestamp) {
    (leg.status, leg.ended_at) = (status, Some(at));
    (leg.attention, leg.unanswered) = (false, false);
    (leg.next_at, leg.check_at, leg.deadline) = (None, None, None);
    leg.open_ids.clear();
    leg.open_commands.clear();
}
