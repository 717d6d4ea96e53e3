//! A message as it came: its fields found and not yet read.
//!
//! What the queue keeps of a message is its fields as they were written, so they are found first
//! and read afterwards.

use std::fmt;

use bytes::Bytes;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::model::id::{GroupId, UserId};
use crate::model::json::without_values;
use crate::model::message::fields::{
    Name, check_push_info, checked_id, content_digest, data_id, elements, mentions, optional,
    present, priority, push_info, random, raw_bytes, receivers, task_id, user,
};
use crate::model::message::{
    BODY_BYTES_MAX, Invalid, LIFE_TIME_S_MAX, MENTIONS_BYTES_MAX, Message, NAME_BYTES_MAX, Notice,
    PUSH_INFO_BYTES_MAX, Posted, WITH_MUTE, WORD_BYTES_MAX,
};
use crate::model::push_info::OfflinePushInfo;

macro_rules! wire_fields {
    ($($name:literal => $field:ident,)*) => {
        /// A message of which every known field is found, and none is read yet.
        #[derive(Debug, Default)]
        pub struct Wire<'a> {
            $(pub(super) $field: Option<&'a RawValue>,)*
            unknown: u32,
        }

        impl Wire<'_> {
            /// The names of the known fields.
            #[cfg(test)]
            pub(super) const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The known fields but the receivers, as they were written.
            fn content(&self) -> Bytes {
                content_of(&[$(($name, self.$field),)*])
            }
        }

        impl<'de> Visitor<'de> for WireVisitor {
            type Value = Wire<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wire<'de>, A::Error> {
                let mut wire = Wire::default();
                while let Some(Name(name)) = map.next_key()? {
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

fn content_of(fields: &[(&str, Option<&RawValue>)]) -> Bytes {
    let kept = || {
        let kept = fields.iter().filter(|(name, _)| *name != "To_Account");
        kept.filter_map(|(name, raw)| Some((name, present(*raw)?.get())))
    };
    // It may wait long in the queue: it takes the room it needs and no more.
    let length = kept().map(|(name, raw)| name.len() + raw.len() + r#","":"#.len()).sum::<usize>();
    let mut json = Vec::with_capacity("{".len() + length);
    for (name, raw) in kept() {
        json.extend_from_slice(if json.is_empty() { br#"{""# } else { br#",""# });
        json.extend_from_slice(name.as_bytes());
        json.extend_from_slice(br#"":"#);
        json.extend_from_slice(raw.as_bytes());
    }
    json.push(b'}');
    Bytes::from(json)
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

impl<'a> Wire<'a> {
    /// Finds the fields of one message.
    ///
    /// # Errors
    /// The mistake of text that is no message at all.
    pub fn find(json: &'a [u8]) -> Result<Self, Invalid> {
        let found = match str::from_utf8(json) {
            Ok(text) => serde_json::from_str(text),
            // What is no text may be in a field that nobody reads; else its place is named.
            Err(_) => serde_json::from_slice(json),
        };
        found.map_err(|error| Invalid {
            code: "90001",
            message: format!("the message is not valid JSON: {}", without_values(&error)),
            field: None,
        })
    }

    /// Reads a message as it was posted.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub fn posted(&self) -> Result<Posted, Invalid> {
        Ok(Posted { message: self.read_posted()?, content: self.content(), digest: self.digest() })
    }

    /// Reads a message as it was posted, without what goes with it.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub(super) fn read_posted(&self) -> Result<Message, Invalid> {
        self.check_lengths()?;
        self.read(receivers(self.to)?, check_push_info)
    }

    /// Refuses fields that take more room than any vendor could carry, before they are read. Those
    /// not named here are numbers, or ids and words with a limit of their own.
    ///
    /// # Errors
    /// The first that is too long.
    fn check_lengths(&self) -> Result<(), Invalid> {
        let lengths = [
            ("OfflinePushInfo", self.push, PUSH_INFO_BYTES_MAX, "90043"),
            ("FromNick", self.from_nick, NAME_BYTES_MAX, "10004"),
            ("GroupName", self.group_name, NAME_BYTES_MAX, "10004"),
            ("MsgKey", self.key, WORD_BYTES_MAX, "90054"),
            ("MsgTimeStamp", self.time_stamp, WORD_BYTES_MAX, "90006"),
            ("TaskId", self.task_id, WORD_BYTES_MAX, "90001"),
            ("DataId", self.data_id, WORD_BYTES_MAX, "90057"),
            ("MsgPriority", self.priority, WORD_BYTES_MAX, "10004"),
            ("SendMsgControl", self.control, WORD_BYTES_MAX, "10004"),
            ("GroupAtInfo", self.at, MENTIONS_BYTES_MAX, "10004"),
            ("Notice", self.notice, WORD_BYTES_MAX, "10004"),
        ];
        for (name, raw, most, code) in lengths {
            let bytes = raw_bytes(raw);
            if bytes > most {
                let message = format!("{name} has {bytes} bytes, at most {most} are allowed");
                return Err(Invalid::new(code, name, message));
            }
        }
        Ok(())
    }

    /// A digest of what the message says, however it is written.
    fn digest(&self) -> u128 {
        content_digest(present(self.body).or(present(self.push)).map_or("", RawValue::get))
    }

    /// Reads every field but the receivers. `check` has its say about the push settings: those of a
    /// message that was taken already are not refused by a rule that came later.
    pub(super) fn read(
        &self,
        receivers: Vec<UserId>,
        check: impl FnOnce(&OfflinePushInfo) -> Result<(), Invalid>,
    ) -> Result<Message, Invalid> {
        let from = user(self.from, "From_Account", "90008")?;
        let random = random(self.random)?;
        let group = match optional::<Name<'_>>(self.group, "GroupId", "10004")? {
            Some(Name(id)) if id.is_empty() => None,
            Some(Name(id)) => Some(GroupId(checked_id(&id, "GroupId", "10004")?.into())),
            None => None,
        };
        let body_bytes = raw_bytes(self.body) + raw_bytes(self.custom_data);
        if body_bytes > BODY_BYTES_MAX {
            let message =
                format!("the message has {body_bytes} bytes, at most {BODY_BYTES_MAX} are allowed");
            return Err(Invalid::new("93000", "MsgBody", message));
        }
        // Nothing in it is for the relay.
        optional::<Name<'_>>(self.custom_data, "CloudCustomData", "10004")?;
        let elements = elements(self.body)?;
        let push = push_info(self.push)?;
        check(&push)?;
        let notice = optional::<Notice>(self.notice, "Notice", "10004")?;
        let says_nothing = !push.has_text() && push.apns_info.live_activity.is_none();
        if elements.is_empty() && says_nothing && notice.is_none() {
            let message = "MsgBody, or OfflinePushInfo with a Title or Desc in any language, or \
                with a LiveActivity, is required";
            return Err(Invalid::new("90002", "MsgBody", message));
        }
        let control = optional::<Vec<Name<'_>>>(self.control, "SendMsgControl", "10004")?;
        let has = |word: &str| control.iter().flatten().any(|Name(given)| given == word);
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
            with_mute: has(WITH_MUTE),
            mentions: mentions(self.at)?,
            from_nick: optional(self.from_nick, "FromNick", "10004")?,
            group_name: optional(self.group_name, "GroupName", "10004")?,
            unread: optional::<i64>(self.unread, "UnreadMsgNum", "10004")?
                .and_then(|unread| u32::try_from(unread).ok()),
            elements,
            push,
            notice,
            unknown_fields: self.unknown,
        })
    }
}
