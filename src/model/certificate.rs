//! What is known of an uploaded vendor credential, without its secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::id::{AppId, CertId};
use crate::model::time::UnixMs;

/// Which of a vendor's two worlds a certificate and its tokens belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Store and TestFlight builds.
    #[default]
    Production,
    /// Development builds (APNs only).
    Sandbox,
}

/// How much of a message a vendor, and so the lock screen, may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// Title and text.
    #[default]
    Full,
    /// Who wrote, not what.
    SenderOnly,
    /// Neither: a fixed sentence and the message id.
    IdOnly,
}

/// What a tap on the notification opens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClickAction {
    /// The app's own entry.
    #[default]
    OpenApp,
    /// A web page, https.
    OpenUrl {
        /// Where.
        url: String,
    },
    /// A page of the app by intent URI or deep link (`intent://…`, `scheme://…`).
    OpenIntent {
        /// The intent or link.
        intent: String,
    },
    /// A page of the app by activity class or action name.
    OpenActivity {
        /// The class or action.
        activity: String,
    },
}

/// The defaults that travel with a certificate. A message's own value beats each of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Notification channel (FCM, Huawei, Xiaomi, OPPO).
    pub channel_id: Option<String>,
    /// Message class, such as `IM` (Huawei, OPPO) or the APNs action category.
    pub category: Option<String>,
    /// What a tap opens.
    pub click_action: ClickAction,
    /// Sound file.
    pub sound: Option<String>,
    /// Launcher activity class that carries the badge (Huawei).
    pub badge_class: Option<String>,
    /// What a vendor may see of a message.
    pub privacy: Privacy,
    /// Huawei importance: `LOW`, `NORMAL` or `HIGH`.
    pub importance: Option<String>,
    /// OPPO notify level: 1, 2 or 16.
    pub notify_level: Option<u32>,
    /// Private-message template (OPPO, Xiaomi).
    pub template_id: Option<String>,
    /// APNs: its tokens are PushKit tokens, which ring as a call.
    pub voip: bool,
    /// APNs: its tokens are those of Live Activities, each registered under a device id that is the
    /// activity's `LaId`.
    pub live_activity: bool,
    /// APNs: always set `mutable-content`.
    pub mutable_content: bool,
    /// FCM: `data` sends a data message, `notification` (default) lets the system show it.
    pub mode: PushMode,
    /// Where the vendor posts delivery receipts, registered in its console.
    pub receipt_url: Option<String>,
    /// Huawei: which of several receipt configurations.
    pub receipt_id: Option<String>,
}

/// Whether the system or the app draws an FCM message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushMode {
    /// The system draws it.
    #[default]
    Notification,
    /// The app draws it.
    Data,
}

/// A certificate that ends within this time is warned about wherever it is looked at.
const ENDS_SOON: Duration = Duration::from_secs(30 * 86_400);

/// Whether a certificate may be used now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateStatus {
    /// Usable.
    #[default]
    Active,
    /// Switched off by an operator.
    Disabled,
    /// Past its end.
    Expired,
    /// The vendor refused it; waits for a person.
    Broken,
}

/// One secret of one certificate. No other has the same, not even that of a later certificate under
/// the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    created_at: UnixMs,
    revision: u32,
}

/// The public half of a certificate: everything `GET` may answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateInfo {
    /// Its app.
    pub app: AppId,
    /// Its number; never changes.
    pub cert_id: CertId,
    /// The vendor's name, lower case.
    pub vendor: String,
    /// The operator's name for it.
    pub name: String,
    /// Production or sandbox.
    pub environment: Environment,
    /// Defaults of its pushes.
    pub options: Options,
    /// Switched off when false.
    pub enabled: bool,
    /// Why the vendor refused it, in one sentence; `None` while it works.
    pub broken: Option<String>,
    /// End of validity, when the credential has one.
    pub expires_at: Option<UnixMs>,
    /// Counts rotations, from 1.
    pub revision: u32,
    /// When it was first uploaded.
    pub created_at: UnixMs,
    /// When its secret was last uploaded.
    pub updated_at: UnixMs,
    /// What was odd about the upload.
    pub warnings: Vec<String>,
    /// What the credential says of itself, secrets left out: key id, bundle id, project …
    pub identity: std::collections::BTreeMap<String, String>,
}

impl CertificateInfo {
    /// Which secret this is.
    pub fn edition(&self) -> Edition {
        Edition { created_at: self.created_at, revision: self.revision }
    }

    /// Within how many days it ends, when that is soon: at most 30, at least 1. `None` when there
    /// is time, when it has ended, or never ends.
    pub fn ends_within_days(&self, now: UnixMs) -> Option<u64> {
        let left = self.expires_at.filter(|end| *end > now)?.since(now);
        (left <= ENDS_SOON).then(|| left.as_secs().div_ceil(86_400).max(1))
    }

    /// Whether it may be used at `now`; the first reason against wins.
    pub fn status(&self, now: UnixMs) -> CertificateStatus {
        if !self.enabled {
            CertificateStatus::Disabled
        } else if self.expires_at.is_some_and(|end| end <= now) {
            CertificateStatus::Expired
        } else if self.broken.is_some() {
            CertificateStatus::Broken
        } else {
            CertificateStatus::Active
        }
    }
}
