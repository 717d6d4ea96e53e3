//! Meizu Flyme Push: notifications by push id, directly or by a task.
//!
//! Source: github.com/MEIZUPUSH/PushAPI. Codes are strings, every status is 200, `value` lists
//! only the bad targets (code to ids) and is an empty string when the whole request is refused.
//! Folding of repeats (code 520) is not simulated.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode};
use lru::LruCache;
use serde_json::{Value, json};

use crate::sim::form::Form;
use crate::sim::md5::md5_hex;
use crate::sim::meizu::message::Message;
use crate::sim::memory::random_hex;
use crate::sim::phones::{Phones, Shown, TokenLife};
use crate::sim::{SimCredential, SimReply, SimRequest, Simulator};

mod message;

/// Most push ids in one request.
pub const PUSH_IDS_MAX: usize = 100;

/// Most tasks remembered.
pub const TASKS_MAX: NonZeroUsize = NonZeroUsize::new(1_000).expect("not zero");

const VENDOR: &str = "meizu";
const PUSH: &str = "/garcia/api/server/push/varnished/pushByPushId";
const TASK_ID: &str = "/garcia/api/server/push/pushTask/getTaskId";
const TASK_PUSH: &str = "/garcia/api/server/push/task/varnished/pushByPushId";

const PARAMETER: &str = "1005";
const SIGN: &str = "1006";
const APP_ID: &str = "110000";
const NOT_SUBSCRIBED: &str = "110002";
const MESSAGE: &str = "110004";
/// At the top level: too many requests. Inside `value`: the phone's message switch is off.
const RATE_OR_SWITCH: &str = "110010";
const TASK: &str = "110032";

/// An app on Meizu's platform.
pub struct MeizuAccount {
    /// App id.
    pub app_id: String,
    /// AppSecret.
    pub app_secret: String,
    /// Receipt addresses registered in the console.
    pub callbacks: Vec<String>,
}

/// Meizu's servers.
pub struct Meizu {
    accounts: Vec<MeizuAccount>,
    state: Mutex<State>,
}

struct State {
    /// Message JSON by app id and task id.
    tasks: LruCache<(String, String), String>,
    switched_off: HashSet<String>,
    rate_exceeded: bool,
}

/// A refusal of a whole request.
struct Refusal {
    code: &'static str,
    text: String,
}

impl Refusal {
    fn new(code: &'static str, text: impl Into<String>) -> Self {
        Refusal { code, text: text.into() }
    }
}

impl Default for Meizu {
    fn default() -> Self {
        Self::new()
    }
}

impl Meizu {
    /// Meizu's servers with the usual account.
    pub fn new() -> Self {
        let usual = MeizuAccount {
            app_id: "10000".to_owned(),
            app_secret: "meizu-app-secret".to_owned(),
            callbacks: Vec::new(),
        };
        let state = State {
            tasks: LruCache::new(TASKS_MAX),
            switched_off: HashSet::new(),
            rate_exceeded: false,
        };
        Meizu { accounts: vec![usual], state: Mutex::new(state) }
    }

    /// With one more account.
    pub fn with_account(mut self, account: MeizuAccount) -> Self {
        self.accounts.push(account);
        self
    }

    /// Turns the message switch of a phone off or on (110010 inside `value`).
    pub fn set_message_switch(&self, push_id: &str, on: bool) {
        let mut state = self.state();
        if on {
            state.switched_off.remove(push_id);
        } else {
            state.switched_off.insert(push_id.to_owned());
        }
    }

