//! Says what a start, or anything else that should take moments, is waiting for when it takes long.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// The first message comes after this: longer than anything takes while all is well.
const FIRST: Duration = Duration::from_secs(10);
/// Further messages come this long after one another.
const AGAIN: Duration = Duration::from_secs(60);

/// Waits for `future` as `.await` does. While it takes long, a warning names what is waited for, first after 10 seconds and
/// then every minute, and a last message says that it has come.
pub async fn named<F: Future>(what: impl Display + Send, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let begun = Instant::now();
    let mut next = begun + FIRST;
    loop {
        tokio::select! {
            biased;
            output = &mut future => {
                if next > begun + FIRST {
                    tracing::info!(waited_s = begun.elapsed().as_secs(), "no longer waiting for {what}");
                }
                return output;
            }
            () = tokio::time::sleep_until(next) => {
                tracing::warn!(waited_s = begun.elapsed().as_secs(), "still waiting for {what}");
                next += AGAIN;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_named_and_what_does_not_is_not() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _logs = tracing::subscriber::set_default(subscriber);
        let takes = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        named("what is there at once", takes(1)).await;
        named("the checkpoint of partition 7", takes(75)).await;
        let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(!said.contains("what is there at once"), "{said}");
        assert_eq!(said.matches("still waiting for the checkpoint of partition 7").count(), 2, "{said}");
        assert_eq!(said.matches("no longer waiting for the checkpoint of partition 7").count(), 1, "{said}");
    }
}
