//! Tasks of a service: started here, told to stop here, waited for here. None outlives the service.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of a service, and the signal that tells them to stop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    stop: CancellationToken,
    tracker: TaskTracker,
    /// The threads that give way, where there are any.
    aside: Option<Handle>,
}

impl Tasks {
    /// A service without tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A service without tasks yet, whose long and unhurried ones run on the threads that give way
    /// ([`crate::aside::threads`]), if there are any.
    pub fn with_aside() -> Self {
        Self { aside: crate::aside::threads(), ..Self::default() }
    }

    /// The threads that give way, where the service was made with them.
    pub fn aside(&self) -> Option<Handle> {
        self.aside.clone()
    }

    /// Starts a task. It must end soon after [`Self::stopping`] fires; when it panics, that is logged with its name.
    #[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.watch(name, tokio::spawn(task))
    }

    /// As [`Self::spawn`], for a task that is in less of a hurry than all else: it gives way to the others where the service
    /// has threads for that ([`Self::with_aside`]).
    #[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn_aside<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let inner = match &self.aside {
            Some(aside) => aside.spawn(task),
            None => tokio::spawn(task),
        };
        self.watch(name, inner)
    }

    fn watch(&self, name: &'static str, inner: JoinHandle<()>) -> JoinHandle<()> {
        self.tracker.spawn(async move {
            match inner.await {
                Err(error) if error.is_panic() => tracing::error!(task = name, %error, "a task panicked"),
                Ok(()) | Err(_) => {}
            }
        })
    }

    /// Fires when the service is to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells all tasks to stop, without waiting.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Tells all tasks to stop and waits for them, at most `bound`. Whether all ended in time.
    pub async fn shut_down(&self, bound: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(bound, self.tracker.wait()).await.is_ok()
    }
}
