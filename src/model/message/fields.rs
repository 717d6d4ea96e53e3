//! Reading one field of a message, with Tencent's code for each mistake.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use foldhash::HashSet;
use foldhash::fast::RandomState;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::id::{ID_BYTES_MAX, UserId, digest128};
use crate::model::json::without_values;
use crate::model::message::{
    DATA_ID_BYTES_MAX, Element, Invalid, MENTIONS_MAX, Mentions, Priority, RECEIVERS_MAX,
};
use crate::model::object::{Object, or_default};
use crate::model::push_info::{Misfit, OfflinePushInfo};

/// Text that is copied only when it is escaped: serde copies every `Cow`.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Name<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// JSON `null` counts as absent.
pub(super) fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

pub(super) fn raw_bytes(raw: Option<&RawValue>) -> usize {
    raw.map_or(0, |raw| raw.get().len())
}

pub(super) fn optional<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    field: &str,
    code: &'static str,
) -> Result<Option<T>, Invalid> {
    let Some(raw) = present(raw) else { return Ok(None) };
    match serde_json::from_str(raw.get()) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            let why = without_values(&error);
            Err(Invalid::new(code, field, format!("{field} is malformed: {why}")))
        }
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
    if let Some(id) = &id {
        checked_id(id, "TaskId", "90001")?;
    }
    Ok(id)
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
    // To the end whatever comes, so that many bytes are compared at once.
    let is_plain = id.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
    if !is_plain && id.chars().any(char::is_control) {
        return Err(Invalid::new(code, field, format!("{field} holds a control character")));
    }
    Ok(id)
}

pub(super) fn user(
    raw: Option<&RawValue>,
    field: &str,
    code: &'static str,
) -> Result<UserId, Invalid> {
    match optional::<Name<'_>>(raw, field, code)? {
        None => Err(Invalid::new(code, field, format!("{field} is missing"))),
        Some(Name(id)) => Ok(UserId(checked_id(&id, field, code)?.into())),
    }
}

pub(super) fn receivers(raw: Option<&RawValue>) -> Result<Vec<UserId>, Invalid> {
    let Some(raw) = present(raw) else {
        return Err(Invalid::new("90003", TO_ACCOUNT, "To_Account is missing"));
    };
    if raw.get().starts_with('"') {
        let Name(name) = optional(Some(raw), TO_ACCOUNT, "90003")?.unwrap_or_default();
        return Ok(vec![receiver(&name)?]);
    }
    let names: Vec<Name<'_>> = serde_json::from_str(raw.get()).map_err(|_| {
        let message = "To_Account must be a string or an array of strings";
        Invalid::new("90028", TO_ACCOUNT, message)
    })?;
    if names.is_empty() {
        return Err(Invalid::new("90029", TO_ACCOUNT, "To_Account is empty"));
    }
    if names.len() > RECEIVERS_MAX {
        let message =
            format!("To_Account names {} users, at most {RECEIVERS_MAX} are allowed", names.len());
        return Err(Invalid::new("90011", TO_ACCOUNT, message));
    }
    if let [Name(name)] = names.as_slice() {
        return Ok(vec![receiver(name)?]);
    }
    let mut seen = HashSet::with_capacity_and_hasher(names.len(), RandomState::default());
    let mut receivers = Vec::with_capacity(names.len());
    for Name(name) in &names {
        if seen.insert(name.as_ref()) {
            receivers.push(receiver(name)?);
        }
    }
    Ok(receivers)
}

const TO_ACCOUNT: &str = "To_Account";

fn receiver(name: &str) -> Result<UserId, Invalid> {
    if name.is_empty() {
        return Err(Invalid::new("90029", TO_ACCOUNT, "To_Account holds an empty user id"));
    }
    Ok(UserId(checked_id(name, TO_ACCOUNT, "90012")?.into()))
}

pub(super) fn random(raw: Option<&RawValue>) -> Result<u32, Invalid> {
    let invalid = |message| Invalid::new("90005", "MsgRandom", message);
    let raw = present(raw).ok_or_else(|| invalid("MsgRandom is missing"))?;
    serde_json::from_str(raw.get())
        .map_err(|_| invalid("MsgRandom must be an integer from 0 to 4294967295"))
}

pub(super) fn priority(raw: Option<&RawValue>) -> Result<Priority, Invalid> {
    let given = optional::<Name<'_>>(raw, "MsgPriority", "10004")?;
    match given.as_ref().map(|Name(word)| word.as_ref()) {
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
        #[serde(rename = "GroupAtAllFlag", default, deserialize_with = "or_default")]
        all: u8,
        #[serde(rename = "GroupAt_Account", default)]
        user: Option<UserId>,
    }
    let given: Vec<Object<At>> = optional(raw, "GroupAtInfo", "10004")?.unwrap_or_default();
    if given.len() > MENTIONS_MAX {
        let message =
            format!("GroupAtInfo has {} entries, at most {MENTIONS_MAX} are allowed", given.len());
        return Err(Invalid::new("10053", "GroupAtInfo", message));
    }
    let mut mentions = Mentions::default();
    for Object(at) in given {
        if at.all == 1 {
            mentions.all = true;
        } else if let Some(user) = at.user {
            mentions.users.push(user);
        }
    }
    Ok(mentions)
}

/// An element, its content read or only found.
#[derive(Deserialize)]
#[serde(bound(deserialize = "C: Deserialize<'de>"))]
struct WireElement<'a, C> {
    #[serde(rename = "MsgType", borrow)]
    kind: Name<'a>,
    #[serde(rename = "MsgContent", default)]
    content: Option<C>,
}

