//! The directory of an embedded store: opening it, the format version, closing, and errors.
//!
//! A store directory holds the engine's own files and one small file of ours, [`ENGINE_FILE`],
//! which names the engine. It is written last, after the format version row is durable. So a
//! directory that has the file but no version row has lost its data, and a directory of one engine
//! is never opened empty by another.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::model::id::Partition;
use crate::store::engine::{Changes, Engine};
use crate::store::keys::{Class, KeyBuilder};
use crate::store::{Batch, Key, Store, StoreError};

/// The newest format of rows this build can read and the one it writes. Since 2 there is a journal,
/// which an older build would overlook; 1 is brought to 2 when it is opened.
pub const FORMAT: u32 = 2;

/// The file that names the engine of a store directory.
pub const ENGINE_FILE: &str = "offpush.engine";

/// Engine files up to this size are read whole when a store is opened, to find spoiled bytes. Of
/// larger ones, which would delay the start by seconds, only what is used is looked at.
pub(crate) const CHECKED_BYTES_MAX: u64 = 512 << 20;

/// How long closing waits for readers that are still inside the engine.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// How long closing pauses between two looks.
const CLOSE_PAUSE: Duration = Duration::from_micros(200);

/// Why a store directory could not be opened. Each message says what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, has the directory open.
    #[error(
        "the store in {dir} is in use: stop the other process, or give this one its own data_dir"
    )]
    Locked {
        /// The store directory.
        dir: PathBuf,
    },
    /// The files cannot be trusted.
    #[error(
        "the store in {dir} is damaged ({hint}): restore the directory from a backup, or move it \
         away to start empty"
    )]
    Damaged {
        /// The store directory.
        dir: PathBuf,
        /// What was found.
        hint: String,
    },
    /// A later build wrote it. Nothing was changed.
    #[error(
        "the store in {dir} has format {found} and this build knows up to {known}: run the newer \
         build"
    )]
    Newer {
        /// The store directory.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format this build knows, [`FORMAT`].
        known: u32,
    },
    /// It was written by another engine. Nothing was changed.
    #[error(
        "the store in {dir} belongs to the engine {found}: set store.engine to it, or choose \
         another data_dir"
    )]
    OtherEngine {
        /// The store directory.
        dir: PathBuf,
        /// The engine that wrote it.
        found: String,
    },
    /// The file system refused.
    #[error("the store in {dir} cannot be opened: check that it exists, is writable and has room")]
    Io {
        /// The store directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// A [`OpenError::Damaged`] of this directory.
    pub(crate) fn damaged(dir: &Path, hint: impl Into<String>) -> Self {
        OpenError::Damaged { dir: dir.to_owned(), hint: hint.into() }
    }

    /// A [`OpenError::Io`] of this directory.
    pub(crate) fn io(dir: &Path, source: io::Error) -> Self {
        OpenError::Io { dir: dir.to_owned(), source }
    }
}

/// An `Unavailable` that says this.
pub(crate) fn unavailable(text: impl Into<String>) -> StoreError {
    StoreError::Unavailable(text.into().into())
}

/// What every call answers after `close`, and while a broken engine is being opened again.
pub(crate) fn closed() -> StoreError {
    unavailable("the store is closed")
}

/// The same failure once more, for the next caller it concerns.
pub(crate) fn repeated(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full => StoreError::Full,
        StoreError::Unavailable(source) => unavailable(source.to_string()),
        other => unavailable(other.to_string()),
    }
}

/// What an error of the file system means to the caller.
pub(crate) fn io_failure(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Unavailable(error.into()),
    }
}

/// Runs engine code; a panic in it becomes `Unavailable`. Damaged files can make an engine panic,
/// and a damaged file must not take the process down.
pub(crate) fn fenced<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(unavailable("the storage engine panicked")))
}

/// As [`fenced`], for opening: a panic there means damaged files.
pub(crate) fn fenced_open<T>(
    dir: &Path,
    work: impl FnOnce() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(OpenError::damaged(dir, "the storage engine panicked on it")))
}

