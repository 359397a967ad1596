//! The state of a saga, and how its events change it. The events of the log are true: folding judges nothing.

use crate::events::{
    CompensationStarted, Event, OperatorActed, SagaNeedsAttention, SagaStarted, StepRetryScheduled, StepStarted,
};
use crate::parts::{Action, Direction, Holds, Kind, Source, StepRef};
use crate::story::{Note as _, Story};
use crate::view::LegStatus;
use eventsourcing::Timestamp;
use uuid::Uuid;

pub use super::leg::{Final, Leg};
use super::leg::{answer, close, new_leg};
use crate::definition::{Definition, Step};
use crate::process::{EventOf, FactsOf, NoteOf, Process, StoryOf, SubjectOf};

/// The metadata of an event.
#[derive(Debug, Clone)]
pub struct Meta {
    /// Id of the event.
    pub id: Uuid,
    /// When the event was decided.
    pub at: Timestamp,
    /// Id of the client's request that the saga follows from.
    pub correlation_id: Uuid,
    /// The W3C trace context (`traceparent`) of that request.
    pub traceparent: Option<String>,
}

/// The state of a saga, folded from its events.
#[derive(Debug, Clone)]
pub struct State<P: Process> {
    /// Name of the saga's stream.
    pub stream: String,
    /// The definition that the saga follows; `None` where this program does not have it (any more).
    pub definition: Option<&'static Definition<P>>,
    /// Type and version of the definition that the saga follows.
    pub follows: (String, u32),
    /// The facts that the saga starts with; `None` before it began.
    pub facts: Option<FactsOf<P>>,
    /// The version of its last event.
    pub version: Option<u64>,
    /// Id of the client's request that the saga follows from.
    pub correlation_id: Uuid,
    /// Id of the saga's last event, from which its own next actions follow.
    pub last_event: Uuid,
    /// The W3C trace context (`traceparent`) of the client's request.
    pub traceparent: Option<String>,
    /// The last version seen of each source stream: an event at or below it is a duplicate.
    pub marks: Vec<(String, u64)>,
    /// The notes about facts from outside, oldest first, each about the saga or a step attempt.
    pub notes: Vec<(NoteOf<P>, Option<StepRef>)>,
    /// The holds of the saga, by reason.
    pub holds: Holds,
    /// The step attempts in the order in which they began.
    pub legs: Vec<Leg<P>>,
    /// Code of the reason for the compensation, once it has begun.
    pub reason: Option<String>,
    /// The step attempts to compensate, in this order.
    pub to_undo: Vec<StepRef>,
    /// Whether it has ended.
    pub ended: bool,
    /// The reason why the saga cannot be followed, once it has been reported.
    pub unsupported: Option<String>,
    /// The ids of the operators' requests: none of them has an effect twice.
    pub requests: Vec<Uuid>,
}

