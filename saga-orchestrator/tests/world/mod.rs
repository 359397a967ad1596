//! A whole shop in memory: the real aggregates, the real sagas, and a provider that misbehaves on order. It goes step
//! by step, so that it can be killed between any two of them.

#![allow(dead_code, clippy::unwrap_used, reason = "tests only; each test file uses its own part of the world")]

pub mod cluster;
pub mod mini_bus;
pub mod node;
pub mod people;
pub mod provider;
pub mod running;
pub mod shop;
pub mod story;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chrono::TimeDelta;
use domain::ids::{OrderId, PaymentId, ShipmentId, StockId};
use domain::order::{self, Order};
use domain::payment::{Command as P, Payment};
use domain::saga::{Event, LateBy, Source};
use domain::shipment::Shipment;
use domain::stock::StockItem;
use domain::{Aggregate, Command, Rejected, Timestamp};
use saga_engine::{Answered, Meta, Pending, begin, next_timer, pending, react};
use saga_orchestrator::shop::{Begin, Input, Outside, State};
use saga_orchestrator::{Outcome, SagaConfig, sagas, stream};
use uuid::Uuid;

use provider::Provider;

/// For how long a command may be carried out after it was sent.
const NOT_AFTER: Duration = Duration::from_secs(15 * 60);

/// A fact of the log that sagas may hear.
#[derive(Debug, Clone)]
pub enum Fact {
    Outside(Source, Outside),
    HandedOver(Source, domain::saga::SagaHandedOver),
}

/// How the feed brings facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    InOrder,
    /// Each fact comes twice, and once more later.
    Duplicated,
    /// Facts of different streams overtake one another.
    Reordered,
}

pub struct World {
    pub now: Timestamp,
    pub config: SagaConfig,
    pub orders: BTreeMap<OrderId, (Order, u64)>,
    pub payments: BTreeMap<PaymentId, (Payment, u64)>,
    pub shipments: BTreeMap<ShipmentId, (Shipment, u64)>,
    pub stocks: BTreeMap<StockId, (StockItem, u64)>,
    pub provider: Provider,
    /// The saga streams.
    pub sagas: BTreeMap<String, Vec<(Event, Timestamp)>>,
    /// The feed.
    pub log: Vec<Fact>,
    pub feed: Feed,
    /// Whether the feed brings nothing for a while.
    pub silent_feed: bool,
    /// At these moments the clock is turned by so many seconds, forward or back.
    pub turns: BTreeMap<usize, i64>,
    /// By how much it has been turned in all.
    turned: TimeDelta,
    /// The time of the latest event of each stream that sagas send commands to.
    pub latest: BTreeMap<String, Timestamp>,
    /// Whether no command gets an answer.
    pub all_away: bool,
    /// Commands that get no answer, by name, so many times.
    pub unavailable: BTreeMap<&'static str, u32>,
    // What a process has in memory, and loses.
    states: BTreeMap<String, State>,
    sent: HashSet<(Uuid, u32)>,
    taken_in: usize,
    /// Moments at which the process can be killed, counted.
    pub moments: usize,
    pub kill_at: Option<usize>,
    pub commands_sent: Vec<String>,
}

impl World {
    pub fn new() -> Self {
        Self {
            now: Timestamp::from_timestamp(1_767_614_400, 0).unwrap(),
            config: SagaConfig::default(),
            orders: BTreeMap::new(),
            payments: BTreeMap::new(),
            shipments: BTreeMap::new(),
            stocks: BTreeMap::new(),
            provider: Provider::default(),
            sagas: BTreeMap::new(),
            log: Vec::new(),
            feed: Feed::InOrder,
            silent_feed: false,
            turns: BTreeMap::new(),
            turned: TimeDelta::zero(),
            latest: BTreeMap::new(),
            all_away: false,
            unavailable: BTreeMap::new(),
            states: BTreeMap::new(),
            sent: HashSet::new(),
            taken_in: 0,
            moments: 0,
            kill_at: None,
            commands_sent: Vec::new(),
        }
    }

    /// A moment at which the process may die: then all that is in memory is gone, and the feed comes from its beginning.
    fn killed(&mut self) -> bool {
        self.moments += 1;
        if let Some(seconds) = self.turns.get(&self.moments) {
            let by = TimeDelta::seconds(*seconds);
            (self.now, self.turned) = (self.now + by, self.turned + by);
        }
        if self.kill_at != Some(self.moments) {
            return false;
        }
        self.states.clear();
        self.sent.clear();
        self.taken_in = 0;
        true
    }

