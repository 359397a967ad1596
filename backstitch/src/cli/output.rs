//! What verbs print: lines, aligned tables, JSON. Colour only on a terminal, and never as the only sign.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use comfy_table::{CellAlignment, presets};
use owo_colors::OwoColorize;
use serde::Serialize;

/// What a line says of itself, besides its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    Plain,
    /// A heading.
    Heading,
    /// It went well.
    Good,
    /// It goes backwards, or waits.
    Warn,
    /// A person is needed.
    Bad,
    /// Of less interest.
    Faint,
}

/// Writes bytes to stdout. When the reader has gone (`| head`), the program has done what was asked and ends.
pub fn bytes(data: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(data).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes one line to stdout.
pub fn line(text: impl Display) {
    bytes(format!("{text}\n").as_bytes());
}

/// Writes one line to stdout in a tone, if stdout is a terminal.
pub fn toned(tone: Tone, text: impl Display) {
    line(paint(tone, &text.to_string()));
}

/// Writes a value as JSON: indented for people, one line for pipes.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = if std::io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)?
    } else {
        serde_json::to_string(value)?
    };
    line(text);
    Ok(())
}

/// `text` in a tone, if stdout is a terminal that shows colours (`NO_COLOR` and `TERM=dumb` are honoured).
pub fn paint(tone: Tone, text: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let on = owo_colors::Stream::Stdout;
    match tone {
        Tone::Plain => text.to_owned(),
        Tone::Heading => text.if_supports_color(on, |text| text.bold()).to_string(),
        Tone::Good => text.if_supports_color(on, |text| text.green()).to_string(),
        Tone::Warn => text.if_supports_color(on, |text| text.yellow()).to_string(),
        Tone::Bad => text.if_supports_color(on, |text| text.red()).to_string(),
        Tone::Faint => text.if_supports_color(on, |text| text.dimmed()).to_string(),
    }
}

/// A table of aligned columns without borders: easy on the eye and on `awk`.
#[derive(Debug)]
pub struct Table {
    table: comfy_table::Table,
    tones: Vec<Tone>,
}

impl Table {
    /// A table with these headings. One that begins with `>` is a number: its column is aligned to the right.
    pub fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(headings.iter().map(|heading| heading.trim_start_matches('>').to_uppercase()));
        for (column, heading) in table.column_iter_mut().zip(headings) {
            column.set_padding((0, 2));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { table, tones: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, tone: Tone, cells: impl IntoIterator<Item = String>) {
        // One row is one line: a line break in a message would tear the table.
        self.table.add_row(cells.into_iter().map(|cell| cell.replace(['\n', '\r'], " ")));
        self.tones.push(tone);
    }

    /// The lines, each in its tone.
    pub fn lines(&self) -> Vec<String> {
        let tones = std::iter::once(Tone::Heading).chain(self.tones.iter().copied());
        let plain: Vec<String> = self.table.lines().collect();
        plain.iter().zip(tones).map(|(text, tone)| paint(tone, text.trim_end())).collect()
    }

    /// Prints it.
    pub fn print(&self) {
        self.lines().iter().for_each(line);
    }
}

/// A duration as people say it, in at most two units: `350 ms`, `12 s`, `5 min 3 s`, `2 h 14 min`, `3 d 4 h`.
pub fn duration(of: chrono::Duration) -> String {
    let ms = of.num_milliseconds().max(0);
    let (s, min, h) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big} {unit}"),
        _ => format!("{big} {unit} {small} {small_unit}"),
    };
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s} s"),
        60..3600 => two(min, "min", s % 60, "s"),
        3600..86_400 => two(h, "h", min % 60, "min"),
        _ => two(h / 24, "d", h % 24, "h"),
    }
}

/// A number of bytes as people say it.
pub fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let value = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", value / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", value / 1_048_576.0),
        _ => format!("{:.1} GiB", value / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_at_most_two_units() {
        let told = |s| duration(chrono::Duration::seconds(s));
        assert_eq!(duration(chrono::Duration::milliseconds(350)), "350 ms");
        assert_eq!((told(12), told(303), told(300)), ("12 s".into(), "5 min 3 s".into(), "5 min".into()));
        assert_eq!((told(8040), told(273_600)), ("2 h 14 min".into(), "3 d 4 h".into()));
        assert_eq!(told(-5), "0 ms", "a clock that stepped back is not shown as a negative time");
    }

    #[test]
    fn columns_are_aligned_and_a_line_break_does_not_tear_a_row() {
        let mut table = Table::new(&["name", ">count"]);
        table.row(Tone::Plain, ["a\nb".to_owned(), "7".to_owned()]);
        table.row(Tone::Bad, ["long name".to_owned(), "1234".to_owned()]);
        assert_eq!(table.lines(), ["NAME       COUNT", "a b            7", "long name   1234"]);
    }
}
