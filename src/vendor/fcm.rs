//! Firebase Cloud Messaging, HTTP v1: one request per registration token.
//!
//! Facts: Google, "Send messages using the FCM HTTP v1 API" (reference, part B). The right to send
//! is an access token that the token endpoint gives for an assertion signed with the service
//! account's key.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Uri};
use serde_json::{Value, json};

use crate::model::device::Platform;
use crate::model::id::Token;
use crate::model::push_info::{OfflinePushInfo, filled};
use crate::model::time::UnixMs;
use crate::transport::{Protocol, Reply, Request};
use crate::vendor::clocks::Blame;
use crate::vendor::fcm::credential::{Material, TOKEN_ENDPOINT};
use crate::vendor::fcm::message::{Bodies, TTL_S_MAX};
use crate::vendor::profile::{Badges, Profile};
use crate::vendor::request::{Base, authorize_by};
use crate::vendor::upload::{
    Credential, CredentialError, TokenError, Upload, token_of_fair_length,
};
use crate::vendor::{
    AccessToken, Answer, Call, Notification, Own, Push, SendingCertificate, SignIn, Target, Vendor,
    Verdict,
};

pub mod credential;
pub mod message;
pub mod reply;
pub mod sign_in;

/// A token of the right shape that no device has.
const NOBODY: &str = "offpush-probe:APA91b000000000000000000000000000000000000000000000000000000";

static PROFILE: Profile = Profile {
    name: "fcm",
    parcel_deliveries_max: 100,
    batches: false,
    badges: Badges::PerTarget,
    token_kinds: false,
    protocol: Protocol::Any,
    title_units_max: None,
    body_units_max: None,
    big_body_units_max: None,
    payload_bytes_max: 4_096,
    voip_payload_bytes_max: 4_096,
    // A repeat carries the same tag, so it takes the place of the first; in data mode the app
    // knows it by its message id.
    repeats_are_safe: true,
    ttl_max: Duration::from_secs(TTL_S_MAX),
    platforms: &[Platform::Android, Platform::Other],
    endpoints: &[("endpoint", "https://fcm.googleapis.com"), ("token_endpoint", TOKEN_ENDPOINT)],
    tencent_platform: 4,
};

/// Google.
pub struct Fcm;

impl Vendor for Fcm {
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
        let android = &info.android_info;
        Own {
            image: filled(&android.google_image),
            sound: filled(&android.sound),
            ..Own::default()
        }
    }

    fn check_token(&self, token: &str) -> Result<Token, TokenError> {
        let refuse = |message: &str| Err(TokenError(message.to_owned()));
        let token = token_of_fair_length(token)?;
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte);
        if !token.bytes().all(known) {
            return refuse(
                "the token may hold only letters, digits, '_', ':' and '-': \
                 send what FirebaseMessaging.getToken() gave, unchanged",
            );
        }
        Ok(Token(token.into()))
    }

    fn sign_in(&self, certificate: &SendingCertificate, now: UnixMs) -> SignIn {
        let token_endpoint = certificate.endpoints.get("token_endpoint");
        let request = sign_in::request(material(certificate), token_endpoint, now);
        SignIn::Exchange(Box::new(request))
    }

    fn read_sign_in(&self, reply: &Reply, now: UnixMs) -> Result<AccessToken, Answer> {
        sign_in::read(reply, now)
    }

    fn payload_bytes(
        &self,
        certificate: &SendingCertificate,
        notification: &Notification,
    ) -> usize {
        message::bytes(notification, &certificate.options)
    }

    fn encode(&self, call: &Call<'_>) -> Vec<Push> {
        let uri = send_uri(call.certificate);
        let headers = headers(call.access);
        let mut bodies = Bodies::new(call.notification, &call.certificate.options, call.now);
        let requests = call.targets.iter().enumerate().map(|(index, target)| {
            let request = Request {
                method: Method::POST,
                uri: uri.clone(),
                headers: headers.clone(),
                body: bodies.of(target.token.as_str(), target.badge),
            };
            Push { request, targets: index..index + 1 }
        });
        requests.collect()
    }

    fn decode(&self, reply: &Reply, targets: &[Target], now: UnixMs) -> Vec<Answer> {
        reply::decode(reply, targets, now)
    }

    /// Sends to nobody with `validate_only`. That the token is unknown or malformed proves that
    /// access token, project and role are right.
    fn probe(
        &self,
        certificate: &SendingCertificate,
        access: Option<&AccessToken>,
        _now: UnixMs,
    ) -> Option<Request> {
        let body = json!({"validate_only": true,
            "message": {"token": NOBODY, "data": {"probe": "1"}}});
        Some(Request {
            method: Method::POST,
            uri: send_uri(certificate),
            headers: headers(access),
            body: Bytes::from(body.to_string()),
        })
    }

    /// Google names `iat` and `exp` when an assertion is too old or of the future; it also says
    /// `invalid_grant` of deleted keys and disabled accounts (reference, B.1).
    fn blames_clock(&self, refusal: &Answer) -> Blame {
        match refusal.code.as_str() {
            "invalid_grant" if refusal.says.contains("iat and exp") => Blame::Surely,
            "invalid_grant" => Blame::Perhaps,
            _ => Blame::No,
        }
    }

    fn advice(&self, code: &str, verdict: Verdict) -> Option<&'static str> {
        reply::advice(code, verdict)
    }
}

fn material(certificate: &SendingCertificate) -> &Material {
    certificate.material.downcast_ref().expect("a certificate is sent with by who read it")
}

fn send_uri(certificate: &SendingCertificate) -> Uri {
    let project = &material(certificate).project_id;
    let base = Base::of(certificate.endpoints.get("endpoint"));
    base.join(&["/v1/projects/", project, "/messages:send"])
}

fn headers(access: Option<&AccessToken>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(access) = access {
        authorize_by(&mut headers, "Bearer", access);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_its_case_and_holds_no_blank() {
        let token = "dGhpcyBpcyB:APA91bH_x-Y";
        assert_eq!(Fcm.check_token(token).as_ref().map(Token::as_str), Ok(token));
        let long = "a".repeat(257);
        for text in ["", " ", "a b", "a\n", "a/b+c=", "é", &long] {
            assert!(Fcm.check_token(text).is_err(), "{text:?}");
        }
    }
}
