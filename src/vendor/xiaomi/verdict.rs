//! What Xiaomi's replies mean (dev.mi.com documents 1559 and 1560).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::model::time::UnixMs;
use crate::transport::Reply;
use crate::vendor::reply::{self, for_all, throttled};
use crate::vendor::{Answer, Target, Verdict};

const ACCEPTED: &str = "0";

/// One answer per target, in order.
pub fn decode(reply: &Reply, targets: &[Target], now: UnixMs) -> Vec<Answer> {
    let body = reply::object(reply);
    let code = body.as_ref().and_then(|body| reply::code(body.get("code")));
    let (Some(body), Some(code)) = (body, code) else {
        // Nothing can be renewed here: the secret itself is in every request.
        return for_all(reply::bare_answer(reply, now, false), targets);
    };
    if code == ACCEPTED && reply.status.is_success() {
        return accepted(&body, targets, now);
    }
    let says = reply::says(words(&body), targets);
    let verdict = match reply::forced(reply, now) {
        Some(verdict) => verdict,
        // Success with a 4xx status is no answer of Xiaomi's.
        None if code == ACCEPTED => reply::bare(reply, now, false),
        None => of_code(&code, reply, now),
    };
    for_all(Answer::new(verdict, code, &says), targets)
}

/// Codes that are about the whole request. One that Xiaomi adds later is final: repeating what
/// nobody understands helps nobody, and the trace shows the code.
fn of_code(code: &str, reply: &Reply, now: UnixMs) -> Verdict {
    let retry_after = reply::retry_after(reply, now);
    match code {
        "-1" | "1" | "10001" | "10002" | "10003" | "10037" | "20607" | "26003" | "65029" => {
            Verdict::Unavailable { retry_after }
        }
        "10027" | "26004" | "200002" => throttled(retry_after),
        // Quotas of a day: nothing passes before the next one begins.
        "10034" | "200001" => throttled(Some(reply::until_china_midnight(now))),
        // No target of the request was valid; one code for all of them proves little.
        "10029" | "20301" => Verdict::TokenDead { since: None, suspect: true },
        "10031" | "10036" | "21301" | "21302" | "21303" | "22000" | "22006" | "22007" | "22022" => {
            Verdict::AuthRejected { renew: false }
        }
        "10008" | "10012" | "10016" | "10017" | "21305" | "22102" | "26006" | "27001" | "65003"
        | "65009" | "65014" | "65015" | "65036" | "65037" | "65038" => Verdict::Refused,
        _ => reply::forced(reply, now).unwrap_or(Verdict::Refused),
    }
}

/// Code 0: every target was taken but those in `data.bad_regids`, which one client spells
/// `bad_regIds`. Clients have seen a text with commas; the documents do not show its form.
fn accepted(body: &Map<String, Value>, targets: &[Target], now: UnixMs) -> Vec<Answer> {
    let data = body.get("data").cloned().and_then(reply::unwrap).unwrap_or_default();
    let listed = ["bad_regids", "bad_regIds"].map(|name| reply::tokens(data.get(name)));
    let bad: BTreeSet<String> = listed.into_iter().flatten().collect();
    let dead = |target: &Target| bad.contains(target.token.as_str());
    let id = reply::text(&data, "id");
    let good = match over_quota(body, &data, targets.len()) {
        Some(words) => {
            let verdict = throttled(Some(reply::until_china_midnight(now)));
            Answer::new(verdict, "channel_exceed_quota", &reply::says(words, targets))
        }
        None => Answer {
            vendor_id: Some(id).filter(|id| !id.is_empty()).map(str::to_owned),
            ..Answer::new(Verdict::Accepted, ACCEPTED, "")
        },
    };
    // Where nothing was accepted the secret may be another app's.
    let suspect = targets.iter().all(dead);
    let verdict = Verdict::TokenDead { since: None, suspect };
    let refused = Answer::new(verdict, "bad_regids", "the registration id is invalid");
    targets.iter().map(|target| if dead(target) { refused.clone() } else { good.clone() }).collect()
}

/// The text of `channel_exceed_quota` (such as `no_channel:2 a:3`, dropped counts by channel) when
/// the quota of the channel swallowed the whole request. Fewer drops cannot be told to targets.
fn over_quota<'a>(
    body: &'a Map<String, Value>,
    data: &'a Map<String, Value>,
    targets: usize,
) -> Option<&'a str> {
    let words = [body, data].map(|object| reply::text(object, "channel_exceed_quota"));
    let words = words.into_iter().find(|words| !words.is_empty())?;
    let counts = words.split_whitespace().filter_map(|entry| entry.rsplit(':').next());
    let dropped = counts.filter_map(|count| count.parse::<usize>().ok());
    (dropped.fold(0, usize::saturating_add) >= targets).then_some(words)
}

fn words(body: &Map<String, Value>) -> &str {
    let places = ["reason", "description", "info"].map(|name| reply::text(body, name));
    places.into_iter().find(|words| !words.is_empty()).unwrap_or_default()
}

/// What an operator should do.
pub fn advice(code: &str, verdict: Verdict) -> Option<&'static str> {
    Some(match code {
        "10031" => {
            "ask Xiaomi why the app is on its blacklist: nothing can be sent until it is off"
        }
        "10034" | "200001" => {
            "use an approved private channel: the day's quota of this channel is used up"
        }
        "10036" | "21303" => "check in Xiaomi's console that push is enabled for this app",
        "20301" | "bad_regids" => {
            "when every token fails, compare package name and secret with the app of the tokens"
        }
        "21301" | "21302" | "http_401" => {
            "check the app secret: Xiaomi did not accept it for this package name"
        }
        "22000" | "22006" | "22007" | "22022" => {
            "check package_name: Xiaomi does not know it together with this app secret"
        }
        "26006" => "wait for Xiaomi's manual review of this content, or word it otherwise",
        "27001" => "check channel_id: it is missing, wrong, or not approved in Xiaomi's console",
        "65009" | "65014" | "65015" => {
            "shorten Ext or the options: the message is too long for Xiaomi"
        }
        "65036" | "65037" | "65038" => "check receipt_url: Xiaomi does not take this address",
        "channel_exceed_quota" => {
            "use an approved private channel: this channel's quota is used up"
        }
        "200002" | "10027" | "26004" => {
            "lower the certificate's pace: Xiaomi takes fewer requests a second"
        }
        _ => match verdict {
            Verdict::AuthRejected { .. } => {
                "check app secret and package name: Xiaomi refused the right to send"
            }
            _ => return None,
        },
    })
}
