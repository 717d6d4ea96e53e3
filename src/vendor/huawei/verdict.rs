//! What Huawei's replies mean (`https-send-api`, response parameters and result codes).

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Map, Value};

use crate::model::time::UnixMs;
use crate::transport::Reply;
use crate::vendor::reply::{self, for_all, throttled};
use crate::vendor::{Answer, Target, Verdict};

const ACCEPTED: &str = "80000000";
const PARTIAL: &str = "80100000";
const ALL_INVALID: &str = "80300007";

/// Reasons of [`ALL_INVALID`] that are about the app: its tokens are fine.
const APP_REASONS: [&str; 4] =
    ["noPushTypeRight", "noRight", "disableSendHuaweiMsgBecauseOfPenalty", "appinfoError"];

/// One answer per target, in order.
pub fn decode(reply: &Reply, targets: &[Target], now: UnixMs) -> Vec<Answer> {
    let body = reply::object(reply);
    let code = body.as_ref().and_then(|body| reply::code(body.get("code")));
    let (Some(body), Some(code)) = (body, code) else {
        let mut answer = reply::bare_answer(reply, now, true);
        answer.verdict = flow_control(reply, now).unwrap_or(answer.verdict);
        return for_all(answer, targets);
    };
    let says = reply::says(&words(body.get("msg")), targets);
    let forced = flow_control(reply, now).or_else(|| reply::forced(reply, now));
    if let Some(verdict) = forced {
        return for_all(Answer::new(verdict, code, &says), targets);
    }
    match code.as_str() {
        // Success with a 4xx status is no answer of Huawei's.
        ACCEPTED | PARTIAL if !reply.status.is_success() => {
            for_all(reply::bare_answer(reply, now, true), targets)
        }
        ACCEPTED => for_all(accepted(&body, code, &says), targets),
        PARTIAL => partial(&body, &code, targets),
        ALL_INVALID => {
            let about_app = APP_REASONS.iter().any(|reason| says.contains(reason));
            let verdict = if about_app {
                Verdict::AuthRejected { renew: false }
            } else {
                Verdict::TokenDead { since: None, suspect: true }
            };
            for_all(Answer::new(verdict, code, &says), targets)
        }
        known => {
            let verdict = of_code(known, reply, now);
            for_all(Answer::new(verdict, code, &says), targets)
        }
    }
}

/// 503 is Huawei's flow control, not an outage.
fn flow_control(reply: &Reply, now: UnixMs) -> Option<Verdict> {
    let refused = reply.status == StatusCode::SERVICE_UNAVAILABLE;
    refused.then(|| throttled(reply::retry_after(reply, now)))
}

/// Codes that are about the whole request. One that Huawei adds later is final: repeating what
/// nobody understands helps nobody, and the trace shows the code.
fn of_code(code: &str, reply: &Reply, now: UnixMs) -> Verdict {
    match code {
        "80100017" | "80300029" => throttled(reply::retry_after(reply, now)),
        "80200001" | "80200003" | "80200005" => Verdict::AuthRejected { renew: true },
        "80300002" | "80300036" | "80300037" => Verdict::AuthRejected { renew: false },
        "80600003" | "81000001" => {
            Verdict::Unavailable { retry_after: reply::retry_after(reply, now) }
        }
        "80100001" | "80100002" | "80100003" | "80100004" | "80100013" | "80100016"
        | "80100018" | "80100022" | "80300008" | "80300010" | "80300011" | "80300013"
        | "80300030" => Verdict::Refused,
        _ if reply.status == StatusCode::UNAUTHORIZED => Verdict::AuthRejected { renew: true },
        _ => Verdict::Refused,
    }
}

fn accepted(body: &Map<String, Value>, code: String, says: &str) -> Answer {
    let id = Some(reply::text(body, "requestId")).filter(|id| !id.is_empty());
    Answer { vendor_id: id.map(str::to_owned), ..Answer::new(Verdict::Accepted, code, says) }
}

/// Tokens that are not listed were accepted, unless the reply counts failures that it does not
/// list, or lists them in a form nobody knows. The list stands in the JSON text in `msg`, by
/// another source at the top: both are read, and `success` and `failure` beside it.
fn partial(body: &Map<String, Value>, code: &str, targets: &[Target]) -> Vec<Answer> {
    let nested = body.get("msg").cloned().and_then(reply::unwrap).unwrap_or_default();
    let listed = [&nested, body].map(|place| reply::tokens(place.get("illegal_tokens")));
    let illegal: BTreeSet<String> = listed.into_iter().flatten().collect();
    let dead = |target: &Target| illegal.contains(target.token.as_str());
    let count = targets.iter().filter(|target| dead(target)).count();
    // Where nothing was accepted the credential may be the wrong one of the two.
    let suspect = count == targets.len();
    let refused =
        Answer::new(Verdict::TokenDead { since: None, suspect }, code, "the token is illegal");
    let number = |name| [&nested, body].into_iter().find_map(|at| reply::number(at.get(name)));
    let (named, others) = (count as u64, (targets.len() - count) as u64);
    let told = number("failure").is_none_or(|failure| failure <= named)
        && number("success").is_none_or(|success| success >= others)
        && ![&nested, body].into_iter().any(unreadable);
    let other = if told {
        let says = format!("{count} of {} tokens are illegal", targets.len());
        accepted(body, code.to_owned(), &says)
    } else {
        let says = "tokens failed that the reply does not name";
        Answer::new(Verdict::Unknown, "no_result", says)
    };
    let answer = |target: &Target| if dead(target) { refused.clone() } else { other.clone() };
    targets.iter().map(answer).collect()
}

/// Whether there is a list that is neither an array nor a text.
fn unreadable(place: &Map<String, Value>) -> bool {
    let list = place.get("illegal_tokens").unwrap_or(&Value::Null);
    !(list.is_null() || list.is_array() || list.is_string())
}

fn words(msg: Option<&Value>) -> String {
    match msg {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// What an operator should do.
pub fn advice(code: &str, verdict: Verdict) -> Option<&'static str> {
    Some(match code {
        "80100001" | "80100003" => {
            "Huawei found a field it cannot take: compare the certificate's options with its words"
        }
        "80100016" => "Huawei refused the content as sensitive: the sender must word it otherwise",
        "80200001" => {
            "check that client id and secret are this app's: Huawei refused the access token"
        }
        "80200003" | "80200005" => {
            "if this repeats, check the server's clock: Huawei says the access token has expired"
        }
        "80300002" => {
            "enable Push Kit in AppGallery Connect and check that the client id is the app's"
        }
        ALL_INVALID if matches!(verdict, Verdict::AuthRejected { .. }) => {
            "Huawei refuses the app, not its tokens: check its rights and penalties in the console"
        }
        ALL_INVALID => {
            "when every token fails, compare the client id with the app that made the tokens"
        }
        "80300008" => "shorten Ext: the message is over Huawei's 4,096 bytes",
        "80300011" => "set importance to NORMAL: the app has no right to send HIGH",
        "80300013" => {
            "repair the receipt address in Huawei's console: it or its TLS certificate fails"
        }
        "80300037" => "the app is under a penalty: ask Huawei's support what to mend",
        "http_404" => "check the endpoint in the server's config: Huawei does not know the path",
        "http_503" | "80100017" => {
            "lower the certificate's pace or ask Huawei for a higher rate: it throttles the app"
        }
        "1101" | "1203" => "check client id and client secret: Huawei's sign-in refused them",
        _ => match verdict {
            Verdict::AuthRejected { .. } => {
                "check client id and client secret: Huawei refused the right to send"
            }
            _ => return None,
        },
    })
}
