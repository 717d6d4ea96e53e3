//! What a chat server is told: push results in Tencent's words, and two events of our own.
//!
//! `Push.OfflinePush` and `Push.AllMemberPush` follow trtc.io/document/67551 and /67552. The fields
//! `EventId`, `MessageId`, `DeviceId` and `CertId` are additions of this relay. Tokens appear as
//! their short hash, message text not at all.

use std::borrow::Cow;

use serde::Serialize;

use crate::model::id::{CertId, DeviceId, GroupId, MessageId, UserId};
use crate::model::message::{Message, NAMED_TASK};
use crate::model::time::UnixMs;
use crate::trace::Opening;

/// Kinds of events; a post holds one kind only. The number is stored with the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// A push for a chat message got somewhere, or nowhere.
    OfflinePush = 1,
    /// The same for a push that belongs to a task.
    AllMemberPush = 2,
    /// A token is dead.
    DeviceRetired = 3,
    /// A vendor refused a certificate.
    CertificateBroken = 4,
}

impl Command {
    const ALL: [Command; 4] = [
        Command::OfflinePush,
        Command::AllMemberPush,
        Command::DeviceRetired,
        Command::CertificateBroken,
    ];

    /// The `CallbackCommand`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Command::OfflinePush => "Push.OfflinePush",
            Command::AllMemberPush => "Push.AllMemberPush",
            Command::DeviceRetired => "device.retired",
            Command::CertificateBroken => "certificate.broken",
        }
    }

    /// The command of a stored number.
    pub fn of(number: u8) -> Option<Command> {
        Command::ALL.into_iter().find(|command| *command as u8 == number)
    }
}

/// How far a push got: Tencent's `PushStage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The vendor was asked.
    Sent = 1,
    /// The device has it, or could not take it.
    Reached = 2,
    /// The user tapped it.
    Clicked = 3,
}

/// The message a push was made from.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    from: &'a UserId,
    group: Option<&'a GroupId>,
    seq: Option<u32>,
    random: u32,
    key: Option<&'a str>,
    time_s: u64,
    task: Option<&'a str>,
    data_id: Option<&'a str>,
}

impl<'a> About<'a> {
    /// From the message itself, accepted as `message_id`.
    pub fn message(message: &'a Message, message_id: MessageId) -> Self {
        About {
            from: &message.from,
            group: message.group.as_ref(),
            seq: message.seq,
            random: message.random,
            key: message.key.as_deref(),
            time_s: message.time_s.unwrap_or(message_id.accepted_at().secs()),
            task: message.task_id.as_deref(),
            data_id: message.data_id.as_deref(),
        }
    }

    /// From the message's trace.
    pub fn opening(opening: &'a Opening) -> Self {
        About {
            from: &opening.from,
            group: opening.group.as_ref(),
            seq: opening.seq,
            random: opening.random,
            key: opening.key.as_deref(),
            time_s: opening.time_s.unwrap_or(opening.facts.accepted_at.secs()),
            task: opening.task_id.as_deref(),
            data_id: opening.data_id.as_deref(),
        }
    }
}

/// One push got somewhere, or nowhere.
#[derive(Clone, Copy, Debug)]
pub struct PushResult<'a> {
    /// The message.
    pub about: About<'a>,
    /// Its id.
    pub message_id: MessageId,
    /// Receiver.
    pub to: &'a UserId,
    /// Device.
    pub device_id: &'a DeviceId,
    /// Certificate.
    pub cert_id: CertId,
    /// Tencent's number of the vendor.
    pub platform: u8,
    /// How far.
    pub stage: Stage,
    /// 0 is success.
    pub err_code: i64,
    /// Empty on success, else what happened and the vendor's words.
    pub err_info: &'a str,
}

/// A token was retired on a vendor's word.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRetired<'a> {
    /// Its user.
    pub user: &'a UserId,
    /// Device.
    pub device_id: &'a DeviceId,
    /// Certificate.
    pub cert_id: CertId,
    /// Tencent's number of the vendor.
    pub platform: u8,
    /// Short hash of the token.
    pub token_hash: &'a str,
    /// `push` (a vendor's answer) or `receipt`.
    pub source: &'static str,
    /// The vendor's code or words.
    pub why: &'a str,
}

