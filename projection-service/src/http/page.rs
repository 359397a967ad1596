//! A page of a list.

use serde::{Deserialize, Serialize};
use service_kit::api::PAGE_MAX;
use utoipa::ToSchema;

use super::stale::Stale;

/// Items where nothing is said.
pub const USUAL: usize = 50;
/// The most items of a page: some 200 kB of orders.
pub const MOST: usize = PAGE_MAX;

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Whether there are more behind them.
    pub has_more: bool,
    /// The `cursor` of the next page (`after` or `from` for the log); absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The parked streams that the list touches: it may lack or mistake what they say; absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<Stale>,
}

impl<T> Page<T> {
    /// A page of at most `limit` of the items found, of which there is one more if the list goes on.
    pub fn of(mut found: Vec<T>, limit: usize, next: impl Fn(&T) -> String) -> Self {
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = if has_more { found.last().map(next) } else { None };
        Self { items: found, has_more, next, stale: Vec::new() }
    }

    /// Names the parked streams that it touches.
    #[must_use]
    pub fn stale(mut self, stale: Vec<Stale>) -> Self {
        self.stale = stale;
        self
    }
}

/// How many to look up for a page of `limit`: one more tells whether the list goes on.
pub fn look_up(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}
