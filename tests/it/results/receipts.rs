//! Receipts of Huawei, Xiaomi and OPPO.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offpush::clock::Clock;
use ring::hmac;

use super::*;
use crate::harness::Answer;

/// A vendor's certificate, one phone, one message pushed to it.
struct Pushed {
    sims: Sims,
    relay: Relay,
    chat: ChatServer,
    path: String,
    token: String,
    message_id: Value,
}

async fn pushed(vendor: &str, credential: Value) -> Pushed {
    let (sims, relay, chat) = stage(Engine::Memory).await;
    let mut upload = sims.upload(vendor);
    for (name, value) in credential.as_object().expect("an object") {
        upload["credential"][name] = value.clone();
    }
    let certificate = relay.admin.post(&relay.path("/certificates"), &upload).await;
    let cert_id = certificate["cert_id"].as_u64().expect("a number");
    let path = certificate["receipt_path"].as_str().expect("a path").to_owned();
    let url = format!("https://relay.example{path}");
    let mut options = certificate["options"].clone();
    options["receipt_url"] = json!(url);
    let change = json!({ "options": options });
    relay.admin.put(&relay.path(&format!("/certificates/{cert_id}")), &change).await;
    let token = relay.device("joon", vendor, cert_id, 1).await;
    let message_id = send(&relay, "joon", 7).await;
    chat.wait_for("Push.OfflinePush", 1).await;
    Pushed { sims, relay, chat, path, token, message_id }
}

impl Pushed {
    async fn post(&self, path: &str, kind: &str, body: &str) -> Answer {
        // A vendor has no key of ours.
        let vendor = self.relay.admin.with_key(None);
        vendor.raw("POST", path, kind, body.as_bytes().to_vec()).await
    }