/// Creates the directory, readable by its owner only, unless it exists, and refuses the directory
/// of another engine.
pub(crate) fn prepare(dir: &Path, engine: &str) -> Result<(), OpenError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| OpenError::io(dir, error))?;
    match fs::read_to_string(dir.join(ENGINE_FILE)) {
        Ok(found) if found.trim() != engine => {
            Err(OpenError::OtherEngine { dir: dir.to_owned(), found: found.trim().to_owned() })
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::io(dir, error)),
    }
}

/// The key of the format version row.
pub fn version_key() -> Key {
    KeyBuilder::new(Class::Version).finish()
}

/// The value of the format version row for this format.
pub fn version_value(format: u32) -> Bytes {
    Bytes::copy_from_slice(&format.to_be_bytes())
}

/// Checks the format version of an opened engine, or writes it when the store is new.
pub(crate) fn settle_format<E: Engine>(engine: &E, dir: &Path) -> Result<(), OpenError> {
    let refused = |error: StoreError| match error {
        StoreError::Corrupt { .. } => OpenError::damaged(dir, "the version row cannot be read"),
        other => OpenError::io(dir, io::Error::other(other)),
    };
    let marker = dir.join(ENGINE_FILE);
    let write_version = || {
        let row = (version_key(), Some(version_value(FORMAT)));
        engine.apply(&Changes::from_iter([row]), &|_| ()).map_err(refused)
    };
    match engine.get(&version_key()).map_err(refused)? {
        Some(value) => {
            let found = <[u8; 4]>::try_from(value.as_ref())
                .map(u32::from_be_bytes)
                .map_err(|_| OpenError::damaged(dir, "the version row is not a number"))?;
            if found > FORMAT {
                return Err(OpenError::Newer { dir: dir.to_owned(), found, known: FORMAT });
            }
            if found < FORMAT {
                write_version()?;
            }
        }
        None if marker.exists() => {
            return Err(OpenError::damaged(dir, "its rows are gone"));
        }
        None if !is_empty(engine).map_err(refused)? => {
            return Err(OpenError::damaged(dir, "the version row is gone"));
        }
        None => write_version()?,
    }
    if !marker.exists() {
        write_marker(dir, &marker, E::NAME).map_err(|error| OpenError::io(dir, error))?;
    }
    Ok(())
}

fn is_empty<E: Engine>(engine: &E) -> Result<bool, StoreError> {
    let everything = Key::from(&[0][..])..Key::from(&[u8::MAX][..]);
    Ok(engine.scan(&everything, 1)?.is_empty())
}

/// Writes the engine file under another name first, so that it is never seen half written.
fn write_marker(dir: &Path, marker: &Path, name: &str) -> io::Result<()> {
    let draft = dir.join(format!("{ENGINE_FILE}.new"));
    fs::write(&draft, format!("{name}\n"))?;
    File::open(&draft)?.sync_all()?;
    fs::rename(&draft, marker)?;
    sync_directory(dir)
}

/// Makes the names of new files in a directory durable.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Bytes of all files under a directory; what cannot be read counts as zero.
pub(crate) fn directory_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => directory_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Takes the open engine away from new readers, waits for those inside, and closes it.
pub(crate) fn take_down<T>(shared: &ArcSwapOption<T>) {
    let Some(mut handle) = shared.swap(None) else { return };
    let closed = wait_until(|| Arc::get_mut(&mut handle).is_some());
    if !closed {
        tracing::warn!("a reader still holds the store open");
    }
}

/// Waits, not for ever, until something holds. Closing is rare and the wait is short.
#[expect(clippy::disallowed_methods, reason = "runs on the thread that closes, which may block")]
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !holds() {
        if started.elapsed() > CLOSE_PATIENCE {
            return false;
        }
        std::thread::sleep(CLOSE_PAUSE);
    }
    true
}

/// Writes a probe row and reads it back: what [`Store::check`] promises.
pub(crate) async fn probe(store: &impl Store) -> Result<(), StoreError> {
    let partition = Partition::of_hash(0);
    let key = KeyBuilder::new(Class::Version).text("probe").finish();
    let value = Bytes::from_static(b"probe");
    let batch = Batch { put: vec![(key.clone(), value.clone())], ..Batch::default() };
    store.commit(partition, batch).await?;
    match store.get(partition, &key).await? {
        Some(found) if found == value => Ok(()),
        _ => Err(StoreError::Corrupt { key }),
    }
}
