//! OPPO Push: one request carries up to 1,000 messages, each with its own target.
//!
//! Follows open.oppomobile.com documents 11234 (sign-in), 11236 (fields), 11238 (single push) and
//! 13189 (message classes). The app key and the *master* secret buy an auth token of 24 hours; OPPO
//! also gives out an app secret, which is for clients and which the sign-in refuses with code 16.
//!
//! # Why repeats are safe
//! `app_message_id` is the delivery's id, the same on every attempt, and OPPO sends one id once to
//! one target.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::model::certificate::Environment;
use crate::model::device::Platform;
use crate::model::id::Token;
use crate::model::time::UnixMs;
use crate::transport::{Protocol, Reply, Request};
use crate::vendor::clocks::Blame;
use crate::vendor::profile::{Badges, Profile};
use crate::vendor::receipt::{Collected, Proof, ReceiptError, ReceiptPost};
use crate::vendor::reply;
use crate::vendor::request::{self, Base};
use crate::vendor::upload::{self, Credential, CredentialError, Fields, TokenError, Upload};
use crate::vendor::{
    AccessToken, Answer, Call, Notification, Push, SendingCertificate, SignIn, Target, Vendor,
    Verdict,
};

mod message;
mod receipt;
mod verdict;

/// Most messages of one `unicast_batch`.
const TOKENS_MAX: usize = 1_000;

/// Largest body of one request. OPPO names no limit, so this is our own prudence: a proxy or server
/// that refuses a body refuses it for every target at once.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Life of an auth token from its `create_time`.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// How long before its end an auth token is renewed.
const RENEW_EARLY: Duration = Duration::from_secs(3_600);

/// What is fixed about OPPO.
pub const OPPO: Profile = Profile {
    name: "oppo",
    parcel_deliveries_max: TOKENS_MAX,
    batches: true,
    badges: Badges::PerTarget,
    token_kinds: false,
    protocol: Protocol::Any,
    title_units_max: Some(50),
    body_units_max: Some(50),
    big_body_units_max: Some(128),
    payload_bytes_max: 4_000,
    voip_payload_bytes_max: 4_000,
    repeats_are_safe: true,
    ttl_max: Duration::from_secs(10 * 24 * 3_600),
    platforms: &[Platform::Android],
    endpoints: &[
        ("endpoint", "https://api.push.oppomobile.com"),
        ("global_endpoint", "https://api-intl.push.oppomobile.com"),
    ],
    tencent_platform: 6,
};

/// The vendor.
pub struct Oppo;

/// The parsed credential.
struct Material {
    app_key: String,
    master_secret: SecretString,
    /// Name of the region's endpoint; signing in and sending use the same one.
    endpoint: &'static str,
}

fn material(certificate: &SendingCertificate) -> &Material {
    certificate.material.downcast_ref().expect("a certificate holds what its own vendor made")
}

fn base(certificate: &SendingCertificate) -> Rc<Base> {
    Base::of(certificate.endpoints.get(material(certificate).endpoint))
}

/// `sign` of the sign-in: hex SHA-256 of app key, time in milliseconds and master secret.
fn sign(app_key: &str, timestamp: &str, master_secret: &str) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in [app_key, timestamp, master_secret] {
        context.update(part.as_bytes());
    }
    hex::encode(context.finish())
}

/// The requests for `targets`, at most `most` in each; one whose body gets too large is parted.
fn add_pushes(call: &Call<'_>, targets: Range<usize>, most: usize, pushes: &mut Vec<Push>) {
    for start in targets.clone().step_by(most) {
        let part = start..targets.end.min(start + most);
        let request = request_to(call, &call.targets[part.clone()]);
        let bytes = request.body.len();
        if bytes <= BODY_BYTES_MAX || part.len() == 1 {
            pushes.push(Push { request, targets: part });
        } else {
            // The text is the same for all, so the parts come out about equally large.
            let most = (part.len() * BODY_BYTES_MAX / bytes).max(1);
            add_pushes(call, part, most, pushes);
        }
    }
}

fn request_to(call: &Call<'_>, targets: &[Target]) -> Request {
    let auth_token = call.access.map_or("", |access| access.value.expose_secret());
    let (path, name, json) = message::body(call, targets);
    let uri = base(call.certificate).join(&["/server/v1/message/notification/", path]);
    request::form(uri, [("auth_token", auth_token), (name, json.as_str())])
}

/// The master secret, with the hint that the most frequent mix-up needs.
fn master_secret(fields: &Fields<'_>) -> Result<SecretString, CredentialError> {
    if let Some(secret) = fields.optional("master_secret")? {
        return Ok(SecretString::from(secret));
    }
    let message = match fields.optional("app_secret")? {
        Some(_) => {
            "credential.master_secret is missing: app_secret is for clients, OPPO's server API \
             wants the MasterSecret of the same console page"
        }
        None => "credential.master_secret is missing or empty",
    };
    Err(upload::missing("credential.master_secret", message))
}

