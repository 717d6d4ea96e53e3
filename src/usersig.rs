//! UserSig: how Tencent's clients and servers prove who they are (TLSSigAPIv2).
//!
//! A UserSig is a JSON object, zlib-compressed and written in a base 64 of Tencent's own, that
//! carries an HMAC-SHA256 over its other fields. Source: trtc.io documents 34385 and 34348
//! ("UserSig"), with the official signing packages.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::model::id::AppId;
use crate::model::time::UnixMs;

/// Longest UserSig looked at, in bytes; real ones have about 200.
const SIG_BYTES_MAX: usize = 8 * 1_024;

/// Most bytes a UserSig may inflate to.
const JSON_BYTES_MAX: u64 = 8 * 1_024;

/// The only version there is.
const VERSION: &str = "2.0";

/// Why a UserSig is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserSigError {
    /// Its validity has ended.
    #[error("the usersig has expired")]
    Expired,
    /// Cut, not decodable, or not made by the algorithm.
    #[error("the usersig is malformed")]
    Malformed,
    /// Signed with none of the app's keys.
    #[error("the usersig was signed with another key")]
    WrongKey,
    /// Made for another user.
    #[error("the usersig belongs to another identifier")]
    WrongUser,
    /// Made for another app.
    #[error("the usersig belongs to another sdkappid")]
    WrongApp,
}

impl UserSigError {
    /// Tencent's error code (trtc.io document 34348).
    pub fn code(self) -> u32 {
        match self {
            UserSigError::Expired => 70_001,
            UserSigError::Malformed => 70_003,
            UserSigError::WrongKey => 70_009,
            UserSigError::WrongUser => 70_013,
            UserSigError::WrongApp => 70_014,
        }
    }
}

/// The JSON inside, in the order the official packages write it.
#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "TLS.ver")]
    version: String,
    #[serde(rename = "TLS.identifier")]
    identifier: String,
    #[serde(rename = "TLS.sdkappid")]
    app: u64,
    #[serde(rename = "TLS.time")]
    time_s: u64,
    #[serde(rename = "TLS.expire")]
    expire_s: u64,
    #[serde(rename = "TLS.userbuf", default, skip_serializing_if = "Option::is_none")]
    user_buffer: Option<String>,
    #[serde(rename = "TLS.sig")]
    signature: String,
}

impl Claims {
    /// The text that is signed.
    fn content(&self) -> String {
        let mut content = format!(
            "TLS.identifier:{}\nTLS.sdkappid:{}\nTLS.time:{}\nTLS.expire:{}\n",
            self.identifier, self.app, self.time_s, self.expire_s,
        );
        if let Some(user_buffer) = &self.user_buffer {
            content.push_str(&format!("TLS.userbuf:{user_buffer}\n"));
        }
        content
    }
}

/// Checks that `sig` was made for `user` of `app` with one of `keys` and is valid at `now`.
///
/// Keys are used as the text the console shows, not hex-decoded.
///
/// # Errors
///
/// [`UserSigError`]; a wrong signature is reported before an expiry.
pub fn verify(
    sig: &str,
    keys: &[String],
    app: AppId,
    user: &str,
    now: UnixMs,
) -> Result<(), UserSigError> {
    let claims = decode(sig)?;
    if claims.app != app.0 {
        return Err(UserSigError::WrongApp);
    }
    if claims.identifier != user {
        return Err(UserSigError::WrongUser);
    }
    let tag = STANDARD.decode(&claims.signature).map_err(|_| UserSigError::WrongKey)?;
    let content = claims.content();
    let signs = |key: &String| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        hmac::verify(&key, content.as_bytes(), &tag).is_ok()
    };
    if !keys.iter().any(signs) {
        return Err(UserSigError::WrongKey);
    }
    let expires_s = claims.time_s.saturating_add(claims.expire_s);
    if expires_s <= now.secs() {
        return Err(UserSigError::Expired);
    }
    Ok(())
}

/// The app and the user a UserSig names, which proves nothing yet.
///
/// # Errors
///
/// [`UserSigError::Malformed`].
pub fn named(sig: &str) -> Result<(AppId, String), UserSigError> {
    decode(sig).map(|claims| (AppId(claims.app), claims.identifier))
}

