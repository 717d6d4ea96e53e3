//! The rules of OPPO's message object.
//!
//! Source: OPPO page 11236. Lengths count what a reader sees as one character, so an emoji is one.
//! Field names are snake_case; the camelCase spelling of one vendor sample is understood as well.
//! Where the document and the official SDK disagree, the narrower rule is taken for texts and the
//! wider one for `show_ttl` and the callback parameter.

use serde_json::{Map, Value};
use unicode_segmentation::UnicodeSegmentation;

use crate::sim::fields::{Fields, WrongType};
use crate::sim::oppo::{ARGUMENT_INVALID, ARGUMENT_MISSING, Refusal};

const TEMPLATE_MISSING: u32 = 54;
const CATEGORY_INVALID: u32 = 67;

const TARGET_REGISTRATION_ID: i64 = 2;
const TITLE_CHARS_MAX: usize = 50;
const SUB_TITLE_CHARS_MAX: usize = 10;
const CONTENT_CHARS_MAX: usize = 50;
const LONG_CONTENT_CHARS_MAX: usize = 128;
const LONG_STYLE: i64 = 2;
const ACTIVITY_CHARS_MAX: usize = 500;
const URL_CHARS_MAX: usize = 2_000;
const ACTION_PARAMETERS_CHARS_MAX: usize = 4_000;
const CALLBACK_URL_CHARS_MAX: usize = 200;
const CALLBACK_PARAMETER_CHARS_MAX: usize = 100;
const SHOW_TTL_SECONDS_MAX: i64 = 48 * 3_600;
const LOUD_LEVEL: i64 = 16;
const NOTIFY_LEVELS: [i64; 3] = [1, 2, LOUD_LEVEL];
/// Communication and service first, then content and marketing; from OPPO's classification page.
const CATEGORIES: [&str; 10] = [
    "IM",
    "ACCOUNT",
    "DEVICE_REMINDER",
    "ORDER",
    "TODO",
    "SUBSCRIPTION",
    "NEWS",
    "CONTENT",
    "MARKETING",
    "SOCIAL",
];
const TEMPLATE_CATEGORY: &str = "IM";

/// What the sending app may do.
#[derive(Clone, Copy)]
pub(crate) struct Rights {
    /// Notify level 16 is approved.
    pub loud: bool,
    /// Category IM needs a template id.
    pub templates_required: bool,
}

/// A message that passed every check.
pub(crate) struct Message {
    /// Registration id.
    pub target: String,
    /// Title.
    pub title: String,
    /// Text.
    pub content: String,
    /// The sender's id.
    pub app_message_id: Option<String>,
    /// JSON text for the app.
    pub action_parameters: Option<String>,
    /// What it replaces.
    pub notify_id: Option<i64>,
}

impl From<WrongType> for Refusal {
    fn from(wrong: WrongType) -> Self {
        Refusal::new(ARGUMENT_INVALID, format!("{} is not {}", wrong.field, wrong.expected))
    }
}

fn missing(field: &str) -> Refusal {
    Refusal::new(ARGUMENT_MISSING, format!("{field} is missing"))
}

fn invalid(field: &str) -> Refusal {
    Refusal::new(ARGUMENT_INVALID, format!("{field} is invalid"))
}

impl Message {
    /// Checks one message object.
    pub(crate) fn read(message: &Map<String, Value>, rights: Rights) -> Result<Self, Refusal> {
        let message = Fields(message);
        let target = target(message)?;
        message.flag("verify_registration_id")?;
        let notification =
            message.object("notification")?.ok_or_else(|| missing("notification"))?;
        let renamed = snake_case(notification.0);
        let notification = Fields(&renamed);
        let (title, content) = texts(notification)?;
        check_click(notification)?;
        check_class(notification, rights)?;
        check_numbers(notification)?;
        check_callback(notification)?;
        Ok(Message {
            target,
            title,
            content,
            app_message_id: notification.filled("app_message_id")?.map(str::to_owned),
            action_parameters: action_parameters(notification)?,
            notify_id: notification.integer("notify_id")?,
        })
    }
}

fn target(message: Fields<'_>) -> Result<String, Refusal> {
    let kind = message.integer("target_type")?.ok_or_else(|| missing("target_type"))?;
    if kind != TARGET_REGISTRATION_ID {
        return Err(invalid("target_type"));
    }
    let target = message.filled("target_value")?.ok_or_else(|| missing("target_value"))?;
    if target.contains(';') {
        return Err(invalid("target_value"));
    }
    Ok(target.to_owned())
}

fn snake_case(fields: &Map<String, Value>) -> Map<String, Value> {
    let rename = |name: &String| {
        name.chars().fold(String::with_capacity(name.len()), |mut renamed, letter| {
            if letter.is_ascii_uppercase() {
                renamed.push('_');
            }
            renamed.push(letter.to_ascii_lowercase());
            renamed
        })
    };
    fields.iter().map(|(name, value)| (rename(name), value.clone())).collect()
}

