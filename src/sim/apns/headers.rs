//! The headers of a push: what each must look like, in the order Apple's mock checks them
//! (vendors-apns-fcm.md, A.4, A.5, A.13).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;

use crate::model::time::UnixMs;
use crate::sim::SimRequest;
use crate::sim::apns::Refusal;

/// Longest collapse id in bytes (A.4).
pub const COLLAPSE_ID_MAX: usize = 64;

/// How long ago an `apns-expiration` may lie: a message that waited is late, not wrong.
pub const EXPIRED_MAX: Duration = Duration::from_secs(86_400);

/// How far ahead an `apns-expiration` may lie. Apple keeps a push for 30 days at most; a longer
/// wish is no mistake, but no sender asks for more than a year.
pub const AHEAD_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Headers that must not be repeated.
const SINGLE: [&str; 7] = [
    "apns-id",
    "apns-topic",
    "apns-collapse-id",
    "apns-priority",
    "apns-expiration",
    "apns-push-type",
    "authorization",
];

/// `apns-push-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushType {
    /// Something to see; also when the header is absent.
    Alert,
    /// Wakes the app.
    Background,
    /// Rings as a call.
    Voip,
    /// Watch complication.
    Complication,
    /// File provider.
    FileProvider,
    /// Asks for the location.
    Location,
    /// Live Activity.
    LiveActivity,
    /// Push to talk.
    PushToTalk,
    /// Widgets.
    Widgets,
    /// Controls.
    Controls,
    /// Device management.
    Mdm,
}

/// Push types, their names and what they append to the bundle id (A.5).
const PUSH_TYPES: [(&str, PushType, &str); 11] = [
    ("alert", PushType::Alert, ""),
    ("background", PushType::Background, ""),
    ("voip", PushType::Voip, ".voip"),
    ("complication", PushType::Complication, ".complication"),
    ("fileprovider", PushType::FileProvider, ".pushkit.fileprovider"),
    ("location", PushType::Location, ".location-query"),
    ("liveactivity", PushType::LiveActivity, ".push-type.liveactivity"),
    ("pushtotalk", PushType::PushToTalk, ".voip-ptt"),
    ("widgets", PushType::Widgets, ".push-type.widgets"),
    ("controls", PushType::Controls, ".push-type.controls"),
    ("mdm", PushType::Mdm, ""),
];

impl PushType {
    /// What the topic ends with, after the bundle id.
    fn suffix(self) -> &'static str {
        let found = PUSH_TYPES.iter().find(|(_, push_type, _)| *push_type == self);
        found.map_or("", |(_, _, suffix)| suffix)
    }
}

/// What the headers say, checked.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Topic as sent, or the client certificate's.
    pub topic: &'a str,
    /// The topic without the push type's suffix: the bundle id.
    pub bundle_id: &'a str,
    /// Push type.
    pub push_type: PushType,
    /// `apns-collapse-id`.
    pub collapse_id: Option<&'a str>,
    /// `apns-expiration`.
    pub expiration: Option<u64>,
}

