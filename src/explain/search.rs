//! Finds the traces an operator asks for.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::model::id::{AppId, MessageId, UserId};
use crate::model::reason::{Reason, Terminal};
use crate::model::time::UnixMs;
use crate::store::keys::just_after;
use crate::store::{Key, Scope, Store, StoreError};
use crate::trace::{self, Trace};

/// Rows read at a time.
const PAGE: usize = 1_024;

/// Most rows looked at for one answer: a search costs no more than this.
pub const ROWS_MAX: usize = 1_000_000;

/// How far back the newest messages are looked for first; then twice as far, and so on. So short
/// that even the busiest relay writes fewer than [`ROWS_MAX`] rows meanwhile.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// The state of a delivery that has not ended.
const IN_FLIGHT: &str = "in_flight";

/// Which messages.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Received by.
    pub user: Option<UserId>,
    /// Sent by.
    pub from: Option<UserId>,
    /// `MsgRandom`.
    pub msg_random: Option<u32>,
    /// `MsgKey`.
    pub msg_key: Option<String>,
    /// Accepted at or after.
    pub since: Option<UnixMs>,
    /// Accepted before.
    pub until: Option<UnixMs>,
    /// Some delivery ended so, or is `in_flight`: what [`is_known`] knows.
    pub reason: Option<String>,
    /// Received on this device.
    pub device_id: Option<String>,
}

impl Query {
    fn matches(&self, app: AppId, trace: &Trace) -> bool {
        let opening = &trace.opening;
        opening.app == app
            && self.from.as_ref().is_none_or(|from| opening.from == *from)
            && self.msg_random.is_none_or(|random| opening.random == random)
            && self.msg_key.as_ref().is_none_or(|key| opening.key.as_ref() == Some(key))
            && (self.user.is_none() && self.reason.is_none() && self.device_id.is_none()
                || self.any_delivery(trace))
    }

    fn any_delivery(&self, trace: &Trace) -> bool {
        let ended_later = |number: usize| {
            let results = trace.steps.iter().flat_map(|step| &step.results);
            results
                .filter(|result| usize::from(result.delivery) == number)
                .filter_map(|result| result.ended)
                .next_back()
        };
        trace.opening.deliveries.iter().enumerate().any(|(number, delivery)| {
            self.user.as_ref().is_none_or(|user| delivery.user == *user)
                && self.device_id.as_ref().is_none_or(|device_id| {
                    let device = delivery.device.as_ref();
                    device.is_some_and(|device| device.device_id.as_str() == device_id)
                })
                && self.reason.as_ref().is_none_or(|reason| {
                    let ended = ended_later(number).or(delivery.ended);
                    ended.map_or(reason == IN_FLIGHT, |ended| is_called(ended, reason))
                })
        })
    }
}

fn is_called(terminal: Terminal, name: &str) -> bool {
    match terminal {
        Terminal::Suppressed(reason) => reason.as_str() == name || name == "suppressed",
        plain => plain.as_str() == name,
    }
}

/// Whether anything can be searched for by this name: a reason, or a state.
pub fn is_known(name: &str) -> bool {
    let states = Terminal::PLAIN.iter().map(|terminal| terminal.as_str());
    Reason::ALL.iter().map(|reason| reason.as_str()).chain(states).any(|known| known == name)
        || ["suppressed", IN_FLIGHT].contains(&name)
}

/// One message's trace; `None` when there is none, or it is another app's.
///
/// # Errors
/// The store's.
pub async fn one(
    store: &Arc<dyn Store>,
    app: AppId,
    message_id: MessageId,
) -> Result<Option<Trace>, StoreError> {
    let range = trace::of_message(message_id);
    let scope = Scope::Only(message_id.partition());
    let rows = store.scan(scope, range, ROWS_MAX).await?;
    let traces = trace::read(rows)?;
    Ok(traces.into_iter().find(|trace| trace.opening.app == app))
}

