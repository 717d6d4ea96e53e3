//! Stored certificates that cannot be used any more: the relay starts without them, says so, and
//! neither loses nor overwrites them.

use std::time::Duration;

use bytes::Bytes;
use offpush::credentials::{CredentialsError, Draft};
use offpush::model::id::{AppId, Partition};
use offpush::store::keys::{Class, KeyBuilder};
use offpush::store::{Batch, Store};
use serde_json::json;

use crate::faults::lane;
use crate::harness::{APP, text};
use crate::stage::Stage;

#[tokio::test]
async fn a_certificate_that_names_another_endpoint_than_the_settings_waits_for_them() {
    let mut stage = Stage::new(|_| {}).await;
    let mut relay = stage.first().await;
    let ours = stage.sims.server.token_endpoint("fcm").expect("an endpoint");
    let mut upload = stage.sims.upload("fcm");
    upload["credential"]["json"]["token_uri"] = json!(ours);
    let made = relay.admin.post(&relay.path("/certificates"), &upload).await;
    let cert_id = made["cert_id"].as_u64().expect("a number");
    relay.device("joon", "fcm", cert_id, 1).await;
    relay.stop().await;

    let fcm = stage.settings.vendors.endpoints.get_mut("fcm").expect("set");
    fcm.insert("token_endpoint".to_owned(), "https://127.0.0.1:9/token".to_owned());
    let mut relay = stage.start().await;
    let path = relay.path(&format!("/certificates/{cert_id}"));
    let shown = relay.admin.get(&path).await;
    assert_eq!(shown["status"], "broken");
    let why = shown["broken"].as_str().expect("why");
    assert!(why.contains("token_uri") && why.contains("vendors.fcm"), "{why}");
    let list = relay.admin.get(&relay.path("/certificates")).await;
    assert_eq!(list["certificates"], json!([shown]));
    let verified = relay.admin.call("POST", &format!("{path}/verify"), &json!({})).await;
    assert_eq!((verified.status, &verified.body["error"]["code"]), (409, &json!("cert_unusable")));
    // Nothing is sent with it, and its number is not given away.
    let taken = relay.send(&text("mina", "joon", 1, "hi")).await;
    let explained = relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "cert_broken", "{explained:#}");
    assert_eq!(lane(&relay, cert_id).await, json!(null));
    let other = relay.admin.post(&relay.path("/certificates"), &stage.sims.upload("apns")).await;
    assert_eq!(other["cert_id"], cert_id + 1);
    relay.stop().await;

    let fcm = stage.settings.vendors.endpoints.get_mut("fcm").expect("set");
    fcm.insert("token_endpoint".to_owned(), ours);
    let relay = stage.start().await;
    assert_eq!(relay.admin.get(&path).await["status"], "active");
    let taken = relay.send(&text("mina", "joon", 2, "hi")).await;
    assert_eq!(relay.settled(&taken["message_id"]).await["deliveries"][0]["state"], "pushed");
}

#[tokio::test]
async fn what_waits_for_a_certificate_that_is_set_aside_rings_after_its_rotation() {
    const OTHER: &str = "https://elsewhere.example";
    let mut stage = Stage::new(|settings| {
        let own = settings.vendors.endpoints.entry("xiaomi".to_owned()).or_default();
        own.insert("another".to_owned(), OTHER.to_owned());
    })
    .await;
    let mut relay = stage.first().await;
    let mut upload = stage.sims.upload("xiaomi");
    let right = upload["credential"].clone();
    upload["credential"]["note"] = json!(OTHER);
    let made = relay.admin.post(&relay.path("/certificates"), &upload).await;
    let cert_id = made["cert_id"].as_u64().expect("a number");
    relay.device("joon", "xiaomi", cert_id, 1).await;
    relay.admin.post(&format!("/v1/lanes/{cert_id}/pause"), &json!({})).await;
    let taken = relay.send(&text("mina", "joon", 1, "hi")).await;
    relay.stop().await;

    stage.settings.vendors.endpoints.get_mut("xiaomi").expect("set").remove("another");
    let relay = stage.start().await;
    for _ in 0..20 {
        stage.pass(&relay, Duration::from_secs(10));
        let waiting = relay.explain(&taken["message_id"]).await;
        assert_eq!(waiting["deliveries"][0]["state"], "in_flight", "{waiting:#}");
    }
    let blocked = lane(&relay, cert_id).await;
    assert_eq!(blocked["condition"], "certificate_broken", "it does not run: {blocked}");
    assert!(blocked["why"].as_str().is_some_and(|why| why.contains("vendors.xiaomi")), "{blocked}");
    let waiting = relay.explain(&taken["message_id"]).await;
    let advice = waiting["deliveries"][0]["advice"].as_str().expect("advice");
    assert!(advice.starts_with(&format!("It waits: certificate {cert_id} is broken")), "{advice}");
    let path = relay.path(&format!("/certificates/{cert_id}"));
    assert_eq!(relay.admin.get(&path).await["status"], "broken");
    let rotated = relay.admin.put(&path, &json!({ "credential": right })).await;
    assert_eq!((&rotated["status"], &rotated["revision"]), (&json!("active"), &json!(2)));
    let mut shown = relay.admin.get(&path).await;
    shown["receipt_path"] = rotated["receipt_path"].clone();
    assert_eq!(shown, rotated);
    assert_eq!(relay.settled(&taken["message_id"]).await["deliveries"][0]["state"], "pushed");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_no_relay_from_starting() {
    let stage = Stage::new(|_| {}).await;
    let mut relay = stage.first().await;
    relay.stop().await;
    let key = KeyBuilder::new(Class::Certificate).u64(APP).u32(9).finish();
    let batch = Batch { put: vec![(key, Bytes::from_static(b"{"))], ..Batch::default() };
    stage.view().commit(Partition::of_app(AppId(APP)), batch).await.expect("written");
    let relay = stage.start().await;
    let mut upload = stage.sims.upload("apns");
    upload["cert_id"] = json!(9);
    let at = relay.path("/certificates");
    let refused = relay.admin.call("POST", &at, &upload).await;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (409, &json!("cert_id_taken")));
    let gone = relay.admin.call("DELETE", &format!("{at}/9"), &json!(null)).await;
    assert_eq!(gone.status, 204);
    assert_eq!(relay.admin.post(&at, &upload).await["cert_id"], 9);
}

#[tokio::test]
async fn what_could_not_be_read_back_is_refused() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let mut credential = stage.sims.upload("fcm")["credential"].take();
    let mut nested = json!(1);
    for _ in 0..200 {
        nested = json!([nested]);
    }
    credential["json"]["extra"] = nested;
    let draft =
        Draft { vendor: Some("fcm".to_owned()), credential: Some(credential), ..Draft::default() };
    let api = &relay.app.as_ref().expect("running").api;
    let refused = api.credentials.create(AppId(APP), draft, api.clock.now()).await;
    match refused.err().expect("a refusal") {
        CredentialsError::Refused(refused) => assert_eq!(refused.code, "credential_malformed"),
        other => panic!("{other}"),
    }
    let list = relay.admin.get(&relay.path("/certificates")).await;
    assert_eq!(list["certificates"], json!([]));
}
