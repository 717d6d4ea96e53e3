//! The rules of vivo's message body, shared by single sends and saved messages.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::sim::fields::{Fields, WrongType};
use crate::sim::vivo::{Refusal, TOKEN_OR_PARAMETER, VivoClass};

const TITLE_EMPTY: u32 = 10_055;
const TITLE_TOO_LONG: u32 = 10_056;
const CONTENT_EMPTY: u32 = 10_058;
const CONTENT_TOO_LONG: u32 = 10_059;
const CATEGORY_INVALID: u32 = 10_096;
const CATEGORY_DISAGREES: u32 = 10_097;

const TITLE_CHARS_MAX: usize = 40;
const CONTENT_CHARS_MAX: usize = 100;
const SKIP_CHARS_MAX: usize = 1_024;
const CUSTOM_CHARS_MAX: usize = 1_024;
const CALLBACK_CHARS_MAX: usize = 128;
const CALLBACK_PARAM_CHARS_MAX: usize = 64;
const SYSTEM_CATEGORIES: [&str; 6] =
    ["IM", "ACCOUNT", "TODO", "DEVICE_REMINDER", "ORDER", "SUBSCRIPTION"];
const OPERATIONAL_CATEGORIES: [&str; 4] = ["NEWS", "CONTENT", "MARKETING", "SOCIAL"];

/// A message that passed every check.
pub(crate) struct Message {
    /// Title.
    pub title: String,
    /// Text.
    pub content: String,
    /// The custom map as JSON text.
    pub custom: Option<String>,
    /// What it replaces.
    pub notify_id: Option<i64>,
    /// Class.
    pub class: VivoClass,
    /// The whole body.
    pub raw: Map<String, Value>,
}

impl From<WrongType> for Refusal {
    fn from(wrong: WrongType) -> Self {
        let text = format!("{} is not {}", wrong.field, wrong.expected);
        Refusal::new(TOKEN_OR_PARAMETER, text)
    }
}

fn invalid(field: &str) -> Refusal {
    Refusal::new(TOKEN_OR_PARAMETER, format!("{field} is invalid"))
}

impl Message {
    /// Checks a body.
    pub(crate) fn read(body: Fields<'_>) -> Result<Self, Refusal> {
        let title = text_of(body, "title", TITLE_CHARS_MAX, TITLE_EMPTY, TITLE_TOO_LONG)?;
        let content = text_of(body, "content", CONTENT_CHARS_MAX, CONTENT_EMPTY, CONTENT_TOO_LONG)?;
        within(body, "notifyType", 1..=4)?.ok_or_else(|| invalid("notifyType"))?;
        within(body, "timeToLive", 60..=86_400)?;
        within(body, "pushMode", 0..=1)?;
        let notify_id = within(body, "notifyId", 1..=i64::from(i32::MAX))?;
        check_skip(body)?;
        check_extra(body)?;
        let (custom, class) = (custom(body)?, class(body)?);
        Ok(Message { title, content, custom, notify_id, class, raw: body.0.clone() })
    }
}

fn text_of(
    body: Fields<'_>,
    field: &'static str,
    limit: usize,
    empty: u32,
    too_long: u32,
) -> Result<String, Refusal> {
    let text = body.filled(field)?;
    let text = text.ok_or_else(|| Refusal::new(empty, format!("{field} is empty")))?;
    if text.chars().count() > limit {
        return Err(Refusal::new(too_long, format!("{field} is too long")));
    }
    Ok(text.to_owned())
}

fn check_skip(body: Fields<'_>) -> Result<(), Refusal> {
    let kind = within(body, "skipType", 1..=4)?.ok_or_else(|| invalid("skipType"))?;
    let content = body.filled("skipContent")?;
    let fits = match content {
        Some(content) => content.chars().count() <= SKIP_CHARS_MAX,
        None => kind == 1,
    };
    if fits { Ok(()) } else { Err(invalid("skipContent")) }
}

fn check_extra(body: Fields<'_>) -> Result<(), Refusal> {
    let Some(extra) = body.object("extra")? else { return Ok(()) };
    for (field, limit) in
        [("callback", CALLBACK_CHARS_MAX), ("callback.param", CALLBACK_PARAM_CHARS_MAX)]
    {
        if extra.text(field)?.is_some_and(|text| text.chars().count() > limit) {
            return Err(invalid(field));
        }
    }
    Ok(())
}

fn custom(body: Fields<'_>) -> Result<Option<String>, Refusal> {
    let Some(map) = body.object("clientCustomMap")? else { return Ok(None) };
    let mut chars = 0;
    for (key, value) in map.0 {
        let value = value.as_str().ok_or_else(|| invalid("clientCustomMap"))?;
        chars += key.chars().count() + value.chars().count();
    }
    if chars > CUSTOM_CHARS_MAX {
        return Err(invalid("clientCustomMap"));
    }
    Ok(Some(Value::Object(map.0.clone()).to_string()))
}

/// The class by `classification`, by `category`, or by both when they agree.
fn class(body: Fields<'_>) -> Result<VivoClass, Refusal> {
    let by_number = within(body, "classification", 0..=1)?.map(|number| match number {
        0 => VivoClass::Operational,
        _ => VivoClass::System,
    });
    let by_category = match body.filled("category")? {
        None => None,
        Some(name) if SYSTEM_CATEGORIES.contains(&name) => Some(VivoClass::System),
        Some(name) if OPERATIONAL_CATEGORIES.contains(&name) => Some(VivoClass::Operational),
        Some(_) => return Err(Refusal::new(CATEGORY_INVALID, "category is invalid")),
    };
    match (by_number, by_category) {
        (Some(number), Some(category)) if number != category => {
            Err(Refusal::new(CATEGORY_DISAGREES, "category disagrees with classification"))
        }
        (number, category) => Ok(category.or(number).unwrap_or(VivoClass::Operational)),
    }
}

fn within(
    fields: Fields<'_>,
    field: &'static str,
    range: RangeInclusive<i64>,
) -> Result<Option<i64>, Refusal> {
    match fields.integer(field)? {
        Some(value) if !range.contains(&value) => Err(invalid(field)),
        value => Ok(value),
    }
}
