//! Huawei's receipts (HMS Core, `msg-receipt-guide`): JSON, up to 100 statuses a post, signed when
//! a user name and a key are set in the console.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::model::time::UnixMs;
use crate::vendor::receipt::{Collected, ReceiptError, What, text, time, unix_ms};
use crate::vendor::reply;

/// Carries `timestamp=<ms>; nonce=<uuid>; value=<base64>`.
const SIGNATURE: &str = "x-huawei-callback-id";

/// Longest difference between the signature's time and ours, in milliseconds.
const WINDOW_MS: u64 = 5 * 60 * 1_000;

/// User name and key of the receipt configuration.
pub struct ReceiptKey {
    /// User name.
    pub user: String,
    /// Key.
    pub key: SecretString,
}

impl ReceiptKey {
    /// Whether the headers carry a signature of this key that is not older than five minutes.
    ///
    /// Old configurations use the key's text, new ones its Base64 decoding: both are accepted.
    pub fn signed(&self, headers: &HeaderMap, now: UnixMs) -> bool {
        let Some(header) = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let part = |name: &str| {
            let mut parts = header.split(';').filter_map(|part| part.trim().split_once('='));
            parts.find(|(known, _)| *known == name).map(|(_, value)| value)
        };
        let (Some(timestamp), Some(nonce), Some(value)) =
            (part("timestamp"), part("nonce"), part("value"))
        else {
            return false;
        };
        let (Ok(time), Ok(value)) = (timestamp.parse(), STANDARD.decode(value)) else {
            return false;
        };
        if now.0.abs_diff(unix_ms(time).0) > WINDOW_MS {
            return false;
        }
        let signed = [timestamp, nonce, self.user.as_str()].concat();
        let text = self.key.expose_secret();
        let fits = |key: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::verify(&key, signed.as_bytes(), &value).is_ok()
        };
        fits(text.as_bytes()) || STANDARD.decode(text).is_ok_and(|key| fits(&key))
    }
}

/// Reads `{"statuses":[…]}` in the form of API v1 or v2.
///
/// # Errors
/// [`ReceiptError`].
pub fn read(body: &[u8]) -> Result<Collected, ReceiptError> {
    let body: Value = serde_json::from_slice(body).map_err(|_| ReceiptError::Malformed)?;
    let statuses = body.get("statuses").and_then(Value::as_array);
    let mut receipts = Collected::default();
    for status in statuses.ok_or(ReceiptError::Malformed)? {
        // v2 keeps result and time in an object of their own.
        let inner = status.get("deliveryStatus").filter(|inner| inner.is_object());
        let result = match inner {
            Some(inner) => inner.get("result"),
            None => status.get("status"),
        };
        let number = reply::number(result).and_then(|number| u32::try_from(number).ok());
        let Some(number) = number else {
            receipts.unreadable();
            continue;
        };
        let at = time(inner.unwrap_or(status).get("timestamp"));
        let tag = match text(status, "biTag") {
            "" => text(status, "bi_tag"),
            tag => tag,
        };
        receipts.push(tag, &reply::tokens(status.get("token")), at, what(number))?;
    }
    receipts.finish()
}

