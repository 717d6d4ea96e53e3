//! The durable queue: parcels by certificate and by when they are due.
//!
//! A parcel is one row whose key begins with its certificate and its due time, so the next parcel
//! of a lane is its first row. Holding a parcel means that its row is due only when the lease
//! ends; a crash therefore needs no recovery code, because the row simply becomes due again.
//!
//! Invariants:
//! - Functions here add to a batch. Only a stage commits.
//! - A row leaves the queue, or moves, under the condition that it is still the row that was read:
//!   whoever lost the lease conflicts and is discarded.
//! - A parcel carries its content, so that nothing has to outlive it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::id::{AppId, CertId, DeviceId, MessageId, Token, UserId};
use crate::model::message::{Message, Priority};
use crate::model::time::UnixMs;
use crate::store::keys::{Class, KeyBuilder, KeyReader};
use crate::store::{Batch, Expect, Key, StoreError};
use crate::vendor::Badge;

pub mod backlog;
pub mod handover;

/// Room for a parcel's row beside content and deliveries, usually enough.
const ROW_FRAME: usize = 96;

/// Room for one delivery in a parcel's row, usually enough.
const DELIVERY_USUAL: usize = 160;

/// How far ahead of its time a row lies that may go at once, by urgency. So what is more urgent
/// goes first in the store too, and nothing waits for what came so much later.
const AHEAD: [Duration; 3] = [Duration::from_secs(600), Duration::from_secs(300), Duration::ZERO];

/// One device a parcel goes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its number within the message: names it in the trace and towards the vendor.
    pub number: u16,
    /// Receiver.
    pub user: UserId,
    /// Device.
    pub device_id: DeviceId,
    /// The token, as it was registered when this was last looked at.
    pub token: Token,
    /// When that token was registered.
    pub registered_at: UnixMs,
    /// What the badge becomes, when the message says or counts.
    pub badge: Option<Badge>,
}

/// What one vendor request carries: deliveries of one message with identical content for one
/// certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parcel {
    /// App.
    pub app: AppId,
    /// Certificate.
    pub cert_id: CertId,
    /// Message.
    pub message_id: MessageId,
    /// Its number within the message.
    pub number: u16,
    /// 0 high, 1 normal, 2 low.
    pub urgency: u8,
    /// Locale its words are in, when the words depend on one.
    pub locale: Option<String>,
    /// Sound that its devices or users prefer over the certificate's.
    pub sound: Option<String>,
    /// When the message is worth nothing any more.
    pub expires_at: UnixMs,
    /// Sendings that the vendor or the network failed; throttling and signing in do not count.
    pub attempts: u16,
    /// The certificate's revision for which a sign-in was already renewed for it; 0 for none. A
    /// rotated certificate may be renewed for again.
    pub renewed: u32,
    /// To whom.
    pub deliveries: Vec<Delivery>,
    /// The message's JSON without its receivers.
    pub content: Bytes,
}

impl Parcel {
    /// The same parcel for nobody yet.
    pub fn emptied(&self) -> Parcel {
        Parcel {
            deliveries: Vec::new(),
            locale: self.locale.clone(),
            sound: self.sound.clone(),
            content: self.content.clone(),
            ..*self
        }
    }
}

/// A parcel this process holds, with the row that proves it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The parcel.
    pub parcel: Parcel,
    /// The message, read once and shared by all parcels of it.
    pub message: Arc<Message>,
    /// The row's key.
    pub key: Key,
    /// The row's value, byte for byte.
    pub row: Bytes,
    /// Until when nobody else may take it.
    pub leased_until: UnixMs,
}

/// Bytes of the parcels that a batch writes.
pub fn bytes_in(batch: &Batch) -> i64 {
    let parcels = batch.put.iter().filter(|(key, _)| key.first() == Some(&(Class::Parcel as u8)));
    parcels.map(|(_, row)| row.len() as i64).sum()
}

