//! APNs credentials: a provider key (`.p8`) or a client certificate (`.p12`).
//!
//! Facts: Apple, "Establishing a token-based connection to APNs" and "Establishing a
//! certificate-based connection to APNs"; the extensions of push certificates as node-apn and
//! pushy read them (reference, A.2 and A.3).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::ber::BerObjectContent;
use x509_parser::der_parser::oid;
use x509_parser::der_parser::oid::Oid;
use x509_parser::prelude::FromDer;

use crate::model::certificate::Environment;
use crate::model::time::UnixMs;
use crate::transport::ClientIdentity;
use crate::vendor::sign::{Es256Key, KeyError, public_key_of, sha256_hex};
use crate::vendor::upload::{
    Credential, CredentialError, Upload, error, form, malformed, missing, text, unknown_type,
};

/// Length of Apple's key ids and team ids, in characters.
const ID_CHARS: usize = 10;
/// Largest `.p12` read, in bytes; real ones are below 8 KiB.
const P12_BYTES_MAX: usize = 64 * 1_024;

const USER_ID: Oid<'static> = oid!(0.9.2342.19200300.100.1.1);
const ORGANIZATIONAL_UNIT: Oid<'static> = oid!(2.5.4.11);
const SANDBOX: Oid<'static> = oid!(1.2.840.113635.100.6.3.1);
const PRODUCTION: Oid<'static> = oid!(1.2.840.113635.100.6.3.2);
const TOPICS: Oid<'static> = oid!(1.2.840.113635.100.6.3.6);

/// What sending needs of a credential.
pub struct Material {
    /// Topic of ordinary pushes: the bundle id.
    pub topic: HeaderValue,
    /// Topic of VoIP pushes.
    pub voip_topic: HeaderValue,
    /// Topic of Live Activity pushes.
    pub live_activity_topic: HeaderValue,
    /// Signs provider tokens; absent when the client certificate is the proof.
    pub provider: Option<Provider>,
}

/// A provider key and whose it is.
pub struct Provider {
    /// The private key.
    pub key: Es256Key,
    /// Its id, the `kid` of tokens.
    pub key_id: String,
    /// The team, the `iss` of tokens.
    pub team_id: String,
    /// Tells it from every other provider.
    pub name: Arc<str>,
}

impl Provider {
    fn new(key: Es256Key, key_id: String, team_id: String) -> Self {
        // The public key is part of the name: a key uploaded under another one's id must not send
        // with that one's token.
        let public_key = sha256_hex(key.public_key());
        let name = [team_id.as_str(), &key_id, &public_key].join("/").into();
        Provider { key, key_id, team_id, name }
    }
}

/// Reads an upload of either form.
///
/// # Errors
/// The first mistake, with its field.
pub fn read(upload: &Upload<'_>) -> Result<Credential, CredentialError> {
    match text(upload.credential, "credential", "type")? {
        "p8" => read_p8(upload),
        "p12" => read_p12(upload),
        other => Err(unknown_type(other, "p8 or p12")),
    }
}

/// Makes the `credential` object out of a file and its form fields: `.p8` with `team_id`,
/// `bundle_id` and `key_id` (which Apple's file name `AuthKey_<key id>.p8` also tells), or `.p12`
/// with `password`.
///
/// # Errors
/// When a field is missing or the file is neither.
pub fn from_file(
    file_name: &str,
    file: &[u8],
    fields: &BTreeMap<String, String>,
) -> Result<Value, CredentialError> {
    if file.starts_with(b"-----BEGIN") || file_name.to_ascii_lowercase().ends_with(".p8") {
        let key =
            str::from_utf8(file).map_err(|_| malformed("file", "the .p8 file is not text"))?;
        let stem = Path::new(file_name).file_stem().and_then(|stem| stem.to_str());
        let key_id = match (form(fields, "key_id"), stem.and_then(|s| s.strip_prefix("AuthKey_"))) {
            (Err(_), Some(named)) => named,
            (given, _) => given?,
        };
        let (team_id, bundle_id) = (form(fields, "team_id")?, form(fields, "bundle_id")?);
        return Ok(json!({"type": "p8", "key": key, "key_id": key_id,
            "team_id": team_id, "bundle_id": bundle_id}));
    }
    // A password may begin or end with a blank, so it is taken as it is.
    let password = fields.get("password").map_or("", String::as_str);
    Ok(json!({"type": "p12", "data": STANDARD.encode(file), "password": password}))
}

