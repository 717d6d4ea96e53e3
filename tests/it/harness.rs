//! A relay and strict simulators in this process, and a caller for the relay's API.
//!
//! Nothing here sleeps: waiting for a state means asking for it until it is there, and giving up
//! after a number of tries that no healthy run comes near.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use offpush::app::App;
use offpush::clock::Clock;
use offpush::config::sections::Engine;
use offpush::config::{Overrides, Settings};
use offpush::sim::phones::Shown;
use offpush::sim::server::{SimConfig, SimServer};
use offpush::store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The app of every test, unless it makes others.
pub const APP: u64 = 1_400_000_001;

/// The operator's key of every test relay.
pub const ADMIN: &str = "admin-key-of-the-tests";

/// Tries before a state that never comes is called a failure; each is at least one HTTP request.
const TRIES_MAX: usize = 100_000;

/// Every vendor of the relay, by name.
pub const VENDORS: [&str; 5] = ["apns", "fcm", "huawei", "xiaomi", "oppo"];

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: http::HeaderMap,
    /// JSON, or the text as a string.
    pub body: Value,
}

/// Calls an API on loopback.
#[derive(Clone)]
pub struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    key: Option<String>,
}

impl Caller {
    /// Calls `base` with a bearer key.
    pub fn new(base: &str, key: Option<&str>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Caller { client, base: base.to_owned(), key: key.map(str::to_owned) }
    }

    /// The same address with another key.
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Caller { key: key.map(str::to_owned), ..self.clone() }
    }

    /// One request with raw bytes.
    pub async fn raw(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Answer {
        self.try_raw(method, path, kind, body).await.expect("an answer")
    }

    /// The same towards a relay that may be gone.
    async fn try_raw(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Option<Answer> {
        self.send(self.request(method, path).header("content-type", kind), body).await
    }

    /// A request to which headers may be added.
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let uri = format!("{}{path}", self.base);
        let request = http::Request::builder().method(method).uri(uri);
        match &self.key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        }
    }

    /// Sends a request to a relay that may be gone; `None` when no answer comes.
    pub async fn send(&self, request: http::request::Builder, body: Vec<u8>) -> Option<Answer> {
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let response = self.client.request(request).await.ok()?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.ok()?.to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Some(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// `POST` to a relay that may be gone; `None` when no answer comes.
    pub async fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        self.try_raw("POST", path, "application/json", body.to_string().into_bytes()).await
    }

    /// One JSON request.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.raw(method, path, "application/json", body.to_string().into_bytes()).await
    }

    /// `GET`, expecting 200.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.raw("GET", path, "application/json", Vec::new()).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        answer.body
    }

    /// `PUT`, expecting success.
    pub async fn put(&self, path: &str, body: &Value) -> Value {
        self.expect("PUT", path, body).await
    }

    /// `POST`, expecting success.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.expect("POST", path, body).await
    }

    async fn expect(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.call(method, path, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer.body
    }
}

/// The simulators of one test.
pub struct Sims {
    /// The server.
    pub server: SimServer,
    folder: TempDir,
}

impl Sims {
    /// Starts simulators of every vendor.
    pub async fn start() -> Self {
        Sims::start_at(Clock::system()).await
    }

    /// Starts simulators of every vendor that live by this clock.
    pub async fn start_at(clock: Clock) -> Self {
        let simulators = offpush::sim::all();
        let server = SimServer::start(SimConfig::default(), simulators, clock)
            .await
            .expect("simulators start");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), server.ca_pem()).expect("the CA");
        Sims { server, folder }
    }

    /// Settings of a relay that talks to these simulators and keeps its data in `data_dir`.
    pub fn settings(&self, data_dir: &Path, engine: Engine) -> Settings {
        let env = [("OFFPUSH_ADMIN_KEY".to_owned(), ADMIN.to_owned())];
        let mut settings =
            Settings::load(None, env, &Overrides::default()).expect("default settings");
        settings.listen = "127.0.0.1:0".parse().expect("an address");
        settings.data_dir = data_dir.to_owned();
        settings.certs_dir = data_dir.join("certs");
        settings.store.engine = engine;
        settings.lanes.backoff_base_ms = 20;
        settings.vendors.ca_file = Some(self.folder.path().join("ca.pem"));
        for vendor in VENDORS {
            let own = settings.vendors.endpoints.entry(vendor.to_owned()).or_default();
            own.insert("endpoint".to_owned(), self.server.endpoint(vendor));
            if let Some(token) = self.server.token_endpoint(vendor) {
                own.insert("token_endpoint".to_owned(), token);
            }
            if vendor == "apns" {
                let sandbox = self.server.endpoint("apns_sandbox");
                own.insert("sandbox_endpoint".to_owned(), sandbox);
            }
        }
        settings
    }

    /// The usual credential of a vendor, as the body of an upload.
    pub fn upload(&self, vendor: &str) -> Value {
        let simulators = self.server.simulators();
        let simulator = simulators
            .iter()
            .find(|simulator| simulator.vendor() == vendor)
            .expect("a simulator of that vendor");
        let usual = simulator.credentials().swap_remove(0);
        json!({ "vendor": vendor, "name": format!("{vendor} main"),
                "credential": usual.credential, "options": usual.options })
    }

    /// What phones of a vendor showed.
    pub fn shown(&self, vendor: &str) -> Vec<Shown> {
        self.server.phones().shown(Some(vendor), None)
    }
}

