//! The proof that it adds up: equations over the books, each told with both sides, whether it holds or not.

use std::collections::{BTreeMap, BTreeSet};

use command_service::provider::statement::{Entry, Statement};
use domain::ids::{OrderId, PaymentId, Sku};
use domain::saga::SagaState;

use super::books::{Books, OrderBook, PaymentBook};

/// One equation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What must hold.
    pub claim: String,
    /// What both sides are.
    pub figures: String,
    /// Whether it holds.
    pub holds: bool,
    /// What does not fit, at most [`NAMED`] of it.
    pub offenders: Vec<String>,
}

/// Offenders named in a check; beyond that they are only counted.
const NAMED: usize = 10;

impl Check {
    fn equal(claim: &str, left: (&str, i64), right: (&str, i64)) -> Self {
        let ((left_name, left), (right_name, right)) = (left, right);
        let figures = format!("{left_name} {left} = {right_name} {right}");
        Self { claim: claim.to_owned(), figures, holds: left == right, offenders: Vec::new() }
    }

    /// A claim about each of many, which holds if nobody offends.
    pub fn each(claim: &str, of: usize, offenders: impl IntoIterator<Item = String>) -> Self {
        let offenders: Vec<String> = offenders.into_iter().collect();
        let figures = format!("{} of {of}", of.saturating_sub(offenders.len()));
        let holds = offenders.is_empty() && of > 0;
        Self { claim: claim.to_owned(), figures, holds, offenders: offenders.into_iter().take(NAMED).collect() }
    }
}

/// The scope of the proof: the orders and the items of one run, whatever else the shop has seen.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The orders that were answered with 201.
    pub orders: BTreeSet<OrderId>,
    /// The items that only these orders touch.
    pub skus: BTreeSet<Sku>,
}

impl Scope {
    /// Everything in the books.
    pub fn all(books: &Books) -> Self {
        Self {
            orders: books.orders.keys().copied().collect(),
            skus: books.stock.keys().map(|item| item.sku.clone()).collect(),
        }
    }

    fn orders<'a>(&self, books: &'a Books) -> Vec<(&'a OrderId, &'a OrderBook)> {
        books.orders.iter().filter(|(id, _)| self.orders.contains(id)).collect()
    }

    fn payments<'a>(&self, books: &'a Books) -> Vec<(&'a PaymentId, &'a PaymentBook)> {
        books.payments.iter().filter(|(_, payment)| self.orders.contains(&payment.order_id)).collect()
    }
}

/// All that must hold of the log by itself, once every saga has come to rest.
pub fn of_the_log(books: &Books, scope: &Scope) -> Vec<Check> {
    let mut checks = vec![nothing_lost(books, scope)];
    checks.extend(pieces(books, scope));
    checks.extend(money(books, scope));
    checks.push(sagas_ended(books, scope));
    checks
}

fn nothing_lost(books: &Books, scope: &Scope) -> Check {
    let lost = scope.orders.iter().filter(|order| !books.orders.contains_key(order));
    Check::each("every order that was answered is in the log", scope.orders.len(), lost.map(ToString::to_string))
}

fn pieces(books: &Books, scope: &Scope) -> Vec<Check> {
    let items = || books.stock.iter().filter(|(item, _)| scope.skus.contains(&item.sku));
    let sum = |of: fn(&super::books::StockBook) -> i64| items().map(|(_, book)| of(book)).sum::<i64>();
    let came = sum(|book| book.received + book.adjusted + book.restocked);
    let there = sum(|book| book.state.on_hand + book.shipped);
    let torn = items().filter(|(_, book)| {
        book.received + book.adjusted + book.restocked != book.state.on_hand + book.shipped || book.state.on_hand < 0
    });
    let held = sum(|book| book.state.reserved_pieces() + book.state.committed_pieces());
    let orders = scope.orders(books);
    let wrong =
        orders.iter().filter(|(_, book)| book.pieces_shipped != if book.dispatched { book.pieces() } else { 0 });
    vec![
        Check::equal("pieces: received + adjusted + restocked = on hand + shipped", ("came", came), ("there", there)),
        Check::each("… and so for each item, none below 0", items().count(), torn.map(|(item, _)| item.to_string())),
        Check::equal("no piece is held for anybody any more", ("reserved + committed", held), ("", 0)),
        Check::each(
            "each order shipped all of its pieces or none",
            orders.len(),
            wrong.map(|(id, book)| format!("{id}: {} of {}", book.pieces_shipped, book.pieces())),
        ),
    ]
}

