//! APNs as Apple's provider API behaves (vendors-apns-fcm.md, part A): every check in a fixed
//! order, Apple's reasons, Apple's headers.
//!
//! Where Apple's behaviour is not known this simulator is strict and says so with the reason
//! `SimulatorBadPayload`, which Apple does not have. Broadcast channels are not simulated.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::model::certificate::Environment;
use crate::model::time::UnixMs;
use crate::sim::apns::accounts::Accounts;
use crate::sim::apns::headers::Head;
use crate::sim::apns::sign_in::SignIns;
use crate::sim::phones::{Phones, Shown, TokenLife};
use crate::sim::{SimCredential, SimReply, SimRequest, Simulator};

pub mod accounts;
pub mod headers;
pub mod jwt;
pub mod payload;
pub mod sign_in;

/// The vendor's name.
const VENDOR: &str = "apns";
/// Where devices are.
const DEVICE_PATH: &str = "/3/device/";
/// Longest device token taken, hex digits; Apple promises no length (A.11).
const TOKEN_DIGITS_MAX: usize = 512;
/// Streams of a fresh connection (A.10).
const OPENING_STREAMS: u32 = 1;
/// Most tokens remembered with their topic, or with their environment.
const BINDINGS_MAX: usize = 100_000;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status.
    pub status: StatusCode,
    /// Apple's reason.
    pub reason: &'static str,
    /// Milliseconds, with 410 only.
    pub timestamp: Option<UnixMs>,
    /// What exactly was wrong; only with `SimulatorBadPayload`.
    pub detail: Option<String>,
}

impl Refusal {
    /// A refusal with nothing but its reason.
    pub const fn new(status: StatusCode, reason: &'static str) -> Self {
        Refusal { status, reason, timestamp: None, detail: None }
    }

    /// 400 with that reason.
    pub const fn bad(reason: &'static str) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, reason)
    }

    /// 403 with that reason.
    pub const fn forbidden(reason: &'static str) -> Self {
        Refusal::new(StatusCode::FORBIDDEN, reason)
    }

    fn body(&self) -> Bytes {
        let mut body = json!({ "reason": self.reason });
        if let Some(timestamp) = self.timestamp {
            body["timestamp"] = json!(timestamp.0);
        }
        if let Some(detail) = &self.detail {
            body["detail"] = json!(detail);
        }
        Bytes::from(body.to_string())
    }
}

/// The simulator of one environment.
pub struct Apns {
    environment: Environment,
    lenient: bool,
    accounts: Arc<Accounts>,
    sign_ins: SignIns,
    topics: Mutex<HashMap<String, String>>,
    worlds: Worlds,
}

/// To which environment tokens belong; shared by production and its sandbox.
type Worlds = Arc<Mutex<HashMap<String, Environment>>>;

impl Apns {
    /// Production, with fresh keys.
    pub fn production() -> Self {
        Apns::new(Environment::Production, Arc::new(Accounts::generate()))
    }

    /// The sandbox that knows the same keys. A token belongs to the one of the two that first
    /// accepted a push to it; the other answers `BadDeviceToken` (A.1).
    pub fn sandbox(&self) -> Self {
        let worlds = Arc::clone(&self.worlds);
        Apns { worlds, ..Apns::new(Environment::Sandbox, Arc::clone(&self.accounts)) }
    }

    /// A simulator of that environment for those accounts.
    pub fn new(environment: Environment, accounts: Arc<Accounts>) -> Self {
        let sign_ins = SignIns::new(environment);
        let topics = Mutex::default();
        let worlds = Worlds::default();
        Apns { environment, lenient: false, accounts, sign_ins, topics, worlds }
    }

    /// Takes what Apple is seen to tolerate although no text of Apple's allows it: `Bearer`,
    /// ASN.1 signatures and padded base64 (A.2). For trying out other clients.
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Keys and their teams.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Registers a token for one topic; pushes to another are answered `DeviceTokenNotForTopic`.
    /// Tokens that were never registered take every topic.
    pub fn bind(&self, token: &str, topic: &str) {
        let mut topics = self.topics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if topics.len() < BINDINGS_MAX {
            topics.insert(token.to_owned(), topic.to_owned());
        }
    }

