//! Every row of the check-list for missing pushes (reference, part 15) has an answer of ours.
//!
//! First everything is provoked on a running relay and what it answers is collected: reasons of
//! `explain`, items of the doctor, error codes of the API, states. Then each row of the check-list
//! must find its answers among what was really seen.

use std::collections::BTreeSet;

use offpush::config::sections::Engine;
use offpush::sim::phones::TokenLife;
use serde_json::{Value, json};

use crate::harness::{Relay, Sims, text, token_of, until};
use crate::policy::{Timed, night, traced};

/// Rows that no decision about a delivery answers, and what does.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "priority high for red packets",
        "lanes send High first; the tests of `dispatch::lane` show it",
    ),
    (
        "40/s per group, 5/s per user",
        "the chat server's own limits; this relay only limits how often a key asks",
    ),
    (
        "UserSig 70001/70003/70009/70013",
        "a UserSig that does not hold is answered 401 before anything else",
    ),
    ("(derived) live group", "the chat server names the receivers; such a group has none offline"),
    ("(derived) text too long", "rendering shortens by the vendor's limits; its tests show it"),
    ("(derived) vendor quota or class", "every vendor's table of verdicts; its tests show it"),
];

/// Rows of the reference's table.
const ROWS: usize = 34;

/// The seed's item, and what answers it.
const CHECK_LIST: &[(&str, &[&str])] = &[
    (
        "APNs: correct certificate uploaded",
        &["cert_not_found", "cert_disabled", "cert_broken", "doctor:certificate"],
    ),
    (
        "APNs: token uploaded after login",
        &["no_device", "code:22003", "code:22004", "doctor:token_reported"],
    ),
    (
        "APNs: right certificate ID reported with the token",
        &["cert_mismatch", "state:token_dead", "code:cert_not_found", "doctor:certificate_id"],
    ),
    ("APNs: foreground/background events correct", &["foreground", "doctor:foreground_events"]),
    ("message only has TIMCustomElem and desc is empty", &["empty_custom_desc"]),
    ("MsgRandom equal -> dedup", &["duplicate", "doctor:msg_random"]),
    (
        "group message muted",
        &[
            "conversation_muted",
            "conversation_blocked",
            "mention lifts",
            "doctor:conversation_options",
        ],
    ),
    ("Android: correct push certificate", &["code:credential_malformed", "doctor:certificate"]),
    ("Android: token reported", &["no_device", "doctor:token_reported"]),
    ("no third-party push and service process dead", &["no_device"]),
    ("several processes initialised the SDK", &["doctor:token_changes"]),
    ("vendor console test first", &["test-push"]),
    ("device model incompatible", &["state:refused", "doctor:vendor_answers"]),
    ("OPPO needs MasterSecret, not AppSecret", &["advice:MasterSecret"]),
    ("receiver id equals push target id", &["no_device"]),
    ("Android offline push listener / switch off", &["push_disabled", "doctor:push_enabled"]),
    ("do-not-disturb set", &["do_not_disturb", "doctor:do_not_disturb"]),
    ("online message (sendOnlineMessage) or MsgLifeTime 0", &["online_only"]),
    ("message carries the no-push mark", &["no_push_flag"]),
    ("block list sender", &["send_failed"]),
    ("unique id rules", &["found by MsgKey"]),
    ("account not imported 20003 / 10019", &["no_device"]),
    ("(derived) logout / kicked", &["logged_out", "doctor:login"]),
    ("(derived) 7 days without login", &["stale_login", "doctor:login"]),
    ("(derived) sender's own message", &["self"]),
    ("(derived) targeted group message", &["only To_Account"]),
    ("(derived) recalled or read before send", &["state:cancelled"]),
    ("(derived) token taken over by another account", &["token_moved", "doctor:token"]),
    ("success", &["state:pushed"]),
];

/// What was really seen.
struct Seen<'a> {
    timed: &'a Timed,
    answers: BTreeSet<String>,
    random: u32,
}

