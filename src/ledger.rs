//! The ledger: counters in which `accepted = Σ terminals + in flight`, always.
//!
//! Every stage adds to its counters in the very batch that makes the change, so no crash can tell
//! them apart. `in_flight` is kept as a counter of its own and not computed, or the balance would
//! prove nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::Serialize;

use crate::model::id::AppId;
use crate::model::reason::{Reason, Terminal};
use crate::store::keys::{Class, KeyBuilder, KeyReader};
use crate::store::{Batch, Key, Scope, Store, StoreError, decode_counter};

const ACCEPTED: u16 = 0;
const IN_FLIGHT: u16 = 1;
const DUPLICATES: u16 = 2;
const QUEUED_BYTES: u16 = 3;
/// Terminals other than suppressed, from here on.
const TERMINALS: u16 = 16;
/// Suppressed, one slot per reason, from here on.
const SUPPRESSED: u16 = 256;

/// Most counters read for one answer: slots in use times apps.
const COUNTERS_MAX: usize = 1_000_000;

/// What a batch changes in the ledger of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    accepted: i64,
    in_flight: i64,
    duplicates: i64,
    queued_bytes: i64,
    ended: Vec<(u16, i64)>,
}

impl Entry {
    /// One delivery was accepted and waits to be sent.
    pub fn accept_in_flight(&mut self) {
        self.accepted += 1;
        self.in_flight += 1;
    }

    /// One delivery was accepted and ended in the same breath.
    pub fn accept_ended(&mut self, terminal: Terminal) {
        self.accepted += 1;
        self.add(terminal);
    }

    /// One delivery that was in flight ended.
    pub fn end(&mut self, terminal: Terminal) {
        self.in_flight -= 1;
        self.add(terminal);
    }

    /// One delivery that had ended as a dead letter is in flight again.
    pub fn revive(&mut self) {
        self.in_flight += 1;
        let slot = slot_of(Terminal::DeadLetter);
        self.ended.push((slot, -1));
    }

    /// One message was a repeat and was not accepted.
    pub fn duplicate(&mut self) {
        self.duplicates += 1;
    }

    /// The queue's rows take so many bytes more, or fewer.
    pub fn queue_grew(&mut self, bytes: i64) {
        self.queued_bytes += bytes;
    }

    fn add(&mut self, terminal: Terminal) {
        let slot = slot_of(terminal);
        match self.ended.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, count)) => *count += 1,
            None => self.ended.push((slot, 1)),
        }
    }

    /// Adds the entry to a batch.
    pub fn write(&self, app: AppId, batch: &mut Batch) {
        let fixed = [
            (ACCEPTED, self.accepted),
            (IN_FLIGHT, self.in_flight),
            (DUPLICATES, self.duplicates),
            (QUEUED_BYTES, self.queued_bytes),
        ];
        for (slot, count) in fixed.into_iter().chain(self.ended.iter().copied()) {
            if count != 0 {
                batch.add.push((key(app, slot), count));
            }
        }
    }
}

fn slot_of(terminal: Terminal) -> u16 {
    match terminal {
        Terminal::Suppressed(reason) => SUPPRESSED + reason as u16,
        plain => {
            let index = Terminal::PLAIN.iter().position(|known| *known == plain);
            TERMINALS + index.map_or(0, |index| index as u16)
        }
    }
}

fn key(app: AppId, slot: u16) -> Key {
    KeyBuilder::new(Class::Ledger).u64(app.0).u16(slot).finish()
}

/// What waits in the queue, as the stages count it between two readings of the ledger.
#[derive(Debug, Default)]
pub struct Waiting {
    deliveries: AtomicI64,
    bytes: AtomicI64,
}

impl Waiting {
    /// Takes over what the ledger says.
    pub fn follow(&self, ledger: &Ledger) {
        self.deliveries.store(ledger.in_flight, Ordering::Relaxed);
        self.bytes.store(ledger.queued_bytes, Ordering::Relaxed);
    }

    /// So many deliveries and bytes more, or fewer.
    pub fn grew(&self, deliveries: i64, bytes: i64) {
        self.deliveries.fetch_add(deliveries, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Deliveries in flight.
    pub fn deliveries(&self) -> i64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// Bytes of queued parcels.
    pub fn bytes(&self) -> i64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The ledger of one app, or of all together, as `GET /v1/ledger` answers it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Deliveries accepted.
    pub accepted: i64,
    /// Deliveries waiting to be sent or settled.
    pub in_flight: i64,
    /// Deliveries ended, by terminal.
    pub terminals: Terminals,
    /// Whether `accepted = Σ terminals + in_flight`.
    pub balanced: bool,
    /// Messages that were repeats; they are not accepted and so not part of the balance.
    pub duplicates: i64,
    /// Bytes that the queue's rows take.
    pub queued_bytes: i64,
}

/// The ended part of a [`Ledger`]; zero counts are left out of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Terminals {
    /// Everything but suppressed.
    #[serde(flatten)]
    pub plain: BTreeMap<&'static str, i64>,
    /// Suppressed, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub suppressed: BTreeMap<&'static str, i64>,
}

impl Terminals {
    /// Deliveries that ended.
    pub fn total(&self) -> i64 {
        self.plain.values().sum::<i64>() + self.suppressed.values().sum::<i64>()
    }
}

/// Reads the ledger of `app`, or of all apps.
///
/// # Errors
/// The store's.
pub async fn read(store: &Arc<dyn Store>, app: Option<AppId>) -> Result<Ledger, StoreError> {
    let prefix = KeyBuilder::new(Class::Ledger);
    let range = match app {
        Some(app) => prefix.u64(app.0).prefix(),
        None => prefix.prefix(),
    };
    let rows = store.scan(Scope::Everywhere, range, COUNTERS_MAX).await?;
    let mut ledger = Ledger::default();
    for (key, value) in rows {
        let damaged = || StoreError::Corrupt { key: key.clone() };
        let count = decode_counter(Some(&value)).ok_or_else(damaged)?;
        let mut reader = KeyReader::new(Class::Ledger, &key).ok_or_else(damaged)?;
        let slot = reader.u64().and_then(|_| reader.u16()).ok_or_else(damaged)?;
        ledger.count(slot, count);
    }
    ledger.terminals.plain.retain(|_, count| *count != 0);
    ledger.terminals.suppressed.retain(|_, count| *count != 0);
    ledger.balanced = ledger.accepted == ledger.terminals.total() + ledger.in_flight;
    Ok(ledger)
}

impl Ledger {
    fn count(&mut self, slot: u16, count: i64) {
        match slot {
            ACCEPTED => self.accepted += count,
            IN_FLIGHT => self.in_flight += count,
            DUPLICATES => self.duplicates += count,
            QUEUED_BYTES => self.queued_bytes += count,
            SUPPRESSED.. => {
                if let Some(reason) = Reason::ALL.get(usize::from(slot - SUPPRESSED)) {
                    *self.terminals.suppressed.entry(reason.as_str()).or_default() += count;
                }
            }
            _ => {
                if let Some(plain) =
                    Terminal::PLAIN.get(usize::from(slot.saturating_sub(TERMINALS)))
                {
                    *self.terminals.plain.entry(plain.as_str()).or_default() += count;
                }
            }
        }
    }
}
