//! vivo Push: the auth call, single push, and saved messages for lists.
//!
//! Source: dev.vivo.com.cn, doc 362 (API), 359 (classes) and 695 (limits). Business errors come
//! with status 200. Where the vendor names no code of its own, a wrong request is answered with
//! 10000 and the field's name. The order of the codes 10202 to 10207 is not confirmed.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use lru::LruCache;
use serde_json::{Map, Value, json};

use crate::model::time::UnixMs;
use crate::sim::fields::Fields;
use crate::sim::form::{JSON, has_content_type};
use crate::sim::memory::{AccessTokens, Seen, Standing, random_hex};
use crate::sim::phones::{Phones, Shown, TokenLife};
use crate::sim::quota::{DailyQuotas, china_secs};
use crate::sim::vivo::auth::text_or_number;
use crate::sim::vivo::message::Message;
use crate::sim::{SimCredential, SimReply, SimRequest, Simulator};

mod auth;
mod message;

/// Lifetime of an `authToken`, in seconds.
pub const AUTH_TOKEN_SECONDS: u64 = 86_400;

/// Most saved messages remembered.
pub const TASKS_MAX: NonZeroUsize = NonZeroUsize::new(1_000).expect("not zero");

const VENDOR: &str = "vivo";
const AUTH: &str = "/message/auth";
const SEND: &str = "/message/send";
const SAVE: &str = "/message/saveListPayload";
const PUSH_TO_LIST: &str = "/message/pushToList";

const LIST_MIN: usize = 2;
const LIST_MAX: usize = 1_000;
const REQUEST_ID_CHARS_MAX: usize = 64;
/// Operational messages are taken from 07:00 to 23:00 in China.
const OPERATIONAL_HOURS: std::ops::Range<u64> = 7..23;

const TOKEN_OR_PARAMETER: u32 = 10_000;
const TARGET_MISSING: u32 = 10_050;
const OPERATIONAL_QUOTA: u32 = 10_070;
const OUTSIDE_HOURS: u32 = 10_071;
const TOO_FAST: u32 = 10_072;
const SYSTEM_QUOTA: u32 = 10_073;
const APP_ID_MISMATCH: u32 = 10_094;
const TARGET_INVALID: u32 = 10_302;
const REQUEST_ID_REPEATED: u32 = 10_303;

/// `status` of an invalid user: uninstalled, unsubscribed or data cleared.
const USER_GONE: u32 = 2;

/// vivo's message class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VivoClass {
    /// Content and marketing.
    Operational,
    /// Chat and service.
    System,
}

/// An app on vivo's platform.
pub struct VivoAccount {
    /// App id, a number.
    pub app_id: String,
    /// AppKey.
    pub app_key: String,
    /// AppSecret.
    pub app_secret: String,
}

/// vivo's servers.
pub struct Vivo {
    accounts: Vec<VivoAccount>,
    state: Mutex<State>,
}

struct State {
    tokens: AccessTokens,
    request_ids: Seen,
    quotas: DailyQuotas<VivoClass>,
    /// Saved bodies by app id and task id.
    tasks: LruCache<(String, String), Value>,
    /// Auth calls by app id: the second and how many in it.
    auth_calls: HashMap<String, (u64, u32)>,
}

/// A refusal, with fields of its own when the vendor adds some.
struct Refusal {
    code: u32,
    text: String,
    more: Map<String, Value>,
}

impl Refusal {
    fn new(code: u32, text: impl Into<String>) -> Self {
        Refusal { code, text: text.into(), more: Map::new() }
    }
}

impl Default for Vivo {
    fn default() -> Self {
        Self::new()
    }
}

impl Vivo {
    /// vivo's servers with the usual account.
    pub fn new() -> Self {
        let usual = VivoAccount {
            app_id: "10004".to_owned(),
            app_key: "vivo-app-key".to_owned(),
            app_secret: "vivo-app-secret".to_owned(),
        };
        let state = State {
            tokens: AccessTokens::living(Duration::from_secs(AUTH_TOKEN_SECONDS)),
            request_ids: Seen::default(),
            quotas: DailyQuotas::default(),
            tasks: LruCache::new(TASKS_MAX),
            auth_calls: HashMap::new(),
        };
        Vivo { accounts: vec![usual], state: Mutex::new(state) }
    }

