//! Why the log did not do what was asked.

use crate::{Position, StreamName};

/// Why an append was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Another writer appended first, and nothing was written here: read up to `actual` and decide again.
    #[error("stream `{stream}` is at version {actual:?}, not {expected}")]
    Conflict {
        /// The stream.
        stream: StreamName,
        /// What the writer expected.
        expected: String,
        /// What it is at, durable or queued; `None`: no such stream.
        actual: Option<u64>,
    },
    /// The commit of the append failed, or one before it did. Look up whether the append was written.
    #[error("the log began a new epoch before the append to `{stream}` was durable; look whether its events are there")]
    EpochEnded {
        /// The stream.
        stream: StreamName,
    },
    /// Too much is waiting to be written. Nothing was written; try again after a moment.
    #[error("the log has too much to write at the moment; try again")]
    Overloaded,
    /// The append is not valid: it has no events, too many, or too large ones.
    #[error("the append to `{stream}` is refused: {reason}")]
    Refused {
        /// The stream.
        stream: StreamName,
        /// What is wrong with the append.
        reason: String,
    },
    /// The log cannot be written to at all.
    #[error(
        "the log `{path}` cannot be written: {reason}; free space or make it writable, then run `backstitch store check`"
    )]
    Unwritable {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// The stored data differs from what was written. Nothing is written to the log until an operator has looked at it.
    #[error("the log `{path}` is damaged: {what}; stop, keep a copy of the folder, run `backstitch store check`")]
    Damaged {
        /// The file.
        path: String,
        /// What does not fit.
        what: String,
    },
    /// The store is away, or did not take the append in time. Nothing was written; try again.
    #[error("the event store `{store}` cannot be reached: {reason}; see that it runs, then try again")]
    Unavailable {
        /// Its address.
        store: String,
        /// What was tried.
        reason: String,
    },
    /// The append was sent, and no answer came. Whether it was written must be looked up, or the same ids sent again.
    #[error("no answer came to the append to `{stream}`: {reason}; look whether its events are there")]
    Unknown {
        /// The stream.
        stream: StreamName,
        /// What was tried.
        reason: String,
    },
}

/// Why the log could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The stored data differs from what was written.
    #[error(
        "the log `{path}` is damaged at position {position}: {what}; stop, keep a copy of the folder, run `backstitch store check`"
    )]
    Damaged {
        /// The file.
        path: String,
        /// The position at which the log is damaged.
        position: Position,
        /// What does not fit.
        what: String,
    },
    /// The store did not answer.
    #[error("the log `{path}` cannot be read: {reason}")]
    Unavailable {
        /// The file or address.
        path: String,
        /// What the system says.
        reason: String,
    },
}

/// Why a log was not opened. Each names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the folder `{path}` is in use by another Backstitch process; stop that one first, or give this one another --data folder"
    )]
    Locked {
        /// The folder.
        path: String,
    },
    /// Not ours, or not a log.
    #[error("`{path}` is not a Backstitch log: {what}; move it away, or restore a backup in its place")]
    Foreign {
        /// The file.
        path: String,
        /// What does not fit.
        what: String,
    },
    /// Ours, but not whole.
    #[error(
        "the log `{path}` is damaged: {what}; keep a copy of the folder, then restore the last backup (`backstitch store check --data` names what is left)"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What does not fit.
        what: String,
    },
    /// There was a log in the folder, and it is not there any more.
    #[error(
        "the log `{path}` is missing, but there was one: {traces}; put `events.db` and `events.db-wal` back in their place, \
         or start with an empty log by `--new-log` (what is left is kept under another name)"
    )]
    Missing {
        /// The file.
        path: String,
        /// What shows that there was a log.
        traces: String,
    },
    /// The file was copied while it was served, without its write-ahead log.
    #[error(
        "the log `{path}` is a copy of a log that was being served, without its write-ahead log `{wal}`: it ends at position \
         {log}, and what was written after that is missing; put the write-ahead log beside it or restore a backup \
         (`backstitch store backup` makes a whole one of a running server); if nothing is missing because a tool such as \
         sqlite3 has merged the write-ahead log, start with `--accept-missing-wal`"
    )]
    WalMissing {
        /// The file.
        path: String,
        /// The file that is not there.
        wal: String,
        /// The last position in the log.
        log: Position,
    },
    /// A witness has seen more than the log holds.
    #[error(
        "the log `{path}` ends at position {log}, but {witness} has seen position {seen}: its end is missing; restore it, or remove the witness to accept the loss"
    )]
    TailMissing {
        /// The file.
        path: String,
        /// The last position in the log.
        log: Position,
        /// The witness that has seen more of the log.
        witness: String,
        /// The position that the witness has seen.
        seen: Position,
    },
    /// The system refused.
    #[error("the log `{path}` cannot be opened: {reason}")]
    Unusable {
        /// The file or folder.
        path: String,
        /// What the system says.
        reason: String,
    },
}
