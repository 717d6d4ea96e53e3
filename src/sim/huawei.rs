//! Huawei Push Kit: the OAuth token service and the send API, versions 1 and 2.
//!
//! Source: Huawei "https-send-api" and "oauth2" pages. Version 3 (HarmonyOS 5) is another
//! vendor's room. Two answers are not documented and chosen here: the numbers in the token
//! service's error body, and a bearer of another app (80200001) against an unknown path id
//! (80300002). A dead phone is reported at once as an illegal token.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::sim::form::{Form, JSON, has_content_type};
use crate::sim::huawei::message::Message;
use crate::sim::memory::{AccessTokens, Standing};
use crate::sim::phones::{Phones, Shown, TokenLife};
use crate::sim::{SimCredential, SimReply, SimRequest, Simulator};

mod message;

/// Lifetime of an access token, in seconds; fixed by Huawei.
pub const ACCESS_TOKEN_SECONDS: u64 = 3_600;

const VENDOR: &str = "huawei";
const ACCESS_TOKEN_BYTES: usize = 48;

/// Numeric `error` of the token service for a malformed request.
const TOKEN_ERROR_REQUEST: u32 = 1101;
/// Numeric `error` of the token service for a wrong id or secret.
const TOKEN_ERROR_CLIENT: u32 = 1203;

const PARTIAL: &str = "80100000";
const STRUCTURE: &str = "80100003";
const AUTHENTICATION: &str = "80200001";
const TOKEN_EXPIRED: &str = "80200003";
const NO_PERMISSION: &str = "80300002";
const ALL_TOKENS_INVALID: &str = "80300007";

/// An app in Huawei's console.
pub struct HuaweiAccount {
    /// OAuth client id, the path part of version 1.
    pub client_id: String,
    /// OAuth client secret.
    pub client_secret: String,
    /// Project id, the path part of version 2.
    pub project_id: String,
    /// Whether the app may send with importance HIGH.
    pub high_importance: bool,
}

/// Huawei's servers.
pub struct Huawei {
    accounts: Vec<HuaweiAccount>,
    state: Mutex<State>,
}

struct State {
    tokens: AccessTokens,
    requests: u64,
}

/// A refusal of the send API.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    text: String,
}

impl Refusal {
    fn new(code: &'static str, text: impl Into<String>) -> Self {
        // Authentication is 401, a parameter that can never be right is 400, and what depends on
        // the app's rights or the phones is answered with 200 and the code in the body.
        let status = match code {
            AUTHENTICATION | TOKEN_EXPIRED => StatusCode::UNAUTHORIZED,
            NO_PERMISSION | ALL_TOKENS_INVALID | message::NO_HIGH_IMPORTANCE => StatusCode::OK,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal { status, code, text: text.into() }
    }
}

enum Route<'a> {
    Token,
    SendByClient(&'a str),
    SendByProject(&'a str),
}

fn route(path: &str) -> Option<Route<'_>> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let found = match (parts.next()?, parts.next()?, parts.next()?) {
        ("oauth2", "v2" | "v3", "token") => Route::Token,
        ("v1", id, "messages:send") => Route::SendByClient(id),
        ("v2", id, "messages:send") => Route::SendByProject(id),
        _ => return None,
    };
    parts.next().is_none().then_some(found)
}

impl Default for Huawei {
    fn default() -> Self {
        Self::new()
    }
}

impl Huawei {
    /// Huawei's servers with the usual account, whose secret holds `/` and `+` as real ones do.
    pub fn new() -> Self {
        let usual = HuaweiAccount {
            client_id: "100000001".to_owned(),
            client_secret: "s3cr/et+of/the+usual/account==".to_owned(),
            project_id: "990000000000000001".to_owned(),
            high_importance: false,
        };
        let tokens = AccessTokens::living(Duration::from_secs(ACCESS_TOKEN_SECONDS));
        let state = Mutex::new(State { tokens, requests: 0 });
        Huawei { accounts: vec![usual], state }
    }

    /// With one more account.
    pub fn with_account(mut self, account: HuaweiAccount) -> Self {
        self.accounts.push(account);
        self
    }

