//! What becomes of a device: its token dies, its account changes, its app is on screen.

use offpush::clock::Clock;
use offpush::sim::phones::TokenLife;
use serde_json::{Value, json};

use crate::harness::{Relay, Sims, text, until};

async fn pause(relay: &Relay, cert_id: u64, paused: bool) {
    let word = if paused { "pause" } else { "resume" };
    relay.admin.post(&format!("/v1/lanes/{cert_id}/{word}"), &json!({})).await;
}

async fn devices(relay: &Relay, user: &str) -> Value {
    relay.admin.get(&relay.path(&format!("/users/{user}/devices"))).await
}

#[tokio::test]
async fn a_dead_token_ends_its_delivery_and_retires_its_device() {
    for vendor in ["apns", "fcm", "huawei", "xiaomi", "oppo"] {
        let sims = Sims::start().await;
        let relay = Relay::start(&sims).await;
        let cert_id = relay.certificate(&sims, vendor).await;
        let token = relay.device("joon", vendor, cert_id, 1).await;
        let since = Clock::system().now();
        sims.server.phones().set_life(vendor, &token, TokenLife::Dead { since });
        let taken = relay.send(&text("mina", "joon", 1, "hello")).await;
        let explained = relay.settled(&taken["message_id"]).await;
        assert_eq!(explained["deliveries"][0]["state"], "token_dead", "{vendor} {explained:#}");
        // Retiring comes after the commit that settles.
        until("the device is retired", async || {
            let retired = devices(&relay, "joon").await;
            retired["devices"][0]["token_state"].to_string().contains("dead")
        })
        .await;
        let requests = sims.server.phones().requests(vendor);
        let next = relay.send(&text("mina", "joon", 2, "hello again")).await;
        let explained = relay.settled(&next["message_id"]).await;
        let delivery = &explained["deliveries"][0];
        assert_eq!(
            (&delivery["state"], &delivery["reason"]),
            (&json!("suppressed"), &json!("token_dead")),
            "{vendor}"
        );
        assert_eq!(sims.server.phones().requests(vendor), requests, "{vendor} is not asked again");
        let ledger = relay.ledger().await;
        let expected = json!({ "token_dead": 1, "suppressed": { "token_dead": 1 } });
        assert_eq!(ledger["terminals"], expected, "{vendor}");
    }
}

/// Registers one phone, whoever is logged in on it.
async fn log_in(relay: &Relay, user: &str, cert_id: u64, token: &str) {
    let path = relay.path(&format!("/users/{user}/devices/phone"));
    let body = json!({ "cert_id": cert_id, "token": token, "platform": "android" });
    relay.admin.put(&path, &body).await;
}

#[tokio::test]
async fn after_an_account_switch_nothing_of_the_old_account_reaches_the_phone() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "huawei").await;
    log_in(&relay, "old", cert_id, "shared-phone").await;
    pause(&relay, cert_id, true).await;
    let queued = relay.send(&text("mina", "old", 1, "private")).await;
    log_in(&relay, "new", cert_id, "shared-phone").await;
    let later = relay.send(&text("mina", "old", 2, "private too")).await;
    let own = relay.send(&text("mina", "new", 3, "welcome")).await;
    pause(&relay, cert_id, false).await;
    for taken in [&queued, &later] {
        let explained = relay.settled(&taken["message_id"]).await;
        let delivery = &explained["deliveries"][0];
        assert_eq!(delivery["reason"], "token_moved", "{delivery:#}");
        assert_eq!(delivery["attempts"], json!([]));
    }
    let explained = relay.settled(&own["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed");
    let bodies: Vec<_> = sims.shown("huawei").into_iter().map(|shown| shown.body).collect();
    assert_eq!(bodies, ["welcome"]);
    // Back again: the phone is the old account's once more.
    log_in(&relay, "old", cert_id, "shared-phone").await;
    let back = relay.send(&text("mina", "old", 4, "back")).await;
    let explained = relay.settled(&back["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed");
    relay.ledger().await;
}

#[tokio::test]
async fn a_device_with_a_new_token_stays_listed_under_its_certificate_and_rings_there() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "huawei").await;
    for token in ["first-token", "second-token"] {
        log_in(&relay, "joon", cert_id, token).await;
        let path = relay.path(&format!("/certificates/{cert_id}/devices"));
        let listed = relay.admin.get(&path).await;
        assert_eq!(listed["devices"].as_array().map(Vec::len), Some(1), "{token}: {listed}");
        let taken = relay.send(&text("mina", "joon", 1, token)).await;
        relay.settled(&taken["message_id"]).await;
    }
    let rung: Vec<_> = sims.shown("huawei").into_iter().map(|shown| shown.token).collect();
    assert_eq!(rung, ["first-token", "second-token"]);
}

