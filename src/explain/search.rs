//! Finds the traces an operator asks for.

use std::sync::Arc;
use std::time::Duration;

use crate::model::id::{AppId, MessageId, UserId};
use crate::model::reason::Terminal;
use crate::model::time::UnixMs;
use crate::store::keys::just_after;
use crate::store::{Scope, Store, StoreError};
use crate::trace::{self, Trace};

/// Rows read at a time.
const PAGE: usize = 1_024;

/// Most rows looked at for one answer: a search costs no more than this.
pub const ROWS_MAX: usize = 1_000_000;

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
    /// Some delivery ended so: a reason, or a terminal's name.
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
                    ended.is_some_and(|ended| is_called(ended, reason))
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
    let until = query.until.unwrap_or_else(|| now.after(Duration::from_secs(1)));
    let mut range = trace::between(query.since.unwrap_or(UnixMs(0)), until);
    if let Some(after) = after {
        range.start = range.start.max(trace::of_message(after).end);
    }
    let mut found = Vec::new();
    let mut looked_at = 0;
    loop {
        let rows = store.scan(Scope::Everywhere, range.clone(), PAGE).await?;
        looked_at += rows.len();
        let full = rows.len() == PAGE;
        let last = rows.last().map(|(key, _)| key.clone());
        let mut traces = trace::read(rows)?;
        // The last message's rows may go on behind the page: it is read again, whole.
        if full && let Some(cut) = traces.pop() {
            range.start = trace::of_message(cut.message_id).start;
            if traces.is_empty() {
                traces.extend(one(store, app, cut.message_id).await?);
                range.start = trace::of_message(cut.message_id).end;
            }
        } else if let Some(last) = last.filter(|_| full) {
            // Only rows of a message whose opening is gone.
            range.start = trace::behind(&last).unwrap_or_else(|| just_after(&last));
        }
        for trace in traces {
            let message_id = trace.message_id;
            if query.matches(app, &trace) {
                found.push(trace);
            }
            if found.len() == limit || looked_at >= ROWS_MAX {
                return Ok((found, Some(message_id)));
            }
        }
        if !full {
            return Ok((found, None));
        }
    }
}
