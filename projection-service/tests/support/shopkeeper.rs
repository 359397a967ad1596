//! What the tests of generations do to a shop: fill its log, ask, wait, look, and hold a step up to kill it there.

use std::collections::BTreeMap;

use domain::order;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::stories::{self, Dice, Story, order_id, placed};
use super::{BOUND, Log, Shop, rows_in};

/// Every read model with its tables.
pub const TABLES: &[(&str, &[&str])] = &[
    ("orders", &["orders", "order_lines"]),
    ("payments", &["payments", "payments_ledger"]),
    ("shipments", &["shipments"]),
    ("stock", &["stock_levels", "reservations"]),
    ("products", &["products"]),
    ("saga_view", &["saga_view"]),
    ("order_timeline", &["order_timeline"]),
    ("sales_by_day", &["sales_by_day"]),
];

/// The tables of a read model.
pub fn tables_of(name: &str) -> &'static [&'static str] {
    TABLES.iter().find(|(named, _)| *named == name).expect("a read model").1
}

/// Stories that are told a piece at a time, their streams interleaved by the dice.
pub struct Teller {
    stories: Vec<(String, String, std::vec::IntoIter<domain::EncodedEvent>)>,
    dice: Dice,
    seconds: i64,
}

impl Teller {
    pub fn new(seed: u64, orders: u64) -> Self {
        let mut dice = Dice(seed);
        let stories = stories::shop(&mut dice, orders).into_iter();
        let stories = stories.map(|Story { stream, key, events, .. }| (stream, key, events.into_iter())).collect();
        Self { stories, dice, seconds: 0 }
    }

    /// Appends so many events, or what is left. Whether there was anything.
    pub async fn tell(&mut self, log: &Log, events: usize) -> bool {
        let mut told = 0;
        while told < events && !self.stories.is_empty() {
            let index = usize::try_from(self.dice.roll(self.stories.len() as u64)).expect("small");
            let (stream, key, rest) = &mut self.stories[index];
            match rest.next() {
                Some(event) => {
                    log.append_for(stream, key, vec![event], self.seconds).await;
                    told += 1;
                }
                None => _ = self.stories.swap_remove(index),
            }
            self.seconds += 1;
        }
        told > 0
    }
}

/// An order that is held and released again and again: a log as long as it takes to be folded by itself.
pub async fn long_story(log: &Log, number: u64, pages: usize) {
    let stream = order_id(number).stream();
    log.append(&stream, vec![order::Event::OrderPlaced(placed(number, &[(1, 1)], 0)).encode()], 0).await;
    for page in 0..pages {
        let released = || order::Event::OrderHoldReleased(order::OrderHoldReleased { reason: None }).encode();
        let events = (0..1_000).map(|_| released()).collect();
        log.append(&stream, events, i64::try_from(page).expect("few")).await;
    }
}

impl Shop {
    /// `POST /v1/projections/{name}/{verb}`.
    pub async fn ask(&self, name: &str, verb: &str, key: &str, body: Value) -> super::Answer {
        self.post(&format!("/v1/projections/{name}/{verb}"), key, &body).await
    }

    /// Asks for a rebuild, which must be taken up.
    pub async fn rebuild(&self, name: &str, accept: bool) {
        let key = format!("{name}-{accept}-{:?}", std::time::Instant::now());
        let answer = self.ask(name, "rebuild", &key, json!({ "accept_differences": accept })).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(answer.headers["location"], format!("/v1/projections/{name}").as_str());
    }

    /// A generation as `GET` shows it; null: there is none.
    pub async fn generation(&self, name: &str, number: i64) -> Value {
        let shown = self.get(&format!("/v1/projections/{name}")).await.ok();
        let generations = shown["generations"].as_array().expect("a list");
        generations.iter().find(|shown| shown["generation"] == number).cloned().unwrap_or(Value::Null)
    }

