//! Decides from an input and the state which events follow. One input makes one append, however much follows from it.

use crate::events::{Event, SagaInputRecorded, SagaNeedsAttention, SagaStarted, StepSucceeded, UndoSucceeded};
use crate::parts::{CommandBody, Direction, ErrorKind, Failure, IssuedCommand, Source, StepRef};
use crate::story::{Note as _, Story};
use crate::view::LegStatus;
use eventsourcing::Timestamp;
use uuid::Uuid;

use super::state::{Leg, Meta, State};
use crate::definition::{Ctx, Definition, Heard, Step};
use crate::ids;
use crate::outcome::Answered;
use crate::process::{Commands, EventOf, FactsOf, NoteOf, Process, Settings as _, SettingsOf, StoryOf};

/// An input of a saga.
#[derive(Debug, Clone, PartialEq)]
pub enum Input<P: Process> {
    /// A fact from outside came.
    Fact(Source, Box<P::Outside>),
    /// The commands of one step were answered.
    Answers(Vec<Answered>),
    /// Time has passed.
    Time,
}

/// The beginning of a saga.
#[derive(Debug, Clone, PartialEq)]
pub struct Begin<P: Process> {
    /// The event that starts it.
    pub source: Source,
    /// The facts that it starts with.
    pub facts: FactsOf<P>,
}

impl<P: Process> Begin<P> {
    /// The id of the saga that begins in this way.
    pub fn id(&self) -> Uuid {
        P::saga_id(&self.source, &self.facts)
    }
}

/// Decides the first events of a saga.
pub fn begin<P: Process>(
    definition: &'static Definition<P>,
    stream: &str,
    start: &Begin<P>,
    now: Timestamp,
    config: &SettingsOf<P>,
) -> Vec<EventOf<P>> {
    begun(definition, stream, start, now, config).events
}

pub(super) fn begun<'a, P: Process>(
    definition: &'static Definition<P>,
    stream: &str,
    start: &Begin<P>,
    now: Timestamp,
    config: &'a SettingsOf<P>,
) -> Draft<'a, P> {
    let mut draft = Draft::new(State::new(stream), definition, now, config);
    draft.emit(Event::SagaStarted(SagaStarted {
        saga: definition.name.to_owned(),
        definition_version: definition.version,
        subject: StoryOf::<P>::subject(&start.facts),
        source: start.source.clone(),
        facts: start.facts.clone(),
    }));
    draft.advance();
    draft
}

/// Decides which events follow from an input; none if it is a duplicate or means nothing to the saga.
pub fn react<P: Process>(
    state: &State<P>,
    input: &Input<P>,
    now: Timestamp,
    config: &SettingsOf<P>,
) -> Vec<EventOf<P>> {
    if state.ended || state.facts.is_none() {
        return Vec::new();
    }
    let Some(definition) = state.definition else { return unsupported(state) };
    let mut draft = Draft::new(state.clone(), definition, now, config);
    match input {
        Input::Fact(source, _) if state.has_seen(source) => return Vec::new(),
        Input::Fact(source, outside) => {
            for heard in (definition.hears)(state, outside) {
                draft.hear(heard, source);
            }
        }
        Input::Answers(answers) => draft.answered(answers),
        Input::Time => draft.time(),
    }
    draft.advance();
    draft.events
}

/// The events for a saga whose definition this program does not have: an operator must start a program that has it.
fn unsupported<P: Process>(state: &State<P>) -> Vec<EventOf<P>> {
    if state.unsupported.is_some() {
        return Vec::new();
    }
    let (name, version) = &state.follows;
    let detail =
        format!("this program does not know version {version} of the saga `{name}`; run the release that does");
    let failure = Failure { kind: ErrorKind::Unsupported, code: "unknown-definition".to_owned(), detail };
    let step = String::new();
    let attention = SagaNeedsAttention { step, group: 0, direction: Direction::Do, failure, stuck: true, source: None };
    vec![Event::SagaNeedsAttention(attention)]
}

/// The events so far, and the state that they will leave.
pub(super) struct Draft<'a, P: Process> {
    pub state: State<P>,
    pub events: Vec<EventOf<P>>,
    pub now: Timestamp,
    pub config: &'a SettingsOf<P>,
    pub definition: &'static Definition<P>,
    /// Whether a failed step is not retried, to see what a failure for good would mean.
    pub for_good: bool,
}

impl<'a, P: Process> Draft<'a, P> {
    pub fn new(state: State<P>, definition: &'static Definition<P>, now: Timestamp, config: &'a SettingsOf<P>) -> Self {
        Self { state, events: Vec::new(), now, config, definition, for_good: false }
    }

    pub fn emit(&mut self, event: EventOf<P>) {
        // The id and the trace of an event matter when commands are sent, not when they are decided.
        let meta = Meta { id: Uuid::nil(), at: self.now, correlation_id: Uuid::nil(), traceparent: None };
        self.state.evolve(&event, &meta);
        self.events.push(event);
    }