    /// Posts a receipt in the vendor's format, expecting 200.
    async fn receipt(&self, kind: &str, body: &str) {
        let answer = self.post(&self.path, kind, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn receipts(&self) -> Value {
        self.relay.explain(&self.message_id).await["deliveries"][0]["receipts"].clone()
    }

    async fn figures(&self, vendor: &str) -> Value {
        let statistics = self.relay.admin.get(&self.relay.path("/statistics")).await;
        statistics["days"][0]["vendors"][vendor].clone()
    }

    async fn token_state(&self) -> Value {
        let devices = self.relay.admin.get(&self.relay.path("/users/joon/devices")).await;
        devices["devices"][0].clone()
    }
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn xiaomi(message_id: &Value, token: &str, kind: u32) -> String {
    let data = json!({ "sdm1": { "param": message_id, "type": kind, "targets": token,
        "timestamp": Clock::system().now().0 } });
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("data", &data.to_string());
    form.finish()
}

fn oppo(message_id: &Value, token: &str, kind: &str) -> String {
    json!([{ "messageId": "x", "appId": "1", "taskId": "t", "registrationIds": token,
        "eventTime": Clock::system().now().0.to_string(), "param": message_id,
        "eventType": kind }])
    .to_string()
}

fn huawei(message_id: &Value, token: &str, status: u32) -> String {
    json!({ "statuses": [{ "timestamp": Clock::system().now().0.to_string(), "token": token,
        "appid": "1", "bi_tag": message_id, "status": status, "requestId": "r" }] })
    .to_string()
}

#[tokio::test]
async fn a_xiaomi_receipt_is_told_explained_and_counted_once() {
    let pushed = pushed("xiaomi", json!({})).await;
    let sent = pushed.sims.shown("xiaomi");
    assert_eq!(sent.len(), 1);
    for _ in 0..2 {
        pushed.receipt(FORM, &xiaomi(&pushed.message_id, &pushed.token, 1)).await;
        pushed.receipt(FORM, &xiaomi(&pushed.message_id, &pushed.token, 2)).await;
    }
    let events = pushed.chat.wait_for("Push.OfflinePush", 3).await;
    let stages: Vec<_> = events.iter().map(|event| event["PushStage"].clone()).collect();
    assert_eq!(stages, [json!(1), json!(2), json!(3)]);
    for field in [
        "From_Account",
        "To_Account",
        "MsgRandom",
        "MsgSeq",
        "MsgTime",
        "PushID",
        "PushPlatform",
        "DeviceId",
        "CertId",
    ] {
        assert_eq!(events[0][field], events[2][field], "{field}");
        assert!(!events[0][field].is_null(), "{field}");
    }
    let receipts = pushed.receipts().await;
    assert_eq!(receipts.as_array().map(Vec::len), Some(2), "{receipts}");
    assert_eq!(
        (&receipts[0]["what"], &receipts[1]["what"]),
        (&json!("reached"), &json!("clicked"))
    );
    let figures = pushed.figures("xiaomi").await;
    for count in ["sendable", "sent", "reached", "clicked"] {
        assert_eq!(figures[count], 1, "{count} in {figures}");
    }
    assert_eq!(figures["reach_rate"], 1.0);
    // The delivery stays what it was.
    let explained = pushed.relay.explain(&pushed.message_id).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed");
}

#[tokio::test]
async fn an_uninstalled_xiaomi_app_retires_its_device() {
    let pushed = pushed("xiaomi", json!({})).await;
    assert_eq!(pushed.token_state().await["token_state"], "live", "{}", pushed.token_state().await);
    pushed.receipt(FORM, &xiaomi(&pushed.message_id, &pushed.token, 16)).await;
    let retired = pushed.chat.wait_for("device.retired", 1).await.remove(0);
    assert_eq!((&retired["DeviceId"], &retired["Source"]), (&json!("xiaomi-1"), &json!("receipt")));
    assert!(pushed.token_state().await["token_state"] != "live");
    let receipts = pushed.receipts().await;
    assert_eq!((&receipts[0]["what"], &receipts[0]["status"]), (&json!("not_shown"), &json!(16)));
    let event = pushed.chat.wait_for("Push.OfflinePush", 2).await.remove(1);
    assert_eq!((&event["PushStage"], &event["ErrCode"]), (&json!(2), &json!(16)));
    // And nothing is sent there any more.
    let next = send(&pushed.relay, "joon", 8).await;
    let explained = pushed.relay.explain(&next).await;
    assert_eq!(explained["deliveries"][0]["reason"], "token_dead");
}

#[tokio::test]
async fn a_token_registered_after_the_receipts_time_is_spared() {
    let pushed = pushed("oppo", json!({})).await;
    let body = json!([{ "registrationIds": pushed.token, "eventTime": "1000",
        "param": pushed.message_id, "eventType": "regid_invalid" }]);
    pushed.receipt(JSON, &body.to_string()).await;
    assert_eq!(pushed.token_state().await["token_state"], "live");
}

#[tokio::test]
async fn oppo_receipts_reach_and_retire() {
    let pushed = pushed("oppo", json!({})).await;
    pushed.receipt(JSON, &oppo(&pushed.message_id, &pushed.token, "push_arrive")).await;
    pushed.receipt(JSON, &oppo(&pushed.message_id, &pushed.token, "push_arrive")).await;
    assert_eq!(pushed.figures("oppo").await["reached"], 1);
    pushed.receipt(JSON, &oppo(&pushed.message_id, &pushed.token, "regid_invalid")).await;
    pushed.chat.wait_for("device.retired", 1).await;
    let receipts = pushed.receipts().await;
    assert_eq!(receipts.as_array().map(Vec::len), Some(2), "{receipts}");
}

#[tokio::test]
async fn an_unsigned_post_needs_the_secret_path_of_its_own_vendor() {
    let pushed = pushed("xiaomi", json!({})).await;
    let body = xiaomi(&pushed.message_id, &pushed.token, 16);
    let mut wrong = pushed.path.clone();
    let last = wrong.pop().expect("a digit");
    wrong.push(if last == '0' { '1' } else { '0' });
    let short = &pushed.path[..pushed.path.len() - 2];
    let other = pushed.path.replace("/xiaomi/", "/oppo/");
    let open =
        ["/v1/receipts/xiaomi", "/v3/offline_push_report/xiaomi", "/v1/receipts/nobody/7-00"];
    for path in [wrong.as_str(), short, &other].into_iter().chain(open) {
        assert_eq!(pushed.post(path, FORM, &body).await.status, 401, "{path}");
    }
    assert_eq!(pushed.token_state().await["token_state"], "live");
    assert_eq!(pushed.receipts().await, json!([]));
    // Tencent's address works with the secret too.
    let v3 = pushed.path.replace("/v1/receipts/", "/v3/offline_push_report/");
    assert_eq!(pushed.post(&v3, FORM, &body).await.status, 200);
}

#[tokio::test]
async fn what_is_unknown_or_malformed_changes_nothing() {
    let pushed = pushed("xiaomi", json!({})).await;
    let foreign = json!("01ARZ3NDEKTSV4RRFFQ69G5FAV");
    pushed.receipt(FORM, &xiaomi(&foreign, &pushed.token, 1)).await;
    pushed.receipt(FORM, &xiaomi(&json!("no id"), &pushed.token, 1)).await;
    pushed.receipt(FORM, &xiaomi(&pushed.message_id, "another-token", 1)).await;
    assert_eq!(pushed.receipts().await, json!([]));
    assert_eq!(pushed.figures("xiaomi").await["reached"], 0);
    assert_eq!(pushed.post(&pushed.path, FORM, "data=7").await.status, 400);
    let many = vec!["r"; 1_001].join(",");
    let many = xiaomi(&pushed.message_id, &many, 1);
    assert_eq!(pushed.post(&pushed.path, FORM, &many).await.status, 413);
    let huge = "x".repeat(2 * 1_024 * 1_024);
    assert_eq!(pushed.post(&pushed.path, FORM, &huge).await.status, 413);
}

/// What a vendor adds to its receipts takes none of the others away.
#[tokio::test]
async fn what_can_be_read_of_a_post_is_taken() {
    let pushed = pushed("oppo", json!({})).await;
    let good: Value = serde_json::from_str(&oppo(&pushed.message_id, &pushed.token, "push_arrive"))
        .expect("JSON");
    let mut listed = good[0].clone();
    listed["registrationIds"] = json!([pushed.token]);
    let body = json!([null, { "eventType": 7 }, listed]);
    pushed.receipt(JSON, &body.to_string()).await;
    assert_eq!(pushed.receipts().await.as_array().map(Vec::len), Some(1));
    assert_eq!(pushed.figures("oppo").await["reached"], 1);
    let metrics = pushed.relay.admin.get("/metrics").await;
    let counted = r#"offpush_receipts_total{vendor="oppo",result="unreadable"}"#;
    assert!(metrics.as_str().expect("text").contains(counted));
    assert_eq!(pushed.post(&pushed.path, JSON, "[null]").await.status, 400);
}

const USER: &str = "callback-user";
const RECEIPT_KEY: &str = "a-key-that-is-no-base64!";

fn huawei_header(timestamp: u64, key: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let nonce = "a07bfa17-6d82-4b53-a9a2-07cfef5ceef1";
    let value = STANDARD.encode(hmac::sign(&key, format!("{timestamp}{nonce}{USER}").as_bytes()));
    format!("timestamp={timestamp}; nonce={nonce}; value={value}")
}

/// Posts to the relay as Huawei does, with this signature.
async fn huawei_post(pushed: &Pushed, path: &str, signature: &str, body: String) -> u16 {
    let address = pushed.relay.app.as_ref().expect("it runs").address();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<http_body_util::Full<Bytes>>();
    let request = http::Request::post(format!("http://{address}{path}"))
        .header("content-type", JSON)
        .header("x-huawei-callback-id", signature)
        .body(http_body_util::Full::new(Bytes::from(body)))
        .expect("a request");
    client.request(request).await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_signed_huawei_receipt_is_taken_where_tencent_takes_it() {
    let key = json!({ "receipt_user": USER, "receipt_key": RECEIPT_KEY });
    let pushed = pushed("huawei", key).await;
    let now = Clock::system().now().0;
    let good = huawei_header(now, RECEIPT_KEY);
    let reached = huawei(&pushed.message_id, &pushed.token, 0);
    let path = "/v3/offline_push_report/huawei";
    let replayed = huawei_header(now - 10 * 60 * 1_000, RECEIPT_KEY);
    for bad in [huawei_header(now, "another-key"), replayed, String::from("timestamp=1")] {
        assert_eq!(huawei_post(&pushed, path, &bad, reached.clone()).await, 401);
        // With a key set, knowing the path is not enough.
        assert_eq!(huawei_post(&pushed, &pushed.path, &bad, reached.clone()).await, 401);
    }
    assert_eq!(pushed.receipts().await, json!([]));
    for path in [path, "/v1/receipts/huawei", pushed.path.as_str()] {
        assert_eq!(huawei_post(&pushed, path, &good, reached.clone()).await, 200, "{path}");
    }
    assert_eq!(pushed.receipts().await.as_array().map(Vec::len), Some(1));
    assert_eq!(pushed.figures("huawei").await["reached"], 1);
    let gone = huawei(&pushed.message_id, &pushed.token, 2);
    assert_eq!(huawei_post(&pushed, path, &good, gone).await, 200);
    let retired = pushed.chat.wait_for("device.retired", 1).await.remove(0);
    assert_eq!(retired["PushPlatform"], 3);
}

#[tokio::test]
async fn huawei_without_a_key_needs_the_secret_path_and_gets_its_answer() {
    let pushed = pushed("huawei", json!({})).await;
    let body = huawei(&pushed.message_id, &pushed.token, 256);
    assert_eq!(pushed.post("/v3/offline_push_report/huawei", JSON, &body).await.status, 401);
    let answer = pushed.post(&pushed.path, JSON, &body).await;
    assert_eq!(answer.body, json!({ "code": "0", "message": "success" }));
    assert_eq!(pushed.receipts().await[0]["status"], 256);
    assert_eq!(pushed.token_state().await["token_state"], "live");
}

#[tokio::test]
async fn a_receipt_key_without_its_user_is_refused() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let mut upload = sims.upload("huawei");
    upload["credential"]["receipt_key"] = json!(RECEIPT_KEY);
    let answer = relay.admin.call("POST", &relay.path("/certificates"), &upload).await;
    assert_eq!(answer.body["error"]["field"], "credential.receipt_user", "{answer:?}");
}

#[tokio::test]
async fn vendors_without_receipts_have_no_path() {
    let sims = Sims::start().await;
    let relay = Relay::start(&sims).await;
    let answer = relay.admin.post(&relay.path("/certificates"), &sims.upload("fcm")).await;
    assert!(answer.get("receipt_path").is_none(), "{answer}");
}

#[tokio::test]
async fn statistics_count_what_failed_as_sendable_only_and_are_bounded() {
    let pushed = pushed("xiaomi", json!({})).await;
    let fcm = pushed.relay.certificate(&pushed.sims, "fcm").await;
    let token = pushed.relay.device("joon", "fcm", fcm, 1).await;
    let life = offpush::sim::phones::TokenLife::Dead { since: Clock::system().now() };
    pushed.sims.server.phones().set_life("fcm", &token, life);
    send(&pushed.relay, "joon", 8).await;
    let statistics = pushed.relay.admin.get(&pushed.relay.path("/statistics")).await;
    let day = &statistics["days"][0]["vendors"];
    assert_eq!((&day["xiaomi"]["sendable"], &day["xiaomi"]["sent"]), (&json!(2), &json!(2)));
    assert_eq!((&day["fcm"]["sendable"], &day["fcm"]["sent"]), (&json!(1), &json!(0)));
    let total = &statistics["total"];
    assert_eq!((&total["sendable"], &total["sent"]), (&json!(3), &json!(2)), "{total}");
    assert_eq!((&total["reached"], &total["click_rate"]), (&json!(0), &Value::Null));
    let path = |query: &str| pushed.relay.path(&format!("/statistics?{query}"));
    let long_ago = pushed.relay.admin.get(&path("since=0&until=86400")).await;
    assert_eq!(long_ago["days"], json!([]));
    for bad in ["since=0", "since=86400&until=0", "since=yesterday"] {
        let answer = pushed.relay.admin.call("GET", &path(bad), &Value::Null).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
}
