//! Huawei Push Kit, HMS v1 API: one request carries up to 1,000 tokens.
//!
//! Follows the HMS Core references `https-send-api` and `oauth2` (Android, EMUI and HarmonyOS up
//! to 4). The client id and secret buy an access token of one hour.
//!
//! # Why repeats are safe
//! The API drops no repeats, so a repeat is made harmless on the device: every notification
//! carries its message's `notify_id`. The same number replaces what is shown, so a repeat of one
//! message never stands there twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::model::certificate::{ClickAction, Environment};
use crate::model::device::Platform;
use crate::model::id::Token;
use crate::model::push_info::{OfflinePushInfo, filled};
use crate::model::time::UnixMs;
use crate::transport::{Protocol, Reply, Request};
use crate::vendor::huawei::receipt::ReceiptKey;
use crate::vendor::profile::{Badges, Profile};
use crate::vendor::receipt::{Collected, Proof, ReceiptError, ReceiptPost};
use crate::vendor::reply;
use crate::vendor::request::{self, Base};
use crate::vendor::upload::{self, Credential, CredentialError, Fields, TokenError, Upload};
use crate::vendor::{
    AccessToken, Answer, Call, Notification, Own, Push, SendingCertificate, SignIn, Target, Vendor,
    Verdict,
};

mod message;
mod receipt;
mod verdict;

/// Every field of the credential.
const FIELDS: [&str; 4] = ["client_id", "client_secret", "receipt_user", "receipt_key"];

/// Most tokens of one request.
const TOKENS_MAX: usize = 1_000;

/// How long before its end an access token is renewed, as Huawei's own SDKs do.
const RENEW_EARLY: Duration = Duration::from_secs(5 * 60);

/// Life of an access token whose reply does not say.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// Longest life believed; more is a mistake in the reply.
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What is fixed about Huawei. Text limits are Tencent's (trtc.io/document/77715), the rest is
/// from `https-send-api`.
pub const HUAWEI: Profile = Profile {
    name: "huawei",
    parcel_deliveries_max: TOKENS_MAX,
    batches: true,
    badges: Badges::PerParcel,
    token_kinds: false,
    protocol: Protocol::Any,
    title_units_max: Some(60),
    body_units_max: Some(600),
    big_body_units_max: Some(600),
    payload_bytes_max: 4_096,
    voip_payload_bytes_max: 4_096,
    repeats_are_safe: true,
    ttl_max: Duration::from_secs(15 * 24 * 3_600),
    platforms: &[Platform::Android],
    endpoints: &[
        ("endpoint", "https://push-api.cloud.huawei.com"),
        ("token_endpoint", "https://oauth-login.cloud.huawei.com/oauth2/v3/token"),
    ],
    tencent_platform: 3,
};

/// The vendor.
pub struct Huawei;

/// The parsed credential.
struct Material {
    client_id: String,
    client_secret: SecretString,
    /// What receipts are signed with, when the console has a user name and a key for them.
    receipt_key: Option<ReceiptKey>,
}

fn material(certificate: &SendingCertificate) -> &Material {
    certificate.material.downcast_ref().expect("a certificate holds what its own vendor made")
}

