//! What the rules see. Facts are small and plain: a trace keeps them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::app::HonourMute;
use crate::model::certificate::CertificateStatus;
use crate::model::device::{Presence, TokenState};
use crate::model::id::MessageId;
use crate::model::time::UnixMs;

/// When the rules are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The message comes in.
    Accept,
    /// The message is about to be sent.
    Send,
}

/// Settings the rules obey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSettings {
    /// Which mutes count.
    pub honour_mute: HonourMute,
    /// Whether a mention of everybody lifts receive options 3 and 4.
    pub mention_all_lifts_mute: bool,
    /// A device without a sign of life for this long does not ring (Tencent: 7 days).
    pub stale_login: Duration,
    /// A foreground that was never closed counts no longer than this.
    pub foreground_expires: Duration,
}

/// What the rules see of a message: the same for all receivers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFacts {
    /// When it was accepted.
    pub accepted_at: UnixMs,
    /// When it stops being worth anything.
    pub expires_at: UnixMs,
    /// Said in a group.
    pub in_group: bool,
    /// The producer says the send failed.
    pub send_failed: bool,
    /// `PushFlag` 1.
    pub no_push: bool,
    /// `OnlineOnlyFlag` or an explicit `MsgLifeTime` of 0.
    pub online_only: bool,
    /// Nothing to show: one custom element without a `Desc`.
    pub empty_custom: bool,
    /// `WithMuteNotifications` was given.
    pub with_mute: bool,
    /// Mentions everybody.
    pub mention_all: bool,
}

/// An open do-not-disturb window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowFacts {
    /// The zone it is read in.
    pub zone: String,
    /// When no window is open any more; `None` for a permanent one.
    pub closes_at: Option<UnixMs>,
}

/// What the rules see of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverFacts {
    /// This receiver already got the message, under that id.
    pub duplicate_of: Option<MessageId>,
    /// Wrote it.
    pub is_sender: bool,
    /// The push switch.
    pub push_enabled: bool,
    /// Tencent's receive option of the conversation, 0..=4.
    pub receive_option: u8,
    /// Mentioned by name.
    pub mentioned: bool,
    /// The open window, if one is.
    pub window: Option<WindowFacts>,
    /// The conversation was read elsewhere after the message was accepted.
    pub read_at: Option<UnixMs>,
    /// The message was withdrawn.
    pub withdrawn: bool,
}

/// What the rules see of a device's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CertificateFacts {
    /// There is none of that number.
    Missing,
    /// It exists.
    Known {
        /// Whether it may be used.
        status: CertificateStatus,
        /// It belongs to a vendor that does not serve the device's platform.
        mismatch: bool,
    },
    /// Its vendor shows every push, and of this message there is nothing to show.
    NothingToShow,
}

/// What the rules see of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// Where the app is.
    pub presence: Presence,
    /// Since when.
    pub presence_at: UnixMs,
    /// The device ever reported that it went to background.
    pub was_background: bool,
    /// Last sign of life.
    pub seen_at: UnixMs,
    /// Whether its token may be used.
    pub token_state: TokenState,
    /// The token's owner row names another device.
    pub token_elsewhere: bool,
    /// Its certificate.
    pub certificate: CertificateFacts,
}

/// Everything a decision about one delivery rests on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Now.
    pub now: UnixMs,
    /// Accepting or sending.
    pub phase: Phase,
    /// The message.
    pub message: &'a MessageFacts,
    /// The receiver.
    pub receiver: &'a ReceiverFacts,
    /// The device; `None` for a receiver who has none.
    pub device: Option<&'a DeviceFacts>,
    /// Settings in force.
    pub settings: &'a RuleSettings,
}
