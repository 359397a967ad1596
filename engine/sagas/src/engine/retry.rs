//! Answers of commands, and time: which commands are retried and when, and when a saga needs attention.

use std::time::Duration;

use crate::events::{CommandAnswered, Event, StepRenewed, StepRetryScheduled, UndoSucceeded};
use crate::parts::{Answer, Direction, ErrorKind, Failure, LateBy, TOO_LATE};
use crate::story::Note as _;
use crate::view::LegStatus;
use eventsourcing::Timestamp;
use pauses::Pauses;

use super::react::Draft;
use super::state::Leg;
use crate::definition::Limit;
use crate::outcome::{Answered, Outcome};
use crate::process::{NoteOf, Process, Settings as _, Time as _, TimeOf};

/// How often a party is asked again about a compensation before the saga needs attention: with waits that double from
/// 30 s that is a quarter of an hour.
const UNDO_CHECKS: u32 = 6;

/// The combined result of the answers to one step's commands.
struct Verdict {
    finals: Vec<Answer>,
    refused: Option<Failure>,
    unanswered: Option<Unanswered>,
}

/// The result that not all commands were decided.
struct Unanswered {
    why: Failure,
    /// The least time to wait.
    at_least: Option<Duration>,
    /// The times by which some were refused as too late.
    too_late: Option<LateBy>,
}

/// How often one look at the time may move a saga. A due action removes its own moment, so a saga of a few open steps
/// makes a few moves; more are a fault, which must not fill the log.
const MOVES_MAX: usize = 64;
/// While the participants cannot be reached the longest wait grows with the time since then: to a tenth of it, and to
/// so many times the usual longest wait. So an outage of a day costs an open step some 200 events, and ten minutes
/// after it every saga goes on.
const LONGEST_WAITS: u32 = 10;
/// A failure that lasts for longer than a day is retried this often in the time that it has lasted already: every ten
/// minutes on the first day, every twenty on the second, up to [`PURSUED_EVERY`]. So a year of it costs an open step
/// some 2 300 events.
const TRIES_OF_ITS_TIME: u32 = 144;
/// The longest wait between two tries, however long the failure has lasted.
const PURSUED_EVERY: Duration = Duration::from_secs(6 * 3600);

