//! What APNs answers, and what each reason means.
//!
//! Facts: Apple, "Handling notification responses from APNs" and "Handling error responses from
//! Apple Push Notification service"; `BadEnvironmentKeyInToken` is what servers really send where
//! the documentation says `BadEnvironmentKeyIdInToken` (reference, A.8 and A.9).

use serde_json::Value;

use crate::model::time::UnixMs;
use crate::transport::Reply;
use crate::vendor::reply::{bare_by_rfc, body_says, for_all, retry_after, says};
use crate::vendor::{Answer, Target, ThrottleScope, Verdict};

/// What a reason means, before times are filled in.
#[derive(Clone, Copy)]
enum Meaning {
    /// This push can never succeed.
    Refused,
    /// The token is dead.
    Dead,
    /// So it says, but a wrong topic or environment says the same.
    Suspect,
    /// The credential or its settings are wrong.
    Broken,
    /// A new provider token on a new connection may help.
    Renew,
    /// Too fast for this device.
    SlowDevice,
    /// Too fast for this credential.
    SlowCertificate,
    /// Later.
    Later,
}

use Meaning::{Broken, Dead, Later, Refused, Renew, SlowCertificate, SlowDevice, Suspect};

/// Every documented reason with its meaning and advice for the operator.
const REASONS: &[(&str, Meaning, &str)] = &[
    (
        "BadDeviceToken",
        Suspect,
        "the token is damaged or belongs to the other environment: development builds need a \
         sandbox certificate, store and TestFlight builds a production one",
    ),
    (
        "DeviceTokenNotForTopic",
        Suspect,
        "the token was made by an app with another bundle id: check the certificate's bundle id \
         and which certificate id the client reports",
    ),
    ("Unregistered", Dead, "the app was removed or got a new token: wait until it registers again"),
    ("ExpiredToken", Dead, "the token has ended: wait until the app registers again"),
    ("BadCollapseId", Refused, "the collapse id is longer than 64 bytes: report this as a bug"),
    ("BadExpirationDate", Refused, "the expiration is not a date: report this as a bug"),
    ("BadMessageId", Refused, "the push id is not a UUID: report this as a bug"),
    ("BadPriority", Refused, "the priority is not one that APNs knows: report this as a bug"),
    ("DuplicateHeaders", Refused, "a header was sent twice: check proxies on the way to APNs"),
    (
        "InvalidPushType",
        Refused,
        "the token does not take this kind of push: check how it was made",
    ),
    ("MissingPushType", Refused, "the push type got lost: check proxies on the way to APNs"),
    ("MissingDeviceToken", Refused, "the request named no token: register the device again"),
    ("PayloadEmpty", Refused, "the body got lost: check proxies on the way to APNs"),
    ("PayloadTooLarge", Refused, "shorten Desc and Ext: APNs takes 4096 bytes, 5120 for VoIP"),
    ("BadPath", Refused, "the path is not APNs': check vendors.apns.endpoint for a path"),
    ("MethodNotAllowed", Refused, "the method was changed: check proxies on the way to APNs"),
    (
        "Forbidden",
        Refused,
        "the team or key may not do this: check the app's capabilities at Apple",
    ),
    ("BadTopic", Broken, "the bundle id of the certificate is not a topic: upload it corrected"),
    ("MissingTopic", Broken, "the certificate has no bundle id: upload it with one"),
    (
        "TopicDisallowed",
        Broken,
        "the certificate does not cover this topic: check its bundle id, and its topics for VoIP \
         and Live Activities",
    ),
    ("TopicMismatch", Broken, "the key does not cover this bundle id: check the key's topics"),
    ("BadCertificate", Broken, "the client certificate was refused: export and upload it again"),
    (
        "BadCertificateEnvironment",
        Broken,
        "the client certificate is for the other environment: upload it for sandbox or production \
         accordingly",
    ),
    (
        "ExpiredProviderToken",
        Renew,
        "the provider token was over an hour old for APNs: set the clock of this machine right",
    ),
    (
        "InvalidProviderToken",
        Renew,
        "key id, team id and .p8 file do not belong together, or the key was revoked: compare \
         them with Apple's developer pages; a clock of this machine that is ahead looks the same",
    ),
    (
        "UnrelatedKeyIdInToken",
        Renew,
        "two keys met on one connection: if this persists, give each key its own certificate id",
    ),
    ("MissingProviderToken", Broken, "neither token nor certificate arrived: check TLS proxies"),
    (
        "BadEnvironmentKeyIdInToken",
        Broken,
        "the key is limited to the other environment: make one for this environment at Apple",
    ),
    (
        "BadEnvironmentKeyInToken",
        Broken,
        "the key is limited to the other environment: make one for this environment at Apple",
    ),
    (
        "TooManyRequests",
        SlowDevice,
        "too many pushes to one device: let the chat server bundle its messages",
    ),
    (
        "TooManyProviderTokenUpdates",
        SlowCertificate,
        "several programs sign with this key: give each its own key or let only one send",
    ),
    ("IdleTimeout", Later, "the request stalled on its way: check the network to APNs"),
    ("InternalServerError", Later, "APNs has a problem; the push is sent again by itself"),
    ("ServiceUnavailable", Later, "APNs is overloaded; the push is sent again by itself"),
    ("Shutdown", Later, "an APNs server is leaving; the push is sent again by itself"),
    ("FeatureNotEnabled", Broken, "switch broadcast on for the app at Apple"),
    ("MissingChannelId", Refused, "the broadcast named no channel: report this as a bug"),
    ("BadChannelId", Refused, "the broadcast channel id is malformed: check it"),
    ("ChannelNotRegistered", Refused, "the broadcast channel does not exist: make it first"),
    ("BadRequestParams", Refused, "the broadcast request is malformed: report this as a bug"),
    ("BadRequestPayload", Refused, "the broadcast body is malformed: report this as a bug"),
    ("CannotCreateChannelConfig", Refused, "the app has all the channels it may have"),
];

