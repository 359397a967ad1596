//! `GET /v1/lineage/{id}`: where something came from and what followed from it. Which order it belongs to is found in the
//! timeline; the story itself is read from the order's streams, so that it has every event of its sagas.

use std::collections::{BTreeSet, HashMap, HashSet};

use axum::extract::State;
use event_store::{Direction, Filter, Position, RecordedEvent, StreamName};
use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::api::StreamText;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, RefusalsOfOne};
use super::consistency::{Consistency, ConsistencyHeaders, Reader, json};
use super::page::look_up;
use super::params::{Names, Params};
use super::streams::unreadable;
use super::wanted::BY_NUMBER;
use crate::Handle;
use crate::lineage::{Graph, Happened, Node};
use crate::projections::{order_timeline, orders};

/// What the answer is made of.
const PARTS: &[&str] = &[orders::NAME, order_timeline::NAME];
/// The most events of one stream, and of one order's timeline: far beyond any order's story.
const EVENTS_MOST: usize = 2_000;
/// The most orders of one request: a correlation id, which clients choose, may span any number.
const ORDERS_MOST: usize = 5;

const ORDERS_OF: &str = "
select to_json(t.order_id) from (
  select order_id, min(position) as first from order_timeline
  where order_id = $1 or event_id = $1 or command_id = $1 or causation_id = $1 or correlation_id = $1
  group by order_id order by first limit $2) t order by t.first";

const HAPPENED: &str = "
select row_to_json(t) from (
  select t.position, t.stream, t.version, t.event_id, t.event_type as type, t.actor, t.correlation_id, t.causation_id,
    t.command_id, t.summary, t.occurred_at
  from order_timeline t where t.order_id = $1 order by t.position limit $2) t";

/// The causes and effects around an event, command or request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Lineage {
    /// The id or name that was asked for.
    pub id: String,
    /// The orders to which it belongs: the first five, in the order of the log.
    pub orders: Vec<Uuid>,
    /// Whether it belongs to further orders.
    #[serde(default)]
    pub more_orders: bool,
    /// The ids without a cause in the graph: requests from outside.
    pub roots: Vec<Uuid>,
    /// The graph of causes and effects.
    #[serde(flatten)]
    pub graph: Graph,
}

/// The subject that a path names.
struct Wanted {
    orders: Vec<Uuid>,
    /// The events of this stream, or what bears this id; none: the whole story.
    stream: Option<StreamName>,
    id: Option<Uuid>,
}

/// Where something came from, up to the request that began it, and all that followed from it.
#[utoipa::path(get, path = "/v1/lineage/{id}", tag = "log", operation_id = "showLineage",
    params(("id" = inline(StreamText), Path, description = "An order's id or number, a saga's id, a stream, a position of the log, \
        or the id of an event, a command, a request or a correlation"), ConsistencyHeaders),
    responses((status = 200, description = "The causes and effects.", body = Lineage), RefusalsOfOne))]
pub async fn show(
    State(handle): State<Handle>,
    names: Names,
    params: Params,
    consistency: Consistency,
) -> Result<Answer<Lineage>, Problem> {
    params.only(&[])?;
    let text = names.raw("id").to_owned();
    let reader = consistency.reader(&handle, PARTS).await?;
    let mut wanted = wanted(&handle, &reader, &text).await?;
    let more_orders = wanted.orders.len() > ORDERS_MOST;
    wanted.orders.truncate(ORDERS_MOST);
    let mut events = Vec::new();
    for order in &wanted.orders {
        events.extend(story(&handle, &reader, *order).await?);
    }
    if events.is_empty() {
        return Err(missing(&text, &reader));
    }
    let graph = Graph::of(events);
    let of_stream = |node: &Node| {
        node.version.is_some() && node.stream.as_deref() == wanted.stream.as_ref().map(StreamName::as_str)
    };
    let asked_for: HashSet<Uuid> = graph
        .nodes
        .iter()
        .filter(|node| Some(node.id) == wanted.id || (wanted.stream.is_some() && of_stream(node)))
        .map(|node| node.id)
        .collect();
    // An order's id, or that of a correlation, is no node's: it stands for the whole story.
    let graph = if asked_for.is_empty() { graph } else { graph.around(&asked_for) };
    let roots = graph.roots().into_iter().map(|node| node.id).collect();
    let body = Lineage { id: text, orders: wanted.orders, more_orders, roots, graph };
    Ok(Answer::at(reader.position, body).waited(consistency.applied_s()))
}

