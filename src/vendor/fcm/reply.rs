//! What FCM answers, and what each code means.
//!
//! The same HTTP status covers a dead token, a broken message and a broken credential, so the body
//! decides: `FcmError.errorCode` first, then `ErrorInfo` and `BadRequest`, then `error.status`, and
//! only then the HTTP status. Facts: Google, "ErrorCode" and "Throttling and quotas"; bodies
//! without `FcmError` and HTML pages as operators reported them (reference, B.4 and B.5).

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::time::UnixMs;
use crate::transport::Reply;
use crate::vendor::reply::{bare_by_rfc, body_says, for_all, retry_after, says, text};
use crate::vendor::{Answer, Target, ThrottleScope, Verdict};

/// How long a project over its quota waits when FCM does not say: quotas refill per minute.
const QUOTA_WAIT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Sent {
    name: String,
}

/// `google.rpc.Status`, as far as it can be read: a field of another type than Google's is as good
/// as absent, so that it takes no other field's meaning away.
struct Status {
    status: String,
    message: String,
    details: Vec<Detail>,
}

/// Any of the details that may be there: which one it is shows in the fields it has.
struct Detail {
    /// `FcmError`.
    error_code: Option<String>,
    /// `ErrorInfo`.
    reason: Option<String>,
    /// `BadRequest`: fields and what is wrong with them.
    field_violations: Vec<[String; 2]>,
    /// `QuotaFailure`: subjects and what they are over.
    violations: Vec<[String; 2]>,
}

impl Status {
    /// `None` when the body has no `error` object.
    fn read(reply: &Reply) -> Option<Self> {
        let body: Value = serde_json::from_slice(&reply.body).ok()?;
        let error = body.get("error")?.as_object()?;
        Some(Status {
            status: text(error, "status").to_owned(),
            message: text(error, "message").to_owned(),
            details: objects(error, "details").map(Detail::read).collect(),
        })
    }
}

impl Detail {
    fn read(detail: &Map<String, Value>) -> Self {
        let named = |name| Some(text(detail, name).to_owned()).filter(|text| !text.is_empty());
        let pairs = |list, names: [&str; 2]| {
            objects(detail, list).map(|one| names.map(|name| text(one, name).to_owned())).collect()
        };
        Detail {
            error_code: named("errorCode"),
            reason: named("reason"),
            field_violations: pairs("fieldViolations", ["field", "description"]),
            violations: pairs("violations", ["subject", "description"]),
        }
    }
}

/// The objects of a list; what else stands in it is left out.
fn objects<'a>(
    object: &'a Map<String, Value>,
    list: &str,
) -> impl Iterator<Item = &'a Map<String, Value>> {
    let elements = object.get(list).and_then(Value::as_array);
    elements.into_iter().flatten().filter_map(Value::as_object)
}

/// Reads a reply: one answer per target.
pub fn decode(reply: &Reply, targets: &[Target], now: UnixMs) -> Vec<Answer> {
    let answer = match reply.status.is_success() {
        true => read_success(reply),
        false => read_failure(reply, targets, now),
    };
    for_all(answer, targets)
}

fn read_success(reply: &Reply) -> Answer {
    match serde_json::from_slice::<Sent>(&reply.body) {
        Ok(sent) => Answer { vendor_id: Some(sent.name), ..Answer::new(Verdict::Accepted, "", "") },
        // FCM always names what it took; without a name something else may have answered.
        Err(_) => {
            let says = "success without the name of a message";
            Answer::new(Verdict::Unknown, "unreadable", says)
        }
    }
}

fn read_failure(reply: &Reply, targets: &[Target], now: UnixMs) -> Answer {
    match Status::read(reply) {
        Some(error) => {
            let (verdict, code) = judge(&error, reply, now);
            let code = if code.is_empty() { reply.status.as_str() } else { code };
            Answer::new(verdict, says(code, targets), &says(&error.message, targets))
        }
        None => Answer::new(
            by_http_status(reply, now),
            reply.status.as_str(),
            &body_says(reply, targets),
        ),
    }
}

