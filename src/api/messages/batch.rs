//! Finding the messages of a batch, `{"messages": […]}`.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::api::body::is_object;
use crate::api::error::ApiError;
use crate::ingest::MESSAGES_MAX;
use crate::model::message::{Invalid, Wire};

/// A batch, its messages found but not yet read.
#[derive(Deserialize)]
struct Batch<M> {
    messages: Option<M>,
}

/// The messages of a batch, or what is wrong with each; `None` when the body is no batch: it is
/// then read as one message, whose reader names the mistake.
///
/// # Errors
/// What is wrong with the batch as a whole.
pub fn batch_of(body: &[u8]) -> Result<Option<Vec<Result<Wire<'_>, Invalid>>>, ApiError> {
    if !may_be_batch(body) {
        return Ok(None);
    }
    if let Some(batch) = at_once(body) {
        return Ok(Some(batch.into_iter().map(Ok).collect()));
    }
    // Something is wrong: with one message, which is no matter of the others, or with all.
    let Ok(Batch { messages }) = serde_json::from_slice::<Batch<Vec<&RawValue>>>(body) else {
        return match serde_json::from_slice::<Batch<&RawValue>>(body) {
            Ok(Batch { messages: Some(_) }) => {
                let message = "messages must be an array of messages";
                Err(ApiError::bad("field_malformed", "messages", message))
            }
            Ok(_) | Err(_) => Ok(None),
        };
    };
    let Some(batch) = messages else { return Ok(None) };
    if batch.is_empty() {
        return Err(ApiError::bad("messages_empty", "messages", "messages is empty"));
    }
    if batch.len() > MESSAGES_MAX {
        let message = format!("messages has {} entries, at most {MESSAGES_MAX}", batch.len());
        return Err(ApiError::bad("too_many_messages", "messages", message));
    }
    Ok(Some(batch.iter().map(|raw| Wire::find(raw.get().as_bytes())).collect()))
}

/// Whether a body can be a batch at all. Most are one message and need not be walked to learn that.
fn may_be_batch(body: &[u8]) -> bool {
    // A key may be escaped: the escapes of its letters all begin with two zeros.
    let can_hold = |text: &str| text.contains(r#""messages""#) || text.contains(r"\u00");
    is_object(body) && str::from_utf8(body).map_or(true, can_hold)
}

/// The messages of a batch with which nothing is wrong so far, found in one walk.
fn at_once(body: &[u8]) -> Option<Vec<Wire<'_>>> {
    let text = str::from_utf8(body).ok()?;
    let Batch { messages: Some(Several(batch)) } = serde_json::from_str(text).ok()? else {
        return None;
    };
    Some(batch).filter(|batch| !batch.is_empty())
}

/// At most [`MESSAGES_MAX`] messages: found, one takes more room than its shortest text.
struct Several<'a>(Vec<Wire<'a>>);

impl<'de> Deserialize<'de> for Several<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(SeveralVisitor)
    }
}

struct SeveralVisitor;

impl<'de> Visitor<'de> for SeveralVisitor {
    type Value = Several<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut given: A) -> Result<Several<'de>, A::Error> {
        let mut batch = Vec::new();
        while let Some(message) = given.next_element()? {
            if batch.len() == MESSAGES_MAX {
                return Err(A::Error::custom("too many messages"));
            }
            batch.push(message);
        }
        Ok(Several(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected` holds the messages as they are found each alone.
    fn check(body: impl AsRef<[u8]>, expected: Result<Option<&[&str]>, &str>) {
        let body = body.as_ref();
        let found = batch_of(body).map_err(|error| error.code);
        let alone = |json: &&str| Wire::find(json.as_bytes()).map(|wire| format!("{wire:?}"));
        let expected = expected.map(|batch| batch.map(|batch| batch.iter().map(alone).collect()));
        let shown = |found: Result<Wire<'_>, _>| found.map(|wire| format!("{wire:?}"));
        let found = found.map(|batch| batch.map(|batch| batch.into_iter().map(shown).collect()));
        let expected: Result<Option<Vec<_>>, _> = expected.map_err(str::to_owned);
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(body));
    }

    #[test]
    fn a_batch_is_known_by_its_key_however_it_is_written() {
        let one = r#"{ "a":1, "MsgRandom" : 7 }"#;
        check(format!(r#"{{"messages":[{one}, {{}}]}}"#), Ok(Some(&[one, "{}"])));
        check(r#" { "x": [], "messages" : [ 7 ] , "y": 1 }"#, Ok(Some(&["7"])));
        check(r#"{"\u006dessages":[7]}"#, Ok(Some(&["7"])));
        check(r#"{"\u006D\u0065ss\u0061ge\u0073":[7]}"#, Ok(Some(&["7"])));
        check(b"{\"x\":\"\xFF\",\"messages\":[7]}", Ok(Some(&["7"])));
    }

    #[test]
    fn a_mistake_is_that_of_one_message() {
        let one = r#"{"MsgRandom":7}"#;
        for odd in ["7", "[]", "null", "\"x\"", r#"{"\ud800":1}"#] {
            check(format!(r#"{{"messages":[{one},{odd}]}}"#), Ok(Some(&[one, odd])));
        }
    }

    #[test]
    fn what_is_no_batch_is_left_to_the_reader_of_one_message() {
        check(r#"{"From_Account":"messages"}"#, Ok(None));
        check(r#"{"From_Account":"\u00e9"}"#, Ok(None));
        check(r#"{"x":{"messages":[7]}}"#, Ok(None));
        check(r#"{"messages":null}"#, Ok(None));
        check(r#"{"messages":[7],"messages":[7]}"#, Ok(None));
        check(r#"{"messages":[7]"#, Ok(None));
        check(r#"{"messages":[7]} {}"#, Ok(None));
        check(b"{\"messages\":[\"\xFF\"]}", Ok(None));
        check(r#"[[{"messages":[7]}]]"#, Ok(None));
        check("\u{FEFF}{\"messages\":[7]}", Ok(None));
        check("", Ok(None));
    }

    #[test]
    fn a_batch_that_holds_no_messages_is_named() {
        for odd in ["7", "{}", r#""x""#, "true"] {
            check(format!(r#"{{"messages":{odd}}}"#), Err("field_malformed"));
        }
        check(r#"{"messages":[]}"#, Err("messages_empty"));
        let most = vec!["{}"; MESSAGES_MAX];
        check(format!(r#"{{"messages":[{}]}}"#, most.join(",")), Ok(Some(&most)));
        let many = format!(r#"{{"messages":[{{}},{}]}}"#, most.join(","));
        check(many, Err("too_many_messages"));
    }
}
