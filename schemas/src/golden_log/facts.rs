//! The facts that a stream folds to by the domain's own rules: what nobody may ever find changed in an old log.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use command_service::provider::inbox::ProviderEventRecorded;
use command_service::provider::intake::ProviderEventReceived;
use domain::Aggregate;
use domain::order::Order;
use domain::payment::Payment;
use domain::product::Product;
use domain::saga::{self, View};
use domain::shipment::Shipment;
use domain::stock::StockItem;
use event_store::RecordedEvent;
use serde_json::{Value, json};

/// The facts of every stream, by its name.
///
/// # Errors
/// An event that this program cannot read, a stream of a category that it does not know.
pub fn of(events: &[RecordedEvent]) -> Result<BTreeMap<String, Value>> {
    let mut streams: BTreeMap<String, Vec<&RecordedEvent>> = BTreeMap::new();
    events.iter().for_each(|event| streams.entry(event.stream.to_string()).or_default().push(event));
    let facts = |(stream, events): (String, Vec<&RecordedEvent>)| {
        let facts = of_stream(&events).with_context(|| format!("the stream {stream} cannot be folded"))?;
        Ok((stream, facts))
    };
    streams.into_iter().map(facts).collect()
}

fn of_stream(events: &[&RecordedEvent]) -> Result<Value> {
    let category = events.first().map_or("", |event| event.stream.category());
    Ok(match category {
        "order" => order(&folded(events)?),
        "payment" => payment(&folded(events)?),
        "product" => product(&folded(events)?),
        "shipment" => shipment(&folded(events)?),
        "stock" => stock(&folded(events)?),
        "provider_inbox" => inbox(events)?,
        other if other.starts_with("saga_") => saga(events)?,
        other => bail!("no streams of the category `{other}` are known"),
    })
}

fn folded<A: Aggregate>(events: &[&RecordedEvent]) -> Result<A> {
    let mut state = A::default();
    for event in events {
        let decoded = A::decode(&event.event_type, event.schema_version, event.data.get());
        state.evolve(&decoded.with_context(|| format!("version {} cannot be read", event.version))?);
    }
    Ok(state)
}

fn order(order: &Order) -> Value {
    let totals = order.totals.as_ref();
    json!({
        "order_id": order.order_id, "number": order.number, "customer_id": order.customer_id, "status": order.status,
        "subtotal": totals.map(|totals| totals.subtotal), "tax": totals.map(|totals| totals.tax),
        "shipping": totals.map(|totals| totals.shipping), "total": totals.map(|totals| totals.total),
        "pieces": order.quantity_by_item(), "held": order.held(), "rejected": order.rejected,
        "cancelled": order.cancelled, "shipment_id": order.shipment_id, "placed_at": order.placed_at,
    })
}

fn payment(payment: &Payment) -> Value {
    let request = |(id, request): (&domain::ids::RequestId, &domain::payment::Request)| json!({ "id": id, "kind": request.kind, "state": request.state, "amount": request.amount });
    json!({
        "order_id": payment.order_id, "status": payment.status, "amount": payment.amount,
        "authorized": payment.authorized, "captured": payment.captured, "voided": payment.voided,
        "refunded": payment.refunded, "attempt_group": payment.attempt_group,
        "requests": payment.requests.iter().map(request).collect::<Vec<_>>(),
    })
}

fn product(product: &Product) -> Value {
    json!({ "name": product.name, "price": product.price, "status": product.status })
}

fn shipment(shipment: &Shipment) -> Value {
    let line = |line: &domain::shipment::ShipmentLine| json!({ "item": line.item, "quantity": line.quantity });
    let lines: Vec<Value> = shipment.lines.iter().map(line).collect();
    json!({ "order_id": shipment.order_id, "status": shipment.status, "lines": lines })
}

fn stock(stock: &StockItem) -> Value {
    let reserved: BTreeMap<String, i64> =
        stock.reserved.iter().map(|(id, held)| (id.to_string(), held.quantity)).collect();
    let committed: BTreeMap<String, i64> =
        stock.committed.iter().map(|(id, held)| (id.to_string(), held.quantity)).collect();
    json!({
        "on_hand": stock.on_hand, "shipped": stock.shipped, "restocked": stock.restocked, "available": stock.available(),
        "reserved": reserved, "committed": committed,
    })
}

fn saga(events: &[&RecordedEvent]) -> Result<Value> {
    let mut view = View::default();
    for event in events {
        let decoded = saga::Event::decode(&event.event_type, event.schema_version, event.data.get());
        view.fold(
            &decoded.with_context(|| format!("version {} cannot be read", event.version))?,
            event.metadata.occurred_at,
        );
    }
    Ok(json!({
        "saga": view.saga, "definition_version": view.definition_version, "order_id": view.subject.order_id,
        "state": view.state(), "step": view.step(), "reason": view.reason, "handed_over_to": view.handed_over_to,
        "started_at": view.started_at, "ended_at": view.ended_at,
    }))
}

fn inbox(events: &[&RecordedEvent]) -> Result<Value> {
    let read = |event: &&RecordedEvent| -> Result<Value> {
        if &*event.event_type == "ProviderEventRecorded" {
            let recorded: ProviderEventRecorded = serde_json::from_str(event.data.get())?;
            return Ok(json!({ "recorded": recorded.request_id, "payment": recorded.payment_id }));
        }
        let told: ProviderEventReceived = serde_json::from_str(event.data.get())?;
        Ok(
            json!({ "because": told.because, "provider": told.provider, "key": told.event.key, "result": told.event.result }),
        )
    };
    Ok(Value::Array(events.iter().map(read).collect::<Result<_>>()?))
}
