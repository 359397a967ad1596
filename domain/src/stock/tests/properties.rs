//! Whatever is asked in whatever order, these hold.

use proptest::prelude::*;

use super::*;

/// A command about one of a few reservations, and how long after the one before it comes; clocks step back too.
fn a_command() -> impl Strategy<Value = (Command, i64)> {
    let id = (1..6u128).prop_map(|n| ReservationId(uuid::Uuid::from_u128(n)));
    let command = (0..9u8, id, 1..6i64, -6..6i64).prop_map(|(kind, id, quantity, delta)| match kind {
        0 => receive(quantity),
        1 => adjust(delta),
        2 | 3 => reserve(id, quantity),
        4 => renew(id),
        5 => commit(id),
        6 => release(id),
        7 => expire(id),
        _ => ship(id),
    });
    let command = prop_oneof![8 => command, 1 => (1..4i64).prop_map(restock)];
    (command, prop_oneof![4 => 0..300i64, 1 => -200..0i64, 1 => 900..90_000i64])
}

/// What the events say, counted from scratch.
fn available_by_the_book(events: &[Event]) -> (i64, i64) {
    let (mut on_hand, mut held) = (0, std::collections::BTreeMap::new());
    for event in events {
        match event {
            Event::StockReceived(e) => on_hand += e.quantity.get(),
            Event::StockAdjusted(e) => on_hand += e.delta,
            Event::StockRestocked(e) => on_hand += e.quantity.get(),
            Event::StockReserved(e) => _ = held.insert(e.reservation_id, e.quantity.get()),
            Event::ReservationRenewed(_) | Event::ReservationCommitted(_) => {}
            Event::ReservationReleased(e) => _ = held.remove(&e.reservation_id),
            Event::ReservationExpired(e) => _ = held.remove(&e.reservation_id),
            Event::StockShipped(e) => {
                on_hand -= e.quantity;
                held.remove(&e.reservation_id);
            }
        }
    }
    (on_hand, on_hand - held.values().sum::<i64>())
}

proptest! {
    #[test]
    fn nothing_is_oversold_and_the_sums_are_those_of_the_book(
        steps in proptest::collection::vec(a_command(), 1..120)
    ) {
        let (mut stock, mut book, mut now) = (StockItem::default(), Vec::new(), 0);
        for (command, wait) in steps {
            now += wait;
            if let Ok(events) = stock.decide(&command, at(now)) {
                events.iter().for_each(|event| stock.evolve(event));
                book.extend(events);
            }
            prop_assert!(stock.available() >= 0, "oversold by {command:?}");
            prop_assert!(stock.on_hand >= 0, "less than nothing on hand by {command:?}");
            prop_assert_eq!((stock.on_hand, stock.available()), available_by_the_book(&book));
        }
        let snapshot = serde_json::to_string(&stock).unwrap();
        prop_assert_eq!(serde_json::from_str::<StockItem>(&snapshot).unwrap(), stock);
    }

    #[test]
    fn a_reservation_ends_once_and_stays_ended(steps in proptest::collection::vec(a_command(), 1..120)) {
        // Within a day of event time, as long as ends are remembered.
        let (mut stock, mut ended, mut now) = (StockItem::default(), std::collections::BTreeSet::new(), 0);
        for (command, wait) in steps {
            now += wait.min(600);
            for event in stock.decide(&command, at(now)).unwrap_or_default() {
                stock.evolve(&event);
                match &event {
                    Event::ReservationReleased(ReservationReleased { reservation_id, .. })
                    | Event::ReservationExpired(ReservationExpired { reservation_id, .. })
                    | Event::StockShipped(StockShipped { reservation_id, .. }) => {
                        prop_assert!(ended.insert(*reservation_id), "{reservation_id} ended twice");
                    }
                    Event::StockReserved(e) => prop_assert!(!ended.contains(&e.reservation_id)),
                    Event::ReservationRenewed(e) => prop_assert!(!ended.contains(&e.reservation_id)),
                    Event::ReservationCommitted(e) => prop_assert!(!ended.contains(&e.reservation_id)),
                    Event::StockReceived(_) | Event::StockAdjusted(_) | Event::StockRestocked(_) => {}
                }
            }
        }
    }

    #[test]
    fn a_repeated_command_is_nothing_or_refused(steps in proptest::collection::vec(a_command(), 1..60)) {
        let (mut stock, mut now) = (StockItem::default(), 0);
        for (command, wait) in steps {
            now += wait;
            let Ok(events) = stock.decide(&command, at(now)) else { continue };
            events.iter().for_each(|event| stock.evolve(event));
            let additive = matches!(
                command,
                Command::ReceiveStock(_) | Command::AdjustStock(_) | Command::RestockItems(_)
            );
            if !additive {
                prop_assert_eq!(stock.decide(&command, at(now)).unwrap_or_default(), vec![]);
            }
        }
    }
}
