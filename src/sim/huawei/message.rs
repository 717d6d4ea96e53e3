//! The rules of Huawei's message body, versions 1 and 2.
//!
//! Source: Huawei "https-send-api". Unknown fields are ignored, as the real service does. A
//! missing or mistyped field is a structure error; a value outside its list or range is a
//! parameter error, unless the vendor has a code of its own for it.

use serde_json::{Map, Value};

use crate::sim::fields::{Fields, WrongType};
use crate::sim::huawei::{HuaweiAccount, Refusal, STRUCTURE};

/// Importance HIGH needs a permission that the app lacks.
pub(crate) const NO_HIGH_IMPORTANCE: &str = "80300011";

const PARAMETER: &str = "80100001";
const EXPIRY: &str = "80100004";
const COLLAPSE_KEY: &str = "80100013";
const TOO_LARGE: &str = "80300008";
const TOKEN_COUNT: &str = "80300010";

const TOKENS_MAX: usize = 1_000;
const MESSAGE_BYTES_MAX: usize = 4_096;
const TTL_SECONDS_MAX: u64 = 1_296_000;
const BI_TAG_BYTES_MAX: usize = 64;
const TARGETS: [&str; 3] = ["token", "topic", "condition"];
const CATEGORIES: [&str; 13] = [
    "IM",
    "VOIP",
    "SUBSCRIPTION",
    "TRAVEL",
    "HEALTH",
    "WORK",
    "ACCOUNT",
    "EXPRESS",
    "FINANCE",
    "DEVICE_REMINDER",
    "MAIL",
    "PLAY_VOICE",
    "MARKETING",
];
const DATA_ONLY_CATEGORY: &str = "PLAY_VOICE";

/// A message that passed every check.
pub(crate) struct Message<'a> {
    /// Only the format is to be checked.
    pub validate_only: bool,
    /// Phones; empty for topics and conditions, which reach nobody here.
    pub tokens: Vec<&'a str>,
    /// Title as shown; empty for a data message.
    pub title: &'a str,
    /// Text as shown; empty for a data message.
    pub body: &'a str,
    /// Pass-through text.
    pub data: Option<&'a str>,
    /// The sender's id.
    pub bi_tag: Option<&'a str>,
    /// `notify_id`, else `tag`.
    pub replaces: Option<String>,
}

impl From<WrongType> for Refusal {
    fn from(wrong: WrongType) -> Self {
        Refusal::new(STRUCTURE, format!("{} is not {}", wrong.field, wrong.expected))
    }
}

fn missing(field: &str) -> Refusal {
    Refusal::new(STRUCTURE, format!("{field} is missing"))
}

fn parameter(field: &str) -> Refusal {
    Refusal::new(PARAMETER, format!("{field} is invalid"))
}

impl<'a> Message<'a> {
    /// Checks a request body for an app.
    pub(crate) fn read(body: &'a Value, account: &HuaweiAccount) -> Result<Self, Refusal> {
        let body = body.as_object().map(Fields);
        let body = body.ok_or_else(|| Refusal::new(STRUCTURE, "the body is not an object"))?;
        let validate_only = body.flag("validate_only")?.unwrap_or(false);
        let message = body
            .object("message")?
            .ok_or_else(|| Refusal::new(TOKEN_COUNT, "message is missing"))?;
        let tokens = targets(message)?;
        check_size(message.0)?;

        let data = message.filled("data")?;
        let common = message.object("notification")?;
        let android = message.object("android")?.unwrap_or(Fields(empty()));
        let own = android.object("notification")?;
        let notifies = common.is_some() || own.is_some();
        check_android(android, notifies)?;
        let bi_tag = android.filled("bi_tag")?;
        if !notifies {
            let data = Some(data.ok_or_else(|| missing("data or notification"))?);
            return Ok(Message {
                validate_only,
                tokens,
                title: "",
                body: "",
                data,
                bi_tag,
                replaces: None,
            });
        }
        let own = own.ok_or_else(|| missing("android.notification"))?;
        check_notification(own, account)?;
        let common = common.unwrap_or(Fields(empty()));
        Ok(Message {
            validate_only,
            tokens,
            title: either(own, common, "title")?,
            body: either(own, common, "body")?,
            data,
            bi_tag,
            replaces: replaces(own)?,
        })
    }
}

fn empty() -> &'static Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    &EMPTY
}

fn targets<'a>(message: Fields<'a>) -> Result<Vec<&'a str>, Refusal> {
    let kinds = TARGETS.iter().filter(|kind| message.get(kind).is_some()).count();
    if kinds > 1 {
        return Err(Refusal::new(STRUCTURE, "only one of token, topic and condition is allowed"));
    }
    if kinds == 0 {
        return Err(Refusal::new(TOKEN_COUNT, "token is missing"));
    }
    if message.get("token").is_none() {
        // Topics and conditions are accepted; no phone here is subscribed to any.
        message.filled("topic")?;
        message.filled("condition")?;
        return Ok(Vec::new());
    }
    let tokens = message.texts("token").ok().flatten();
    let mut tokens = tokens
        .filter(|tokens| (1..=TOKENS_MAX).contains(&tokens.len()))
        .ok_or_else(|| Refusal::new(TOKEN_COUNT, "the number of tokens is out of range"))?;
    let mut seen = std::collections::HashSet::new();
    tokens.retain(|token| seen.insert(*token));
    Ok(tokens)
}

