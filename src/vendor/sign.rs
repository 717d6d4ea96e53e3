//! Signatures and digests the vendors ask for: JSON web tokens by ES256 and RS256, SHA-256.
//!
//! Keys are checked when they are read, by signing once: a key that was read can sign.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::Value;
use zeroize::Zeroizing;

const WANTED_RSA: &str = "an RSA private key of 2048 bits or more in PKCS#8 is required";

/// Why a private key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block in the text.
    #[error("no PEM block (-----BEGIN PRIVATE KEY-----) was found")]
    NotPem,
    /// A PEM block, but not the key that is needed.
    #[error("wrong key type: {0}")]
    WrongType(&'static str),
}

/// A P-256 private key that signs JSON web tokens by ES256 (RFC 7518, 3.4).
pub struct Es256Key {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Es256Key {
    /// Reads a PKCS#8 PEM.
    ///
    /// # Errors
    /// When it is no PEM or no P-256 key in PKCS#8.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = pkcs8_der(pem)?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random)
            .map_err(|_| KeyError::WrongType("an EC P-256 private key in PKCS#8 is required"))?;
        Ok(Es256Key { pair, random })
    }

    /// A signed token in the compact form of RFC 7515: no padding, signature as R‖S.
    pub fn jwt(&self, header: &Value, claims: &Value) -> String {
        let mut token = signing_input(header, claims);
        let signature = self
            .pair
            .sign(&self.random, token.as_bytes())
            .expect("a P-256 signature fails only when the system has no randomness");
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// The public key as an uncompressed point, for checking signatures.
    pub fn public_key(&self) -> &[u8] {
        ring::signature::KeyPair::public_key(&self.pair).as_ref()
    }
}

/// An RSA private key that signs JSON web tokens by RS256 (RFC 7518, 3.3).
pub struct Rs256Key {
    pair: RsaKeyPair,
    random: SystemRandom,
}

impl Rs256Key {
    /// Reads a PKCS#8 PEM. The library takes no key below 2,048 bits, which would not be safe.
    ///
    /// # Errors
    /// When it is no PEM, no RSA key in PKCS#8, too short, or its numbers do not fit each other.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = pkcs8_der(pem)?;
        let pair = RsaKeyPair::from_pkcs8(&der).map_err(|_| KeyError::WrongType(WANTED_RSA))?;
        let key = Rs256Key { pair, random: SystemRandom::new() };
        // The library checks each RSA signature; numbers that do not belong together fail here.
        key.sign(b"").ok_or(KeyError::WrongType("the numbers of this RSA key do not match"))?;
        Ok(key)
    }

    /// A signed token in the compact form of RFC 7515.
    pub fn jwt(&self, header: &Value, claims: &Value) -> String {
        let mut token = signing_input(header, claims);
        let signature =
            self.sign(token.as_bytes()).expect("a key that signed when it was read signs again");
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// The public key as a DER `RSAPublicKey`, for checking signatures.
    pub fn public_key(&self) -> &[u8] {
        ring::signature::KeyPair::public_key(&self.pair).as_ref()
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature).ok()?;
        Some(signature)
    }
}

/// The lower-case hex SHA-256 of some bytes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// The public key that belongs to a PKCS#8 private key (RSA or P-256), in the form that a
/// certificate holds it; `None` for any other key.
pub fn public_key_of(pkcs8_der: &[u8]) -> Option<Vec<u8>> {
    use ring::signature::KeyPair;
    if let Ok(pair) = RsaKeyPair::from_pkcs8(pkcs8_der) {
        return Some(pair.public_key().as_ref().to_vec());
    }
    let random = SystemRandom::new();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8_der, &random)
        .ok()
        .map(|pair| pair.public_key().as_ref().to_vec())
}

fn signing_input(header: &Value, claims: &Value) -> String {
    let mut input = URL_SAFE_NO_PAD.encode(header.to_string());
    input.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut input);
    input
}

