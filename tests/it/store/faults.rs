//! The store that fails on request fails as requested.

use std::collections::BTreeSet;
use std::sync::Arc;

use offpush::store::faulty::{Fault, FaultyStore};
use offpush::store::memory::MemoryStore;
use offpush::store::{Store, StoreError, decode_counter, encode_counter};

use crate::store::{add, place};

#[tokio::test]
async fn injected_faults_come_where_they_were_planned() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    store.fail_call(2, Fault::Full);
    store.fail_call(3, Fault::AnswerLost);
    assert!(store.commit(place(), add("n", 1)).await.is_ok());
    let full = store.commit(place(), add("n", 1)).await;
    assert!(matches!(full, Err(StoreError::Full)));
    let lost = store.commit_all(vec![(place(), add("n", 1))]).await;
    assert!(matches!(lost[..], [Err(StoreError::Unavailable(_))]));
    let count = store.get(place(), b"n").await.expect("a read");
    assert_eq!(count, Some(encode_counter(2)));
    store.set_always(Some(Fault::Unavailable));
    assert!(store.check().await.is_err());
    store.set_always(None);
    assert!(store.check().await.is_ok());
    assert_eq!(store.calls(), 6);
}

#[tokio::test]
async fn a_crashed_store_fails_until_it_restarts_and_keeps_what_was_applied() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    for (fault, counted) in [(Fault::CrashBefore, 0), (Fault::CrashAfter, 1)] {
        store.fail_call(store.calls() + 1, fault);
        assert!(store.commit(place(), add("n", 1)).await.is_err());
        assert!(store.is_crashed());
        assert!(store.commit(place(), add("n", 1)).await.is_err());
        assert!(store.get(place(), b"n").await.is_err());
        store.restart();
        let value = store.get(place(), b"n").await.expect("a read");
        assert_eq!(decode_counter(value.as_deref()), Some(counted));
    }
}

#[tokio::test]
async fn random_faults_repeat_with_their_seed() {
    let mut patterns = BTreeSet::new();
    for _ in 0..2 {
        let store = FaultyStore::new(Arc::new(MemoryStore::new()));
        store.fail_randomly(5, 0.5, Fault::Unavailable);
        let mut pattern = Vec::new();
        for _ in 0..64 {
            pattern.push(store.get(place(), b"n").await.is_ok());
        }
        assert!(pattern.contains(&true) && pattern.contains(&false));
        patterns.insert(pattern);
    }
    assert_eq!(patterns.len(), 1);
}
