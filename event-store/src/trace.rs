//! W3C trace context as an event keeps it: the `traceparent`, and behind a space the `tracestate`, where the request had one.
//! Outside (HTTP, CloudEvents, KurrentDB's metadata) they are two fields, as the specification has them; within, one text
//! cannot lose its other half on the way.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands between the two: no `traceparent` has one.
const SEPARATOR: char = ' ';

/// Both as one text.
pub fn join(traceparent: &str, tracestate: Option<&str>) -> String {
    match tracestate.map(str::trim).filter(|state| !state.is_empty()) {
        Some(state) => format!("{traceparent}{SEPARATOR}{state}"),
        None => traceparent.to_owned(),
    }
}

/// The two of one text.
pub fn split(context: &str) -> (&str, Option<&str>) {
    match context.split_once(SEPARATOR) {
        Some((traceparent, state)) => (traceparent, Some(state)),
        None => (context, None),
    }
}

#[derive(Serialize, Deserialize)]
struct Fields<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracestate: Option<std::borrow::Cow<'a, str>>,
}

/// Writes the fields `traceparent` and `tracestate`: for `#[serde(flatten, with = "trace")]`.
pub(crate) fn serialize<S: Serializer>(context: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let (traceparent, tracestate) = match context.as_deref().map(split) {
        Some((parent, state)) => (Some(parent.into()), state.map(Into::into)),
        None => (None, None),
    };
    Fields { traceparent, tracestate }.serialize(serializer)
}

/// Reads the fields `traceparent` and `tracestate`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Fields { traceparent, tracestate } = Fields::deserialize(deserializer)?;
    Ok(traceparent.map(|parent| join(&parent, tracestate.as_deref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_one_text_within_and_two_fields_outside() {
        #[derive(Serialize, Deserialize)]
        struct Outside {
            #[serde(flatten, with = "super")]
            traceparent: Option<String>,
            actor: String,
        }
        for (json, within) in [
            (r#"{"traceparent":"00-1-2-01","tracestate":"a=1,b=2 x","actor":"me"}"#, Some("00-1-2-01 a=1,b=2 x")),
            (r#"{"traceparent":"00-1-2-01","actor":"me"}"#, Some("00-1-2-01")),
            (r#"{"actor":"me"}"#, None),
        ] {
            let read: Outside = serde_json::from_str(json).unwrap();
            assert_eq!(read.traceparent.as_deref(), within);
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
        }
        assert_eq!(split("00-1-2-01 a=1 2"), ("00-1-2-01", Some("a=1 2")));
        assert_eq!(join("00-1-2-01", Some(" ")), "00-1-2-01");
    }
}