/// Largest whole number that a float holds exactly.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

struct Problem {
    reason: String,
    since: Option<UnixMs>,
}

impl Problem {
    /// `None` without a reason. It is read whatever stands beside it.
    fn read(reply: &Reply) -> Option<Self> {
        let body: Value = serde_json::from_slice(&reply.body).ok()?;
        let reason = body.get("reason")?.as_str()?.to_owned();
        let since = body.get("timestamp").and_then(millis).map(UnixMs);
        Some(Problem { reason, since })
    }
}

/// A time in milliseconds, documented as a whole number. As text or as a float it is no less
/// clear; anything else is no time.
fn millis(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|at| *at > 0)
}

fn whole(number: f64) -> Option<u64> {
    (0.0..EXACT_MAX).contains(&number).then_some(number as u64)
}

/// Reads a reply: one answer per target.
pub fn decode(reply: &Reply, targets: &[Target], now: UnixMs) -> Vec<Answer> {
    if reply.status.is_success() {
        let echoed = reply.headers.get("apns-id").and_then(|id| id.to_str().ok());
        return targets
            .iter()
            .map(|target| Answer {
                vendor_id: Some(echoed.map_or_else(|| target.push_id.to_string(), str::to_owned)),
                ..Answer::new(Verdict::Accepted, "", "")
            })
            .collect();
    }
    let answer = match Problem::read(reply) {
        Some(problem) => {
            let verdict = verdict(&problem, reply, now);
            let reason = says(&problem.reason, targets);
            let mut answer = Answer::new(verdict, "", &reason);
            answer.code = answer.says.clone();
            answer
        }
        None => Answer::new(
            bare_by_rfc(reply, now, false),
            reply.status.as_str(),
            &body_says(reply, targets),
        ),
    };
    for_all(answer, targets)
}

fn verdict(problem: &Problem, reply: &Reply, now: UnixMs) -> Verdict {
    let Some((_, meaning, _)) = REASONS.iter().find(|(reason, ..)| *reason == problem.reason)
    else {
        return bare_by_rfc(reply, now, false);
    };
    let retry_after = retry_after(reply, now);
    let since = problem.since;
    match meaning {
        Refused => Verdict::Refused,
        Dead => Verdict::TokenDead { since, suspect: false },
        Suspect => Verdict::TokenDead { since, suspect: true },
        Broken => Verdict::AuthRejected { renew: false },
        Renew => Verdict::AuthRejected { renew: true },
        SlowDevice => Verdict::Throttled { retry_after, scope: ThrottleScope::Device },
        SlowCertificate => Verdict::Throttled { retry_after, scope: ThrottleScope::Certificate },
        Later => Verdict::Unavailable { retry_after },
    }
}

/// What to do about a reason; for unknown ones, what their verdict suggests.
pub fn advice(code: &str, verdict: Verdict) -> Option<&'static str> {
    if let Some((.., advice)) = REASONS.iter().find(|(reason, ..)| *reason == code) {
        return Some(advice);
    }
    match verdict {
        Verdict::AuthRejected { .. } => {
            Some("APNs refused the certificate: compare key id, team id and bundle id with Apple's")
        }
        Verdict::Refused => Some("APNs refused this push for a reason of its own; see its words"),
        Verdict::Throttled { .. } => Some("APNs asks to send more slowly; the push is sent again"),
        Verdict::Unavailable { .. } => {
            Some("APNs or something on the way to it has a problem; the push is sent again")
        }
        Verdict::Accepted | Verdict::TokenDead { .. } | Verdict::Unknown => None,
    }
}
