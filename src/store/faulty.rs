//! A store that fails when told to, around any other: for tests of everything above the store.
//!
//! Every call of [`Store`] except `disk_bytes`, `engine` and `close` is counted from 1, and a fault
//! can be set for a number, for all calls, or by a seeded chance. A crash is a fault that lasts:
//! calls fail until [`FaultyStore::restart`], while what was applied before stays.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::model::id::Partition;
use crate::store::directory::unavailable;
use crate::store::{Batch, Key, Row, Scope, Store, StoreError};

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `Unavailable`, nothing applied.
    Unavailable,
    /// `Full`, nothing applied.
    Full,
    /// `Unavailable`, but applied: the answer was lost.
    AnswerLost,
    /// The process dies before the call is applied.
    CrashBefore,
    /// The process dies after the call is applied.
    CrashAfter,
}

impl Fault {
    fn is_crash(self) -> bool {
        matches!(self, Fault::CrashBefore | Fault::CrashAfter)
    }

    /// Whether the wrapped store still gets the call.
    fn applies(self) -> bool {
        matches!(self, Fault::AnswerLost | Fault::CrashAfter)
    }

    fn error(self) -> StoreError {
        match self {
            Fault::Full => StoreError::Full,
            Fault::Unavailable => unavailable("injected: unavailable"),
            Fault::AnswerLost => unavailable("injected: the answer was lost"),
            Fault::CrashBefore | Fault::CrashAfter => unavailable("injected: crashed"),
        }
    }
}

#[derive(Default)]
struct Plan {
    calls: u64,
    at: BTreeMap<u64, Fault>,
    always: Option<Fault>,
    room: Option<usize>,
    random: Option<(fastrand::Rng, f64, Fault)>,
    crashed: bool,
}

impl Plan {
    fn next(&mut self) -> Option<Fault> {
        self.calls += 1;
        if self.crashed {
            return Some(Fault::CrashBefore);
        }
        let by_chance = match &mut self.random {
            Some((rng, chance, fault)) => (rng.f64() < *chance).then_some(*fault),
            None => None,
        };
        let fault = self.at.remove(&self.calls).or(self.always).or(by_chance);
        self.crashed = fault.is_some_and(Fault::is_crash);
        fault
    }
}

/// Where commits are kept waiting, as by a slow disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Before they are applied.
    Before,
    /// After they were applied, before they are answered.
    After,
}

/// A store with a plan of faults around another. Without a plan it changes nothing.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan>,
    hold: watch::Sender<Option<Hold>>,
}

impl FaultyStore {
    /// Wraps a store, with no faults yet.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        FaultyStore { inner, plan: Mutex::default(), hold: watch::Sender::new(None) }
    }

    /// Lets the call of this number, the first being 1, fail once. See [`FaultyStore::calls`].
    pub fn fail_call(&self, number: u64, fault: Fault) {
        self.plan().at.insert(number, fault);
    }

    /// Lets every call fail from now on, or no longer.
    pub fn set_always(&self, fault: Option<Fault>) {
        self.plan().always = fault;
    }

    /// Lets every commit of a batch fail that puts more bytes than this, as a disk does that is
    /// nearly full; `None` ends it.
    pub fn set_room(&self, bytes: Option<usize>) {
        self.plan().room = bytes;
    }

    fn has_room(&self, batch: &Batch) -> bool {
        self.plan().room.is_none_or(|room| batch.bytes() <= room)
    }

    /// Lets calls fail by chance (0.0 to 1.0), in the same places for the same seed and calls.
    pub fn fail_randomly(&self, seed: u64, chance: f64, fault: Fault) {
        self.plan().random = Some((fastrand::Rng::with_seed(seed), chance, fault));
    }

    /// Keeps commits waiting from now on, or lets all go.
    pub fn hold_commits(&self, hold: Option<Hold>) {
        self.hold.send_replace(hold);
    }

    async fn wait(&self, place: Hold) {
        let mut hold = self.hold.subscribe();
        // The sender lives as long as this store.
        let _ = hold.wait_for(|hold| *hold != Some(place)).await;
    }

    /// How many calls came in, failed ones included.
    pub fn calls(&self) -> u64 {
        self.plan().calls
    }

    /// Dies now: all later calls fail until [`FaultyStore::restart`].
    pub fn crash(&self) {
        self.plan().crashed = true;
    }

    /// Whether it has died and was not restarted.
    pub fn is_crashed(&self) -> bool {
        self.plan().crashed
    }

    /// Comes back after a crash with what was applied before, and drops all planned faults.
    pub fn restart(&self) {
        let mut plan = self.plan();
        *plan = Plan { calls: plan.calls, ..Plan::default() };
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let fault = self.plan().next();
        match fault {
            None => work.await,
            Some(fault) => {
                if fault.applies() {
                    // The caller never learns how it went.
                    let _ = work.await;
                }
                Err(fault.error())
            }
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.call(self.inner.get(partition, key)).await
    }

    async fn get_many(&self, keys: &[(Partition, Key)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.call(self.inner.get_many(keys)).await
    }

    async fn scan(
        &self,
        scope: Scope,
        range: Range<Key>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.call(self.inner.scan(scope, range, limit)).await
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> Result<(), StoreError> {
        self.wait(Hold::Before).await;
        let committed = if self.has_room(&batch) {
            self.call(self.inner.commit(partition, batch)).await
        } else {
            Err(StoreError::Full)
        };
        self.wait(Hold::After).await;
        committed
    }

    async fn commit_all(&self, batches: Vec<(Partition, Batch)>) -> Vec<Result<(), StoreError>> {
        self.wait(Hold::Before).await;
        let count = batches.len();
        let has_room = batches.iter().all(|(_, batch)| self.has_room(batch));
        let fault = self.plan().next().or((!has_room).then_some(Fault::Full));
        let committed = match fault {
            None => self.inner.commit_all(batches).await,
            Some(fault) => {
                if fault.applies() {
                    self.inner.commit_all(batches).await;
                }
                (0..count).map(|_| Err(fault.error())).collect()
            }
        };
        self.wait(Hold::After).await;
        committed
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.call(self.inner.check()).await
    }

    fn disk_bytes(&self) -> u64 {
        self.inner.disk_bytes()
    }

    fn engine(&self) -> &'static str {
        self.inner.engine()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
