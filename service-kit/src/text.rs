//! Characters that a text of a client must not have: they act on what shows the text, or nobody can see them.
//!
//! Clients' text with such a character is refused at the edge. What is stored all the same (a payment provider's words, the
//! logs of earlier releases) is kept as it is and escaped where it is printed.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

/// Whether `char` acts on what shows it and is therefore refused everywhere in a text:
///
/// * the control characters C0, DEL and C1,
/// * the separators of lines and paragraphs (U+2028, U+2029),
/// * the embeddings, overrides and isolates of the bidirectional algorithm (U+202A to U+202E, U+2066 to U+2069),
/// * the format characters that Unicode deprecates (U+206A to U+206F), the byte order mark (U+FEFF), which inside of a text is
///   deprecated as well, and the marks of interlinear annotations (U+FFF9 to U+FFFB).
///
/// Joiners (ZWJ, ZWNJ) and marks (LRM, RLM, ALM), which names in Arabic, Persian and Hindi and emoji need, are text. So is the
/// zero width space, which separates words in Thai and Khmer. Source: UAX #9, section 2; Unicode, sections 23.2 to 23.8;
/// Trojan Source, CVE-2021-42574.
pub fn acts(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Whether `char` leaves no mark where it is shown on its own. A text may have it beside others, and not alone. Source: the
/// property Default_Ignorable_Code_Point of Unicode 17, and the blank pattern of Braille.
pub fn is_invisible(char: char) -> bool {
    matches!(
        char,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2060}'..='\u{2065}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

fn is_visible(char: char) -> bool {
    !char.is_whitespace() && !acts(char) && !is_invisible(char)
}

/// The characters that [`acts`] names, inside of a class of a regular expression.
macro_rules! acting {
    () => {
        r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb"
    };
}

/// The characters of [`is_invisible`] up to U+FFFF: beyond, JavaScript and Python write them in different ways.
macro_rules! invisible {
    () => {
        r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    };
}

/// A text with a visible character, and none that acts.
macro_rules! not_blank {
    () => {
        concat!("[^", acting!(), "]*[^\\s", acting!(), invisible!(), "][^", acting!(), "]*")
    };
}

/// A text of a request without a [`Flaw`], as a JSON Schema pattern: it has a visible character, or at least no invisible
/// one, and in both cases none that acts. ECMA-262 and Python's `re` read it alike.
pub const PATTERN: &str = concat!("^(", not_blank!(), "|[^", acting!(), invisible!(), "]*)$");

/// As [`PATTERN`], and at least one character is visible.
pub const NOT_BLANK_PATTERN: &str = concat!("^", not_blank!(), "$");

/// Whether a text says something to people, within 1 to `most` characters.
pub fn fits(text: &str, most: usize) -> bool {
    text.chars().any(is_visible) && text.chars().count() <= most
}

/// Why a text of a client is refused, whatever it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It has this character, which [`acts`].
    Acting(char),
    /// It has nothing visible but is not blank either: this is the first invisible character.
    Invisible(char),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acting(char) => write!(f, "has the character {}, which no text may have; leave it out", name(*char)),
            Self::Invisible(char) => {
                write!(f, "has no visible character, only such as {}; write something that can be read", name(*char))
            }
        }
    }
}

/// What is wrong with a text, if anything.
pub fn flaw(text: &str) -> Option<Flaw> {
    if let Some(acting) = text.chars().find(|char| acts(*char)) {
        return Some(Flaw::Acting(acting));
    }
    let invisible = text.chars().find(|char| is_invisible(*char))?;
    (!text.chars().any(is_visible)).then_some(Flaw::Invisible(invisible))
}

/// The first text of a JSON document with a flaw, as a JSON pointer. A document that cannot be parsed has none: its reader
/// reports what is wrong.
pub fn flaw_in(json: &[u8]) -> Option<(String, Flaw)> {
    if !may_have_flaws(json) {
        return None; // Almost always: nothing is parsed a second time.
    }
    find(&serde_json::from_slice(json).ok()?, &mut String::new())
}

