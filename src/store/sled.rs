//! The sled engine, inside a fence.
//!
//! sled is close to what the relay needs, but its promises are not the ones of [`Engine`], so this
//! file adds what is missing:
//!
//! * `flush` starts writing without waiting for the disk (on Linux it ends in `sync_file_range`),
//!   so each checkpoint ends with an `fsync` of sled's own files, and only then does it count;
//! * one thread writes, because concurrent flushes on one tree can deadlock;
//! * a `sled::Batch` holds about [`CHUNK_ROWS`] rows: large ones make memory and disk grow without
//!   bound, small ones keep both at the size of the live rows;
//! * the cache size is always given, as the default is 1 GiB;
//! * a missing log is noticed (see [`crate::store::embedded`]), where sled would start empty;
//! * a clean close writes the digest of the log to [`SEAL_FILE`] and opening compares it, because
//!   sled drops the rest of a spoiled log in silence, as if it had never been written. After a
//!   crash there is no seal, and what is torn at the end of the log is in the journal still.
//!
//! No type of sled leaves this file.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::store::directory::{
    CHECKED_BYTES_MAX, OpenError, closed, fenced_open, io_failure, sync_directory, take_down,
    unavailable, wait_until,
};
use crate::store::embedded::Embedded;
use crate::store::engine::{Changes, Engine};
use crate::store::warm::Warm;
use crate::store::{Key, Row, StoreError, StoreMemory};

/// The engine's name in settings, logs and the store directory.
pub const NAME: &str = "sled";

/// Rows of one `sled::Batch`.
const CHUNK_ROWS: usize = 64;

/// How often sled's own thread wakes. Nothing durable depends on it, but it is the only place
/// where sled cleans half-empty segments of its log.
const HOUSEKEEPING_MS: u64 = 200;

/// sled's log file in the store directory; the lock is on it.
const LOG_FILE: &str = "db";

/// Holds the digest of the log while the store is cleanly closed; gone while it is open.
pub const SEAL_FILE: &str = "offpush.seal";

/// Characters of a digest in the seal.
const DIGEST_CHARS: usize = 64;

/// Where sled puts values too large for its log.
const BLOB_DIRECTORY: &str = "blobs";

/// sled as an engine.
pub struct Sled {
    dir: PathBuf,
    cache_bytes: u64,
    db: ArcSwapOption<sled::Db>,
    files: Mutex<Files>,
}

/// What the fence knows of sled's files.
#[derive(Default)]
struct Files {
    /// Our own handle on sled's log, to sync it.
    log: Option<File>,
    /// Blob files that are synced already, or were there at opening.
    known_blobs: HashSet<OsString>,
    /// Open, and the last checkpoint went well: closing now is a clean close.
    sound: bool,
}

/// Opens the store in `dir`, or makes an empty one. `memory.cache_bytes` bounds sled's page cache.
///
/// # Errors
/// See [`OpenError`]; each kind is something else for the operator to do.
pub fn open(dir: &Path, memory: StoreMemory) -> Result<Embedded<Warm<Sled>>, OpenError> {
    let engine = Sled {
        dir: dir.to_owned(),
        cache_bytes: memory.cache_bytes as u64,
        db: ArcSwapOption::empty(),
        files: Mutex::default(),
    };
    Embedded::open(dir, Warm::new(engine, memory.cache_bytes), memory.recent_bytes)
}

impl Sled {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&sled::Db) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let db = self.db.load();
        work(db.as_ref().ok_or_else(closed)?)
    }
}

