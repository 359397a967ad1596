//! The commands that must be sent, and the times at which a saga acts by itself. Both follow from the state alone.

use std::sync::Arc;

use crate::parts::{IssuedCommand, LateBy};
use crate::view::LegStatus;
use eventsourcing::Timestamp;
use uuid::Uuid;

use super::state::{Final, State};
use crate::process::Process;

/// The commands of one step that must be sent. They are sent together and answered together.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The commands as they were issued.
    pub commands: Vec<Arc<IssuedCommand>>,
    /// How often they have been sent, this time included; one process sends each attempt once.
    pub attempt: u32,
    /// Id of the event that issued them.
    pub issued_by: Uuid,
    /// The times by which a participant has refused them as too late. The saga's stream has proven since that they are
    /// still to be carried out.
    pub too_late: Option<LateBy>,
}

/// The commands without a final answer whose time has come. A command that waits for the fact of a party that is asked
/// stays pending until the fact comes, because sending it again asks that party again.
pub fn pending<P: Process>(state: &State<P>, now: Timestamp) -> Vec<Pending> {
    if state.ended || state.definition.is_none() {
        return Vec::new();
    }
    let mut pending = Vec::new();
    for leg in state.legs.iter().filter(|leg| leg.status == LegStatus::Open) {
        let open = |answer: &Option<Final>| match answer {
            None => true,
            Some(Ok(())) => leg.awaits_asked(),
            Some(Err(_)) => false,
        };
        let commands: Vec<_> =
            leg.commands.iter().filter(|(_, answer)| open(answer)).map(|(command, _)| command.clone()).collect();
        if !commands.is_empty() && (leg.next_at.is_none_or(|at| at <= now) || leg.is_ahead(now)) {
            let (attempt, issued_by, too_late) = (leg.attempt, leg.issued_by, leg.too_late);
            pending.push(Pending { commands, attempt, issued_by, too_late });
        }
    }
    pending
}

/// When the saga next acts by itself, if nothing comes before. A moment that was set by a clock that was ahead is due
/// now.
pub fn next_timer<P: Process>(state: &State<P>, now: Timestamp) -> Option<Timestamp> {
    if state.ended || state.definition.is_none() {
        return None;
    }
    let moments = state.legs.iter().flat_map(|leg| match leg.status {
        LegStatus::Open if leg.is_ahead(now) => [None, leg.check_at.map(|at| at.min(now)), leg.due_by()],
        LegStatus::Open => [leg.next_at.filter(|at| *at > now), leg.check_at, leg.due_by()],
        LegStatus::Succeeded if state.is_being_renewed(leg) => [None; 3],
        LegStatus::Succeeded if leg.is_ahead(now) => [leg.renew_at.map(|at| at.min(now)), None, None],
        LegStatus::Succeeded => [leg.renew_at, None, None],
        LegStatus::Failed | LegStatus::Stuck => [None; 3],
    });
    moments.flatten().min()
}