impl Seen<'_> {
    fn relay(&self) -> &Relay {
        &self.timed.relay
    }

    /// Sends a message to `to` and notes reason, state and advice of every delivery.
    async fn sent(&mut self, to: &str, change: impl FnOnce(&mut Value)) -> Value {
        self.random += 1;
        let mut message = text("mina", to, self.random, "hi");
        change(&mut message);
        let taken = self.relay().send(&message).await;
        traced(self.relay(), &taken["message_id"]).await;
        let explained = self.relay().settled(&taken["message_id"]).await;
        for delivery in explained["deliveries"].as_array().expect("deliveries") {
            let advice = delivery["advice"].as_str().unwrap_or_default();
            assert!(!advice.is_empty(), "{delivery:#}");
            if let Some(reason) = delivery["reason"].as_str() {
                self.answers.insert(reason.to_owned());
            }
            let state = delivery["state"].as_str().expect("a state");
            self.answers.insert(format!("state:{state}"));
        }
        explained
    }

    /// Calls the API and notes the error's code.
    async fn refused(&mut self, method: &str, path: &str, body: &Value) {
        let answer = self.relay().admin.call(method, &self.relay().path(path), body).await;
        assert!(answer.status >= 400, "{method} {path}: {answer:?}");
        let code = answer.body["error"]["code"].as_str().expect("a code");
        self.answers.insert(format!("code:{code}"));
    }

    /// Notes every item the doctor answers.
    async fn examined(&mut self, user: &str) {
        let path = self.relay().path(&format!("/users/{user}/doctor"));
        for item in self.relay().admin.get(&path).await["items"].as_array().expect("items") {
            self.answers.insert(format!("doctor:{}", item["item"].as_str().expect("a name")));
        }
    }

    async fn put(&self, path: &str, body: &Value) -> Value {
        self.relay().admin.put(&self.relay().path(path), body).await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.relay().admin.post(&self.relay().path(path), body).await
    }
}

#[tokio::test]
async fn every_row_has_an_answer() {
    let timed = Timed::start(Engine::Memory, &json!({ "name": "tests" })).await;
    let mut seen = Seen { timed: &timed, answers: BTreeSet::new(), random: 0 };
    timed.relay.device("joon", "xiaomi", timed.cert_id, 1).await;
    of_messages(&mut seen).await;
    of_receivers(&mut seen).await;
    of_devices(&mut seen).await;
    of_certificates(&mut seen).await;
    of_time(&mut seen).await;
    let derived = 1; // A token taken over by another account is a row of our own.
    assert_eq!(CHECK_LIST.len() + ELSEWHERE.len(), ROWS + derived);
    for (row, answers) in CHECK_LIST {
        for answer in *answers {
            assert!(seen.answers.contains(*answer), "{row}: no {answer}; {:?}", seen.answers);
        }
    }
}

async fn of_messages(seen: &mut Seen<'_>) {
    seen.sent("joon", |_| {}).await;
    seen.sent("joon", |message| message["OfflinePushInfo"] = json!({ "PushFlag": 1 })).await;
    seen.sent("joon", |message| message["OnlineOnlyFlag"] = json!(1)).await;
    seen.sent("joon", |message| message["SendMsgResult"] = json!(20_009)).await;
    seen.sent("joon", |message| message["From_Account"] = json!("joon")).await;
    let empty = json!([{ "MsgType": "TIMCustomElem", "MsgContent": { "Data": "x" } }]);
    seen.sent("joon", |message| message["MsgBody"] = empty).await;
    for _ in 0..2 {
        seen.sent("joon", |message| message["MsgRandom"] = json!(9_999)).await;
    }
    let group = |message: &mut Value| message["GroupId"] = json!("team");
    let explained = seen.sent("joon", group).await;
    if explained["deliveries"].as_array().map(Vec::len) == Some(1) {
        seen.answers.insert("only To_Account".to_owned());
    }
    let keyed = seen.sent("joon", |message| message["MsgKey"] = json!("1_2_3")).await;
    let path = seen.relay().path("/explain?msg_key=1_2_3");
    let found = seen.relay().admin.get(&path).await;
    if found["messages"][0]["message_id"] == keyed["message_id"] {
        seen.answers.insert("found by MsgKey".to_owned());
    }
}