/// User name and key of the receipts: both or neither.
fn receipt_key(fields: &Fields<'_>) -> Result<Option<ReceiptKey>, CredentialError> {
    let given = (fields.optional("receipt_user")?, fields.optional("receipt_key")?);
    let missing = |name: &str, other: &str| {
        let message = format!("credential.{name} is missing: it goes with credential.{other}");
        Err(upload::missing(&format!("credential.{name}"), message))
    };
    match given {
        (Some(user), Some(key)) => {
            Ok(Some(ReceiptKey { user: user.to_owned(), key: SecretString::from(key) }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => missing("receipt_key", "receipt_user"),
        (None, Some(_)) => missing("receipt_user", "receipt_key"),
    }
}

impl Vendor for Huawei {
    fn profile(&self) -> &'static Profile {
        &HUAWEI
    }

    fn read_credential(&self, upload: &Upload<'_>) -> Result<Credential, CredentialError> {
        let fields = Fields::open(upload, "oauth")?;
        let client_id = fields.identifier("client_id")?.to_owned();
        let client_secret = SecretString::from(fields.text("client_secret")?);
        let receipt_key = receipt_key(&fields)?;
        Ok(Credential {
            identity: BTreeMap::from([("client_id".to_owned(), client_id.clone())]),
            expires_at: None,
            environment: Environment::Production,
            warnings: fields.warnings(&FIELDS, upload.environment),
            material: Arc::new(Material { client_id, client_secret, receipt_key }),
            client_identity: None,
        })
    }

    fn credential_from_file(
        &self,
        _file_name: &str,
        _file: &[u8],
        _fields: &BTreeMap<String, String>,
    ) -> Result<Value, CredentialError> {
        Err(upload::not_a_file("type, client_id and client_secret"))
    }

    fn own<'a>(&self, info: &'a OfflinePushInfo) -> Own<'a> {
        let android = &info.android_info;
        Own {
            image: filled(&android.huawei_image),
            sound: filled(&android.sound),
            ..Own::default()
        }
    }

    fn check_token(&self, token: &str) -> Result<Token, TokenError> {
        upload::opaque_token(token)
    }

    fn sign_in(&self, certificate: &SendingCertificate, _now: UnixMs) -> SignIn {
        let material = material(certificate);
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", material.client_id.as_str()),
            ("client_secret", material.client_secret.expose_secret()),
        ];
        let uri = request::uri(certificate.endpoints.get("token_endpoint"));
        SignIn::Exchange(Box::new(request::form(uri, fields)))
    }

    fn read_sign_in(&self, reply: &Reply, now: UnixMs) -> Result<AccessToken, Answer> {
        let body = reply::object(reply);
        if !reply.status.is_success() {
            return Err(refused_sign_in(reply, body.as_ref(), now));
        }
        let body = body.ok_or_else(|| reply::bare_answer(reply, now, false))?;
        let value = reply::text(&body, "access_token");
        // A value no header can hold is no token, and would fail only later and less clearly.
        if value.is_empty() || HeaderValue::from_str(value).is_err() {
            return Err(refused_sign_in(reply, Some(&body), now));
        }
        let life = reply::number(body.get("expires_in"))
            .map_or(TOKEN_LIFE, Duration::from_secs)
            .min(TOKEN_LIFE_MAX);
        let early = RENEW_EARLY.min(life / 2);
        Ok(AccessToken {
            value: Arc::new(SecretString::from(value)),
            issued_at: now,
            renew_at: now.after(life - early),
            expires_at: now.after(life),
            header: Arc::default(),
        })
    }

    fn payload_bytes(
        &self,
        certificate: &SendingCertificate,
        notification: &Notification,
    ) -> usize {
        message::largest_bytes(&certificate.options, notification)
    }

    fn encode(&self, call: &Call<'_>) -> Vec<Push> {
        let certificate = call.certificate;
        let client_id = &material(certificate).client_id;
        let base = Base::of(certificate.endpoints.get("endpoint"));
        let uri = base.join(&["/v1/", client_id, "/messages:send"]);
        message::bodies(call)
            .into_iter()
            .map(|(body, targets)| {
                let mut request = request::json(uri.clone(), body);
                if let Some(access) = call.access {
                    request::authorize_by(&mut request.headers, "Bearer", access);
                }
                Push { request, targets }
            })
            .collect()
    }

    fn decode(&self, reply: &Reply, targets: &[Target], now: UnixMs) -> Vec<Answer> {
        verdict::decode(reply, targets, now)
    }

    fn probe(
        &self,
        _certificate: &SendingCertificate,
        _access: Option<&AccessToken>,
        _now: UnixMs,
    ) -> Option<Request> {
        // The sign-in proves id and secret; `validate_only` would need a real token.
        None
    }

    fn check_options(&self, certificate: &SendingCertificate) -> Result<(), CredentialError> {
        let options = &certificate.options;
        check_click_action(&options.click_action)?;
        let importance = filled(&options.importance);
        if importance.is_some_and(|given| message::known_importance(given).is_none()) {
            let why = "must be LOW, NORMAL or HIGH: Huawei refuses other importances";
            return Err(upload::bad_option("importance", why));
        }
        Ok(())
    }

    fn receipt_proof(&self, certificate: &SendingCertificate) -> Option<Proof> {
        let signs = material(certificate).receipt_key.is_some();
        Some(if signs { Proof::Signature } else { Proof::Path })
    }

    fn signed_receipts(
        &self,
        certificate: &SendingCertificate,
        post: &ReceiptPost<'_>,
        now: UnixMs,
    ) -> bool {
        let key = material(certificate).receipt_key.as_ref();
        key.is_some_and(|key| key.signed(post.headers, now))
    }

    fn read_receipts(&self, post: &ReceiptPost<'_>) -> Result<Collected, ReceiptError> {
        receipt::read(post.body)
    }

    fn receipts_taken(&self) -> &'static str {
        r#"{"code":"0","message":"success"}"#
    }

    fn advice(&self, code: &str, verdict: Verdict) -> Option<&'static str> {
        verdict::advice(code, verdict)
    }
}

/// Huawei opens pages by https only (`https-send-api`, `click_action.url`), and pages of the app by
/// intent or by the action of one: a class needs the name of the package, which its credential does
/// not hold.
fn check_click_action(action: &ClickAction) -> Result<(), CredentialError> {
    let (field, why) = match action {
        ClickAction::OpenUrl { url } if !is_https(url) => {
            ("click_action.url", "must begin with https://: Huawei opens no other page")
        }
        ClickAction::OpenActivity { activity } if !request::is_action(activity) => (
            "click_action.activity",
            "is a class, as actions end in an upper-case word, and Huawei opens no class: send \
             type open_intent with intent intent:#Intent;component=<package>/<class>;end",
        ),
        _ => return Ok(()),
    };
    Err(upload::bad_option(field, why))
}

fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}

/// A sign-in that gave no token. The OAuth service answers numbers in `error` and `sub_error`;
/// any 4xx but a throttle means that the credential is wrong.
fn refused_sign_in(
    reply: &Reply,
    body: Option<&serde_json::Map<String, Value>>,
    now: UnixMs,
) -> Answer {
    let mut answer = reply::bare_answer(reply, now, false);
    if reply.status.is_client_error() && answer.verdict == Verdict::Refused {
        answer.verdict = Verdict::AuthRejected { renew: false };
    }
    let Some(body) = body else { return answer };
    let code = reply::code(body.get("error")).unwrap_or_else(|| answer.code.clone());
    let description = reply::text(body, "error_description");
    let says = match reply::code(body.get("sub_error")) {
        Some(sub_error) => format!("sub_error {sub_error}: {description}"),
        None => description.to_owned(),
    };
    Answer::new(answer.verdict, code, says.trim_end_matches([':', ' ']))
}
