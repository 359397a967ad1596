//! One attempt group of a step, one way: what was issued, what was answered, what it waits for.

use std::sync::Arc;

use crate::parts::{Answer, Awaits, Direction, Failure, IssuedCommand, LateBy};
use crate::story::Party as _;
use crate::view::LegStatus;
use chrono::TimeDelta;
use eventsourcing::Timestamp;
use uuid::Uuid;

use super::state::Meta;
use crate::definition::{Limit, Step};
use crate::process::{Process, StoryOf};

/// How far the clock must be behind the moment at which a wait was set before it counts as having been set back: more
/// than the clocks of machines that are kept in step differ by.
const SET_BACK: TimeDelta = TimeDelta::seconds(10);

/// The answer to a command that will not change: done, or refused.
pub type Final = Result<(), Failure>;

/// One attempt group of a step, one way.
#[derive(Debug, Clone)]
pub struct Leg<P: Process> {
    /// The row.
    pub step: &'static Step<P>,
    /// The attempt group.
    pub group: u32,
    /// The way.
    pub direction: Direction,
    /// The how-manieth way back, or renewal.
    pub round: u32,
    /// How it stands.
    pub status: LegStatus,
    /// What was issued, with the answer where there is one: done, or refused.
    pub commands: Vec<(Arc<IssuedCommand>, Option<Final>)>,
    /// How often the commands have been sent, from 1.
    pub attempt: u32,
    /// How often there was no answer.
    pub unanswered: u32,
    /// Since when there has been none.
    pub unanswered_since: Option<Timestamp>,
    /// By which times a participant refused the last attempt as too late: the deadline of this one counts from them.
    pub too_late: Option<LateBy>,
    /// When the moments below were set, by the clock of then; the deadline has its own.
    pub set_at: Timestamp,
    /// When the deadline was set, by the clock of then.
    pub deadline_set_at: Timestamp,
    /// Not to be sent before.
    pub next_at: Option<Timestamp>,
    /// To be sent again then.
    pub check_at: Option<Timestamp>,
    /// Too long then.
    pub deadline: Option<Timestamp>,
    /// What must follow.
    pub awaits: Option<Awaits<StoryOf<P>>>,
    /// What was gained lapses then.
    pub lapses_at: Option<Timestamp>,
    /// To be renewed then.
    pub renew_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Failed, and left nothing to undo.
    pub left_nothing: bool,
    /// Failed, and another attempt of what it stands on has begun: it will be tried again.
    pub superseded: bool,
    /// A person has been called.
    pub alerted: bool,
    /// The attempt at which a person last acted on it: whether to call one again is counted from here.
    pub acted_at: u32,
    /// The round of a way back that a person began last, 0 if none did.
    pub acted_round: u32,
    /// When it began.
    pub began_at: Timestamp,
    /// The event that issued its commands.
    pub issued_by: Uuid,
}

impl<P: Process> Leg<P> {
    /// Whether all commands are done.
    pub fn all_done(&self) -> bool {
        self.commands.iter().all(|(_, answer)| matches!(answer, Some(Ok(()))))
    }

    /// Whether it waits for a party that was asked, and is asked again when the commands are sent again.
    pub fn awaits_asked(&self) -> bool {
        self.awaits.as_ref().is_some_and(|awaits| awaits.from.is_asked())
    }

    /// When it has taken too long. While nobody can be reached that does not fail a step: nobody has had the chance.
    pub fn due_by(&self) -> Option<Timestamp> {
        let waits = self.unanswered_since.is_some() && matches!(self.step.limit, Limit::Fail(..));
        self.deadline.filter(|_| !waits)
    }

    /// Whether its moments were set by a clock that was ahead of what it is now. Then what would be sent again at one of
    /// them is sent at once: the moment itself may be a day away.
    pub fn is_ahead(&self, now: Timestamp) -> bool {
        is_ahead(self.set_at, now)
    }

    /// Moves the moments that were set by a clock that was ahead to where they would be had it been right: as far away
    /// from now as they were then.
    pub(super) fn set_right(&mut self, now: Timestamp) {
        if self.is_ahead(now) {
            let ahead = self.set_at - now;
            for moment in [&mut self.next_at, &mut self.check_at, &mut self.renew_at] {
                *moment = moment.map(|at| at - ahead);
            }
            self.unanswered_since = self.unanswered_since.map(|at| if at > now { at - ahead } else { at });
            self.set_at = now;
        }
        if is_ahead(self.deadline_set_at, now) {
            self.deadline = self.deadline.map(|at| at - (self.deadline_set_at - now));
            self.deadline_set_at = now;
        }
    }

    /// Somebody has answered. If a person was called because nobody did, the call is taken back.
    pub(super) fn reached(&mut self) {
        (self.unanswered, self.unanswered_since, self.too_late) = (0, None, None);
        if self.alerted && self.failure.as_ref().is_some_and(Failure::is_no_answer) {
            (self.alerted, self.failure) = (false, None);
        }
    }

    /// Whether it is this attempt group of this step, this way.
    pub fn is(&self, step: &str, group: u32, direction: Direction) -> bool {
        self.step.name == step && self.group == group && self.direction == direction
    }
}

pub(super) fn new_leg<P: Process>(
    step: &'static Step<P>,
    (group, direction, round): (u32, Direction, u32),
    commands: &[IssuedCommand],
    meta: &Meta,
) -> Leg<P> {
    Leg {
        step,
        group,
        direction,
        round,
        status: LegStatus::Open,
        commands: commands.iter().map(|command| (Arc::new(command.clone()), None)).collect(),
        attempt: 1,
        unanswered: 0,
        unanswered_since: None,
        too_late: None,
        set_at: meta.at,
        deadline_set_at: meta.at,
        next_at: None,
        check_at: None,
        deadline: None,
        awaits: None,
        lapses_at: None,
        renew_at: None,
        failure: None,
        left_nothing: false,
        superseded: false,
        alerted: false,
        acted_at: 0,
        acted_round: 0,
        began_at: meta.at,
        issued_by: meta.id,
    }
}

pub(super) fn answer<P: Process>(leg: &mut Leg<P>, answers: &[Answer]) {
    for given in answers {
        for (_, slot) in leg.commands.iter_mut().filter(|(command, _)| command.id == given.command_id) {
            *slot = Some(given.rejected.clone().map_or(Ok(()), Err));
        }
    }
}

pub(super) fn close<P: Process>(leg: &mut Leg<P>, status: LegStatus) {
    leg.status = status;
    (leg.next_at, leg.check_at, leg.deadline) = (None, None, None);
}

fn is_ahead(set_at: Timestamp, now: Timestamp) -> bool {
    set_at - now > SET_BACK
}
