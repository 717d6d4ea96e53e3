//! One app's courier: posts what waits, oldest first, and waits longer after each failure.
//!
//! A post holds 1 to [`EVENTS_PER_POST`] events of one kind. Any 2xx takes them; whatever else
//! comes back leaves them where they are, so order is kept and nothing is written for a retry.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use ring::hmac;

use crate::apps::Apps;
use crate::clock::Clock;
use crate::model::app::AppSettings;
use crate::model::id::AppId;
use crate::queue::backoff;
use crate::results::event::Command;
use crate::results::queue::Waiting;
use crate::results::{Mailbox, ResultsSettings, address, queue};
use crate::store::{Store, StoreError};
use crate::telemetry::events;
use crate::transport::{Lane, Protocol, Request, Transport};

/// Most events of one post.
pub const EVENTS_PER_POST: usize = 100;

/// How long an event is worth posting; tried at least once after that too.
pub const KEEP: Duration = Duration::from_secs(24 * 3_600);

/// Longest wait for the chat server's answer.
const POST_DEADLINE: Duration = Duration::from_secs(10);

/// Signs the body with the app's `callback_key`: `sha256=<hex HMAC-SHA256>`.
const SIGNATURE: HeaderName = HeaderName::from_static("x-offpush-signature");

/// Rows removed at a time.
const REMOVE_PAGE: usize = 1_024;

/// The courier of one app.
pub struct Courier {
    /// The app.
    pub app: AppId,
    /// Its mailbox.
    pub mailbox: Arc<Mailbox>,
    /// Store.
    pub store: Arc<dyn Store>,
    /// For the address and the key, which may change at any time.
    pub apps: Arc<Apps>,
    /// Clock.
    pub clock: Clock,
    /// HTTP, held to what the operator allows.
    pub transport: Transport,
    /// Settings.
    pub settings: ResultsSettings,
}

/// What became of a look at the mailbox.
enum Turn {
    /// Something left: look again at once.
    Moved,
    /// Nothing waits.
    Empty,
    /// The chat server or the store did not take part.
    Failed,
}

impl Courier {
    /// Posts for ever.
    pub async fn run(self) {
        let mut failures = 0u16;
        loop {
            let turn = self.turn().await.unwrap_or_else(|error| {
                tracing::warn!(%error, app = %self.app, "push results cannot be read yet");
                Turn::Failed
            });
            match turn {
                Turn::Moved => failures = 0,
                Turn::Empty => self.mailbox.came.notified().await,
                Turn::Failed => {
                    self.pause(failures).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// Waits before the next try; meanwhile only makes room.
    async fn pause(&self, failures: u16) {
        let (base, longest) = (self.settings.backoff_base, self.settings.backoff_max);
        let wait = tokio::time::sleep(backoff(failures, base, longest, fastrand::f64()));
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => return,
                () = self.mailbox.came.notified() => {
                    if let Err(error) = self.make_room().await {
                        tracing::warn!(%error, app = %self.app, "old push results stay for now");
                        wait.await;
                        return;
                    }
                }
            }
        }
    }

    async fn turn(&self) -> Result<Turn, StoreError> {
        self.make_room().await?;
        let mut waiting = queue::oldest(&self.store, self.app, EVENTS_PER_POST).await?;
        let Some(command) = waiting.first().map(|event| event.command) else {
            return Ok(Turn::Empty);
        };
        let app = self.apps.get(self.app);
        let settings: Option<&AppSettings> = app.as_ref().map(|app| &app.settings);
        let Some(url) = settings.and_then(|settings| settings.callback_url.as_deref()) else {
            self.drop_all(&waiting, "no_address").await?;
            return Ok(Turn::Moved);
        };
        waiting.retain(|event| event.command == command);
        let key = settings.and_then(AppSettings::callback_key);
        match self.post(url, key, command, &waiting).await {
            Ok(()) => {
                self.remove(&waiting).await?;
                events::results_posted(command.as_str(), waiting.len() as u64);
                Ok(Turn::Moved)
            }
            Err(why) => {
                events::results_post_failed(self.app, command.as_str(), &why);
                let now = self.clock.now();
                waiting.retain(|event| event.at.after(KEEP) <= now);
                if waiting.is_empty() {
                    return Ok(Turn::Failed);
                }
                self.drop_all(&waiting, "too_old").await?;
                Ok(Turn::Failed)
            }
        }
    }

    async fn post(
        &self,
        url: &str,
        key: Option<&str>,
        command: Command,
        waiting: &[Waiting],
    ) -> Result<(), String> {
        let uri = address::of_post(url, key, self.app, command, self.clock.now());
        let uri = uri.ok_or("callback_url is not a URL")?;
        let request = request(uri, key, waiting);
        let reply = self.transport.send(&self.lane(), &request).await;
        let reply = reply.map_err(|error| error.to_string())?;
        if reply.status.is_success() {
            return Ok(());
        }
        Err(format!("the chat server answered {}", reply.status.as_u16()))
    }

    /// Connections are never shared with another app, even at the same address.
    fn lane(&self) -> Lane {
        let [high, low] = [(self.app.0 >> 32) as u32, self.app.0 as u32];
        Lane {
            cert: low,
            generation: high,
            protocol: Protocol::Any,
            identity: None,
            deadline: POST_DEADLINE,
        }
    }

    /// Drops the oldest while more wait than may.
    async fn make_room(&self) -> Result<(), StoreError> {
        loop {
            let waiting = self.mailbox.waiting.load(Ordering::Relaxed);
            let surplus = usize::try_from(waiting).unwrap_or(0);
            let surplus = surplus.saturating_sub(self.settings.waiting_max);
            if surplus == 0 {
                return Ok(());
            }
            let oldest = queue::oldest(&self.store, self.app, surplus.min(REMOVE_PAGE)).await?;
            if oldest.is_empty() {
                self.mailbox.waiting.store(0, Ordering::Relaxed);
                return Ok(());
            }
            self.drop_all(&oldest, "too_many").await?;
        }
    }

    async fn drop_all(&self, given_up: &[Waiting], cause: &'static str) -> Result<(), StoreError> {
        self.remove(given_up).await?;
        events::results_dropped(self.app, cause, given_up.len() as u64);
        Ok(())
    }

    async fn remove(&self, gone: &[Waiting]) -> Result<(), StoreError> {
        queue::remove(&self.store, gone).await?;
        let count = i64::try_from(gone.len()).unwrap_or(0);
        self.mailbox.waiting.fetch_sub(count, Ordering::Relaxed);
        Ok(())
    }
}

fn request(uri: Uri, key: Option<&str>, waiting: &[Waiting]) -> Request {
    let body = body(waiting);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(key) = key {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let signature = format!("sha256={}", hex::encode(hmac::sign(&key, &body)));
        let value = HeaderValue::from_str(&signature).expect("hex digits are a header value");
        headers.insert(SIGNATURE, value);
    }
    Request { method: Method::POST, uri, headers, body }
}

/// `{"CallbackCommand":…,"Events":[…]}`.
fn body(waiting: &[Waiting]) -> Bytes {
    let size: usize = waiting.iter().map(|event| event.json.len() + 1).sum();
    let mut body = Vec::with_capacity(size + 64);
    body.extend_from_slice(b"{\"CallbackCommand\":\"");
    let command = waiting.first().map_or("", |event| event.command.as_str());
    body.extend_from_slice(command.as_bytes());
    body.extend_from_slice(b"\",\"Events\":[");
    for (index, event) in waiting.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&event.json);
    }
    body.extend_from_slice(b"]}");
    body.into()
}
