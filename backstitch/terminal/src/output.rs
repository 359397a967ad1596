//! What verbs print: lines, aligned tables, JSON. Color only on a terminal, and never as the only sign.
//!
//! *Invariant:* everything that is printed goes through this module, which escapes what would act on a terminal: customers'
//! and providers' words, and what old logs hold, are shown and never obeyed (see [`service_kit::text`]).

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal};

use owo_colors::OwoColorize;
use serde::Serialize;
use service_kit::print;
use service_kit::text::{escaped, escaped_json};

pub use crate::table::Table;

/// What a text says of itself, besides its words.
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

/// A line in parts, each in its tone.
pub type Parts = Vec<(Tone, String)>;

/// Writes bytes to stdout as they are. When the reader has gone (`| head`), the program has done what was asked and ends with
/// 0. When stdout cannot be written for another reason (a disk that is full), it ends with 2.
pub fn bytes(data: &[u8]) {
    if let Err(error) = print::data(data) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        note(format_args!("error: stdout cannot be written: {error}\n\nhint: df -h .   # is there space left?"));
        std::process::exit(2);
    }
}

/// Writes one text to stdout as [`line()`] does, for a process that goes on: a server serves, whether or not somebody reads
/// its first lines.
pub fn announce(text: impl Display) {
    let _ = print::data(format!("{}\n", shown(&text.to_string())).as_bytes());
}

/// Writes one text to stdout, escaped but for its line breaks, and a line break.
pub fn line(text: impl Display) {
    bytes(format!("{}\n", shown(&text.to_string())).as_bytes());
}

/// Writes one text to stderr, escaped but for its line breaks, and a line break.
pub fn note(text: impl Display) {
    print::message(shown(&text.to_string()));
}

/// Writes one line to stdout in a tone, if stdout is a terminal.
pub fn toned(tone: Tone, text: impl Display) {
    parts(&[(tone, text.to_string())]);
}

/// Writes one line to stdout, each part in its tone, if stdout is a terminal.
pub fn parts(parts: &[(Tone, String)]) {
    let painted: String = parts.iter().map(|(tone, text)| paint(*tone, &shown(text))).collect();
    bytes(format!("{}\n", painted.trim_end()).as_bytes());
}

/// Writes a value as JSON: indented for people, one line for pipes.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = if std::io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)?
    } else {
        serde_json::to_string(value)?
    };
    json_text(&text);
    Ok(())
}

/// Writes a list as JSON, in the one shape that all lists have: `items`, and whether there are more.
pub fn list(items: &[impl Serialize], has_more: bool) -> anyhow::Result<()> {
    json(&serde_json::json!({ "items": items, "has_more": has_more }))
}

/// Writes a JSON document that is a text already.
pub fn json_text(text: &str) {
    bytes(format!("{}\n", escaped_json(text)).as_bytes());
}

/// A text as it may be printed: line breaks stay, what else acts on a terminal is escaped.
fn shown(text: &str) -> String {
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// `text` in a tone, if stdout is a terminal that shows colors (`NO_COLOR` and `TERM=dumb` are honored).
fn paint(tone: Tone, text: &str) -> String {
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

/// An id of a terminal's width: `order_refund-4c7b904e` for `order_refund-4c7b904e-b5e6-5e6c-890b-5c4cbc5bced7`. In a
/// pipe the whole id stays, so that a script can use it.
pub fn short(id: &str) -> String {
    if std::io::stdout().is_terminal() { shortened(id) } else { id.to_owned() }
}

/// What follows the first group of each UUID in `id` is left out.
fn shortened(id: &str) -> String {
    const GROUPS: [usize; 4] = [4, 4, 4, 12];
    let is_group =
        |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = id.split('-').collect();
    let (mut kept, mut index) = (Vec::new(), 0);
    while let Some(part) = parts.get(index) {
        kept.push(*part);
        index += 1;
        let rest = parts.get(index..index + GROUPS.len());
        // The first group is the last part of a name such as `payment-4c7b904e`.
        if is_group(part, 8)
            && rest.is_some_and(|rest| rest.iter().zip(GROUPS).all(|(part, length)| is_group(part, length)))
        {
            index += GROUPS.len();
        }
    }
    kept.join("-")
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
    fn an_id_is_short_enough_for_a_terminal() {
        let uuid = "4c7b904e-b5e6-5e6c-890b-5c4cbc5bced7";
        assert_eq!(shortened(uuid), "4c7b904e");
        assert_eq!(shortened(&format!("saga_order_refund-{uuid}")), "saga_order_refund-4c7b904e");
        assert_eq!(shortened(&format!("stock-MUG@{uuid}")), format!("stock-MUG@{uuid}"));
        assert_eq!(shortened("stock-MUG@main"), "stock-MUG@main");
    }

    #[test]
    fn what_acts_on_a_terminal_is_shown_and_not_obeyed() {
        assert_eq!(shown("one\u{1b}[31m\ntwo\u{202e}\r"), "one\\u{1b}[31m\ntwo\\u{202e}\\u{d}");
    }
}
