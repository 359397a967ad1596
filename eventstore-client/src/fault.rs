//! What one try of a call came to, told apart by what to do next: go to another node, wait, or give up.

use std::error::Error as _;

use tonic::{Code, Status};

use crate::{Error, Expected, Node};

/// The trailer in which the server names the kind of a failure.
const EXCEPTION: &str = "exception";

/// Why one try failed.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The connection is of no use any more. `sent`: what was asked may have been done all the same.
    Lost { reason: String, sent: bool },
    /// This node does not lead; that one does, as far as it knows. `sent` as above: it may have led until just now.
    NotLeader { leader: Option<Node>, sent: bool },
    /// The server has too much to do. Nothing was done.
    Busy(String),
    /// Trying again would come to the same.
    Final(Error),
}

impl Fault {
    /// A connection that is of no use any more; what was asked may have been done.
    pub(crate) fn lost(reason: impl Into<String>) -> Self {
        Self::Lost { reason: reason.into(), sent: true }
    }

    /// What it means for one of many appends that the call which carried them all ended so: not that one was refused, and
    /// nobody knows what became of it.
    pub(crate) fn of_shared_call(status: &Status, store: &str) -> Self {
        match Self::of(status, store, "") {
            Self::NotLeader { leader, .. } => Self::NotLeader { leader, sent: true },
            Self::Lost { .. } | Self::Busy(_) | Self::Final(_) => Self::lost(reason_of(status)),
        }
    }

    /// What a status means for a call about `stream` (empty: about no stream) at the store `store`.
    pub(crate) fn of(status: &Status, store: &str, stream: &str) -> Self {
        let text = |name: &str| status.metadata().get(name).and_then(|value| value.to_str().ok());
        let reason = || reason_of(status);
        match text(EXCEPTION) {
            Some("not-leader") => {
                let port = text("leader-endpoint-port").and_then(|port| port.parse().ok());
                let host = text("leader-endpoint-host").filter(|host| !host.is_empty());
                let node = host.zip(port).map(|(host, port)| Node { host: host.to_owned(), port });
                return Self::NotLeader { leader: node, sent: false };
            }
            Some("stream-deleted") => return Self::Final(Error::StreamDeleted { stream: stream.to_owned() }),
            Some("wrong-expected-version") => {
                let actual = text("actual-version").and_then(|version| version.parse().ok());
                let expected = text("expected-version").and_then(|version| version.parse().ok());
                return Self::Final(Error::WrongExpected {
                    stream: stream.to_owned(),
                    expected: expected.map_or(Expected::NoStream, Expected::Exact),
                    actual,
                });
            }
            Some("access-denied") => {
                return Self::Final(Error::AccessDenied { store: store.to_owned(), reason: reason() });
            }
            Some("maximum-append-size-exceeded" | "missing-required-metadata-property") => {
                return Self::Final(Error::Refused { reason: reason() });
            }
            Some(_) | None => {}
        }
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                Self::Final(Error::AccessDenied { store: store.to_owned(), reason: reason() })
            }
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::Unimplemented => {
                Self::Final(Error::Refused { reason: reason() })
            }
            Code::ResourceExhausted => Self::Busy(reason()),
            // A business answer never has one of these: the server, or the way to it, is not well. Again, then.
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::lost(reason()),
        }
    }
}

/// What a status says, with what caused it: "transport error" alone tells nobody anything.
pub(crate) fn reason_of(status: &Status) -> String {
    let mut reason =
        if status.message().is_empty() { status.code().description().to_owned() } else { status.message().to_owned() };
    add_causes(&mut reason, status.source());
    reason
}

/// Appends what caused an error, unless it is said already.
pub(crate) fn add_causes(reason: &mut String, mut source: Option<&(dyn std::error::Error + 'static)>) {
    while let Some(cause) = source {
        let text = cause.to_string();
        if !reason.contains(&text) {
            reason.push_str(": ");
            reason.push_str(&text);
        }
        source = cause.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code, trailers: &[(&'static str, &'static str)]) -> Status {
        let mut status = Status::new(code, "said so");
        for (name, value) in trailers {
            status.metadata_mut().insert(*name, value.parse().unwrap());
        }
        status
    }

    #[test]
    fn a_failure_is_told_by_its_trailer_first() {
        let not_leader =
            [("exception", "not-leader"), ("leader-endpoint-host", "node2"), ("leader-endpoint-port", "2114")];
        let moved = Fault::of(&status(Code::NotFound, &not_leader), "store", "order-1");
        let Fault::NotLeader { leader: node, sent: false } = moved else { panic!("{moved:?}") };
        assert_eq!(node, Some(Node { host: "node2".to_owned(), port: 2114 }));
        let wrong = [("exception", "wrong-expected-version"), ("expected-version", "3"), ("actual-version", "5")];
        let conflict = Fault::of(&status(Code::FailedPrecondition, &wrong), "store", "order-1");
        let Fault::Final(Error::WrongExpected { stream, expected, actual }) = conflict else { panic!("{conflict:?}") };
        assert_eq!((stream.as_str(), expected, actual), ("order-1", Expected::Exact(3), Some(5)));
        let deleted = status(Code::FailedPrecondition, &[("exception", "stream-deleted")]);
        assert!(
            matches!(Fault::of(&deleted, "store", "s"), Fault::Final(Error::StreamDeleted { stream }) if stream == "s")
        );
    }

    #[test]
    fn only_what_would_come_to_the_same_is_final() {
        for code in [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled, Code::DeadlineExceeded] {
            assert!(matches!(Fault::of(&status(code, &[]), "store", ""), Fault::Lost { sent: true, .. }), "{code:?}");
        }
        for code in [Code::InvalidArgument, Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented] {
            assert!(matches!(Fault::of(&status(code, &[]), "store", ""), Fault::Final(_)), "{code:?}");
        }
        assert!(matches!(Fault::of(&status(Code::ResourceExhausted, &[]), "store", ""), Fault::Busy(_)));
    }
}
