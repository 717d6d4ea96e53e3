//! What OPPO's replies mean (open.oppomobile.com documents 11234 and 11238).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::model::time::UnixMs;
use crate::transport::Reply;
use crate::vendor::reply::{self, for_all, throttled};
use crate::vendor::{Answer, Target, Verdict};

const ACCEPTED: &str = "0";

/// The auth token is refused, or missing.
const OF_TOKEN: [&str; 2] = ["11", "29"];

/// The `data` of a successful sign-in.
///
/// # Errors
/// The refusal as an answer.
pub fn sign_in_data(reply: &Reply, now: UnixMs) -> Result<Map<String, Value>, Answer> {
    let body = reply::object(reply);
    let code = body.as_ref().and_then(|body| reply::code(body.get("code")));
    let (Some(mut body), Some(code)) = (body, code) else {
        let mut answer = reply::bare_answer(reply, now, false);
        if answer.verdict == Verdict::Refused {
            // A 4xx without a code of OPPO's: the right to send was not given.
            answer.verdict = Verdict::AuthRejected { renew: false };
        }
        return Err(answer);
    };
    if code == ACCEPTED && reply.status.is_success() {
        let data = body.remove("data").and_then(reply::unwrap);
        return data.ok_or_else(|| reply::bare_answer(reply, now, false));
    }
    let says = reply::says(reply::text(&body, "message"), &[]);
    let verdict = match of_reply(&code, reply, now) {
        // Codes of the send calls make no sense here.
        Verdict::AuthRejected { .. } if OF_TOKEN.contains(&code.as_str()) => {
            Verdict::Unavailable { retry_after: None }
        }
        // Whatever else keeps a sign-in from succeeding is wrong until somebody mends it: there is
        // no token yet that could be renewed.
        Verdict::Refused | Verdict::AuthRejected { .. } => Verdict::AuthRejected { renew: false },
        Verdict::Accepted | Verdict::TokenDead { .. } | Verdict::Unknown => {
            Verdict::Unavailable { retry_after: None }
        }
        verdict => verdict,
    };
    Err(Answer::new(verdict, code, &says))
}

/// One answer per target, in order.
pub fn decode(reply: &Reply, targets: &[Target], now: UnixMs) -> Vec<Answer> {
    let body = reply::object(reply);
    let code = body.as_ref().and_then(|body| reply::code(body.get("code")));
    let (Some(mut body), Some(code)) = (body, code) else {
        return for_all(reply::bare_answer(reply, now, true), targets);
    };
    if code != ACCEPTED || !reply.status.is_success() {
        let says = reply::says(reply::text(&body, "message"), targets);
        let verdict = of_reply(&code, reply, now);
        return for_all(Answer::new(verdict, code, &says), targets);
    }
    match body.remove("data").map(reply::unquote) {
        Some(Value::Array(elements)) => each(&elements, targets, now, reply),
        // What stands for one target says nothing of many.
        Some(Value::Object(element)) if targets.len() == 1 => {
            for_all(of_element(Some(&element), targets, now, reply), targets)
        }
        // One target without details was accepted as the code says; of many nothing is known.
        _ if targets.len() == 1 => for_all(Answer::new(Verdict::Accepted, ACCEPTED, ""), targets),
        _ => for_all(of_element(None, targets, now, reply), targets),
    }
}

/// The elements stand in the order of the request. An id that says otherwise is believed.
fn each(elements: &[Value], targets: &[Target], now: UnixMs, reply: &Reply) -> Vec<Answer> {
    let id =
        |element: &Value| element.get("registrationId").and_then(Value::as_str).map(str::to_owned);
    let by_id: BTreeMap<String, &Value> =
        elements.iter().filter_map(|element| Some((id(element)?, element))).collect();
    let mut answers: Vec<Answer> = Vec::with_capacity(targets.len());
    for (at, target) in targets.iter().enumerate() {
        let token = target.token.as_str();
        let in_order = elements.get(at).filter(|element| id(element).is_none_or(|id| id == token));
        let element = in_order.or_else(|| by_id.get(token).copied());
        answers.push(of_element(element.and_then(Value::as_object), targets, now, reply));
    }
    // Where nothing was accepted the credential may be the wrong one of the two.
    if answers.iter().any(|answer| answer.verdict == Verdict::Accepted) {
        for answer in &mut answers {
            if let Verdict::TokenDead { suspect, .. } = &mut answer.verdict {
                *suspect = false;
            }
        }
    }
    answers
}

