//! Tables of aligned columns without borders: easy on the eye and on `awk`. On a terminal a row is one line of it: what is
//! too wide is cut, the widest column first. In a pipe nothing is cut.

use std::io::IsTerminal as _;

use service_kit::text::escaped;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::output::{self, Parts, Tone};

/// Between two columns.
const GAP: usize = 2;
/// A column is not cut below this: a shorter word says nothing.
const NARROWEST: usize = 5;

#[derive(Debug)]
struct Column {
    heading: String,
    right: bool,
    /// Never cut: people type what stands there.
    whole: bool,
}

/// A table.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    /// The column that bears a row's tone.
    toned: usize,
    rows: Vec<(Tone, Vec<String>)>,
}

impl Table {
    /// A table with these headings. One that begins with `>` is a number: its column is aligned to the right. One that
    /// begins with `*` bears the tone of its row, else the first one does. One that begins with `!` is never cut.
    pub fn new(headings: &[&str]) -> Self {
        let toned = headings.iter().position(|heading| heading.starts_with('*')).unwrap_or_default();
        let column = |heading: &&str| Column {
            heading: heading.trim_start_matches(['>', '*', '!']).to_uppercase(),
            right: heading.starts_with('>'),
            whole: heading.starts_with('!'),
        };
        Self { columns: headings.iter().map(column).collect(), toned, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, tone: Tone, cells: impl IntoIterator<Item = String>) {
        // One row is one line: a line break in a message would tear the table.
        let cells = cells.into_iter().map(|cell| escaped(&cell.replace(['\n', '\r'], " ")).into_owned());
        self.rows.push((tone, cells.collect()));
    }

    /// The lines; none is wider than `width`, unless it is too narrow for so many columns.
    pub fn lines(&self, width: Option<usize>) -> Vec<Parts> {
        let widths = self.widths(width);
        let headings = self.columns.iter().map(|column| column.heading.clone()).collect::<Vec<_>>();
        let heading = self.columns.iter().map(|_| Tone::Heading).collect::<Vec<_>>();
        let rows = self.rows.iter().map(|(tone, cells)| {
            let tones = (0..self.columns.len()).map(|index| if index == self.toned { *tone } else { Tone::Plain });
            (tones.collect::<Vec<_>>(), cells)
        });
        let all = std::iter::once((heading, &headings)).chain(rows);
        all.map(|(tones, cells)| self.line(&widths, &tones, cells)).collect()
    }

    fn line(&self, widths: &[usize], tones: &[Tone], cells: &[String]) -> Parts {
        let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or_default();
        let mut parts = Vec::new();
        for (index, (column, width)) in self.columns.iter().zip(widths).enumerate().take(last + 1) {
            let cell = cut(cells.get(index).map_or("", String::as_str), *width);
            let room = " ".repeat(width - cell.width().min(*width));
            let (before, after) = if column.right { (room, String::new()) } else { (String::new(), room) };
            if index > 0 {
                parts.push((Tone::Plain, " ".repeat(GAP)));
            }
            parts.push((Tone::Plain, before));
            parts.push((tones[index], cell));
            if index < last {
                parts.push((Tone::Plain, after));
            }
        }
        parts
    }

    /// The width of each column.
    fn widths(&self, within: Option<usize>) -> Vec<usize> {
        let widest = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|(_, cells)| Some(cells.get(index)?.width()));
            cells.max().unwrap_or_default().max(column.heading.width())
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(widest).collect();
        let Some(within) = within else { return widths };
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > within {
            let cut = widths.iter_mut().zip(&self.columns).rev().filter(|(_, column)| !column.whole);
            let widest = cut.map(|(width, _)| width).max_by_key(|width| **width);
            match widest {
                Some(width) if *width > NARROWEST => *width -= 1,
                Some(_) | None => break, // So many columns have no room there; the terminal wraps them.
            }
        }
        widths
    }

    /// Prints it, cut to the terminal's width if stdout is one.
    pub fn print(&self) {
        let terminal = std::io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
        let width = terminal.map(|(width, _)| usize::from(width.0));
        self.lines(width).iter().for_each(|line| output::parts(line));
    }

    /// The whole table as plain lines, for stderr.
    pub fn plain(&self) -> Vec<String> {
        let text = |line: &Parts| line.iter().map(|(_, text)| text.as_str()).collect::<String>().trim_end().to_owned();
        self.lines(None).iter().map(text).collect()
    }
}

/// `text` in at most `width` columns of a terminal; `…` stands for what was cut.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 0);
    for char in text.chars() {
        let wide = char.width().unwrap_or_default();
        if used + wide + 1 > width {
            break;
        }
        used += wide;
        kept.push(char);
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn width(line: &Parts) -> usize {
        line.iter().map(|(_, text)| text.width()).sum()
    }

    #[test]
    fn columns_are_aligned_and_a_line_break_does_not_tear_a_row() {
        let mut table = Table::new(&["name", ">count"]);
        table.row(Tone::Plain, ["a\nb".to_owned(), "7".to_owned()]);
        table.row(Tone::Bad, ["long name".to_owned(), "1234".to_owned()]);
        assert_eq!(table.plain(), ["NAME       COUNT", "a b            7", "long name   1234"]);
    }

    #[test]
    fn a_row_is_one_line_of_a_terminal_of_80_and_of_120_columns() {
        let mut table =
            Table::new(&["!order", "saga", "*state", "step", ">tries", "customer", ">amount", "changed", "says"]);
        let cells = [
            "4QX9K2M7R1TB",
            "payment_reconciliation-4c7b904e",
            "needs_attention",
            "authorise",
            "12",
            "4c7b904e",
            "1234.56 EUR",
            "11-29 18:40:12",
            "日本語 waits for the payment provider, which has not answered for a long time",
        ];
        table.row(Tone::Bad, cells.map(str::to_owned));
        for terminal in [80, 120] {
            for line in table.lines(Some(terminal)) {
                assert!(width(&line) <= terminal, "{terminal}: {} {line:?}", width(&line));
            }
        }
        let narrow: String = table.lines(Some(80))[1].iter().map(|(_, text)| text.as_str()).collect();
        assert!(narrow.starts_with("4QX9K2M7R1TB  "), "what people type is not cut: {narrow}");
        assert!(table.plain()[1].contains("a long time"), "in a pipe nothing is cut");
    }

    #[test]
    fn only_the_cell_that_says_how_it_is_bears_the_tone() {
        let mut table = Table::new(&["saga", "*state", "why"]);
        table.row(Tone::Bad, ["a", "stuck", "because"].map(str::to_owned));
        let toned: Vec<_> = table.lines(None)[1].iter().filter(|(tone, _)| *tone != Tone::Plain).cloned().collect();
        assert_eq!(toned, [(Tone::Bad, "stuck".to_owned())]);
    }

    #[test]
    fn what_would_act_on_a_terminal_is_escaped_in_a_cell() {
        let mut table = Table::new(&["what"]);
        table.row(Tone::Plain, ["\u{1b}[2J\u{202e}evil".to_owned()]);
        assert_eq!(table.plain()[1], r"\u{1b}[2J\u{202e}evil");
    }
}
