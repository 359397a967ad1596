//! Which order a path names: by its id, or by the number that its customer knows.

use service_kit::Problem;
use uuid::Uuid;

use super::consistency::{Reader, json};
use super::params::Names;

/// An order's id by its number.
pub const BY_NUMBER: &str = "select to_json(id) from orders where number = $1 and placed_at is not null";

/// The order that a path names.
pub(super) enum Wanted {
    Id(Uuid),
    Number(String),
}

impl Wanted {
    /// The path's `id`: a UUID, or 12 characters of Crockford's base 32, read as people write them: I and L as 1, O as 0.
    ///
    /// # Errors
    /// 400: it is neither.
    pub fn parse(names: &Names) -> Result<Self, Problem> {
        let text = names.raw("id");
        if let Ok(id) = Uuid::try_parse(text) {
            return Ok(Self::Id(id));
        }
        let number: String = text.to_ascii_uppercase().replace(['I', 'L'], "1").replace('O', "0");
        if number.len() == 12 && number.chars().all(|c| c.is_ascii_alphanumeric() && c != 'U') {
            return Ok(Self::Number(number));
        }
        Err(Problem::invalid("the path names no order")
            .field("path:id", "give the order's id (a UUID) or its number (12 characters)"))
    }

    /// The id, if it need not be looked up.
    pub const fn known(&self) -> Option<Uuid> {
        match self {
            Self::Id(id) => Some(*id),
            Self::Number(_) => None,
        }
    }

    /// The id, looked up where its number was given; `None`: there is no such order.
    ///
    /// # Errors
    /// 503.
    pub async fn id(&self, reader: &Reader) -> Result<Option<Uuid>, Problem> {
        match self {
            Self::Id(id) => Ok(Some(*id)),
            Self::Number(number) => reader.one(json::<Uuid>(BY_NUMBER).bind(number)).await,
        }
    }

    /// That there is none.
    pub fn missing(&self, reader: &Reader) -> Problem {
        let name = match self {
            Self::Id(id) => id.to_string(),
            Self::Number(number) => number.clone(),
        };
        Problem::not_found(format_args!(
            "there is no order `{name}` at position {}; if it was just placed, give `X-Min-Position`",
            reader.position
        ))
    }
}
