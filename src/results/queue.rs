//! Events that wait to be posted: one row each, by app and age.
//!
//! Rows are added in the commit of what they tell about, so an event is exactly as durable as its
//! cause. They leave when the chat server took them, or when they are given up. The id names the
//! partition its row lives in, as a message's id does.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::id::{AppId, MessageId, Partition};
use crate::model::time::UnixMs;
use crate::results::event::{Command, Event};
use crate::store::keys::{Class, KeyBuilder, KeyReader, just_after};
use crate::store::{Batch, Key, Row, Scope, Store, StoreError};

/// Rows read at a time when counting.
const PAGE: usize = 4_096;

/// One waiting event.
#[derive(Clone, Debug)]
pub struct Waiting {
    key: Key,
    id: MessageId,
    /// When it happened.
    pub at: UnixMs,
    /// Its kind.
    pub command: Command,
    /// The event's JSON.
    pub json: Bytes,
}

/// Adds an event of `app` to a batch of `partition`.
pub fn put(app: AppId, partition: Partition, event: &Event<'_>, now: UnixMs, batch: &mut Batch) {
    let id = MessageId::new(now, partition, fastrand::u64(..));
    let json = event.json(id, now);
    let mut row = Vec::with_capacity(1 + json.len());
    row.push(event.command() as u8);
    row.extend_from_slice(json.as_bytes());
    let key = KeyBuilder::new(Class::Event).u64(app.0).u64(now.0).u128(id.0).finish();
    batch.put.push((key, row.into()));
}

/// The oldest events of an app, at most `limit`.
///
/// # Errors
/// The store's.
pub async fn oldest(
    store: &Arc<dyn Store>,
    app: AppId,
    limit: usize,
) -> Result<Vec<Waiting>, StoreError> {
    let range = KeyBuilder::new(Class::Event).u64(app.0).prefix();
    let rows = store.scan(Scope::Everywhere, range, limit).await?;
    rows.into_iter().map(read).collect()
}

fn read((key, row): Row) -> Result<Waiting, StoreError> {
    let found = (|| {
        let mut reader = KeyReader::new(Class::Event, &key)?;
        reader.u64()?;
        let at = UnixMs(reader.u64()?);
        let id = MessageId(reader.u128()?);
        Some((at, id, Command::of(*row.first()?)?))
    })();
    match found {
        Some((at, id, command)) => Ok(Waiting { id, at, command, json: row.slice(1..), key }),
        None => Err(StoreError::Corrupt { key }),
    }
}

/// Removes events; removing one twice is fine.
///
/// # Errors
/// The store's; some may be gone already.
pub async fn remove(store: &Arc<dyn Store>, events: &[Waiting]) -> Result<(), StoreError> {
    let mut events: Vec<&Waiting> = events.iter().collect();
    events.sort_by_key(|event| event.id.partition());
    let batches = events
        .chunk_by(|one, next| one.id.partition() == next.id.partition())
        .map(|together| {
            let delete = together.iter().map(|event| event.key.clone()).collect();
            (together[0].id.partition(), Batch { delete, ..Batch::default() })
        })
        .collect();
    store.commit_all(batches).await.into_iter().collect()
}

/// How many events wait, by app.
///
/// # Errors
/// The store's.
pub async fn count(store: &Arc<dyn Store>) -> Result<Vec<(AppId, i64)>, StoreError> {
    let mut range = KeyBuilder::new(Class::Event).prefix();
    let mut counts: Vec<(AppId, i64)> = Vec::new();
    loop {
        let rows = store.scan(Scope::Everywhere, range.clone(), PAGE).await?;
        for (key, _) in &rows {
            let app = KeyReader::new(Class::Event, key).and_then(|mut reader| reader.u64());
            let app = app.map(AppId).ok_or(StoreError::Corrupt { key: key.clone() })?;
            match counts.last_mut() {
                Some((last, count)) if *last == app => *count += 1,
                _ => counts.push((app, 1)),
            }
        }
        match rows.last() {
            Some((key, _)) if rows.len() == PAGE => range.start = just_after(key),
            _ => return Ok(counts),
        }
    }
}
