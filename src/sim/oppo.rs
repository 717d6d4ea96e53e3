//! OPPO Push: the auth call, single push and batches of single pushes.
//!
//! Source: OPPO open platform, pages 11234 (auth), 11236 (fields) and 11238 (single push). Every
//! answer has status 200 and the code in the body. A repeated `app_message_id` for the same phone
//! is answered with success and shown once; OPPO does not document whether code 32 is used. A
//! push without `channel_id` is accepted and seen in the record's raw form.
//!
//! Who signs in again gets the token that is still valid, with the time of its creation. OPPO
//! promises neither this nor a new one; this is the harder of the two for a client.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::model::time::UnixMs;
use crate::sim::form::Form;
use crate::sim::memory::{AccessTokens, Seen, Standing, random_hex};
use crate::sim::oppo::message::{Message, Rights};
use crate::sim::phones::{Phones, Shown, TokenLife};
use crate::sim::{SimCredential, SimReply, SimRequest, Simulator};

mod message;

/// Lifetime of an `auth_token`, in seconds.
pub const AUTH_TOKEN_SECONDS: u64 = 86_400;

/// How far a timestamp may be from OPPO's clock.
pub const TIMESTAMP_SKEW: Duration = Duration::from_secs(600);

/// Most messages in one batch.
pub const BATCH_MAX: usize = 1_000;

const VENDOR: &str = "oppo";
const TIMESTAMP_DIGITS: usize = 13;
const ID_BYTES: usize = 12;

const TOKEN_INVALID: u32 = 11;
const METHOD: u32 = 12;
const APP_KEY_INVALID: u32 = 14;
const APP_KEY_MISSING: u32 = 15;
const SIGN_INVALID: u32 = 16;
const SIGN_MISSING: u32 = 17;
const TIMESTAMP_MISSING: u32 = 18;
const TIMESTAMP_INVALID: u32 = 19;
const ENCODING: u32 = 25;
const TOKEN_MISSING: u32 = 29;
const ARGUMENT_MISSING: u32 = 40;
const ARGUMENT_INVALID: u32 = 41;
const REGISTRATION_ID_INVALID: u32 = 10_000;

/// An app on OPPO's platform, which issues two secrets: server calls are signed with the
/// MasterSecret, and the AppSecret belongs into the client.
pub struct OppoAccount {
    /// AppKey.
    pub app_key: String,
    /// AppSecret; a sign made with it is refused with code 16.
    pub app_secret: String,
    /// MasterSecret.
    pub master_secret: String,
    /// Whether notify level 16 (sound and everything) is approved.
    pub loud: bool,
}

/// Where a registration id belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OppoRegion {
    /// Mainland China.
    Mainland,
    /// Everywhere else.
    Overseas,
}

impl OppoRegion {
    /// The region of a registration id, by its parts between underscores.
    pub fn of(registration_id: &str) -> Self {
        let parts: Vec<&str> = registration_id.split('_').collect();
        match parts.as_slice() {
            [_] | ["CN", _] | [_, "CN", _] => OppoRegion::Mainland,
            _ => OppoRegion::Overseas,
        }
    }
}

/// OPPO's servers.
pub struct Oppo {
    accounts: Vec<OppoAccount>,
    state: Mutex<State>,
}

struct State {
    tokens: AccessTokens,
    seen: Seen,
    templates_required: bool,
    region: Option<OppoRegion>,
}

/// A refusal, of a request or of one element of a batch.
struct Refusal {
    code: u32,
    text: String,
}

impl Refusal {
    fn new(code: u32, text: impl Into<String>) -> Self {
        Refusal { code, text: text.into() }
    }
}

impl Default for Oppo {
    fn default() -> Self {
        Self::new()
    }
}

impl Oppo {
    /// OPPO's servers with the usual account, for phones of every region.
    pub fn new() -> Self {
        let usual = OppoAccount {
            app_key: "oppo-app-key".to_owned(),
            app_secret: "oppo-app-secret".to_owned(),
            master_secret: "oppo-master-secret".to_owned(),
            loud: false,
        };
        let state = State {
            tokens: AccessTokens::living(Duration::from_secs(AUTH_TOKEN_SECONDS)),
            seen: Seen::default(),
            templates_required: false,
            region: None,
        };
        Oppo { accounts: vec![usual], state: Mutex::new(state) }
    }

    /// With one more account.
    pub fn with_account(mut self, account: OppoAccount) -> Self {
        self.accounts.push(account);
        self
    }

    /// Whether category IM needs a `private_msg_template_id` (code 54 without); off at first.
    pub fn require_templates(&self, required: bool) {
        self.state().templates_required = required;
    }

