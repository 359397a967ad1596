//! Whatever is asked in whatever order, these hold.

use proptest::prelude::*;

use super::*;

fn a_command() -> impl Strategy<Value = Command> {
    let risk = prop_oneof![
        3 => Just(RiskAssessment::Approve), 1 => Just(RiskAssessment::Review), 1 => Just(RiskAssessment::Refuse)
    ];
    prop_oneof![
        2 => Just(Command::PlaceOrder(placing())),
        1 => risk.prop_map(assess),
        3 => Just(confirm()),
        1 => Just(reject()),
        1 => prop_oneof![Just(HoldReason::Other), Just(HoldReason::HighRiskOfFraud)].prop_map(hold),
        2 => Just(release()),
        1 => prop_oneof![Just(HoldReason::Other), Just(HoldReason::HighRiskOfFraud)].prop_map(release_of),
        1 => prop_oneof![Just(RiskAssessment::Approve), Just(RiskAssessment::Refuse)].prop_map(judge),
        1 => Just(request_cancellation()),
        1 => Just(cancel()),
        3 => Just(allow_dispatch()),
        2 => prop_oneof![Just(SHIPMENT), Just(OTHER_SHIPMENT)].prop_map(record_shipped),
        2 => Just(complete()),
    ]
}

/// The transition table of an order.
fn may_become(from: Status, to: Status) -> bool {
    use Status::{CancelPending, Cancelled, Completed, Confirmed, Dispatching, None, Pending, Rejected, Shipped};
    match from {
        None => to == Pending,
        Pending => [Confirmed, Rejected, CancelPending].contains(&to),
        Confirmed => [Dispatching, CancelPending, Cancelled].contains(&to),
        Dispatching => [Shipped, Cancelled].contains(&to),
        Shipped => to == Completed,
        CancelPending => to == Cancelled,
        Completed | Cancelled | Rejected => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_order_moves_only_along_its_table_and_never_leaves_while_held(
        commands in proptest::collection::vec(a_command(), 1..80)
    ) {
        let mut order = Order::default();
        for command in commands {
            let before = order.clone();
            let events = order.decide(&command, at(0)).unwrap_or_default();
            events.iter().for_each(|event| order.evolve(event));
            if order.status != before.status {
                prop_assert!(may_become(before.status, order.status), "{:?} to {:?}", before.status, order.status);
            }
            if events.contains(&dispatch_allowed()) {
                prop_assert_eq!(before.held(), None);
            }
        }
        let snapshot = serde_json::to_string(&order).unwrap();
        prop_assert_eq!(serde_json::from_str::<Order>(&snapshot).unwrap(), order);
    }

    #[test]
    fn whatever_happened_a_repeated_command_is_nothing(commands in proptest::collection::vec(a_command(), 1..80)) {
        let mut order = Order::default();
        for command in commands {
            let Ok(events) = order.decide(&command, at(0)) else { continue };
            events.iter().for_each(|event| order.evolve(event));
            prop_assert_eq!(order.decide(&command, at(0)), Ok(vec![]), "{:?} again", command);
        }
    }
}
