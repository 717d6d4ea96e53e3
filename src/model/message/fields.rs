//! Reading one field of a message, with Tencent's code for each mistake.

use std::borrow::Cow;

use foldhash::HashSet;
use foldhash::fast::RandomState;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::model::id::{ID_BYTES_MAX, UserId, digest128};
use crate::model::message::{
    DATA_ID_BYTES_MAX, Element, Invalid, MENTIONS_MAX, Mentions, Priority, RECEIVERS_MAX,
};
use crate::model::push_info::{OfflinePushInfo, filled};

/// Text that is copied only when it is escaped: serde copies every `Cow`.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Name<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// JSON `null` counts as absent.
pub(super) fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

pub(super) fn raw_bytes(raw: Option<&RawValue>) -> usize {
    raw.map_or(0, |raw| raw.get().len())
}

pub(super) fn optional<T: DeserializeOwned>(
    raw: Option<&RawValue>,
    field: &str,
    code: &'static str,
) -> Result<Option<T>, Invalid> {
    let Some(raw) = present(raw) else { return Ok(None) };
    match serde_json::from_str(raw.get()) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(Invalid::new(code, field, format!("{field} is malformed: {error}"))),
    }
}

pub(super) fn data_id(raw: Option<&RawValue>) -> Result<Option<String>, Invalid> {
    let id = optional::<String>(raw, "DataId", "90057")?;
    if id.as_ref().is_some_and(|id| id.len() > DATA_ID_BYTES_MAX) {
        let message = format!("DataId is longer than {DATA_ID_BYTES_MAX} bytes");
        return Err(Invalid::new("90057", "DataId", message));
    }
    Ok(id)
}

pub(super) fn task_id(raw: Option<&RawValue>) -> Result<Option<String>, Invalid> {
    let id = optional::<String>(raw, "TaskId", "90001")?;
    id.map(|id| Ok(checked_id(&id, "TaskId", "90001")?.to_owned())).transpose()
}

/// An id that is there, not empty and not too long.
pub fn checked_id<'a>(id: &'a str, field: &str, code: &'static str) -> Result<&'a str, Invalid> {
    if id.is_empty() {
        return Err(Invalid::new(code, field, format!("{field} is empty")));
    }
    if id.len() > ID_BYTES_MAX {
        let message = format!("{field} has {} bytes, at most {ID_BYTES_MAX} are allowed", id.len());
        return Err(Invalid::new(code, field, message));
    }
    if id.chars().any(char::is_control) {
        return Err(Invalid::new(code, field, format!("{field} holds a control character")));
    }
    Ok(id)
}

pub(super) fn user(
    raw: Option<&RawValue>,
    field: &str,
    code: &'static str,
) -> Result<UserId, Invalid> {
    match optional::<Cow<'_, str>>(raw, field, code)? {
        None => Err(Invalid::new(code, field, format!("{field} is missing"))),
        Some(id) => Ok(UserId(checked_id(&id, field, code)?.into())),
    }
}

pub(super) fn receivers(raw: Option<&RawValue>) -> Result<Vec<UserId>, Invalid> {
    const FIELD: &str = "To_Account";
    let Some(raw) = present(raw) else {
        return Err(Invalid::new("90003", FIELD, "To_Account is missing"));
    };
    let names: Vec<Name<'_>> = if raw.get().starts_with('"') {
        vec![Name(Cow::Owned(optional(Some(raw), FIELD, "90003")?.unwrap_or_default()))]
    } else {
        serde_json::from_str(raw.get()).map_err(|_| {
            Invalid::new("90028", FIELD, "To_Account must be a string or an array of strings")
        })?
    };
    if names.is_empty() {
        return Err(Invalid::new("90029", FIELD, "To_Account is empty"));
    }
    if names.len() > RECEIVERS_MAX {
        let message =
            format!("To_Account names {} users, at most {RECEIVERS_MAX} are allowed", names.len());
        return Err(Invalid::new("90011", FIELD, message));
    }
    let mut seen = HashSet::with_capacity_and_hasher(names.len(), RandomState::default());
    let mut receivers = Vec::with_capacity(names.len());
    for Name(name) in &names {
        if name.is_empty() {
            return Err(Invalid::new("90029", FIELD, "To_Account holds an empty user id"));
        }
        let name = checked_id(name, FIELD, "90012")?;
        if seen.insert(name) {
            receivers.push(UserId(name.into()));
        }
    }
    Ok(receivers)
}

