//! Has this message been seen before?
//!
//! A **seen mark** is a row named by what makes two messages the same, holding who received it
//! under which id. It is written under the condition that nobody wrote it before, in the same
//! commit as the message itself; the store's condition is what decides. A bounded cache in front
//! answers the common repeat without touching the store.
//!
//! Marks are filed by window and by time bucket as long as the window, so a message and its repeat
//! are at most one bucket apart, and old buckets can be removed whole.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use lru::LruCache;
use serde::{Deserialize, Serialize};

use crate::model::id::{AppId, MessageId, Partition, UserId, digest128};
use crate::model::message::{Message, Posted};
use crate::model::time::UnixMs;
use crate::store::keys::{Class, KeyBuilder, KeyReader};
use crate::store::{Batch, Expect, Key, StoreError};

/// Window of pushes to named users, by `MsgRandom` alone. Tencent: one second
/// (trtc.io/document/67553).
const NAMED_PUSH_WINDOW: Duration = Duration::from_secs(1);

/// Window of pushes to all members, by task. Tencent: seven days
/// (cloud.tencent.com/document/product/269/45934).
const ALL_MEMBERS_WINDOW: Duration = Duration::from_secs(604_800);

/// Which of Tencent's rules tells whether two messages are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DedupeRule {
    /// Chat messages, by their kind: content and numbers, within the windows of the settings.
    #[default]
    Chat,
    /// Pushes to named users: `MsgRandom` alone, one second.
    NamedPush,
    /// One page of a push to all members: the page's own name, seven days.
    AllMembers {
        /// Names the task and the page.
        page: u128,
    },
}

/// Shards of the cache in front: a power of two.
const FRONT_SHARDS: usize = 32;

/// How long messages are remembered, and how many the cache in front holds.
#[derive(Clone, Debug)]
pub struct DedupeSettings {
    /// One-to-one messages. Tencent: 120 s (product/269/2282).
    pub c2c_window: Duration,
    /// Group messages. Tencent: 5 min (product/269/1629).
    pub group_window: Duration,
    /// Entries of the cache in front, about 100 bytes each.
    pub front_entries: usize,
}

/// What makes a message the same as another, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    digest: u128,
    window: Duration,
}

/// The partition of everything a message writes when it is accepted: the same for all messages
/// that the rule may call the same.
pub fn partition_of(app: AppId, message: &Message, rule: DedupeRule) -> Partition {
    let number = app.0.to_be_bytes();
    match rule {
        DedupeRule::Chat => {}
        DedupeRule::NamedPush => {
            return Partition::of(&[b"named", &number, &message.random.to_be_bytes()]);
        }
        DedupeRule::AllMembers { page } => {
            return Partition::of(&[b"members", &number, &page.to_be_bytes()]);
        }
    }
    // These words choose where marks are stored already.
    let (kind, place) = match &message.group {
        Some(group) => ("group", group.as_str()),
        None => ("c2c", message.from.as_str()),
    };
    Partition::of(&[kind.as_bytes(), &number, place.as_bytes(), &message.random.to_be_bytes()])
}

/// Who already received a message, and under which id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenMark {
    takes: Vec<Take>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Take {
    message_id: MessageId,
    receivers: Vec<UserId>,
}

impl SeenMark {
    /// The id under which `user` received it.
    pub fn received(&self, user: &UserId) -> Option<MessageId> {
        self.takes.iter().find(|take| take.receivers.contains(user)).map(|take| take.message_id)
    }
}

/// What is stored about an identity right now, with the condition that it stays so.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Who received it within the window.
    pub mark: SeenMark,
    current: Option<Bytes>,
    previous: Option<Bytes>,
}

/// What the cache in front of the store knows a message by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontKey {
    digest: u128,
    window: Duration,
}

struct FrontEntry {
    expires_at: UnixMs,
    message_id: MessageId,
}

/// Knows what was seen.
pub struct Dedupe {
    settings: DedupeSettings,
    front: Vec<Mutex<LruCache<u128, FrontEntry, RandomState>>>,
}