/// The verdict and the code it rests on.
fn judge<'a>(error: &'a Status, reply: &Reply, now: UnixMs) -> (Verdict, &'a str) {
    let codes = error.details.iter().filter_map(|detail| detail.error_code.as_deref());
    let reasons = error.details.iter().filter_map(|detail| detail.reason.as_deref());
    let status = Some(error.status.as_str());
    let by_code = codes.clone().find_map(|code| Some((by_code(code, error, reply, now)?, code)));
    let by_reason = || reasons.clone().find_map(|name| Some((by_reason(name, reply, now)?, name)));
    let by_status = || Some((by_code_of_status(error, reply, now)?, error.status.as_str()));
    by_code.or_else(by_reason).or_else(by_status).unwrap_or_else(|| {
        let unknown = codes.chain(reasons).chain(status).find(|name| !name.is_empty());
        (by_http_status(reply, now), unknown.unwrap_or_default())
    })
}

/// By `FcmError.errorCode`, which says most.
fn by_code(code: &str, error: &Status, reply: &Reply, now: UnixMs) -> Option<Verdict> {
    let retry_after = retry_after(reply, now);
    Some(match code {
        "UNREGISTERED" => Verdict::TokenDead { since: None, suspect: false },
        // A certificate of the wrong project gives this for every token.
        "SENDER_ID_MISMATCH" => Verdict::TokenDead { since: None, suspect: true },
        "INVALID_ARGUMENT" => invalid_argument(error),
        "THIRD_PARTY_AUTH_ERROR" => Verdict::AuthRejected { renew: false },
        "QUOTA_EXCEEDED" if is_about_the_device(error) => {
            Verdict::Throttled { retry_after, scope: ThrottleScope::Device }
        }
        "QUOTA_EXCEEDED" => over_quota(reply, now),
        "UNAVAILABLE" | "INTERNAL" => Verdict::Unavailable { retry_after },
        _ => return None,
    })
}

/// By `ErrorInfo.reason`, which stands alone when a layer before FCM refused.
fn by_reason(reason: &str, reply: &Reply, now: UnixMs) -> Option<Verdict> {
    Some(match reason {
        "RATE_LIMIT_EXCEEDED" | "RESOURCE_QUOTA_EXCEEDED" => over_quota(reply, now),
        "ACCESS_TOKEN_EXPIRED" | "CREDENTIALS_MISSING" => Verdict::AuthRejected { renew: true },
        "SERVICE_DISABLED"
        | "CONSUMER_INVALID"
        | "CONSUMER_SUSPENDED"
        | "BILLING_DISABLED"
        | "IAM_PERMISSION_DENIED"
        | "ACCESS_TOKEN_SCOPE_INSUFFICIENT" => Verdict::AuthRejected { renew: false },
        _ => return None,
    })
}

/// By `error.status`, the code all Google services share.
fn by_code_of_status(error: &Status, reply: &Reply, now: UnixMs) -> Option<Verdict> {
    let retry_after = retry_after(reply, now);
    Some(match error.status.as_str() {
        "UNAUTHENTICATED" => Verdict::AuthRejected { renew: true },
        // Without FcmError it is the project or the path that was not found, not the token.
        "PERMISSION_DENIED" | "NOT_FOUND" => Verdict::AuthRejected { renew: false },
        "RESOURCE_EXHAUSTED" => over_quota(reply, now),
        "INVALID_ARGUMENT" => invalid_argument(error),
        "UNAVAILABLE" | "INTERNAL" | "DEADLINE_EXCEEDED" | "ABORTED" => {
            Verdict::Unavailable { retry_after }
        }
        _ => return None,
    })
}

/// By the HTTP status alone, where FCM's meaning differs from everybody's.
fn by_http_status(reply: &Reply, now: UnixMs) -> Verdict {
    match reply.status {
        StatusCode::NOT_FOUND => Verdict::AuthRejected { renew: false },
        StatusCode::TOO_MANY_REQUESTS => over_quota(reply, now),
        _ => bare_by_rfc(reply, now, true),
    }
}

