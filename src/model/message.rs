//! One offline-message event, as the chat server posts it.
//!
//! Field names are Tencent's (cloud.tencent.com/document/product/269/2282 and /1629); error codes
//! are Tencent's numbers for the same mistake (reference, 3.8). Reading is strict about what it
//! uses and silent about what it does not know: unknown fields are ignored and counted.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::model::id::{GroupId, ID_BYTES_MAX, MessageId, UserId, digest128};
use crate::model::push_info::{OfflinePushInfo, filled};

/// Most receivers one message may name.
pub const RECEIVERS_MAX: usize = 1_000;
/// Largest `MsgBody` together with `CloudCustomData`, in bytes of JSON (Tencent error 93000).
pub const BODY_BYTES_MAX: usize = 12 * 1_024;
/// Longest and default life time of a message, in seconds: seven days.
pub const LIFE_TIME_S_MAX: u32 = 604_800;
/// The `TaskId` of a push to named users: its task is called after the message itself,
/// `batch_<message_id>`, and that id is not known before the message is taken.
pub const NAMED_TASK: &str = "batch";
/// Longest `DataId`, in bytes.
pub const DATA_ID_BYTES_MAX: usize = 64;
/// Most mentions one message may carry (Tencent error 10053).
pub const MENTIONS_MAX: usize = 30;

/// What is wrong with a message, in the words the caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Tencent's number for this mistake.
    pub code: &'static str,
    /// One sentence, lower case, no final stop.
    pub message: String,
    /// The field it is about, dotted.
    pub field: Option<String>,
}

impl Invalid {
    fn new(code: &'static str, field: &str, message: impl Into<String>) -> Self {
        Invalid { code, message: message.into(), field: Some(field.to_owned()) }
    }
}

/// How urgent a message is among others of its lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Red packets, calls.
    High,
    /// Chat.
    #[default]
    Normal,
    /// Likes, joins.
    Low,
}

/// One element of `MsgBody`: only what a notification needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// `TIMTextElem`.
    Text(String),
    /// `TIMLocationElem`.
    Location,
    /// `TIMFaceElem`.
    Face,
    /// `TIMCustomElem`; `Data` is never looked at.
    Custom {
        /// Text for the notification.
        desc: String,
        /// Pass-through text.
        ext: String,
        /// Apple sound.
        sound: String,
    },
    /// `TIMSoundElem`.
    Sound,
    /// `TIMImageElem`.
    Image,
    /// `TIMFileElem`.
    File,
    /// `TIMVideoFileElem`.
    Video,
    /// `TIMRelayElem`: several messages forwarded as one.
    Forwarded,
    /// A type this relay has no words for.
    Other(String),
}

/// Who a group message mentions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Everybody.
    pub all: bool,
    /// These.
    pub users: Vec<UserId>,
}

/// What the relay itself has to say, in the reader's language, in place of a message's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// That message was taken back; its notification is replaced.
    Recalled(MessageId),
    /// So many messages came while nobody was to be disturbed.
    Summed(u32),
}

/// One message. `MsgKey`, `MsgTime` and the nicknames are the producer's; the relay believes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `From_Account`.
    pub from: UserId,
    /// `To_Account`: 1..=[`RECEIVERS_MAX`] different users, in order.
    pub receivers: Vec<UserId>,
    /// `GroupId`; absent for one-to-one.
    pub group: Option<GroupId>,
    /// `MsgSeq`.
    pub seq: Option<u32>,
    /// `MsgRandom`.
    pub random: u32,
    /// `MsgTime`, Unix seconds.
    pub time_s: Option<u64>,
    /// `MsgKey`.
    pub key: Option<String>,
    /// `TaskId`, when the push belongs to a task (`timpush`): a field of this relay.
    pub task_id: Option<String>,
    /// `DataId` of a push that belongs to a task: the caller's own id, at most
    /// [`DATA_ID_BYTES_MAX`], which its results carry.
    pub data_id: Option<String>,
    /// `MsgLifeTime` when given, in seconds, capped at [`LIFE_TIME_S_MAX`].
    pub life_time_s: Option<u32>,
    /// `OnlineOnlyFlag` > 0.
    pub online_only: bool,
    /// `SendMsgResult`, when the producer forwards it; 0 is success.
    pub send_result: Option<i64>,
    /// `MsgPriority`.
    pub priority: Priority,
    /// `SendMsgControl` holds `NoUnread`.
    pub no_unread: bool,
    /// `SendMsgControl` holds `WithMuteNotifications`.
    pub with_mute: bool,
    /// `GroupAtInfo`.
    pub mentions: Mentions,
    /// `FromNick`.
    pub from_nick: Option<String>,
    /// `GroupName`.
    pub group_name: Option<String>,
    /// `UnreadMsgNum`, the receiver's total after this message.
    pub unread: Option<u32>,
    /// `CloudCustomData`.
    pub custom_data: Option<String>,
    /// `MsgBody`.
    pub elements: Vec<Element>,
    /// `OfflinePushInfo`.
    pub push: OfflinePushInfo,
    /// `Notice`: written by the relay, not by chat servers.
    pub notice: Option<Notice>,
    /// Digest of the content, insensitive to white space: part of the dedupe key.
    pub content_digest: u128,
    /// How many fields were not known.
    pub unknown_fields: u32,
}

