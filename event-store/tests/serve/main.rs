//! The log served over KurrentDB's protocol: what each call answers, told by bare stubs; and that the official clients of
//! three languages get along with it. After each test the log itself is asked what is in it.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod access;
mod appending;
mod batching;
mod following;
mod official_node;
mod official_python;
mod official_rust;
mod reading;
mod snapshots;
mod standing_still;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use event_store::serve::{ServeOptions, Server};
use event_store::sqlite::Faults;
use event_store::{
    Direction, EventStore, EventStoreConfig, Expected, Filter, Position, RecordedEvent, SqliteOptions, SqliteStore,
    StreamName, conformance,
};
use eventstore_client::proto::streams::append_req::options::ExpectedStreamRevision as Wish;
use eventstore_client::proto::streams::append_req::{Content, Options, ProposedMessage};
use eventstore_client::proto::streams::append_resp::Result as Answer;
use eventstore_client::proto::streams::read_req::options as read;
use eventstore_client::proto::streams::read_resp;
use eventstore_client::proto::streams::streams_client::StreamsClient;
use eventstore_client::proto::streams::{AppendReq, ReadReq, read_req};
use eventstore_client::proto::uuid::Value;
use eventstore_client::proto::{self, StreamIdentifier};
use secret::Key;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::Channel;
use uuid::Uuid;

/// What a wait in these tests may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A password that is long enough.
const PASSWORD: &str = "geheim-geheim-geheim-geheim";

fn password() -> Key {
    Key::new(PASSWORD).unwrap()
}

/// A log of its own, served on a free port.
struct Served {
    address: SocketAddr,
    store: Arc<SqliteStore>,
    /// Makes the log fail, on order.
    faults: Faults,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinSet<()>,
    _dir: TempDir,
}

impl Served {
    async fn start() -> Self {
        Self::start_with(EventStoreConfig::default()).await
    }

    async fn start_with(config: EventStoreConfig) -> Self {
        let dir = TempDir::new().unwrap();
        let faults = Faults::default();
        let log = SqliteOptions { faults: faults.clone(), ..SqliteOptions::default() };
        let store = SqliteStore::open(dir.path(), log).unwrap();
        let listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let options = ServeOptions::from_config(&EventStoreConfig { listen, ..config }).unwrap().unwrap();
        let server = Server::bind(store.clone(), options).await.unwrap();
        let (address, (stop, stopped)) = (server.address, oneshot::channel::<()>());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            server.run(async move { _ = stopped.await }).await.unwrap();
        });
        Self { address, store, faults, stop: Some(stop), serving, _dir: dir }
    }

    async fn client(&self) -> StreamsClient<Channel> {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap();
        StreamsClient::new(channel).max_decoding_message_size(32 << 20)
    }

    fn url(&self) -> String {
        format!("kurrentdb://{}?tls=false", self.address)
    }

    /// All events of the log, as it says itself.
    async fn log(&self) -> Vec<RecordedEvent> {
        self.store.read_all(Position::START, Direction::Forward, 10_000, &Filter::default()).await.unwrap()
    }

    /// Appends to the log directly.
    async fn append(&self, stream: &str, first: u64, count: u64) -> Position {
        let stream: StreamName = stream.parse().unwrap();
        let append = conformance::append(&stream, Expected::at(first.checked_sub(1)), first, count);
        self.store.append(append).await.unwrap().durable().await.unwrap().position
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        within(self.serving.join_next()).await.unwrap().unwrap();
        self.store.close().await;
    }
}

/// What must come soon.
async fn within<T>(waited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waited).await.expect("it comes in time")
}

fn identifier(stream: &str) -> Option<StreamIdentifier> {
    Some(StreamIdentifier { stream_name: stream.as_bytes().to_vec().into() })
}

fn id(number: u128) -> Option<proto::Uuid> {
    Some(proto::Uuid { value: Some(Value::String(Uuid::from_u128(number).to_string())) })
}

