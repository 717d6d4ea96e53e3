//! Faults on order: rules that change, delay or swallow a vendor's answers.
//!
//! A rule names which requests it means and what happens to them; the first rule that fires wins.
//! Rules apply around the simulator, so the simulators themselves stay strict and simple.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::sim::SimRequest;
use crate::sim::faults::action::Action;
use crate::sim::tls::TlsFault;

pub mod action;

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
        let meant = self.is_for(listener)
            && self.rule.action.tls.is_none()
            && wanted.path.as_deref().is_none_or(|path| request.path.starts_with(path))
            && wanted.token.as_deref().is_none_or(|token| carries(request, token));
        meant && self.counts()
    }

    fn fires_at_connect(&mut self, listener: &str) -> bool {
        self.is_for(listener) && self.rule.action.tls.is_some() && self.counts()
    }

    fn is_for(&self, listener: &str) -> bool {
        self.rule.vendor.as_deref().is_none_or(|vendor| vendor == listener)
    }

    /// Counts one that is meant. Answers whether its turn has come.
    fn counts(&mut self) -> bool {
        let wanted = &self.rule.matching;
        if self.remaining == Some(0) {
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
    clears: watch::Sender<u64>,
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
        if rule.action.tls.is_some()
            && (rule.matching.token.is_some() || rule.matching.path.is_some())
        {
            return Err("match: action.tls happens before any request".into());
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
        self.clears.send_modify(|clears| *clears += 1);
    }

    /// Tells whenever the rules were cleared.
    pub fn clears(&self) -> watch::Receiver<u64> {
        self.clears.subscribe()
    }

    /// What happens to a connection that was just accepted, if anything; counts it.
    pub fn at_connect(&self, listener: &str) -> Option<TlsFault> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut inner = self.inner();
        inner.rules.iter_mut().find_map(|rule| {
            let fires = rule.fires_at_connect(listener);
            rule.rule.action.tls.filter(|_| fires)
        })
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
    use bytes::Bytes;
    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::time::UnixMs;

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
        let rule = json!({"match": {"token": "a"}, "action": {"tls": "reset"}});
        assert!(refused(rule).starts_with("match"));
        assert!(serde_json::from_value::<Rule>(json!({"action": {"delay": 1}})).is_err());
    }
}
