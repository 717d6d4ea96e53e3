//! The rows that are in the journal and not yet in the engine, in memory and in key order.
//!
//! They form two generations: the **active** one takes what is committed now, the **frozen** one is
//! being written to the engine. A row is looked for in the active one, then in the frozen one, then
//! in the engine. Most parcels of a busy queue are deleted before their generation is frozen, and
//! so the engine never hears of them at all.

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::store::Key;
use crate::store::engine::{Changes, Known};

/// What a row costs in memory beside its record in the journal, about: its place in a tree.
const ROW_OVERHEAD: usize = 160;

#[derive(Default)]
struct Generations {
    active: Changes,
    active_bytes: usize,
    frozen: Option<Arc<Changes>>,
}

/// The recent rows.
#[derive(Default)]
pub struct Recent(RwLock<Generations>);

/// Recent rows of a range, as far as one look goes.
pub struct Page {
    /// In key order.
    pub rows: Vec<(Key, Known)>,
    /// Up to which key the look went, when there are more.
    pub ends_before: Option<Key>,
}

impl Recent {
    fn read(&self) -> RwLockReadGuard<'_, Generations> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Generations> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a row; `None` when only the engine can tell.
    pub fn get(&self, key: &[u8]) -> Option<Known> {
        self.read().get(key)
    }

    /// What is known of many rows, in the order asked.
    pub fn get_many<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Vec<Option<Known>> {
        let generations = self.read();
        keys.map(|key| generations.get(key)).collect()
    }

    /// Takes rows into the active generation; `bytes` is what they take in memory. Answers about
    /// how many bytes the generation holds now: what is overwritten counts on, for it lies between
    /// rows that stay.
    pub fn insert(&self, rows: impl Iterator<Item = (Key, Known)>, bytes: usize) -> usize {
        let mut generations = self.write();
        let before = generations.active.len();
        generations.active.extend_unseen(rows);
        let more = generations.active.len().saturating_sub(before);
        let fewer = before.saturating_sub(generations.active.len());
        generations.active_bytes += bytes + more * ROW_OVERHEAD;
        generations.active_bytes -= fewer * ROW_OVERHEAD;
        generations.active_bytes
    }

    /// About how many bytes the active generation holds.
    pub fn bytes(&self) -> usize {
        self.read().active_bytes
    }

    /// Freezes the active generation. `None` when there is nothing in it, or while an earlier one
    /// is still frozen.
    pub fn freeze(&self) -> Option<Arc<Changes>> {
        let mut generations = self.write();
        if generations.frozen.is_some() || generations.active.is_empty() {
            return None;
        }
        let frozen = Arc::new(std::mem::take(&mut generations.active));
        generations.active_bytes = 0;
        generations.frozen = Some(frozen.clone());
        Some(frozen)
    }

    /// Whether a generation is frozen.
    pub fn is_frozen(&self) -> bool {
        self.read().frozen.is_some()
    }

    /// Forgets this frozen generation: the engine has it. Another one that is frozen stays: a
    /// checkpoint whose journal could not be removed comes here twice.
    pub fn forget_frozen(&self, applied: &Arc<Changes>) {
        let frozen = self.write().frozen.take_if(|frozen| Arc::ptr_eq(frozen, applied));
        // Freed outside of the lock.
        drop(frozen);
    }