fn what(status: u32) -> What {
    let says = match status {
        0 => return What::Reached,
        2 => "the app is not installed",
        5 => "the token is another one now: data cleared, reinstalled or deleted",
        6 => "notifications are switched off",
        10 => "the device was inactive for 30 days",
        14 => "the device is in an internal network",
        15 => "replaced by a later push, or the offline store was full",
        22 => "another user of the device is active",
        27 => "the app does not run, its data waits",
        31 => "the page to open does not exist",
        51 => "the device was not unlocked since it started",
        102 => "flow control",
        144 => "the profile does not exist",
        151 => "not shown",
        188 => "the page could not be opened",
        191 => "the badge could not be set",
        256 => "too many pushes for this device",
        259 => "the content was refused",
        _ => "not shown, for another reason",
    };
    What::NotShown { status, says, token_dead: matches!(status, 2 | 5) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const AT: UnixMs = UnixMs(1_563_105_451_261);
    const HEADER: &str = "timestamp=1563105451261; nonce=a07bfa17-6d82-4b53-a9a2-07cfef5ceef1; \
                          value=avHhiJnR975a1omnW1//TzhwSDFbcZajzWbsj899Nag=";

    fn signed(header: &str, user: &str, key: &str, now: UnixMs) -> bool {
        let key = ReceiptKey { user: user.to_owned(), key: SecretString::from(key) };
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE, header.parse().expect("a header"));
        key.signed(&headers, now)
    }

    #[test]
    fn the_signature_of_the_reference_is_accepted_and_no_other() {
        let (user, key) = ("callback-user", "callback-key");
        assert!(signed(HEADER, user, key, AT));
        assert!(signed(&HEADER.replace("; ", ";"), user, key, AT));
        assert!(!signed(HEADER, "other-user", key, AT));
        assert!(!signed(HEADER, user, "other-key", AT));
        assert!(!signed(&HEADER.replace("a07b", "b07b"), user, key, AT));
        assert!(!signed("timestamp=1563105451261", user, key, AT));
        assert!(!signed("", user, key, AT));
    }

    #[test]
    fn an_old_signature_is_a_replay() {
        let (user, key) = ("callback-user", "callback-key");
        assert!(signed(HEADER, user, key, UnixMs(AT.0 + WINDOW_MS)));
        assert!(!signed(HEADER, user, key, UnixMs(AT.0 + WINDOW_MS + 1)));
        assert!(!signed(HEADER, user, key, UnixMs(AT.0 - WINDOW_MS - 1)));
    }

    #[test]
    fn a_key_may_be_base64_of_the_real_one() {
        let real = hmac::Key::new(hmac::HMAC_SHA256, b"callback-key");
        let value = STANDARD.encode(hmac::sign(&real, b"1563105451261nuser"));
        let header = format!("timestamp=1563105451261;nonce=n;value={value}");
        assert!(signed(&header, "user", &STANDARD.encode("callback-key"), AT));
    }

    #[test]
    fn both_forms_of_a_status_are_read() {
        let body = json!({ "statuses": [
            { "timestamp": "1563105451", "token": "t1", "bi_tag": "m", "status": 0 },
            { "token": "t2", "biTag": "m",
              "deliveryStatus": { "result": 2, "timestamp": 1_563_105_451_261_u64 } },
        ] });
        let receipts = read(body.to_string().as_bytes()).expect("read").receipts;
        assert_eq!(receipts[0].what, What::Reached);
        let seconds = Some(UnixMs(1_563_105_451_000));
        assert_eq!((receipts[0].at, receipts[1].at), (seconds, Some(AT)));
        assert!(matches!(receipts[1].what, What::NotShown { status: 2, token_dead: true, .. }));
        assert_eq!((receipts[1].message_id.as_str(), receipts[1].token.as_str()), ("m", "t2"));
    }

    #[test]
    fn an_entry_that_cannot_be_read_takes_no_other_away() {
        let body = json!({ "statuses": [
            { "token": "t1", "bi_tag": "m", "status": null },
            7,
            { "token": "t2", "bi_tag": "m", "status": 5 },
            { "bi_tag": "m", "status": 0 },
            { "token": "t3", "bi_tag": "m", "deliveryStatus": { "result": -1 } },
            { "token": "t4", "bi_tag": "m", "status": " 0 " },
        ] });
        let read = read(body.to_string().as_bytes()).expect("read");
        let tokens: Vec<_> = read.receipts.iter().map(|receipt| receipt.token.as_str()).collect();
        assert_eq!((tokens, read.unreadable), (vec!["t2", "t4"], 4));
    }

    #[test]
    fn what_is_no_receipt_is_refused_and_never_panics() {
        for bad in ["", "[]", "{}", "{\"statuses\":1}", "{\"statuses\":[{}]}", "{\"statuses\":[7]}"]
        {
            assert_eq!(read(bad.as_bytes()), Err(ReceiptError::Malformed), "{bad}");
        }
        let many = vec![json!({ "token": "t", "bi_tag": "m", "status": 0 }); 1_001];
        let body = json!({ "statuses": many }).to_string();
        assert_eq!(read(body.as_bytes()), Err(ReceiptError::TooMany));
    }
}
