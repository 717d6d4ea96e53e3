//! What every store promises, as one suite.

use std::sync::Arc;

use bytes::Bytes;
use offpush::store::keys::{after_prefix, just_after};
use offpush::store::{Batch, Expect, Key, Scope, StoreError, encode_counter};

use crate::store::{Fixture, add, bytes, expecting, is_conflict, place, prefix, put, seen};

async fn rows_come_back_as_written(fixture: Fixture) {
    fixture.commit(put(&[("a", "1"), ("b", "2")])).await.expect("a commit");
    assert_eq!(fixture.get("a").await, Some(bytes("1")));
    assert_eq!(fixture.get("c").await, None);
    let asked = ["b", "c", "a", "b"].map(|key| (place(), bytes(key)));
    let found = fixture.store.get_many(&asked).await.expect("reads");
    assert_eq!(found, [Some(bytes("2")), None, Some(bytes("1")), Some(bytes("2"))]);
    assert!(fixture.store.get_many(&[]).await.expect("no reads").is_empty());
}

async fn a_later_commit_replaces_and_removes(fixture: Fixture) {
    fixture.commit(put(&[("a", "1"), ("b", "2")])).await.expect("a commit");
    let mut change = put(&[("a", "3")]);
    change.delete = vec![bytes("b"), bytes("never there")];
    fixture.commit(change).await.expect("a commit");
    assert_eq!(fixture.get("a").await, Some(bytes("3")));
    assert_eq!(fixture.get("b").await, None);
}

async fn a_scan_is_in_key_order_and_bounded(fixture: Fixture) {
    let rows = [("r3", "c"), ("r1", "a"), ("q9", "-"), ("r2", "b"), ("s0", "-"), ("r10", "x")];
    fixture.commit(put(&rows)).await.expect("a commit");
    let all = ["r1", "r10", "r2", "r3"].map(bytes);
    assert_eq!(fixture.keys(prefix("r"), usize::MAX).await, all);
    assert_eq!(fixture.keys(prefix("r"), 2).await, all[..2]);
    assert!(fixture.keys(prefix("r"), 0).await.is_empty());
    let rest = just_after(b"r10")..after_prefix(b"r");
    assert_eq!(fixture.keys(rest, 10).await, all[2..]);
}

async fn a_range_holds_its_start_and_not_its_end(fixture: Fixture) {
    fixture.commit(put(&[("a", "1"), ("b", "2"), ("c", "3")])).await.expect("a commit");
    assert_eq!(fixture.keys(bytes("a")..bytes("c"), 10).await, ["a", "b"].map(bytes));
    assert!(fixture.keys(bytes("b")..bytes("b"), 10).await.is_empty());
    assert!(fixture.keys(bytes("c")..bytes("a"), 10).await.is_empty());
}

async fn one_partition_finds_its_own_rows(fixture: Fixture) {
    fixture.commit(put(&[("p1", "a"), ("p2", "b")])).await.expect("a commit");
    let found = fixture.store.scan(Scope::Only(place()), prefix("p"), 10).await.expect("a scan");
    assert_eq!(found, fixture.scan(prefix("p"), 10).await);
    assert_eq!(found.len(), 2);
}

async fn absent_means_absent(fixture: Fixture) {
    let claim = expecting(put(&[("a", "1")]), "a", Expect::Absent);
    assert!(fixture.commit(claim.clone()).await.is_ok());
    assert!(is_conflict(&fixture.commit(claim.clone()).await));
    let removal = Batch { delete: vec![bytes("a")], ..Batch::default() };
    fixture.commit(removal).await.expect("a commit");
    assert!(fixture.commit(claim).await.is_ok());
}

