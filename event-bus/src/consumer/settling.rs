//! Parked keys that somebody asked to be handled again: their records in order, as if they came now.

use std::sync::Arc;

use rdkafka::Message as _;
use service_kit::pg;

use super::commit::{self, Fault, Kind, judge};
use super::letters::{self, Asked, Parked, Verdict};
use super::shared::At;
use super::worker::{Halt, Worker};
use crate::dead_letter::Cause;

impl Worker {
    /// Handles the records of a parked key until none is left, or one fails again. `false`: it could not be seen to now.
    pub(super) async fn settle_key(&mut self, asked: &Asked) -> Result<bool, Halt> {
        while !self.stopped() {
            let head = match self.head(asked).await {
                Ok(Some(head)) => head,
                Ok(None) => {
                    if let Err(fault) = self.answer(asked, None).await {
                        return self.put_off(&fault);
                    }
                    if let Some(key) = &asked.key {
                        self.parked.remove(key);
                    }
                    return Ok(true);
                }
                Err(fault) => return self.put_off(&fault),
            };
            match self.handle_again(&head).await {
                Ok(()) => {}
                Err(Fault::Fenced) => return Err(Halt::Again("somebody else settles its dead letters".to_owned())),
                Err(Fault::At(_, verdict)) => return self.stands(asked, &head, verdict).await,
                Err(Fault::Rows(error)) => {
                    return self.stands(asked, &head, Verdict { cause: Cause::Failed, error, attempts: 1 }).await;
                }
                Err(fault @ Fault::Away(_)) => return self.put_off(&fault),
            }
        }
        Err(Halt::Stopped)
    }

    async fn head(&self, asked: &Asked) -> Result<Option<Parked>, Fault> {
        let (place, asked) = (self.place.clone(), asked.clone());
        Ok(pg::tx(&self.shared.pool, &self.shared.schema, move |connection| {
            Box::pin(async move { letters::head(connection, &place, &asked).await })
        })
        .await?)
    }

    /// The handler's rows and the removal from the table, in one transaction.
    async fn handle_again(&self, head: &Parked) -> Result<(), Fault> {
        let (kind, _) = judge(&self.shared, &head.record);
        if let Kind::Park(verdict) = kind {
            return Err(Fault::At(0, verdict));
        }
        let (shared, record, id) = (Arc::clone(&self.shared), head.record.clone(), head.id);
        pg::tx_or(&self.shared.pool, &self.shared.schema, commit::bound(&self.shared, 1), move |connection| {
            Box::pin(async move {
                if !letters::settle(connection, id).await? {
                    return Err(Fault::Fenced);
                }
                match &kind {
                    Kind::Handle(event) => commit::handle(&shared, event, &record, connection).await,
                    Kind::PassBy(_) | Kind::Park(_) => Ok(()), // Nobody wants its type any more.
                }
            })
        })
        .await?;
        self.shared.stats.settled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tracing::info!(
            topic = self.place.topic,
            partition = self.place.partition,
            offset = head.record.offset(),
            "a dead letter was handled"
        );
        Ok(())
    }

    /// It still fails: why is written down, and the key waits again.
    async fn stands(&self, asked: &Asked, head: &Parked, verdict: Verdict) -> Result<bool, Halt> {
        // What waited behind another is a dead letter of its own only now.
        if head.cause == Cause::Behind.as_str() {
            let verdict = Verdict { attempts: head.attempts + 1, ..verdict.clone() };
            if let Err(error) = self.shared.letters.send(&self.place, &head.record, &verdict).await {
                return self.put_off(&Fault::Away(error));
            }
        }
        match self.answer(asked, Some((head.id, verdict))).await {
            Ok(()) => Ok(true),
            Err(fault) => self.put_off(&fault),
        }
    }

    async fn answer(&self, asked: &Asked, stands: Option<(i64, Verdict)>) -> Result<(), Fault> {
        let (place, asked) = (self.place.clone(), asked.clone());
        Ok(pg::tx(&self.shared.pool, &self.shared.schema, move |connection| {
            Box::pin(async move {
                if let Some((id, verdict)) = stands {
                    letters::stands(connection, id, &verdict).await?;
                }
                letters::answered(connection, &place, &asked).await
            })
        })
        .await?)
    }

    /// It stays asked for, and is looked at again soon.
    fn put_off(&self, fault: &Fault) -> Result<bool, Halt> {
        let why = match fault {
            Fault::At(_, verdict) => &verdict.error,
            Fault::Rows(reason) | Fault::Away(reason) => reason,
            Fault::Fenced => "somebody else settles it",
        };
        self.shared.trouble(&self.place, At::Working, Some(&format!("a dead letter cannot be seen to now: {why}")));
        Ok(false)
    }
}
