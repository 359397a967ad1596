//! The filter of a read or a subscription over the whole log: by the stream's name or the event's type, by a regular
//! expression or by prefixes.
//!
//! Expressions are .NET's in the original; clients use look-ahead (Python's default is "not beginning with `$`"), which
//! `fancy_regex` has. One that takes too long on a name counts as an error of the reader. Expressions are applied to a page at
//! a time on a thread for blocking work: even within its bounds one may take a second, and calls of others go on meanwhile.

use std::borrow::Borrow;
use std::sync::Arc;

use eventstore_client::proto::streams::read_req::options::FilterOptions;
use eventstore_client::proto::streams::read_req::options::filter_options::{Expression, Filter as By, Window};
use fancy_regex::{Regex, RegexBuilder};

use super::refusal::Refusal;
use crate::RecordedEvent;

/// Events looked at for one checkpoint, if the reader does not say (KurrentDB's default).
const WINDOW: u32 = 32;
/// The longest expression, so that compiling it takes no time to speak of.
const EXPRESSION_BYTES: usize = 4_096;
/// How often an expression may go back on one name, which has 250 bytes at most: useful ones do some dozen times.
const BACKTRACKS: usize = 10_000;
/// How large a compiled expression may be. Bytes.
const COMPILED_BYTES: usize = 1 << 20;

/// Which events pass, and how often the reader is told how far the log was looked through.
#[derive(Debug)]
pub(super) struct Filter {
    on: On,
    by: Rule,
    /// Events looked at between two checkpoints.
    pub interval: u64,
}

#[derive(Debug, Clone, Copy)]
enum On {
    Stream,
    Type,
}

#[derive(Debug)]
enum Rule {
    All,
    Expression(Regex),
    Prefixes(Vec<String>),
}

impl Filter {
    /// The filter that was asked for.
    pub fn new(options: &FilterOptions) -> Result<Self, Refusal> {
        let (on, expression) = match &options.filter {
            Some(By::StreamIdentifier(expression)) => (On::Stream, Some(expression)),
            Some(By::EventType(expression)) => (On::Type, Some(expression)),
            None => (On::Stream, None),
        };
        let by = expression.map_or(Ok(Rule::All), rule)?;
        let window = match options.window {
            Some(Window::Max(max)) if max > 0 => max,
            Some(Window::Max(_) | Window::Count(())) | None => WINDOW,
        };
        let interval = u64::from(window) * u64::from(options.checkpoint_interval_multiplier.max(1));
        Ok(Self { on, by, interval })
    }

    /// Whether each of these events passes.
    pub async fn judge<E: Borrow<RecordedEvent> + Send + 'static>(
        self: Arc<Self>,
        events: Vec<E>,
    ) -> Result<Vec<(E, bool)>, Refusal> {
        let is_simple = !matches!(self.by, Rule::Expression(_));
        let judge = move || {
            let judged = events.into_iter().map(|event| {
                let passes = self.admits(event.borrow())?;
                Ok((event, passes))
            });
            judged.collect()
        };
        if is_simple {
            return judge();
        }
        let failed = |_| Refusal::Away("the filter failed by a fault of the server's own".to_owned());
        tokio::task::spawn_blocking(judge).await.map_err(failed)?
    }

    fn admits(&self, event: &RecordedEvent) -> Result<bool, Refusal> {
        let text = match self.on {
            On::Stream => event.stream.as_str(),
            On::Type => &event.event_type,
        };
        match &self.by {
            Rule::All => Ok(true),
            Rule::Prefixes(prefixes) => Ok(prefixes.iter().any(|prefix| text.starts_with(prefix.as_str()))),
            Rule::Expression(expression) => expression.is_match(text).map_err(|error| {
                Refusal::BadRequest(format!("the filter `{expression}` cannot be applied to `{text}`: {error}"))
            }),
        }
    }
}

fn rule(expression: &Expression) -> Result<Rule, Refusal> {
    if expression.regex.is_empty() {
        let prefixes = &expression.prefix;
        return Ok(if prefixes.is_empty() { Rule::All } else { Rule::Prefixes(prefixes.clone()) });
    }
    let refused = |why: String| Refusal::BadRequest(format!("the filter's expression is not understood: {why}"));
    if expression.regex.len() > EXPRESSION_BYTES {
        return Err(refused(format!("it is longer than {EXPRESSION_BYTES} bytes")));
    }
    let mut builder = RegexBuilder::new(&expression.regex);
    builder.backtrack_limit(BACKTRACKS).delegate_size_limit(COMPILED_BYTES);
    builder.build().map(Rule::Expression).map_err(|error| refused(error.to_string()))
}