    /// Waits until a generation is in a state; null: until it is gone.
    pub async fn until(&self, name: &str, number: i64, state: impl Into<Value>) -> Value {
        let state = state.into();
        let mut last = Value::Null;
        // Looked at no more often than a person could: the machine has other tests to run.
        let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
        let waiting = async {
            loop {
                last = self.generation(name, number).await;
                if last["state"] == state {
                    return;
                }
                look.tick().await;
            }
        };
        let there = tokio::time::timeout(BOUND, waiting).await.is_ok();
        assert!(there, "{name} {number} is not {state}: {last}, {:?}", self.handle.progress.statuses());
        last
    }

    /// All rows of a read model, as readers see them.
    pub async fn rows_of(&self, name: &str) -> BTreeMap<&'static str, Vec<Value>> {
        self.rows_of_in(name, "live").await
    }

    /// All rows of a read model in a schema.
    pub async fn rows_of_in(&self, name: &str, schema: &str) -> BTreeMap<&'static str, Vec<Value>> {
        let mut all = BTreeMap::new();
        for table in tables_of(name) {
            all.insert(*table, rows_in(&self.url, schema, table).await);
        }
        all
    }

    /// Changes something behind the server's back.
    pub async fn sql(&self, text: &str) -> u64 {
        let mut connection = PgConnection::connect(&self.url).await.expect("Postgres answers");
        let done = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{text}: {error}")).rows_affected()
    }

    /// A number out of the database.
    pub async fn number(&self, text: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.url).await.expect("Postgres answers");
        let number = sqlx::query_scalar(AssertSqlSafe(text.to_owned())).fetch_one(&mut connection).await;
        number.unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

/// Holds up whatever is about to commit a change, until it is killed.
pub struct Hold {
    connection: PgConnection,
    table: &'static str,
}

/// The advisory lock that the trigger waits for.
const HELD: i64 = 77;

impl Hold {
    /// `when` is about `new` or `old`, of an `operation` on a table of the schema `backstitch`.
    pub async fn on(shop: &Shop, operation: &str, table: &'static str, when: &str) -> Self {
        Self::at(&shop.url, operation, table, when).await
    }

    /// The same in the database at this URL.
    pub async fn at(url: &str, operation: &str, table: &'static str, when: &str) -> Self {
        let mut connection = PgConnection::connect(url).await.expect("Postgres answers");
        let trigger = format!(
            "select pg_advisory_lock({HELD});
             create or replace function public.hold() returns trigger language plpgsql as $$
             begin perform pg_advisory_xact_lock({HELD}); return coalesce(new, old); end $$;
             create trigger hold before {operation} on backstitch.{table} for each row when ({when})
             execute function public.hold()"
        );
        sqlx::raw_sql(AssertSqlSafe(trigger)).execute(&mut connection).await.expect("a trigger");
        Self { connection, table }
    }

    /// Waits until something is held up; its connection's process.
    pub async fn caught(&mut self) -> i32 {
        let waits = "select pid from pg_locks where locktype = 'advisory' and objid = 77 and not granted
            and database = (select oid from pg_database where datname = current_database())";
        let waiting = async {
            loop {
                let found: Option<i32> =
                    sqlx::query_scalar(waits).fetch_optional(&mut self.connection).await.expect("rows");
                if let Some(pid) = found {
                    return pid;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(BOUND, waiting).await.expect("the step is reached")
    }

    /// Kills what is held up: nothing of it is committed, and the server stops with it. Then starts another one.
    pub async fn kill(mut self, shop: Shop) -> Shop {
        let pid = self.caught().await;
        shop.tasks.stop();
        let killed: bool = sqlx::query_scalar("select pg_terminate_backend($1)")
            .bind(pid)
            .fetch_one(&mut self.connection)
            .await
            .expect("it can be killed");
        assert!(killed, "nothing was held up");
        assert!(shop.tasks.shut_down(BOUND).await, "the read side did not stop");
        self.release().await;
        Shop::over(shop.log, shop.url)
    }

    /// Lets it go on.
    pub async fn release(mut self) {
        // In this order: what is held up holds the table too.
        let unlock = format!("select pg_advisory_unlock({HELD}); drop trigger hold on backstitch.{}", self.table);
        sqlx::raw_sql(AssertSqlSafe(unlock)).execute(&mut self.connection).await.expect("released");
    }
}
