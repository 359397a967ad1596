//! A saga as a graph: steps in full lines, compensations in dashed ones. The status of a step is written and colored,
//! never colored alone.

use std::fmt::Write as _;

use domain::saga::{Direction, Kind, LegStatus, View};

use super::Format;
use crate::shop::{self, Definition, Undo};

/// A step as it is drawn.
struct Node {
    name: String,
    kind: Kind,
    after: Vec<String>,
    undo: bool,
    done: Option<Mark>,
    undone: Option<Mark>,
}

/// How a step stands.
#[derive(Clone)]
struct Mark {
    class: &'static str,
    text: String,
}

/// The classes and their colors; the same in both formats.
const CLASSES: &[(&str, &str)] = &[
    ("succeeded", "#c8e6c9"),
    ("open", "#fff9c4"),
    ("failed", "#ffcdd2"),
    ("stuck", "#ef9a9a"),
    ("undone", "#bbdefb"),
    ("todo", "#f5f5f5"),
];

/// The table of a type.
pub(super) fn of_type(definition: &Definition, format: Format) -> String {
    draw(&nodes(definition), format)
}

/// The table that a saga follows, each step marked with how it stands.
pub(super) fn of_saga(view: &View, format: Format) -> String {
    let mut nodes = match crate::sagas::definition(&view.saga, view.definition_version) {
        Some(definition) => nodes(definition),
        None => told(view),
    };
    for node in &mut nodes {
        node.done = mark(view, &node.name, Direction::Do).or_else(|| silently(view, node));
        node.undone = mark(view, &node.name, Direction::Undo);
    }
    draw(&nodes, format)
}

fn nodes(definition: &Definition) -> Vec<Node> {
    let node = |step: &shop::Step| Node {
        name: step.name.to_owned(),
        kind: step.kind,
        after: step.after.iter().map(|name| (*name).to_owned()).collect(),
        undo: matches!(step.undo, Some(Undo::Send(..))),
        done: None,
        undone: None,
    };
    definition.steps.iter().map(node).collect()
}

/// The steps as the saga's own events tell them, where this program does not have the table.
fn told(view: &View) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for leg in view.legs.iter().filter(|leg| leg.direction == Direction::Do) {
        if nodes.iter().all(|node| node.name != leg.step) {
            let after = nodes.last().map(|node| node.name.clone()).into_iter().collect();
            nodes.push(Node { name: leg.step.clone(), kind: leg.kind, after, undo: false, done: None, undone: None });
        }
    }
    nodes
}

fn mark(view: &View, step: &str, direction: Direction) -> Option<Mark> {
    let leg = view.legs.iter().rev().find(|leg| leg.step == step && leg.direction == direction)?;
    let mut text = match (leg.status, direction) {
        (LegStatus::Succeeded, Direction::Undo) => "undone".to_owned(),
        (LegStatus::Succeeded, Direction::Do | Direction::Renew) => "done".to_owned(),
        (LegStatus::Open | LegStatus::Failed | LegStatus::Stuck, _) => leg.status.as_str().to_owned(),
    };
    if leg.group > 0 {
        let _ = write!(text, ", group {}", leg.group); // Writing to a String cannot fail.
    }
    if leg.attempts > 1 {
        let _ = write!(text, ", attempt {}", leg.attempts);
    }
    let class = match (leg.status, direction) {
        (LegStatus::Succeeded, Direction::Undo) => "undone",
        (LegStatus::Succeeded | LegStatus::Open | LegStatus::Failed | LegStatus::Stuck, _) => leg.status.as_str(),
    };
    Some(Mark { class, text })
}

/// The start has no events of its own, and a step that had nothing to do neither.
fn silently(view: &View, node: &Node) -> Option<Mark> {
    let later = view.legs.iter().any(|leg| leg.direction == Direction::Do);
    let passed = node.kind == Kind::Start || later && passed(view, &node.name);
    passed.then(|| Mark { class: "succeeded", text: "done".to_owned() })
}

fn passed(view: &View, name: &str) -> bool {
    let Some(definition) = crate::sagas::definition(&view.saga, view.definition_version) else { return false };
    definition.steps.iter().any(|step| {
        step.after.contains(&name)
            && view.legs.iter().any(|leg| leg.step == step.name && leg.direction == Direction::Do)
    })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Start => "start",
        Kind::Compensatable => "can be undone",
        Kind::Pivot => "pivot",
        Kind::Retriable => "forward only",
    }
}

fn class(mark: Option<&Mark>) -> &'static str {
    mark.map_or("todo", |mark| mark.class)
}

fn label(node: &Node) -> Vec<String> {
    let mut lines = vec![node.name.clone(), kind(node.kind).to_owned()];
    lines.extend(node.done.as_ref().map(|mark| format!("[{}]", mark.text)));
    lines
}

fn undo_label(node: &Node) -> Vec<String> {
    let mut lines = vec![format!("undo {}", node.name)];
    lines.extend(node.undone.as_ref().map(|mark| format!("[{}]", mark.text)));
    lines
}

fn draw(nodes: &[Node], format: Format) -> String {
    match format {
        Format::Mermaid => mermaid(nodes),
        Format::Dot => dot(nodes),
    }
}

fn mermaid(nodes: &[Node]) -> String {
    let mut text = String::from("flowchart TD\n");
    for node in nodes {
        // Names get a prefix: `end` and some others mean something to Mermaid.
        let (open, close) = if node.kind == Kind::Pivot { ("{{", "}}") } else { ("[", "]") };
        let lines = label(node).join("<br/>");
        text += &format!("    s_{}{open}\"{lines}\"{close}:::{}\n", node.name, class(node.done.as_ref()));
        for before in &node.after {
            text += &format!("    s_{before} --> s_{}\n", node.name);
        }
        if node.undo {
            let lines = undo_label(node).join("<br/>");
            text += &format!("    u_{}([\"{lines}\"]):::{}\n", node.name, class(node.undone.as_ref()));
            text += &format!("    s_{0} -.-> u_{0}\n", node.name);
        }
    }
    for (class, colour) in CLASSES {
        text += &format!("    classDef {class} fill:{colour},stroke:#555,color:#000\n");
    }
    text
}

fn dot(nodes: &[Node]) -> String {
    let colour = |class: &str| CLASSES.iter().find(|(name, _)| *name == class).map_or("#ffffff", |(_, colour)| colour);
    let mut text = String::from("digraph saga {\n    node [style=filled, fontname=\"sans-serif\"];\n");
    for node in nodes {
        let shape = if node.kind == Kind::Pivot { "hexagon" } else { "box" };
        let (lines, fill) = (label(node).join("\\n"), colour(class(node.done.as_ref())));
        text += &format!("    s_{} [shape={shape}, label=\"{lines}\", fillcolor=\"{fill}\"];\n", node.name);
        for before in &node.after {
            text += &format!("    s_{before} -> s_{};\n", node.name);
        }
        if node.undo {
            let (lines, fill) = (undo_label(node).join("\\n"), colour(class(node.undone.as_ref())));
            text += &format!("    u_{} [shape=ellipse, label=\"{lines}\", fillcolor=\"{fill}\"];\n", node.name);
            text += &format!("    s_{0} -> u_{0} [style=dashed];\n", node.name);
        }
    }
    text + "}\n"
}
