//! Why a delivery ended as it did, and the states it can end in.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// The stable code of why a delivery did not simply ring (design, section 6).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the rules.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)*];

            /// The code that programs match on.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$variant => $code,)*
                }
            }
        }
    };
}

reasons! {
    /// The same message was taken before.
    Duplicate = "duplicate",
    /// The producer says the send itself failed.
    SendFailed = "send_failed",
    /// `PushFlag` is 1.
    NoPushFlag = "no_push_flag",
    /// For online receivers only.
    OnlineOnly = "online_only",
    /// Only a custom element, and no `Desc` anywhere.
    EmptyCustomDesc = "empty_custom_desc",
    /// The receiver is the sender.
    SelfSent = "self",
    /// The receiver switched push off.
    PushDisabled = "push_disabled",
    /// Receive option 1, or 4 without a mention.
    ConversationBlocked = "conversation_blocked",
    /// Receive option 2, or 3 without a mention.
    ConversationMuted = "conversation_muted",
    /// A do-not-disturb window is open.
    DoNotDisturb = "do_not_disturb",
    /// The receiver has no device.
    NoDevice = "no_device",
    /// The app is on screen there.
    Foreground = "foreground",
    /// Logged out there.
    LoggedOut = "logged_out",
    /// No sign of life for seven days.
    StaleLogin = "stale_login",
    /// Its certificate does not exist.
    CertNotFound = "cert_not_found",
    /// Its certificate is switched off.
    CertDisabled = "cert_disabled",
    /// Its certificate has ended.
    CertExpired = "cert_expired",
    /// The vendor refuses its certificate.
    CertBroken = "cert_broken",
    /// Its certificate is of another vendor or environment.
    CertMismatch = "cert_mismatch",
    /// The vendor retired its token.
    TokenDead = "token_dead",
    /// Another user registered its token.
    TokenMoved = "token_moved",
    /// Its life time ended first.
    Expired = "expired",
    /// Read or withdrawn first.
    Cancelled = "cancelled",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a delivery ended. Every accepted delivery reaches exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Terminal {
    /// The vendor took it.
    Pushed,
    /// A rule said no.
    Suppressed(Reason),
    /// The vendor said the token is dead.
    TokenDead,
    /// The vendor refused this very push.
    Refused,
    /// Its life time ended.
    Expired,
    /// Read or withdrawn before it was sent.
    Cancelled,
    /// Retries were used up.
    DeadLetter,
    /// Sent, never answered, and not safe to repeat.
    Unknown,
}

impl Terminal {
    /// Those without a reason of their own.
    pub const PLAIN: [Terminal; 7] = [
        Terminal::Pushed,
        Terminal::TokenDead,
        Terminal::Refused,
        Terminal::Expired,
        Terminal::Cancelled,
        Terminal::DeadLetter,
        Terminal::Unknown,
    ];

    /// The terminal that a rule's refusal leads to.
    pub const fn of(reason: Reason) -> Terminal {
        match reason {
            Reason::Expired => Terminal::Expired,
            Reason::Cancelled => Terminal::Cancelled,
            other => Terminal::Suppressed(other),
        }
    }

    /// The name in the ledger and in `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Terminal::Pushed => "pushed",
            Terminal::Suppressed(_) => "suppressed",
            Terminal::TokenDead => "token_dead",
            Terminal::Refused => "refused",
            Terminal::Expired => "expired",
            Terminal::Cancelled => "cancelled",
            Terminal::DeadLetter => "dead_letter",
            Terminal::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_snake_case_code() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        for code in &codes {
            assert!(code.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{code}");
        }
        let before = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), before);
    }
}
