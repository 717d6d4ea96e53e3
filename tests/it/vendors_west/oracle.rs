//! Our APNs requests beside those of the `a2` crate, for what both know.

use std::sync::Arc;

use a2::request::payload::PayloadLike;
use a2::{
    CollapseId, DefaultNotificationBuilder, NotificationBuilder, NotificationOptions, PushType,
};
use offpush::model::certificate::{Environment, Options};
use offpush::model::id::Token;
use offpush::model::push_info::OfflinePushInfo;
use offpush::vendor::{Badge, Call, Kind, Notification, Target};
use serde_json::Value;

use crate::vendors_west::golden::APNS_REASONS;
use crate::vendors_west::{NOW, access, certificate, notification, vendor};

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

/// The body and one header lookup of our request.
fn ours(notification: &Notification, badge: Option<u32>) -> (Value, impl Fn(&str) -> String) {
    let mut certificate = certificate(vendor("apns"), Environment::Production);
    let options = Options { category: Some("REPLY".into()), ..Options::default() };
    certificate.options = Arc::new(options);
    let target = Target {
        token: Token(TOKEN.into()),
        push_id: uuid::Uuid::from_u128(0x0ff9),
        badge: badge.map(Badge::Set),
    };
    let access = access();
    let call = Call {
        certificate: &certificate,
        access: Some(&access),
        notification,
        targets: &[target],
        now: NOW,
    };
    let request = vendor("apns").encode(&call).remove(0).request;
    let body = serde_json::from_slice(&request.body).expect("JSON");
    let header = move |name: &str| {
        let value = request.headers.get(name).unwrap_or_else(|| panic!("no header {name}"));
        value.to_str().expect("text").to_owned()
    };
    (body, header)
}

fn theirs_options(push_type: PushType, priority: a2::Priority) -> NotificationOptions<'static> {
    NotificationOptions {
        apns_id: Some("00000000-0000-0000-0000-000000000ff9"),
        apns_push_type: Some(push_type),
        apns_expiration: Some(NOW.secs() + 3_600),
        apns_priority: Some(priority),
        apns_topic: Some("com.example.chat"),
        apns_collapse_id: Some(CollapseId::new("01K9PUSHRELAYMESSAGE000001").expect("short")),
    }
}

fn check_headers(header: &impl Fn(&str) -> String, options: &NotificationOptions<'_>) {
    assert_eq!(Some(header("apns-id").as_str()), options.apns_id);
    assert_eq!(header("apns-push-type"), options.apns_push_type.expect("set").to_string());
    assert_eq!(header("apns-expiration"), options.apns_expiration.expect("set").to_string());
    let priority = options.apns_priority.as_ref().expect("set");
    assert_eq!(header("apns-priority"), priority.to_string());
    assert_eq!(Some(header("apns-topic").as_str()), options.apns_topic);
}

#[test]
fn an_alert_is_the_one_a2_builds() {
    let mut notification = notification();
    notification.subtitle = Some("Group of 3".into());
    notification.sound = Some("ding.caf".into());
    notification.ext = Some(r#"{"room":"r-17"}"#.into());
    let mut info = OfflinePushInfo::default();
    info.apns_info.mutable_content = Some(1);
    notification.info = Arc::new(info);
    let (body, header) = ours(&notification, Some(3));

    let options = theirs_options(PushType::Alert, a2::Priority::High);
    let mut payload = DefaultNotificationBuilder::new()
        .set_title("Mina")
        .set_subtitle("Group of 3")
        .set_body("See you")
        .set_badge(3)
        .set_sound("ding.caf")
        .set_category("REPLY")
        .set_mutable_content()
        .build(TOKEN, options.clone());
    payload.add_custom_data("ext", &r#"{"room":"r-17"}"#).expect("serialises");
    let theirs: Value =
        serde_json::from_str(&payload.to_json_string().expect("serialises")).expect("JSON");

    let theirs_aps = theirs["aps"].as_object().expect("an object");
    assert_eq!(theirs_aps.len(), 5, "alert, badge, sound, category, mutable-content");
    for (key, value) in theirs_aps {
        assert_eq!(body["aps"][key], *value, "{key}");
    }
    assert_eq!(body["ext"], theirs["ext"]);
    check_headers(&header, &options);
    assert_eq!(header("apns-collapse-id"), options.apns_collapse_id.expect("set").value);
}

#[test]
fn a_critical_sound_is_the_one_a2_builds() {
    let mut notification = notification();
    notification.sound = Some("siren.caf".into());
    let mut info = OfflinePushInfo::default();
    info.apns_info.interruption_level = Some("critical".into());
    notification.info = Arc::new(info);
    let (body, _) = ours(&notification, None);
    let payload = DefaultNotificationBuilder::new()
        .set_sound("siren.caf")
        .set_critical(true, Some(1.0))
        .build(TOKEN, NotificationOptions::default());
    let theirs: Value =
        serde_json::from_str(&payload.to_json_string().expect("serialises")).expect("JSON");
    assert_eq!(body["aps"]["sound"], theirs["aps"]["sound"]);
}

#[test]
fn a_background_push_is_the_one_a2_builds() {
    let mut notification = notification();
    notification.kind = Kind::Silent;
    let (body, header) = ours(&notification, Some(3));
    let options = theirs_options(PushType::Background, a2::Priority::Normal);
    let payload =
        DefaultNotificationBuilder::new().set_content_available().build(TOKEN, options.clone());
    let theirs: Value =
        serde_json::from_str(&payload.to_json_string().expect("serialises")).expect("JSON");
    assert_eq!(body["aps"]["content-available"], theirs["aps"]["content-available"]);
    // a2 also writes the default of mutable-content, which means nothing here.
    assert_eq!(body["aps"].as_object().map(serde_json::Map::len), Some(1));
    check_headers(&header, &options);
}

/// a2 reads an answer only when it knows the reason, so the list has its names and more.
#[test]
fn every_reason_that_a2_reads_is_in_our_list() {
    let known = APNS_REASONS.iter().filter(|reason| {
        let body = serde_json::json!({"reason": reason, "timestamp": 1});
        serde_json::from_value::<a2::ErrorBody>(body).is_ok()
    });
    // a2 0.10 has 28 reasons.
    assert_eq!(known.count(), A2_REASONS);
}

const A2_REASONS: usize = 28;
