//! The rows of every read model as the runner writes them. That they say the same in whatever order and however often
//! events come is in `permutations.rs`.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::sync::Arc;

use domain::order;
use event_store::RecordedEvent;
use support::applying::{all_events, tell};
use support::stories::{self, Dice, from_the_future, order_id};
use support::{Shop, at, rows};

#[tokio::test]
async fn every_row_follows_one_stream_to_its_last_version_and_its_time_is_the_events() {
    let (shop, mut dice) = (Shop::start().await, Dice(6));
    let told = stories::shop(&mut dice, 12);
    tell(&shop.log, &mut dice, told).await;
    shop.caught_up().await;
    let events = all_events(&shop.log).await;
    for row in rows(&shop.url, "orders").await {
        let of =
            |event: &&Arc<RecordedEvent>| event.stream.as_str() == format!("order-{}", row["id"].as_str().unwrap());
        let last = events.iter().rfind(of).unwrap();
        assert_eq!(row["stream_version"], last.version);
        assert_eq!(row["global_position"], last.position.0);
        let updated_at: chrono::DateTime<chrono::Utc> = row["updated_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(updated_at, last.metadata.occurred_at);
    }
}

#[tokio::test]
async fn an_event_of_an_unknown_type_is_moved_past_and_counted() {
    let shop = Shop::start().await;
    let stream = order_id(1).stream();
    let placed = order::Event::OrderPlaced(support::stories::placed(1, &[(1, 1)], 0));
    let confirmed = order::Event::OrderConfirmed(order::OrderConfirmed {});
    shop.log.append(&stream, vec![placed.encode(), from_the_future(), confirmed.encode()], 7).await;
    shop.caught_up().await;
    let row = &shop.rows("orders").await[0];
    assert_eq!((row["status"].as_str(), row["stream_version"].as_u64()), (Some("confirmed"), Some(2)));
    let status = shop.handle.progress.statuses().into_iter().find(|status| status.name == "orders").unwrap();
    assert_eq!((status.folded, status.skipped), (2, 1));
    assert_eq!(status.occurred_at, Some(at(7)));
}
