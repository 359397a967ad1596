//! Runs a row: plainly, and killed between every two appends.

use domain::ids::OrderId;
use futures_util::future::join_all;
use trials::demo::compare;
use trials::demo::proof::{Check, Scope};

use crate::row::{Ends, Found, Row, bank_agrees};
use crate::shop::{Shop, story};

/// Cuts made at once: most of the time each waits for the disk.
const AT_ONCE: u64 = 3;

/// Makes two tests of each row.
macro_rules! rows {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn ends_so() {
                crate::run::plainly(&super::$name()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn ends_so_wherever_it_is_killed() {
                crate::run::killed_everywhere(&super::$name()).await;
            }
        })+
    };
}
pub(crate) use rows;

/// The row on the whole system.
pub async fn plainly(row: &Row) {
    let mut shop = Shop::start(row, true).await;
    (row.script)(&mut shop).await;
    let found = ended(&mut shop, row).await;
    bank_agrees(&found);
    (row.proof)(&found);
    tables_agree(&shop, &found, row).await;
}

/// The row with the system killed after its first append, after its second, and so on to the last.
pub async fn killed_everywhere(row: &Row) {
    let mut cuts = 0;
    loop {
        let batch = join_all((cuts + 1..=cuts + AT_ONCE).map(|appends| killed_after(row, appends))).await;
        let made = batch.iter().take_while(|made| **made).count();
        cuts += made as u64;
        if made < batch.len() {
            break;
        }
    }
    assert!(cuts >= 5, "killed {cuts} times: the shortest row has more appends");
}

/// Whether the row came so far: then it was killed there, went on, and ended as it does without.
async fn killed_after(row: &Row, appends: u64) -> bool {
    let mut shop = Shop::start(row, false).await;
    let mut cut = shop.faults.cut();
    shop.faults.cut_after(appends);
    let killed = tokio::select! {
        biased;
        cut = cut.wait_for(|cut| *cut) => cut.is_ok(),
        () = async {
            (row.script)(&mut shop).await;
            ended(&mut shop, row).await;
        } => false,
    };
    if killed {
        shop.restart().await;
        (row.script)(&mut shop).await;
        bank_agrees(&ended(&mut shop, row).await);
    }
    killed
}

/// How it all stands once the row has come to its end.
async fn ended(shop: &mut Shop, row: &Row) -> Found {
    let order = shop.order();
    let followed = shop.follow(|books| at_rest(books, order) && Ends::of(books, order) == row.ends).await;
    let books = match followed {
        Ok(books) => books,
        Err(books) => {
            println!("{:#?}\n{}\n{:#?}", story(&books), shop.bank_says(), shop.statement().await);
            assert_eq!(Ends::of(&books, order), row.ends, "at rest: {}", at_rest(&books, order));
            panic!("it never came to rest");
        }
    };
    Found { order, books, bank: shop.statement().await }
}

/// Nothing is on its way: neither in a saga nor at the provider.
fn at_rest(books: &trials::demo::books::Books, order: OrderId) -> bool {
    let open = books.payments_of(order).any(|(_, payment)| !payment.state.open_requests().is_empty());
    !open && books.sagas_of(order).values().all(domain::saga::View::settled)
}

/// The tables say what the fold of the log says, and the order shows it.
async fn tables_agree(shop: &Shop, found: &Found, row: &Row) {
    let scope = Scope::all(&found.books);
    let checks = compare::read_models(shop.client(), &found.books, &scope).await.unwrap();
    // A claim about each of none is no claim here: not every row has a payment.
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.holds && check.figures != "0 of 0").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let order = shop.client().settled(&found.order.to_string(), Some(found.books.position)).await.unwrap();
    let status = compare::word(&row.ends.order);
    let expected = (status.as_str(), row.shows.0, row.shows.1);
    assert_eq!((order.text("status"), order.text("payment_status"), order.text("fulfilment_status")), expected);
    for (stream, view) in found.books.sagas_of(found.order) {
        let id = stream.trim_start_matches("saga_");
        let saga = shop.client().get(&format!("/v1/sagas/{id}")).await.unwrap().good().unwrap();
        assert_eq!(saga.text("state"), view.state().as_str(), "{id}");
    }
}
