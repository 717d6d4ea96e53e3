//! Repeats: told from first messages, answered with the first one's id.
//!
//! They leave a trace and a count too, but nobody waits for them: they are written together,
//! a little later, by one task.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::dedupe::Seen;
use crate::facts;
use crate::ingest::commit::Done;
use crate::ingest::{CONFLICTS_MAX, Draft, Ingest, IngestError, Taken};
use crate::ledger::Entry;
use crate::model::app::App;
use crate::model::id::MessageId;
use crate::model::message::Message;
use crate::model::reason::{Reason, Terminal};
use crate::policy::{MessageFacts, ReceiverFacts, RuleSettings};
use crate::store::{Batch, Store, StoreError};
use crate::telemetry::events;
use crate::trace::{self, DeliveryOpening, Opening};

/// Repeats waiting to be written; more are answered and counted in metrics only.
const WAITING_MAX: usize = 4_096;

/// Repeats written in one go.
const TOGETHER_MAX: usize = 64;

/// Takes note of repeats.
pub struct Repeats {
    waiting: mpsc::Sender<(MessageId, Opening)>,
}

impl Repeats {
    /// Starts the task that writes them; it ends when this is dropped.
    pub fn start(store: Arc<dyn Store>) -> Self {
        let (waiting, incoming) = mpsc::channel(WAITING_MAX);
        tokio::spawn(write(store, incoming));
        Repeats { waiting }
    }

    /// Notes one repeat.
    pub fn note(&self, message_id: MessageId, opening: Opening) {
        if self.waiting.try_send((message_id, opening)).is_err() {
            tracing::debug!(%message_id, "too many repeats at once: this one leaves no trace");
        }
    }
}

async fn write(store: Arc<dyn Store>, mut incoming: mpsc::Receiver<(MessageId, Opening)>) {
    let mut together = Vec::with_capacity(TOGETHER_MAX);
    while incoming.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        let batches = together
            .drain(..)
            .map(|(message_id, opening)| {
                let mut batch = Batch::default();
                trace::open(message_id, &opening, &mut batch);
                let mut entry = Entry::default();
                entry.duplicate();
                entry.write(opening.app, &mut batch);
                (message_id.partition(), batch)
            })
            .collect();
        for result in store.commit_all(batches).await {
            if let Err(error) = result {
                tracing::warn!(%error, "a repeat left no trace");
            }
        }
    }
}

impl Ingest {
    /// Someone else wrote the seen mark: read it, and accept what is left of the message.
    pub(super) async fn again(
        &self,
        app: &App,
        mut draft: Draft,
        done: &mut Done,
    ) -> Result<Taken, IngestError> {
        for _ in 0..CONFLICTS_MAX {
            let now = self.clock.now();
            let keys = draft.identity.keys(now);
            let mut rows = [None, None];
            for (row, key) in rows.iter_mut().zip(&keys) {
                *row = self.store.get(draft.partition, key).await?;
            }
            let seen = draft.identity.read(rows, now)?;
            if let Some(ids) = repeated(&draft.message, &seen) {
                // The cache in front knows one id for all receivers.
                if let Some(of) = common(&ids) {
                    self.dedupe.remember(draft.front, of);
                }
                return Ok(self.repeat(app, &draft, &ids));
            }
            let mut ready = self.prepare(app, draft, &seen, now).await?;
            let batch = std::mem::take(&mut ready.batch);
            let committed = self.store.commit(ready.draft.partition, batch).await;
            self.room.note(ready.draft.content.len(), &committed);
            match committed {
                Ok(()) => return Ok(self.accepted(ready, done)),
                Err(StoreError::Conflict) => draft = ready.draft,
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Answers a repeat that the cache in front knows: under one id for all receivers.
    pub(super) fn common_repeat(&self, app: &App, draft: &Draft, of: MessageId) -> Taken {
        self.repeat(app, draft, &vec![of; draft.message.receivers.len()])
    }

    /// Answers a repeat and leaves a trace of it, which nobody waits for. `ids` are those under
    /// which each receiver got it; the answer names the first.
    fn repeat(&self, app: &App, draft: &Draft, ids: &[MessageId]) -> Taken {
        let of = ids.first().copied().unwrap_or(draft.message_id);
        let facts = facts::of_message(&draft.message, draft.message_id.accepted_at());
        let settings = self.decider.facts().rule_settings(Some(app));
        let opening = repeat_opening(app, &draft.message, facts, settings, ids);
        self.repeats.note(draft.message_id, opening);
        events::duplicate_dropped(of);
        Taken::Duplicate { message_id: draft.message_id, of }
    }
}

/// The id under which each receiver has this message, when all have it already.
pub(super) fn repeated(message: &Message, seen: &Seen) -> Option<Vec<MessageId>> {
    message.receivers.iter().map(|user| seen.mark.received(user)).collect()
}

/// The one id among these, when there is only one.
fn common(ids: &[MessageId]) -> Option<MessageId> {
    let first = *ids.first()?;
    ids.iter().all(|id| *id == first).then_some(first)
}

/// What `explain` shows of a repeat: one suppressed delivery per receiver, each naming the message
/// under which that receiver got it.
pub(super) fn repeat_opening(
    app: &App,
    message: &Message,
    facts: MessageFacts,
    settings: RuleSettings,
    ids: &[MessageId],
) -> Opening {
    let mut opening = Opening::of(app.app, message, facts, settings);
    opening.deliveries = message
        .receivers
        .iter()
        .zip(ids)
        .map(|(user, of)| DeliveryOpening {
            user: user.clone(),
            receiver: ReceiverFacts {
                duplicate_of: Some(*of),
                is_sender: *user == message.from,
                push_enabled: true,
                receive_option: 0,
                mentioned: false,
                window: None,
                read_at: None,
                withdrawn: false,
            },
            device: None,
            ended: Some(Terminal::Suppressed(Reason::Duplicate)),
            next_allowed_at: None,
            parcel: None,
        })
        .collect();
    opening
}
