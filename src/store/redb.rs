//! The redb engine: one file, one table, one write transaction per group of commits.
//!
//! redb's promises are those of [`Store`]: a commit is atomic and on disk when
//! it returns, and readers see committed groups only. After an error of the file system redb
//! refuses everything until it is opened again, which the writer thread does. No type of redb
//! leaves this file.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use crate::model::id::Partition;
use crate::store::embedded::{
    OpenError, closed, directory_bytes, fenced, fenced_open, io_failure, prepare, probe,
    settle_format, sync_directory, take_down, unavailable,
};
use crate::store::group::Chunk;
use crate::store::writer::{Engine, Writer};
use crate::store::{Batch, Key, Row, Scope, Store, StoreError};

/// The engine's name in settings, logs and the store directory.
pub const NAME: &str = "redb";

/// The file in the store directory.
const FILE: &str = "offpush.redb";

/// The one table.
const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");

/// The table as a reader holds it: one state of the store, however long it is held.
type Snapshot = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A store on disk, by redb.
pub struct RedbStore {
    shared: Arc<ArcSwapOption<Database>>,
    writer: Writer,
    dir: PathBuf,
}

impl RedbStore {
    /// Opens the store in `dir`, or makes an empty one. `cache_bytes` bounds redb's page cache.
    ///
    /// # Errors
    /// See [`OpenError`]; each kind is something else for the operator to do.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, OpenError> {
        prepare(dir, NAME)?;
        let shared = Arc::new(ArcSwapOption::empty());
        let mut engine = RedbEngine {
            dir: dir.to_owned(),
            cache_bytes: usize::try_from(cache_bytes).unwrap_or(usize::MAX),
            shared: Arc::clone(&shared),
            snapshot: None,
        };
        let opened = engine.open().and_then(|()| settle_format(&mut engine, dir, NAME));
        if let Err(error) = opened {
            engine.shut();
            return Err(error);
        }
        let writer = Writer::start(engine).map_err(|error| OpenError::io(dir, error))?;
        Ok(RedbStore { shared, writer, dir: dir.to_owned() })
    }

    /// Runs a read on the last committed state. A store without its table has no rows, for which
    /// `T`'s default stands.
    fn read<T: Default>(
        &self,
        work: impl FnOnce(&Snapshot) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let db = self.shared.load();
        let db = db.as_ref().ok_or_else(closed)?;
        fenced(|| match snapshot(db)? {
            Some(rows) => work(&rows),
            None => Ok(T::default()),
        })
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn get(&self, _: Partition, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read(|rows| get(rows, key))
    }

    async fn get_many(&self, keys: &[(Partition, Key)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.read(|rows| keys.iter().map(|(_, key)| get(rows, key)).collect())
    }

    async fn scan(
        &self,
        _: Scope,
        range: Range<Key>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        self.read(|rows| {
            let failure = |error| read_failure(error, &range.start);
            let found =
                rows.range::<&[u8]>(range.start.as_ref()..range.end.as_ref()).map_err(failure)?;
            found
                .take(limit)
                .map(|row| {
                    let (key, value) = row.map_err(failure)?;
                    let key = Bytes::copy_from_slice(key.value());
                    Ok((key, Bytes::copy_from_slice(value.value())))
                })
                .collect()
        })
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> Result<(), StoreError> {
        self.writer.commit(partition, batch).await
    }

    async fn commit_all(&self, batches: Vec<(Partition, Batch)>) -> Vec<Result<(), StoreError>> {
        self.writer.commit_all(batches).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        probe(self).await
    }

    fn disk_bytes(&self) -> u64 {
        directory_bytes(&self.dir)
    }

    fn engine(&self) -> &'static str {
        NAME
    }

    async fn close(&self) {
        self.writer.close().await;
    }
}

/// The writer's side.
struct RedbEngine {
    dir: PathBuf,
    cache_bytes: usize,
    shared: Arc<ArcSwapOption<Database>>,
    /// The state before the next group, opened by the group's first read. Held no longer than
    /// that: redb cannot reuse pages a reader may still see.
    snapshot: Option<Snapshot>,
}

impl RedbEngine {
    fn open(&mut self) -> Result<(), OpenError> {
        let dir = &self.dir;
        let db = fenced_open(dir, || {
            Database::builder()
                .set_cache_size(self.cache_bytes)
                // Without it redb trusts a file that was closed cleanly and would hand out
                // spoiled values. It reads the whole file, as opening after a crash does anyway.
                .set_check_integrity_on_open(true)
                .create(dir.join(FILE))
                .map_err(|error| open_failure(dir, error.into()))
        })?;
        sync_directory(dir).map_err(|error| OpenError::io(dir, error))?;
        self.shared.store(Some(Arc::new(db)));
        Ok(())
    }

    fn db(&self) -> Result<Arc<Database>, StoreError> {
        self.shared.load_full().ok_or_else(closed)
    }

    fn current(&mut self) -> Result<Option<&Snapshot>, StoreError> {
        if self.snapshot.is_none() {
            self.snapshot = snapshot(&*self.db()?)?;
        }
        Ok(self.snapshot.as_ref())
    }
}

impl Engine for RedbEngine {
    /// A group is one transaction.
    const CHUNK_ROWS: usize = usize::MAX;

    fn read(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.current()? {
            Some(rows) => get(rows, key),
            None => Ok(None),
        }
    }

    fn is_empty(&mut self) -> Result<bool, StoreError> {
        match self.current()? {
            Some(rows) => Ok(rows.first().map_err(|error| read_failure(error, &[]))?.is_none()),
            None => Ok(true),
        }
    }

    fn apply(&mut self, chunks: Vec<Chunk>) -> Result<(), StoreError> {
        self.snapshot = None;
        let db = self.db()?;
        let mut transaction = db.begin_write().map_err(write_failure)?;
        transaction.set_durability(Durability::Immediate).map_err(write_failure)?;
        {
            let mut rows = transaction.open_table(ROWS).map_err(write_failure)?;
            for (key, value) in chunks.iter().flatten() {
                match value {
                    Some(value) => rows.insert(key.as_ref(), value.as_ref()),
                    None => rows.remove(key.as_ref()),
                }
                .map_err(write_failure)?;
            }
        }
        transaction.commit().map_err(write_failure)
    }

    fn shut(&mut self) {
        self.snapshot = None;
        take_down(&self.shared);
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.open().map_err(|error| match error {
            OpenError::Io { source, .. } => io_failure(source),
            other => unavailable(other.to_string()),
        })
    }
}

/// The last committed state; `None` while the table was never written.
fn snapshot(db: &Database) -> Result<Option<Snapshot>, StoreError> {
    let transaction = db.begin_read().map_err(write_failure)?;
    match transaction.open_table(ROWS) {
        Ok(rows) => Ok(Some(rows)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(write_failure(error)),
    }
}

fn get(rows: &Snapshot, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
    let value = rows.get(key).map_err(|error| read_failure(error, key))?;
    Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
}

fn read_failure(error: redb::StorageError, key: &[u8]) -> StoreError {
    match error {
        redb::StorageError::Corrupted(_) => {
            StoreError::Corrupt { key: Bytes::copy_from_slice(key) }
        }
        other => write_failure(other),
    }
}

fn write_failure(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => io_failure(error),
        other => unavailable(other.to_string()),
    }
}

fn open_failure(dir: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            OpenError::Locked { dir: dir.to_owned() }
        }
        redb::Error::Io(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            OpenError::io(dir, error)
        }
        other => OpenError::damaged(dir, other.to_string()),
    }
}
