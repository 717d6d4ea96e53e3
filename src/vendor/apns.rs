//! Apple Push Notification service: one HTTP/2 request per device token.
//!
//! Facts: Apple, "Sending notification requests to APNs" and "Establishing a token-based
//! connection to APNs" (reference, part A). A provider token is minted here and shared by every
//! request of its certificate: Apple wants a new one at least hourly and at most every 20 minutes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::model::certificate::{Environment, Privacy};
use crate::model::device::Platform;
use crate::model::id::Token;
use crate::model::message::Priority;
use crate::model::push_info::{OfflinePushInfo, filled};
use crate::model::time::UnixMs;
use crate::transport::{Protocol, Reply, Request};
use crate::vendor::apns::credential::Material;
use crate::vendor::apns::payload::Bodies;
use crate::vendor::clocks::Blame;
use crate::vendor::profile::{Badges, Profile};
use crate::vendor::request::{Base, authorize_by};
use crate::vendor::upload::{
    Credential, CredentialError, TokenError, Upload, bad_option, token_of_fair_length,
};
use crate::vendor::{
    AccessToken, Answer, Call, Kind, Notification, Own, Push, SendingCertificate, SignIn, Target,
    Vendor, Verdict,
};

pub mod credential;
pub mod payload;
pub mod reply;

/// Age at which a provider token is renewed: Apple allows 20 to 60 minutes.
const PROVIDER_TOKEN_RENEWED_AFTER: Duration = Duration::from_secs(45 * 60);
/// Age at which APNs refuses a provider token.
const PROVIDER_TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// APNs takes no new token of a key sooner after the one before (reference, A.2 and A.9).
const PROVIDER_TOKEN_PAUSE: Duration = Duration::from_secs(20 * 60);
/// Bytes of a device token: 32 today, Live Activity tokens are longer, and Apple promises nothing.
const TOKEN_RAW_BYTES: std::ops::RangeInclusive<usize> = 8..=200;
/// Bytes of the tokens that the SDK hands out raw, which some clients send as base64.
const TOKEN_BASE64_BYTES: usize = 32;
/// A token of the right shape that no device has.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const APNS_COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");
/// How many headers a request has at most; saves growing the map.
const HEADERS: usize = 7;

static PROFILE: Profile = Profile {
    name: "apns",
    parcel_deliveries_max: 100,
    batches: false,
    badges: Badges::PerTarget,
    token_kinds: true,
    protocol: Protocol::Http2,
    title_units_max: None,
    body_units_max: None,
    big_body_units_max: None,
    payload_bytes_max: 4_096,
    voip_payload_bytes_max: 5_120,
    // A repeat carries the same collapse id, so it takes the place of the first.
    repeats_are_safe: true,
    ttl_max: Duration::from_secs(30 * 24 * 3_600),
    platforms: &[Platform::Ios, Platform::Ipados, Platform::Macos],
    endpoints: &[
        ("endpoint", "https://api.push.apple.com"),
        ("sandbox_endpoint", "https://api.sandbox.push.apple.com"),
    ],
    tencent_platform: 1,
};

/// Apple.
pub struct Apns;

impl Vendor for Apns {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn read_credential(&self, upload: &Upload<'_>) -> Result<Credential, CredentialError> {
        credential::read(upload)
    }

    fn credential_from_file(
        &self,
        file_name: &str,
        file: &[u8],
        fields: &BTreeMap<String, String>,
    ) -> Result<Value, CredentialError> {
        credential::from_file(file_name, file, fields)
    }

