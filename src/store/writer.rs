//! The writer thread of an embedded store: one thread, many commits, one sync.
//!
//! Callers hand in submissions over a bounded channel and wait. The thread takes everything that
//! is waiting, judges it as one [`Group`], has the engine apply and sync it once, and answers all.
//! While it syncs, the next group gathers, so the price of durability is shared by whoever waits.
//!
//! A failed group answers `Unavailable` or `Full` for each of its batches. The engine is then
//! opened again, because what it holds in memory is no longer known to be what is on disk, and
//! later groups are served.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::model::id::Partition;
use crate::store::embedded::{closed, fenced, unavailable};
use crate::store::group::{Chunk, Group};
use crate::store::{Batch, StoreError};

/// Submissions that may wait; further callers wait for a place.
const WAITING_SUBMISSIONS: usize = 1024;

/// A group takes no further submission once it changes this many rows.
const GROUP_ROWS: usize = 4096;

/// A group takes no further submission once it writes this many bytes.
const GROUP_BYTES: usize = 4 << 20;

/// The shortest time between two attempts to open a failed engine again.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// What the writer thread needs of an embedded engine.
pub trait Engine: Send + 'static {
    /// About how many rows one chunk holds. A chunk is applied all or nothing, even in a crash.
    const CHUNK_ROWS: usize;

    /// The value of one row as the last applied group left it.
    fn read(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Whether the engine holds no row at all.
    fn is_empty(&mut self) -> Result<bool, StoreError>;

    /// Applies the chunks in order and returns when they are durable.
    fn apply(&mut self, chunks: Vec<Chunk>) -> Result<(), StoreError>;

    /// Closes the engine. Readers find the store closed.
    fn shut(&mut self);

    /// Opens a shut engine again.
    fn reopen(&mut self) -> Result<(), StoreError>;
}

/// The answers to one submission, in the order of its batches.
type Answers = Vec<Result<(), StoreError>>;

struct Submission {
    batches: Vec<(Partition, Batch)>,
    reply: oneshot::Sender<Answers>,
}

enum Order {
    Commit(Submission),
    Close(oneshot::Sender<()>),
}

/// The callers' end of a writer thread.
pub struct Writer {
    orders: mpsc::Sender<Order>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<E: Engine>(engine: E) -> io::Result<Self> {
        let (orders, waiting) = mpsc::channel(WAITING_SUBMISSIONS);
        let thread = WriterThread { engine, failed: false, last_reopen: None };
        std::thread::Builder::new()
            .name("offpush-store".into())
            .spawn(move || thread.run(waiting))?;
        Ok(Writer { orders })
    }

    /// Commits batches, each all or nothing on its own.
    pub async fn commit_all(&self, batches: Vec<(Partition, Batch)>) -> Answers {
        let count = batches.len();
        if count == 0 {
            return Vec::new();
        }
        let (reply, answers) = oneshot::channel();
        let order = Order::Commit(Submission { batches, reply });
        if self.orders.send(order).await.is_err() {
            return (0..count).map(|_| Err(closed())).collect();
        }
        match answers.await {
            Ok(answers) => answers,
            Err(_) => (0..count).map(|_| Err(closed())).collect(),
        }
    }

    /// Commits one batch.
    pub async fn commit(&self, partition: Partition, batch: Batch) -> Result<(), StoreError> {
        let answers = self.commit_all(vec![(partition, batch)]).await;
        answers.into_iter().next().unwrap_or_else(|| Err(closed()))
    }

    /// Serves what was handed in, closes the engine and ends the thread.
    pub async fn close(&self) {
        let (done, finished) = oneshot::channel();
        if self.orders.send(Order::Close(done)).await.is_ok() {
            // An error means that the thread is gone, which is what was asked for.
            let _ = finished.await;
        }
    }
}

struct WriterThread<E> {
    engine: E,
    /// The engine may hold in memory what is not on disk: open it again before using it.
    failed: bool,
    last_reopen: Option<Instant>,
}

impl<E: Engine> WriterThread<E> {
    fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut closing = Vec::new();
        while let Some(first) = orders.blocking_recv() {
            let group = gather(first, &mut orders, &mut closing);
            if !closing.is_empty() {
                // Nothing new comes in; what waits already is still served.
                orders.close();
            }
            self.serve(group);
        }
        self.engine.shut();
        for done in closing {
            let _ = done.send(());
        }
    }

    fn serve(&mut self, group: Vec<Submission>) {
        let (batches, replies): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|submission| {
                let count = submission.batches.len();
                (submission.batches, (submission.reply, count))
            })
            .unzip();
        let outcome = self.ready().and_then(|()| {
            let applied = fenced(|| apply(&mut self.engine, batches));
            if let Err(error) = &applied {
                tracing::error!(%error, "a group of commits failed; opening the store again");
                self.failed = true;
                self.engine.shut();
                // This group keeps its own error, whether opening again works or not.
                let _ = self.ready();
            }
            applied
        });
        let (mut answers, failure) = match outcome {
            Ok(answers) => (answers.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(error)),
        };
        for (reply, count) in replies {
            let answer = match &failure {
                None => answers.by_ref().take(count).collect(),
                Some(error) => (0..count).map(|_| Err(repeated(error))).collect(),
            };
            // Whoever no longer waits does not need the answer.
            let _ = reply.send(answer);
        }
    }

    /// Opens a failed engine again, not too often.
    #[expect(clippy::disallowed_methods, reason = "this thread has no runtime whose clock it asks")]
    fn ready(&mut self) -> Result<(), StoreError> {
        if !self.failed {
            return Ok(());
        }
        if self.last_reopen.is_some_and(|last| last.elapsed() < REOPEN_EVERY) {
            return Err(unavailable("the store failed and is not open again yet"));
        }
        self.last_reopen = Some(Instant::now());
        fenced(|| self.engine.reopen())?;
        tracing::info!("the store is open again");
        self.failed = false;
        Ok(())
    }
}