    /// About `most` recent rows of a range.
    pub fn page(&self, range: &Range<Key>, most: usize) -> Page {
        let generations = self.read();
        let take = |changes: &Changes| -> Vec<(Key, Known)> {
            let rows = changes.range(range).take(most + 1);
            rows.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let active = take(&generations.active);
        let frozen = generations.frozen.as_deref().map(take).unwrap_or_default();
        drop(generations);
        // Beyond the last key of a full list, that list says nothing.
        let cut = |rows: &[(Key, Known)]| rows.get(most).map(|(key, _)| key.clone());
        let ends_before = [cut(&active), cut(&frozen)].into_iter().flatten().min();
        let mut rows = merge(active, frozen);
        if let Some(end) = &ends_before {
            rows.truncate(rows.partition_point(|(key, _)| key < end));
        }
        Page { rows, ends_before }
    }
}

impl Generations {
    fn get(&self, key: &[u8]) -> Option<Known> {
        let frozen = || self.frozen.as_deref().and_then(|frozen| frozen.get(key));
        self.active.get(key).or_else(frozen).cloned()
    }
}

/// Merges two lists in key order; where both know a key, the first is right.
pub fn merge<V>(first: Vec<(Key, V)>, second: Vec<(Key, V)>) -> Vec<(Key, V)> {
    if first.is_empty() {
        return second;
    }
    if second.is_empty() {
        return first;
    }
    let mut merged = Vec::with_capacity(first.len() + second.len());
    let mut first = first.into_iter().peekable();
    for (key, value) in second {
        while let Some(row) = first.next_if(|(before, _)| *before < key) {
            merged.push(row);
        }
        match first.next_if(|(same, _)| *same == key) {
            Some(row) => merged.push(row),
            None => merged.push((key, value)),
        }
    }
    merged.extend(first);
    merged
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn row(key: &'static str, value: Option<&'static str>) -> (Key, Known) {
        (key.into(), value.map(Bytes::from))
    }

    fn range() -> Range<Key> {
        Key::from("a")..Key::from("z")
    }

    #[test]
    fn the_newest_generation_is_right() {
        let recent = Recent::default();
        recent.insert([row("a", Some("1")), row("b", Some("1"))].into_iter(), 4);
        let first = recent.freeze().expect("rows");
        recent.insert([row("a", None), row("c", Some("2"))].into_iter(), 3);
        assert_eq!(recent.get(b"a"), Some(None));
        assert_eq!(recent.get(b"b"), Some(Some(Bytes::from("1"))));
        assert_eq!(recent.get(b"d"), None);
        let page = recent.page(&range(), 10);
        assert_eq!(page.rows, [row("a", None), row("b", Some("1")), row("c", Some("2"))]);
        assert_eq!(page.ends_before, None);
        assert!(recent.freeze().is_none(), "one generation is frozen at a time");
        recent.forget_frozen(&first);
        assert_eq!(recent.get(b"b"), None);
        let second = recent.freeze().expect("rows");
        recent.forget_frozen(&first);
        assert_eq!(recent.get(b"a"), Some(None), "another generation is not forgotten with it");
        recent.forget_frozen(&second);
        assert_eq!(recent.get(b"a"), None);
    }

    #[test]
    fn a_parcel_may_come_back_under_the_key_it_had_whatever_was_frozen_meanwhile() {
        let steps = [Some("1"), None, Some("1"), None, Some("2"), None];
        // Each bit freezes before a step; what was frozen before is in the engine by then.
        for frozen_before in 0..1 << steps.len() {
            let recent = Recent::default();
            let mut engine = Changes::default();
            for (step, value) in steps.into_iter().enumerate() {
                if frozen_before >> step & 1 == 1
                    && let Some(frozen) = recent.freeze()
                {
                    engine.extend(frozen.iter().map(|(key, known)| (key.clone(), known.clone())));
                    recent.forget_frozen(&frozen);
                }
                recent.insert([row("Q1", value)].into_iter(), 3);
                let known = recent.get(b"Q1").or_else(|| engine.get(b"Q1").cloned()).flatten();
                assert_eq!(known, value.map(Bytes::from), "{frozen_before:b} at {step}");
            }
        }
    }

    #[test]
    fn a_page_says_how_far_it_went() {
        let recent = Recent::default();
        recent.insert(["b", "d", "f"].map(|key| row(key, Some("1"))).into_iter(), 6);
        recent.freeze();
        recent.insert(["c", "e"].map(|key| row(key, Some("2"))).into_iter(), 4);
        let mut all = Vec::new();
        let mut rest = range();
        loop {
            let page = recent.page(&rest, 1);
            all.extend(page.rows.into_iter().map(|(key, _)| key));
            let Some(end) = page.ends_before else { break };
            rest.start = end;
        }
        assert_eq!(all, ["b", "c", "d", "e", "f"].map(Key::from));
    }

    #[test]
    fn the_size_grows_with_the_rows_and_restarts_with_a_generation() {
        let recent = Recent::default();
        let small = recent.insert([row("a", Some("1"))].into_iter(), 2);
        let more = recent.insert([row("b", Some("1234567890"))].into_iter(), 11);
        assert!(more > small);
        recent.freeze();
        assert_eq!(recent.insert([row("a", Some("1"))].into_iter(), 2), small);
    }
}
