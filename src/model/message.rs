//! One offline-message event, as the chat server posts it.
//!
//! Field names are Tencent's (cloud.tencent.com/document/product/269/2282 and /1629); error codes
//! are Tencent's numbers for the same mistake (reference, 3.8). Reading is strict about what it
//! uses and silent about what it does not know: unknown fields are ignored and counted.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::id::{Conversation, GroupId, MessageId, UserId};
use crate::model::push_info::OfflinePushInfo;

mod fields;
mod wire;

pub use fields::checked_id;
pub use wire::Wire;

/// Most receivers one message may name.
pub const RECEIVERS_MAX: usize = 1_000;
/// Largest `MsgBody` together with `CloudCustomData`, in bytes of JSON (Tencent error 93000).
pub const BODY_BYTES_MAX: usize = 12 * 1_024;
/// Largest `OfflinePushInfo`, in bytes of JSON: several times what the largest payload of any
/// vendor holds, so that texts in many languages fit.
pub const PUSH_INFO_BYTES_MAX: usize = 32 * 1_024;
/// Largest `FromNick` and `GroupName`, in bytes of JSON: the longest that Tencent knows, escaped.
pub const NAME_BYTES_MAX: usize = 4 * 1_024;
/// Largest field that holds a key or a few words, in bytes of JSON.
pub const WORD_BYTES_MAX: usize = 1_024;
/// Largest `GroupAtInfo`, in bytes of JSON: [`MENTIONS_MAX`] of the longest ids, escaped.
pub const MENTIONS_BYTES_MAX: usize = 32 * 1_024;
/// Longest and default life time of a message, in seconds: seven days.
pub const LIFE_TIME_S_MAX: u32 = 604_800;
/// The `TaskId` of a push to named users: its task is called after the message itself,
/// `batch_<message_id>`, and that id is not known before the message is taken.
pub const NAMED_TASK: &str = "batch";
/// Longest `DataId`, in bytes.
pub const DATA_ID_BYTES_MAX: usize = 64;
/// Most mentions one message may carry (Tencent error 10053).
pub const MENTIONS_MAX: usize = 30;

/// The word of `SendMsgControl` for a message that the receiver's mute keeps silent whatever the
/// app's `honour_mute`.
pub const WITH_MUTE: &str = "WithMuteNotifications";

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
    /// `MsgBody`.
    pub elements: Vec<Element>,
    /// `OfflinePushInfo`, shared with every notification of this message.
    pub push: Arc<OfflinePushInfo>,
    /// `Notice`: written by the relay, not by chat servers.
    pub notice: Option<Notice>,
    /// How many fields were not known.
    pub unknown_fields: u32,
}

/// A message as it was posted, and what goes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Posted {
    /// The message.
    pub message: Message,
    /// What the queue keeps of it: the known fields as they were written, without the receivers.
    pub content: Bytes,
    /// Digest of what it says, insensitive to white space: part of the dedupe key.
    pub digest: u128,
}

impl Message {
    /// Reads one message.
    ///
    /// # Errors
    /// The first mistake found, with Tencent's code and the field.
    pub fn parse(json: &[u8]) -> Result<Message, Invalid> {
        Wire::find(json)?.read_posted()
    }