impl<P: Process> Draft<'_, P> {
    /// Takes in the answers to the commands of one step. Answers to a step that has ended meanwhile mean nothing any
    /// more.
    pub fn answered(&mut self, answers: &[Answered]) {
        let Some(first) = answers.first() else { return };
        let issued = |leg: &&Leg<P>| leg.commands.iter().any(|(command, _)| command.id == first.command_id);
        let Some(leg) = self.state.legs.iter().rev().find(issued).cloned() else { return };
        if leg.status != LegStatus::Open {
            return;
        }
        let verdict = verdict(answers);
        match leg.direction {
            Direction::Do => self.forward_answered(&leg, verdict),
            Direction::Undo => self.undo_answered(&leg, verdict),
            Direction::Renew => self.renewal_answered(&leg, verdict),
        }
    }

    fn forward_answered(&mut self, leg: &Leg<P>, verdict: Verdict) {
        if let Some(failure) = verdict.refused {
            return self.fail(leg, failure, verdict.finals, None);
        }
        if let Some(unanswered) = verdict.unanswered {
            return self.retry(leg, unanswered, verdict.finals);
        }
        if !self.all_done_with(leg, &verdict.finals) || leg.awaits_asked() {
            // The fact of the party that was asked will follow; until then the command stays pending.
            if leg.unanswered_since.is_some() {
                self.record(leg, verdict.finals);
            }
            return;
        }
        if self.state.noted_of(NoteOf::<P>::NOTHING_LEFT, leg.step.name, leg.group) {
            let detail = "what would have ended this step well can no longer come".to_owned();
            let failure = Failure { kind: ErrorKind::Failed, code: "came-to-nothing".to_owned(), detail };
            self.fail(leg, failure, verdict.finals, None);
        } else if leg.awaits.is_none() {
            self.succeed(leg, None, None);
        } else if !leg.all_done() || leg.unanswered_since.is_some() {
            self.record(leg, verdict.finals);
        }
    }

    fn undo_answered(&mut self, leg: &Leg<P>, verdict: Verdict) {
        if let Some(failure) = verdict.refused {
            let code = failure.code.clone();
            return self.undo_again(leg, failure, Some(&code));
        }
        if let Some(unanswered) = verdict.unanswered {
            return self.retry(leg, unanswered, verdict.finals);
        }
        if !self.all_done_with(leg, &verdict.finals) {
            return;
        }
        let (step, group) = (leg.step.name, leg.group);
        if leg.awaits.is_none() || self.state.noted_of(NoteOf::<P>::NOTHING_LEFT, step, group) {
            let step = step.to_owned();
            self.emit(Event::UndoSucceeded(UndoSucceeded { step, group, source: None }));
        } else if !leg.all_done() || leg.unanswered_since.is_some() {
            self.record(leg, verdict.finals);
        }
    }

    fn renewal_answered(&mut self, leg: &Leg<P>, verdict: Verdict) {
        match verdict.unanswered {
            // Until the next renewal takes its place.
            Some(unanswered) => self.retry(leg, unanswered, verdict.finals),
            // A refused renewal is repaired by the step that needs it (its `redo`).
            None => self.record(leg, verdict.finals),
        }
    }

    fn all_done_with(&self, leg: &Leg<P>, finals: &[Answer]) -> bool {
        let now = |id| finals.iter().any(|answer| answer.command_id == id && answer.rejected.is_none());
        leg.commands.iter().all(|(command, before)| matches!(before, Some(Ok(()))) || now(command.id))
    }

    fn record(&mut self, leg: &Leg<P>, answers: Vec<Answer>) {
        let (step, group, direction) = (leg.step.name.to_owned(), leg.group, leg.direction);
        // No participant had a chance to act while the command service could not be reached: the deadline is that much
        // later.
        let runs_on = leg.unanswered_since.is_some() && matches!(leg.step.limit, Limit::Fail(..));
        let deadline = leg.deadline.filter(|_| runs_on && direction == Direction::Do).map(|at| at + self.silence(leg));
        self.emit(Event::CommandAnswered(CommandAnswered { step, group, direction, answers, deadline }));
    }

    /// Retries after a while, without end: an unreachable participant is no answer, so no step fails because of it.
    /// When the silence has lasted, the saga also needs attention; the first answer ends that.
    fn retry(&mut self, leg: &Leg<P>, unanswered: Unanswered, answers: Vec<Answer>) {
        let Unanswered { why, at_least, too_late } = unanswered;
        // The first refusal as too late tells by which times the next deadline counts, so the retry needs no wait.
        let at_once = why.code == TOO_LATE && leg.too_late.is_none();
        let wait = if at_once { Duration::ZERO } else { self.backoff_of(leg).max(at_least.unwrap_or_default()) };
        let next_at = self.now + wait;
        self.emit(Event::StepRetryScheduled(StepRetryScheduled {
            step: leg.step.name.to_owned(),
            group: leg.group,
            direction: leg.direction,
            attempt: leg.attempt,
            next_at,
            check_at: leg.awaits_asked().then(|| next_at + self.config.duration(leg.step.within)),
            answers,
            failure: why.clone(),
            too_late,
        }));
        let tried = leg.unanswered + 1 >= leg.step.tries;
        if tried && self.lasts(leg) && !leg.alerted && leg.direction != Direction::Renew {
            self.attention(leg, why, false, None);
        }
    }

    /// For how long there has been no answer.
    fn silence(&self, leg: &Leg<P>) -> Duration {
        leg.unanswered_since.and_then(|since| (self.now - since).to_std().ok()).unwrap_or_default()
    }

    fn lasts(&self, leg: &Leg<P>) -> bool {
        self.silence(leg) >= self.config.duration(TimeOf::<P>::UNANSWERED)
    }

    fn backoff_of(&self, leg: &Leg<P>) -> Duration {
        let cap = self.config.retry().cap;
        let silence = self.silence(leg);
        let longest = (silence / LONGEST_WAITS).min(cap * LONGEST_WAITS).max(cap).max(long_lasting(silence));
        self.backoff_up_to(leg, leg.attempt, longest)
    }

    /// The wait after the `attempt`-th try. It doubles up to a cap, and a hash of the command takes off up to a
    /// quarter, so that commands that failed together do not come back together.
    pub fn backoff(&self, leg: &Leg<P>, attempt: u32) -> Duration {
        self.backoff_up_to(leg, attempt, self.config.retry().cap)
    }

    fn backoff_up_to(&self, leg: &Leg<P>, attempt: u32, longest: Duration) -> Duration {
        let wait = Pauses::doubling(self.config.retry().base, longest).after(attempt);
        let about = [&*self.state.stream, leg.step.name, leg.direction.as_str(), &attempt.to_string()];
        let draw = u32::from(P::IDS.derive(&about).as_bytes()[0]);
        wait - wait * draw / 1024
    }

    /// Takes every action that is due: each removes its own moment or ends its step.
    pub fn time(&mut self) {
        for _ in 0..MOVES_MAX {
            let due = |leg: &&Leg<P>| is_due(leg, self.now) && !self.state.is_being_renewed(leg);
            let Some(leg) = self.state.legs.iter().find(due).cloned() else { return };
            let before = self.events.len();
            self.due(&leg);
            debug_assert!(self.events.len() > before, "what is due must be taken away: {leg:?}");
            if self.events.len() == before || self.state.ended {
                return;
            }
        }
    }

    fn due(&mut self, leg: &Leg<P>) {
        let now = self.now;
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if leg.status != LegStatus::Open {
            return self.renew(leg);
        }
        if due(leg.due_by()) {
            let overdue = |code: &str| Failure {
                kind: ErrorKind::TimedOut,
                code: code.to_owned(),
                detail: format!("`{}` has taken too long", leg.step.name),
            };
            return match leg.step.limit {
                Limit::Fail(_, code) => self.fail(leg, overdue(code), Vec::new(), None),
                Limit::Alert(_) | Limit::AlertBeforeLapse(_) | Limit::Never => {
                    self.attention(leg, overdue("overdue"), false, None);
                }
            };
        }
        if leg.commands.is_empty() {
            return self.succeed(leg, None, None); // The saga has no hold (any more), so the next step can ask.
        }
        self.ask_again(leg);
    }

    /// Sends the same commands once more because nothing was heard, which makes their owner ask again.
    fn ask_again(&mut self, leg: &Leg<P>) {
        let failure = self.send_again(leg);
        if leg.direction == Direction::Undo && leg.attempt >= leg.acted_at + UNDO_CHECKS && !leg.alerted {
            self.attention(leg, failure, false, None);
        }
    }

    /// Sends the commands without a final answer once more, at once, because nothing was heard. Returns that as the
    /// failure.
    pub fn send_again(&mut self, leg: &Leg<P>) -> Failure {
        let wait = self.wait_for_word(leg);
        let fact = leg.awaits.as_ref().map_or("answer", |awaits| awaits.fact.as_str());
        let detail = format!("no {fact} so far");
        let failure = Failure { kind: ErrorKind::TimedOut, code: "no-outcome".to_owned(), detail };
        self.emit(Event::StepRetryScheduled(StepRetryScheduled {
            step: leg.step.name.to_owned(),
            group: leg.group,
            direction: leg.direction,
            attempt: leg.attempt,
            next_at: self.now,
            check_at: leg.awaits_asked().then(|| self.now + wait),
            answers: Vec::new(),
            failure: failure.clone(),
            too_late: None,
        }));
        failure
    }

    /// How long to wait for the fact of a party before it is asked again: the wait doubles up to ten times the first
    /// one, and grows further where it lasts for days. Once the saga needs attention it is a tenth of the time so far,
    /// up to some hours.
    fn wait_for_word(&self, leg: &Leg<P>) -> Duration {
        let within = if leg.direction == Direction::Undo { TimeOf::<P>::CHECK } else { leg.step.within };
        let first = self.config.duration(within);
        let so_far = (self.now - leg.began_at).to_std().unwrap_or_default();
        // Where a deadline ends the step the wait stays short: a party that was away for a day must be asked in the
        // remaining time.
        let lasts = if matches!(leg.step.limit, Limit::Fail(..)) { Duration::ZERO } else { long_lasting(so_far) };
        let longest = (first * 10).max(lasts);
        if leg.alerted {
            return (so_far / LONGEST_WAITS).min(PURSUED_EVERY).max(longest);
        }
        // The first wait is over by the time this is asked.
        Pauses::doubling(first, longest).after(leg.attempt.saturating_add(1))
    }

    fn renew(&mut self, leg: &Leg<P>) {
        let Some(keep) = leg.step.keep else { return };
        let round = self.state.leg(leg.step.name, leg.group, Direction::Renew).map_or(0, |leg| leg.round) + 1;
        let direction = format!("renew.{round}");
        let commands = (keep.sends)(&self.ctx(leg.step, leg.group, &direction, None));
        self.emit(Event::StepRenewed(StepRenewed {
            step: leg.step.name.to_owned(),
            group: leg.group,
            round,
            commands: self.issue(leg.step, leg.group, &direction, commands),
            next_at: self.now + self.config.duration(keep.every),
        }));
    }
}

