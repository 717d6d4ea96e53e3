//! The Android vendors' simulators, asked directly: each check is met by a request that breaks it
//! and must answer with the vendor's own code, and good requests ring phones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use offpush::model::time::UnixMs;
use offpush::sim::phones::{Phones, TokenLife};
use offpush::sim::{SimReply, SimRequest, Simulator};
use serde_json::{Map, Value};

mod honor;
mod huawei;
mod meizu;
mod oppo;
mod vivo;
mod xiaomi;

/// The tests' present: 2023-11-14.
const NOW: UnixMs = UnixMs(1_700_000_000_000);
const FORM: &str = "application/x-www-form-urlencoded;charset=UTF-8";
const JSON: &str = "application/json; charset=UTF-8";

/// A POST at [`NOW`] without headers.
fn post(path: &str, body: impl Into<bytes::Bytes>) -> SimRequest {
    SimRequest {
        method: Method::POST,
        path: path.to_owned(),
        query: String::new(),
        headers: HeaderMap::new(),
        body: body.into(),
        connection: 1,
        client_certificate: None,
        now: NOW,
    }
}

/// The request with one more header.
fn with_header(mut request: SimRequest, name: &'static str, value: &str) -> SimRequest {
    let value = HeaderValue::from_str(value).unwrap();
    request.headers.append(HeaderName::from_static(name), value);
    request
}

/// A form as an ordinary client encodes it.
fn form_text(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A form POST.
fn post_form(path: &str, fields: &[(&str, &str)]) -> SimRequest {
    with_header(post(path, form_text(fields)), "content-type", FORM)
}

/// The JSON body of an answer.
fn body(reply: &SimReply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

/// `count` different phones.
fn tokens(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("phone{index}")).collect()
}

/// Declares a phone dead.
fn kill(phones: &Phones, vendor: &str, token: &str) {
    phones.set_life(vendor, token, TokenLife::Dead { since: NOW });
}

/// Puts `value` at the dotted `path` of nested objects, making those that lack; `null` removes.
fn put(object: &mut Value, path: &str, value: Value) {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = object;
    for name in parents.split('.').filter(|name| !name.is_empty()) {
        let map = at.as_object_mut().unwrap();
        at = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
    }
    let map = at.as_object_mut().unwrap();
    if value.is_null() {
        map.remove(last);
    } else {
        map.insert(last.to_owned(), value);
    }
}

/// Asserts that a request is refused whole, counted as such, and rings nobody.
fn assert_refused(simulator: &dyn Simulator, request: &SimRequest) -> (StatusCode, Value) {
    let phones = Phones::default();
    let reply = simulator.answer(request, &phones);
    let vendor = simulator.vendor();
    let counts = (phones.requests(vendor), phones.rejected(vendor), phones.rung(vendor));
    assert_eq!(counts, (1, 1, 0), "{}", String::from_utf8_lossy(&reply.body));
    (reply.status, body(&reply))
}