/// A vendor refused a certificate.
#[derive(Clone, Copy, Debug)]
pub struct CertificateBroken<'a> {
    /// Certificate.
    pub cert_id: CertId,
    /// The operator's name for it.
    pub name: &'a str,
    /// Vendor.
    pub vendor: &'a str,
    /// Tencent's number of the vendor.
    pub platform: u8,
    /// The vendor's code and words.
    pub why: &'a str,
}

/// Anything a chat server is told.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Sent when a push ends at its vendor, and for each receipt about it.
    Push(PushResult<'a>),
    /// Sent when a token is retired, on a vendor's answer or receipt.
    DeviceRetired(DeviceRetired<'a>),
    /// Sent when a vendor refuses a certificate that worked.
    CertificateBroken(CertificateBroken<'a>),
}

impl Event<'_> {
    /// Its kind.
    pub fn command(&self) -> Command {
        match self {
            Event::Push(push) if push.about.task.is_some() => Command::AllMemberPush,
            Event::Push(_) => Command::OfflinePush,
            Event::DeviceRetired(_) => Command::DeviceRetired,
            Event::CertificateBroken(_) => Command::CertificateBroken,
        }
    }

    /// The event as it is posted; `id` tells repeats of a post apart.
    pub fn json(&self, id: MessageId, at: UnixMs) -> String {
        let empty = Wire::new(self.command(), id, at);
        let wire = match self {
            Event::Push(push) => push.wire(empty),
            Event::DeviceRetired(retired) => Wire {
                to: Some(retired.user),
                device_id: Some(retired.device_id),
                cert_id: retired.cert_id,
                push_platform: retired.platform,
                token_hash: Some(retired.token_hash),
                source: Some(retired.source),
                reason: Some(retired.why),
                ..empty
            },
            Event::CertificateBroken(broken) => Wire {
                cert_id: broken.cert_id,
                cert_name: Some(broken.name),
                vendor: Some(broken.vendor),
                push_platform: broken.platform,
                reason: Some(broken.why),
                ..empty
            },
        };
        serde_json::to_string(&wire).expect("an event is plain texts and numbers")
    }
}

impl<'a> PushResult<'a> {
    fn wire(&self, empty: Wire<'a>) -> Wire<'a> {
        let common = Wire {
            to: Some(self.to),
            device_id: Some(self.device_id),
            cert_id: self.cert_id,
            push_platform: self.platform,
            push_stage: Some(self.stage as u8),
            message_id: Some(self.message_id),
            err_code: Some(self.err_code),
            err_info: Some(self.err_info),
            ..empty
        };
        let about = &self.about;
        if let Some(task) = about.task {
            return Wire {
                event_type: Some(1),
                task_id: Some(match task {
                    NAMED_TASK => format!("{NAMED_TASK}_{}", self.message_id).into(),
                    own => own.into(),
                }),
                data_id: about.data_id,
                task_time: Some(about.time_s),
                ..common
            };
        }
        let is_group = about.group.is_some();
        Wire {
            event_type: Some(if is_group { 2 } else { 1 }),
            from: Some(about.from),
            group_id: about.group,
            msg_key: about.key.filter(|_| !is_group),
            msg_seq: about.seq,
            msg_random: (!is_group).then_some(about.random),
            msg_time: Some(about.time_s),
            push_id: Some(self.message_id),
            ..common
        }
    }
}

/// One event on the wire; absent fields are left out.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wire<'a> {
    callback_command: &'static str,
    event_id: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<u8>,
    event_time: u64,
    #[serde(rename = "From_Account", skip_serializing_if = "Option::is_none")]
    from: Option<&'a UserId>,
    #[serde(rename = "To_Account", skip_serializing_if = "Option::is_none")]
    to: Option<&'a UserId>,
    #[serde(rename = "GroupID", skip_serializing_if = "Option::is_none")]
    group_id: Option<&'a GroupId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_seq: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_random: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_time: Option<u64>,
    #[serde(rename = "PushID", skip_serializing_if = "Option::is_none")]
    push_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_time: Option<u64>,
    push_platform: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    push_stage: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    err_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    err_info: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a DeviceId>,
    cert_id: CertId,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Wire<'_> {
    fn new(command: Command, event_id: MessageId, at: UnixMs) -> Self {
        Wire {
            callback_command: command.as_str(),
            event_id,
            event_type: None,
            event_time: at.secs(),
            from: None,
            to: None,
            group_id: None,
            msg_key: None,
            msg_seq: None,
            msg_random: None,
            msg_time: None,
            push_id: None,
            task_id: None,
            data_id: None,
            task_time: None,
            push_platform: 0,
            push_stage: None,
            err_code: None,
            err_info: None,
            message_id: None,
            device_id: None,
            cert_id: CertId(0),
            cert_name: None,
            vendor: None,
            token_hash: None,
            source: None,
            reason: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn push(message: &Message) -> (Command, Value) {
        let event = Event::Push(PushResult {
            about: About::message(message, MessageId(7)),
            message_id: MessageId(7),
            to: &"joon".into(),
            device_id: &"pixel".into(),
            cert_id: CertId(3),
            platform: 4,
            stage: Stage::Sent,
            err_code: 404,
            err_info: "token_dead: UNREGISTERED",
        });
        let json = event.json(MessageId(9), UnixMs(5_500));
        (event.command(), serde_json::from_str(&json).expect("JSON"))
    }

    fn message(more: &Value) -> Message {
        let mut message = json!({ "From_Account": "mina", "To_Account": "joon", "MsgRandom": 8,
            "MsgSeq": 2, "MsgKey": "2_8_4", "MsgTime": 4, "OfflinePushInfo": { "Desc": "hi" } });
        for (name, value) in more.as_object().expect("an object") {
            message[name] = value.clone();
        }
        Message::parse(message.to_string().as_bytes()).expect("a message")
    }

    #[test]
    fn a_push_for_a_one_to_one_message_has_tencents_fields() {
        let (command, event) = push(&message(&json!({})));
        assert_eq!(command, Command::OfflinePush);
        let expected = json!({ "CallbackCommand": "Push.OfflinePush", "EventType": 1,
            "EventTime": 5, "EventId": MessageId(9), "From_Account": "mina", "To_Account": "joon",
            "MsgKey": "2_8_4", "MsgSeq": 2, "MsgRandom": 8, "MsgTime": 4,
            "PushID": MessageId(7), "MessageId": MessageId(7), "PushPlatform": 4, "PushStage": 1,
            "ErrCode": 404, "ErrInfo": "token_dead: UNREGISTERED", "DeviceId": "pixel",
            "CertId": 3 });
        assert_eq!(event, expected);
    }

    #[test]
    fn groups_and_tasks_have_their_own_fields() {
        let (_, event) = push(&message(&json!({ "GroupId": "g1" })));
        assert_eq!((&event["EventType"], &event["GroupID"]), (&json!(2), &json!("g1")));
        assert_eq!((event.get("MsgKey"), event.get("MsgRandom")), (None, None));
        let (command, event) = push(&message(&json!({ "TaskId": "t1" })));
        assert_eq!(command, Command::AllMemberPush);
        assert_eq!((&event["TaskId"], &event["TaskTime"]), (&json!("t1"), &json!(4)));
        assert_eq!((event.get("From_Account"), event.get("MsgSeq")), (None, None));
        assert_eq!(event.get("DataId"), None);
        let (_, event) = push(&message(&json!({ "TaskId": "t1", "DataId": "order-5" })));
        assert_eq!(event["DataId"], "order-5");
        // Tencent's results of a plain message have none.
        let (_, event) = push(&message(&json!({ "DataId": "order-5" })));
        assert_eq!(event.get("DataId"), None);
        let (_, event) = push(&message(&json!({ "TaskId": NAMED_TASK })));
        assert_eq!(event["TaskId"], json!(format!("batch_{}", MessageId(7))));
    }

    #[test]
    fn stored_numbers_lead_back_to_their_commands() {
        for command in Command::ALL {
            assert_eq!(Command::of(command as u8), Some(command));
        }
        assert_eq!(Command::of(0), None);
    }
}
