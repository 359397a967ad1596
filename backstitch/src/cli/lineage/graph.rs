//! A lineage as a graph for Mermaid or Graphviz: a box a stream, causes above or left of their effects.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use projection_service::lineage::{Graph, Kind, Node};
use uuid::Uuid;

/// The kinds with their colors, the same in both formats; each has a shape of its own besides.
const KINDS: &[(Kind, &str, &str)] = &[
    (Kind::Request, "request", "#bbdefb"),
    (Kind::Event, "event", "#f5f5f5"),
    (Kind::Command, "command", "#fff9c4"),
    (Kind::ProviderCall, "provider_call", "#e1bee7"),
    (Kind::Elsewhere, "elsewhere", "#eeeeee"),
];

fn class(kind: Kind) -> (&'static str, &'static str) {
    KINDS.iter().find(|(known, ..)| *known == kind).map_or(("event", "#f5f5f5"), |(_, name, colour)| (name, colour))
}

/// The nodes by the box they stand in: events in their stream's, the others outside of all.
fn boxes(graph: &Graph) -> BTreeMap<Option<&str>, Vec<(usize, &Node)>> {
    let mut boxes: BTreeMap<Option<&str>, Vec<(usize, &Node)>> = BTreeMap::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        let stream = node.stream.as_deref().filter(|_| node.kind == Kind::Event);
        boxes.entry(stream).or_default().push((number, node));
    }
    boxes
}

fn numbers(graph: &Graph) -> HashMap<Uuid, usize> {
    graph.nodes.iter().enumerate().map(|(number, node)| (node.id, number)).collect()
}

/// What stands in a node.
fn words(node: &Node) -> Vec<String> {
    let first = match (node.kind, node.version) {
        (Kind::Event, Some(version)) => format!("#{version} {}", node.label),
        _ => node.label.clone(),
    };
    let who = node.actor.clone().filter(|_| matches!(node.kind, Kind::Request | Kind::Elsewhere));
    let target = node.stream.clone().filter(|_| node.kind == Kind::Command).map(|stream| format!("to {stream}"));
    let summary = Some(node.summary.clone()).filter(|summary| !summary.is_empty());
    std::iter::once(first).chain(who).chain(target).chain(summary).collect()
}

/// For Markdown and <https://mermaid.js.org>.
pub(super) fn mermaid(graph: &Graph) -> String {
    // A label stands in quotes; what would end it, or be read as markup, is written as an entity.
    let quoted = |text: &str| {
        text.replace('#', "#35;")
            .replace('"', "#quot;")
            .replace('<', "#lt;")
            .replace('>', "#gt;")
            .replace(['\n', '\r'], " ")
    };
    let mut out = "flowchart LR\n".to_owned();
    for (number, (stream, nodes)) in boxes(graph).into_iter().enumerate() {
        let indent = if let Some(stream) = stream {
            let _ = writeln!(out, "  subgraph s{number}[\"{}\"]", quoted(stream)); // Writing to a String cannot fail.
            "    "
        } else {
            "  "
        };
        for (number, node) in nodes {
            let text = words(node).iter().map(|line| quoted(line)).collect::<Vec<_>>().join("<br/>");
            let (open, close) = match node.kind {
                Kind::Request | Kind::Elsewhere => ("([", "])"),
                Kind::Event => ("[", "]"),
                Kind::Command => ("[/", "/]"),
                Kind::ProviderCall => ("{{", "}}"),
            };
            let _ = writeln!(out, "{indent}n{number}{open}\"{text}\"{close}:::{}", class(node.kind).0);
        }
        if stream.is_some() {
            out.push_str("  end\n");
        }
    }
    let numbers = numbers(graph);
    for edge in &graph.edges {
        if let (Some(from), Some(to)) = (numbers.get(&edge.from), numbers.get(&edge.to)) {
            let arrow = if edge.why == "by_itself" { "-.->" } else { "-->" };
            let _ = writeln!(out, "  n{from} {arrow} n{to}");
        }
    }
    for (_, name, colour) in KINDS {
        let _ = writeln!(out, "  classDef {name} fill:{colour},stroke:#666,color:#000");
    }
    for (number, _) in graph.nodes.iter().enumerate().filter(|(_, node)| node.asked_for) {
        let _ = writeln!(out, "  style n{number} stroke-width:4px");
    }
    out
}

/// For Graphviz.
pub(super) fn dot(graph: &Graph) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
    let mut out = "digraph lineage {\n  rankdir=LR;\n  node [style=filled, fontname=\"sans-serif\"];\n".to_owned();
    for (number, (stream, nodes)) in boxes(graph).into_iter().enumerate() {
        if let Some(stream) = stream {
            let _ = writeln!(out, "  subgraph cluster_{number} {{\n    label=\"{}\";", quoted(stream));
        }
        for (number, node) in nodes {
            let text = words(node).iter().map(|line| quoted(line)).collect::<Vec<_>>().join("\\n");
            let shape = match node.kind {
                Kind::Request | Kind::Elsewhere => "oval",
                Kind::Event => "box",
                Kind::Command => "parallelogram",
                Kind::ProviderCall => "hexagon",
            };
            let bold = if node.asked_for { ", penwidth=4" } else { "" };
            let _ = writeln!(
                out,
                "    n{number} [label=\"{text}\", shape={shape}, fillcolor=\"{}\"{bold}];",
                class(node.kind).1
            );
        }
        if stream.is_some() {
            out.push_str("  }\n");
        }
    }
    let numbers = numbers(graph);
    for edge in &graph.edges {
        if let (Some(from), Some(to)) = (numbers.get(&edge.from), numbers.get(&edge.to)) {
            let style = if edge.why == "by_itself" { " [style=dashed]" } else { "" };
            let _ = writeln!(out, "  n{from} -> n{to}{style};");
        }
    }
    out.push_str("}\n");
    out
}
