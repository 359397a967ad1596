//! A call and its repetitions, all within one deadline.
//!
//! *Invariant:* no call outlives its deadline, whatever the server does. A call that was answered was answered by the
//! server; one that was not says whether something may have been done.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::connection::{Link, Links, pause};
use crate::fault::Fault;
use crate::{Error, Node};

/// The pause before the first repetition; it doubles, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// A server that is back is asked again within this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A try gets half of the time that is left, so that there is time for another one; but not less than this, lest a slow
/// server be asked for the same again and again.
const SHORTEST_TRY: Duration = Duration::from_millis(500);

/// How a call ended without an answer.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The answer is an error.
    Error(Error),
    /// Nobody answered; the reason is of the last try. What was asked may have been done.
    Unanswered(String),
}

/// Calls until there is an answer or the deadline has passed. `call` makes one try over one connection, within the time it
/// is given. Dropped while it waits, what was asked may be done or not.
pub(crate) async fn settle<T, F: Future<Output = Result<T, Fault>> + Send>(
    links: &Arc<Links>,
    deadline: Duration,
    call: impl Fn(Arc<Link>, Duration) -> F,
) -> Result<T, Ended> {
    let until = Instant::now() + deadline;
    let mut unanswered = None;
    for tries in 1.. {
        let link = match links.link(Some(until)).await {
            Ok(link) => link,
            Err(error) => return Err(unanswered.map_or(Ended::Error(error), Ended::Unanswered)),
        };
        let left = until.saturating_duration_since(Instant::now());
        let share = (left / 2).max(SHORTEST_TRY).min(left);
        let number = link.number;
        let fault = match timeout(share, call(link, share)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(fault)) => fault,
            Err(_) => Fault::lost(format!("no answer within {share:?}")),
        };
        let (error, at_once) = judge(links, number, fault, &mut unanswered)?;
        let pause = if at_once && tries == 1 { Duration::ZERO } else { pause(FIRST_PAUSE, tries).min(LONGEST_PAUSE) };
        if Instant::now() + pause >= until {
            return Err(unanswered.map_or(Ended::Error(error), Ended::Unanswered));
        }
        tokio::time::sleep(pause).await;
    }
    unreachable!("the loop has no end of its own")
}

/// What a failed try means for the next one: the error if there is none, and whether to go on at once.
fn judge(links: &Links, number: u64, fault: Fault, unanswered: &mut Option<String>) -> Result<(Error, bool), Ended> {
    match fault {
        Fault::Final(error) => Err(Ended::Error(error)),
        Fault::Busy(reason) => Ok((Error::Busy { store: links.store.clone(), reason }, false)),
        Fault::NotLeader { leader, sent } => {
            let reason = not_leader(leader.as_ref());
            Ok(go_elsewhere(links, number, reason, leader, sent, unanswered))
        }
        Fault::Lost { reason, sent } => Ok(go_elsewhere(links, number, reason, None, sent, unanswered)),
    }
}

/// Gives the connection up. The next try is made at once, if it is the first to fail.
fn go_elsewhere(
    links: &Links,
    number: u64,
    reason: String,
    leader: Option<Node>,
    sent: bool,
    unanswered: &mut Option<String>,
) -> (Error, bool) {
    links.lost(number, &reason, leader);
    let error = links.unavailable(&reason);
    if sent {
        *unanswered = Some(reason);
    }
    (error, true)
}

/// The words for a node that does not lead.
pub(crate) fn not_leader(leader: Option<&Node>) -> String {
    match leader {
        Some(leader) => format!("the node does not lead, {leader} does"),
        None => "the node does not lead".to_owned(),
    }
}
