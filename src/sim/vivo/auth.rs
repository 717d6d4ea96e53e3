//! vivo's auth call: its checks in order, and how the sign is made.

use std::time::Duration;

use serde_json::{Value, json};

use crate::model::time::UnixMs;
use crate::sim::SimRequest;
use crate::sim::fields::Fields;
use crate::sim::md5::md5_hex;
use crate::sim::memory::random_hex;
use crate::sim::vivo::{Refusal, State, TOO_FAST, Vivo, VivoAccount, json_of};

/// How far a timestamp may be from vivo's clock.
pub const TIMESTAMP_SKEW: Duration = Duration::from_secs(600);

/// Most auth calls of an app in one second.
pub const AUTH_CALLS_PER_SECOND: u32 = 10;

const APP_ID_MISSING: u32 = 10_200;
const APP_KEY_MISSING: u32 = 10_201;
const APP_KEY_INVALID: u32 = 10_202;
const TIMESTAMP_MISSING: u32 = 10_203;
const SIGN_MISSING: u32 = 10_204;
const APP_UNKNOWN: u32 = 10_205;
const SIGN_INVALID: u32 = 10_206;
const TIMESTAMP_INVALID: u32 = 10_207;

impl Vivo {
    /// Answers an auth call.
    pub(in crate::sim::vivo) fn authenticate(
        &self,
        request: &SimRequest,
    ) -> Result<Value, Refusal> {
        let body = json_of(request)?;
        let body = Fields(&body);
        let text = |field, code| {
            let text = body.get(field).and_then(text_or_number);
            text.ok_or_else(|| Refusal::new(code, format!("{field} is empty")))
        };
        let app_id = text("appId", APP_ID_MISSING)?;
        let app_key = text("appKey", APP_KEY_MISSING)?;
        let timestamp = text("timestamp", TIMESTAMP_MISSING)?;
        let sign = text("sign", SIGN_MISSING)?;
        let account = self.accounts.iter().find(|account| account.app_id == app_id);
        let account = account.ok_or_else(|| Refusal::new(APP_UNKNOWN, "app does not exist"))?;
        if !self.state().auth_call_fits(&app_id, request.now) {
            return Err(Refusal::new(TOO_FAST, "too many auth calls"));
        }
        if account.app_key != app_key {
            return Err(Refusal::new(APP_KEY_INVALID, "appKey is invalid"));
        }
        if !timely(&timestamp, request.now) {
            return Err(Refusal::new(TIMESTAMP_INVALID, "timestamp is out of range"));
        }
        if sign != signature(account, &timestamp) {
            return Err(Refusal::new(SIGN_INVALID, "sign is invalid"));
        }
        let token = random_hex(16);
        self.state().tokens.issue(token.clone(), &app_id, request.now);
        Ok(json!({"authToken": token}))
    }
}

impl State {
    fn auth_call_fits(&mut self, app_id: &str, now: UnixMs) -> bool {
        let calls = self.auth_calls.entry(app_id.to_owned()).or_default();
        if calls.0 != now.secs() {
            *calls = (now.secs(), 0);
        }
        calls.1 = calls.1.saturating_add(1);
        calls.1 <= AUTH_CALLS_PER_SECOND
    }
}

/// A value that some clients send as text and others as a number.
pub(crate) fn text_or_number(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn timely(timestamp: &str, now: UnixMs) -> bool {
    let at = timestamp.parse().map(UnixMs);
    at.is_ok_and(|at| now.since(at) <= TIMESTAMP_SKEW && at.since(now) <= TIMESTAMP_SKEW)
}

fn signature(account: &VivoAccount, timestamp: &str) -> String {
    let VivoAccount { app_id, app_key, app_secret } = account;
    md5_hex(format!("{app_id}{app_key}{timestamp}{app_secret}").trim().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_of_the_reference_is_recomputed() {
        let account = VivoAccount {
            app_id: "10004".to_owned(),
            app_key: "vivo-app-key".to_owned(),
            app_secret: "vivo-app-secret".to_owned(),
        };
        let sign = signature(&account, "1700000000000");
        assert_eq!(sign, "aeedc66452f375beb3cba096d197d74b");
    }
}
