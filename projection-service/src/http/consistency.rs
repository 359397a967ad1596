//! How new an answer must be: `X-Min-Position` (what a command's reply gave as `X-Commit-Position`), and how long to
//! wait for that: `Prefer: wait=N` (RFC 7240 §4.3).

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use event_store::{Position, StreamName};
use projection_engine::dead_letters::{Letter, Letters};
use serde::de::DeserializeOwned;
use service_kit::api::{LogPosition, POSITION_MAX};
use service_kit::{Class, Problem};
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::types::Json;
use sqlx::{Postgres, query_scalar};
use tokio::time::Instant;
use utoipa::IntoParams;

use super::answer::no_answer;
use super::stale::{MOST_NAMED, Stale};
use crate::Handle;
use crate::readers::{Lane, Readers};

/// How long is waited for a position where the client does not say: a batch takes milliseconds.
const USUAL_WAIT: Duration = Duration::from_secs(2);
/// The longest wait, below the edge's time-out for a whole request (`service_kit::limits`).
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The headers of a query.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "describes the headers in the OpenAPI document; `Consistency` reads them")]
pub struct ConsistencyHeaders {
    /// Answer with nothing older than this position: what a command's reply gave as `X-Commit-Position`.
    #[param(rename = "X-Min-Position", value_type = Option<LogPosition>)]
    min_position: Option<u64>,
    /// `wait=N`: wait up to N seconds (at most 30).
    #[param(rename = "Prefer", example = "wait=10")]
    prefer: Option<String>,
}

/// What a request says about how new its answer must be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consistency {
    min_position: Option<Position>,
    wait: Option<Duration>,
}

impl<S: Sync> FromRequestParts<S> for Consistency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let min_position = match header(&parts.headers, "x-min-position") {
            Some(text) => {
                let position = text.trim_matches('"').parse().ok().filter(|at| *at <= POSITION_MAX).map(Position);
                Some(position.ok_or_else(|| {
                    Problem::invalid("`X-Min-Position` is not a position")
                        .field("header:X-Min-Position", "give the `X-Commit-Position` of a command's reply as it is")
                })?)
            }
            None => None,
        };
        Ok(Self { min_position, wait: wait(&parts.headers)? })
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    // What is not even text is as wrong as a text that is no position.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn wait(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    for value in headers.get_all("prefer") {
        for preference in value.to_str().unwrap_or_default().split([',', ';']) {
            let Some((name, seconds)) = preference.split_once('=') else { continue };
            if !name.trim().eq_ignore_ascii_case("wait") {
                continue; // A preference that we do not know is to be ignored (RFC 7240 §2).
            }
            let seconds: u64 = seconds.trim().trim_matches('"').parse().map_err(|_| {
                Problem::invalid("`Prefer: wait` is not a number of seconds")
                    .field("header:Prefer", "such as `wait=10`")
            })?;
            return Ok(Some(Duration::from_secs(seconds).min(LONGEST_WAIT)));
        }
    }
    Ok(None)
}

impl Consistency {
    /// Until when the client waits; without `Prefer: wait` not at all.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.wait.unwrap_or_default()
    }

    /// Until when is waited for a position.
    pub fn position_deadline(&self) -> Instant {
        Instant::now() + self.wait.unwrap_or(USUAL_WAIT)
    }

    /// The seconds of an applied `Prefer: wait`.
    pub fn waited_s(&self) -> Option<u64> {
        self.wait.map(|wait| wait.as_secs())
    }

    /// Waits until the read models are as new as asked for, and hands out what answers from them. The position is
    /// taken before the query: its rows are that new or newer.
    ///
    /// # Errors
    /// 503 with `Retry-After`: not there in time, or Postgres is not there.
    pub async fn reader(&self, handle: &Handle, of: &'static [&'static str]) -> Result<Reader, Problem> {
        self.reader_of(handle, of, None).await
    }

    /// The same for what lies in one partition of the events: it is as new as that one is, whatever the others wait for.
    ///
    /// # Errors
    /// As [`Self::reader`].
    pub async fn reader_of(
        &self,
        handle: &Handle,
        of: &'static [&'static str],
        partition: Option<u32>,
    ) -> Result<Reader, Problem> {
        if let Some(position) = self.min_position {
            let deadline = self.position_deadline();
            if !handle.progress.reached(of, partition, position, deadline).await {
                let (now, _) = handle.progress.position_and_parked(of, partition);
                let detail = format!("the read models are at position {now}, not yet at {position}");
                return Err(Problem::unavailable(detail, 1));
            }
        }
        let reader = Reader::new(handle, of, partition).await?;
        Ok(match self.wait {
            Some(_) => reader.waiting(),
            None => reader,
        })
    }

    /// The seconds waited where a position was asked for.
    pub fn applied_s(&self) -> Option<u64> {
        self.min_position.and(self.waited_s())
    }
}

