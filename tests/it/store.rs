//! The store contract: one suite, run against every engine, and what only engines on disk promise.

mod contract;
mod disk;
mod faults;
mod model;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use offpush::model::id::Partition;
use offpush::store::directory::OpenError;
use offpush::store::faulty::FaultyStore;
use offpush::store::keys::{Class, KeyBuilder, after_prefix};
use offpush::store::memory::MemoryStore;
use offpush::store::{Batch, Expect, Key, Row, Scope, Store, StoreError, StoreMemory};
use offpush::store::{redb, sled};
use tempfile::TempDir;

/// So little that most commits are followed by a checkpoint.
const MEMORY: StoreMemory = StoreMemory { cache_bytes: 8 << 20, recent_bytes: 256 };

/// The engines that keep rows on disk.
const ON_DISK: [Backend; 2] = [Backend::Sled, Backend::Redb];

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
        Backend::Sled => Arc::new(sled::open(dir, MEMORY)?),
        Backend::Redb => Arc::new(redb::open(dir, MEMORY)?),
    })
}

fn place() -> Partition {
    Partition::of_hash(7)
}

/// A key or a value.
fn bytes<T: From<&'static str>>(text: &'static str) -> T {
    text.into()
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

/// The key of a seen mark.
fn seen(bucket: u32, digest: u128) -> Key {
    KeyBuilder::new(Class::Seen).u32(120).u32(bucket).u128(digest).finish()
}

fn is_conflict(result: &Result<(), StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict))
}