    /// Whether every request is refused as too many (110010 at the top level).
    pub fn set_rate_exceeded(&self, exceeded: bool) {
        self.state().rate_exceeded = exceeded;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The form and the app that signed it.
    fn signed(&self, request: &SimRequest) -> Result<(Form, &MeizuAccount), Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::new(PARAMETER, "method not allowed"));
        }
        let form = Form::of(request).ok_or_else(|| Refusal::new(PARAMETER, "not a form"))?;
        let app_id = form.filled("appId").ok_or_else(|| missing("appId"))?;
        let account = self.accounts.iter().find(|account| account.app_id == app_id);
        let account = account.ok_or_else(|| Refusal::new(APP_ID, "appId is invalid"))?;
        if form.get("sign") != Some(signature(&form, &account.app_secret).as_str()) {
            return Err(Refusal::new(SIGN, "sign is invalid"));
        }
        if self.state().rate_exceeded {
            return Err(Refusal::new(RATE_OR_SWITCH, "the request rate is too high"));
        }
        Ok((form, account))
    }

    fn task_id(&self, request: &SimRequest) -> Result<Value, Refusal> {
        let (form, account) = self.signed(request)?;
        if form.get("pushType") != Some("0") {
            return Err(Refusal::new(PARAMETER, "pushType is invalid"));
        }
        let text = form.filled("messageJson").ok_or_else(|| missing("messageJson"))?;
        Message::read(text, account)?;
        let task = random_hex(8);
        self.state().tasks.put((account.app_id.clone(), task.clone()), text.to_owned());
        Ok(json!({"taskId": task, "pushType": 0, "appId": account.app_id}))
    }

    fn push(&self, request: &SimRequest, by_task: bool, phones: &Phones) -> Result<Value, Refusal> {
        let (form, account) = self.signed(request)?;
        let ids = form.filled("pushIds").ok_or_else(|| missing("pushIds"))?;
        let ids: Vec<&str> = ids.split(',').map(str::trim).collect();
        if ids.len() > PUSH_IDS_MAX || ids.iter().any(|id| id.is_empty()) {
            return Err(Refusal::new(PARAMETER, "pushIds is invalid"));
        }
        let text = if by_task {
            let task = form.filled("taskId").ok_or_else(|| missing("taskId"))?;
            let key = (account.app_id.clone(), task.to_owned());
            let text = self.state().tasks.get(&key).cloned();
            text.ok_or_else(|| Refusal::new(TASK, "taskId is invalid"))?
        } else {
            form.filled("messageJson").ok_or_else(|| missing("messageJson"))?.to_owned()
        };
        let message = Message::read(&text, account)?;
        Ok(self.deliver(&ids, &message, request, phones))
    }

    fn deliver(
        &self,
        ids: &[&str],
        message: &Message,
        request: &SimRequest,
        phones: &Phones,
    ) -> Value {
        let mut bad: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut rung = HashSet::new();
        for id in ids.iter().filter(|id| rung.insert(**id)) {
            if phones.life(VENDOR, id) != TokenLife::Live {
                bad.entry(NOT_SUBSCRIBED).or_default().push(id);
            } else if self.state().switched_off.contains(*id) {
                bad.entry(RATE_OR_SWITCH).or_default().push(id);
            } else {
                phones.show(Shown {
                    vendor: VENDOR.to_owned(),
                    token: (*id).to_owned(),
                    at: request.now,
                    push_id: message.callback_param.clone(),
                    title: message.title.clone(),
                    body: message.content.clone(),
                    ext: message.parameters.clone(),
                    replaces: message.notify_key.clone(),
                    raw: json!({"path": request.path, "messageJson": message.raw}),
                });
            }
        }
        json!(bad)
    }
}

fn missing(field: &str) -> Refusal {
    Refusal::new(PARAMETER, format!("{field} is missing"))
}

/// MD5 over the decoded parameters in byte order of their names, then the secret.
fn signature(form: &Form, secret: &str) -> String {
    let mut fields: Vec<(&str, &str)> = form.fields().filter(|(name, _)| *name != "sign").collect();
    fields.sort_unstable();
    let text: String = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    md5_hex(format!("{text}{secret}").as_bytes())
}

impl Simulator for Meizu {
    fn vendor(&self) -> &'static str {
        VENDOR
    }

    fn owns(&self, path: &str) -> bool {
        matches!(path, PUSH | TASK_ID | TASK_PUSH)
    }

    fn answer(&self, request: &SimRequest, phones: &Phones) -> SimReply {
        let outcome = match request.path.as_str() {
            PUSH => self.push(request, false, phones),
            TASK_ID => self.task_id(request),
            TASK_PUSH => self.push(request, true, phones),
            _ => return SimReply::empty(StatusCode::NOT_FOUND),
        };
        if request.path != TASK_ID {
            phones.count_request(VENDOR, outcome.is_err());
        }
        let (code, text, value) = match outcome {
            Ok(value) => ("200", String::new(), value),
            Err(refusal) => (refusal.code, refusal.text, json!("")),
        };
        let id = format!("NS{}", random_hex(8));
        let body = json!({
            "code": code, "message": text, "value": value, "redirect": "", "msgId": id,
        });
        SimReply::json(StatusCode::OK, &body)
    }

    fn credentials(&self) -> Vec<SimCredential> {
        let credential = |account: &MeizuAccount| SimCredential {
            name: "app_secret",
            credential: json!({
                "type": "app_secret",
                "app_id": account.app_id,
                "app_secret": account.app_secret,
            }),
            options: json!({}),
        };
        self.accounts.iter().map(credential).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::*;
    use crate::model::time::UnixMs;

    fn sign_of(fields: &[(&str, &str)], secret: &str) -> String {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = HeaderValue::from_static(crate::sim::form::FORM);
        let request = SimRequest {
            method: Method::POST,
            path: PUSH.to_owned(),
            query: String::new(),
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, form)]),
            body: body.into(),
            connection: 1,
            client_certificate: None,
            now: UnixMs(0),
        };
        signature(&Form::of(&request).expect("a form"), secret)
    }

    #[test]
    fn the_signs_of_the_reference_are_recomputed() {
        let own = r#"{"noticeBarInfo":{"noticeMsgType":1,"title":"A","content":"你好"}}"#;
        let fields = [("messageJson", own), ("appId", "10000"), ("pushIds", "PUSHID_A,PUSHID_B")];
        assert_eq!(sign_of(&fields, "meizu-app-secret"), "cac2d48da901e175748a8c6752d8ad49");
        let vendor = concat!(
            r#"{"title":"title","content":"content","#,
            r#""pushTimeInfo":{"offLine":1,"validTime":24}}"#
        );
        let ids = "RA50c6348036344485d01776773577c64740465480a6b";
        let fields = [("appId", "10000"), ("pushIds", ids), ("messageJson", vendor)];
        assert_eq!(sign_of(&fields, "<APP_SECRET>"), "ac076ff25d9900015a681cb5172aa53b");
    }
}
