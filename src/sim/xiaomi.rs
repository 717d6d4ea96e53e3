//! Xiaomi MiPush: the regid send API, versions 2 to 4.
//!
//! Source: dev.mi.com, pages "API and parameters", "error codes" and the rules of 2026. Every
//! answer has status 200 and the code in the body (the status of a wrong secret is not
//! documented). A message with `time_to_send` is shown at once. The overseas hosts answer alike.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::sim::form::Form;
use crate::sim::memory::{Seen, random_hex};
use crate::sim::phones::{Phones, Shown, TokenLife};
use crate::sim::quota::DailyQuotas;
use crate::sim::xiaomi::message::Message;
use crate::sim::{SimCredential, SimReply, SimRequest, Simulator};

mod message;

const VENDOR: &str = "xiaomi";

const ILLEGAL_REQUEST: u32 = 10012;
const MISSING: u32 = 10016;
const SEND_FAILED: u32 = 20301;
const AUTHENTICATION: u32 = 21301;
const PACKAGE_NAME: u32 = 22022;
const DAILY_QUOTA: u32 = 200_001;

/// The class of a notification channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelClass {
    /// Chat and the other approved kinds: no daily limit at the vendor, ten days offline.
    Private,
    /// Everything else: a daily total, one day offline.
    Public,
}

/// An app in Xiaomi's console.
pub struct XiaomiAccount {
    /// Package name.
    pub package_name: String,
    /// AppSecret.
    pub app_secret: String,
    /// Approved channels by id.
    pub channels: HashMap<String, ChannelClass>,
}

/// Xiaomi's servers.
pub struct Xiaomi {
    accounts: Vec<XiaomiAccount>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Jobkeys that a phone has shown.
    seen: Seen,
    quotas: DailyQuotas<ChannelClass>,
}

/// A refusal of the send API.
struct Refusal {
    code: u32,
    text: String,
}

impl Refusal {
    fn new(code: u32, text: impl Into<String>) -> Self {
        Refusal { code, text: text.into() }
    }
}

impl Default for Xiaomi {
    fn default() -> Self {
        Self::new()
    }
}

impl Xiaomi {
    /// Xiaomi's servers with the usual account: channel `130001` is private, `130002` public.
    pub fn new() -> Self {
        let usual = XiaomiAccount {
            package_name: "com.example.chat".to_owned(),
            app_secret: "xiaomi/app+secret==".to_owned(),
            channels: HashMap::from([
                ("130001".to_owned(), ChannelClass::Private),
                ("130002".to_owned(), ChannelClass::Public),
            ]),
        };
        Xiaomi { accounts: vec![usual], state: Mutex::default() }
    }

    /// With one more account.
    pub fn with_account(mut self, account: XiaomiAccount) -> Self {
        self.accounts.push(account);
        self
    }

