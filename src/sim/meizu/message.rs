//! The rules of Meizu's `messageJson` for notifications.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::sim::fields::{Fields, WrongType};
use crate::sim::meizu::{MESSAGE, MeizuAccount, Refusal};

const TITLE_CHARS_MAX: usize = 32;
const CONTENT_CHARS_MAX: usize = 100;
const CUSTOM_ATTRIBUTE_BYTES_MAX: usize = 1_000;
const NOTIFY_KEY_MAX: usize = 8;
const CALLBACK_BYTES_MAX: usize = 128;
const CALLBACK_PARAM_BYTES_MAX: usize = 64;

/// A message that passed every check.
pub(crate) struct Message {
    /// Title.
    pub title: String,
    /// Text.
    pub content: String,
    /// Pass-through parameters as JSON text, else the custom attribute.
    pub parameters: Option<String>,
    /// What it replaces.
    pub notify_key: Option<String>,
    /// Returned in receipts.
    pub callback_param: Option<String>,
    /// The whole object.
    pub raw: Map<String, Value>,
}

impl From<WrongType> for Refusal {
    fn from(wrong: WrongType) -> Self {
        Refusal::new(MESSAGE, format!("{} is not {}", wrong.field, wrong.expected))
    }
}

fn invalid(field: &str) -> Refusal {
    Refusal::new(MESSAGE, format!("{field} is invalid"))
}

impl Message {
    /// Checks the text of `messageJson` for an app.
    pub(crate) fn read(text: &str, account: &MeizuAccount) -> Result<Self, Refusal> {
        let raw: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| invalid("messageJson"))?;
        let message = Fields(&raw);
        let none = Map::new();
        let part = |field| Ok::<_, Refusal>(message.object(field)?.unwrap_or(Fields(&none)));

        let bar = part("noticeBarInfo")?;
        within(bar, "noticeMsgType", 0..=1)?;
        let title = text_of(bar, "title", TITLE_CHARS_MAX)?;
        let content = text_of(bar, "content", CONTENT_CHARS_MAX)?;
        let click = part("clickTypeInfo")?;
        let parameters = check_click(click)?;
        let time = part("pushTimeInfo")?;
        within(time, "offLine", 0..=1)?;
        within(time, "validTime", 1..=72)?;
        let advance = part("advanceInfo")?;
        let notify_key = notify_key(advance)?;
        let callback_param = check_extra(part("extra")?, account)?;
        Ok(Message { title, content, parameters, notify_key, callback_param, raw: raw.clone() })
    }
}

fn text_of(fields: Fields<'_>, field: &'static str, limit: usize) -> Result<String, Refusal> {
    let text = fields.filled(field)?.filter(|text| text.chars().count() <= limit);
    text.map(str::to_owned).ok_or_else(|| invalid(field))
}

fn check_click(click: Fields<'_>) -> Result<Option<String>, Refusal> {
    let attribute = click.filled("customAttribute")?;
    if attribute.is_some_and(|text| text.len() > CUSTOM_ATTRIBUTE_BYTES_MAX) {
        return Err(invalid("customAttribute"));
    }
    let needed = match click.integer("clickType")?.unwrap_or(0) {
        0 => None,
        1 => Some("activity"),
        2 => Some("url"),
        3 => Some("customAttribute"),
        _ => return Err(invalid("clickType")),
    };
    if let Some(field) = needed {
        click.filled(field)?.ok_or_else(|| invalid(field))?;
    }
    let parameters = click.object("parameters")?.filter(|parameters| !parameters.0.is_empty());
    let text = parameters.map(|parameters| Value::Object(parameters.0.clone()).to_string());
    Ok(text.or_else(|| attribute.map(str::to_owned)))
}

fn notify_key(advance: Fields<'_>) -> Result<Option<String>, Refusal> {
    let Some(key) = advance.filled("notifyKey")? else { return Ok(None) };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if key.len() > NOTIFY_KEY_MAX || !key.bytes().all(allowed) {
        return Err(invalid("notifyKey"));
    }
    Ok(Some(key.to_owned()))
}

fn check_extra(extra: Fields<'_>, account: &MeizuAccount) -> Result<Option<String>, Refusal> {
    if let Some(url) = extra.filled("callback")? {
        let registered = account.callbacks.iter().any(|callback| callback == url);
        if url.len() > CALLBACK_BYTES_MAX || !registered {
            return Err(invalid("callback"));
        }
    }
    within(extra, "callback.type", 1..=3)?;
    let param = extra.filled("callback.param")?;
    if param.is_some_and(|param| param.len() > CALLBACK_PARAM_BYTES_MAX) {
        return Err(invalid("callback.param"));
    }
    Ok(param.map(str::to_owned))
}

fn within(
    fields: Fields<'_>,
    field: &'static str,
    range: RangeInclusive<i64>,
) -> Result<(), Refusal> {
    match fields.integer(field)? {
        Some(value) if !range.contains(&value) => Err(invalid(field)),
        _ => Ok(()),
    }
}
