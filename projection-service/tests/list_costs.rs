//! What a page of a list reads: rows and index entries are counted, as Postgres counts them, and no time is taken. The rows go
//! straight into the tables, since only queries are looked at.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod support;

use std::collections::BTreeMap;

use sqlx::{Connection as _, PgConnection};
use support::Shop;

/// 24 000 orders, every second one of one customer, each with a payment, a shipment and two sagas: one that waits for the
/// warehouse and a newer one that has ended; and 48 000 newer orders of others, without any of that. One order in 40 was cancelled,
/// none of that customer's; one in 1 000 is held.
const ROWS: &str = "
set search_path to read_1;
create temporary table made as
select n, md5('order ' || n)::uuid as id,
    case when n % 2 = 0 and n <= 24000 then '00000000-0000-0000-0000-000000000007'::uuid else md5('customer ' || n % 500)::uuid end as customer_id,
    timestamptz '2026-01-01' + n * interval '31 seconds' as placed_at,
    case when n % 40 = 3 then 'cancelled' when n % 400 = 8 then 'pending' else 'completed' end as status,
    1000 + (n::bigint * 7919) % 100000 as total
from generate_series(1, 72000) as n;
insert into orders (id, number, customer_id, status, held_reason, currency, subtotal, discount, tax, shipping, total,
    item_count, tags, payment_method, placed_at, stream_version, global_position, updated_at)
select id, lpad(n::text, 12, '0'), customer_id, status, case when n % 1000 = 0 then 'OTHER' end, 'EUR', total, 0, 0, 0,
    total, 2, '[]', 'tok_approve', placed_at, 4, 0, placed_at
from made;
delete from made where n > 24000;
insert into order_lines (order_id, line, sku, location, name, quantity, unit_price, net, discount_share, tax_share, currency,
    placed_at, stream_version, global_position, updated_at)
select id, 1, case when n % 2 = 0 then 'SKU-0' else 'SKU-1' end, 'main', 'A thing', 1, total, total, 0, 0, 'EUR', placed_at, 0,
    0, placed_at
from made;
insert into payments (id, order_id, attempt_group, state, outcome_unknown, amount, authorized, captured, refunded, voided,
    payment_method, placed_on, began_at, stream_version, global_position, updated_at)
select md5('payment ' || n)::uuid, id, 0, 'captured', false, total, total, total, 0, 0, 'tok_approve', placed_at::date, placed_at,
    4, 0, placed_at
from made;
insert into shipments (id, order_id, status, lines, began_at, stream_version, global_position, updated_at)
select md5('shipment ' || n)::uuid, id, 'delivered', '[]', placed_at, 4, 0, placed_at from made;
insert into saga_view (saga_id, type, definition_version, order_id, state, step, attempts, compensations, waits_for, awaits,
    started_at, changed_at, settled, direction, stuck, stream_version, global_position, updated_at)
select type || '-' || id, type, 2, id, case when type = 'order_refund' then 'completed' else 'waiting' end,
    case when n % 4000 = 0 then 'authorise' else 'plan_shipment' end, 1, '[]', '[]', '[]',
    case when type = 'order_refund' then placed_at + interval '90 days' else placed_at end, placed_at + interval '100 days', true, 'do', false, 20, 0, placed_at
from made cross join unnest(array['order_fulfilment', 'order_refund']) as type;
drop table made;
analyze orders, order_lines, payments, shipments, saga_view;
";

const COUNTED: &str = "
select t.relname::text, (coalesce(t.seq_tup_read, 0) + coalesce(t.idx_tup_fetch, 0)
    + (select coalesce(sum(i.idx_tup_read), 0) from pg_stat_user_indexes i where i.relid = t.relid))::bigint
from pg_stat_user_tables t where t.schemaname = 'read_1'";

/// A backend adds what it has counted to the statistics when it ends, if not before.
const END_THE_OTHERS: &str = "
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'";

const OTHERS: &str = "
select count(*) from pg_stat_activity
where datname = current_database() and pid = any($1)";

struct Counting {
    shop: Shop,
    sql: PgConnection,
}

impl Counting {
    async fn over(rows: &'static str) -> Self {
        let shop = Shop::start().await;
        shop.caught_up().await;
        support::execute(&shop.url, rows).await;
        let sql = PgConnection::connect(&shop.url).await.unwrap();
        Self { shop, sql }
    }

