//! What do-not-disturb kept silent, waiting to be summed up when the window ends.
//!
//! Each suppressed message leaves one **note** per receiver, written in the commit that suppressed
//! it. Notes are filed by when the window ends, then by receiver and conversation, so that what is
//! due is one range and what belongs together stands together. Nothing is kept of what a message
//! says: only who spoke, where, and until when it is worth mentioning.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::app::{AfterWindow, App};
use crate::model::id::{AppId, Conversation, GroupId, MessageId, UserId, digest128};
use crate::model::message::{Message, Notice, WITH_MUTE};
use crate::model::push_info::BADGE_MAX;
use crate::model::time::UnixMs;
use crate::policy::ReceiverFacts;
use crate::store::keys::{Class, KeyBuilder, KeyReader};
use crate::store::{Batch, Key, Row, StoreError};

/// One message for one receiver, to be summed up.
pub struct Sum<'a> {
    /// App.
    pub app: AppId,
    /// Receiver.
    pub user: &'a UserId,
    /// The message.
    pub message: &'a Message,
    /// Its id.
    pub message_id: MessageId,
    /// When it stops being worth anything.
    pub expires_at: UnixMs,
}

/// What is remembered of one suppressed message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Sender.
    pub from: UserId,
    /// The sender's name.
    pub from_nick: Option<String>,
    /// Group, if said in one.
    pub group: Option<GroupId>,
    /// The group's name.
    pub group_name: Option<String>,
    /// Whether it mentioned the receiver: such a message lifts a mute, and so does its digest.
    pub mentioned: bool,
    /// Whether it came with `WithMuteNotifications`.
    pub with_mute: bool,
    /// When it stops being worth mentioning.
    pub expires_at: UnixMs,
    /// Messages it stands for: more than one when it was a digest itself.
    pub messages: u32,
}

/// What is summed up in one notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// When the window ends.
    pub due: UnixMs,
    /// App.
    pub app: AppId,
    /// Receiver.
    pub user: UserId,
    /// Conversation, as the receiver names it.
    pub conversation: Conversation,
}

/// A note as it was read.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Where it belongs.
    pub group: Group,
    /// The suppressed message.
    pub message_id: MessageId,
    /// The note.
    pub note: Note,
    /// Its row.
    pub row: Row,
}

/// Whether suppressed messages like this one are summed up in this app.
pub fn wanted(app: &App, message: &Message) -> bool {
    app.settings.after_do_not_disturb == AfterWindow::Digest
        && !matches!(message.notice, Some(Notice::Recalled(_)))
}

/// Adds the note of a message that the open window of `receiver` suppressed. None is left when the
/// window never ends, or only after the message is worth nothing any more.
pub fn add(sum: &Sum<'_>, receiver: &ReceiverFacts, batch: &mut Batch) {
    let message = sum.message;
    let due = receiver.window.as_ref().and_then(|window| window.closes_at);
    let Some(due) = due.filter(|due| *due < sum.expires_at) else { return };
    let group =
        Group { due, app: sum.app, user: sum.user.clone(), conversation: message.conversation() };
    let note = Note {
        from: message.from.clone(),
        from_nick: message.from_nick.clone(),
        group: message.group.clone(),
        group_name: message.group_name.clone(),
        mentioned: receiver.mentioned || message.mentions.all,
        with_mute: message.with_mute,
        expires_at: sum.expires_at,
        messages: match message.notice {
            Some(Notice::Summed(messages)) => messages,
            Some(Notice::Recalled(_)) | None => 1,
        },
    };
    let row = postcard::to_allocvec(&note).expect("a note is plain data");
    let key = key_of(&group, sum.message_id);
    // A second device of the same user writes the same note.
    if !batch.put.iter().any(|(known, _)| *known == key) {
        batch.put.push((key, Bytes::from(row)));
    }
}

fn key_of(group: &Group, message_id: MessageId) -> Key {
    KeyBuilder::new(Class::Digest)
        .u64(group.due.0)
        .u64(group.app.0)
        .text(group.user.as_str())
        .text(&group.conversation.to_string())
        .u128(message_id.0)
        .finish()
}

/// Every note whose window has ended at `now`.
pub fn due(now: UnixMs) -> Range<Key> {
    let first = |at: u64| KeyBuilder::new(Class::Digest).u64(at).finish();
    first(0)..first(now.0.saturating_add(1))
}

/// Reads a row.
///
/// # Errors
/// `Corrupt` when it cannot be read.
pub fn read(row: Row) -> Result<Waiting, StoreError> {
    let damaged = || StoreError::Corrupt { key: row.0.clone() };
    let mut reader = KeyReader::new(Class::Digest, &row.0).ok_or_else(damaged)?;
    let due = reader.u64().map(UnixMs).ok_or_else(damaged)?;
    let app = reader.u64().map(AppId).ok_or_else(damaged)?;
    let user = reader.text().ok_or_else(damaged)?.into();
    let conversation = reader.text().and_then(|text| text.parse().ok()).ok_or_else(damaged)?;
    let message_id = reader.u128().map(MessageId).ok_or_else(damaged)?;
    let note = postcard::from_bytes(&row.1).map_err(|_| damaged())?;
    Ok(Waiting { group: Group { due, app, user, conversation }, message_id, note, row })
}

impl Waiting {
    /// Takes the note away.
    pub fn remove(&self, batch: &mut Batch) {
        batch.delete.push(self.row.0.clone());
    }

    /// Lets the note wait for the end of a later window.
    pub fn move_to(&self, due: UnixMs, batch: &mut Batch) {
        let group = Group { due, ..self.group.clone() };
        self.remove(batch);
        batch.put.push((key_of(&group, self.message_id), self.row.1.clone()));
    }
}

impl Group {
    /// The message that sums these notes up, oldest first; `None` when there are none. The same
    /// notes make the same message, so that a digest told twice is a repeat.
    pub fn message(&self, notes: &[&Note], now: UnixMs) -> Option<Value> {
        let last = notes.last()?;
        let messages = notes.iter().fold(0u32, |sum, note| sum.saturating_add(note.messages));
        let expires_at = notes.iter().map(|note| note.expires_at).max()?;
        let identity = digest128(&[
            b"digest",
            &self.app.0.to_be_bytes(),
            self.user.as_str().as_bytes(),
            self.conversation.to_string().as_bytes(),
            &self.due.0.to_be_bytes(),
        ]);
        let mut message = json!({
            "From_Account": last.from.as_str(),
            "To_Account": [self.user.as_str()],
            "MsgRandom": identity as u32,
            "MsgSeq": (identity >> 32) as u32,
            "MsgKey": format!("digest_{}", self.due.secs()),
            "MsgLifeTime": expires_at.since(now).as_secs().max(1),
            "Notice": Notice::Summed(messages),
            "OfflinePushInfo": { "BadgeAddNum": messages.clamp(1, BADGE_MAX) },
        });
        let names = [("FromNick", &last.from_nick), ("GroupName", &last.group_name)];
        for (field, name) in names {
            if let Some(name) = name {
                message[field] = name.as_str().into();
            }
        }
        if let Some(group) = &last.group {
            message["GroupId"] = group.as_str().into();
        }
        if notes.iter().any(|note| note.mentioned) {
            let mention = json!({ "GroupAtAllFlag": 0, "GroupAt_Account": self.user.as_str() });
            message["GroupAtInfo"] = json!([mention]);
        }
        if last.with_mute {
            message["SendMsgControl"] = json!([WITH_MUTE]);
        }
        Some(message)
    }
}
