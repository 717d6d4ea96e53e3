//! The JSON that APNs carries to a device.
//!
//! Facts: Apple, "Generating a remote notification", "Pushing background updates to your app" and
//! "Starting and updating Live Activities with ActivityKit push notifications" (reference, A.6);
//! which message field goes where: Tencent's `ApnsInfo` (reference, 1.3).

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::certificate::Options;
use crate::model::push_info::{LiveActivity, filled};
use crate::model::time::UnixMs;
use crate::vendor::{Badge, Kind, Notification};

/// Interruption level that rings through the mute switch, given the entitlement.
const CRITICAL: &str = "critical";
/// Ten digits, as every time until the year 2286 has.
const WIDEST_TIME: UnixMs = UnixMs::from_secs(9_999_999_999);

/// The bodies of one call: made once per badge number, then shared.
pub struct Bodies<'a> {
    notification: &'a Notification,
    options: &'a Options,
    now: UnixMs,
    made: Vec<(Option<u32>, Bytes)>,
}

impl<'a> Bodies<'a> {
    /// No body is made yet.
    pub fn new(notification: &'a Notification, options: &'a Options, now: UnixMs) -> Self {
        Bodies { notification, options, now, made: Vec::new() }
    }

    /// The body for a device with that badge. APNs cannot add to a badge, so [`Badge::Add`] leaves
    /// the number alone.
    pub fn of(&mut self, badge: Option<Badge>) -> Bytes {
        let badge = match badge {
            Some(Badge::Set(number)) => Some(number),
            Some(Badge::Add(_)) | None => None,
        };
        if let Some((_, body)) = self.made.iter().find(|(made, _)| *made == badge) {
            return body.clone();
        }
        let payload = Payload::new(self.notification, self.options, badge, self.now);
        let body = Bytes::from(serde_json::to_vec(&payload).unwrap_or_default());
        self.made.push((badge, body.clone()));
        body
    }
}

/// Bytes of the body with the widest badge there is.
pub fn bytes(notification: &Notification, options: &Options) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    let payload = Payload::new(notification, options, Some(u32::MAX), WIDEST_TIME);
    // Counting cannot fail, and neither can texts and numbers be unfit for JSON.
    let _ = serde_json::to_writer(&mut count, &payload);
    count.0
}

/// `aps` and, beside it, the keys of the app: `ext` and `message_id`, and `image` for the app's
/// notification service extension.
#[derive(Serialize)]
struct Payload<'a> {
    aps: Aps<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    message_id: &'a str,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Aps<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<Alert<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    badge: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<Sound<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interruption_level: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mutable_content: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_available: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_state: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dismissal_date: Option<u64>,
}

#[derive(Serialize)]
struct Alert<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtitle: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    body: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Sound<'a> {
    Name(&'a str),
    Critical { critical: u8, name: &'a str, volume: f32 },
}

impl<'a> Payload<'a> {
    fn new(
        notification: &'a Notification,
        options: &'a Options,
        badge: Option<u32>,
        now: UnixMs,
    ) -> Self {
        let image = filled(&notification.image).filter(|_| notification.kind == Kind::Alert);
        let aps = match notification.kind {
            Kind::Alert => Aps::alert(notification, options, badge, image.is_some()),
            Kind::Silent => Aps { content_available: Some(1), ..Aps::default() },
            // The app itself rings; it takes the caller's name from the alert.
            Kind::Voip => Aps { alert: Some(Alert::of(notification)), ..Aps::default() },
            Kind::LiveActivity => {
                Aps::live_activity(notification.info.apns_info.live_activity.as_ref(), now)
            }
        };
        Payload { aps, ext: filled(&notification.ext), image, message_id: &notification.message_id }
    }
}

impl<'a> Alert<'a> {
    fn of(notification: &'a Notification) -> Self {
        Alert {
            title: &notification.title,
            subtitle: filled(&notification.subtitle),
            body: &notification.body,
        }
    }
}

impl<'a> Aps<'a> {
    fn alert(
        notification: &'a Notification,
        options: &'a Options,
        badge: Option<u32>,
        has_image: bool,
    ) -> Self {
        let info = &notification.info.apns_info;
        let level = filled(&info.interruption_level);
        let name = filled(&notification.sound).unwrap_or("default");
        // Only the object form of a sound is played through the mute switch.
        let sound = match level {
            Some(CRITICAL) => Sound::Critical { critical: 1, name, volume: 1.0 },
            _ => Sound::Name(name),
        };
        // A picture is fetched by the app's extension, which runs only for mutable content.
        let mutable = options.mutable_content || info.mutable_content == Some(1) || has_image;
        Aps {
            alert: Some(Alert::of(notification)),
            badge,
            sound: Some(sound),
            thread_id: Some(notification.conversation.as_str()).filter(|id| !id.is_empty()),
            category: filled(&options.category),
            interruption_level: level,
            mutable_content: mutable.then_some(1),
            ..Aps::default()
        }
    }

    fn live_activity(activity: Option<&'a LiveActivity>, now: UnixMs) -> Self {
        let ends = |activity: &LiveActivity| activity.event == "end";
        Aps {
            timestamp: Some(now.secs()),
            event: activity.map(|activity| activity.event.as_str()),
            content_state: activity.map(|activity| &activity.content_state),
            // Tencent's default is to take an ended activity away at once, Apple's is four hours.
            dismissal_date: activity
                .filter(|activity| ends(activity))
                .map(|activity| activity.dismissal_date.unwrap_or(now.secs())),
            ..Aps::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::Token;
    use crate::model::message::Priority;
    use crate::vendor::Target;

    fn notification(kind: Kind) -> Notification {
        Notification {
            kind,
            title: "Mina".into(),
            body: "See you".into(),
            subtitle: None,
            ext: None,
            image: None,
            sound: None,
            message_id: "01".into(),
            conversation: "c2c:mina".into(),
            notify_id: 7,
            replaces: None,
            expires_at: UnixMs(0),
            priority: Priority::Normal,
            info: Default::default(),
        }
    }

    #[test]
    fn equal_badges_share_one_body() {
        let (notification, options) = (notification(Kind::Alert), Options::default());
        let mut bodies = Bodies::new(&notification, &options, UnixMs(0));
        let target = |badge| Target { token: Token("".into()), push_id: uuid::Uuid::nil(), badge };
        let first = bodies.of(target(Some(Badge::Set(3))).badge);
        let again = bodies.of(target(Some(Badge::Set(3))).badge);
        assert_eq!(first.as_ptr(), again.as_ptr());
        assert_ne!(first, bodies.of(None));
        assert_eq!(bodies.of(None), bodies.of(Some(Badge::Add(1))));
    }

    #[test]
    fn the_measured_size_is_never_less_than_the_body() {
        for kind in [Kind::Alert, Kind::Silent, Kind::Voip, Kind::LiveActivity] {
            let (notification, options) = (notification(kind), Options::default());
            let now = UnixMs(1_790_000_000_000);
            let mut bodies = Bodies::new(&notification, &options, now);
            let widest = bodies.of(Some(Badge::Set(u32::MAX)));
            assert_eq!(bytes(&notification, &options), widest.len(), "{kind:?}");
            assert!(bodies.of(None).len() <= widest.len(), "{kind:?}");
        }
    }
}