    /// Ends all other connections, and waits until they are gone.
    async fn flush(&mut self) {
        let pids = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        let pids: Vec<i32> = sqlx::query_scalar(pids).fetch_all(&mut self.sql).await.unwrap();
        sqlx::query(END_THE_OTHERS).execute(&mut self.sql).await.unwrap();
        let gone = async {
            while sqlx::query_scalar::<_, i64>(OTHERS).bind(&pids).fetch_one(&mut self.sql).await.unwrap() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(support::BOUND, gone).await.expect("the connections end");
    }

    /// The items of a page, and what was read of each table for it: rows, and entries of its indexes.
    async fn page(&mut self, path: &str) -> (usize, BTreeMap<String, i64>) {
        self.flush().await;
        sqlx::query("select pg_stat_reset()").execute(&mut self.sql).await.unwrap();
        let answer = loop {
            let answer = self.shop.get(path).await;
            if answer.status != 503 {
                break answer.ok(); // Refused before: the connections had just been ended.
            }
        };
        self.flush().await;
        let counted: Vec<(String, i64)> = sqlx::query_as(COUNTED).fetch_all(&mut self.sql).await.unwrap();
        (answer["items"].as_array().unwrap().len(), counted.into_iter().filter(|(_, read)| *read > 0).collect())
    }
}

const BUSY: &str = "00000000-0000-0000-0000-000000000007";

#[tokio::test]
async fn a_page_of_orders_reads_about_a_page_of_rows_whatever_two_filters_are_combined() {
    let mut counting = Counting::over(ROWS).await;
    let customer = |rest: &str| format!("/v1/orders?customer_id={BUSY}{rest}");
    let asked = [
        ("/v1/orders".to_owned(), 50),
        ("/v1/orders?status=completed".to_owned(), 50),
        ("/v1/orders?status=completed&from=2026-01-02&to=2026-01-04".to_owned(), 50),
        ("/v1/orders?status=cancelled&from=2026-01-02&to=2026-01-04".to_owned(), 50),
        (customer(""), 50),
        (customer("&status=completed"), 50),
        (customer("&status=pending"), 50),
        (customer("&status=cancelled"), 0), // That customer has none of the 1 800 cancelled ones.
        (customer("&from=2026-01-02&to=2026-01-04"), 50),
        (customer("&held=false"), 50),
        (customer("&min_total=50000"), 50),
        ("/v1/orders?sku=SKU-0&status=completed".to_owned(), 50),
        (customer("&sku=SKU-0"), 50),
    ];
    for (path, items) in asked {
        let (found, read) = counting.page(&path).await;
        assert_eq!(found, items, "{path}");
        // A row and its index entry, of 51 orders, their payments and shipments; some hits are looked at in vain.
        let most = 2 * 51 * 10;
        assert!(read.values().all(|read| *read <= most), "{path} has read {read:?}");
    }
}

#[tokio::test]
async fn a_page_looks_up_payments_and_shipments_also_where_postgres_has_no_statistics() {
    let mut counting = Counting::over(ROWS).await;
    sqlx::query("delete from pg_statistic").execute(&mut counting.sql).await.unwrap();
    for filters in ["status=completed", "held=false", "min_total=1", "sku=SKU-0"] {
        let path = format!("/v1/orders?customer_id={BUSY}&{filters}");
        let (found, read) = counting.page(&path).await;
        assert_eq!(found, 50, "{path}");
        for table in ["payments", "shipments"] {
            assert!((51..=2 * 51).contains(&read[table]), "{path} has read {read:?}");
        }
    }
}

#[tokio::test]
async fn a_customer_s_orders_and_their_totals_are_read_without_the_rows_of_others() {
    let mut counting = Counting::over(ROWS).await;
    let path = format!("/v1/customers/{}/orders", "00000000-0000-0000-0000-000000000007");
    let (found, read) = counting.page(&path).await;
    assert_eq!(found, 50);
    assert!(read["orders"] <= 24_000 + 2 * 51 * 10, "{read:?}");
    assert!(read["payments"] <= 2 * 51, "{read:?}");
}

#[tokio::test]
async fn sagas_at_a_step_and_stuck_ones_are_found_among_those_that_have_not_ended() {
    let mut counting = Counting::over(ROWS).await;
    for (path, items, most) in [
        ("/v1/sagas?step=plan_shipment", 50, 2 * 51 * 4),
        ("/v1/sagas?stuck_for=36500d", 0, 2 * 24_000 + 1_000),
        ("/v1/sagas?stuck_for=1d", 50, 2 * 51 * 4),
        ("/v1/sagas?stuck_for=1d&type=order_fulfilment", 50, 2 * 51 * 4),
        ("/v1/sagas?stuck_for=1d&state=waiting", 50, 2 * 51 * 4),
        // Six of the 24 000 that go on, and none of the 24 000 that have ended.
        ("/v1/sagas?step=authorise", 6, 2 * 24_000 + 1_000),
    ] {
        let (found, read) = counting.page(path).await;
        assert_eq!(found, items, "{path}");
        assert!(read["saga_view"] <= most, "{path} has read {read:?}");
    }
}