impl Dedupe {
    /// An empty cache over whatever the store remembers.
    pub fn new(settings: DedupeSettings) -> Self {
        let each = settings.front_entries / FRONT_SHARDS;
        let each = NonZeroUsize::new(each).unwrap_or(NonZeroUsize::MIN);
        let front = (0..FRONT_SHARDS)
            .map(|_| Mutex::new(LruCache::with_hasher(each, RandomState::default())))
            .collect();
        Dedupe { settings, front }
    }

    /// What makes this message the same as another.
    ///
    /// One-to-one: app, sender, sequence, random, content; the receivers are compared one by one,
    /// so the receiver is part of it too. Group: app, group, sender, random, content. The other
    /// rules look at less, see [`DedupeRule`].
    pub fn identity(&self, app: AppId, posted: &Posted, rule: DedupeRule) -> Identity {
        let Posted { message, digest: content, .. } = posted;
        let seq = message.seq.unwrap_or_default().to_be_bytes();
        let random = message.random.to_be_bytes();
        let content = content.to_be_bytes();
        let app = app.0.to_be_bytes();
        let from = message.from.as_str().as_bytes();
        match rule {
            DedupeRule::Chat => {}
            DedupeRule::NamedPush => {
                let digest = digest128(&[b"named", &app, &random]);
                return Identity { digest, window: NAMED_PUSH_WINDOW };
            }
            DedupeRule::AllMembers { page } => {
                let digest = digest128(&[b"members", &app, &page.to_be_bytes()]);
                return Identity { digest, window: ALL_MEMBERS_WINDOW };
            }
        }
        match &message.group {
            None => Identity {
                digest: digest128(&[b"c2c", &app, from, &seq, &random, &content]),
                window: self.settings.c2c_window,
            },
            Some(group) => {
                let group = group.as_str().as_bytes();
                Identity {
                    digest: digest128(&[b"group", &app, group, from, &random, &content]),
                    window: self.settings.group_window,
                }
            }
        }
    }

    /// Asks the cache in front: the id this very message, to these very receivers, was accepted
    /// under. `None` proves nothing.
    pub fn front_hit(&self, key: FrontKey, now: UnixMs) -> Option<MessageId> {
        let mut shard = self.shard(key);
        let entry = shard.get(&key.digest)?;
        (entry.expires_at > now).then_some(entry.message_id)
    }

    /// Tells the cache in front, after the commit.
    pub fn remember(&self, key: FrontKey, message_id: MessageId) {
        let expires_at = message_id.accepted_at().after(key.window);
        self.shard(key).put(key.digest, FrontEntry { expires_at, message_id });
    }

    fn shard(
        &self,
        key: FrontKey,
    ) -> std::sync::MutexGuard<'_, LruCache<u128, FrontEntry, RandomState>> {
        let shard = &self.front[key.digest as usize % FRONT_SHARDS];
        shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Identity {
    /// What the cache in front knows it by, together with these receivers.
    pub fn front_key(self, receivers: &[UserId]) -> FrontKey {
        let mut parts: Vec<&[u8]> = Vec::with_capacity(receivers.len() + 1);
        let digest = self.digest.to_be_bytes();
        parts.push(&digest);
        parts.extend(receivers.iter().map(|user| user.as_str().as_bytes()));
        FrontKey { digest: digest128(&parts), window: self.window }
    }

    fn bucket(self, now: UnixMs) -> u32 {
        let window_ms = u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX).max(1);
        u32::try_from(now.0 / window_ms).unwrap_or(u32::MAX)
    }

    fn key(self, bucket: u32) -> Key {
        let window_s = u32::try_from(self.window.as_secs()).unwrap_or(u32::MAX);
        KeyBuilder::new(Class::Seen).u32(window_s).u32(bucket).u128(self.digest).finish()
    }

