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

/// Starts logging to stderr (stdout is for data). Once in a process.
///
/// # Errors
/// [`TelemetryError`].
pub fn start(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.is_empty());
    let filter = filter.unwrap_or_else(|| config.filter.clone());
    let parsed = EnvFilter::try_new(&filter)
        .map_err(|error| TelemetryError::Filter { filter: filter.clone(), reason: error.to_string() })?;
    let json = match config.format {
        Format::Json => true,
        Format::Human => false,
        Format::Auto => !std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(parsed);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = if json {
        registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init()
    } else {
        registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()
    };
    started.map_err(|_| TelemetryError::Twice)
}

/// The trace id of a well-formed W3C `traceparent`. Source: W3C Trace Context, §3.2.
pub fn trace_id(headers: &HeaderMap) -> Option<&str> {
    traceparent(headers).map(|value| &value[3..35])
}

/// A well-formed W3C `traceparent`, `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero. Source: W3C Trace Context, §3.2.
pub fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = value.split('-');
    let mut hex_of = |length: usize| {
        parts.next().filter(|part| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        })
    };
    let (version, trace, parent, _flags) = (hex_of(2)?, hex_of(32)?, hex_of(16)?, hex_of(2)?);
    let not_zero = |id: &str| id.bytes().any(|byte| byte != b'0');
    // Version 00 has exactly these four parts; `ff` is forbidden; a later version may add parts, which we do not read.
    let fits = version == "00" && value.len() == 55 && not_zero(trace) && not_zero(parent);
    fits.then_some(value)
}

/// Gives each request a span with what tells it from others. For `axum::middleware::from_fn`.
pub async fn span(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        correlation_id = headers.get("x-correlation-id").and_then(|value| value.to_str().ok()),
        trace_id = trace_id(headers),
    );
    next.run(request).instrument(span).await
}

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
        assert_eq!(trace_id(&headers), Some("0af7651916cd43dd8448eb211c80319c"));
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