    /// Serves only registration ids of one region (code 10000 for others), or all again.
    pub fn serve_region(&self, region: Option<OppoRegion>) {
        self.state().region = region;
    }

    /// Revokes every `auth_token` before its time: each is invalid (11) from now on.
    pub fn revoke_tokens(&self) {
        self.state().tokens.revoke_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn authenticate(&self, request: &SimRequest) -> Result<Value, Refusal> {
        let form = form_of(request)?;
        let missing = |code, field| Refusal::new(code, format!("Missing {field}"));
        let key = form.filled("app_key").ok_or_else(|| missing(APP_KEY_MISSING, "App Key"))?;
        let timestamp =
            form.filled("timestamp").ok_or_else(|| missing(TIMESTAMP_MISSING, "Timestamp"))?;
        let sign = form.filled("sign").ok_or_else(|| missing(SIGN_MISSING, "Signature"))?;
        let account = self
            .accounts
            .iter()
            .find(|account| account.app_key == key)
            .ok_or_else(|| Refusal::new(APP_KEY_INVALID, "Invalid App Key"))?;
        if !timely(timestamp, request.now) {
            return Err(Refusal::new(TIMESTAMP_INVALID, "Invalid Timestamp"));
        }
        // A sign made with the AppSecret is no nearer to the truth than any other wrong one, and
        // OPPO's answer does not tell them apart.
        if sign != signature(key, timestamp, &account.master_secret) {
            return Err(Refusal::new(SIGN_INVALID, "Invalid Signature"));
        }
        let mut state = self.state();
        if let Some((token, at)) = state.tokens.newest(key, request.now) {
            return Ok(json!({"auth_token": token, "create_time": at.0}));
        }
        let token = random_hex(16);
        state.tokens.issue(token.clone(), key, request.now);
        Ok(json!({"auth_token": token, "create_time": request.now.0}))
    }

    /// The account of the `auth_token`, which is a form field; some clients send it as a header.
    fn account(&self, request: &SimRequest, form: &Form) -> Result<&OppoAccount, Refusal> {
        let header = request.headers.get("auth_token").and_then(|value| value.to_str().ok());
        let token = form
            .filled("auth_token")
            .or(header.filter(|value| !value.trim().is_empty()))
            .ok_or_else(|| Refusal::new(TOKEN_MISSING, "Missing Auth Token"))?;
        let invalid = || Refusal::new(TOKEN_INVALID, "Invalid AuthToken");
        match self.state().tokens.standing(token, request.now) {
            Standing::Valid { account: key } => {
                self.accounts.iter().find(|account| account.app_key == key).ok_or_else(invalid)
            }
            Standing::Expired | Standing::Unknown => Err(invalid()),
        }
    }

    fn unicast(&self, request: &SimRequest, phones: &Phones) -> Result<Value, Refusal> {
        let form = form_of(request)?;
        let account = self.account(request, &form)?;
        let text = form
            .filled("message")
            .ok_or_else(|| Refusal::new(ARGUMENT_MISSING, "message is missing"))?;
        let message: Value = serde_json::from_str(text)
            .map_err(|_| Refusal::new(ARGUMENT_INVALID, "message is not JSON"))?;
        self.push(&message, account, request, phones)?;
        Ok(json!({"messageId": random_hex(ID_BYTES)}))
    }

    fn unicast_batch(&self, request: &SimRequest, phones: &Phones) -> Result<Value, Refusal> {
        let form = form_of(request)?;
        let account = self.account(request, &form)?;
        let text = form
            .filled("messages")
            .ok_or_else(|| Refusal::new(ARGUMENT_MISSING, "messages is missing"))?;
        let messages: Vec<Value> = serde_json::from_str(text)
            .map_err(|_| Refusal::new(ARGUMENT_INVALID, "messages is not a JSON array"))?;
        if messages.is_empty() || messages.len() > BATCH_MAX {
            return Err(Refusal::new(ARGUMENT_INVALID, "the number of messages is out of range"));
        }
        let element = |message: &Value| {
            let mut element = json!({
                "messageId": random_hex(ID_BYTES),
                "registrationId": message.get("target_value").cloned().unwrap_or_default(),
            });
            if let Err(refusal) = self.push(message, account, request, phones) {
                element["errorCode"] = json!(refusal.code);
                element["errorMessage"] = json!(refusal.text);
            }
            element
        };
        Ok(messages.iter().map(element).collect())
    }

    fn push(
        &self,
        message: &Value,
        account: &OppoAccount,
        request: &SimRequest,
        phones: &Phones,
    ) -> Result<(), Refusal> {
        let (region, templates_required) = {
            let state = self.state();
            (state.region, state.templates_required)
        };
        let message = message.as_object();
        let message =
            message.ok_or_else(|| Refusal::new(ARGUMENT_INVALID, "message is not an object"))?;
        let rights = Rights { loud: account.loud, templates_required };
        let read = Message::read(message, rights)?;
        let elsewhere = region.is_some_and(|region| OppoRegion::of(&read.target) != region);
        if elsewhere || phones.life(VENDOR, &read.target) != TokenLife::Live {
            return Err(Refusal::new(REGISTRATION_ID_INVALID, "Invalid registrationId"));
        }
        if let Some(id) = &read.app_message_id {
            let scoped = format!("{}\n{id}", account.app_key);
            if !self.state().seen.first_time(&read.target, &scoped) {
                return Ok(());
            }
        }
        phones.show(shown(read, message, request));
        Ok(())
    }
}

fn shown(read: Message, message: &Map<String, Value>, request: &SimRequest) -> Shown {
    Shown {
        vendor: VENDOR.to_owned(),
        token: read.target,
        at: request.now,
        push_id: read.app_message_id,
        title: read.title,
        body: read.content,
        ext: read.action_parameters,
        replaces: read.notify_id.map(|id| id.to_string()),
        raw: json!({"path": request.path, "message": message}),
    }
}

fn form_of(request: &SimRequest) -> Result<Form, Refusal> {
    if request.method != Method::POST {
        return Err(Refusal::new(METHOD, "Http Action Not Allowed"));
    }
    Form::of(request).ok_or_else(|| Refusal::new(ENCODING, "Invalid encoding"))
}

/// Thirteen digits within [`TIMESTAMP_SKEW`] of now.
fn timely(timestamp: &str, now: UnixMs) -> bool {
    let digits =
        timestamp.len() == TIMESTAMP_DIGITS && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let at = timestamp.parse().ok().filter(|_| digits).map(UnixMs);
    at.is_some_and(|at| now.since(at) <= TIMESTAMP_SKEW && at.since(now) <= TIMESTAMP_SKEW)
}

fn signature(app_key: &str, timestamp: &str, secret: &str) -> String {
    hex::encode(digest(&SHA256, format!("{app_key}{timestamp}{secret}").as_bytes()))
}

const AUTH: &str = "/server/v1/auth";
const UNICAST: &str = "/server/v1/message/notification/unicast";
const UNICAST_BATCH: &str = "/server/v1/message/notification/unicast_batch";

impl Simulator for Oppo {
    fn vendor(&self) -> &'static str {
        VENDOR
    }