    /// The rows in which a repeat of a message at `now` would be found: this bucket's, the last's.
    pub fn keys(self, now: UnixMs) -> [Key; 2] {
        let bucket = self.bucket(now);
        [self.key(bucket), self.key(bucket.wrapping_sub(1))]
    }

    /// Reads what the two rows of [`Identity::keys`] hold.
    ///
    /// # Errors
    /// `Corrupt` when a row cannot be read.
    pub fn read(self, rows: [Option<Bytes>; 2], now: UnixMs) -> Result<Seen, StoreError> {
        let keys = self.keys(now);
        let mut mark = SeenMark::default();
        for (key, row) in keys.iter().zip(&rows).rev() {
            let Some(row) = row else { continue };
            let read: SeenMark =
                postcard::from_bytes(row).map_err(|_| StoreError::Corrupt { key: key.clone() })?;
            let fresh = |take: &Take| now.since(take.message_id.accepted_at()) < self.window;
            mark.takes.extend(read.takes.into_iter().filter(fresh));
        }
        let [current, previous] = rows;
        Ok(Seen { mark, current, previous })
    }

    /// Adds to a batch: these receivers get it under this id, provided nothing changed since
    /// `seen` was read. The default [`Seen`] says "nobody has it".
    pub fn mark(
        self,
        seen: &Seen,
        message_id: MessageId,
        receivers: Vec<UserId>,
        now: UnixMs,
        batch: &mut Batch,
    ) {
        let [current, previous] = self.keys(now);
        let as_read = |row: &Option<Bytes>| row.clone().map_or(Expect::Absent, Expect::Equals);
        batch.expect.push((current.clone(), as_read(&seen.current)));
        batch.expect.push((previous, as_read(&seen.previous)));
        let mut mark = seen.mark.clone();
        mark.takes.push(Take { message_id, receivers });
        let row = postcard::to_allocvec(&mark).expect("a mark is plain data");
        batch.put.push((current, Bytes::from(row)));
    }
}

/// Every mark of this window that no repeat can meet any more at `now`.
pub fn outdated(window: Duration, now: UnixMs) -> std::ops::Range<Key> {
    let identity = Identity { digest: 0, window };
    let window_s = u32::try_from(window.as_secs()).unwrap_or(u32::MAX);
    let start = KeyBuilder::new(Class::Seen).u32(window_s).finish();
    start..identity.key(identity.bucket(now).saturating_sub(1))
}

/// Every mark there may be, in the order of their windows.
pub fn all_marks() -> std::ops::Range<Key> {
    KeyBuilder::new(Class::Seen).prefix()
}

/// The key behind every mark of this window.
pub fn behind(window: Duration) -> Key {
    let window_s = u32::try_from(window.as_secs()).unwrap_or(u32::MAX);
    KeyBuilder::new(Class::Seen).u32(window_s).prefix().end
}