impl Files {
    /// What sled's `flush` leaves undone.
    fn sync(&mut self, dir: &Path) -> io::Result<()> {
        let blobs = blob_names(dir)?;
        if blobs != self.known_blobs {
            let directory = dir.join(BLOB_DIRECTORY);
            for name in blobs.difference(&self.known_blobs) {
                match File::open(directory.join(name)) {
                    Ok(blob) => blob.sync_all()?,
                    // sled removed it again: its row is gone.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            sync_directory(&directory)?;
            self.known_blobs = blobs;
        }
        match &self.log {
            Some(log) => log.sync_data(),
            None => Err(io::Error::other("the log is not open")),
        }
    }
}

impl Engine for Sled {
    const NAME: &'static str = NAME;

    fn open(&self) -> Result<(), OpenError> {
        if is_locked(&self.dir) {
            return Err(OpenError::Locked { dir: self.dir.clone() });
        }
        break_seal(&self.dir)?;
        let config = sled::Config::new()
            .path(&self.dir)
            .cache_capacity(self.cache_bytes)
            .flush_every_ms(Some(HOUSEKEEPING_MS))
            .mode(sled::Mode::LowSpace);
        let db = fenced_open(&self.dir, || {
            config.open().map_err(|error| open_failure(&self.dir, error))
        })?;
        let mut files = self.files();
        let prepared = File::open(self.dir.join(LOG_FILE)).and_then(|log| {
            files.log = Some(log);
            files.known_blobs = blob_names(&self.dir)?;
            sync_directory(&self.dir.join(BLOB_DIRECTORY))?;
            sync_directory(&self.dir)
        });
        prepared.map_err(|error| OpenError::io(&self.dir, error))?;
        files.sound = true;
        self.db.store(Some(Arc::new(db)));
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read(|db| {
            let value = db.get(key).map_err(|error| read_failure(error, key))?;
            Ok(value.map(|value| Bytes::copy_from_slice(&value)))
        })
    }

    fn scan(&self, range: &Range<Key>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.read(|db| {
            let rows = db.range::<&[u8], _>(range.start.as_ref()..range.end.as_ref());
            rows.take(limit)
                .map(|row| {
                    let (key, value) = row.map_err(|error| read_failure(error, &range.start))?;
                    Ok((Key::from(key.as_ref()), Bytes::copy_from_slice(&value)))
                })
                .collect()
        })
    }

    fn apply(&self, changes: &Changes, _: &dyn Fn(Duration)) -> Result<(), StoreError> {
        let db = self.db.load_full().ok_or_else(closed)?;
        let mut files = self.files();
        files.sound = false;
        let mut rows = changes.iter().peekable();
        while rows.peek().is_some() {
            let mut batch = sled::Batch::default();
            for (key, value) in rows.by_ref().take(CHUNK_ROWS) {
                match value {
                    Some(value) => batch.insert(key.as_ref(), value.as_ref()),
                    None => batch.remove(key.as_ref()),
                }
            }
            db.apply_batch(batch).map_err(write_failure)?;
        }
        db.flush().map_err(write_failure)?;
        files.sync(&self.dir).map_err(io_failure)?;
        files.sound = true;
        Ok(())
    }

    fn shut(&self) {
        take_down(&self.db);
        let mut files = self.files();
        files.log = None;
        // sled's threads let go of the file a moment after the last handle is dropped.
        if !wait_until(|| !is_locked(&self.dir)) {
            tracing::warn!("sled has not released its files yet");
        } else if std::mem::take(&mut files.sound)
            && let Err(error) = seal(&self.dir)
        {
            tracing::warn!(%error, "the closed store has no seal; the next opening trusts its log");
        }
    }
}

/// Whether anyone, in this process or another, holds sled's lock. A directory without a log is
/// free.
fn is_locked(dir: &Path) -> bool {
    File::open(dir.join(LOG_FILE))
        .is_ok_and(|log| matches!(log.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Writes down what the log is now that it is closed, unless it is too large to be read again.
fn seal(dir: &Path) -> io::Result<()> {
    if fs::metadata(dir.join(LOG_FILE))?.len() > CHECKED_BYTES_MAX {
        return Ok(());
    }
    let mut file = File::create(dir.join(SEAL_FILE))?;
    file.write_all(log_digest(dir)?.as_bytes())?;
    file.sync_all()?;
    sync_directory(dir)
}

/// Compares the log with its seal, if it has one, and removes the seal before the log changes.
fn break_seal(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(SEAL_FILE);
    let io = |error| OpenError::io(dir, error);
    let sealed = match fs::read_to_string(&path) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    // A crash while sealing leaves less than a digest, which says nothing about the log.
    if sealed.len() == DIGEST_CHARS {
        match log_digest(dir) {
            Ok(found) if found == sealed => {}
            Ok(_) => {
                return Err(OpenError::damaged(dir, "its log changed since it was closed"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::damaged(dir, "its log is gone"));
            }
            Err(error) => return Err(io(error)),
        }
    }
    fs::remove_file(&path).and_then(|()| sync_directory(dir)).map_err(io)
}

/// The SHA-256 of sled's log, in hex.
fn log_digest(dir: &Path) -> io::Result<String> {
    let mut log = File::open(dir.join(LOG_FILE))?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match log.read(&mut buffer)? {
            0 => return Ok(hex::encode(context.finish())),
            count => context.update(&buffer[..count]),
        }
    }
}

fn blob_names(dir: &Path) -> io::Result<HashSet<OsString>> {
    fs::read_dir(dir.join(BLOB_DIRECTORY))?.map(|entry| Ok(entry?.file_name())).collect()
}

fn read_failure(error: sled::Error, key: &[u8]) -> StoreError {
    match error {
        sled::Error::Corruption { .. } => StoreError::Corrupt { key: key.into() },
        other => write_failure(other),
    }
}

fn write_failure(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => io_failure(error),
        other => unavailable(other.to_string()),
    }
}

fn open_failure(dir: &Path, error: sled::Error) -> OpenError {
    match error {
        sled::Error::Io(_) if is_locked(dir) => OpenError::Locked { dir: dir.to_owned() },
        sled::Error::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            OpenError::io(dir, error)
        }
        other => OpenError::damaged(dir, other.to_string()),
    }
}
