//! The fields of a send request and their types (vendors-apns-fcm.md, B.3), as Google's JSON
//! reader for protocol buffers checks them: unknown names are errors, names come in snake_case or
//! lowerCamelCase, `null` means absent.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::sim::fcm::answer::{Failure, Violation};

/// Longest time to live in seconds (B.3: four weeks).
pub const TTL_MAX_S: f64 = 2_419_200.0;

/// The fields of one message type.
pub type Fields = &'static [(&'static str, Kind)];

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text.
    Text,
    /// True or false.
    Bool,
    /// Whole number, also as text.
    Int,
    /// Number.
    Number,
    /// Text to text.
    TextMap,
    /// Seconds with `s`.
    Duration,
    /// Seconds with `s`, 0 to four weeks.
    Ttl,
    /// RFC 3339.
    Timestamp,
    /// `#rrggbb`.
    Colour,
    /// One of these names, in either case.
    Choice(&'static [&'static str]),
    /// Any object.
    Struct,
    /// A list of one type.
    List(&'static Kind),
    /// Another message type.
    Message(Fields),
}

use Kind::{
    Bool, Choice, Colour, Duration, Int, List, Message, Number, Struct, Text, TextMap, Timestamp,
    Ttl,
};

/// The whole request.
pub const REQUEST: Fields = &[("validate_only", Bool), ("message", Message(MESSAGE))];

const OPTIONS: Fields = &[("analytics_label", Text)];
const MESSAGE: Fields = &[
    ("name", Text),
    ("token", Text),
    ("fid", Text),
    ("topic", Text),
    ("condition", Text),
    ("data", TextMap),
    ("notification", Message(&[("title", Text), ("body", Text), ("image", Text)])),
    ("android", Message(ANDROID)),
    ("android_v2", Message(ANDROID_V2)),
    ("apns", Message(APNS)),
    ("webpush", Message(WEBPUSH)),
    ("fcm_options", Message(OPTIONS)),
];
const ANDROID: Fields = &[
    ("collapse_key", Text),
    ("priority", Choice(&["NORMAL", "HIGH"])),
    ("ttl", Ttl),
    ("restricted_package_name", Text),
    ("data", TextMap),
    ("notification", Message(ANDROID_NOTIFICATION)),
    ("fcm_options", Message(OPTIONS)),
    ("direct_boot_ok", Bool),
    ("bandwidth_constrained_ok", Bool),
    ("restricted_satellite_ok", Bool),
];
const ANDROID_V2: Fields = &[
    ("remote_notification", Message(REMOTE_NOTIFICATION)),
    ("background_sync", Message(&[])),
    ("ttl", Ttl),
    ("data", TextMap),
    ("collapse_key", Text),
    ("restricted_package_name", Text),
    ("fcm_options", Message(OPTIONS)),
    ("direct_boot_ok", Bool),
    ("bandwidth_constrained_ok", Bool),
    ("restricted_satellite_ok", Bool),
];
const REMOTE_NOTIFICATION: Fields = &[
    ("notification", Message(ANDROID_NOTIFICATION)),
    ("mutable_content", Bool),
    ("use_as_v1_data_message", Bool),
];
const COLOUR: Fields = &[("red", Number), ("green", Number), ("blue", Number), ("alpha", Number)];
const LIGHTS: Fields = &[
    ("color", Message(COLOUR)),
    ("light_on_duration", Duration),
    ("light_off_duration", Duration),
];
const ANDROID_NOTIFICATION: Fields = &[
    ("title", Text),
    ("body", Text),
    ("icon", Text),
    ("color", Colour),
    ("sound", Text),
    ("tag", Text),
    ("click_action", Text),
    ("title_loc_key", Text),
    ("title_loc_args", List(&Text)),
    ("body_loc_key", Text),
    ("body_loc_args", List(&Text)),
    ("channel_id", Text),
    ("ticker", Text),
    ("sticky", Bool),
    ("event_time", Timestamp),
    ("local_only", Bool),
    (
        "notification_priority",
        Choice(&[
            "PRIORITY_UNSPECIFIED",
            "PRIORITY_MIN",
            "PRIORITY_LOW",
            "PRIORITY_DEFAULT",
            "PRIORITY_HIGH",
            "PRIORITY_MAX",
        ]),
    ),
    ("default_sound", Bool),
    ("default_vibrate_timings", Bool),
    ("default_light_settings", Bool),
    ("vibrate_timings", List(&Duration)),
    ("visibility", Choice(&["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"])),
    ("notification_count", Int),
    ("light_settings", Message(LIGHTS)),
    ("image", Text),
    ("bypass_proxy_notification", Bool),
    ("proxy", Choice(&["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"])),
];
const APNS: Fields = &[
    ("headers", TextMap),
    ("payload", Struct),
    ("fcm_options", Message(&[("analytics_label", Text), ("image", Text)])),
    ("live_activity_token", Text),
];
const WEBPUSH: Fields = &[
    ("headers", TextMap),
    ("data", TextMap),
    ("notification", Struct),
    ("fcm_options", Message(&[("link", Text), ("analytics_label", Text)])),
];

