//! One registration: the app on one device of one user.

use serde::{Deserialize, Serialize};

use crate::model::id::{CertId, DeviceId, Token};
use crate::model::time::UnixMs;

/// Which operating system a device runs, as its client reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// iPhone.
    Ios,
    /// iPad.
    Ipados,
    /// Mac.
    Macos,
    /// Android of any brand.
    Android,
    /// HarmonyOS NEXT.
    Harmony,
    /// Anything else.
    Other,
}

/// Where the app is on that device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// On screen: the client shows messages itself.
    Foreground,
    /// Running, not on screen.
    Background,
    /// Not running, or the link is lost; still rings.
    Offline,
    /// The user logged out here; does not ring.
    LoggedOut,
    /// Another login removed this one; does not ring.
    Kicked,
}

impl Presence {
    /// Whether nobody is signed in there: it stays so, whatever is reported, until the device is
    /// registered again.
    pub fn is_signed_out(self) -> bool {
        matches!(self, Presence::LoggedOut | Presence::Kicked)
    }
}

/// Why a registered token may not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// Usable.
    Live,
    /// The vendor said it is dead.
    Dead {
        /// When that was committed.
        at: UnixMs,
    },
    /// Another user registered it since.
    Moved {
        /// When.
        at: UnixMs,
    },
}

/// One device of one user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// The client's name for it.
    pub device_id: DeviceId,
    /// Which credential its token belongs to.
    pub cert_id: CertId,
    /// The vendor's token, normalised.
    pub token: Token,
    /// Operating system.
    pub platform: Platform,
    /// Maker, as the client reports it.
    pub brand: Option<String>,
    /// BCP 47 language tag, such as `ko-KR`.
    pub locale: Option<String>,
    /// IANA zone or fixed offset.
    pub time_zone: Option<String>,
    /// The app's version.
    pub app_version: Option<String>,
    /// Sound file this device prefers.
    pub sound: Option<String>,
    /// Where the app is.
    pub presence: Presence,
    /// When `presence` was reported.
    pub presence_at: UnixMs,
    /// The badge number as far as the relay knows it.
    pub unread: u32,
    /// Whether the token may be used.
    pub token_state: TokenState,
    /// When this token was registered here.
    pub registered_at: UnixMs,
    /// When the device last gave a sign of life: registration or state report.
    pub seen_at: UnixMs,
    /// Recent changes of its token, newest last, at most eight: tells flapping.
    pub token_changes: Vec<UnixMs>,
    /// Whether it ever reported the background state: without, its foreground reports are suspect.
    pub was_background: bool,
    /// When it last reported the foreground: messages from before then need no summing up.
    #[serde(default)]
    pub foreground_at: Option<UnixMs>,
}

impl Device {
    /// Notes where the app is. Where nobody is signed in it may only become logged out instead of
    /// kicked, or the other way: a report that comes late, or from an app that goes on running,
    /// must not make it ring for somebody who is gone. Answers whether the report counted.
    pub fn note_presence(&mut self, presence: Presence, now: UnixMs) -> bool {
        if self.presence.is_signed_out() && !presence.is_signed_out() {
            return false;
        }
        self.presence = presence;
        self.presence_at = now;
        if !presence.is_signed_out() {
            self.seen_at = now;
        }
        true
    }
}
