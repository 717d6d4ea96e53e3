//! Clocks that differ: when a vendor refuses a good credential because our time is not its own.
//!
//! Provider tokens, assertions and signatures carry the time at which they were made. A vendor
//! refuses those that are too old or of the future, in the same words or nearly so as it refuses a
//! bad credential. What only clocks explain, and what the `Date` of the answer (RFC 9110, 6.6.1)
//! shows to be theirs, breaks no certificate: the vendor counts as not available until the clocks
//! agree again.

use std::time::{Duration, UNIX_EPOCH};

use http::header::DATE;

use crate::model::time::UnixMs;
use crate::transport::Reply;
use crate::vendor::{Answer, Verdict};

/// The code in traces and advice of what clocks explain; it is no vendor's.
pub const CODE: &str = "clock_skew";

/// A difference from which a refusal that clocks may explain is blamed on them. `Date` has whole
/// seconds, and a gateway's clock may not be quite the vendor's.
const BLAMED_FROM: Duration = Duration::from_secs(10);

/// Whether clocks that differ explain a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// They do not.
    No,
    /// They may: the `Date` of the answer decides.
    Perhaps,
    /// Nothing else does, when the proof was made just now.
    Surely,
}

/// Between handing a request over and having its answer, by our clock.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// When the request was handed over.
    pub sent: UnixMs,
    /// When its answer was there.
    pub received: UnixMs,
}

/// The answer's `Date`, when it has one that can be read.
pub fn date(reply: &Reply) -> Option<UnixMs> {
    let text = reply.headers.get(DATE)?.to_str().ok()?;
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixMs(0).after(since))
}

/// By how much the vendor's clock differs from ours at least, in seconds: positive when it is
/// ahead of ours, 0 when its time lies within the exchange; `None` without a `Date`.
pub fn ahead_s(reply: &Reply, exchange: Exchange) -> Option<i64> {
    let date = date(reply)?;
    // The date was cut to its second.
    let latest = date.after(Duration::from_millis(999));
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    Some(match () {
        () if date > exchange.received => seconds(date.since(exchange.received)),
        () if latest < exchange.sent => -seconds(exchange.sent.since(latest)),
        () => 0,
    })
}

/// A refusal as it is to be acted on: one that clocks explain becomes `unavailable` under
/// [`CODE`], with the vendor's words and how far the clocks are apart. Others stay as they are.
pub fn judged(answer: Answer, blame: Blame, reply: &Reply, exchange: Exchange) -> Answer {
    if blame == Blame::No || !matches!(answer.verdict, Verdict::AuthRejected { .. }) {
        return answer;
    }
    let ahead = ahead_s(reply, exchange).unwrap_or(0);
    let apart = ahead.unsigned_abs() >= BLAMED_FROM.as_secs();
    if blame == Blame::Perhaps && !apart {
        return answer;
    }
    let words = match ahead {
        _ if !apart => "only clocks that differ explain this".to_owned(),
        0.. => format!("the vendor's clock is {} ahead of ours", span(ahead)),
        _ => format!("the vendor's clock is {} behind ours", span(ahead)),
    };
    let said = match answer.code == answer.says || answer.says.is_empty() {
        true => answer.code,
        false => format!("{} {}", answer.code, answer.says),
    };
    let verdict = Verdict::Unavailable { retry_after: None };
    Answer::new(verdict, CODE, &format!("{words}: {}", said.trim()))
}

/// Seconds as people say them.
fn span(seconds: i64) -> String {
    let seconds = seconds.unsigned_abs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    const EXCHANGE: Exchange =
        Exchange { sent: UnixMs(1_700_000_000_500), received: UnixMs(1_700_000_002_500) };

    fn reply(secs: Option<u64>) -> Reply {
        let mut headers = HeaderMap::new();
        if let Some(secs) = secs {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs));
            headers.insert(DATE, HeaderValue::from_str(&text).expect("a date"));
        }
        Reply { status: StatusCode::FORBIDDEN, headers, body: Bytes::new() }
    }

    #[test]
    fn a_date_within_the_exchange_is_no_difference() {
        let ahead = |secs| ahead_s(&reply(Some(secs)), EXCHANGE);
        for secs in 1_700_000_000..=1_700_000_002 {
            assert_eq!(ahead(secs), Some(0), "{secs}");
        }
        assert_eq!(ahead(1_700_003_602), Some(3_599));
        assert_eq!(ahead(1_699_996_400), Some(-3_599));
        assert_eq!(ahead_s(&reply(None), EXCHANGE), None);
    }

    #[test]
    fn only_what_clocks_explain_is_blamed_on_them() {
        let refusal = Answer::new(Verdict::AuthRejected { renew: true }, "Bad", "Bad");
        let verdict = |blame, secs| judged(refusal.clone(), blame, &reply(secs), EXCHANGE).code;
        let (near, far) = (Some(1_700_000_001), Some(1_700_000_601));
        assert_eq!(verdict(Blame::No, far), "Bad");
        assert_eq!(verdict(Blame::Perhaps, near), "Bad");
        assert_eq!(verdict(Blame::Perhaps, None), "Bad");
        assert_eq!(verdict(Blame::Perhaps, far), CODE);
        assert_eq!(verdict(Blame::Surely, near), CODE);
        assert_eq!(verdict(Blame::Surely, None), CODE);
        let said = judged(refusal, Blame::Surely, &reply(far), EXCHANGE);
        assert_eq!(said.says, "the vendor's clock is 9 min ahead of ours: Bad");
        let other = Answer::new(Verdict::Refused, "Bad", "");
        assert_eq!(judged(other.clone(), Blame::Surely, &reply(far), EXCHANGE), other);
    }
}
