//! What a value must be beyond its type: ranges, URLs, values that depend on each other.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::Settings;
use crate::config::mistake::{Mistake, nearest};
use crate::vendor;

/// One number and what it may be, both ends included.
struct Range {
    key: &'static str,
    value: fn(&Settings) -> u64,
    min: u64,
    max: u64,
}

const MIB: u64 = 1_024 * 1_024;
const TIB: u64 = MIB * MIB;
const DAY_S: u64 = 86_400;

/// What `log.level` may be, in the words of a mistake.
const LEVEL_FORMS: &str = "a level (off, error, warn, info, debug, trace) or target=level; several \
    are separated by commas, as in info,offpush::dispatch=debug";

macro_rules! ranges {
    ($($section:ident . $field:ident: $min:expr, $max:expr;)*) => {
        &[$(Range {
            key: concat!(stringify!($section), ".", stringify!($field)),
            value: |settings| settings.$section.$field as u64,
            min: $min,
            max: $max,
        },)*]
    };
}

/// Every number an operator may set. A number without a line here would be unchecked; a test
/// compares this list with the settings.
const RANGES: &[Range] = ranges! {
    http.body_bytes_max: 16 * 1_024, 256 * MIB;
    http.header_timeout_s: 1, 600;
    http.request_timeout_s: 1, 3_600;
    http.connections_max: 1, 1_000_000;
    http.key_requests_per_s: 0, 10_000_000;
    http.key_burst: 1, 10_000_000;
    http.unknown_keys_per_s: 0, 1_000_000;
    store.cache_mb: 1, MIB;
    store.recent_mb: 1, 64 * 1_024;
    dedupe.c2c_window_s: 1, 7 * DAY_S;
    dedupe.group_window_s: 1, 7 * DAY_S;
    dedupe.front_entries: 0, 100_000_000;
    queue.rows_max: 1, 1_000_000_000;
    queue.bytes_max: MIB, 64 * TIB;
    queue.age_max_s: 0, DAY_S;
    queue.lease_s: 5, 3_600;
    queue.parcels_in_memory: 1, 1_000_000;
    lanes.in_flight_max: 1, 100_000;
    lanes.memory_mb: 1, 64 * 1_024;
    lanes.request_deadline_s: 1, 300;
    lanes.breaker_failures: 1, 10_000;
    lanes.backoff_base_ms: 1, 60_000;
    lanes.backoff_max_s: 1, DAY_S;
    trace.keep_h: 1, 24 * 365;
    trace.bytes_max: MIB, 64 * TIB;
    dead_letters.keep_h: 8 * 24, 24 * 365;
    presence.foreground_expires_s: 1, 30 * DAY_S;
    presence.stale_login_days: 1, 3_650;
    drain.deadline_s: 0, 3_600;
};

/// Pushes a mistake for every rule that does not hold; `origin` says where a key's value is from.
pub(in crate::config) fn check(
    settings: &Settings,
    origin: &dyn Fn(&str) -> String,
    mistakes: &mut Vec<Mistake>,
) {
    let mut wrong = |key: &str, wrong: String| {
        // A value that did not fit was replaced by its default: it has its mistake already.
        if !mistakes.iter().any(|mistake| mistake.key == key) {
            mistakes.push(Mistake::new(key, wrong, &origin(key)));
        }
    };
    for range in RANGES {
        let value = (range.value)(settings);
        if value < range.min || value > range.max {
            let text = format!("must be between {} and {}, not {value}", range.min, range.max);
            wrong(range.key, text);
        }
    }
    check_paths(settings, &mut wrong);
    check_relations(settings, &mut wrong);
    check_vendors(settings, &mut wrong);
    if let Err(text) = log_level(&settings.log.level) {
        wrong("log.level", text);
    }
}

