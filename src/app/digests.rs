//! Sums up, when a do-not-disturb window ends, what it kept silent: one notification per
//! conversation.
//!
//! A digest is a message of its own and is decided like any other. Its notes leave the store only
//! after it was accepted; should the relay stop in between, the same digest is built again and is
//! a repeat.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::account::{Account, Accounts};
use crate::api::Api;
use crate::digest::{self, Group, Note, Waiting};
use crate::facts::default_zone;
use crate::ingest::{IngestError, Taken};
use crate::model::app::{AfterWindow, App};
use crate::model::time::UnixMs;
use crate::preferences::window::open_at;
use crate::store::keys::just_after;
use crate::store::{Batch, Scope, Store, StoreError};

/// Between two looks for windows that ended.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Rows read at a time.
const PAGE: usize = 1_024;

/// Most messages summed up in one notification; what is beyond makes another.
pub const NOTES_MAX: usize = 4_096;

/// Starts the rounds; they end when the relay stops.
pub fn start(api: Arc<Api>, mut stopping: watch::Receiver<bool>) {
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            match round(&api, api.clock.now()).await {
                Ok(0) => {}
                Ok(digests) => tracing::debug!(digests, "do-not-disturb windows were summed up"),
                Err(error) => tracing::warn!(%error, "digests have to wait"),
            }
        }
    });
}

/// Sums up every window that has ended at `now`; answers how many digests were accepted.
///
/// # Errors
/// The store's, or a full queue: what was not summed up waits for the next round.
pub async fn round(api: &Api, now: UnixMs) -> Result<usize, IngestError> {
    let mut range = digest::due(now);
    let mut together: Vec<Waiting> = Vec::new();
    let mut digests = 0;
    loop {
        let rows = api.store.scan(Scope::Everywhere, range.clone(), PAGE).await?;
        let last_page = rows.len() < PAGE;
        if let Some((last, _)) = rows.last() {
            range.start = just_after(last);
        }
        for row in rows {
            let waiting = digest::read(row)?;
            let others = together.first().is_some_and(|first| first.group != waiting.group);
            if others || together.len() == NOTES_MAX {
                digests += sum_up(api, std::mem::take(&mut together), now).await?;
            }
            together.push(waiting);
        }
        if last_page {
            return Ok(digests + sum_up(api, together, now).await?);
        }
    }
}

/// Deals with what belongs to one notification; answers how many were accepted.
async fn sum_up(api: &Api, waiting: Vec<Waiting>, now: UnixMs) -> Result<usize, IngestError> {
    let Some(group) = waiting.first().map(|first| first.group.clone()) else { return Ok(0) };
    let digest_wanted = |app: &Arc<App>| app.settings.after_do_not_disturb == AfterWindow::Digest;
    let Some(app) = api.apps.get(group.app).filter(digest_wanted) else {
        write(&api.store, &waiting, Waiting::remove).await?;
        return Ok(0);
    };
    let account = Accounts::new(api.store.clone()).read(group.app, &group.user).await?;
    let windows = &account.preferences.do_not_disturb;
    if let Some(open) = open_at(windows, now, default_zone(&account)) {
        // Another window is open by now: its end is what counts, should it have one.
        match open.closes_at {
            Some(at) => write(&api.store, &waiting, |one, batch| one.move_to(at, batch)).await?,
            None => write(&api.store, &waiting, Waiting::remove).await?,
        }
        return Ok(0);
    }
    let notes: Vec<&Note> = waiting
        .iter()
        .filter(|one| is_news(api, &account, &group, one, now))
        .map(|one| &one.note)
        .collect();
    let mut accepted = 0;
    if let Some(message) = group.message(&notes, now) {
        let json = message.to_string().into_bytes();
        match api.ingest.take_own(&app, &json, None).await? {
            Taken::Accepted { .. } => accepted = 1,
            Taken::Duplicate { .. } => {}
            Taken::Invalid(invalid) => {
                tracing::error!(why = %invalid.message, "a digest cannot be read: it is dropped");
            }
        }
    }
    write(&api.store, &waiting, Waiting::remove).await?;
    Ok(accepted)
}

/// Whether the receiver has not met the message otherwise, and it still matters.
fn is_news(api: &Api, account: &Account, group: &Group, one: &Waiting, now: UnixMs) -> bool {
    let accepted_at = one.message_id.accepted_at();
    let came_back = account
        .devices
        .iter()
        .filter_map(|device| device.foreground_at)
        .any(|foreground_at| foreground_at >= accepted_at);
    let read = account.read_until(&group.conversation).is_some_and(|until| accepted_at <= until);
    one.note.expires_at > now && !came_back && !read && !api.withdrawn.holds(one.message_id)
}

/// Changes each row in the partition of its message.
async fn write(
    store: &Arc<dyn Store>,
    waiting: &[Waiting],
    change: impl Fn(&Waiting, &mut Batch),
) -> Result<(), StoreError> {
    let batches = waiting
        .iter()
        .map(|one| {
            let mut batch = Batch::default();
            change(one, &mut batch);
            (one.message_id.partition(), batch)
        })
        .collect();
    store.commit_all(batches).await.into_iter().collect()
}
