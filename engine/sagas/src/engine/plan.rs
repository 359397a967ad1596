//! The plan of a saga, found by letting the engine itself run on an assumed failure or on an operator's action.
//!
//! *Invariant:* the rules are not repeated here. Every step and every command comes out of [`Draft`].

use crate::events::{Event, SagaHandedOver, UndoSucceeded};
use crate::parts::{Direction, ErrorKind, Failure, Kind, Source};
use crate::story::Story;
use crate::view::LegStatus;
use eventsourcing::Timestamp;
use strum::IntoStaticStr;

use super::react::{Begin, Draft, begun};
use super::sent::{Sent, lasting, sent};
use super::state::{Leg, State};
use crate::definition::{Definition, Meaning};
use crate::process::{EventOf, Process, SettingsOf, StoryOf};

/// The most steps that are played through: more than any table has rows in both directions. It is only a bound.
const MOVES: usize = 200;

/// A compensation that would follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Undone {
    /// Name of the step to compensate.
    pub step: String,
    /// Number of the step attempt, from 0.
    pub group: u32,
    /// The commands that would be sent.
    pub sends: Vec<Sent>,
    /// A remark for people, such as that nothing needs to be sent.
    pub note: Option<&'static str>,
}

/// The consequence of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Way {
    /// The saga compensates.
    Compensate,
    /// The saga hands over to another saga.
    HandOver,
    /// The saga needs attention.
    Attention,
}

impl Way {
    /// The name of the consequence, as it is shown to people.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The consequences if one step failed for good.
#[derive(Debug, Clone, PartialEq)]
pub struct Fails {
    /// The step that would fail.
    pub step: &'static str,
    /// Whether the step, its compensation or its renewal would fail.
    pub direction: Direction,
    /// The consequence for the saga.
    pub way: Way,
    /// The compensations that would follow, in this order.
    pub steps: Vec<Undone>,
    /// Names of the steps that are done, and their effects that cannot be undone.
    pub irreversible: Vec<(&'static str, &'static str)>,
    /// Name of the step that would first get one more attempt.
    pub first: Option<&'static str>,
}

/// The plan of a saga: what may follow from its present state.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Names of the current steps.
    pub at: Vec<&'static str>,
    /// The consequences of a failure of each current step: those that need attention first, then the newest.
    pub fails: Vec<Fails>,
    /// The steps that follow if all goes well.
    pub next: Vec<(String, Kind)>,
}

/// Plans what may follow from the present state of a saga.
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
        return fails; // The step has failed already, or is a compensation, which is only retried.
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

/// The compensations of the saga that would take over.
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

/// The compensations in these events: the commands that they send, and those that need none.
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

/// Lets all open steps succeed, up to so many times.
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

/// Lets only the compensations succeed.
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
