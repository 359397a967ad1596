//! The given/when/then kit for sagas: the events so far, the input, and the events that follow.

use eventsourcing::Timestamp;
use uuid::Uuid;

use crate::engine::{Act, Begin, Input, Meta, Refusal, State, act, begin, pending, react};
use crate::events::Event;
use crate::outcome::{Answered, Outcome};
use crate::parts::Source;
use crate::process::{EventOf, Process, SettingsOf};
use crate::story::Story;

/// The moment `seconds` after the kit's epoch, 2026-01-05T12:00:00Z, a Monday.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_767_614_400 + seconds, 0).expect("seconds of a test are far from the calendar's ends")
}

/// A saga in its present state, as the given of a test.
#[derive(Debug, Clone)]
pub struct Given<P: Process> {
    state: State<P>,
    settings: SettingsOf<P>,
    now: Timestamp,
    /// How many facts from outside it has taken in: each gets the next version.
    heard: u64,
}

impl<P: Process> Given<P> {
    /// A saga of this type that has just begun, at the kit's epoch.
    pub fn begun(saga: &str, start: &Begin<P>, settings: SettingsOf<P>) -> Self {
        let definition = P::newest(saga).unwrap_or_else(|| panic!("there is no saga `{saga}`"));
        let stream = P::stream(saga, start.id());
        let given = Self { state: State::new(stream.clone()), settings, now: at(0), heard: 0 };
        let events = begin(definition, &stream, start, given.now, &given.settings);
        given.folded(&events)
    }

    /// Sets the time to so many seconds after the kit's epoch.
    #[must_use]
    pub fn at(mut self, seconds: i64) -> Self {
        self.now = at(seconds);
        self
    }

    /// The state so far.
    pub fn state(&self) -> &State<P> {
        &self.state
    }

    /// The names of the commands that must be sent.
    pub fn sends(&self) -> Vec<String> {
        let steps = pending(&self.state, self.now);
        steps.iter().flat_map(|step| &step.commands).map(|command| command.name.clone()).collect()
    }

    /// Gives every sent command this answer, step by step.
    #[must_use = "say what follows"]
    pub fn answered(self, outcome: Outcome) -> When<P> {
        let mut given = self;
        let mut events = Vec::new();
        for step in pending(&given.state, given.now) {
            let answer = |id| Answered { command_id: id, outcome: outcome.clone() };
            let answers = step.commands.iter().map(|command| answer(command.id)).collect();
            let follow = react(&given.state, &Input::Answers(answers), given.now, &given.settings);
            given = given.folded(&follow);
            events.extend(follow);
        }
        When { given, events }
    }

    /// Brings a fact from outside.
    #[must_use = "say what follows"]
    pub fn hears(mut self, outside: P::Outside) -> When<P> {
        let source = Source { stream: "outside".to_owned(), version: self.heard, event: "Fact".to_owned() };
        self.heard += 1;
        self.input(&Input::Fact(source, Box::new(outside)))
    }

    /// Lets the saga look at the time.
    #[must_use = "say what follows"]
    pub fn looks_at_the_time(self) -> When<P> {
        self.input(&Input::Time)
    }

    /// Lets an operator act on the saga. A refused action leaves the saga unchanged.
    ///
    /// # Errors
    /// [`Refusal`]: the action would break a rule, or change nothing.
    pub fn acted(self, asked: &Act) -> Result<When<P>, Refusal> {
        let events = act(&self.state, asked, self.now, &self.settings)?;
        Ok(When { given: self.folded(&events), events })
    }

    fn input(self, input: &Input<P>) -> When<P> {
        let events = react(&self.state, input, self.now, &self.settings);
        When { given: self.folded(&events), events }
    }

    /// Folds the events as they are read back from the log.
    fn folded(mut self, events: &[EventOf<P>]) -> Self {
        for event in events {
            let written = event.encode();
            let read = EventOf::<P>::decode(written.event_type, written.schema_version, written.data.get());
            let read = read.expect("what was encoded decodes");
            assert_eq!(&read, event, "an event survives the way to the log and back");
            let meta = Meta { id: Uuid::nil(), at: self.now, correlation_id: Uuid::nil(), traceparent: None };
            self.state.evolve(&read, &meta);
        }
        self
    }
}

/// The events that followed from an input, to be compared.
#[derive(Debug)]
pub struct When<P: Process> {
    given: Given<P>,
    events: Vec<EventOf<P>>,
}

impl<P: Process> When<P> {
    /// Asserts that these events followed and no others, each as its name and, where it is about a step, the step.
    #[track_caller]
    pub fn then(self, expected: &[&str]) -> Given<P> {
        let told: Vec<String> = self.events.iter().map(told).collect();
        assert_eq!(told, expected);
        self.given
    }

    /// Asserts that no event followed.
    #[track_caller]
    pub fn then_nothing(self) -> Given<P> {
        self.then(&[])
    }
}

/// Describes an event in a few words, such as `StepStarted hold`.
pub fn told<S: Story>(event: &Event<S>) -> String {
    let step = match event {
        Event::StepStarted(e) => Some(e.step.as_str()),
        Event::CommandAnswered(e) => Some(e.step.as_str()),
        Event::StepRetryScheduled(e) => Some(e.step.as_str()),
        Event::StepRenewed(e) => Some(e.step.as_str()),
        Event::StepSucceeded(e) => Some(e.step.as_str()),
        Event::StepFailed(e) => Some(e.step.as_str()),
        Event::UndoStarted(e) => Some(e.step.as_str()),
        Event::UndoSucceeded(e) => Some(e.step.as_str()),
        Event::SagaNeedsAttention(e) => Some(e.step.as_str()),
        Event::OperatorActed(e) => e.step.as_deref(),
        Event::SagaInputRecorded(e) => e.about.as_ref().map(|about| about.step.as_str()),
        Event::SagaStarted(_)
        | Event::CompensationStarted(_)
        | Event::SagaCompleted(_)
        | Event::SagaCompensated(_)
        | Event::SagaHandedOver(_) => None,
    };
    step.map_or_else(|| event.name().to_owned(), |step| format!("{} {step}", event.name()))
}