/// An event with JSON data and no custom metadata.
fn proposed(number: u128) -> ProposedMessage {
    let metadata = [("type", "Happened"), ("content-type", "application/json")];
    ProposedMessage {
        id: id(number),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect(),
        custom_metadata: Vec::new().into(),
        data: format!(r#"{{"number":{number}}}"#).into_bytes().into(),
    }
}

fn request(stream: &str, wish: Wish, events: Vec<ProposedMessage>) -> Vec<AppendReq> {
    let options = Options { stream_identifier: identifier(stream), expected_stream_revision: Some(wish) };
    let first = AppendReq { content: Some(Content::Options(options)) };
    let event = |event| AppendReq { content: Some(Content::ProposedMessage(event)) };
    std::iter::once(first).chain(events.into_iter().map(event)).collect()
}

/// One append over the wire.
async fn append(
    client: &mut StreamsClient<Channel>,
    stream: &str,
    wish: Wish,
    events: Vec<ProposedMessage>,
) -> Result<Answer, tonic::Status> {
    let response = client.append(tokio_stream::iter(request(stream, wish, events))).await?;
    Ok(response.into_inner().result.unwrap())
}

/// The revision and position of a success.
fn done(answer: Answer) -> (u64, u64) {
    use eventstore_client::proto::streams::append_resp::success::{CurrentRevisionOption, PositionOption};
    let Answer::Success(success) = answer else { panic!("{answer:?}") };
    let Some(CurrentRevisionOption::CurrentRevision(revision)) = success.current_revision_option else {
        panic!("{success:?}")
    };
    let Some(PositionOption::Position(position)) = success.position_option else { panic!("{success:?}") };
    assert_eq!(position.commit_position, position.prepare_position);
    (revision, position.commit_position)
}

/// A read to be filled in.
fn options(of: read::StreamOption, count: read::CountOption, backwards: bool) -> read_req::Options {
    read_req::Options {
        read_direction: i32::from(backwards),
        resolve_links: false,
        uuid_option: Some(read::UuidOption { content: Some(read::uuid_option::Content::String(())) }),
        control_option: None,
        stream_option: Some(of),
        count_option: Some(count),
        filter_option: Some(read::FilterOption::NoFilter(())),
    }
}

fn of_stream(stream: &str, from: read::stream_options::RevisionOption) -> read::StreamOption {
    let stream_identifier = identifier(stream);
    read::StreamOption::Stream(read::StreamOptions { stream_identifier, revision_option: Some(from) })
}

fn of_all(from: read::all_options::AllOption) -> read::StreamOption {
    read::StreamOption::All(read::AllOptions { all_option: Some(from) })
}

fn at(position: u64) -> read::all_options::AllOption {
    let (commit_position, prepare_position) = (position, position);
    read::all_options::AllOption::Position(read::Position { commit_position, prepare_position })
}

const FOLLOW: read::CountOption = read::CountOption::Subscription(read::SubscriptionOptions {});

async fn start_read(
    client: &mut StreamsClient<Channel>,
    options: read_req::Options,
) -> Result<Streaming<eventstore_client::proto::streams::ReadResp>, tonic::Status> {
    client.read(ReadReq { options: Some(options) }).await.map(tonic::Response::into_inner)
}

/// All that a read answers.
async fn read_all(client: &mut StreamsClient<Channel>, options: read_req::Options) -> Vec<read_resp::Content> {
    let mut answers = start_read(client, options).await.unwrap();
    let mut found = Vec::new();
    while let Some(answer) = within(answers.message()).await.unwrap() {
        found.push(answer.content.unwrap());
    }
    found
}

/// What a read answers next.
async fn next(answers: &mut Streaming<eventstore_client::proto::streams::ReadResp>) -> read_resp::Content {
    within(answers.message()).await.unwrap().expect("a subscription does not end").content.unwrap()
}

/// Stream and revision, if it is an event.
fn place(content: &read_resp::Content) -> Option<(String, u64)> {
    let read_resp::Content::Event(event) = content else { return None };
    let event = event.event.as_ref().unwrap();
    let name = event.stream_identifier.as_ref().unwrap().stream_name.to_vec();
    Some((String::from_utf8(name).unwrap(), event.stream_revision))
}

fn places(contents: &[read_resp::Content]) -> Vec<(String, u64)> {
    contents.iter().filter_map(place).collect()
}