    fn own<'a>(&self, info: &'a OfflinePushInfo) -> Own<'a> {
        let apns = &info.apns_info;
        let kind = if apns.live_activity.is_some() {
            Kind::LiveActivity
        } else if apns.is_voip_push == Some(1) {
            Kind::Voip
        } else if apns.content_available == Some(1) {
            Kind::Silent
        } else {
            Kind::Alert
        };
        Own {
            kind,
            title: filled(&apns.title),
            subtitle: filled(&apns.sub_title),
            image: filled(&apns.image),
            sound: filled(&apns.sound),
            takes_custom_sound: true,
            keeps_badge: apns.badge_mode == Some(1),
        }
    }

    /// Hex of either case, or base64 of a 32-byte token; the result is lower-case hex.
    fn check_token(&self, token: &str) -> Result<Token, TokenError> {
        let refuse = |message: &str| Err(TokenError(message.to_owned()));
        let token = token_of_fair_length(token)?;
        if token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            if !token.len().is_multiple_of(2) {
                return refuse("the token has an odd number of hex digits: part of it is missing");
            }
            if !TOKEN_RAW_BYTES.contains(&(token.len() / 2)) {
                return refuse("the token is too short: an APNs token has 64 hex digits or more");
            }
            return Ok(Token(token.to_ascii_lowercase().into()));
        }
        let unpadded = token.trim_end_matches('=');
        let raw = STANDARD_NO_PAD.decode(unpadded).or_else(|_| URL_SAFE_NO_PAD.decode(unpadded));
        match raw {
            Ok(raw) if raw.len() == TOKEN_BASE64_BYTES => Ok(Token(hex::encode(raw).into())),
            _ => refuse(
                "the token must be hex digits without blanks or brackets: \
                 write each byte of deviceToken with the format %02x",
            ),
        }
    }

    /// Apple counts how often a key's token changes, whichever topics it is used for, and answers
    /// 429 `TooManyProviderTokenUpdates`.
    fn shares_sign_in<'a>(&self, certificate: &'a SendingCertificate) -> Option<&'a Arc<str>> {
        Some(&material(certificate).provider.as_ref()?.name)
    }

    fn sign_in_pause(&self) -> Duration {
        PROVIDER_TOKEN_PAUSE
    }

    fn sign_in(&self, certificate: &SendingCertificate, now: UnixMs) -> SignIn {
        let Some(provider) = &material(certificate).provider else { return SignIn::None };
        let header = json!({"alg": "ES256", "kid": provider.key_id});
        let claims = json!({"iss": provider.team_id, "iat": now.secs()});
        SignIn::Minted(AccessToken {
            value: Arc::new(SecretString::from(provider.key.jwt(&header, &claims))),
            issued_at: now,
            renew_at: now.after(PROVIDER_TOKEN_RENEWED_AFTER),
            expires_at: now.after(PROVIDER_TOKEN_LIFE),
            header: Arc::default(),
        })
    }

    /// Never called: APNs has no sign-in exchange.
    fn read_sign_in(&self, _reply: &Reply, _now: UnixMs) -> Result<AccessToken, Answer> {
        Err(Answer::new(Verdict::AuthRejected { renew: false }, "", "APNs has no sign-in"))
    }

    fn payload_bytes(
        &self,
        certificate: &SendingCertificate,
        notification: &Notification,
    ) -> usize {
        payload::bytes(notification, &certificate.options)
    }

    fn encode(&self, call: &Call<'_>) -> Vec<Push> {
        let base = base(call.certificate);
        let mut shared = headers(call);
        let mut bodies = Bodies::new(call.notification, &call.certificate.options, call.now);
        let requests = call.targets.iter().enumerate().map(|(index, target)| {
            let is_last = index + 1 == call.targets.len();
            let mut headers = if is_last { std::mem::take(&mut shared) } else { shared.clone() };
            headers.insert(APNS_ID, apns_id(target.push_id));
            let request = Request {
                method: Method::POST,
                uri: base.join(&["/3/device/", target.token.as_str()]),
                headers,
                body: bodies.of(target.badge),
            };
            Push { request, targets: index..index + 1 }
        });
        requests.collect()
    }

    fn decode(&self, reply: &Reply, targets: &[Target], now: UnixMs) -> Vec<Answer> {
        reply::decode(reply, targets, now)
    }

    /// A background push, not kept, to a token that no device has. APNs checks the right to send
    /// before the token, so `BadDeviceToken` proves that key, team, environment and topic are
    /// right; anything wrong with them gives its own reason.
    fn probe(
        &self,
        certificate: &SendingCertificate,
        access: Option<&AccessToken>,
        _now: UnixMs,
    ) -> Option<Request> {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        sign(&mut headers, access);
        headers.insert(APNS_TOPIC, material(certificate).topic.clone());
        headers.insert(APNS_PUSH_TYPE, HeaderValue::from_static("background"));
        headers.insert(APNS_PRIORITY, HeaderValue::from_static("5"));
        headers.insert(APNS_EXPIRATION, HeaderValue::from_static("0"));
        Some(Request {
            method: Method::POST,
            uri: base(certificate).join(&["/3/device/", NOBODY]),
            headers,
            body: Bytes::from_static(br#"{"aps":{"content-available":1}}"#),
        })
    }

    /// A provider token made just now and called expired is one of a clock that is behind; the
    /// answer to one of the future is the answer to a wrong key (reference, A.2).
    fn blames_clock(&self, refusal: &Answer) -> Blame {
        match refusal.code.as_str() {
            "ExpiredProviderToken" => Blame::Surely,
            "InvalidProviderToken" => Blame::Perhaps,
            _ => Blame::No,
        }
    }

    /// Reference, A.8: repeated on a new connection.
    fn is_leaving(&self, answer: &Answer) -> bool {
        answer.code == "Shutdown"
    }

    /// A token is for one purpose, and a Live Activity is nothing but content (reference, A.5).
    fn check_options(&self, certificate: &SendingCertificate) -> Result<(), CredentialError> {
        let options = &certificate.options;
        if !options.live_activity {
            return Ok(());
        }
        let why = match options {
            _ if options.voip => "cannot go with voip: a token is for one of them",
            _ if options.privacy != Privacy::Full => "needs privacy full: it shows nothing else",
            _ => return Ok(()),
        };
        Err(bad_option("live_activity", why))
    }

    fn advice(&self, code: &str, verdict: Verdict) -> Option<&'static str> {
        reply::advice(code, verdict)
    }
}

