//! Where something came from and what followed from it: request → command → event → saga step → effect, from what events
//! say of their causes. Pure: events in, a graph out.
//!
//! An event names what caused it (`causation_id`) and the command that made it (`command_id`). A saga's event lists the
//! commands it issued, a payment's event the request to the provider it belongs to. So the links are: a request makes
//! events; an event moves a saga; the saga's event issues commands; a command makes events, and its answer moves the saga;
//! an event of a payment asks the provider, whose answer makes events, by whichever way it comes.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use event_store::RecordedEvent;
use serde::{Deserialize, Serialize};
use service_kit::api::{LineageKind, LineageReason, LogPosition};
use utoipa::ToSchema;
use uuid::Uuid;

/// An event with the ids of its causes.
#[derive(Debug, Clone, Deserialize)]
pub struct Happened {
    /// The id of the event.
    pub event_id: Uuid,
    /// The name of the event's stream.
    pub stream: String,
    /// The number of the event in its stream, from 0.
    pub version: u64,
    /// The number of the event in the whole log.
    pub position: u64,
    /// The type of the event, such as `OrderPlaced`.
    pub r#type: String,
    /// The person, saga or provider that asked for it.
    pub actor: String,
    /// The id of the client's request from which everything follows.
    pub correlation_id: Uuid,
    /// The id of the command or event that it directly follows from.
    pub causation_id: Uuid,
    /// The id of the command that made it.
    pub command_id: Uuid,
    /// The few fields of the event that people look for.
    #[serde(default)]
    pub summary: String,
    /// When the event happened.
    pub occurred_at: DateTime<Utc>,
    /// The commands that it issued.
    #[serde(skip)]
    pub commands: Vec<Issued>,
    /// The request to the provider that it belongs to.
    #[serde(skip)]
    pub call: Option<Uuid>,
}

/// A command that a saga has issued.
#[derive(Debug, Clone, Deserialize)]
pub struct Issued {
    id: Uuid,
    target: String,
    name: String,
}

/// What an event's data may say of its effects.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Says {
    commands: Vec<Issued>,
    request_id: Option<Uuid>,
}

impl Happened {
    /// An event of the log; `summary` is what the timeline says of it.
    pub fn of(event: &RecordedEvent, summary: String) -> Self {
        // An event that says none of this has no effects but those that name it.
        let says: Says = serde_json::from_str(event.data.get()).unwrap_or_default();
        let of_payment = event.stream.category() == "payment";
        Self {
            event_id: event.id,
            stream: event.stream.to_string(),
            version: event.version,
            position: event.position.0,
            r#type: event.event_type.to_string(),
            actor: event.metadata.actor.clone(),
            correlation_id: event.metadata.correlation_id,
            causation_id: event.metadata.causation_id,
            command_id: event.metadata.command_id,
            summary,
            occurred_at: event.metadata.occurred_at,
            commands: says.commands,
            call: says.request_id.filter(|_| of_payment),
        }
    }

    fn of_saga(&self) -> bool {
        self.stream.starts_with("saga_")
    }
}

/// What a node of the graph is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A request from outside: of a customer, the warehouse or an operator.
    Request,
    /// An event of the log.
    Event,
    /// A command that a saga sent.
    Command,
    /// A request of ours at the payment provider.
    ProviderCall,
    /// A cause outside of this order's story, such as another order's command.
    Elsewhere,
}

/// A node of the graph: a cause, an effect, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LineageNode)]
pub struct Node {
    /// The id of the event, command, request or provider call.
    pub id: Uuid,
    /// The kind of the node.
    #[schema(value_type = LineageKind)]
    pub kind: Kind,
    /// Its name, such as `OrderPlaced` or `ReserveStock`.
    pub label: String,
    /// The stream that it is in, or for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Its place in the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Its position in the log.
    #[schema(value_type = Option<LogPosition>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The actor that caused it: a principal, a saga or a provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The moment when it occurred. For a node that is not an event, the moment of the first event that shows it.
    pub at: DateTime<Utc>,
    /// The few things of it that people look for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// Whether it is what was asked for.
    #[serde(default)]
    pub asked_for: bool,
}

/// A link from a cause to its effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LineageEdge)]
pub struct Edge {
    /// The id of the cause.
    pub from: Uuid,
    /// The id of the effect.
    pub to: Uuid,
    /// The link between them.
    #[schema(value_type = LineageReason)]
    pub why: String,
}

/// Causes and effects, causes first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LineageGraph)]
pub struct Graph {
    /// What there is, in the order in which it happened.
    pub nodes: Vec<Node>,
    /// What followed from what.
    pub edges: Vec<Edge>,
}

impl Graph {
    /// The graph of these events.
    pub fn of(mut events: Vec<Happened>) -> Self {
        events.sort_by_key(|event| event.position);
        events.dedup_by_key(|event| event.position);
        let mut building = Building::default();
        events.iter().for_each(|event| building.know(event));
        events.iter().for_each(|event| building.link(event));
        building.graph
    }