impl Message {
    /// Reads one message.
    ///
    /// # Errors
    /// The first mistake found, with Tencent's code and the field.
    pub fn parse(json: &[u8]) -> Result<Message, Invalid> {
        Message::parse_with_content(json).map(|(message, _)| message)
    }

    /// Reads one message and answers what the queue keeps of it: the known fields as they were
    /// written, without the receivers.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub fn parse_with_content(json: &[u8]) -> Result<(Message, Bytes), Invalid> {
        let wire: Wire<'_> = serde_json::from_slice(json).map_err(not_json)?;
        let receivers = receivers(wire.to)?;
        let content = wire.content();
        Ok((wire.read(receivers)?, content))
    }

    /// Reads a message back from what [`Message::parse_with_content`] kept; it has no receivers.
    ///
    /// # Errors
    /// As [`Message::parse`]; none for what this version wrote.
    pub fn parse_stored(content: &[u8]) -> Result<Message, Invalid> {
        let wire: Wire<'_> = serde_json::from_slice(content).map_err(not_json)?;
        wire.read(Vec::new())
    }

    /// Seconds this message may wait; [`LIFE_TIME_S_MAX`] when it does not say.
    pub fn life_time_s(&self) -> u32 {
        self.life_time_s.unwrap_or(LIFE_TIME_S_MAX)
    }

    /// Whether this message mentions `user` by name.
    pub fn mentions_user(&self, user: &UserId) -> bool {
        self.mentions.users.contains(user)
    }

    /// `c2c` or `group`.
    pub fn kind(&self) -> &'static str {
        if self.group.is_some() { "group" } else { "c2c" }
    }
}

fn not_json(error: serde_json::Error) -> Invalid {
    Invalid {
        code: "90001",
        message: format!("the message is not valid JSON: {error}"),
        field: None,
    }
}

macro_rules! wire_fields {
    ($($name:literal => $field:ident,)*) => {
        /// Every known field, found but not yet read.
        #[derive(Default)]
        struct Wire<'a> {
            $($field: Option<&'a RawValue>,)*
            unknown: u32,
        }

        impl Wire<'_> {
            /// The known fields but the receivers, as they were written.
            fn content(&self) -> Bytes {
                let mut json = Vec::with_capacity(512);
                json.push(b'{');
                $(write_field(&mut json, $name, self.$field);)*
                json.push(b'}');
                Bytes::from(json)
            }
        }

        impl<'de> Visitor<'de> for WireVisitor {
            type Value = Wire<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wire<'de>, A::Error> {
                let mut wire = Wire::default();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    match name.as_ref() {
                        $($name => wire.$field = Some(map.next_value()?),)*
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            wire.unknown += 1;
                        }
                    }
                }
                Ok(wire)
            }
        }
    };
}

struct WireVisitor;

fn write_field(json: &mut Vec<u8>, name: &str, raw: Option<&RawValue>) {
    let Some(raw) = present(raw).filter(|_| name != "To_Account") else { return };
    if json.len() > 1 {
        json.push(b',');
    }
    json.push(b'"');
    json.extend_from_slice(name.as_bytes());
    json.extend_from_slice(b"\":");
    json.extend_from_slice(raw.get().as_bytes());
}

