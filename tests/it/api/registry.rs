//! The registry through the API: registering, moving, listing, logging out.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::{Bench, path};
use crate::harness::{text, token_of};

async fn register(bench: &Bench, user: &str, device: &str, cert_id: u64, token: &str) -> Value {
    let body = json!({ "cert_id": cert_id, "token": token, "platform": "android" });
    bench.admin.ok("PUT", &path(&format!("/users/{user}/devices/{device}")), &body).await
}

async fn devices(bench: &Bench, user: &str) -> Vec<Value> {
    let list = bench.admin.get(&path(&format!("/users/{user}/devices"))).await;
    list["devices"].as_array().expect("devices").clone()
}

#[tokio::test]
async fn what_was_registered_is_listed() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "xiaomi").await;
    let body = json!({ "cert_id": cert_id, "token": "  token-1\n", "platform": "Android",
        "brand": "Xiaomi", "locale": "ko-KR", "time_zone": "Asia/Seoul", "app_version": "1.2",
        "sound": "", "unheard_of": 1 });
    let mut made = bench.admin.ok("PUT", &path("/users/joon/devices/d1"), &body).await;
    let ignored = json!(["unheard_of is no field of a registration: ignored"]);
    assert_eq!(std::mem::replace(&mut made["warnings"], json!([])), ignored);
    let list = devices(&bench, "joon").await;
    assert_eq!(list, std::slice::from_ref(&made));
    let expected = [
        ("token", json!("token-1")),
        ("platform", json!("android")),
        ("brand", json!("Xiaomi")),
        ("locale", json!("ko-KR")),
        ("time_zone", json!("Asia/Seoul")),
        ("app_version", json!("1.2")),
        ("sound", Value::Null),
        ("vendor", json!("xiaomi")),
        ("token_state", json!("live")),
        ("state", json!("background")),
        ("unread", json!(0)),
        ("warnings", json!([])),
    ];
    for (field, value) in expected {
        assert_eq!(made[field], value, "{field}");
    }
    assert_eq!(devices(&bench, "mina").await, Vec::<Value>::new());
}

#[tokio::test]
async fn an_apns_token_in_base64_becomes_hex() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "apns").await;
    let raw = [0xA5; 32];
    for token in [STANDARD.encode(raw), hex::encode(raw), hex::encode_upper(raw)] {
        let made = register(&bench, "joon", "iphone", cert_id, &token).await;
        assert_eq!(made["token"], hex::encode(raw), "{token}");
        let warning = made["warnings"][0].as_str().expect("android has no APNs");
        assert!(warning.contains("does not serve this platform"), "{warning}");
    }
    assert_eq!(devices(&bench, "joon").await.len(), 1);
}

#[tokio::test]
async fn each_vendor_checks_the_shape_of_its_tokens() {
    let bench = Bench::start().await;
    for vendor in crate::harness::VENDORS {
        let cert_id = bench.relay.certificate(&bench.sims, vendor).await;
        let at = path(&format!("/users/{vendor}/devices/d1"));
        let platform = if vendor == "apns" { "ios" } else { "android" };
        for bad in ["has blank inside", "ünïcode", "a\u{7}b"] {
            let body = json!({ "cert_id": cert_id, "token": bad, "platform": platform });
            let admin = &bench.admin;
            admin.refused("PUT", &at, &body, 400, "token_malformed", Some("token")).await;
        }
        let good = token_of(vendor, "joon", 1);
        let body = json!({ "cert_id": cert_id, "token": good, "platform": platform });
        assert_eq!(bench.admin.ok("PUT", &at, &body).await["token"], good);
    }
}

#[tokio::test]
async fn states_and_badges_are_kept() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "xiaomi").await;
    register(&bench, "joon", "d1", cert_id, "token-1").await;
    let at = path("/users/joon/devices/d1/state");
    for state in ["foreground", "background", "offline", "logged_out", "kicked"] {
        let report = json!({ "state": state, "unread": 7 });
        let device = bench.admin.ok("POST", &at, &report).await;
        assert_eq!((&device["state"], &device["unread"]), (&json!(state), &json!(7)));
    }
    register(&bench, "joon", "d1", cert_id, "token-1").await;
    let device = bench.admin.ok("POST", &at, &json!({ "state": "foreground" })).await;
    assert_eq!(device["unread"], 7, "a report without a badge keeps it");
}

