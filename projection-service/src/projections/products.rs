//! `products`, from the product's stream.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::DecodeError;
use domain::product::Event;
use event_store::{RecordedEvent, StreamName};
use projection_engine::Projection;
use projection_engine::projecting::changes::{Changes, Head, column, text};
use sqlx::{PgConnection, Row as _};

use super::stream_named;

/// The projection's name.
pub const NAME: &str = "products";

/// The table.
pub const DDL: &str = "
create table products (
    sku text collate \"C\" primary key, name text not null, price bigint not null, currency text not null,
    status text not null, created_at timestamptz,
    stream_version bigint not null, global_position bigint not null, updated_at timestamptz not null
);
";

const LOAD: &str = "
select sku, name, price, currency, status, created_at, stream_version, global_position, updated_at
from products where sku = any($1)";

const UPSERT: &str = "
insert into products as p
select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[],
    $8::bigint[], $9::timestamptz[])
on conflict (sku) do update set (name, price, currency, status, created_at, stream_version, global_position, updated_at)
  = (excluded.name, excluded.price, excluded.currency, excluded.status, excluded.created_at, excluded.stream_version,
    excluded.global_position, excluded.updated_at)
where p.stream_version < excluded.stream_version";

#[derive(Debug, Clone, Default)]
struct Product {
    name: String,
    price: i64,
    currency: String,
    status: String,
    created_at: Option<DateTime<Utc>>,
}

/// The projection.
#[derive(Debug, Default)]
pub struct Products {
    products: Changes<Product>,
}

#[async_trait]
impl Projection for Products {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes(&self, stream: &StreamName) -> bool {
        stream.category() == "product"
    }

    async fn load(&mut self, sql: &mut PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
        let missing = self.products.missing(events.iter().map(AsRef::as_ref));
        if missing.is_empty() {
            return Ok(());
        }
        let skus: Vec<&str> = missing.iter().map(StreamName::id).collect();
        for row in sqlx::query(LOAD).bind(skus).fetch_all(sql).await? {
            let head = Head::stored(row.try_get(6)?, row.try_get(7)?, row.try_get(8)?);
            let product = Product {
                name: row.try_get(1)?,
                price: row.try_get(2)?,
                currency: row.try_get(3)?,
                status: row.try_get(4)?,
                created_at: row.try_get(5)?,
            };
            if let Some(stream) = stream_named("product", row.try_get::<String, _>(0)?) {
                self.products.loaded(stream, head, product);
            }
        }
        Ok(())
    }

    fn version(&self, stream: &StreamName) -> Option<u64> {
        self.products.version(stream)
    }

    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError> {
        let decoded = Event::decode(&event.event_type, event.schema_version, event.data.get())?;
        let product = self.products.row(event);
        match decoded {
            Event::ProductCreated(e) => {
                product.name = text(&e.name);
                product.price = e.price.amount;
                product.currency = e.price.currency.to_string();
                product.status = "created".to_owned();
                product.created_at = Some(event.metadata.occurred_at);
            }
            Event::ProductPriceChanged(e) => {
                product.price = e.price.amount;
                product.currency = e.price.currency.to_string();
            }
            Event::ProductActivated(_) => product.status = "active".to_owned(),
            Event::ProductDiscontinued(_) => product.status = "discontinued".to_owned(),
        }
        Ok(())
    }

    fn skip(&mut self, event: &RecordedEvent) {
        self.products.row(event);
    }

    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        let changed = self.products.changed();
        if changed.is_empty() {
            return Ok(());
        }
        sqlx::query(UPSERT)
            .bind(column(&changed, |(stream, _)| stream.id().to_owned()))
            .bind(column(&changed, |(_, row)| row.value.name.clone()))
            .bind(column(&changed, |(_, row)| row.value.price))
            .bind(column(&changed, |(_, row)| row.value.currency.clone()))
            .bind(column(&changed, |(_, row)| row.value.status.clone()))
            .bind(column(&changed, |(_, row)| row.value.created_at))
            .bind(column(&changed, |(_, row)| row.head.version_column()))
            .bind(column(&changed, |(_, row)| row.head.position_column()))
            .bind(column(&changed, |(_, row)| row.head.updated_at))
            .execute(sql)
            .await?;
        self.products.written();
        Ok(())
    }
}