impl Vendor for Oppo {
    fn profile(&self) -> &'static Profile {
        &OPPO
    }

    fn read_credential(&self, upload: &Upload<'_>) -> Result<Credential, CredentialError> {
        let fields = Fields::open(upload, "master_secret")?;
        let app_key = fields.text("app_key")?.to_owned();
        let master_secret = master_secret(&fields)?;
        let region = fields.optional("region")?.unwrap_or("china");
        let endpoint = match region {
            "china" => "endpoint",
            "global" => "global_endpoint",
            _ => {
                let message = "credential.region must be china or global";
                return Err(upload::malformed("credential.region", message));
            }
        };
        let identity = BTreeMap::from([
            ("app_key".to_owned(), app_key.clone()),
            ("region".to_owned(), region.to_owned()),
        ]);
        let known = ["app_key", "master_secret", "region"];
        Ok(Credential {
            identity,
            expires_at: None,
            environment: Environment::Production,
            warnings: fields.warnings(&known, upload.environment),
            material: Arc::new(Material { app_key, master_secret, endpoint }),
            client_identity: None,
        })
    }

    fn credential_from_file(
        &self,
        _file_name: &str,
        _file: &[u8],
        _fields: &BTreeMap<String, String>,
    ) -> Result<Value, CredentialError> {
        Err(upload::not_a_file("type, app_key and master_secret"))
    }

    fn check_token(&self, token: &str) -> Result<Token, TokenError> {
        upload::opaque_token(token)
    }

    fn sign_in(&self, certificate: &SendingCertificate, now: UnixMs) -> SignIn {
        let material = material(certificate);
        let timestamp = now.0.to_string();
        let secret = material.master_secret.expose_secret();
        let sign = sign(&material.app_key, &timestamp, secret);
        let fields = [
            ("app_key", material.app_key.as_str()),
            ("timestamp", timestamp.as_str()),
            ("sign", sign.as_str()),
        ];
        let uri = base(certificate).join(&["/server/v1/auth"]);
        SignIn::Exchange(Box::new(request::form(uri, fields)))
    }

    fn read_sign_in(&self, reply: &Reply, now: UnixMs) -> Result<AccessToken, Answer> {
        let data = verdict::sign_in_data(reply, now)?;
        let value = reply::text(&data, "auth_token");
        if value.is_empty() {
            return Err(reply::bare_answer(reply, now, false));
        }
        // OPPO may hand out a token made earlier. A time in our future is OPPO's clock ahead of
        // ours, and one over a day old is no time of this token: both mean now.
        let issued_at = reply::number(data.get("create_time"))
            .map(UnixMs)
            .filter(|at| *at <= now && now.since(*at) < TOKEN_LIFE)
            .unwrap_or(now);
        // One that has less than the margin left is used for half of it: asked again at once, OPPO
        // would hand out the same token for every push.
        let left = TOKEN_LIFE.saturating_sub(now.since(issued_at));
        Ok(AccessToken {
            value: Arc::new(SecretString::from(value)),
            issued_at,
            renew_at: now.after(left - RENEW_EARLY.min(left / 2)),
            expires_at: issued_at.after(TOKEN_LIFE),
            header: Arc::default(),
        })
    }

    fn payload_bytes(
        &self,
        _certificate: &SendingCertificate,
        notification: &Notification,
    ) -> usize {
        // The limit is on `action_parameters` and, like those of title and text, in characters.
        message::action_parameters(notification).chars().count()
    }

    fn encode(&self, call: &Call<'_>) -> Vec<Push> {
        let mut pushes = Vec::with_capacity(1);
        add_pushes(call, 0..call.targets.len(), TOKENS_MAX, &mut pushes);
        pushes
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
        // The sign-in proves key and secret.
        None
    }

    fn check_options(&self, certificate: &SendingCertificate) -> Result<(), CredentialError> {
        message::check_options(&certificate.options)
    }

    fn receipt_proof(&self, _certificate: &SendingCertificate) -> Option<Proof> {
        Some(Proof::Path)
    }

    fn read_receipts(&self, post: &ReceiptPost<'_>) -> Result<Collected, ReceiptError> {
        receipt::read(post.body)
    }

    /// 19: the time of the sign-in is not within ten minutes of OPPO's.
    fn blames_clock(&self, refusal: &Answer) -> Blame {
        if refusal.code == "19" { Blame::Surely } else { Blame::No }
    }

    fn advice(&self, code: &str, verdict: Verdict) -> Option<&'static str> {
        verdict::advice(code, verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_of_the_reference_is_reproduced() {
        assert_eq!(
            sign("oppo-app-key", "1700000000000", "oppo-master-secret"),
            "2f18250b52b8174b67a1025542a0ad743dbca47d2bc7dadbd1f9362a0978c372"
        );
    }
}