/// A UserSig for `user` of `app`, valid for `validity` from `now`, both in whole seconds.
pub fn make(key: &str, app: AppId, user: &str, now: UnixMs, validity: Duration) -> String {
    let mut claims = Claims {
        version: VERSION.to_owned(),
        identifier: user.to_owned(),
        app: app.0,
        time_s: now.secs(),
        expire_s: validity.as_secs(),
        user_buffer: None,
        signature: String::new(),
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    claims.signature = STANDARD.encode(hmac::sign(&key, claims.content().as_bytes()));
    let json = serde_json::to_vec(&claims).expect("strings and numbers are always json");
    encode(&json)
}

fn encode(json: &[u8]) -> String {
    let mut compressed = Vec::new();
    ZlibEncoder::new(json, Compression::default())
        .read_to_end(&mut compressed)
        .expect("reading from and writing to memory cannot fail");
    let text = STANDARD.encode(compressed);
    text.replace('+', "*").replace('/', "-").replace('=', "_")
}

fn decode(sig: &str) -> Result<Claims, UserSigError> {
    let malformed = UserSigError::Malformed;
    if sig.len() > SIG_BYTES_MAX {
        return Err(malformed);
    }
    let standard: Option<Vec<u8>> = sig
        .bytes()
        .map(|byte| match byte {
            b'*' => Some(b'+'),
            b'-' => Some(b'/'),
            b'_' => Some(b'='),
            byte => byte.is_ascii_alphanumeric().then_some(byte),
        })
        .collect();
    let compressed = STANDARD.decode(standard.ok_or(malformed)?).map_err(|_| malformed)?;
    let mut json = Vec::new();
    ZlibDecoder::new(compressed.as_slice())
        .take(JSON_BYTES_MAX + 1)
        .read_to_end(&mut json)
        .map_err(|_| malformed)?;
    if json.len() as u64 > JSON_BYTES_MAX {
        return Err(malformed);
    }
    let claims: Claims = serde_json::from_slice(&json).map_err(|_| malformed)?;
    // A line break inside a field could make the signed text of one user that of another.
    let user_buffer = claims.user_buffer.as_deref().unwrap_or_default();
    let broken = claims.identifier.contains('\n') || user_buffer.contains('\n');
    if claims.version != VERSION || broken {
        return Err(malformed);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY_A: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
    const SIG_A: &str = concat!(
        "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwokpuZl5mcUlRYkl*UVQBcUp2YkFBZkp",
        "SlaGJgZQAJEpycxNVbIyNEcVTa0oyCwCiZuamhrBRYsz05WslLycqyoS89ws-EJCIhJLTXK1",
        "jTIsy8vM0yO98ir9sotzDSpyDf1cI0KNzE1slWoBQr40pw__",
    );
    const SIG_A_OTHER_ZLIB: &str = concat!(
        "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwokpuZl5mcUlRYkl*UVQBcUp2YkFBZkp",
        "SlaGJgZQAJEpycxNBYqao4qmVhRkFoHETU1NjeCixZnpQPO9nKsqEvPcLPxCQiISS01ytY0y",
        "LMvLzNMjvfIq-bKLcw0qcg39XCNCjcxNbJVqAUK*NKc_",
    );
    const APP_A: AppId = AppId(1_400_000_000);
    const SIGNED_A: u64 = 1_700_000_000;
    const VALID_A: u64 = 15_552_000;

    const KEY_B: &str = "relay-test-key-0123456789abcdef";
    const SIG_B: &str = concat!(
        "eJw1ydEKgjAUgOF3ObeFnOm2bNBFYsRC0bD7CLbiaIY6Cyt690Dr8v-*NxySwnvYDhT4HsJ8",
        "bDL21tOZRr472x2R-ZYz1alpyIBiHJH5ARdyOj3VFhRbBEKGS4k4qR0a6iyoUPI-ObqAgsxR",
        "jdXuuSnb9axMhviquai27T4zMs8jVxTRS4dpnNZ6BZ8v*XcxKg__",
    );
    const APP_B: AppId = AppId(1_400_123_456);

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    fn check_a(sig: &str, now_s: u64) -> Result<(), UserSigError> {
        verify(sig, &keys(&[KEY_A]), APP_A, "administrator", UnixMs::from_secs(now_s))
    }

    fn json_of(sig: &str) -> String {
        let claims = decode(sig).expect("a vector");
        serde_json::to_string(&claims).expect("json")
    }

    #[test]
    fn the_official_signatures_are_accepted_whatever_zlib_made_them() {
        assert_eq!(check_a(SIG_A, SIGNED_A), Ok(()));
        assert_eq!(check_a(SIG_A_OTHER_ZLIB, SIGNED_A), Ok(()));
        let now = UnixMs::from_secs(1_735_689_600);
        let second = verify(SIG_B, &keys(&["another", KEY_B]), APP_B, "user_01", now);
        assert_eq!(second, Ok(()));
    }

    #[test]
    fn ours_says_the_same_as_the_official_one() {
        let now = UnixMs::from_secs(SIGNED_A);
        let sig = make(KEY_A, APP_A, "administrator", now, Duration::from_secs(VALID_A));
        assert_eq!(json_of(&sig), json_of(SIG_A));
    }

    #[test]
    fn it_expires_at_the_second_and_not_before() {
        assert!(check_a(SIG_A, SIGNED_A + VALID_A - 1).is_ok());
        let expired = check_a(SIG_A, SIGNED_A + VALID_A).expect_err("over");
        assert_eq!((expired, expired.code()), (UserSigError::Expired, 70_001));
    }

    #[test]
    fn another_user_app_or_key_is_told_apart() {
        let now = UnixMs::from_secs(SIGNED_A);
        let user = verify(SIG_A, &keys(&[KEY_A]), APP_A, "user_01", now).expect_err("user");
        assert_eq!((user, user.code()), (UserSigError::WrongUser, 70_013));
        let app = verify(SIG_A, &keys(&[KEY_A]), APP_B, "administrator", now).expect_err("app");
        assert_eq!((app, app.code()), (UserSigError::WrongApp, 70_014));
        let key = verify(SIG_A, &keys(&[KEY_B]), APP_A, "administrator", now).expect_err("key");
        assert_eq!((key, key.code()), (UserSigError::WrongKey, 70_009));
        assert_eq!(
            verify(SIG_A, &[], APP_A, "administrator", now),
            Err(UserSigError::WrongKey),
            "an app without keys accepts nobody",
        );
    }

    #[test]
    fn every_changed_character_of_the_signature_is_noticed() {
        let json = json_of(SIG_A);
        let at = json.find("JCzxanF8").expect("the signature");
        for offset in 0..44 {
            let mut changed = json.clone().into_bytes();
            let byte = &mut changed[at + offset];
            *byte = if *byte == b'A' { b'B' } else { b'A' };
            let error = check_a(&encode(&changed), SIGNED_A).expect_err("changed");
            assert_eq!(error, UserSigError::WrongKey, "character {offset}");
        }
    }

    #[test]
    fn a_changed_field_breaks_the_signature() {
        let json = json_of(SIG_A);
        for (was, is) in [("1700000000", "1700000001"), ("15552000", "15552001")] {
            let changed = encode(json.replace(was, is).as_bytes());
            assert_eq!(check_a(&changed, SIGNED_A), Err(UserSigError::WrongKey));
        }
        let padded = json.replace("\"TLS.sig\"", "\"TLS.userbuf\":\"eA==\",\"TLS.sig\"");
        let padded = encode(padded.as_bytes());
        assert_eq!(check_a(&padded, SIGNED_A), Err(UserSigError::WrongKey));
    }

    #[test]
    fn what_the_algorithm_did_not_make_is_malformed() {
        assert_eq!(UserSigError::Malformed.code(), 70_003);
        for cut in 0..SIG_A.len() {
            assert_eq!(check_a(&SIG_A[..cut], SIGNED_A), Err(UserSigError::Malformed), "{cut}");
        }
        let standard = SIG_A.replace('*', "+").replace('-', "/").replace('_', "=");
        let version = encode(json_of(SIG_A).replace("\"2.0\"", "\"1.0\"").as_bytes());
        let broken = json_of(SIG_A).replace("administrator", "administrator\\nx");
        for sig in [standard, version, encode(broken.as_bytes()), encode(b"[]"), encode(b"")] {
            assert_eq!(check_a(&sig, SIGNED_A), Err(UserSigError::Malformed));
        }
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let mut json = json_of(SIG_A);
        assert!(check_a(&encode(json.as_bytes()), SIGNED_A).is_ok());
        // Still valid JSON and correctly signed, only too long.
        json.push_str(&" ".repeat(1_000_000));
        let bomb = encode(json.as_bytes());
        assert!(bomb.len() < SIG_BYTES_MAX);
        assert_eq!(check_a(&bomb, SIGNED_A), Err(UserSigError::Malformed));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(sig in "\\PC*", json in "\\PC*") {
            prop_assert!(check_a(&sig, SIGNED_A).is_err());
            prop_assert!(check_a(&encode(json.as_bytes()), SIGNED_A).is_err());
        }

        #[test]
        fn any_numbers_in_the_right_shape_are_survived(time: u64, expire: u64, now: u64) {
            let json = json_of(SIG_A)
                .replace("1700000000", &time.to_string())
                .replace("15552000", &expire.to_string());
            prop_assert!(check_a(&encode(json.as_bytes()), now).is_err());
        }

        #[test]
        fn what_is_made_is_accepted(
            key in "[ -~]{1,80}", user in "[^\\n]{0,32}", app: u64,
            now_s in 0u64..10_000_000_000, valid_s in 1u64..2_000_000_000,
        ) {
            let (app, now) = (AppId(app), UnixMs::from_secs(now_s));
            let sig = make(&key, app, &user, now, Duration::from_secs(valid_s));
            let keys = [key];
            let at = |s| verify(&sig, &keys, app, &user, UnixMs::from_secs(s));
            prop_assert_eq!((at(now_s), at(now_s + valid_s - 1)), (Ok(()), Ok(())));
            prop_assert_eq!(at(now_s + valid_s), Err(UserSigError::Expired));
        }
    }
}
