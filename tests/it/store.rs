//! The store contract: one suite, run against every engine, and what only engines on disk promise.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use offpush::model::id::Partition;
use offpush::store::embedded::{ENGINE_FILE, OpenError, version_key};
use offpush::store::faulty::{Fault, FaultyStore};
use offpush::store::group::{decode_counter, encode_counter};
use offpush::store::keys::{after_prefix, just_after};
use offpush::store::memory::MemoryStore;
use offpush::store::redb::RedbStore;
use offpush::store::sled::SledStore;
use offpush::store::{Batch, Expect, Key, Row, Scope, Store, StoreError};
use proptest::prelude::*;
use tempfile::TempDir;

const CACHE_BYTES: u64 = 8 << 20;

#[derive(Clone, Copy, Debug)]
enum Backend {
    Memory,
    FaultyMemory,
    Sled,
    Redb,
}

/// A new empty store and the directory it lives in.
struct Fixture {
    backend: Backend,
    dir: TempDir,
    store: Arc<dyn Store>,
}

impl Fixture {
    fn new(backend: Backend) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(backend, dir.path()).expect("an empty directory opens");
        Fixture { backend, dir, store }
    }

    /// Closes the store and opens it again. A store in memory has nothing to come back from.
    async fn reopen(&mut self) {
        if matches!(self.backend, Backend::Sled | Backend::Redb) {
            self.store.close().await;
            self.store = open(self.backend, self.dir.path()).expect("its own files open");
        }
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.store.commit(place(), batch).await
    }

    async fn get(&self, key: &'static str) -> Option<Bytes> {
        self.store.get(place(), key.as_bytes()).await.expect("a read")
    }

    async fn scan(&self, range: Range<Key>, limit: usize) -> Vec<Row> {
        self.store.scan(Scope::Everywhere, range, limit).await.expect("a scan")
    }

    async fn keys(&self, range: Range<Key>, limit: usize) -> Vec<Key> {
        self.scan(range, limit).await.into_iter().map(|(key, _)| key).collect()
    }
}

fn open(backend: Backend, dir: &Path) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match backend {
        Backend::Memory => Arc::new(MemoryStore::new()),
        Backend::FaultyMemory => Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()))),
        Backend::Sled => Arc::new(SledStore::open(dir, CACHE_BYTES)?),
        Backend::Redb => Arc::new(RedbStore::open(dir, CACHE_BYTES)?),
    })
}

