//! Characters that act on a terminal instead of being shown by it: control characters, and those that change the direction
//! of the text around them.
//!
//! Clients' text with such a character is refused at the edge. What is stored all the same (a payment provider's words, the
//! logs of earlier releases) is kept as it is and escaped where it is printed.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

/// Whether `char` acts on a terminal: the control characters C0, DEL and C1, and the embeddings, overrides and isolates of
/// the bidirectional algorithm. Joiners (ZWJ, ZWNJ) and marks (LRM, RLM, ALM), which names in Arabic, Persian and Hindi and
/// emoji need, are text. Source: UAX #9, section 2; Trojan Source, CVE-2021-42574.
pub fn acts(char: char) -> bool {
    char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text of a request as a JSON Schema pattern: no character that [`acts`]. ECMA-262 and Python's `re` read it alike.
pub const PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*$";

/// As [`PATTERN`], and at least one character is not white space.
pub const NOT_BLANK_PATTERN: &str = concat!(
    r"^[^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*",
    r"[^\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]",
    r"[^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*$"
);

/// Whether a text says something to people, within 1 to `most` characters.
pub fn fits(text: &str, most: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= most
}

/// The first character of a JSON document that acts, with the JSON pointer of the text it is in. A document that cannot be
/// parsed has none: its reader reports what is wrong.
pub fn acting(json: &[u8]) -> Option<(String, char)> {
    if !may_act(json) {
        return None; // Almost always: nothing is parsed a second time.
    }
    find(&serde_json::from_slice(json).ok()?, &mut String::new())
}

/// Whether the bytes could contain an acting character: an escape sequence of JSON, DEL, the two bytes of a C1 character or
/// the beginning of those from U+2000 to U+20FF.
fn may_act(json: &[u8]) -> bool {
    json.iter().zip(json.iter().skip(1).chain([&0])).any(|(byte, next)| match byte {
        b'\\' | 0x7f => true,
        0xc2 => (0x80..0xa0).contains(next),
        0xe2 => matches!(next, 0x80 | 0x81),
        _ => false,
    })
}

fn find(value: &Value, pointer: &mut String) -> Option<(String, char)> {
    let length = pointer.len();
    match value {
        Value::String(text) => return text.chars().find(|char| acts(*char)).map(|char| (pointer.clone(), char)),
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                pointer.push_str(&format!("/{index}"));
                let found = find(entry, pointer);
                pointer.truncate(length);
                if found.is_some() {
                    return found;
                }
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                pointer.push_str(&format!("/{}", Escaped(&name.replace('~', "~0").replace('/', "~1"))));
                let found = match name.chars().find(|char| acts(*char)) {
                    Some(char) => Some((pointer.clone(), char)),
                    None => find(value, pointer),
                };
                pointer.truncate(length);
                if found.is_some() {
                    return found;
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    None
}

/// `U+001B`, as Unicode names a character.
pub fn name(char: char) -> String {
    format!("U+{:04X}", u32::from(char))
}

/// Text as it may be printed: what acts stands there as `\u{1b}`. The separators of lines and paragraphs do too, since they
/// would tear a line.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escaped(self.0))
    }
}

/// As [`Escaped`]; borrowed if there is nothing to escape.
pub fn escaped(text: &str) -> Cow<'_, str> {
    let is_bad = |char: char| acts(char) || matches!(char, '\u{2028}' | '\u{2029}');
    if !text.chars().any(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_bad(char) {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

/// A JSON document of one or more lines with what acts written as `\uXXXX`, which says the same in JSON.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    let is_bad = |char: char| char != '\n' && (acts(char) || matches!(char, '\u{2028}' | '\u{2029}'));
    if !json.chars().any(is_bad) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for char in json.chars() {
        if is_bad(char) {
            shown.push_str(&format!("\\u{:04x}", u32::from(char)));
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_found_with_its_place() {
        for (json, found) in [
            (r#"{"reason":"\u001b[2J"}"#, Some(("/reason", '\u{1b}'))),
            (r#"{"a":[{"tags":["x","a\tb"]}]}"#, Some(("/a/0/tags/1", '\t'))),
            ("{\"name\":\"a\u{202e}b\"}", Some(("/name", '\u{202e}'))),
            ("{\"name\":\"a\u{2066}b\"}", Some(("/name", '\u{2066}'))),
            ("{\"name\":\"a\u{9b}2J\"}", Some(("/name", '\u{9b}'))),
            ("{\"name\":\"a\u{7f}\"}", Some(("/name", '\u{7f}'))),
            (r#"{"a\u0007b":1}"#, Some((r"/a\u{7}b", '\u{7}'))),
            (r#"{"name":"a quote \" and a backslash \\"}"#, None),
            ("not JSON \\", None),
        ] {
            assert_eq!(acting(json.as_bytes()), found.map(|(place, char)| (place.to_owned(), char)), "{json}");
        }
    }

    #[test]
    fn names_and_emoji_are_text() {
        for text in [
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "👩\u{200d}👩\u{200d}👧",
            "\u{200f}שלום\u{200e} 12",
            "\u{61c}مرحبا",
            "ﻙ",
            "日本語",
            "naïve",
        ] {
            assert_eq!(acting(serde_json::json!({ "name": text }).to_string().as_bytes()), None, "{text}");
            assert_eq!(escaped(text), text);
        }
    }

    #[test]
    fn what_is_stored_all_the_same_is_printed_escaped() {
        assert_eq!(escaped("a\u{1b}[2Jb\u{202e}c\nd\u{2028}e"), r"a\u{1b}[2Jb\u{202e}c\u{a}d\u{2028}e");
        let json = serde_json::to_string(&"a\u{9b}b\u{202e}c").unwrap();
        let shown = escaped_json(&json).into_owned();
        assert_eq!(shown, r#""a\u009bb\u202ec""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), "a\u{9b}b\u{202e}c");
    }
}