wire_fields! {
    "From_Account" => from,
    "To_Account" => to,
    "GroupId" => group,
    "MsgSeq" => seq,
    "MsgRandom" => random,
    "MsgTime" => time,
    "MsgTimeStamp" => time_stamp,
    "MsgKey" => key,
    "TaskId" => task_id,
    "DataId" => data_id,
    "MsgLifeTime" => life_time,
    "OnlineOnlyFlag" => online_only,
    "SendMsgResult" => send_result,
    "MsgPriority" => priority,
    "SendMsgControl" => control,
    "GroupAtInfo" => at,
    "FromNick" => from_nick,
    "GroupName" => group_name,
    "UnreadMsgNum" => unread,
    "CloudCustomData" => custom_data,
    "MsgBody" => body,
    "OfflinePushInfo" => push,
    "Notice" => notice,
}

impl<'de> Deserialize<'de> for Wire<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WireVisitor)
    }
}

impl Wire<'_> {
    fn read(self, receivers: Vec<UserId>) -> Result<Message, Invalid> {
        let from = user(self.from, "From_Account", "90008")?;
        let random = match present(self.random) {
            None => return Err(Invalid::new("90005", "MsgRandom", "MsgRandom is missing")),
            Some(raw) => serde_json::from_str::<u32>(raw.get()).map_err(|_| {
                Invalid::new(
                    "90005",
                    "MsgRandom",
                    "MsgRandom must be an integer from 0 to 4294967295",
                )
            })?,
        };
        let group = match optional::<String>(self.group, "GroupId", "10004")? {
            Some(id) if id.is_empty() => None,
            Some(id) => Some(GroupId(checked_id(&id, "GroupId", "10004")?.into())),
            None => None,
        };
        let body_bytes = raw_bytes(self.body) + raw_bytes(self.custom_data);
        if body_bytes > BODY_BYTES_MAX {
            let message =
                format!("the message has {body_bytes} bytes, at most {BODY_BYTES_MAX} are allowed");
            return Err(Invalid::new("93000", "MsgBody", message));
        }
        let elements = elements(self.body)?;
        let push = push_info(self.push)?;
        let notice = optional::<Notice>(self.notice, "Notice", "10004")?;
        let says_nothing = filled(&push.title).is_none() && filled(&push.desc).is_none();
        if elements.is_empty() && says_nothing && notice.is_none() {
            let message = "MsgBody, or OfflinePushInfo with a Title or Desc, is required";
            return Err(Invalid::new("90002", "MsgBody", message));
        }
        let content = present(self.body).or(present(self.push)).map_or("", RawValue::get);
        let control = optional::<Vec<String>>(self.control, "SendMsgControl", "10004")?;
        let has = |word: &str| control.iter().flatten().any(|given| given == word);
        let life_time = optional::<u64>(self.life_time, "MsgLifeTime", "90044")?;
        let online_only = optional::<i64>(self.online_only, "OnlineOnlyFlag", "10004")?;
        let time_s = match optional(self.time, "MsgTime", "90006")? {
            Some(time) => Some(time),
            None => optional(self.time_stamp, "MsgTimeStamp", "90006")?,
        };
        Ok(Message {
            from,
            receivers,
            group,
            seq: optional(self.seq, "MsgSeq", "10004")?,
            random,
            time_s,
            key: optional(self.key, "MsgKey", "90054")?,
            task_id: task_id(self.task_id)?,
            data_id: data_id(self.data_id)?,
            life_time_s: life_time.map(|s| s.min(u64::from(LIFE_TIME_S_MAX)) as u32),
            online_only: online_only.is_some_and(|flag| flag > 0),
            send_result: optional(self.send_result, "SendMsgResult", "10004")?,
            priority: priority(self.priority)?,
            no_unread: has("NoUnread"),
            with_mute: has("WithMuteNotifications"),
            mentions: mentions(self.at)?,
            from_nick: optional(self.from_nick, "FromNick", "10004")?,
            group_name: optional(self.group_name, "GroupName", "10004")?,
            unread: optional::<i64>(self.unread, "UnreadMsgNum", "10004")?
                .and_then(|unread| u32::try_from(unread).ok()),
            custom_data: optional(self.custom_data, "CloudCustomData", "10004")?,
            elements,
            push,
            notice,
            content_digest: content_digest(content),
            unknown_fields: self.unknown,
        })
    }
}

/// JSON `null` counts as absent.
fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

fn raw_bytes(raw: Option<&RawValue>) -> usize {
    raw.map_or(0, |raw| raw.get().len())
}