fn money(books: &Books, scope: &Scope) -> Vec<Check> {
    let orders = scope.orders(books);
    let mut by_currency: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut failed_refunds = Vec::new();
    for (id, order) in &orders {
        let paid: i64 = books.payments_of(**id).map(|(_, payment)| payment.captured - payment.refunded).sum();
        let failed: i64 = books.payments_of(**id).map(|(_, payment)| unreturned(payment)).sum();
        let due = if order.dispatched { order.placed.totals.total.amount } else { failed };
        let sums = by_currency.entry(order.placed.totals.total.currency.code()).or_default();
        sums.0 += paid;
        sums.1 += due;
        if paid != due {
            wrong.push(format!("{id}: captured − refunded {paid}, due {due}"));
        }
        if failed > 0 {
            failed_refunds.push(format!("{id}: {failed}"));
        }
    }
    let mut checks: Vec<Check> = by_currency
        .into_iter()
        .map(|(currency, (paid, due))| {
            let claim = format!("money, {currency}: captured − refunded = value dispatched + refunds that failed");
            Check::equal(&claim, ("kept", paid), ("due", due))
        })
        .collect();
    checks.push(Check::each("… and so for each order", orders.len(), wrong));
    let payments = scope.payments(books);
    let open = payments.iter().filter(|(_, book)| book.captured > book.authorized || book.refunded > book.captured);
    checks.push(Check::each(
        "no payment took more than was held or gave back more than was taken",
        payments.len(),
        open.map(|(id, _)| id.to_string()),
    ));
    if !failed_refunds.is_empty() {
        let figures = format!("{} wait for a person", failed_refunds.len());
        checks.push(Check {
            claim: "refunds that failed, as listed".to_owned(),
            figures,
            holds: true,
            offenders: failed_refunds,
        });
    }
    checks
}

/// Of an amount that the provider would not give back, what is still kept.
fn unreturned(payment: &PaymentBook) -> i64 {
    if payment.refund_failed > 0 { payment.captured - payment.refunded } else { 0 }
}

fn sagas_ended(books: &Books, scope: &Scope) -> Check {
    let open =
        scope.orders.iter().flat_map(|order| books.sagas_of(*order)).filter_map(|(stream, view)| match view.state() {
            SagaState::Completed | SagaState::Compensated | SagaState::HandedOver | SagaState::NeedsAttention => None,
            SagaState::Running | SagaState::Waiting | SagaState::Compensating => {
                Some(format!("{stream} is {}", view.state().as_str()))
            }
        });
    let without = scope.orders.iter().filter(|order| books.sagas_of(**order).is_empty());
    let offenders = open.chain(without.map(|order| format!("order {order} has no saga")));
    Check::each("every order's saga has come to its end", scope.orders.len(), offenders)
}

/// All that must hold between the books and the provider's own.
pub fn of_the_provider(books: &Books, scope: &Scope, statement: &Statement) -> Vec<Check> {
    let theirs: BTreeMap<PaymentId, &Entry> =
        statement.entries.iter().filter(|e| scope.orders.contains(&e.order_id)).map(|e| (e.payment_id, e)).collect();
    let ours: BTreeMap<PaymentId, &PaymentBook> =
        scope.payments(books).into_iter().map(|(id, book)| (*id, book)).collect();
    let ids: BTreeSet<&PaymentId> = theirs.keys().chain(ours.keys()).collect();
    let differs = |id: &&PaymentId| {
        let (their, our) = (theirs.get(*id), ours.get(*id));
        let told = their.map_or((0, 0), |entry| (entry.captured, entry.refunded));
        let known = our.map_or((0, 0), |book| (book.captured, book.refunded));
        (told != known).then(|| format!("{id}: provider {told:?}, we {known:?} (captured, refunded)"))
    };
    let held = theirs.values().filter(|entry| entry.authorized - entry.captured - entry.voided != 0);
    let twice = theirs.values().filter(|entry| entry.effects.values().any(|times| *times > 1));
    let sum = |of: fn(&Entry) -> i64| theirs.values().map(|entry| of(entry)).sum::<i64>();
    let our = |of: fn(&PaymentBook) -> i64| ours.values().map(|book| of(book)).sum::<i64>();
    vec![
        Check::equal(
            "provider's captures = ours",
            ("provider", sum(|entry| entry.captured)),
            ("we", our(|book| book.captured)),
        ),
        Check::equal(
            "provider's refunds = ours",
            ("provider", sum(|entry| entry.refunded)),
            ("we", our(|book| book.refunded)),
        ),
        Check::each("… and so for each payment", ids.len(), ids.iter().filter_map(differs)),
        Check::each("the provider holds nobody's money any more", theirs.len(), held.map(|e| e.payment_id.to_string())),
        Check::each("the provider moved money once per request", theirs.len(), twice.map(|e| e.payment_id.to_string())),
        Check::equal(
            "no key came back to the provider with another body",
            ("conflicts", i64::try_from(statement.key_conflicts).unwrap_or(i64::MAX)),
            ("", 0),
        ),
    ]
}
