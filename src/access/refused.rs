//! A refused sign-in, with as much of the vendor's answer as may be shown.

use serde_json::Value;

use crate::transport::{Reply, Request};
use crate::vendor::Answer;

/// Names of fields, or parts of them, whose values are nobody's to see.
const SECRETS: [&str; 4] = ["token", "secret", "sign", "assertion"];

/// What stands in their place.
const HIDDEN: &str = "<secret>";

/// Why there is no access token.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What it means.
    pub answer: Answer,
    /// HTTP status; 0 when no answer came.
    pub status: u16,
    /// The raw answer without secrets.
    pub raw: String,
}

impl Refused {
    /// Of a vendor that did not answer.
    pub(super) fn unanswered(answer: Answer) -> Self {
        Refused { answer, status: 0, raw: String::new() }
    }

    /// Of a vendor that answered.
    pub(super) fn answered(answer: Answer, request: &Request, reply: &Reply) -> Self {
        Refused { answer, status: reply.status.as_u16(), raw: shown(request, reply) }
    }
}

/// A reply as it may be shown: neither what was sent in confidence nor a token that came after all.
fn shown(request: &Request, reply: &Reply) -> String {
    let mut raw = String::from_utf8_lossy(&reply.body).into_owned();
    match serde_json::from_slice::<Value>(&reply.body) {
        Ok(mut body) => {
            if hide(&mut body) > 0 {
                raw = body.to_string();
            }
        }
        // Half an answer that grants a token may hold it.
        Err(_) if reply.status.is_success() => return String::new(),
        Err(_) => {}
    }
    for (name, value) in form_urlencoded::parse(&request.body) {
        if is_secret(&name) && !value.is_empty() {
            raw = raw.replace(&*value, HIDDEN);
        }
    }
    raw
}

/// Hides the texts of secret fields; how many there were.
fn hide(body: &mut Value) -> usize {
    match body {
        Value::Object(fields) => fields.iter_mut().map(hide_field).sum(),
        Value::Array(items) => items.iter_mut().map(hide).sum(),
        _ => 0,
    }
}

fn hide_field((name, value): (&String, &mut Value)) -> usize {
    if !value.is_string() || !is_secret(name) {
        return hide(value);
    }
    *value = HIDDEN.into();
    1
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method, StatusCode, Uri};

    use super::*;

    fn raw(status: u16, body: &'static str) -> String {
        let request = Request {
            method: Method::POST,
            uri: Uri::from_static("https://vendor.example/token"),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"client_id=app&client_secret=s3%2Fcret"),
        };
        let status = StatusCode::from_u16(status).expect("a status");
        let body = Bytes::from_static(body.as_bytes());
        shown(&request, &Reply { status, headers: HeaderMap::new(), body })
    }

    #[test]
    fn a_refusal_is_shown_as_it_came_but_for_secrets() {
        let plain = r#"{ "code": 16, "message": "sign error" }"#;
        assert_eq!(raw(200, plain), plain);
        assert_eq!(raw(401, "client app: s3/cret is wrong"), "client app: <secret> is wrong");
        let granted = r#"{"code":0,"data":{"auth_token":"0123","create_time":1}}"#;
        assert!(!raw(200, granted).contains("0123") && raw(200, granted).contains("create_time"));
        assert_eq!(raw(200, r#"{"access_token":"01"#), "");
    }
}
