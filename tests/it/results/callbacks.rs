//! Push results, retired devices and broken certificates as a chat server gets them.

use offpush::sim::phones::TokenLife;
use ring::{digest, hmac};

use super::*;

#[tokio::test]
async fn a_push_that_was_sent_is_reported_with_tencents_fields() {
    let (sims, relay, chat) = stage(Engine::Memory).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    let mut message = text("mina", "joon", 7, "hello");
    message["MsgKey"] = json!("1_7_1760000000");
    message["MsgTime"] = json!(1_760_000_000);
    let message_id = relay.send(&message).await["message_id"].clone();
    let event = chat.wait_for("Push.OfflinePush", 1).await.remove(0);
    for (field, expected) in [
        ("EventType", json!(1)),
        ("From_Account", json!("mina")),
        ("To_Account", json!("joon")),
        ("PushPlatform", json!(4)),
        ("PushStage", json!(1)),
        ("MsgKey", json!("1_7_1760000000")),
        ("MsgSeq", json!(1)),
        ("MsgRandom", json!(7)),
        ("MsgTime", json!(1_760_000_000)),
        ("PushID", message_id),
        ("ErrCode", json!(0)),
        ("ErrInfo", json!("")),
        ("DeviceId", json!("fcm-1")),
        ("CertId", json!(cert_id)),
    ] {
        assert_eq!(event[field], expected, "{field} in {event:#}");
    }
    assert!(!chat.posts().iter().any(|post| post.json().to_string().contains("hello")));
}

