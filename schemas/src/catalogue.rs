//! Every event and command with the schema of its payload, as the aggregates declare them.

use command_service::provider::{inbox, intake};
use domain::{Visit, order, payment, product, saga, shipment, stock};
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

/// The schema of one version of an event or a command.
pub struct Contract {
    /// The aggregate that the contract belongs to, or `saga` or `provider_inbox`.
    pub aggregate: &'static str,
    /// Name of the event or command, as in Rust.
    pub name: &'static str,
    /// Version of the schema, from 1.
    pub version: u16,
    /// The JSON Schema of the payload, draft 2020-12.
    pub schema: Value,
}

impl Contract {
    /// The path of the contract's file, `<aggregate>/<Name>.v<version>.json`.
    pub fn file(&self) -> String {
        format!("{}/{}.v{}.json", self.aggregate, self.name, self.version)
    }
}

fn contract<T: JsonSchema>(aggregate: &'static str, name: &'static str, version: u16) -> Contract {
    Contract { aggregate, name, version, schema: schema_for!(T).to_value() }
}

/// Makes the contract of each event or command that is declared to it.
struct Catalogue {
    aggregate: &'static str,
    contracts: Vec<Contract>,
}

impl<T: JsonSchema> Visit<T> for Catalogue {
    fn visit(&mut self, name: &'static str, schema_version: u16) {
        self.contracts.push(contract::<T>(self.aggregate, name, schema_version));
    }
}

/// The contracts of everything that `declaration` declares.
fn of(aggregate: &'static str, declaration: fn(&mut Catalogue)) -> Vec<Contract> {
    let mut catalogue = Catalogue { aggregate, contracts: Vec::new() };
    declaration(&mut catalogue);
    catalogue.contracts
}

/// The contracts of all versions of all events: the newest as the aggregates declare them, then those of old logs.
pub fn events() -> Vec<Contract> {
    let newest = [
        of("product", product::Event::visit),
        of("stock", stock::Event::visit),
        of("order", order::Event::visit),
        of("payment", payment::Event::visit),
        of("shipment", shipment::Event::visit),
        saga_and_inbox(),
    ];
    newest.into_iter().flatten().chain(older()).collect()
}

/// Older schema versions, each with the struct that its payload was: none yet.
fn older() -> Vec<Contract> {
    Vec::new()
}

/// The contracts of all commands, as the aggregates declare them.
pub fn commands() -> Vec<Contract> {
    let all = [
        of("product", product::Command::visit),
        of("stock", stock::Command::visit),
        of("order", order::Command::visit),
        of("payment", payment::Command::visit),
        of("shipment", shipment::Command::visit),
    ];
    all.into_iter().flatten().collect()
}

/// The contracts of the sagas' events, and of the provider's results that match no payment.
fn saga_and_inbox() -> Vec<Contract> {
    vec![
        contract::<saga::SagaStarted>("saga", "SagaStarted", 1),
        contract::<saga::SagaInputRecorded>("saga", "SagaInputRecorded", 1),
        contract::<saga::StepStarted>("saga", "StepStarted", 1),
        contract::<saga::CommandAnswered>("saga", "CommandAnswered", 1),
        contract::<saga::StepRetryScheduled>("saga", "StepRetryScheduled", 1),
        contract::<saga::StepRenewed>("saga", "StepRenewed", 1),
        contract::<saga::StepSucceeded>("saga", "StepSucceeded", 1),
        contract::<saga::StepFailed>("saga", "StepFailed", 1),
        contract::<saga::CompensationStarted>("saga", "CompensationStarted", 1),
        contract::<saga::UndoStarted>("saga", "UndoStarted", 1),
        contract::<saga::UndoSucceeded>("saga", "UndoSucceeded", 1),
        contract::<saga::SagaCompleted>("saga", "SagaCompleted", 1),
        contract::<saga::SagaCompensated>("saga", "SagaCompensated", 1),
        contract::<saga::SagaHandedOver>("saga", "SagaHandedOver", 1),
        contract::<saga::SagaNeedsAttention>("saga", "SagaNeedsAttention", 1),
        contract::<saga::OperatorActed>("saga", "OperatorActed", 1),
        contract::<intake::ProviderEventReceived>("provider_inbox", "ProviderEventReceived", 1),
        contract::<inbox::ProviderEventRecorded>("provider_inbox", "ProviderEventRecorded", 1),
    ]
}