fn place() -> Partition {
    Partition::of_hash(7)
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn put(rows: &[(&'static str, &'static str)]) -> Batch {
    let put = rows.iter().map(|(key, value)| (bytes(key), bytes(value))).collect();
    Batch { put, ..Batch::default() }
}

fn add(key: &'static str, change: i64) -> Batch {
    Batch { add: vec![(bytes(key), change)], ..Batch::default() }
}

fn expecting(mut batch: Batch, key: &'static str, expect: Expect) -> Batch {
    batch.expect.push((bytes(key), expect));
    batch
}

fn prefix(text: &'static str) -> Range<Key> {
    bytes(text)..after_prefix(text.as_bytes())
}

fn is_conflict(result: &Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict))
}

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
        let key = Bytes::copy_from_slice(&[b'r', round]);
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
        let own = Bytes::copy_from_slice(format!("row {number:03}").as_bytes());
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
        (Bytes::from(key), Bytes::from(vec![number as u8; 100]))
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
    let put = keys.iter().map(|key| (Bytes::copy_from_slice(key), Bytes::new())).collect();
    fixture.commit(Batch { put, ..Batch::default() }).await.expect("a commit");
    fixture.reopen().await;
    for key in keys {
        let value = fixture.store.get(place(), key).await.expect("a read");
        assert_eq!(value, Some(Bytes::new()));
    }
    let low = fixture.keys(Bytes::from_static(&[0])..Bytes::from_static(&[1]), 10).await;
    assert_eq!(low, keys[..3]);
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
            use super::{Backend, Fixture};

            cases! { $backend,
                rows_come_back_as_written
                a_later_commit_replaces_and_removes
                a_scan_is_in_key_order_and_bounded
                a_range_holds_its_start_and_not_its_end
                one_partition_finds_its_own_rows
                absent_means_absent
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

const ON_DISK: [Backend; 2] = [Backend::Sled, Backend::Redb];

#[tokio::test]
async fn a_reopened_store_keeps_everything() {
    for backend in ON_DISK {
        let mut fixture = Fixture::new(backend);
        fixture.commit(put(&[("a", "1"), ("b", "2")])).await.expect("a commit");
        fixture.commit(add("n", 4)).await.expect("a commit");
        fixture
            .commit(Batch { delete: vec![bytes("b")], ..Batch::default() })
            .await
            .expect("a commit");
        fixture.reopen().await;
        assert_eq!(fixture.keys(bytes("a")..bytes("z"), 10).await, ["a", "n"].map(bytes));
        fixture.commit(add("n", 1)).await.expect("a commit");
        fixture.reopen().await;
        assert_eq!(fixture.get("n").await, Some(encode_counter(5)));
        assert!(fixture.store.disk_bytes() > 0);
    }
}

#[tokio::test]
async fn what_was_handed_in_before_closing_is_served() {
    for backend in ON_DISK {
        let mut fixture = Fixture::new(backend);
        let commits: Vec<_> = (0..50)
            .map(|_| {
                let store = Arc::clone(&fixture.store);
                tokio::spawn(async move { store.commit(place(), add("n", 1)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        fixture.store.close().await;
        let mut served = 0;
        for commit in commits {
            served += i64::from(commit.await.expect("no panic").is_ok());
        }
        fixture.reopen().await;
        let stored = decode_counter(fixture.get("n").await.as_deref());
        assert_eq!(stored, Some(served));
        assert!(served > 0);
    }
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    for backend in ON_DISK {
        let mut fixture = Fixture::new(backend);
        fixture.commit(put(&[("a", "1")])).await.expect("a commit");
        let second = open(backend, fixture.dir.path());
        assert!(matches!(second, Err(OpenError::Locked { .. })), "{backend:?}");
        fixture.commit(put(&[("b", "2")])).await.expect("the first still works");
        fixture.reopen().await;
        assert_eq!(fixture.keys(bytes("a")..bytes("z"), 10).await, ["a", "b"].map(bytes));
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    for backend in ON_DISK {
        let fixture = Fixture::new(backend);
        let version = Bytes::copy_from_slice(&2_u32.to_be_bytes());
        let mut batch = put(&[("a", "1")]);
        batch.put.push((version_key(), version));
        fixture.commit(batch).await.expect("a commit");
        fixture.store.close().await;
        for _ in 0..2 {
            let refused = open(backend, fixture.dir.path());
            let Err(OpenError::Newer { found, known, .. }) = refused else {
                panic!("{backend:?} opened a newer format");
            };
            assert_eq!((found, known), (2, 1));
        }
    }
}

#[tokio::test]
async fn a_directory_of_another_engine_is_refused() {
    for (first, second) in [(Backend::Sled, Backend::Redb), (Backend::Redb, Backend::Sled)] {
        let mut fixture = Fixture::new(first);
        fixture.commit(put(&[("a", "1")])).await.expect("a commit");
        fixture.store.close().await;
        let refused = open(second, fixture.dir.path());
        assert!(matches!(refused, Err(OpenError::OtherEngine { .. })));
        fixture.reopen().await;
        assert_eq!(fixture.get("a").await, Some(bytes("1")));
    }
}

#[tokio::test]
async fn lost_and_spoiled_files_are_damage() {
    for (backend, file) in [(Backend::Sled, "db"), (Backend::Redb, "offpush.redb")] {
        let fixture = Fixture::new(backend);
        fixture.commit(put(&[("a", "1")])).await.expect("a commit");
        fixture.store.close().await;
        let path = fixture.dir.path().join(file);
        for spoiled in [vec![], vec![b'?'; 100_000]] {
            std::fs::write(&path, spoiled).expect("a file");
            let refused = open(backend, fixture.dir.path());
            assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{backend:?}");
        }
        std::fs::remove_file(&path).expect("a file");
        let refused = open(backend, fixture.dir.path());
        assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{backend:?}");
        assert!(fixture.dir.path().join(ENGINE_FILE).exists());
    }
}

#[tokio::test]
async fn a_few_spoiled_bytes_of_a_closed_store_are_damage() {
    for (backend, file) in [(Backend::Sled, "db"), (Backend::Redb, "offpush.redb")] {
        let fixture = Fixture::new(backend);
        let row = |number: u32| (Bytes::from(number.to_be_bytes().to_vec()), bytes("needle"));
        let batch = Batch { put: (0..2000).map(row).collect(), ..Batch::default() };
        fixture.commit(batch).await.expect("a commit");
        fixture.store.close().await;
        let path = fixture.dir.path().join(file);
        let mut content = std::fs::read(&path).expect("a file");
        let found = content.windows(6).rposition(|window| window == b"needle");
        content[found.expect("values are stored as they are")] ^= 1;
        std::fs::write(&path, content).expect("a file");
        for _ in 0..2 {
            let refused = open(backend, fixture.dir.path());
            assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{backend:?}");
        }
    }
}

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

/// One step of the model test.
#[derive(Clone, Debug)]
enum Step {
    Commit(Batch),
    CommitAll(Vec<Batch>),
    Scan(u8, u8, usize),
    Reopen,
}

fn any_key() -> impl Strategy<Value = Key> {
    (0..12_u8).prop_map(|number| Bytes::copy_from_slice(&[b'r', number]))
}

fn any_value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        (0..4_u8).prop_map(|number| Bytes::copy_from_slice(&[number])),
        (-2..3_i64).prop_map(encode_counter),
        Just(Bytes::new()),
    ]
}

fn any_expect() -> impl Strategy<Value = Expect> {
    prop_oneof![Just(Expect::Absent), any_value().prop_map(Expect::Equals)]
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let expect = prop::collection::vec((any_key(), any_expect()), 0..2);
    let put = prop::collection::vec((any_key(), any_value()), 0..4);
    let delete = prop::collection::vec(any_key(), 0..3);
    let add = prop::collection::vec((any_key(), -3..4_i64), 0..2);
    (expect, put, delete, add).prop_map(|(expect, put, delete, add)| Batch {
        expect,
        put,
        delete,
        add,
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any_batch().prop_map(Step::Commit),
        4 => prop::collection::vec(any_batch(), 0..30).prop_map(Step::CommitAll),
        3 => (0..13_u8, 0..13_u8, 0..6_usize)
            .prop_map(|(from, to, limit)| Step::Scan(from, to, limit)),
        1 => Just(Step::Reopen),
    ]
}

/// What a caller can tell apart in an answer.
fn outcome(answer: &Result<(), StoreError>) -> &'static str {
    match answer {
        Ok(()) => "ok",
        Err(StoreError::Conflict) => "conflict",
        Err(StoreError::Corrupt { .. }) => "corrupt",
        Err(_) => "other",
    }
}

async fn run_step(fixture: &mut Fixture, step: Step) -> (Vec<&'static str>, Vec<Row>) {
    let mut outcomes = Vec::new();
    let mut rows = Vec::new();
    match step {
        Step::Commit(batch) => outcomes.push(outcome(&fixture.commit(batch).await)),
        Step::CommitAll(batches) => {
            let batches = batches.into_iter().map(|batch| (place(), batch)).collect();
            outcomes.extend(fixture.store.commit_all(batches).await.iter().map(outcome));
        }
        Step::Scan(from, to, limit) => {
            let bound = |number| Bytes::copy_from_slice(&[b'r', number]);
            rows = fixture.scan(bound(from)..bound(to), limit).await;
        }
        Step::Reopen => fixture.reopen().await,
    }
    (outcomes, rows)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn every_engine_does_what_memory_does(steps in prop::collection::vec(any_step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut model = Fixture::new(Backend::Memory);
            let mut engines = ON_DISK.map(Fixture::new);
            for step in steps {
                let expected = run_step(&mut model, step.clone()).await;
                for engine in &mut engines {
                    let found = run_step(engine, step.clone()).await;
                    prop_assert_eq!(&found, &expected, "{:?}", engine.backend);
                }
            }
            let expected = model.scan(prefix("r"), usize::MAX).await;
            for engine in &mut engines {
                engine.reopen().await;
                prop_assert_eq!(&engine.scan(prefix("r"), usize::MAX).await, &expected);
            }
            Ok(())
        })?;
    }
}
