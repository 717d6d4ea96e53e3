//! One tenant and the settings that are its own.

use serde::{Deserialize, Serialize};

use crate::model::id::AppId;
use crate::model::time::UnixMs;

/// Whether a conversation's mute counts for messages that came without `WithMuteNotifications`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HonourMute {
    /// It always counts.
    #[default]
    Always,
    /// Tencent's rule for one-to-one REST sends: only with `WithMuteNotifications`.
    Tencent,
}

/// What becomes of messages that a do-not-disturb window suppressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterWindow {
    /// Nothing, as Tencent does.
    #[default]
    Drop,
    /// One notification per conversation when the window ends.
    Digest,
}

/// What an operator sets per app. Absent fields of an upload keep their default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppSettings {
    /// The operator's name for it.
    pub name: String,
    /// UserSig secret keys, newest first; each is accepted.
    pub usersig_keys: Vec<String>,
    /// Accounts that may call the Tencent-shaped front door.
    pub admins: Vec<String>,
    /// Where push results are posted.
    pub callback_url: Option<String>,
    /// Signs those posts.
    pub callback_key: Option<String>,
    /// Checks webhooks that come in.
    pub webhook_token: Option<String>,
    /// Which mutes count.
    pub honour_mute: HonourMute,
    /// Whether a mention of everybody lifts receive options 3 and 4.
    pub mention_all_lifts_mute: bool,
    /// Suppressed by do-not-disturb: dropped or summed up.
    pub after_do_not_disturb: AfterWindow,
    /// Language of the fixed words when a device names none.
    pub default_locale: String,
    /// Replace or withdraw a notification already shown when its message is recalled.
    pub replace_recalled: bool,
}

impl Default for AppSettings {
    fn default() -> Self {
        AppSettings {
            name: String::new(),
            usersig_keys: Vec::new(),
            admins: vec!["administrator".to_owned()],
            callback_url: None,
            callback_key: None,
            webhook_token: None,
            honour_mute: HonourMute::default(),
            mention_all_lifts_mute: true,
            after_do_not_disturb: AfterWindow::default(),
            default_locale: "en".to_owned(),
            replace_recalled: false,
        }
    }
}

impl AppSettings {
    /// What signs posts; an empty key is none.
    pub fn callback_key(&self) -> Option<&str> {
        self.callback_key.as_deref().filter(|key| !key.is_empty())
    }

    /// What checks webhooks; an empty token is none.
    pub fn webhook_token(&self) -> Option<&str> {
        self.webhook_token.as_deref().filter(|token| !token.is_empty())
    }
}

/// A tenant as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// Its number.
    pub app: AppId,
    /// Its settings.
    pub settings: AppSettings,
    /// When it was created.
    pub created_at: UnixMs,
}
