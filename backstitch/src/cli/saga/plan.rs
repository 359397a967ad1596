//! `backstitch saga plan`: what follows if all goes well, and with `--if-fails` what a failure now would mean.

use serde::Deserialize;
use terminal::output::{self, Table, Tone};

use super::act::Sent;

/// What `GET /v1/sagas/{id}/plan` tells.
#[derive(Debug, Deserialize)]
pub(super) struct Plan {
    saga: String,
    version: u64,
    at: Vec<String>,
    if_fails: Option<IfFails>,
    #[serde(default)]
    if_others_fail: Vec<IfFails>,
    #[serde(default)]
    next: Vec<Next>,
}

#[derive(Debug, Deserialize)]
struct IfFails {
    step: Option<String>,
    way: String,
    first: Option<String>,
    #[serde(default)]
    steps: Vec<Then>,
    #[serde(default)]
    irreversible: Vec<Lasting>,
}

#[derive(Debug, Deserialize)]
struct Then {
    step: String,
    group: u32,
    #[serde(default)]
    sends: Vec<Sent>,
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Lasting {
    step: String,
    why: String,
}

#[derive(Debug, Deserialize)]
struct Next {
    step: String,
    kind: String,
}

/// Prints a plan.
pub(super) fn print(plan: Plan) {
    let at = if plan.at.is_empty() { "nothing: it has ended".to_owned() } else { plan.at.join(", ") };
    output::toned(Tone::Heading, format_args!("{}  at version {}", plan.saga, plan.version));
    output::line(format_args!("  at           {at}"));
    let next: Vec<String> = plan
        .next
        .iter()
        .map(|next| if next.kind == "pivot" { format!("{} (no way back)", next.step) } else { next.step.clone() })
        .collect();
    output::line(format_args!(
        "  then         {}",
        if next.is_empty() { "nothing".to_owned() } else { next.join(" → ") }
    ));
    plan.if_fails.iter().chain(&plan.if_others_fail).for_each(|fails| if_fails(fails, &plan.at));
}

fn if_fails(fails: &IfFails, at: &[String]) {
    let step = fails.step.as_ref().or(at.first()).map_or("it", String::as_str);
    let way = match fails.way.as_str() {
        "compensate" => "it goes back",
        "hand_over" => "another saga takes the order back",
        "attention" => "a person is called",
        other => other,
    };
    output::line("");
    output::toned(Tone::Heading, format_args!("if {step} fails: {way}"));
    if let Some(first) = &fails.first {
        output::line(format_args!("  {first} gets one more attempt first"));
    }
    if !fails.steps.is_empty() {
        let mut table = Table::new(&[">#", "step", "sends", "note"]);
        for (number, then) in (1..).zip(&fails.steps) {
            let group = if then.group > 0 { format!(" (attempt group {})", then.group) } else { String::new() };
            let sends: Vec<String> = then.sends.iter().map(Sent::told).collect();
            let sends = if sends.is_empty() { "nothing".to_owned() } else { sends.join("; ") };
            let note = then.note.clone().unwrap_or_default();
            table.row(Tone::Plain, [number.to_string(), format!("{}{group}", then.step), sends, note]);
        }
        table.print();
    }
    for lasting in &fails.irreversible {
        output::toned(Tone::Bad, format_args!("  stays: {}: {}", lasting.step, lasting.why));
    }
}
