//! `products`, from the product's stream.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::DecodeError;
use domain::product::Event;
use event_store::{RecordedEvent, StreamName};
use projection_engine::Projection;
use projection_engine::projecting::changes::{Changes, Head, text};
use projection_engine::projecting::upsert::Upsert;
use sqlx::{PgConnection, Row as _};

use super::stream_named;

/// The name of the read model.
pub const NAME: &str = "products";

/// The DDL of the table.
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

#[derive(Debug, Clone, Default)]
struct Product {
    name: String,
    price: i64,
    currency: String,
    status: String,
    created_at: Option<DateTime<Utc>>,
}

/// The projection that writes `products`.
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
            let head = Head::of_row(&row)?;
            let product = Product {
                name: row.try_get("name")?,
                price: row.try_get("price")?,
                currency: row.try_get("currency")?,
                status: row.try_get("status")?,
                created_at: row.try_get("created_at")?,
            };
            if let Some(stream) = stream_named("product", row.try_get::<String, _>("sku")?) {
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
        Upsert::new("products", &changed)
            .key("sku", |(stream, _)| stream.id().to_owned())
            .set("name", |(_, row)| row.value.name.clone())
            .set("price", |(_, row)| row.value.price)
            .set("currency", |(_, row)| row.value.currency.clone())
            .set("status", |(_, row)| row.value.status.clone())
            .set("created_at", |(_, row)| row.value.created_at)
            .head(|(_, row)| row.head)
            .execute(sql)
            .await?;
        self.products.written();
        Ok(())
    }
}