/// A relay of one test, with one app.
pub struct Relay {
    /// The relay; `None` after it stopped.
    pub app: Option<App>,
    /// Its settings, for starting it again.
    pub settings: Settings,
    /// The operator.
    pub admin: Caller,
    /// Its data; removed with it.
    pub folder: Arc<TempDir>,
}

impl Relay {
    /// Starts a relay on the memory store and creates [`APP`].
    pub async fn start(sims: &Sims) -> Self {
        Relay::start_with(sims, Engine::Memory, |_| {}).await
    }

    /// Starts a relay on this engine with changed settings and creates [`APP`].
    pub async fn start_with(
        sims: &Sims,
        engine: Engine,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let mut settings = sims.settings(folder.path(), engine);
        change(&mut settings);
        let relay = Relay::run(settings, folder, None).await;
        relay.admin.put(&format!("/v1/apps/{APP}"), &json!({ "name": "tests" })).await;
        relay
    }

    /// Starts a relay with these settings, on a given store when there is one.
    pub async fn run(
        settings: Settings,
        folder: Arc<TempDir>,
        store: Option<Arc<dyn Store>>,
    ) -> Self {
        let app = match store {
            None => App::start(settings.clone()).await,
            Some(store) => App::start_on(settings.clone(), store, Clock::system()).await,
        };
        let app = app.expect("the relay starts");
        let base = format!("http://{}", app.address());
        let admin = Caller::new(&base, Some(ADMIN));
        Relay { app: Some(app), settings, admin, folder }
    }

    /// Stops in order.
    pub async fn stop(&mut self) {
        if let Some(app) = self.app.take() {
            app.drain().await;
        }
    }

    /// Stops in order and starts again on the same data.
    pub async fn restart(mut self) -> Self {
        self.stop().await;
        Relay::run(self.settings.clone(), self.folder.clone(), None).await
    }

    /// A path below the app.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/apps/{APP}{rest}")
    }

    /// Uploads the usual certificate of a vendor; answers its number.
    pub async fn certificate(&self, sims: &Sims, vendor: &str) -> u64 {
        let answer = self.admin.post(&self.path("/certificates"), &sims.upload(vendor)).await;
        answer["cert_id"].as_u64().expect("a cert_id")
    }

    /// Registers a device; its token is made from vendor, user and number.
    pub async fn device(&self, user: &str, vendor: &str, cert_id: u64, number: usize) -> String {
        let token = token_of(vendor, user, number);
        let platform = if vendor == "apns" { "ios" } else { "android" };
        let path = self.path(&format!("/users/{user}/devices/{vendor}-{number}"));
        let body = json!({ "cert_id": cert_id, "token": token, "platform": platform });
        self.admin.put(&path, &body).await;
        token
    }

    /// Posts one message; answers its single result.
    pub async fn send(&self, message: &Value) -> Value {
        let answer = self.admin.post(&self.path("/messages"), message).await;
        answer["results"][0].clone()
    }

    /// Explains a message.
    pub async fn explain(&self, message_id: &Value) -> Value {
        let id = message_id.as_str().expect("a message id");
        self.admin.get(&self.path(&format!("/messages/{id}/explain"))).await
    }

    /// Explains a message once none of its deliveries is in flight.
    pub async fn settled(&self, message_id: &Value) -> Value {
        for _ in 0..TRIES_MAX {
            let explained = self.explain(message_id).await;
            let deliveries = explained["deliveries"].as_array().expect("deliveries");
            if deliveries.iter().all(|delivery| delivery["state"] != "in_flight") {
                return explained;
            }
            breathe().await;
        }
        panic!("never settled: {}", self.explain(message_id).await);
    }

    /// The ledger once nothing is in flight; it must balance.
    pub async fn ledger(&self) -> Value {
        for _ in 0..TRIES_MAX {
            let ledger = self.admin.get("/v1/ledger").await;
            assert_eq!(ledger["balanced"], true, "{ledger}");
            if ledger["in_flight"] == 0 {
                assert_eq!(ledger["queued_bytes"], 0, "an empty queue takes no bytes: {ledger}");
                return ledger;
            }
            breathe().await;
        }
        panic!("never empty: {}", self.admin.get("/v1/ledger").await);
    }
}

/// Lets others work before the next look.
pub async fn breathe() {
    tokio::task::yield_now().await;
}

/// Waits until `holds` does.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..TRIES_MAX {
        if holds().await {
            return;
        }
        breathe().await;
    }
    panic!("never happened: {what}");
}

/// A well-formed token of a vendor.
pub fn token_of(vendor: &str, user: &str, number: usize) -> String {
    let digest =
        ring::digest::digest(&ring::digest::SHA256, format!("{vendor}/{user}/{number}").as_bytes());
    let hex = hex::encode(digest.as_ref());
    match vendor {
        "apns" => hex,
        "fcm" => format!("{}:APA91b{hex}", &hex[..22]),
        "oppo" => format!("OPPO_CN_{}", &hex[..32]),
        _ => hex,
    }
}

/// A one-to-one text message.
pub fn text(from: &str, to: &str, random: u32, text: &str) -> Value {
    json!({ "From_Account": from, "To_Account": to, "MsgSeq": 1, "MsgRandom": random,
            "MsgBody": [{ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } }] })
}
