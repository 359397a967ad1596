//! A node of an event store that does as it is told: leads or not, is busy, dies. All nodes of a test share one log.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use eventstore_client::proto::gossip::gossip_server::{Gossip, GossipServer};
use eventstore_client::proto::gossip::member_info::VNodeState;
use eventstore_client::proto::gossip::{ClusterInfo, EndPoint, MemberInfo};
use eventstore_client::proto::server_features::server_features_server::{ServerFeatures, ServerFeaturesServer};
use eventstore_client::proto::server_features::{SupportedMethod, SupportedMethods};
use eventstore_client::proto::streams::append_req::options::ExpectedStreamRevision;
use eventstore_client::proto::streams::batch_append_req::options::ExpectedStreamPosition;
use eventstore_client::proto::streams::streams_server::{Streams, StreamsServer};
use eventstore_client::proto::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq, ReadResp, TombstoneReq,
    TombstoneResp, append_req, append_resp, batch_append_resp, read_resp,
};
use eventstore_client::proto::{AllStreamPosition, Status as Refusal, StreamIdentifier, Uuid};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};

/// Streams and ids, in the order in which they were written.
pub type Log = Arc<Mutex<Vec<(String, Uuid)>>>;

/// How a node behaves.
#[derive(Default)]
pub struct Behaviour {
    /// Whom it tells of when asked who is there.
    pub members: Vec<(SocketAddr, bool)>,
    /// It does not lead; that one does.
    pub leader: Option<SocketAddr>,
    /// So many calls are refused as too many.
    pub busy: u32,
    /// Nobody may do anything.
    pub denies: bool,
    /// The headers of the last append.
    pub headers: MetadataMap,
}

#[derive(Clone)]
struct Fake {
    behaviour: Arc<Mutex<Behaviour>>,
    log: Log,
    batches: bool,
}

/// A node; it dies when dropped.
pub struct Node {
    pub address: SocketAddr,
    pub behaviour: Arc<Mutex<Behaviour>>,
    /// Its own, so that nothing of it goes on when it dies.
    runtime: Option<Runtime>,
}

impl Node {
    /// A node that leads. `batches`: it takes many appends over one call.
    pub async fn start(log: &Log, batches: bool, tls: Option<Identity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let behaviour = Arc::new(Mutex::new(Behaviour { members: vec![(address, true)], ..Behaviour::default() }));
        let fake = Fake { behaviour: behaviour.clone(), log: log.clone(), batches };
        let mut builder = tonic::transport::Server::builder();
        if let Some(identity) = tls {
            // Two implementations may be compiled into this program, and the server would not choose; the client does by
            // itself. An error means that it already has.
            let _ = rustls::crypto::ring::default_provider().install_default();
            builder = builder.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        let router = builder
            .add_service(StreamsServer::new(fake.clone()))
            .add_service(GossipServer::new(fake.clone()))
            .add_service(ServerFeaturesServer::new(fake));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = listener.into_std().unwrap();
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(TcpListener::from_std(listener).unwrap());
            router.serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, behaviour, runtime: Some(runtime) }
    }

