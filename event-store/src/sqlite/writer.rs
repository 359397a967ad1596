//! The one thread that writes. It takes what waits, commits it in one transaction with one sync, publishes it, answers.
//!
//! *Invariant:* nothing is published or answered before its commit is durable.
//! *Invariant:* after a failed commit nothing is written before the log was opened anew and its end read from the file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, ffi};

use super::checkpoint::Checkpointer;
use super::files::Gone;
use super::queue::{Group, Pending, State};
use super::schema::{INSERT_EVENT, Place, insert_event, snapshot_checksum, unpack};
use super::{Shared, in_service, open};
use crate::envelope::Timestamp;
use crate::port::StreamSnapshot;
use crate::{AppendError, Appended, Position, ReadError, RecordedEvent, StreamName};

/// How long the writer waits before it tries a log again that it could not open, or whose write-ahead log could not begin anew:
/// an operator frees space, or ends a reader, in seconds.
const RETRY_BROKEN: Duration = Duration::from_secs(1);

pub(super) const INSERT_STREAM: &str = "insert into streams (id, name) values (?1, ?2)";
pub(super) const COUNT_CATEGORY: &str = "insert into categories (name, events, streams) values (?1, ?2, ?3)
    on conflict (name) do update set events = events + excluded.events, streams = streams + excluded.streams";
const SAVE_SNAPSHOT: &str = "insert or replace into snapshots (stream, version, format, state, checksum)
    values (?1, ?2, ?3, ?4, ?5)";
const LAST_EVENT: &str = "select position, checksum, recorded_at from events order by position desc limit 1";
const LAST_KEY: &str = "select coalesce(max(id), 0) from streams";
const FIND_EVENT: &str = "select position, id from events where stream = ?1 and version = ?2";

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// The last position; 0: no events.
    pub position: u64,
    /// The chain after the last event.
    pub chain: u32,
    /// When the last event was written, microseconds since 1970.
    pub recorded_at: i64,
    /// The number the next new stream gets.
    pub next_key: i64,
}

impl End {
    /// Reads the end of the log.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let last_key: i64 = connection.query_row(LAST_KEY, [], |row| row.get(0))?;
        let last = connection.query_row(LAST_EVENT, [], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)));
        let (position, checksum, recorded_at) = match last {
            Err(rusqlite::Error::QueryReturnedNoRows) => (0, 0, 0),
            other => other?,
        };
        let (chain, _) = unpack(checksum);
        Ok(Self { position: position.cast_unsigned(), chain, recorded_at, next_key: last_key + 1 })
    }
}

