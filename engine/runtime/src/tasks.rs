//! Tasks of a service: started here, told to stop here, waited for here. None outlives the service.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of a service, and the signal that tells them to stop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// A service without tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task. It must end soon after [`Self::stopping`] fires; when it panics, that is logged with its name.
    #[allow(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let inner = tokio::spawn(task);
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
