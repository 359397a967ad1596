//! What a torture has done and proven, for people and for programs.

use serde_json::json;
use terminal::output::{self, Table, Tone};

use super::Report;
use super::faults::Hurt;

/// One fault as a line, told when it is over.
pub fn line(number: usize, of: usize, hurt: &Hurt) -> String {
    format!(
        "{number:>3}/{of}  {:<14} {:<12} acknowledged {:>4} before, {:>4} meanwhile; lasted {:>6} ms, recovered in {:>6} ms",
        hurt.step.target,
        hurt.step.fault.name(),
        hurt.before,
        hurt.meanwhile,
        hurt.lasted_ms,
        hurt.recovered_ms
    )
}

/// Prints the whole.
///
/// # Errors
/// If it cannot be written as JSON, which cannot be.
pub fn print(report: &Report, seed: u64, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::json(&json!({
            "seed": seed, "holds": report.holds(), "orders": report.outcome.ends.len(),
            "acknowledged": report.acknowledged, "events": report.outcome.books.events,
            "faults": report.hurts, "rolling_restart": report.rolling, "redelivery": report.redelivery,
            "checks": report.outcome.checks.iter().chain(&report.checks).collect::<Vec<_>>(),
        }));
    }
    let rolling = &report.rolling;
    output::line(format_args!(
        "seed {seed}: {} faults, {} orders, {} commands acknowledged, {} events in the log",
        report.hurts.len(),
        report.outcome.ends.len(),
        report.acknowledged,
        report.outcome.books.events
    ));
    output::line(format_args!(
        "rolling restart of {} processes: {} commands acknowledged meanwhile, {} answered \"later\", {} without an answer",
        rolling.restarted, rolling.acknowledged, rolling.later, rolling.unanswered
    ));
    output::line(format_args!(
        "redelivery: {} events in the log, consumed again {:?}\n",
        report.redelivery.log_events, report.redelivery.consumed
    ));
    let mut table = Table::new(&["", "claim", "figures"]);
    for check in report.outcome.checks.iter().chain(&report.checks) {
        let (tone, word) = if check.holds { (Tone::Good, "holds") } else { (Tone::Bad, "FAILS") };
        table.row(tone, [word.to_owned(), check.claim.clone(), check.figures.clone()]);
    }
    table.print();
    for check in report.outcome.checks.iter().chain(&report.checks).filter(|check| !check.offenders.is_empty()) {
        output::line(format_args!("\n{}:", check.claim));
        check.offenders.iter().for_each(|offender| output::line(format_args!("  {offender}")));
    }
    let verdict = if report.holds() { (Tone::Good, "\nIt adds up.") } else { (Tone::Bad, "\nIt does not add up.") };
    output::toned(verdict.0, verdict.1);
    Ok(())
}
