//! One attempt at a request: ask if it may have been sent, else send.

use std::time::Duration;

use domain::payment::{OpenRequest, Payment, ProviderResult, RequestKind, ResultSource};

use super::Driver;
use crate::provider::port::{Answer, Authorize, Capture, Lookup, ProviderError, Refund, RequestKey, Void};

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum Heard {
    /// The provider has said what became of it.
    Result {
        /// The provider's result.
        result: ProviderResult,
        /// The provider's own name for it.
        provider_ref: Option<String>,
        /// How we heard.
        source: ResultSource,
    },
    /// It was taken, and the provider is at it.
    StillAtIt,
    /// No answer, or "later".
    Nothing {
        /// How long the provider asks us to wait.
        retry_after: Option<Duration>,
    },
    /// It need not be sent any more.
    Moot,
}

impl Driver {
    pub(super) async fn attempt(
        &self,
        key: RequestKey,
        payment: &Payment,
        request: &OpenRequest,
        maybe_sent: bool,
    ) -> Heard {
        if maybe_sent {
            match self.fetch(key).await {
                Ok(Some(answer)) => return heard(answer, ResultSource::Fetch),
                // It did a part of it and knows nothing of it: sent again, it might do all of it once more.
                Ok(None) if request.partly_done => {
                    tracing::error!(%key, "the provider does not know a request any more that it carried out in part");
                    return Heard::Nothing { retry_after: None };
                }
                Ok(None) => {} // It never came: the same key and body.
                Err(error) => return self.nothing(key, &error),
            }
        }
        // Sending what is being given up would only give the provider more to let go: the void closes both.
        if request.kind == RequestKind::Authorization && payment.has_open(RequestKind::Void) {
            return Heard::Moot;
        }
        match self.within_deadline(self.send(key, payment, request)).await {
            Ok(answer) => heard(answer, ResultSource::Response),
            Err(ProviderError::Refused { code, detail }) => self.refused(key, request.kind, code, &detail).await,
            Err(error @ (ProviderError::Unknown { .. } | ProviderError::Transient { .. })) => self.nothing(key, &error),
        }
    }

    async fn send(&self, key: RequestKey, payment: &Payment, request: &OpenRequest) -> Result<Answer, ProviderError> {
        let (amount, provider) = (request.amount, &self.provider);
        let order_id = payment.order_id.unwrap_or_default();
        match request.kind {
            RequestKind::Authorization => {
                let (payment_method, tags) = (payment.payment_method.clone(), payment.tags.clone());
                provider.authorize(&Authorize { key, order_id, amount, payment_method, tags }).await
            }
            RequestKind::Capture => provider.capture(&Capture { key, order_id, amount }).await,
            RequestKind::Void => provider.void(&Void { key, order_id }).await,
            RequestKind::Refund => provider.refund(&Refund { key, order_id, amount }).await,
        }
    }

    async fn fetch(&self, key: RequestKey) -> Result<Option<Answer>, ProviderError> {
        let lookup = Lookup::Key(key);
        self.within_deadline(self.provider.fetch(&lookup)).await
    }

    /// One call, at its place among all, within its deadline.
    async fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let _place = self.calls.acquire().await; // Never closed; were it, the bound would be gone, not the call.
        tokio::select! {
            biased;
            answer = call => answer,
            () = self.clock.sleep(self.call_timeout) => {
                Err(ProviderError::Unknown { detail: format!("no answer within {:?}", self.call_timeout) })
            }
        }
    }

    /// A refusal is final only if the provider knows nothing else of the key: under "key reused" an earlier body may
    /// have moved money.
    async fn refused(&self, key: RequestKey, kind: RequestKind, code: String, detail: &str) -> Heard {
        tracing::error!(%key, code, detail, "the provider refuses a call of ours");
        match self.fetch(key).await {
            Ok(Some(answer)) => heard(answer, ResultSource::Fetch),
            Ok(None) => {
                let result = match kind {
                    RequestKind::Authorization => ProviderResult::Declined { code },
                    RequestKind::Capture => ProviderResult::CaptureFailed { code },
                    RequestKind::Void => ProviderResult::VoidFailed { code },
                    RequestKind::Refund => ProviderResult::RefundFailed { code },
                };
                Heard::Result { result, provider_ref: None, source: ResultSource::Response }
            }
            Err(error) => self.nothing(key, &error),
        }
    }

    fn nothing(&self, key: RequestKey, error: &ProviderError) -> Heard {
        tracing::info!(%key, %error, provider = self.provider.name(), "no answer from the provider");
        metrics::counter!("backstitch_provider_failures_total").increment(1);
        let retry_after = if let ProviderError::Transient { retry_after, .. } = error { *retry_after } else { None };
        Heard::Nothing { retry_after }
    }
}

fn heard(answer: Answer, source: ResultSource) -> Heard {
    match answer.result {
        Some(result) => Heard::Result { result, provider_ref: Some(answer.provider_ref), source },
        None => Heard::StillAtIt,
    }
}
