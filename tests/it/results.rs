//! Results pushed out to a chat server and receipts taken in from vendors, on the whole relay.
//!
//! [`ChatServer`] here is a plain HTTP server that remembers each post and answers as told.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use offpush::config::Settings;
use offpush::config::sections::Engine;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{APP, Caller, Relay, Sims, text, until};

mod bounds;
mod callbacks;
mod receipts;

/// The app's `callback_key` in these tests.
const KEY: &str = "callback-key-of-the-tests";

/// One post as it came.
#[derive(Clone, Debug)]
struct Post {
    status: u16,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Post {
    fn query(&self, name: &str) -> String {
        let query = self.uri.query().unwrap_or_default().as_bytes();
        let found = form_urlencoded::parse(query).find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn events(&self) -> Vec<Value> {
        self.json()["Events"].as_array().expect("events").clone()
    }
}

/// A chat server that takes callbacks.
#[derive(Clone)]
struct ChatServer {
    url: String,
    posts: Arc<Mutex<Vec<Post>>>,
    answer: Arc<AtomicU16>,
}

impl ChatServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let server =
            ChatServer { url, posts: Arc::default(), answer: Arc::new(AtomicU16::new(200)) };
        let router = Router::new().fallback(take).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// Answers every post like this from now on.
    fn answer(&self, status: u16) {
        self.answer.store(status, Ordering::SeqCst);
    }

    fn posts(&self) -> Vec<Post> {
        self.posts.lock().expect("no panic inside").clone()
    }

    /// Events of every post that was answered 200, repeats left out.
    fn events(&self, command: &str) -> Vec<Value> {
        let mut seen = HashSet::new();
        let taken = self.posts().into_iter().filter(|post| post.status == 200);
        let all = taken.flat_map(|post| post.events());
        all.filter(|event| event["CallbackCommand"] == command)
            .filter(|event| seen.insert(event["EventId"].to_string()))
            .collect()
    }

    /// Waits until `holds` does; each try is an HTTP request.
    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let caller = Caller::new(self.url.trim_end_matches("/hook"), None);
        until(what, async || {
            caller.get("/alive").await;
            holds()
        })
        .await;
    }

    /// Waits for so many events of a kind.
    async fn wait_for(&self, command: &str, count: usize) -> Vec<Value> {
        self.until(command, || self.events(command).len() >= count).await;
        let events = self.events(command);
        assert_eq!(events.len(), count, "{events:#?}");
        events
    }
}

async fn take(
    State(server): State<ChatServer>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if method == Method::GET {
        return StatusCode::OK;
    }
    let status = server.answer.load(Ordering::SeqCst);
    let post = Post { status, uri, headers, body };
    server.posts.lock().expect("no panic inside").push(post);
    StatusCode::from_u16(status).expect("a status")
}

/// Lets callbacks reach the chat server of the test, which stands on this machine.
fn nearby(settings: &mut Settings) {
    settings.callbacks.allow_http = true;
    settings.callbacks.allow_private = true;
    settings.lanes.backoff_max_s = 1;
}

/// Simulators, a relay and a chat server that wants its results.
async fn stage(engine: Engine) -> (Sims, Relay, ChatServer) {
    let (sims, chat) = (Sims::start().await, ChatServer::start().await);
    let relay = Relay::start_with(&sims, engine, nearby).await;
    let settings = json!({ "callback_url": chat.url, "callback_key": KEY });
    relay.admin.put(&relay.path(""), &settings).await;
    (sims, relay, chat)
}

/// Sends one text and waits for its end; answers its id.
async fn send(relay: &Relay, to: &str, random: u32) -> Value {
    let taken = relay.send(&text("mina", to, random, "hello")).await;
    assert_eq!(taken["status"], "accepted", "{taken}");
    relay.settled(&taken["message_id"]).await;
    taken["message_id"].clone()
}
