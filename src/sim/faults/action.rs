//! What a fault rule does to a request and its answer.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::time::UnixMs;
use crate::sim::SimReply;
use crate::sim::tls::TlsFault;

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
    /// Serves this request and meets the next one of its connection with a GOAWAY that names the
    /// streams before as the last it has processed, with this debug data. Whatever comes later on
    /// the connection is not looked at. HTTP/2 only.
    pub goaway_before_next: Option<String>,
    /// Announces so many concurrent streams on the connection; holds until the rules are cleared.
    /// HTTP/2 only.
    pub streams: Option<u32>,
    /// Ends the vendor's direction of the TCP connection in place of the answer, and goes on
    /// reading. The vendor has taken the request.
    pub half_close: bool,
    /// Reads nothing more of the connection and answers nothing; the vendor has not seen the
    /// request.
    pub stop_reading: bool,
    /// The vendor's clock is ahead of the machine's by so many seconds, or behind when negative.
    pub clock_ahead_s: i64,
    /// Spoils TLS when a connection is accepted, before any request: such a rule can only name a
    /// listener, `nth`, `times` and `probability`, and does nothing else.
    pub tls: Option<TlsFault>,
    /// Whether the vendor takes the request, so that the phone rings, although the answer is not
    /// the vendor's. By default only where the answer is the vendor's own or is lost on the way
    /// (`reset_after`, `half_close`, `truncated`).
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
            && !self.stop_reading
            && matches!(self.answer, None | Some(Canned::Truncated));
        self.processed.unwrap_or(own)
    }

    /// How long to wait first.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// What the vendor's clock shows at `now`.
    pub fn vendors_time(&self, now: UnixMs) -> UnixMs {
        UnixMs(now.0.saturating_add_signed(self.clock_ahead_s.saturating_mul(1_000)))
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

    /// Whether the action makes sense.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), String> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

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
