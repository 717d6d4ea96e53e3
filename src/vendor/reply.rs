//! What reading replies shares: JSON whose codes come as text or as number, the meaning of bare
//! HTTP statuses, `Retry-After`, and vendor words without tokens.
//!
//! A bare status is one whose body says nothing known. 5xx comes back later, 401 wants another
//! access token, 429 is a throttle, any other 4xx is final, and a 200 that is not the vendor's JSON
//! is a gateway speaking, not the vendor ([`bare`]). APNs and FCM also use 403 and 408 as HTTP
//! defines them ([`bare_by_rfc`]).

use std::cmp::Reverse;
use std::time::{Duration, UNIX_EPOCH};

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::{Map, Value};

use crate::model::time::UnixMs;
use crate::transport::{Reply, TransportError};
use crate::vendor::clocks;
use crate::vendor::{Answer, SAYS_BYTES_MAX, Target, ThrottleScope, Verdict};

/// Longest wait believed of a `Retry-After`: a broken clock must not silence a lane for years.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Bytes of a vendor's words looked at: enough to fill an answer even after blanks were squeezed
/// and tokens became shorter.
const WORDS_BYTES_MAX: usize = 8 * SAYS_BYTES_MAX;

/// Where a vendor's day ends: midnight in China, UTC+8 all year.
const CHINA_OFFSET_MS: u64 = 8 * 60 * 60 * 1_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The reply's JSON object. One that arrives as JSON text inside a JSON string is unwrapped, as
/// seen from OPPO; `None` when it is no object.
pub fn object(reply: &Reply) -> Option<Map<String, Value>> {
    unwrap(serde_json::from_slice(&reply.body).ok()?)
}

