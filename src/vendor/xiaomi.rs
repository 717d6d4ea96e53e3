//! Xiaomi MiPush: one request carries up to 1,000 registration ids.
//!
//! Follows dev.mi.com documents 1559 (API), 1560 (codes) and 2321 (message classes). The app secret
//! travels in every request; there is nothing to sign in to and nothing that expires.
//!
//! # Why repeats are safe
//! Every push carries a `jobkey` made from its message id. A phone shows only the first push of a
//! job key, so the repeat of a message to the same phone is dropped there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::model::certificate::Environment;
use crate::model::device::Platform;
use crate::model::id::Token;
use crate::model::time::UnixMs;
use crate::transport::{Protocol, Reply, Request};
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

/// A well-formed registration id that no phone has, for [`Vendor::probe`].
const NOBODY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Most registration ids of one request.
const TOKENS_MAX: usize = 1_000;

/// What is fixed about Xiaomi. The vendor wants a title of under 50 and a text of under 128
/// characters (document 1559), one less than Tencent's table allows.
pub const XIAOMI: Profile = Profile {
    name: "xiaomi",
    parcel_deliveries_max: TOKENS_MAX,
    batches: true,
    // The launcher counts by itself.
    badges: Badges::None,
    token_kinds: false,
    protocol: Protocol::Any,
    title_units_max: Some(49),
    body_units_max: Some(127),
    big_body_units_max: Some(127),
    payload_bytes_max: 4_096,
    voip_payload_bytes_max: 4_096,
    repeats_are_safe: true,
    ttl_max: Duration::from_secs(10 * 24 * 3_600),
    platforms: &[Platform::Android],
    endpoints: &[
        ("endpoint", "https://api.xmpush.xiaomi.com"),
        ("global_endpoint", "https://api.xmpush.global.xiaomi.com"),
        ("russia_endpoint", "https://ru-api.xmpush.global.xiaomi.com"),
        ("india_endpoint", "https://idmb-api.xmpush.global.xiaomi.com"),
        ("europe_endpoint", "https://fr-api.xmpush.global.xiaomi.com"),
        ("singapore_endpoint", "https://sgp-api.xmpush.global.xiaomi.com"),
    ],
    tencent_platform: 2,
};

/// The vendor.
pub struct Xiaomi;

/// The parsed credential.
struct Material {
    package_name: String,
    app_secret: SecretString,
    /// Name of the region's endpoint.
    endpoint: &'static str,
}

fn material(certificate: &SendingCertificate) -> &Material {
    certificate.material.downcast_ref().expect("a certificate holds what its own vendor made")
}

fn send_uri(certificate: &SendingCertificate) -> Uri {
    let endpoint = certificate.endpoints.get(material(certificate).endpoint);
    Base::of(endpoint).join(&["/v3/message/regid"])
}

/// A form with the app secret, which travels in every request.
fn signed_form<'a>(
    material: &Material,
    uri: Uri,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Request {
    let mut request = request::form(uri, fields);
    let key = format!("key={}", material.app_secret.expose_secret());
    request::authorize(&mut request.headers, key);
    request
}

/// The endpoint's name for a region of an upload.
fn endpoint_of(region: &str) -> Result<&'static str, CredentialError> {
    Ok(match region {
        "china" => "endpoint",
        "global" => "global_endpoint",
        "russia" => "russia_endpoint",
        "india" => "india_endpoint",
        "europe" => "europe_endpoint",
        "singapore" => "singapore_endpoint",
        _ => {
            let message =
                "credential.region must be china, global, russia, india, europe or singapore";
            return Err(upload::malformed("credential.region", message));
        }
    })
}

