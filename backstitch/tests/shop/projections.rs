//! Read models rebuilt, taken back and looked at as they were, by the command line of a running shop.

use std::process::{Command, Output};

use serde_json::Value;
use service_kit::postgres::testing::fresh_database;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use trials::demo::client::Answer;

use crate::world::{PROGRAM, Shopper, World};

/// `backstitch projection …` against the shop.
fn projection(shop: &World, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg("projection")
        .args(arguments)
        .args(["--url", &shop.processes.server.url])
        .env("NO_COLOR", "1")
        .env("USER", "alice")
        .output()
        .expect("the program can be started")
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// What it printed, where it was done.
fn done(output: &Output) -> String {
    let (out, err) = said(output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    out
}

/// An order that goes all its way: nothing happens to it any more.
async fn delivered(shop: &World, key: &str) -> Answer {
    let order = shop.placed_and_settled(key, &[("TEA", 2)], "tok_approve").await;
    let order = shop.ready(&order).await;
    shop.deliver(&order).await
}

async fn sql(url: &str, text: &str) -> u64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut connection).await.unwrap();
    done.rows_affected()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_is_rebuilt_refused_accepted_and_taken_back_by_hand() {
    let url = fresh_database().await.unwrap();
    let shop = World::start_with(&[("BACKSTITCH__POSTGRES__URL", url.clone())]).await;
    shop.product("TEA", 100).await;
    for key in ["one", "two", "three"] {
        delivered(&shop, key).await;
    }

    // Nobody is there to be asked: nothing is done.
    let unsure = projection(&shop, &["rebuild", "orders"]);
    assert_eq!(unsure.status.code(), Some(2));
    assert!(said(&unsure).1.contains("--yes"), "{:?}", said(&unsure));
    assert_eq!(shop.client.get("/v1/projections/orders").await.unwrap().body["generations"][1], Value::Null);

    let out = done(&projection(&shop, &["rebuild", "orders", "--yes"]));
    assert!(out.contains("`orders` answers from generation 2"), "{out}");
    let four = delivered(&shop, "four").await;
    let order = four.text("id").to_owned();

    // A cell is changed behind the server's back.
    let changed = format!("update live.orders set status = 'lost' where id = '{order}'");
    assert_eq!(sql(&url, &changed).await, 1, "the fault did not happen");
    let refused = projection(&shop, &["rebuild", "orders", "--yes"]);
    let (out, err) = said(&refused);
    assert_eq!(refused.status.code(), Some(1), "{out}{err}");
    let cell = out.lines().find(|line| line.contains(&order)).unwrap_or_else(|| panic!("{out}"));
    let cell: Vec<&str> = cell.split_whitespace().collect();
    assert_eq!(cell, ["orders", &order, "status", "lost", four.text("status")]);
    assert!(err.contains("1 row of generation 3") && err.contains("--accept-differences"), "{err}");
    assert_eq!(shop.client.get(&format!("/v1/orders/{order}")).await.unwrap().text("status"), "lost");
    let list = done(&projection(&shop, &["list"]));
    assert!(list.lines().any(|line| line.starts_with("orders") && line.contains("differs")), "{list}");

    let accepted = ["rebuild", "orders", "--accept-differences", "--reason", "edited by hand", "--yes"];
    let out = done(&projection(&shop, &accepted));
    assert!(out.contains("`orders` answers from generation 3"), "{out}");
    let shown = shop.client.get(&format!("/v1/orders/{order}")).await.unwrap();
    assert_eq!(shown.text("status"), four.text("status"));

    let out = done(&projection(&shop, &["rollback", "orders", "--yes"]));
    assert!(out.contains("generation 2 again"), "{out}");
    assert_eq!(shop.client.get(&format!("/v1/orders/{order}")).await.unwrap().text("status"), "lost");
    done(&projection(&shop, &["rollback", "orders", "--yes"]));
    done(&projection(&shop, &["retire", "orders", "--yes"]));
    let list: Value = serde_json::from_str(&done(&projection(&shop, &["list", "--json"]))).unwrap();
    let orders = list["items"].as_array().unwrap().iter().find(|one| one["name"] == "orders").unwrap();
    assert_eq!(orders["generations"].as_array().unwrap().len(), 1, "{orders}");
    let none = projection(&shop, &["rollback", "orders", "--yes"]);
    assert_eq!(none.status.code(), Some(1));
    shop.adds_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_is_shown_as_it_was() {
    let url = fresh_database().await.unwrap();
    let shop = World::start_with(&[("BACKSTITCH__POSTGRES__URL", url.clone())]).await;
    shop.product("TEA", 100).await;
    let first = delivered(&shop, "one").await;
    let then = first.header("x-position").unwrap().to_owned();
    delivered(&shop, "two").await;
    let out = done(&projection(&shop, &["replay", "orders", "--to-position", &then]));
    let row = |table: &str| {
        let line = out.lines().find(|line| line.starts_with(table)).unwrap_or_else(|| panic!("{out}"));
        line.split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!((row("replay_orders_2.orders"), row("replay_orders_2.order_lines")), ("1".into(), "1".into()));
    assert!(out.contains("backstitch projection retire orders --generation 2"), "{out}");
    done(&projection(&shop, &["retire", "orders", "--generation", "2", "--yes"]));
    let beyond = projection(&shop, &["replay", "orders", "--to-position", "99999999"]);
    assert_eq!(beyond.status.code(), Some(1), "{:?}", said(&beyond));
    shop.adds_up().await;
}
