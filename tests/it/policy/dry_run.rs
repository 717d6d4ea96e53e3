//! The dry run answers what the real message gets, and leaves nothing behind.

use offpush::account::Accounts;
use offpush::model::device::TokenState;
use offpush::model::id::{AppId, CertId};
use offpush::store::StoreError;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::harness::{APP, Relay, Sims, text, token_of};
use crate::policy::{all_rows, store, traced};

/// Everything one case consists of.
#[derive(Clone, Debug)]
struct Case {
    push_enabled: bool,
    /// None, open daily, shut daily, open once, permanent.
    window: u8,
    option: u8,
    devices: Vec<DeviceCase>,
    kind: u8,
    in_group: bool,
    /// Not mentioned, by name, everybody.
    mention: u8,
    with_mute: bool,
    to_self: bool,
    repeat: bool,
    second_receiver: bool,
}

#[derive(Clone, Debug)]
struct DeviceCase {
    presence: u8,
    /// Live, dead, moved.
    token: u8,
    /// Active, disabled, broken, of another vendor, missing.
    certificate: u8,
}

fn cases() -> impl Strategy<Value = Case> {
    let device = (0u8..5, 0u8..6, 0u8..8).prop_map(|(presence, token, certificate)| DeviceCase {
        presence,
        token,
        certificate,
    });
    let receiver = (prop::bool::weighted(0.9), 0u8..12, 0u8..5);
    let devices = prop::collection::vec(device, 0..4);
    let message = (0u8..12, any::<bool>(), 0u8..3, any::<bool>());
    let rare = (prop::bool::weighted(0.05), prop::bool::weighted(0.2), any::<bool>());
    (receiver, devices, message, rare).prop_map(|(receiver, devices, message, rare)| Case {
        push_enabled: receiver.0,
        window: receiver.1,
        option: receiver.2,
        devices,
        kind: message.0,
        in_group: message.1,
        mention: message.2,
        with_mute: message.3,
        to_self: rare.0,
        repeat: rare.1,
        second_receiver: rare.2,
    })
}

/// The certificates a device can report.
struct Certificates {
    active: u64,
    disabled: u64,
    broken: u64,
    apple: u64,
}

async fn certificates(relay: &Relay, sims: &Sims) -> Certificates {
    let active = relay.certificate(sims, "xiaomi").await;
    let disabled = relay.certificate(sims, "xiaomi").await;
    let broken = relay.certificate(sims, "xiaomi").await;
    let apple = relay.certificate(sims, "apns").await;
    let path = relay.path(&format!("/certificates/{disabled}"));
    relay.admin.put(&path, &json!({ "enabled": false })).await;
    let api = &relay.app.as_ref().expect("it runs").api;
    let number = CertId(u32::try_from(broken).expect("a number"));
    let edition = api.credentials.get(number).expect("it exists").info.edition();
    let why = Some("refused".to_owned());
    assert!(api.credentials.mark_broken(number, edition, why).await.expect("marked"));
    Certificates { active, disabled, broken, apple }
}

async fn arrange(relay: &Relay, certificates: &Certificates, user: &str, case: &Case) {
    let utc = |start: &str, duration_s: u32| {
        let daily = json!({ "start": start, "duration_s": duration_s, "time_zone": "UTC" });
        json!([{ "daily": daily }])
    };
    let windows = match case.window {
        // Open from now on for a day less a second, whenever the test runs: two that overlap.
        0 => json!([{ "daily": { "start": "00:00", "duration_s": 50_000, "time_zone": "UTC" } },
                    { "daily": { "start": "12:00", "duration_s": 50_000, "time_zone": "UTC" } }]),
        1 => json!([{ "once": { "start_at": 1_000_000_000, "duration_s": 2_000_000_000 } }]),
        2 => utc("00:00", 86_400),
        3 => json!([{ "once": { "start_at": 1_000_000_000, "duration_s": 5 } }]),
        _ => json!([]),
    };
    let preferences = json!({ "push_enabled": case.push_enabled, "do_not_disturb": windows });
    relay.admin.put(&relay.path(&format!("/users/{user}/preferences")), &preferences).await;
    for place in ["c2c:mina", "group:team"] {
        let path = relay.path(&format!("/users/{user}/conversations/{place}/receive-option"));
        relay.admin.put(&path, &json!({ "option": case.option })).await;
    }
    for (number, device) in case.devices.iter().enumerate() {
        let (vendor, cert_id) = match device.certificate {
            0 => ("xiaomi", certificates.disabled),
            1 => ("xiaomi", certificates.broken),
            2 => ("apns", certificates.apple),
            _ => ("xiaomi", certificates.active),
        };
        let path = relay.path(&format!("/users/{user}/devices/d{number}"));
        let token = token_of(vendor, user, number);
        let body = json!({ "cert_id": cert_id, "token": token, "platform": "android" });
        relay.admin.put(&path, &body).await;
        let states = ["background", "foreground", "offline", "logged_out", "kicked"];
        let state = json!({ "state": states[usize::from(device.presence)] });
        relay.admin.post(&format!("{path}/state"), &state).await;
        if device.token == 1 {
            let other = relay.path(&format!("/users/{user}-other/devices/d{number}"));
            relay.admin.put(&other, &body).await;
        }
    }
    damage(relay, user, case).await;
}

