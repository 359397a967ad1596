//! Why the event store did not do what was asked, told apart by what the caller must do.

use std::time::Duration;

use crate::Expected;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No node could be reached, or none took the call. Nothing was written.
    #[error(
        "the event store {store} cannot be reached ({reason}); see that it runs and that this machine can reach it"
    )]
    Unavailable {
        /// Its address.
        store: String,
        /// What happened last.
        reason: String,
    },
    /// The server has too much to do at the moment. Nothing was written.
    #[error("the event store {store} has too much to do at the moment ({reason}); try again")]
    Busy {
        /// Its address.
        store: String,
        /// What it said.
        reason: String,
    },
    /// An append was sent, and no answer came within its deadline, although it was sent again. It was written
    /// completely or not at all; sending the same ids again settles which.
    #[error(
        "no answer came to the append to `{stream}` within {within:?} ({reason}); send the same events again, or read the stream"
    )]
    UnknownOutcome {
        /// The stream.
        stream: String,
        /// The deadline.
        within: Duration,
        /// What happened last.
        reason: String,
    },
    /// Another writer appended first. Nothing was written.
    #[error("stream `{stream}` is at {actual:?}, not at {expected}")]
    WrongExpected {
        /// The stream.
        stream: String,
        /// What was expected.
        expected: Expected,
        /// Its last revision; `None`: it has no events.
        actual: Option<u64>,
    },
    /// The stream was deleted for good.
    #[error("stream `{stream}` was deleted for good; nothing can be read from it or appended to it")]
    StreamDeleted {
        /// The stream.
        stream: String,
    },
    /// The user lacks the permission, or is unknown.
    #[error("the event store {store} does not let us do this ({reason}); see the user and password in its address")]
    AccessDenied {
        /// Its address.
        store: String,
        /// What it said.
        reason: String,
    },
    /// The request is not valid, and a retry does not help.
    #[error("the event store refused it: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The server sent a message that is not valid.
    #[error("the event store answered what its protocol does not allow: {reason}")]
    Malformed {
        /// What was wrong.
        reason: String,
    },
    /// This client was closed.
    #[error("the client of the event store was closed")]
    Closed,
}
