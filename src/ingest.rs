//! What comes in: read, decide, commit once. Only then is it answered.
//!
//! A message's seen mark, parcels, decisions and counters are one batch in its partition. Its
//! parcels are written already leased to this process and handed on in memory, so the common path
//! never polls; when there is no room to hand them on they are written as due at once, and the
//! queue's sweep finds them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Clock;
use crate::dedupe::{Dedupe, DedupeRule, FrontKey, Identity, Seen, partition_of};
use crate::digest;
use crate::facts::Facts;
use crate::ledger::{Entry, Waiting};
use crate::message_names;
use crate::model::app::App;
use crate::model::id::{DeviceId, MessageId, Partition, UserId};
use crate::model::message::{Invalid, Message, Posted, Priority, Wire};
use crate::model::reason::{Reason, Terminal};
use crate::model::time::UnixMs;
use crate::plan::Common;
use crate::policy::{Phase, RuleSettings};
use crate::queue::handover::{Born, HandOver};
use crate::queue::{self, Held};
use crate::store::{Batch, Store, StoreError};
use crate::telemetry::events::{self, MessageKind};
use crate::trace::{self, Opening};

mod commit;
pub mod decide;
mod dry_run;
pub mod repeats;
mod room;

use crate::ingest::commit::{Commits, Done};
use crate::ingest::decide::{Decided, Decider};
use crate::ingest::repeats::Repeats;
use crate::ingest::room::Room;

/// Most messages one request may carry.
pub const MESSAGES_MAX: usize = 500;

/// Messages of a request decided in one go.
const TOGETHER: usize = 8;

/// Messages of a request committed together.
const COMMITTED_TOGETHER: usize = 32;

/// How many times a message is decided again when another call took some of its receivers
/// meanwhile.
const CONFLICTS_MAX: usize = 16;

/// Settings of this stage.
#[derive(Clone, Debug)]
pub struct IngestSettings {
    /// How long a fresh parcel is held before anyone may take it.
    pub lease: Duration,
    /// Deliveries that may wait in the queue; beyond, new messages are refused.
    pub waiting_max: i64,
    /// Bytes that queued parcels may take; beyond, new messages are refused.
    pub bytes_max: i64,
    /// How long the oldest parcel that could go may have waited; beyond, new messages are refused.
    /// Zero switches this off.
    pub age_max: Duration,
    /// The last part of these limits, in percent, that only messages of high priority may use.
    pub reserve_percent: u8,
    /// Whether traces keep title and text.
    pub include_text: bool,
}

/// What became of one posted message.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// On disk; will end in exactly one counted state per delivery.
    Accepted {
        /// Its id.
        message_id: MessageId,
    },
    /// Every receiver has it already.
    Duplicate {
        /// The repeat's own id, under which `explain` knows it.
        message_id: MessageId,
        /// The message it repeats.
        of: MessageId,
    },
    /// Cannot be read.
    Invalid(Invalid),
}

/// Why nothing was taken.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The queue is full: nothing of the request was accepted.
    #[error("the queue is full")]
    Full,
    /// What was accepted waits too long already: nothing of the request was accepted.
    #[error("the queue is too old")]
    Overdue,
    /// The store cannot take it now, or the disk is full. Messages of the request may have been
    /// accepted; posting them again is safe.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The stage.
pub struct Ingest {
    store: Arc<dyn Store>,
    clock: Clock,
    dedupe: Arc<Dedupe>,
    decider: Decider,
    repeats: Repeats,
    hand_over: HandOver,
    waiting: Arc<Waiting>,
    room: Room,
    settings: IngestSettings,
}

/// One message on its way to the commit.
struct Draft {
    message: Arc<Message>,
    content: Bytes,
    message_id: MessageId,
    identity: Identity,
    front: FrontKey,
    partition: Partition,
    /// Nothing but these devices, when set.
    only: Option<Vec<(UserId, DeviceId)>>,
}