/// One target's result; without one nobody knows what became of it.
fn of_element(
    element: Option<&Map<String, Value>>,
    targets: &[Target],
    now: UnixMs,
    reply: &Reply,
) -> Answer {
    let Some(element) = element else {
        return Answer::new(
            Verdict::Unknown,
            "no_result",
            "the reply has no result for this target",
        );
    };
    let code = reply::code(element.get("errorCode")).unwrap_or_else(|| ACCEPTED.to_owned());
    let says = reply::says(reply::text(element, "errorMessage"), targets);
    let id = ["messageId", "message_id"].map(|name| reply::text(element, name));
    let id = id.into_iter().find(|id| !id.is_empty()).map(str::to_owned);
    let answer = Answer::new(of_code(&code, reply, now), code, &says);
    let vendor_id = id.filter(|_| answer.verdict == Verdict::Accepted);
    Answer { vendor_id, ..answer }
}

/// The verdict of a whole reply that is not a success.
fn of_reply(code: &str, reply: &Reply, now: UnixMs) -> Verdict {
    match reply::forced(reply, now) {
        Some(verdict) => verdict,
        // Success with a 4xx status is no answer of OPPO's.
        None if code == ACCEPTED => reply::bare(reply, now, true),
        None => of_code(code, reply, now),
    }
}

/// A code OPPO adds later is final: repeating what nobody understands helps nobody, and the trace
/// shows the code. That covers 10001 to 20000, which are each interface's own.
fn of_code(code: &str, reply: &Reply, now: UnixMs) -> Verdict {
    let retry_after = reply::retry_after(reply, now);
    match code {
        // 32: a repeat of what OPPO has taken already.
        ACCEPTED | "32" => Verdict::Accepted,
        "-1" => Verdict::Unavailable { retry_after },
        "-2" | "13" | "55" => throttled(retry_after),
        "33" => throttled(Some(reply::until_china_midnight(now))),
        // 18 and 19 are the clock: once more with a new time, then a person must look.
        "11" | "29" | "18" | "19" => Verdict::AuthRejected { renew: true },
        "14" | "15" | "16" | "17" | "26" | "27" | "28" | "30" => {
            Verdict::AuthRejected { renew: false }
        }
        "10000" => Verdict::TokenDead { since: None, suspect: true },
        "12" | "20" | "21" | "22" | "23" | "24" | "25" | "31" | "34" | "40" | "41" | "51"
        | "54" | "59" | "67" => Verdict::Refused,
        _ => Verdict::Refused,
    }
}

/// What an operator should do.
pub fn advice(code: &str, verdict: Verdict) -> Option<&'static str> {
    Some(match code {
        "11" | "29" if verdict == (Verdict::AuthRejected { renew: true }) => {
            "if this repeats, see what else signs in with this app key: OPPO refused the token"
        }
        "14" | "15" => "check app_key: OPPO does not know it",
        "16" | "17" => {
            "OPPO refused the signature: the certificate probably holds AppSecret where OPPO wants \
             MasterSecret"
        }
        "18" | "19" => "set the server's clock: OPPO takes only times of the last ten minutes",
        "26" => "ask OPPO to take this server's address off its blacklist",
        "27" | "30" => "apply in OPPO's console for the right to push through the API",
        "28" => "check in OPPO's console that the app is published and not suspended",
        "33" => "use the private class: OPPO's message limit of the day is used up",
        "13" | "55" | "-2" => "lower the certificate's pace: OPPO takes fewer calls",
        "51" | "34" => "check the picture: OPPO does not take it",
        "54" => "set template_id: OPPO wants an approved template for private messages",
        "67" => "check category and notify_level: OPPO has not approved this pair for the app",
        "10000" => {
            "when every token fails, compare app_key and region with the app that made the tokens"
        }
        _ => match verdict {
            Verdict::AuthRejected { .. } => {
                "check app_key and master_secret: OPPO refused the right to send"
            }
            _ => return None,
        },
    })
}
