//! The vendors, each one file, none doing I/O.
//!
//! A vendor turns an upload into a credential, a parcel into requests, and a reply into one
//! [`Answer`] per delivery. Pools, timeouts, pacing, retries, access tokens, logs and metrics are
//! written once, above.
//!
//! To add one: write its file with a `pub struct Name;` that implements [`Vendor`], and add its
//! `mod` line and its entry in [`ALL`].

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::model::certificate::{Environment, Options};
use crate::model::id::Token;
use crate::model::message::Priority;
use crate::model::push_info::{OfflinePushInfo, filled};
use crate::model::time::UnixMs;
use crate::transport::{Reply, Request};
use crate::vendor::clocks::Blame;
use crate::vendor::profile::{Endpoints, Profile};
use crate::vendor::receipt::{Collected, Proof, ReceiptError, ReceiptPost};
use crate::vendor::upload::{Credential, CredentialError, TokenError, Upload};

pub mod apns;
pub mod clocks;
pub mod fcm;
pub mod huawei;
pub mod oppo;
pub mod profile;
pub mod receipt;
pub mod reply;
pub mod request;
pub mod sign;
pub mod upload;
pub mod xiaomi;

/// Every vendor, in the order they are listed to people.
pub const ALL: &[&dyn Vendor] =
    &[&apns::Apns, &fcm::Fcm, &huawei::Huawei, &xiaomi::Xiaomi, &oppo::Oppo];

/// The vendor of that name.
pub fn named(name: &str) -> Option<&'static dyn Vendor> {
    ALL.iter().copied().find(|vendor| vendor.profile().name == name)
}

/// A certificate ready to be sent with.
#[derive(Clone)]
pub struct SendingCertificate {
    /// Its number.
    pub cert_id: u32,
    /// Production or sandbox.
    pub environment: Environment,
    /// Defaults of its pushes.
    pub options: Arc<Options>,
    /// The vendor's own material.
    pub material: Arc<dyn Any + Send + Sync>,
    /// Endpoints in force.
    pub endpoints: Arc<Endpoints>,
}

/// An access token, shared by every request of its certificate until it is renewed.
#[derive(Clone)]
pub struct AccessToken {
    /// What goes on the wire.
    pub value: Arc<SecretString>,
    /// When the vendor made it or we signed it.
    pub issued_at: UnixMs,
    /// When to renew it: early enough that no request meets its end.
    pub renew_at: UnixMs,
    /// When it stops working.
    pub expires_at: UnixMs,
    /// `Authorization` with this token, made by the first request that needs it.
    pub header: Arc<OnceLock<Option<HeaderValue>>>,
}

/// How a certificate gets the right to send.
pub enum SignIn {
    /// The secret travels in each request, or the TLS client certificate is the proof.
    None,
    /// Signed here, valid at once.
    Minted(AccessToken),
    /// Ask the vendor with this request, then read its reply with [`Vendor::read_sign_in`].
    Exchange(Box<Request>),
}

/// What kind of push it is. Only a vendor whose [`Vendor::own`] names another than an alert is
/// given one; the others need not look at it and show every push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Something to see.
    #[default]
    Alert,
    /// Wakes the app, shows nothing (`ContentAvailable` 1).
    Silent,
    /// Rings as a call (`IsVoipPush` 1).
    Voip,
    /// Updates a Live Activity.
    LiveActivity,
}

/// What a message asks of one vendor alone, as [`Vendor::own`] reads it from the message's
/// settings. An empty value counts as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own<'a> {
    /// What kind of push it asks for.
    pub kind: Kind,
    /// Title in place of the common one.
    pub title: Option<&'a str>,
    /// Line under the title.
    pub subtitle: Option<&'a str>,
    /// Picture URL.
    pub image: Option<&'a str>,
    /// Sound file.
    pub sound: Option<&'a str>,
    /// Whether a custom element's `Sound` is written for this vendor.
    pub takes_custom_sound: bool,
    /// Whether the message leaves this vendor's badge alone (`BadgeMode` 1).
    pub keeps_badge: bool,
}

