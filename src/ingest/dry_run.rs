//! What would become of a message, asked by whoever tries a setting or a payload out.

use crate::dedupe::DedupeRule;
use crate::facts;
use crate::ingest::repeats::{repeat_opening, repeated};
use crate::ingest::{Ingest, read_posted};
use crate::model::app::App;
use crate::model::id::MessageId;
use crate::model::message::{Invalid, Wire};
use crate::store::StoreError;
use crate::trace::Opening;

impl Ingest {
    /// Decides a message without taking it: no row is written, nothing is counted.
    ///
    /// # Errors
    /// The message's mistake, or the store's.
    pub async fn dry_run(
        &self,
        app: &App,
        json: &[u8],
    ) -> Result<Result<(MessageId, Opening), Invalid>, StoreError> {
        let now = self.clock.now();
        let posted = match Wire::find(json).and_then(|wire| read_posted(&wire)) {
            Ok(posted) => posted,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let draft = self.draft(app, posted, DedupeRule::Chat, now);
        let keys = draft.identity.keys(now);
        let mut rows = [None, None];
        for (row, key) in rows.iter_mut().zip(&keys) {
            *row = self.store.get(draft.partition, key).await?;
        }
        let seen = draft.identity.read(rows, now)?;
        if let Some(of) = repeated(&draft.message, &seen) {
            let facts = facts::of_message(&draft.message, draft.message_id.accepted_at());
            let settings = self.rule_settings(app);
            let opening = repeat_opening(app, &draft.message, facts, settings, of);
            return Ok(Ok((draft.message_id, opening)));
        }
        let decided = self
            .decider
            .decide(app, &draft.message, draft.message_id, &seen.mark, None, now)
            .await?;
        Ok(Ok((draft.message_id, decided.opening)))
    }
}