fn check_size(message: &Map<String, Value>) -> Result<(), Refusal> {
    let mut without_tokens = message.clone();
    without_tokens.remove("token");
    if Value::Object(without_tokens).to_string().len() > MESSAGE_BYTES_MAX {
        return Err(Refusal::new(TOO_LARGE, "the message body is larger than 4096 bytes"));
    }
    Ok(())
}

fn check_android(android: Fields<'_>, notifies: bool) -> Result<(), Refusal> {
    if let Some(category) = android.text("category")?
        && (!CATEGORIES.contains(&category) || (notifies && category == DATA_ONLY_CATEGORY))
    {
        return Err(parameter("category"));
    }
    one_of(android, "urgency", &["HIGH", "NORMAL"])?;
    if let Some(ttl) = android.text("ttl")? {
        let seconds = ttl
            .strip_suffix('s')
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<u64>().ok());
        if seconds.is_none_or(|seconds| seconds > TTL_SECONDS_MAX) {
            return Err(Refusal::new(EXPIRY, "ttl is invalid"));
        }
    }
    if let Some(key) = android.get("collapse_key")
        && !key.as_i64().is_some_and(|key| (-1..=100).contains(&key))
    {
        return Err(Refusal::new(COLLAPSE_KEY, "collapse_key is invalid"));
    }
    if android.text("bi_tag")?.is_some_and(|tag| tag.len() > BI_TAG_BYTES_MAX) {
        return Err(parameter("bi_tag"));
    }
    android.text("receipt_id")?;
    within(android, "target_user_type", 0..=1)
}

fn check_notification(own: Fields<'_>, account: &HuaweiAccount) -> Result<(), Refusal> {
    check_click(own.object("click_action")?.ok_or_else(|| missing("click_action"))?)?;
    one_of(own, "importance", &["LOW", "NORMAL", "HIGH"])?;
    if own.text("importance")? == Some("HIGH") && !account.high_importance {
        return Err(Refusal::new(NO_HIGH_IMPORTANCE, "no right to send high priority messages"));
    }
    if let Some(badge) = own.object("badge")? {
        within(badge, "add_num", 1..=99)?;
        within(badge, "set_num", 0..=99)?;
        badge.filled("class")?.ok_or_else(|| missing("badge.class"))?;
    }
    if let Some(sound) = own.filled("sound")?
        && sound.strip_prefix("/raw/").is_none_or(str::is_empty)
    {
        return Err(parameter("sound"));
    }
    if let Some(image) = own.filled("image")?
        && !image.starts_with("https://")
    {
        return Err(parameter("image"));
    }
    within(own, "notify_id", -1..=i64::from(i32::MAX))?;
    within(own, "auto_clear", 0..=i64::MAX)?;
    for field in ["default_sound", "foreground_show"] {
        own.flag(field)?;
    }
    for field in ["channel_id", "tag", "group"] {
        own.text(field)?;
    }
    Ok(())
}

fn check_click(click: Fields<'_>) -> Result<(), Refusal> {
    match click.integer("type")?.ok_or_else(|| missing("click_action.type"))? {
        1 => {
            let intent = click.filled("intent")?;
            let action = click.filled("action")?;
            intent.or(action).ok_or_else(|| missing("click_action.intent or action"))?;
        }
        2 => {
            let url = click.filled("url")?.ok_or_else(|| missing("click_action.url"))?;
            if !url.starts_with("https://") {
                return Err(parameter("click_action.url"));
            }
        }
        3 => {}
        _ => return Err(parameter("click_action.type")),
    }
    Ok(())
}

/// The Android value wins over the common one; one of them must say something.
fn either<'a>(
    own: Fields<'a>,
    common: Fields<'a>,
    field: &'static str,
) -> Result<&'a str, Refusal> {
    let common = common.filled(field)?;
    own.filled(field)?.or(common).ok_or_else(|| missing(field))
}

fn replaces(own: Fields<'_>) -> Result<Option<String>, Refusal> {
    if let Some(id) = own.integer("notify_id")?
        && id != -1
    {
        return Ok(Some(id.to_string()));
    }
    Ok(own.filled("tag")?.map(str::to_owned))
}

fn one_of(fields: Fields<'_>, field: &'static str, values: &[&str]) -> Result<(), Refusal> {
    match fields.text(field)? {
        Some(value) if !values.contains(&value) => Err(parameter(field)),
        _ => Ok(()),
    }
}

fn within(
    fields: Fields<'_>,
    field: &'static str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<(), Refusal> {
    match fields.integer(field)? {
        Some(value) if !range.contains(&value) => Err(parameter(field)),
        _ => Ok(()),
    }
}