impl<P: Process> State<P> {
    /// A saga that has not begun.
    pub fn new(stream: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            definition: None,
            follows: (String::new(), 0),
            facts: None,
            version: None,
            correlation_id: Uuid::nil(),
            last_event: Uuid::nil(),
            traceparent: None,
            marks: Vec::new(),
            notes: Vec::new(),
            holds: Holds::default(),
            legs: Vec::new(),
            reason: None,
            to_undo: Vec::new(),
            ended: false,
            unsupported: None,
            requests: Vec::new(),
        }
    }

    /// The subject of the saga; the default before it began.
    pub fn subject(&self) -> SubjectOf<P> {
        self.facts.as_ref().map(StoryOf::<P>::subject).unwrap_or_default()
    }

    /// Whether this event of another stream has been seen.
    pub fn has_seen(&self, source: &Source) -> bool {
        self.marks.iter().any(|(stream, version)| *stream == source.stream && *version >= source.version)
    }

    /// The newest attempt of a step, forward.
    pub fn latest(&self, step: &str) -> Option<&Leg<P>> {
        self.legs.iter().rev().find(|leg| leg.direction == Direction::Do && leg.step.name == step)
    }

    /// The number of a step's newest attempt; 0 before it began.
    pub fn group_of(&self, step: &str) -> u32 {
        self.latest(step).map_or(0, |leg| leg.group)
    }

    /// Whether the newest attempt of a step has succeeded.
    pub fn succeeded(&self, step: &str) -> bool {
        self.latest(step).is_some_and(|leg| leg.status == LegStatus::Succeeded)
    }

    /// One step attempt in one direction.
    pub fn leg(&self, step: &str, group: u32, direction: Direction) -> Option<&Leg<P>> {
        self.legs.iter().rev().find(|leg| leg.is(step, group, direction))
    }

    /// Whether the step's effect is being renewed by commands that have no answer at all: they are still on their way,
    /// and another renewal would only add to them. Where a part of them was answered, that part needs the next renewal.
    pub fn is_being_renewed(&self, leg: &Leg<P>) -> bool {
        leg.renew_at.is_some()
            && self.leg(leg.step.name, leg.group, Direction::Renew).is_some_and(|renewal| {
                let unanswered = renewal.commands.iter().all(|(_, answer)| answer.is_none());
                renewal.status == LegStatus::Open && renewal.unanswered_since.is_some() && unanswered
            })
    }

    /// Whether the note was made about the saga as a whole.
    pub fn noted(&self, note: NoteOf<P>) -> bool {
        self.notes.iter().any(|(noted, _)| *noted == note)
    }

    /// Whether the note was made about this step attempt.
    pub fn noted_of(&self, note: NoteOf<P>, step: &str, group: u32) -> bool {
        let about = |of: &StepRef| of.step == step && of.group == group;
        self.notes.iter().any(|(noted, of)| *noted == note && of.as_ref().is_some_and(about))
    }

    /// Folds one event into the state.
    pub fn evolve(&mut self, event: &EventOf<P>, meta: &Meta) {
        self.version = Some(self.version.map_or(0, |version| version + 1));
        self.last_event = meta.id;
        self.legs.iter_mut().for_each(|leg| leg.set_right(meta.at));
        if let Some(source) = source_of(event) {
            self.mark(source);
        }
        match event {
            Event::SagaStarted(e) => self.begun(e, meta),
            Event::SagaInputRecorded(e) => self.note(e.note, e.about.clone(), e.detail.as_deref()),
            Event::StepStarted(e) => self.step_started(e, meta),
            Event::CommandAnswered(e) => self.with_leg(&e.step, e.group, e.direction, |leg| {
                answer(leg, &e.answers);
                leg.reached();
                if e.deadline.is_some() {
                    (leg.deadline, leg.deadline_set_at) = (e.deadline, meta.at);
                }
                if leg.direction == Direction::Renew {
                    leg.status = LegStatus::Succeeded;
                }
            }),
            Event::StepRetryScheduled(e) => {
                self.with_leg(&e.step, e.group, e.direction, |leg| sent_again(leg, e, meta.at));
            }
            Event::StepRenewed(e) => {
                let Some(step) = self.row(&e.step) else { return };
                self.with_leg(&e.step, e.group, Direction::Do, |leg| {
                    (leg.renew_at, leg.set_at) = (Some(e.next_at), meta.at);
                });
                self.legs.retain(|leg| !leg.is(&e.step, e.group, Direction::Renew)); // The newest says it all.
                self.legs.push(new_leg(step, (e.group, Direction::Renew, e.round), &e.commands, meta));
            }
            Event::StepSucceeded(e) => self.with_leg(&e.step, e.group, Direction::Do, |leg| {
                close(leg, LegStatus::Succeeded);
                (leg.lapses_at, leg.renew_at, leg.set_at) = (e.lapses_at, e.renew_at, meta.at);
            }),
            Event::StepFailed(e) => self.with_leg(&e.step, e.group, Direction::Do, |leg| {
                close(leg, LegStatus::Failed);
                answer(leg, &e.answers);
                (leg.failure, leg.left_nothing) = (Some(e.failure.clone()), e.leaves_nothing);
            }),
            Event::CompensationStarted(e) => self.turned_back(e),
            Event::UndoStarted(e) => {
                let Some(step) = self.row(&e.step) else { return };
                let mut leg = new_leg(step, (e.group, Direction::Undo, e.round), &e.commands, meta);
                (leg.next_at, leg.check_at) = (e.next_at, e.check_at);
                leg.awaits.clone_from(&e.awaits);
                leg.acted_round = self.leg(&e.step, e.group, Direction::Undo).map_or(0, |before| before.acted_round);
                self.legs.retain(|leg| !leg.is(&e.step, e.group, Direction::Undo)); // Earlier rounds are over.
                self.legs.push(leg);
            }
            Event::UndoSucceeded(e) => {
                if self.leg(&e.step, e.group, Direction::Undo).is_none() {
                    let Some(step) = self.row(&e.step) else { return };
                    self.legs.push(new_leg(step, (e.group, Direction::Undo, 0), &[], meta));
                }
                self.with_leg(&e.step, e.group, Direction::Undo, |leg| close(leg, LegStatus::Succeeded));
            }
            Event::SagaCompleted(_) | Event::SagaCompensated(_) | Event::SagaHandedOver(_) => self.ended = true,
            Event::SagaNeedsAttention(e) => self.attention(e),
            Event::OperatorActed(e) => self.acted(e, meta.at),
        }
    }

    fn begun(&mut self, e: &SagaStarted<StoryOf<P>>, meta: &Meta) {
        self.follows = (e.saga.clone(), e.definition_version);
        self.definition = P::definition(&e.saga, e.definition_version);
        self.facts = Some(e.facts.clone());
        (self.correlation_id, self.traceparent) = (meta.correlation_id, meta.traceparent.clone());
        if let Some(step) = self.definition.and_then(|d| d.steps.first()).filter(|step| step.kind == Kind::Start) {
            let mut leg = new_leg(step, (0, Direction::Do, 0), &[], meta);
            leg.status = LegStatus::Succeeded;
            self.legs.push(leg);
        }
    }

    fn step_started(&mut self, e: &StepStarted<StoryOf<P>>, meta: &Meta) {
        let Some(step) = self.row(&e.step) else { return };
        let mut leg = new_leg(step, (e.group, Direction::Do, 0), &e.commands, meta);
        (leg.check_at, leg.deadline) = (e.check_at, e.deadline);
        leg.awaits.clone_from(&e.awaits);
        for other in self.legs.iter_mut().filter(|other| other.direction == Direction::Do) {
            if other.step.keep.is_some_and(|keep| keep.until == step.name) {
                other.renew_at = None;
            }
            let again = other.step.name == step.name || other.step.redo.is_some_and(|(redo, _)| redo == step.name);
            other.superseded |= again && other.status == LegStatus::Failed;
        }
        self.legs.push(leg);
    }

    /// The compensation began: open forward attempts are not awaited any more.
    fn turned_back(&mut self, e: &CompensationStarted) {
        self.reason = Some(e.reason.clone());
        self.to_undo.clone_from(&e.steps);
        let forward = |leg: &&mut Leg<P>| leg.direction != Direction::Undo && leg.status != LegStatus::Succeeded;
        self.legs.iter_mut().filter(forward).for_each(|leg| close(leg, LegStatus::Failed));
        self.legs.iter_mut().for_each(|leg| leg.renew_at = None);
    }

    fn attention(&mut self, e: &SagaNeedsAttention) {
        if self.row(&e.step).is_none() {
            self.unsupported = Some(e.failure.detail.clone());
        }
        self.with_leg(&e.step, e.group, e.direction, |leg| {
            leg.alerted = true;
            leg.failure = Some(e.failure.clone());
            if !e.failure.is_no_answer() {
                leg.deadline = None;
            }
            if e.stuck {
                close(leg, LegStatus::Stuck);
            }
        });
    }

    /// An operator acted: the need for attention ends, and comes back only when the saga does not go on from here.
    fn acted(&mut self, e: &OperatorActed, at: Timestamp) {
        self.requests.push(e.request_id);
        if let (Some(step), Some(group), Some(direction)) = (&e.step, e.group, e.direction) {
            self.with_leg(step, group, direction, |leg| {
                (leg.alerted, leg.unanswered, leg.acted_at) = (false, 0, leg.attempt);
                leg.unanswered_since = None;
                if leg.status == LegStatus::Stuck {
                    leg.acted_round = leg.round + 1;
                }
                if e.deadline.is_some() {
                    (leg.deadline, leg.deadline_set_at) = (e.deadline, at);
                }
            });
        } else if e.action == Action::Resume {
            self.unsupported = None;
        }
    }

    fn row(&self, step: &str) -> Option<&'static Step<P>> {
        self.definition.and_then(|definition| definition.step(step))
    }

    fn mark(&mut self, source: &Source) {
        match self.marks.iter_mut().find(|(stream, _)| *stream == source.stream) {
            Some((_, version)) => *version = (*version).max(source.version),
            None => self.marks.push((source.stream.clone(), source.version)),
        }
    }

    /// Whether the saga has a hold, as far as has been noted.
    pub fn is_held(&self) -> bool {
        NoteOf::<P>::HOLD.is_some_and(|hold| self.noted(hold.held))
    }

    fn note(&mut self, note: NoteOf<P>, about: Option<StepRef>, detail: Option<&str>) {
        if let Some(hold) = NoteOf::<P>::HOLD.filter(|hold| hold.released == note) {
            self.holds.release(detail);
            let is_steps = detail.is_none_or(|reason| reason == hold.of_step);
            let ends = |about: &Option<StepRef>| if about.is_some() { is_steps } else { self.holds.is_empty() };
            return self.notes.retain(|(noted, about)| *noted != hold.held || !ends(about));
        }
        if let Some(hold) = NoteOf::<P>::HOLD.filter(|hold| hold.held == note) {
            self.holds.add(if about.is_some() { Some(hold.of_step) } else { detail });
            // A step that waits for the release knows now that it is still to come.
            let waits = |leg: &&mut Leg<P>| leg.status == LegStatus::Open && leg.commands.is_empty();
            self.legs.iter_mut().filter(waits).for_each(|leg| leg.check_at = None);
        }
        if !self.notes.contains(&(note, about.clone())) {
            self.notes.push((note, about));
        }
    }

    fn with_leg(&mut self, step: &str, group: u32, direction: Direction, change: impl FnOnce(&mut Leg<P>)) {
        if let Some(leg) = self.legs.iter_mut().rev().find(|leg| leg.is(step, group, direction)) {
            change(leg);
        }
    }
}