/// What the kinds that have anything to read hold.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Content<'a> {
    #[serde(borrow)]
    text: Option<Name<'a>>,
    #[serde(borrow)]
    desc: Option<Name<'a>>,
    #[serde(borrow)]
    ext: Option<Name<'a>>,
    #[serde(borrow)]
    sound: Option<Name<'a>>,
}

pub(super) fn elements(raw: Option<&RawValue>) -> Result<Vec<Element>, Invalid> {
    let Some(raw) = present(raw) else { return Ok(Vec::new()) };
    if !raw.get().starts_with('[') {
        return Err(Invalid::new("90007", "MsgBody", "MsgBody must be an array"));
    }
    // One walk reads what nearly all messages hold. The second names mistakes, and leaves out the
    // content of kinds of which it is not read: that may have any shape.
    serde_json::from_str(raw.get()).or_else(|_| elements_one_by_one(raw))
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object(WireElement { kind, content }) =
            Object::<WireElement<'_, Object<Content<'_>>>>::deserialize(deserializer)?;
        element(&kind.0, content.unwrap_or_default().0)
            .map_err(|invalid| D::Error::custom(invalid.message))
    }
}

fn elements_one_by_one(raw: &RawValue) -> Result<Vec<Element>, Invalid> {
    let wire: Vec<Object<WireElement<'_, &RawValue>>> =
        serde_json::from_str(raw.get()).map_err(|error| {
            let why = without_values(&error);
            Invalid::new("90002", "MsgBody", format!("MsgBody is malformed: {why}"))
        })?;
    let read = |Object(WireElement { kind, content }): Object<WireElement<'_, _>>| {
        let content = match kind.0.as_ref() {
            "TIMTextElem" | "TIMCustomElem" => optional(content, "MsgBody.MsgContent", "90002")?,
            _ => None,
        };
        let Object(content) = content.unwrap_or_default();
        element(&kind.0, content)
    };
    wire.into_iter().map(read).collect()
}

fn element(kind: &str, content: Content<'_>) -> Result<Element, Invalid> {
    let text = |Name(text): Name<'_>| text.into_owned();
    Ok(match kind {
        "TIMTextElem" => match content.text {
            Some(Name(text)) => Element::Text(text.into_owned()),
            None => {
                let message = "a TIMTextElem needs MsgContent.Text";
                return Err(Invalid::new("90002", "MsgBody.MsgContent.Text", message));
            }
        },
        "TIMCustomElem" => Element::Custom {
            desc: content.desc.map(text).unwrap_or_default(),
            ext: content.ext.map(text).unwrap_or_default(),
            sound: content.sound.map(text).unwrap_or_default(),
        },
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

pub(super) fn push_info(raw: Option<&RawValue>) -> Result<Arc<OfflinePushInfo>, Invalid> {
    /// Shared by all messages that come without one.
    static NONE: LazyLock<Arc<OfflinePushInfo>> = LazyLock::new(Arc::default);
    let Some(raw) = present(raw) else { return Ok(Arc::clone(&NONE)) };
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
    Ok(Arc::new(push))
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
        let why = without_values(error.inner());
        Invalid::new("90043", &field, format!("{field} is malformed: {why}"))
    })
}

/// Refuses settings that no vendor could follow.
///
/// # Errors
/// The first such setting.
pub(super) fn check_push_info(push: &OfflinePushInfo) -> Result<(), Invalid> {
    push.check().map_err(|Misfit { field, wanted }| {
        let field = format!("OfflinePushInfo.{field}");
        Invalid::new("90043", &field, format!("{field} {wanted}"))
    })
}

/// Digest of what JSON says, so that a repeat from another serialiser, with other spacing, escapes
/// or order of fields, is still the same content.
pub(super) fn content_digest(json: &str) -> u128 {
    let digest = |json: &str| digest128(&[b"content", json.as_bytes()]);
    if is_plain_text(json) {
        return digest(json);
    }
    match serde_json::from_str::<Value>(json) {
        Ok(value) => match only_text(&value) {
            Some(text) => digest(&[BEFORE_TEXT, text, AFTER_TEXT].concat()),
            // Its objects are maps in the order of their keys.
            None => digest(&value.to_string()),
        },
        // Too deep for a reader: as it is.
        Err(_) => digest(json),
    }
}

/// Around the text of a body that is one text, as most serialisers write it.
const BEFORE_TEXT: &str = r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":""#;
const AFTER_TEXT: &str = r#""}}]"#;

/// Whether a body is one text without escapes, written in the usual way: seen without reading it.
fn is_plain_text(json: &str) -> bool {
    let text = json.strip_prefix(BEFORE_TEXT).and_then(|text| text.strip_suffix(AFTER_TEXT));
    text.is_some_and(|text| !text.bytes().any(|byte| matches!(byte, b'"' | b'\\')))
}

/// The text of a body that is one text and nothing else.
fn only_text(body: &Value) -> Option<&str> {
    let [element] = body.as_array()?.as_slice() else { return None };
    let (element, content) = (element.as_object()?, element.get("MsgContent")?.as_object()?);
    let is_alone = element.len() == 2 && content.len() == 1;
    let is_text = element.get("MsgType")? == "TIMTextElem";
    content.get("Text")?.as_str().filter(|_| is_alone && is_text)
}