pub(super) fn priority(raw: Option<&RawValue>) -> Result<Priority, Invalid> {
    match optional::<Cow<'_, str>>(raw, "MsgPriority", "10004")?.as_deref() {
        None | Some("" | "Normal") => Ok(Priority::Normal),
        Some("High") => Ok(Priority::High),
        // Tencent also knows "Lowest" in older texts.
        Some("Low" | "Lowest") => Ok(Priority::Low),
        Some(_) => {
            Err(Invalid::new("10004", "MsgPriority", "MsgPriority must be High, Normal or Low"))
        }
    }
}

pub(super) fn mentions(raw: Option<&RawValue>) -> Result<Mentions, Invalid> {
    #[derive(Deserialize)]
    struct At {
        #[serde(rename = "GroupAtAllFlag", default)]
        all: u8,
        #[serde(rename = "GroupAt_Account", default)]
        user: Option<UserId>,
    }
    let given: Vec<At> = optional(raw, "GroupAtInfo", "10004")?.unwrap_or_default();
    if given.len() > MENTIONS_MAX {
        let message =
            format!("GroupAtInfo has {} entries, at most {MENTIONS_MAX} are allowed", given.len());
        return Err(Invalid::new("10053", "GroupAtInfo", message));
    }
    let mut mentions = Mentions::default();
    for at in given {
        if at.all == 1 {
            mentions.all = true;
        } else if let Some(user) = at.user {
            mentions.users.push(user);
        }
    }
    Ok(mentions)
}

pub(super) fn elements(raw: Option<&RawValue>) -> Result<Vec<Element>, Invalid> {
    #[derive(Deserialize)]
    struct WireElement<'a> {
        #[serde(rename = "MsgType", borrow)]
        kind: Cow<'a, str>,
        #[serde(rename = "MsgContent", borrow, default)]
        content: Option<&'a RawValue>,
    }
    let Some(raw) = present(raw) else { return Ok(Vec::new()) };
    if !raw.get().starts_with('[') {
        return Err(Invalid::new("90007", "MsgBody", "MsgBody must be an array"));
    }
    let wire: Vec<WireElement<'_>> = serde_json::from_str(raw.get()).map_err(|error| {
        Invalid::new("90002", "MsgBody", format!("MsgBody is malformed: {error}"))
    })?;
    wire.iter().map(|element| read_element(&element.kind, element.content)).collect()
}

fn read_element(kind: &str, content: Option<&RawValue>) -> Result<Element, Invalid> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Content {
        text: Option<String>,
        desc: Option<String>,
        ext: Option<String>,
        sound: Option<String>,
    }
    // Only two kinds have anything to read: the rest is not parsed at all.
    let read = |field| optional::<Content>(content, field, "90002").map(Option::unwrap_or_default);
    Ok(match kind {
        "TIMTextElem" => match read("MsgBody.MsgContent")?.text {
            Some(text) => Element::Text(text),
            None => {
                let message = "a TIMTextElem needs MsgContent.Text";
                return Err(Invalid::new("90002", "MsgBody.MsgContent.Text", message));
            }
        },
        "TIMCustomElem" => {
            let content = read("MsgBody.MsgContent")?;
            Element::Custom {
                desc: content.desc.unwrap_or_default(),
                ext: content.ext.unwrap_or_default(),
                sound: content.sound.unwrap_or_default(),
            }
        }
        "TIMLocationElem" => Element::Location,
        "TIMFaceElem" => Element::Face,
        "TIMSoundElem" => Element::Sound,
        "TIMImageElem" => Element::Image,
        "TIMFileElem" => Element::File,
        "TIMVideoFileElem" => Element::Video,
        "TIMRelayElem" => Element::Forwarded,
        other => Element::Other(other.to_owned()),
    })
}

