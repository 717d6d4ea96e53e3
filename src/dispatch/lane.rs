//! One certificate's lane: what waits in memory (`waiting`), how fast it goes out (`pace`), and
//! what is learned from the vendor's answers.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dispatch::DispatchSettings;
use crate::dispatch::breaker::{Breaker, Passage};
use crate::model::id::{CertId, MessageId};
use crate::model::time::UnixMs;
use crate::outcome::Effect;
use crate::queue::handover::FullLanes;
use crate::queue::{Held, ParcelId};
use crate::telemetry::events;

pub mod memory;
mod pace;
mod report;
mod waiting;

pub use report::{CONDITIONS, LaneReport};

use memory::Memory;
use pace::{Pace, TOGETHER_MAX};
use waiting::{Left, Waiting};

/// Longest time a lane waits before it looks for what expired.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many times the deliveries at the vendor may be taken and not yet written down.
const UNSETTLED_FACTOR: usize = 4;

/// A lane.
pub struct Lane {
    cert_id: CertId,
    waiting: Mutex<Waiting>,
    pace: Mutex<Pace>,
    wake: Notify,
    generation: AtomicU32,
    /// Rows were left in the store for want of room: one more than the urgency of the least urgent
    /// that waited then; 0 when none were.
    behind: AtomicU8,
    /// Where ingest sees that this lane is behind.
    full: Arc<FullLanes>,
    /// When the first of those rows came due.
    behind_since: AtomicU64,
    /// Since when this lane runs; 0 before the first look.
    running_since: AtomicU64,
    in_flight_max: usize,
    /// Parcels at the vendor at a time.
    parcels_at_once: AtomicUsize,
    parcels_max: usize,
    suspects_max: usize,
    /// Found once: looking for it takes as long as a rule.
    latency: OnceLock<metrics::Histogram>,
}

impl Lane {
    /// An empty lane. What it holds counts in `memory`.
    pub fn new(
        cert_id: CertId,
        settings: &DispatchSettings,
        full: Arc<FullLanes>,
        memory: Arc<Memory>,
    ) -> Self {
        let breaker =
            Breaker::new(settings.breaker_failures, settings.breaker_base, settings.breaker_max);
        Lane {
            cert_id,
            waiting: Mutex::new(Waiting::new(memory)),
            pace: Mutex::new(Pace::new(breaker)),
            wake: Notify::new(),
            generation: AtomicU32::new(1),
            behind: AtomicU8::new(0),
            full,
            behind_since: AtomicU64::new(u64::MAX),
            running_since: AtomicU64::new(0),
            in_flight_max: settings.in_flight_max,
            parcels_at_once: AtomicUsize::new(usize::MAX),
            parcels_max: settings.parcels_in_memory,
            suspects_max: settings.suspects_max,
            latency: OnceLock::new(),
        }
    }

