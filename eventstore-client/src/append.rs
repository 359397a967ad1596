//! Appending: over the call that is open for many appends, or by a call of its own where the server has no such thing.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tonic::Code;

use crate::call::{Ended, settle};
use crate::connection::{Link, Links};
use crate::event::{wire_id, wire_stream};
use crate::fault::Fault;
use crate::proto;
use crate::proto::streams::streams_client::StreamsClient;
use crate::proto::streams::{AppendReq, AppendResp, BatchAppendResp, append_req, append_resp, batch_append_resp};
use crate::{Error, Expected, LogPosition, NewEvent, Written};

/// The largest event that any server takes. One that is larger ends the call it comes over, and with it the appends of
/// others, so it is not sent.
const LARGEST_EVENT: usize = 16 << 20;

/// Appends, and says the first answer when it was written before. The same ids are sent with each try, so that one whose
/// answer was lost is not written again.
pub(crate) async fn append(
    links: &Arc<Links>,
    stream: &str,
    expected: Expected,
    events: &[NewEvent],
    deadline: Duration,
) -> Result<Written, Error> {
    let size = |event: &NewEvent| event.data.len() + event.metadata.len();
    if let Some(event) = events.iter().find(|event| size(event) > LARGEST_EVENT) {
        let reason = format!("the event {} has {} bytes, {LARGEST_EVENT} are possible", event.id, size(event));
        return Err(Error::Refused { reason });
    }
    let result = settle(links, deadline, move |link: Arc<Link>, within| async move {
        if link.batches {
            let answer = link.session(links).append(stream, expected, events, within).await?;
            of_batch(answer, &links.store, stream, expected)
        } else {
            alone(links, &link, stream, expected, events, within).await
        }
    });
    result.await.map_err(|ended| match ended {
        Ended::Error(error) => error,
        Ended::Unanswered(reason) => Error::UnknownOutcome { stream: stream.to_owned(), within: deadline, reason },
    })
}

/// What the answer over the shared call means.
fn of_batch(answer: BatchAppendResp, store: &str, stream: &str, expected: Expected) -> Result<Written, Fault> {
    use batch_append_resp::success::{CurrentRevisionOption, PositionOption};
    match answer.result {
        Some(batch_append_resp::Result::Success(success)) => {
            let revision = match success.current_revision_option {
                Some(CurrentRevisionOption::CurrentRevision(revision)) => Some(revision),
                Some(CurrentRevisionOption::NoStream(())) | None => None,
            };
            let position = match success.position_option {
                Some(PositionOption::Position(position)) => {
                    Some(LogPosition { commit: position.commit_position, prepare: position.prepare_position })
                }
                Some(PositionOption::NoPosition(())) | None => None,
            };
            written(stream, revision, position)
        }
        Some(batch_append_resp::Result::Error(status)) => Err(refusal(&status, store, stream, expected)),
        None => Err(malformed(stream, "neither a success nor an error")),
    }
}

/// What an error in an answer over the shared call means.
fn refusal(status: &proto::Status, store: &str, stream: &str, expected: Expected) -> Fault {
    use proto::wrong_expected_version::CurrentStreamRevisionOption;
    let reason = || if status.message.is_empty() { format!("code {}", status.code) } else { status.message.clone() };
    let details = status.details.as_ref();
    let kind = details.and_then(|any| any.type_url.rsplit('.').next()).unwrap_or_default();
    match kind {
        "WrongExpectedVersion" => {
            let bytes = details.map(|any| any.value.as_slice()).unwrap_or_default();
            let actual = match proto::WrongExpectedVersion::decode(bytes).ok().map(|w| w.current_stream_revision_option)
            {
                Some(Some(CurrentStreamRevisionOption::CurrentStreamRevision(revision))) => Some(revision),
                Some(Some(CurrentStreamRevisionOption::CurrentNoStream(())) | None) | None => None,
            };
            return Fault::Final(Error::WrongExpected { stream: stream.to_owned(), expected, actual });
        }
        "StreamDeleted" => return Fault::Final(Error::StreamDeleted { stream: stream.to_owned() }),
        "AccessDenied" => {
            return Fault::Final(Error::AccessDenied { store: store.to_owned(), reason: reason() });
        }
        "MaximumAppendSizeExceeded" | "BadRequest" | "InvalidTransaction" => {
            return Fault::Final(Error::Refused { reason: reason() });
        }
        // `Timeout` and `Unknown`: the server does not know what became of it. The code says as much.
        _ => {}
    }
    let code = Code::from_i32(status.code);
    if code == Code::Ok {
        return malformed(stream, "an error without a code");
    }
    Fault::of(&tonic::Status::new(code, reason()), store, stream)
}

