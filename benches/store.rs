//! What the queue asks of a store, per engine: `cargo bench --bench store`.
//!
//! Each write is one call of [`BATCHES`] batches, as a busy relay makes them, and includes the sync
//! that makes it durable. The figures are per call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use divan::{Bencher, black_box};
use offpush::model::id::Partition;
use offpush::store::memory::MemoryStore;
use offpush::store::{Batch, Expect, Key, Scope, Store, StoreMemory};
use offpush::store::{redb, sled};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Batches of one call.
const BATCHES: u64 = 64;

/// Rows that are there before a read or a claim.
const ROWS: u64 = 20_000;

/// Bytes of a value: about what a parcel takes.
const VALUE_BYTES: usize = 300;

const MEMORY: StoreMemory = StoreMemory { cache_bytes: 64 << 20, recent_bytes: 32 << 20 };

const ENGINES: [&str; 3] = ["memory", "sled", "redb"];

fn main() {
    divan::main();
}

/// A store in its own directory, and a runtime to call it from.
struct Bed {
    runtime: Runtime,
    store: Arc<dyn Store>,
    next: AtomicU64,
    _dir: TempDir,
}

impl Bed {
    fn new(engine: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store: Arc<dyn Store> = match engine {
            "sled" => Arc::new(sled::open(dir.path(), MEMORY).expect("it opens")),
            "redb" => Arc::new(redb::open(dir.path(), MEMORY).expect("it opens")),
            _ => Arc::new(MemoryStore::new()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Bed { runtime, store, next: AtomicU64::new(0), _dir: dir }
    }

    fn filled(engine: &str) -> Self {
        let bed = Bed::new(engine);
        for start in (0..ROWS).step_by(BATCHES as usize) {
            bed.commit(|number| insertion(start + number));
        }
        bed
    }

    /// Commits one batch for each of the next numbers.
    fn commit(&self, batch: impl Fn(u64) -> Batch) {
        let batches = (0..BATCHES).map(|number| (place(), batch(number))).collect();
        for answer in self.runtime.block_on(self.store.commit_all(batches)) {
            answer.expect("it commits");
        }
    }

    fn take(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Ordering::Relaxed)
    }
}

fn place() -> Partition {
    Partition::of_hash(7)
}

fn key(generation: u8, number: u64) -> Key {
    let mut key = vec![b'Q', generation];
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(&[7; 32]);
    Key::from(key)
}

fn value(number: u64) -> Bytes {
    let mut value = vec![7; VALUE_BYTES];
    value[..8].copy_from_slice(&number.to_be_bytes());
    Bytes::from(value)
}

fn insertion(number: u64) -> Batch {
    Batch { put: vec![(key(0, number), value(number))], ..Batch::default() }
}

/// A new row and two counters.
#[divan::bench(args = ENGINES, sample_count = 30)]
fn accept(bencher: Bencher, engine: &str) {
    let bed = Bed::new(engine);
    bencher.bench_local(|| {
        let start = bed.take(BATCHES);
        bed.commit(|number| {
            let mut batch = insertion(start + number);
            batch.add.push((Key::from(&b"L accepted"[..]), 1));
            batch.add.push((Key::from(&b"L queued"[..]), 1));
            batch
        });
    });
}

/// A row moves forward by its lease, if it is still what was read.
#[divan::bench(args = ENGINES, sample_count = 30)]
fn claim(bencher: Bencher, engine: &str) {
    let bed = Bed::filled(engine);
    bencher.bench_local(|| {
        let start = bed.take(BATCHES) % (ROWS - BATCHES);
        let generation = (bed.take(0) / (ROWS - BATCHES)) as u8;
        bed.commit(|number| {
            let number = start + number;
            Batch {
                expect: vec![(key(generation, number), Expect::Equals(value(number)))],
                delete: vec![key(generation, number)],
                put: vec![(key(generation + 1, number), value(number))],
                ..Batch::default()
            }
        });
    });
}

/// A finished row goes and is counted.
#[divan::bench(args = ENGINES, sample_count = 30, sample_size = 1)]
fn settle(bencher: Bencher, engine: &str) {
    let bed = Bed::filled(engine);
    bencher.bench_local(|| {
        let start = bed.take(BATCHES);
        bed.commit(|number| Batch {
            expect: vec![(key(0, start + number), Expect::Equals(value(start + number)))],
            delete: vec![key(0, start + number)],
            add: vec![(Key::from(&b"L delivered"[..]), 1)],
            ..Batch::default()
        });
    });
}

/// One row by its key.
#[divan::bench(args = ENGINES)]
fn get(bencher: Bencher, engine: &str) {
    let bed = Bed::filled(engine);
    bencher.bench_local(|| {
        let key = key(0, bed.take(7919) % ROWS);
        let found = bed.runtime.block_on(bed.store.get(place(), &key));
        black_box(found.expect("a read").expect("a row"))
    });
}

/// The next rows in key order.
#[divan::bench(args = ENGINES)]
fn scan_64(bencher: Bencher, engine: &str) {
    let bed = Bed::filled(engine);
    bencher.bench_local(|| {
        let start = bed.take(7919) % (ROWS - 64);
        let rows = bed.store.scan(Scope::Everywhere, key(0, start)..key(1, 0), 64);
        let rows = bed.runtime.block_on(rows).expect("a scan");
        assert_eq!(rows.len(), 64);
        rows
    });
}