/// An object, or the object in a JSON string.
pub fn unwrap(value: Value) -> Option<Map<String, Value>> {
    match unquote(value) {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// A value, or the value whose JSON text the string holds.
pub fn unquote(value: Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other,
    }
}

/// A code, which vendors write as text or as number; `None` when absent or blank.
pub fn code(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number written as number or as text.
pub fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A text field; empty when absent or not text.
pub fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A list of tokens, which vendors write as an array, as one text with commas, or as the JSON text
/// of an array; blank ones and what is no text are left out.
pub fn tokens(value: Option<&Value>) -> Vec<String> {
    let word = |text: &str| Some(text.trim().to_owned()).filter(|word| !word.is_empty());
    match value {
        Some(Value::Array(list)) => {
            list.iter().filter_map(Value::as_str).filter_map(word).collect()
        }
        // A token may be all digits, which is JSON as well: only an array is unquoted.
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(list @ Value::Array(_)) => tokens(Some(&list)),
            _ => text.split(',').filter_map(word).collect(),
        },
        _ => Vec::new(),
    }
}

/// How long the vendor asks to wait: delta seconds or an HTTP date (RFC 9110, 10.2.3), at most
/// [`RETRY_AFTER_MAX`]; `None` when absent or unreadable.
pub fn retry_after(reply: &Reply, now: UnixMs) -> Option<Duration> {
    let text = reply.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            // By the vendor's own clock where it tells its time: ours may be another.
            UnixMs(0).after(at).since(clocks::date(reply).unwrap_or(now))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// What no answer means, as far as the transport can tell.
pub fn unanswered(error: &TransportError) -> Answer {
    let verdict = match error {
        TransportError::Lost(_) => Verdict::Unknown,
        TransportError::NotSent(_)
        | TransportError::Handshake(_)
        | TransportError::Untrusted { .. } => Verdict::Unavailable { retry_after: None },
    };
    Answer::new(verdict, error.code(), &error.to_string())
}

/// "Slow down" for everything of the certificate.
pub fn throttled(retry_after: Option<Duration>) -> Verdict {
    Verdict::Throttled { retry_after, scope: ThrottleScope::Certificate }
}

/// How long until the day's quota starts anew at midnight in China.
pub fn until_china_midnight(now: UnixMs) -> Duration {
    let into_day = (now.0 % DAY_MS + CHINA_OFFSET_MS) % DAY_MS;
    Duration::from_millis(DAY_MS - into_day)
}

/// What a status means whatever the body says; `None` when the body decides: 2xx, and the 4xx in
/// which vendors put their own codes.
pub fn forced(reply: &Reply, now: UnixMs) -> Option<Verdict> {
    match reply.status {
        StatusCode::TOO_MANY_REQUESTS => Some(throttled(retry_after(reply, now))),
        status if status.is_success() || status.is_client_error() => None,
        // A 3xx leads to a captive portal or a moved host: as good as down.
        _ => Some(Verdict::Unavailable { retry_after: retry_after(reply, now) }),
    }
}

/// What a status means when the body says nothing. `renew` tells whether this vendor's requests
/// carry an access token that a 401 may ask to renew.
pub fn bare(reply: &Reply, now: UnixMs, renew: bool) -> Verdict {
    forced(reply, now).unwrap_or(match reply.status {
        StatusCode::UNAUTHORIZED => Verdict::AuthRejected { renew },
        status if status.is_client_error() => Verdict::Refused,
        _ => Verdict::Unavailable { retry_after: retry_after(reply, now) },
    })
}

/// The same for a vendor that means by 403 and 408 what RFC 9110 means by them.
pub fn bare_by_rfc(reply: &Reply, now: UnixMs, renew: bool) -> Verdict {
    match reply.status {
        // The credential is known and may not do this: another access token changes nothing.
        StatusCode::FORBIDDEN => Verdict::AuthRejected { renew: false },
        // The server waited for us in vain: the same request may well pass.
        StatusCode::REQUEST_TIMEOUT => {
            Verdict::Unavailable { retry_after: retry_after(reply, now) }
        }
        _ => bare(reply, now, renew),
    }
}

/// The answer of a reply without a code of the vendor's: `http_<status>`, or `not_json` for a
/// gateway page with a good status.
pub fn bare_answer(reply: &Reply, now: UnixMs, renew: bool) -> Answer {
    let code = match reply.status {
        status if status.is_success() => "not_json".to_owned(),
        status => format!("http_{}", status.as_u16()),
    };
    Answer::new(bare(reply, now, renew), code, "")
}

/// The vendor's words, fit for a trace: white space and control characters squeezed, every token
/// of this call taken out.
pub fn says(words: &str, targets: &[Target]) -> String {
    let mut clean = squeezed(head(words));
    if clean.contains("\\/") {
        clean = clean.replace("\\/", "/");
    }
    let mut found: Vec<&str> = targets
        .iter()
        .map(|target| target.token.as_str())
        .filter(|token| !token.is_empty() && clean.contains(*token))
        .collect();
    // The longest first: one token may be the beginning of another.
    found.sort_unstable_by_key(|token| Reverse(token.len()));
    for token in found {
        clean = clean.replace(token, "[token]");
    }
    clean
}

/// The same for a body that is no JSON of the vendor's, such as a page of a gateway.
pub fn body_says(reply: &Reply, targets: &[Target]) -> String {
    // One byte more than is looked at, so that a cut is seen as one.
    let end = reply.body.len().min(WORDS_BYTES_MAX + 1);
    says(&String::from_utf8_lossy(&reply.body[..end]), targets)
}

/// At most [`WORDS_BYTES_MAX`]. They end where no token can be cut in two: tokens hold no blank,
/// comma or semicolon.
fn head(words: &str) -> &str {
    if words.len() <= WORDS_BYTES_MAX {
        return words;
    }
    let mut end = WORDS_BYTES_MAX;
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    let window = &words[..end];
    let between = |c: char| c.is_whitespace() || c == ',' || c == ';';
    window.rfind(between).map_or("", |at| &window[..at])
}

/// Every run of white space and control characters as one blank, none at the ends.
fn squeezed(text: &str) -> String {
    let mut squeezed = String::with_capacity(text.len());
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    for word in words.filter(|word| !word.is_empty()) {
        if !squeezed.is_empty() {
            squeezed.push(' ');
        }
        squeezed.push_str(word);
    }
    squeezed
}

/// The same answer for every target.
pub fn for_all(answer: Answer, targets: &[Target]) -> Vec<Answer> {
    vec![answer; targets.len()]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use uuid::Uuid;

    use super::*;
    use crate::model::id::Token;

    fn reply(status: u16, retry: &str) -> Reply {
        let mut headers = HeaderMap::new();
        if !retry.is_empty() {
            headers.insert(RETRY_AFTER, HeaderValue::from_str(retry).expect("a header"));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        Reply { status, headers, body: Bytes::new() }
    }

    fn target(token: &str) -> Target {
        Target { token: Token(token.into()), push_id: Uuid::nil(), badge: None }
    }

    #[test]
    fn a_bare_status_means_what_its_class_means() {
        let now = UnixMs(0);
        let later = Verdict::Unavailable { retry_after: None };
        let refused = Verdict::Refused;
        let broken = Verdict::AuthRejected { renew: false };
        let cases = [
            (200, later, later),
            (302, later, later),
            (400, refused, refused),
            (401, Verdict::AuthRejected { renew: true }, Verdict::AuthRejected { renew: true }),
            (403, refused, broken),
            (404, refused, refused),
            (408, refused, later),
            (429, throttled(None), throttled(None)),
            (500, later, later),
            (599, later, later),
        ];
        for (status, verdict, by_rfc) in cases {
            assert_eq!(bare(&reply(status, ""), now, true), verdict, "{status}");
            assert_eq!(bare_by_rfc(&reply(status, ""), now, true), by_rfc, "{status}");
        }
        assert_eq!(bare(&reply(401, ""), now, false), broken);
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date_and_capped() {
        let now = UnixMs::from_secs(784_111_717);
        let wait = |text| retry_after(&reply(503, text), now).map(|wait| wait.as_secs());
        assert_eq!(wait("7"), Some(7));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(60));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(wait("999999999"), Some(86_400));
        for unreadable in ["", "soon", "-1", "1.5"] {
            assert_eq!(wait(unreadable), None, "{unreadable}");
        }
    }

    #[test]
    fn the_day_ends_at_midnight_in_china() {
        let until = |text: &str| {
            let at: jiff::Timestamp = text.parse().expect("a time");
            let now = UnixMs(at.as_millisecond().unsigned_abs());
            until_china_midnight(now).as_secs()
        };
        assert_eq!(until("2026-11-25T15:59:00Z"), 60);
        assert_eq!(until("2026-11-25T16:00:00Z"), 86_400);
        assert_eq!(until("2026-11-25T00:00:00Z"), 16 * 3_600);
    }

    #[test]
    fn words_never_hold_a_token() {
        let targets = [target("abc/d"), target("abc/def")];
        assert_eq!(says("bad abc\\/def, abc/d", &targets), "bad [token], [token]");
        let secret = "s".repeat(200);
        let flood = vec![secret.as_str(); 40].join(",");
        let kept = says(&flood, &[target(&secret)]);
        assert!(!kept.contains("ss") && kept.contains("[token]"), "{kept}");
        assert_eq!(says(&"x".repeat(9_000), &targets), "");
    }

    #[test]
    fn a_page_is_one_line_without_a_token() {
        let mut page = reply(404, "");
        page.body = Bytes::from_static(b"<p>no\r\n\tpath /3/device/abc123</p>\0 \xff");
        let says = body_says(&page, &[target("abc123")]);
        assert_eq!(says, "<p>no path /3/device/[token]</p> \u{fffd}");
        // The token stands across the end of what is looked at.
        let (blank, secret) = (" ".repeat(WORDS_BYTES_MAX - 100), "s".repeat(200));
        page.body = Bytes::from(format!("no{blank}{secret}"));
        assert_eq!(body_says(&page, &[target(&secret)]), "no");
    }

    #[test]
    fn a_list_of_tokens_has_three_forms() {
        let value = serde_json::json!({"a": ["r1", 7, " r2 ", null, ""], "b": "r1, r2,", "c": "7",
            "d": "[\"r1\",\"r2\"]", "e": {"r1": 1}, "f": "[r1"});
        let read = |name: &str| tokens(value.get(name));
        for name in ["a", "b", "d"] {
            assert_eq!(read(name), ["r1", "r2"], "{name}");
        }
        assert_eq!((read("c"), read("f")), (vec!["7".to_owned()], vec!["[r1".to_owned()]));
        assert!(read("e").is_empty() && read("z").is_empty());
    }

    #[test]
    fn codes_come_as_text_or_number() {
        let value = serde_json::json!({"a": "80000000", "b": -2, "c": " ", "d": null, "e": "12"});
        let read = |name: &str| code(value.get(name));
        assert_eq!(read("a").as_deref(), Some("80000000"));
        assert_eq!(read("b").as_deref(), Some("-2"));
        assert_eq!((read("c"), read("d"), read("z")), (None, None, None));
        assert_eq!((number(value.get("e")), number(value.get("b"))), (Some(12), None));
    }
}