    /// Notes how long a request to this lane's vendor took.
    pub fn request_took(&self, vendor: &'static str, took: Duration) {
        self.latency.get_or_init(|| events::request_latency(vendor)).record(took);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Its certificate.
    pub fn cert_id(&self) -> CertId {
        self.cert_id
    }

    /// Which connections may be used: those of this generation.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// From now on other connections are to be used than those of `generation`; which those are.
    /// All that was in flight on them may say so: the first is listened to.
    pub fn renew_connections(&self, generation: u32) -> u32 {
        let next = generation.wrapping_add(1);
        let order = Ordering::Relaxed;
        match self.generation.compare_exchange(generation, next, order, order) {
            Ok(_) => next,
            Err(newer) => newer,
        }
    }

    /// Takes a parcel that could go since `since`. Answers what has no room: the parcel itself, or
    /// less urgent ones that gave way to it.
    pub fn push(&self, held: Held, since: UnixMs) -> Vec<Held> {
        let mut waiting = self.waiting();
        let is_full = waiting.len() >= self.parcels_max;
        let lacks = waiting.held().lacks(held.row.len()).max(usize::from(is_full));
        if lacks == 0 {
            waiting.push(held, since);
            drop(waiting);
            self.wake.notify_one();
            return Vec::new();
        }
        let left = match waiting.give_way(held.parcel.urgency, lacks) {
            None => vec![Left { held, since }],
            Some(left) => {
                waiting.push(held, since);
                self.wake.notify_one();
                left
            }
        };
        let least = waiting.least_urgent();
        drop(waiting);
        self.left_behind(&left, least);
        left.into_iter().map(|left| left.held).collect()
    }

    /// How many more parcels fit; about, when it is their size that limits them.
    pub fn room(&self) -> usize {
        let waiting = self.waiting();
        let by_number = self.parcels_max.saturating_sub(waiting.len());
        by_number.min(waiting.held().room_for())
    }

    /// Whether a row of so many bytes fits beside others that come before it.
    pub fn fits(&self, row: usize, before: usize) -> bool {
        let waiting = self.waiting();
        match before {
            0 => waiting.held().lacks(row) == 0,
            _ => before + row <= waiting.held().room(),
        }
    }

    /// Whether this lane has this parcel, waiting or at the vendor.
    pub fn has(&self, id: ParcelId) -> bool {
        self.waiting().has(id)
    }

    /// Drops what waits here and whose lease ended, so that its rows can be claimed again.
    pub fn drop_unleased(&self, now: UnixMs) {
        self.waiting().drop_unleased(now);
    }

    /// A parcel is settled: its row may be claimed by whoever finds it.
    pub fn release(&self, id: ParcelId) {
        self.waiting().release(id);
    }

    /// Everything that waits, for giving it back.
    pub fn take_all(&self) -> Vec<Held> {
        self.waiting().take_all()
    }

    /// A message was withdrawn: what waits of it is to end, also while this lane may not send.
    pub fn withdraw(&self, message_id: MessageId) {
        if self.waiting().withdraw(message_id) {
            self.wake.notify_one();
        }
    }

    /// The parcels to start now. A blocked or paused lane starts only what has expired or was
    /// withdrawn, so that it can end.
    pub fn take(&self, blocked: bool, now: UnixMs, instant: Instant) -> Vec<Held> {
        let mut pace = self.pace();
        let mut waiting = self.waiting();
        let mut taken = waiting.take_withdrawn();
        for held in &taken {
            pace.start(held);
        }
        if let Some(most) = pace.passes(blocked, instant) {
            while taken.len() < most {
                let Some(held) = self.start_next(&mut pace, &mut waiting, instant) else { break };
                taken.push(held);
            }
            if taken.len() >= TOGETHER_MAX {
                self.wake.notify_one();
            }
            self.note_taken(&waiting);
            return taken;
        }
        let expired = waiting.take_expired(now);
        for held in &expired {
            pace.start(held);
        }
        taken.extend(expired);
        taken
    }

    /// The parcel to start after another one was answered. A large one may leave room for several:
    /// then the lane's task starts the others.
    pub fn take_next(&self, blocked: bool, instant: Instant) -> Option<Held> {
        let mut pace = self.pace();
        pace.passes(blocked, instant)?;
        let mut waiting = self.waiting();
        let next = self.start_next(&mut pace, &mut waiting, instant);
        self.note_taken(&waiting);
        if self.has_room(&pace) && !waiting.is_empty() {
            self.wake.notify_one();
        }
        next
    }

    fn start_next(&self, pace: &mut Pace, waiting: &mut Waiting, instant: Instant) -> Option<Held> {
        let held = if self.has_room(pace) { waiting.next()? } else { return None };
        if pace.breaker.passage(instant) == Passage::Probe {
            pace.breaker.probe();
        }
        pace.start(&held);
        Some(held)
    }

    /// Writing an answer down takes as long as a commit; the vendor is not kept waiting for it,
    /// but what is not written down yet has its own limit.
    fn has_room(&self, pace: &Pace) -> bool {
        pace.in_flight < self.in_flight_max
            && pace.parcels < self.parcels_at_once.load(Ordering::Relaxed)
            && pace.unsettled < self.in_flight_max.saturating_mul(UNSETTLED_FACTOR)
    }

    /// How many requests the connections carry at a time; `None` for more than a lane needs. What
    /// is started beyond them waits for its turn, while something more urgent may come.
    pub fn set_parcels_at_once(&self, most: Option<usize>) {
        let most = most.unwrap_or(usize::MAX);
        if self.parcels_at_once.load(Ordering::Relaxed) != most {
            self.parcels_at_once.store(most, Ordering::Relaxed);
        }
    }

    /// A parcel of so many deliveries is no longer at the vendor. Whoever says so takes the next.
    pub fn answered(&self, deliveries: usize) {
        let mut pace = self.pace();
        pace.parcels = pace.parcels.saturating_sub(1);
        pace.in_flight = pace.in_flight.saturating_sub(deliveries);
    }

    /// A parcel of so many deliveries is written down.
    pub fn finished(&self, deliveries: usize) {
        let mut pace = self.pace();
        pace.unsettled = pace.unsettled.saturating_sub(deliveries);
        // Also when this parcel was a probe that closed the breaker: nobody is on the way then.
        if self.has_room(&pace) && !self.waiting().is_empty() {
            self.wake.notify_one();
        }
    }

    /// Whether rows were left in the store and there is room for them again.
    pub fn wants_more(&self) -> bool {
        let wants =
            self.is_behind() && self.is_half_empty() && self.behind.swap(0, Ordering::Relaxed) != 0;
        if wants {
            self.tell_ingest();
        }
        wants
    }

    fn is_half_empty(&self) -> bool {
        let waiting = self.waiting();
        self.parcels_max.saturating_sub(waiting.len()) > self.parcels_max / 2
            && waiting.held().is_half_empty()
    }

    /// Notes that rows were left in the store, the first of them due at `since`.
    pub fn fell_behind(&self, since: Option<UnixMs>) {
        self.behind_since.store(since.map_or(u64::MAX, |since| since.0), Ordering::Relaxed);
        let least = self.waiting().least_urgent();
        self.set_behind(least);
    }

    /// Notes that parcels are left to the store, while others wait of which the least urgent is
    /// that urgent.
    fn left_behind(&self, left: &[Left], least: u8) {
        let since = left.iter().map(|left| left.since.0).min().unwrap_or(u64::MAX);
        match self.is_behind() {
            true => self.behind_since.fetch_min(since, Ordering::Relaxed),
            false => self.behind_since.swap(since, Ordering::Relaxed),
        };
        self.set_behind(least);
    }

    fn set_behind(&self, least: u8) {
        if self.behind.swap(least + 1, Ordering::Relaxed) != least + 1 {
            self.tell_ingest();
        }
    }

    /// Something went out: when it was the last of the least urgent, nothing gives way to their
    /// like any more, and it must not pass what waits in the store.
    fn note_taken(&self, waiting: &Waiting) {
        if !self.is_behind() {
            return;
        }
        let (order, least) = (Ordering::Relaxed, waiting.least_urgent() + 1);
        let lower = |behind| (behind > least).then_some(least);
        if self.behind.fetch_update(order, order, lower).is_ok() {
            self.tell_ingest();
        }
    }

    fn tell_ingest(&self) {
        self.full.note(self.cert_id, || self.behind.load(Ordering::Relaxed).checked_sub(1));
    }

    fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed) != 0
    }

    /// Since when the oldest parcel waits that could go now; `None` when nothing waits or this
    /// lane does not run.
    pub fn waits_since(&self, blocked: bool, now: UnixMs, instant: Instant) -> Option<UnixMs> {
        let pace = self.pace();
        let slowed = pace.slow_until.is_some_and(|until| until > instant);
        let runs = !(blocked || pace.paused || slowed || pace.breaker.is_open());
        drop(pace);
        if !runs || self.running_since.load(Ordering::Relaxed) == 0 {
            self.running_since.store(now.0, Ordering::Relaxed);
        }
        if !runs {
            return None;
        }
        let oldest = self.waiting().oldest();
        let behind = self.is_behind();
        let stored = Some(self.behind_since.load(Ordering::Relaxed));
        let stored = stored.filter(|since| behind && *since != u64::MAX).map(UnixMs);
        let running_since = UnixMs(self.running_since.load(Ordering::Relaxed));
        [oldest, stored].into_iter().flatten().min().map(|since| since.max(running_since))
    }

    /// Wakes the lane's task.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits to be woken.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// How long to wait at most before looking again.
    pub fn wait(&self, now: Instant) -> Duration {
        let pace = self.pace();
        let mut wait = LOOK_EVERY;
        if let Some(until) = pace.slow_until.filter(|until| *until > now) {
            wait = wait.min(until - now);
        }
        if let Passage::Closed(left) = pace.breaker.passage(now) {
            wait = wait.min(left);
        }
        wait
    }

    /// Stops or resumes.
    pub fn set_paused(&self, paused: bool) {
        self.pace().paused = paused;
        self.wake.notify_one();
    }

    /// The certificate or the vendor changed: old failures count no more.
    pub fn forgive(&self, now: Instant) {
        let mut pace = self.pace();
        pace.breaker.reset(now);
        pace.slow_until = None;
        pace.suspects = 0;
        pace.failed_handshakes = 0;
        pace.trouble = None;
        drop(pace);
        self.wake.notify_one();
    }

    /// Counts a refused TLS handshake; answers how many in a row.
    pub fn handshake_failed(&self) -> u32 {
        let mut pace = self.pace();
        pace.failed_handshakes += 1;
        pace.failed_handshakes
    }

    /// Whether "this token is dead" is believed of a parcel's tokens: not when they end a long run
    /// of such answers, none accepted between, which says that the credential is wrong.
    pub fn belief(&self, effect: &Effect) -> Belief {
        let before = self.pace().suspects;
        match before.saturating_add(effect.suspects) {
            _ if effect.accepted > 0 => Belief::Held,
            run if run < self.suspects_max => Belief::Held,
            _ if before < self.suspects_max && effect.suspects > 0 => Belief::Lost,
            _ => Belief::None,
        }
    }

    /// Learns from a settled parcel. Answers whether the breaker opened or closed by it.
    pub fn learn(&self, effect: &Effect, now: Instant) -> Option<Turn> {
        let mut pace = self.pace();
        if !effect.asked {
            pace.breaker.unprobe();
            return None;
        }
        if effect.accepted > 0 {
            pace.suspects = 0;
        } else {
            pace.suspects = pace.suspects.saturating_add(effect.suspects);
        }
        if let Some(wait) = effect.throttled {
            let until = now + wait;
            pace.slow_until = Some(pace.slow_until.map_or(until, |known| known.max(until)));
        }
        if effect.unavailable && effect.accepted == 0 {
            pace.trouble.clone_from(&effect.trouble);
            let began = now.checked_sub(effect.took).unwrap_or(now);
            return pace.breaker.failed(began, now).then_some(Turn::Opened);
        }
        pace.failed_handshakes = 0;
        pace.trouble = None;
        pace.breaker.succeeded(now).then_some(Turn::Closed)
    }

    /// A parcel ended without anything to learn from: if it was the probe, another may go.
    pub fn learn_nothing(&self) {
        self.pace().breaker.unprobe();
    }
}

