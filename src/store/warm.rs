//! Rows of people at hand, in front of an engine.
//!
//! Accounts, owners of tokens and badges are looked for when a message is accepted, and
//! milliseconds later again, when it is sent; who is busy gets many. An engine walks its tree each
//! time. Here a row lies in its [place](Places) until another row of the same place is read.
//!
//! What is held is what the engine holds. Changes reach an engine through [`Engine::apply`] alone,
//! and rows of people among them are held from then on: whoever got a message is likely to get
//! another. Until then the embedded store finds their newer values among the recent rows.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::store::directory::OpenError;
use crate::store::engine::{Changes, Engine, Known};
use crate::store::keys::Class;
use crate::store::places::Places;
use crate::store::{Key, Row, StoreError};

/// Bytes of the engine's cache for which one row is held.
const CACHE_BYTES_PER_ROW: usize = 512;

/// Longest row held, its key included, in bytes.
const ROW_BYTES_MAX: usize = 896;

/// An engine, and rows of people it was asked for lately.
pub struct Warm<E> {
    engine: E,
    places: Places<Option<(Key, Known)>>,
    /// Counts what may have changed rows: a row read before is not held after.
    changes: AtomicU64,
}

impl<E: Engine> Warm<E> {
    /// An engine whose own cache takes `cache_bytes`; the rows held here take about twice that
    /// at most, with what holding them costs, and usually two thirds.
    pub fn new(engine: E, cache_bytes: usize) -> Self {
        let places = Places::new(cache_bytes / CACHE_BYTES_PER_ROW);
        Warm { engine, places, changes: AtomicU64::new(0) }
    }

    fn hold(&self, key: &[u8], known: &Known, read_at: u64) {
        if !is_short(key, known) {
            return;
        }
        let mut place = self.places.of(key);
        // Whoever changes rows counts first and looks into the places afterwards.
        if self.changes.load(Ordering::SeqCst) == read_at {
            *place = Some((Key::from(key), known.clone()));
        }
    }

    /// Holds what the engine has now; after an error, when some of it may be there, nothing of it.
    fn learn(&self, changes: &Changes, is_applied: bool) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        for (key, known) in changes.iter().filter(|(key, _)| is_of_people(key)) {
            let mut place = self.places.of(key);
            if is_applied && is_short(key, known) {
                // A copy: a recent row keeps the whole of its journal record in memory.
                let known = known.as_deref().map(Bytes::copy_from_slice);
                *place = Some((key.clone(), known));
            } else if place.as_ref().is_some_and(|(held, _)| held == key) {
                *place = None;
            }
        }
    }

    fn let_go_of_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.places.clear();
    }
}

fn is_short(key: &[u8], known: &Known) -> bool {
    key.len() + known.as_ref().map_or(0, Bytes::len) <= ROW_BYTES_MAX
}

/// Rows of messages are looked for once, rows of people again and again.
fn is_of_people(key: &[u8]) -> bool {
    const CLASSES: [Class; 4] = [Class::User, Class::Owner, Class::Badge, Class::ReceiveOption];
    CLASSES.iter().any(|class| key.first() == Some(&(*class as u8)))
}

impl<E: Engine> Engine for Warm<E> {
    const NAME: &'static str = E::NAME;

    fn open(&self) -> Result<(), OpenError> {
        self.let_go_of_all();
        self.engine.open()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if !is_of_people(key) {
            return self.engine.get(key);
        }
        if let Some((held, known)) = &*self.places.of(key)
            && **held == *key
        {
            return Ok(known.clone());
        }
        let read_at = self.changes.load(Ordering::SeqCst);
        let known = self.engine.get(key)?;
        self.hold(key, &known, read_at);
        Ok(known)
    }

    fn scan(&self, range: &Range<Key>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.engine.scan(range, limit)
    }

    fn apply(&self, changes: &Changes, rest: &dyn Fn(Duration)) -> Result<(), StoreError> {
        let applied = self.engine.apply(changes, rest);
        self.learn(changes, applied.is_ok());
        applied
    }