    /// Only these nodes, all they came from and all that followed from them.
    #[must_use]
    pub fn around(mut self, asked_for: &HashSet<Uuid>) -> Self {
        let up = self.reach(asked_for, |edge| (edge.to, edge.from));
        let down = self.reach(asked_for, |edge| (edge.from, edge.to));
        let keep = |id: &Uuid| up.contains(id) || down.contains(id);
        self.nodes.retain(|node| keep(&node.id));
        self.edges.retain(|edge| keep(&edge.from) && keep(&edge.to));
        self.nodes.iter_mut().for_each(|node| node.asked_for = asked_for.contains(&node.id));
        self
    }

    fn reach(&self, from: &HashSet<Uuid>, way: impl Fn(&Edge) -> (Uuid, Uuid)) -> HashSet<Uuid> {
        let mut next: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
        for edge in &self.edges {
            let (here, there) = way(edge);
            next.entry(here).or_default().push(there);
        }
        let (mut reached, mut todo) = (from.clone(), from.iter().copied().collect::<Vec<_>>());
        while let Some(here) = todo.pop() {
            let there = next.get(&here).into_iter().flatten();
            todo.extend(there.filter(|id| reached.insert(**id)).copied().collect::<Vec<_>>());
        }
        reached
    }

    /// What nothing in the graph caused.
    pub fn roots(&self) -> Vec<&Node> {
        let caused: HashSet<Uuid> = self.edges.iter().map(|edge| edge.to).collect();
        self.nodes.iter().filter(|node| !caused.contains(&node.id)).collect()
    }
}

#[derive(Default)]
struct Building {
    graph: Graph,
    /// Each event with its stream.
    events: HashMap<Uuid, String>,
    commands: HashSet<Uuid>,
    /// Calls with the event that asked for each.
    calls: HashMap<Uuid, Uuid>,
    others: HashSet<Uuid>,
    /// Each stream's events so far.
    before: BTreeMap<String, Uuid>,
}

impl Building {
    /// Learns what there is, so that causes are found whatever the order.
    fn know(&mut self, event: &Happened) {
        self.events.insert(event.event_id, event.stream.clone());
        self.commands.extend(event.commands.iter().map(|command| command.id));
        if let Some(call) = event.call.filter(|_| event.r#type.ends_with("Requested")) {
            self.calls.entry(call).or_insert(event.event_id);
        }
    }

    fn link(&mut self, event: &Happened) {
        let id = event.event_id;
        let (cause, why) = self.cause(event);
        self.edge(cause, id, why);
        self.graph.nodes.push(Node {
            id,
            kind: Kind::Event,
            label: event.r#type.clone(),
            stream: Some(event.stream.clone()),
            version: Some(event.version),
            position: Some(event.position),
            actor: Some(event.actor.clone()),
            at: event.occurred_at,
            summary: event.summary.clone(),
            asked_for: false,
        });
        for command in &event.commands {
            // A command that is sent again is the same one.
            if self.others.insert(command.id) {
                self.node(command.id, Kind::Command, &command.name, Some(command.target.clone()), event);
            }
            self.edge(id, command.id, "issued");
        }
        if let Some(call) = event.call.filter(|call| self.calls.get(call) == Some(&id)) {
            let kind = event.r#type.trim_end_matches("Requested");
            self.node(call, Kind::ProviderCall, &format!("provider: {kind}"), None, event);
            self.edge(id, call, "asked");
        }
        self.before.insert(event.stream.clone(), id);
    }

    /// What an event follows from. What is not known here gets a node of its own.
    fn cause(&mut self, event: &Happened) -> (Uuid, &'static str) {
        if let Some(call) = event.call.filter(|call| self.calls.get(call).is_some_and(|asks| *asks != event.event_id)) {
            return (call, "told");
        }
        for cause in [event.command_id, event.causation_id] {
            if self.commands.contains(&cause) {
                return (cause, if event.of_saga() { "answered" } else { "made" });
            }
        }
        if let Some(stream) = self.events.get(&event.causation_id) {
            let why = match event.of_saga() {
                true if *stream == event.stream => "by_itself",
                true => "moved",
                false => "made",
            };
            return (event.causation_id, why);
        }
        // Older programs named the story where a saga acted by itself.
        let by_itself =
            event.of_saga() && event.actor.starts_with("saga:") && event.causation_id == event.correlation_id;
        if let Some(before) = self.before.get(&event.stream).filter(|_| by_itself) {
            return (*before, "by_itself");
        }
        let machine = event.actor.starts_with("saga:") || event.actor.starts_with("provider:");
        let (kind, label) = if machine { (Kind::Elsewhere, "another story") } else { (Kind::Request, "request") };
        if self.others.insert(event.command_id) {
            self.node(event.command_id, kind, label, None, event);
        }
        (event.command_id, "made")
    }

    fn node(&mut self, id: Uuid, kind: Kind, label: &str, stream: Option<String>, shown_by: &Happened) {
        self.graph.nodes.push(Node {
            id,
            kind,
            label: label.to_owned(),
            stream,
            version: None,
            position: None,
            actor: Some(shown_by.actor.clone()),
            at: shown_by.occurred_at,
            summary: String::new(),
            asked_for: false,
        });
    }

    fn edge(&mut self, from: Uuid, to: Uuid, why: &str) {
        self.graph.edges.push(Edge { from, to, why: why.to_owned() });
    }
}
