//! Following a stream or the log: what is there, then what comes, over as many connections as it takes.
//!
//! *Invariant:* each event once and in order, whatever happens to connections: a new one begins after the last checkpoint or
//! event that was handed over, whichever came later, and what is at or before that is not handed over again.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio_stream::Stream as _;
use tonic::Streaming;

use crate::call::not_leader;
use crate::connection::{Links, pause};
use crate::event::event_of;
use crate::fault::Fault;
use crate::proto::streams::read_req::options::{CountOption, SubscriptionOptions};
use crate::proto::streams::streams_client::StreamsClient;
use crate::proto::streams::{ReadReq, ReadResp, read_resp};
use crate::read::{Direction, LONGEST_MESSAGE, What, options};
use crate::{Error, Filter, LogFrom, LogPosition, RecordedEvent, StreamFrom};

/// After how many events that were looked at a filtered subscription says how far it has come. A real server also looks
/// at so many at a time; its default, 32, makes catching up with a rare kind of stream slow.
const CHECKPOINT_WINDOW: u32 = 512;

/// What a subscription hands over.
#[derive(Debug, Clone)]
pub enum Message {
    /// The next event.
    Event(RecordedEvent),
    /// Everything of the log at or before this was handed over or filtered away.
    Checkpoint(LogPosition),
    /// All that was there at some moment after the subscription began was handed over; live from here. Said again after
    /// each new connection.
    CaughtUp,
}

/// A stream or the log, followed until the client is closed.
pub struct Subscription {
    links: Arc<Links>,
    /// What remains to be followed.
    what: What,
    state: State,
    /// Connects that failed in a row.
    failures: u32,
}

/// What failed, and over which connection, if it came so far.
type Failed = (Option<u64>, Fault);
type Opening = Pin<Box<dyn Future<Output = Result<(u64, Streaming<ReadResp>), Failed>> + Send>>;

