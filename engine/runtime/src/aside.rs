//! Threads that give way: what is long and in no hurry runs here, and gets the processors only as far as nobody else needs them.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// How much nicer than the process these threads are. At 10 they get about a tenth of the processor time while others have work,
/// and all of it while nobody else has any. Source: sched(7).
const NICER: i32 = 10;

/// The threads of this process that give way, started with the first call: one, since what it does is bounded and it would
/// otherwise take a second processor. `None` if the system gives no thread: then nothing gives way.
pub fn threads() -> Option<Handle> {
    static THREADS: OnceLock<Option<Runtime>> = OnceLock::new();
    let threads = THREADS.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().thread_name("aside").on_thread_start(give_way);
        builder.build().inspect_err(|error| tracing::warn!(%error, "there are no threads that give way")).ok()
    });
    threads.as_ref().map(|runtime| runtime.handle().clone())
}

/// Lets the calling thread give way. A thread that may not is as hurried as the others.
fn give_way() {
    // SAFETY: neither has memory preconditions. On Linux, 0 is the calling thread; elsewhere it is the whole process, which is
    // left alone.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, libc::getpriority(libc::PRIO_PROCESS, 0) + NICER);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use crate::Tasks;

    fn priority() -> i32 {
        // SAFETY: it has no memory preconditions.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[tokio::test]
    async fn tasks_aside_run_on_a_nicer_thread_and_all_others_do_not() {
        let (own, tasks) = (priority(), Tasks::with_aside());
        let (sender, found) = tokio::sync::oneshot::channel();
        tasks.spawn_aside("test", async move { sender.send(priority()).unwrap() });
        assert_eq!(found.await, Ok((own + super::NICER).min(19)));
        assert_eq!(priority(), own);
        let (sender, found) = tokio::sync::oneshot::channel();
        Tasks::new().spawn_aside("test", async move { sender.send(priority()).unwrap() });
        assert_eq!(found.await, Ok(own), "where no threads were asked for, a task is one as any other");
    }
}