    /// Runs until nothing moves by itself any more at this time.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            if !(self.take_in() || self.send_pending() || self.provider_answers()) {
                return;
            }
        }
        panic!("the shop does not come to rest: {:#?}", self.sagas.keys());
    }

    /// Lets time pass, from timer to timer.
    pub fn pass(&mut self, duration: Duration) {
        let (end, turned) = (self.now + duration, self.turned);
        loop {
            self.settle();
            let until = end + (self.turned - turned); // So much real time, whatever the clock was turned by.
            let timers = self.states.values().filter_map(|state| next_timer(state, self.now));
            let provider = self.provider.next(self.now);
            match timers.chain(provider).min().filter(|at| *at <= until) {
                Some(at) => {
                    self.now = self.now.max(at);
                    self.time();
                }
                None => break,
            }
        }
        self.now = end + (self.turned - turned);
        self.settle();
    }

    fn time(&mut self) {
        for stream in self.states.keys().cloned().collect::<Vec<_>>() {
            self.input(&stream, &Input::Time);
        }
    }

    /// Takes one fact of the feed in.
    fn take_in(&mut self) -> bool {
        if self.silent_feed || self.taken_in >= self.log.len() {
            return false;
        }
        let mut at = self.taken_in;
        if self.feed == Feed::Reordered {
            at = self.overtaking(at);
        }
        let fact = self.log[at].clone();
        if at != self.taken_in {
            let moved = self.log.remove(at);
            self.log.insert(self.taken_in, moved);
        }
        self.taken_in += 1;
        let times = if self.feed == Feed::Duplicated { 2 } else { 1 };
        for _ in 0..times {
            self.hear(&fact);
        }
        if self.feed == Feed::Duplicated && self.taken_in > 1 {
            let old = self.log[self.taken_in / 2].clone();
            self.hear(&old);
        }
        true
    }

    /// The last fact whose stream has no earlier one waiting: as far out of order as a feed may ever be.
    fn overtaking(&self, from: usize) -> usize {
        let stream = |fact: &Fact| match fact {
            Fact::Outside(source, _) | Fact::HandedOver(source, _) => source.stream.clone(),
        };
        let mut best = from;
        for at in from..self.log.len() {
            let mine = stream(&self.log[at]);
            if !self.log[from..at].iter().any(|before| stream(before) == mine) {
                best = at;
            }
        }
        best
    }

    fn hear(&mut self, fact: &Fact) {
        match fact {
            Fact::Outside(source, outside) => {
                let Some(order_id) = self.order_of(outside) else { return };
                for trigger in stream::means(source.clone(), order_id, outside.clone()) {
                    match trigger {
                        stream::Trigger::Begin(name, begin) => self.begin(name, begin),
                        stream::Trigger::Fact(source, outside) => {
                            let input = Input::Fact(source, outside);
                            for saga in self.sagas_of(order_id) {
                                self.input(&saga, &input);
                            }
                        }
                    }
                }
            }
            Fact::HandedOver(source, over) => {
                let facts = domain::saga::Facts::Refund(over.facts.clone());
                let name = sagas::newest(&over.to).unwrap().name;
                self.begin(name, Begin { source: source.clone(), facts });
            }
        }
    }

    fn begin(&mut self, name: &str, start: Begin) {
        let stream = sagas::stream(name, start.id());
        if self.sagas.contains_key(&stream) {
            self.input(&stream, &Input::Time); // Wakes it: it is read, and what is pending is sent.
            return;
        }
        let definition = sagas::newest(name).unwrap();
        let events = begin(definition, &stream, &start, self.now, &self.config);
        self.append(&stream, State::new(stream.clone()), events);
    }

    pub fn input(&mut self, stream: &str, input: &Input) {
        let state = self.state(stream);
        let events = react(&state, input, self.now, &self.config);
        self.append(stream, state, events);
    }

    /// The state in memory, or read from the log.
    pub fn state(&self, stream: &str) -> State {
        if let Some(state) = self.states.get(stream) {
            return state.clone();
        }
        let mut state = State::new(stream);
        for (event, at) in self.sagas.get(stream).into_iter().flatten() {
            evolve(&mut state, event, *at);
        }
        state
    }

    /// The saga as it stood after so many of its events.
    pub fn state_after(&self, stream: &str, count: usize) -> State {
        let mut state = State::new(stream);
        for (event, at) in &self.sagas[stream][..count] {
            evolve(&mut state, event, *at);
        }
        state
    }

    /// Drops what is in memory.
    pub fn forget(&mut self) {
        self.states.clear();
    }

    fn append(&mut self, stream: &str, mut state: State, events: Vec<Event>) {
        for event in events {
            let event = through_the_log(event);
            evolve(&mut state, &event, self.now);
            let written = self.sagas.entry(stream.to_owned()).or_default();
            written.push((event.clone(), self.now));
            if let Event::SagaHandedOver(over) = event {
                let version = written.len() as u64 - 1;
                let source = Source { stream: stream.to_owned(), version, event: "SagaHandedOver".to_owned() };
                self.log.push(Fact::HandedOver(source, over));
            }
        }
        self.states.insert(stream.to_owned(), state);
        self.killed();
    }

    /// Sends the commands of one step that must be sent, and takes the answers in.
    fn send_pending(&mut self) -> bool {
        for (stream, state) in self.states.clone() {
            for step in pending(&state, self.now) {
                if self.sent.insert((step.commands[0].id, step.attempt)) {
                    self.send(&stream, &step);
                    return true;
                }
            }
        }
        false
    }

    fn send(&mut self, stream: &str, step: &Pending) {
        let mut answers = Vec::new();
        for command in &step.commands {
            self.commands_sent.push(format!("{} {}", command.name, command.target));
            let deadline = step.too_late.map_or(self.now, |late| late.now.max(self.now)) + NOT_AFTER;
            let of_stream = step.too_late.and_then(|late| late.stream_time).map(|time| time + NOT_AFTER);
            let outcome = match self.unavailable.get_mut(command.name.as_str()).filter(|left| **left > 0) {
                Some(left) => {
                    *left -= 1;
                    Outcome::Unavailable { detail: "on order of the test".into(), retry_after: None }
                }
                None if self.all_away => Outcome::Unavailable { detail: "nobody there".into(), retry_after: None },
                None => match self.latest.get(&command.target).copied() {
                    Some(time) if time > of_stream.map_or(deadline, |later| later.max(deadline)) => {
                        Outcome::TooLate(LateBy { now: self.now, stream_time: Some(time) })
                    }
                    Some(_) | None => self.decide(command.body.parse().unwrap()),
                },
            };
            if self.killed() {
                return; // It was carried out, and nobody heard the answer.
            }
            answers.push(Answered { command_id: command.id, outcome });
        }
        self.input(stream, &Input::Answers(answers));
    }

    /// Carries a command out with the real rules.
    pub fn decide(&mut self, command: Command) -> Outcome {
        let now = self.now;
        let stream = command.stream();
        let log = &mut self.log;
        let before = log.len();
        let latest = self.latest.entry(stream.clone()).or_insert(now);
        let mut wrote = || *latest = (*latest).max(now);
        match command {
            Command::Order { id, command } => {
                decide(self.orders.entry(id).or_default(), &command, now, |version, event: &order::Event| {
                    wrote();
                    log.push(outside(&stream, version, event.encode().event_type, Outside::Order(event.clone())));
                })
            }
            Command::Payment { id, command } => {
                let outcome = decide(
                    self.payments.entry(id).or_default(),
                    &command,
                    now,
                    |version, event: &domain::payment::Event| {
                        wrote();
                        let name = event.encode().event_type;
                        log.push(outside(&stream, version, name, Outside::Payment(id, event.clone())));
                    },
                );
                // A repeated command wakes the driver, which asks the provider, too.
                match command {
                    P::RequestPaymentAuthorization(_)
                    | P::RequestPaymentCapture(_)
                    | P::RequestPaymentVoid(_)
                    | P::RequestPaymentRefund(_) => self.provider.wake(id),
                    P::MarkPaymentOutcomeUnknown(_) if log.len() == before => self.provider.wake(id),
                    P::MarkPaymentOutcomeUnknown(_) | P::RecordProviderResult(_) | P::ExpirePayment(_) => {}
                }
                outcome
            }
            Command::Shipment { id, command } => decide(
                self.shipments.entry(id).or_default(),
                &command,
                now,
                |version, event: &domain::shipment::Event| {
                    wrote();
                    let name = event.encode().event_type;
                    log.push(outside(&stream, version, name, Outside::Shipment(id, event.clone())));
                },
            ),
            Command::Stock { id, command } => decide(self.stocks.entry(id).or_default(), &command, now, |_, _| wrote()),
            Command::Product { .. } => panic!("no saga asks anything of a product"),
        }
    }

    fn provider_answers(&mut self) -> bool {
        let answers = self.provider.answers(&self.payments, self.now);
        let some = !answers.is_empty();
        for (id, command) in answers {
            self.decide(Command::Payment { id, command });
        }
        some
    }
}

fn outside(stream: &str, version: u64, name: &str, outside: Outside) -> Fact {
    Fact::Outside(Source { stream: stream.to_owned(), version, event: name.to_owned() }, outside)
}

fn decide<A: Aggregate>(
    (state, next): &mut (A, u64),
    command: &A::Command,
    now: Timestamp,
    mut each: impl FnMut(u64, &A::Event),
) -> Outcome {
    match state.decide(command, now) {
        Ok(events) => {
            for event in events {
                state.evolve(&event);
                each(*next, &event);
                *next += 1;
            }
            Outcome::Done
        }
        Err(no) => Outcome::Rejected { code: no.code().to_owned(), detail: no.to_string() },
    }
}

pub fn evolve(state: &mut State, event: &Event, at: Timestamp) {
    state.evolve(event, &Meta { id: Uuid::nil(), at, correlation_id: Uuid::nil(), traceparent: None });
}

fn through_the_log(event: Event) -> Event {
    let encoded = event.encode();
    let read = Event::decode(encoded.event_type, encoded.schema_version, encoded.data.get()).unwrap();
    assert_eq!(read, event, "what is written is what is read");
    read
}
