//! The redb engine: one file, one table, a few write transactions per checkpoint.
//!
//! redb's promises are those of [`Engine`]: a transaction is atomic and on disk when it is
//! committed. Readers share one snapshot, replaced after each transaction: it costs nothing to open
//! then, and redb reuses the pages it holds one checkpoint later. After an error of the file system
//! redb refuses everything until it is opened again. No type of redb leaves this file.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction,
};

use crate::store::directory::{
    CHECKED_BYTES_MAX, OpenError, closed, fenced_open, io_failure, sync_directory, take_down,
    unavailable,
};
use crate::store::embedded::Embedded;
use crate::store::engine::{Changes, Engine, Known};
use crate::store::warm::Warm;
use crate::store::{Key, Row, StoreError, StoreMemory};

/// The engine's name in settings, logs and the store directory.
pub const NAME: &str = "redb";

/// The file in the store directory.
const FILE: &str = "offpush.redb";

/// The one table.
const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");

/// A transaction takes no further row once it has so many bytes. A generation is not written at
/// once: what is committed meanwhile waits for the disk behind each flush, so flushes are to be
/// short.
const TRANSACTION_BYTES: usize = 1 << 20;

/// The table as readers hold it: one state of the store, however long it is held.
type Snapshot = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// redb as an engine.
pub struct Redb {
    dir: PathBuf,
    cache_bytes: usize,
    db: ArcSwapOption<Database>,
    /// The state after the last transaction.
    snapshot: ArcSwapOption<Snapshot>,
}

/// Opens the store in `dir`, or makes an empty one. `memory.cache_bytes` bounds redb's page cache.
///
/// # Errors
/// See [`OpenError`]; each kind is something else for the operator to do.
pub fn open(dir: &Path, memory: StoreMemory) -> Result<Embedded<Warm<Redb>>, OpenError> {
    let engine = Redb {
        dir: dir.to_owned(),
        cache_bytes: memory.cache_bytes,
        db: ArcSwapOption::empty(),
        snapshot: ArcSwapOption::empty(),
    };
    Embedded::open(dir, Warm::new(engine, memory.cache_bytes), memory.recent_bytes)
}

impl Redb {
    fn read<T: Default>(
        &self,
        work: impl FnOnce(&Snapshot) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.snapshot.load().as_ref() {
            Some(rows) => work(rows),
            // Without its table the store has no rows, for which the default stands.
            None if self.db.load().is_some() => Ok(T::default()),
            None => Err(closed()),
        }
    }

    fn renew_snapshot(&self, db: &Database) -> Result<(), StoreError> {
        self.snapshot.store(snapshot(db)?.map(Arc::new));
        Ok(())
    }
}

impl Engine for Redb {
    const NAME: &'static str = NAME;

    fn open(&self) -> Result<(), OpenError> {
        let dir = &self.dir;
        let path = dir.join(FILE);
        let is_checked = std::fs::metadata(&path).is_ok_and(|file| file.len() <= CHECKED_BYTES_MAX);
        let db = fenced_open(dir, || {
            Database::builder()
                .set_cache_size(self.cache_bytes)
                // Without it redb trusts a file and would hand out spoiled values.
                .set_check_integrity_on_open(is_checked)
                .create(path)
                .map_err(|error| open_failure(dir, error.into()))
        })?;
        sync_directory(dir).map_err(|error| OpenError::io(dir, error))?;
        let db = Arc::new(db);
        self.renew_snapshot(&db).map_err(|error| OpenError::io(dir, io::Error::other(error)))?;
        self.db.store(Some(db));
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read(|rows| {
            let value = rows.get(key).map_err(|error| read_failure(error, key))?;
            Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
        })
    }

    fn scan(&self, range: &Range<Key>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.read(|rows| {
            let failure = |error| read_failure(error, &range.start);
            let found =
                rows.range::<&[u8]>(range.start.as_ref()..range.end.as_ref()).map_err(failure)?;
            found
                .take(limit)
                .map(|row| {
                    let (key, value) = row.map_err(failure)?;
                    let key = Key::from(key.value());
                    Ok((key, Bytes::copy_from_slice(value.value())))
                })
                .collect()
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a checkpoint has no runtime whose clock it asks"
    )]
    fn apply(&self, changes: &Changes, rest: &dyn Fn(Duration)) -> Result<(), StoreError> {
        let db = self.db.load_full().ok_or_else(closed)?;
        let mut rows = changes.iter().peekable();
        while rows.peek().is_some() {
            let started = Instant::now();
            let mut transaction = db.begin_write().map_err(write_failure)?;
            transaction.set_durability(Durability::Immediate).map_err(write_failure)?;
            // Opening after a crash then need not read the whole file.
            transaction.set_quick_repair(true);
            write_some(&transaction, &mut rows).map_err(write_failure)?;
            transaction.commit().map_err(write_failure)?;
            self.renew_snapshot(&db)?;
            if rows.peek().is_some() {
                rest(started.elapsed());
            }
        }
        Ok(())
    }

    fn shut(&self) {
        // The snapshot holds the database open.
        take_down(&self.snapshot);
        take_down(&self.db);
    }
}

/// Writes rows of a generation, as many as one transaction takes.
fn write_some<'a>(
    transaction: &WriteTransaction,
    rows: &mut impl Iterator<Item = (&'a Key, &'a Known)>,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(ROWS)?;
    let mut bytes = 0;
    while bytes < TRANSACTION_BYTES
        && let Some((key, value)) = rows.next()
    {
        bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        match value {
            Some(value) => table.insert(key.as_ref(), value.as_ref())?,
            None => table.remove(key.as_ref())?,
        };
    }
    Ok(())
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

fn read_failure(error: redb::StorageError, key: &[u8]) -> StoreError {
    match error {
        redb::StorageError::Corrupted(_) => StoreError::Corrupt { key: key.into() },
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
