//! Appends what the provider said, through the bus, so that the payment's own rules judge it.

use domain::ids::{PaymentId, RequestId, derive};
use domain::payment::{
    Command, MarkPaymentOutcomeUnknown, OpenRequest, ProviderResult, RecordProviderResult, ResultSource,
};
use uuid::Uuid;

use super::Driver;
use crate::provider::wake::Cause;
use crate::{CommandMeta, SendError};

/// Tries to append one result: with the delays between them some 30 s, after which the provider is asked again.
const SENDS_MAX: u32 = 10;

/// The id of the command that records a result: the same news is the same command, however it reached us.
pub(in crate::provider) fn result_command_id(request_id: RequestId, result: &ProviderResult) -> Uuid {
    let said = serde_json::to_string(result).expect("a result is an enum of strings, numbers and times");
    derive(&["provider-result", &request_id.to_string(), &said])
}

impl Driver {
    /// Whether the result is durable in the payment.
    pub(super) async fn record(
        &self,
        payment_id: PaymentId,
        request: &OpenRequest,
        result: ProviderResult,
        provider_ref: Option<String>,
        source: ResultSource,
        cause: &Cause,
    ) -> bool {
        let request_id = request.request_id;
        let command_id = result_command_id(request_id, &result);
        let command = RecordProviderResult { request_id, result, provider_ref, source };
        self.append(payment_id, Command::RecordProviderResult(command), command_id, cause).await
    }

    /// Records that a request has been open for too long; reconciliation takes it up.
    pub(super) async fn mark_unknown(&self, payment_id: PaymentId, request: &OpenRequest, cause: &Cause) {
        let request_id = request.request_id;
        let command_id = derive(&["provider-outcome-unknown", &request_id.to_string()]);
        let command = Command::MarkPaymentOutcomeUnknown(MarkPaymentOutcomeUnknown { request_id });
        self.append(payment_id, command, command_id, cause).await;
    }

    async fn append(&self, id: PaymentId, command: Command, command_id: Uuid, cause: &Cause) -> bool {
        let command = domain::Command::Payment { id, command };
        for attempt in 0..SENDS_MAX {
            let meta = CommandMeta {
                traceparent: cause.traceparent.clone(),
                ..CommandMeta::machine(command_id, cause.correlation_id, cause.causation_id, self.actor.clone())
            };
            match self.bus.send(command.clone(), meta).await {
                Ok(_) => return true,
                Err(
                    error @ (SendError::Busy { .. }
                    | SendError::Full { .. }
                    | SendError::InFlight
                    | SendError::Unavailable { .. }
                    | SendError::Damaged { .. }),
                ) => self.after_failed_send(attempt, "append what the provider said", &error).await,
                // Our rules say that it cannot be: the request stays open, becomes unknown, and a person is shown it.
                Err(
                    error @ (SendError::Rejected { .. }
                    | SendError::PreconditionFailed { .. }
                    | SendError::KeyReused
                    | SendError::TooLate { .. }),
                ) => {
                    tracing::error!(payment.id = %id, %error, command = command.name(), "what the provider said is refused");
                    metrics::counter!("backstitch_provider_results_refused_total").increment(1);
                    return false;
                }
            }
        }
        false
    }
}