/// The writer thread's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// `None` only between a failed commit and the log's being opened anew.
    connection: Option<Connection>,
    end: End,
    checkpointer: Checkpointer,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, connection: Connection, end: End, checkpointer: Checkpointer) -> Self {
        Self { shared, connection: Some(connection), end, checkpointer }
    }

    /// Writes until the store closes and nothing waits any more. Gives the connection back for the last checkpoint.
    pub fn run(mut self) {
        let _guard = StoppedByPanic(self.shared.clone());
        while let Some(group) = self.next_group() {
            if group.is_empty() && !self.tries_by_itself() {
                continue;
            }
            let cut = !group.appends.is_empty() && self.shared.options.faults.cut_is_ordered();
            if cut && self.shared.options.faults.cuts_before() {
                return self.stand_still();
            }
            let now = self.next_time();
            self.shared.condition.committing();
            let committed = self.commit(&group, now);
            self.shared.condition.committed(committed.as_ref().err().map(ToString::to_string));
            match committed {
                Ok(_) if cut && self.shared.options.faults.cuts_after() => return self.stand_still(),
                Ok(end) => self.publish(group, end, now),
                Err(error) => self.recover(group, &error),
            }
            if let Some(connection) = &self.connection {
                self.checkpointer.after_commit(connection);
            }
        }
        self.shared.condition.writer_takes_its_time();
        self.checkpointer.stop();
        // What is damaged stays as it is: dropping the connection writes nothing.
        if let Some(connection) = self.connection
            && self.shared.condition.damage().is_none()
        {
            open::close_cleanly(&self.shared, connection, self.end.position);
        }
    }

    fn next_group(&self) -> Option<Group> {
        let mut queue = self.shared.queue();
        loop {
            if !queue.is_empty() {
                let one_by_one = self.shared.options.faults.cut_is_ordered();
                return Some(queue.take(if one_by_one { 1 } else { usize::MAX }));
            }
            // The last commit failed, or clients' commands are refused until the write-ahead log has begun anew: nobody may
            // send the next commit, so the writer tries by itself.
            let tries = match queue.state() {
                State::Closed => return None,
                State::Open => self.shared.condition.is_failing() || self.shared.condition.is_overdue(),
                State::Broken(_) | State::Damaged(_) => false,
            };
            self.shared.condition.writer_goes_on();
            let waited = self.shared.wake.wait_for(&mut queue, RETRY_BROKEN);
            if tries && waited.timed_out() && queue.is_empty() {
                return Some(Group::default());
            }
        }
    }

    /// Whether a commit of nothing is worth while: it shows whether the disk takes it, where the last one failed; and it lets
    /// the write-ahead log begin anew, unless a reader still keeps it from that. Then it would only make it larger.
    fn tries_by_itself(&mut self) -> bool {
        let failing = self.shared.condition.is_failing();
        failing || self.connection.as_ref().is_some_and(|connection| self.checkpointer.restart(connection))
    }

    /// On order of a test the process is as good as dead: nobody is answered, nothing is tidied up. Who calls keeps the
    /// group, so that its appends wait.
    fn stand_still(&self) {
        self.shared.condition.writer_takes_its_time();
        self.shared.options.faults.cut_made();
        let mut queue = self.shared.queue();
        while *queue.state() != State::Closed {
            self.shared.wake.wait(&mut queue);
        }
    }

    /// The time of the next commit: the machine's, but never before the last event's, however the clock is set.
    fn next_time(&self) -> Timestamp {
        let now = Timestamp::from(SystemTime::now()).timestamp_micros().max(self.end.recorded_at);
        Timestamp::from_timestamp_micros(now).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn commit(&mut self, group: &Group, now: Timestamp) -> rusqlite::Result<End> {
        let faults = &self.shared.options.faults;
        let no_connection = || rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), None);
        let connection = self.connection.as_ref().ok_or_else(no_connection)?;
        if let Some(gone) = self.shared.files.gone() {
            return Err(open::refusal(gone.reason()));
        }
        faults.limit_pages(connection)?;
        // Dropping the transaction, as every `?` here does, rolls it back.
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        if let Some(what) = self.shared.condition.damage() {
            return Err(open::refusal(what));
        }
        let end = if group.is_empty() {
            in_service::set(&transaction)?; // Only to see whether the disk takes it.
            self.end
        } else {
            write_group(&transaction, group, self.end, now)?
        };
        faults.before_commit()?; // Here a test has a commit hang, too.
        transaction.commit()?;
        // Durable from here.
        faults.after_commit()?;
        Ok(end)
    }

    fn publish(&mut self, group: Group, end: End, now: Timestamp) {
        let expected = self.end.position + group.appends.iter().map(|append| append.events.len() as u64).sum::<u64>();
        assert_eq!(end.position, expected, "positions are dense; the log must not be acknowledged otherwise");
        let mut position = self.end.position;
        self.end = end;
        let last_sequence = group.appends.last().map(|append| append.sequence);
        self.shared.queue().settle(&group);
        let mut events = Vec::with_capacity(group.appends.iter().map(|append| append.events.len()).sum());
        let mut answers = Vec::with_capacity(group.appends.len());
        for Pending { stream, first_version, events: new, reply, .. } in group.appends {
            let last = first_version + new.len() as u64 - 1;
            for (version, event) in (first_version..).zip(new) {
                position += 1;
                events.push(Arc::new(RecordedEvent {
                    id: event.id,
                    stream: stream.clone(),
                    version,
                    position: Position(position),
                    event_type: event.event_type,
                    schema_version: event.schema_version,
                    data: event.data,
                    metadata: event.metadata,
                    recorded_at: now,
                }));
            }
            answers.push((reply, Appended { version: last, position: Position(position) }));
        }
        self.shared.publish(events, Position(end.position), last_sequence);
        for (reply, appended) in answers {
            let _ = reply.send(Ok(appended)); // Nobody waits: the ticket was dropped.
        }
        for snapshot in group.snapshots {
            let _ = snapshot.reply.send(Ok(())); // Nobody waits: the future was dropped.
        }
    }

    /// After a failed commit: ends the epoch, opens the log anew, and answers what was in flight by what is found in it.
    fn recover(&mut self, group: Group, error: &rusqlite::Error) {
        open::exit_if_sync_failed(&self.shared, error);
        tracing::error!(log = %self.shared.path.display(), %error, "a commit failed; the log is opened again");
        self.shared.queue().move_to(State::Broken(error.to_string()));
        if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            self.shared.damaged(&error.to_string());
        }
        self.rescue();
        let reopened = self.reopen();
        let found: Vec<Result<Appended, AppendError>> = group
            .appends
            .iter()
            .map(|append| {
                let ended = AppendError::EpochEnded { stream: append.stream.clone() };
                // Only what is found after a checkpoint that succeeded is known to be durable.
                let reopened = reopened.is_ok();
                reopened.then(|| self.find(append)).flatten().ok_or(ended)
            })
            .collect();
        let rest = {
            let mut queue = self.shared.queue();
            let rest = queue.end_epoch(self.end.next_key);
            self.shared.settled.send_replace(queue.last_sequence());
            self.shared.epoch.send_replace(queue.epoch);
            if reopened.is_ok() {
                queue.move_to(State::Open);
            }
            rest
        };
        self.shared.skip_to(Position(self.end.position));
        for (append, answer) in group.appends.into_iter().zip(found) {
            let _ = append.reply.send(answer); // Nobody waits: the ticket was dropped.
        }
        for append in rest.appends {
            let _ = append.reply.send(Err(AppendError::EpochEnded { stream: append.stream })); // As above.
        }
        for snapshot in group.snapshots.into_iter().chain(rest.snapshots) {
            let reason = "the commit failed".to_owned();
            let path = self.shared.path.display().to_string();
            let _ = snapshot.reply.send(Err(ReadError::Unavailable { path, reason })); // As above.
        }
        if let Err(error) = reopened
            && self.shared.condition.damage().is_none()
        {
            self.wait_until_writable(&error);
        }
    }

    /// If the write-ahead log was removed under us, what is committed there is in nobody's reach but ours: it is copied into the
    /// file, by the connection that still has both open.
    fn rescue(&self) {
        let (Some(Gone::Wal(reason)), Some(connection)) = (self.shared.files.gone(), &self.connection) else { return };
        let log = self.shared.path.display();
        let copied = in_service::clear(connection).and_then(|()| open::checkpoint(connection, open::PASSIVE));
        match copied {
            Ok((false, 0)) => {
                tracing::error!(%log, reason, "what was committed has been copied into the log; nothing more is written");
            }
            Ok(_) => {
                tracing::error!(%log, reason, "not all that was committed could be copied into the log: a reader has it open")
            }
            Err(error) => tracing::error!(%log, reason, %error, "what was committed could not be copied into the log"),
        }
    }

    /// Opens the log again, makes it durable and reads its end; unless it is damaged.
    fn reopen(&mut self) -> rusqlite::Result<()> {
        self.shared.condition.writer_takes_its_time();
        self.connection = None; // Before the new one: it may still hold the lock of the transaction that failed.
        if let Some(what) = self.shared.condition.damage() {
            return Err(open::refusal(what)); // Opening it would copy the write-ahead log into the file.
        }
        let reopened = open::reopen(&self.shared);
        if let Err(error) = &reopened {
            open::exit_if_sync_failed(&self.shared, error);
        }
        let (connection, end) = reopened?;
        self.connection = Some(connection);
        self.end = end;
        Ok(())
    }

    fn wait_until_writable(&mut self, error: &rusqlite::Error) {
        tracing::error!(log = %self.shared.path.display(), %error, "the log cannot be written; trying again every second");
        loop {
            {
                let mut queue = self.shared.queue();
                if matches!(queue.state(), State::Closed | State::Damaged(_)) {
                    return;
                }
                // Woken early by the close of the store, else after the wait.
                self.shared.wake.wait_for(&mut queue, RETRY_BROKEN);
            }
            match self.reopen() {
                Ok(()) => break,
                Err(error) => self.shared.queue().move_to(State::Broken(error.to_string())),
            }
        }
        self.shared.skip_to(Position(self.end.position));
        let mut queue = self.shared.queue();
        queue.end_epoch(self.end.next_key);
        self.shared.epoch.send_replace(queue.epoch);
        queue.move_to(State::Open);
        drop(queue);
        tracing::info!(log = %self.shared.path.display(), position = self.end.position, "the log can be written again");
    }

    /// An append in flight, if all of it stands in the file.
    fn find(&self, append: &Pending) -> Option<Appended> {
        let connection = self.connection.as_ref()?;
        let mut position = 0;
        for (version, event) in (append.first_version..).zip(&append.events) {
            let found = connection.query_row(FIND_EVENT, (append.key, version.cast_signed()), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
            });
            match found {
                Ok((at, id)) if id == event.id.as_bytes() => position = at.cast_unsigned(),
                Ok(_) | Err(_) => return None,
            }
        }
        Some(Appended { version: append.last_version(), position: Position(position) })
    }
}