#[tokio::test]
async fn a_logged_out_device_is_listed_and_rings_again_after_registering() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "xiaomi").await;
    let token = token_of("xiaomi", "joon", 1);
    register(&bench, "joon", "d1", cert_id, &token).await;
    bench.admin.ok("DELETE", &path("/users/joon/devices/d1"), &Value::Null).await;
    let list = devices(&bench, "joon").await;
    assert_eq!((list.len(), &list[0]["state"]), (1, &json!("logged_out")));
    let taken = bench.relay.send(&text("mina", "joon", 1, "silent")).await;
    let explained = bench.relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "logged_out");
    let again = register(&bench, "joon", "d1", cert_id, &token).await;
    assert_eq!(again["state"], "background");
    let taken = bench.relay.send(&text("mina", "joon", 2, "rings")).await;
    let explained = bench.relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
}

#[tokio::test]
async fn only_a_registration_ends_logged_out_and_kicked() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "xiaomi").await;
    let at = path("/users/joon/devices/d1/state");
    for (state, random) in [("logged_out", 1), ("kicked", 2)] {
        register(&bench, "joon", "d1", cert_id, "token-1").await;
        let ended = bench.admin.ok("POST", &at, &json!({ "state": state })).await;
        for (report, unread) in [("background", 3), ("foreground", 4), ("offline", 5)] {
            let given = json!({ "state": report, "unread": unread });
            let device = bench.admin.ok("POST", &at, &given).await;
            assert_eq!((&device["state"], &device["unread"]), (&json!(state), &json!(unread)));
            assert_eq!(device["state_at"], ended["state_at"], "{report}");
            assert_eq!(device["seen_at"], ended["seen_at"], "{report}");
        }
        let taken = bench.relay.send(&text("mina", "joon", random, "silent")).await;
        let explained = bench.relay.settled(&taken["message_id"]).await;
        assert_eq!(explained["deliveries"][0]["reason"], "logged_out", "{explained:#}");
    }
    let again = register(&bench, "joon", "d1", cert_id, "token-1").await;
    assert_eq!((&again["state"], &again["unread"]), (&json!("background"), &json!(5)));
    assert_eq!(again["state_at"], again["registered_at"]);
}

#[tokio::test]
async fn an_account_switch_moves_the_token_and_the_old_user_rings_no_more() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "xiaomi").await;
    let token = token_of("xiaomi", "phone", 1);
    register(&bench, "joon", "phone", cert_id, &token).await;
    register(&bench, "mina", "phone", cert_id, &token).await;
    assert_eq!(devices(&bench, "joon").await[0]["token_state"], "moved");
    assert_eq!(devices(&bench, "mina").await[0]["token_state"], "live");
    let taken = bench.relay.send(&text("hana", "joon", 1, "for joon only")).await;
    let explained = bench.relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "token_moved", "{explained:#}");
    let of_certificate = path(&format!("/certificates/{cert_id}/devices"));
    let page = bench.admin.get(&of_certificate).await;
    let users: Vec<_> = page["devices"].as_array().expect("devices").iter().collect();
    assert_eq!((users.len(), &users[0]["user"]), (1, &json!("mina")));
    // And back again.
    register(&bench, "joon", "phone", cert_id, &token).await;
    assert_eq!(devices(&bench, "joon").await[0]["token_state"], "live");
    assert_eq!(devices(&bench, "mina").await[0]["token_state"], "moved");
    assert!(bench.sims.shown("xiaomi").is_empty());
}

#[tokio::test]
async fn two_accounts_that_race_for_one_token_leave_one_owner() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "xiaomi").await;
    for round in 0..20 {
        let token = token_of("xiaomi", "phone", round);
        let (left, right) = tokio::join!(
            register(&bench, "joon", "phone", cert_id, &token),
            register(&bench, "mina", "phone", cert_id, &token),
        );
        assert_eq!((&left["token"], &right["token"]), (&json!(token), &json!(token)));
        let states = [
            devices(&bench, "joon").await[0]["token_state"].clone(),
            devices(&bench, "mina").await[0]["token_state"].clone(),
        ];
        let live = states.iter().filter(|state| **state == "live").count();
        assert_eq!(live, 1, "round {round}: {states:?}");
    }
}

