//! What a message asks of one vendor alone reaches that vendor's adapter.

use offpush::model::push_info::OfflinePushInfo;
use offpush::vendor::{self, Kind, Own};
use serde_json::{Value, json};

/// Reads `info` as the adapter of that name does.
fn check(name: &str, info: Value, expected: Own<'_>) {
    let info: OfflinePushInfo = serde_json::from_value(info).expect("a push info");
    let vendor = vendor::named(name).expect("a vendor");
    assert_eq!(vendor.own(&info), expected, "{name}");
}

fn everything() -> Value {
    json!({
        "ApnsInfo": { "Title": "t", "SubTitle": "s", "Image": "https://a", "Sound": "a.caf",
            "BadgeMode": 1 },
        "AndroidInfo": { "Sound": "ding", "GoogleImage": "https://g", "HuaWeiImage": "https://h" }
    })
}

#[test]
fn apple_has_title_picture_sound_and_badge_mode_of_its_own() {
    let expected = Own {
        kind: Kind::Alert,
        title: Some("t"),
        subtitle: Some("s"),
        image: Some("https://a"),
        sound: Some("a.caf"),
        takes_custom_sound: true,
        keeps_badge: true,
    };
    check("apns", everything(), expected);
}

#[test]
fn apple_is_told_what_kind_of_push_it_is() {
    let of_kind = |kind| Own { kind, takes_custom_sound: true, ..Own::default() };
    let activity = json!({ "LaId": "a", "Event": "end", "ContentState": {} });
    check("apns", json!({ "ApnsInfo": { "ContentAvailable": 1 } }), of_kind(Kind::Silent));
    check("apns", json!({ "ApnsInfo": { "IsVoipPush": 1 } }), of_kind(Kind::Voip));
    let live = json!({ "ApnsInfo": { "LiveActivity": activity } });
    check("apns", live, of_kind(Kind::LiveActivity));
}

#[test]
fn android_vendors_share_the_sound_and_have_their_own_picture() {
    let with = |image| Own { image, sound: Some("ding"), ..Own::default() };
    check("fcm", everything(), with(Some("https://g")));
    check("huawei", everything(), with(Some("https://h")));
    check("xiaomi", everything(), with(None));
    check("oppo", everything(), with(None));
}
