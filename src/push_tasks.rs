//! Pushes to all members of an app: a task that works through the users, a page at a time, in the
//! background and at a bounded rate.
//!
//! A task is one row. Before a page is sent its end is written down, and after it the next page's
//! start; a page has one dedupe identity of its own. So a task that a stop or a crash interrupted
//! goes on where it was, and no user gets it twice, whoever registers meanwhile.
//!
//! The message's life is the task's: it begins when the task is made, each page's message gets what
//! is left of it, and when it is over so is the task.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use crate::account::Accounts;
use crate::apps::Apps;
use crate::clock::Clock;
use crate::dedupe::DedupeRule;
use crate::ingest::{Ingest, IngestError, Taken};
use crate::model::addressed::addressed;
use crate::model::id::{AppId, Partition, UserId, digest128};
use crate::model::message::{LIFE_TIME_S_MAX, RECEIVERS_MAX, Wire};
use crate::model::time::UnixMs;
use crate::store::keys::{Class, KeyBuilder};
use crate::store::{Batch, Key, Scope, Store, StoreError};

/// Users looked at together.
const PAGE: usize = 500;

/// Users looked at per second, on the whole of one task.
const USERS_PER_S: u64 = 2_000;

/// Tasks of one app in a day (Tencent error 90047).
pub const TASKS_PER_DAY: usize = 100;

/// Least time between two tasks of one app (Tencent error 90024).
const BETWEEN: Duration = Duration::from_secs(1);

/// For so long an equal `MsgRandom` is the same task; then the task is forgotten.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// Pause before a page is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Most tasks read at a time; an app has fewer than eight days' worth.
const TASKS_MAX: usize = 8 * TASKS_PER_DAY;

/// A push to all members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its name.
    pub task_id: String,
    /// App.
    pub app: AppId,
    /// `MsgRandom`: what makes it the same task.
    pub random: u32,
    /// When it was asked for.
    pub created_at: UnixMs,
    /// When every user had been looked at, or the message's life was over.
    pub finished_at: Option<UnixMs>,
    /// Users looked at so far.
    pub users: u64,
    /// Users with a device, for whom the message was accepted.
    pub receivers: u64,
    /// The message, but for its receivers.
    message: Vec<u8>,
    /// The last user of the pages done.
    after: Option<UserId>,
    /// The last user of the page begun.
    until: Option<UserId>,
}

/// Why a task was not made.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The last one is less than a second old.
    #[error("pushes to all members must be more than a second apart")]
    TooSoon,
    /// There were [`TASKS_PER_DAY`] in the last day.
    #[error("at most {TASKS_PER_DAY} pushes to all members are allowed in 24 hours")]
    TooMany,
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes tasks and works on them.
#[derive(Clone)]
pub struct PushTasks {
    store: Arc<dyn Store>,
    accounts: Accounts,
    apps: Arc<Apps>,
    ingest: Arc<Ingest>,
    clock: Clock,
    stopping: watch::Receiver<bool>,
    making: Arc<Mutex<()>>,
}

fn partition_of(app: AppId) -> Partition {
    Partition::of(&[b"task", &app.0.to_be_bytes()])
}

fn key_of(app: AppId, task_id: &str) -> Key {
    KeyBuilder::new(Class::PushTask).u64(app.0).text(task_id).finish()
}

fn read(key: &Key, row: &[u8]) -> Result<Task, StoreError> {
    postcard::from_bytes(row).map_err(|_| StoreError::Corrupt { key: key.clone() })
}

impl PushTasks {
    /// Tasks kept in `store`; `stopping` interrupts them between two pages.
    pub fn new(
        store: Arc<dyn Store>,
        apps: Arc<Apps>,
        ingest: Arc<Ingest>,
        clock: Clock,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        PushTasks {
            accounts: Accounts::new(store.clone()),
            store,
            apps,
            ingest,
            clock,
            stopping,
            making: Arc::default(),
        }
    }

    /// Goes on with what was interrupted.
    ///
    /// # Errors
    /// The store's.
    pub async fn resume(&self) -> Result<(), StoreError> {
        for app in self.apps.all() {
            for task in self.list(app.app).await? {
                if task.finished_at.is_none() {
                    tokio::spawn(self.clone().work(task));
                }
            }
        }
        Ok(())
    }