/// Whether the bytes could contain an acting or invisible character: an escape sequence of JSON, DEL, or the first two bytes
/// of such a character in UTF-8.
fn may_have_flaws(json: &[u8]) -> bool {
    json.iter().zip(json.iter().skip(1).chain([&0])).any(|(byte, next)| match byte {
        b'\\' | 0x7f => true,
        0xc2 => matches!(next, 0x80..0xa0 | 0xad),
        0xcd => *next == 0x8f,
        0xd8 => *next == 0x9c,
        0xe1 => matches!(next, 0x85 | 0x9e | 0xa0),
        0xe2 => matches!(next, 0x80 | 0x81 | 0xa0),
        0xe3 => *next == 0x85,
        0xef => matches!(next, 0xb8 | 0xbb | 0xbe | 0xbf),
        0xf0 => matches!(next, 0x9b | 0x9d),
        0xf3 => *next == 0xa0,
        _ => false,
    })
}

fn find(value: &Value, pointer: &mut String) -> Option<(String, Flaw)> {
    let length = pointer.len();
    match value {
        Value::String(text) => return flaw(text).map(|flaw| (pointer.clone(), flaw)),
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
                let found = match flaw(name) {
                    Some(flaw) => Some((pointer.clone(), flaw)),
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

/// Text as it may be printed: what acts stands there as `\u{1b}`.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escaped(self.0))
    }
}

/// As [`Escaped`]; borrowed if there is nothing to escape.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if acts(char) {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

/// A JSON document of one or more lines with what acts written as `\uXXXX`, which says the same in JSON.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    let is_bad = |char: char| char != '\n' && acts(char);
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
            ("{\"name\":\"a\u{2028}b\"}", Some(("/name", '\u{2028}'))),
            (r#"{"name":"a\u2029b"}"#, Some(("/name", '\u{2029}'))),
            ("{\"name\":\"\u{feff}b\"}", Some(("/name", '\u{feff}'))),
            ("{\"name\":\"b\u{fffb}\"}", Some(("/name", '\u{fffb}'))),
            ("{\"name\":\"a\u{9b}2J\"}", Some(("/name", '\u{9b}'))),
            ("{\"name\":\"a\u{7f}\"}", Some(("/name", '\u{7f}'))),
            (r#"{"a\u0007b":1}"#, Some((r"/a\u{7}b", '\u{7}'))),
            (r#"{"name":"a quote \" and a backslash \\"}"#, None),
            ("not JSON \\", None),
        ] {
            let found = found.map(|(place, char)| (place.to_owned(), Flaw::Acting(char)));
            assert_eq!(flaw_in(json.as_bytes()), found, "{json}");
        }
    }

    #[test]
    fn every_character_that_acts_or_is_invisible_is_found_on_its_own() {
        for char in ('\0'..=char::MAX).filter(|char| acts(*char) || is_invisible(*char)) {
            let flaw = if acts(char) { Flaw::Acting(char) } else { Flaw::Invisible(char) };
            let document = serde_json::json!({ "name": format!("{char} ") }).to_string();
            assert_eq!(flaw_in(document.as_bytes()), Some(("/name".to_owned(), flaw)), "{}", name(char));
            assert!(!fits(&char.to_string(), 10), "{}", name(char));
        }
        let told = flaw("\u{200b}\u{2060}").unwrap().to_string();
        assert!(told.starts_with("has no visible character, only such as U+200B;"), "{told}");
        assert_eq!((flaw(" "), flaw(""), fits(" ", 10), fits("", 10)), (None, None, false, false));
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
            "❤\u{fe0f}",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "ភាសា\u{200b}ខ្មែរ",
            "co\u{ad}op",
            "naïve",
        ] {
            assert_eq!(flaw_in(serde_json::json!({ "name": text }).to_string().as_bytes()), None, "{text}");
            assert!(fits(text, 20), "{text}");
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