    /// Reads one message, with what tells repeats and what is kept of it.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub fn parse_posted(json: &[u8]) -> Result<Posted, Invalid> {
        Wire::find(json)?.posted()
    }

    /// Reads a message back from what was [kept of it](Posted::content); it has no receivers.
    ///
    /// # Errors
    /// As [`Message::parse`]; none for what this version wrote.
    pub fn parse_stored(content: &[u8]) -> Result<Message, Invalid> {
        Wire::find(content)?.read(Vec::new(), |_| Ok(()))
    }

    /// Seconds this message may wait; [`LIFE_TIME_S_MAX`] when it does not say.
    pub fn life_time_s(&self) -> u32 {
        self.life_time_s.unwrap_or(LIFE_TIME_S_MAX)
    }

    /// Whether this message mentions `user` by name.
    pub fn mentions_user(&self, user: &UserId) -> bool {
        self.mentions.users.contains(user)
    }

    /// Where it was said, as its receivers name it.
    pub fn conversation(&self) -> Conversation {
        match &self.group {
            Some(group) => Conversation::Group(group.clone()),
            None => Conversation::C2c(self.from.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields::content_digest;
    use super::*;

    fn check_error(json: &str, code: &str, field: Option<&str>) {
        let invalid = Message::parse(json.as_bytes()).expect_err(json);
        assert_eq!((invalid.code, invalid.field.as_deref()), (code, field), "{}", invalid.message);
    }

    #[test]
    fn every_field_that_is_kept_has_a_limit() {
        let of = |name: &str, json: &str| {
            format!(
                r#"{{"From_Account":"a","To_Account":"b","MsgRandom":1,"{name}":{json},
                "MsgBody":[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"x"}}}}]}}"#
            )
        };
        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        let spaced = |bytes: usize| format!("[{}]", " ".repeat(bytes - 2));
        let push = |bytes: usize| format!(r#"{{"Ext":"{}"}}"#, "x".repeat(bytes - 10));
        for (name, code, fits, too_long) in [
            ("OfflinePushInfo", "90043", push(PUSH_INFO_BYTES_MAX), push(PUSH_INFO_BYTES_MAX + 1)),
            ("FromNick", "10004", text(NAME_BYTES_MAX), text(NAME_BYTES_MAX + 1)),
            ("GroupName", "10004", text(NAME_BYTES_MAX), text(NAME_BYTES_MAX + 1)),
            ("MsgKey", "90054", text(WORD_BYTES_MAX), text(WORD_BYTES_MAX + 1)),
            ("TaskId", "90001", text(100), text(WORD_BYTES_MAX + 1)),
            ("DataId", "90057", text(60), text(WORD_BYTES_MAX + 1)),
            ("MsgPriority", "10004", text(6).replace("xxxx", "High"), text(WORD_BYTES_MAX + 1)),
            ("SendMsgControl", "10004", spaced(WORD_BYTES_MAX), spaced(WORD_BYTES_MAX + 1)),
            ("GroupAtInfo", "10004", spaced(MENTIONS_BYTES_MAX), spaced(MENTIONS_BYTES_MAX + 1)),
            ("Notice", "10004", "null".to_owned(), text(WORD_BYTES_MAX + 1)),
        ] {
            Message::parse(of(name, &fits).as_bytes()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            check_error(&of(name, &too_long), code, Some(name));
            Message::parse_posted(of(name, &too_long).as_bytes()).expect_err(name);
        }
        // The longest mentions there can be, each character escaped, still fit.
        let at = format!(r#"{{"GroupAtAllFlag":0,"GroupAt_Account":"{}"}}"#, "\\u0041".repeat(128));
        let all = format!("[{}]", vec![at; MENTIONS_MAX].join(","));
        assert!(all.len() <= MENTIONS_BYTES_MAX, "{}", all.len());
    }

    #[test]
    fn what_is_kept_of_a_message_is_bounded() {
        let wire = |field: String| {
            let json = format!(
                r#"{{"From_Account":"a","To_Account":"b","MsgRandom":1,"MsgTime":1,
                "OfflinePushInfo":{{"Desc":"x"}},{field}}}"#
            );
            Message::parse_posted(json.as_bytes()).map(|posted| posted.content.len())
        };
        // Everything that is long, in every known field: nothing of it is kept.
        for name in Wire::NAMES.iter().filter(|name| !["To_Account"].contains(name)) {
            let long = format!("\"{name}\":\"{}\"", "x".repeat(200_000));
            let spaced = format!("\"{name}\":[{}]", " ".repeat(200_000));
            for field in [long, spaced] {
                let kept = wire(field).unwrap_or(0);
                assert!(kept < 100, "{name}: {kept}");
            }
        }
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
        let Posted { mut message, content, .. } = Message::parse_posted(json).expect("a message");
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
        let no_words = r#","OfflinePushInfo":{"MultiLanguageContent":[{"Language":"ko"}]}"#;
        check_error(&with(r#""b""#, "1", no_words), "90002", Some("MsgBody"));
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

    /// A message with these fields besides those it must have.
    fn with_rest(rest: &str) -> String {
        format!(r#"{{"From_Account":"a","To_Account":"b","MsgRandom":1{rest}}}"#)
    }

    #[test]
    fn an_array_is_no_object_anywhere_in_a_message() {
        let push = |part: &str| with_rest(&format!(r#","OfflinePushInfo":{{"Desc":"d",{part}}}"#));
        let cases = [
            (r#""ApnsInfo":[1,"T"]"#, "ApnsInfo"),
            (r#""ApnsInfo":{"LiveActivity":["la","end",{}]}"#, "ApnsInfo.LiveActivity"),
            (r#""AndroidInfo":[]"#, "AndroidInfo"),
            (r#""HarmonyInfo":["t"]"#, "HarmonyInfo"),
            (r#""MultiLanguageContent":[["ko","a","b"]]"#, "MultiLanguageContent[0]"),
            (r#""MultiLanguageContent":{}"#, "MultiLanguageContent"),
        ];
        for (part, field) in cases {
            check_error(&push(part), "90043", Some(&format!("OfflinePushInfo.{field}")));
        }
        let whole = with_rest(r#","OfflinePushInfo":[0,"t","d"]"#);
        check_error(&whole, "90043", Some("OfflinePushInfo"));
        let text = r#"{"MsgType":"TIMTextElem","MsgContent":{"Text":"x"}}"#;
        let element = r#","MsgBody":[["TIMTextElem",{"Text":"x"}]]"#;
        check_error(&with_rest(element), "90002", Some("MsgBody"));
        let content = r#","MsgBody":[{"MsgType":"TIMTextElem","MsgContent":["x"]}]"#;
        check_error(&with_rest(content), "90002", Some("MsgBody.MsgContent"));
        let mention = format!(r#","MsgBody":[{text}],"GroupAtInfo":[[1,"x"]]"#);
        check_error(&with_rest(&mention), "10004", Some("GroupAtInfo"));
    }

    #[test]
    fn null_is_as_good_as_absent_in_every_field() {
        let text = r#"{"MsgType":"TIMTextElem","MsgContent":{"Text":"x"}}"#;
        let plain = with_rest(&format!(r#","MsgBody":[{text}]"#));
        let null =
            |name: &str| plain.replace(r#""MsgBody""#, &format!(r#""{name}":null,"MsgBody""#));
        let expected = Message::parse(plain.as_bytes()).expect("a message");
        for name in Wire::NAMES {
            if !["From_Account", "To_Account", "MsgRandom", "MsgBody"].contains(name) {
                let message = Message::parse(null(name).as_bytes()).expect(name);
                assert_eq!(message, expected, "{name}");
            }
        }
        let mention = r#"[{"GroupAtAllFlag":null,"GroupAt_Account":"x"},{"GroupAt_Account":null}]"#;
        let mention = with_rest(&format!(r#","MsgBody":[{text}],"GroupAtInfo":{mention}"#));
        let message = Message::parse(mention.as_bytes()).expect("a message");
        assert_eq!(message.mentions, Mentions { all: false, users: vec!["x".into()] });
    }

    #[test]
    fn a_setting_that_no_vendor_knows_is_refused_by_its_field_and_not_of_what_was_taken_before() {
        let with = |setting: &str| {
            let android = format!(r#""AndroidInfo":{{{setting}}}"#);
            with_rest(&format!(r#","OfflinePushInfo":{{"Desc":"d",{android}}}"#))
        };
        for (setting, field) in [
            (r#""OPPONotifyLevel":3"#, "OPPONotifyLevel"),
            (r#""ExtAsHuaweiIntentParam":2"#, "ExtAsHuaweiIntentParam"),
            (r#""GooglePriority":"urgent""#, "GooglePriority"),
            (r#""HuaWeiImportance":"MAX""#, "HuaWeiImportance"),
        ] {
            let json = with(setting);
            let field = format!("OfflinePushInfo.AndroidInfo.{field}");
            check_error(&json, "90043", Some(&field));
            Message::parse_stored(json.as_bytes()).expect(setting);
        }
        // What client SDKs send where nobody set anything, and the spellings vendors take.
        for setting in [
            r#""OPPONotifyLevel":0,"GooglePriority":"","HuaWeiImportance":"""#,
            r#""OPPONotifyLevel":16,"GooglePriority":"HIGH","HuaWeiImportance":"low""#,
        ] {
            Message::parse(with(setting).as_bytes()).expect(setting);
        }
    }

    #[test]
    fn the_id_of_a_live_activity_has_at_most_64_bytes() {
        let with_id = |id: &str| {
            with_rest(&format!(
                r#","OfflinePushInfo":{{"Desc":"d","ApnsInfo":{{"LiveActivity":
                    {{"LaId":"{id}","Event":"end","ContentState":{{}}}}}}}}"#
            ))
        };
        let longest = "é".repeat(32);
        Message::parse(with_id(&longest).as_bytes()).expect("64 bytes");
        let field = "OfflinePushInfo.ApnsInfo.LiveActivity.LaId";
        check_error(&with_id(&format!("{longest}x")), "90043", Some(field));
    }

    #[test]
    fn spacing_does_not_change_the_content_but_text_does() {
        assert_eq!(content_digest(r#"[ {"a" : "x y"} ]"#), content_digest(r#"[{"a":"x y"}]"#));
        assert_ne!(content_digest(r#"[{"a":"x y"}]"#), content_digest(r#"[{"a":"xy"}]"#));
        assert_eq!(content_digest(r#"[ "a" ]"#), content_digest(r#"["a"]"#));
        assert_ne!(content_digest(r#"["\" "]"#), content_digest(r#"["\""]"#));
    }

    #[test]
    fn content_is_what_json_says_and_not_how() {
        let text = |text: &str| {
            [
                format!(r#"[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"{text}"}}}}]"#),
                format!(r#"[ {{"MsgType":"TIMTextElem","MsgContent":{{"Text":"{text}"}}}}]"#),
                format!(r#"[{{"MsgContent":{{"Text":"{text}"}},"MsgType":"TIMTextElem"}}]"#),
            ]
        };
        let plain = text("\u{4f60}\u{597d}/\u{1f600}");
        let escaped = text(r"\u4f60\u597d\/\ud83d\ude00");
        let said = content_digest(&plain[0]);
        for same in plain.iter().chain(&escaped) {
            assert_eq!(content_digest(same), said, "{same}");
        }
        for other in [&text("\u{4f60}")[0], r#"["\u4f60\u597d\/\ud83d\ude00"]"#] {
            assert_ne!(content_digest(other), said, "{other}");
        }
        let custom = r#"[{"MsgType":"TIMCustomElem","MsgContent":{"Data":"\u4f60","Desc":"x"}}]"#;
        let swapped = r#"[{"MsgContent":{"Desc":"x","Data":"@"},"MsgType":"TIMCustomElem"}]"#;
        let swapped = swapped.replace('@', "\u{4f60}");
        assert_eq!(content_digest(custom), content_digest(&swapped));
        let more = r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":"a","More":1}}]"#;
        assert_ne!(content_digest(more), content_digest(&text("a")[0]));
    }

    #[test]
    fn the_digest_of_a_text_is_the_one_that_is_stored_already() {
        let json = br#"{"From_Account":"a","To_Account":"b","MsgRandom":1,"MsgBody":[
            {"MsgType":"TIMTextElem", "MsgContent":{"Text":"x y"}} ]}"#;
        let posted = Message::parse_posted(json).expect("a message");
        assert_eq!(posted.digest, 0x1b3f_3b6d_9238_3c1b_e350_ba56_e0a4_465f);
    }

    #[test]
    fn what_is_kept_is_what_was_written() {
        let json = br#" {"Surprise": 1, "MsgRandom" : 5 ,"FromNick":"first","GroupId":null,
            "From_Account":"\u0061","To_Account":["b"],"FromNick":"l\u0061st",
            "MsgBody":[ {"MsgType":"TIMFaceElem"} ]}"#;
        let posted = Message::parse_posted(json).expect("a message");
        let kept = concat!(
            r#"{"From_Account":"\u0061","MsgRandom":5,"FromNick":"l\u0061st","#,
            r#""MsgBody":[ {"MsgType":"TIMFaceElem"} ]}"#
        );
        assert_eq!(str::from_utf8(&posted.content), Ok(kept));
        assert_eq!(posted.message.from_nick.as_deref(), Some("last"));
    }

    fn elements_of(body: &str) -> Result<Vec<Element>, Invalid> {
        let json =
            format!(r#"{{"From_Account":"a","To_Account":"b","MsgRandom":1,"MsgBody":{body}}}"#);
        Message::parse(json.as_bytes()).map(|message| message.elements)
    }

    #[test]
    fn content_is_read_only_of_the_kinds_that_have_any() {
        let text = r#"{"MsgType":"TIMTextElem","MsgContent":{"Text":"hi"}}"#;
        for odd in [r#"{"Text":7}"#, r#"{"Text":"a","Text":"b"}"#, "[1]", "7", "null"] {
            let body = format!(r#"[{{"MsgType":"TIMFaceElem","MsgContent":{odd}}},{text}]"#);
            let elements = elements_of(&body).expect(odd);
            assert_eq!(elements, [Element::Face, Element::Text("hi".into())]);
            let body = format!(r#"[{text},{{"MsgContent":{odd},"MsgType":"TIMTextElem"}}]"#);
            let invalid = elements_of(&body).expect_err(odd);
            assert_eq!(invalid.code, "90002");
        }
        let body = r#"[{"MsgType":"TIMTextElem","MsgContent":{"Text":7}}]"#;
        let invalid = elements_of(body).expect_err(body);
        let message = "MsgBody.MsgContent is malformed: \
            invalid type: integer, expected a string at line 1 column 9";
        assert_eq!(invalid.message, message);
    }

    #[test]
    fn octets_that_are_no_text_are_refused_where_they_are_read() {
        let with = |field: &str| {
            let mut json =
                format!(r#"{{"From_Account":"a","To_Account":"b","{field}":""#).into_bytes();
            json.push(0xFF);
            json.extend(br#"","MsgRandom":1,"MsgBody":[{"MsgType":"TIMFaceElem"}]}"#);
            Message::parse_posted(&json)
        };
        let invalid = with("FromNick").expect_err("no text");
        let message =
            "the message is not valid JSON: invalid unicode code point at line 1 column 50";
        assert_eq!((invalid.code, invalid.message.as_str()), ("90001", message));
        assert_eq!(with("Surprise").expect("nobody reads it").message.unknown_fields, 1);
    }
}
