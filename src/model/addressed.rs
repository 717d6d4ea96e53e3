//! A message written once, then given to receivers in parts: the JSON of each part.

use serde_json::Value;

use crate::model::id::UserId;

/// A message's JSON object, which names no receivers, for these.
pub fn addressed(message: &[u8], users: &[UserId]) -> Vec<u8> {
    let to: Vec<&str> = users.iter().map(UserId::as_str).collect();
    let to = Value::from(to).to_string();
    let rest = message.strip_prefix(b"{").unwrap_or(message);
    let mut json = Vec::with_capacity(message.len() + to.len() + 16);
    json.extend_from_slice(b"{\"To_Account\":");
    json.extend_from_slice(to.as_bytes());
    if rest != b"}" {
        json.push(b',');
    }
    json.extend_from_slice(rest);
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_are_put_in_front_of_what_is_there() {
        let to: [UserId; 2] = ["x".into(), "y".into()];
        assert_eq!(addressed(b"{}", &to), br#"{"To_Account":["x","y"]}"#);
        assert_eq!(addressed(br#"{"a":1}"#, &to[..1]), br#"{"To_Account":["x"],"a":1}"#);
    }
}
