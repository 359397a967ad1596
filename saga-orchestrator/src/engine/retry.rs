//! Answers of commands, and time: what is tried again, when, and when a person is called.

use std::time::Duration;

use domain::saga::{
    Answer, CommandAnswered, Direction, ErrorKind, Event, Failure, Kind, LegStatus, Note, StepRenewed,
    StepRetryScheduled, UndoSucceeded,
};

use super::react::{Answered, Draft};
use super::state::Leg;
use crate::config::Time;
use crate::definition::Limit;
use crate::ports::Outcome;

/// How often the provider is asked again about something that must be undone before a person is called: with waits
/// that double from 30 s that is a quarter of an hour.
const UNDO_CHECKS: u32 = 6;

/// What the answers of one step's commands come to.
struct Verdict {
    finals: Vec<Answer>,
    refused: Option<Failure>,
    unavailable: Option<(Failure, Option<Duration>)>,
}

impl Draft<'_> {
    /// The commands of one step were answered. Answers of what has ended meanwhile mean nothing any more.
    pub fn answered(&mut self, answers: &[Answered]) {
        let Some(first) = answers.first() else { return };
        let issued = |leg: &&Leg| leg.commands.iter().any(|(command, _)| command.id == first.command_id);
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

    fn forward_answered(&mut self, leg: &Leg, verdict: Verdict) {
        if let Some(failure) = verdict.refused {
            return self.fail(leg, failure, verdict.finals, None);
        }
        if let Some((failure, at_least)) = verdict.unavailable {
            // The pivot's outcome may only be unknown: it is never given up.
            let gives_up = matches!(leg.step.kind, Kind::Start | Kind::Compensatable);
            if leg.unanswered + 1 >= leg.step.tries && gives_up {
                return self.fail(leg, failure, verdict.finals, None);
            }
            return self.retry(leg, failure, verdict.finals, at_least);
        }
        if !self.all_done_with(leg, &verdict.finals) || leg.awaits_provider() {
            return; // The provider's word will follow; until then the command stays pending.
        }
        if self.state.noted_of(Note::NothingLeft, leg.step.name, leg.group) {
            let detail = "what would have ended this step well can no longer come".to_owned();
            let failure = Failure { kind: ErrorKind::Failed, code: "came-to-nothing".to_owned(), detail };
            self.fail(leg, failure, verdict.finals, None);
        } else if leg.awaits.is_none() {
            self.succeed(leg, None, None);
        } else if !leg.all_done() {
            self.record(leg, verdict.finals);
        }
    }

    fn undo_answered(&mut self, leg: &Leg, verdict: Verdict) {
        if let Some(failure) = verdict.refused {
            let code = failure.code.clone();
            return self.undo_again(leg, failure, Some(&code));
        }
        if let Some((failure, at_least)) = verdict.unavailable {
            return self.retry(leg, failure, verdict.finals, at_least);
        }
        if !self.all_done_with(leg, &verdict.finals) {
            return;
        }
        let (step, group) = (leg.step.name, leg.group);
        if leg.awaits.is_none() || self.state.noted_of(Note::NothingLeft, step, group) {
            let step = step.to_owned();
            self.emit(Event::UndoSucceeded(UndoSucceeded { step, group, source: None }));
        } else if !leg.all_done() {
            self.record(leg, verdict.finals);
        }
    }

    fn renewal_answered(&mut self, leg: &Leg, verdict: Verdict) {
        match verdict.unavailable {
            Some((failure, at_least)) if leg.unanswered + 1 < leg.step.tries => {
                self.retry(leg, failure, verdict.finals, at_least);
            }
            // A renewal that is refused, or never answered, is made good by the step that needs it (its `redo`).
            Some(_) | None => self.record(leg, verdict.finals),
        }
    }

    fn all_done_with(&self, leg: &Leg, finals: &[Answer]) -> bool {
        let now = |id| finals.iter().any(|answer| answer.command_id == id && answer.rejected.is_none());
        leg.commands.iter().all(|(command, before)| matches!(before, Some(Ok(()))) || now(command.id))
    }

    fn record(&mut self, leg: &Leg, answers: Vec<Answer>) {
        let (step, group, direction) = (leg.step.name.to_owned(), leg.group, leg.direction);
        self.emit(Event::CommandAnswered(CommandAnswered { step, group, direction, answers }));
    }

    /// Tries again after a while, without end; once it has been often enough, a person is called besides.
    fn retry(&mut self, leg: &Leg, failure: Failure, answers: Vec<Answer>, at_least: Option<Duration>) {
        let wait = self.backoff(leg, leg.attempt).max(at_least.unwrap_or_default());
        let next_at = self.now + wait;
        self.emit(Event::StepRetryScheduled(StepRetryScheduled {
            step: leg.step.name.to_owned(),
            group: leg.group,
            direction: leg.direction,
            attempt: leg.attempt,
            next_at,
            check_at: leg.awaits_provider().then(|| next_at + self.config.duration(leg.step.within)),
            answers,
            failure: failure.clone(),
        }));
        if leg.unanswered + 1 >= leg.step.tries && !leg.alerted && leg.direction != Direction::Renew {
            self.attention(leg, failure, false, None);
        }
    }

    /// The wait before the try after the `attempt`-th: doubles, has a cap, and up to a quarter is taken off by a hash
    /// of what it is for, so that what failed together does not come back together.
    pub fn backoff(&self, leg: &Leg, attempt: u32) -> Duration {
        let base = Duration::from_millis(self.config.retry_base_ms);
        let cap = Duration::from_secs(self.config.retry_cap_s);
        let wait = base.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1))).min(cap);
        let about = [&*self.state.stream, leg.step.name, leg.direction.as_str(), &attempt.to_string()];
        let draw = u32::from(domain::ids::derive(&about).as_bytes()[0]);
        wait - wait * draw / 1024
    }

    /// Does what is due, until nothing is: each takes its own moment away or ends what it belongs to.
    pub fn time(&mut self) {
        while let Some(leg) = self.state.legs.iter().find(|leg| is_due(leg, self.now)).cloned() {
            let before = self.events.len();
            self.due(&leg);
            debug_assert!(self.events.len() > before, "what is due must be taken away: {leg:?}");
            if self.events.len() == before || self.state.ended {
                return;
            }
        }
    }

    fn due(&mut self, leg: &Leg) {
        let now = self.now;
        let due = |at: Option<domain::Timestamp>| at.is_some_and(|at| at <= now);
        if leg.status != LegStatus::Open {
            return self.renew(leg);
        }
        if due(leg.deadline) {
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
            return self.succeed(leg, None, None); // It is not held (any more): ask again.
        }
        self.ask_again(leg);
    }

    /// Nothing was heard: the same commands once more, which makes their owner ask the provider.
    fn ask_again(&mut self, leg: &Leg) {
        let failure = self.send_again(leg);
        if leg.direction == Direction::Undo && leg.attempt >= leg.acted_at + UNDO_CHECKS && !leg.alerted {
            self.attention(leg, failure, false, None);
        }
    }

    /// The commands without a final answer once more, at once. Why: nothing was heard.
    pub fn send_again(&mut self, leg: &Leg) -> Failure {
        let within = if leg.direction == Direction::Undo { Time::ProviderCheck } else { leg.step.within };
        let longest = self.config.duration(within) * 10;
        let wait = self.config.duration(within).saturating_mul(2u32.saturating_pow(leg.attempt)).min(longest);
        let fact = leg.awaits.as_ref().map_or("answer", |awaits| awaits.fact.as_str());
        let detail = format!("no {fact} so far");
        let failure = Failure { kind: ErrorKind::TimedOut, code: "no-outcome".to_owned(), detail };
        self.emit(Event::StepRetryScheduled(StepRetryScheduled {
            step: leg.step.name.to_owned(),
            group: leg.group,
            direction: leg.direction,
            attempt: leg.attempt,
            next_at: self.now,
            check_at: leg.awaits_provider().then(|| self.now + wait),
            answers: Vec::new(),
            failure: failure.clone(),
        }));
        failure
    }

    fn renew(&mut self, leg: &Leg) {
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

fn is_due(leg: &Leg, now: domain::Timestamp) -> bool {
    let due = |at: Option<domain::Timestamp>| at.is_some_and(|at| at <= now);
    match leg.status {
        LegStatus::Open => due(leg.deadline) || due(leg.check_at),
        LegStatus::Succeeded => due(leg.renew_at),
        LegStatus::Failed | LegStatus::Stuck => false,
    }
}

fn verdict(answers: &[Answered]) -> Verdict {
    let mut verdict = Verdict { finals: Vec::new(), refused: None, unavailable: None };
    for answer in answers {
        let command_id = answer.command_id;
        match &answer.outcome {
            Outcome::Done => verdict.finals.push(Answer { command_id, rejected: None }),
            Outcome::Rejected { code, detail } => {
                let failure = Failure { kind: ErrorKind::Rejected, code: code.clone(), detail: detail.clone() };
                verdict.refused.get_or_insert_with(|| failure.clone());
                verdict.finals.push(Answer { command_id, rejected: Some(failure) });
            }
            Outcome::Unavailable { detail, retry_after } => {
                let code = "unavailable".to_owned();
                let failure = Failure { kind: ErrorKind::Unavailable, code, detail: detail.clone() };
                verdict.unavailable.get_or_insert((failure, *retry_after));
            }
        }
    }
    verdict
}
