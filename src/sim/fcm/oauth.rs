//! The token endpoint and the access tokens it gave (vendors-apns-fcm.md, B.1).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{StatusCode, header};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::time::UnixMs;
use crate::sim::fcm::answer::Failure;
use crate::sim::fcm::{PROJECT_ID, TOKEN_PATH};
use crate::sim::{SimReply, SimRequest};

/// Google's token endpoint, which many libraries put into `aud` whatever they post to (B.1).
pub const GOOGLE_TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// Private key of the service account: throw-away, public, worth nothing outside this room.
const PRIVATE_KEY_PEM: &str = include_str!("../keys/fcm.pem");
/// Id of that key.
pub const PRIVATE_KEY_ID: &str = "5160000000000000000000000000000000000001";
/// Address of the service account.
pub const CLIENT_EMAIL: &str = "offpush@sim-project.iam.gserviceaccount.com";
/// Scopes that allow messaging.
const SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/firebase.messaging",
    "https://www.googleapis.com/auth/cloud-platform",
];
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Longest life of an assertion.
const ASSERTION_LIFE_MAX_S: u64 = 3_600;
/// How far a clock may run ahead of ours.
const CLOCK_AHEAD_MAX_S: u64 = 5;
/// Google's words, as operators quote them, for an assertion of another time or too long a life.
const UNTIMELY: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a \
    reasonable timeframe. Check your iat and exp values in the JWT claim.";
/// Life of an access token unless told otherwise.
const TOKEN_LIFE_S: u64 = 3_599;
/// Most access tokens alive at a time; older ones make room.
const TOKENS_MAX: usize = 10_000;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    scope: String,
    aud: String,
    iat: u64,
    exp: u64,
}

/// An error of the token endpoint: its code and description.
type Denied = (&'static str, &'static str);

/// The token endpoint of one service account.
pub struct Oauth {
    public_key: Vec<u8>,
    token_life_s: u64,
    tokens: Mutex<HashMap<String, UnixMs>>,
}

impl Oauth {
    /// The endpoint; it has given no token yet.
    pub fn new() -> Self {
        let der = PrivatePkcs8KeyDer::from_pem_slice(PRIVATE_KEY_PEM.as_bytes())
            .expect("the embedded key is PEM");
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
            .expect("the embedded key is an RSA key of 2048 bits");
        let public_key = pair.public_key().as_ref().to_vec();
        Oauth { public_key, token_life_s: TOKEN_LIFE_S, tokens: Mutex::default() }
    }

    /// Sets how long the tokens it will give live.
    pub fn set_token_life_s(&mut self, seconds: u64) {
        self.token_life_s = seconds;
    }

    /// The service account file.
    pub fn service_account(&self) -> Value {
        json!({
            "type": "service_account",
            "project_id": PROJECT_ID,
            "private_key_id": PRIVATE_KEY_ID,
            "private_key": PRIVATE_KEY_PEM,
            "client_email": CLIENT_EMAIL,
            "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": GOOGLE_TOKEN_URI,
        })
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<String, UnixMs>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the token endpoint.
    pub fn exchange(&self, request: &SimRequest) -> SimReply {
        if let Err((error, description)) = self.check_exchange(request) {
            let body = json!({"error": error, "error_description": description});
            return SimReply::json(StatusCode::BAD_REQUEST, &body);
        }
        let random = format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..));
        let token = format!("ya29.sim-{random}");
        let expires_at = UnixMs(request.now.0.saturating_add(self.token_life_s * 1_000));
        let mut tokens = self.tokens();
        if tokens.len() >= TOKENS_MAX {
            tokens.retain(|_, end| *end > request.now);
        }
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(token.clone(), expires_at);
        let body = json!({
            "access_token": token, "expires_in": self.token_life_s, "token_type": "Bearer",
        });
        SimReply::json(StatusCode::OK, &body)
    }

    fn check_exchange(&self, request: &SimRequest) -> Result<(), Denied> {
        let kind = request.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_none_or(|kind| !kind.starts_with("application/x-www-form-urlencoded")) {
            return Err(("invalid_request", "The body must be a form."));
        }
        let form: HashMap<_, _> = form_urlencoded::parse(&request.body).collect();
        match form.get("grant_type") {
            None => return Err(("invalid_request", "Missing parameter: grant_type")),
            Some(grant) if grant != GRANT_TYPE => {
                return Err(("unsupported_grant_type", "Invalid grant_type"));
            }
            Some(_) => {}
        }
        let missing = ("invalid_request", "Missing parameter: assertion");
        let assertion = form.get("assertion").ok_or(missing)?;
        let claims = self.verify(assertion)?;
        check_claims(&claims, request)
    }

    fn verify(&self, assertion: &str) -> Result<Claims, Denied> {
        let malformed = ("invalid_grant", "Invalid JWT: malformed");
        let (signed, signature) = assertion.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(malformed)?;
        let decode = |segment: &str| BASE64_URL_SAFE_NO_PAD.decode(segment).map_err(|_| malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed)?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| malformed)?;
        if header.alg != "RS256" {
            return Err(("invalid_grant", "Invalid JWT: alg must be RS256"));
        }
        if claims.iss != CLIENT_EMAIL {
            return Err(("invalid_grant", "Invalid grant: account not found"));
        }
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public_key);
        let known = header.kid.is_none_or(|kid| kid == PRIVATE_KEY_ID);
        if !known || key.verify(signed.as_bytes(), &decode(signature)?).is_err() {
            return Err(("invalid_grant", "Invalid JWT Signature."));
        }
        Ok(claims)
    }

    /// The project that the request's access token may send for.
    ///
    /// # Errors
    /// 401 `UNAUTHENTICATED`, without an FCM code, when the token is unknown or over.
    pub fn check_access(&self, request: &SimRequest) -> Result<&'static str, Failure> {
        let value = request.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        let alive = token
            .is_some_and(|token| self.tokens().get(token).is_some_and(|end| *end > request.now));
        if alive {
            return Ok(PROJECT_ID);
        }
        let message = match token {
            Some(_) => "Request had invalid authentication credentials.",
            None => "Request is missing required authentication credential.",
        };
        Err(Failure::without_details(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message))
    }
}

impl Default for Oauth {
    fn default() -> Self {
        Oauth::new()
    }
}

fn check_claims(claims: &Claims, request: &SimRequest) -> Result<(), Denied> {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = host.is_some_and(|host| claims.aud == format!("https://{host}{TOKEN_PATH}"));
    if claims.aud != GOOGLE_TOKEN_URI && !own {
        return Err(("invalid_grant", "Invalid JWT: aud is not the token endpoint"));
    }
    let now = request.now.secs();
    let timely = claims.iat <= now + CLOCK_AHEAD_MAX_S
        && claims.exp > now
        && claims.exp.saturating_sub(claims.iat) <= ASSERTION_LIFE_MAX_S;
    if !timely {
        return Err(("invalid_grant", UNTIMELY));
    }
    if !claims.scope.split(' ').any(|scope| SCOPES.contains(&scope)) {
        return Err(("invalid_scope", "Invalid OAuth scope."));
    }
    Ok(())
}