fn read_p8(upload: &Upload<'_>) -> Result<Credential, CredentialError> {
    let pem = text(upload.credential, "credential", "key")?;
    let key_id = apple_id(upload.credential, "key_id")?;
    let team_id = apple_id(upload.credential, "team_id")?;
    let bundle_id = text(upload.credential, "credential", "bundle_id")?.trim();
    let key = Es256Key::from_pem(pem).map_err(|problem| {
        let code = match problem {
            KeyError::NotPem => "credential_malformed",
            KeyError::WrongType(_) => "wrong_key_type",
        };
        let message = format!("credential.key must be an APNs authentication key (.p8): {problem}");
        error(code, "credential.key", message)
    })?;
    let provider = Provider::new(key, key_id.clone(), team_id.clone());
    let material = material(bundle_id, Some(provider), "credential.bundle_id")?;
    let identity = [
        ("type", "p8".to_owned()),
        ("key_id", key_id),
        ("team_id", team_id),
        ("bundle_id", bundle_id.to_owned()),
    ];
    Ok(Credential {
        identity: identity.map(|(name, value)| (name.to_owned(), value)).into(),
        expires_at: None,
        environment: upload.environment,
        warnings: Vec::new(),
        material: Arc::new(material),
        client_identity: None,
    })
}

fn read_p12(upload: &Upload<'_>) -> Result<Credential, CredentialError> {
    let archive = open(upload.credential)?;
    let identity = Arc::new(identity_of(&archive)?);
    let unreadable = |message: &str| malformed("credential.data", message);
    let (_, certificate) = X509Certificate::from_der(&identity.chain[0])
        .map_err(|_| unreadable("the certificate in the .p12 cannot be read"))?;
    let facts = Facts::of(&certificate);
    let bundle_id = facts.topic.ok_or_else(|| {
        unreadable("the certificate names no topic (subject UID): it is no Apple push certificate")
    })?;
    let expires_at = unix(certificate.validity().not_after.timestamp());
    if expires_at <= upload.now {
        let message = format!("the certificate ended at {expires_at}; renew it and upload it here");
        return Err(error("cert_expired", "credential.data", message));
    }
    let environment = environment_of(upload.environment, facts.sandbox, facts.production)?;
    let mut warnings = Vec::new();
    if unix(certificate.validity().not_before.timestamp()) > upload.now {
        warnings.push("the certificate is not valid yet".to_owned());
    }
    if !facts.sandbox && !facts.production {
        warnings.push(
            "the certificate does not say which environment it is for; taken as uploaded".into(),
        );
    }
    let mut about = BTreeMap::from([
        ("type".to_owned(), "p12".to_owned()),
        ("bundle_id".to_owned(), bundle_id.clone()),
        ("subject".to_owned(), certificate.subject().to_string()),
    ]);
    about.extend(facts.team.map(|team| ("team_id".to_owned(), team)));
    if !facts.topics.is_empty() {
        about.insert("topics".to_owned(), facts.topics.join(" "));
    }
    Ok(Credential {
        identity: about,
        expires_at: Some(expires_at),
        environment,
        warnings,
        material: Arc::new(material(&bundle_id, None, "credential.data")?),
        client_identity: Some(identity),
    })
}

fn open(credential: &Value) -> Result<Pkcs12Archive, CredentialError> {
    let data = text(credential, "credential", "data")?;
    let unreadable = |message: String| malformed("credential.data", message);
    let base64: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    if base64.len() > P12_BYTES_MAX / 3 * 4 {
        return Err(unreadable("credential.data is too long for a .p12".to_owned()));
    }
    let der = STANDARD
        .decode(base64)
        .map_err(|_| unreadable("credential.data must be the .p12 file in base64".to_owned()))?;
    let password = match credential.get("password") {
        Some(Value::String(password)) if !password.is_empty() => password,
        _ => {
            let message = "credential.password is missing or empty; \
                           export the .p12 again with a password";
            return Err(missing("credential.password", message));
        }
    };
    Pkcs12Archive::from_pkcs12(&der, password).map_err(|problem| match problem {
        // Without a MAC, a wrong password shows only in padding that makes no sense.
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => {
            let message = "credential.password does not open the .p12";
            error("wrong_password", "credential.password", message)
        }
        other => unreadable(format!("credential.data is not a .p12 that can be read: {other}")),
    })
}

