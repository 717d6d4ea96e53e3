//! Provider tokens: reading and verifying (vendors-apns-fcm.md, A.2).
//!
//! Strict is RFC 7515: unpadded base64url, the signature as 64 octets R‖S. Lenient also takes
//! what Apple is seen to take: padding, the standard alphabet and ASN.1 signatures.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;

/// Octets of R‖S for P-256.
const FIXED_SIGNATURE: usize = 64;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: u64,
}

/// A provider token that could be read; not verified yet.
pub struct ProviderToken<'a> {
    /// Key id.
    pub key_id: String,
    /// Team.
    pub team_id: String,
    /// Signed when, seconds.
    pub issued_at: u64,
    signed: &'a str,
    signature: Vec<u8>,
    lenient: bool,
}

impl<'a> ProviderToken<'a> {
    /// Takes a token apart; `None` when it is none.
    pub fn read(token: &'a str, lenient: bool) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header, lenient)?).ok()?;
        let claims: Claims = serde_json::from_slice(&decode(claims, lenient)?).ok()?;
        if header.alg != "ES256" {
            return None;
        }
        Some(ProviderToken {
            key_id: header.kid,
            team_id: claims.iss,
            issued_at: claims.iat,
            signed,
            signature: decode(signature, lenient)?,
            lenient,
        })
    }

    /// Whether the owner of that public point signed it.
    pub fn is_signed_by(&self, public_point: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self.signature.len() {
            FIXED_SIGNATURE => &ECDSA_P256_SHA256_FIXED,
            _ if self.lenient => &ECDSA_P256_SHA256_ASN1,
            _ => return false,
        };
        let key = UnparsedPublicKey::new(algorithm, public_point);
        key.verify(self.signed.as_bytes(), &self.signature).is_ok()
    }
}

fn decode(segment: &str, lenient: bool) -> Option<Vec<u8>> {
    if !lenient {
        return BASE64_URL_SAFE_NO_PAD.decode(segment).ok();
    }
    let segment = segment.trim_end_matches('=').replace('+', "-").replace('/', "_");
    BASE64_URL_SAFE_NO_PAD.decode(segment).ok()
}