async fn a_seen_mark_is_found_however_old_it_is(mut fixture: Fixture) {
    let first = |bucket, digest| Batch {
        expect: vec![(seen(bucket, digest), Expect::Absent)],
        put: vec![(seen(bucket, digest), bytes("1"))],
        ..Batch::default()
    };
    for bucket in 0..12 {
        assert!(fixture.commit(first(bucket, 1)).await.is_ok());
        assert!(fixture.commit(first(bucket, 2)).await.is_ok());
        if bucket == 5 {
            fixture.reopen().await;
        }
        for older in 0..=bucket {
            assert!(is_conflict(&fixture.commit(first(older, 1)).await));
            assert!(is_conflict(&fixture.commit(first(older, 2)).await));
        }
    }
    let removal = Batch { delete: vec![seen(11, 1)], ..Batch::default() };
    fixture.commit(removal).await.expect("a commit");
    assert!(fixture.commit(first(11, 1)).await.is_ok());
}

async fn equals_means_every_byte(fixture: Fixture) {
    let change = |value| expecting(put(&[("a", "new")]), "a", Expect::Equals(bytes(value)));
    assert!(is_conflict(&fixture.commit(change("")).await));
    fixture.commit(put(&[("a", "old")])).await.expect("a commit");
    assert!(is_conflict(&fixture.commit(change("ol")).await));
    assert!(is_conflict(&fixture.commit(change("olds")).await));
    assert!(fixture.commit(change("old")).await.is_ok());
    assert_eq!(fixture.get("a").await, Some(bytes("new")));
}

async fn a_conflict_changes_nothing(fixture: Fixture) {
    fixture.commit(put(&[("a", "1"), ("b", "2")])).await.expect("a commit");
    let mut batch = put(&[("a", "9"), ("c", "9")]);
    batch.delete.push(bytes("b"));
    batch.add.push((bytes("n"), 5));
    let batch = expecting(batch, "a", Expect::Equals(bytes("1")));
    let batch = expecting(batch, "b", Expect::Absent);
    assert!(is_conflict(&fixture.commit(batch).await));
    let rows = fixture.scan(bytes("a")..bytes("z"), 10).await;
    assert_eq!(rows, [("a", "1"), ("b", "2")].map(|(key, value)| (bytes(key), bytes(value))));
}

async fn a_row_that_is_no_counter_changes_nothing(fixture: Fixture) {
    fixture.commit(put(&[("n", "text")])).await.expect("a commit");
    let mut batch = add("n", 1);
    batch.add.push((bytes("m"), 1));
    batch.put.push((bytes("a"), bytes("1")));
    assert!(matches!(fixture.commit(batch).await, Err(StoreError::Corrupt { .. })));
    assert_eq!(fixture.keys(bytes("a")..bytes("z"), 10).await, [bytes("n")]);
}

async fn counters_start_at_zero_and_go_both_ways(fixture: Fixture) {
    fixture.commit(add("n", 5)).await.expect("a commit");
    let mut twice = add("n", -7);
    twice.add.push((bytes("n"), 1));
    fixture.commit(twice).await.expect("a commit");
    assert_eq!(fixture.get("n").await, Some(encode_counter(-1)));
}

async fn additions_come_first_then_puts_then_deletes(fixture: Fixture) {
    let mut batch = add("a", 1);
    batch.put = vec![(bytes("a"), bytes("x")), (bytes("a"), bytes("y"))];
    batch.put.push((bytes("b"), bytes("z")));
    batch.delete.push(bytes("b"));
    fixture.commit(batch).await.expect("a commit");
    assert_eq!(fixture.get("a").await, Some(bytes("y")));
    assert_eq!(fixture.get("b").await, None);
}

