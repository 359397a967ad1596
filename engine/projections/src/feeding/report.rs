//! What a runner tells of itself: to `progress`, to the metrics, to the log.

use std::sync::Arc;

use crate::feeding::member::{Member, Outcome, Seat, too_many};
use crate::progress::board::Board;
use crate::progress::{Progress, State, Status};
use crate::projecting::batch::Batch;

/// Where a runner tells how it stands.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub progress: Arc<Progress>,
    /// In a cluster positions are told by Postgres alone, which knows all partitions; a runner tells only its troubles.
    pub board: Option<Arc<Board>>,
    pub partition: u32,
}

impl Reporter {
    /// A batch is committed.
    pub fn batch(&self, members: &[Member], outcomes: &[Outcome], batch: &Batch) {
        let occurred_at = batch.events.last().map(|event| event.metadata.occurred_at);
        self.progress.update(|statuses| {
            for (member, outcome) in members.iter().zip(outcomes) {
                tell(&member.seat, outcome);
                let Some(status) = find(statuses, &member.seat) else { continue };
                status.folded += outcome.applied.folded;
                status.skipped += outcome.applied.skipped;
                if outcome.applied.folded > 0 {
                    status.occurred_at = occurred_at;
                }
                if self.board.is_some() {
                    continue;
                }
                status.position = member.seat.checkpoint.position;
                status.parked = Arc::clone(member.seat.parked.letters());
                if let Some(stop) = &outcome.stop {
                    (status.state, status.last_error) = (State::Stopped, Some(stop.clone()));
                }
            }
        });
        for (member, outcome) in members.iter().zip(outcomes).filter(|(member, _)| member.seat.live) {
            metrics::counter!("backstitch_projection_events_total", "projection" => member.seat.model.name)
                .increment(outcome.applied.folded);
            if self.board.is_none() {
                self.progress.wake(&outcome.at_rest);
                // What a parked stream belongs to does not come to rest: who waits for it waits for nothing.
                let stale = outcome.parked.iter().filter_map(|(_, letter)| letter.partition_key.parse().ok());
                self.progress.wake(&stale.collect::<Vec<_>>());
            }
            self.count_parked(&member.seat, outcome.parked.len());
        }
    }

    /// These are followed from now on.
    pub fn running(&self, members: &[Member]) {
        for member in members {
            self.count_parked(&member.seat, 0);
            metrics::counter!("backstitch_projection_events_total", "projection" => member.seat.model.name)
                .increment(0);
        }
        if let Some(board) = &self.board {
            return board.trouble(self.partition, None);
        }
        self.progress.update(|statuses| {
            for member in members {
                if let Some(status) = find(statuses, &member.seat) {
                    status.generation = member.seat.slice.generation;
                    status.position = member.seat.checkpoint.position;
                    status.parked = Arc::clone(member.seat.parked.letters());
                    (status.state, status.last_error) = match member.seat.stopped {
                        true => (State::Stopped, status.last_error.take().or_else(|| Some(too_many()))),
                        false => (State::Running, None),
                    };
                }
            }
        });
    }

    /// Nothing is followed until this is over.
    pub fn down(&self, error: &str) {
        if let Some(board) = &self.board {
            return board.trouble(self.partition, Some(error.to_owned()));
        }
        self.progress.update(|statuses| {
            for status in statuses.iter_mut() {
                // One that has not started stays so: its tables may not be there.
                if status.state != State::Starting {
                    status.state = State::Down;
                }
                status.last_error = Some(error.to_owned());
            }
        });
    }

    /// The runner has ended, and nothing keeps it from going on elsewhere.
    pub fn ended(&self) {
        if let Some(board) = &self.board {
            board.trouble(self.partition, None);
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float, and there are never 2⁵³ parked streams")]
    fn count_parked(&self, seat: &Seat, lately: usize) {
        if seat.live {
            let (name, parked) = (seat.model.name, seat.parked.letters().len() as f64);
            match self.board {
                None => metrics::gauge!("backstitch_projection_parked_streams", "projection" => name).set(parked),
                Some(_) => {
                    let partition = self.partition.to_string();
                    metrics::gauge!("backstitch_projection_parked_streams", "projection" => name, "partition" => partition)
                        .set(parked);
                }
            }
            metrics::counter!("backstitch_projection_parked_total", "projection" => name).increment(lately as u64);
        }
    }
}

/// What people must know of a batch.
fn tell(Seat { slice, .. }: &Seat, outcome: &Outcome) {
    if let Some(stop) = &outcome.stop {
        tracing::error!(slice.projection, slice.generation, error = stop, "a read model stopped");
    }
    for (stream, letter) in &outcome.parked {
        let (version, error) = (letter.version, &letter.error);
        tracing::error!(slice.projection, slice.generation, %stream, version, error, "a stream is parked");
    }
}

/// The status that a member's state is told in: that of its read model, if answers come from it.
fn find<'s>(statuses: &'s mut [Status], seat: &Seat) -> Option<&'s mut Status> {
    statuses.iter_mut().find(|status| seat.live && status.name == seat.model.name)
}
