//! Many appends over one call: each has a number by which it is answered, and no append waits for another.
//!
//! *Invariant:* every append that was sent gets a result: its answer, or that the call has ended without one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use crate::connection::{Link, Links};
use crate::event::{id_of, wire_id, wire_stream};
use crate::fault::Fault;
use crate::proto::streams::batch_append_req::options::{DeadlineOption, ExpectedStreamPosition};
use crate::proto::streams::batch_append_req::{Options, ProposedMessage};
use crate::proto::streams::streams_client::StreamsClient;
use crate::proto::streams::{BatchAppendReq, BatchAppendResp};
use crate::{Expected, NewEvent};

/// Messages that wait for the connection; who has more waits, within its own deadline.
const QUEUED_MESSAGES: usize = 256;
/// How soon an append that found no room looks again: the connection takes some hundred messages in that time.
const ROOM_AGAIN: Duration = Duration::from_millis(1);
/// What one message carries at most, unless a single event is larger: far below the server's limit of 17 MiB.
const BYTES_A_MESSAGE: usize = 1 << 20;
/// The longest answer: an error with its text.
const LONGEST_ANSWER: usize = 1 << 20;

/// The call that is open.
pub(crate) struct Session {
    messages: mpsc::Sender<BatchAppendReq>,
    waiting: Arc<Waiting>,
    /// Tells this session's ids from any other's.
    mark: u64,
    next: AtomicU64,
}

/// The callers that wait for an answer; `None` once the call has ended. The lock is held only to look up one.
#[derive(Default)]
struct Waiting(Mutex<Option<ByNumber>>);

/// The receiver of each answer: it gets the answer, or the reason why the call ended without it.
type ByNumber = HashMap<u64, oneshot::Sender<Result<BatchAppendResp, Fault>>>;

impl Session {
    /// Opens the call over this connection.
    pub(crate) fn begin(link: &Link, links: &Arc<Links>) -> Self {
        let (messages, queued) = mpsc::channel(QUEUED_MESSAGES);
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        let request = links.request(ReceiverStream::new(queued), None);
        let mut client = StreamsClient::new(link.channel.clone()).max_decoding_message_size(LONGEST_ANSWER);
        let (told, store) = (waiting.clone(), links.store.clone());
        links.spawn(async move {
            // However it ends, everybody who waits hears of it.
            let _end = End(told.clone());
            let fault = match client.batch_append(request).await {
                Ok(answers) => hand_out(answers.into_inner(), &told, &store).await,
                // Refused before anything was read.
                Err(status) => Fault::of(&status, &store, ""),
            };
            told.end(&fault);
        });
        Self { messages, waiting, mark: link.number + 1, next: AtomicU64::default() }
    }

    /// Sends one append and waits for its answer. Dropped while it waits, it may be written or not.
    pub(crate) async fn append(
        &self,
        stream: &str,
        expected: Expected,
        events: &[NewEvent],
        within: Duration,
    ) -> Result<BatchAppendResp, Fault> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answered, answer) = oneshot::channel();
        let ended = |sent| Fault::Lost { reason: "the call for appends has ended".to_owned(), sent };
        match &mut *self.waiting.0.lock() {
            Some(waiting) => waiting.insert(number, answered),
            None => return Err(ended(false)),
        };
        let _forget = Forget { waiting: &self.waiting, number };
        let id = wire_id(Uuid::from_u64_pair(self.mark, number));
        for message in messages(&id, stream, expected, events, within) {
            // If it is not taken, the call has ended, and how is told to all who wait.
            if !self.queue(message).await {
                break;
            }
        }
        answer.await.unwrap_or_else(|_| Err(ended(true)))
    }
}

impl Session {
    /// Puts a message into the queue as soon as there is room; `false`: the call has ended. Owns no place while it waits: the
    /// channel's own way of waiting would give one to an append that nobody may be polling.
    async fn queue(&self, message: BatchAppendReq) -> bool {
        let mut message = message;
        loop {
            message = match self.messages.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(message)) => message,
            };
            tokio::time::sleep(ROOM_AGAIN).await;
        }
    }
}

