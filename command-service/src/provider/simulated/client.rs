//! Calls the simulated provider's own process.

use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode};
use domain::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_kit::Problem;

use super::{NAME, capabilities, read_webhook};
use crate::provider::config::{ProviderConfig, WebhookSecrets};
use crate::provider::port::{
    Answer, Authorize, Capabilities, Capture, Lookup, PaymentProvider, ProviderError, ProviderEvent, Refund, Void,
    WebhookError,
};
use crate::provider::statement::{Page, Statement};

/// How long to wait for a connection: the process is near, and nothing was sent yet when this ends.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a call may take beyond the driver's own deadline, so that it is the driver's that ends it.
const SPARE: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read: a page of the statement is some 4 MB.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// The simulated provider over HTTP. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpProvider {
    http: reqwest::Client,
    base: String,
    secret: WebhookSecrets,
    auth_ttl: Duration,
}

impl HttpProvider {
    /// A client of the process at `config.url`, whose webhooks are signed with `secret`.
    ///
    /// # Errors
    /// What reqwest says when the client cannot be made.
    pub fn new(config: &ProviderConfig, secret: WebhookSecrets) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy() // It moves money: it goes where the setting says and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(config.call_timeout() + SPARE)
            .build()?;
        let base = config.url.trim_end_matches('/').to_owned();
        Ok(Self { http, base, secret, auth_ttl: Duration::from_secs(config.simulated.auth_ttl_s) })
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer, ProviderError> {
        let answer = send(self.http.post(format!("{}{path}", self.base)).json(body)).await?;
        answer.ok_or_else(|| no_such(path))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<Option<T>, ProviderError> {
        send(self.http.get(format!("{}{path}", self.base)).query(query)).await
    }
}

/// The refusals that are outcomes: the provider took the call, judged it, and will never carry it out.
const REFUSALS: &[&str] = &["idempotency-key-reused", "invalid-request", "body-too-large"];

/// The longest piece of an answer of somebody else that is shown, in characters.
const SHOWN_MAX: usize = 120;

fn no_such(path: &str) -> ProviderError {
    let detail = format!("the provider has no `{path}`; check `provider.url`");
    ProviderError::Transient { detail, retry_after: None }
}

/// One call; `None` where the provider itself says that it has no such thing. An error before anything was sent is
/// transient, any later one leaves the outcome unknown. Only the provider's own error document is an outcome: the page of
/// a proxy on the way, whatever its status, says nothing about the call.
async fn send<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<Option<T>, ProviderError> {
    let unknown = |error: reqwest::Error| ProviderError::Unknown { detail: chain(&error) };
    let response = request.send().await.map_err(|error| {
        if error.is_connect() {
            ProviderError::Transient { detail: chain(&error), retry_after: None }
        } else {
            unknown(error)
        }
    })?;
    let (status, retry_after) = (response.status(), retry_after(response.headers()));
    let body = read(response).await?;
    if status.is_success() {
        // Carried out, and not understood: to ask again is safe, to take it for a refusal is not.
        let answer =
            serde_json::from_slice(&body).map_err(|error| ProviderError::Unknown { detail: error.to_string() });
        return answer.map(Some);
    }
    let transient = |detail: String| Err(ProviderError::Transient { detail, retry_after });
    let Some(problem) = own_problem(status, &body) else {
        let shown: String =
            String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect();
        return transient(format!("{status} from something on the way that is not the provider: {shown}"));
    };
    let detail = problem.detail.clone().unwrap_or_else(|| problem.title.clone());
    match problem.slug() {
        "not-found" if status == StatusCode::NOT_FOUND => Ok(None),
        code if status.is_client_error() && REFUSALS.contains(&code) => {
            Err(ProviderError::Refused { code: code.replace('-', "_"), detail })
        }
        code => transient(format!("{status} ({code}): {detail}")),
    }
}

/// The provider's own error document: its type is one of ours, and its status is that of the answer.
fn own_problem(status: StatusCode, body: &[u8]) -> Option<Problem> {
    let problem: Problem = serde_json::from_slice(body).ok()?;
    let is_own = problem.problem_type.starts_with("/problems/") && problem.status == status.as_u16();
    is_own.then_some(problem)
}

/// Reads an answer of bounded size.
async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, ProviderError> {
    let unknown = |detail: String| ProviderError::Unknown { detail };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unknown(chain(&error)))? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(unknown(format!("the answer has more than {ANSWER_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get("retry-after")?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// An error with what caused it: reqwest's own text names only the address.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[async_trait]
impl PaymentProvider for HttpProvider {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(self.auth_ttl)
    }

    async fn authorize(&self, request: &Authorize) -> Result<Answer, ProviderError> {
        self.post("/v1/authorizations", request).await
    }

    async fn capture(&self, request: &Capture) -> Result<Answer, ProviderError> {
        self.post("/v1/captures", request).await
    }

    async fn void(&self, request: &Void) -> Result<Answer, ProviderError> {
        self.post("/v1/voids", request).await
    }

    async fn refund(&self, request: &Refund) -> Result<Answer, ProviderError> {
        self.post("/v1/refunds", request).await
    }

    async fn fetch(&self, lookup: &Lookup) -> Result<Option<Answer>, ProviderError> {
        match lookup {
            Lookup::Key(key) => self.get("/v1/requests", &[("key", key.to_string())]).await,
            Lookup::ProviderRef(name) => self.get("/v1/requests", &[("provider_ref", name)]).await,
        }
    }

    fn verify_webhook(
        &self,
        body: &[u8],
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Vec<ProviderEvent>, WebhookError> {
        read_webhook(&self.secret, body, headers, now)
    }

    async fn statement(&self, page: &Page) -> Result<Statement, ProviderError> {
        let statement = self.get("/ledger", page).await?;
        statement.ok_or_else(|| no_such("/ledger"))
    }
}
