//! What people on call do in the shop of the tests.

use domain::saga::{Action, SagaState, View};
use domain::shipment;
use saga_engine::engine::{Act, Refusal, act};
use saga_orchestrator::{Outcome, sagas};
use uuid::Uuid;

use super::World;
use super::shop::ORDER;

/// What Alice wants; each action has its own request.
pub fn asks(action: Action) -> Act {
    Act {
        action,
        actor: "alice".to_owned(),
        reason: "the bank said so".to_owned(),
        step: None,
        request_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, action.as_str().as_bytes()),
    }
}

impl World {
    /// Alice acts on a saga, as the runner would take it in. The same request again changes nothing.
    pub fn acts(&mut self, saga: &str, asked: &Act) -> Result<(), Refusal> {
        self.acts_on(&sagas::stream(saga, ORDER), asked)
    }

    /// As `acts`, on a saga by its stream.
    pub fn acts_on(&mut self, stream: &str, asked: &Act) -> Result<(), Refusal> {
        let state = self.state(stream);
        if state.requests.contains(&asked.request_id) {
            return Ok(());
        }
        let before = self.sagas[stream].len();
        match act(&state, asked, self.now, &self.config) {
            Ok(events) => {
                self.append(stream, state, events);
                Ok(())
            }
            Err(refusal) => {
                assert_eq!(self.sagas[stream].len(), before, "what is refused leaves nothing");
                Err(refusal)
            }
        }
    }

    /// Alice acts, and it is accepted.
    #[track_caller]
    pub fn does(&mut self, saga: &str, action: Action) {
        assert_eq!(self.acts(saga, &asks(action)), Ok(()), "{}", action.as_str());
    }

    /// Why Alice must not.
    #[track_caller]
    pub fn refuses(&mut self, saga: &str, action: Action) -> Refusal {
        self.acts(saga, &asks(action)).expect_err(action.as_str())
    }

    pub fn fulfilment(&self) -> View {
        self.view(&sagas::stream("order_fulfilment", ORDER))
    }

    pub fn needs_attention(&self, saga: &str) -> bool {
        self.saga_state(saga, ORDER) == SagaState::NeedsAttention
    }

    pub fn loses_shipment(&mut self) -> Outcome {
        let reason = "fell off the lorry".to_owned();
        self.shipment(shipment::Command::ReportShipmentLost(shipment::ReportShipmentLost { reason }))
    }
}