/// A change of the number on the app's icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Badge {
    /// Exactly this number.
    Set(u32),
    /// This many more; only vendors that can add.
    Add(u32),
}

/// A push as rendered: texts are final (limits and privacy applied), fields are the message's.
///
/// Where both the message (`info`) and the certificate (`options`) have a value, the vendor takes
/// the message's when it is filled, else the certificate's, else its own default.
#[derive(Clone, Debug)]
pub struct Notification {
    /// What kind of push.
    pub kind: Kind,
    /// Title; may be empty.
    pub title: String,
    /// Text; may be empty only for silent pushes and Live Activities.
    pub body: String,
    /// Line under the title (APNs); already subject to privacy.
    pub subtitle: Option<String>,
    /// Pass-through text for the app.
    pub ext: Option<String>,
    /// Picture URL of this vendor.
    pub image: Option<String>,
    /// Sound: message over user over device over certificate; `None` is the vendor's default.
    pub sound: Option<String>,
    /// Our message id, for the app and for receipts.
    pub message_id: String,
    /// `c2c:<sender>` or `group:<id>`: groups notifications of one conversation on the device.
    pub conversation: String,
    /// The number under which a device shows this push, 1 to 2^31 - 1: that of the message
    /// it is [shown as](Notification::shown_as), so that a repeat has the same. A push with the
    /// same number replaces the one shown. `render` decides it.
    pub notify_id: u32,
    /// The message whose notification this push takes the place of.
    pub replaces: Option<String>,
    /// When the push stops being worth anything.
    pub expires_at: UnixMs,
    /// Urgency.
    pub priority: Priority,
    /// The message's settings for vendors. Texts in it are NOT for sending: privacy may hide them.
    pub info: Arc<OfflinePushInfo>,
}

impl Notification {
    /// The message under whose name a device shows this push.
    pub fn shown_as(&self) -> &str {
        self.replaces.as_deref().unwrap_or(&self.message_id)
    }
}

/// Who a push goes to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The device's token.
    pub token: Token,
    /// The vendor's id of this delivery: the same on every attempt.
    pub push_id: Uuid,
    /// Badge of this device.
    pub badge: Option<Badge>,
}

/// Everything an adapter needs to build requests.
pub struct Call<'a> {
    /// The certificate.
    pub certificate: &'a SendingCertificate,
    /// The access token, for vendors whose sign-in gave one.
    pub access: Option<&'a AccessToken>,
    /// What to show.
    pub notification: &'a Notification,
    /// To whom; at most the profile's `parcel_deliveries_max`.
    pub targets: &'a [Target],
    /// Now, for times to live.
    pub now: UnixMs,
}

/// One request and which of the call's targets it carries.
pub struct Push {
    /// The request.
    pub request: Request,
    /// Indices into [`Call::targets`].
    pub targets: Range<usize>,
}

/// How far a throttle reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleScope {
    /// Only this device.
    Device,
    /// Everything sent with this certificate.
    Certificate,
}

/// What a vendor's answer means. The one place that acts on it is `outcome.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken for delivery; no proof of display.
    Accepted,
    /// The token is dead for this app.
    TokenDead {
        /// When the vendor learned it (APNs 410), to spare a token registered since.
        since: Option<UnixMs>,
        /// A wrong credential or environment gives the same answer for every token: many of these
        /// in a row are not believed.
        suspect: bool,
    },
    /// This push can never succeed as built; the token is fine.
    Refused,
    /// Slow down.
    Throttled {
        /// The vendor's wish.
        retry_after: Option<Duration>,
        /// How far it reaches.
        scope: ThrottleScope,
    },
    /// Not now.
    Unavailable {
        /// The vendor's wish.
        retry_after: Option<Duration>,
    },
    /// The right to send was refused.
    AuthRejected {
        /// A new access token may help; without it the certificate is broken at once.
        renew: bool,
    },
    /// Sent, and nobody knows.
    Unknown,
}

