//! The read models beside the books: every row of the run must say what the fold of the log says.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::books::Books;
use super::client::Client;
use super::proof::{Check, Scope};

/// Compares stock levels, orders and payments.
///
/// # Errors
/// If the server gives no answer.
pub async fn read_models(client: &Client, books: &Books, scope: &Scope) -> anyhow::Result<Vec<Check>> {
    let position = books.position;
    let stock = client.list("/v1/stock", position).await?;
    let orders = client.list("/v1/orders", position).await?;
    let payments = client.list("/v1/payments", position).await?;
    Ok(vec![
        rows("stock levels = the log's", &stock, stock_levels(books, scope), |row| {
            format!("{}@{}", text(row, "sku"), text(row, "location"))
        }),
        rows("orders = the log's", &orders, order_rows(books, scope), |row| text(row, "id")),
        rows("payments = the log's", &payments, payment_rows(books, scope), |row| text(row, "id")),
    ])
}

fn text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap_or_default().to_owned()
}

/// Each expected row must be there, and each of its fields must be so.
fn rows(claim: &str, found: &[Value], expected: BTreeMap<String, Value>, key: impl Fn(&Value) -> String) -> Check {
    let found: BTreeMap<String, &Value> = found.iter().map(|row| (key(row), row)).collect();
    let offenders = expected.iter().filter_map(|(key, expected)| {
        let Some(row) = found.get(key) else { return Some(format!("{key} is missing")) };
        let fields = expected.as_object()?;
        let differs = fields.iter().find(|(field, value)| row.get(field.as_str()) != Some(*value))?;
        let shown = row.get(differs.0).cloned().unwrap_or(Value::Null);
        Some(format!("{key}: {} is {shown}, the log says {}", differs.0, differs.1))
    });
    Check::each(claim, expected.len(), offenders)
}

fn stock_levels(books: &Books, scope: &Scope) -> BTreeMap<String, Value> {
    let items = books.stock.iter().filter(|(item, _)| scope.skus.contains(&item.sku));
    items
        .map(|(item, book)| {
            let state = &book.state;
            let row = json!({
                "on_hand": state.on_hand,
                "reserved": state.reserved_pieces(),
                "committed": state.committed_pieces(),
                "available": state.available(),
            });
            (item.to_string(), row)
        })
        .collect()
}

fn order_rows(books: &Books, scope: &Scope) -> BTreeMap<String, Value> {
    let orders = books.orders.iter().filter(|(id, _)| scope.orders.contains(id));
    orders
        .map(|(id, book)| {
            let total = book.placed.totals.total;
            (id.to_string(), json!({"status": word(&book.state.status), "number": book.placed.number, "total": total}))
        })
        .collect()
}

fn payment_rows(books: &Books, scope: &Scope) -> BTreeMap<String, Value> {
    let payments = books.payments.iter().filter(|(_, book)| scope.orders.contains(&book.order_id));
    payments
        .map(|(id, book)| {
            // A payment that was given up before it was requested has no amounts.
            let begun = book.state.amount.amount != 0;
            let money = |amount: i64| begun.then(|| json!({"amount": amount, "currency": book.state.amount.currency}));
            let row = json!({
                "order_id": book.order_id,
                "captured": money(book.captured),
                "refunded": money(book.refunded),
            });
            (id.to_string(), row)
        })
        .collect()
}

/// A status as it is written.
pub fn word(status: &impl Serialize) -> String {
    match serde_json::to_value(status) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}
