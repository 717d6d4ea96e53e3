//! Finds in the store what is due and brings it to its lane: retries, what did not fit into
//! memory, what a crash left behind.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashSet;

use crate::dispatch::Dispatch;
use crate::dispatch::errands::{Ahead, Errands};
use crate::dispatch::lane::Lane;
use crate::model::id::MessageId;
use crate::model::time::UnixMs;
use crate::queue::{self, Held};
use crate::store::keys::{after_prefix, just_after};
use crate::store::{Batch, Key, Row, Scope, StoreError};

/// Rows read at a time.
const PAGE: usize = 256;

/// Pages looked through for rows of withdrawn messages.
const WITHDRAWN_PAGES: usize = 32;

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
    let errands = std::mem::take(&mut *dispatch.errands());
    let swept = sweep_lanes(dispatch, horizon, &errands).await;
    if swept.is_err() {
        dispatch.errands().resume(errands);
    }
    swept
}

async fn sweep_lanes(
    dispatch: &Arc<Dispatch>,
    horizon: Duration,
    errands: &Errands,
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
        if lane.room() > 0 {
            lane.drop_unleased(now);
        }
        if let Some(ids) = errands.withdrawn_of(cert_id) {
            end_withdrawn(dispatch, &lane, of_lane.clone(), ids).await?;
        }
        let wish = (horizon > Duration::ZERO).then(|| Ahead::up_to(now.after(horizon)));
        let asked = errands.ahead_of(cert_id).cloned();
        let ahead = match (wish, asked) {
            (Some(wish), Some(asked)) => Some(wish.and(asked)),
            (wish, asked) => wish.or(asked),
        };
        let soonest = sweep_lane(dispatch, &lane, (now, ahead), of_lane).await?;
        next = [next, soonest].into_iter().flatten().min();
    }
    Ok(next)
}

/// Brings a lane what is due, and then what is to be claimed ahead of time. Answers when its next
/// row is due.
async fn sweep_lane(
    dispatch: &Arc<Dispatch>,
    lane: &Lane,
    (now, ahead): (UnixMs, Option<Ahead>),
    of_lane: Range<Key>,
) -> Result<Option<UnixMs>, StoreError> {
    let due = queue::due(lane.cert_id(), now);
    let later = due.end.clone();
    // The lane asks for more when it has room, and then what is left is still meant.
    let next = match (bring(dispatch, lane, due, &of_lane, None).await?, ahead) {
        (Brought::All { next }, None) => next,
        (Brought::Some { .. }, None) => None,
        (Brought::Some { .. }, Some(ahead)) => {
            dispatch.errands().look_ahead(lane.cert_id(), ahead);
            None
        }
        (Brought::All { next }, Some(mut ahead)) => {
            let until = queue::due(lane.cert_id(), ahead.until()).end.min(of_lane.end.clone());
            let range = ahead.within(later..until);
            if range.start < range.end
                && let Brought::Some { reached } =
                    bring(dispatch, lane, range, &of_lane, Some(&mut ahead)).await?
                && let Some(left) = ahead.beyond(reached)
            {
                dispatch.errands().look_ahead(lane.cert_id(), left);
            }
            next
        }
    };
    Ok(next)
}

/// Brings a lane the rows of withdrawn messages, which end there. What lies behind very many others
/// ends when its turn comes.
async fn end_withdrawn(
    dispatch: &Arc<Dispatch>,
    lane: &Lane,
    mut range: Range<Key>,
    ids: &HashSet<MessageId>,
) -> Result<(), StoreError> {
    for _ in 0..WITHDRAWN_PAGES {
        let rows = dispatch.rooms.store.scan(Scope::Everywhere, range.clone(), PAGE).await?;
        let Some((last, _)) = rows.last() else { break };
        range.start = just_after(last);
        let is_one = |key: &Key| queue::id_of(key).is_some_and(|(id, _)| ids.contains(&id));
        let rows = rows.into_iter().filter(|(key, _)| is_one(key)).collect();
        claim(dispatch, lane, claimable(dispatch, lane, rows)).await?;
    }
    Ok(())
}

async fn first(dispatch: &Dispatch, range: Range<Key>) -> Result<Option<Key>, StoreError> {
    let rows = dispatch.rooms.store.scan(Scope::Everywhere, range, 1).await?;
    Ok(rows.into_iter().next().map(|(key, _)| key))
}

/// What a lane got.
enum Brought {
    /// Every row that was meant; when the next one is due.
    All { next: Option<UnixMs> },
    /// As many as it has room for, up to this key.
    Some { reached: Key },
}

/// Claims rows as long as the lane has room: those of `due`, or of them those that are meant
/// `ahead` of time.
async fn bring(
    dispatch: &Arc<Dispatch>,
    lane: &Lane,
    mut due: Range<Key>,
    of_lane: &Range<Key>,
    mut ahead: Option<&mut Ahead>,
) -> Result<Brought, StoreError> {
    loop {
        let room = lane.room().min(PAGE);
        if room == 0 {
            let left = first(dispatch, due.clone()).await?;
            lane.fell_behind(left.as_ref().and_then(queue::waits_since));
            return Ok(Brought::Some { reached: due.start });
        }
        let rows = dispatch.rooms.store.scan(Scope::Everywhere, due.clone(), room).await?;
        let last_page = rows.len() < room;
        let Some((last, _)) = rows.last() else { break };
        due.start = just_after(last);
        let mut claims = claimable(dispatch, lane, rows);
        if let Some(ahead) = &ahead {
            claims.retain(|held| ahead.means(held.id()));
        }
        let mut bytes = 0;
        let too_many = claims.iter().position(|held| {
            let fits = lane.fits(held.row.len(), bytes);
            bytes += held.row.len();
            !fits
        });
        let left = too_many.map(|index| claims.drain(index..).collect::<Vec<_>>());
        if let Some(ahead) = &mut ahead {
            ahead.claimed(claims.iter().map(Held::id));
        }
        claim(dispatch, lane, claims).await?;
        if let Some(first) = left.as_ref().and_then(|left| left.first()) {
            lane.fell_behind(queue::waits_since(&first.key));
            return Ok(Brought::Some { reached: first.key.clone() });
        }
        if last_page {
            break;
        }
    }
    let behind = due.end..of_lane.end.clone();
    if behind.start >= behind.end {
        return Ok(Brought::All { next: None });
    }
    let next = first(dispatch, behind).await?;
    Ok(Brought::All { next: next.as_ref().and_then(queue::due_of) })
}

/// Those of the rows that nobody holds. Ahead of time nothing else may be claimed.
fn claimable(dispatch: &Dispatch, lane: &Lane, rows: Vec<Row>) -> Vec<Held> {
    let now = dispatch.rooms.clock.now();
    let mut claimable = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        // The order of the two questions matters: a birth ends after the lane has the parcel.
        if queue::due_of(&key).is_some_and(|due| due > now)
            && queue::id_of(&key).is_some_and(|(id, _)| dispatch.births.is_on_its_way(id))
        {
            continue;
        }
        if queue::id_of(&key).is_some_and(|id| lane.has(id)) {
            continue;
        }
        match queue::read(key, row) {
            Ok(held) => claimable.push(held),
            Err(error) => tracing::error!(%error, "a parcel cannot be read and is left alone"),
        }
    }
    claimable
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
