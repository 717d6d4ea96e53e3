//! Xiaomi's receipts (dev.mi.com document 1559, message callbacks): a form whose field `data` is a
//! JSON map by Xiaomi's message id. Unsigned.

use serde_json::{Map, Value};

use crate::vendor::receipt::{Collected, ReceiptError, What, text, time};
use crate::vendor::reply;

/// Reads the form.
///
/// # Errors
/// [`ReceiptError`].
pub fn read(body: &[u8]) -> Result<Collected, ReceiptError> {
    let mut fields = form_urlencoded::parse(body);
    let data = fields.find(|(name, _)| name == "data").ok_or(ReceiptError::Malformed)?.1;
    let messages: Map<String, Value> =
        serde_json::from_str(&data).map_err(|_| ReceiptError::Malformed)?;
    let mut receipts = Collected::default();
    for message in messages.values() {
        let kind = reply::number(message.get("type")).and_then(|kind| u32::try_from(kind).ok());
        match kind.map(what) {
            None => receipts.unreadable(),
            Some(None) => receipts.nothing(),
            Some(Some(what)) => {
                let targets = reply::tokens(message.get("targets"));
                let at = time(message.get("timestamp"));
                receipts.push(text(message, "param"), &targets, at, what)?;
            }
        }
    }
    receipts.finish()
}

/// `None` for what is about no push, such as the day's quota (128).
fn what(kind: u32) -> Option<What> {
    let not_shown = |says, token_dead| Some(What::NotShown { status: kind, says, token_dead });
    match kind {
        1 => Some(What::Reached),
        2 => Some(What::Clicked),
        16 => not_shown("the registration id is no longer valid", true),
        32 => not_shown("the app switched pushes off", false),
        64 => not_shown("filtered: it does not fit the device", false),
        1_024 => not_shown("expired before the device came", false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(data: &Value) -> Vec<u8> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("data", &data.to_string());
        form.finish().into_bytes()
    }

    #[test]
    fn each_target_of_a_message_is_a_receipt() {
        let data = json!({
            "sdm1": { "param": "m", "type": 1, "targets": "r1,r2", "timestamp": 17 },
            "sdm2": { "param": "m", "type": "16", "targets": "r3" },
            "sdm3": { "type": 128, "targets": "r4", "extra": { "ack": "1", "quota": "2" } },
        });
        let receipts = read(&form(&data)).expect("read").receipts;
        let tokens: Vec<_> = receipts.iter().map(|receipt| receipt.token.as_str()).collect();
        assert_eq!(tokens, ["r1", "r2", "r3"]);
        assert_eq!(receipts[0].what, What::Reached);
        assert!(matches!(receipts[2].what, What::NotShown { status: 16, token_dead: true, .. }));
    }

    #[test]
    fn an_entry_that_cannot_be_read_takes_no_other_away() {
        let data = json!({
            "sdm1": { "param": "m", "type": "delivered", "targets": "r1" },
            "sdm2": { "param": "m", "type": 1, "targets": ["r2", 7] },
            "sdm3": { "param": "m", "type": 1 },
            "sdm4": null,
            "sdm5": { "param": "m", "type": 2, "targets": "r3" },
        });
        let read = read(&form(&data)).expect("read");
        let tokens: Vec<_> = read.receipts.iter().map(|receipt| receipt.token.as_str()).collect();
        assert_eq!((tokens, read.unreadable), (vec!["r2", "r3"], 3));
        // The day's quota is about no push, which is no mistake.
        let quota = json!({ "sdm1": { "type": 128 }, "sdm2": 7 });
        let read = super::read(&form(&quota)).expect("read");
        assert_eq!((read.receipts.len(), read.unreadable), (0, 1));
    }

    #[test]
    fn what_is_no_receipt_is_refused_and_never_panics() {
        for bad in ["", "data", "data=7", "data={\"a\":7}", "other={}"] {
            assert_eq!(read(bad.as_bytes()), Err(ReceiptError::Malformed), "{bad}");
        }
        let targets = vec!["r"; 1_001].join(",");
        let data = json!({ "s": { "param": "m", "type": 1, "targets": targets } });
        assert_eq!(read(&form(&data)), Err(ReceiptError::TooMany));
    }
}
