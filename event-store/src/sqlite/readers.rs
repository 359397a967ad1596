//! The queue of reads and the threads that work it off.
//!
//! *Invariant:* a read never waits for something that another caller must give back by being polled. A read that was taken
//! into the queue is carried out by the threads whether or not anybody polls for its answer. A caller that finds the queue
//! full owns no place while it waits: when there is room, the next caller that is polled takes it. (A fair semaphore hands its
//! places to futures that nobody may be polling, and everything behind them stands still.)
//! *Invariant:* every read ends: with its answer, or with an error within [`ROOM_WITHIN`] and [`ANSWER_WITHIN`].

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::{Connection, InterruptHandle};
use tokio::sync::{Notify, oneshot};

use super::faults::Faults;
use super::open;
use super::reader::unavailable;
use crate::{Position, ReadError, StreamName};

/// Reading threads: one that waits for the disk should not stop the others; more only compete for the cores.
pub(super) const THREADS: usize = 3;
/// Threads that look up heads of streams for appends: apart from those of other reads, so that an append waits for no page of
/// events. A look-up is one or two index pages, nearly always in memory.
pub(super) const HEAD_THREADS: usize = 1;
/// Reads that may wait for a thread. A waiting read is some hundred bytes; at 1 ms each this is a third of a second.
pub(super) const WAITING: usize = 1_024;
/// When so few wait, callers that found no room are woken: seldom enough that many of them do not wake for one place.
const ROOM_AGAIN: usize = WAITING / 2;
/// How long a caller waits for room in the queue. A queue that stays full for so long means that the disk stands still.
const ROOM_WITHIN: Duration = Duration::from_secs(10);
/// How long a read in the queue may take. Statements take milliseconds; a disk that stalls recovers within seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A read that takes so long is logged with what it waits for.
const SLOW: Duration = Duration::from_secs(5);
/// How long the threads may take to end their statements when the store closes; then the statements are interrupted.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// What a read is for, as log messages and errors name it.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    /// Events of a stream.
    Stream(StreamName),
    /// Ids of a stream's events.
    Ids(StreamName),
    /// Where a stream ends.
    Head(StreamName),
    /// Events of the whole log, near a position.
    Log(Position),
    /// Names of streams.
    Streams,
    /// A stream's snapshot.
    Snapshot(StreamName),
    /// The numbers of the log.
    Numbers,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(stream) => write!(f, "events of `{stream}`"),
            Self::Ids(stream) => write!(f, "event ids of `{stream}`"),
            Self::Head(stream) => write!(f, "the head of `{stream}`"),
            Self::Log(Position(u64::MAX)) => write!(f, "the last events"),
            Self::Log(position) => write!(f, "events near position {position}"),
            Self::Streams => write!(f, "names of streams"),
            Self::Snapshot(stream) => write!(f, "the snapshot of `{stream}`"),
            Self::Numbers => write!(f, "the statistics of the log"),
        }
    }
}

struct Job {
    subject: Subject,
    work: Box<dyn FnOnce(&Connection) + Send>,
}

/// The queue and what the threads do at this moment.
struct Queue {
    jobs: VecDeque<Job>,
    /// What each thread reads, and since when.
    busy: Vec<Option<(Subject, Instant)>>,
    /// When it was last logged that a read is slow: one line says it for all.
    said: Option<Instant>,
    closed: bool,
}

struct Shared {
    path: PathBuf,
    queue: Mutex<Queue>,
    /// Wakes a thread: something waits, or the store closes.
    wake: Condvar,
    /// Wakes callers that found no room, and the task that waits for the threads to end.
    room: Notify,
}

/// The handle to the reading threads.
pub(super) struct Readers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    interrupts: Vec<InterruptHandle>,
    faults: Faults,
}

impl Shared {
    // Held for a push or a pop only; a panic under it leaves plain data behind.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    fn closed(&self) -> ReadError {
        unavailable(&self.path, "the store is closed")
    }

    /// Takes a read into the queue, or hands it back if there is no room.
    fn submit(&self, job: Job) -> Result<Option<Job>, ReadError> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(self.closed());
        }
        if queue.jobs.len() >= WAITING {
            return Ok(Some(job));
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.wake.notify_one();
        Ok(None)
    }

    /// What a thread does next; `None` when the store has closed.
    fn next(&self, thread: usize) -> Option<Job> {
        let mut queue = self.queue();
        queue.busy[thread] = None;
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                queue.busy[thread] = Some((job.subject.clone(), Instant::now()));
                if queue.jobs.len() == ROOM_AGAIN {
                    self.room.notify_waiters();
                }
                return Some(job);
            }
            self.wake.wait(&mut queue);
        }
    }

    /// What the queue and the threads are at, for a log message or an error.
    fn describe(queue: &Queue) -> String {
        let busy = queue
            .busy
            .iter()
            .flatten()
            .map(|(subject, since)| format!("{subject} for {:.1} s", since.elapsed().as_secs_f64()));
        let busy: Vec<String> = busy.collect();
        let threads = if busy.is_empty() { "nothing".to_owned() } else { busy.join(", ") };
        format!("{} reads wait for {} threads, which are reading {threads}", queue.jobs.len(), queue.busy.len())
    }

    /// Logs that a read is slow and what it waits for, at most once in [`SLOW`] for all reads.
    fn say_slow(&self, subject: &Subject, waited: Duration) {
        let mut queue = self.queue();
        if queue.said.is_some_and(|said| said.elapsed() < SLOW) {
            return;
        }
        queue.said = Some(Instant::now());
        let state = Self::describe(&queue);
        drop(queue);
        let waited = waited.as_secs_f64();
        tracing::warn!(log = %self.path.display(), read = %subject, waited_s = waited, state, "a read of the log is slow");
    }

    fn too_late(&self, subject: &Subject, within: Duration) -> ReadError {
        let state = Self::describe(&self.queue());
        unavailable(&self.path, &format!("reading {subject} had no answer within {} s: {state}", within.as_secs()))
    }
}