/// The window with which a mark was made.
pub fn window_of(key: &Key) -> Option<Duration> {
    let mut reader = KeyReader::new(Class::Seen, key)?;
    Some(Duration::from_secs(u64::from(reader.u32()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppId = AppId(1);

    fn dedupe() -> Dedupe {
        Dedupe::new(DedupeSettings {
            c2c_window: Duration::from_secs(120),
            group_window: Duration::from_secs(300),
            front_entries: 1_024,
        })
    }

    fn message(random: u32, group: &str, text: &str) -> Posted {
        let json = format!(
            r#"{{"From_Account":"a","To_Account":["b","c"],"GroupId":"{group}","MsgRandom":{random},
            "MsgSeq":1,"MsgBody":[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"{text}"}}}}]}}"#
        );
        Message::parse_posted(json.as_bytes()).expect("a message")
    }

    #[test]
    fn random_content_sender_and_group_make_the_identity() {
        let dedupe = dedupe();
        let base = dedupe.identity(APP, &message(1, "", "x"), DedupeRule::Chat);
        assert_eq!(base, dedupe.identity(APP, &message(1, "", "x"), DedupeRule::Chat));
        for other in [message(2, "", "x"), message(1, "", "y"), message(1, "g", "x")] {
            assert_ne!(base, dedupe.identity(APP, &other, DedupeRule::Chat));
        }
        assert_ne!(base, dedupe.identity(AppId(2), &message(1, "", "x"), DedupeRule::Chat));
    }

    #[test]
    fn a_mark_is_found_until_its_window_ends_whatever_bucket_it_fell_into() {
        let dedupe = dedupe();
        let identity = dedupe.identity(APP, &message(1, "", "x"), DedupeRule::Chat);
        for offset_ms in [0u64, 1, 59_999, 119_999] {
            let at = UnixMs(1_760_000_000_000 + offset_ms);
            let id = MessageId::new(at, Partition::of_hash(1), 7);
            let mut batch = Batch::default();
            identity.mark(&Seen::default(), id, vec!["b".into()], at, &mut batch);
            let (key, row) = batch.put.pop().expect("the mark");
            let find = |now: UnixMs| {
                let rows = identity.keys(now).map(|asked| (asked == key).then(|| row.clone()));
                identity.read(rows, now).expect("readable").mark.received(&"b".into())
            };
            assert_eq!(find(at), Some(id));
            assert_eq!(find(at.after(Duration::from_millis(119_999))), Some(id));
            assert_eq!(find(at.after(Duration::from_secs(120))), None);
            let still_needed =
                outdated(Duration::from_secs(120), at.after(Duration::from_secs(119)));
            assert!(!still_needed.contains(&key));
            assert!(
                outdated(Duration::from_secs(120), at.after(Duration::from_secs(360)))
                    .contains(&key)
            );
        }
    }

    #[test]
    fn the_front_answers_only_for_the_same_receivers_and_only_in_time() {
        let dedupe = dedupe();
        let posted = message(1, "", "x");
        let identity = dedupe.identity(APP, &posted, DedupeRule::Chat);
        let receivers = &posted.message.receivers;
        let at = UnixMs(1_000_000);
        let id = MessageId::new(at, Partition::of_hash(1), 7);
        dedupe.remember(identity.front_key(receivers), id);
        assert_eq!(dedupe.front_hit(identity.front_key(receivers), at), Some(id));
        assert_eq!(dedupe.front_hit(identity.front_key(&receivers[..1]), at), None);
        let later = at.after(Duration::from_secs(120));
        assert_eq!(dedupe.front_hit(identity.front_key(receivers), later), None);
    }

    #[test]
    fn a_push_to_named_users_is_known_by_its_random_alone_and_for_one_second() {
        let dedupe = dedupe();
        let rule = DedupeRule::NamedPush;
        let identity = dedupe.identity(APP, &message(1, "", "x"), rule);
        assert_eq!(identity, dedupe.identity(APP, &message(1, "", "y"), rule));
        assert_ne!(identity, dedupe.identity(APP, &message(2, "", "x"), rule));
        assert_eq!(identity.window, Duration::from_secs(1));
        let place = |text| partition_of(APP, &message(1, "", text).message, rule);
        assert_eq!(place("x"), place("y"));
    }

    #[test]
    fn every_rule_has_marks_whose_window_is_known_by_their_key() {
        let dedupe = dedupe();
        let posted = message(1, "", "x");
        let rules = [DedupeRule::Chat, DedupeRule::NamedPush, DedupeRule::AllMembers { page: 5 }];
        for rule in rules {
            let identity = dedupe.identity(APP, &posted, rule);
            let [key, _] = identity.keys(UnixMs(1_760_000_000_000));
            assert_eq!(window_of(&key), Some(identity.window), "{rule:?}");
            assert!(all_marks().contains(&key) && key < behind(identity.window), "{rule:?}");
        }
        let chat = dedupe.identity(APP, &posted, DedupeRule::Chat);
        let page = dedupe.identity(APP, &posted, DedupeRule::AllMembers { page: 5 });
        let other = dedupe.identity(APP, &posted, DedupeRule::AllMembers { page: 6 });
        assert!(chat != page && page != other);
    }
}