impl<'a> Head<'a> {
    /// Reads and checks method and headers. `certificate_topic` stands in for a missing topic.
    ///
    /// # Errors
    /// The refusal Apple would answer with.
    pub fn read(
        request: &'a SimRequest,
        certificate_topic: Option<&'a str>,
    ) -> Result<Head<'a>, Refusal> {
        let headers = &request.headers;
        for name in SINGLE {
            if headers.get_all(name).iter().nth(1).is_some() {
                return Err(Refusal::bad("DuplicateHeaders"));
            }
        }
        if let Some(id) = headers.get("apns-id")
            && !is_uuid(id.as_bytes())
        {
            return Err(Refusal::bad("BadMessageId"));
        }
        if request.method != Method::POST {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"));
        }
        let topic = text(headers, "apns-topic", "BadTopic")?;
        if topic.is_none_or(str::is_empty) && certificate_topic.is_none() {
            return Err(Refusal::bad("MissingTopic"));
        }
        let collapse_id = text(headers, "apns-collapse-id", "BadCollapseId")?;
        if collapse_id.is_some_and(|id| id.len() > COLLAPSE_ID_MAX) {
            return Err(Refusal::bad("BadCollapseId"));
        }
        let priority = match text(headers, "apns-priority", "BadPriority")? {
            None => "10",
            Some(priority @ ("1" | "5" | "10")) => priority,
            Some(_) => return Err(Refusal::bad("BadPriority")),
        };
        let expiration = text(headers, "apns-expiration", "BadExpirationDate")?;
        let expiration = expiration.map(unix_seconds).transpose()?;
        let push_type = push_type(headers)?;
        if push_type == PushType::Background && priority == "10" {
            return Err(Refusal::bad("BadPriority"));
        }
        let topic = topic.filter(|topic| !topic.is_empty()).or(certificate_topic);
        let topic = topic.ok_or(Refusal::bad("MissingTopic"))?;
        let bundle_id = bundle_id(topic, push_type).ok_or(Refusal::bad("BadTopic"))?;
        Ok(Head { topic, bundle_id, push_type, collapse_id, expiration })
    }

    /// Whether the push ends at a time that can be meant: 0, which is now or never, or a time of
    /// these days. Apple takes any number, but a relative one lies in 1970 and milliseconds lie
    /// millennia ahead (A.4): both are mistakes that would only show on phones. This is asked last,
    /// after all that Apple itself refuses.
    ///
    /// # Errors
    /// `BadExpirationDate`.
    pub fn check_expiration(&self, now: UnixMs) -> Result<(), Refusal> {
        let earliest = now.secs().saturating_sub(EXPIRED_MAX.as_secs());
        let latest = now.secs() + AHEAD_MAX.as_secs();
        match self.expiration {
            Some(seconds) if seconds != 0 && !(earliest..=latest).contains(&seconds) => {
                Err(Refusal::bad("BadExpirationDate"))
            }
            _ => Ok(()),
        }
    }
}

fn text<'a>(
    headers: &'a HeaderMap,
    name: &str,
    reason: &'static str,
) -> Result<Option<&'a str>, Refusal> {
    let value = headers.get(name).map(|value| value.to_str());
    value.transpose().map_err(|_| Refusal::bad(reason))
}

fn push_type(headers: &HeaderMap) -> Result<PushType, Refusal> {
    let Some(given) = headers.get("apns-push-type") else { return Ok(PushType::Alert) };
    let found = PUSH_TYPES.iter().find(|(name, _, _)| name.as_bytes() == given.as_bytes());
    found.map(|(_, push_type, _)| *push_type).ok_or(Refusal::bad("InvalidPushType"))
}

/// The topic without its suffix; `None` when topic and push type do not belong together.
fn bundle_id(topic: &str, push_type: PushType) -> Option<&str> {
    let plain = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let bundle_id = topic.strip_suffix(push_type.suffix())?;
    let ends_otherwise =
        |(_, _, suffix): &(&str, PushType, &str)| !suffix.is_empty() && bundle_id.ends_with(suffix);
    let foreign = PUSH_TYPES.iter().any(ends_otherwise);
    (plain && !bundle_id.is_empty() && !foreign).then_some(bundle_id)
}

/// Whether a text is a canonical UUID: 8-4-4-4-12 hex digits.
fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A whole number of seconds.
fn unix_seconds(text: &str) -> Result<u64, Refusal> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| digits);
    seconds.ok_or(Refusal::bad("BadExpirationDate"))
}

/// A fresh id.
pub fn new_id() -> HeaderValue {
    let random = Uuid::from_u128(fastrand::u128(..));
    HeaderValue::try_from(random.hyphenated().to_string())
        .expect("a UUID is hex digits and hyphens")
}

/// The sender's `apns-id`, or a fresh one where it is missing or malformed.
pub fn echoed_id(request: &SimRequest) -> HeaderValue {
    let given = request.headers.get("apns-id").filter(|id| is_uuid(id.as_bytes()));
    given.cloned().unwrap_or_else(new_id)
}

/// The headers as JSON, without `authorization`.
pub fn without_secrets(headers: &HeaderMap) -> Value {
    let shown = headers.iter().filter(|(name, _)| *name != http::header::AUTHORIZATION);
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let pairs = shown.map(|(name, value)| (name.as_str().to_owned(), Value::String(text(value))));
    Value::Object(pairs.collect())
}
