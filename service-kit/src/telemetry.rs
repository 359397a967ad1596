//! Logs for people or for programs. Every line of a request carries its correlation id and, where the client sent a
//! W3C `traceparent`, its trace id.

use std::io::IsTerminal as _;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::print;
use crate::repeats::Repeats;

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Human,
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
}

/// What is logged and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How a line looks.
    pub format: Format,
    /// What is logged, such as `info` or `info,command_service=debug`. `RUST_LOG` wins.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: Format::Auto, filter: "info,sqlx=warn".to_owned() }
    }
}

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("the log filter `{filter}` is not valid: {reason}; write for example `info,command_service=debug`")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong.
        reason: String,
    },
    /// Something else in this process logs already.
    #[error("logging was started twice")]
    Twice,
}

/// Targets that are never logged, whatever the filter says: sqlx repeats the value of each unknown parameter of a
/// database's URL, such as that of `sslpassword`.
const REPEATS_SECRETS: &[&str] = &["sqlx_postgres::options::parse=off"];

/// Starts logging to stderr (stdout is for data). Once in a process.
///
/// # Errors
/// [`TelemetryError`].
pub fn start(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.is_empty());
    let filter = filter.unwrap_or_else(|| config.filter.clone());
    let parsed = EnvFilter::try_new(&filter)
        .map_err(|error| TelemetryError::Filter { filter: filter.clone(), reason: error.to_string() })?;
    let parsed = REPEATS_SECRETS.iter().filter_map(|target| target.parse().ok()).fold(parsed, EnvFilter::add_directive);
    let json = match config.format {
        Format::Json => true,
        Format::Human => false,
        Format::Auto => !std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(parsed).with(Repeats::default());
    // Its own complaints about a writer that fails would go to stderr, too, and panic there.
    let lines = tracing_subscriber::fmt::layer().with_writer(|| print::Stderr).log_internal_errors(false);
    let started = if json {
        registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init()
    } else {
        registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()
    };
    started.map_err(|_| TelemetryError::Twice)
}

/// The trace id of a well-formed W3C `traceparent`. Source: W3C Trace Context, §3.2.
pub fn trace_id(headers: &HeaderMap) -> Option<String> {
    traceparent(headers).map(|value| value[3..35].to_owned())
}

/// The longest `traceparent` of a later version that is read: of version 00 there are 55 characters.
const TRACEPARENT_MAX: usize = 512;

/// A well-formed W3C `traceparent` as version 00 writes it, `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero. Of a later
/// version what version 00 has is taken; further parts are left out, and of the flags those that version 00 knows stay.
/// Source: W3C Trace Context, §3.2 and §4.3.
pub fn traceparent(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all("traceparent").iter();
    let value = all.next()?.to_str().ok()?;
    if all.next().is_some() || value.len() > TRACEPARENT_MAX {
        return None;
    }
    let mut parts = value.split('-');
    let mut hex_of = |length: usize| {
        parts.next().filter(|part| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        })
    };
    let (version, trace, parent, flags) = (hex_of(2)?, hex_of(32)?, hex_of(16)?, hex_of(2)?);
    let not_zero = |id: &str| id.bytes().any(|byte| byte != b'0');
    // `ff` is forbidden, and version 00 has exactly these four parts.
    if version == "ff" || !not_zero(trace) || !not_zero(parent) || (version == "00" && parts.next().is_some()) {
        return None;
    }
    if version == "00" {
        return Some(value.to_owned());
    }
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
    Some(format!("00-{trace}-{parent}-{sampled:02x}"))
}

/// The longest `tracestate` that is passed on. Source: W3C Trace Context, §3.3.1.5: at least 512 characters.
const TRACESTATE_MAX: usize = 512;

/// What tracing systems add to `traceparent`: several headers are one list. One that is too long, or is not printable ASCII,
/// is left out, as the specification has it. Source: W3C Trace Context, §3.3.
pub fn tracestate(headers: &HeaderMap) -> Option<String> {
    let all: Option<Vec<&str>> = headers.get_all("tracestate").iter().map(|value| value.to_str().ok()).collect();
    let joined = all?.join(",");
    let state = joined.trim();
    let printable = state.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    (!state.is_empty() && state.len() <= TRACESTATE_MAX && printable && state.contains('=')).then(|| state.to_owned())
}

/// Gives each request a span with what tells it from others, and says at `info` how it was answered: target
/// `backstitch::access`, so that `[log] filter = "info,backstitch::access=warn"` leaves these lines out. Questions about
/// health and for metrics are told at `debug`. For `axum::middleware::from_fn`.
pub async fn span(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let path = request.uri().path();
    let probes = path == "/metrics" || path == "/health" || path.starts_with("/health/");
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        path,
        correlation_id = headers.get("x-correlation-id").and_then(|value| value.to_str().ok()),
        trace_id = trace_id(headers),
    );
    let begun = tokio::time::Instant::now();
    async move {
        let response = next.run(request).await;
        let (status, ms) = (response.status().as_u16(), begun.elapsed().as_secs_f64() * 1_000.0);
        if probes {
            tracing::debug!(target: ACCESS, status, ms, "answered");
        } else {
            tracing::info!(target: ACCESS, status, ms, "answered");
        }
        response
    }
    .instrument(span)
    .await
}

/// The target of the line that a request leaves in the log.
pub const ACCESS: &str = "backstitch::access";

/// Says the correlation id of the request that is being served, where the client left it to us.
pub fn correlated(correlation_id: impl std::fmt::Display) {
    tracing::Span::current().record("correlation_id", tracing::field::display(correlation_id));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: &str) -> HeaderMap {
        HeaderMap::from_iter([("traceparent".parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn a_well_formed_traceparent_gives_its_trace_id() {
        let headers = with("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(trace_id(&headers).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    }

    #[test]
    fn a_traceparent_of_a_later_version_is_read_as_far_as_it_is_known() {
        let known = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        for (later, read) in [
            (format!("cc-{known}-01"), format!("00-{known}-01")),
            (format!("cc-{known}-09-what-the-future-will-be-like"), format!("00-{known}-01")),
            (format!("01-{known}-00-"), format!("00-{known}-00")),
        ] {
            assert_eq!(traceparent(&with(&later)).as_deref(), Some(read.as_str()), "{later}");
        }
        for bad in [format!("cc-{known}-01.what"), format!("cc-{known}"), format!("CC-{known}-01")] {
            assert_eq!(traceparent(&with(&bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_tracestate_is_one_list_and_a_foreign_one_is_left_out() {
        let of = |values: &[&str]| {
            let header = |value: &&str| ("tracestate".parse().unwrap(), value.parse().unwrap());
            tracestate(&values.iter().map(header).fold(
                HeaderMap::new(),
                |mut all, (name, value): (axum::http::HeaderName, _)| {
                    all.append(name, value);
                    all
                },
            ))
        };
        assert_eq!(
            of(&["rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE"]).as_deref(),
            Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
        );
        assert_eq!(
            (of(&[]), of(&[""]), of(&["nonsense"]), of(&[&format!("a={}", "x".repeat(600))])),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_malformed_traceparent_is_not_passed_on() {
        for value in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_eq!(traceparent(&with(value)), None, "{value}");
        }
    }
}
