//! Finds a message by the name its producer gave it, so that it can be recalled by that name.
//!
//! A one-to-one message is named by its `MsgKey`, a group message by its group and `MsgSeq`
//! (cloud.tencent.com/document/product/269/2720). One name may stand for several accepted messages:
//! a large group is taken in parts. The rows are filed by day, so that old ones are one range.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::id::{AppId, GroupId, MessageId, digest128};
use crate::model::message::{LIFE_TIME_S_MAX, Message};
use crate::model::time::UnixMs;
use crate::store::keys::{Class, KeyBuilder, KeyReader};
use crate::store::{Batch, Key, Scope, Store, StoreError};

/// Seconds of one day.
const DAY_S: u64 = 86_400;

/// Most accepted messages one name stands for.
const MESSAGES_MAX: usize = 256;

/// A message's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// `MsgKey` of a one-to-one message.
    Key(&'a str),
    /// Group and `MsgSeq`.
    InGroup(&'a GroupId, u32),
}

impl Name<'_> {
    fn digest(self) -> u128 {
        match self {
            Name::Key(key) => digest128(&[b"key", key.as_bytes()]),
            Name::InGroup(group, seq) => {
                digest128(&[b"group", group.as_str().as_bytes(), &seq.to_be_bytes()])
            }
        }
    }

    fn prefix(self, app: AppId, day: u32) -> KeyBuilder {
        KeyBuilder::new(Class::MessageName).u32(day).u64(app.0).u128(self.digest())
    }
}

fn day_of(at: UnixMs) -> u32 {
    u32::try_from(at.secs() / DAY_S).unwrap_or(u32::MAX)
}

/// Adds a message's name to the batch that accepts it; nothing when it has none.
pub fn note(app: AppId, message: &Message, message_id: MessageId, batch: &mut Batch) {
    let name = match (&message.group, message.seq, &message.key) {
        (Some(group), Some(seq), _) => Name::InGroup(group, seq),
        (None, _, Some(key)) if !key.is_empty() => Name::Key(key),
        _ => return,
    };
    let day = day_of(message_id.accepted_at());
    batch.put.push((name.prefix(app, day).u128(message_id.0).finish(), Bytes::new()));
}

/// The messages of that name that may still be queued, newest day first.
///
/// # Errors
/// The store's.
pub async fn find(
    store: &Arc<dyn Store>,
    app: AppId,
    name: Name<'_>,
    now: UnixMs,
) -> Result<Vec<MessageId>, StoreError> {
    let today = day_of(now);
    let days = (u64::from(LIFE_TIME_S_MAX) / DAY_S) as u32;
    let mut found = Vec::new();
    for day in (today.saturating_sub(days)..=today).rev() {
        let range = name.prefix(app, day).prefix();
        for (key, _) in store.scan(Scope::Everywhere, range, MESSAGES_MAX).await? {
            found.push(read(&key).ok_or(StoreError::Corrupt { key })?);
        }
    }
    Ok(found)
}

fn read(key: &Key) -> Option<MessageId> {
    let mut reader = KeyReader::new(Class::MessageName, key)?;
    reader.u32()?;
    reader.u64()?;
    reader.u128()?;
    reader.u128().map(MessageId)
}

/// Every name of a day that was over at `at`.
pub fn outdated(at: UnixMs) -> std::ops::Range<Key> {
    let first = |day| KeyBuilder::new(Class::MessageName).u32(day).finish();
    first(0)..first(day_of(at))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::id::Partition;
    use crate::store::memory::MemoryStore;

    const APP: AppId = AppId(1);
    const KEPT: Duration = Duration::from_secs(LIFE_TIME_S_MAX as u64);
    const NOW: UnixMs = UnixMs(1_760_000_000_000);

    fn message(extra: &str) -> Message {
        let json = format!(
            r#"{{"From_Account":"a","To_Account":"b","MsgRandom":1,{extra}
            "OfflinePushInfo":{{"Desc":"x"}}}}"#
        );
        Message::parse(json.as_bytes()).expect("a message")
    }

    async fn noted(message: &Message, at: UnixMs) -> (Arc<dyn Store>, MessageId) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let id = MessageId::new(at, Partition::of_hash(3), 9);
        let mut batch = Batch::default();
        note(APP, message, id, &mut batch);
        store.commit(id.partition(), batch).await.expect("written");
        (store, id)
    }

    #[tokio::test]
    async fn a_message_is_found_by_its_key_in_its_app_as_long_as_it_may_be_queued() {
        let (store, id) = noted(&message(r#""MsgKey":"1_1_9","#), NOW).await;
        let find = |app, key, now| {
            let store = store.clone();
            async move { super::find(&store, app, Name::Key(key), now).await.expect("read") }
        };
        assert_eq!(find(APP, "1_1_9", NOW).await, [id]);
        assert_eq!(find(APP, "1_1_9", NOW.after(KEPT)).await, [id]);
        assert!(find(APP, "1_1_8", NOW).await.is_empty());
        assert!(find(AppId(2), "1_1_9", NOW).await.is_empty());
    }

    #[tokio::test]
    async fn a_group_message_is_found_by_its_number() {
        let (store, id) = noted(&message(r#""GroupId":"g","MsgSeq":88,"#), NOW).await;
        let group = GroupId::from("g");
        let found = find(&store, APP, Name::InGroup(&group, 88), NOW).await.expect("read");
        assert_eq!(found, [id]);
        let other = find(&store, APP, Name::InGroup(&group, 89), NOW).await.expect("read");
        assert!(other.is_empty());
    }

    #[tokio::test]
    async fn only_names_of_days_that_are_over_are_removed() {
        let (store, _) = noted(&message(r#""MsgKey":"k","#), NOW).await;
        let everything = KeyBuilder::new(Class::MessageName).prefix();
        let rows = store.scan(Scope::Everywhere, everything, 8).await.expect("read");
        assert!(!outdated(NOW).contains(&rows[0].0));
        assert!(outdated(NOW.after(Duration::from_secs(DAY_S))).contains(&rows[0].0));
    }
}
