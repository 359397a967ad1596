//! Rows of the failure matrix as data: what happens, how it ends, and what proves that the fault was there.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use all_in_one::Config;
use command_service::provider::statement::{Entry, EntryState, Statement};
use domain::ids::{OrderId, ShipmentId};
use domain::saga::SagaState;
use domain::{order, payment, shipment};
use futures_util::future::BoxFuture;
use trials::demo::books::Books;
use trials::demo::compare::word;

use crate::shop::Shop;

/// What people do, and wait for. It is begun anew after each kill: what was done before is done no second time, because
/// commands have keys, the clock has moments, and waits are for facts.
pub type Script = for<'a> fn(&'a mut Shop) -> BoxFuture<'a, ()>;

/// A row.
pub struct Row {
    /// SKUs with the pieces there are.
    pub stock: &'static [(&'static str, i64)],
    /// SKUs with the pieces ordered.
    pub lines: &'static [(&'static str, i64)],
    /// What the provider does with the card.
    pub card: &'static str,
    /// Minutes that the shop's clock begins behind the bank's, so that they agree when the bank speaks: what it signed
    /// more than 5 minutes ago is not believed.
    pub behind: u64,
    /// Settings of this row.
    pub settings: fn(&mut Config),
    pub script: Script,
    pub ends: Ends,
    /// Payment and fulfilment as the query API shows them.
    pub shows: (&'static str, &'static str),
    /// That the fault really was there.
    pub proof: fn(&Found),
}

/// How things stand in the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Ends {
    pub order: order::Status,
    pub reason: String,
    /// In the order of the attempts.
    pub payments: Vec<payment::Status>,
    pub shipment: shipment::Status,
    /// On hand, reserved, committed, by SKU.
    pub stock: BTreeMap<String, [i64; 3]>,
    /// By type, of which an order may have several.
    pub sagas: BTreeMap<String, HashSet<SagaState>>,
}

/// All that there is to look at in the end.
pub struct Found {
    pub order: OrderId,
    pub books: Books,
    pub bank: Statement,
}

impl Found {
    /// How often an event happened.
    pub fn times(&self, event: &str) -> usize {
        self.books.names.iter().filter(|((_, name), _)| name == event).map(|(_, times)| times).sum()
    }

    /// Whether the sagas' events contain this text.
    pub fn told(&self, text: &str) -> bool {
        self.books.sagas.values().flatten().any(|(event, _)| format!("{event:?}").contains(text))
    }

    /// How long the shop's clock went on while a step's first attempt was under way.
    pub fn took(&self, step: &str) -> Duration {
        self.between(("StepStarted", step), ("StepSucceeded", step))
    }

    /// How long the shop's clock went on between two events of the fulfilment, each with a word that is in it.
    pub fn between(&self, first: (&str, &str), second: (&str, &str)) -> Duration {
        let events = &self.books.sagas[&format!("saga_order_fulfilment-{}", self.order)];
        let at = |(name, word): (&str, &str)| {
            let found = events.iter().find(|(event, _)| event.name() == name && format!("{event:?}").contains(word));
            found.map(|(_, at)| *at).unwrap_or_else(|| panic!("no {name} of {word}"))
        };
        (at(second) - at(first)).to_std().unwrap()
    }

    /// The bank's entry of an attempt.
    pub fn entry(&self, group: u32) -> &Entry {
        let id = domain::ids::PaymentId::derive(self.order, group);
        self.bank.entries.iter().find(|entry| entry.payment_id == id).expect("the bank knows the payment")
    }
}

impl Ends {
    pub fn new(order: order::Status, reason: &str, payments: &[payment::Status]) -> Self {
        Self {
            order,
            reason: reason.to_owned(),
            payments: payments.to_vec(),
            shipment: shipment::Status::None,
            stock: BTreeMap::new(),
            sagas: BTreeMap::new(),
        }
    }

    /// Pieces on hand, reserved, committed.
    pub fn stock(mut self, sku: &str, pieces: [i64; 3]) -> Self {
        self.stock.insert(sku.to_owned(), pieces);
        self
    }

    pub fn shipment(mut self, status: shipment::Status) -> Self {
        self.shipment = status;
        self
    }

    pub fn saga(mut self, name: &str, state: SagaState) -> Self {
        self.sagas.entry(name.to_owned()).or_default().insert(state);
        self
    }

    /// How things stand now.
    pub fn of(books: &Books, order: OrderId) -> Self {
        let book = books.orders.get(&order);
        let mut payments: Vec<_> = books.payments_of(order).map(|(_, payment)| &payment.state).collect();
        payments.sort_by_key(|payment| payment.attempt_group);
        let mut ends = Self::new(
            book.map(|book| book.state.status).unwrap_or_default(),
            &book.map(|book| reason(&book.state)).unwrap_or_default(),
            &payments.iter().map(|payment| payment.status).collect::<Vec<_>>(),
        );
        ends.shipment = books.shipments.get(&ShipmentId::derive(order, 0)).map(|s| s.status).unwrap_or_default();
        for (item, book) in &books.stock {
            let state = &book.state;
            let pieces = [state.on_hand, state.reserved_pieces(), state.committed_pieces()];
            ends.stock.insert(item.sku.to_string(), pieces);
        }
        for (stream, view) in books.sagas_of(order) {
            let name = stream.trim_start_matches("saga_").split('-').next().unwrap_or_default();
            ends.sagas.entry(name.to_owned()).or_default().insert(view.state());
        }
        ends
    }
}

/// Why the order ended, if it did.
fn reason(order: &order::Order) -> String {
    order.rejected.as_ref().map(word).or_else(|| order.cancelled.clone()).unwrap_or_default()
}

/// The provider says of each payment what we say, moved money once per request, and holds nothing that we let go.
pub fn bank_agrees(found: &Found) {
    use payment::Status as S;
    let bank = &found.bank;
    assert!(bank.max_effects_per_key <= 1 && bank.key_conflicts == 0, "{bank:#?}");
    for entry in &bank.entries {
        let ours = &found.books.payments[&entry.payment_id];
        let told = (entry.captured, entry.refunded);
        assert_eq!(told, (ours.captured, ours.refunded), "{entry:?}");
        let held = entry.authorized - entry.captured - entry.voided;
        let expected: &[EntryState] = match ours.state.status {
            S::Authorized => &[EntryState::Authorized],
            S::Captured => &[EntryState::Captured],
            S::Refunded => &[EntryState::Refunded],
            S::Voided => &[EntryState::Voided],
            // The provider need not know that we gave up waiting for the customer.
            S::Expired => &[EntryState::Expired, EntryState::ActionRequired],
            S::Declined => &[EntryState::Declined],
            S::None | S::Requested | S::ActionRequired | S::SucceededLate => {
                panic!("{} has not come to its end: {ours:?}", entry.payment_id)
            }
        };
        assert!(expected.contains(&entry.state), "we say {:?}: {entry:?}", ours.state.status);
        assert_eq!(held > 0, ours.state.status == S::Authorized, "{entry:?}");
    }
}