    /// The tasks of an app, in the order of their names.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, app: AppId) -> Result<Vec<Task>, StoreError> {
        let range = KeyBuilder::new(Class::PushTask).u64(app.0).prefix();
        let rows = self.store.scan(Scope::Only(partition_of(app)), range, TASKS_MAX).await?;
        rows.iter().map(|(key, row)| read(key, row)).collect()
    }

    /// One task.
    ///
    /// # Errors
    /// The store's.
    pub async fn get(&self, app: AppId, task_id: &str) -> Result<Option<Task>, StoreError> {
        let key = key_of(app, task_id);
        let row = self.store.get(partition_of(app), &key).await?;
        row.map(|row| read(&key, &row)).transpose()
    }

    /// Makes a task and begins with it; an equal `random` within seven days is the same task.
    ///
    /// # Errors
    /// [`TaskError`].
    pub async fn make(&self, app: AppId, random: u32, message: Vec<u8>) -> Result<Task, TaskError> {
        let _making = self.making.lock().await;
        let now = self.clock.now();
        let (kept, old): (Vec<Task>, Vec<Task>) =
            self.list(app).await?.into_iter().partition(|task| now.since(task.created_at) < KEPT);
        if let Some(same) = kept.iter().find(|task| task.random == random) {
            return Ok(same.clone());
        }
        let today = |task: &&Task| now.since(task.created_at) < Duration::from_secs(86_400);
        if kept.iter().filter(today).count() >= TASKS_PER_DAY {
            return Err(TaskError::TooMany);
        }
        if kept.iter().any(|task| now.since(task.created_at) < BETWEEN) {
            return Err(TaskError::TooSoon);
        }
        let digest = digest128(&[&random.to_be_bytes(), &now.0.to_be_bytes()]);
        let task = Task {
            task_id: format!("push_{digest:032x}"),
            app,
            random,
            created_at: now,
            finished_at: None,
            users: 0,
            receivers: 0,
            message,
            after: None,
            until: None,
        };
        let delete = old
            .iter()
            .filter(|task| task.finished_at.is_some())
            .map(|task| key_of(app, &task.task_id))
            .collect();
        self.store.commit(partition_of(app), Batch { delete, ..row_of(&task) }).await?;
        tokio::spawn(self.clone().work(task.clone()));
        Ok(task)
    }

    async fn work(self, mut task: Task) {
        let pace = Duration::from_millis(PAGE as u64 * 1_000 / USERS_PER_S);
        while task.finished_at.is_none() {
            let rest = match self.page(&mut task).await {
                Ok(()) => pace,
                Err(error) => {
                    let task = &task.task_id;
                    tracing::warn!(%error, task, "a page of a push will be tried again");
                    TRY_AGAIN_AFTER
                }
            };
            if task.finished_at.is_some() {
                break;
            }
            let mut stopping = self.stopping.clone();
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                // Also when the sender is gone: then the relay is.
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
        tracing::info!(task = task.task_id, users = task.users, "a push to all members is through");
    }

    /// Sends one page. What it notes in `task` is what is stored.
    async fn page(&self, task: &mut Task) -> Result<(), IngestError> {
        let Some(app) = self.apps.get(task.app) else { return self.finish(task).await };
        let Some(message) = message_of(task, self.clock.now()) else {
            tracing::warn!(task = task.task_id, users = task.users, "a push outlived its message");
            return self.finish(task).await;
        };
        let (users, receivers) = self.users_of_page(task).await?;
        let Some(last) = users.last() else { return self.finish(task).await };
        if task.until.is_none() {
            let begun = Task { until: Some(last.clone()), ..task.clone() };
            self.store.commit(partition_of(task.app), row_of(&begun)).await?;
            *task = begun;
        }
        let after = task.after.as_ref().map_or("", UserId::as_str);
        let page = digest128(&[task.task_id.as_bytes(), after.as_bytes()]);
        let messages: Vec<Vec<u8>> =
            receivers.chunks(RECEIVERS_MAX).map(|users| addressed(&message, users)).collect();
        let messages: Vec<_> = messages.iter().map(|json| Wire::find(json)).collect();
        let rule = DedupeRule::AllMembers { page };
        for taken in self.ingest.take_as(&app, &messages, rule).await? {
            if let Taken::Invalid(invalid) = taken {
                tracing::error!(task = task.task_id, invalid.message, "a stored push is invalid");
            }
        }
        let done = Task {
            after: task.until.clone(),
            until: None,
            users: task.users + users.len() as u64,
            receivers: task.receivers + receivers.len() as u64,
            ..task.clone()
        };
        self.store.commit(partition_of(task.app), row_of(&done)).await?;
        *task = done;
        Ok(())
    }

    async fn finish(&self, task: &mut Task) -> Result<(), IngestError> {
        let done = Task { finished_at: Some(self.clock.now()), ..task.clone() };
        self.store.commit(partition_of(task.app), row_of(&done)).await?;
        *task = done;
        Ok(())
    }

    /// The users of the page begun, or of the next; and those among them who have a device.
    async fn users_of_page(&self, task: &Task) -> Result<(Vec<UserId>, Vec<UserId>), StoreError> {
        let (mut users, mut receivers) = (Vec::new(), Vec::new());
        let mut after = task.after.clone();
        loop {
            let (page, next) = self.accounts.page(task.app, after.as_ref(), PAGE).await?;
            for (user, account) in page {
                if task.until.as_ref().is_some_and(|until| user > *until) {
                    return Ok((users, receivers));
                }
                if !account.devices.is_empty() {
                    receivers.push(user.clone());
                }
                users.push(user);
            }
            after = next;
            // A page that was begun is read to its end, even if users came into it since.
            if after.is_none() || task.until.is_none() {
                break;
            }
        }
        // All of a page that was begun may be gone by now: its end is then still its end.
        if users.is_empty() {
            users.extend(task.until.clone());
        }
        Ok((users, receivers))
    }
}