#[tokio::test]
async fn a_post_is_signed_in_its_address_and_over_its_body() {
    let (sims, relay, chat) = stage(Engine::Memory).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    send(&relay, "joon", 7).await;
    chat.wait_for("Push.OfflinePush", 1).await;
    let post = chat.posts().remove(0);
    assert_eq!(post.uri.path(), "/hook");
    assert_eq!(post.query("SdkAppid"), APP.to_string());
    assert_eq!(post.query("CallbackCommand"), "Push.OfflinePush");
    assert_eq!(
        (post.query("contenttype"), post.query("OptPlatform")),
        ("json".into(), "RESTAPI".into())
    );
    let signed = format!("{KEY}{}", post.query("RequestTime"));
    let digest = digest::digest(&digest::SHA256, signed.as_bytes());
    assert_eq!(post.query("Sign"), hex::encode(digest));
    let signature = post.headers["x-offpush-signature"].to_str().expect("text");
    let signature = hex::decode(signature.strip_prefix("sha256=").expect("its scheme"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    hmac::verify(&key, &post.body, &signature.expect("hex")).expect("the signature of the body");
}

#[tokio::test]
async fn an_empty_key_signs_nothing() {
    let (sims, relay, chat) = stage(Engine::Memory).await;
    relay.admin.put(&relay.path(""), &json!({ "callback_key": "" })).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    send(&relay, "joon", 7).await;
    chat.wait_for("Push.OfflinePush", 1).await;
    let post = chat.posts().remove(0);
    assert_eq!((post.query("Sign"), post.query("RequestTime")), (String::new(), String::new()));
    assert!(!post.headers.contains_key("x-offpush-signature"));
}

#[tokio::test]
async fn a_dead_token_is_reported_as_a_failed_push_and_as_a_retired_device() {
    let (sims, relay, chat) = stage(Engine::Memory).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    let token = relay.device("joon", "fcm", cert_id, 1).await;
    let now = offpush::clock::Clock::system().now();
    sims.server.phones().set_life("fcm", &token, TokenLife::Dead { since: now });
    send(&relay, "joon", 7).await;
    let push = chat.wait_for("Push.OfflinePush", 1).await.remove(0);
    assert_eq!((&push["PushStage"], &push["ErrCode"]), (&json!(1), &json!(404)), "{push:#}");
    assert!(push["ErrInfo"].as_str().expect("text").starts_with("token_dead: UNREGISTERED"));
    let retired = chat.wait_for("device.retired", 1).await.remove(0);
    assert_eq!(retired["To_Account"], "joon");
    assert_eq!((&retired["DeviceId"], &retired["CertId"]), (&json!("fcm-1"), &json!(cert_id)));
    assert_eq!((&retired["Source"], &retired["Reason"]), (&json!("push"), &json!("UNREGISTERED")));
    let hash = offpush::model::id::Token(token.as_str().into()).short_hash();
    assert_eq!(retired["TokenHash"], json!(hash));
    assert!(!chat.posts().iter().any(|post| post.json().to_string().contains(&token)));
}

#[tokio::test]
async fn a_refused_push_is_reported_and_a_suppressed_one_is_not() {
    let (sims, relay, chat) = stage(Engine::Memory).await;
    let cert_id = relay.certificate(&sims, "apns").await;
    relay.device("joon", "apns", cert_id, 1).await;
    let mut silent = text("mina", "joon", 1, "hello");
    silent["OfflinePushInfo"] = json!({ "PushFlag": 1 });
    relay.send(&silent).await;
    let rule = json!({ "vendor": "apns", "match": {},
        "action": { "status": 400, "body": { "reason": "BadCollapseId" } } });
    let rule = serde_json::from_value(rule).expect("a rule");
    sims.server.faults().add(rule).expect("added");
    send(&relay, "joon", 2).await;
    let push = chat.wait_for("Push.OfflinePush", 1).await.remove(0);
    assert_eq!((&push["MsgRandom"], &push["PushPlatform"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&push["ErrCode"], &push["ErrInfo"]),
        (&json!(400), &json!("refused: BadCollapseId"))
    );
}

#[tokio::test]
async fn a_group_and_a_task_have_their_own_words() {
    let (sims, relay, chat) = stage(Engine::Memory).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    let mut message = text("mina", "joon", 1, "hello");
    message["GroupId"] = json!("g1");
    relay.send(&message).await;
    let push = chat.wait_for("Push.OfflinePush", 1).await.remove(0);
    assert_eq!((&push["EventType"], &push["GroupID"]), (&json!(2), &json!("g1")));
    let mut message = text("mina", "joon", 2, "hello");
    message["TaskId"] = json!("task-1");
    message["DataId"] = json!("order-5");
    relay.send(&message).await;
    let push = chat.wait_for("Push.AllMemberPush", 1).await.remove(0);
    assert_eq!((&push["TaskId"], &push["To_Account"]), (&json!("task-1"), &json!("joon")));
    assert_eq!(push["DataId"], "order-5");
    // One post holds one kind.
    for post in chat.posts() {
        let command = json!(post.query("CallbackCommand"));
        assert!(post.events().iter().all(|event| event["CallbackCommand"] == command));
    }
}

#[tokio::test]
async fn a_broken_certificate_is_reported() {
    let (sims, relay, chat) = stage(Engine::Memory).await;
    let mut upload = sims.upload("xiaomi");
    upload["credential"]["app_secret"] = json!("not-the-secret");
    let answer = relay.admin.post(&relay.path("/certificates"), &upload).await;
    let cert_id = answer["cert_id"].as_u64().expect("a number");
    relay.device("joon", "xiaomi", cert_id, 1).await;
    relay.send(&text("mina", "joon", 7, "hello")).await;
    let broken = chat.wait_for("certificate.broken", 1).await.remove(0);
    assert_eq!((&broken["CertId"], &broken["Vendor"]), (&json!(cert_id), &json!("xiaomi")));
    assert_eq!((&broken["CertName"], &broken["PushPlatform"]), (&upload["name"], &json!(2)));
    assert!(broken["Reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    // Nothing was sent and nothing ended: there is no push to report.
    assert_eq!(chat.events("Push.OfflinePush").len(), 0);
}

#[tokio::test]
async fn what_a_chat_server_refuses_is_posted_again_even_after_a_restart() {
    let (sims, relay, chat) = stage(Engine::Sled).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    chat.answer(500);
    send(&relay, "joon", 1).await;
    chat.until("a second try", || chat.posts().len() >= 2).await;
    let id = chat.posts()[0].events()[0]["EventId"].clone();
    let relay = relay.restart().await;
    chat.posts.lock().expect("no panic inside").clear();
    chat.answer(200);
    send(&relay, "joon", 2).await;
    let events = chat.wait_for("Push.OfflinePush", 2).await;
    // The old one first, under its old id.
    assert_eq!((&events[0]["EventId"], &events[0]["MsgRandom"]), (&id, &json!(1)));
    assert_eq!(events[1]["MsgRandom"], 2);
}

#[tokio::test]
async fn many_results_come_in_posts_of_at_most_a_hundred() {
    let (sims, relay, chat) = stage(Engine::Memory).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    let users: Vec<String> = (0..250).map(|number| format!("user-{number}")).collect();
    for user in &users {
        relay.device(user, "fcm", cert_id, 1).await;
    }
    chat.answer(503);
    let mut message = text("mina", "", 1, "hello");
    message["GroupId"] = json!("g1");
    message["To_Account"] = json!(users);
    let taken = relay.send(&message).await;
    relay.settled(&taken["message_id"]).await;
    chat.answer(200);
    let events = chat.wait_for("Push.OfflinePush", 250).await;
    let reached: HashSet<String> =
        events.iter().map(|event| event["To_Account"].to_string()).collect();
    assert_eq!(reached.len(), 250);
    let sizes: Vec<usize> = chat.posts().iter().map(|post| post.events().len()).collect();
    assert!(sizes.iter().all(|size| (1..=100).contains(size)), "{sizes:?}");
    assert!(sizes.contains(&100), "{sizes:?}");
}

#[tokio::test]
async fn a_stuck_chat_server_delays_no_other() {
    let (sims, relay, chat) = stage(Engine::Memory).await;
    // A port that takes connections and never answers.
    let stuck = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let other = 1_400_000_002;
    let url = format!("http://{}/", stuck.local_addr().expect("an address"));
    let path = |rest: &str| format!("/v1/apps/{other}{rest}");
    relay.admin.put(&path(""), &json!({ "callback_url": url })).await;
    let answer = relay.admin.post(&path("/certificates"), &sims.upload("fcm")).await;
    let device = json!({ "cert_id": answer["cert_id"], "platform": "android",
        "token": crate::harness::token_of("fcm", "other", 1) });
    relay.admin.put(&path("/users/joon/devices/d"), &device).await;
    relay.admin.post(&path("/messages"), &text("mina", "joon", 1, "hello")).await;
    let (_connection, _) = stuck.accept().await.expect("the courier of the other app");
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    send(&relay, "joon", 7).await;
    chat.wait_for("Push.OfflinePush", 1).await;
}

#[tokio::test]
async fn an_app_without_an_address_gets_nothing_and_keeps_nothing() {
    let (sims, relay, chat) = stage(Engine::Memory).await;
    relay.admin.put(&relay.path(""), &json!({ "callback_url": null })).await;
    let cert_id = relay.certificate(&sims, "fcm").await;
    relay.device("joon", "fcm", cert_id, 1).await;
    send(&relay, "joon", 1).await;
    relay.admin.put(&relay.path(""), &json!({ "callback_url": chat.url })).await;
    send(&relay, "joon", 2).await;
    let events = chat.wait_for("Push.OfflinePush", 1).await;
    assert_eq!(events[0]["MsgRandom"], 2);
}

#[tokio::test]
async fn private_addresses_are_refused_unless_the_operator_allows_them() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    for url in
        ["http://chat.example/", "https://127.0.0.1/", "https://169.254.169.254/x", "nonsense"]
    {
        let answer =
            relay.admin.call("PUT", &relay.path(""), &json!({ "callback_url": url })).await;
        assert_eq!(answer.status, 400, "{url}");
        assert_eq!(answer.body["error"]["field"], "callback_url", "{url}");
    }
    relay.admin.put(&relay.path(""), &json!({ "callback_url": "https://chat.example/" })).await;
}