    /// All checks, in the order of A.13; what the phone shows when phones are to remember it.
    fn check(&self, request: &SimRequest, phones: &Phones) -> Result<Option<Shown>, Refusal> {
        let client = self.sign_ins.client(request)?;
        let head = Head::read(request, client.as_deref().map(|facts| facts.bundle_id.as_str()))?;
        let token = device_token(&request.path)?;
        self.check_token(token, head.topic, phones)?;
        match &client {
            Some(facts) => self.sign_ins.check_certificate(facts, &head, request.now)?,
            None => self.sign_ins.check_token(request, &head, &self.accounts, self.lenient)?,
        }
        let payload = payload::check(&request.body, head.push_type, phones.recording())?;
        head.check_expiration(request.now)?;
        // Like notifications, worlds are not remembered in load runs.
        if phones.recording() {
            self.settle(token);
        }
        Ok(payload.map(|payload| shown(request, &head, token, payload)))
    }

    fn world_of(&self, token: &str) -> Option<Environment> {
        let worlds = self.worlds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        worlds.get(token).copied()
    }

    /// A token that was accepted belongs here from now on.
    fn settle(&self, token: &str) {
        let mut worlds = self.worlds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if worlds.len() < BINDINGS_MAX && !worlds.contains_key(token) {
            worlds.insert(token.to_owned(), self.environment);
        }
    }

    fn check_token(&self, token: &str, topic: &str, phones: &Phones) -> Result<(), Refusal> {
        if self.world_of(token).is_some_and(|world| world != self.environment) {
            return Err(Refusal::bad("BadDeviceToken"));
        }
        if let TokenLife::Dead { since } = phones.life(VENDOR, token) {
            let refusal = Refusal::new(StatusCode::GONE, "Unregistered");
            return Err(Refusal { timestamp: Some(since), ..refusal });
        }
        let topics = self.topics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if topics.get(token).is_some_and(|bound| bound != topic) {
            return Err(Refusal::bad("DeviceTokenNotForTopic"));
        }
        Ok(())
    }

    fn reply(&self, request: &SimRequest, refusal: Option<&Refusal>) -> SimReply {
        let status = refusal.map_or(StatusCode::OK, |refusal| refusal.status);
        let mut headers = HeaderMap::new();
        headers.insert("apns-id", headers::echoed_id(request));
        let Some(refusal) = refusal else {
            if self.environment == Environment::Sandbox {
                headers.insert("apns-unique-id", headers::new_id());
            }
            return SimReply { status, headers, body: Bytes::new() };
        };
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        SimReply { status, headers, body: refusal.body() }
    }
}

impl Simulator for Apns {
    fn vendor(&self) -> &'static str {
        VENDOR
    }

    fn owns(&self, _path: &str) -> bool {
        // Every path: a wrong one is answered with Apple's own `BadPath`.
        true
    }

    fn answer(&self, request: &SimRequest, phones: &Phones) -> SimReply {
        let checked = self.check(request, phones);
        phones.count_request(VENDOR, checked.is_err());
        match checked {
            Err(refusal) => self.reply(request, Some(&refusal)),
            Ok(shown) => {
                let reply = self.reply(request, None);
                let id = reply.headers.get("apns-id").and_then(|id| id.to_str().ok());
                match shown {
                    Some(shown) => phones.show(Shown { push_id: id.map(str::to_owned), ..shown }),
                    None => phones.ring(VENDOR),
                }
                reply
            }
        }
    }

    fn credentials(&self) -> Vec<SimCredential> {
        self.accounts.credentials(self.environment)
    }

    fn environment(&self) -> Environment {
        self.environment
    }

    fn opening_streams(&self) -> Option<u32> {
        Some(OPENING_STREAMS)
    }

    fn connection_closed(&self, connection: u64) {
        self.sign_ins.forget(connection);
    }
}

/// The token in the path, of a shape Apple would take.
fn device_token(path: &str) -> Result<&str, Refusal> {
    let Some(token) = path.strip_prefix(DEVICE_PATH) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "BadPath"));
    };
    if token.is_empty() {
        return Err(Refusal::bad("MissingDeviceToken"));
    }
    let hex = token.len().is_multiple_of(2) && token.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !hex || token.len() > TOKEN_DIGITS_MAX {
        return Err(Refusal::bad("BadDeviceToken"));
    }
    Ok(token)
}

fn shown(request: &SimRequest, head: &Head<'_>, token: &str, payload: Value) -> Shown {
    let text = payload::displayed(&payload);
    Shown {
        vendor: VENDOR.to_owned(),
        token: token.to_owned(),
        at: request.now,
        push_id: None,
        title: text.title,
        body: text.body,
        ext: text.ext,
        replaces: head.collapse_id.map(str::to_owned),
        raw: json!({
            "headers": headers::without_secrets(&request.headers),
            "badge": text.badge,
            "subtitle": text.subtitle,
            "payload": payload,
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