/// Dead letters that are queued again are numbered from here on, so that they meet no other parcel.
pub const REPLAYED: u16 = 0x8000;

/// Parts of a parcel are numbered from here on, above every number that a plan gives.
const SPLIT: u16 = 0x4000;

/// The number of a part of a parcel, by the first delivery in it. A delivery is in one parcel at a
/// time and stays the first of its part, so no two have the same.
pub fn split_off(whole: u16, first_delivery: u16) -> u16 {
    (whole & REPLAYED) | SPLIT | first_delivery
}

/// What names a parcel, wherever its row is at the moment.
pub type ParcelId = (MessageId, u16);

impl Held {
    /// Since when it could have been sent, for whoever finds it at `now`: since it was accepted, or
    /// since it came due again after a failure. A lease that ended in between does not count.
    pub fn waits_since(&self, now: UnixMs) -> UnixMs {
        let accepted_at = self.parcel.message_id.accepted_at();
        let since = if self.is_first() { accepted_at } else { self.leased_until };
        since.min(now)
    }

    fn is_first(&self) -> bool {
        self.parcel.attempts == 0 && self.parcel.number < REPLAYED
    }

    /// When its row is to be due so that it may go at once and keeps its place among others: one
    /// that was never tried is where it would be had nobody claimed it.
    pub fn due_again(&self, now: UnixMs) -> UnixMs {
        let since = self.waits_since(now);
        // How long another waits is told by when it is due.
        if self.is_first() { at_once(since, self.parcel.urgency) } else { since }
    }

    /// Its name.
    pub fn id(&self) -> ParcelId {
        (self.parcel.message_id, self.parcel.number)
    }
}

/// The numeral of a priority.
pub fn urgency_of(priority: Priority) -> u8 {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

/// When the row of a parcel is due that was accepted at `accepted` and may go at once.
pub fn at_once(accepted: UnixMs, urgency: u8) -> UnixMs {
    let ahead = AHEAD.get(usize::from(urgency)).copied().unwrap_or_default();
    UnixMs(accepted.0.saturating_sub(u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX)))
}

fn key_of(parcel: &Parcel, due: UnixMs) -> Key {
    KeyBuilder::new(Class::Parcel)
        .u32(parcel.cert_id.0)
        .u64(due.0)
        .u128(parcel.message_id.0)
        .u16(parcel.number)
        .finish()
}

/// Adds a parcel's row, due at `due`; a due time ahead of now is a lease.
pub fn put(parcel: Parcel, message: Arc<Message>, due: UnixMs, batch: &mut Batch) -> Held {
    let room = parcel.content.len() + ROW_FRAME + DELIVERY_USUAL * parcel.deliveries.len();
    let row = postcard::to_extend(&parcel, Vec::with_capacity(room));
    let row = Bytes::from(row.expect("a parcel is plain data"));
    let (key, due) = place(&parcel, due, &row, batch);
    Held { parcel, message, key, row, leased_until: due }
}

/// Takes a parcel's row away, provided it is still there.
pub fn remove(held: &Held, batch: &mut Batch) {
    batch.expect.push((held.key.clone(), Expect::Equals(held.row.clone())));
    batch.delete.push(held.key.clone());
}

/// Moves a row to a new due time, provided it is still there: a claim, or a longer lease.
pub fn move_to(held: &mut Held, due: UnixMs, batch: &mut Batch) {
    remove(held, batch);
    (held.key, held.leased_until) = place(&held.parcel, due, &held.row, batch);
}

/// Writes a row; answers its key and when it is due. A parcel that comes to be due at the very time
/// it was due before would have the key of its old row, which is removed, and parcels are
/// [written once](Class::is_written_once): it is due a millisecond later.
fn place(parcel: &Parcel, due: UnixMs, row: &Bytes, batch: &mut Batch) -> (Key, UnixMs) {
    let key = key_of(parcel, due);
    if batch.delete.contains(&key) {
        return place(parcel, due.after(Duration::from_millis(1)), row, batch);
    }
    batch.put.push((key.clone(), row.clone()));
    (key, due)
}