fn row_of(task: &Task) -> Batch {
    let row = postcard::to_allocvec(task).expect("a task is plain data");
    Batch { put: vec![(key_of(task.app, &task.task_id), Bytes::from(row))], ..Batch::default() }
}

/// What is read of a task's message here.
#[derive(Deserialize)]
struct Life {
    #[serde(rename = "MsgLifeTime")]
    life_time_s: Option<u64>,
}

/// The task's message as it may be sent now: with its `TaskId`, by which push results know it, and
/// with what is left of its life. `None` when that is nothing.
fn message_of(task: &Task, now: UnixMs) -> Option<Vec<u8>> {
    let given = serde_json::from_slice::<Life>(&task.message).ok().and_then(|it| it.life_time_s);
    let life_s = given.unwrap_or(LIFE_TIME_S_MAX.into()).min(LIFE_TIME_S_MAX.into());
    // An explicit zero is no life time: it says that the message is for who is online only.
    let left_s = life_s.saturating_sub(now.since(task.created_at).as_secs());
    if life_s > 0 && left_s == 0 {
        return None;
    }
    let rest = task.message.strip_prefix(b"{").unwrap_or(&task.message);
    let rest = rest.strip_suffix(b"}").unwrap_or(rest);
    let mut json = format!("{{\"TaskId\":\"{}\",", task.task_id).into_bytes();
    json.extend_from_slice(rest);
    // Of a field that is there twice, the last counts.
    json.extend_from_slice(format!(",\"MsgLifeTime\":{left_s}}}").as_bytes());
    Some(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::message::Message;

    fn task(life: &str) -> Task {
        let message = format!(
            r#"{{"From_Account":"a","MsgRandom":1,"OfflinePushInfo":{{"Desc":"x"}}{life}}}"#
        );
        Task {
            task_id: "push_1".to_owned(),
            app: AppId(1),
            random: 1,
            created_at: UnixMs(1_760_000_000_000),
            finished_at: None,
            users: 0,
            receivers: 0,
            message: message.into_bytes(),
            after: None,
            until: None,
        }
    }

    /// What a page that begins so much later says of its life; `None` when it does not begin.
    fn left(life: &str, later_s: u64) -> Option<u32> {
        let task = task(life);
        let message = message_of(&task, task.created_at.after(Duration::from_secs(later_s)))?;
        let message = Message::parse(&addressed(&message, &["b".into()])).expect("a message");
        assert_eq!(message.task_id.as_deref(), Some("push_1"));
        message.life_time_s
    }

    #[test]
    fn each_page_gets_what_is_left_of_the_life_that_began_with_the_task() {
        let hour = r#","MsgLifeTime":3600"#;
        assert_eq!(left(hour, 0), Some(3_600));
        assert_eq!(left(hour, 600), Some(3_000));
        assert_eq!(left(hour, 3_599), Some(1));
        assert_eq!(left(hour, 3_600), None);
        assert_eq!(left("", 86_400), Some(LIFE_TIME_S_MAX - 86_400));
        assert_eq!(left("", u64::from(LIFE_TIME_S_MAX)), None);
        assert_eq!(left(r#","MsgLifeTime":99999999999"#, 1), Some(LIFE_TIME_S_MAX - 1));
    }

    #[test]
    fn a_life_time_of_zero_stays_zero_however_late_the_page() {
        assert_eq!(left(r#","MsgLifeTime":0"#, 0), Some(0));
        assert_eq!(left(r#","MsgLifeTime":0"#, 86_400), Some(0));
    }
}