fn optional<T: DeserializeOwned>(
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

fn data_id(raw: Option<&RawValue>) -> Result<Option<String>, Invalid> {
    let id = optional::<String>(raw, "DataId", "90057")?;
    if id.as_ref().is_some_and(|id| id.len() > DATA_ID_BYTES_MAX) {
        let message = format!("DataId is longer than {DATA_ID_BYTES_MAX} bytes");
        return Err(Invalid::new("90057", "DataId", message));
    }
    Ok(id)
}

fn task_id(raw: Option<&RawValue>) -> Result<Option<String>, Invalid> {
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

fn user(raw: Option<&RawValue>, field: &str, code: &'static str) -> Result<UserId, Invalid> {
    match optional::<Cow<'_, str>>(raw, field, code)? {
        None => Err(Invalid::new(code, field, format!("{field} is missing"))),
        Some(id) => Ok(UserId(checked_id(&id, field, code)?.into())),
    }
}

fn receivers(raw: Option<&RawValue>) -> Result<Vec<UserId>, Invalid> {
    const FIELD: &str = "To_Account";
    let Some(raw) = present(raw) else {
        return Err(Invalid::new("90003", FIELD, "To_Account is missing"));
    };
    let names: Vec<Cow<'_, str>> = if raw.get().starts_with('"') {
        vec![Cow::Owned(optional(Some(raw), FIELD, "90003")?.unwrap_or_default())]
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
    let mut seen = std::collections::HashSet::with_capacity(names.len());
    let mut receivers = Vec::with_capacity(names.len());
    for name in &names {
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

fn priority(raw: Option<&RawValue>) -> Result<Priority, Invalid> {
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

fn mentions(raw: Option<&RawValue>) -> Result<Mentions, Invalid> {
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

fn elements(raw: Option<&RawValue>) -> Result<Vec<Element>, Invalid> {
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

fn push_info(raw: Option<&RawValue>) -> Result<OfflinePushInfo, Invalid> {
    let Some(raw) = present(raw) else { return Ok(OfflinePushInfo::default()) };
    // An array would be read as the fields in their order.
    if !raw.get().starts_with('{') {
        let message = "OfflinePushInfo must be an object";
        return Err(Invalid::new("90043", "OfflinePushInfo", message));
    }
    let mut json = serde_json::Deserializer::from_str(raw.get());
    let push: OfflinePushInfo = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." {
            "OfflinePushInfo".to_owned()
        } else {
            format!("OfflinePushInfo.{path}")
        };
        Invalid::new("90043", &field, format!("{field} is malformed: {}", error.inner()))
    })?;
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
    Ok(push)
}

/// Digest of JSON text without the white space between its tokens, so that a repeat from another
/// serialiser with other spacing is still the same content.
fn content_digest(json: &str) -> u128 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(json: &str, code: &str, field: Option<&str>) {
        let invalid = Message::parse(json.as_bytes()).expect_err(json);
        assert_eq!((invalid.code, invalid.field.as_deref()), (code, field), "{}", invalid.message);
    }

    #[test]
    fn the_sample_of_the_contract_is_read() {
        let message = Message::parse(
            br#"{ "From_Account": "mina", "To_Account": ["joon","joon"], "GroupId": null,
              "MsgSeq": 902, "MsgRandom": 771203456, "MsgTime": 1760000000, "MsgKey": "902_7_17",
              "MsgLifeTime": 604801, "OnlineOnlyFlag": 0, "MsgPriority": "High",
              "SendMsgControl": ["WithMuteNotifications"],
              "GroupAtInfo": [{"GroupAtAllFlag":0,"GroupAt_Account":"joon"}],
              "CloudCustomData": "", "FromNick": "Mina", "GroupName": null, "UnreadMsgNum": 3,
              "MsgBody": [{"MsgType":"TIMTextElem","MsgContent":{"Text":"hi"}}],
              "Surprise": {"deep": [1]} }"#,
        )
        .expect("the sample");
        assert_eq!(message.receivers, ["joon".into()]);
        assert_eq!(message.life_time_s(), LIFE_TIME_S_MAX);
        assert_eq!(message.elements, [Element::Text("hi".into())]);
        assert_eq!(message.unknown_fields, 1);
        assert!(message.with_mute && message.mentions_user(&"joon".into()));
        assert_eq!(message.group, None);
    }

    #[test]
    fn what_the_queue_keeps_reads_back_to_the_same_message_without_receivers() {
        let json = br#"{"From_Account":"a","To_Account":["b"],"MsgRandom":5,"GroupId":null,
            "Other":1,"MsgBody":[{"MsgType":"TIMFaceElem"}],"OfflinePushInfo":{"Title":"t"}}"#;
        let (mut message, content) = Message::parse_with_content(json).expect("a message");
        assert!(!String::from_utf8_lossy(&content).contains("To_Account"));
        message.receivers.clear();
        message.unknown_fields = 0;
        assert_eq!(Message::parse_stored(&content).expect("stored"), message);
    }

    #[test]
    fn each_mistake_names_its_code_and_field() {
        let with = |to: &str, random: &str, rest: &str| {
            format!(r#"{{"From_Account":"a","To_Account":{to},"MsgRandom":{random}{rest}}}"#)
        };
        let body = r#","MsgBody":[{"MsgType":"TIMTextElem","MsgContent":{"Text":"x"}}]"#;
        check_error("{", "90001", None);
        check_error("[]", "90001", None);
        check_error(r#"{"To_Account":"b","MsgRandom":1}"#, "90008", Some("From_Account"));
        check_error(r#"{"From_Account":"a","To_Account":"b"}"#, "90005", Some("MsgRandom"));
        check_error(&with(r#""b""#, "-1", body), "90005", Some("MsgRandom"));
        check_error(&with(r#""b""#, "4294967296", body), "90005", Some("MsgRandom"));
        check_error(&with(r#""b""#, r#""7""#, body), "90005", Some("MsgRandom"));
        check_error(&with("[]", "1", body), "90029", Some("To_Account"));
        check_error(&with(r#""""#, "1", body), "90029", Some("To_Account"));
        check_error(&with("7", "1", body), "90028", Some("To_Account"));
        check_error(&with("null", "1", body), "90003", Some("To_Account"));
        let many: Vec<String> = (0..1001).map(|n| format!("\"u{n}\"")).collect();
        check_error(
            &with(&format!("[{}]", many.join(",")), "1", body),
            "90011",
            Some("To_Account"),
        );
        check_error(&with(r#""b""#, "1", ""), "90002", Some("MsgBody"));
        check_error(&with(r#""b""#, "1", r#","MsgBody":{}"#), "90007", Some("MsgBody"));
        check_error(
            &with(r#""b""#, "1", r#","MsgBody":[{"MsgType":3}]"#),
            "90002",
            Some("MsgBody"),
        );
        let life = format!(r#","MsgLifeTime":"x"{body}"#);
        check_error(&with(r#""b""#, "1", &life), "90044", Some("MsgLifeTime"));
        let badge = r#","OfflinePushInfo":{"Title":"t","ApnsInfo":{"BadgeMode":"x"}}"#;
        check_error(
            &with(r#""b""#, "1", badge),
            "90043",
            Some("OfflinePushInfo.ApnsInfo.BadgeMode"),
        );
        let badge = r#","OfflinePushInfo":{"Title":"t","BadgeAddNum":100}"#;
        check_error(&with(r#""b""#, "1", badge), "90043", Some("OfflinePushInfo.BadgeAddNum"));
        // Apple would refuse it; found by fuzzing against the simulators.
        let activity = r#","OfflinePushInfo":{"ApnsInfo":{"LiveActivity":
            {"LaId":"la","Event":"usdate","ContentState":{}}}}"#;
        let field = "OfflinePushInfo.ApnsInfo.LiveActivity.Event";
        check_error(&with(r#""b""#, "1", activity), "90043", Some(field));
        let level = r#","OfflinePushInfo":{"ApnsInfo":{"InterruptionLevel":"loud"}}"#;
        let field = "OfflinePushInfo.ApnsInfo.InterruptionLevel";
        check_error(&with(r#""b""#, "1", level), "90043", Some(field));
        let large = format!(
            r#","MsgBody":[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"{}"}}}}]"#,
            "x".repeat(BODY_BYTES_MAX)
        );
        check_error(&with(r#""b""#, "1", &large), "93000", Some("MsgBody"));
    }

    #[test]
    fn spacing_does_not_change_the_content_but_text_does() {
        assert_eq!(content_digest(r#"[ {"a" : "x y"} ]"#), content_digest(r#"[{"a":"x y"}]"#));
        assert_ne!(content_digest(r#"[{"a":"x y"}]"#), content_digest(r#"[{"a":"xy"}]"#));
        assert_ne!(content_digest(r#"["\" "]"#), content_digest(r#"["\""]"#));
    }
}