async fn of_receivers(seen: &mut Seen<'_>) {
    seen.sent("nobody", |_| {}).await;
    seen.examined("nobody").await;
    seen.put("/users/joon/preferences", &json!({ "push_enabled": false })).await;
    seen.sent("joon", |_| {}).await;
    seen.put("/users/joon/preferences", &night()).await;
    seen.sent("joon", |_| {}).await;
    seen.put("/users/joon/preferences", &json!({})).await;
    let option = "/users/joon/conversations/group:team/receive-option";
    for number in [1, 2, 3] {
        seen.put(option, &json!({ "option": number })).await;
        seen.sent("joon", |message| message["GroupId"] = json!("team")).await;
    }
    let mention = json!([{ "GroupAtAllFlag": 0, "GroupAt_Account": "joon" }]);
    let explained = seen
        .sent("joon", |message| {
            message["GroupId"] = json!("team");
            message["GroupAtInfo"] = mention;
        })
        .await;
    if explained["deliveries"][0]["state"] == "pushed" {
        seen.answers.insert("mention lifts".to_owned());
    }
}

async fn of_devices(seen: &mut Seen<'_>) {
    let state = "/users/joon/devices/xiaomi-1/state";
    for presence in ["foreground", "logged_out", "kicked"] {
        seen.post(state, &json!({ "state": presence })).await;
        seen.sent("joon", |_| {}).await;
    }
    let cert_id = seen.timed.cert_id;
    let device = |token: &str| json!({ "cert_id": cert_id, "token": token, "platform": "android" });
    let path = "/users/joon/devices/xiaomi-1";
    seen.refused("PUT", path, &device("")).await;
    seen.refused("PUT", path, &device(&"t".repeat(257))).await;
    let unknown = json!({ "cert_id": 999, "token": "t", "platform": "android" });
    seen.refused("PUT", path, &unknown).await;
    seen.put(path, &device(&token_of("xiaomi", "joon", 1))).await;
    // Another account logs in on the same phone.
    seen.put("/users/sora/devices/phone", &device(&token_of("xiaomi", "joon", 1))).await;
    seen.sent("joon", |_| {}).await;
    // The vendor calls a token dead.
    let token = seen.relay().device("hana", "xiaomi", cert_id, 1).await;
    let life = TokenLife::Dead { since: seen.timed.clock.now() };
    seen.timed.sims.server.phones().set_life("xiaomi", &token, life);
    seen.sent("hana", |_| {}).await;
    // The vendor refuses the push itself.
    seen.relay().device("yuna", "xiaomi", cert_id, 1).await;
    let channel = json!({ "AndroidInfo": { "XiaoMiChannelID": "no such channel" } });
    seen.sent("yuna", |message| message["OfflinePushInfo"] = channel).await;
    seen.examined("yuna").await;
    // Recalled before it was sent.
    let lane = |what: &str| format!("/v1/lanes/{cert_id}/{what}");
    seen.relay().admin.post(&lane("pause"), &json!({})).await;
    let waiting = seen.relay().send(&text("mina", "sora", 70_000, "hi")).await;
    let id = waiting["message_id"].as_str().expect("an id").to_owned();
    let path = seen.relay().path(&format!("/messages/{id}"));
    seen.relay().admin.call("DELETE", &path, &Value::Null).await;
    seen.relay().admin.post(&lane("resume"), &json!({})).await;
    let explained = seen.relay().settled(&waiting["message_id"]).await;
    let state = explained["deliveries"][0]["state"].as_str().expect("a state").to_owned();
    seen.answers.insert(format!("state:{state}"));
}