impl Verdict {
    /// One of each, with nothing said besides.
    pub const ALL: [Verdict; 7] = [
        Verdict::Accepted,
        Verdict::TokenDead { since: None, suspect: false },
        Verdict::Refused,
        Verdict::Throttled { retry_after: None, scope: ThrottleScope::Certificate },
        Verdict::Unavailable { retry_after: None },
        Verdict::AuthRejected { renew: false },
        Verdict::Unknown,
    ];

    /// The name in traces and metrics: a closed set.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::TokenDead { .. } => "token_dead",
            Verdict::Refused => "refused",
            Verdict::Throttled { .. } => "throttled",
            Verdict::Unavailable { .. } => "unavailable",
            Verdict::AuthRejected { .. } => "auth_rejected",
            Verdict::Unknown => "unknown",
        }
    }
}

/// One delivery's part of a vendor's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it means.
    pub verdict: Verdict,
    /// The vendor's own code or reason, such as `BadDeviceToken` or `80300007`; may be empty.
    pub code: String,
    /// The vendor's own words, cut at [`SAYS_BYTES_MAX`]; never holds a token.
    pub says: String,
    /// The vendor's id of the accepted push, for receipts.
    pub vendor_id: Option<String>,
}

/// Longest text kept of a vendor's words.
pub const SAYS_BYTES_MAX: usize = 512;

impl Answer {
    /// An answer with no id.
    pub fn new(verdict: Verdict, code: impl Into<String>, says: &str) -> Self {
        let mut end = says.len().min(SAYS_BYTES_MAX);
        while !says.is_char_boundary(end) {
            end -= 1;
        }
        Answer { verdict, code: code.into(), says: says[..end].to_owned(), vendor_id: None }
    }

    /// Code and words in one line; the words alone where they are the code.
    pub fn words(&self) -> String {
        match self.code == self.says {
            true => self.says.clone(),
            false => [self.code.as_str(), self.says.as_str()].join(" ").trim().to_owned(),
        }
    }
}

/// Checks the options of an upload by what is fixed about the vendor, and by its own rules.
///
/// # Errors
/// As [`Vendor::check_options`].
pub fn check_options(
    vendor: &dyn Vendor,
    certificate: &SendingCertificate,
) -> Result<(), CredentialError> {
    let options = &certificate.options;
    if !vendor.profile().token_kinds {
        let asked = [("voip", options.voip), ("live_activity", options.live_activity)];
        if let Some((field, _)) = asked.into_iter().find(|(_, is_set)| *is_set) {
            return Err(upload::bad_option(field, "this vendor has no tokens of that kind"));
        }
    }
    vendor.check_options(certificate)
}