/// Checks an object against its fields and returns it with snake_case names and without nulls.
///
/// # Errors
/// 400 `INVALID_ARGUMENT` with the path of the first field that does not fit.
pub fn check(object: &Map<String, Value>, fields: Fields, path: &str) -> Result<Value, Failure> {
    let mut checked = Map::new();
    for (name, value) in object {
        let snake = snake_case(name);
        let Some((field, kind)) = fields.iter().find(|(field, _)| *field == snake) else {
            return Err(unknown_name(name, path));
        };
        if value.is_null() {
            continue;
        }
        let below = join(path, field);
        let value = check_value(value, *kind, &below)?;
        if checked.insert((*field).to_owned(), value).is_some() {
            return Err(bad_value(&below, "set twice"));
        }
    }
    Ok(Value::Object(checked))
}

fn check_value(value: &Value, kind: Kind, path: &str) -> Result<Value, Failure> {
    let fits = match kind {
        Text => value.is_string(),
        Bool => value.is_boolean(),
        Int => value.is_i64() || value.as_str().is_some_and(|text| text.parse::<i64>().is_ok()),
        Number => value.is_number(),
        TextMap => return check_map(value, path),
        Duration => seconds(value).is_some(),
        Ttl => seconds(value).is_some_and(|seconds| (0.0..=TTL_MAX_S).contains(&seconds)),
        Timestamp => value.as_str().is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok()),
        Colour => value.as_str().is_some_and(is_colour),
        Choice(names) => {
            value.as_str().is_some_and(|given| names.iter().any(|n| n.eq_ignore_ascii_case(given)))
        }
        Struct => value.is_object(),
        List(kind) => {
            let items = value.as_array().ok_or_else(|| bad_value(path, "not a list"))?;
            let item = |(at, item)| check_value(item, *kind, &format!("{path}[{at}]"));
            return items.iter().enumerate().map(item).collect();
        }
        Message(fields) => {
            let object = value.as_object().ok_or_else(|| bad_value(path, "not an object"))?;
            return check(object, fields, path);
        }
    };
    if fits { Ok(value.clone()) } else { Err(bad_value(path, &format!("not a valid {kind:?}"))) }
}

fn check_map(value: &Value, path: &str) -> Result<Value, Failure> {
    let entries = value.as_object().ok_or_else(|| bad_value(path, "not a map"))?;
    for (key, value) in entries {
        if !value.is_string() {
            return Err(bad_value(&format!("{path}[{key}]"), "not text"));
        }
    }
    Ok(value.clone())
}

/// Seconds of a protobuf duration such as `3600s` or `0.5s`.
fn seconds(value: &Value) -> Option<f64> {
    let digits = value.as_str()?.strip_suffix('s')?;
    let plain = digits.strip_prefix('-').unwrap_or(digits);
    let shaped = plain.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    shaped.then(|| digits.parse().ok()).flatten()
}

fn is_colour(text: &str) -> bool {
    text.len() == 7
        && text.starts_with('#')
        && text[1..].bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// `lowerCamelCase` as `lower_camel_case`; anything else as it is.
fn snake_case(name: &str) -> Cow<'_, str> {
    if name.contains('_') || !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Borrowed(name);
    }
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    Cow::Owned(snake)
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn unknown_name(name: &str, path: &str) -> Failure {
    let place = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
    let message = format!(
        "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
    );
    let violation = Violation { field: path.to_owned(), description: message.clone() };
    Failure::invalid(&message, Some(violation))
}

fn bad_value(path: &str, problem: &str) -> Failure {
    let message = format!("Invalid value at '{path}': {problem}");
    let violation = Violation { field: path.to_owned(), description: message.clone() };
    Failure::invalid(&message, Some(violation))
}