/// A level, or directives that each end in one. The filter takes any other word for the name of a
/// part of the program and shows nothing but that: a mistyped level would silence errors too.
fn log_level(text: &str) -> Result<(), String> {
    for directive in text.split(',') {
        let (target, level) = match directive.rsplit_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, directive),
        };
        // The filter does not trim what stands before `=`, and takes nothing at all for a level.
        let is_level = !level.is_empty() && LevelFilter::from_str(level).is_ok();
        let is_named = target.is_none_or(|name| !name.is_empty() && name.trim() == name);
        if !is_level || !is_named {
            return Err(format!("`{directive}` is not {LEVEL_FORMS}"));
        }
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("`{text}` is not {LEVEL_FORMS}: {error}")),
    }
}

/// A path that is set must not be empty.
fn check_paths(settings: &Settings, wrong: &mut dyn FnMut(&str, String)) {
    let paths = [
        ("data_dir", Some(&settings.data_dir)),
        ("certs_dir", Some(&settings.certs_dir)),
        ("tls.cert_file", settings.tls.cert_file.as_ref()),
        ("tls.key_file", settings.tls.key_file.as_ref()),
        ("secrets.key_file", settings.secrets.key_file.as_ref()),
        ("vendors.ca_file", settings.vendors.ca_file.as_ref()),
    ];
    for (key, path) in paths {
        if path.is_some_and(|path| path.as_os_str().is_empty()) {
            wrong(key, "must not be empty".to_owned());
        }
    }
}

fn check_relations(settings: &Settings, wrong: &mut dyn FnMut(&str, String)) {
    match (&settings.tls.cert_file, &settings.tls.key_file) {
        (Some(_), None) => wrong("tls.key_file", "must be set when tls.cert_file is".to_owned()),
        (None, Some(_)) => wrong("tls.cert_file", "must be set when tls.key_file is".to_owned()),
        _ => {}
    }
    let (lease_s, deadline_s) = (settings.queue.lease_s, settings.lanes.request_deadline_s);
    if lease_s < deadline_s.saturating_mul(2) {
        // A lease that ends while its request is still out would send the parcel twice.
        let text = format!(
            "must be at least twice lanes.request_deadline_s ({deadline_s}), not {lease_s}"
        );
        wrong("queue.lease_s", text);
    }
    let lanes = &settings.lanes;
    if u64::from(lanes.backoff_max_s) * 1_000 < lanes.backoff_base_ms {
        wrong("lanes.backoff_max_s", "must not be less than lanes.backoff_base_ms".to_owned());
    }
}

fn check_vendors(settings: &Settings, wrong: &mut dyn FnMut(&str, String)) {
    if let Some(proxy) = &settings.vendors.proxy
        && let Err(text) = proxy_url(proxy)
    {
        wrong("vendors.proxy", text);
    }
    let names = || vendor::ALL.iter().map(|vendor| vendor.profile().name);
    for (name, table) in &settings.vendors.endpoints {
        let Some(vendor) = vendor::named(name) else {
            let text = match nearest(name, names()) {
                Some(meant) => format!("there is no such vendor, did you mean `{meant}`"),
                None => format!("there is no such vendor; known: {}", known(names())),
            };
            wrong(&format!("vendors.{name}"), text);
            continue;
        };
        let allowed: Vec<&str> = vendor.profile().endpoints.iter().map(|(name, _)| *name).collect();
        check_endpoints(name, table, &allowed, wrong);
    }
}

/// Checks one vendor's table against the endpoint names of its profile.
fn check_endpoints(
    vendor: &str,
    table: &BTreeMap<String, String>,
    allowed: &[&str],
    wrong: &mut dyn FnMut(&str, String),
) {
    for (name, url) in table {
        let key = format!("vendors.{vendor}.{name}");
        if !allowed.contains(&name.as_str()) {
            let listed = known(allowed.iter().copied());
            wrong(&key, format!("there is no such endpoint; known: {listed}"));
        } else if let Err(text) = endpoint_url(url) {
            wrong(&key, text);
        }
    }
}

