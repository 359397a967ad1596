//! What the demo says: how many ended how, and the proof, claim by claim.

use std::collections::BTreeMap;

use serde_json::json;
use terminal::output::{self, Table, Tone};

use super::Outcome;

/// Prints how the orders ended and the proof.
///
/// # Errors
/// If it cannot be written as JSON, which cannot be.
pub fn print(outcome: &Outcome, as_json: bool) -> anyhow::Result<()> {
    let mut ends: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for end in &outcome.ends {
        *ends.entry((end.part.case, &end.status, &end.payment)).or_default() += 1;
    }
    if as_json {
        let ends: Vec<_> = ends
            .iter()
            .map(|((case, status, payment), orders)| {
                json!({"case": case, "status": status, "payment": payment, "orders": orders})
            })
            .collect();
        return output::json(&json!({
            "holds": outcome.holds(), "orders": outcome.ends.len(), "events": outcome.books.events,
            "ends": ends, "checks": outcome.checks,
        }));
    }
    let mut table = Table::new(&["what happened", "order", "payment", ">orders"]);
    for ((case, status, payment), orders) in ends {
        table.row(Tone::Plain, [case.to_owned(), status.to_owned(), payment.to_owned(), orders.to_string()]);
    }
    table.print();
    output::line(format_args!("\nThe proof, folded from {} events of the log:\n", outcome.books.events));
    let mut table = Table::new(&["", "claim", "figures"]);
    for check in &outcome.checks {
        let (tone, word) = if check.holds { (Tone::Good, "holds") } else { (Tone::Bad, "FAILS") };
        table.row(tone, [word.to_owned(), check.claim.clone(), check.figures.clone()]);
    }
    table.print();
    for check in outcome.checks.iter().filter(|check| !check.offenders.is_empty()) {
        output::line(format_args!("\n{}:", check.claim));
        check.offenders.iter().for_each(|offender| output::line(format_args!("  {offender}")));
    }
    let verdict = if outcome.holds() { (Tone::Good, "\nIt adds up.") } else { (Tone::Bad, "\nIt does not add up.") };
    output::toned(verdict.0, verdict.1);
    Ok(())
}