pub(super) fn push_info(raw: Option<&RawValue>) -> Result<OfflinePushInfo, Invalid> {
    let Some(raw) = present(raw) else { return Ok(OfflinePushInfo::default()) };
    // An array would be read as the fields in their order.
    if !raw.get().starts_with('{') {
        let message = "OfflinePushInfo must be an object";
        return Err(Invalid::new("90043", "OfflinePushInfo", message));
    }
    let push = match serde_json::from_str(raw.get()) {
        Ok(push) => push,
        // Only who made a mistake pays for being told where.
        Err(_) => traced_push_info(raw)?,
    };
    check_push_info(&push)?;
    Ok(push)
}

fn traced_push_info(raw: &RawValue) -> Result<OfflinePushInfo, Invalid> {
    let mut json = serde_json::Deserializer::from_str(raw.get());
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." {
            "OfflinePushInfo".to_owned()
        } else {
            format!("OfflinePushInfo.{path}")
        };
        Invalid::new("90043", &field, format!("{field} is malformed: {}", error.inner()))
    })
}

fn check_push_info(push: &OfflinePushInfo) -> Result<(), Invalid> {
    let ranges: [(&str, Option<u32>, u32, u32); 8] = [
        ("PushFlag", Some(u32::from(push.push_flag)), 0, 1),
        ("BadgeAddNum", push.badge_add_num, 1, 99),
        ("BadgeSetNum", push.badge_set_num, 0, 999),
        ("ApnsInfo.BadgeMode", push.apns_info.badge_mode.map(u32::from), 0, 1),
        ("ApnsInfo.MutableContent", push.apns_info.mutable_content.map(u32::from), 0, 1),
        ("ApnsInfo.ContentAvailable", push.apns_info.content_available.map(u32::from), 0, 1),
        ("ApnsInfo.IsVoipPush", push.apns_info.is_voip_push.map(u32::from), 0, 1),
        ("AndroidInfo.PushStyle", push.android_info.push_style.map(u32::from), 0, 1),
    ];
    for (name, given, low, high) in ranges {
        if given.is_some_and(|given| given < low || given > high) {
            let field = format!("OfflinePushInfo.{name}");
            return Err(Invalid::new(
                "90043",
                &field,
                format!("{field} must be from {low} to {high}"),
            ));
        }
    }
    let level = filled(&push.apns_info.interruption_level);
    let event = push.apns_info.live_activity.as_ref().map(|activity| activity.event.as_str());
    let words: [(&str, Option<&str>, &[&str]); 2] = [
        ("InterruptionLevel", level, &["passive", "active", "time-sensitive", "critical"]),
        ("LiveActivity.Event", event, &["update", "end"]),
    ];
    for (name, given, known) in words {
        if given.is_some_and(|given| !known.contains(&given)) {
            let field = format!("OfflinePushInfo.ApnsInfo.{name}");
            let message = format!("{field} must be one of {}", known.join(", "));
            return Err(Invalid::new("90043", &field, message));
        }
    }
    Ok(())
}

/// Digest of JSON text without the white space between its tokens, so that a repeat from another
/// serialiser with other spacing is still the same content.
pub(super) fn content_digest(json: &str) -> u128 {
    if !json.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return digest128(&[b"content", json.as_bytes()]);
    }
    let mut compact = Vec::with_capacity(json.len());
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_text {
            (in_text, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_text = byte == b'"';
        }
        compact.push(byte);
    }
    digest128(&[b"content", &compact])
}
