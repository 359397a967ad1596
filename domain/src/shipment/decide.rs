//! The rules.

use crate::aggregate::Rejected;

/// Why the answer is no.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// No such thing.
    #[error("no such thing")]
    NotFound,
}

impl Rejected for Rejection {
    fn code(&self) -> &'static str {
        "not-found"
    }
}