impl Vendor for Xiaomi {
    fn profile(&self) -> &'static Profile {
        &XIAOMI
    }

    fn read_credential(&self, upload: &Upload<'_>) -> Result<Credential, CredentialError> {
        let fields = Fields::open(upload, "secret")?;
        let package_name = fields.identifier("package_name")?.to_owned();
        let app_secret = SecretString::from(fields.text("app_secret")?);
        let region = fields.optional("region")?.unwrap_or("china");
        let endpoint = endpoint_of(region)?;
        let identity = BTreeMap::from([
            ("package_name".to_owned(), package_name.clone()),
            ("region".to_owned(), region.to_owned()),
        ]);
        let known = ["package_name", "app_secret", "region"];
        Ok(Credential {
            identity,
            expires_at: None,
            environment: Environment::Production,
            warnings: fields.warnings(&known, upload.environment),
            material: Arc::new(Material { package_name, app_secret, endpoint }),
            client_identity: None,
        })
    }

    fn credential_from_file(
        &self,
        _file_name: &str,
        _file: &[u8],
        _fields: &BTreeMap<String, String>,
    ) -> Result<Value, CredentialError> {
        Err(upload::not_a_file("type, package_name and app_secret"))
    }

    fn check_token(&self, token: &str) -> Result<Token, TokenError> {
        upload::opaque_token(token)
    }

    fn sign_in(&self, _certificate: &SendingCertificate, _now: UnixMs) -> SignIn {
        SignIn::None
    }

    fn read_sign_in(&self, reply: &Reply, now: UnixMs) -> Result<AccessToken, Answer> {
        // There is no sign-in whose reply this could be.
        Err(reply::bare_answer(reply, now, false))
    }

    fn payload_bytes(
        &self,
        _certificate: &SendingCertificate,
        notification: &Notification,
    ) -> usize {
        // The limit is on the app's own text; title and text have limits in characters.
        request::pass_through(notification).len()
    }

    fn encode(&self, call: &Call<'_>) -> Vec<Push> {
        let material = material(call.certificate);
        let uri = send_uri(call.certificate);
        let shared = message::fields(call, &material.package_name);
        let mut pushes = Vec::with_capacity(1);
        let mut start = 0;
        for part in call.targets.chunks(TOKENS_MAX) {
            let targets = start..start + part.len();
            start = targets.end;
            let tokens: Vec<&str> = part.iter().map(|target| target.token.as_str()).collect();
            let tokens = tokens.join(",");
            let fields = shared.iter().map(|(name, value)| (*name, value.as_ref()));
            let fields = fields.chain([("registration_id", tokens.as_str())]);
            let request = signed_form(material, uri.clone(), fields);
            pushes.push(Push { request, targets });
        }
        pushes
    }

    fn decode(&self, reply: &Reply, targets: &[Target], now: UnixMs) -> Vec<Answer> {
        verdict::decode(reply, targets, now)
    }

    /// There is no sign-in to prove the secret, so a message that only the app would see goes to a
    /// registration id that no phone has.
    fn probe(
        &self,
        certificate: &SendingCertificate,
        _access: Option<&AccessToken>,
        _now: UnixMs,
    ) -> Option<Request> {
        let material = material(certificate);
        let fields = [
            ("restricted_package_name", material.package_name.as_str()),
            ("registration_id", NOBODY),
            ("pass_through", "1"),
            ("title", "probe"),
            ("description", "probe"),
            ("payload", "probe"),
        ];
        Some(signed_form(material, send_uri(certificate), fields))
    }

    /// An option that Xiaomi cannot take beside the job key would be left out of every push.
    fn check_options(&self, certificate: &SendingCertificate) -> Result<(), CredentialError> {
        message::check_options(&certificate.options, &material(certificate).package_name)
    }

    fn receipt_proof(&self, _certificate: &SendingCertificate) -> Option<Proof> {
        Some(Proof::Path)
    }

    fn read_receipts(&self, post: &ReceiptPost<'_>) -> Result<Collected, ReceiptError> {
        receipt::read(post.body)
    }

    fn advice(&self, code: &str, verdict: Verdict) -> Option<&'static str> {
        verdict::advice(code, verdict)
    }
}
