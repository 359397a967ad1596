//! What a command's request must carry, read once: its headers and the names in its path; `service_kit::request` reads the body.

use std::collections::HashMap;
use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use domain::ids::{ClientKey, OrderId, ShipmentId, Sku, StockId};
use service_kit::request::{PRINCIPAL, TENANT, correlation_id, idempotency_key, if_match};
use service_kit::{Problem, telemetry};
use uuid::Uuid;

pub use service_kit::request::{Body, CommandHeaders, check_text};

use crate::bus::{CommandMeta, Origin};

/// What a request says about itself.
#[derive(Debug, Clone)]
pub struct About {
    operation: String,
    key: String,
    if_match: Option<u64>,
    correlation_id: Option<Uuid>,
    traceparent: Option<String>,
}

impl About {
    /// The id of the order that this request places: a retry must find the same stream, there is no side table.
    pub fn order_id(&self) -> OrderId {
        self.client_key().order_id()
    }

    /// What goes with the command whose body has this hash.
    pub fn meta(&self, hash: String) -> CommandMeta {
        let command_id = self.client_key().command_id();
        if self.correlation_id.is_none() {
            telemetry::correlated(command_id);
        }
        CommandMeta {
            command_id,
            command_hash: Some(hash),
            correlation_id: self.correlation_id.unwrap_or(command_id),
            causation_id: command_id,
            traceparent: self.traceparent.clone(),
            actor: PRINCIPAL.to_owned(),
            origin: Origin::Client,
            not_after: None,
            stream_not_after: None,
            if_match: self.if_match,
        }
    }

    fn client_key(&self) -> ClientKey<'_> {
        ClientKey { tenant: TENANT, principal: PRINCIPAL, operation: &self.operation, idempotency_key: &self.key }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for About {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let headers = &parts.headers;
        Ok(Self {
            operation: format!("{} {}", parts.method, parts.uri.path()),
            key: idempotency_key(headers)?,
            if_match: if_match(headers)?,
            correlation_id: correlation_id(headers)?,
            traceparent: telemetry::traceparent(headers)
                .map(|parent| event_store::trace::join(&parent, telemetry::tracestate(headers).as_deref())),
        })
    }
}

/// A thing that is named in a path.
pub trait Named: Sized {
    /// Reads the name from the path's parameters.
    ///
    /// # Errors
    /// A problem that names the parameter.
    fn read(params: &HashMap<&str, &str>) -> Result<Self, Problem>;
}

/// The thing that the path names.
#[derive(Debug, Clone)]
pub struct Of<T>(pub T);

impl<S: Send + Sync, T: Named> FromRequestParts<S> for Of<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::invalid("the path cannot be read: it is not UTF-8"))?;
        T::read(&params.iter().collect()).map(Self)
    }
}

fn parameter<T: FromStr<Err: std::fmt::Display>>(params: &HashMap<&str, &str>, name: &str) -> Result<T, Problem> {
    let text = params.get(name).copied().unwrap_or_default();
    text.parse()
        .map_err(|error| Problem::invalid("a part of the path is not valid").field(format!("path:{name}"), error))
}

impl Named for Sku {
    fn read(params: &HashMap<&str, &str>) -> Result<Self, Problem> {
        parameter(params, "sku")
    }
}

impl Named for StockId {
    fn read(params: &HashMap<&str, &str>) -> Result<Self, Problem> {
        Ok(Self { sku: parameter(params, "sku")?, location: parameter(params, "location")? })
    }
}

impl Named for OrderId {
    fn read(params: &HashMap<&str, &str>) -> Result<Self, Problem> {
        parameter(params, "id")
    }
}

impl Named for ShipmentId {
    fn read(params: &HashMap<&str, &str>) -> Result<Self, Problem> {
        parameter(params, "id")
    }
}
