//! What vendors report after the fact: shown, tapped, not shown, uninstalled.
//!
//! Vendors name what they report on by our message id, which every push carries, and by the
//! token. A vendor's own file reads its format into a [`Receipt`]; `receipts.rs` does the rest.

use http::HeaderMap;
use serde_json::Value;

use crate::model::id::Token;
use crate::model::time::UnixMs;

/// Most receipts of one post. Huawei sends at most 100, the others name no limit.
pub const RECEIPTS_MAX: usize = 1_000;

/// One report about one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The message id as the push carried it.
    pub message_id: String,
    /// The device's token.
    pub token: Token,
    /// When it happened, by the vendor's clock.
    pub at: Option<UnixMs>,
    /// What.
    pub what: What,
}

/// What happened to a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The device has it.
    Reached,
    /// The user tapped it.
    Clicked,
    /// The device did not show it.
    NotShown {
        /// The vendor's number, or one of ours where the vendor has words only.
        status: u32,
        /// What it means.
        says: &'static str,
        /// The token is dead.
        token_dead: bool,
    },
}

/// A post as it came.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptPost<'a> {
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Body.
    pub body: &'a [u8],
}

/// How a vendor proves that a post is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It signs with the certificate's receipt key.
    Signature,
    /// It does not sign, or no key is set: it must know the certificate's secret path.
    Path,
}

/// Why a post cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// This vendor sends no receipts that the relay reads.
    #[error("this vendor has no receipts")]
    None,
    /// Not the vendor's format.
    #[error("the body is not what this vendor sends")]
    Malformed,
    /// More than [`RECEIPTS_MAX`].
    #[error("more than {RECEIPTS_MAX} receipts in one post")]
    TooMany,
}

/// What one post holds, within the limit. What a vendor adds or misspells in one entry takes none
/// of the others away.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The receipts.
    pub receipts: Vec<Receipt>,
    /// Entries that cannot be read.
    pub unreadable: usize,
    /// Entries that can, those without a receipt for us included.
    read: usize,
}

impl Collected {
    /// Takes in an entry about these tokens; without any it cannot be read.
    ///
    /// # Errors
    /// `TooMany`.
    pub fn push(
        &mut self,
        message_id: &str,
        tokens: &[String],
        at: Option<UnixMs>,
        what: What,
    ) -> Result<(), ReceiptError> {
        if tokens.is_empty() {
            self.unreadable += 1;
            return Ok(());
        }
        if self.receipts.len() + tokens.len() > RECEIPTS_MAX {
            return Err(ReceiptError::TooMany);
        }
        self.read += 1;
        self.receipts.extend(tokens.iter().map(|token| Receipt {
            message_id: message_id.to_owned(),
            token: Token(token.as_str().into()),
            at,
            what,
        }));
        Ok(())
    }

    /// Passes over an entry that cannot be read.
    pub fn unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// Passes over an entry that is about no push.
    pub fn nothing(&mut self) {
        self.read += 1;
    }

    /// All of it.
    ///
    /// # Errors
    /// `Malformed` when there are entries and none can be read.
    pub fn finish(self) -> Result<Self, ReceiptError> {
        if self.unreadable > 0 && self.read == 0 {
            return Err(ReceiptError::Malformed);
        }
        Ok(self)
    }
}

/// Times below this are seconds: as milliseconds they would be of 1973.
const MILLIS_MIN: u64 = 100_000_000_000;

/// A vendor's time, whose unit its own pages do not agree on: seconds or milliseconds.
pub fn unix_ms(time: u64) -> UnixMs {
    UnixMs(if time < MILLIS_MIN { time.saturating_mul(1_000) } else { time })
}

/// A time in seconds or milliseconds, written as a number or as text; anything else is no time.
pub fn time(value: Option<&Value>) -> Option<UnixMs> {
    match value? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|at| *at > 0)
    .map(unix_ms)
}

/// A field's text; empty when it is absent or no text.
pub fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_in_seconds_is_not_one_of_1970() {
        let at = |value: Value| time(Some(&value));
        let moment = Some(UnixMs(1_760_000_000_000));
        assert_eq!(at(json!(1_760_000_000)), moment);
        assert_eq!(at(json!(" 1760000000 ")), moment);
        assert_eq!(at(json!("1760000000000")), moment);
        for no_time in [json!(0), json!(-1), json!("soon"), json!(null)] {
            assert_eq!(at(no_time), None);
        }
    }
}