fn material(certificate: &SendingCertificate) -> &Material {
    certificate.material.downcast_ref().expect("a certificate is sent with by who read it")
}

fn base(certificate: &SendingCertificate) -> Rc<Base> {
    Base::of(certificate.endpoints.get(match certificate.environment {
        Environment::Production => "endpoint",
        Environment::Sandbox => "sandbox_endpoint",
    }))
}

/// The headers of one call, all final but the id. Values that no other request repeats are marked
/// so that HTTP/2 does not push the lasting ones out of its small table for them.
fn headers(call: &Call<'_>) -> HeaderMap {
    let notification = call.notification;
    let material = material(call.certificate);
    let (topic, push_type) = match notification.kind {
        Kind::Alert => (&material.topic, "alert"),
        Kind::Silent => (&material.topic, "background"),
        Kind::Voip => (&material.voip_topic, "voip"),
        Kind::LiveActivity => (&material.live_activity_topic, "liveactivity"),
    };
    let priority = match (notification.kind, notification.priority) {
        // 10 is an error for background pushes.
        (Kind::Silent, _) | (Kind::LiveActivity, Priority::Low) => "5",
        _ => "10",
    };
    let mut headers = HeaderMap::with_capacity(HEADERS);
    sign(&mut headers, call.access);
    headers.insert(APNS_TOPIC, topic.clone());
    headers.insert(APNS_PUSH_TYPE, HeaderValue::from_static(push_type));
    headers.insert(APNS_PRIORITY, HeaderValue::from_static(priority));
    headers.insert(APNS_EXPIRATION, expiration(notification.expires_at, call.now));
    headers.extend(collapse_id(notification).map(|value| (APNS_COLLAPSE_ID, value)));
    // Holds the place, so that the map of each request is copied at its final size.
    headers.insert(APNS_ID, HeaderValue::from_static(""));
    headers
}

fn sign(headers: &mut HeaderMap, access: Option<&AccessToken>) {
    if let Some(access) = access {
        authorize_by(headers, "bearer", access);
    }
}

/// Absolute seconds, at most as far ahead as APNs keeps a push. Messages that are sent one after
/// the other mostly end in the same second.
fn expiration(expires_at: UnixMs, now: UnixMs) -> HeaderValue {
    thread_local! {
        static LAST: RefCell<(u64, HeaderValue)> = RefCell::new((0, unrepeated(0.into())));
    }
    let secs = expires_at.min(now.after(PROFILE.ttl_max)).secs();
    LAST.with_borrow_mut(|(known, value)| {
        if *known != secs {
            (*known, *value) = (secs, unrepeated(secs.into()));
        }
        value.clone()
    })
}

/// What a later push must repeat to replace this one on the device: the message, so that only a
/// repeat of the same push or a recall replaces it. Pushes that show nothing have none.
fn collapse_id(notification: &Notification) -> Option<HeaderValue> {
    if notification.kind != Kind::Alert {
        return None;
    }
    // The text of a message id is far shorter than the 64 bytes that APNs allows.
    let id = Some(notification.shown_as()).filter(|id| !id.is_empty())?;
    HeaderValue::from_str(id).ok().map(unrepeated)
}

fn apns_id(push_id: Uuid) -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text: &str = push_id.hyphenated().encode_lower(&mut buffer);
    unrepeated(HeaderValue::from_str(text).expect("hex digits and hyphens"))
}

/// A value that HTTP/2 shall not keep.
fn unrepeated(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_hex_in_lower_case_or_base64_of_32_bytes() {
        let token = |text: &str| Apns.check_token(text).map(|token| token.as_str().to_owned());
        let upper = "AB".repeat(32);
        assert_eq!(token(&upper).as_deref(), Ok(upper.to_lowercase().as_str()));
        assert_eq!(token(&"0f".repeat(80)).map(|hex| hex.len()), Ok(160));
        let base64 = STANDARD_NO_PAD.encode([0xfb; 32]);
        assert_eq!(token(&base64), Ok("fb".repeat(32)));
        assert_eq!(token(&format!("{base64}=")), Ok("fb".repeat(32)));
        assert_eq!(token(&URL_SAFE_NO_PAD.encode([0xfb; 32])), Ok("fb".repeat(32)));
    }

    #[test]
    fn a_token_of_another_shape_is_refused() {
        let odd = "a".repeat(63);
        let long = "ab".repeat(129);
        let described = "<0123456789abcdef 0123456789abcdef>";
        for text in ["", "ab", &odd, &long, described, "dFCM:token-of_another-vendor", "é"] {
            assert!(Apns.check_token(text).is_err(), "{text}");
        }
    }
}
