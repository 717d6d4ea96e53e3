//! Exchanging a signed assertion for Google's access token (RFC 7523).
//!
//! Facts: Google, "Using OAuth 2.0 for server to server applications" (reference, B.1).

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use crate::model::time::UnixMs;
use crate::transport::{Reply, Request};
use crate::vendor::fcm::credential::Material;
use crate::vendor::reply::{bare_by_rfc, body_says, says};
use crate::vendor::request::{form, uri};
use crate::vendor::{AccessToken, Answer, Verdict};

/// The one right the relay asks for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Life of an assertion; Google allows an hour at most.
const ASSERTION_LIFE_S: u64 = 3_600;
/// How long before its end an access token is renewed.
const RENEWED_BEFORE: Duration = Duration::from_secs(5 * 60);

/// The request that asks for an access token. Its audience is the endpoint it goes to: Google's own
/// constant unless the operator configured another.
pub fn request(material: &Material, token_endpoint: &str, now: UnixMs) -> Request {
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": material.private_key_id});
    let claims = json!({
        "iss": material.client_email,
        "scope": SCOPE,
        "aud": token_endpoint,
        "iat": now.secs(),
        "exp": now.secs() + ASSERTION_LIFE_S,
    });
    let assertion = material.key.jwt(&header, &claims);
    let fields = [("grant_type", GRANT_TYPE), ("assertion", assertion.as_str())];
    form(uri(token_endpoint), fields)
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

#[derive(Deserialize)]
struct Denied {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// Reads the reply of the token endpoint.
///
/// # Errors
/// `AuthRejected { renew: false }` for a refusal, `Throttled` or `Unavailable` for what may pass.
pub fn read(reply: &Reply, now: UnixMs) -> Result<AccessToken, Answer> {
    if reply.status.is_success() {
        return match serde_json::from_slice::<Granted>(&reply.body) {
            Ok(granted) if is_token(&granted.access_token) => Ok(access_token(granted, now)),
            // Its body is not repeated: it may hold a token.
            _ => Err(Answer::new(
                Verdict::Unavailable { retry_after: None },
                "unreadable",
                "the token endpoint answered success without an access token",
            )),
        };
    }
    let verdict = match bare_by_rfc(reply, now, false) {
        // Whatever else the endpoint refuses, it refuses the credential.
        Verdict::Refused => Verdict::AuthRejected { renew: false },
        verdict => verdict,
    };
    Err(match serde_json::from_slice::<Denied>(&reply.body) {
        Ok(denied) => {
            Answer::new(verdict, says(&denied.error, &[]), &says(&denied.error_description, &[]))
        }
        Err(_) => Answer::new(verdict, reply.status.as_str(), &body_says(reply, &[])),
    })
}

fn access_token(granted: Granted, now: UnixMs) -> AccessToken {
    let life = Duration::from_secs(granted.expires_in);
    // A token that lives shorter than the margin is used for half its life.
    let used = life.saturating_sub(RENEWED_BEFORE).max(life / 2);
    AccessToken {
        value: Arc::new(SecretString::from(granted.access_token)),
        issued_at: now,
        renew_at: now.after(used),
        expires_at: now.after(life),
        header: Arc::default(),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
