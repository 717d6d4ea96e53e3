//! Brings frozen generations of rows into the engine, on a thread of its own, so that no commit
//! waits for the engine.
//!
//! A generation the engine refuses is tried again, with the engine opened anew, until it is there:
//! its journal stays, and so nothing is lost. Meanwhile the store goes on as long as the rows in
//! memory stay few; then commits are answered with the engine's error.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::store::StoreError;
use crate::store::directory::{OpenError, fenced, io_failure, repeated, unavailable};
use crate::store::engine::{Changes, Engine};
use crate::store::journal;
use crate::store::recent::Recent;
use crate::telemetry::events;

/// The time between two attempts to bring a generation into an engine that refuses it.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Longest rest between two parts of a generation.
const REST_MAX: Duration = Duration::from_millis(200);

/// Nobody waits for a checkpoint, and everybody waits for a commit: where cores are few, this
/// thread gives way to the others. A nice value; 5 is about a third of their share.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// A frozen generation, and the last journal file that holds rows of it.
struct Order {
    changes: Arc<Changes>,
    journal: u64,
}

#[derive(Default)]
struct State {
    /// Generations handed in and not yet in the engine.
    running: usize,
    closing: bool,
    /// Somebody waits until no generation is on its way.
    awaited: bool,
    failure: Option<StoreError>,
}

#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's hold on the thread.
pub struct Checkpoints {
    orders: Option<Sender<Order>>,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Starts the thread. It takes its time while the active generation has less than half of
    /// `recent_bytes`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<E: Engine>(
        engine: Arc<E>,
        recent: Arc<Recent>,
        dir: &Path,
        recent_bytes: usize,
    ) -> io::Result<Self> {
        let (orders, waiting) = channel();
        let progress = Arc::new(Progress::default());
        let dir = dir.to_owned();
        let thread = Checkpointer { engine, recent, recent_bytes, dir, progress: progress.clone() };
        let thread = std::thread::Builder::new()
            .name("offpush-engine".into())
            .spawn(move || thread.run(&waiting))?;
        Ok(Checkpoints { orders: Some(orders), progress, thread: Some(thread) })
    }

    /// Hands in a frozen generation, whose rows are in journals up to `journal`.
    pub fn begin(&self, changes: Arc<Changes>, journal: u64) {
        self.progress.state().running += 1;
        if let Some(orders) = &self.orders {
            // The thread ends only after the sender is gone.
            let _ = orders.send(Order { changes, journal });
        }
    }

    /// Waits until no generation is on its way.
    ///
    /// # Errors
    /// The engine's, as soon as it refuses one; the thread goes on trying.
    pub fn settled(&self) -> Result<(), StoreError> {
        let mut state = self.progress.state();
        state.awaited = true;
        self.progress.changed.notify_all();
        let waits = |state: &mut State| state.running > 0 && state.failure.is_none();
        let state = self.progress.changed.wait_while(state, waits);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.awaited = false;
        state.failure.as_ref().map_or(Ok(()), |failure| Err(repeated(failure)))
    }

    /// Ends the thread. A generation that the engine still refuses stays in its journal.
    pub fn stop(&mut self) {
        self.progress.state().closing = true;
        self.progress.changed.notify_all();
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It fences the engine; an error here has been logged by the panic hook.
            let _ = thread.join();
        }
    }
}

struct Checkpointer<E> {
    engine: Arc<E>,
    recent: Arc<Recent>,
    recent_bytes: usize,
    dir: PathBuf,
    progress: Arc<Progress>,
}

impl<E: Engine> Checkpointer<E> {
    fn run(self, orders: &Receiver<Order>) {
        // On Linux this sets the nice value of this thread only. On failure it keeps normal
        // priority.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, NICE);
        while let Ok(order) = orders.recv() {
            while let Err(error) = self.bring(&order) {
                tracing::error!(%error, "rows cannot be written yet; opening the store again");
                self.progress.state().failure = Some(error);
                self.progress.changed.notify_all();
                if !self.waited() {
                    return;
                }
                self.engine.shut();
                if let Err(error) = fenced(|| self.engine.open().map_err(refused)) {
                    tracing::error!(%error, "the store cannot be opened again yet");
                }
            }
            let mut state = self.progress.state();
            state.running -= 1;
            if state.failure.take().is_some() {
                tracing::info!("the store takes rows again");
            }
            drop(state);
            self.progress.changed.notify_all();
        }
    }

    /// Brings one generation into the engine; only then do memory and journal let go of it.
    #[expect(clippy::disallowed_methods, reason = "this thread has no runtime whose clock it asks")]
    fn bring(&self, order: &Order) -> Result<(), StoreError> {
        let started = Instant::now();
        fenced(|| self.engine.apply(&order.changes, &|took| self.rest(took)))?;
        self.recent.forget_frozen(&order.changes);
        journal::remove_up_to(&self.dir, order.journal).map_err(io_failure)?;
        events::store_checkpointed(order.changes.len(), started.elapsed());
        Ok(())
    }

    /// Leaves the disk to those who commit, for as long as it was just used, unless they fill the
    /// next generation quickly or wait for this one.
    fn rest(&self, took: Duration) {
        if self.recent.bytes() < self.recent_bytes / 2 {
            let state = self.progress.state();
            let rests = |state: &mut State| !state.awaited && !state.closing;
            // However it ends, the next part follows.
            let _ = self.progress.changed.wait_timeout_while(state, took.min(REST_MAX), rests);
        }
    }

    /// Waits before the next attempt; answers whether there is to be one.
    fn waited(&self) -> bool {
        let state = self.progress.state();
        let waited =
            self.progress.changed.wait_timeout_while(state, RETRY_EVERY, |state| !state.closing);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.closing
    }
}

/// What an engine that cannot be opened means to those who commit.
fn refused(error: OpenError) -> StoreError {
    match error {
        OpenError::Io { source, .. } => io_failure(source),
        other => unavailable(other.to_string()),
    }
}