    /// Changes how it behaves.
    pub fn is(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Fake {
    /// Why a call is refused now, if it is.
    fn judge(&self, headers: &MetadataMap) -> Result<(), Status> {
        let mut behaviour = self.behaviour.lock().unwrap();
        behaviour.headers = headers.clone();
        if let Some(leader) = behaviour.leader {
            let mut status = Status::not_found("not the leader");
            for (name, value) in [
                ("exception", "not-leader".to_owned()),
                ("leader-endpoint-host", leader.ip().to_string()),
                ("leader-endpoint-port", leader.port().to_string()),
            ] {
                status.metadata_mut().insert(name, value.parse().unwrap());
            }
            return Err(status);
        }
        if behaviour.denies {
            return Err(Status::permission_denied("you may not"));
        }
        match behaviour.busy.checked_sub(1) {
            Some(left) => {
                behaviour.busy = left;
                Err(Status::resource_exhausted("too much at once"))
            }
            None => Ok(()),
        }
    }

    /// Writes behind the revision that is expected (`None`: whatever it is); the revision, or where the stream is.
    fn write(
        &self,
        stream: StreamIdentifier,
        expected: Option<Option<u64>>,
        ids: Vec<Uuid>,
    ) -> Result<u64, Option<u64>> {
        let stream = String::from_utf8(stream.stream_name.to_vec()).unwrap();
        let mut log = self.log.lock().unwrap();
        let of_stream: Vec<Uuid> = log.iter().filter(|(name, _)| *name == stream).map(|(_, id)| id.clone()).collect();
        if let Some(at) = of_stream.iter().position(|id| *id == ids[0]) {
            return Ok((at + ids.len() - 1) as u64);
        }
        let actual = (of_stream.len() as u64).checked_sub(1);
        if expected.is_some_and(|expected| expected != actual) {
            return Err(actual);
        }
        let revision = (of_stream.len() + ids.len() - 1) as u64;
        log.extend(ids.into_iter().map(|id| (stream.clone(), id)));
        Ok(revision)
    }
}

#[tonic::async_trait]
impl ServerFeatures for Fake {
    async fn get_supported_methods(&self, _: Request<()>) -> Result<Response<SupportedMethods>, Status> {
        let method = SupportedMethod {
            method_name: "batchappend".to_owned(),
            service_name: "event_store.client.streams.streams".to_owned(),
            features: Vec::new(),
        };
        let methods = if self.batches { vec![method] } else { Vec::new() };
        Ok(Response::new(SupportedMethods { methods, event_store_server_version: "25.1.0".to_owned() }))
    }
}

#[tonic::async_trait]
impl Gossip for Fake {
    async fn read(&self, _: Request<()>) -> Result<Response<ClusterInfo>, Status> {
        let members = self.behaviour.lock().unwrap().members.clone();
        let member = |(address, leads): (SocketAddr, bool)| MemberInfo {
            state: if leads { VNodeState::Leader } else { VNodeState::Follower }.into(),
            is_alive: true,
            http_end_point: Some(EndPoint { address: address.ip().to_string(), port: address.port().into() }),
            ..MemberInfo::default()
        };
        Ok(Response::new(ClusterInfo { members: members.into_iter().map(member).collect() }))
    }
}

#[tonic::async_trait]
impl Streams for Fake {
    type ReadStream = ReceiverStream<Result<ReadResp, Status>>;
    type BatchAppendStream = ReceiverStream<Result<BatchAppendResp, Status>>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Self::ReadStream>, Status> {
        self.judge(request.metadata())?;
        let (send, answers) = mpsc::channel(4);
        let not_found = read_resp::Content::StreamNotFound(read_resp::StreamNotFound::default());
        let _ = send.try_send(Ok(ReadResp { content: Some(not_found) }));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn append(&self, request: Request<Streaming<AppendReq>>) -> Result<Response<AppendResp>, Status> {
        self.judge(request.metadata())?;
        let mut messages = request.into_inner();
        let mut options = None;
        let mut ids = Vec::new();
        while let Some(message) = messages.message().await? {
            match message.content.unwrap() {
                append_req::Content::Options(given) => options = Some(given),
                append_req::Content::ProposedMessage(message) => ids.push(message.id.unwrap()),
            }
        }
        let options = options.unwrap();
        let expected = match options.expected_stream_revision.unwrap() {
            ExpectedStreamRevision::Revision(revision) => Some(Some(revision)),
            ExpectedStreamRevision::NoStream(()) => Some(None),
            ExpectedStreamRevision::Any(()) | ExpectedStreamRevision::StreamExists(()) => None,
        };
        let result = match self.write(options.stream_identifier.unwrap(), expected, ids) {
            Ok(revision) => {
                use append_resp::success::{CurrentRevisionOption, PositionOption};
                let position = append_resp::Position { commit_position: 7, prepare_position: 7 };
                append_resp::Result::Success(append_resp::Success {
                    current_revision_option: Some(CurrentRevisionOption::CurrentRevision(revision)),
                    position_option: Some(PositionOption::Position(position)),
                })
            }
            Err(actual) => {
                use append_resp::wrong_expected_version::CurrentRevisionOption;
                let current =
                    actual.map_or(CurrentRevisionOption::CurrentNoStream(()), CurrentRevisionOption::CurrentRevision);
                append_resp::Result::WrongExpectedVersion(append_resp::WrongExpectedVersion {
                    current_revision_option: Some(current),
                    ..append_resp::WrongExpectedVersion::default()
                })
            }
        };
        Ok(Response::new(AppendResp { result: Some(result) }))
    }

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        let headers = request.metadata().clone();
        let mut messages = request.into_inner();
        let (send, answers) = mpsc::channel(16);
        let fake = self.clone();
        Handle::current().spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                let answer = match fake.judge(&headers) {
                    Err(status) if status.code() == Code::NotFound => Err(status),
                    Err(status) => {
                        let (code, message) = (status.code().into(), status.message().to_owned());
                        Ok(batch_append_resp::Result::Error(Refusal { code, message, details: None }))
                    }
                    Ok(()) => Ok(fake.batched(&message)),
                };
                let correlation_id = message.correlation_id;
                let answer = answer.map(|result| BatchAppendResp {
                    correlation_id,
                    result: Some(result),
                    ..BatchAppendResp::default()
                });
                if send.send(answer).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn delete(&self, _: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        Err(Status::permission_denied("events are kept"))
    }

    async fn tombstone(&self, _: Request<TombstoneReq>) -> Result<Response<TombstoneResp>, Status> {
        Err(Status::permission_denied("events are kept"))
    }
}

impl Fake {
    /// What an append over the shared call comes to. (One message an append is enough here.)
    fn batched(&self, message: &BatchAppendReq) -> batch_append_resp::Result {
        use batch_append_resp::success::{CurrentRevisionOption, PositionOption};
        let options = message.options.clone().unwrap();
        let expected = match options.expected_stream_position.unwrap() {
            ExpectedStreamPosition::StreamPosition(revision) => Some(Some(revision)),
            ExpectedStreamPosition::NoStream(()) => Some(None),
            ExpectedStreamPosition::Any(()) | ExpectedStreamPosition::StreamExists(()) => None,
        };
        let ids = message.proposed_messages.iter().map(|message| message.id.clone().unwrap()).collect();
        match self.write(options.stream_identifier.unwrap(), expected, ids) {
            Ok(revision) => {
                let position = AllStreamPosition { commit_position: 7, prepare_position: 7 };
                batch_append_resp::Result::Success(batch_append_resp::Success {
                    current_revision_option: Some(CurrentRevisionOption::CurrentRevision(revision)),
                    position_option: Some(PositionOption::Position(position)),
                })
            }
            Err(actual) => panic!("the tests of conflicts are others: {actual:?}"),
        }
    }
}
