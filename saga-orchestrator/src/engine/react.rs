//! From an input and the state to what happens. One input makes one append, however much follows from it.

use domain::Timestamp;
use domain::ids::{PaymentId, ShipmentId, reconciliation_id, saga_command_id};
use domain::saga::{
    Direction, ErrorKind, Event, Facts, Failure, IssuedCommand, LegStatus, Note, SagaInputRecorded, SagaNeedsAttention,
    SagaStarted, Source, StepRef, StepSucceeded, UndoSucceeded,
};
use domain::{Command, order, payment, shipment};
use uuid::Uuid;

use super::state::{Leg, Meta, State};
use crate::config::SagaConfig;
use crate::definition::{Ctx, Definition, Heard, Step};
use crate::ports::Outcome;

/// A fact from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Outside {
    /// Of the order.
    Order(order::Event),
    /// Of one of its payments.
    Payment(PaymentId, payment::Event),
    /// Of its shipment.
    Shipment(ShipmentId, shipment::Event),
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The command.
    pub command_id: Uuid,
    /// What became of it.
    pub outcome: Outcome,
}

/// All that can happen to a saga.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A fact came.
    Fact(Source, Box<Outside>),
    /// The commands of one step were answered.
    Answers(Vec<Answered>),
    /// Time has passed.
    Time,
}

/// What a saga starts with.
#[derive(Debug, Clone, PartialEq)]
pub struct Begin {
    /// The event it starts on.
    pub source: Source,
    /// What it knows.
    pub facts: Facts,
}

impl Begin {
    /// The id of the saga that begins so: the order's, except where an order may have several of the type.
    pub fn id(&self) -> Uuid {
        match &self.facts {
            Facts::Order(facts) => facts.order_id.0,
            Facts::Refund(facts) => facts.order_id.0,
            Facts::Reconciliation(_) => reconciliation_id(&self.source.stream, self.source.version),
        }
    }
}

/// The first events of a saga.
pub fn begin(
    definition: &'static Definition,
    stream: &str,
    start: &Begin,
    now: Timestamp,
    config: &SagaConfig,
) -> Vec<Event> {
    begun(definition, stream, start, now, config).events
}

pub(super) fn begun<'a>(
    definition: &'static Definition,
    stream: &str,
    start: &Begin,
    now: Timestamp,
    config: &'a SagaConfig,
) -> Draft<'a> {
    let mut draft = Draft::new(State::new(stream), definition, now, config);
    draft.emit(Event::SagaStarted(SagaStarted {
        saga: definition.name.to_owned(),
        definition_version: definition.version,
        order_id: start.facts.order_id(),
        source: start.source.clone(),
        facts: start.facts.clone(),
    }));
    draft.advance();
    draft
}