async fn concurrent_additions_are_never_lost(fixture: Fixture) {
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let store = Arc::clone(&fixture.store);
            tokio::spawn(async move {
                for _ in 0..20 {
                    store.commit(place(), add("n", 3)).await.expect("additions never conflict");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(fixture.get("n").await, Some(encode_counter(16 * 20 * 3)));
}

async fn of_concurrent_claims_exactly_one_wins(fixture: Fixture) {
    for round in 0..10_u8 {
        let key = Key::from(&[b'r', round][..]);
        let tasks: Vec<_> = (0..16_u8)
            .map(|racer| {
                let store = Arc::clone(&fixture.store);
                let batch = Batch {
                    expect: vec![(key.clone(), Expect::Absent)],
                    put: vec![(key.clone(), Bytes::copy_from_slice(&[racer]))],
                    ..Batch::default()
                };
                tokio::spawn(async move { (racer, store.commit(place(), batch).await) })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            match task.await.expect("no panic") {
                (racer, Ok(())) => winners.push(racer),
                (_, result) => assert!(is_conflict(&result)),
            }
        }
        assert_eq!(winners.len(), 1);
        let held = fixture.store.get(place(), &key).await.expect("a read");
        assert_eq!(held.as_deref(), Some(&winners[..]));
    }
}

async fn batches_of_one_call_stand_alone_and_in_order(fixture: Fixture) {
    let batches = [
        put(&[("a", "1")]),
        expecting(put(&[("a", "2"), ("x", "bad")]), "a", Expect::Absent),
        expecting(put(&[("a", "3")]), "a", Expect::Equals(bytes("1"))),
        Batch { delete: vec![bytes("a")], ..Batch::default() },
        expecting(put(&[("b", "4")]), "a", Expect::Absent),
    ];
    let batches = batches.into_iter().map(|batch| (place(), batch)).collect();
    let answers = fixture.store.commit_all(batches).await;
    let went: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(went, [true, false, true, true, true]);
    assert!(is_conflict(&answers[1]));
    assert_eq!(fixture.keys(bytes("a")..bytes("z"), 10).await, [bytes("b")]);
    assert!(fixture.store.commit_all(Vec::new()).await.is_empty());
}

async fn one_call_with_many_batches_changes_the_same_rows_in_order(fixture: Fixture) {
    let batches = (0..300_u16).map(|number| {
        let mut batch = add("n", 1);
        batch.put.push((bytes("last"), Bytes::copy_from_slice(&number.to_be_bytes())));
        let own = Key::from(format!("row {number:03}").as_str());
        batch.put.push((own, Bytes::new()));
        (place(), batch)
    });
    let answers = fixture.store.commit_all(batches.collect()).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(fixture.get("n").await, Some(encode_counter(300)));
    assert_eq!(fixture.get("last").await.as_deref(), Some(&299_u16.to_be_bytes()[..]));
    assert_eq!(fixture.keys(prefix("row "), usize::MAX).await.len(), 300);
}

async fn a_batch_of_two_thousand_rows_is_one_batch(mut fixture: Fixture) {
    let row = |number: u32| {
        let key = [b"r".as_slice(), &number.to_be_bytes()].concat();
        // Together more than an engine writes in one transaction.
        (Key::from(key), Bytes::from(vec![number as u8; 1_000]))
    };
    let batch = Batch { put: (0..2000).map(row).collect(), ..Batch::default() };
    fixture.commit(batch.clone()).await.expect("a commit");
    fixture.reopen().await;
    assert_eq!(fixture.scan(prefix("r"), usize::MAX).await, batch.put);
    let refused = expecting(batch, "absent", Expect::Equals(bytes("x")));
    assert!(is_conflict(&fixture.commit(refused).await));
}

async fn empty_values_and_binary_keys_are_rows(mut fixture: Fixture) {
    let keys = [&[0_u8][..], &[0, 0], &[0, 0xFF], &[b'x', 0, b'y'], &[0xFE, 0xFF, 0xFF]];
    let put = keys.iter().map(|key| (Key::from(*key), Bytes::new())).collect();
    fixture.commit(Batch { put, ..Batch::default() }).await.expect("a commit");
    fixture.reopen().await;
    for key in keys {
        let value = fixture.store.get(place(), key).await.expect("a read");
        assert_eq!(value, Some(Bytes::new()));
    }
    let low = fixture.keys(Key::from(&[0][..])..Key::from(&[1][..]), 10).await;
    assert_eq!(low, keys[..3].iter().map(|key| Key::from(*key)).collect::<Vec<_>>());
    let present = expecting(Batch::default(), "x\0y", Expect::Equals(Bytes::new()));
    assert!(fixture.commit(present).await.is_ok());
}

async fn large_values_come_back(mut fixture: Fixture) {
    let value = Bytes::from(vec![0xA5; 300_000]);
    let batch = Batch { put: vec![(bytes("big"), value.clone())], ..Batch::default() };
    fixture.commit(batch).await.expect("a commit");
    fixture.reopen().await;
    assert_eq!(fixture.get("big").await, Some(value));
}

async fn a_batch_that_only_expects_changes_nothing(fixture: Fixture) {
    assert!(fixture.commit(Batch::default()).await.is_ok());
    let question = expecting(Batch::default(), "a", Expect::Absent);
    assert!(fixture.commit(question.clone()).await.is_ok());
    fixture.commit(put(&[("a", "1")])).await.expect("a commit");
    assert!(is_conflict(&fixture.commit(question).await));
}

async fn a_healthy_store_passes_its_check(fixture: Fixture) {
    fixture.store.check().await.expect("healthy");
    fixture.store.check().await.expect("still healthy");
    assert!(fixture.keys(bytes("a")..bytes("z"), 10).await.is_empty());
}

async fn a_closed_store_answers_unavailable(fixture: Fixture) {
    fixture.commit(put(&[("a", "1")])).await.expect("a commit");
    fixture.store.close().await;
    fixture.store.close().await;
    let is_unavailable = |error: StoreError| matches!(error, StoreError::Unavailable(_));
    let read = fixture.store.get(place(), b"a").await;
    assert!(read.is_err_and(is_unavailable));
    let reads = fixture.store.get_many(&[(place(), bytes("a"))]).await;
    assert!(reads.is_err_and(is_unavailable));
    let scan = fixture.store.scan(Scope::Everywhere, prefix("a"), 1).await;
    assert!(scan.is_err_and(is_unavailable));
    assert!(fixture.commit(put(&[("a", "2")])).await.is_err_and(is_unavailable));
    let many = fixture.store.commit_all(vec![(place(), add("n", 1)), (place(), add("n", 1))]).await;
    assert_eq!(many.len(), 2);
    assert!(many.into_iter().all(|answer| answer.is_err_and(is_unavailable)));
    assert!(fixture.store.check().await.is_err_and(is_unavailable));
}

macro_rules! cases {
    ($backend:expr, $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(Fixture::new($backend)).await;
            }
        )+
    };
}

macro_rules! contract {
    ($module:ident, $backend:expr) => {
        mod $module {
            use crate::store::{Backend, Fixture};

            cases! { $backend,
                rows_come_back_as_written
                a_later_commit_replaces_and_removes
                a_scan_is_in_key_order_and_bounded
                a_range_holds_its_start_and_not_its_end
                one_partition_finds_its_own_rows
                absent_means_absent
                a_seen_mark_is_found_however_old_it_is
                equals_means_every_byte
                a_conflict_changes_nothing
                a_row_that_is_no_counter_changes_nothing
                counters_start_at_zero_and_go_both_ways
                additions_come_first_then_puts_then_deletes
                concurrent_additions_are_never_lost
                of_concurrent_claims_exactly_one_wins
                batches_of_one_call_stand_alone_and_in_order
                one_call_with_many_batches_changes_the_same_rows_in_order
                a_batch_of_two_thousand_rows_is_one_batch
                empty_values_and_binary_keys_are_rows
                large_values_come_back
                a_batch_that_only_expects_changes_nothing
                a_healthy_store_passes_its_check
                a_closed_store_answers_unavailable
            }
        }
    };
}

contract!(memory, Backend::Memory);
contract!(faulty_without_faults, Backend::FaultyMemory);
contract!(sled, Backend::Sled);
contract!(redb, Backend::Redb);
