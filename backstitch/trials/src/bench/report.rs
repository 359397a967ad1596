//! What a bench says: the machine on top, then a row a case, as a table or one JSON object a line.

use std::time::Duration;

use serde::Serialize;
use terminal::output::{self, Table, Tone};

use super::machine::{Machine, Used};

/// One measured case.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The bench, as typed.
    pub bench: &'static str,
    /// What was measured.
    pub case: String,
    /// Of what `value` and `limit` are.
    pub unit: &'static str,
    /// What was reached.
    pub value: f64,
    /// The bare limit, or what it is compared with, in the same run; `None`: there is none.
    pub limit: Option<f64>,
    /// Half took at most so long.
    pub p50_ms: Option<f64>,
    /// 99 % took at most so long.
    pub p99_ms: Option<f64>,
    /// 99.9 % took at most so long.
    pub p999_ms: Option<f64>,
    /// Processor seconds of what was measured, without the generator where it could be told apart.
    pub cpu_s: Option<f64>,
    /// The most memory it had resident.
    pub rss_mb: Option<f64>,
    /// The floor that `value` must reach (or, for seconds and MB, stay under); `None`: only to be seen.
    #[serde(skip)]
    pub floor: Option<Floor>,
}

/// What a value must be. Source: the first floors on two cores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Floor {
    /// At least so much.
    AtLeast(f64),
    /// Less than so much.
    Under(f64),
}

impl Floor {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(floor) => value >= floor,
            Self::Under(ceiling) => value < ceiling,
        }
    }

    fn told(self) -> String {
        match self {
            Self::AtLeast(floor) => format!("≥ {}", number(floor)),
            Self::Under(ceiling) => format!("< {}", number(ceiling)),
        }
    }
}

impl Row {
    /// A row with a value only.
    pub fn new(bench: &'static str, case: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self {
            bench,
            case: case.into(),
            unit,
            value,
            limit: None,
            p50_ms: None,
            p99_ms: None,
            p999_ms: None,
            cpu_s: None,
            rss_mb: None,
            floor: None,
        }
    }

    /// With the limit it is compared with.
    #[must_use]
    pub fn limit(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// With the floor it must reach.
    #[must_use]
    pub fn floor(mut self, floor: Floor) -> Self {
        self.floor = Some(floor);
        self
    }

    /// With what it used.
    #[must_use]
    pub fn used(mut self, used: Used) -> Self {
        self.cpu_s = Some(used.cpu.as_secs_f64());
        self.rss_mb = Some(used.rss_mb);
        self
    }

    /// With how long each took.
    #[must_use]
    pub fn latencies(mut self, latencies: &Latencies) -> Self {
        self.p50_ms = latencies.quantile_ms(0.50);
        self.p99_ms = latencies.quantile_ms(0.99);
        self.p999_ms = latencies.quantile_ms(0.999);
        self
    }

    /// Whether its floor, if any, is reached.
    pub fn holds(&self) -> bool {
        self.floor.is_none_or(|floor| floor.holds(self.value))
    }
}

/// How long each of many took; exact, every one is kept (4 bytes each).
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    /// Takes the measurements of several clients together.
    pub fn of(clients: impl IntoIterator<Item = Self>) -> Self {
        let mut micros: Vec<u32> = clients.into_iter().flat_map(|client| client.micros).collect();
        micros.sort_unstable();
        Self { micros }
    }

    /// Adds one.
    pub fn add(&mut self, took: Duration) {
        self.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.micros.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.micros.is_empty()
    }

    /// The nearest-rank quantile of sorted measurements, in ms.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let rank = (quantile * self.micros.len() as f64).ceil() as usize;
        self.micros.get(rank.max(1) - 1).map(|micros| f64::from(*micros) / 1_000.0)
    }
}

/// A rate.
#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn per_second(count: u64, wall: Duration) -> f64 {
    count as f64 / wall.as_secs_f64()
}

/// Three significant digits or so: 41 300, 812, 0.43.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000.0 => format!("{:.1} k", value / 1_000.0),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Prints the machine and all rows; whether all floors are reached.
///
/// # Errors
/// If a row cannot be written as JSON, which cannot be.
pub fn print(machine: &Machine, rows: &[Row], notes: &[String], json: bool) -> anyhow::Result<bool> {
    if json {
        output::line(serde_json::to_string(machine)?);
        for row in rows {
            output::line(serde_json::to_string(row)?);
        }
    } else {
        output::line(machine);
        table(rows).print();
    }
    for note in notes {
        output::note(note);
    }
    for row in rows.iter().filter(|row| !row.holds()) {
        let (bench, case, value, unit) = (row.bench, &row.case, number(row.value), row.unit);
        output::note(format_args!("below its floor: {bench} {case}: {value} {unit}"));
    }
    Ok(rows.iter().all(Row::holds))
}

fn table(rows: &[Row]) -> Table {
    let headings = [
        "bench", "case", ">value", "unit", ">limit", ">ratio", ">floor", ">p50 ms", ">p99 ms", ">p999 ms", ">cpu s",
        ">rss MB",
    ];
    let mut table = Table::new(&headings);
    let optional = |value: Option<f64>| value.map_or("–".to_owned(), number);
    for row in rows {
        let ratio = row.limit.map_or("–".to_owned(), |limit| format!("{:.0} %", 100.0 * row.value / limit));
        let tone = if row.holds() { Tone::Plain } else { Tone::Bad };
        let cells = [
            row.bench.to_owned(),
            row.case.clone(),
            number(row.value),
            row.unit.to_owned(),
            optional(row.limit),
            ratio,
            row.floor.map_or("–".to_owned(), Floor::told),
            optional(row.p50_ms),
            optional(row.p99_ms),
            optional(row.p999_ms),
            optional(row.cpu_s),
            optional(row.rss_mb),
        ];
        table.row(tone, cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measurements_that_were_made() {
        let mut one = Latencies::default();
        (1..=1_000).rev().for_each(|ms| one.add(Duration::from_millis(ms)));
        let all = Latencies::of([one]);
        assert_eq!(
            (all.quantile_ms(0.5), all.quantile_ms(0.99), all.quantile_ms(0.999)),
            (Some(500.0), Some(990.0), Some(999.0))
        );
        assert_eq!(Latencies::of([]).quantile_ms(0.5), None);
    }

    #[test]
    fn a_floor_is_reached_from_the_right_side() {
        assert!(Row::new("append", "", "events/s", 30_000.0).floor(Floor::AtLeast(30_000.0)).holds());
        assert!(!Row::new("append", "", "events/s", 29_999.0).floor(Floor::AtLeast(30_000.0)).holds());
        assert!(!Row::new("everything", "", "s", 1.0).floor(Floor::Under(1.0)).holds());
    }
}
