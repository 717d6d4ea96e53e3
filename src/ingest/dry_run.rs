//! What would become of a message, asked by whoever tries a setting or a payload out.

use crate::dedupe::DedupeRule;
use crate::facts;
use crate::ingest::decide::Decided;
use crate::ingest::repeats::{repeat_opening, repeated};
use crate::ingest::{Draft, Ingest, read_posted};
use crate::model::app::App;
use crate::model::message::{Invalid, Wire};
use crate::model::reason::Terminal;
use crate::model::time::UnixMs;
use crate::plan::{self, Common};
use crate::queue::Parcel;
use crate::render::{Collapse, Reader, RenderRequest, render};
use crate::store::StoreError;
use crate::trace::{Attempt, Step, StepResult, Trace};

impl Ingest {
    /// Decides a message without taking it: no row is written, nothing is counted. What may ring
    /// is rendered too, for what is too large is refused when it is to be sent.
    ///
    /// # Errors
    /// The message's mistake, or the store's.
    pub async fn dry_run(
        &self,
        app: &App,
        json: &[u8],
    ) -> Result<Result<Trace, Invalid>, StoreError> {
        let now = self.clock.now();
        let posted = match Wire::find(json).and_then(|wire| read_posted(&wire)) {
            Ok(posted) => posted,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let draft = self.draft(app, posted, DedupeRule::Chat, now);
        let message_id = draft.message_id;
        let keys = draft.identity.keys(now);
        let mut rows = [None, None];
        for (row, key) in rows.iter_mut().zip(&keys) {
            *row = self.store.get(draft.partition, key).await?;
        }
        let seen = draft.identity.read(rows, now)?;
        if let Some(ids) = repeated(&draft.message, &seen) {
            let facts = facts::of_message(&draft.message, message_id.accepted_at());
            let settings = self.rule_settings(app);
            let opening = repeat_opening(app, &draft.message, facts, settings, &ids);
            return Ok(Ok(Trace { message_id, opening, steps: Vec::new() }));
        }
        let decided =
            self.decider.decide(app, &draft.message, message_id, &seen.mark, None, now).await?;
        Ok(Ok(self.rendered(app, &draft, decided, now)))
    }

    /// What would follow when everything that may ring were sent now, up to the vendors.
    fn rendered(&self, app: &App, draft: &Draft, decided: Decided, now: UnixMs) -> Trace {
        let Decided { opening, allowed, .. } = decided;
        let common = draft.common(app, opening.facts.expires_at);
        let mut results = Vec::new();
        for parcel in plan::parcels(&common, allowed) {
            let Some(why) = self.too_large(&common, &parcel) else { continue };
            results.extend(parcel.deliveries.iter().map(|delivery| StepResult {
                attempt: Some(Attempt::too_large(why.clone())),
                ended: Some(Terminal::Refused),
                ..StepResult::of(delivery.number)
            }));
        }
        let steps = match results.is_empty() {
            true => Vec::new(),
            false => vec![Step { at: now, results }],
        };
        Trace { message_id: draft.message_id, opening, steps }
    }

    /// Why a parcel's push cannot be built, in one sentence.
    fn too_large(&self, common: &Common<'_>, parcel: &Parcel) -> Option<String> {
        let credentials = self.decider.facts().credentials();
        let certificate = credentials.get_of(parcel.app, parcel.cert_id)?;
        let request = RenderRequest {
            message: common.message,
            message_id: parcel.message_id,
            expires_at: parcel.expires_at,
            reader: &Reader { locale: parcel.locale.as_deref(), sound: parcel.sound.as_deref() },
            default_locale: common.default_locale,
            vendor: certificate.vendor,
            certificate: &certificate.sending,
            collapse: Collapse::Never,
        };
        render(&request).err().map(|refusal| refusal.to_string())
    }
}
