//! The rules of Honor's message body: Huawei's shape without the `message` wrapper and in
//! camelCase. The two are easily confused, so both traces of Huawei's spelling are refused.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::sim::fields::{Fields, WrongType};
use crate::sim::honor::{Refusal, STRUCTURE};

const PARAMETER: u32 = 80_100_001;
const EXPIRY: u32 = 80_100_004;
const TOO_LARGE: u32 = 80_300_008;
const TOKEN_COUNT: u32 = 80_300_010;

const TOKENS_MAX: usize = 1_000;
const MESSAGE_BYTES_MAX: usize = 4_096;
const TTL_SECONDS_MAX: u64 = 1_296_000;

/// A message that passed every check.
pub(crate) struct Message<'a> {
    /// Phones, each once.
    pub tokens: Vec<&'a str>,
    /// Title; empty for a data message.
    pub title: &'a str,
    /// Text; empty for a data message.
    pub body: &'a str,
    /// Pass-through text.
    pub data: Option<&'a str>,
    /// The sender's id.
    pub bi_tag: Option<&'a str>,
    /// `notifyId`, else `tag`.
    pub replaces: Option<String>,
    /// The body without the tokens.
    pub raw: Value,
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
    /// Checks a request body.
    pub(crate) fn read(value: &'a Value) -> Result<Self, Refusal> {
        let body = value.as_object().map(Fields);
        let body = body.ok_or_else(|| Refusal::new(STRUCTURE, "the body is not an object"))?;
        if body.get("message").is_some() || has_snake_case(value) {
            return Err(Refusal::new(STRUCTURE, "unknown field"));
        }
        let tokens = tokens(body)?;
        let raw = without_tokens(body.0)?;
        let android = body.object("android")?;
        let common = body.object("notification")?;
        let own = android.map(|android| android.object("notification")).transpose()?.flatten();
        if let Some(android) = android {
            check_android(android)?;
        }
        let text_of = |from: Option<Fields<'a>>, field| {
            from.map(|fields| fields.filled(field)).transpose().map(Option::flatten)
        };
        let data = text_of(android, "data")?.or(body.filled("data")?);
        let bi_tag = text_of(android, "biTag")?;
        if own.is_none() && common.is_none() {
            let data = Some(data.ok_or_else(|| missing("data or notification"))?);
            return Ok(Message { tokens, title: "", body: "", data, bi_tag, replaces: None, raw });
        }
        let own = own.ok_or_else(|| missing("android.notification"))?;
        check_notification(own)?;
        let either = |field| {
            let found = own.filled(field)?.or(text_of(common, field)?);
            found.ok_or_else(|| missing(field))
        };
        let (title, text) = (either("title")?, either("body")?);
        let id = own.integer("notifyId")?.filter(|id| *id != -1).map(|id| id.to_string());
        let replaces = id.or(own.filled("tag")?.map(str::to_owned));
        Ok(Message { tokens, title, body: text, data, bi_tag, replaces, raw })
    }
}

/// Whether a field name anywhere is written the Huawei way.
fn has_snake_case(value: &Value) -> bool {
    match value {
        Value::Object(map) => {
            map.iter().any(|(name, value)| name.contains('_') || has_snake_case(value))
        }
        Value::Array(list) => list.iter().any(has_snake_case),
        _ => false,
    }
}

fn tokens<'a>(body: Fields<'a>) -> Result<Vec<&'a str>, Refusal> {
    let tokens = body.texts("token").ok().flatten();
    let mut tokens = tokens
        .filter(|tokens| (1..=TOKENS_MAX).contains(&tokens.len()))
        .ok_or_else(|| Refusal::new(TOKEN_COUNT, "the number of tokens is out of range"))?;
    let mut seen = HashSet::new();
    tokens.retain(|token| seen.insert(*token));
    Ok(tokens)
}

fn without_tokens(body: &Map<String, Value>) -> Result<Value, Refusal> {
    let mut body = body.clone();
    body.remove("token");
    let body = Value::Object(body);
    if body.to_string().len() > MESSAGE_BYTES_MAX {
        return Err(Refusal::new(TOO_LARGE, "the message body is larger than 4096 bytes"));
    }
    Ok(body)
}

fn check_android(android: Fields<'_>) -> Result<(), Refusal> {
    if let Some(ttl) = android.text("ttl")? {
        let seconds = ttl
            .strip_suffix('s')
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<u64>().ok());
        if seconds.is_none_or(|seconds| seconds > TTL_SECONDS_MAX) {
            return Err(Refusal::new(EXPIRY, "ttl is invalid"));
        }
    }
    within(android, "targetUserType", 0..=1)
}

fn check_notification(own: Fields<'_>) -> Result<(), Refusal> {
    let click = own.object("clickAction")?.ok_or_else(|| missing("clickAction"))?;
    match click.integer("type")?.ok_or_else(|| missing("clickAction.type"))? {
        1 => {
            let action = click.filled("action")?;
            let page = click.filled("intent")?.or(action);
            page.ok_or_else(|| missing("clickAction.intent or action"))?;
        }
        2 => {
            click.filled("url")?.ok_or_else(|| missing("clickAction.url"))?;
        }
        3 => {}
        _ => return Err(parameter("clickAction.type")),
    }
    let importance = own.text("importance")?;
    if importance.is_some_and(|importance| !["LOW", "NORMAL"].contains(&importance)) {
        return Err(parameter("importance"));
    }
    if let Some(badge) = own.object("badge")? {
        within(badge, "addNum", 1..=99)?;
        within(badge, "setNum", 0..=99)?;
        badge.filled("badgeClass")?.ok_or_else(|| missing("badge.badgeClass"))?;
    }
    within(own, "notifyId", -1..=i64::from(i32::MAX))
}

fn within(
    fields: Fields<'_>,
    field: &'static str,
    range: RangeInclusive<i64>,
) -> Result<(), Refusal> {
    match fields.integer(field)? {
        Some(value) if !range.contains(&value) => Err(parameter(field)),
        _ => Ok(()),
    }
}
