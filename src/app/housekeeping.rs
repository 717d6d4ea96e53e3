//! What has to be done from time to time: forgetting what is old, measuring what waits.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::Api;
use crate::api::operate::REPLAY_LIFE_S_MAX;
use crate::app::expiry;
use crate::app::partitions::parted;
use crate::clock::Clock;
use crate::config::Settings;
use crate::dedupe;
use crate::dispatch::lane::{CONDITIONS, LaneReport};
use crate::ledger::Waiting;
use crate::message_names;
use crate::model::message::LIFE_TIME_S_MAX;
use crate::model::time::UnixMs;
use crate::outcome::dead_letters;
use crate::statistics::{self, DAYS_KEPT, Day};
use crate::store::keys::just_after;
use crate::store::{Batch, Key, Scope, Store, StoreError};
use crate::telemetry::events;
use crate::trace;
use crate::vendor;

/// Between two rounds of measuring.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Between two rounds of forgetting.
const FORGET_EVERY: Duration = Duration::from_secs(20);

/// Rows removed by one commit: large batches make an embedded engine's files grow.
const ROWS_PER_COMMIT: usize = 64;

/// Commits of removals handed in together while there is time.
const COMMITS_UNHURRIED: usize = 8;

/// Commits of removals handed in together when there is none.
const COMMITS_HURRIED: usize = 48;

/// Traces are kept at least so long, however large the store is.
const KEEP_MIN: Duration = Duration::from_secs(60);

/// Pause after so many removals when there is no time, so that forgetting never starves taking.
const BREATH: Duration = Duration::from_millis(10);

/// For so long removals take their time: seen marks come due by the window, hundreds of thousands
/// at once, and nobody waits for their end. What is left then is removed as fast as may be.
const UNHURRIED: Duration = Duration::from_secs(20);

/// While there is time, the pause after removals in multiples of what they took.
const REST: u32 = 4;

/// Starts the rounds; they end when the relay stops.
pub fn start(
    api: Arc<Api>,
    waiting: Arc<Waiting>,
    settings: &Settings,
    stopping: watch::Receiver<bool>,
) {
    let hours = |hours: u32| Duration::from_secs(u64::from(hours) * 3_600);
    let kept = Kept {
        traces: hours(settings.trace.keep_h),
        trace_bytes_max: settings.trace.bytes_max,
        dead_letters: hours(settings.dead_letters.keep_h),
    };
    tokio::spawn(measure(api.clone(), waiting, stopping.clone()));
    tokio::spawn(expiry::follow(api.clone(), stopping.clone()));
    tokio::spawn(forget(api, kept, stopping));
}

