//! The notice that takes the place of a message which was withdrawn after it had been shown.
//!
//! It goes to the devices that the vendor took the message for, and to no other. The push carries
//! what makes the device replace the earlier notification; the words come from the catalogue.

use serde_json::{Value, json};

use crate::model::id::{DeviceId, GroupId, MessageId, UserId, digest128};
use crate::model::message::Notice;
use crate::model::reason::Terminal;
use crate::model::time::UnixMs;
use crate::trace::Trace;

/// Where a message was shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Recall {
    message_id: MessageId,
    from: UserId,
    group: Option<GroupId>,
    life_time_s: u64,
    /// The devices.
    pub devices: Vec<(UserId, DeviceId)>,
}

/// Where a message was shown; `None` when no vendor took it, or nobody keeps it any more.
pub fn of(trace: &Trace, now: UnixMs) -> Option<Recall> {
    let opening = &trace.opening;
    let mut devices = Vec::new();
    for (delivery, number) in opening.deliveries.iter().zip(0u16..) {
        let later = trace.steps.iter().flat_map(|step| &step.results);
        let pushed = later
            .filter(|result| result.delivery == number)
            .any(|result| result.ended == Some(Terminal::Pushed));
        if let Some(device) = delivery.device.as_ref().filter(|_| pushed) {
            devices.push((delivery.user.clone(), device.device_id.clone()));
        }
    }
    let life_time_s = opening.facts.expires_at.since(now).as_secs();
    (!devices.is_empty() && life_time_s > 0).then(|| Recall {
        message_id: trace.message_id,
        from: opening.from.clone(),
        group: opening.group.clone(),
        life_time_s,
        devices,
    })
}

impl Recall {
    /// The notice as a message of its own, which nobody counts as unread.
    pub fn message(&self, from_nick: Option<&str>, group_name: Option<&str>) -> Value {
        let identity = digest128(&[b"recall", &self.message_id.to_bytes()]);
        let mut receivers: Vec<&str> = self.devices.iter().map(|(user, _)| user.as_str()).collect();
        receivers.dedup();
        json!({
            "From_Account": self.from.as_str(),
            "To_Account": receivers,
            "GroupId": self.group.as_ref().map(GroupId::as_str),
            "MsgRandom": identity as u32,
            "MsgSeq": (identity >> 32) as u32,
            "MsgLifeTime": self.life_time_s,
            "SendMsgControl": ["NoUnread"],
            "FromNick": from_nick,
            "GroupName": group_name,
            "Notice": Notice::Recalled(self.message_id),
        })
    }
}
