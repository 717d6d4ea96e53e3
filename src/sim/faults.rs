//! Faults on order: rules that change, delay or swallow a vendor's answers.
//!
//! A rule names which requests it means and what happens to them; the first rule that fires wins.
//! Rules apply around the simulator, so the simulators themselves stay strict and simple.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::time::UnixMs;
use crate::sim::{SimReply, SimRequest};

/// Most rules at a time.
pub const RULES_MAX: usize = 1_000;

/// One rule.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Listener it applies to (`apns`, `apns_sandbox`, `fcm` …); every one when absent.
    pub vendor: Option<String>,
    /// Which requests.
    #[serde(rename = "match")]
    pub matching: Match,
    /// What happens to them.
    pub action: Action,
}

/// Which requests a rule means: all conditions given must hold. An empty object means every
/// request, those of token endpoints included.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// A device token that stands in the path or the body, plain or form-encoded.
    pub token: Option<String>,
    /// How the path begins.
    pub path: Option<String>,
    /// From which matching request on, counted from 1.
    pub nth: Option<u64>,
    /// How many requests it applies to; with `nth` one, otherwise all.
    pub times: Option<u64>,
    /// Share of the matching requests it applies to, 0 to 1.
    pub probability: Option<f64>,
    /// Makes `probability` repeatable.
    pub seed: u64,
}

/// What happens to a request. Fields combine: a delay before a reset is both.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Action {
    /// Waits first.
    pub delay_ms: u64,
    /// Answers with this status in the vendor's place.
    pub status: Option<u16>,
    /// Body for `status`: text as it is, anything else as JSON.
    pub body: Option<Value>,
    /// Headers added to the answer.
    pub headers: BTreeMap<String, String>,
    /// `Retry-After` of the answer: seconds, or any text as it is.
    pub retry_after: Option<Value>,
    /// `Retry-After` as the HTTP date so many seconds from now.
    pub retry_after_date_s: Option<u64>,
    /// A ready-made bad answer.
    pub answer: Option<Canned>,
    /// Resets the TCP connection; the vendor has not seen the request.
    pub reset_before: bool,
    /// Resets the TCP connection after the vendor has taken the request.
    pub reset_after: bool,
    /// Resets only the request's HTTP/2 stream, with this error code (RFC 9113, 7): 7 is
    /// `REFUSED_STREAM`. Closes the connection under HTTP/1.1.
    pub reset_stream: Option<u32>,
    /// Leaves the request open for ever.
    pub never_answer: bool,
    /// Begins to close the connection (GOAWAY, or `connection: close`); the request is answered.
    pub goaway: bool,
    /// Whether the vendor takes the request, so that the phone rings, although the answer is not
    /// the vendor's. By default only where the answer is the vendor's own or is lost on the way
    /// (`reset_after`, `truncated`).
    pub processed: Option<bool>,
}

/// Ready-made bad answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Canned {
    /// A gateway's HTML page, status 502.
    #[serde(rename = "html_502")]
    Html502,
    /// Octets that are no JSON, with the status 200 unless `status` says otherwise.
    Garbage,
    /// No body, with the status 200 unless `status` says otherwise.
    Empty,
    /// Breaks off in the middle of the answer.
    Truncated,
}

impl Action {
    /// Whether the simulator sees the request.
    pub fn reaches_vendor(&self) -> bool {
        let own = self.status.is_none()
            && !self.reset_before
            && self.reset_stream.is_none()
            && !self.never_answer
            && matches!(self.answer, None | Some(Canned::Truncated));
        self.processed.unwrap_or(own)
    }

    /// How long to wait first.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// The answer: the vendor's own, if it has seen the request, with what the rule changes.
    pub fn reply(&self, own: Option<SimReply>, now: UnixMs) -> SimReply {
        let mut reply = match (self.answer, self.status) {
            (Some(Canned::Html502), _) => html_502(),
            (Some(Canned::Garbage), _) => garbage(),
            (Some(Canned::Empty), _) => SimReply::empty(StatusCode::OK),
            (_, Some(_)) => self.scripted(),
            _ => own.unwrap_or_else(|| SimReply::empty(StatusCode::OK)),
        };
        if let Some(status) = self.status.and_then(|status| StatusCode::from_u16(status).ok()) {
            reply.status = status;
        }
        for (name, value) in &self.headers {
            insert(&mut reply.headers, name, value);
        }
        if let Some(wait) = &self.retry_after {
            insert(&mut reply.headers, "retry-after", &text(wait));
        }
        if let Some(seconds) = self.retry_after_date_s {
            let at = UNIX_EPOCH + Duration::from_millis(now.0) + Duration::from_secs(seconds);
            insert(&mut reply.headers, "retry-after", &httpdate::fmt_http_date(at));
        }
        reply
    }

