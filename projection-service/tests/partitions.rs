//! The proof that it does not matter how events are divided among replicas: the rows of every table are those of a plain
//! fold, whichever replica feeds which partition when, however often it hands over, and whatever is delivered again.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::time::Instant;

use event_store::{EventStore, Position};
use service_kit::postgres::testing::fresh_database;
use sqlx::{Connection as _, PgConnection};
use support::applying::{all_events, all_rows, tell};
use support::books::{Books, in_order};
use support::split::{Fed, Manner, Member, open, partition_of};
use support::stories::{Dice, order_id, placed};
use support::{BOUND, Log, Shop, lives};
use tokio::sync::watch;

/// Every table is what the whole log folds to.
async fn assert_as_folded(log: &Log, url: &str, what: &str) {
    let (books, rows) = (Books::fold(&all_events(log).await), all_rows(url).await);
    for table in books.tables() {
        let (found, expected) = (in_order(rows[table].clone()), books.rows(table));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{table}, {what}");
        }
        assert_eq!(found.len(), expected.len(), "{table}, {what}");
        assert!(!expected.is_empty(), "{table}, {what}");
    }
}

async fn place(log: &Log, number: u64, seconds: i64) -> Position {
    let placed = domain::order::Event::OrderPlaced(placed(number, &[(1, 2)], seconds)).encode();
    log.append(&order_id(number).stream(), vec![placed], seconds).await
}