/// Reads a parcel's row as the queue stores it.
///
/// # Errors
/// `Corrupt` when it cannot be read.
pub fn read(key: Key, row: Bytes) -> Result<Held, StoreError> {
    let damaged = || StoreError::Corrupt { key: key.clone() };
    let leased_until = due_of(&key).ok_or_else(damaged)?;
    let parcel: Parcel = postcard::from_bytes(&row).map_err(|_| damaged())?;
    let message = Arc::new(Message::parse_stored(&parcel.content).map_err(|_| damaged())?);
    Ok(Held { parcel, message, key, row, leased_until })
}

/// When a row is due.
pub fn due_of(key: &Key) -> Option<UnixMs> {
    let mut reader = KeyReader::new(Class::Parcel, key)?;
    reader.u32()?;
    reader.u64().map(UnixMs)
}

/// Since when a row that is due could go: no longer than its message is here.
pub fn waits_since(key: &Key) -> Option<UnixMs> {
    let (message_id, _) = id_of(key)?;
    Some(due_of(key)?.max(message_id.accepted_at()))
}

/// Which parcel a row is, without reading it.
pub fn id_of(key: &Key) -> Option<ParcelId> {
    let mut reader = KeyReader::new(Class::Parcel, key)?;
    reader.u32()?;
    reader.u64()?;
    Some((MessageId(reader.u128()?), reader.u16()?))
}

/// Which certificate a row belongs to.
pub fn certificate_of(key: &Key) -> Option<CertId> {
    KeyReader::new(Class::Parcel, key)?.u32().map(CertId)
}

/// Every parcel of every certificate.
pub fn everything() -> Range<Key> {
    KeyBuilder::new(Class::Parcel).prefix()
}

/// Every parcel of one certificate, soonest first.
pub fn of_certificate(cert_id: CertId) -> Range<Key> {
    KeyBuilder::new(Class::Parcel).u32(cert_id.0).prefix()
}

/// Every parcel of one certificate due at `now`.
pub fn due(cert_id: CertId, now: UnixMs) -> Range<Key> {
    let start = KeyBuilder::new(Class::Parcel).u32(cert_id.0).finish();
    let end = KeyBuilder::new(Class::Parcel).u32(cert_id.0).u64(now.0.saturating_add(1)).finish();
    start..end
}