impl Draft {
    /// What all parcels of it have in common.
    fn common<'a>(&'a self, app: &'a App, expires_at: UnixMs) -> Common<'a> {
        Common {
            app: app.app,
            default_locale: &app.settings.default_locale,
            message: &self.message,
            message_id: self.message_id,
            expires_at,
            content: self.content.clone(),
        }
    }
}

/// A message ready to be committed.
struct Ready {
    draft: Draft,
    batch: Batch,
    born: Option<Born>,
    in_flight: i64,
    queued_bytes: i64,
    /// Nobody has it yet, so that this is its only id.
    is_first: bool,
}

impl Ingest {
    /// Builds the stage. Parcels go to `hand_over`; `waiting` counts what waits.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        dedupe: Arc<Dedupe>,
        facts: Arc<Facts>,
        hand_over: HandOver,
        waiting: Arc<Waiting>,
        settings: IngestSettings,
    ) -> Self {
        Ingest {
            decider: Decider::new(store.clone(), facts),
            repeats: Repeats::start(store.clone()),
            store,
            clock,
            dedupe,
            hand_over,
            waiting,
            room: Room::default(),
            settings,
        }
    }

    /// Whether the store has room for messages, as far as the last ones tell.
    ///
    /// # Errors
    /// The store's.
    pub async fn check_room(&self) -> Result<(), StoreError> {
        self.room.check(&*self.store).await
    }

    /// Takes messages of one app, as they were found; answers in their order.
    ///
    /// # Errors
    /// [`IngestError`]: no message of this request may be thought accepted.
    pub async fn take(
        &self,
        app: &App,
        messages: &[Result<Wire<'_>, Invalid>],
    ) -> Result<Vec<Taken>, IngestError> {
        self.take_as(app, messages, DedupeRule::Chat).await
    }

    /// Takes messages as [`Ingest::take`] does, telling repeats by another rule.
    ///
    /// # Errors
    /// As [`Ingest::take`].
    pub async fn take_as(
        &self,
        app: &App,
        messages: &[Result<Wire<'_>, Invalid>],
        rule: DedupeRule,
    ) -> Result<Vec<Taken>, IngestError> {
        let now = self.clock.now();
        let mut taken: Vec<Option<Taken>> = Vec::with_capacity(messages.len());
        let mut drafts: Vec<(usize, Draft)> = Vec::with_capacity(messages.len());
        for (index, found) in messages.iter().enumerate() {
            let known = match found.as_ref().map_err(Invalid::clone).and_then(read_posted) {
                Err(invalid) => Some(Taken::Invalid(invalid)),
                Ok(posted) => {
                    let draft = self.draft(app, posted, rule, now);
                    match self.dedupe.front_hit(draft.front, now) {
                        Some(of) => Some(self.common_repeat(app, &draft, of)),
                        None => {
                            drafts.push((index, draft));
                            None
                        }
                    }
                }
            };
            taken.push(known);
        }
        self.make_room(&drafts)?;
        let mut commits = Commits::new(self, app, taken, now);
        let mut part = Vec::with_capacity(drafts.len().min(COMMITTED_TOGETHER));
        for (position, (index, draft)) in drafts.into_iter().enumerate() {
            if position % TOGETHER == TOGETHER - 1 {
                // Whoever is sending goes first: what was accepted before must not fall behind
                // because more comes in. When nobody has anything to do this costs nothing.
                tokio::task::yield_now().await;
                commits.look().await;
            }
            match self.prepare(app, draft, &Seen::default(), now).await {
                Ok(ready) => part.push((index, ready)),
                Err(error) => {
                    commits.fail(error.into());
                    break;
                }
            }
            if part.len() == COMMITTED_TOGETHER {
                let next = Vec::with_capacity(COMMITTED_TOGETHER);
                commits.begin(std::mem::replace(&mut part, next)).await;
            }
        }
        commits.finish(part).await
    }

    fn draft(&self, app: &App, posted: Posted, rule: DedupeRule, now: UnixMs) -> Draft {
        let partition = partition_of(app.app, &posted.message, rule);
        let identity = self.dedupe.identity(app.app, &posted, rule);
        let Posted { message, content, .. } = posted;
        Draft {
            identity,
            front: identity.front_key(&message.receivers),
            message_id: MessageId::new(now, partition, fastrand::u64(..)),
            message: Arc::new(message),
            content,
            partition,
            only: None,
        }
    }

    /// Takes a message of the relay's own, for these devices only when any are named. It has an
    /// identity and deliveries of its own, as every message.
    ///
    /// # Errors
    /// As [`Ingest::take`].
    pub async fn take_own(
        &self,
        app: &App,
        json: &[u8],
        only: Option<Vec<(UserId, DeviceId)>>,
    ) -> Result<Taken, IngestError> {
        let now = self.clock.now();
        let posted = match Message::parse_posted(json) {
            Ok(posted) => posted,
            Err(invalid) => return Ok(Taken::Invalid(invalid)),
        };
        let draft = Draft { only, ..self.draft(app, posted, DedupeRule::Chat, now) };
        if let Some(of) = self.dedupe.front_hit(draft.front, now) {
            return Ok(self.common_repeat(app, &draft, of));
        }
        let ready = self.prepare(app, draft, &Seen::default(), now).await?;
        let taken = Commits::new(self, app, vec![None], now).finish(vec![(0, ready)]).await?;
        taken.into_iter().next().ok_or_else(|| StoreError::Conflict.into())
    }

    /// Refuses the request whole when the queue has no room for it.
    fn make_room(&self, drafts: &[(usize, Draft)]) -> Result<(), IngestError> {
        let all_high = drafts.iter().all(|(_, draft)| draft.message.priority == Priority::High);
        let reserved = if all_high { 0 } else { i64::from(self.settings.reserve_percent.min(100)) };
        let full_at = |waiting: i64, limit: i64| waiting >= without_reserve(limit, reserved);
        let full = full_at(self.waiting.deliveries(), self.settings.waiting_max)
            || full_at(self.waiting.bytes(), self.settings.bytes_max);
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let age_max = millis(self.settings.age_max);
        let overdue = age_max > 0 && full_at(millis(self.oldest_wait()), age_max);
        match () {
            () if drafts.is_empty() => Ok(()),
            () if full => Err(IngestError::Full),
            () if overdue => Err(IngestError::Overdue),
            () => Ok(()),
        }
    }

    /// How long the oldest parcel has waited that could be on its way.
    pub fn oldest_wait(&self) -> Duration {
        self.hand_over.backlog().age(self.clock.now())
    }

    /// Decides one message and builds its batch, on what `seen` says others received already.
    async fn prepare(
        &self,
        app: &App,
        draft: Draft,
        seen: &Seen,
        now: UnixMs,
    ) -> Result<Ready, StoreError> {
        let only = draft.only.as_deref();
        let decided = self
            .decider
            .decide(app, &draft.message, draft.message_id, &seen.mark, only, now)
            .await?;
        let mut batch = Batch::with_room(2, 5, 8);
        if digest::wanted(app, &draft.message) {
            sum_up(app, &draft, &decided.opening, &mut batch);
        }
        let new: Vec<UserId> = draft
            .message
            .receivers
            .iter()
            .filter(|user| seen.mark.received(user).is_none())
            .cloned()
            .collect();
        let is_first = new.len() == draft.message.receivers.len();
        draft.identity.mark(seen, draft.message_id, new, now, &mut batch);
        let mut entry = Entry::default();
        for delivery in &decided.opening.deliveries {
            match delivery.ended {
                Some(terminal) => entry.accept_ended(terminal),
                None => entry.accept_in_flight(),
            }
        }
        let (opening, held) = self.enqueue(app, &draft, decided, now, &mut batch);
        let queued_bytes = queue::bytes_in(&batch);
        entry.queue_grew(queued_bytes);
        entry.write(app.app, &mut batch);
        trace::open(draft.message_id, &opening, &mut batch);
        message_names::note(app.app, &draft.message, draft.message_id, &mut batch);
        let in_flight =
            opening.deliveries.iter().filter(|delivery| delivery.ended.is_none()).count() as i64;
        let born = (!held.is_empty())
            .then(|| Born { birth: self.hand_over.announce(draft.message_id), parcels: held });
        Ok(Ready { draft, batch, born, in_flight, queued_bytes, is_first })
    }

    /// Adds the parcels: leased to this process when it can take them, else due at once.
    fn enqueue(
        &self,
        app: &App,
        draft: &Draft,
        decided: Decided,
        now: UnixMs,
        batch: &mut Batch,
    ) -> (Opening, Vec<Held>) {
        let Decided { mut opening, allowed, counted } = decided;
        batch.add.extend(counted);
        let common = draft.common(app, opening.facts.expires_at);
        if self.settings.include_text {
            let text = crate::render::text::text(&draft.message, None, common.default_locale);
            opening.text = Some((text.title, text.body));
        }
        let mut held = Vec::new();
        for parcel in crate::plan::parcels(&common, allowed) {
            for delivery in &parcel.deliveries {
                opening.deliveries[usize::from(delivery.number)].parcel = Some(parcel.number);
            }
            let leased = self.hand_over.has_room(parcel.cert_id, parcel.urgency);
            let due = match leased {
                true => now.after(self.settings.lease),
                false => queue::at_once(now, parcel.urgency),
            };
            let put = queue::put(parcel, draft.message.clone(), due, batch);
            if leased {
                held.push(put);
            }
        }
        (opening, held)
    }

    fn accepted(&self, ready: Ready, done: &mut Done) -> Taken {
        let Draft { message, message_id, front, .. } = ready.draft;
        // The cache in front knows one id for all receivers; the store knows each one's.
        if ready.is_first {
            self.dedupe.remember(front, message_id);
        }
        self.waiting.grew(ready.in_flight, ready.queued_bytes);
        done.born.extend(ready.born);
        let kind = MessageKind::of(message.group.is_some());
        match kind {
            MessageKind::C2c => done.c2c += 1,
            MessageKind::Group => done.group += 1,
        }
        events::message_accepted(message_id, kind, message.receivers.len());
        Taken::Accepted { message_id }
    }

    /// The settings the rules obey for an app's messages now.
    pub fn rule_settings(&self, app: &App) -> RuleSettings {
        self.decider.facts().rule_settings(Some(app))
    }

    /// So many deliveries that had ended are in flight again.
    pub fn requeued(&self, deliveries: usize) {
        let count = i64::try_from(deliveries).unwrap_or(i64::MAX);
        // Their bytes follow with the next reading of the ledger.
        self.waiting.grew(count, 0);
    }
}

/// What is left of a limit for messages that may not use the reserve.
fn without_reserve(limit: i64, percent: i64) -> i64 {
    limit - limit.saturating_mul(percent) / 100
}

/// Notes what the end of a do-not-disturb window is to sum up.
fn sum_up(app: &App, draft: &Draft, opening: &Opening, batch: &mut Batch) {
    for delivery in &opening.deliveries {
        if delivery.ended == Some(Terminal::Suppressed(Reason::DoNotDisturb)) {
            let sum = digest::Sum {
                app: app.app,
                user: &delivery.user,
                message: &draft.message,
                message_id: draft.message_id,
                expires_at: opening.facts.expires_at,
            };
            digest::add(&sum, &delivery.receiver, batch);
        }
    }
}

/// Reads a message that a chat server posted. Notices are the relay's own: nobody else may make
/// one.
fn read_posted(wire: &Wire<'_>) -> Result<Posted, Invalid> {
    let posted = wire.posted()?;
    if posted.message.notice.is_some() {
        return Err(Invalid {
            code: "10004",
            message: "Notice is the relay's own and may not be posted".to_owned(),
            field: Some("Notice".to_owned()),
        });
    }
    Ok(posted)
}

/// The phase this stage decides in.
const PHASE: Phase = Phase::Accept;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_limit_keeps_a_reserve_too() {
        assert_eq!(without_reserve(50, 10), 45);
        assert_eq!(without_reserve(200, 10), 180);
        assert_eq!((without_reserve(50, 0), without_reserve(50, 100)), (50, 0));
        assert!(without_reserve(i64::MAX, 100) > 0);
    }
}