fn sent_again<P: Process>(leg: &mut Leg<P>, e: &StepRetryScheduled, at: Timestamp) {
    answer(leg, &e.answers);
    leg.attempt = e.attempt + 1;
    (leg.next_at, leg.check_at, leg.set_at) = (Some(e.next_at), e.check_at, at);
    // The times count only for the sending right after the refusal: if that is still too late, it is refused again.
    leg.too_late = e.too_late;
    if e.failure.is_no_answer() {
        leg.unanswered += 1;
        leg.unanswered_since.get_or_insert(at);
    }
}

/// The fact from outside that an event records.
pub fn source_of<S: Story>(event: &Event<S>) -> Option<&Source> {
    match event {
        Event::SagaStarted(e) => Some(&e.source),
        Event::SagaInputRecorded(e) => Some(&e.source),
        Event::StepSucceeded(e) => e.source.as_ref(),
        Event::StepFailed(e) => e.source.as_ref(),
        Event::UndoSucceeded(e) => e.source.as_ref(),
        Event::SagaHandedOver(e) => e.source.as_ref(),
        Event::SagaNeedsAttention(e) => e.source.as_ref(),
        Event::StepStarted(_)
        | Event::CommandAnswered(_)
        | Event::StepRetryScheduled(_)
        | Event::StepRenewed(_)
        | Event::CompensationStarted(_)
        | Event::UndoStarted(_)
        | Event::SagaCompleted(_)
        | Event::SagaCompensated(_)
        | Event::OperatorActed(_) => None,
    }
}
