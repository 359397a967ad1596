//! Every event and command with the schema of its payload. A test holds the list against the code's own.

use command_service::provider::{inbox, intake};
use domain::{order, payment, product, saga, shipment, stock};
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

/// The schema of one version of an event or a command.
pub struct Contract {
    /// The aggregate it belongs to, `saga`, or `provider_inbox`.
    pub aggregate: &'static str,
    /// Its name, as in Rust.
    pub name: &'static str,
    /// Its version, from 1.
    pub version: u16,
    /// JSON Schema, draft 2020-12.
    pub schema: Value,
}

impl Contract {
    /// `<aggregate>/<Name>.v<version>.json`
    pub fn file(&self) -> String {
        format!("{}/{}.v{}.json", self.aggregate, self.name, self.version)
    }
}

fn contract<T: JsonSchema>(aggregate: &'static str, name: &'static str, version: u16) -> Contract {
    Contract { aggregate, name, version, schema: schema_for!(T).to_value() }
}

/// All versions of all events.
pub fn events() -> Vec<Contract> {
    vec![
        contract::<product::ProductCreated>("product", "ProductCreated", 1),
        contract::<product::ProductPriceChanged>("product", "ProductPriceChanged", 1),
        contract::<product::ProductActivated>("product", "ProductActivated", 1),
        contract::<product::ProductDiscontinued>("product", "ProductDiscontinued", 1),
        contract::<stock::StockReceived>("stock", "StockReceived", 1),
        contract::<stock::StockAdjusted>("stock", "StockAdjusted", 1),
        contract::<stock::StockReserved>("stock", "StockReserved", 1),
        contract::<stock::ReservationRenewed>("stock", "ReservationRenewed", 1),
        contract::<stock::ReservationCommitted>("stock", "ReservationCommitted", 1),
        contract::<stock::ReservationReleased>("stock", "ReservationReleased", 1),
        contract::<stock::ReservationExpired>("stock", "ReservationExpired", 1),
        contract::<stock::StockShipped>("stock", "StockShipped", 1),
        contract::<stock::StockRestocked>("stock", "StockRestocked", 1),
        contract::<order::OrderPlaced>("order", "OrderPlaced", 1),
        contract::<order::OrderRiskAssessed>("order", "OrderRiskAssessed", 1),
        contract::<order::OrderConfirmed>("order", "OrderConfirmed", 1),
        contract::<order::OrderRejected>("order", "OrderRejected", 1),
        contract::<order::OrderHeld>("order", "OrderHeld", 1),
        contract::<order::OrderHoldReleased>("order", "OrderHoldReleased", 1),
        contract::<order::OrderCancellationRequested>("order", "OrderCancellationRequested", 1),
        contract::<order::OrderCancelled>("order", "OrderCancelled", 1),
        contract::<order::OrderDispatchAllowed>("order", "OrderDispatchAllowed", 1),
        contract::<order::OrderShipped>("order", "OrderShipped", 1),
        contract::<order::OrderCompleted>("order", "OrderCompleted", 1),
        contract::<payment::PaymentAuthorizationRequested>("payment", "PaymentAuthorizationRequested", 1),
        contract::<payment::PaymentActionRequired>("payment", "PaymentActionRequired", 1),
        contract::<payment::PaymentAuthorized>("payment", "PaymentAuthorized", 1),
        contract::<payment::PaymentDeclined>("payment", "PaymentDeclined", 1),
        contract::<payment::PaymentOutcomeUnknown>("payment", "PaymentOutcomeUnknown", 1),
        contract::<payment::CaptureRequested>("payment", "CaptureRequested", 1),
        contract::<payment::PaymentCaptured>("payment", "PaymentCaptured", 1),
        contract::<payment::CaptureFailed>("payment", "CaptureFailed", 1),
        contract::<payment::VoidRequested>("payment", "VoidRequested", 1),
        contract::<payment::PaymentVoided>("payment", "PaymentVoided", 1),
        contract::<payment::VoidFailed>("payment", "VoidFailed", 1),
        contract::<payment::RefundRequested>("payment", "RefundRequested", 1),
        contract::<payment::PaymentRefunded>("payment", "PaymentRefunded", 1),
        contract::<payment::RefundFailed>("payment", "RefundFailed", 1),
        contract::<payment::PaymentExpired>("payment", "PaymentExpired", 1),
        contract::<payment::PaymentSucceededLate>("payment", "PaymentSucceededLate", 1),
        contract::<payment::PaymentFellShort>("payment", "PaymentFellShort", 1),
        contract::<shipment::ShipmentPlanned>("shipment", "ShipmentPlanned", 1),
        contract::<shipment::ShipmentReady>("shipment", "ShipmentReady", 1),
        contract::<shipment::ShipmentDispatched>("shipment", "ShipmentDispatched", 1),
        contract::<shipment::ShipmentDelivered>("shipment", "ShipmentDelivered", 1),
        contract::<shipment::ShipmentLost>("shipment", "ShipmentLost", 1),
        contract::<shipment::ShipmentCancelled>("shipment", "ShipmentCancelled", 1),
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

/// All versions of all commands.
pub fn commands() -> Vec<Contract> {
    vec![
        contract::<product::CreateProduct>("product", "CreateProduct", 1),
        contract::<product::ChangeProductPrice>("product", "ChangeProductPrice", 1),
        contract::<product::ActivateProduct>("product", "ActivateProduct", 1),
        contract::<product::DiscontinueProduct>("product", "DiscontinueProduct", 1),
        contract::<stock::ReceiveStock>("stock", "ReceiveStock", 1),
        contract::<stock::AdjustStock>("stock", "AdjustStock", 1),
        contract::<stock::ReserveStock>("stock", "ReserveStock", 1),
        contract::<stock::RenewReservation>("stock", "RenewReservation", 1),
        contract::<stock::CommitReservation>("stock", "CommitReservation", 1),
        contract::<stock::ReleaseReservation>("stock", "ReleaseReservation", 1),
        contract::<stock::ExpireReservation>("stock", "ExpireReservation", 1),
        contract::<stock::ShipStock>("stock", "ShipStock", 1),
        contract::<stock::RestockItems>("stock", "RestockItems", 1),
        contract::<order::PlaceOrder>("order", "PlaceOrder", 1),
        contract::<order::AssessOrderRisk>("order", "AssessOrderRisk", 1),
        contract::<order::ConfirmOrder>("order", "ConfirmOrder", 1),
        contract::<order::RejectOrder>("order", "RejectOrder", 1),
        contract::<order::HoldOrder>("order", "HoldOrder", 1),
        contract::<order::ReleaseOrderHold>("order", "ReleaseOrderHold", 1),
        contract::<order::RequestOrderCancellation>("order", "RequestOrderCancellation", 1),
        contract::<order::CancelOrder>("order", "CancelOrder", 1),
        contract::<order::AllowOrderDispatch>("order", "AllowOrderDispatch", 1),
        contract::<order::RecordOrderShipped>("order", "RecordOrderShipped", 1),
        contract::<order::CompleteOrder>("order", "CompleteOrder", 1),
        contract::<payment::RequestPaymentAuthorization>("payment", "RequestPaymentAuthorization", 1),
        contract::<payment::RequestPaymentCapture>("payment", "RequestPaymentCapture", 1),
        contract::<payment::RequestPaymentVoid>("payment", "RequestPaymentVoid", 1),
        contract::<payment::RequestPaymentRefund>("payment", "RequestPaymentRefund", 1),
        contract::<payment::RecordProviderResult>("payment", "RecordProviderResult", 1),
        contract::<payment::MarkPaymentOutcomeUnknown>("payment", "MarkPaymentOutcomeUnknown", 1),
        contract::<payment::ExpirePayment>("payment", "ExpirePayment", 1),
        contract::<shipment::PlanShipment>("shipment", "PlanShipment", 1),
        contract::<shipment::MarkShipmentReady>("shipment", "MarkShipmentReady", 1),
        contract::<shipment::DispatchShipment>("shipment", "DispatchShipment", 1),
        contract::<shipment::DeliverShipment>("shipment", "DeliverShipment", 1),
        contract::<shipment::ReportShipmentLost>("shipment", "ReportShipmentLost", 1),
        contract::<shipment::CancelShipment>("shipment", "CancelShipment", 1),
    ]
}