/// One code for two mistakes: only a violation or a sentence about the token condemns the token.
fn invalid_argument(error: &Status) -> Verdict {
    let mut violations = error.details.iter().flat_map(|detail| &detail.field_violations);
    let names_token = violations.any(|[field, description]| {
        let about = "registration token";
        matches!(field.as_str(), "message.token" | "message.fid")
            || description.to_ascii_lowercase().contains(about)
    });
    let message = error.message.to_ascii_lowercase();
    if names_token || message.contains("registration token is not a valid") {
        // Were it our mistake, every token would be called malformed.
        return Verdict::TokenDead { since: None, suspect: true };
    }
    Verdict::Refused
}

fn is_about_the_device(error: &Status) -> bool {
    let mut violations = error.details.iter().flat_map(|detail| &detail.violations);
    let says_device = |text: &str| text.to_ascii_lowercase().contains("device");
    violations.any(|words| words.iter().any(|words| says_device(words)))
        || says_device(&error.message)
}

fn over_quota(reply: &Reply, now: UnixMs) -> Verdict {
    let retry_after = retry_after(reply, now).or(Some(QUOTA_WAIT));
    Verdict::Throttled { retry_after, scope: ThrottleScope::Certificate }
}

/// What to do about a code; the verdict tells apart what one code means.
pub fn advice(code: &str, verdict: Verdict) -> Option<&'static str> {
    Some(match (code, verdict) {
        ("UNREGISTERED", _) => {
            "the app was removed or its token ended: wait until the app registers again"
        }
        ("SENDER_ID_MISMATCH", _) => {
            "the token belongs to another Firebase project: compare the project of the \
             service-account file with the app's google-services.json"
        }
        ("INVALID_ARGUMENT", Verdict::TokenDead { .. }) => {
            "the token is damaged or another vendor's: check what the client reports, and with \
             which certificate id"
        }
        ("INVALID_ARGUMENT", _) => {
            "FCM refused the message: its words name the field; size, channel and picture are \
             the usual ones"
        }
        ("THIRD_PARTY_AUTH_ERROR", _) => {
            "the Firebase project lacks a valid APNs or Web Push key for this device: add it in \
             the Firebase console"
        }
        ("QUOTA_EXCEEDED", Verdict::Throttled { scope: ThrottleScope::Device, .. }) => {
            "too many pushes to one device: let the chat server bundle its messages"
        }
        ("QUOTA_EXCEEDED" | "RATE_LIMIT_EXCEEDED" | "RESOURCE_EXHAUSTED", _) => {
            "the Firebase project is over its quota: send more slowly or ask Google for more"
        }
        ("SERVICE_DISABLED", _) => {
            "switch on the Firebase Cloud Messaging API (V1) for the project in Google's console"
        }
        ("PERMISSION_DENIED" | "IAM_PERMISSION_DENIED", _) => {
            "give the service account the role Firebase Cloud Messaging API Admin"
        }
        ("NOT_FOUND" | "404", _) => {
            "the project or the path does not exist: check project_id and vendors.fcm.endpoint"
        }
        ("UNAUTHENTICATED" | "ACCESS_TOKEN_EXPIRED" | "401", _) => {
            "the access token was refused: a new one is fetched by itself; if this persists, \
             check this machine's clock"
        }
        ("invalid_grant", _) => {
            "Google refused the service account: its key was deleted, it was disabled, or this \
             machine's clock is wrong"
        }
        ("invalid_client" | "unauthorized_client", _) => {
            "Google does not know the service account: download a new key file and upload it"
        }
        ("413", _) => "shorten Desc and Ext: FCM takes 4096 bytes",
        _ => return advice_by_verdict(verdict),
    })
}

fn advice_by_verdict(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::AuthRejected { .. } => {
            Some("Google refused the service account: check its project, role and key")
        }
        Verdict::Refused => Some("FCM refused this push for a reason of its own; see its words"),
        Verdict::Throttled { .. } => Some("FCM asks to send more slowly; the push is sent again"),
        Verdict::Unavailable { .. } => {
            Some("FCM or something on the way to it has a problem; the push is sent again")
        }
        Verdict::Unknown => Some("something other than FCM may have answered: check proxies"),
        Verdict::Accepted | Verdict::TokenDead { .. } => None,
    }
}
