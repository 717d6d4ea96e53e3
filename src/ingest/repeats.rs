//! Repeats leave a trace and a count too, but nobody waits for them: they are written together,
//! a little later, by one task.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::ledger::Entry;
use crate::model::id::MessageId;
use crate::store::{Batch, Store};
use crate::trace::{self, Opening};

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
