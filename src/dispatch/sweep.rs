//! Finds in the store what is due and brings it to its lane: retries, what did not fit into
//! memory, what a crash left behind.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;

use crate::dispatch::Dispatch;
use crate::dispatch::lane::Lane;
use crate::model::id::CertId;
use crate::model::time::UnixMs;
use crate::queue::{self, Held};
use crate::store::keys::{after_prefix, just_after};
use crate::store::{Batch, Key, Scope, StoreError};

/// Rows read at a time.
const PAGE: usize = 256;

/// Shortest time between two sweeps: a burst of wake-ups is one sweep.
const SHORTEST: Duration = Duration::from_millis(20);

/// A clock that shows so much less than what has passed was set back.
const SET_BACK_MIN: Duration = Duration::from_secs(5);

/// Sweeps until the relay drains.
pub async fn run(dispatch: Arc<Dispatch>) {
    // An embedded store has one owner: a lease found at the start is a dead process's.
    let mut horizon = dispatch.settings.lease;
    let clock = &dispatch.rooms.clock;
    let mut last = (clock.now(), clock.instant());
    loop {
        let looked = (clock.now(), clock.instant());
        if looked.0.after(SET_BACK_MIN) < last.0.after(looked.1 - last.1) {
            // What is due was written down by the old time, and would be due as much too late.
            tracing::warn!("the clock was set back: everything that waits is looked at");
            horizon = Duration::MAX;
        }
        last = looked;
        let next = match sweep(&dispatch, horizon).await {
            Ok(next) => {
                horizon = Duration::ZERO;
                next
            }
            Err(error) => {
                tracing::error!(%error, "the queue cannot be read");
                None
            }
        };
        let now = clock.now();
        let longest = dispatch.settings.sweep_interval;
        let wait = next.map_or(longest, |next| next.since(now).min(longest)).max(SHORTEST);
        tokio::select! {
            () = dispatch.sweep.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
        if dispatch.is_draining() {
            return;
        }
    }
}

/// Looks at every lane's rows once. Answers when the next row is due that is not yet.
async fn sweep(dispatch: &Arc<Dispatch>, horizon: Duration) -> Result<Option<UnixMs>, StoreError> {
    let eager = std::mem::take(
        &mut *dispatch.eager.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
    );
    let swept = sweep_lanes(dispatch, horizon, &eager).await;
    if swept.is_err() {
        // What was asked for is still to be done.
        for (cert_id, until) in eager {
            dispatch.be_eager(cert_id, until);
        }
    }
    swept
}

async fn sweep_lanes(
    dispatch: &Arc<Dispatch>,
    horizon: Duration,
    eager: &HashMap<CertId, UnixMs>,
) -> Result<Option<UnixMs>, StoreError> {
    let now = dispatch.rooms.clock.now();
    let mut next: Option<UnixMs> = None;
    let mut range = queue::everything();
    while let Some(key) = first(dispatch, range.clone()).await? {
        let Some(cert_id) = queue::certificate_of(&key) else {
            return Err(StoreError::Corrupt { key });
        };
        let of_lane = queue::of_certificate(cert_id);
        range.start = after_prefix(&of_lane.start);
        let lane = dispatch.lane(cert_id);
        let until = now.after(horizon).max(eager.get(&cert_id).copied().unwrap_or(now));
        let due = queue::due(cert_id, until);
        if lane.room() > 0 {
            lane.drop_unleased(now);
        }
        match bring(dispatch, &lane, due, of_lane).await? {
            Brought::All { next: soonest } => {
                next = [next, soonest].into_iter().flatten().min();
            }
            // The lane asks for more when it has room, and then this is still meant.
            Brought::Some if until > now => dispatch.be_eager(cert_id, until),
            Brought::Some => {}
        }
    }
    Ok(next)
}

async fn first(dispatch: &Dispatch, range: Range<Key>) -> Result<Option<Key>, StoreError> {
    let rows = dispatch.rooms.store.scan(Scope::Everywhere, range, 1).await?;
    Ok(rows.into_iter().next().map(|(key, _)| key))
}

/// What a lane got.
enum Brought {
    /// Every row that was meant; when the next one is due.
    All { next: Option<UnixMs> },
    /// As many as it has room for.
    Some,
}

/// Claims due rows as long as the lane has room.
async fn bring(
    dispatch: &Arc<Dispatch>,
    lane: &Lane,
    mut due: Range<Key>,
    of_lane: Range<Key>,
) -> Result<Brought, StoreError> {
    loop {
        let room = lane.room().min(PAGE);
        if room == 0 {
            let left = first(dispatch, due).await?;
            lane.fell_behind(left.as_ref().and_then(queue::waits_since));
            return Ok(Brought::Some);
        }
        let rows = dispatch.rooms.store.scan(Scope::Everywhere, due.clone(), room).await?;
        let last_page = rows.len() < room;
        let Some((last, _)) = rows.last() else { break };
        due.start = just_after(last);
        let mut claims = Vec::with_capacity(rows.len());
        let (mut bytes, mut left) = (0, None);
        let now = dispatch.rooms.clock.now();
        for (key, row) in rows {
            // Ahead of time only what nobody holds may be claimed. The order of the two questions
            // matters: a birth ends after the lane has the parcel.
            if queue::due_of(&key).is_some_and(|due| due > now)
                && queue::id_of(&key).is_some_and(|(id, _)| dispatch.births.is_on_its_way(id))
            {
                continue;
            }
            if queue::id_of(&key).is_some_and(|id| lane.has(id)) {
                continue;
            }
            if !lane.fits(row.len(), bytes) {
                left = Some(queue::waits_since(&key));
                break;
            }
            bytes += row.len();
            match queue::read(key, row) {
                Ok(held) => claims.push(held),
                Err(error) => tracing::error!(%error, "a parcel cannot be read and is left alone"),
            }
        }
        claim(dispatch, lane, claims).await?;
        if let Some(since) = left {
            lane.fell_behind(since);
            return Ok(Brought::Some);
        }
        if last_page {
            break;
        }
    }
    let behind = due.end..of_lane.end;
    if behind.start >= behind.end {
        return Ok(Brought::All { next: None });
    }
    let next = first(dispatch, behind).await?;
    Ok(Brought::All { next: next.as_ref().and_then(queue::due_of) })
}

/// Moves rows forward by the lease; whoever moves a row first has it.
async fn claim(
    dispatch: &Arc<Dispatch>,
    lane: &Lane,
    mut claims: Vec<Held>,
) -> Result<(), StoreError> {
    if claims.is_empty() {
        return Ok(());
    }
    let now = dispatch.rooms.clock.now();
    let until = now.after(dispatch.settings.lease);
    let since: Vec<_> = claims.iter().map(|held| held.waits_since(now)).collect();
    let batches = claims
        .iter_mut()
        .map(|held| {
            let mut batch = Batch::default();
            queue::move_to(held, until, &mut batch);
            (held.parcel.message_id.partition(), batch)
        })
        .collect();
    let results = dispatch.rooms.store.commit_all(batches).await;
    let mut surplus = Vec::new();
    let mut failed = None;
    for ((held, since), result) in claims.into_iter().zip(since).zip(results) {
        match result {
            Ok(()) => {
                let message_id = held.parcel.message_id;
                surplus.extend(lane.push(held, since));
                if dispatch.rooms.facts.is_withdrawn(message_id) {
                    lane.withdraw(message_id);
                }
            }
            Err(StoreError::Conflict) => {}
            Err(error) => failed = Some(error),
        }
    }
    dispatch.give_back(surplus).await;
    failed.map_or(Ok(()), Err)
}
