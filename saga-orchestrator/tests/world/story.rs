//! Stories and their ends: the same plainly, with facts duplicated or reordered, and killed at every moment.

use domain::order::Status as OrderStatus;
use domain::payment::Status as PaymentStatus;
use domain::saga::{Event, SagaState};
use domain::shipment::Status as ShipmentStatus;

use super::shop::Ends;
use super::{Feed, World};

pub const UNCHANGED: [(i64, i64, i64); 2] = [(10, 0, 0), (5, 0, 0)];

pub const MINUTES: fn(u64) -> std::time::Duration = |minutes| std::time::Duration::from_secs(minutes * 60);

/// Runs a story plainly, with facts duplicated, with facts reordered, and killed at each moment: all must end alike.
#[track_caller]
pub fn always_ends(story: impl Fn(&mut World), expected: &Ends) {
    let run = |feed: Feed, kill_at: Option<usize>| {
        let mut world = World::with_stock(10, 5);
        (world.feed, world.kill_at) = (feed, kill_at);
        story(&mut world);
        world.assert_the_bank_keeps_nothing_of_what_ended();
        world
    };
    let plain = run(Feed::InOrder, None);
    assert_eq!(plain.ends(), *expected, "{:#?}", names(&plain));
    for feed in [Feed::Duplicated, Feed::Reordered] {
        let world = run(feed, None);
        assert_eq!(world.ends(), *expected, "{feed:?}: {:#?}", names(&world));
    }
    let mut moment = 1;
    loop {
        let world = run(Feed::InOrder, Some(moment));
        assert_eq!(world.ends(), *expected, "killed at moment {moment}: {:#?}", names(&world));
        if world.moments < moment {
            assert!(moment > 5, "the process was killed at several moments");
            return;
        }
        moment += 1;
    }
}

impl World {
    /// What was rejected or cancelled holds no money at the bank, unless a person has been called.
    #[track_caller]
    fn assert_the_bank_keeps_nothing_of_what_ended(&self) {
        let ends = self.ends();
        let called = |state: &SagaState| *state == SagaState::NeedsAttention;
        let somebody_looks = called(&ends.fulfilment) || ends.refund.iter().chain(&ends.reconciled).any(called);
        // What a person says was done at the bank by hand, this bank does not know.
        let mut events = self.sagas.values().flatten();
        let by_hand = events.any(|(event, _)| matches!(event, Event::OperatorActed(_)));
        if matches!(ends.order, OrderStatus::Rejected | OrderStatus::Cancelled) && !somebody_looks && !by_hand {
            let (held, taken) = (&self.provider.held, &self.provider.taken);
            assert!(self.provider.keeps_nothing(), "held {held:?}, taken {taken:?}: {:#?}", names(self));
        }
    }
}

pub fn names(world: &World) -> Vec<String> {
    world.sagas.values().flat_map(|events| events.iter().map(|(event, at)| format!("{at} {event:?}"))).collect()
}

pub fn ends(order: OrderStatus, reason: &str, payments: &[PaymentStatus], fulfilment: SagaState) -> Ends {
    Ends {
        order,
        reason: reason.to_owned(),
        payments: payments.to_vec(),
        shipment: ShipmentStatus::None,
        stock: UNCHANGED,
        fulfilment,
        refund: None,
        reconciled: Vec::new(),
    }
}
