//! FCM HTTP v1 with its OAuth endpoint, on one port (vendors-apns-fcm.md, part B).
//!
//! `POST /token` exchanges a signed assertion for an access token; `POST
//! /v1/projects/{project}/messages:send` takes one message for one target.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::model::time::UnixMs;
use crate::sim::fcm::answer::{Failure, Violation};
use crate::sim::fcm::message::Message;
use crate::sim::fcm::oauth::Oauth;
use crate::sim::phones::{Phones, Shown, TokenLife};
use crate::sim::{SimCredential, SimReply, SimRequest, Simulator};

pub mod answer;
pub mod message;
pub mod oauth;
pub mod schema;

/// The vendor's name.
const VENDOR: &str = "fcm";
/// Path of the token endpoint.
pub const TOKEN_PATH: &str = "/token";
/// The project whose service account is handed out.
pub const PROJECT_ID: &str = "sim-project";
/// The same as a number; Google takes either (B.2).
pub const PROJECT_NUMBER: &str = "100000000001";
/// A project that exists but belongs to somebody else.
pub const OTHER_PROJECT_ID: &str = "sim-other-project";
/// Messages one device may get in a minute (B.6).
pub const DEVICE_MINUTE_MAX: u32 = 240;
/// Most devices whose minute is counted, and most token-to-project bindings.
const DEVICES_MAX: usize = 100_000;
const MINUTE_MS: u64 = 60_000;

#[derive(Default)]
struct Devices {
    /// Tokens of other projects.
    projects: HashMap<String, String>,
    /// Start of the running minute and messages in it, by token.
    minutes: HashMap<String, (UnixMs, u32)>,
}

/// The simulator.
pub struct Fcm {
    oauth: Oauth,
    limit_devices: bool,
    devices: Mutex<Devices>,
}

impl Default for Fcm {
    fn default() -> Self {
        Fcm::new()
    }
}

impl Fcm {
    /// A simulator with one project and its service account.
    pub fn new() -> Self {
        Fcm { oauth: Oauth::new(), limit_devices: false, devices: Mutex::default() }
    }

    /// Lets access tokens live that long instead of 3,599 s.
    pub fn with_token_life_s(mut self, seconds: u64) -> Self {
        self.oauth.set_token_life_s(seconds);
        self
    }

    /// Refuses more than [`DEVICE_MINUTE_MAX`] messages a minute for one device. Off at first, so
    /// that load runs need no million of tokens.
    pub fn limiting_devices(mut self) -> Self {
        self.limit_devices = true;
        self
    }

    /// Registers a token for another project; messages to it are answered `SENDER_ID_MISMATCH`.
    pub fn bind(&self, token: &str, project: &str) {
        let mut devices = self.devices();
        if devices.projects.len() < DEVICES_MAX {
            devices.projects.insert(token.to_owned(), project.to_owned());
        }
    }

    /// The service account file.
    pub fn service_account(&self) -> Value {
        self.oauth.service_account()
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, project: &str, request: &SimRequest, phones: &Phones) -> SimReply {
        let sent = self.check(project, request, phones);
        phones.count_request(VENDOR, sent.is_err());
        match sent {
            Err(failure) => failure.reply(),
            Ok((message, validate_only)) => {
                let id = if validate_only {
                    "fake_message_id".to_owned()
                } else {
                    format!("0:{}%{:016x}", request.now.0, fastrand::u64(..))
                };
                if !validate_only {
                    show(&message, request, phones);
                }
                let name = format!("projects/{project}/messages/{id}");
                SimReply::json(StatusCode::OK, &json!({ "name": name }))
            }
        }
    }