/// The private key with the certificate it belongs to and that certificate's issuers.
fn identity_of(archive: &Pkcs12Archive) -> Result<ClientIdentity, CredentialError> {
    let lacks = |message: &str| malformed("credential.data", message);
    let key = archive.keys.first().ok_or_else(|| lacks("the .p12 holds no private key"))?;
    if archive.certs.is_empty() {
        return Err(lacks("the .p12 holds no certificate"));
    }
    let public_key = public_key_of(key.key.as_der()).ok_or_else(|| {
        let message = "the private key in the .p12 is neither RSA (2048 bits or more) nor EC P-256";
        error("wrong_key_type", "credential.data", message)
    })?;
    let certificates = archive.certs.iter().map(|bag| &bag.cert);
    let leaf = certificates
        .clone()
        .find(|certificate| {
            X509Certificate::from_der(certificate.as_der()).is_ok_and(|(_, parsed)| {
                parsed.public_key().subject_public_key.data.as_ref() == public_key
            })
        })
        .ok_or_else(|| {
            let message = "the private key in the .p12 belongs to none of its certificates";
            error("key_mismatch", "credential.data", message)
        })?;
    let mut chain = vec![leaf];
    while let Some(last) = chain.last()
        && let Some(issuer) = certificates
            .clone()
            .find(|next| next.subject() == last.issuer() && !chain.contains(next))
    {
        chain.push(issuer);
    }
    let chain = chain.iter().map(|c| CertificateDer::from(c.as_der().to_vec())).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()));
    Ok(ClientIdentity { chain, key })
}

/// What a push certificate says of itself.
struct Facts {
    topic: Option<String>,
    team: Option<String>,
    topics: Vec<String>,
    sandbox: bool,
    production: bool,
}

impl Facts {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let attribute = |oid: &Oid<'_>| {
            let mut found = certificate.subject().iter_by_oid(oid);
            found.next().and_then(|value| value.as_str().ok()).map(str::to_owned)
        };
        let extension = |oid: &Oid<'static>| certificate.get_extension_unique(oid).ok().flatten();
        Facts {
            topic: attribute(&USER_ID),
            team: attribute(&ORGANIZATIONAL_UNIT),
            topics: extension(&TOPICS).map(|found| topics_of(found.value)).unwrap_or_default(),
            sandbox: extension(&SANDBOX).is_some(),
            production: extension(&PRODUCTION).is_some(),
        }
    }
}

/// The topics of extension …6.3.6: a sequence in which texts (topics) and sequences (their kinds)
/// alternate.
fn topics_of(value: &[u8]) -> Vec<String> {
    let Ok((_, outer)) = x509_parser::der_parser::parse_der(value) else { return Vec::new() };
    let BerObjectContent::Sequence(items) = outer.content else { return Vec::new() };
    items.iter().filter_map(|item| item.as_str().ok()).map(str::to_owned).collect()
}

fn environment_of(
    uploaded: Environment,
    sandbox: bool,
    production: bool,
) -> Result<Environment, CredentialError> {
    let contradiction = |here, there| {
        let message = format!("the certificate is for {here} only, but was uploaded for {there}");
        Err(error("environment_mismatch", "environment", message))
    };
    match (uploaded, sandbox, production) {
        (Environment::Production, true, false) => contradiction("sandbox", "production"),
        (Environment::Sandbox, false, true) => contradiction("production", "sandbox"),
        _ => Ok(uploaded),
    }
}

fn material(
    bundle_id: &str,
    provider: Option<Provider>,
    field: &str,
) -> Result<Material, CredentialError> {
    let header = |suffix: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        // A certificate of the VoIP-only kind already names the VoIP topic.
        let topic = match bundle_id.ends_with(suffix) {
            true => bundle_id.to_owned(),
            false => format!("{bundle_id}{suffix}"),
        };
        HeaderValue::try_from(topic).ok().filter(|_| bundle_id.chars().all(known)).ok_or_else(
            || {
                let message =
                    "the bundle id may hold only letters, digits, dots, hyphens, underscores";
                malformed(field, message)
            },
        )
    };
    Ok(Material {
        topic: header("")?,
        voip_topic: header(".voip")?,
        live_activity_topic: header(".push-type.liveactivity")?,
        provider,
    })
}

fn apple_id(credential: &Value, name: &str) -> Result<String, CredentialError> {
    let id = text(credential, "credential", name)?.trim();
    if id.len() == ID_CHARS && id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(id.to_owned());
    }
    let field = format!("credential.{name}");
    let message = format!("{field} must be {ID_CHARS} letters and digits");
    Err(malformed(&field, message))
}

fn unix(seconds: i64) -> UnixMs {
    UnixMs::from_secs(u64::try_from(seconds).unwrap_or(0))
}