#[tokio::test]
async fn the_same_phone_under_a_new_device_id_replaces_the_old_one() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "xiaomi").await;
    let token = token_of("xiaomi", "joon", 1);
    register(&bench, "joon", "before", cert_id, &token).await;
    register(&bench, "joon", "after", cert_id, &token).await;
    let list = devices(&bench, "joon").await;
    assert_eq!((list.len(), &list[0]["device_id"]), (1, &json!("after")));
    let taken = bench.relay.send(&text("mina", "joon", 1, "once")).await;
    bench.relay.settled(&taken["message_id"]).await;
    assert_eq!(bench.sims.shown("xiaomi").len(), 1);
}

#[tokio::test]
async fn a_new_token_of_a_device_frees_the_old_one() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "xiaomi").await;
    register(&bench, "joon", "phone", cert_id, "old-token").await;
    register(&bench, "joon", "phone", cert_id, "new-token").await;
    register(&bench, "mina", "other", cert_id, "old-token").await;
    assert_eq!(devices(&bench, "joon").await[0]["token_state"], "live");
    assert_eq!(devices(&bench, "mina").await[0]["token_state"], "live");
}

#[tokio::test]
async fn the_seventeenth_device_drops_the_one_unseen_for_longest() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "xiaomi").await;
    for number in 0..17 {
        register(&bench, "joon", &format!("d{number}"), cert_id, &format!("token-{number}")).await;
    }
    let list = devices(&bench, "joon").await;
    assert_eq!(list.len(), 16);
    let ids: BTreeSet<_> = list.iter().map(|device| device["device_id"].as_str()).collect();
    assert!(!ids.contains(&Some("d0")) && ids.contains(&Some("d16")), "{ids:?}");
    let of_certificate = path(&format!("/certificates/{cert_id}/devices"));
    let page = bench.admin.get(&of_certificate).await;
    assert_eq!(page["devices"].as_array().expect("devices").len(), 16);
}

#[tokio::test]
async fn a_device_that_is_dropped_takes_its_badge_with_it() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "xiaomi").await;
    let report = async |device: &str| {
        let at = path(&format!("/users/joon/devices/{device}/state"));
        bench.admin.ok("POST", &at, &json!({ "state": "background", "unread": 7 })).await;
    };
    let badges = async || bench.rows().await.keys().filter(|key| key[0] == b'I').count();
    register(&bench, "joon", "before", cert_id, "token-0").await;
    report("before").await;
    assert_eq!(badges().await, 1);
    register(&bench, "joon", "d0", cert_id, "token-0").await;
    assert_eq!(badges().await, 0, "the same phone under another id");
    report("d0").await;
    for number in 1..16 {
        register(&bench, "joon", &format!("d{number}"), cert_id, &format!("token-{number}")).await;
    }
    assert_eq!(badges().await, 1);
    register(&bench, "joon", "d16", cert_id, "token-16").await;
    assert_eq!(badges().await, 0, "one too many");
}

#[tokio::test]
async fn the_registry_of_a_certificate_is_read_page_by_page() {
    let bench = Bench::start().await;
    let cert_id = bench.relay.certificate(&bench.sims, "xiaomi").await;
    let neighbour = bench.relay.certificate(&bench.sims, "huawei").await;
    for number in 0..7 {
        let token = format!("token-{number}");
        register(&bench, &format!("user-{number}"), "d", cert_id, &token).await;
        register(&bench, &format!("user-{number}"), "h", neighbour, &token).await;
    }
    let mut users = Vec::new();
    let mut asked = path(&format!("/certificates/{cert_id}/devices?limit=3"));
    loop {
        let page = bench.admin.get(&asked).await;
        let found = page["devices"].as_array().expect("devices");
        assert!(found.len() <= 3);
        users
            .extend(found.iter().map(|device| device["user"].as_str().expect("a user").to_owned()));
        match page["cursor"].as_str() {
            Some(cursor) => {
                asked = path(&format!("/certificates/{cert_id}/devices?limit=3&cursor={cursor}"));
            }
            None => break,
        }
    }
    let expected: Vec<_> = (0..7).map(|number| format!("user-{number}")).collect();
    assert_eq!(users, expected);
}
