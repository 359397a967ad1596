//! Which paths the gateway takes. It decides by a path where a request goes, and sends the same bytes on: nothing is
//! decoded, resolved or put together on the way. So a path that a service could read in another way than the gateway did
//! is refused.

use service_kit::Problem;

/// Looks whether a path has one reading only.
///
/// # Errors
/// 400: it has empty segments, dot segments, slashes or backslashes in disguise, control characters, or broken escapes.
pub(super) fn checked(path: &str) -> Result<(), Problem> {
    match fault(path) {
        None => Ok(()),
        Some(fault) => {
            Err(Problem::invalid("the path can be read in more than one way; nothing was done").field("path", fault))
        }
    }
}

fn fault(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("must begin with `/`");
    }
    if path.contains("//") {
        return Some("must not have `//`");
    }
    for segment in path.split('/') {
        let Some(decoded) = decoded(segment) else { return Some("has a `%` without two hexadecimal digits") };
        if matches!(decoded.as_slice(), b"." | b"..") {
            return Some("must not have `.` or `..` as a part, escaped or not");
        }
        if decoded.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
            return Some("must not have a backslash, nor an escaped slash or backslash");
        }
        if decoded.iter().any(u8::is_ascii_control) || !segment.is_ascii() {
            return Some("must not have control characters, nor others than ASCII without an escape");
        }
    }
    None
}

/// The bytes of a segment; `None` if an escape is broken.
fn decoded(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' { hex(bytes.next()?)? << 4 | hex(bytes.next()?)? } else { byte });
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_one_reading_are_taken() {
        for path in ["/v1/orders", "/v1/orders/", "/v1/products/A.B-c_d", "/v1/products/..a", "/v1/streams/a%20b%25"] {
            assert_eq!(fault(path), None, "{path}");
        }
    }

    #[test]
    fn paths_with_two_readings_are_refused() {
        for path in [
            "",
            "*",
            "v1/orders",
            "/v1/../metrics",
            "/v1/..",
            "/v1/./orders",
            "/v1/%2e%2E/metrics",
            "/v1/.%2e/metrics",
            "/v1//orders",
            "/v1/a%2fb",
            "/v1/a%2Fb",
            "/v1/a\\b",
            "/v1/..\\metrics",
            "/v1/a%5cb",
            "/v1/a%00",
            "/v1/a%0d%0a",
            "/v1/a%7F",
            "/v1/a%",
            "/v1/a%2",
            "/v1/a%zz",
            "/v1/a%+1",
            "/v1/é",
        ] {
            assert!(fault(path).is_some(), "{path}");
        }
    }
}