impl Readers {
    /// Starts so many threads, which are called `name`.
    pub fn start(path: &Path, faults: &Faults, name: &str, count: usize) -> Result<Self, rusqlite::Error> {
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            queue: Mutex::new(Queue { jobs: VecDeque::new(), busy: vec![None; count], said: None, closed: false }),
            wake: Condvar::new(),
            room: Notify::new(),
        });
        let (mut threads, mut interrupts) = (Vec::new(), Vec::new());
        for number in 0..count {
            let connection = open::connect_reader(path)?;
            interrupts.push(connection.get_interrupt_handle());
            let (shared, faults) = (shared.clone(), faults.clone());
            let name = format!("{name}-{number}");
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                while let Some(job) = shared.next(number) {
                    let subject = job.subject;
                    faults.before_read();
                    // A panic ends this read, whose caller is told, and not the thread.
                    let done = std::panic::catch_unwind(AssertUnwindSafe(|| (job.work)(&connection)));
                    if let Err(panic) = done {
                        tracing::error!(read = %subject, panic = text_of(&*panic), "a read of the log panicked");
                    }
                }
            });
            threads.push(thread.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?);
        }
        Ok(Self { shared, threads: Mutex::new(threads), interrupts, faults: faults.clone() })
    }

    /// Carries out a read on one of the threads. Once it is in the queue it is carried out whether or not this is polled;
    /// dropped before a thread has come to it, it is passed over.
    pub async fn run<T: Send + 'static>(
        &self,
        subject: Subject,
        read: impl FnOnce(&Connection, &Path) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (answer, mut answered) = oneshot::channel();
        let path = self.shared.path.clone();
        let work = Box::new(move |connection: &Connection| {
            if !answer.is_closed() {
                let _ = answer.send(read(connection, &path)); // Nobody waits: the reading future was dropped.
            }
        });
        self.enqueue(Job { subject: subject.clone(), work }).await?;
        // What has been read meanwhile is looked at before the time: who was not polled for long gets the answer.
        let answer = match tokio::time::timeout(SLOW, &mut answered).await {
            Ok(answer) => answer,
            Err(_) => {
                self.shared.say_slow(&subject, SLOW);
                let answer = tokio::time::timeout(ANSWER_WITHIN.saturating_sub(SLOW), answered).await;
                answer.map_err(|_| self.shared.too_late(&subject, ANSWER_WITHIN))?
            }
        };
        answer.map_err(|_| match self.shared.queue().closed {
            true => self.shared.closed(),
            false => unavailable(&self.shared.path, &format!("reading {subject} panicked; the log messages say why")),
        })?
    }

    async fn enqueue(&self, job: Job) -> Result<(), ReadError> {
        let Some(mut job) = self.shared.submit(job)? else { return Ok(()) };
        let begun = Instant::now();
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            room.as_mut().enable(); // Before the queue is looked at again, so that no room is missed.
            job = match self.shared.submit(job)? {
                None => return Ok(()),
                Some(job) => job,
            };
            if begun.elapsed() >= ROOM_WITHIN {
                return Err(self.shared.too_late(&job.subject, ROOM_WITHIN));
            }
            // Owns nothing while it waits. The time-out is only a reason to look and to log.
            if tokio::time::timeout(SLOW, room).await.is_err() {
                self.shared.say_slow(&job.subject, begun.elapsed());
            }
        }
    }

    /// Refuses what waits, lets the threads end their statements, and waits for them. Whatever clients do, this ends.
    pub fn stop(&self) {
        let refused = {
            let mut queue = self.shared.queue();
            queue.closed = true;
            std::mem::take(&mut queue.jobs)
        };
        drop(refused); // Outside the lock: this wakes the callers.
        self.faults.resume_reads();
        self.shared.wake.notify_all();
        self.shared.room.notify_waiters();
        let mut threads = self.threads.lock();
        let until = Instant::now() + STOP_WITHIN;
        while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        for interrupt in &self.interrupts {
            interrupt.interrupt(); // Does nothing where no statement is running.
        }
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reading thread panicked");
            }
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}