    fn scripted(&self) -> SimReply {
        let mut reply = SimReply::empty(StatusCode::OK);
        if let Some(body) = &self.body {
            let kind = if body.is_string() { "text/plain" } else { "application/json" };
            reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            reply.body = Bytes::from(text(body));
        }
        reply
    }

    fn check(&self) -> Result<(), String> {
        if let Some(status) = self.status
            && !(200..=599).contains(&status)
        {
            return Err("action.status: must be 200 to 599".into());
        }
        if self.body.is_some() && self.status.is_none() {
            return Err("action.body: needs action.status".into());
        }
        let own_answer = self.status.is_none() && self.answer.is_none();
        if own_answer && (self.retry_after.is_some() || self.retry_after_date_s.is_some()) {
            return Err("action.retry_after: needs action.status or action.answer".into());
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                return Err(format!("action.headers: {name} is no header"));
            }
        }
        match &self.retry_after {
            None | Some(Value::String(_) | Value::Number(_)) => Ok(()),
            Some(_) => Err("action.retry_after: must be seconds or text".into()),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

fn html_502() -> SimReply {
    let mut reply = SimReply::empty(StatusCode::BAD_GATEWAY);
    reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    reply.body = Bytes::from_static(
        b"<html><head><title>502 Bad Gateway</title></head><body>bad gateway</body></html>",
    );
    reply
}

fn garbage() -> SimReply {
    let mut reply = SimReply::empty(StatusCode::OK);
    reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.body = Bytes::from_static(b"{\"\xff\xfe\x00 not json");
    reply
}

/// A rule in force, as `GET /faults` lists it.
#[derive(Clone, Debug, Serialize)]
pub struct ActiveRule {
    /// Its number.
    pub id: u64,
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
    /// Requests that matched while it was in force.
    pub seen: u64,
    /// Requests it was applied to so far.
    pub fired: u64,
    /// Requests it will still be applied to; absent when there is no end.
    pub remaining: Option<u64>,
    #[serde(skip)]
    random: fastrand::Rng,
}

impl ActiveRule {
    fn fires(&mut self, listener: &str, request: &SimRequest) -> bool {
        let wanted = &self.rule.matching;
        let meant = self.rule.vendor.as_deref().is_none_or(|vendor| vendor == listener)
            && wanted.path.as_deref().is_none_or(|path| request.path.starts_with(path))
            && wanted.token.as_deref().is_none_or(|token| carries(request, token));
        if !meant || self.remaining == Some(0) {
            return false;
        }
        self.seen += 1;
        if wanted.nth.is_some_and(|nth| self.seen < nth) {
            return false;
        }
        if wanted.probability.is_some_and(|share| self.random.f64() >= share) {
            return false;
        }
        self.fired += 1;
        self.remaining = self.remaining.map(|left| left - 1);
        true
    }
}

/// Whether a request is about a token, whatever the vendor calls it.
fn carries(request: &SimRequest, token: &str) -> bool {
    let contains = |needle: &str| {
        !needle.is_empty()
            && request.body.windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    let encoded: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
    request.path.ends_with(token) || contains(token) || (encoded != token && contains(&encoded))
}

#[derive(Debug, Default)]
struct Inner {
    rules: Vec<ActiveRule>,
    last_id: u64,
}

/// All rules in force.
#[derive(Debug, Default)]
pub struct Faults {
    inner: Mutex<Inner>,
    any: AtomicBool,
}

impl Faults {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Puts a rule into force, after those that are, and returns its number.
    ///
    /// # Errors
    /// A sentence that names the field, when the rule makes no sense or there are
    /// [`RULES_MAX`] already.
    pub fn add(&self, rule: Rule) -> Result<u64, String> {
        rule.action.check()?;
        if rule.matching.probability.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("match.probability: must be 0 to 1".into());
        }
        let mut inner = self.inner();
        if inner.rules.len() == RULES_MAX {
            return Err(format!("at most {RULES_MAX} rules"));
        }
        inner.last_id += 1;
        let id = inner.last_id;
        let once = rule.matching.nth.map(|_| 1);
        let remaining = rule.matching.times.or(once);
        let random = fastrand::Rng::with_seed(rule.matching.seed);
        inner.rules.push(ActiveRule { id, rule, seen: 0, fired: 0, remaining, random });
        self.any.store(true, Ordering::Release);
        Ok(id)
    }

    /// The rules in force, used up ones included.
    pub fn list(&self) -> Vec<ActiveRule> {
        self.inner().rules.clone()
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.inner().rules.clear();
        self.any.store(false, Ordering::Release);
    }

    /// What happens to this request, if anything; counts it.
    pub fn decide(&self, listener: &str, request: &SimRequest) -> Option<Action> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut inner = self.inner();
        let rule = inner.rules.iter_mut().find_map(|rule| {
            let fires = rule.fires(listener, request);
            fires.then_some(&rule.rule)
        });
        rule.map(|rule| rule.action.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(path: &str, body: &'static str) -> SimRequest {
        SimRequest {
            method: http::Method::POST,
            path: path.into(),
            query: String::new(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
            connection: 1,
            client_certificate: None,
            now: UnixMs::from_secs(1_700_000_000),
        }
    }

    fn faults(rule: Value) -> Faults {
        let faults = Faults::default();
        faults.add(serde_json::from_value(rule).unwrap()).unwrap();
        faults
    }

    #[test]
    fn the_third_request_of_one_token_is_hit_once() {
        let rule = json!({"vendor": "apns", "match": {"token": "aa", "nth": 3},
            "action": {"status": 503, "body": {"reason": "ServiceUnavailable"}}});
        let faults = faults(rule);
        let hit = |listener, path| faults.decide(listener, &request(path, "")).is_some();
        assert!(!hit("apns", "/3/device/aa"));
        assert!(!hit("apns", "/3/device/bb"));
        assert!(!hit("fcm", "/3/device/aa"));
        assert!(!hit("apns", "/3/device/aa"));
        assert!(hit("apns", "/3/device/aa"));
        assert!(!hit("apns", "/3/device/aa"));
        let listed = faults.list();
        assert_eq!((listed[0].seen, listed[0].fired, listed[0].remaining), (3, 1, Some(0)));
    }

    #[test]
    fn a_token_is_found_in_a_form() {
        let faults = faults(json!({"match": {"token": "a+b/="}, "action": {"never_answer": true}}));
        assert!(faults.decide("xiaomi", &request("/v3", "registration_id=a%2Bb%2F%3D")).is_some());
        assert!(faults.decide("xiaomi", &request("/v3", "registration_id=other")).is_none());
    }

    #[test]
    fn a_probability_repeats_with_its_seed() {
        let rule = json!({"match": {"probability": 0.5, "seed": 7}, "action": {"status": 500}});
        let run = || {
            let faults = faults(rule.clone());
            let hit = |_| faults.decide("fcm", &request("/", "")).is_some();
            (0..100).map(hit).collect::<Vec<bool>>()
        };
        let first = run();
        assert_eq!(first, run());
        let hits = first.iter().filter(|hit| **hit).count();
        assert!((20..80).contains(&hits), "{hits} of 100");
    }

    #[test]
    fn an_answer_carries_status_body_headers_and_date() {
        let action: Action = serde_json::from_value(json!({"status": 429, "body": {"a": 1},
            "headers": {"x-a": "b"}, "retry_after_date_s": 60}))
        .unwrap();
        assert!(!action.reaches_vendor());
        let reply = action.reply(None, UnixMs::from_secs(1_700_000_000));
        assert_eq!(reply.status, 429);
        assert_eq!(reply.body, r#"{"a":1}"#);
        assert_eq!(reply.headers["x-a"], "b");
        assert_eq!(reply.headers["retry-after"], "Tue, 14 Nov 2023 22:14:20 GMT");
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused() {
        let refused = |rule: Value| {
            let rule = serde_json::from_value(rule).unwrap();
            Faults::default().add(rule).unwrap_err()
        };
        assert!(refused(json!({"action": {"body": "x"}})).starts_with("action.body"));
        assert!(refused(json!({"action": {"retry_after": 1}})).starts_with("action.retry_after"));
        assert!(refused(json!({"action": {"status": 99}})).starts_with("action.status"));
        let rule = json!({"match": {"probability": 2.0}});
        assert!(refused(rule).starts_with("match.probability"));
        assert!(serde_json::from_value::<Rule>(json!({"action": {"delay": 1}})).is_err());
    }

    #[test]
    fn the_vendor_sees_what_is_only_lost_on_the_way_back() {
        let reaches =
            |action: Value| serde_json::from_value::<Action>(action).unwrap().reaches_vendor();
        assert!(reaches(json!({"reset_after": true})));
        assert!(reaches(json!({"answer": "truncated"})));
        assert!(reaches(json!({"delay_ms": 5, "goaway": true})));
        assert!(!reaches(json!({"reset_before": true})));
        assert!(!reaches(json!({"answer": "html_502"})));
        assert!(reaches(json!({"status": 500, "processed": true})));
    }
}
