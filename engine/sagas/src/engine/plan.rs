//! What would happen: found by letting the engine itself run on a supposed failure, or on what a person wants.
//!
//! *Invariant:* nothing here is a second telling of the rules. Every step and every command comes out of [`Draft`].

use crate::events::{Event, SagaHandedOver, UndoSucceeded};
use crate::parts::{Direction, ErrorKind, Failure, Kind, Source};
use crate::story::Story;
use crate::view::LegStatus;
use eventsourcing::Timestamp;

use super::react::{Begin, Draft, begun};
use super::sent::{Sent, lasting, sent};
use super::state::{Leg, State};
use crate::definition::{Definition, Meaning};
use crate::process::{EventOf, Process, SettingsOf, StoryOf};

/// Steps that are played through at most: more than any table has rows, both ways. A bound only.
const MOVES: usize = 200;

/// A step of the way that would follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Undone {
    /// The step.
    pub step: String,
    /// The attempt group.
    pub group: u32,
    /// What would be sent.
    pub sends: Vec<Sent>,
    /// What else is to be known.
    pub note: Option<&'static str>,
}

/// Where a failure would lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Back.
    Compensate,
    /// Over to another saga.
    HandOver,
    /// Nowhere: a person must look.
    Attention,
}

impl Way {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compensate => "compensate",
            Self::HandOver => "hand_over",
            Self::Attention => "attention",
        }
    }
}

/// What a failure of one step, for good, would mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Fails {
    /// The step that would fail.
    pub step: &'static str,
    /// The way it is on.
    pub direction: Direction,
    /// Where that would lead.
    pub way: Way,
    /// What would be done then, in this order.
    pub steps: Vec<Undone>,
    /// Steps that are done, and what of them cannot be undone.
    pub irreversible: Vec<(&'static str, &'static str)>,
    /// The step that would get one more attempt first.
    pub first: Option<&'static str>,
}

/// What may follow from how a saga stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The steps that it is at.
    pub at: Vec<&'static str>,
    /// What a failure of each would mean; what needs a person first, then the newest.
    pub fails: Vec<Fails>,
    /// The steps that follow if all goes well.
    pub next: Vec<(String, Kind)>,
}

/// What may follow.
pub fn plan<P: Process>(state: &State<P>, now: Timestamp, config: &SettingsOf<P>) -> Plan {
    let Some(definition) = state.definition.filter(|_| !state.ended) else { return Plan::default() };
    let mut open: Vec<&Leg<P>> = state.legs.iter().filter(|leg| is_open(leg)).collect();
    let at = open.iter().map(|leg| leg.step.name).collect();
    open.reverse();
    open.sort_by_key(|leg| !(leg.alerted || leg.status == LegStatus::Stuck));
    let fails = open.into_iter().map(|leg| failing(state, definition, leg, now, config)).collect();
    let mut draft = Draft::new(state.clone(), definition, now, config);
    play(&mut draft, 1);
    Plan { at, fails, next: draft.events.iter().filter_map(started).collect() }
}

fn is_open<P: Process>(leg: &Leg<P>) -> bool {
    leg.direction != Direction::Renew && matches!(leg.status, LegStatus::Open | LegStatus::Stuck)
}

fn started<S: Story>(event: &Event<S>) -> Option<(String, Kind)> {
    if let Event::StepStarted(e) = event { Some((e.step.clone(), e.kind)) } else { None }
}