/// How long to wait before sending attempt `attempts + 1`: exponential with full jitter.
/// `random` is from 0 to 1.
pub fn backoff(attempts: u16, base: Duration, longest: Duration, random: f64) -> Duration {
    let doubled = base.saturating_mul(1u32.checked_shl(u32::from(attempts)).unwrap_or(u32::MAX));
    let ceiling = doubled.min(longest);
    // Never zero: a vendor that fails at once would be asked again in a tight loop.
    ceiling.mul_f64(random.clamp(0.0, 1.0)).max(base / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel() -> Parcel {
        Parcel {
            app: AppId(1),
            cert_id: CertId(7),
            message_id: MessageId(99),
            number: 2,
            urgency: 1,
            locale: None,
            sound: None,
            expires_at: UnixMs(10_000),
            attempts: 0,
            renewed: 0,
            deliveries: Vec::new(),
            content: Bytes::from_static(
                br#"{"From_Account":"a","MsgRandom":1,"OfflinePushInfo":{"Desc":"x"}}"#,
            ),
        }
    }

    #[test]
    fn a_row_is_read_back_and_its_key_tells_when_and_whose() {
        let message = Arc::new(Message::parse_stored(&parcel().content).expect("content"));
        let mut batch = Batch::default();
        let held = put(parcel(), message, UnixMs(500), &mut batch);
        assert_eq!(due_of(&held.key), Some(UnixMs(500)));
        assert_eq!(certificate_of(&held.key), Some(CertId(7)));
        assert_eq!(id_of(&held.key), Some((MessageId(99), 2)));
        assert!(due(CertId(7), UnixMs(500)).contains(&held.key));
        assert!(!due(CertId(7), UnixMs(499)).contains(&held.key));
        assert!(!due(CertId(8), UnixMs(500)).contains(&held.key));
        let again = read(held.key.clone(), held.row.clone()).expect("its own row");
        assert_eq!(again.parcel, held.parcel);
    }

    #[test]
    fn what_may_go_at_once_lies_by_urgency_then_by_time_and_a_retry_by_its_time() {
        let held = |seconds: u64, urgency, attempts| {
            let accepted = UnixMs(seconds * 1_000);
            let id = MessageId::new(accepted, MessageId(99).partition(), 0);
            let message = Arc::new(Message::parse_stored(&parcel().content).expect("content"));
            let parcel = Parcel { message_id: id, urgency, attempts, ..parcel() };
            put(parcel, message, UnixMs(9_000_000), &mut Batch::default())
        };
        let due = |seconds, urgency, attempts| {
            let held = held(seconds, urgency, attempts);
            let again = held.due_again(UnixMs(5_000_000));
            let key = key_of(&held.parcel, again);
            let since = waits_since(&key).expect("a parcel's key");
            (again.0 / 1_000, since.0 / 1_000)
        };
        assert_eq!(due(1_000, 2, 0), (1_000, 1_000));
        assert_eq!(due(1_000, 1, 0), (700, 1_000));
        assert_eq!(due(1_000, 0, 0), (400, 1_000));
        assert_eq!(due(1_700, 0, 0), (1_100, 1_700), "nobody waits for all that come later");
        assert_eq!(due(1_000, 0, 1), (5_000, 5_000));
        assert_eq!(due(1, 0, 0), (0, 1));
    }

    #[test]
    fn moving_a_row_is_conditional_on_the_row() {
        let message = Arc::new(Message::parse_stored(&parcel().content).expect("content"));
        let mut held = put(parcel(), message, UnixMs(500), &mut Batch::default());
        let before = held.key.clone();
        let mut batch = Batch::default();
        move_to(&mut held, UnixMs(900), &mut batch);
        assert_eq!(batch.expect, [(before.clone(), Expect::Equals(held.row.clone()))]);
        assert_eq!(batch.delete, [before]);
        assert_eq!(due_of(&held.key), Some(UnixMs(900)));
    }

    #[test]
    fn a_parcel_that_is_due_again_when_it_was_due_before_stays_in_the_queue() {
        let message = Arc::new(Message::parse_stored(&parcel().content).expect("content"));
        let mut held = put(parcel(), message.clone(), UnixMs(500), &mut Batch::default());
        let mut batch = Batch::default();
        remove(&held, &mut batch);
        let again = put(Parcel { attempts: 1, ..parcel() }, message, UnixMs(500), &mut batch);
        assert_eq!((again.leased_until, due_of(&again.key)), (UnixMs(501), Some(UnixMs(501))));
        assert_eq!(batch.put, [(again.key, again.row)]);
        assert_eq!(batch.delete, [held.key.clone()]);
        let mut batch = Batch::default();
        move_to(&mut held, UnixMs(500), &mut batch);
        assert_eq!((held.leased_until, due_of(&held.key)), (UnixMs(501), Some(UnixMs(501))));
        assert_eq!((batch.put.len(), batch.delete.len()), (1, 1));
    }

    #[test]
    fn back_off_grows_stays_under_its_ceiling_and_is_never_zero() {
        let base = Duration::from_secs(1);
        let longest = Duration::from_secs(60);
        assert_eq!(backoff(0, base, longest, 1.0), base);
        assert_eq!(backoff(3, base, longest, 1.0), Duration::from_secs(8));
        assert_eq!(backoff(40, base, longest, 1.0), longest);
        assert_eq!(backoff(3, base, longest, 0.0), base / 4);
    }
}
