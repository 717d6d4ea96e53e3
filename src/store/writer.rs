//! The writer thread of an embedded store: one thread, many commits, one sync.
//!
//! Callers hand in submissions over a bounded channel and wait. The thread takes everything that
//! is waiting, judges it as one [`Group`], writes one record to the journal, syncs it, and answers
//! all. While it syncs, the next group gathers, so the price of durability is shared by whoever
//! waits. The rows are then [recent](Recent); when they are many, they go to the engine by a
//! [checkpoint](Checkpoints).
//!
//! A failed group answers `Unavailable` or `Full` for each of its batches. What it left in the
//! journal is cut off before the next group is served.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::model::id::Partition;
use crate::store::checkpoint::Checkpoints;
use crate::store::directory::{closed, fenced, io_failure, repeated};
use crate::store::engine::Engine;
use crate::store::group::Group;
use crate::store::journal::Journal;
use crate::store::recent::Recent;
use crate::store::unseen::Unseen;
use crate::store::{Batch, Key, StoreError};
use crate::telemetry::events;

/// Submissions that may wait; further callers wait for a place.
const WAITING_SUBMISSIONS: usize = 1024;

/// A group takes no further submission once it changes this many rows.
const GROUP_ROWS: usize = 4096;

/// A group takes no further submission once it writes this many bytes.
const GROUP_BYTES: usize = 4 << 20;

/// Syncs begin at least so far apart. A sync costs about as much however many commits share it, so
/// whoever commits in a burst waits a little for company.
const SYNC_EVERY: Duration = Duration::from_millis(3);

