//! What the description of the API says once for all services: its name, its version and its habits. Each service adds
//! its own routes; `schemas/openapi.json` is the whole.

use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

/// What holds for every request, in the words of the reader.
const HABITS: &str = "\
Orders, payments, stock and shipments as event-sourced aggregates behind HTTP commands, with read models beside them.

* **Commands** are POST requests with an `Idempotency-Key`: the same key and body get the same answer again \
(`Idempotent-Replayed: true`), another body 422. An answer is durable when it arrives. It carries the stream's version \
as `ETag`, and in `X-Commit-Position` how far the log had come; `If-Match` refuses a command whose stream has moved on.
* **Queries** may carry `X-Min-Position` and `Prefer: wait=N` to read what was just written. Lists are paged: `next` is \
the `cursor` of the next page.
* **Refusals** are problem documents (RFC 9457, `application/problem+json`) with a stable `type`; `/problems` explains \
each. Money is in minor units: `{\"amount\": 1999, \"currency\": \"EUR\"}` is 19.99 €.";

/// The description without any route.
pub fn description() -> OpenApi {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("Backstitch")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(HABITS))
        .license(Some(license));
    OpenApiBuilder::new().info(info).build()
}