/// One append by a call of its own.
async fn alone(
    links: &Links,
    link: &Link,
    stream: &str,
    expected: Expected,
    events: &[NewEvent],
    within: Duration,
) -> Result<Written, Fault> {
    use append_req::options::ExpectedStreamRevision;
    let expected_on_wire = match expected {
        Expected::NoStream => ExpectedStreamRevision::NoStream(()),
        Expected::Exact(revision) => ExpectedStreamRevision::Revision(revision),
        Expected::StreamExists => ExpectedStreamRevision::StreamExists(()),
        Expected::Any => ExpectedStreamRevision::Any(()),
    };
    let options = append_req::Options {
        stream_identifier: Some(wire_stream(stream)),
        expected_stream_revision: Some(expected_on_wire),
    };
    let proposed = |event: &NewEvent| {
        let described = [("type", &*event.event_type), ("content-type", event.content_type)];
        append_req::Content::ProposedMessage(append_req::ProposedMessage {
            id: Some(wire_id(event.id)),
            metadata: described.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            custom_metadata: event.metadata.clone(),
            data: event.data.clone(),
        })
    };
    let contents: Vec<AppendReq> = std::iter::once(append_req::Content::Options(options))
        .chain(events.iter().map(proposed))
        .map(|content| AppendReq { content: Some(content) })
        .collect();
    let request = links.request(tokio_stream::iter(contents), Some(within));
    let answer = StreamsClient::new(link.channel.clone()).append(request).await;
    of_alone(answer.map_err(|status| Fault::of(&status, &links.store, stream))?.into_inner(), stream, expected)
}

fn of_alone(answer: AppendResp, stream: &str, expected: Expected) -> Result<Written, Fault> {
    use append_resp::success;
    use append_resp::wrong_expected_version::{CurrentRevisionOption, CurrentRevisionOption2060};
    match answer.result {
        Some(append_resp::Result::Success(success)) => {
            let revision = match success.current_revision_option {
                Some(success::CurrentRevisionOption::CurrentRevision(revision)) => Some(revision),
                Some(success::CurrentRevisionOption::NoStream(())) | None => None,
            };
            let position = match success.position_option {
                Some(success::PositionOption::Position(position)) => {
                    Some(LogPosition { commit: position.commit_position, prepare: position.prepare_position })
                }
                Some(success::PositionOption::NoPosition(())) | None => None,
            };
            written(stream, revision, position)
        }
        Some(append_resp::Result::WrongExpectedVersion(wrong)) => {
            let actual = match (wrong.current_revision_option, wrong.current_revision_option_20_6_0) {
                (Some(CurrentRevisionOption::CurrentRevision(revision)), _)
                | (None, Some(CurrentRevisionOption2060::CurrentRevision2060(revision))) => Some(revision),
                (Some(CurrentRevisionOption::CurrentNoStream(())), _)
                | (None, Some(CurrentRevisionOption2060::NoStream2060(())) | None) => None,
            };
            Err(Fault::Final(Error::WrongExpected { stream: stream.to_owned(), expected, actual }))
        }
        None => Err(malformed(stream, "neither a success nor a conflict")),
    }
}

fn written(stream: &str, revision: Option<u64>, position: Option<LogPosition>) -> Result<Written, Fault> {
    let revision = revision.ok_or_else(|| malformed(stream, "a success without a revision"))?;
    Ok(Written { revision, position })
}

fn malformed(stream: &str, what: &str) -> Fault {
    Fault::Final(Error::Malformed { reason: format!("{what} to an append to `{stream}`") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code, kind: &str, value: Vec<u8>) -> proto::Status {
        let type_url = format!("type.googleapis.com/event_store.client.{kind}");
        let details = (!kind.is_empty()).then_some(prost_types::Any { type_url, value });
        proto::Status { code: code.into(), message: "said so".to_owned(), details }
    }

    #[test]
    fn an_error_over_the_shared_call_is_told_by_its_details_then_by_its_code() {
        let at = |revision: Option<u64>| {
            let current = revision.map_or(
                proto::wrong_expected_version::CurrentStreamRevisionOption::CurrentNoStream(()),
                proto::wrong_expected_version::CurrentStreamRevisionOption::CurrentStreamRevision,
            );
            let wrong = proto::WrongExpectedVersion {
                current_stream_revision_option: Some(current),
                expected_stream_position_option: None,
            };
            status(Code::AlreadyExists, "WrongExpectedVersion", wrong.encode_to_vec())
        };
        for revision in [Some(9), Some(0), None] {
            let refused = refusal(&at(revision), "store", "order-1", Expected::Exact(3));
            let Fault::Final(Error::WrongExpected { actual, expected, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!((actual, expected), (revision, Expected::Exact(3)));
        }
        let told = |status| refusal(&status, "store", "order-1", Expected::Any);
        assert!(matches!(
            told(status(Code::NotFound, "StreamDeleted", vec![])),
            Fault::Final(Error::StreamDeleted { .. })
        ));
        assert!(matches!(told(status(Code::Unknown, "BadRequest", vec![])), Fault::Final(Error::Refused { .. })));
        assert!(matches!(told(status(Code::DeadlineExceeded, "Timeout", vec![])), Fault::Lost { sent: true, .. }));
        assert!(matches!(told(status(Code::ResourceExhausted, "", vec![])), Fault::Busy(_)));
        assert!(matches!(told(status(Code::Ok, "", vec![])), Fault::Final(Error::Malformed { .. })));
    }
}
