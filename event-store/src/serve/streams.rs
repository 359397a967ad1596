//! The service `Streams`: reads each call, and hands it on.

use std::sync::Arc;

use eventstore_client::Notices;
use eventstore_client::proto::streams::append_req::Content as AppendContent;
use eventstore_client::proto::streams::read_req::Options;
use eventstore_client::proto::streams::read_req::options::all_options::AllOption;
use eventstore_client::proto::streams::read_req::options::stream_options::RevisionOption;
use eventstore_client::proto::streams::read_req::options::uuid_option::Content as UuidContent;
use eventstore_client::proto::streams::read_req::options::{CountOption, FilterOption, ReadDirection, StreamOption};
use eventstore_client::proto::streams::streams_server::Streams;
use eventstore_client::proto::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq, ReadResp, TombstoneReq,
    TombstoneResp,
};
use futures_util::stream::{BoxStream, StreamExt as _};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::access::Access;
use super::append::{Appender, Wanted, answer};
use super::batch::Session;
use super::events::IdForm;
use super::filter::Filter;
use super::follow::Following;
use super::listener::Peer;
use super::pages::Places;
use super::proposed::Collected;
use super::read::{From, Reading};
use super::refusal::Refusal;
use super::target::target;
use crate::{Direction, EventStore};

/// What a read answers with.
pub(super) type Responses = BoxStream<'static, Result<ReadResp, Status>>;
/// What many appends are answered with.
pub(super) type Appends = BoxStream<'static, Result<BatchAppendResp, Status>>;

/// The served log.
pub(super) struct Served {
    store: Arc<dyn EventStore>,
    appender: Appender,
    access: Access,
    stopping: watch::Receiver<bool>,
    places: Places,
}

impl Served {
    pub fn new(store: Arc<dyn EventStore>, access: Access, stopping: watch::Receiver<bool>) -> Self {
        Self { appender: Appender::new(store.clone()), store, access, stopping, places: Places::new() }
    }

    /// Who calls, if he may; his connection is then one that is used. One whose calls are all refused is closed as one over
    /// which none has come.
    fn admit<T>(&self, request: &Request<T>) -> Result<Arc<str>, Refusal> {
        let caller = self.access.caller(request.metadata())?;
        if let Some(peer) = Peer::of(request.extensions()) {
            peer.is_admitted();
        }
        Ok(caller)
    }

    async fn read_or_follow(&self, options: Options) -> Result<Responses, Status> {
        let form = match options.uuid_option.and_then(|option| option.content) {
            Some(UuidContent::String(())) => IdForm::Text,
            Some(UuidContent::Structured(())) | None => IdForm::Halves,
        };
        let filter = match &options.filter_option {
            Some(FilterOption::Filter(filter)) => Some(Filter::new(filter)?),
            Some(FilterOption::NoFilter(())) | None => None,
        };
        let backwards = options.read_direction == i32::from(ReadDirection::Backwards);
        let direction = if backwards { Direction::Backward } else { Direction::Forward };
        let bad = |what: &str| Refusal::BadRequest(what.to_owned());
        let count = match options.count_option {
            Some(CountOption::Count(count)) => Some(count),
            Some(CountOption::Subscription(_)) if backwards => Err(bad("a subscription goes forwards only"))?,
            Some(CountOption::Subscription(_)) => None,
            None => Err(bad("the read says neither how many events nor that it is a subscription"))?,
        };
        let store = self.store.clone();
        let budget = self.places.budget.clone();
        let following = || Following {
            store: self.store.clone(),
            form,
            stopping: self.stopping.clone(),
            budget: self.places.budget.clone(),
        };
        match options.stream_option.ok_or_else(|| bad("the read names neither a stream nor the whole log"))? {
            StreamOption::Stream(of) => {
                if filter.is_some() {
                    Err(bad("only the whole log can be filtered"))?;
                }
                let from = match of.revision_option {
                    Some(RevisionOption::Revision(revision)) => From::At(revision),
                    Some(RevisionOption::End(())) => From::End,
                    Some(RevisionOption::Start(())) | None => From::Start,
                };
                let (target, name) = target(of.stream_identifier.as_ref())?;
                let tell_last = options.control_option.is_some_and(|control| control.compatibility >= 1);
                match count {
                    Some(count) => {
                        Reading { store, direction, count, form, budget }.stream(target, name, from, tell_last).await
                    }
                    None => following().stream(target, from).await,
                }
            }
            StreamOption::All(of) => {
                let from = match of.all_option {
                    Some(AllOption::Position(position)) => From::At(position.commit_position),
                    Some(AllOption::End(())) => From::End,
                    Some(AllOption::Start(())) | None => From::Start,
                };
                match count {
                    Some(count) => Ok(Reading { store, direction, count, form, budget }.all(from, filter)),
                    None => following().all(from, filter).await,
                }
            }
        }
    }
}

#[tonic::async_trait]
impl Streams for Served {
    type ReadStream = Responses;
    type BatchAppendStream = Appends;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Responses>, Status> {
        self.admit(&request)?;
        let place = self.places.enter(Peer::of(request.extensions()))?;
        let options = request.into_inner().options;
        let options = options.ok_or_else(|| Refusal::BadRequest("the read has no options".to_owned()))?;
        let answers = self.read_or_follow(options).await?;
        // The place is the reader's until the last answer is sent, or the client has gone.
        let answers = answers.map(move |answer| {
            let _ = &place;
            answer
        });
        let mut response = Response::new(answers.boxed());
        let (refuses_clients, damaged) = (self.store.refuses_clients(), self.store.damage());
        let text = |why: Option<Arc<str>>| why.map(|why| why.to_string());
        Notices { refuses_clients: text(refuses_clients), damaged: text(damaged) }.say(response.metadata_mut());
        Ok(response)
    }

    async fn append(&self, request: Request<Streaming<AppendReq>>) -> Result<Response<AppendResp>, Status> {
        let caller = self.admit(&request)?;
        let mut requests = request.into_inner();
        let out_of_order = || Refusal::BadRequest("an append is its options, once, and then its events".to_owned());
        let first = requests.message().await?.and_then(|request| request.content);
        let Some(AppendContent::Options(options)) = first else { return Err(out_of_order().status()) };
        let (target, wanted) = (target(options.stream_identifier.as_ref())?, Wanted::of(&options)?);
        let mut collected = Collected::default();
        while let Some(request) = requests.message().await? {
            let Some(AppendContent::ProposedMessage(message)) = request.content else {
                return Err(out_of_order().status());
            };
            collected.push(message.id.as_ref(), &message.metadata, message.custom_metadata, message.data)?;
        }
        // Dropped from here on, as when the client has given up: it may or may not be written; the same ids tell.
        let taken = self.appender.take(target, wanted, collected.events, &caller).await?;
        Ok(Response::new(answer(taken.settle().await?, wanted)))
    }

    async fn batch_append(&self, request: Request<Streaming<BatchAppendReq>>) -> Result<Response<Appends>, Status> {
        let caller = self.admit(&request)?;
        let session = Session::new(request.into_inner(), self.appender.clone(), caller, self.stopping.clone());
        Ok(Response::new(session.answers()))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        self.admit(&request)?;
        Err(history_stays())
    }

    async fn tombstone(&self, request: Request<TombstoneReq>) -> Result<Response<TombstoneResp>, Status> {
        self.admit(&request)?;
        Err(history_stays())
    }
}

fn history_stays() -> Status {
    Refusal::Denied("streams are not deleted here: it would break history".to_owned()).status()
}
