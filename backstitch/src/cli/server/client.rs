//! Asks a running server over HTTP, and tells apart "no" and "no answer".

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use service_kit::Problem;
use terminal::Failure;

/// Where a server listens when nobody says.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7400";

/// Where the server is and how to answer; part of every reading verb.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// The running server.
    #[arg(long, env = "BACKSTITCH_URL", default_value = DEFAULT_URL, value_name = "URL")]
    pub url: String,
    /// Answer in JSON.
    #[arg(long)]
    pub json: bool,
}

/// How long to wait for an answer. Queries take milliseconds; the server itself gives up after 30 s at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);
/// How long to wait for a connection: a server that listens accepts at once.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Items a page, the most that the server gives.
pub const PAGE: usize = 200;

/// A page of a list, as all lists are answered.
#[derive(Debug, Deserialize)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Whether there are more pages.
    #[serde(default)]
    pub has_more: bool,
}

/// A connection to a running server.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    http: reqwest::Client,
}

/// A query string's parts.
pub type Query<'a> = [(&'a str, String)];

impl Client {
    /// A client for the server at `target.url`; connects at the first question.
    ///
    /// # Errors
    /// If it is not a URL, or not one of `http://`.
    pub fn new(target: &Target) -> anyhow::Result<Self> {
        let base = target.url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            return Err(Failure::no_answer(
                format!("`{base}` is not an http:// address"),
                "--url http://127.0.0.1:7400, or export BACKSTITCH_URL",
            ));
        }
        let http = reqwest::Client::builder().connect_timeout(CONNECT_WITHIN).build()?;
        Ok(Self { base, http })
    }

    /// `GET path?query` as JSON.
    ///
    /// # Errors
    /// A [`Failure`]: exit 1 if the server says no, 2 if there is no answer.
    pub async fn get(&self, path: &str, query: &Query<'_>) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.base)).query(query).timeout(ANSWER_WITHIN);
        let response = self.answered(path, request).await?;
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.not_ours(path, &error))
    }

    /// `GET path?query` as `T`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_as<T: DeserializeOwned>(&self, path: &str, query: &Query<'_>) -> anyhow::Result<T> {
        let value = self.get(path, query).await?;
        serde_json::from_value(value).map_err(|error| self.not_ours(path, &error))
    }

    /// `GET path?query`, page by page from `cursor` on, until there are `limit` items or no more. As the server tells pages:
    /// `items`, `has_more`, `next`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn pages(
        &self,
        path: &str,
        query: &Query<'_>,
        cursor: Option<String>,
        limit: usize,
    ) -> anyhow::Result<Value> {
        let (mut items, mut cursor) = (Vec::new(), cursor);
        loop {
            let mut asked = query.to_vec();
            asked.push(("limit", (limit - items.len()).clamp(1, PAGE).to_string()));
            asked.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page = self.get(path, &asked).await?;
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            cursor = page["next"].as_str().map(str::to_owned);
            if cursor.is_none() || items.len() >= limit {
                return Ok(serde_json::json!({ "items": items, "has_more": cursor.is_some(), "next": cursor }));
            }
        }
    }

    /// `POST path` with a body under a key: the same key again does nothing twice.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.base)).header("idempotency-key", key);
        let response = self.answered(path, request.json(body).timeout(ANSWER_WITHIN)).await?;
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.not_ours(path, &error))
    }

    /// `GET path?query` as text.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_text(&self, path: &str, query: &Query<'_>) -> anyhow::Result<String> {
        let request = self.http.get(format!("{}{path}", self.base)).query(query).timeout(ANSWER_WITHIN);
        let response = self.answered(path, request).await?;
        response.text().await.map_err(|error| self.unreachable(&error))
    }

    /// `GET path?query` as server-sent events, for as long as the connection lives.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn live(&self, path: &str, query: &Query<'_>) -> anyhow::Result<reqwest::Response> {
        let request = self.http.get(format!("{}{path}", self.base)).query(query);
        self.answered(path, request.header("accept", "text/event-stream")).await
    }

    /// `POST path?query` with a body under a key, at a version: what was done, or the problem that says no.
    ///
    /// # Errors
    /// A [`Failure`] (exit 2): there is no answer. Sending it again with the same key is safe.
    pub async fn act(
        &self,
        path: &str,
        query: &Query<'_>,
        (key, if_match): (&str, Option<u64>),
        body: &Value,
    ) -> anyhow::Result<Result<Value, Problem>> {
        let request = self.http.post(format!("{}{path}", self.base)).query(query).timeout(ANSWER_WITHIN);
        let mut request = request.header("idempotency-key", key).json(body);
        if let Some(version) = if_match {
            request = request.header("if-match", format!("\"{version}\""));
        }
        match self.asked(request).await? {
            Ok(response) => {
                let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
                serde_json::from_slice(&bytes).map(Ok).map_err(|error| self.not_ours(path, &error))
            }
            Err(problem) if problem.status >= 500 => Err(self.told(path, &problem)),
            Err(problem) => Ok(Err(problem)),
        }
    }

    async fn answered(&self, path: &str, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        self.asked(request).await?.map_err(|problem| self.told(path, &problem))
    }

    async fn asked(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Result<reqwest::Response, Problem>> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Ok(response));
        }
        match response.bytes().await.map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(problem)) => Ok(Err(problem)),
            Ok(Err(_)) | Err(_) => Err(Failure::no_answer(
                format!("{} answered {status} without saying why", self.base),
                format!("curl -i {}/health   # is that a Backstitch server?", self.base),
            )),
        }
    }

    /// A problem as a failure: "no", or with a 5xx "no answer".
    pub fn told(&self, path: &str, problem: &Problem) -> anyhow::Error {
        let mut what = problem.detail.clone().unwrap_or_else(|| problem.title.clone());
        for error in &problem.errors {
            what.push_str(&format!("; {}: {}", error.field, error.message));
        }
        if problem.status >= 500 {
            let wait = problem.retry_after_s.unwrap_or(1);
            let hint = format!("try again in {wait} s; curl -s {}/health shows what is missing", self.base);
            return Failure::no_answer(what, hint);
        }
        let hint = match problem.slug() {
            "not-found" => where_to_look(path).to_owned(),
            slug => format!("curl -s {}/problems/{slug}   # cause and way out", self.base),
        };
        Failure::no(what, hint)
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let why = if error.is_timeout() { "does not answer in time" } else { "cannot be reached" };
        Failure::no_answer(
            format!("the server at {} {why}", self.base),
            "script/server starts one here; --url or BACKSTITCH_URL names another",
        )
    }

    fn not_ours(&self, path: &str, error: &serde_json::Error) -> anyhow::Error {
        Failure::no_answer(
            format!("{}{path} answered something unexpected: {error}", self.base),
            "backstitch --version   # of another release than the server?",
        )
    }
}

/// What to type for a look at what there is, where something was asked for that is not there.
fn where_to_look(path: &str) -> &'static str {
    let noun = path.trim_start_matches("/v1/").split('/').next().unwrap_or_default();
    match noun {
        "sagas" | "saga-types" => "backstitch saga list",
        "streams" => "backstitch stream list",
        "projections" => "backstitch projection list",
        "dead-letters" => "backstitch dead-letter list",
        "orders" => "backstitch stream list --category order; its number stands in the answer to `POST /v1/orders`",
        "lineage" => "backstitch events find --correlation ID, or backstitch stream list",
        _ => "backstitch --version   # older or newer than the server?",
    }
}