    /// Sets how many phones a class may reach each day (code 200001 beyond); `None` lifts it.
    pub fn set_daily_quota(&self, class: ChannelClass, phones: Option<u64>) {
        self.state().quotas.set_limit(class, phones);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The app whose secret came with a request. The scheme is exactly `key=`.
    fn account(&self, request: &SimRequest) -> Result<&XiaomiAccount, Refusal> {
        let header = request.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let secret = header.and_then(|value| value.strip_prefix("key="));
        let matches = |account: &&XiaomiAccount| Some(account.app_secret.as_str()) == secret;
        self.accounts
            .iter()
            .find(matches)
            .ok_or_else(|| Refusal::new(AUTHENTICATION, "authentication failed"))
    }

    fn send(
        &self,
        request: &SimRequest,
        many_packages: bool,
        phones: &Phones,
    ) -> Result<Value, Refusal> {
        let account = self.account(request)?;
        if request.method != Method::POST {
            return Err(Refusal::new(ILLEGAL_REQUEST, "method not allowed"));
        }
        let form = Form::of(request)
            .ok_or_else(|| Refusal::new(ILLEGAL_REQUEST, "content type is not a form"))?;
        check_package(&form, account, many_packages)?;
        let message = Message::read(&form, account, request.now)?;
        let class = message.class;
        let package = account.package_name.as_str();
        let count = u64::try_from(message.tokens.len()).unwrap_or(u64::MAX);
        if !self.state().quotas.allows(package, class, count, request.now) {
            return Err(Refusal::new(DAILY_QUOTA, "the daily quota is exceeded"));
        }
        let (mut data, reached) = self.deliver(&message, &form, account, request, phones)?;
        let mut state = self.state();
        let used = state.quotas.spend(package, class, reached, request.now);
        if let Some(quota) = state.quotas.limit(class) {
            data.insert("day_quota".to_owned(), json!(quota.to_string()));
            data.insert("day_acked".to_owned(), json!(used.to_string()));
        }
        let info = format!("Received push messages for {count} regid");
        Ok(json!({"result": "ok", "code": 0, "description": "ok", "info": info, "data": data}))
    }

    /// Rings the live phones; the `data` of the answer and how many phones were reached.
    fn deliver(
        &self,
        message: &Message<'_>,
        form: &Form,
        account: &XiaomiAccount,
        request: &SimRequest,
        phones: &Phones,
    ) -> Result<(Map<String, Value>, u64), Refusal> {
        let (live, dead): (Vec<&str>, Vec<&str>) =
            message.tokens.iter().partition(|token| phones.life(VENDOR, token) == TokenLife::Live);
        if live.is_empty() {
            return Err(Refusal::new(SEND_FAILED, "no valid targets"));
        }
        let kept = form.fields().filter(|(key, _)| *key != "registration_id");
        let fields: Map<String, Value> =
            kept.map(|(key, value)| (key.to_owned(), json!(value))).collect();
        let raw = json!({"path": request.path, "form": fields});
        for token in &live {
            if let Some(jobkey) = message.jobkey {
                let scoped = format!("{}\n{jobkey}", account.package_name);
                if !self.state().seen.first_time(token, &scoped) {
                    continue;
                }
            }
            phones.show(Shown {
                vendor: VENDOR.to_owned(),
                token: (*token).to_owned(),
                at: request.now,
                push_id: message.jobkey.map(str::to_owned),
                title: message.title.to_owned(),
                body: message.description.to_owned(),
                ext: message.payload.map(str::to_owned),
                replaces: message.notify_id.map(|id| id.to_string()),
                raw: raw.clone(),
            });
        }
        let mut data = Map::new();
        data.insert("id".to_owned(), json!(format!("sdm{}", random_hex(10))));
        if !dead.is_empty() {
            data.insert("bad_regids".to_owned(), json!(dead.join(",")));
        }
        Ok((data, u64::try_from(live.len()).unwrap_or(u64::MAX)))
    }
}

fn check_package(form: &Form, account: &XiaomiAccount, many_packages: bool) -> Result<(), Refusal> {
    let names = form
        .filled("restricted_package_name")
        .ok_or_else(|| Refusal::new(MISSING, "restricted_package_name is missing"))?;
    let own = account.package_name.as_str();
    let fits =
        if many_packages { names.split(',').any(|name| name.trim() == own) } else { names == own };
    if !fits {
        return Err(Refusal::new(PACKAGE_NAME, "the package name is not of this secret"));
    }
    Ok(())
}

impl Simulator for Xiaomi {
    fn vendor(&self) -> &'static str {
        VENDOR
    }

    fn owns(&self, path: &str) -> bool {
        matches!(path, "/v2/message/regid" | "/v3/message/regid" | "/v4/message/regid")
    }

    fn answer(&self, request: &SimRequest, phones: &Phones) -> SimReply {
        let many_packages = match request.path.as_str() {
            "/v2/message/regid" => false,
            "/v3/message/regid" | "/v4/message/regid" => true,
            _ => return SimReply::empty(StatusCode::NOT_FOUND),
        };
        let outcome = self.send(request, many_packages, phones);
        phones.count_request(VENDOR, outcome.is_err());
        let mut body = outcome.unwrap_or_else(|refusal| {
            json!({
                "result": "error",
                "code": refusal.code,
                "reason": refusal.text,
                "description": refusal.text,
            })
        });
        body["trace_id"] = json!(format!("Xlm{}", random_hex(10)));
        SimReply::json(StatusCode::OK, &body)
    }

    fn credentials(&self) -> Vec<SimCredential> {
        let credential = |account: &XiaomiAccount| {
            let private = |(id, class): (&String, &ChannelClass)| {
                (*class == ChannelClass::Private).then(|| id.clone())
            };
            // The smallest id, so that the answer does not depend on the order of a hash map.
            let channel = account.channels.iter().filter_map(private).min();
            SimCredential {
                name: "secret",
                credential: json!({
                    "type": "secret",
                    "package_name": account.package_name,
                    "app_secret": account.app_secret,
                }),
                options: json!({"channel_id": channel}),
            }
        };
        self.accounts.iter().map(credential).collect()
    }
}
