//! The API seen from outside: what it answers to good, bad and foreign requests, and what it
//! leaves in the store. Every answer here is checked against the document of `/openapi.json`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offpush::app::App;
use offpush::clock::Clock;
use offpush::config::Settings;
use offpush::config::sections::Engine;
use offpush::model::id::AppId;
use offpush::model::time::UnixMs;
use offpush::store::memory::MemoryStore;
use offpush::store::{Key, Scope, Store};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{ADMIN, APP, Answer, Caller, Relay, Sims};

mod apps;
mod auth;
mod bad_input;
mod certificates;
mod certificates_files;
mod document;
mod drop_folder;
mod limits;
mod registry;
mod schema;

/// The key that signs UserSigs of [`APP`].
const USERSIG_KEY: &str = "usersig-key-of-the-tests";

/// A relay on a store that can be looked into, and callers whose answers are checked.
pub struct Bench {
    /// Simulators.
    pub sims: Sims,
    /// The relay.
    pub relay: Relay,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// The operator.
    pub admin: Checked,
}

impl Bench {
    /// With the usual settings.
    pub async fn start() -> Self {
        Bench::start_with(|_| {}).await
    }

    /// With changed settings.
    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Bench::start_at(Clock::system(), change).await
    }

    /// On a clock of the test's.
    pub async fn start_at(clock: Clock, change: impl FnOnce(&mut Settings)) -> Self {
        let sims = Sims::start().await;
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let mut settings = sims.settings(folder.path(), Engine::Memory);
        // Wrong keys are what many tests send.
        settings.http.unknown_keys_per_s = 0;
        change(&mut settings);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let app = App::start_on(settings.clone(), store.clone(), clock).await.expect("it starts");
        let caller = Caller::new(&format!("http://{}", app.address()), Some(ADMIN));
        let relay = Relay { app: Some(app), settings, admin: caller.clone(), folder };
        let admin = Checked::new(caller);
        let app = json!({ "name": "tests", "usersig_keys": [USERSIG_KEY] });
        admin.ok("PUT", &format!("/v1/apps/{APP}"), &app).await;
        Bench { sims, relay, store, admin }
    }

    /// Every row of the store.
    pub async fn rows(&self) -> BTreeMap<Key, Bytes> {
        let everything = Key::default()..Key::from(&[0xFF; 8][..]);
        let rows = self.store.scan(Scope::Everywhere, everything, usize::MAX).await;
        rows.expect("rows").into_iter().collect()
    }

    /// Makes an app's key.
    pub async fn app_key(&self, app: u64) -> String {
        let made = self.admin.ok("POST", &format!("/v1/apps/{app}/keys"), &json!({})).await;
        made["key"].as_str().expect("a key").to_owned()
    }

    /// Bytes written as they are, and whatever comes back until the relay closes.
    pub async fn wire(&self, request: &str) -> String {
        let address = self.relay.app.as_ref().expect("running").address();
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("closed in order");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The same relay, asked with another key.
    pub fn with_key(&self, key: Option<&str>) -> Checked {
        Checked::new(self.relay.admin.with_key(key))
    }
}

/// A path below the tests' app.
pub fn path(rest: &str) -> String {
    format!("/v1/apps/{APP}{rest}")
}

/// A UserSig of the tests' app.
pub fn user_sig(user: &str) -> String {
    let now = Clock::system().now();
    usersig(USERSIG_KEY, user, now)
}

fn usersig(key: &str, user: &str, now: UnixMs) -> String {
    offpush::usersig::make(key, AppId(APP), user, now, Duration::from_secs(3_600))
}

/// Calls the API and holds every answer against the document.
#[derive(Clone)]
pub struct Checked {
    caller: Caller,
}

impl Checked {
    fn new(caller: Caller) -> Self {
        Checked { caller }
    }

    /// Raw bytes.
    pub async fn raw(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Answer {
        let answer = self.caller.raw(method, path, kind, body).await;
        schema::check(method, path, &answer);
        answer
    }

    /// JSON.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.raw(method, path, "application/json", body.to_string().into_bytes()).await
    }

    /// JSON, expecting success.
    pub async fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.call(method, path, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer.body
    }

    /// `GET`, expecting success.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.raw("GET", path, "application/json", Vec::new()).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        answer.body
    }

    /// Expecting a refusal.
    pub async fn refused(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        status: u16,
        code: &str,
        field: Option<&str>,
    ) {
        let answer = self.call(method, path, body).await;
        refusal(&format!("{method} {path}"), &answer, status, code, field);
    }
}

/// Asserts a refusal: status, code and field, and that there is a sentence.
pub fn refusal(what: &str, answer: &Answer, status: u16, code: &str, field: Option<&str>) {
    let error = &answer.body["error"];
    let got = (answer.status, error["code"].as_str(), error["field"].as_str());
    assert_eq!(got, (status, Some(code), field), "{what}: {}", answer.body);
    assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{what}: {error}");
}