/// What follows from an input; nothing, if it is a duplicate or means nothing to the saga.
pub fn react(state: &State, input: &Input, now: Timestamp, config: &SagaConfig) -> Vec<Event> {
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

/// A saga of a table that this program does not have: a person must bring the program that has it.
fn unsupported(state: &State) -> Vec<Event> {
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

/// The events in the making, and the state as they will leave it.
pub(super) struct Draft<'a> {
    pub state: State,
    pub events: Vec<Event>,
    pub now: Timestamp,
    pub config: &'a SagaConfig,
    pub definition: &'static Definition,
    /// Whether what fails is not tried once more: for those who ask what a failure for good would mean.
    pub for_good: bool,
}

impl<'a> Draft<'a> {
    pub fn new(state: State, definition: &'static Definition, now: Timestamp, config: &'a SagaConfig) -> Self {
        Self { state, events: Vec::new(), now, config, definition, for_good: false }
    }

    pub fn emit(&mut self, event: Event) {
        // The id and the trace of an event matter to who dispatches, not to who decides.
        let meta = Meta { id: Uuid::nil(), at: self.now, correlation_id: Uuid::nil(), traceparent: None };
        self.state.evolve(&event, &meta);
        self.events.push(event);
    }

    pub fn ctx<'c>(&'c self, step: &'static Step, group: u32, direction: &'c str, refused: Option<&'c str>) -> Ctx<'c> {
        Ctx { state: &self.state, config: self.config, step: step.name, group, direction, refused }
    }

    /// Commands as they will be sent, now and ever after.
    pub fn issue(
        &self,
        step: &'static Step,
        group: u32,
        direction: &str,
        commands: Vec<Command>,
    ) -> Vec<IssuedCommand> {
        let issue = |command: Command| {
            let target = command.stream();
            IssuedCommand {
                id: saga_command_id(&self.state.stream, step.name, direction, group, &target),
                name: command.name().to_owned(),
                body: domain::saga::CommandBody::of(&command),
                target,
            }
        };
        commands.into_iter().map(issue).collect()
    }

    fn hear(&mut self, heard: Heard, source: &Source) {
        if self.state.ended {
            return;
        }
        match heard {
            Heard::Succeeded(step, group, lapses_at) => {
                if let Some(leg) = self.open(step, group, Direction::Do) {
                    self.succeed(&leg, Some(source.clone()), lapses_at);
                } else if self.state.leg(step, group, Direction::Do).is_none() {
                    self.note(Note::CameEarly, Some((step, group)), None, source);
                }
            }
            Heard::Failed(step, group, failure) => match self.open(step, group, Direction::Do) {
                Some(leg) if leg.status == LegStatus::Open => self.fail(&leg, failure, Vec::new(), Some(source)),
                Some(_) | None => self.gone(step, group, source),
            },
            Heard::UndoFailed(step, group, failure) => {
                if let Some(leg) = self.open(step, group, Direction::Undo).filter(|leg| leg.status == LegStatus::Open) {
                    let about = Some((step, group));
                    self.note(Note::UndoFailed, about, Some(failure.to_string()), source);
                    self.undo_again(&leg, failure, None);
                }
            }
            Heard::UndoFellShort(step, group, failure) => {
                if let Some(leg) = self.open(step, group, Direction::Undo).filter(|leg| leg.status == LegStatus::Open) {
                    self.attention(&leg, failure, true, Some(source));
                }
            }
            Heard::Noted(note, about, detail) => {
                let holds = &self.state.holds;
                let known = match note {
                    // A hold without a reason, noted up to 0.2.0, may be the one that is released.
                    Note::HoldReleased => !holds.has(detail.as_deref()) && !holds.has(Some("")),
                    // Also if it is the review's: then that was noted before.
                    Note::Held if about.is_none() => holds.has(detail.as_deref()),
                    Note::CancellationRequested
                    | Note::Held
                    | Note::CustomerMustAct
                    | Note::OutcomeUnknown
                    | Note::NothingLeft
                    | Note::CameEarly
                    | Note::UndoFailed => self
                        .state
                        .notes
                        .contains(&(note, about.map(|(step, group)| StepRef { step: step.into(), group }))),
                };
                if !known {
                    self.note(note, about, detail, source);
                }
            }
        }
    }

    /// Nothing is left of what a step did.
    fn gone(&mut self, step: &'static str, group: u32, source: &Source) {
        if self.open(step, group, Direction::Undo).is_some() {
            let source = Some(source.clone());
            return self.emit(Event::UndoSucceeded(UndoSucceeded { step: step.to_owned(), group, source }));
        }
        let nothing_left = self.state.leg(step, group, Direction::Do).is_some_and(|leg| leg.left_nothing);
        let undone = self.state.leg(step, group, Direction::Undo).is_some();
        if !(nothing_left || undone || self.state.noted_of(Note::NothingLeft, step, group)) {
            self.note(Note::NothingLeft, Some((step, group)), None, source);
        }
    }

    fn note(&mut self, note: Note, about: Option<(&'static str, u32)>, detail: Option<String>, source: &Source) {
        let about = about.map(|(step, group)| StepRef { step: step.to_owned(), group });
        let source = source.clone();
        self.emit(Event::SagaInputRecorded(SagaInputRecorded { source, note, about, detail }));
    }

    /// A leg that is open or stands still.
    pub fn open(&self, step: &str, group: u32, direction: Direction) -> Option<Leg> {
        self.state
            .leg(step, group, direction)
            .filter(|leg| matches!(leg.status, LegStatus::Open | LegStatus::Stuck))
            .cloned()
    }

    pub fn succeed(&mut self, leg: &Leg, source: Option<Source>, lapses_at: Option<Timestamp>) {
        let renew_at = leg.step.keep.map(|keep| self.now + self.config.duration(keep.every));
        let (step, group) = (leg.step.name.to_owned(), leg.group);
        self.emit(Event::StepSucceeded(StepSucceeded { step, group, source, lapses_at, renew_at }));
    }

    pub fn attention(&mut self, leg: &Leg, failure: Failure, stuck: bool, source: Option<&Source>) {
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