/// What no API call does: a token its vendor called dead, a certificate that is gone.
async fn damage(relay: &Relay, user: &str, case: &Case) {
    Accounts::new(store(relay))
        .change(AppId(APP), &user.into(), |account, _| {
            for (number, case) in case.devices.iter().enumerate() {
                let id = format!("d{number}").as_str().into();
                let Some(device) = account.device_mut(&id) else { continue };
                if case.token == 0 {
                    device.token_state = TokenState::Dead { at: device.seen_at };
                }
                if case.certificate == 3 {
                    device.cert_id = CertId(9_999);
                }
            }
            Ok::<_, StoreError>(())
        })
        .await
        .expect("a change");
}

fn message(case: &Case, user: &str, random: u32) -> Value {
    let from = if case.to_self { user } else { "mina" };
    let mut message = text(from, user, random, "hi");
    if case.second_receiver {
        message["To_Account"] = json!([user, "nobody"]);
    }
    if case.in_group {
        message["GroupId"] = json!("team");
    }
    match case.mention {
        1 => message["GroupAtInfo"] = json!([{ "GroupAtAllFlag": 0, "GroupAt_Account": user }]),
        2 => message["GroupAtInfo"] = json!([{ "GroupAtAllFlag": 1 }]),
        _ => {}
    }
    if case.with_mute {
        message["SendMsgControl"] = json!(["WithMuteNotifications"]);
    }
    let empty = json!([{ "MsgType": "TIMCustomElem", "MsgContent": { "Data": "x" } }]);
    match case.kind {
        0 => message["OfflinePushInfo"] = json!({ "PushFlag": 1 }),
        1 => message["OnlineOnlyFlag"] = json!(1),
        2 => message["MsgLifeTime"] = json!(0),
        3 => message["SendMsgResult"] = json!(20_009),
        4 => message["MsgBody"] = empty,
        _ => {}
    }
    message
}

/// What is compared of an answer: who, where, how it ends, why, and when it would be allowed.
fn essence(explained: &Value) -> Vec<[Value; 6]> {
    let deliveries = explained["deliveries"].as_array().expect("deliveries");
    let one = |delivery: &Value| {
        let state = match delivery["state"].as_str() {
            Some(state @ ("suppressed" | "expired" | "cancelled")) => json!(state),
            _ => json!("rings"),
        };
        let of = |field: &str| delivery[field].clone();
        let (user, device_id, reason) = (of("user"), of("device_id"), of("reason"));
        [user, device_id, state, reason, of("next_allowed_at"), of("duplicate_of")]
    };
    deliveries.iter().map(one).collect()
}

#[test]
fn the_dry_run_is_the_real_run_without_effects() {
    let mut runner = TestRunner::new(Config::default());
    let cases: Vec<Case> =
        (0..120).map(|_| cases().new_tree(&mut runner).expect("a case").current()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(compare(cases));
}

async fn compare(cases: Vec<Case>) {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let certificates = certificates(&relay, &sims).await;
    let mut reasons = std::collections::BTreeSet::new();
    for (random, case) in (0u32..).zip(cases) {
        let user = format!("user-{random}");
        arrange(&relay, &certificates, &user, &case).await;
        let message = message(&case, &user, random);
        if case.repeat {
            let first = relay.send(&message).await;
            relay.settled(&first["message_id"]).await;
        }
        let before = all_rows(&store(&relay)).await;
        let dry = relay.admin.post(&relay.path("/explain"), &message).await;
        assert!(before == all_rows(&store(&relay)).await, "the dry run wrote: {case:?}");
        let real = relay.send(&message).await;
        traced(&relay, &real["message_id"]).await;
        let real = relay.settled(&real["message_id"]).await;
        assert_eq!(essence(&dry), essence(&real), "{case:?}\n{dry:#}");
        for delivery in dry["deliveries"].as_array().expect("deliveries") {
            assert!(!delivery["advice"].as_str().unwrap_or_default().is_empty(), "{delivery:#}");
            reasons.insert(delivery["reason"].as_str().unwrap_or("would_push").to_owned());
        }
    }
    assert!(reasons.len() > 12, "the cases are too tame: {reasons:?}");
}

/// What is too large is known before anybody sends it.
#[tokio::test]
async fn the_dry_run_refuses_what_no_vendor_could_be_sent() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    for vendor in crate::harness::VENDORS {
        let cert_id = relay.certificate(&sims, vendor).await;
        relay.device("joon", vendor, cert_id, 1).await;
    }
    let mut message = text("mina", "joon", 1, "hi");
    message["OfflinePushInfo"] = json!({ "Ext": "x".repeat(4_000) });
    let dry = relay.admin.post(&relay.path("/explain"), &message).await;
    let real = relay.send(&message).await;
    let real = relay.settled(&real["message_id"]).await;
    let told = |explained: &Value| -> Vec<[Value; 4]> {
        let deliveries = explained["deliveries"].as_array().expect("deliveries");
        let refused = deliveries.iter().filter(|one| one["state"] == "refused");
        let of = |one: &Value| {
            let attempt = &one["attempts"][0];
            let (code, status) = (attempt["code"].clone(), attempt["status"].clone());
            [one["vendor"].clone(), one["advice"].clone(), code, status]
        };
        refused.map(of).collect()
    };
    let refused = told(&dry);
    assert_eq!(refused, told(&real));
    assert!(refused.len() >= 4, "{refused:?}");
    for [vendor, advice, code, ..] in &refused {
        assert_eq!(code, "payload_too_large");
        let advice = advice.as_str().expect("advice");
        let ours = advice.contains("shorten Ext") && advice.contains("nothing was sent");
        assert!(ours, "{vendor}: {advice}");
    }
}
