//! The body of a Huawei send request (`https-send-api`, request parameters).

use std::ops::Range;

use serde_json::{Map, Value, json};

use crate::model::certificate::{ClickAction, Options};
use crate::model::push_info::{BADGE_MAX, filled};
use crate::model::time::UnixMs;
use crate::vendor::huawei::{HUAWEI, TOKENS_MAX};
use crate::vendor::{Badge, Call, Notification, Target, request};

/// The body and its targets, one per run of targets with the same badge.
///
/// The badge stands once in a body. The planner puts equal badges into one parcel, so there is
/// one run; were they to differ, each run gets its own request and no badge is wrong.
pub fn bodies(call: &Call<'_>) -> Vec<(String, Range<usize>)> {
    let options = &call.certificate.options;
    let mut bodies = Vec::with_capacity(1);
    let mut start = 0;
    // Without the launcher's class Huawei takes no badge at all, so none can differ.
    let badged = filled(&options.badge_class).is_some();
    for run in call.targets.chunk_by(|one, next| !badged || one.badge == next.badge) {
        for part in run.chunks(TOKENS_MAX) {
            let targets = start..start + part.len();
            start = targets.end;
            let body = body(options, call.notification, part[0].badge, part, call.now);
            bodies.push((body, targets));
        }
    }
    bodies
}

/// Size of the largest body this notification can become: the 4,096 bytes count everything but
/// the tokens.
pub fn largest_bytes(options: &Options, notification: &Notification) -> usize {
    // The longest life time has the most digits, and `set_num` 99 is the longest badge.
    body(options, notification, Some(Badge::Set(BADGE_MAX)), &[], UnixMs(0)).len()
}

fn body(
    options: &Options,
    notification: &Notification,
    badge: Option<Badge>,
    targets: &[Target],
    now: UnixMs,
) -> String {
    let info = &notification.info.android_info;
    let ttl = request::time_to_live(notification, now, HUAWEI.ttl_max).as_secs();
    let category = request::chosen(&info.huawei_category, &options.category).unwrap_or("IM");
    let mut android = json!({
        "category": category.to_ascii_uppercase(),
        "urgency": "HIGH",
        "ttl": format!("{ttl}s"),
        // Every offline message is kept; always said, since the sources disagree on the default.
        "collapse_key": -1,
        "bi_tag": notification.message_id,
    });
    if let Some(receipt_id) = filled(&options.receipt_id) {
        android["receipt_id"] = receipt_id.into();
    }
    let mut message = Map::new();
    let ext_in_intent = ext_as_intent(options, notification);
    if !ext_in_intent {
        message.insert("data".into(), request::pass_through(notification).into());
    }
    android["notification"] = shown(options, notification, badge, ext_in_intent);
    message.insert("android".into(), android);
    let tokens: Vec<&str> = targets.iter().map(|target| target.token.as_str()).collect();
    message.insert("token".into(), tokens.into());
    json!({ "message": message }).to_string()
}

/// `android.notification`.
fn shown(
    options: &Options,
    notification: &Notification,
    badge: Option<Badge>,
    ext_in_intent: bool,
) -> Value {
    let info = &notification.info.android_info;
    let big = info.push_style == Some(1);
    let (title, body) = request::texts(notification, &HUAWEI, big);
    let importance = [&info.huawei_importance, &options.importance];
    let importance = importance.into_iter().find_map(|given| known_importance(filled(given)?));
    let mut shown = json!({
        "title": title,
        "body": body,
        "click_action": click_action(options, notification, ext_in_intent),
        "importance": importance.unwrap_or("NORMAL"),
        "notify_id": notification.notify_id,
        "group": notification.conversation,
        // The relay rings nobody who looks at the app, so a late push must not show there either.
        "foreground_show": false,
        // The device's own setting decides what its lock screen shows.
        "visibility": "PRIVATE",
        "default_sound": filled(&notification.sound).is_none(),
    });
    if big {
        shown["style"] = 1.into();
        shown["big_title"] = title.into();
        shown["big_body"] = body.into();
    }
    if let Some(image) = filled(&notification.image).filter(|url| url.starts_with("https://")) {
        shown["image"] = image.into();
    }
    if let Some(channel) = request::chosen(&info.huawei_channel_id, &options.channel_id) {
        shown["channel_id"] = channel.into();
    }
    if let Some(sound) = filled(&notification.sound) {
        shown["sound"] = format!("/raw/{}", request::sound_name(sound)).into();
    }
    // The class names the icon: Huawei refuses a badge that comes without.
    if let (Some(badge), Some(class)) = (badge, filled(&options.badge_class)) {
        shown["badge"] = badge_of(badge, class);
    }
    shown
}