/// Takes what waits, up to the limits of a group.
fn gather(
    first: Order,
    orders: &mut mpsc::Receiver<Order>,
    closing: &mut Vec<oneshot::Sender<()>>,
) -> Vec<Submission> {
    let mut group = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    let mut next = Some(first);
    while let Some(order) = next {
        match order {
            Order::Commit(submission) => {
                for (_, batch) in &submission.batches {
                    rows += batch.rows();
                    bytes += batch.bytes();
                }
                group.push(submission);
            }
            Order::Close(done) => closing.push(done),
        }
        if rows >= GROUP_ROWS || bytes >= GROUP_BYTES {
            break;
        }
        next = orders.try_recv().ok();
    }
    group
}

/// Judges the batches of a group in order and applies the accepted ones.
fn apply<E: Engine>(
    engine: &mut E,
    submissions: Vec<Vec<(Partition, Batch)>>,
) -> Result<Answers, StoreError> {
    let mut group = Group::new(E::CHUNK_ROWS);
    let mut answers = Vec::with_capacity(submissions.len());
    for (_, batch) in submissions.into_iter().flatten() {
        answers.push(group.take(batch, |key| engine.read(key)));
    }
    let chunks = group.finish();
    if !chunks.is_empty() {
        engine.apply(chunks)?;
    }
    Ok(answers)
}

/// The same failure once more, for the next caller of the group.
fn repeated(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full => StoreError::Full,
        StoreError::Unavailable(source) => unavailable(source.to_string()),
        other => unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What the scripted engine does with the next group it is given.
    #[derive(Clone, Copy)]
    enum Next {
        Apply,
        Fail,
        Fill,
        Panic,
    }

    #[derive(Default)]
    struct Script {
        rows: Mutex<BTreeMap<Bytes, Bytes>>,
        next: Mutex<VecDeque<Next>>,
        groups: AtomicUsize,
        reopened: AtomicUsize,
        shut: AtomicUsize,
    }

    struct Scripted(Arc<Script>);

    impl Engine for Scripted {
        const CHUNK_ROWS: usize = 64;

        fn read(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
            Ok(self.0.rows.lock().expect("no panic").get(key).cloned())
        }

        fn is_empty(&mut self) -> Result<bool, StoreError> {
            Ok(self.0.rows.lock().expect("no panic").is_empty())
        }

        fn apply(&mut self, chunks: Vec<Chunk>) -> Result<(), StoreError> {
            self.0.groups.fetch_add(1, Ordering::SeqCst);
            let next = self.0.next.lock().expect("no panic").pop_front();
            match next.unwrap_or(Next::Apply) {
                Next::Fail => return Err(unavailable("a broken disk")),
                Next::Fill => return Err(StoreError::Full),
                Next::Panic => panic!("a broken page"),
                Next::Apply => {}
            }
            let mut rows = self.0.rows.lock().expect("no panic");
            for (key, value) in chunks.into_iter().flatten() {
                match value {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove(&key),
                };
            }
            Ok(())
        }

        fn shut(&mut self) {
            self.0.shut.fetch_add(1, Ordering::SeqCst);
        }

        fn reopen(&mut self) -> Result<(), StoreError> {
            self.0.reopened.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    fn started(next: &[Next]) -> (Arc<Script>, Writer) {
        let script = Arc::new(Script::default());
        script.next.lock().expect("no panic").extend(next);
        let writer = Writer::start(Scripted(Arc::clone(&script))).expect("a thread");
        (script, writer)
    }

    fn put(key: &'static str) -> (Partition, Batch) {
        let put = vec![(key.into(), Bytes::from_static(b"1"))];
        (Partition::of_hash(0), Batch { put, ..Batch::default() })
    }

    #[tokio::test]
    async fn a_failed_group_is_answered_and_the_next_is_served() {
        for (next, is_full) in [(Next::Fail, false), (Next::Panic, false), (Next::Fill, true)] {
            let (script, writer) = started(&[next]);
            let answers = writer.commit_all(vec![put("a"), put("b")]).await;
            assert_eq!(answers.len(), 2);
            for answer in answers {
                match answer {
                    Err(StoreError::Full) => assert!(is_full),
                    Err(StoreError::Unavailable(_)) => assert!(!is_full),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(script.shut.load(Ordering::SeqCst), 1);
            assert_eq!(script.reopened.load(Ordering::SeqCst), 1);
            assert!(writer.commit_all(vec![put("c")]).await[0].is_ok());
            assert!(!script.rows.lock().expect("no panic").contains_key(&b"a"[..]));
        }
    }

    #[tokio::test]
    async fn one_call_is_one_group() {
        let (script, writer) = started(&[]);
        let batches = vec![put("a"), put("b"), put("c")];
        assert!(writer.commit_all(batches).await.iter().all(Result::is_ok));
        assert_eq!(script.groups.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_group_that_changes_nothing_costs_no_sync() {
        let (script, writer) = started(&[]);
        let batches = vec![(Partition::of_hash(0), Batch::default())];
        assert!(writer.commit_all(batches).await[0].is_ok());
        assert_eq!(script.groups.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn closing_shuts_the_engine_and_refuses_the_rest() {
        let (script, writer) = started(&[]);
        writer.close().await;
        assert_eq!(script.shut.load(Ordering::SeqCst), 1);
        let (partition, batch) = put("a");
        assert!(matches!(writer.commit(partition, batch).await, Err(StoreError::Unavailable(_))));
    }
}
