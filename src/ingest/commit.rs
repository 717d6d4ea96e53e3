//! The commits of one request.
//!
//! A long request is committed in parts: while the first is being made durable the next is decided,
//! and what is durable is on its way before the last is. The request is answered when all are.

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use crate::ingest::{Ingest, IngestError, Ready, Taken};
use crate::model::app::App;
use crate::model::time::UnixMs;
use crate::queue::handover::Born;
use crate::store::StoreError;
use crate::telemetry::events::{self, MessageKind};

/// Messages of a request by their place in it.
pub(super) type Part = Vec<(usize, Ready)>;

/// A part and what became of each message's commit.
type Committed = (Part, Vec<Result<(), StoreError>>);

/// What the commits of one request come to.
#[derive(Default)]
pub(super) struct Done {
    /// To be handed on.
    pub(super) born: Vec<Born>,
    /// Accepted one-to-one messages.
    pub(super) c2c: usize,
    /// Accepted group messages.
    pub(super) group: usize,
}

/// The commits of one request, under way or done.
pub(super) struct Commits<'a> {
    ingest: &'a Ingest,
    app: &'a App,
    now: UnixMs,
    taken: Vec<Option<Taken>>,
    running: FuturesUnordered<BoxFuture<'a, Committed>>,
    done: Done,
    failed: Option<IngestError>,
}

impl<'a> Commits<'a> {
    /// None yet; `taken` holds what is known of messages that need none.
    pub(super) fn new(
        ingest: &'a Ingest,
        app: &'a App,
        taken: Vec<Option<Taken>>,
        now: UnixMs,
    ) -> Self {
        let (running, done) = (FuturesUnordered::new(), Done::default());
        Commits { ingest, app, now, taken, running, done, failed: None }
    }

    /// Hands a part in to the store.
    pub(super) async fn begin(&mut self, part: Part) {
        self.running.push(self.ingest.committed(part).boxed());
        // A commit is handed in when it is looked at first.
        self.look().await;
    }

    /// Hands on what has become durable meanwhile.
    pub(super) async fn look(&mut self) {
        while let Some(Some(committed)) = self.running.next().now_or_never() {
            self.conclude(committed).await;
        }
    }

    /// Notes why the rest of the request cannot be taken.
    pub(super) fn fail(&mut self, error: IngestError) {
        self.failed = Some(error);
    }

    /// Hands in the last part and waits for all. Answers what became of the messages.
    ///
    /// # Errors
    /// [`IngestError`], when any message failed.
    pub(super) async fn finish(mut self, last: Part) -> Result<Vec<Taken>, IngestError> {
        if self.running.is_empty() {
            let committed = self.ingest.committed(last).await;
            self.conclude(committed).await;
        } else if !last.is_empty() {
            self.begin(last).await;
        }
        while let Some(committed) = self.running.next().await {
            self.conclude(committed).await;
        }
        let took = self.ingest.clock.now().since(self.now);
        events::messages_counted(MessageKind::C2c, self.done.c2c, took);
        events::messages_counted(MessageKind::Group, self.done.group, took);
        match self.failed {
            None => Ok(self.taken.into_iter().flatten().collect()),
            Some(error) => Err(error),
        }
    }

    async fn conclude(&mut self, (part, results): Committed) {
        for ((index, ready), result) in part.into_iter().zip(results) {
            self.ingest.room.note(ready.draft.content.len(), &result);
            let taken = match result {
                Ok(()) => Ok(self.ingest.accepted(ready, &mut self.done)),
                Err(StoreError::Conflict) => {
                    self.ingest.again(self.app, ready.draft, &mut self.done).await
                }
                Err(error) => Err(error.into()),
            };
            match taken {
                Ok(taken) => self.taken[index] = Some(taken),
                Err(error) => self.failed = Some(error),
            }
        }
        // What was committed is handed on even when a neighbour failed: it is accepted.
        self.ingest.hand_over.give(std::mem::take(&mut self.done.born));
    }
}

impl Ingest {
    async fn committed(&self, mut part: Part) -> Committed {
        let batches = part
            .iter_mut()
            .map(|(_, ready)| (ready.draft.partition, std::mem::take(&mut ready.batch)))
            .collect();
        let results = self.store.commit_all(batches).await;
        (part, results)
    }
}