/// Tells orders while two replicas share the partitions, hand them over and are given everything again.
async fn prove(seed: u64, partitions: u32, orders: u64) {
    println!("seed {seed}, {partitions} partitions, {orders} orders");
    let (log, mut dice, url) = (Log::new(), Dice(seed), fresh_database().await.unwrap());
    let replicas = ["a", "b"].map(|name| Member::start(&log, &url, name, partitions));
    let mut stories = lives::of_orders(&mut dice, orders);
    let mut fed: Vec<(u32, Fed)> = (0..partitions)
        .map(|part| (part, replicas[part as usize % 2].feed(part, Manner::unruly(seed + u64::from(part)))))
        .collect();
    // Orders need the products and the stock of before: each piece of stories is told whole.
    let mut handed = 0;
    while !stories.is_empty() {
        let piece = stories.drain(..stories.len().min(60)).collect();
        tell(&log, &mut dice, piece).await;
        for _ in 0..partitions.min(2) {
            let at = usize::try_from(dice.roll(fed.len() as u64)).unwrap();
            let (part, before) = fed.swap_remove(at);
            let to = &replicas[usize::try_from(dice.roll(2)).unwrap()];
            if dice.roll(3) == 0 {
                // Thought dead: its successor begins while it still works.
                let after = to.feed(part, Manner::unruly(seed + dice.roll(1_000)));
                before.revoke().await;
                fed.push((part, after));
            } else {
                before.revoke().await;
                fed.push((part, to.feed(part, Manner::unruly(seed + dice.roll(1_000)))));
            }
            handed += 1;
        }
    }
    assert!(handed > 2, "partitions changed hands");
    for replica in &replicas {
        replica.caught_up().await;
    }
    assert_as_folded(&log, &url, &format!("{partitions} partitions, seed {seed}")).await;
    drop(fed);
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_any_partitions_and_hands_the_rows_are_those_of_a_plain_fold() {
    for (seed, partitions) in [(31, 1), (32, 3), (33, 6)] {
        prove(seed, partitions, 60).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_number_of_partitions_becomes_nothing_is_lost_or_counted_twice() {
    let (log, mut dice, url) = (Log::new(), Dice(34), fresh_database().await.unwrap());
    let mut stories = lives::of_orders(&mut dice, 80);
    for partitions in [1, 4, 2, 1, 3] {
        let piece: Vec<_> = stories.drain(..stories.len().min(stories.len() / 2 + 1)).collect();
        tell(&log, &mut dice, piece).await;
        if partitions == 1 {
            let shop = Shop::over(log.clone(), url.clone());
            shop.caught_up().await;
            assert!(shop.tasks.shut_down(BOUND).await);
            continue;
        }
        let replica = Member::start(&log, &url, "a", partitions);
        // One of them is behind when it ends: the next division begins there, for all.
        let behind = watch::channel(Position(log.store.head().borrow().0 / 2)).1;
        let rest: Vec<Fed> = (1..partitions).map(|part| replica.feed(part, Manner::plain())).collect();
        let late = replica.feed(0, Manner::behind(behind.clone()));
        assert!(replica.handle.progress.all_reached(*behind.borrow(), BOUND).await);
        late.revoke().await;
        drop(rest);
        replica.stop().await;
    }
    let shop = Shop::over(log.clone(), url.clone());
    shop.caught_up().await;
    assert_as_folded(&log, &url, "after all divisions").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_was_paused_while_another_took_its_partition_writes_nothing_more() {
    let (log, url) = (Log::new(), fresh_database().await.unwrap());
    let (a, b) = (Member::start(&log, &url, "a", 2), Member::start(&log, &url, "b", 2));
    let (paused, gate_of_a) = watch::channel(Position(0));
    let (slow, gate_of_b) = watch::channel(Position(0));
    let all_of_a = a.feed_all(&Manner::behind(gate_of_a));
    let head = place(&log, 1, 0).await;
    started(&a, &url, "a").await;
    // `a` stands still, as a process that is paused does, with nothing of it cancelled; `b` is given its partitions.
    let all_of_b = b.feed_all(&Manner::behind(gate_of_b));
    started(&b, &url, "b").await;
    paused.send(head).unwrap(); // It wakes, and goes on with what it had.
    let fenced = |statuses: &[projection_service::Status]| {
        statuses[0].last_error.as_ref().is_some_and(|error| error.contains("another runner has taken over"))
    };
    let begun = Instant::now();
    while !fenced(&a.handle.progress.statuses()) {
        assert!(begun.elapsed() < BOUND, "{:?}", a.handle.progress.statuses());
        _ = a.handle.progress.all_reached(Position(u64::MAX), std::time::Duration::from_millis(5)).await;
    }
    for fed in all_of_a {
        fed.revoke().await; // As the bus does once it hears of it again.
    }
    assert!(support::rows(&url, "orders").await.is_empty(), "it wrote what was not its own any more");
    slow.send(Position(u64::MAX)).unwrap();
    b.caught_up().await;
    assert_eq!(support::rows(&url, "orders").await.len(), 1);
    assert_eq!(support::rows(&url, "sales_by_day").await[0]["orders"], 1);
    drop(all_of_b);
    a.stop().await;
    b.stop().await;
}

/// Waits until every partition is in a replica's hands.
async fn started(member: &Member, url: &str, name: &str) {
    member.handle.progress.started().await;
    let mut connection = PgConnection::connect(url).await.unwrap();
    let waits = "select count(*) from backstitch.feeders where owner = $1";
    let all = i64::from(member.partitions);
    while sqlx::query_scalar::<_, i64>(waits).bind(name).fetch_one(&mut connection).await.unwrap() < all {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_for_partitions_that_other_replicas_feed() {
    let (log, url) = (Log::new(), fresh_database().await.unwrap());
    let (a, b) = (Member::start(&log, &url, "a", 3), Member::start(&log, &url, "b", 3));
    let (behind, gate) = watch::channel(Position(0));
    let most = (0..2).map(|part| a.feed(part, Manner::plain())).collect::<Vec<_>>();
    let late = a.feed(2, Manner::behind(gate));
    let head = place(&log, 1, 0).await;
    // `b` feeds nothing and answers all the same.
    b.handle.progress.started().await;
    let at_b = b.shop(log.clone(), &url);
    let min = head.to_string();
    let refused = at_b.get_with("/v1/orders", &[("X-Min-Position", &min), ("Prefer", "wait=0")]).await;
    assert_eq!(refused.status, 503, "one partition is not there yet: {}", refused.body);
    let answer = at_b.get("/v1/orders").await;
    assert_eq!((answer.status, answer.headers["x-position"].to_str().unwrap()), (200, "0"));
    let headers = [("X-Min-Position", min.as_str()), ("Prefer", "wait=30")];
    let waiting = at_b.get_with("/v1/orders", &headers);
    let opened = async { behind.send(Position(u64::MAX)).unwrap() };
    let (answer, ()) = tokio::join!(waiting, opened);
    assert_eq!(answer.headers["x-position"].to_str().unwrap(), min);
    assert_eq!(answer.ok()["items"].as_array().unwrap().len(), 1);
    // Events of one order move one partition; the others are told by watermarks that nothing came before.
    for number in 2..6 {
        let position = place(&log, number, 0).await.to_string();
        let answer = at_b.get_with("/v1/orders", &[("X-Min-Position", &position), ("Prefer", "wait=30")]).await;
        assert_eq!(answer.ok()["items"].as_array().unwrap().len(), usize::try_from(number).unwrap());
    }
    let listed = at_b.get("/v1/projections").await.ok();
    let partitions = listed["items"][0]["partitions"].as_array().unwrap();
    assert_eq!(partitions.iter().map(|part| part["owner"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "a", "a"]);
    drop((most, late));
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_as_new_as_its_own_partition_whatever_stands_still_beside_it() {
    let (log, url) = (Log::new(), fresh_database().await.unwrap());
    let a = Member::start(&log, &url, "a", 2);
    let (_shut, gate) = watch::channel(Position(0));
    let fed = [a.feed(0, Manner::plain()), a.feed(1, Manner::behind(gate))];
    let one_in = |part| (1..).find(|number| partition_of(&order_id(*number).to_string(), 2) == part).unwrap();
    let (moving, still) = (one_in(0), one_in(1));
    let shop = a.shop(log.clone(), &url);
    place(&log, still, 0).await;
    let position = place(&log, moving, 0).await.to_string();
    let read = async |path: &str, wait: &str| {
        shop.get_with(path, &[("X-Min-Position", position.as_str()), ("Prefer", wait)]).await
    };
    let shown = read(&format!("/v1/orders/{}", order_id(moving)), "wait=30").await;
    assert_eq!(shown.headers["x-position"].to_str().unwrap(), position);
    assert_eq!(shown.ok()["position"].to_string(), position);
    for path in [format!("/v1/orders/{}", order_id(still)), "/v1/orders".to_owned()] {
        assert_eq!(read(&path, "wait=0").await.status, 503, "{path} lies in what stands still, too");
    }
    drop(fed);
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_order_is_woken_by_what_another_replica_writes() {
    let (log, mut dice, url) = (Log::new(), Dice(35), fresh_database().await.unwrap());
    let (a, b) = (Member::start(&log, &url, "a", 3), Member::start(&log, &url, "b", 3));
    let (behind, gate) = watch::channel(Position(0));
    let fed = a.feed_all(&Manner::behind(gate));
    tell(&log, &mut dice, lives::of_orders(&mut Dice(36), 20)).await;
    let whole = Shop::over(log.clone(), fresh_database().await.unwrap());
    whole.caught_up().await;
    let orders = whole.get("/v1/orders?limit=200").await.ok();
    let mut settled = None;
    for order in orders["items"].as_array().unwrap() {
        let shown = whole.get(&format!("/v1/orders/{}", order["id"].as_str().unwrap())).await.ok();
        settled = settled.or_else(|| (shown["settled"] == true).then(|| order["id"].as_str().unwrap().to_owned()));
    }
    let path = format!("/v1/orders/{}?until=settled", settled.expect("some order is settled"));
    b.handle.progress.started().await;
    let at_b = b.shop(log.clone(), &url);
    let begun = Instant::now();
    let headers = [("Prefer", "wait=30")];
    let waiting = at_b.get_with(&path, &headers);
    let opened = async {
        b.handle.progress.started().await;
        behind.send(Position(u64::MAX)).unwrap();
    };
    let (answer, ()) = tokio::join!(waiting, opened);
    assert_eq!(answer.ok()["settled"], true);
    assert!(begun.elapsed().as_secs() < 25, "it was woken, and did not wait to the end");
    drop(fed);
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_partitions_that_add_to_the_same_sums_crosswise_both_get_there() {
    let (log, url) = (Log::new(), fresh_database().await.unwrap());
    let a = Member::start(&log, &url, "a", 1);
    let (opens, gate) = watch::channel(Position(2));
    let fed = a.feed_all(&Manner::behind(gate));
    let days = [0, 86_400 * 30];
    for (number, seconds) in (1..).zip(days) {
        place(&log, number, seconds).await;
    }
    a.caught_up().await;
    // Another partition, as it were, that has the later day and wants the earlier one.
    let mut other = PgConnection::connect(&url).await.unwrap();
    let early = "update read_1.sales_by_day set orders = orders where day = (select min(day) from read_1.sales_by_day)";
    let late = "update read_1.sales_by_day set orders = orders where day = (select max(day) from read_1.sales_by_day)";
    sqlx::raw_sql("set deadlock_timeout = '1h'; begin").execute(&mut other).await.unwrap();
    sqlx::raw_sql(late).execute(&mut other).await.unwrap();
    let told = [(3, days[0]), (4, days[1])].map(|(number, seconds)| {
        let placed = domain::order::Event::OrderPlaced(placed(number, &[(1, 2)], seconds)).encode();
        (order_id(number).stream(), placed, seconds)
    });
    for (stream, event, seconds) in told {
        log.append(&stream, vec![event], seconds).await;
    }
    opens.send(Position(u64::MAX)).unwrap(); // Both in one batch, the earlier day first.
    let mut looker = PgConnection::connect(&url).await.unwrap();
    let blocked = "select count(*) from pg_locks where not granted
        and pid in (select pid from pg_stat_activity where datname = current_database())";
    let begun = Instant::now();
    while sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut looker).await.unwrap() == 0 {
        assert!(begun.elapsed() < BOUND, "nobody waited for the later day");
    }
    sqlx::raw_sql(early).execute(&mut other).await.unwrap(); // Waits until the batch has given way.
    sqlx::raw_sql("commit").execute(&mut other).await.unwrap();
    a.caught_up().await;
    let sums: Vec<_> = support::rows(&url, "sales_by_day").await.iter().map(|row| row["orders"].clone()).collect();
    assert_eq!(sums, [2, 2]);
    let epochs = "select max(epoch) from backstitch.projection_checkpoints";
    let epoch: i64 = sqlx::query_scalar(epochs).fetch_one(&mut looker).await.unwrap();
    assert_eq!(epoch, 1, "the batch was done again at once, in the same session");
    drop(fed);
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_mid_stream_leaves_whole_batches_to_the_next_owner() {
    let (log, mut dice, url) = (Log::new(), Dice(37), fresh_database().await.unwrap());
    tell(&log, &mut dice, lives::of_orders(&mut Dice(38), 60)).await;
    for name in ["a", "b", "c"] {
        let replica = Member::start(&log, &url, name, 4);
        let fed = replica.feed_all(&Manner { seed: 39, from_start: false, gate: open() });
        replica.handle.progress.started().await;
        replica.stop().await; // Wherever it is by then.
        drop(fed);
    }
    let replica = Member::start(&log, &url, "d", 4);
    let fed = replica.feed_all(&Manner::plain());
    replica.caught_up().await;
    assert_as_folded(&log, &url, "after three stops").await;
    drop(fed);
    replica.stop().await;
}
