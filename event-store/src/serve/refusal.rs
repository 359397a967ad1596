//! A refusal in the protocol's terms: a status with trailers for a call, an error in the answer for one of many
//! appends.

use bytes::Bytes;
use eventstore_client::proto;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::{AppendError, ReadError};

/// The reason why a call is refused. (A conflict is an answer and no refusal.)
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    /// The request is malformed, or its events cannot be in this log.
    BadRequest(String),
    /// A property that every event has is missing.
    MissingProperty(&'static str),
    /// The append has more bytes than a commit takes; the value is the limit.
    TooLarge(usize),
    /// The call would change history, or belongs to KurrentDB's own system.
    Denied(String),
    /// The credentials are missing or wrong.
    Unauthenticated(&'static str),
    /// Too many appends wait to be written. Nothing was written; the client retries a little later.
    Busy(String),
    /// It is unknown whether the append was written; a retry with the same ids settles it.
    Unsettled(String),
    /// The log cannot be read or written at the moment.
    Away(String),
    /// The server stops; the client must connect again.
    Stopping,
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Self::BadRequest(_) | Self::MissingProperty(_) | Self::TooLarge(_) => Code::InvalidArgument,
            Self::Denied(_) => Code::PermissionDenied,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Busy(_) => Code::ResourceExhausted,
            Self::Unsettled(_) => Code::Aborted,
            Self::Away(_) | Self::Stopping => Code::Unavailable,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::BadRequest(what) | Self::Denied(what) => what.clone(),
            Self::MissingProperty(name) => format!("an event's metadata has no `{name}`"),
            Self::TooLarge(most) => format!("one append has at most {most} bytes; make several of it"),
            Self::Unauthenticated(what) => (*what).to_owned(),
            Self::Busy(what) | Self::Unsettled(what) | Self::Away(what) => what.clone(),
            Self::Stopping => "the event store stops; connect again".to_owned(),
        }
    }

    /// The status with trailers with which a call is refused.
    pub fn status(&self) -> Status {
        let mut trailers = MetadataMap::new();
        let mut add = |name: &'static str, value: &str| {
            // Ours are ASCII; what is not would only be left out.
            if let Ok(value) = MetadataValue::try_from(value) {
                trailers.insert(name, value);
            }
        };
        match self {
            Self::MissingProperty(_) => {
                add("exception", "missing-required-metadata-property");
                add("required-metadata-properties", "type,content-type");
            }
            Self::TooLarge(most) => {
                add("exception", "maximum-append-size-exceeded");
                add("maximum-append-size", &most.to_string());
            }
            Self::Denied(_) => add("exception", "access-denied"),
            Self::BadRequest(_)
            | Self::Unauthenticated(_)
            | Self::Busy(_)
            | Self::Unsettled(_)
            | Self::Away(_)
            | Self::Stopping => {}
        }
        Status::with_metadata(self.code(), self.message(), trailers)
    }

    /// The error with which one of many appends is refused.
    pub fn error(&self) -> proto::Status {
        let message = self.message();
        let details = match self {
            Self::BadRequest(_) | Self::MissingProperty(_) => {
                any("BadRequest", &proto::BadRequest { message: message.clone() })
            }
            Self::TooLarge(most) => {
                let max_append_size = u32::try_from(*most).unwrap_or(u32::MAX);
                any("MaximumAppendSizeExceeded", &proto::MaximumAppendSizeExceeded { max_append_size })
            }
            Self::Denied(_) | Self::Unauthenticated(_) => any("AccessDenied", &proto::AccessDenied {}),
            Self::Unsettled(_) => any("Timeout", &proto::Timeout {}),
            Self::Busy(_) | Self::Away(_) | Self::Stopping => any("Unknown", &proto::Unknown {}),
        };
        proto::Status { code: self.code().into(), message, details: Some(details) }
    }
}

/// A detail of an error. Clients look at the end of the type's URL.
pub(super) fn any(name: &str, message: &impl prost::Message) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("type.googleapis.com/event_store.client.{name}"),
        value: message.encode_to_vec(),
    }
}

/// The error of one of many appends whose stream is not at the expected version.
pub(super) fn conflict(message: String, conflict: &proto::WrongExpectedVersion) -> proto::Status {
    let details = Some(any("WrongExpectedVersion", conflict));
    proto::Status { code: Code::AlreadyExists.into(), message, details }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.status()
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Self::Away(error.to_string())
    }
}

impl From<AppendError> for Refusal {
    /// Maps the errors of an append; a conflict never gets here.
    fn from(error: AppendError) -> Self {
        let what = error.to_string();
        match error {
            AppendError::Conflict { .. } | AppendError::EpochEnded { .. } | AppendError::Unknown { .. } => {
                Self::Unsettled(what)
            }
            AppendError::Overloaded => Self::Busy(what),
            AppendError::Refused { .. } => Self::BadRequest(what),
            AppendError::Unwritable { .. } | AppendError::Damaged { .. } | AppendError::Unavailable { .. } => {
                Self::Away(what)
            }
        }
    }
}

/// The name of a stream in the protocol's form.
pub(super) fn identifier(name: &str) -> proto::StreamIdentifier {
    proto::StreamIdentifier { stream_name: Bytes::copy_from_slice(name.as_bytes()) }
}
