//! What every HTTP reply shares: what its status alone means, when to come back, and which of its
//! words may be kept.

use std::time::{Duration, UNIX_EPOCH};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::model::time::UnixMs;
use crate::transport::Reply;
use crate::vendor::{Target, ThrottleScope, Verdict};

/// Longest wait believed of a `Retry-After`: a broken clock must not silence a lane for years.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Bytes of a body looked at for words.
const WORDS_BYTES_MAX: usize = 4_096;

/// The verdict of a reply whose body says nothing we know (reference, part 0, rule 4).
pub fn verdict_by_status(reply: &Reply, now: UnixMs) -> Verdict {
    let retry_after = retry_after(&reply.headers, now);
    match reply.status {
        status if status.is_success() => Verdict::Accepted,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Verdict::AuthRejected { renew: false },
        StatusCode::TOO_MANY_REQUESTS => {
            Verdict::Throttled { retry_after, scope: ThrottleScope::Certificate }
        }
        // The server waited for us in vain: the same request may well pass.
        StatusCode::REQUEST_TIMEOUT => Verdict::Unavailable { retry_after },
        status if status.is_client_error() => Verdict::Refused,
        // No vendor redirects: a 3xx comes from something in between that may go away.
        _ => Verdict::Unavailable { retry_after },
    }
}

/// How long the vendor asks to wait: delta seconds or an HTTP date (RFC 9110, 10.2.3), at most
/// [`RETRY_AFTER_MAX`]; `None` when absent or unreadable.
pub fn retry_after(headers: &HeaderMap, now: UnixMs) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            UnixMs(0).after(date.duration_since(UNIX_EPOCH).ok()?).since(now)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// A body's text, fit for a trace: white space squeezed, control characters and every token of
/// the request taken out.
pub fn words(body: &[u8], targets: &[Target]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(WORDS_BYTES_MAX)]);
    clean(&text, targets)
}

/// The same for text already read out of a body.
pub fn clean(text: &str, targets: &[Target]) -> String {
    let mut clean = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if !word.is_empty() {
            if !clean.is_empty() {
                clean.push(' ');
            }
            clean.push_str(word);
        }
    }
    for target in targets {
        let token = target.token.as_str();
        if !token.is_empty() && clean.contains(token) {
            clean = clean.replace(token, &target.token.to_string());
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;

    use super::*;
    use crate::model::id::Token;

    const NOW: UnixMs = UnixMs(784_111_717_000);

    fn waits(value: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        retry_after(&headers, NOW)
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(waits("7"), Some(Duration::from_secs(7)));
        assert_eq!(waits("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(waits("Sun, 06 Nov 1994 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(waits("99999999999"), Some(RETRY_AFTER_MAX));
        for unreadable in ["", "soon", "-1", "1.5"] {
            assert_eq!(waits(unreadable), None, "{unreadable}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), NOW), None);
    }

    #[test]
    fn an_unknown_answer_is_judged_by_its_status_class() {
        let judge = |status: u16| {
            let status = StatusCode::from_u16(status).expect("a status");
            let reply = Reply { status, headers: HeaderMap::new(), body: Bytes::new() };
            verdict_by_status(&reply, NOW).as_str()
        };
        let expected = [
            (200, "accepted"),
            (302, "unavailable"),
            (400, "refused"),
            (401, "auth_rejected"),
            (403, "auth_rejected"),
            (404, "refused"),
            (408, "unavailable"),
            (429, "throttled"),
            (500, "unavailable"),
            (599, "unavailable"),
        ];
        for (status, verdict) in expected {
            assert_eq!(judge(status), verdict, "{status}");
        }
    }

    #[test]
    fn words_hold_no_token() {
        let target =
            Target { token: Token("abc123".into()), push_id: uuid::Uuid::nil(), badge: None };
        let words = words(b"<p>no\r\n\tpath /3/device/abc123</p>\0 \xff", &[target]);
        assert!(!words.contains("abc123"), "{words}");
        assert!(words.starts_with("<p>no path /3/device/#"), "{words}");
    }
}
