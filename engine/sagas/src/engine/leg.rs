//! One step attempt in one direction: its commands, their answers, and what it waits for.

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
/// than the clocks of synchronized machines differ by.
const SET_BACK: TimeDelta = TimeDelta::seconds(10);

/// The final answer to a command: accepted, or refused.
pub type Final = Result<(), Failure>;

/// One step attempt in one direction: forward, compensation or renewal.
#[derive(Debug, Clone)]
pub struct Leg<P: Process> {
    /// The step's row in the table.
    pub step: &'static Step<P>,
    /// Number of the step attempt, from 0.
    pub group: u32,
    /// Whether this is the step itself, its compensation or its renewal.
    pub direction: Direction,
    /// Number of the try at this compensation, from 0, or of the renewal, from 1.
    pub round: u32,
    /// Status of the attempt.
    pub status: LegStatus,
    /// The commands of the attempt, each with its final answer where there is one.
    pub commands: Vec<(Arc<IssuedCommand>, Option<Final>)>,
    /// How often the commands have been sent, from 1.
    pub attempt: u32,
    /// How often in sequence there was no answer.
    pub unanswered: u32,
    /// Since when there has been no answer.
    pub unanswered_since: Option<Timestamp>,
    /// The times by which a participant refused the last sending as too late: the next deadline counts from them.
    pub too_late: Option<LateBy>,
    /// When the moments below were set, by the clock of that time; the deadline has its own.
    pub set_at: Timestamp,
    /// When the deadline was set, by the clock of that time.
    pub deadline_set_at: Timestamp,
    /// The commands are not sent before this moment.
    pub next_at: Option<Timestamp>,
    /// The commands are sent again at this moment if nothing was heard.
    pub check_at: Option<Timestamp>,
    /// The step has taken too long at this moment.
    pub deadline: Option<Timestamp>,
    /// The fact from outside that must follow.
    pub awaits: Option<Awaits<StoryOf<P>>>,
    /// When the effect of the step lapses by itself.
    pub lapses_at: Option<Timestamp>,
    /// When the effect of the step is to be renewed.
    pub renew_at: Option<Timestamp>,
    /// The failure of the attempt, if it failed or stands still.
    pub failure: Option<Failure>,
    /// Whether it failed and left nothing to compensate.
    pub left_nothing: bool,
    /// Whether it failed and another attempt of a step that it depends on has begun: the step is then tried again.
    pub superseded: bool,
    /// Whether the attempt needs attention already.
    pub alerted: bool,
    /// The attempt at which an operator last acted on it: the count towards the next need for attention starts here.
    pub acted_at: u32,
    /// The round of a compensation that an operator began last, 0 if none did.
    pub acted_round: u32,
    /// When the attempt began.
    pub began_at: Timestamp,
    /// Id of the event that issued its commands.
    pub issued_by: Uuid,
}

impl<P: Process> Leg<P> {
    /// Whether all commands were accepted.
    pub fn all_done(&self) -> bool {
        self.commands.iter().all(|(_, answer)| matches!(answer, Some(Ok(()))))
    }

    /// Whether it waits for a party that was asked. Sending the commands again asks that party again.
    pub fn awaits_asked(&self) -> bool {
        self.awaits.as_ref().is_some_and(|awaits| awaits.from.is_asked())
    }

    /// When it has taken too long. While the participants cannot be reached that does not fail a step: nobody has had
    /// the chance to act.
    pub fn due_by(&self) -> Option<Timestamp> {
        let waits = self.unanswered_since.is_some() && matches!(self.step.limit, Limit::Fail(..));
        self.deadline.filter(|_| !waits)
    }

    /// Whether its moments were set by a clock that was ahead of the present one. The commands due at such a moment are
    /// sent at once, because the moment itself may be a day away.
    pub fn is_ahead(&self, now: Timestamp) -> bool {
        is_ahead(self.set_at, now)
    }

    /// Corrects the moments that were set by a clock that was ahead: each is then as far from now as it was when it was
    /// set.
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

    /// Records that a participant has answered. If the attempt needs attention only because of the silence, it no
    /// longer does.
    pub(super) fn reached(&mut self) {
        (self.unanswered, self.unanswered_since, self.too_late) = (0, None, None);
        if self.alerted && self.failure.as_ref().is_some_and(Failure::is_no_answer) {
            (self.alerted, self.failure) = (false, None);
        }
    }

    /// Whether it is this attempt of this step, in this direction.
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