    pub fn ctx<'c>(
        &'c self,
        step: &'static Step<P>,
        group: u32,
        direction: &'c str,
        refused: Option<&'c str>,
    ) -> Ctx<'c, P> {
        Ctx { state: &self.state, config: self.config, step: step.name, group, direction, refused }
    }

    /// Issues commands as they will be sent, now and in every retry.
    pub fn issue(
        &self,
        step: &'static Step<P>,
        group: u32,
        direction: &str,
        commands: Commands<P>,
    ) -> Vec<IssuedCommand> {
        let issue = |command: P::Command| {
            let target = P::target(&command);
            IssuedCommand {
                id: ids::command(&P::IDS, &self.state.stream, step.name, direction, group, &target),
                name: P::command_name(&command).to_owned(),
                body: CommandBody::of(&command),
                target,
            }
        };
        commands.into_iter().map(issue).collect()
    }

    fn hear(&mut self, heard: Heard<NoteOf<P>>, source: &Source) {
        if self.state.ended {
            return;
        }
        match heard {
            Heard::Succeeded(step, group, lapses_at) => {
                if let Some(leg) = self.open(step, group, Direction::Do) {
                    self.succeed(&leg, Some(source.clone()), lapses_at);
                } else if self.state.leg(step, group, Direction::Do).is_none() {
                    self.note(NoteOf::<P>::CAME_EARLY, Some((step, group)), None, source);
                }
            }
            Heard::Failed(step, group, failure) => match self.open(step, group, Direction::Do) {
                Some(leg) if leg.status == LegStatus::Open => self.fail(&leg, failure, Vec::new(), Some(source)),
                Some(_) | None => self.gone(step, group, source),
            },
            Heard::UndoFailed(step, group, failure) => {
                if let Some(leg) = self.open(step, group, Direction::Undo).filter(|leg| leg.status == LegStatus::Open) {
                    let about = Some((step, group));
                    self.note(NoteOf::<P>::UNDO_FAILED, about, Some(failure.to_string()), source);
                    self.undo_again(&leg, failure, None);
                }
            }
            Heard::UndoFellShort(step, group, failure) => {
                if let Some(leg) = self.open(step, group, Direction::Undo).filter(|leg| leg.status == LegStatus::Open) {
                    self.attention(&leg, failure, true, Some(source));
                }
            }
            Heard::Noted(note, about, detail) => {
                if !self.knows(note, about, detail.as_deref()) {
                    self.note(note, about, detail, source);
                }
            }
        }
    }

    /// Whether a note would add nothing new.
    fn knows(&self, note: NoteOf<P>, about: Option<(&'static str, u32)>, detail: Option<&str>) -> bool {
        let (hold, holds) = (NoteOf::<P>::HOLD, &self.state.holds);
        if hold.is_some_and(|hold| hold.released == note) {
            // A hold without a reason, as older releases noted it, may be the one that is released.
            return !holds.has(detail) && !holds.has(Some(""));
        }
        if about.is_none() && hold.is_some_and(|hold| hold.held == note) {
            return holds.has(detail); // This is also so if it is the hold of a step: that was noted before.
        }
        let about = about.map(|(step, group)| StepRef { step: step.into(), group });
        self.state.notes.contains(&(note, about))
    }

    /// Records that nothing is left of a step's effect.
    fn gone(&mut self, step: &'static str, group: u32, source: &Source) {
        if self.open(step, group, Direction::Undo).is_some() {
            let source = Some(source.clone());
            return self.emit(Event::UndoSucceeded(UndoSucceeded { step: step.to_owned(), group, source }));
        }
        let nothing_left = self.state.leg(step, group, Direction::Do).is_some_and(|leg| leg.left_nothing);
        let undone = self.state.leg(step, group, Direction::Undo).is_some();
        if !(nothing_left || undone || self.state.noted_of(NoteOf::<P>::NOTHING_LEFT, step, group)) {
            self.note(NoteOf::<P>::NOTHING_LEFT, Some((step, group)), None, source);
        }
    }

    fn note(&mut self, note: NoteOf<P>, about: Option<(&'static str, u32)>, detail: Option<String>, source: &Source) {
        let about = about.map(|(step, group)| StepRef { step: step.to_owned(), group });
        let source = source.clone();
        self.emit(Event::SagaInputRecorded(SagaInputRecorded { source, note, about, detail }));
    }

    /// A step attempt that is open or stands still.
    pub fn open(&self, step: &str, group: u32, direction: Direction) -> Option<Leg<P>> {
        self.state
            .leg(step, group, direction)
            .filter(|leg| matches!(leg.status, LegStatus::Open | LegStatus::Stuck))
            .cloned()
    }

    pub fn succeed(&mut self, leg: &Leg<P>, source: Option<Source>, lapses_at: Option<Timestamp>) {
        let renew_at = leg.step.keep.map(|keep| self.now + self.config.duration(keep.every));
        let (step, group) = (leg.step.name.to_owned(), leg.group);
        self.emit(Event::StepSucceeded(StepSucceeded { step, group, source, lapses_at, renew_at }));
    }

    pub fn attention(&mut self, leg: &Leg<P>, failure: Failure, stuck: bool, source: Option<&Source>) {
        self.emit(Event::SagaNeedsAttention(SagaNeedsAttention {
            step: leg.step.name.to_owned(),
            group: leg.group,
            direction: leg.direction,
            failure,
            stuck,
            source: source.cloned(),
        }));
    }
}
