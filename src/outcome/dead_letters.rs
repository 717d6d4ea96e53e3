//! Deliveries whose retries were used up: kept with their last vendor words, to be looked at and
//! sent again once the cause is mended.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ledger::Entry;
use crate::model::id::{AppId, CertId, MessageId, Partition};
use crate::model::message::Message;
use crate::model::time::UnixMs;
use crate::queue::{self, Delivery, Parcel};
use crate::store::keys::{Class, KeyBuilder, PageError, behind, just_after};
use crate::store::{Batch, Expect, Key, Row, Scope, Store, StoreError};
use crate::trace::{self, Attempt};

/// Most trace rows read to find a vendor's last words.
const STEPS_MAX: usize = 10_000;

/// One delivery that was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its parcel, holding this delivery only.
    pub parcel: Parcel,
    /// When it was given up.
    pub at: UnixMs,
    /// What the vendor said last.
    pub last: Option<Attempt>,
}

fn key_of(parcel: &Parcel, delivery: u16) -> Key {
    KeyBuilder::new(Class::DeadLetter)
        .u64(parcel.app.0)
        .u128(parcel.message_id.0)
        .u16(delivery)
        .finish()
}

fn of_app(app: AppId) -> Range<Key> {
    KeyBuilder::new(Class::DeadLetter).u64(app.0).prefix()
}

/// The letters of an app whose messages were accepted before `at`.
pub fn outdated(app: AppId, at: UnixMs) -> Range<Key> {
    let first = MessageId::new(at, Partition::of_hash(0), 0);
    let end = KeyBuilder::new(Class::DeadLetter).u64(app.0).u128(first.0).finish();
    of_app(app).start..end
}

/// Adds a dead letter to the batch that ends its delivery.
pub fn add(
    parcel: &Parcel,
    delivery: Delivery,
    last: Option<Attempt>,
    at: UnixMs,
    batch: &mut Batch,
) {
    let key = key_of(parcel, delivery.number);
    let parcel = Parcel { deliveries: vec![delivery], ..parcel.clone() };
    let letter = DeadLetter { parcel, at, last };
    let row = postcard::to_allocvec(&letter).expect("a dead letter is plain data");
    batch.put.push((key, row.into()));
}

/// What the vendor said last about each delivery of a message: for those whose life ended between
/// two tries.
///
/// # Errors
/// The store's.
pub async fn last_words(
    store: &Arc<dyn Store>,
    message_id: MessageId,
) -> Result<BTreeMap<u16, Attempt>, StoreError> {
    let range = trace::of_message(message_id);
    let rows = store.scan(Scope::Everywhere, range, STEPS_MAX).await?;
    let mut last = BTreeMap::new();
    for step in trace::read(rows)?.into_iter().flat_map(|trace| trace.steps) {
        for result in step.results {
            if let Some(attempt) = result.attempt {
                last.insert(result.delivery, attempt);
            }
        }
    }
    Ok(last)
}

/// A page of an app's dead letters, those of one certificate or all, oldest message first, and
/// where the next begins.
///
/// # Errors
/// The store's, or a cursor that is not of this app's list.
pub async fn list(
    store: &Arc<dyn Store>,
    app: AppId,
    only: Option<CertId>,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<(Key, DeadLetter)>, Option<String>), PageError> {
    let mut range = behind(of_app(app), cursor)?;
    let mut found = Vec::new();
    loop {
        let rows = store.scan(Scope::Everywhere, range.clone(), limit).await?;
        let last_page = rows.len() < limit;
        for row in rows {
            range.start = just_after(&row.0);
            let (key, letter) = read(row)?;
            if only.is_none_or(|cert_id| cert_id == letter.parcel.cert_id) {
                found.push((key.clone(), letter));
            }
            if found.len() == limit {
                return Ok((found, Some(hex::encode(key))));
            }
        }
        if last_page {
            return Ok((found, None));
        }
    }
}

fn read((key, row): Row) -> Result<(Key, DeadLetter), StoreError> {
    match postcard::from_bytes(&row) {
        Ok(letter) => Ok((key, letter)),
        Err(_) => Err(StoreError::Corrupt { key }),
    }
}

/// Puts dead letters back into the queue together, with this much life left to each. Nothing
/// happens to those that somebody put back already. Answers how many are queued now, and what kept
/// the rest.
pub async fn replay(
    store: &Arc<dyn Store>,
    letters: &[(Key, DeadLetter)],
    life: Duration,
    now: UnixMs,
) -> (usize, Result<(), StoreError>) {
    let mut outcome = Ok(());
    let mut batches = Vec::with_capacity(letters.len());
    for (key, letter) in letters {
        match revived(key, letter, life, now) {
            Ok(batch) => batches.push((letter.parcel.message_id.partition(), batch)),
            Err(error) => outcome = Err(error),
        }
    }
    let mut queued = 0;
    for committed in store.commit_all(batches).await {
        match committed {
            Ok(()) => queued += 1,
            Err(StoreError::Conflict) => {}
            Err(error) => outcome = Err(error),
        }
    }
    (queued, outcome)
}

/// What puts one dead letter back into the queue.
fn revived(
    key: &Key,
    letter: &DeadLetter,
    life: Duration,
    now: UnixMs,
) -> Result<Batch, StoreError> {
    let damaged = || StoreError::Corrupt { key: key.clone() };
    let row = postcard::to_allocvec(letter).map_err(|_| damaged())?;
    let message = Message::parse_stored(&letter.parcel.content).map_err(|_| damaged())?;
    let mut batch = Batch {
        expect: vec![(key.clone(), Expect::Equals(row.into()))],
        delete: vec![key.clone()],
        ..Batch::default()
    };
    // Each replayed delivery is a parcel of its own, numbered so that it meets no other.
    let number =
        queue::REPLAYED | letter.parcel.deliveries.first().map_or(0, |delivery| delivery.number);
    let parcel = Parcel {
        attempts: 0,
        renewed: 0,
        number,
        expires_at: now.after(life),
        ..letter.parcel.clone()
    };
    let mut entry = Entry::default();
    entry.revive();
    let app = parcel.app;
    queue::put(parcel, Arc::new(message), now, &mut batch);
    entry.queue_grew(queue::bytes_in(&batch));
    entry.write(app, &mut batch);
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_messages_from_before_a_time_are_one_range_of_each_app() {
        let at = UnixMs(1_760_000_000_000);
        let key = |app: u64, ms: u64| {
            let id = MessageId::new(UnixMs(ms), Partition::of_hash(1_023), u64::MAX);
            KeyBuilder::new(Class::DeadLetter).u64(app).u128(id.0).u16(3).finish()
        };
        let old = outdated(AppId(7), at);
        assert!(old.contains(&key(7, 0)) && old.contains(&key(7, at.0 - 1)));
        assert!(!old.contains(&key(7, at.0)), "what came at that time is kept");
        assert!(!old.contains(&key(6, 1)) && !old.contains(&key(8, 1)), "others' are others'");
    }
}