#[tokio::test]
async fn what_waited_rings_at_the_new_token_and_not_under_another_certificate() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let (before, after) =
        (relay.certificate(&sims, "huawei").await, relay.certificate(&sims, "huawei").await);
    log_in(&relay, "joon", before, "first-token").await;
    pause(&relay, before, true).await;
    let renewed = relay.send(&text("mina", "joon", 1, "hello")).await;
    log_in(&relay, "joon", before, "second-token").await;
    pause(&relay, before, false).await;
    let explained = relay.settled(&renewed["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
    let rung: Vec<_> = sims.shown("huawei").into_iter().map(|shown| shown.token).collect();
    assert_eq!(rung, ["second-token"]);
    pause(&relay, before, true).await;
    let moved = relay.send(&text("mina", "joon", 2, "hello")).await;
    log_in(&relay, "joon", after, "third-token").await;
    pause(&relay, before, false).await;
    let explained = relay.settled(&moved["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "token_moved", "{explained:#}");
}

#[tokio::test]
async fn a_withdrawn_message_ends_also_in_a_lane_that_stands_still() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "huawei").await;
    log_in(&relay, "joon", cert_id, "a-token").await;
    pause(&relay, cert_id, true).await;
    let stays = relay.send(&text("mina", "joon", 1, "stays")).await;
    let taken = relay.send(&text("mina", "joon", 2, "goes")).await;
    let id = taken["message_id"].as_str().expect("an id");
    let path = relay.path(&format!("/messages/{id}"));
    relay.admin.call("DELETE", &path, &Value::Null).await;
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "cancelled", "{explained:#}");
    let explained = relay.explain(&stays["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "in_flight", "{explained:#}");
    assert_eq!(sims.shown("huawei").len(), 0);
}

/// Apple calls a token dead that gets what it was not made for.
#[tokio::test]
async fn a_token_for_calls_or_an_activity_gets_nothing_else() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let mut cert_ids = Vec::new();
    for options in [json!({}), json!({ "voip": true }), json!({ "live_activity": true })] {
        let mut upload = sims.upload("apns");
        upload["options"] = options;
        let created = relay.admin.post(&relay.path("/certificates"), &upload).await;
        cert_ids.push(created["cert_id"].as_u64().expect("a cert_id"));
    }
    for (number, (device, cert_id)) in ["phone", "calls", "ride-7"].iter().zip(cert_ids).enumerate()
    {
        let path = relay.path(&format!("/users/joon/devices/{device}"));
        let token = crate::harness::token_of("apns", "joon", number);
        let body = json!({ "cert_id": cert_id, "token": token, "platform": "ios" });
        relay.admin.put(&path, &body).await;
    }
    let activity = |id: &str| {
        json!({ "ApnsInfo": { "LiveActivity": {
            "LaId": id, "Event": "update", "ContentState": { "minutes": 5 } } } })
    };
    let cases = [
        (json!({}), "pushed", "cert_mismatch", "cert_mismatch"),
        (json!({ "ApnsInfo": { "IsVoipPush": 1 } }), "cert_mismatch", "pushed", "cert_mismatch"),
        (activity("ride-7"), "pushed", "cert_mismatch", "pushed"),
        (activity("ride-8"), "pushed", "cert_mismatch", "cert_mismatch"),
    ];
    for (random, (info, phone, calls, ride)) in (0..).zip(cases) {
        let mut message = text("mina", "joon", random, "hello");
        message["OfflinePushInfo"] = info;
        let taken = relay.send(&message).await;
        let explained = relay.settled(&taken["message_id"]).await;
        for (device, expected) in [("phone", phone), ("calls", calls), ("ride-7", ride)] {
            let deliveries = explained["deliveries"].as_array().expect("deliveries");
            let one = deliveries.iter().find(|one| one["device_id"] == device).expect("one each");
            let said = one["reason"].as_str().or(one["state"].as_str());
            assert_eq!(said, Some(expected), "{device}: {one:#}");
        }
    }
}

/// What became of a call on the devices of `joon`, in the order of their names.
async fn call(relay: &Relay, random: u32) -> Vec<Value> {
    let mut message = text("mina", "joon", random, "hello");
    message["OfflinePushInfo"] = json!({ "ApnsInfo": { "IsVoipPush": 1 } });
    let taken = relay.send(&message).await;
    let explained = relay.settled(&taken["message_id"]).await;
    let mut ended: Vec<_> = explained["deliveries"].as_array().expect("deliveries").clone();
    ended.sort_by_key(|one| one["device_id"].as_str().map(str::to_owned));
    ended.iter().map(|one| json!(one["reason"].as_str().or(one["state"].as_str()))).collect()
}

#[tokio::test]
async fn a_call_is_an_alert_only_where_no_token_of_the_receiver_takes_calls() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let alerts = relay.certificate(&sims, "apns").await;
    relay.device("joon", "apns", alerts, 1).await;
    let mut upload = sims.upload("apns");
    upload["options"] = json!({ "voip": true });
    let created = relay.admin.post(&relay.path("/certificates"), &upload).await;
    let calls = created["cert_id"].as_u64().expect("a cert_id");
    assert_eq!(call(&relay, 1).await, ["pushed"]);
    // The token for calls came too late for this one, which must ring nevertheless.
    pause(&relay, alerts, true).await;
    let mut waits = text("mina", "joon", 2, "hello");
    waits["OfflinePushInfo"] = json!({ "ApnsInfo": { "IsVoipPush": 1 } });
    let waits = relay.send(&waits).await;
    relay.device("joon", "apns", calls, 2).await;
    pause(&relay, alerts, false).await;
    let explained = relay.settled(&waits["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
    assert_eq!(call(&relay, 3).await, ["cert_mismatch", "pushed"]);
    let state = relay.path("/users/joon/devices/apns-2/state");
    relay.admin.post(&state, &json!({ "state": "logged_out" })).await;
    assert_eq!(call(&relay, 4).await, ["pushed", "logged_out"]);
    relay.device("joon", "apns", calls, 2).await;
    let disabled = relay.path(&format!("/certificates/{calls}"));
    relay.admin.put(&disabled, &json!({ "enabled": false })).await;
    assert_eq!(call(&relay, 5).await, ["pushed", "cert_disabled"]);
}

#[tokio::test]
async fn a_push_that_only_changes_a_live_activity_is_taken_and_shows_nothing_elsewhere() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let apple = relay.certificate(&sims, "apns").await;
    relay.device("joon", "apns", apple, 1).await;
    let other = relay.certificate(&sims, "huawei").await;
    relay.device("joon", "huawei", other, 1).await;
    let mut message = text("mina", "joon", 1, "");
    message.as_object_mut().expect("an object").remove("MsgBody");
    message["OfflinePushInfo"] = json!({ "ApnsInfo": { "LiveActivity": {
        "LaId": "ride-7", "Event": "update", "ContentState": { "minutes": 5 } } } });
    let taken = relay.send(&message).await;
    assert_eq!(taken["status"], "accepted", "{taken}");
    let explained = relay.settled(&taken["message_id"]).await;
    for delivery in explained["deliveries"].as_array().expect("deliveries") {
        let is_apple = delivery["vendor"] == "apns";
        let expected = if is_apple { "pushed" } else { "empty_custom_desc" };
        let said = delivery["reason"].as_str().or(delivery["state"].as_str());
        assert_eq!(said, Some(expected), "{delivery:#}");
    }
    assert!(sims.shown("huawei").is_empty());
}

#[tokio::test]
async fn a_push_in_other_languages_only_is_taken_and_has_words_for_every_reader() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "huawei").await;
    for (user, locale) in [("joon", "ko-KR"), ("ava", "fr")] {
        let path = relay.path(&format!("/users/{user}/devices/phone"));
        let token = crate::harness::token_of("huawei", user, 1);
        let body = json!({ "cert_id": cert_id, "token": token, "platform": "android",
                           "locale": locale });
        relay.admin.put(&path, &body).await;
    }
    let mut message = text("mina", "", 1, "");
    message.as_object_mut().expect("an object").remove("MsgBody");
    message["To_Account"] = json!(["joon", "ava"]);
    message["OfflinePushInfo"] =
        json!({ "MultiLanguageContent": [{ "Language": "ko", "Title": "소식" }] });
    let taken = relay.send(&message).await;
    assert_eq!(taken["status"], "accepted", "{taken}");
    relay.settled(&taken["message_id"]).await;
    let mut shown: Vec<_> = sims.shown("huawei").into_iter().map(|shown| shown.body).collect();
    shown.sort();
    assert_eq!(shown.len(), 2);
    assert!(shown.contains(&"소식".to_owned()), "{shown:?}");
    assert!(shown.iter().all(|body| !body.is_empty()));
}

#[tokio::test]
async fn an_app_on_screen_or_logged_out_does_not_ring() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let cert_id = relay.certificate(&sims, "xiaomi").await;
    relay.device("joon", "xiaomi", cert_id, 1).await;
    let path = relay.path("/users/joon/devices/xiaomi-1");
    let states = [
        ("foreground", Some("foreground")),
        ("background", None),
        ("offline", None),
        ("logged_out", Some("logged_out")),
    ];
    for (number, (state, reason)) in (0..).zip(states) {
        relay.admin.post(&format!("{path}/state"), &json!({ "state": state })).await;
        let taken = relay.send(&text("mina", "joon", number, state)).await;
        let explained = relay.settled(&taken["message_id"]).await;
        let delivery = &explained["deliveries"][0];
        assert_eq!(delivery["reason"].as_str(), reason, "{delivery:#}");
    }
    // Seen in the background when accepted, on screen when its turn comes.
    relay.device("joon", "xiaomi", cert_id, 1).await;
    pause(&relay, cert_id, true).await;
    let taken = relay.send(&text("mina", "joon", 9, "late")).await;
    relay.admin.post(&format!("{path}/state"), &json!({ "state": "foreground" })).await;
    pause(&relay, cert_id, false).await;
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "foreground");
    let bodies: Vec<_> = sims.shown("xiaomi").into_iter().map(|shown| shown.body).collect();
    assert_eq!(bodies, ["background", "offline"]);
}
