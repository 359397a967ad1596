//! `bench lists`: every list, each of its filters and the report, over 1 000 000 orders. The data go straight into the
//! tables of the read models; the requests go through the routes of the read side, without a network between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::Router;
use event_store::{EventStore, SqliteOptions, SqliteStore};
use service_kit::postgres::{PrivatePostgres, Settings};
use service_kit::{Clock, Tasks};
use sqlx::{Connection as _, PgConnection};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::report::{Floor, Latencies, Row};
use super::{Found, Options, bar};

/// What makes the data.
const DATA: &str = include_str!("lists.sql");
/// The longest that half of the requests with a filter may take, in ms.
const CEILING_MS: f64 = 20.0;
/// The same for the report of a month in a time zone, which is made from its 86 400 orders.
const REPORT_CEILING_MS: f64 = 1_000.0;
/// Requests that are measured for each filter, and those before them that fill Postgres's cache.
const REQUESTS: (usize, usize) = (40, 3);
/// How long the empty tables may take to be there.
const STARTS: Duration = Duration::from_secs(60);
/// How long the parts may take to end.
const ENDS: Duration = Duration::from_secs(5);

/// What is asked. Rare and frequent values of each filter; the second half of a long walk is as fast as its begin.
const ASKED: &[&str] = &[
    "/v1/orders",
    "/v1/orders?status=pending",
    "/v1/orders?status=completed",
    "/v1/orders?customer={customer}",
    "/v1/orders?sku=SKU-0",
    "/v1/orders?sku=SKU-7",
    "/v1/orders?sku=SKU-999",
    "/v1/orders?sku=SKU-none",
    "/v1/orders?held=true",
    "/v1/orders?held=false",
    "/v1/orders?min_total=10000000",
    "/v1/orders?min_total=100900",
    "/v1/orders?min_total=1000",
    "/v1/orders?max_total=1010",
    "/v1/orders?from=2026-03-01&to=2026-03-01&tz=Europe/Berlin",
    "/v1/customers/{customer}/orders",
    "/v1/payments",
    "/v1/shipments?status=lost",
    "/v1/shipments?status=delivered",
    "/v1/sagas",
    "/v1/sagas?state=needs_attention",
    "/v1/sagas?state=compensated",
    "/v1/sagas?state=completed",
    "/v1/sagas?type=order_refund",
    "/v1/sagas?stuck_for=5m",
    "/v1/sagas?step=plan_shipment",
    "/v1/sagas?error_kind=failed",
    "/v1/sagas?error_code=refund_failed",
    "/v1/sagas?direction=undo",
    "/v1/sagas?definition_version=1",
    "/v1/sagas/incidents",
    "/v1/reservations?state=reserved",
    "/v1/reservations?sku=SKU-0",
    "/v1/reservations?sku=SKU-7",
    "/v1/reservations?location=outlet",
    "/v1/reservations?expiring_within=1h",
    "/v1/stock?low=true",
    "/v1/stock?location=main",
    "/v1/products",
    "/v1/reports/sales-by-day",
    "/v1/reports/sales-by-day?from=2026-03-01&to=2026-03-31&tz=Europe/Berlin",
];

/// Measures.
///
/// # Errors
/// If Postgres cannot be used, or a list is not answered.
pub async fn run(options: &Options) -> anyhow::Result<Found> {
    let store = SqliteStore::open(&options.folder("lists")?, SqliteOptions::default())?;
    let postgres = PrivatePostgres::start(&options.folder("postgres")?, Settings::server()).await?;
    let url = postgres.database("bench").await?;
    let (sender, receiver) = watch::channel(Some(url.clone()));
    let tasks = Tasks::new();
    let log = Arc::clone(&store) as Arc<dyn EventStore>;
    let config = projection_service::Config::default();
    let handle = projection_service::start(log, receiver, Clock::system(), tasks.clone(), &config);
    let started = tokio::time::timeout(STARTS, handle.progress.started()).await;
    ensure!(started.is_ok(), "the tables were not there within {STARTS:?}: {:?}", handle.progress.statuses());
    let made = bar("1 000 000 orders are made", 1);
    let mut sql = PgConnection::connect(&url).await?;
    sqlx::raw_sql(DATA).execute(&mut sql).await.context("the data cannot be made")?;
    let customer: uuid::Uuid = sqlx::query_scalar("select md5('customer 7')::uuid").fetch_one(&mut sql).await?;
    made.finish_and_clear();
    let (router, _) = projection_service::http::router(handle).split_for_parts();
    let (address, stop) = serve(router, &tasks).await?;
    let mut rows = Vec::with_capacity(ASKED.len());
    for path in ASKED {
        let path = path.replace("{customer}", &customer.to_string());
        rows.push(measure(&format!("http://{address}"), &path).await?);
    }
    stop.cancel();
    tasks.shut_down(ENDS).await;
    drop(sender);
    store.close().await;
    postgres.stop().await;
    let note = format!(
        "lists: 1 000 000 orders with payments, shipments, sagas and reservations, 2 000 000 lines; {} requests each, one \
         after another, over loopback; value is what half of them took at most",
        REQUESTS.0
    );
    Ok(Found { rows, notes: vec![note] })
}

async fn serve(
    router: Router,
    tasks: &Tasks,
) -> anyhow::Result<(std::net::SocketAddr, tokio_util::sync::CancellationToken)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no port of this machine's own is free")?;
    let (address, stop) = (listener.local_addr()?, tokio_util::sync::CancellationToken::new());
    let stopping = stop.clone();
    tasks.spawn("bench-lists", async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the lists' port failed");
        }
    });
    Ok((address, stop))
}

async fn measure(base: &str, path: &str) -> anyhow::Result<Row> {
    let (client, url) = (reqwest::Client::builder().no_proxy().build()?, format!("{base}{path}"));
    let (measured, before) = REQUESTS;
    let mut took = Latencies::default();
    for number in 0..before + measured {
        let begun = Instant::now();
        let answer = client.get(&url).send().await?;
        let (status, body) = (answer.status(), answer.bytes().await?);
        ensure!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
        if number >= before {
            took.add(begun.elapsed());
        }
    }
    let took = Latencies::of([took]);
    let ceiling = if path.contains("sales-by-day?") { REPORT_CEILING_MS } else { CEILING_MS };
    let row = Row::new("lists", path, "ms", 0.0).latencies(&took).floor(Floor::Under(ceiling));
    Ok(Row { value: row.p50_ms.unwrap_or_default(), ..row })
}