    fn check(
        &self,
        project: &str,
        request: &SimRequest,
        phones: &Phones,
    ) -> Result<(Message, bool), Failure> {
        let granted = self.oauth.check_access(request)?;
        if ![PROJECT_ID, PROJECT_NUMBER, OTHER_PROJECT_ID].contains(&project) {
            return Err(Failure::without_details(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "Requested entity was not found.",
            ));
        }
        if project != granted && project != PROJECT_NUMBER {
            return Err(Failure::without_details(
                StatusCode::FORBIDDEN,
                "PERMISSION_DENIED",
                "Permission 'cloudmessaging.messages.create' denied on resource.",
            ));
        }
        let json = request.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if json.is_none_or(|kind| !kind.starts_with("application/json")) {
            let problem = "Invalid JSON payload received. Content-Type must be application/json.";
            return Err(Failure::invalid(problem, None));
        }
        let (message, validate_only) = Message::read(&request.body)?;
        if let Some(token) = &message.device {
            self.check_device(token, &message, request.now, phones)?;
        }
        Ok((message, validate_only))
    }

    fn check_device(
        &self,
        token: &str,
        message: &Message,
        now: UnixMs,
        phones: &Phones,
    ) -> Result<(), Failure> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:".contains(&byte);
        if token.len() > 4_096 || !token.bytes().all(fits) {
            let description = "The registration token is not a valid FCM registration token";
            let field = if message.is_fid { "message.fid" } else { "message.token" };
            let violation = Violation { field: field.into(), description: description.into() };
            return Err(Failure::fcm_invalid(description, Some(violation)));
        }
        if let TokenLife::Dead { .. } = phones.life(VENDOR, token) {
            return Err(Failure::fcm(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "UNREGISTERED",
                "Requested entity was not found.",
            ));
        }
        let mut devices = self.devices();
        if devices.projects.get(token).is_some_and(|project| project != PROJECT_ID) {
            return Err(Failure::fcm(
                StatusCode::FORBIDDEN,
                "PERMISSION_DENIED",
                "SENDER_ID_MISMATCH",
                "SenderId mismatch",
            ));
        }
        if self.limit_devices && !devices.takes_another(token, now) {
            return Err(Failure::device_quota(token));
        }
        Ok(())
    }
}

impl Devices {
    fn takes_another(&mut self, token: &str, now: UnixMs) -> bool {
        if self.minutes.len() >= DEVICES_MAX {
            self.minutes.clear();
        }
        let minute = self.minutes.entry(token.to_owned()).or_insert((now, 0));
        if now.0.saturating_sub(minute.0.0) >= MINUTE_MS {
            *minute = (now, 0);
        }
        minute.1 += 1;
        minute.1 <= DEVICE_MINUTE_MAX
    }
}

fn show(message: &Message, request: &SimRequest, phones: &Phones) {
    if !phones.recording() {
        phones.ring(VENDOR);
        return;
    }
    phones.show(Shown {
        vendor: VENDOR.to_owned(),
        token: message.target.clone(),
        at: request.now,
        push_id: message.push_id(),
        title: message.title(),
        body: message.body(),
        ext: message.data("ext"),
        replaces: message.replaces(),
        raw: json!({ "payload": message.raw }),
    });
}

/// The project in a send path.
fn project(path: &str) -> Option<&str> {
    let project = path.strip_prefix("/v1/projects/")?.strip_suffix("/messages:send")?;
    (!project.is_empty() && !project.contains('/')).then_some(project)
}

impl Simulator for Fcm {
    fn vendor(&self) -> &'static str {
        VENDOR
    }

    fn owns(&self, path: &str) -> bool {
        path == TOKEN_PATH || project(path).is_some()
    }

    fn answer(&self, request: &SimRequest, phones: &Phones) -> SimReply {
        if request.method != Method::POST {
            return answer::not_found_page();
        }
        if request.path == TOKEN_PATH {
            return self.oauth.exchange(request);
        }
        match project(&request.path) {
            Some(project) => self.send(project, request, phones),
            None => answer::not_found_page(),
        }
    }

    fn credentials(&self) -> Vec<SimCredential> {
        vec![SimCredential {
            name: "service_account",
            credential: json!({"type": "service_account", "json": self.service_account()}),
            options: json!({}),
        }]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