/// Matching messages, oldest first, and the id to go on after when there may be more.
///
/// # Errors
/// The store's.
pub async fn many(
    store: &Arc<dyn Store>,
    app: AppId,
    query: &Query,
    after: Option<MessageId>,
    limit: usize,
    now: UnixMs,
) -> Result<(Vec<Trace>, Option<MessageId>), StoreError> {
    let mut range = trace::between(query.since.unwrap_or(UnixMs(0)), until(query, now));
    if let Some(after) = after {
        range.start = range.start.max(trace::of_message(after).end);
    }
    let mut pages = Pages::of(store, app, range);
    let mut found = Vec::new();
    while let Some(traces) = pages.next().await? {
        for trace in traces {
            let message_id = trace.message_id;
            if query.matches(app, &trace) {
                found.push(trace);
            }
            if found.len() == limit || pages.looked_at >= ROWS_MAX {
                return Ok((found, Some(message_id)));
            }
        }
    }
    Ok((found, None))
}

/// The newest matching messages, at most `most`, oldest first. What lies behind `rows_max` rows
/// is not looked at.
///
/// Rows are read oldest first: windows that go back in time find the newest of a busy relay
/// without reading its whole day.
///
/// # Errors
/// The store's.
pub async fn newest(
    store: &Arc<dyn Store>,
    app: AppId,
    query: &Query,
    most: usize,
    rows_max: usize,
    now: UnixMs,
) -> Result<Vec<Trace>, StoreError> {
    let since = query.since.unwrap_or(UnixMs(0));
    let (mut end, mut span, mut left) = (until(query, now), FIRST_LOOK, rows_max);
    let mut found = VecDeque::new();
    while end > since && found.len() < most {
        let start = UnixMs(end.0.saturating_sub(millis(span))).max(since);
        let mut pages = Pages::of(store, app, trace::between(start, end));
        let room = most - found.len();
        let mut window = VecDeque::new();
        while let Some(traces) = pages.next().await? {
            if pages.looked_at > left {
                // What was found in this window so far is not its newest.
                return Ok(found.into());
            }
            for trace in traces.into_iter().filter(|trace| query.matches(app, trace)) {
                if window.len() == room {
                    window.pop_front();
                }
                window.push_back(trace);
            }
        }
        left -= pages.looked_at;
        window.append(&mut found);
        (found, end, span) = (window, start, span.saturating_mul(2));
    }
    Ok(found.into())
}

fn until(query: &Query, now: UnixMs) -> UnixMs {
    query.until.unwrap_or_else(|| now.after(Duration::from_secs(1)))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a range page by page, each of whole traces.
struct Pages<'a> {
    store: &'a Arc<dyn Store>,
    app: AppId,
    /// What is left of it; `None` at its end.
    range: Option<Range<Key>>,
    looked_at: usize,
}

impl<'a> Pages<'a> {
    fn of(store: &'a Arc<dyn Store>, app: AppId, range: Range<Key>) -> Self {
        Pages { store, app, range: Some(range), looked_at: 0 }
    }

    /// The next page; it may be empty. `None` behind the last one.
    async fn next(&mut self) -> Result<Option<Vec<Trace>>, StoreError> {
        let Some(mut range) = self.range.take() else { return Ok(None) };
        let rows = self.store.scan(Scope::Everywhere, range.clone(), PAGE).await?;
        self.looked_at += rows.len();
        let full = rows.len() == PAGE;
        let last = rows.last().map(|(key, _)| key.clone());
        let mut traces = trace::read(rows)?;
        // The last message's rows may go on behind the page: it is read again, whole.
        if full && let Some(cut) = traces.pop() {
            range.start = trace::of_message(cut.message_id).start;
            if traces.is_empty() {
                traces.extend(one(self.store, self.app, cut.message_id).await?);
                range.start = trace::of_message(cut.message_id).end;
            }
        } else if let Some(last) = last.filter(|_| full) {
            // Only rows of a message whose opening is gone.
            range.start = trace::behind(&last).unwrap_or_else(|| just_after(&last));
        }
        self.range = full.then_some(range);
        Ok(Some(traces))
    }
}