fn known<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// A vendor's base URL: `https`, or `http` to this machine only, so that no credential ever
/// travels in the clear.
fn endpoint_url(url: &str) -> Result<(), String> {
    let uri = absolute(url)?;
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_loopback(uri.host().unwrap_or_default()) => Ok(()),
        Some("http") => Err("must be https (http only to a loopback host)".to_owned()),
        _ => Err("must start with https://".to_owned()),
    }
}

fn proxy_url(url: &str) -> Result<(), String> {
    let uri = absolute(url)?;
    if uri.scheme_str() != Some("http") {
        return Err("must start with http://".to_owned());
    }
    if uri.port_u16().is_none() || !matches!(uri.path(), "" | "/") {
        return Err("must be http://host:port and nothing more".to_owned());
    }
    Ok(())
}

fn absolute(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|_| "not a URL".to_owned())?;
    let Some(authority) = uri.authority() else {
        return Err("must be an absolute URL".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("must not hold a user name or password".to_owned());
    }
    if uri.query().is_some() {
        return Err("must not hold a query".to_owned());
    }
    Ok(uri)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn mistakes_of(settings: &Settings) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        check(settings, &|_| "test".to_owned(), &mut mistakes);
        mistakes
    }

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(mistakes_of(&Settings::default()), []);
    }

    #[test]
    fn every_number_has_a_range() {
        let all = serde_json::to_value(Settings::default()).expect("settings");
        for (section, fields) in all.as_object().expect("an object") {
            for (field, value) in fields.as_object().into_iter().flatten() {
                let key = format!("{section}.{field}");
                let listed = RANGES.iter().any(|range| range.key == key);
                assert_eq!(listed, matches!(value, Value::Number(_)), "{key}");
            }
        }
    }

    #[test]
    fn a_lease_shorter_than_two_requests_is_a_mistake() {
        let mut settings = Settings::default();
        settings.queue.lease_s = 30;
        assert_eq!(mistakes_of(&settings)[0].key, "queue.lease_s");
    }

    #[test]
    fn a_log_level_is_a_level_or_directives_that_end_in_one() {
        for good in ["warn", "INFO", "off", "info,offpush::dispatch=debug", "error,[span]=trace"] {
            assert_eq!(log_level(good), Ok(()), "{good}");
        }
        for bad in [
            "warning",
            "loud",
            "",
            "info,",
            "info,loud",
            "offpush=loud",
            "offpush=",
            "=debug",
            "info, offpush=debug",
            "offpush::dispatch",
            "]=info",
        ] {
            let text = log_level(bad).expect_err(bad);
            assert!(text.contains("off, error, warn, info, debug, trace"), "{text}");
        }
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for good in ["https://api.example.com", "http://127.0.0.1:9", "http://[::1]:9/x"] {
            assert_eq!(endpoint_url(good), Ok(()), "{good}");
        }
        for bad in [
            "http://api.example.com",
            "api.example.com",
            "ftp://localhost",
            "https://u:p@h",
            "https://h/?q=1",
            "http://127.0.0.1.example.com",
            "",
        ] {
            assert!(endpoint_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_the_vendor_does_not_have_is_a_mistake() {
        let table = BTreeMap::from([
            ("endpoint".to_owned(), "https://h".to_owned()),
            ("endpint".to_owned(), "https://h".to_owned()),
            ("token_endpoint".to_owned(), "http://h".to_owned()),
        ]);
        let mut keys = Vec::new();
        let allowed = ["endpoint", "token_endpoint"];
        check_endpoints("v", &table, &allowed, &mut |key, _| keys.push(key.to_owned()));
        assert_eq!(keys, ["vendors.v.endpint", "vendors.v.token_endpoint"]);
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        assert_eq!(proxy_url("http://proxy.local:3128"), Ok(()));
        for bad in ["http://proxy.local", "https://proxy.local:1", "socks5://p:1", "http://p:1/x"] {
            assert!(proxy_url(bad).is_err(), "{bad}");
        }
    }
}
