//! The Tencent-shaped front door on the whole relay: what a chat server written for Tencent sends
//! and what it is answered.

mod groups;
mod push;
mod rest;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use offpush::app::App;
use offpush::clock::Clock;
use offpush::config::Settings;
use offpush::config::sections::Engine;
use offpush::model::id::AppId;
use offpush::model::time::UnixMs;
use offpush::usersig;
use serde_json::{Value, json};

use crate::harness::{ADMIN, APP, Caller, Relay, Sims};

/// The app's UserSig key.
const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";

/// Its webhook token.
const TOKEN: &str = "xxxxyyyy";

fn now() -> UnixMs {
    offpush::clock::Clock::system().now()
}

/// A relay with an app that a chat server may talk to, and a caller without a key.
struct Door {
    sims: Sims,
    relay: Relay,
    anyone: Caller,
}

impl Door {
    async fn open() -> Self {
        Door::open_at(Clock::system(), |_| {}).await
    }

    /// On a clock of the test's and with changed settings.
    async fn open_at(clock: Clock, change: impl FnOnce(&mut Settings)) -> Self {
        let sims = Sims::start().await;
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let mut settings = sims.settings(folder.path(), Engine::Memory);
        change(&mut settings);
        let store = App::open_store(&settings).expect("a store");
        let app = App::start_on(settings.clone(), store, clock).await.expect("the relay starts");
        let admin = Caller::new(&format!("http://{}", app.address()), Some(ADMIN));
        let relay = Relay { app: Some(app), settings, admin, folder };
        let settings = json!({ "usersig_keys": [KEY], "admins": ["administrator", "second"],
                               "webhook_token": TOKEN });
        relay.admin.put(&format!("/v1/apps/{APP}"), &settings).await;
        let anyone = relay.admin.with_key(None);
        Door { sims, relay, anyone }
    }

    fn query_of(&self, identifier: &str) -> String {
        let validity = Duration::from_secs(60 * 86_400);
        let sig = usersig::make(KEY, AppId(APP), identifier, now(), validity);
        format!("sdkappid={APP}&identifier={identifier}&usersig={sig}&random=1&contenttype=json")
    }

    /// Calls a command as the default admin; the answer is HTTP 200 whatever the verdict.
    async fn call(&self, command: &str, body: &Value) -> Value {
        let query = self.query_of("administrator");
        self.call_with(command, &query, body).await
    }

    async fn call_with(&self, command: &str, query: &str, body: &Value) -> Value {
        let answer = self.anyone.call("POST", &format!("/v4/{command}?{query}"), body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let code = answer.body["ErrorCode"].as_u64().expect("an ErrorCode");
        let verdict = if code == 0 { "OK" } else { "FAIL" };
        assert_eq!(answer.body["ActionStatus"], verdict, "{answer:?}");
        let info = answer.body["ErrorInfo"].as_str().expect("an ErrorInfo");
        assert!(code == 0 || !info.is_empty(), "{answer:?}");
        answer.body
    }

    /// Calls a command that must succeed.
    async fn ok(&self, command: &str, body: &Value) -> Value {
        let answer = self.call(command, body).await;
        assert_eq!(answer["ErrorCode"], 0, "{command}: {answer}");
        answer
    }

    /// The code a command is refused with.
    async fn code(&self, command: &str, body: &Value) -> u64 {
        self.call(command, body).await["ErrorCode"].as_u64().expect("an ErrorCode")
    }

    /// Posts a webhook as Tencent would: signed, without a key.
    async fn hook(&self, body: &Value) -> Value {
        self.hook_from(body, "iOS").await
    }

    async fn hook_from(&self, body: &Value, platform: &str) -> Value {
        let path = hook_path(&body["CallbackCommand"], platform);
        let answer = self.anyone.call("POST", &path, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Posts a webhook that must be processed.
    async fn hook_ok(&self, body: &Value) -> Value {
        let answer = self.hook(body).await;
        assert_eq!((&answer["ActionStatus"], &answer["ErrorCode"]), (&json!("OK"), &json!(0)));
        answer
    }

    /// An Apple phone of a user.
    async fn phone(&self, user: &str, cert_id: u64) -> String {
        self.relay.device(user, "apns", cert_id, 1).await
    }

    async fn apns(&self) -> u64 {
        self.relay.certificate(&self.sims, "apns").await
    }

    /// Where the app is on a user's only device.
    async fn presence(&self, user: &str) -> String {
        let path = self.relay.path(&format!("/users/{user}/devices"));
        let devices = self.relay.admin.get(&path).await;
        devices["devices"][0]["state"].as_str().expect("a state").to_owned()
    }

    async fn report(&self, user: &str, state: &str) {
        let path = self.relay.path(&format!("/users/{user}/devices/apns-1/state"));
        self.relay.admin.post(&path, &json!({ "state": state })).await;
    }

    /// Explains the only message of an answer once it is settled.
    async fn settled(&self, answer: &Value) -> Value {
        assert_eq!(answer["MessageIds"].as_array().map(Vec::len), Some(1), "{answer}");
        self.relay.settled(&answer["MessageIds"][0]).await
    }

    /// Users whose phones showed a text, in order.
    fn shown(&self, text: &str) -> Vec<String> {
        let shown = self.sims.shown("apns");
        let mut tokens: Vec<_> =
            shown.into_iter().filter(|shown| shown.body == text).map(|shown| shown.token).collect();
        tokens.sort();
        tokens
    }

    /// Stops or resumes an Apple lane.
    async fn lane(&self, cert_id: u64, action: &str) {
        self.relay.admin.post(&format!("/v1/lanes/{cert_id}/{action}"), &json!({})).await;
    }
}

fn sign(token: &str, time: u64) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{token}{time}").as_bytes());
    hex::encode(digest.as_ref())
}

fn hook_path(command: &Value, platform: &str) -> String {
    let time = now().secs();
    let command = command.as_str().unwrap_or_default();
    format!(
        "/v1/apps/{APP}/webhooks/tencent?SdkAppid={APP}&CallbackCommand={command}\
         &contenttype=json&ClientIP=127.0.0.1&OptPlatform={platform}\
         &Sign={}&RequestTime={time}",
        sign(TOKEN, time)
    )
}

/// A body of `sendmsg`.
fn message(to: &str, random: u32, text: &str) -> Value {
    json!({ "SyncOtherMachine": 2, "From_Account": "mina", "To_Account": to, "MsgSeq": 93847636,
            "MsgRandom": random, "MsgLifeTime": 60,
            "MsgBody": [{ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } }] })
}

/// A body of `timpush/batch`.
fn push(to: &[&str], random: u32, text: &str) -> Value {
    json!({ "From_Account": "administrator", "To_Account": to, "MsgRandom": random,
            "OfflinePushInfo": { "Title": "News", "Desc": text } })
}

/// The same with one field changed; `null` removes it.
fn with(body: &Value, field: &str, value: Value) -> Value {
    let mut body = body.clone();
    let object = body.as_object_mut().expect("an object");
    if value.is_null() {
        object.remove(field);
    } else {
        object.insert(field.to_owned(), value);
    }
    body
}