/// The least wait between two tries of a failure that has lasted for this time.
fn long_lasting(time: Duration) -> Duration {
    (time / TRIES_OF_ITS_TIME).min(PURSUED_EVERY)
}

fn is_due<P: Process>(leg: &Leg<P>, now: Timestamp) -> bool {
    let passed = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
    // A moment that was set by a clock that was ahead is due now.
    let due = |at: Option<Timestamp>| passed(at) || (at.is_some() && leg.is_ahead(now));
    match leg.status {
        LegStatus::Open => passed(leg.due_by()) || due(leg.check_at),
        LegStatus::Succeeded => due(leg.renew_at),
        LegStatus::Failed | LegStatus::Stuck => false,
    }
}

fn verdict(answers: &[Answered]) -> Verdict {
    let mut verdict = Verdict { finals: Vec::new(), refused: None, unanswered: None };
    for answer in answers {
        let command_id = answer.command_id;
        match &answer.outcome {
            Outcome::Done => verdict.finals.push(Answer { command_id, rejected: None }),
            Outcome::Rejected { code, detail } => {
                let failure = Failure { kind: ErrorKind::Rejected, code: code.clone(), detail: detail.clone() };
                verdict.refused.get_or_insert_with(|| failure.clone());
                verdict.finals.push(Answer { command_id, rejected: Some(failure) });
            }
            Outcome::TooLate(late) => verdict.unanswered(too_late(*late), None, Some(*late)),
            Outcome::Unavailable { detail, retry_after } => {
                let code = "unavailable".to_owned();
                let why = Failure { kind: ErrorKind::Unavailable, code, detail: detail.clone() };
                verdict.unanswered(why, *retry_after, None);
            }
        }
    }
    verdict
}

fn too_late(late: LateBy) -> Failure {
    let stream = late.stream_time.map(|time| format!(", the stream's latest event is of {time}")).unwrap_or_default();
    let detail = format!("the command came after its deadline: the participant's clock shows {}{stream}", late.now);
    Failure { kind: ErrorKind::TimedOut, code: TOO_LATE.to_owned(), detail }
}

impl Verdict {
    /// Counts one more command without a decision. An unreachable participant weighs more than a command that came too
    /// late.
    fn unanswered(&mut self, why: Failure, at_least: Option<Duration>, too_late: Option<LateBy>) {
        self.unanswered = Some(match self.unanswered.take() {
            None => Unanswered { why, at_least, too_late },
            Some(before) => Unanswered {
                why: if before.why.kind == ErrorKind::Unavailable { before.why } else { why },
                at_least: before.at_least.max(at_least),
                too_late: match (before.too_late, too_late) {
                    (Some(one), Some(other)) => Some(one.max(other)),
                    (one, other) => one.or(other),
                },
            },
        });
    }
}
