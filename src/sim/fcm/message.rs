//! One message: rules beyond the types of its fields, and what a phone shows of it
//! (vendors-apns-fcm.md, B.3 and B.6).

use serde_json::{Map, Value};

use crate::sim::fcm::answer::{Failure, Violation};
use crate::sim::fcm::schema;

/// Largest message in bytes, keys and values counted (B.6).
pub const MESSAGE_MAX: usize = 4_096;
/// The same for topics.
pub const TOPIC_MESSAGE_MAX: usize = 2_048;
/// What a message may be addressed to; exactly one.
const TARGETS: [&str; 4] = ["token", "fid", "topic", "condition"];
/// Keys that belong to FCM.
const RESERVED: [&str; 2] = ["from", "message_type"];
/// Beginnings of keys that belong to FCM (B.3: the older, wider form).
const RESERVED_PREFIXES: [&str; 2] = ["google", "gcm"];

/// A message that FCM takes.
#[derive(Debug)]
pub struct Message {
    /// What it is addressed to.
    pub target: String,
    /// The same, when that is one device.
    pub device: Option<String>,
    /// Whether the device is named by its installation id.
    pub is_fid: bool,
    /// The request's `message`, names in snake_case.
    pub raw: Value,
}

impl Message {
    /// Reads a request body; also whether it is only to be validated.
    ///
    /// # Errors
    /// 400 `INVALID_ARGUMENT`, with the field where Google names one.
    pub fn read(body: &[u8]) -> Result<(Message, bool), Failure> {
        let unreadable = "Invalid JSON payload received. Unexpected token.";
        let request: Value =
            serde_json::from_slice(body).map_err(|_| Failure::invalid(unreadable, None))?;
        let object = request.as_object().ok_or_else(|| Failure::invalid(unreadable, None))?;
        let request = schema::check(object, schema::REQUEST, "")?;
        let validate_only = request["validate_only"] == true;
        let Some(raw) = request.get("message").cloned() else {
            return Err(violated("message", "Message is required."));
        };
        check_data(&raw["data"], "message.data")?;
        check_data(&raw["android"]["data"], "message.android.data")?;
        check_data(&raw["android_v2"]["data"], "message.android_v2.data")?;
        if raw.get("android").is_some() && raw.get("android_v2").is_some() {
            return Err(violated(
                "message.android_v2",
                "android and android_v2 exclude each other.",
            ));
        }
        let (kind, target) = target(&raw)?;
        let is_device = matches!(kind, "token" | "fid");
        let limit = if is_device { MESSAGE_MAX } else { TOPIC_MESSAGE_MAX };
        if size(&raw) > limit {
            // Seen in the field as a bare 400 (B.4).
            return Err(Failure::invalid("Android message is too big", None));
        }
        let device = is_device.then(|| target.clone());
        Ok((Message { target, device, is_fid: kind == "fid", raw }, validate_only))
    }

    fn android(&self) -> &Value {
        if self.raw["android"].is_object() {
            &self.raw["android"]["notification"]
        } else {
            &self.raw["android_v2"]["remote_notification"]["notification"]
        }
    }

    /// The text of a notification field: Android's own beats the common one, and a data message
    /// is shown by the app from its data.
    fn text(&self, field: &str) -> String {
        let localised = format!("{field}_loc_key");
        let android = self.android();
        let found = android[field].as_str().or_else(|| android[&localised].as_str());
        let found = found.or_else(|| self.raw["notification"][field].as_str());
        found.map(str::to_owned).or_else(|| self.data(field)).unwrap_or_default()
    }

    /// Title as displayed.
    pub fn title(&self) -> String {
        self.text("title")
    }

    /// Text as displayed.
    pub fn body(&self) -> String {
        self.text("body")
    }

    /// A value for the app; Android's own data replaces the common one.
    pub fn data(&self, key: &str) -> Option<String> {
        let data = self.effective_data()?;
        data.get(key).and_then(Value::as_str).map(str::to_owned)
    }

    fn effective_data(&self) -> Option<&Map<String, Value>> {
        let own =
            ["android", "android_v2"].iter().find_map(|name| self.raw[name]["data"].as_object());
        own.or_else(|| self.raw["data"].as_object())
    }

    /// What it replaces on the screen.
    pub fn replaces(&self) -> Option<String> {
        self.android()["tag"].as_str().map(str::to_owned)
    }

    /// The sender's id of this push: FCM has no field for one, so `push_id` or `message_id` of
    /// the data, or the tag.
    pub fn push_id(&self) -> Option<String> {
        self.data("push_id").or_else(|| self.data("message_id")).or_else(|| self.replaces())
    }
}

/// The one target, as its field and value.
fn target(message: &Value) -> Result<(&'static str, String), Failure> {
    let mut given = TARGETS.iter().filter_map(|kind| Some((*kind, message[*kind].as_str()?)));
    let Some((kind, value)) = given.next() else {
        return Err(violated("message", "Recipient of the message is not set."));
    };
    if given.next().is_some() {
        let problem = format!("oneof field 'target' is already set. Cannot set '{kind}'");
        return Err(violated("message", &problem));
    }
    if value.is_empty() {
        return Err(violated(&format!("message.{kind}"), "Recipient of the message is not set."));
    }
    Ok((kind, value.to_owned()))
}

fn check_data(data: &Value, path: &str) -> Result<(), Failure> {
    let Some(data) = data.as_object() else { return Ok(()) };
    for key in data.keys() {
        let reserved = RESERVED.contains(&key.as_str())
            || RESERVED_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
        if reserved {
            let field = format!("{path}[{key}]");
            return Err(violated(&field, &format!("Invalid data payload key: {key}")));
        }
    }
    Ok(())
}

fn violated(field: &str, problem: &str) -> Failure {
    let violation = Violation { field: field.to_owned(), description: problem.to_owned() };
    Failure::fcm_invalid(problem, Some(violation))
}

/// Bytes of what travels to the device: texts of notifications and data, names included.
fn size(message: &Value) -> usize {
    let common = bytes_of(&message["notification"]) + bytes_of(&message["data"]);
    let android = &message["android"];
    let v2 = &message["android_v2"];
    common
        + bytes_of(&android["notification"])
        + bytes_of(&android["data"])
        + bytes_of(&v2["remote_notification"])
        + bytes_of(&v2["data"])
}

fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes_of).sum(),
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| key.len() + bytes_of(value)).sum()
        }
        Value::Bool(_) | Value::Number(_) => value.to_string().len(),
    }
}
