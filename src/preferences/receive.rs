//! Receive options: what a user wants of one conversation.
//!
//! The numbers are Tencent's (trtc.io/document/48185): the client SDK's message receive options.
//! For push only, options 1 and 2 are alike, and so are 3 and 4; the reason differs, since 1 and 4
//! also withhold the message itself and `explain` should say so.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::reason::Reason;

/// What one conversation may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReceiveOption {
    /// 0: messages and pushes.
    #[default]
    Receive,
    /// 1: neither.
    Block,
    /// 2: messages, no push.
    Mute,
    /// 3: messages; pushes only of messages that mention the user.
    MuteExceptMentions,
    /// 4: only messages that mention the user, and their pushes.
    BlockExceptMentions,
}

impl ReceiveOption {
    /// Tencent's number, 0 to 4.
    pub const fn number(self) -> u8 {
        match self {
            ReceiveOption::Receive => 0,
            ReceiveOption::Block => 1,
            ReceiveOption::Mute => 2,
            ReceiveOption::MuteExceptMentions => 3,
            ReceiveOption::BlockExceptMentions => 4,
        }
    }

    /// The option of that number.
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(ReceiveOption::Receive),
            1 => Some(ReceiveOption::Block),
            2 => Some(ReceiveOption::Mute),
            3 => Some(ReceiveOption::MuteExceptMentions),
            4 => Some(ReceiveOption::BlockExceptMentions),
            _ => None,
        }
    }
}

/// Whether a message of a conversation with this option may ring.
///
/// `mentioned`: it mentions this user by name; `mention_all`: it mentions everybody, which counts
/// as a mention only where `all_lifts` (a setting of the app, since Tencent does not say).
///
/// # Errors
/// The reason why not.
pub fn lets_through(
    option: ReceiveOption,
    mentioned: bool,
    mention_all: bool,
    all_lifts: bool,
) -> Result<(), Reason> {
    let lifted = mentioned || (mention_all && all_lifts);
    match option {
        ReceiveOption::Receive => Ok(()),
        ReceiveOption::Block => Err(Reason::ConversationBlocked),
        ReceiveOption::Mute => Err(Reason::ConversationMuted),
        ReceiveOption::MuteExceptMentions | ReceiveOption::BlockExceptMentions if lifted => Ok(()),
        ReceiveOption::MuteExceptMentions => Err(Reason::ConversationMuted),
        ReceiveOption::BlockExceptMentions => Err(Reason::ConversationBlocked),
    }
}

impl Serialize for ReceiveOption {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl<'de> Deserialize<'de> for ReceiveOption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ReceiveOption::of_number(u8::deserialize(deserializer)?)
            .ok_or_else(|| de::Error::custom("a receive option is a number from 0 to 4"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_lets_through_what_tencent_says() {
        let blocked = Err(Reason::ConversationBlocked);
        let muted = Err(Reason::ConversationMuted);
        // Nobody mentioned, this user mentioned, everybody mentioned and counted, not counted.
        let table = [
            (ReceiveOption::Receive, [Ok(()); 4]),
            (ReceiveOption::Block, [blocked; 4]),
            (ReceiveOption::Mute, [muted; 4]),
            (ReceiveOption::MuteExceptMentions, [muted, Ok(()), Ok(()), muted]),
            (ReceiveOption::BlockExceptMentions, [blocked, Ok(()), Ok(()), blocked]),
        ];
        for (option, expected) in table {
            let seen = [
                lets_through(option, false, false, true),
                lets_through(option, true, false, false),
                lets_through(option, false, true, true),
                lets_through(option, false, true, false),
            ];
            assert_eq!(seen, expected, "{option:?}");
        }
    }

    #[test]
    fn an_option_is_its_number() {
        for number in 0..=4 {
            let option: ReceiveOption =
                serde_json::from_str(&number.to_string()).expect("a known number");
            assert_eq!(option.number(), number);
            assert_eq!(serde_json::to_string(&option).expect("to json"), number.to_string());
        }
        for json in ["5", "-1", "\"2\"", "null"] {
            assert!(serde_json::from_str::<ReceiveOption>(json).is_err(), "{json}");
        }
    }
}