fn failing<P: Process>(
    state: &State<P>,
    definition: &'static Definition<P>,
    leg: &Leg<P>,
    now: Timestamp,
    config: &SettingsOf<P>,
) -> Fails {
    let done = |leg: &&Leg<P>| leg.direction == Direction::Do && leg.status == LegStatus::Succeeded;
    let lasting = |leg: &Leg<P>| {
        let sent = leg.commands.iter().find_map(|(command, _)| lasting::<P>(command));
        sent.filter(|_| leg.step.undo.is_none()).map(|why| (leg.step.name, why))
    };
    let irreversible = state.legs.iter().filter(done).filter_map(lasting).collect();
    let (step, direction) = (leg.step.name, leg.direction);
    let fails = Fails { step, direction, way: Way::Attention, steps: Vec::new(), irreversible, first: None };
    if leg.status == LegStatus::Stuck || direction != Direction::Do {
        return fails; // It has failed; or it is the way back itself, which is only tried again.
    }
    let mut draft = Draft::new(state.clone(), definition, now, config);
    draft.for_good = true;
    let kind = if leg.awaits_asked() { ErrorKind::Failed } else { ErrorKind::Rejected };
    let failure = Failure { kind, code: "supposed".to_owned(), detail: String::new() };
    let first = leg.step.redo.filter(|(target, max)| {
        let again = matches!((leg.step.means)(&failure), Meaning::Redo(_));
        again && state.group_of(target) < *max && (definition.stops)(state).is_none()
    });
    draft.fail(leg, failure, Vec::new(), None);
    draft.advance();
    play_back(&mut draft);
    let over = draft.events.iter().find_map(|event| if let Event::SagaHandedOver(e) = event { Some(e) } else { None });
    let (way, steps) = match over {
        Some(over) => (Way::HandOver, taken_over::<P>(over, now, config)),
        None if draft.state.reason.is_some() => (Way::Compensate, undone::<P>(&draft.events, Some(step))),
        None => (Way::Attention, Vec::new()),
    };
    Fails { way, steps, first: first.map(|(target, _)| target), ..fails }
}

/// What the saga that takes over would do.
pub(super) fn taken_over<P: Process>(
    over: &SagaHandedOver<StoryOf<P>>,
    now: Timestamp,
    config: &SettingsOf<P>,
) -> Vec<Undone> {
    let Some(definition) = P::newest(&over.to) else { return Vec::new() };
    let source = Source { stream: String::new(), version: 0, event: "SagaHandedOver".to_owned() };
    let start: Begin<P> = Begin { source, facts: over.facts.clone().into() };
    let mut draft = begun(definition, &P::stream(&over.to, start.id()), &start, now, config);
    play(&mut draft, MOVES);
    let step = |event: &EventOf<P>| {
        let Event::StepStarted(e) = event else { return None };
        Some(Undone { step: e.step.clone(), group: e.group, sends: sent::<P>(&e.commands), note: None })
    };
    draft.events.iter().filter_map(step).collect()
}

/// What of a way back is sent, and what needs nothing.
pub(super) fn undone<P: Process>(events: &[EventOf<P>], failed: Option<&str>) -> Vec<Undone> {
    let mut steps: Vec<Undone> = Vec::new();
    for event in events {
        if let Event::UndoStarted(e) = event {
            let note = (failed == Some(e.step.as_str())).then_some("only if it is not certain that it left nothing");
            let sends = sent::<P>(&e.commands);
            steps.push(Undone { step: e.step.clone(), group: e.group, sends, note });
        } else if let Event::UndoSucceeded(e) = event
            && !steps.iter().any(|undone| undone.step == e.step && undone.group == e.group)
        {
            let note = Some("nothing is sent any more: it is on its way, or nothing is left");
            steps.push(Undone { step: e.step.clone(), group: e.group, sends: Vec::new(), note });
        }
    }
    steps
}

/// Lets everything that is on its way end well, so many times.
fn play<P: Process>(draft: &mut Draft<P>, moves: usize) {
    for _ in 0..moves {
        let open: Vec<Leg<P>> = draft.state.legs.iter().filter(|leg| is_open(leg)).cloned().collect();
        if draft.state.ended || open.is_empty() {
            return;
        }
        open.iter().for_each(|leg| ends_well(draft, leg));
        draft.advance();
    }
}

/// Lets only what is undone end well.
pub(super) fn play_back<P: Process>(draft: &mut Draft<P>) {
    for _ in 0..MOVES {
        let open = draft.undoing().cloned();
        let Some(leg) = open.filter(|_| !draft.state.ended) else { return };
        ends_well(draft, &leg);
        draft.advance();
    }
}

fn ends_well<P: Process>(draft: &mut Draft<P>, leg: &Leg<P>) {
    if leg.direction == Direction::Undo {
        let (step, group) = (leg.step.name.to_owned(), leg.group);
        draft.emit(Event::UndoSucceeded(UndoSucceeded { step, group, source: None }));
    } else {
        draft.succeed(leg, None, None);
    }
}
