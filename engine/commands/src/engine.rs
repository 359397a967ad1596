//! The way in for every command: to the owner of its stream.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use engine_runtime::{Clock, Tasks};
use event_store::{Direction, EventStore, RecordedEvent, StreamName};
use eventsourcing::{Aggregate, Namespace};
use tokio::sync::Semaphore;

use crate::command::{CommandMeta, Loaded, Origin, Reply, SendError, outcome};
use crate::pipeline::{Pipeline, Shared};
use crate::snapshot::unreadable;

/// Commands of clients that are under way at once: a few times what two cores and one disk carry in a commit's time.
/// Commands of machines do not count, so that work begun is ended even when the door is crowded.
const CLIENTS_MAX: usize = 1_024;

/// Seconds after which a client asks again where the disk is nearly full, or the write-ahead log too large: an operator sees
/// to it, which takes minutes.
const AFTER_SHORTAGE_S: u32 = 30;

/// A command on its way.
#[derive(Debug)]
pub struct Request<'c, C> {
    /// The name of the command, for metrics and log messages.
    pub name: &'static str,
    /// The stream it is for.
    pub stream: StreamName,
    /// The command itself, for the aggregate to decide on.
    pub command: &'c C,
    /// What comes with it.
    pub meta: &'c CommandMeta,
    /// Whether it begins a stream: then the log need not be asked first, an append that expects no stream will tell.
    pub begins: bool,
}

/// Takes commands to the owner of their stream.
pub struct CommandEngine {
    shared: Arc<Shared>,
    clients: Semaphore,
    /// A [`Pipeline`] for each kind of aggregate.
    pipelines: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for CommandEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandEngine").field("aggregates", &self.pipelines.len()).finish_non_exhaustive()
    }
}

impl CommandEngine {
    /// An engine over `store`, without aggregates yet. The ids of events are derived in `ids`.
    pub fn new(store: Arc<dyn EventStore>, clock: Clock, tasks: Tasks, ids: Namespace) -> Self {
        let shared = Arc::new(Shared::new(store, clock, tasks, ids));
        Self { shared, clients: Semaphore::new(CLIENTS_MAX), pipelines: HashMap::new() }
    }

    /// The engine with the streams of `A` besides.
    #[must_use]
    pub fn with<A: Aggregate>(mut self) -> Self {
        self.pipelines.insert(TypeId::of::<A>(), Box::new(Pipeline::<A>::new(Arc::clone(&self.shared))));
        self
    }

    /// Sends a command and waits until its answer is durable. Sending it again under the same id is safe.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send<A: Aggregate>(&self, request: Request<'_, A::Command>) -> Result<Reply, SendError> {
        let pipeline = self.pipeline::<A>()?;
        let meta = request.meta;
        let _permit = match meta.origin {
            Origin::Client => Some(self.admit()?),
            Origin::Machine => None,
        };
        if let Some(hash) = &meta.command_hash
            && let Some(remembered) = self.shared.answers.find(meta.command_id, hash)
        {
            return self.confirmed(pipeline, &request.stream, meta, remembered).await;
        }
        let answer = pipeline.send(&request).await;
        metrics::counter!("backstitch_commands_total", "command" => request.name, "outcome" => outcome(&answer))
            .increment(1);
        if let Err(SendError::Unavailable { detail }) = &answer {
            tracing::warn!(command = request.name, stream = %request.stream, correlation_id = %meta.correlation_id, detail, "a command has no answer");
        }
        answer
    }

    /// A client's place, if there is one, and if the log has room for what clients want.
    fn admit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, SendError> {
        let busy = |_| SendError::Busy { detail: "too many commands are being carried out" };
        let permit = self.clients.try_acquire().map_err(busy)?;
        if let Some(why) = self.shared.store.refuses_clients() {
            metrics::counter!("backstitch_commands_refused_for_room_total").increment(1);
            return Err(SendError::Full { detail: why.to_string(), retry_after_s: AFTER_SHORTAGE_S });
        }
        Ok(permit)
    }

    /// The state of a stream with all that is queued for it, once that is durable.
    ///
    /// # Errors
    /// [`SendError::Unavailable`], [`SendError::Busy`].
    pub async fn load<A: Aggregate>(&self, stream: &StreamName) -> Result<Loaded<A>, SendError> {
        self.pipeline::<A>()?.load(stream).await
    }

    /// The answer to a client's command that appended, if it was sent before.
    ///
    /// # Errors
    /// [`SendError::KeyReused`], [`SendError::InFlight`], [`SendError::Unavailable`], [`SendError::Busy`].
    pub async fn recall<A: Aggregate>(
        &self,
        stream: &StreamName,
        meta: &CommandMeta,
    ) -> Result<Option<Reply>, SendError> {
        self.pipeline::<A>()?.recall(stream, meta).await
    }

    /// The stream's first event, if it has any.
    ///
    /// # Errors
    /// [`SendError::Unavailable`].
    pub async fn first_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, SendError> {
        let read = self.shared.store.read_stream(stream, 0, Direction::Forward, 1).await;
        read.map(|events| events.into_iter().next()).map_err(unreadable)
    }

    fn pipeline<A: Aggregate>(&self) -> Result<&Pipeline<A>, SendError> {
        let found = self.pipelines.get(&TypeId::of::<A>()).and_then(|found| found.downcast_ref());
        found.ok_or_else(|| SendError::unavailable(format_args!("streams of `{}` are not served here", A::CATEGORY)))
    }

    /// A remembered answer, unless the command was carried out since: where others write the log, too, another replica
    /// may have done so, and then its success is the answer. The caller keeps its permit while the stream is read.
    async fn confirmed<A: Aggregate>(
        &self,
        pipeline: &Pipeline<A>,
        stream: &StreamName,
        meta: &CommandMeta,
        remembered: Result<Reply, SendError>,
    ) -> Result<Reply, SendError> {
        if !self.shared.store.is_shared() {
            return remembered;
        }
        match pipeline.recall(stream, meta).await? {
            Some(reply) => Ok(reply),
            None => remembered,
        }
    }
}