async fn wanted(handle: &Handle, reader: &Reader, text: &str) -> Result<Wanted, Problem> {
    if let Ok(id) = Uuid::try_parse(text) {
        let orders = reader.list(json::<Uuid>(ORDERS_OF).bind(id).bind(look_up(ORDERS_MOST))).await?;
        return Ok(Wanted { orders, stream: None, id: Some(id) });
    }
    if text.len() != 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let after = Position(text.parse::<u64>().unwrap_or(u64::MAX).saturating_sub(1));
        let found = handle.store.read_all(after, Direction::Forward, 1, &Filter::default()).await;
        let found = found.map_err(|error| unreadable(&error))?;
        let event = found.into_iter().find(|event| event.position.to_string() == text);
        let event = event.ok_or_else(|| missing(text, reader))?;
        return Ok(Wanted { orders: order_of(&event).into_iter().collect(), stream: None, id: Some(event.id) });
    }
    if text.contains('-') {
        for name in [text.to_owned(), format!("saga_{text}")] {
            let Ok(stream) = name.parse::<StreamName>() else { continue };
            let first = handle.store.read_stream(&stream, 0, Direction::Forward, 1).await;
            if let Some(event) = first.map_err(|error| unreadable(&error))?.first() {
                let orders = order_of(event).into_iter().collect();
                return Ok(Wanted { orders, stream: Some(stream), id: None });
            }
        }
        return Err(missing(text, reader));
    }
    let number = text.to_ascii_uppercase().replace(['I', 'L'], "1").replace('O', "0");
    let order = reader.one(json::<Uuid>(BY_NUMBER).bind(number)).await?;
    Ok(Wanted { orders: order.into_iter().collect(), stream: None, id: None })
}

/// The order that an event belongs to.
fn order_of(event: &RecordedEvent) -> Option<Uuid> {
    #[derive(Default, Deserialize)]
    struct Says {
        order_id: Option<Uuid>,
    }
    let says = || serde_json::from_str::<Says>(event.data.get()).unwrap_or_default().order_id;
    Uuid::try_parse(&event.metadata.partition_key).ok().or_else(says)
}

/// All events of an order: of its own streams from the log, of stock those that name it.
async fn story(handle: &Handle, reader: &Reader, order: Uuid) -> Result<Vec<Happened>, Problem> {
    let most = i64::try_from(EVENTS_MOST).unwrap_or(i64::MAX);
    let rows = reader.list(json::<Happened>(HAPPENED).bind(order).bind(most)).await?;
    let of_stock = |row: &Happened| row.stream.starts_with("stock-");
    let streams: BTreeSet<String> = rows.iter().filter(|row| !of_stock(row)).map(|row| row.stream.clone()).collect();
    let mut summaries: HashMap<u64, String> = rows.iter().map(|row| (row.position, row.summary.clone())).collect();
    let mut events: Vec<Happened> = rows.into_iter().filter(of_stock).collect();
    for name in streams {
        let Ok(stream) = name.parse::<StreamName>() else { continue };
        let found = handle.store.read_stream(&stream, 0, Direction::Forward, EVENTS_MOST).await;
        for event in found.map_err(|error| unreadable(&error))? {
            let summary = summaries.remove(&event.position.0);
            let summary = summary.unwrap_or_else(|| order_timeline::summary_of(&event));
            events.push(Happened::of(&event, summary));
        }
    }
    Ok(events)
}

fn missing(text: &str, reader: &Reader) -> Problem {
    Problem::not_found(format_args!(
        "no order's story has `{text}` at position {}; a saga's own event is found by its position, what belongs to no \
         order (products, deliveries to the warehouse) by its stream",
        reader.position
    ))
}