/// The active generation may grow to so many times its size while the engine has not taken the
/// one before; then commits wait for it.
const GENERATIONS_MAX: usize = 2;

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
    pub fn start<E: Engine>(parts: Parts<E>) -> io::Result<Self> {
        let (orders, waiting) = mpsc::channel(WAITING_SUBMISSIONS);
        let thread = WriterThread {
            parts,
            group: Group::default(),
            unseen: Unseen::default(),
            next_sync: now(),
        };
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

#[expect(clippy::disallowed_methods, reason = "the thread has no runtime whose clock it asks")]
fn now() -> Instant {
    Instant::now()
}

/// What a writer works with.
pub struct Parts<E> {
    /// Keeps what is not recent.
    pub engine: Arc<E>,
    /// Shared with the readers.
    pub recent: Arc<Recent>,
    /// Recent rows go to the engine when they take about so many bytes of memory.
    pub recent_bytes: usize,
    /// Makes commits durable.
    pub journal: Journal,
    /// Brings recent rows into the engine.
    pub checkpoints: Checkpoints,
}

impl<E: Engine> Parts<E> {
    /// Whether any row is in a range, or was there lately.
    fn any(&self, range: &Range<Key>) -> Result<bool, StoreError> {
        let is_recent = !self.recent.page(range, 1).rows.is_empty();
        Ok(is_recent || !fenced(|| self.engine.scan(range, 1))?.is_empty())
    }
}

struct WriterThread<E> {
    parts: Parts<E>,
    group: Group,
    unseen: Unseen,
    next_sync: Instant,
}

impl<E: Engine> WriterThread<E> {
    fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut closing = Vec::new();
        while let Some(first) = orders.blocking_recv() {
            self.pace();
            let group = gather(first, &mut orders, &mut closing);
            if !closing.is_empty() {
                // Nothing new comes in; what waits already is still served.
                orders.close();
            }
            self.serve(group);
        }
        self.shut();
        for done in closing {
            let _ = done.send(());
        }
    }

    /// Waits until the next sync may begin.
    #[expect(clippy::disallowed_methods, reason = "this thread has no runtime whose clock it asks")]
    fn pace(&mut self) {
        let now = now();
        let wait = self.next_sync.saturating_duration_since(now);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        self.next_sync = now + wait + SYNC_EVERY;
    }

    fn serve(&mut self, group: Vec<Submission>) {
        let (batches, replies): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|submission| {
                let count = submission.batches.len();
                (submission.batches, (submission.reply, count))
            })
            .unzip();
        let outcome = self.commit(batches);
        let (mut answers, failure) = match outcome {
            Ok(answers) => (answers.into_iter(), None),
            Err(error) => {
                tracing::error!(%error, "a group of commits failed");
                (Vec::new().into_iter(), Some(error))
            }
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

    /// Judges the batches of a group in order and makes the accepted ones durable.
    fn commit(&mut self, submissions: Vec<Vec<(Partition, Batch)>>) -> Result<Answers, StoreError> {
        let started = now();
        self.parts.journal.mend().map_err(io_failure)?;
        if self.parts.recent.bytes() >= GENERATIONS_MAX * self.parts.recent_bytes {
            // The engine is slower than what comes in: whoever commits waits for it.
            self.parts.checkpoints.settled()?;
        }
        let mut answers = Vec::with_capacity(submissions.len());
        for (_, batch) in submissions.into_iter().flatten() {
            let (parts, unseen) = (&self.parts, &mut self.unseen);
            let read = |key: &[u8]| {
                if unseen.proves(key, |range| parts.any(range)) {
                    return Ok(None);
                }
                match parts.recent.get(key) {
                    Some(known) => Ok(known),
                    None => fenced(|| parts.engine.get(key)),
                }
            };
            answers.push(self.group.take(batch, read));
        }
        if !self.group.is_empty() {
            let rows = self.group.seal();
            let written = rows.clone().filter(|(_, known)| known.is_some());
            written.for_each(|(key, _)| self.unseen.note(key));
            let written = self.parts.journal.append(rows);
            self.group.clear();
            let rows = written.map_err(io_failure)?;
            let bytes = rows.bytes();
            let bytes = self.parts.recent.insert(rows, bytes);
            events::store_committed(started.elapsed());
            self.checkpoint(bytes);
        }
        Ok(answers)
    }

    /// Freezes the recent rows when they are many and the engine has taken the generation before.
    fn checkpoint(&mut self, bytes: usize) {
        if bytes < self.parts.recent_bytes || self.parts.recent.is_frozen() {
            return;
        }
        let last = self.parts.journal.number();
        if let Err(error) = self.parts.journal.rotate() {
            tracing::error!(%error, "no new journal file can be made; the old one goes on");
            return;
        }
        if let Some(frozen) = self.parts.recent.freeze() {
            self.parts.checkpoints.begin(frozen, last);
        }
    }

    /// Brings everything into the engine and closes it.
    fn shut(mut self) {
        let mut settled = self.parts.checkpoints.settled();
        if let (Ok(()), Some(frozen)) = (&settled, self.parts.recent.freeze()) {
            self.parts.checkpoints.begin(frozen, self.parts.journal.number());
            settled = self.parts.checkpoints.settled();
        }
        self.parts.checkpoints.stop();
        match settled {
            Ok(()) => {
                if let Err(error) = self.parts.journal.discard() {
                    tracing::warn!(%error, "a journal file is left behind and will be read again");
                }
            }
            Err(error) => tracing::warn!(%error, "the last rows stay in the journal"),
        }
        self.parts.engine.shut();
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::store::directory::{OpenError, unavailable};
    use crate::store::engine::Changes;
    use crate::store::{Row, journal};

    const RECENT_BYTES: usize = 1 << 20;

    /// What the scripted engine does with the next generation it is given.
    #[derive(Clone, Copy, Debug)]
    enum Next {
        Fail,
        Fill,
        Panic,
    }

    #[derive(Default)]
    struct Scripted {
        rows: Mutex<Changes>,
        next: Mutex<VecDeque<Next>>,
        applied: AtomicUsize,
        opened: AtomicUsize,
        shut: AtomicUsize,
    }

    impl Engine for Scripted {
        const NAME: &'static str = "scripted";

        fn open(&self) -> Result<(), OpenError> {
            self.opened.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }

        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
            Ok(self.rows.lock().expect("no panic").get(key).cloned().flatten())
        }

        fn scan(&self, _: &Range<Key>, _: usize) -> Result<Vec<Row>, StoreError> {
            Ok(Vec::new())
        }

        fn apply(&self, changes: &Changes, _: &dyn Fn(Duration)) -> Result<(), StoreError> {
            let next = self.next.lock().expect("no panic").pop_front();
            match next {
                Some(Next::Fail) => return Err(unavailable("a broken disk")),
                Some(Next::Fill) => return Err(StoreError::Full),
                Some(Next::Panic) => panic!("a broken page"),
                None => {}
            }
            self.applied.fetch_add(1, Ordering::SeqCst);
            let rows = changes.iter().map(|(key, value)| (key.clone(), value.clone()));
            self.rows.lock().expect("no panic").extend(rows);
            Ok(())
        }

        fn shut(&self) {
            self.shut.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Fixture {
        dir: tempfile::TempDir,
        engine: Arc<Scripted>,
        writer: Writer,
    }

    fn started(next: &[Next], fails: Option<io::ErrorKind>) -> Fixture {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let engine = Arc::new(Scripted::default());
        engine.next.lock().expect("no panic").extend(next);
        let recent = Arc::new(Recent::default());
        let mut journal = Journal::begin(dir.path(), 1).expect("a file");
        journal.fails = fails;
        let checkpoints =
            Checkpoints::start(engine.clone(), recent.clone(), dir.path(), RECENT_BYTES);
        let checkpoints = checkpoints.expect("a thread");
        let engine_ = engine.clone();
        let recent_bytes = RECENT_BYTES;
        let writer =
            Writer::start(Parts { engine: engine_, recent, recent_bytes, journal, checkpoints });
        Fixture { dir, engine, writer: writer.expect("a thread") }
    }

    fn put(key: &'static str) -> (Partition, Batch) {
        put_bytes(key, Bytes::from_static(b"1"))
    }

    fn put_bytes(key: &'static str, value: Bytes) -> (Partition, Batch) {
        (Partition::of_hash(0), Batch { put: vec![(key.into(), value)], ..Batch::default() })
    }

    #[tokio::test]
    async fn a_failed_group_is_answered_and_the_next_is_served() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
            let Fixture { dir, engine, writer } = started(&[], Some(kind));
            let answers = writer.commit_all(vec![put("a"), put("b")]).await;
            assert_eq!(answers.len(), 2);
            for answer in answers {
                match answer {
                    Err(StoreError::Full) => assert_eq!(kind, io::ErrorKind::StorageFull),
                    Err(StoreError::Unavailable(_)) => assert_eq!(kind, io::ErrorKind::Other),
                    other => panic!("{other:?}"),
                }
            }
            assert!(writer.commit_all(vec![put("c")]).await[0].is_ok());
            let (found, _) = journal::replay(dir.path()).expect("its own files");
            assert_eq!(found.iter().map(|(key, _)| key).collect::<Vec<_>>(), [&Key::from("c")]);
            writer.close().await;
            assert_eq!(engine.get(b"a").ok(), Some(None));
            assert_eq!(engine.get(b"c").ok(), Some(Some(Bytes::from_static(b"1"))));
        }
    }

    #[tokio::test]
    async fn a_generation_the_engine_refuses_is_tried_again() {
        for next in [Next::Fail, Next::Fill, Next::Panic] {
            let Fixture { dir: _dir, engine, writer } = started(&[next], None);
            let large = Bytes::from(vec![0; RECENT_BYTES]);
            assert!(writer.commit_all(vec![put_bytes("a", large)]).await[0].is_ok());
            while engine.opened.load(Ordering::SeqCst) == 0 {
                assert!(writer.commit_all(vec![put("b")]).await[0].is_ok(), "{next:?}");
            }
            assert!(engine.shut.load(Ordering::SeqCst) >= 1);
            writer.close().await;
            assert!(engine.get(b"a").is_ok_and(|row| row.is_some()), "{next:?}");
        }
    }

    #[tokio::test]
    async fn what_the_engine_refuses_to_the_end_stays_in_the_journal() {
        let Fixture { dir, engine, writer } = started(&[Next::Fail; 8], None);
        assert!(writer.commit_all(vec![put("a")]).await[0].is_ok());
        writer.close().await;
        assert_eq!(engine.applied.load(Ordering::SeqCst), 0);
        let (found, _) = journal::replay(dir.path()).expect("its own files");
        assert_eq!(found.len(), 1);
    }

    #[tokio::test]
    async fn closing_brings_everything_into_the_engine_and_refuses_the_rest() {
        let Fixture { dir, engine, writer } = started(&[], None);
        assert!(writer.commit_all(vec![put("a"), put("b")]).await.iter().all(Result::is_ok));
        assert_eq!(engine.applied.load(Ordering::SeqCst), 0, "no commit waits for the engine");
        writer.close().await;
        assert_eq!(engine.applied.load(Ordering::SeqCst), 1);
        assert_eq!(engine.shut.load(Ordering::SeqCst), 1);
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0);
        let (partition, batch) = put("a");
        assert!(matches!(writer.commit(partition, batch).await, Err(StoreError::Unavailable(_))));
    }
}