/// The importance of that name as Huawei writes it; it refuses every push with another.
pub fn known_importance(given: &str) -> Option<&'static str> {
    ["LOW", "NORMAL", "HIGH"].into_iter().find(|known| known.eq_ignore_ascii_case(given))
}

fn badge_of(badge: Badge, class: &str) -> Value {
    match badge {
        Badge::Set(number) => json!({ "set_num": number.min(BADGE_MAX), "class": class }),
        Badge::Add(number) => json!({ "add_num": number.clamp(1, BADGE_MAX), "class": class }),
    }
}

/// Whether `Ext` travels in the intent: `ExtAsHuaweiIntentParam` 1, which counts only when a tap
/// opens a page of the app (trtc.io/document/77715). Else it is `message.data`, which the app reads
/// from the action's parameters.
fn ext_as_intent(options: &Options, notification: &Notification) -> bool {
    let page = match &options.click_action {
        ClickAction::OpenIntent { .. } => true,
        ClickAction::OpenActivity { activity } => request::is_action(activity),
        ClickAction::OpenApp | ClickAction::OpenUrl { .. } => false,
    };
    page && notification.info.android_info.ext_as_huawei_intent_param == Some(1)
        && filled(&notification.ext).is_some()
}

fn click_action(options: &Options, notification: &Notification, ext_in_intent: bool) -> Value {
    let ext = filled(&notification.ext).filter(|_| ext_in_intent);
    match (&options.click_action, ext) {
        (ClickAction::OpenApp, _) => json!({ "type": 3 }),
        (ClickAction::OpenUrl { url }, _) => json!({ "type": 2, "url": url }),
        // Only certificates of former versions name a class. Huawei would take it for an action
        // that nobody has: the app is opened, not nothing.
        (ClickAction::OpenActivity { activity }, _) if !request::is_action(activity) => {
            json!({ "type": 3 })
        }
        (ClickAction::OpenIntent { intent }, None) => json!({ "type": 1, "intent": intent }),
        (ClickAction::OpenActivity { activity }, None) => json!({ "type": 1, "action": activity }),
        (ClickAction::OpenIntent { intent }, Some(ext)) => {
            json!({ "type": 1, "intent": with_extra(intent, ext) })
        }
        // An action takes no parameters of its own: it becomes the intent of the same name.
        (ClickAction::OpenActivity { activity }, Some(ext)) => {
            let intent = format!("intent:#Intent;action={activity};end");
            json!({ "type": 1, "intent": with_extra(&intent, ext) })
        }
    }
}

/// The intent with the string extra `ext`: in Android's intent syntax before its `end`, in a deep
/// link as a query parameter.
fn with_extra(intent: &str, ext: &str) -> String {
    // Android decodes `%20` there but not `+`; a real plus is already `%2B`.
    let encoded: String = form_urlencoded::byte_serialize(ext.as_bytes()).collect();
    let encoded = encoded.replace('+', "%20");
    if let Some(start) = intent.strip_suffix(";end") {
        return format!("{start};S.ext={encoded};end");
    }
    let (link, fragment) = match intent.split_once('#') {
        Some((link, fragment)) => (link, format!("#{fragment}")),
        None => (intent, String::new()),
    };
    let separator = if link.contains('?') { '&' } else { '?' };
    format!("{link}{separator}ext={encoded}{fragment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extra_goes_where_android_reads_it() {
        assert_eq!(
            with_extra("intent:#Intent;action=a.B;end", "{\"k\":\"a b+\"}"),
            "intent:#Intent;action=a.B;S.ext=%7B%22k%22%3A%22a%20b%2B%22%7D;end"
        );
        assert_eq!(with_extra("app://chat", "1"), "app://chat?ext=1");
        assert_eq!(with_extra("app://chat?a=b#top", "1"), "app://chat?a=b&ext=1#top");
    }

    #[test]
    fn a_badge_stays_within_what_huawei_takes() {
        let badge = |badge| badge_of(badge, "a.Main");
        assert_eq!(badge(Badge::Set(500)), json!({ "set_num": 99, "class": "a.Main" }));
        assert_eq!(badge(Badge::Set(0)), json!({ "set_num": 0, "class": "a.Main" }));
        assert_eq!(badge(Badge::Add(0)), json!({ "add_num": 1, "class": "a.Main" }));
    }
}