/// Whether a vendor is believed that calls tokens dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// It is.
    Held,
    /// Not from this parcel on.
    Lost,
    /// It was not before.
    None,
}

/// A breaker's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It opened: nothing passes.
    Opened,
    /// It closed: everything passes.
    Closed,
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::id::{AppId, MessageId};
    use crate::model::message::Message;
    use crate::queue::{self, Parcel};
    use crate::store::Batch;

    fn lane() -> Lane {
        lane_with(Arc::new(Memory::new(1_024 * 1_024)))
    }

    fn lane_with(memory: Arc<Memory>) -> Lane {
        let settings = DispatchSettings {
            in_flight_max: 10,
            parcels_in_memory: 10,
            memory_bytes: 1_024 * 1_024,
            request_deadline: Duration::from_secs(1),
            lease: Duration::from_secs(60),
            breaker_failures: 3,
            breaker_base: Duration::from_secs(1),
            breaker_max: Duration::from_secs(1),
            sweep_interval: Duration::from_secs(1),
            suspects_max: 3,
        };
        Lane::new(CertId(7), &settings, Arc::default(), memory)
    }

    pub(in crate::dispatch) fn urgent(id: u128, urgency: u8, due: u64) -> Held {
        let content =
            br#"{"From_Account":"a","MsgRandom":1,"OfflinePushInfo":{"Desc":"x"}}"#.as_slice();
        let parcel = Parcel {
            app: AppId(1),
            cert_id: CertId(7),
            message_id: MessageId(id),
            number: 0,
            urgency,
            locale: None,
            sound: None,
            expires_at: UnixMs(1_000_000),
            attempts: 0,
            renewed: 0,
            deliveries: Vec::new(),
            content: Bytes::from_static(content),
        };
        let message = Arc::new(Message::parse_stored(content).expect("content"));
        queue::put(parcel, message, UnixMs(due), &mut Batch::default())
    }

    fn taken(lane: &Lane) -> Vec<UnixMs> {
        let taken = lane.take(false, UnixMs(0), Instant::now());
        taken.iter().map(|held| held.leased_until).collect()
    }

    #[test]
    fn connections_are_renewed_once_however_many_ask() {
        let lane = lane();
        let first = lane.generation();
        let second = lane.renew_connections(first);
        assert_ne!(second, first);
        assert_eq!(lane.renew_connections(first), second, "that was on the old ones");
        assert_eq!(lane.generation(), second);
        assert_ne!(lane.renew_connections(second), second);
    }

    #[test]
    fn a_long_run_of_dead_tokens_is_not_believed_from_its_first_parcel_on() {
        let lane = lane();
        let says =
            |suspects, accepted| Effect { asked: true, suspects, accepted, ..Effect::default() };
        let settle = |effect: Effect| {
            let belief = lane.belief(&effect);
            lane.learn(&effect, Instant::now());
            belief
        };
        assert_eq!(lane.belief(&says(3, 0)), Belief::Lost, "one parcel may hold the whole run");
        assert_eq!(settle(says(2, 0)), Belief::Held);
        assert_eq!(settle(says(1, 0)), Belief::Lost);
        assert_eq!(settle(says(1, 0)), Belief::None);
        assert_eq!(settle(says(5, 1)), Belief::Held, "what it took proves the credential");
        assert_eq!(settle(says(1, 0)), Belief::Held);
    }

    #[tokio::test]
    async fn a_lane_that_may_not_send_starts_what_has_expired_and_nothing_else() {
        let lane = lane();
        let expiring = |id, expires_at| {
            let mut held = urgent(id, 1, 100);
            held.parcel.expires_at = UnixMs(expires_at);
            held
        };
        for (id, expires_at) in [(1, 500), (2, 300), (3, 900)] {
            lane.push(expiring(id, expires_at), UnixMs(0));
        }
        let expired = |now| {
            let taken = lane.take(true, UnixMs(now), Instant::now());
            taken.iter().map(|held| held.id().0.0).collect::<Vec<_>>()
        };
        assert_eq!(expired(299), [0; 0]);
        assert_eq!(expired(300), [2]);
        lane.push(expiring(4, 400), UnixMs(0));
        assert_eq!(expired(400), [4], "one that came later may end sooner");
        assert_eq!(expired(899), [1]);
        assert_eq!(expired(u64::MAX), [3]);
    }

    #[tokio::test]
    async fn what_waits_is_dropped_when_its_lease_ends_and_what_is_at_the_vendor_stays() {
        let lane = lane();
        for (id, leased_until) in [(1, 100), (2, 100), (3, 200)] {
            lane.push(urgent(id, 1, leased_until), UnixMs(0));
        }
        let now = Instant::now();
        assert_eq!(lane.take_next(false, now).map(|held| held.id().0.0), Some(1));
        let has = |lane: &Lane| [1, 2, 3].map(|id| lane.has((MessageId(id), 0)));
        lane.drop_unleased(UnixMs(99));
        assert_eq!(has(&lane), [true, true, true]);
        lane.drop_unleased(UnixMs(100));
        assert_eq!(has(&lane), [true, false, true]);
        lane.release((MessageId(1), 0));
        lane.drop_unleased(UnixMs(200));
        assert_eq!(has(&lane), [false; 3]);
        assert!(lane.take_next(false, now).is_none());
    }

    #[tokio::test]
    async fn whatever_becomes_of_parcels_their_bytes_are_free_again_and_not_before() {
        let memory = Arc::new(Memory::new(1_024 * 1_024));
        let lane = lane_with(memory.clone());
        let row = urgent(1, 1, 100).row.len();
        let holds = |parcels| {
            assert_eq!(memory.held(), parcels * row);
            assert_eq!(
                lane.report(None, None, UnixMs(0), Instant::now()).memory_bytes,
                memory.held()
            );
        };
        for id in 1..=8 {
            let mut held = urgent(id, 1, 100 + id as u64);
            held.parcel.expires_at = UnixMs(if id == 3 { 50 } else { 1_000 });
            assert!(lane.push(held, UnixMs(0)).is_empty());
        }
        holds(8);
        assert!(lane.take_next(false, Instant::now()).is_some());
        holds(8);
        lane.release((MessageId(1), 0));
        holds(7);
        lane.withdraw(MessageId(2));
        assert_eq!(lane.take(true, UnixMs(60), Instant::now()).len(), 2, "withdrawn and expired");
        holds(7);
        lane.release((MessageId(2), 0));
        lane.release((MessageId(3), 0));
        lane.drop_unleased(UnixMs(105));
        holds(3);
        lane.withdraw(MessageId(6));
        assert_eq!(lane.take_all().len(), 3);
        holds(0);
        lane.push(urgent(9, 1, 100), UnixMs(0));
        holds(1);
        drop(lane);
        assert_eq!(memory.held(), 0);
    }

    #[tokio::test]
    async fn a_lane_is_full_of_bytes_as_it_is_of_parcels_and_wants_more_when_half_are_gone() {
        let row = urgent(1, 1, 100).row.len();
        // Half is kept for the share of the lane itself.
        let lane = lane_with(Arc::new(Memory::new(4 * row)));
        for id in 1..=2 {
            assert!(lane.push(urgent(id, 1, 100), UnixMs(0)).is_empty());
        }
        assert_eq!(lane.room(), 0);
        assert!(!lane.fits(row, 0));
        assert_eq!(lane.push(urgent(3, 1, 100), UnixMs(0)).len(), 1);
        assert!(!lane.wants_more());
        assert!(lane.take_next(false, Instant::now()).is_some());
        assert!(!lane.wants_more(), "what is at the vendor is in memory as well");
        lane.release((MessageId(1), 0));
        assert!(lane.fits(row, 0) && !lane.fits(row, 1));
        assert!(lane.wants_more());
        assert!(!lane.wants_more(), "it was said");
    }

    #[tokio::test(start_paused = true)]
    async fn room_for_more_than_the_next_wakes_the_lane() {
        let lane = lane();
        for id in 1..=3 {
            lane.push(urgent(id, 1, 100), UnixMs(0));
        }
        let now = Instant::now();
        lane.woken().await;
        assert!(lane.take_next(false, now).is_some());
        lane.woken().await;
        assert!(lane.take_next(false, now).is_some());
        lane.woken().await;
        assert!(lane.take_next(false, now).is_some());
        lane.finished(0);
        let woken = tokio::time::timeout(Duration::from_secs(1), lane.woken()).await;
        assert!(woken.is_err(), "nothing waits any more");
    }

    #[tokio::test]
    async fn high_goes_before_normal_before_low_and_the_longest_wait_wins_now_and_then() {
        let lane = lane();
        lane.push(urgent(1, 2, 100), UnixMs(10));
        lane.push(urgent(2, 1, 200), UnixMs(20));
        for (id, due) in (3..).zip(300..307) {
            lane.push(urgent(id, 0, due), UnixMs(30));
        }
        let order = taken(&lane);
        assert_eq!(order[..7], [300, 301, 302, 303, 304, 305, 306].map(UnixMs));
        assert_eq!(order[7..], [100, 200].map(UnixMs), "the eighth is the one that waited longest");
    }

    #[tokio::test]
    async fn in_a_full_lane_the_latest_of_the_least_urgent_give_way_to_what_is_more_urgent() {
        let memory = Arc::new(Memory::new(1_024 * 1_024));
        let lane = lane_with(memory.clone());
        let push = |id, urgency| {
            let left = lane.push(urgent(id, urgency, 100), UnixMs(id as u64));
            left.iter().map(|held| held.id().0.0).collect::<Vec<_>>()
        };
        for id in 1..=8 {
            assert_eq!(push(id, 2), [0; 0]);
        }
        assert_eq!((push(9, 1), push(10, 1)), (vec![], vec![]));
        assert_eq!(push(11, 2), [11], "it is not more urgent than any");
        assert_eq!((push(12, 1), push(13, 0)), (vec![8], vec![7]));
        assert!(!lane.has((MessageId(8), 0)) && lane.has((MessageId(12), 0)));
        assert_eq!(lane.behind_since.load(Ordering::Relaxed), 7);
        for id in 14..=19 {
            assert_eq!(push(id, 0), [20 - id]);
        }
        assert_eq!(push(20, 1), [20], "only its like are left");
        assert_eq!((push(21, 0), push(22, 0), push(23, 0)), (vec![12], vec![10], vec![9]));
        assert_eq!(push(24, 0), [24]);
        assert_eq!(memory.held(), 10 * urgent(1, 0, 100).row.len());
    }

    #[tokio::test]
    async fn for_a_large_parcel_as_many_give_way_as_it_needs_and_none_when_they_are_too_few() {
        let row = urgent(1, 1, 100).row.len();
        let lane = lane_with(Arc::new(Memory::new(8 * row)));
        for id in 1..=4 {
            assert!(lane.push(urgent(id, 2, 100), UnixMs(0)).is_empty());
        }
        let large = |id, rows| Held { row: vec![0; rows * row].into(), ..urgent(id, 0, 100) };
        let ids = |left: Vec<Held>| left.iter().map(|held| held.id().0.0).collect::<Vec<_>>();
        assert_eq!(ids(lane.push(large(5, 5), UnixMs(0))), [5]);
        assert_eq!(ids(lane.push(large(6, 3), UnixMs(0))), [4, 3, 2]);
        assert_eq!(ids(lane.push(large(7, 2), UnixMs(0))), [7], "one is not enough");
        assert_eq!(taken(&lane).len(), 2);
    }

    #[tokio::test]
    async fn only_a_lane_that_runs_says_how_long_its_parcels_wait() {
        let lane = lane();
        let since = |blocked, now| lane.waits_since(blocked, UnixMs(now), Instant::now());
        assert_eq!(since(false, 50), None, "nothing waits");
        lane.push(urgent(1, 1, 100), UnixMs(70));
        lane.push(urgent(2, 0, 100), UnixMs(90));
        assert_eq!(since(false, 200), Some(UnixMs(70)));
        assert_eq!(since(true, 300), None, "the certificate is broken");
        assert_eq!(since(false, 310), Some(UnixMs(300)), "what could not go does not count");
        lane.set_paused(true);
        assert_eq!(since(false, 400), None);
        lane.set_paused(false);
        assert_eq!(since(false, 410), Some(UnixMs(400)));
        lane.fell_behind(Some(UnixMs(350)));
        taken(&lane);
        assert_eq!(since(false, 420), Some(UnixMs(400)), "rows left in the store wait as well");
        assert!(lane.wants_more());
        assert_eq!(since(false, 430), None);
    }
}