enum State {
    /// Nothing is under way.
    Idle,
    /// The call is being made. Kept here: a wait that is given up does not begin it anew.
    Opening(Opening),
    /// It gives messages; the number is that of its connection.
    Open(u64, Box<Streaming<ReadResp>>),
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Subscription {
    pub(crate) fn of_stream(links: Arc<Links>, name: &str, after: Option<u64>) -> Self {
        let from = after.map_or(StreamFrom::Start, StreamFrom::Revision);
        let what = What::Stream { name: name.to_owned(), from };
        Self { links, what, state: State::Idle, failures: 0 }
    }

    pub(crate) fn of_log(links: Arc<Links>, after: Option<LogPosition>, filter: Option<Filter>) -> Self {
        let from = after.map_or(LogFrom::Start, LogFrom::Position);
        Self { links, what: What::Log { from, filter }, state: State::Idle, failures: 0 }
    }

    /// The next message. Waits through any failure that can pass, and goes over to a new connection when the client does;
    /// safe to drop while it waits.
    ///
    /// # Errors
    /// [`Error::Closed`] once the client is closed; [`Error::AccessDenied`], [`Error::Refused`], [`Error::StreamDeleted`]
    /// and [`Error::Malformed`] as they come: asked again, it tries again.
    pub async fn next(&mut self) -> Result<Message, Error> {
        loop {
            let (links, number) = (self.links.clone(), self.number());
            let taken = tokio::select! {
                biased;
                taken = poll_fn(|context| self.poll(context)) => taken,
                replaced = links.replaced(number) => {
                    if !replaced {
                        return Err(Error::Closed);
                    }
                    // The old connection may be stuck and not know it; from here on it is over the new one.
                    self.state = State::Idle;
                    continue;
                }
            };
            match taken {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(fault) => self.failed(fault)?,
            }
        }
    }

    /// A message that is there already; `None` if one would have to wait, or the connection is gone.
    pub fn ready(&mut self) -> Option<Message> {
        while let State::Open(_, answers) = &mut self.state {
            // The next call that waits registers its own waker; nobody waits now.
            match Pin::new(&mut **answers).poll_next(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(answer))) => match self.take(answer) {
                    Ok(Some(message)) => return Some(message),
                    Ok(None) => {}
                    // The next wait comes upon it again: the call ends there, and another one begins at the same place.
                    Err(_) => self.state = State::Idle,
                },
                // As above.
                Poll::Ready(Some(Err(_)) | None) => self.state = State::Idle,
                Poll::Pending => return None,
            }
        }
        None
    }

    /// The connection over which messages come.
    fn number(&self) -> Option<u64> {
        match &self.state {
            State::Open(number, _) => Some(*number),
            State::Idle | State::Opening(_) => None,
        }
    }

    /// One step: the call is open, or a message is there (`None`: one that says nothing to the reader).
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Message>, Failed>> {
        loop {
            match &mut self.state {
                State::Idle => self.state = State::Opening(self.open()),
                State::Opening(opening) => match opening.as_mut().poll(context) {
                    Poll::Ready(Ok((number, answers))) => self.state = State::Open(number, Box::new(answers)),
                    Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed)),
                    Poll::Pending => return Poll::Pending,
                },
                State::Open(number, answers) => {
                    let number = Some(*number);
                    let fault = match Pin::new(&mut **answers).poll_next(context) {
                        Poll::Ready(Some(Ok(answer))) => match self.take(answer) {
                            Ok(message) => {
                                self.failures = 0;
                                return Poll::Ready(Ok(message));
                            }
                            Err(fault) => fault,
                        },
                        Poll::Ready(Some(Err(status))) => Fault::of(&status, &self.links.store, self.what.stream()),
                        Poll::Ready(None) => Fault::lost("the server has ended the subscription"),
                        Poll::Pending => return Poll::Pending,
                    };
                    return Poll::Ready(Err((number, fault)));
                }
            }
        }
    }

    /// Makes the call, after a pause if the last ones failed, as soon as there is a connection.
    fn open(&self) -> Opening {
        let (links, what, failures) = (self.links.clone(), self.what.clone(), self.failures);
        Box::pin(async move {
            if failures > 1 {
                tokio::time::sleep(pause(links.settings.discovery_interval, failures - 1)).await;
            }
            let link = links.link(None).await.map_err(|error| (None, Fault::Final(error)))?;
            let number = Some(link.number);
            let count = CountOption::Subscription(SubscriptionOptions {});
            let options = options(&what, Direction::Forward, count, CHECKPOINT_WINDOW);
            let request = links.request(ReadReq { options: Some(options) }, None);
            let mut client = StreamsClient::new(link.channel.clone()).max_decoding_message_size(LONGEST_MESSAGE);
            // The server confirms at once; if it does not, this node is of no use.
            let limit = links.settings.gossip_timeout;
            match tokio::time::timeout(limit, client.read(request)).await {
                Ok(Ok(answers)) => Ok((link.number, answers.into_inner())),
                Ok(Err(status)) => Err((number, Fault::of(&status, &links.store, what.stream()))),
                Err(_) => Err((number, Fault::lost(format!("a subscription was not begun within {limit:?}")))),
            }
        })
    }

    /// What a message means, and from where to go on after it.
    fn take(&mut self, answer: ReadResp) -> Result<Option<Message>, Fault> {
        match answer.content {
            Some(read_resp::Content::Event(event)) => {
                let event = event_of(event).map_err(|reason| Fault::Final(Error::Malformed { reason }))?;
                let new = match &mut self.what {
                    What::Stream { from, .. } => {
                        let new = !matches!(*from, StreamFrom::Revision(seen) if event.revision <= seen);
                        if new {
                            *from = StreamFrom::Revision(event.revision);
                        }
                        new
                    }
                    What::Log { from, .. } => moves(from, event.position),
                };
                Ok(new.then_some(Message::Event(event)))
            }
            Some(read_resp::Content::Checkpoint(checkpoint)) => {
                let (commit, prepare) = (checkpoint.commit_position, checkpoint.prepare_position);
                Ok(self.checkpoint(LogPosition { commit, prepare }))
            }
            Some(read_resp::Content::CaughtUp(_)) => Ok(Some(Message::CaughtUp)),
            Some(read_resp::Content::StreamNotFound(_)) => Ok(None), // It may come to be.
            Some(
                read_resp::Content::Confirmation(_)
                | read_resp::Content::FirstStreamPosition(_)
                | read_resp::Content::LastStreamPosition(_)
                | read_resp::Content::LastAllStreamPosition(_)
                | read_resp::Content::FellBehind(_),
            )
            | None => Ok(None),
        }
    }

    fn checkpoint(&mut self, position: LogPosition) -> Option<Message> {
        match &mut self.what {
            What::Log { from, .. } => moves(from, position).then_some(Message::Checkpoint(position)),
            What::Stream { .. } => None, // Servers send none.
        }
    }

    /// The call is over. What can pass is tried again; what cannot is told, and tried again when asked again.
    fn failed(&mut self, (number, fault): Failed) -> Result<(), Error> {
        self.state = State::Idle;
        self.failures += 1;
        let (reason, leader) = match fault {
            Fault::Final(error) => return Err(error),
            Fault::Busy(reason) => {
                tracing::debug!(reason, "a subscription is begun again");
                return Ok(());
            }
            Fault::NotLeader { leader, .. } => (not_leader(leader.as_ref()), leader),
            Fault::Lost { reason, .. } => (reason, None),
        };
        tracing::debug!(reason, what = ?self.what, "a subscription goes on over a new connection");
        if let Some(number) = number {
            self.links.lost(number, &reason, leader);
        }
        Ok(())
    }
}

/// Whether this lies beyond where the log is followed from; then it is followed from here.
fn moves(from: &mut LogFrom, position: LogPosition) -> bool {
    let new = !matches!(*from, LogFrom::Position(seen) if position <= seen);
    if new {
        *from = LogFrom::Position(position);
    }
    new
}