    /// Revokes every access token before its time: each is unknown (80200001) from now on.
    pub fn revoke_tokens(&self) {
        self.state().tokens.revoke_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issue_token(&self, request: &SimRequest) -> SimReply {
        match self.token_account(request) {
            Ok(account) => {
                let bytes: Vec<u8> =
                    std::iter::repeat_with(|| fastrand::u8(..)).take(ACCESS_TOKEN_BYTES).collect();
                let token = STANDARD.encode(bytes);
                self.state().tokens.issue(token.clone(), &account.client_id, request.now);
                let body = json!({
                    "access_token": token,
                    "expires_in": ACCESS_TOKEN_SECONDS,
                    "token_type": "Bearer",
                });
                let mut reply = SimReply::json(StatusCode::OK, &body);
                // Huawei escapes slashes, so a client that cuts the token out of the text fails.
                reply.body = body.to_string().replace('/', "\\/").into();
                reply
            }
            Err((status, error, description)) => SimReply::json(
                status,
                &json!({"error": error, "sub_error": 0, "error_description": description}),
            ),
        }
    }

    fn token_account(
        &self,
        request: &SimRequest,
    ) -> Result<&HuaweiAccount, (StatusCode, u32, &'static str)> {
        let bad = |text| (StatusCode::BAD_REQUEST, TOKEN_ERROR_REQUEST, text);
        if request.method != Method::POST {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err((status, TOKEN_ERROR_REQUEST, "method not allowed"));
        }
        let form = Form::of(request).ok_or_else(|| bad("content type is not a form"))?;
        if form.get("grant_type") != Some("client_credentials") {
            return Err(bad("invalid grant_type"));
        }
        let id = form.filled("client_id").ok_or_else(|| bad("client_id is missing"))?;
        let secret = form.filled("client_secret").ok_or_else(|| bad("client_secret is missing"))?;
        let matches =
            |account: &&HuaweiAccount| account.client_id == id && account.client_secret == secret;
        let wrong = (StatusCode::UNAUTHORIZED, TOKEN_ERROR_CLIENT, "client secret error");
        self.accounts.iter().find(matches).ok_or(wrong)
    }

    /// The account whose bearer came with a request for `path_id`.
    fn bearer_account(
        &self,
        request: &SimRequest,
        path_id: impl Fn(&HuaweiAccount) -> bool,
    ) -> Result<&HuaweiAccount, Refusal> {
        let header = request.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let bearer = header
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty())
            .ok_or_else(|| Refusal::new(AUTHENTICATION, "Authorization header is missing"))?;
        let client_id = match self.state().tokens.standing(bearer, request.now) {
            Standing::Valid { account } => account,
            Standing::Expired => return Err(Refusal::new(TOKEN_EXPIRED, "OAuth token expired")),
            Standing::Unknown => {
                return Err(Refusal::new(AUTHENTICATION, "OAuth authentication error"));
            }
        };
        let account = self.accounts.iter().find(|account| account.client_id == client_id);
        match account {
            Some(account) if path_id(account) => Ok(account),
            _ if self.accounts.iter().any(path_id) => {
                Err(Refusal::new(AUTHENTICATION, "the token is of another app"))
            }
            _ => Err(Refusal::new(NO_PERMISSION, "no permission to send with this id")),
        }
    }

    fn send(
        &self,
        request: &SimRequest,
        path_id: impl Fn(&HuaweiAccount) -> bool,
        phones: &Phones,
    ) -> Result<Value, Refusal> {
        if request.method != Method::POST {
            let refusal = Refusal::new(STRUCTURE, "method not allowed");
            return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, ..refusal });
        }
        let account = self.bearer_account(request, path_id)?;
        if !has_content_type(&request.headers, JSON) {
            return Err(Refusal::new(STRUCTURE, "content type is not application/json"));
        }
        let body: Value = serde_json::from_slice(&request.body)
            .map_err(|_| Refusal::new(STRUCTURE, "the body is not JSON"))?;
        let message = Message::read(&body, account)?;
        if message.validate_only {
            return Ok(json!({"code": "80000000", "msg": "Success"}));
        }
        deliver(&message, &body, request, phones)
    }
}

fn deliver(
    message: &Message<'_>,
    body: &Value,
    request: &SimRequest,
    phones: &Phones,
) -> Result<Value, Refusal> {
    let (live, dead): (Vec<&str>, Vec<&str>) =
        message.tokens.iter().partition(|token| phones.life(VENDOR, token) == TokenLife::Live);
    if live.is_empty() && !dead.is_empty() {
        return Err(Refusal::new(ALL_TOKENS_INVALID, "All the tokens are invalid"));
    }
    let mut raw = body.clone();
    if let Some(message) = raw.get_mut("message").and_then(Value::as_object_mut) {
        message.remove("token");
    }
    for token in &live {
        phones.show(Shown {
            vendor: VENDOR.to_owned(),
            token: (*token).to_owned(),
            at: request.now,
            push_id: message.bi_tag.map(str::to_owned),
            title: message.title.to_owned(),
            body: message.body.to_owned(),
            ext: message.data.map(str::to_owned),
            replaces: message.replaces.clone(),
            raw: json!({"path": request.path, "body": raw}),
        });
    }
    if dead.is_empty() {
        return Ok(json!({"code": "80000000", "msg": "Success"}));
    }
    let counts =
        json!({"success": live.len(), "failure": dead.len(), "illegal_tokens": dead}).to_string();
    Ok(json!({"code": PARTIAL, "msg": counts}))
}

impl Simulator for Huawei {
    fn vendor(&self) -> &'static str {
        VENDOR
    }

    fn owns(&self, path: &str) -> bool {
        route(path).is_some()
    }

    fn answer(&self, request: &SimRequest, phones: &Phones) -> SimReply {
        let outcome = match route(&request.path) {
            None => return SimReply::empty(StatusCode::NOT_FOUND),
            Some(Route::Token) => return self.issue_token(request),
            Some(Route::SendByClient(id)) => {
                self.send(request, |account| account.client_id == id, phones)
            }
            Some(Route::SendByProject(id)) => {
                self.send(request, |account| account.project_id == id, phones)
            }
        };
        phones.count_request(VENDOR, outcome.is_err());
        let (status, mut body) = match outcome {
            Ok(body) => (StatusCode::OK, body),
            Err(refusal) => (refusal.status, json!({"code": refusal.code, "msg": refusal.text})),
        };
        let mut state = self.state();
        state.requests += 1;
        body["requestId"] = json!(format!("{}{:08}", request.now.0, state.requests));
        SimReply::json(status, &body)
    }

    fn credentials(&self) -> Vec<SimCredential> {
        let credential = |account: &HuaweiAccount| SimCredential {
            name: "oauth",
            credential: json!({
                "type": "oauth",
                "client_id": account.client_id,
                "client_secret": account.client_secret,
            }),
            options: json!({"category": "IM"}),
        };
        self.accounts.iter().map(credential).collect()
    }
}
