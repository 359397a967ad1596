//! A customer who does not give up: every command is sent under its key until it is answered, so that a server that is
//! killed and started again in between is no more than a delay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use parking_lot::Mutex;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;

/// How long a server may be gone before the customer gives up: a restart takes seconds, a slow machine some more.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How long to wait before asking again when nobody listens.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one request may take; `until=settled` waits up to [`WAIT_S`] in it.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);
/// Items a page of a list, the most that the server gives.
const LIST_PAGE: usize = 200;
/// How long the server may hold a query for what it is asked to wait for.
const WAIT_S: u32 = 10;

/// An answer of the server, good or not.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; `Null` where it is no JSON.
    pub body: Value,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        self.headers.get(HeaderName::from_static(name))?.to_str().ok()
    }

    /// Where the log was when the command was durable.
    pub fn position(&self) -> Option<u64> {
        self.header("x-commit-position")?.parse().ok()
    }

    /// Where the command left what it was about.
    fn place(&self) -> Option<Place> {
        let version = self.body["version"].as_u64()?;
        Some(Place { position: self.position()?, id: self.text("id").to_owned(), version })
    }

    /// The last part of the problem's type.
    pub fn problem(&self) -> Option<&str> {
        self.body["type"].as_str()?.rsplit('/').next()
    }

    /// A field of the body as text; empty where it is not there.
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }

    /// Whether to ask again: the server says when.
    fn is_for_later(&self) -> bool {
        self.status == 503 || self.headers.contains_key("retry-after")
    }

    /// This answer, if it is a good one.
    ///
    /// # Errors
    /// If it is not 2xx.
    pub fn good(self) -> anyhow::Result<Self> {
        if (200..300).contains(&self.status) { Ok(self) } else { bail!("refused with {}: {}", self.status, self.body) }
    }
}

/// What a client and its clones have seen: what was acknowledged, and what was not answered at once.
#[derive(Debug, Default)]
pub struct Tally {
    acknowledged: AtomicU64,
    later: AtomicU64,
    unanswered: AtomicU64,
    /// Held for a push or a copy: a std mutex is enough.
    places: Mutex<Vec<Place>>,
}

/// Where an acknowledged command left what it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The position that the client was told.
    pub position: u64,
    /// The id of what it was about.
    pub id: String,
    /// The version of its stream that the client was told.
    pub version: u64,
}

impl Tally {
    /// Commands that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Requests that were answered with "later" (503, or `Retry-After`), and sent again.
    pub fn later(&self) -> u64 {
        self.later.load(Ordering::Relaxed)
    }

    /// Requests that got no answer at all, and were sent again.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// Where acknowledged commands left what they were about.
    pub fn places(&self) -> Vec<Place> {
        self.places.lock().clone()
    }

    fn acknowledge(&self, answer: &Answer) {
        if (200..300).contains(&answer.status) {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            self.places.lock().extend(answer.place());
        }
    }
}

/// A customer, or the warehouse, of one shop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    http: reqwest::Client,
    patience: Duration,
    tally: Arc<Tally>,
}

impl Client {
    /// A client of the shop at `url`.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn new(url: &str, patience: Duration) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
        Ok(Self { base: url.trim_end_matches('/').to_owned(), http, patience, tally: Arc::default() })
    }

    /// What this client and its clones have seen.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Sends a command under `key` until it is answered.
    ///
    /// # Errors
    /// If there is no answer within the client's patience.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> anyhow::Result<Answer> {
        let request = || self.http.post(format!("{}{path}", self.base)).header("idempotency-key", key).json(body);
        let answer = self.answered(path, request).await?;
        self.tally.acknowledge(&answer);
        Ok(answer)
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    /// If there is none within the client's patience.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.answered(path, || self.http.get(format!("{}{path}", self.base))).await
    }

    /// The order, once nothing happens to it by itself any more, and as new as `position`.
    ///
    /// # Errors
    /// If it does not come to rest within the client's patience.
    pub async fn settled(&self, order: &str, position: Option<u64>) -> anyhow::Result<Answer> {
        let path = format!("/v1/orders/{order}?until=settled");
        let request = || {
            let request = self.http.get(format!("{}{path}", self.base)).header("prefer", format!("wait={WAIT_S}"));
            match position {
                Some(position) => request.header("x-min-position", position.to_string()),
                None => request,
            }
        };
        let begin = Instant::now();
        loop {
            let answer = self.answered(&path, request).await?.good()?;
            if answer.body["settled"] == true {
                return Ok(answer);
            }
            if begin.elapsed() > self.patience {
                bail!("order {order} did not come to rest within {:?}: {}", self.patience, answer.body);
            }
        }
    }

    /// All items of a list, page by page, at least as new as `position`.
    ///
    /// # Errors
    /// If there is no answer within the client's patience, or a page is refused.
    pub async fn list(&self, path: &str, position: u64) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let url = format!("{}{path}?limit={LIST_PAGE}{next}", self.base);
            let request = || {
                let request = self.http.get(&url).header("x-min-position", position.to_string());
                request.header("prefer", format!("wait={WAIT_S}"))
            };
            let mut page = self.answered(path, request).await?.good()?.body;
            match page["items"].take() {
                Value::Array(found) => items.extend(found),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                    bail!("{path} answered no list")
                }
            }
            match page["next"].as_str() {
                Some(cursor) if page["has_more"] == true => next = format!("&cursor={cursor}"),
                Some(_) | None => return Ok(items),
            }
        }
    }

    /// The text of a page of the log, or of the provider's ledger.
    ///
    /// # Errors
    /// If there is none within the client's patience, or it is refused.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let begin = Instant::now();
        loop {
            let why = match self.http.get(format!("{}{path}", self.base)).send().await {
                Ok(response) if response.status().is_success() => match response.text().await {
                    Ok(text) => return Ok(text),
                    Err(error) => error.to_string(),
                },
                Ok(response) if response.status() == 503 => "503".to_owned(),
                Ok(response) => {
                    bail!("GET {path}: {} {}", response.status(), response.text().await.unwrap_or_default())
                }
                Err(error) => error.to_string(),
            };
            self.pause(begin, path, &why).await?;
        }
    }

    async fn answered(&self, path: &str, request: impl Fn() -> reqwest::RequestBuilder) -> anyhow::Result<Answer> {
        let begin = Instant::now();
        loop {
            let why = match once(request()).await {
                Ok(answer) if !answer.is_for_later() => return Ok(answer),
                Ok(answer) => {
                    self.tally.later.fetch_add(1, Ordering::Relaxed);
                    format!("{} {}", answer.status, answer.body)
                }
                Err(error) => {
                    self.tally.unanswered.fetch_add(1, Ordering::Relaxed);
                    format!("{error:#}")
                }
            };
            self.pause(begin, path, &why).await?;
        }
    }

    async fn pause(&self, begin: Instant, path: &str, why: &str) -> anyhow::Result<()> {
        if begin.elapsed() > self.patience {
            bail!("{}{path} gave no answer within {:?}, at last: {why}", self.base, self.patience);
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

/// One request, one answer.
///
/// # Errors
/// If there is no answer.
pub async fn once(request: reqwest::RequestBuilder) -> anyhow::Result<Answer> {
    let response = request.send().await.context("no answer")?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.context("half an answer")?;
    Ok(Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
}
