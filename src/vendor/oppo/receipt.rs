//! OPPO's receipts (open.oppomobile.com document 11243): a JSON array, several events a post.
//! Unsigned, and without taps.

use serde_json::Value;

use crate::vendor::receipt::{Collected, ReceiptError, What, text, time};
use crate::vendor::reply;

/// Our numbers of what OPPO reports in words.
const REGID_INVALID: u32 = 1;
const USER_DAILY_LIMIT: u32 = 2;

/// Reads the array.
///
/// # Errors
/// [`ReceiptError`].
pub fn read(body: &[u8]) -> Result<Collected, ReceiptError> {
    let events: Vec<Value> = serde_json::from_slice(body).map_err(|_| ReceiptError::Malformed)?;
    let mut receipts = Collected::default();
    for event in &events {
        let what = match text(event, "eventType") {
            "" => {
                receipts.unreadable();
                continue;
            }
            "push_arrive" => What::Reached,
            "regid_invalid" => What::NotShown {
                status: REGID_INVALID,
                says: "regid_invalid: the registration id is no longer valid",
                token_dead: true,
            },
            "user_daily_limit" => What::NotShown {
                status: USER_DAILY_LIMIT,
                says: "user_daily_limit: too many pushes for this device today",
                token_dead: false,
            },
            // A later event of OPPO's.
            _ => {
                receipts.nothing();
                continue;
            }
        };
        let at = time(event.get("eventTime"));
        let tokens = reply::tokens(event.get("registrationIds"));
        receipts.push(text(event, "param"), &tokens, at, what)?;
    }
    receipts.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_registration_id_of_an_event_is_a_receipt() {
        let body = json!([
            { "messageId": "x", "registrationIds": "r1,r2", "eventTime": "17", "param": "m",
              "eventType": "push_arrive" },
            { "registrationIds": "r3", "param": "m", "eventType": "regid_invalid" },
            { "registrationIds": "r3", "param": "m", "eventType": "something_new" },
        ]);
        let receipts = read(body.to_string().as_bytes()).expect("read").receipts;
        assert_eq!(receipts.len(), 3);
        assert_eq!((receipts[1].token.as_str(), receipts[1].what), ("r2", What::Reached));
        assert!(matches!(receipts[2].what, What::NotShown { token_dead: true, .. }));
    }

    #[test]
    fn an_entry_that_cannot_be_read_takes_no_other_away() {
        let body = json!([
            null,
            { "registrationIds": ["r1", "r2"], "param": "m", "eventType": "push_arrive" },
            { "registrationIds": {}, "param": "m", "eventType": "push_arrive" },
            { "registrationIds": "r3", "param": "m", "eventType": 7 },
            { "registrationIds": "r4", "param": "m", "eventType": "push_arrive" },
        ]);
        let read = read(body.to_string().as_bytes()).expect("read");
        let tokens: Vec<_> = read.receipts.iter().map(|receipt| receipt.token.as_str()).collect();
        assert_eq!((tokens, read.unreadable), (vec!["r1", "r2", "r4"], 3));
    }

    #[test]
    fn what_is_no_receipt_is_refused_and_never_panics() {
        for bad in ["", "{}", "7", "[7]"] {
            assert_eq!(read(bad.as_bytes()), Err(ReceiptError::Malformed), "{bad}");
        }
        let ids = vec!["r"; 1_001].join(",");
        let body = json!([{ "registrationIds": ids, "param": "m", "eventType": "push_arrive" }]);
        assert_eq!(read(body.to_string().as_bytes()), Err(ReceiptError::TooMany));
    }
}
