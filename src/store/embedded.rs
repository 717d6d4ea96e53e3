//! A store on this machine's disk: a journal that makes commits durable, the recent rows in memory,
//! and an [`Engine`] that keeps the rest.
//!
//! ```text
//! commit ── writer thread ── journal (synced) ── recent rows ── checkpoint thread ── engine
//! read   ── recent rows, else engine, of which rows of people are kept warm
//! ```
//!
//! Opening brings what the journal holds into the engine. Readers see a group when it is durable.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::id::Partition;
use crate::store::checkpoint::Checkpoints;
use crate::store::directory::{
    OpenError, directory_bytes, fenced, fenced_open, prepare, probe, settle_format,
};
use crate::store::engine::{Engine, Known};
use crate::store::journal::{self, Journal};
use crate::store::recent::{Recent, merge};
use crate::store::writer::{Parts, Writer};
use crate::store::{Batch, Key, Row, Scope, Store, StoreError};
use crate::turns::give_way;

/// Most recent rows looked at together by a scan.
const RECENT_PAGE: usize = 256;

/// Fewest recent rows looked at together by a scan, if there are as many.
const RECENT_PAGE_MIN: usize = 8;

/// A store on disk.
pub struct Embedded<E> {
    engine: Arc<E>,
    recent: Arc<Recent>,
    writer: Writer,
    dir: PathBuf,
}

impl<E: Engine> Embedded<E> {
    /// Opens the store in `dir`, or makes an empty one. `engine` is to keep its files there too;
    /// recent rows go to it when they take `recent_bytes`.
    ///
    /// # Errors
    /// See [`OpenError`]; each kind is something else for the operator to do.
    pub(crate) fn open(dir: &Path, engine: E, recent_bytes: usize) -> Result<Self, OpenError> {
        prepare(dir, E::NAME)?;
        fenced_open(dir, || engine.open())?;
        let engine = Arc::new(engine);
        let recent = Arc::new(Recent::default());
        let opened = fenced_open(dir, || recover(dir, &*engine)).and_then(|journal| {
            let io = |error| OpenError::io(dir, error);
            let checkpoints = Checkpoints::start(engine.clone(), recent.clone(), dir, recent_bytes)
                .map_err(io)?;
            let recent = recent.clone();
            let parts =
                Parts { engine: engine.clone(), recent, recent_bytes, journal, checkpoints };
            Writer::start(parts).map_err(io)
        });
        match opened {
            Ok(writer) => Ok(Embedded { engine, recent, writer, dir: dir.to_owned() }),
            Err(error) => {
                engine.shut();
                Err(error)
            }
        }
    }
}

/// Brings what the journal of an earlier process holds into the engine, and begins a new one.
fn recover<E: Engine>(dir: &Path, engine: &E) -> Result<Journal, OpenError> {
    let io = |error| OpenError::io(dir, error);
    settle_format(engine, dir)?;
    let (changes, last) = journal::replay(dir)?;
    if !changes.is_empty() {
        tracing::info!(rows = changes.len(), "the journal is read; its rows go to the engine");
        engine.apply(&changes, &|_| ()).map_err(|error| io(io::Error::other(error)))?;
    }
    journal::remove_up_to(dir, last).map_err(io)?;
    Journal::begin(dir, last + 1).map_err(io)
}

#[async_trait]
impl<E: Engine> Store for Embedded<E> {
    async fn get(&self, _: Partition, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.recent.get(key) {
            Some(known) => Ok(known),
            None => fenced(|| self.engine.get(key)),
        }
    }

    async fn get_many(&self, keys: &[(Partition, Key)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let recent = self.recent.get_many(keys.iter().map(|(_, key)| key.as_ref()));
        let mut rows = Vec::with_capacity(keys.len());
        for ((_, key), known) in keys.iter().zip(recent) {
            rows.push(match known {
                Some(known) => known,
                None => fenced(|| self.engine.get(key))?,
            });
        }
        Ok(rows)
    }

    async fn scan(
        &self,
        _: Scope,
        mut range: Range<Key>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut found: Vec<Row> = Vec::new();
        // Most of what is looked for is near: a first row, a trace of few steps.
        let mut most = limit.clamp(RECENT_PAGE_MIN, RECENT_PAGE);
        let mut is_first = true;
        while found.len() < limit && range.start < range.end {
            // Behind a long queue that was sent lie its dead rows, until a checkpoint. Nobody shall
            // wait for a walk over all of them.
            if !std::mem::take(&mut is_first) {
                give_way().await;
            }
            let page = self.recent.page(&range, most);
            most = (2 * most).min(RECENT_PAGE);
            let next = page.ends_before.clone().unwrap_or_else(|| range.end.clone());
            let part = std::mem::replace(&mut range.start, next.clone())..next;
            // Each recent row hides at most one of the engine's, so as many more are asked for.
            let wanted = (limit - found.len()).saturating_add(page.rows.len());
            let stored = fenced(|| self.engine.scan(&part, wanted))?;
            let stored: Vec<(Key, Known)> =
                stored.into_iter().map(|(key, value)| (key, Some(value))).collect();
            let is_cut = stored.len() == wanted;
            let last = stored.last().map(|(key, _)| key.clone()).filter(|_| is_cut);
            let rows = merge(page.rows, stored).into_iter();
            // Behind the last row of a full list, the engine may have more.
            let rows = rows.take_while(|(key, _)| last.as_ref().is_none_or(|last| key <= last));
            found.extend(rows.filter_map(|(key, value)| value.map(|value| (key, value))));
        }
        found.truncate(limit);
        Ok(found)
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
        E::NAME
    }

    async fn close(&self) {
        self.writer.close().await;
    }
}