fn pkcs8_der(pem: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let section = <(SectionKind, Vec<u8>)>::from_pem_slice(pem.as_bytes());
    let (kind, der) = section.map_err(|_| KeyError::NotPem)?;
    let der = Zeroizing::new(der);
    match kind {
        SectionKind::PrivateKey => Ok(der),
        SectionKind::Certificate => Err(KeyError::WrongType("this is a certificate")),
        SectionKind::PublicKey => Err(KeyError::WrongType("this is a public key")),
        _ => Err(KeyError::WrongType("a PKCS#8 block (-----BEGIN PRIVATE KEY-----) is required")),
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
        VerificationAlgorithm,
    };
    use serde_json::json;

    use super::*;

    const P8: &str = include_str!("../../tests/fixtures/apns_key.p8");

    fn rsa_pem() -> String {
        let file = include_str!("../../tests/fixtures/fcm_service_account.json");
        let file: Value = serde_json::from_str(file).expect("the fixture");
        file["private_key"].as_str().expect("a key").to_owned()
    }

    fn check(token: &str, algorithm: &'static dyn VerificationAlgorithm, public_key: &[u8]) {
        let (input, signature) = token.rsplit_once('.').expect("three parts");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url without padding");
        let key = UnparsedPublicKey::new(algorithm, public_key);
        key.verify(input.as_bytes(), &signature).expect("a valid signature");
        let (header, claims) = input.split_once('.').expect("two parts");
        assert_eq!(URL_SAFE_NO_PAD.decode(header).expect("base64url"), br#"{"alg":"x"}"#);
        assert_eq!(URL_SAFE_NO_PAD.decode(claims).expect("base64url"), br#"{"iss":"y"}"#);
    }

    #[test]
    fn tokens_carry_signatures_that_verify() {
        let (header, claims) = (json!({"alg": "x"}), json!({"iss": "y"}));
        let key = Es256Key::from_pem(P8).expect("the fixture");
        check(&key.jwt(&header, &claims), &ECDSA_P256_SHA256_FIXED, key.public_key());
        let key = Rs256Key::from_pem(&rsa_pem()).expect("the fixture");
        check(&key.jwt(&header, &claims), &RSA_PKCS1_2048_8192_SHA256, key.public_key());
    }

    #[test]
    fn another_key_is_refused_by_its_type() {
        let p384 = include_str!("../../tests/fixtures/apns_key_p384.p8");
        let short = include_str!("../../tests/fixtures/rsa_1024.pem");
        for pem in [&rsa_pem(), p384] {
            assert!(matches!(Es256Key::from_pem(pem).err(), Some(KeyError::WrongType(_))));
        }
        for pem in [P8, short] {
            assert!(matches!(Rs256Key::from_pem(pem).err(), Some(KeyError::WrongType(_))));
        }
        let sec1 = P8.replace("PRIVATE KEY", "EC PRIVATE KEY");
        assert!(matches!(Es256Key::from_pem(&sec1).err(), Some(KeyError::WrongType(_))));
        for text in ["", "hello", "-----BEGIN PRIVATE KEY-----\n???"] {
            assert_eq!(Es256Key::from_pem(text).err(), Some(KeyError::NotPem));
        }
    }

    /// Apple's files repeat the curve inside the key, which most tools leave out.
    #[test]
    fn a_key_that_repeats_its_curve_is_read() {
        let der = pkcs8_der(P8).expect("the fixture");
        // Sequence head, version and algorithm end at 27, two more heads at 31, the private key
        // at 68.
        assert_eq!(der[68], 0xa1, "the public key follows the private key");
        let curve = hex::decode("a00a06082a8648ce3d030107").expect("hex");
        let inner = [&der[31..68], &curve, &der[68..]].concat();
        let key = [&[0x30, u8::try_from(inner.len()).expect("short")], &inner[..]].concat();
        let octets = [&[0x04, u8::try_from(key.len()).expect("short")], &key[..]].concat();
        let body = [&der[3..27], &octets[..]].concat();
        let whole = [&[0x30, 0x81, u8::try_from(body.len()).expect("short")], &body[..]].concat();
        let pem = base64::engine::general_purpose::STANDARD.encode(whole);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
        assert!(Es256Key::from_pem(&pem).is_ok());
    }

    #[test]
    fn the_sha_256_of_abc_is_the_published_one() {
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