fn texts(notification: Fields<'_>) -> Result<(String, String), Refusal> {
    let title = notification.filled("title")?.ok_or_else(|| missing("title"))?;
    at_most(Some(title), TITLE_CHARS_MAX, "title")?;
    at_most(notification.text("sub_title")?, SUB_TITLE_CHARS_MAX, "sub_title")?;
    let style = notification.integer("style")?.unwrap_or(1);
    if !(1..=3).contains(&style) {
        return Err(invalid("style"));
    }
    let content = notification.filled("content")?.ok_or_else(|| missing("content"))?;
    let limit = if style == LONG_STYLE { LONG_CONTENT_CHARS_MAX } else { CONTENT_CHARS_MAX };
    at_most(Some(content), limit, "content")?;
    Ok((title.to_owned(), content.to_owned()))
}

fn check_click(notification: Fields<'_>) -> Result<(), Refusal> {
    let activity = notification.filled("click_action_activity")?;
    let url = notification.filled("click_action_url")?;
    at_most(activity, ACTIVITY_CHARS_MAX, "click_action_activity")?;
    at_most(url, URL_CHARS_MAX, "click_action_url")?;
    match notification.integer("click_action_type")?.unwrap_or(0) {
        0 => Ok(()),
        1 | 4 => activity.map(drop).ok_or_else(|| missing("click_action_activity")),
        2 | 5 => url.map(drop).ok_or_else(|| missing("click_action_url")),
        _ => Err(invalid("click_action_type")),
    }
}

fn action_parameters(notification: Fields<'_>) -> Result<Option<String>, Refusal> {
    let Some(text) = notification.filled("action_parameters")? else { return Ok(None) };
    let object = serde_json::from_str::<Map<String, Value>>(text);
    if object.is_err() || text.chars().count() > ACTION_PARAMETERS_CHARS_MAX {
        return Err(invalid("action_parameters"));
    }
    Ok(Some(text.to_owned()))
}

fn check_class(notification: Fields<'_>, rights: Rights) -> Result<(), Refusal> {
    let refused = |text: &str| Refusal::new(CATEGORY_INVALID, text);
    let category = notification.filled("category")?;
    if category.is_some_and(|category| !CATEGORIES.contains(&category)) {
        return Err(refused("category is invalid"));
    }
    if let Some(level) = notification.integer("notify_level")? {
        let allowed = NOTIFY_LEVELS.contains(&level) && (level != LOUD_LEVEL || rights.loud);
        if category.is_none() || !allowed {
            return Err(refused("notify_level is invalid"));
        }
    }
    notification.text("channel_id")?;
    let template = notification.filled("private_msg_template_id")?;
    if rights.templates_required && category == Some(TEMPLATE_CATEGORY) && template.is_none() {
        return Err(Refusal::new(TEMPLATE_MISSING, "private_msg_template_id is null"));
    }
    notification.object("private_title_parameters")?;
    notification.object("private_content_parameters")?;
    Ok(())
}

fn check_numbers(notification: Fields<'_>) -> Result<(), Refusal> {
    notification.flag("off_line")?;
    // More than ten days is cut, not refused.
    within(notification, "off_line_ttl", 0..=i64::MAX)?;
    within(notification, "show_ttl", 0..=SHOW_TTL_SECONDS_MAX)?;
    within(notification, "network_type", 0..=1)?;
    within(notification, "notify_id", 0..=i64::from(i32::MAX))?;
    within(notification, "badge_operation_type", 0..=1)?;
    within(notification, "badge_message_count", 0..=i64::from(i32::MAX))?;
    let badge = ["badge_operation_type", "badge_message_count"];
    match badge.map(|field| notification.get(field).is_some()) {
        [true, false] => Err(missing("badge_message_count")),
        [false, true] => Err(missing("badge_operation_type")),
        _ => Ok(()),
    }
}

fn check_callback(notification: Fields<'_>) -> Result<(), Refusal> {
    let url = notification.filled("call_back_url")?;
    at_most(url, CALLBACK_URL_CHARS_MAX, "call_back_url")?;
    if url.is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        return Err(invalid("call_back_url"));
    }
    let parameter = notification.text("call_back_parameter")?;
    at_most(parameter, CALLBACK_PARAMETER_CHARS_MAX, "call_back_parameter")
}

fn at_most(text: Option<&str>, limit: usize, field: &str) -> Result<(), Refusal> {
    if text.is_some_and(|text| text.graphemes(true).count() > limit) {
        return Err(Refusal::new(ARGUMENT_INVALID, format!("{field} is too long")));
    }
    Ok(())
}

fn within(
    fields: Fields<'_>,
    field: &'static str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<(), Refusal> {
    match fields.integer(field)? {
        Some(value) if !range.contains(&value) => Err(invalid(field)),
        _ => Ok(()),
    }
}
