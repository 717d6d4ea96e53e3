//! Honor Push: the token service and the send API.
//!
//! Source: developer.honor.com, "downlink message", and the vendor's posts. Honor publishes no
//! error codes; the ones here follow Huawei's family, as numbers. Dead phones are answered with
//! code 200 and listed in `expireTokens`.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::model::time::UnixMs;
use crate::sim::form::{Form, JSON, has_content_type};
use crate::sim::honor::message::Message;
use crate::sim::memory::{AccessTokens, Standing, random_hex};
use crate::sim::phones::{Phones, Shown, TokenLife};
use crate::sim::{SimCredential, SimReply, SimRequest, Simulator};

mod message;

/// Lifetime of an access token, in seconds.
pub const ACCESS_TOKEN_SECONDS: u64 = 3_600;

/// How far the `timestamp` header may be from Honor's clock; the vendor does not publish it.
pub const TIMESTAMP_SKEW: Duration = Duration::from_secs(600);

const VENDOR: &str = "honor";
const TIMESTAMP_DIGITS: usize = 13;
const STRUCTURE: u32 = 80_100_003;
const AUTHENTICATION: u32 = 80_200_001;
const TOKEN_EXPIRED: u32 = 80_200_003;
const NO_PERMISSION: u32 = 80_300_002;

/// An app on Honor's platform: three values, the client id is not the app id.
pub struct HonorAccount {
    /// App id, the path part.
    pub app_id: String,
    /// Push client id.
    pub client_id: String,
    /// Push client secret.
    pub client_secret: String,
}

/// Honor's servers.
pub struct Honor {
    accounts: Vec<HonorAccount>,
    state: Mutex<State>,
}

struct State {
    tokens: AccessTokens,
    failing: HashSet<String>,
}

/// A refusal of the send API.
struct Refusal {
    status: StatusCode,
    code: u32,
    text: String,
}

impl Refusal {
    fn new(code: u32, text: impl Into<String>) -> Self {
        let status = match code {
            AUTHENTICATION | TOKEN_EXPIRED => StatusCode::UNAUTHORIZED,
            NO_PERMISSION => StatusCode::OK,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal { status, code, text: text.into() }
    }
}

fn is_token_path(path: &str) -> bool {
    matches!(path, "/auth/token" | "/auth/realms/developer/protocol/openid-connect/token")
}

fn send_path(path: &str) -> Option<&str> {
    let app_id = path.strip_prefix("/api/v1/")?.strip_suffix("/sendMessage")?;
    (!app_id.is_empty() && !app_id.contains('/')).then_some(app_id)
}

impl Default for Honor {
    fn default() -> Self {
        Self::new()
    }
}

impl Honor {
    /// Honor's servers with the usual account.
    pub fn new() -> Self {
        let usual = HonorAccount {
            app_id: "104000001".to_owned(),
            client_id: "honor-client-id".to_owned(),
            client_secret: "honor/client+secret==".to_owned(),
        };
        let tokens = AccessTokens::living(Duration::from_secs(ACCESS_TOKEN_SECONDS));
        let state = State { tokens, failing: HashSet::new() };
        Honor { accounts: vec![usual], state: Mutex::new(state) }
    }

    /// With one more account.
    pub fn with_account(mut self, account: HonorAccount) -> Self {
        self.accounts.push(account);
        self
    }

    /// Whether sends to a phone fail for a while (listed in `failTokens`).
    pub fn set_failing(&self, token: &str, failing: bool) {
        let mut state = self.state();
        if failing {
            state.failing.insert(token.to_owned());
        } else {
            state.failing.remove(token);
        }
    }

    /// Revokes every access token before its time.
    pub fn revoke_tokens(&self) {
        self.state().tokens.revoke_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issue_token(&self, request: &SimRequest) -> SimReply {
        let refuse = |status, error: &str| SimReply::json(status, &json!({"error": error}));
        if request.method != Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "invalid_request");
        }
        let Some(form) = Form::of(request) else {
            return refuse(StatusCode::BAD_REQUEST, "invalid_request");
        };
        if form.get("grant_type") != Some("client_credentials") {
            return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type");
        }
        let given = (form.get("client_id"), form.get("client_secret"));
        let own = |account: &&HonorAccount| {
            given == (Some(account.client_id.as_str()), Some(account.client_secret.as_str()))
        };
        let Some(account) = self.accounts.iter().find(own) else {
            return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
        };
        let token = random_hex(32);
        self.state().tokens.issue(token.clone(), &account.client_id, request.now);
        let body = json!({
            "access_token": token,
            "expires_in": ACCESS_TOKEN_SECONDS,
            "token_type": "Bearer",
        });
        SimReply::json(StatusCode::OK, &body)
    }

