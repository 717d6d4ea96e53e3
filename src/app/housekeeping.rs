//! What has to be done from time to time: forgetting what is old, measuring what waits.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::Api;
use crate::app::expiry;
use crate::config::Settings;
use crate::dedupe::{self, Dedupe};
use crate::ledger::Waiting;
use crate::message_names;
use crate::model::id::Partition;
use crate::model::message::LIFE_TIME_S_MAX;
use crate::model::time::UnixMs;
use crate::statistics::{self, DAYS_KEPT, Day};
use crate::store::{Batch, Key, Scope, StoreError};
use crate::telemetry::events;
use crate::trace;

/// Between two rounds of measuring.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Between two rounds of forgetting.
const FORGET_EVERY: Duration = Duration::from_secs(20);

/// Rows removed by one commit: large batches make an embedded engine's files grow.
const ROWS_PER_COMMIT: usize = 64;

/// Commits of removals handed in together.
const COMMITS_TOGETHER: usize = 16;

/// Pause after so many removals, so that forgetting never starves taking.
const BREATH: Duration = Duration::from_millis(20);

/// Starts the rounds; they end when the relay stops.
pub fn start(
    api: Arc<Api>,
    dedupe: Arc<Dedupe>,
    waiting: Arc<Waiting>,
    settings: &Settings,
    stopping: watch::Receiver<bool>,
) {
    let keep = Duration::from_secs(u64::from(settings.trace.keep_h) * 3_600);
    let bytes_max = settings.trace.bytes_max;
    tokio::spawn(measure(api.clone(), waiting, stopping.clone()));
    tokio::spawn(expiry::follow(api.clone(), stopping.clone()));
    tokio::spawn(forget(api, dedupe, keep, bytes_max, stopping));
}

async fn measure(api: Arc<Api>, waiting: Arc<Waiting>, mut stopping: watch::Receiver<bool>) {
    loop {
        api.metrics.upkeep();
        let lanes = api.dispatch.lanes();
        let count = |condition| lanes.iter().filter(|lane| lane.condition == condition).count();
        events::lanes_measured(count("running"), count("paused"), count("breaker_open"));
        // The ledger knows better than a count in memory, which a lost answer leaves wrong.
        if let Ok(ledger) = crate::ledger::read(&api.store, None).await {
            waiting.follow(&ledger);
            events::ledger_balanced(ledger.balanced);
        }
        let mut at_vendors: BTreeMap<&'static str, usize> = BTreeMap::new();
        for lane in &lanes {
            *at_vendors.entry(lane.vendor.unwrap_or_default()).or_default() += lane.in_flight;
        }
        for (vendor, in_flight) in at_vendors {
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

async fn forget(
    api: Arc<Api>,
    dedupe: Arc<Dedupe>,
    keep: Duration,
    bytes_max: u64,
    mut stopping: watch::Receiver<bool>,
) {
    let mut keep = keep;
    loop {
        tokio::select! {
            () = tokio::time::sleep(FORGET_EVERY) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let now = api.clock.now();
        for window in dedupe.windows() {
            remove(&api, dedupe::outdated(window, now), "seen marks").await;
        }
        // Over the byte limit traces are kept for a shorter time, until the store fits again.
        if api.store.disk_bytes() > bytes_max {
            keep = keep.mul_f64(0.8).max(Duration::from_secs(60));
        }
        remove(&api, trace::outdated(before(now, keep)), "traces").await;
        let first = Day::of(now).before(DAYS_KEPT);
        remove(&api, statistics::outdated(first), "statistics").await;
        let life = Duration::from_secs(u64::from(LIFE_TIME_S_MAX));
        remove(&api, message_names::outdated(before(now, life)), "message names").await;
        if let Err(error) = api.withdrawn.forget_before(before(now, life)).await {
            tracing::warn!(%error, "old withdrawals could not be forgotten");
        }
    }
}

fn before(now: UnixMs, span: Duration) -> UnixMs {
    UnixMs(now.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

async fn remove(api: &Api, range: Range<Key>, what: &str) {
    match remove_rows(api, range).await {
        Ok(0) => {}
        Ok(rows) => tracing::debug!(rows, what, "forgotten"),
        Err(error) => tracing::warn!(%error, what, "could not be forgotten yet"),
    }
}

async fn remove_rows(api: &Api, range: Range<Key>) -> Result<usize, StoreError> {
    let mut removed = 0;
    loop {
        let limit = ROWS_PER_COMMIT * COMMITS_TOGETHER;
        let rows = api.store.scan(Scope::Everywhere, range.clone(), limit).await?;
        let found = rows.len();
        let batches = rows
            .chunks(ROWS_PER_COMMIT)
            .map(|rows| {
                let delete = rows.iter().map(|(key, _)| key.clone()).collect();
                (Partition::of_hash(0), Batch { delete, ..Batch::default() })
            })
            .collect();
        for result in api.store.commit_all(batches).await {
            result?;
        }
        removed += found;
        if found < limit {
            return Ok(removed);
        }
        tokio::time::sleep(BREATH).await;
    }
}