    /// With one more account.
    pub fn with_account(mut self, account: VivoAccount) -> Self {
        self.accounts.push(account);
        self
    }

    /// Sets how many phones a class may reach each day (10070 or 10073 beyond).
    pub fn set_daily_quota(&self, class: VivoClass, phones: Option<u64>) {
        self.state().quotas.set_limit(class, phones);
    }

    /// Revokes every `authToken` before its time.
    pub fn revoke_tokens(&self) {
        self.state().tokens.revoke_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body and the app of the `authToken` header.
    fn authorised(&self, request: &SimRequest) -> Result<(Map<String, Value>, String), Refusal> {
        let body = json_of(request)?;
        let token = request.headers.get("authtoken").and_then(|value| value.to_str().ok());
        let standing = self.state().tokens.standing(token.unwrap_or_default(), request.now);
        let Standing::Valid { account: app_id } = standing else {
            return Err(Refusal::new(TOKEN_OR_PARAMETER, "authToken is invalid"));
        };
        let given = body.get("appId").and_then(text_or_number);
        if given.is_some_and(|given| given != app_id) {
            return Err(Refusal::new(APP_ID_MISMATCH, "appId does not match authToken"));
        }
        Ok((body, app_id))
    }

    fn send(&self, request: &SimRequest, phones: &Phones) -> Result<Value, Refusal> {
        let (body, app_id) = self.authorised(request)?;
        let fields = Fields(&body);
        let target = match fields.filled("regId")? {
            Some(target) => target,
            None if fields.filled("alias")?.is_some() => {
                return Err(Refusal::new(TARGET_INVALID, "alias is not bound"));
            }
            None => return Err(Refusal::new(TARGET_MISSING, "regId and alias are empty")),
        };
        let message = Message::read(fields)?;
        self.check_request_id(fields, &app_id)?;
        self.check_class(message.class, &app_id, 1, request.now)?;
        if phones.life(VENDOR, target) != TokenLife::Live {
            let mut refusal = Refusal::new(TARGET_INVALID, "regId is invalid");
            let user = json!({"status": USER_GONE, "userid": target});
            refusal.more.insert("invalidUser".to_owned(), user);
            return Err(refusal);
        }
        self.state().quotas.spend(&app_id, message.class, 1, request.now);
        phones.show(shown(&message, target, fields, request));
        Ok(json!({"taskId": random_hex(9)}))
    }

    fn save(&self, request: &SimRequest) -> Result<Value, Refusal> {
        let (body, app_id) = self.authorised(request)?;
        let fields = Fields(&body);
        Message::read(fields)?;
        self.check_request_id(fields, &app_id)?;
        let task = random_hex(9);
        self.state().tasks.put((app_id, task.clone()), Value::Object(body));
        Ok(json!({"taskId": task}))
    }

    fn push_to_list(&self, request: &SimRequest, phones: &Phones) -> Result<Value, Refusal> {
        let (body, app_id) = self.authorised(request)?;
        let fields = Fields(&body);
        let targets = fields.texts("regIds")?.unwrap_or_default();
        if !(LIST_MIN..=LIST_MAX).contains(&targets.len()) {
            return Err(Refusal::new(TOKEN_OR_PARAMETER, "the number of regIds is out of range"));
        }
        let task = fields.filled("taskId")?.unwrap_or_default().to_owned();
        let saved = self.state().tasks.get(&(app_id.clone(), task)).cloned();
        let saved = saved.as_ref().and_then(Value::as_object);
        let saved = saved.ok_or_else(|| Refusal::new(TOKEN_OR_PARAMETER, "taskId is unknown"))?;
        let message = Message::read(Fields(saved))?;
        self.check_request_id(fields, &app_id)?;
        let count = u64::try_from(targets.len()).unwrap_or(u64::MAX);
        self.check_class(message.class, &app_id, count, request.now)?;
        let (live, gone): (Vec<&str>, Vec<&str>) =
            targets.into_iter().partition(|target| phones.life(VENDOR, target) == TokenLife::Live);
        let reached = u64::try_from(live.len()).unwrap_or(u64::MAX);
        self.state().quotas.spend(&app_id, message.class, reached, request.now);
        for target in live {
            phones.show(shown(&message, target, fields, request));
        }
        let invalid: Vec<Value> =
            gone.iter().map(|target| json!({"status": USER_GONE, "userid": target})).collect();
        Ok(json!({"requestId": fields.text("requestId")?, "invalidUsers": invalid}))
    }

    fn check_request_id(&self, fields: Fields<'_>, app_id: &str) -> Result<(), Refusal> {
        let id = fields.filled("requestId")?;
        let id = id.filter(|id| id.chars().count() <= REQUEST_ID_CHARS_MAX);
        let id = id.ok_or_else(|| Refusal::new(TOKEN_OR_PARAMETER, "requestId is invalid"))?;
        if !self.state().request_ids.first_time(app_id, id) {
            return Err(Refusal::new(REQUEST_ID_REPEATED, "requestId is repeated"));
        }
        Ok(())
    }

    fn check_class(
        &self,
        class: VivoClass,
        app_id: &str,
        phones: u64,
        now: UnixMs,
    ) -> Result<(), Refusal> {
        let hour = china_secs(now) / 3_600 % 24;
        if class == VivoClass::Operational && !OPERATIONAL_HOURS.contains(&hour) {
            return Err(Refusal::new(OUTSIDE_HOURS, "outside the allowed hours"));
        }
        if self.state().quotas.allows(app_id, class, phones, now) {
            return Ok(());
        }
        let code = match class {
            VivoClass::Operational => OPERATIONAL_QUOTA,
            VivoClass::System => SYSTEM_QUOTA,
        };
        Err(Refusal::new(code, "the daily total is exceeded"))
    }
}

fn shown(
    message: &Message,
    target: &str,
    request_fields: Fields<'_>,
    request: &SimRequest,
) -> Shown {
    let push_id = request_fields.get("requestId").and_then(Value::as_str);
    Shown {
        vendor: VENDOR.to_owned(),
        token: target.to_owned(),
        at: request.now,
        push_id: push_id.map(str::to_owned),
        title: message.title.clone(),
        body: message.content.clone(),
        ext: message.custom.clone(),
        replaces: message.notify_id.map(|id| id.to_string()),
        raw: json!({"path": request.path, "body": message.raw}),
    }
}

fn json_of(request: &SimRequest) -> Result<Map<String, Value>, Refusal> {
    let refused = |text| Refusal::new(TOKEN_OR_PARAMETER, text);
    if request.method != Method::POST {
        return Err(refused("method not allowed"));
    }
    if !has_content_type(&request.headers, JSON) {
        return Err(refused("content type is not application/json"));
    }
    serde_json::from_slice(&request.body).map_err(|_| refused("the body is not a JSON object"))
}

impl Simulator for Vivo {
    fn vendor(&self) -> &'static str {
        VENDOR
    }