    fn shut(&self) {
        self.engine.shut();
        self.let_go_of_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;

    /// Counts how often it is asked for a row.
    #[derive(Default)]
    struct Counting {
        rows: Mutex<Changes>,
        asked: AtomicUsize,
        fails: AtomicBool,
    }

    impl Engine for Counting {
        const NAME: &'static str = "counting";

        fn open(&self) -> Result<(), OpenError> {
            Ok(())
        }

        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            Ok(self.rows.lock().expect("no panic").get(key).cloned().flatten())
        }

        fn scan(&self, _: &Range<Key>, _: usize) -> Result<Vec<Row>, StoreError> {
            Ok(Vec::new())
        }

        fn apply(&self, changes: &Changes, _: &dyn Fn(Duration)) -> Result<(), StoreError> {
            if self.fails.load(Ordering::SeqCst) {
                return Err(StoreError::Full);
            }
            let rows = changes.iter().map(|(key, value)| (key.clone(), value.clone()));
            self.rows.lock().expect("no panic").extend(rows);
            Ok(())
        }

        fn shut(&self) {}
    }

    fn warm() -> Warm<Counting> {
        Warm::new(Counting::default(), 64 * CACHE_BYTES_PER_ROW)
    }

    /// What it answers, and how often the engine was asked for that.
    fn get(warm: &Warm<Counting>, key: &str) -> (Known, usize) {
        let before = warm.engine.asked.load(Ordering::SeqCst);
        let known = warm.get(key.as_bytes()).expect("an open engine");
        (known, warm.engine.asked.load(Ordering::SeqCst) - before)
    }

    fn write(warm: &Warm<Counting>, key: &'static str, value: Option<&[u8]>) {
        let value = value.map(Bytes::copy_from_slice);
        warm.apply(&[(Key::from(key), value)].into_iter().collect(), &|_| ())
            .expect("an open engine");
    }

    #[test]
    fn a_row_of_people_is_read_once_at_most() {
        let warm = warm();
        assert_eq!(get(&warm, "U1"), (None, 1));
        assert_eq!(get(&warm, "U1"), (None, 0), "that there is none is held, too");
        write(&warm, "U1", Some(b"a"));
        assert_eq!(get(&warm, "U1"), (Some("a".into()), 0), "what is written is held");
        write(&warm, "S1", Some(b"b"));
        assert_eq!(get(&warm, "U1"), (Some("a".into()), 0));
        write(&warm, "U1", None);
        assert_eq!(get(&warm, "U1"), (None, 0));
        warm.shut();
        assert_eq!(get(&warm, "U1"), (None, 1));
    }

    #[test]
    fn rows_of_messages_and_long_rows_are_not_held() {
        let warm = warm();
        write(&warm, "S1", Some(b"a"));
        write(&warm, "U1", Some(&[b'a'; ROW_BYTES_MAX + 1]));
        for key in ["S1", "U1"] {
            assert_eq!(get(&warm, key).1, 1);
            assert_eq!(get(&warm, key).1, 1, "{key}");
        }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_held_after_it() {
        let warm = warm();
        let read_at = warm.changes.load(Ordering::SeqCst);
        write(&warm, "U1", Some(b"new"));
        warm.hold(b"U1", &Some("old".into()), read_at);
        assert_eq!(get(&warm, "U1"), (Some("new".into()), 0));
    }

    #[test]
    fn of_what_an_engine_failed_to_write_nothing_is_held() {
        let warm = warm();
        write(&warm, "U1", Some(b"old"));
        warm.engine.fails.store(true, Ordering::SeqCst);
        let changes = [(Key::from("U1"), Some("new".into()))].into_iter().collect();
        assert!(warm.apply(&changes, &|_| ()).is_err());
        assert_eq!(get(&warm, "U1"), (Some("old".into()), 1));
    }

    #[test]
    fn rows_of_one_place_displace_each_other() {
        let warm = Warm::new(Counting::default(), 0);
        write(&warm, "U1", Some(b"a"));
        write(&warm, "U2", Some(b"b"));
        assert_eq!(get(&warm, "U2"), (Some("b".into()), 0));
        for (key, value) in [("U1", "a"), ("U2", "b"), ("U1", "a")] {
            assert_eq!(get(&warm, key), (Some(value.into()), 1));
        }
    }
}
