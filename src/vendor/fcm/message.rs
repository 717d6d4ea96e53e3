//! The JSON of FCM's `messages:send`.
//!
//! Facts: Google, "REST Resource: projects.messages" (reference, B.3); which message field goes
//! where: Tencent's `AndroidInfo` (reference, 1.2). All values of `data` are texts, and none of its
//! keys is one that FCM reserves (`from`, `message_type`, `google…`, `gcm…`).
//!
//! What a tap opens: `open_app` sends nothing; `open_activity` is the `click_action` (an intent
//! action that the app's manifest declares); `open_url` and `open_intent`, which FCM has no field
//! for, travel as the data keys `click_url` and `click_intent` for the app to open.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::model::certificate::{ClickAction, Options, PushMode};
use crate::model::message::Priority;
use crate::model::push_info::filled;
use crate::model::time::UnixMs;
use crate::vendor::{Badge, Notification};

/// Longest time to live: four weeks, in seconds.
pub const TTL_S_MAX: u64 = 2_419_200;

/// The bodies of one call: everything but the token is made once per badge.
pub struct Bodies<'a> {
    notification: &'a Notification,
    options: &'a Options,
    now: UnixMs,
    made: Vec<(Option<u32>, Vec<u8>)>,
}

impl<'a> Bodies<'a> {
    /// No body is made yet.
    pub fn new(notification: &'a Notification, options: &'a Options, now: UnixMs) -> Self {
        Bodies { notification, options, now, made: Vec::new() }
    }

    /// The body for one device.
    pub fn of(&mut self, token: &str, badge: Option<Badge>) -> Bytes {
        const HEAD: &[u8] = br#"{"message":{"token":"#;
        let rest = self.rest(badge);
        // Registered tokens hold nothing to escape; quoting costs one pass over a short text.
        let token = serde_json::to_string(token).unwrap_or_default();
        let mut body = BytesMut::with_capacity(HEAD.len() + token.len() + rest.len() + 1);
        body.put_slice(HEAD);
        body.put_slice(token.as_bytes());
        body.put_u8(b',');
        // The rest is an object with at least `android` and `data`: its opening brace is replaced.
        body.put_slice(&rest[1..]);
        body.put_u8(b'}');
        body.freeze()
    }

    fn rest(&mut self, badge: Option<Badge>) -> &[u8] {
        let count = count(badge);
        let at = match self.made.iter().position(|(made, _)| *made == count) {
            Some(at) => at,
            None => {
                let message = Message::new(self.notification, self.options, count, self.now);
                self.made.push((count, serde_json::to_vec(&message).unwrap_or_default()));
                self.made.len() - 1
            }
        };
        &self.made[at].1
    }
}

/// Bytes of the message as FCM counts them: keys and values, here the whole JSON without the token,
/// with the widest badge and time to live.
pub fn bytes(notification: &Notification, options: &Options) -> usize {
    let widest = UnixMs::from_secs(notification.expires_at.secs().saturating_sub(TTL_S_MAX));
    let message = Message::new(notification, options, Some(u32::MAX), widest);
    serde_json::to_vec(&message).map_or(0, |json| json.len())
}

/// `notification_count` of a badge. Zero would mean "add one", so it is left out.
fn count(badge: Option<Badge>) -> Option<u32> {
    match badge {
        Some(Badge::Set(count) | Badge::Add(count)) if count > 0 => Some(count),
        _ => None,
    }
}

/// `message`, but for its target.
#[derive(Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    notification: Option<Texts<'a>>,
    android: Android<'a>,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Texts<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    title: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    body: &'a str,
}

#[derive(Serialize)]
struct Android<'a> {
    priority: &'static str,
    ttl: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification: Option<AndroidNotification<'a>>,
}

#[derive(Serialize)]
struct AndroidNotification<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_sound: Option<bool>,
    tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_count: Option<u32>,
}

/// What the app gets. The second half is filled only when the app draws the notification itself.
#[derive(Default, Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ext: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    message_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    conversation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_intent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    badge: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_activity: Option<&'a str>,
}

impl<'a> Message<'a> {
    fn new(
        notification: &'a Notification,
        options: &'a Options,
        count: Option<u32>,
        now: UnixMs,
    ) -> Self {
        let shows = !(notification.title.is_empty() && notification.body.is_empty());
        let by_system = shows && options.mode == PushMode::Notification;
        let texts = Texts { title: &notification.title, body: &notification.body };
        let ttl_s = notification.expires_at.since(now).as_secs().min(TTL_S_MAX);
        Message {
            notification: by_system.then_some(texts),
            android: Android {
                priority: priority(notification),
                ttl: format!("{ttl_s}s"),
                notification: by_system
                    .then(|| AndroidNotification::new(notification, options, count)),
            },
            data: Data::new(notification, options, count, shows && !by_system),
        }
    }
}

impl<'a> AndroidNotification<'a> {
    fn new(notification: &'a Notification, options: &'a Options, count: Option<u32>) -> Self {
        let sound = filled(&notification.sound);
        AndroidNotification {
            channel_id: channel(notification, options),
            sound,
            default_sound: sound.is_none().then_some(true),
            // The same tag takes the place of the first, so a repeat does.
            tag: match notification.shown_as().is_empty() {
                true => notification.notify_id.to_string(),
                false => notification.shown_as().to_owned(),
            },
            image: filled(&notification.image),
            click_action: activity(options),
            notification_count: count,
        }
    }
}

impl<'a> Data<'a> {
    fn new(
        notification: &'a Notification,
        options: &'a Options,
        count: Option<u32>,
        by_app: bool,
    ) -> Self {
        let (click_url, click_intent) = match &options.click_action {
            ClickAction::OpenUrl { url } => (Some(url.as_str()), None),
            ClickAction::OpenIntent { intent } => (None, Some(intent.as_str())),
            ClickAction::OpenApp | ClickAction::OpenActivity { .. } => (None, None),
        };
        let always = Data {
            ext: filled(&notification.ext),
            message_id: &notification.message_id,
            conversation: &notification.conversation,
            click_url,
            click_intent,
            ..Data::default()
        };
        if !by_app {
            return always;
        }
        Data {
            title: Some(notification.title.as_str()).filter(|text| !text.is_empty()),
            body: Some(notification.body.as_str()).filter(|text| !text.is_empty()),
            notify_id: Some(notification.notify_id.to_string()),
            badge: count.map(|count| count.to_string()),
            channel_id: channel(notification, options),
            sound: filled(&notification.sound),
            image: filled(&notification.image),
            click_activity: activity(options),
            ..always
        }
    }
}

/// The message's own wish, else high for what a person waits for: FCM may hold back the rest.
fn priority(notification: &Notification) -> &'static str {
    let wish = filled(&notification.info.android_info.google_priority);
    match wish.map(str::to_ascii_lowercase).as_deref() {
        Some("high") => "HIGH",
        Some("normal") => "NORMAL",
        _ if notification.priority == Priority::Low => "NORMAL",
        _ => "HIGH",
    }
}

fn channel<'a>(notification: &'a Notification, options: &'a Options) -> Option<&'a str> {
    filled(&notification.info.android_info.google_channel_id).or(filled(&options.channel_id))
}

fn activity(options: &Options) -> Option<&str> {
    match &options.click_action {
        ClickAction::OpenActivity { activity } => Some(activity),
        _ => None,
    }
}
