//! Cursors: where a list goes on. Opaque to clients: base64url (no padding) of the list's name and the last item's key,
//! each part on a line of its own. A cursor of another list, or of nothing, is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::str::FromStr;

use service_kit::Problem;

use super::params::Params;

/// The longest cursor we hand out: a key of two texts of 64 characters and some.
const LONGEST: usize = 512;

/// The cursor behind an item with this key.
pub fn encode(list: &str, key: &[String]) -> String {
    URL_SAFE_NO_PAD.encode([&[list.to_owned()], key].concat().join("\n"))
}

/// The key in the query's `cursor`, if one is given.
pub fn decode<A: FromStr, B: FromStr>(params: &Params, list: &str) -> Result<Option<(A, B)>, Problem> {
    let Some(cursor) = params.raw("cursor") else { return Ok(None) };
    let wrong = || {
        Problem::invalid("the cursor is not one that this list has given out")
            .field("query:cursor", "take `next` of the page before, as it is, with the same filters")
    };
    let key = parse(cursor, list).ok_or_else(wrong)?;
    Ok(Some(key))
}

fn parse<A: FromStr, B: FromStr>(cursor: &str, list: &str) -> Option<(A, B)> {
    if cursor.len() > LONGEST {
        return None;
    }
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let mut parts = text.split('\n');
    let (name, first, second) = (parts.next()?, parts.next()?, parts.next()?);
    (name == list && parts.next().is_none() && !text.contains('\0')).then_some(())?;
    Some((first.parse().ok()?, second.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_only_in_its_own_list() {
        let cursor = encode("orders", &["7".to_owned(), "x".to_owned()]);
        assert_eq!(parse::<u64, String>(&cursor, "orders"), Some((7, "x".to_owned())));
        assert_eq!(parse::<u64, String>(&cursor, "stock"), None);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let wrong_key = encode("orders", &["seven".to_owned(), "x".to_owned()]);
        let short = encode("orders", &["7".to_owned()]);
        let long = "A".repeat(LONGEST + 1);
        for wrong in ["", "!", "AAAA", "b3JkZXJz", &wrong_key, &short, &long] {
            assert_eq!(parse::<u64, String>(wrong, "orders"), None, "{wrong}");
        }
    }
}
