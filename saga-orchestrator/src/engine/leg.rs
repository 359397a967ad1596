//! One attempt group of a step, one way: what was issued, what was answered, what it waits for.

use std::sync::Arc;

use domain::Timestamp;
use domain::saga::{Answer, Awaits, Direction, Failure, IssuedCommand, LegStatus, Party};
use uuid::Uuid;

use super::state::Meta;
use crate::definition::Step;

/// The answer to a command that will not change: done, or refused.
pub type Final = Result<(), Failure>;

/// One attempt group of a step, one way.
#[derive(Debug, Clone)]
pub struct Leg {
    /// The row.
    pub step: &'static Step,
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
    /// Not to be sent before.
    pub next_at: Option<Timestamp>,
    /// To be sent again then.
    pub check_at: Option<Timestamp>,
    /// Too long then.
    pub deadline: Option<Timestamp>,
    /// What must follow.
    pub awaits: Option<Awaits>,
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
    /// The event that issued its commands.
    pub issued_by: Uuid,
}

impl Leg {
    /// Whether all commands are done.
    pub fn all_done(&self) -> bool {
        self.commands.iter().all(|(_, answer)| matches!(answer, Some(Ok(()))))
    }

    /// Whether it waits for the provider.
    pub fn awaits_provider(&self) -> bool {
        self.awaits.as_ref().is_some_and(|awaits| awaits.from == Party::Provider)
    }

    /// Whether it is this attempt group of this step, this way.
    pub fn is(&self, step: &str, group: u32, direction: Direction) -> bool {
        self.step.name == step && self.group == group && self.direction == direction
    }
}

pub(super) fn new_leg(
    step: &'static Step,
    (group, direction, round): (u32, Direction, u32),
    commands: &[IssuedCommand],
    meta: &Meta,
) -> Leg {
    Leg {
        step,
        group,
        direction,
        round,
        status: LegStatus::Open,
        commands: commands.iter().map(|command| (Arc::new(command.clone()), None)).collect(),
        attempt: 1,
        unanswered: 0,
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
        issued_by: meta.id,
    }
}

pub(super) fn answer(leg: &mut Leg, answers: &[Answer]) {
    for given in answers {
        for (_, slot) in leg.commands.iter_mut().filter(|(command, _)| command.id == given.command_id) {
            *slot = Some(given.rejected.clone().map_or(Ok(()), Err));
        }
    }
}

pub(super) fn close(leg: &mut Leg, status: LegStatus) {
    leg.status = status;
    (leg.next_at, leg.check_at, leg.deadline) = (None, None, None);
}