/// A reader that answers queries within the bounds of the request.
#[derive(Debug, Clone)]
pub struct Reader {
    readers: Readers,
    /// The read models whose tables are asked.
    of: Vec<&'static str>,
    /// The class whose connections it uses; none: that of each query.
    class: Option<Class>,
    /// Rows reflect this position, or a later one.
    pub position: Position,
    /// Of the read models that were asked for, those with parked streams, as they stood at that position.
    parked: Vec<(&'static str, Letters)>,
}

/// A query whose rows are JSON objects, as Postgres builds them.
pub type JsonQuery<'q, T> = QueryScalar<'q, Postgres, Json<T>, PgArguments>;

/// A query that gives one JSON column.
pub fn json<'q, T>(sql: &'static str) -> JsonQuery<'q, T>
where
    T: DeserializeOwned + Send + Unpin + 'static,
{
    query_scalar(sql)
}

impl Reader {
    /// What answers from these read models as they are now, with one partition of the events or with all.
    ///
    /// # Errors
    /// 503: Postgres, or its tables, are not there yet.
    pub async fn new(handle: &Handle, of: &[&'static str], partition: Option<u32>) -> Result<Self, Problem> {
        if handle.progress.is_ready() {
            handle.look().await.map_err(|error| no_answer(&error))?;
        }
        if !handle.progress.is_ready() {
            let error = handle.progress.statuses().into_iter().find_map(|status| status.last_error);
            let error = error.map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(Problem::unavailable(
                format_args!("the read models are starting; commands are taken{error}"),
                1,
            ));
        }
        let (position, parked) = handle.progress.position_and_parked(of, partition);
        Ok(Self { readers: handle.readers.clone(), of: of.to_vec(), class: None, position, parked })
    }

    /// The same for a request that waits for something to happen.
    #[must_use]
    pub fn waiting(mut self) -> Self {
        self.class = Some(Class::LongWait);
        self
    }

    /// The same for a query that goes through many rows.
    #[must_use]
    pub fn heavy(mut self) -> Self {
        self.class = Some(Class::Heavy);
        self
    }

    /// The same for what stands in none of the read models' tables.
    #[must_use]
    pub fn of_no_table(mut self) -> Self {
        self.of.clear();
        self
    }

    fn lane(&self, class: Class) -> Result<Lane, Problem> {
        let lane = self.readers.of(self.class.unwrap_or(class)).map_err(|error| no_answer(&error))?;
        lane.ok_or_else(|| Problem::unavailable("the read models are starting; commands are taken", 1))
    }

    /// The parked streams that an answer touches, in order, the first [`MOST_NAMED`] of them.
    pub fn stale(&self, touches: impl Fn(&StreamName, &Letter) -> bool) -> Vec<Stale> {
        let mut stale = Vec::new();
        for (projection, letters) in &self.parked {
            let touched = letters.iter().filter(|(stream, letter)| touches(stream, letter));
            stale.extend(touched.map(|(stream, letter)| Stale {
                projection: (*projection).to_owned(),
                stream: stream.to_string(),
                version: letter.version,
            }));
        }
        stale.sort();
        stale.truncate(MOST_NAMED);
        stale
    }

    /// The rows of a list. Its plan is made for its filters: a plan for any filters would scan where it should look up.
    ///
    /// # Errors
    /// 503.
    pub async fn list<T: DeserializeOwned + Send + Unpin + 'static>(
        &self,
        query: JsonQuery<'_, T>,
    ) -> Result<Vec<T>, Problem> {
        let leased = self.lane(Class::List)?.lease(&self.of).await.map_err(|error| no_answer(&error))?;
        let rows = leased.ask(async |sql| query.persistent(false).fetch_all(sql).await).await;
        Ok(rows.map_err(|error| no_answer(&error))?.into_iter().map(|Json(row)| row).collect())
    }

    /// One row, by its key.
    ///
    /// # Errors
    /// 503.
    pub async fn one<T: DeserializeOwned + Send + Unpin + 'static>(
        &self,
        query: JsonQuery<'_, T>,
    ) -> Result<Option<T>, Problem> {
        let leased = self.lane(Class::OneRow)?.lease(&self.of).await.map_err(|error| no_answer(&error))?;
        let row = leased.ask(async |sql| query.fetch_optional(sql).await).await;
        Ok(row.map_err(|error| no_answer(&error))?.map(|Json(row)| row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(prefer: &str) -> Result<Option<Duration>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert("prefer", prefer.parse().unwrap());
        wait(&headers)
    }

    #[test]
    fn a_wait_is_bounded_and_found_among_other_preferences() {
        assert_eq!(waits("wait=10").unwrap(), Some(Duration::from_secs(10)));
        assert_eq!(waits("respond-async, Wait=5").unwrap(), Some(Duration::from_secs(5)));
        assert_eq!(waits("wait=100000").unwrap(), Some(LONGEST_WAIT));
        assert_eq!(waits("return=minimal").unwrap(), None);
        assert_eq!(waits("wait=soon").unwrap_err().errors[0].field, "header:Prefer");
    }
}