    fn owns(&self, path: &str) -> bool {
        matches!(path, AUTH | UNICAST | UNICAST_BATCH)
    }

    fn answer(&self, request: &SimRequest, phones: &Phones) -> SimReply {
        let outcome = match request.path.as_str() {
            AUTH => self.authenticate(request),
            UNICAST => self.unicast(request, phones),
            UNICAST_BATCH => self.unicast_batch(request, phones),
            _ => return SimReply::empty(StatusCode::NOT_FOUND),
        };
        if request.path != AUTH {
            phones.count_request(VENDOR, outcome.is_err());
        }
        let body = match outcome {
            Ok(data) => json!({"code": 0, "message": "success", "data": data}),
            Err(refusal) => json!({"code": refusal.code, "message": refusal.text, "data": {}}),
        };
        SimReply::json(StatusCode::OK, &body)
    }

    fn credentials(&self) -> Vec<SimCredential> {
        let credential = |name, app_key: &str, secret: &str| SimCredential {
            name,
            credential: json!({
                "type": "master_secret",
                "app_key": app_key,
                "master_secret": secret,
            }),
            options: json!({"channel_id": "im_msg", "category": "IM", "notify_level": 2}),
        };
        // The usual account first, then its most common mistake, then the others.
        let mut credentials = Vec::new();
        for account in &self.accounts {
            credentials.push(credential("master_secret", &account.app_key, &account.master_secret));
            if credentials.len() == 1 {
                let mistake = "app_secret_by_mistake";
                credentials.push(credential(mistake, &account.app_key, &account.app_secret));
            }
        }
        credentials
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_of_the_reference_is_recomputed() {
        assert_eq!(
            signature("oppo-app-key", "1700000000000", "oppo-master-secret"),
            "2f18250b52b8174b67a1025542a0ad743dbca47d2bc7dadbd1f9362a0978c372",
        );
    }

    #[test]
    fn a_registration_id_says_its_region() {
        for mainland in ["abc", "CN_abc", "OPPO_CN_abc"] {
            assert_eq!(OppoRegion::of(mainland), OppoRegion::Mainland, "{mainland}");
        }
        for overseas in ["IN_abc", "OPPO_IN_abc", "OPPO_CN_a_b"] {
            assert_eq!(OppoRegion::of(overseas), OppoRegion::Overseas, "{overseas}");
        }
    }
}