/// One append as messages: the options in the first, the mark in the last.
fn messages(
    id: &crate::proto::Uuid,
    stream: &str,
    expected: Expected,
    events: &[NewEvent],
    within: Duration,
) -> Vec<BatchAppendReq> {
    let expected = match expected {
        Expected::NoStream => ExpectedStreamPosition::NoStream(()),
        Expected::Exact(revision) => ExpectedStreamPosition::StreamPosition(revision),
        Expected::StreamExists => ExpectedStreamPosition::StreamExists(()),
        Expected::Any => ExpectedStreamPosition::Any(()),
    };
    let deadline = prost_types::Duration::try_from(within).ok().map(DeadlineOption::Deadline);
    let options = Options {
        stream_identifier: Some(wire_stream(stream)),
        expected_stream_position: Some(expected),
        deadline_option: deadline,
    };
    let message = || BatchAppendReq { correlation_id: Some(id.clone()), ..BatchAppendReq::default() };
    let mut messages = vec![BatchAppendReq { options: Some(options), ..message() }];
    let mut bytes = 0;
    for event in events {
        let size = event.data.len() + event.metadata.len();
        if bytes > 0 && bytes + size > BYTES_A_MESSAGE {
            messages.push(message());
            bytes = 0;
        }
        bytes += size;
        if let Some(message) = messages.last_mut() {
            message.proposed_messages.push(proposed(event));
        }
    }
    if let Some(message) = messages.last_mut() {
        message.is_final = true;
    }
    messages
}

fn proposed(event: &NewEvent) -> ProposedMessage {
    let described = [("type", &*event.event_type), ("content-type", event.content_type)];
    ProposedMessage {
        id: Some(wire_id(event.id)),
        metadata: described.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        custom_metadata: event.metadata.clone(),
        data: event.data.clone(),
    }
}

/// Gives each answer to whom it is for; the reason why there are no more.
async fn hand_out(mut answers: tonic::Streaming<BatchAppendResp>, waiting: &Waiting, store: &str) -> Fault {
    loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                let number = id_of(answer.correlation_id.as_ref()).map(|id| id.as_u64_pair().1);
                let waits = number.and_then(|number| waiting.0.lock().as_mut()?.remove(&number));
                match waits {
                    // Who no longer waits needs no answer.
                    Some(waits) => _ = waits.send(Ok(answer)),
                    None => tracing::debug!(?number, "an answer to an append that nobody waits for"),
                }
            }
            Ok(None) => return Fault::lost("the server has ended the call for appends"),
            Err(status) => return Fault::of_shared_call(&status, store),
        }
    }
}

impl Waiting {
    fn end(&self, fault: &Fault) {
        for (_, waits) in self.0.lock().take().into_iter().flatten() {
            let _ = waits.send(Err(fault.clone())); // Who no longer waits needs no answer.
        }
    }
}

/// Ends the waiting of everybody when the task does, also when it is aborted.
struct End(Arc<Waiting>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end(&Fault::lost("the client was closed"));
    }
}

/// Forgets who waits when he no longer does.
struct Forget<'a> {
    waiting: &'a Waiting,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = &mut *self.waiting.0.lock() {
            waiting.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_large_append_goes_in_messages_that_a_server_takes() {
        let event = NewEvent {
            id: Uuid::from_u128(1),
            event_type: "Happened".into(),
            content_type: "application/json",
            data: Bytes::from(vec![b'x'; 400_000]),
            metadata: Bytes::new(),
        };
        let id = wire_id(Uuid::from_u128(7));
        let messages = messages(&id, "order-1", Expected::Any, &vec![event; 7], Duration::from_secs(1));
        let counts: Vec<_> = messages.iter().map(|message| message.proposed_messages.len()).collect();
        assert_eq!(counts, [2, 2, 2, 1]);
        let options: Vec<_> = messages.iter().map(|message| message.options.is_some()).collect();
        assert_eq!(options, [true, false, false, false]);
        let finals: Vec<_> = messages.iter().map(|message| message.is_final).collect();
        assert_eq!(finals, [false, false, false, true]);
        assert!(messages.iter().all(|message| message.correlation_id.as_ref() == Some(&id)));
    }
}