async fn measure(api: Arc<Api>, waiting: Arc<Waiting>, mut stopping: watch::Receiver<bool>) {
    loop {
        api.metrics.upkeep();
        let lanes = api.dispatch.lanes();
        for condition in CONDITIONS {
            let count = lanes.iter().filter(|lane| lane.condition == condition).count();
            events::lanes_measured(condition, count);
        }
        // The ledger knows better than a count in memory, which a lost answer leaves wrong.
        if let Ok(ledger) = crate::ledger::read(&api.store, None).await {
            waiting.follow(&ledger);
            events::ledger_balanced(ledger.balanced);
        }
        for (vendor, in_flight) in in_flight(&lanes) {
            events::pushes_in_flight(vendor, in_flight);
        }
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let oldest = api.ingest.oldest_wait();
        events::queue_measured(count(waiting.deliveries()), count(waiting.bytes()), oldest);
        tokio::select! {
            () = tokio::time::sleep(MEASURE_EVERY) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// What is at each vendor. Vendors without a lane are there with 0: what was said of them last
/// would stay otherwise. A lane whose certificate was deleted has no vendor any more.
fn in_flight(lanes: &[LaneReport]) -> BTreeMap<&'static str, usize> {
    let names = vendor::ALL.iter().map(|vendor| vendor.profile().name);
    let mut counts: BTreeMap<_, _> = names.map(|name| (name, 0)).collect();
    for lane in lanes {
        if let Some(vendor) = lane.vendor {
            *counts.entry(vendor).or_default() += lane.in_flight;
        }
    }
    counts
}

/// How long what an operator may set is kept.
struct Kept {
    traces: Duration,
    trace_bytes_max: u64,
    dead_letters: Duration,
}

async fn forget(api: Arc<Api>, kept: Kept, mut stopping: watch::Receiver<bool>) {
    let mut span = Span { wanted: kept.traces, keep: kept.traces, acted_at: 0 };
    loop {
        tokio::select! {
            () = tokio::time::sleep(FORGET_EVERY) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let now = api.clock.now();
        report("seen marks", remove_marks(&api.store, &api.clock).await);
        let covered = oldest_trace(&api, now).await.map_or(Duration::ZERO, |at| now.since(at));
        span.adjust(api.store.disk_bytes(), kept.trace_bytes_max, covered);
        remove(&api, trace::outdated(before(now, span.keep)), "traces").await;
        report("dead letters", remove_letters(&api, kept.dead_letters).await);
        let first = Day::of(now).before(DAYS_KEPT);
        remove(&api, statistics::outdated(first), "statistics").await;
        let life = Duration::from_secs(u64::from(LIFE_TIME_S_MAX));
        remove(&api, message_names::outdated(before(now, life)), "message names").await;
        // A dead letter may be replayed at its end, and is not to ring when it was withdrawn.
        let replayed = Duration::from_secs(u64::from(REPLAY_LIFE_S_MAX));
        let longest = life + kept.dead_letters + replayed;
        if let Err(error) = api.withdrawn.forget_before(before(now, longest)).await {
            tracing::warn!(%error, "old withdrawals could not be forgotten");
        }
    }
}

/// For how long traces are kept: as long as wanted, or as the store's size allows.
struct Span {
    wanted: Duration,
    keep: Duration,
    /// The size at which it was made shorter last. An engine's file does not shrink at once, or at
    /// all: what was freed in it is used again, and only when it grows on is there still too much.
    acted_at: u64,
}

impl Span {
    /// Shorter when the store is too large, by as much as it is; longer again when it fits.
    /// `covered` is what traces cover now.
    fn adjust(&mut self, disk: u64, most: u64, covered: Duration) {
        if disk <= most {
            self.acted_at = 0;
            self.keep = self.keep.mul_f64(1.25).min(self.wanted);
        } else if disk > self.acted_at + self.acted_at / 50 {
            self.acted_at = disk;
            let part = most as f64 / disk as f64 * 0.9;
            self.keep = covered.min(self.keep).mul_f64(part).max(KEEP_MIN).min(self.wanted);
        }
    }
}

/// When the message was accepted whose trace is the oldest.
async fn oldest_trace(api: &Api, now: UnixMs) -> Option<UnixMs> {
    let rows = api.store.scan(Scope::Everywhere, trace::outdated(now), 1).await.ok()?;
    trace::accepted_at(&rows.first()?.0)
}

fn before(now: UnixMs, span: Duration) -> UnixMs {
    UnixMs(now.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

async fn remove(api: &Api, range: Range<Key>, what: &str) {
    report(what, remove_rows(&api.store, &api.clock, range).await);
}

fn report(what: &str, removed: Result<usize, StoreError>) {
    match removed {
        Ok(0) => {}
        Ok(rows) => tracing::debug!(rows, what, "forgotten"),
        Err(error) => tracing::warn!(%error, what, "could not be forgotten yet"),
    }
}

/// Removes the seen marks that no repeat can meet any more, of every window that marks were made
/// with: a window that is no longer a setting has left some too. Answers how many there were.
///
/// # Errors
/// The store's; some may be gone already.
pub async fn remove_marks(store: &Arc<dyn Store>, clock: &Clock) -> Result<usize, StoreError> {
    let mut removed = 0;
    let mut rest = dedupe::all_marks();
    while let Some((first, _)) = store.scan(Scope::Everywhere, rest.clone(), 1).await?.pop() {
        let window = dedupe::window_of(&first).ok_or(StoreError::Corrupt { key: first })?;
        removed += remove_rows(store, clock, dedupe::outdated(window, clock.now())).await?;
        rest.start = dedupe::behind(window);
    }
    Ok(removed)
}

/// Removes the dead letters of messages that were accepted longer ago than `keep`. Answers how many
/// there were.
///
/// # Errors
/// The store's; some may be gone already.
pub async fn remove_letters(api: &Api, keep: Duration) -> Result<usize, StoreError> {
    let at = before(api.clock.now(), keep);
    let mut removed = 0;
    for app in api.apps.all() {
        let old = dead_letters::outdated(app.app, at);
        removed += remove_rows(&api.store, &api.clock, old).await?;
    }
    Ok(removed)
}

/// Removes every row of a range; answers how many there were.
///
/// # Errors
/// The store's; some may be gone already.
pub async fn remove_rows(
    store: &Arc<dyn Store>,
    clock: &Clock,
    mut range: Range<Key>,
) -> Result<usize, StoreError> {
    let began = clock.instant();
    let mut removed = 0;
    loop {
        let started = clock.instant();
        let is_hurried = started.saturating_duration_since(began) > UNHURRIED;
        let commits = if is_hurried { COMMITS_HURRIED } else { COMMITS_UNHURRIED };
        let limit = ROWS_PER_COMMIT * commits;
        let rows = store.scan(Scope::Everywhere, range.clone(), limit).await?;
        let found = rows.len();
        if let Some((last, _)) = rows.last() {
            range.start = just_after(last);
        }
        let batches = parted(rows, ROWS_PER_COMMIT)
            .into_iter()
            .map(|(partition, rows)| {
                let delete = rows.into_iter().map(|(key, _)| key).collect();
                (partition, Batch { delete, ..Batch::default() })
            })
            .collect();
        for result in store.commit_all(batches).await {
            result?;
        }
        removed += found;
        if found < limit {
            return Ok(removed);
        }
        let took = clock.instant().saturating_duration_since(started);
        tokio::time::sleep(if is_hurried { BREATH } else { took * REST }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedupe::{Dedupe, DedupeRule, DedupeSettings, Seen};
    use crate::model::id::{AppId, CertId, MessageId, Partition};
    use crate::model::message::Message;
    use crate::store::memory::MemoryStore;

    /// Marks one message as seen, with a window of so many seconds.
    async fn see(store: &Arc<dyn Store>, window_s: u64, now: UnixMs) {
        let window = Duration::from_secs(window_s);
        let settings =
            DedupeSettings { c2c_window: window, group_window: window, front_entries: 1 };
        let json = br#"{"From_Account":"a","To_Account":"b","MsgRandom":1,"MsgBody":[
            {"MsgType":"TIMTextElem","MsgContent":{"Text":"x"}}]}"#;
        let posted = Message::parse_posted(json).expect("a message");
        let identity = Dedupe::new(settings).identity(AppId(1), &posted, DedupeRule::Chat);
        let partition = Partition::of_hash(1);
        let mut batch = Batch::default();
        let id = MessageId::new(now, partition, 7);
        identity.mark(&Seen::default(), id, vec!["b".into()], now, &mut batch);
        store.commit(partition, batch).await.expect("marked");
    }

    #[tokio::test]
    async fn marks_of_a_window_that_is_no_longer_a_setting_go_like_all_others() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let clock = Clock::starting_at(UnixMs(1_760_000_000_000));
        for window_s in [60, 120, 3_600] {
            see(&store, window_s, clock.now()).await;
        }
        assert_eq!(remove_marks(&store, &clock).await.expect("nothing yet"), 0);
        clock.skip(Duration::from_secs(400));
        assert_eq!(remove_marks(&store, &clock).await.expect("the short ones"), 2);
        clock.skip(Duration::from_secs(3 * 3_600));
        assert_eq!(remove_marks(&store, &clock).await.expect("the long one"), 1);
    }

    #[test]
    fn a_vendor_without_a_lane_has_nothing_in_flight_and_a_lane_without_a_vendor_is_nobodys() {
        let names: Vec<_> = vendor::ALL.iter().map(|vendor| vendor.profile().name).collect();
        let lane = |vendor, in_flight| LaneReport {
            cert_id: CertId(1),
            vendor,
            condition: "running",
            waiting: 0,
            memory_bytes: 0,
            in_flight,
            resumes_in_s: None,
            why: None,
        };
        let lanes = [lane(Some(names[0]), 2), lane(Some(names[0]), 3), lane(None, 7)];
        let counts = in_flight(&lanes);
        assert_eq!(counts.len(), names.len());
        for name in &names[1..] {
            assert_eq!(counts[name], 0, "{name}");
        }
        assert_eq!(counts[names[0]], 5);
    }

    #[test]
    fn traces_are_kept_shorter_by_as_much_as_the_store_is_too_large_and_longer_when_it_fits() {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        let mut span = Span { wanted: hours(72), keep: hours(72), acted_at: 0 };
        span.adjust(900, 1_000, hours(10));
        assert_eq!(span.keep, hours(72));
        span.adjust(2_000, 1_000, hours(10));
        assert_eq!(span.keep, hours(10).mul_f64(0.45));
        let kept = span.keep;
        span.adjust(2_010, 1_000, kept);
        assert_eq!(span.keep, kept, "the file grows no more: what was freed is used again");
        span.adjust(2_400, 1_000, kept);
        assert!(span.keep < kept);
        for _ in 0..40 {
            span.adjust(800, 1_000, kept);
        }
        assert_eq!(span.keep, hours(72));
        for size in 0..40 {
            span.adjust(10_000_u64 << size.min(20), 1_000, span.keep);
        }
        assert_eq!(span.keep, KEEP_MIN);
    }
}