/// When the writer panics, as it does on a broken invariant, the process ends: started again, it reads the log anew. Where it
/// does not end at once, nobody may wait for the writer for ever: appends are refused, and those that wait are told.
struct StoppedByPanic(Arc<Shared>);

impl Drop for StoppedByPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.0.path.display();
            tracing::error!(%log, "the thread that writes the log panicked; the process ends and must be started again");
            let mut queue = self.0.queue();
            queue.move_to(State::Broken("its writer has stopped; restart the process".to_owned()));
            // Dropping what waits answers it: the sender of each answer is in it.
            drop(queue.end_epoch(0));
            self.0.settled.send_replace(queue.last_sequence());
            self.0.epoch.send_replace(queue.epoch);
            drop(queue);
            (self.0.options.on_writer_panic)();
        }
    }
}

/// Writes all rows of a group and says where the log then ends.
fn write_group(connection: &Connection, group: &Group, mut end: End, now: Timestamp) -> rusqlite::Result<End> {
    let mut insert_stream = connection.prepare_cached(INSERT_STREAM)?;
    let mut insert = connection.prepare_cached(INSERT_EVENT)?;
    let mut counts: HashMap<&str, (u64, u64)> = HashMap::new();
    for append in &group.appends {
        let begins = append.first_version == 0;
        if begins {
            insert_stream.execute((append.key, append.stream.as_str()))?;
            end.next_key = end.next_key.max(append.key + 1);
        }
        for (version, event) in (append.first_version..).zip(&append.events) {
            end.position += 1;
            let place = Place {
                position: end.position,
                stream: &append.stream,
                stream_key: append.key,
                version,
                recorded_at: now,
            };
            end.chain = insert_event(&mut insert, &place, event, end.chain)?;
        }
        let count = counts.entry(append.stream.category()).or_default();
        count.0 += append.events.len() as u64;
        count.1 += u64::from(begins);
    }
    end.recorded_at = now.timestamp_micros();
    let mut count_category = connection.prepare_cached(COUNT_CATEGORY)?;
    for (category, (events, streams)) in counts {
        count_category.execute((category, events.cast_signed(), streams.cast_signed()))?;
    }
    for waiting in &group.snapshots {
        save_snapshot(connection, &waiting.stream, &waiting.snapshot)?;
    }
    Ok(end)
}

/// Writes a snapshot in place of an older one.
pub(super) fn save_snapshot(
    connection: &Connection,
    stream: &StreamName,
    snapshot: &StreamSnapshot,
) -> rusqlite::Result<()> {
    let (version, format) = (snapshot.version.cast_signed(), i64::from(snapshot.schema));
    let checksum = snapshot_checksum(stream.as_str(), version, format, &snapshot.state);
    let mut save = connection.prepare_cached(SAVE_SNAPSHOT)?;
    save.execute((stream.as_str(), version, format, &snapshot.state, checksum)).map(drop)
}