    fn authorise(&self, request: &SimRequest, app_id: &str) -> Result<(), Refusal> {
        let header = request.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let bearer = header.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let client_id = match self.state().tokens.standing(bearer, request.now) {
            Standing::Valid { account } => account,
            Standing::Expired => return Err(Refusal::new(TOKEN_EXPIRED, "token expired")),
            Standing::Unknown => {
                return Err(Refusal::new(AUTHENTICATION, "authentication failed"));
            }
        };
        let account = self.accounts.iter().find(|account| account.client_id == client_id);
        if account.is_none_or(|account| account.app_id != app_id) {
            return Err(Refusal::new(NO_PERMISSION, "no permission for this app id"));
        }
        let timestamp = request.headers.get("timestamp").and_then(|value| value.to_str().ok());
        if timestamp.is_none_or(|timestamp| !timely(timestamp, request.now)) {
            return Err(Refusal::new(AUTHENTICATION, "timestamp is invalid"));
        }
        Ok(())
    }

    fn send(&self, request: &SimRequest, app_id: &str, phones: &Phones) -> Result<Value, Refusal> {
        if request.method != Method::POST {
            let refusal = Refusal::new(STRUCTURE, "method not allowed");
            return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, ..refusal });
        }
        self.authorise(request, app_id)?;
        if !has_content_type(&request.headers, JSON) {
            return Err(Refusal::new(STRUCTURE, "content type is not application/json"));
        }
        let body: Value = serde_json::from_slice(&request.body)
            .map_err(|_| Refusal::new(STRUCTURE, "the body is not JSON"))?;
        let message = Message::read(&body)?;
        let (mut live, mut failed, mut expired) = (0_usize, Vec::new(), Vec::new());
        for token in &message.tokens {
            if phones.life(VENDOR, token) != TokenLife::Live {
                expired.push(*token);
            } else if self.state().failing.contains(*token) {
                failed.push(*token);
            } else {
                live += 1;
                phones.show(shown(&message, token, request));
            }
        }
        let data = json!({
            "sendResult": live > 0,
            "requestId": random_hex(12),
            "failTokens": failed,
            "expireTokens": expired,
        });
        Ok(json!({"code": 200, "message": "success", "data": data}))
    }
}

fn shown(message: &Message<'_>, token: &str, request: &SimRequest) -> Shown {
    Shown {
        vendor: VENDOR.to_owned(),
        token: token.to_owned(),
        at: request.now,
        push_id: message.bi_tag.map(str::to_owned),
        title: message.title.to_owned(),
        body: message.body.to_owned(),
        ext: message.data.map(str::to_owned),
        replaces: message.replaces.clone(),
        raw: json!({"path": request.path, "body": message.raw}),
    }
}

/// Thirteen digits within [`TIMESTAMP_SKEW`] of now.
fn timely(timestamp: &str, now: UnixMs) -> bool {
    let digits =
        timestamp.len() == TIMESTAMP_DIGITS && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let at = timestamp.parse().ok().filter(|_| digits).map(UnixMs);
    at.is_some_and(|at| now.since(at) <= TIMESTAMP_SKEW && at.since(now) <= TIMESTAMP_SKEW)
}

impl Simulator for Honor {
    fn vendor(&self) -> &'static str {
        VENDOR
    }

    fn owns(&self, path: &str) -> bool {
        is_token_path(path) || send_path(path).is_some()
    }

    fn answer(&self, request: &SimRequest, phones: &Phones) -> SimReply {
        if is_token_path(&request.path) {
            return self.issue_token(request);
        }
        let Some(app_id) = send_path(&request.path) else {
            return SimReply::empty(StatusCode::NOT_FOUND);
        };
        let outcome = self.send(request, app_id, phones);
        phones.count_request(VENDOR, outcome.is_err());
        match outcome {
            Ok(body) => SimReply::json(StatusCode::OK, &body),
            Err(refusal) => {
                let body = json!({"code": refusal.code, "message": refusal.text, "data": null});
                SimReply::json(refusal.status, &body)
            }
        }
    }

    fn credentials(&self) -> Vec<SimCredential> {
        let credential = |account: &HonorAccount| SimCredential {
            name: "oauth",
            credential: json!({
                "type": "oauth",
                "app_id": account.app_id,
                "client_id": account.client_id,
                "client_secret": account.client_secret,
            }),
            options: json!({}),
        };
        self.accounts.iter().map(credential).collect()
    }
}