    fn owns(&self, path: &str) -> bool {
        matches!(path, AUTH | SEND | SAVE | PUSH_TO_LIST)
    }

    fn answer(&self, request: &SimRequest, phones: &Phones) -> SimReply {
        let outcome = match request.path.as_str() {
            AUTH => self.authenticate(request),
            SEND => self.send(request, phones),
            SAVE => self.save(request),
            PUSH_TO_LIST => self.push_to_list(request, phones),
            _ => return SimReply::empty(StatusCode::NOT_FOUND),
        };
        if matches!(request.path.as_str(), SEND | PUSH_TO_LIST) {
            phones.count_request(VENDOR, outcome.is_err());
        }
        let (code, text, mut body) = match outcome {
            Ok(body) => (0, "ok".to_owned(), body),
            Err(refusal) => (refusal.code, refusal.text, Value::Object(refusal.more)),
        };
        body["result"] = json!(code);
        body["desc"] = json!(text);
        SimReply::json(StatusCode::OK, &body)
    }

    fn credentials(&self) -> Vec<SimCredential> {
        let credential = |account: &VivoAccount| SimCredential {
            name: "app_secret",
            credential: json!({
                "type": "app_secret",
                "app_id": account.app_id,
                "app_key": account.app_key,
                "app_secret": account.app_secret,
            }),
            options: json!({"classification": 1, "category": "IM"}),
        };
        self.accounts.iter().map(credential).collect()
    }
}