/// One push vendor. Pure: no clock, no network, no store.
pub trait Vendor: Send + Sync + 'static {
    /// What is fixed about it.
    fn profile(&self) -> &'static Profile;

    /// Reads and checks an upload: form, key type, matching key, expiry, endpoints.
    ///
    /// # Errors
    /// The first mistake, with its field.
    fn read_credential(&self, upload: &Upload<'_>) -> Result<Credential, CredentialError>;

    /// Turns an uploaded file and its form fields into the JSON `credential` object that
    /// [`Vendor::read_credential`] takes.
    ///
    /// # Errors
    /// When this vendor's credentials are not files, or a field is missing.
    fn credential_from_file(
        &self,
        file_name: &str,
        file: &[u8],
        fields: &BTreeMap<String, String>,
    ) -> Result<Value, CredentialError>;

    /// What the message asks of this vendor alone: its own title, picture, sound, kind of push.
    ///
    /// The default is that of an Android vendor with neither title nor picture of its own.
    fn own<'a>(&self, info: &'a OfflinePushInfo) -> Own<'a> {
        Own { sound: filled(&info.android_info.sound), ..Own::default() }
    }

    /// Checks a token's shape and normalises it.
    ///
    /// # Errors
    /// One sentence for the app's developer.
    fn check_token(&self, token: &str) -> Result<Token, TokenError>;

    /// What tells apart the issuers of access tokens, when several certificates may share one:
    /// those with the same name here get the same token. `None` keeps each certificate's own.
    fn shares_sign_in<'a>(&self, _certificate: &'a SendingCertificate) -> Option<&'a Arc<str>> {
        None
    }

    /// How long a token is kept at least, whatever is answered to it: the vendor counts how often
    /// it changes.
    fn sign_in_pause(&self) -> Duration {
        Duration::ZERO
    }

    /// How to get the right to send now.
    fn sign_in(&self, certificate: &SendingCertificate, now: UnixMs) -> SignIn;

    /// Reads the reply to a [`SignIn::Exchange`].
    ///
    /// # Errors
    /// The vendor's refusal as an answer: `AuthRejected { renew: false }` when the credential is
    /// wrong, `Unavailable` or `Throttled` when it may work later.
    fn read_sign_in(&self, reply: &Reply, now: UnixMs) -> Result<AccessToken, Answer>;

    /// Bytes of the payload as the vendor counts them, tokens left out.
    fn payload_bytes(&self, certificate: &SendingCertificate, notification: &Notification)
    -> usize;

    /// Builds the requests of one call: one for all targets when the vendor batches, else one per
    /// target, in order, covering every target exactly once.
    fn encode(&self, call: &Call<'_>) -> Vec<Push>;

    /// Reads a reply: exactly one answer per target of the push, in order, whatever arrived.
    fn decode(&self, reply: &Reply, targets: &[Target], now: UnixMs) -> Vec<Answer>;

    /// A request that checks a certificate without ringing anyone, where the vendor has one
    /// (FCM `validate_only`); `None` when the sign-in itself is the proof or there is no such call.
    /// Its reply is read with [`Vendor::decode`] for one target.
    fn probe(
        &self,
        certificate: &SendingCertificate,
        access: Option<&AccessToken>,
        now: UnixMs,
    ) -> Option<Request>;

    /// Checks the options of an uploaded certificate by this vendor's own rules, so that a mistake
    /// is told then and not with every push. Certificates uploaded before a rule was made are not
    /// asked: what is built with their options must still be a push.
    ///
    /// # Errors
    /// The field below `options`, and what is wrong with it.
    fn check_options(&self, _certificate: &SendingCertificate) -> Result<(), CredentialError> {
        Ok(())
    }

    /// How posts of receipts for this certificate prove that they are the vendor's; `None` when
    /// the vendor sends no receipts.
    fn receipt_proof(&self, _certificate: &SendingCertificate) -> Option<Proof> {
        None
    }

    /// Whether the vendor signed this post with the certificate's receipt key.
    fn signed_receipts(
        &self,
        _certificate: &SendingCertificate,
        _post: &ReceiptPost<'_>,
        _now: UnixMs,
    ) -> bool {
        false
    }

    /// Reads a post of receipts whose origin is proven; an entry it cannot read is counted.
    ///
    /// # Errors
    /// [`ReceiptError::None`] from a vendor that has no receipts; otherwise what is wrong with the
    /// post.
    fn read_receipts(&self, _post: &ReceiptPost<'_>) -> Result<Collected, ReceiptError> {
        Err(ReceiptError::None)
    }

    /// The JSON body that tells the vendor its post was taken.
    fn receipts_taken(&self) -> &'static str {
        "{}"
    }

    /// Whether clocks that differ explain this refusal of the right to send, made with a proof of
    /// this moment. The default is that of a vendor whose proofs carry no time.
    fn blames_clock(&self, _refusal: &Answer) -> Blame {
        Blame::No
    }

    /// Whether the server that gave this answer is leaving: the next request to it is to take
    /// another connection.
    fn is_leaving(&self, _answer: &Answer) -> bool {
        false
    }

    /// What an operator should do about this answer, in one sentence; `None` when nothing helps.
    fn advice(&self, code: &str, verdict: Verdict) -> Option<&'static str>;
}