async fn of_certificates(seen: &mut Seen<'_>) {
    let (relay, sims) = (&seen.timed.relay, &seen.timed.sims);
    let apple = relay.certificate(sims, "apns").await;
    relay.device("ava", "apns", apple, 1).await;
    let wrong = json!({ "cert_id": apple, "token": token_of("apns", "ben", 1),
                        "platform": "android" });
    seen.put("/users/ben/devices/phone", &wrong).await;
    seen.sent("ben", |_| {}).await;
    seen.put(&format!("/certificates/{apple}"), &json!({ "enabled": false })).await;
    seen.sent("ava", |_| {}).await;
    let path = seen.relay().path(&format!("/certificates/{apple}"));
    seen.relay().admin.call("DELETE", &path, &Value::Null).await;
    seen.sent("ava", |_| {}).await;
    let broken = json!({ "vendor": "apns", "name": "x", "credential": { "type": "p8",
        "key": "no key", "key_id": "A", "team_id": "B", "bundle_id": "c" } });
    seen.refused("POST", "/certificates", &broken).await;
    let test = json!({ "token": token_of("xiaomi", "test", 1), "title": "t", "desc": "d" });
    let path = format!("/certificates/{}/test-push", seen.timed.cert_id);
    if seen.post(&path, &test).await["verdict"] == "accepted" {
        seen.answers.insert("test-push".to_owned());
    }
    of_oppo(seen).await;
}

/// The AppSecret where the MasterSecret belongs. OPPO compares clocks, so this relay has the real
/// one.
async fn of_oppo(seen: &mut Seen<'_>) {
    let sims = &seen.timed.sims;
    let relay = Relay::start(sims).await;
    let mut upload = sims.upload("oppo");
    upload["credential"]["master_secret"] = json!("0123456789abcdef0123456789abcdef");
    let answer = relay.admin.post(&relay.path("/certificates"), &upload).await;
    let cert_id = answer["cert_id"].as_u64().expect("a number");
    let verify = relay.path(&format!("/certificates/{cert_id}/verify"));
    if relay.admin.post(&verify, &json!({})).await.to_string().contains("MasterSecret") {
        seen.answers.insert("advice:MasterSecret".to_owned());
    }
    relay.device("cho", "oppo", cert_id, 1).await;
    relay.send(&text("mina", "cho", 1, "hi")).await;
    let number = offpush::model::id::CertId(u32::try_from(cert_id).expect("a number"));
    let credentials = &relay.app.as_ref().expect("it runs").api.credentials;
    until("the certificate is called broken", async || {
        relay.admin.get("/v1/lanes").await;
        credentials.get(number).is_some_and(|known| known.info.broken.is_some())
    })
    .await;
    let refused = relay.send(&text("mina", "cho", 2, "hi")).await;
    let explained = relay.settled(&refused["message_id"]).await;
    if let Some(reason) = explained["deliveries"][0]["reason"].as_str() {
        seen.answers.insert(reason.to_owned());
    }
}

async fn of_time(seen: &mut Seen<'_>) {
    seen.timed.skip_h(8 * 24);
    seen.sent("sora", |_| {}).await;
    seen.examined("sora").await;
    assert_eq!(seen.relay().admin.get("/v1/ledger").await["balanced"], true);
}

#[tokio::test]
async fn what_is_silent_on_an_iphone_shows_nothing_elsewhere_either() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    for vendor in ["apns", "fcm"] {
        let cert_id = relay.certificate(&sims, vendor).await;
        relay.device("joon", vendor, cert_id, 1).await;
    }
    let mut message = text("mina", "joon", 1, "");
    message["MsgBody"] = json!([{ "MsgType": "TIMCustomElem", "MsgContent": { "Data": "d" } }]);
    message["OfflinePushInfo"] = json!({ "ApnsInfo": { "ContentAvailable": 1 } });
    let taken = relay.send(&message).await;
    let explained = relay.settled(&taken["message_id"]).await;
    let ended: Vec<_> = explained["deliveries"]
        .as_array()
        .expect("deliveries")
        .iter()
        .map(|one| (one["vendor"].clone(), one["state"].clone(), one["reason"].clone()))
        .collect();
    let nothing = json!("empty_custom_desc");
    assert_eq!(
        ended,
        [
            (json!("apns"), json!("pushed"), Value::Null),
            (json!("fcm"), json!("suppressed"), nothing)
        ]
    );
}
