//! A vendor for the tests of rendering: small limits, and a payload that is easy to count.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::model::certificate::{Environment, Options, Privacy};
use crate::model::device::Platform;
use crate::model::id::{MessageId, Token};
use crate::model::message::{Element, Message, Priority};
use crate::model::push_info::{LanguageContent, LiveActivity, OfflinePushInfo, filled};
use crate::model::time::UnixMs;
use crate::render::{Collapse, Reader, RenderRequest};
use crate::transport::{Protocol, Reply, Request};
use crate::vendor::profile::{Badges, Endpoints, Profile};
use crate::vendor::upload::{Credential, CredentialError, TokenError, Upload};
use crate::vendor::{
    AccessToken, Answer, Call, Kind, Notification, Own, Push, SendingCertificate, SignIn, Target,
    Vendor, Verdict,
};

/// An id accepted at a round time.
pub(crate) const MESSAGE_ID: MessageId = MessageId((1_760_000_000_000 << 80) | 77);

/// When everything rendered here ends.
pub(crate) const EXPIRES_AT: UnixMs = UnixMs(1_760_000_060_000);

const APPLE: Profile = Profile {
    name: "apple",
    parcel_deliveries_max: 100,
    batches: false,
    badges: Badges::PerTarget,
    token_kinds: true,
    protocol: Protocol::Http2,
    title_units_max: None,
    body_units_max: None,
    big_body_units_max: None,
    payload_bytes_max: 4_096,
    voip_payload_bytes_max: 5_120,
    repeats_are_safe: true,
    ttl_max: Duration::from_secs(1),
    platforms: &[Platform::Ios],
    endpoints: &[],
    tencent_platform: 1,
};

const ANDROID: Profile = Profile {
    name: "android",
    badges: Badges::PerParcel,
    title_units_max: Some(50),
    body_units_max: Some(50),
    big_body_units_max: Some(128),
    voip_payload_bytes_max: 4_096,
    platforms: &[Platform::Android],
    ..APPLE
};

pub(crate) struct Stub {
    profile: &'static Profile,
    /// Whether quotes, control characters and everything beyond ASCII cost six bytes, as in
    /// `\u` escapes.
    escapes: bool,
}

impl Stub {
    pub(crate) fn apple() -> Self {
        Stub { profile: &APPLE, escapes: false }
    }

    pub(crate) fn android() -> Self {
        Stub { profile: &ANDROID, escapes: false }
    }

    pub(crate) fn without_badges() -> Self {
        const PROFILE: Profile = Profile { badges: Badges::None, ..ANDROID };
        Stub { profile: &PROFILE, escapes: false }
    }

    pub(crate) fn with_payload_limit(limit: usize, escapes: bool) -> Self {
        let profile = Profile { payload_bytes_max: limit, ..APPLE };
        Stub { profile: Box::leak(Box::new(profile)), escapes }
    }

    fn bytes(&self, text: &str) -> usize {
        if !self.escapes {
            return text.len();
        }
        let plain = |unit: &u16| (0x20..0x7f).contains(unit) && *unit != 0x22 && *unit != 0x5c;
        text.encode_utf16().map(|unit| if plain(&unit) { 1 } else { 6 }).sum()
    }
}

impl Vendor for Stub {
    fn profile(&self) -> &'static Profile {
        self.profile
    }

    fn own<'a>(&self, info: &'a OfflinePushInfo) -> Own<'a> {
        let (android, apns) = (&info.android_info, &info.apns_info);
        if self.profile.name == "android" {
            let image = filled(&android.huawei_image);
            return Own { sound: filled(&android.sound), image, ..Own::default() };
        }
        let kind = if apns.live_activity.is_some() {
            Kind::LiveActivity
        } else if apns.is_voip_push == Some(1) {
            Kind::Voip
        } else if apns.content_available == Some(1) {
            Kind::Silent
        } else {
            Kind::Alert
        };
        Own {
            kind,
            title: filled(&apns.title),
            subtitle: filled(&apns.sub_title),
            image: filled(&apns.image),
            sound: filled(&apns.sound),
            takes_custom_sound: true,
            keeps_badge: apns.badge_mode == Some(1),
        }
    }

    fn payload_bytes(&self, _: &SendingCertificate, notification: &Notification) -> usize {
        let parts = [
            Some(&notification.title),
            Some(&notification.body),
            notification.subtitle.as_ref(),
            notification.ext.as_ref(),
            notification.image.as_ref(),
        ];
        20 + parts.into_iter().flatten().map(|part| self.bytes(part)).sum::<usize>()
    }

    fn read_credential(&self, _: &Upload<'_>) -> Result<Credential, CredentialError> {
        unreachable!("rendering reads no credential")
    }

    fn credential_from_file(
        &self,
        _: &str,
        _: &[u8],
        _: &BTreeMap<String, String>,
    ) -> Result<Value, CredentialError> {
        unreachable!("rendering reads no credential")
    }

    fn check_token(&self, _: &str) -> Result<Token, TokenError> {
        unreachable!("rendering knows no token")
    }

    fn sign_in(&self, _: &SendingCertificate, _: UnixMs) -> SignIn {
        unreachable!("rendering signs nothing")
    }

    fn read_sign_in(&self, _: &Reply, _: UnixMs) -> Result<AccessToken, Answer> {
        unreachable!("rendering signs nothing")
    }

    fn encode(&self, _: &Call<'_>) -> Vec<Push> {
        unreachable!("rendering sends nothing")
    }

    fn decode(&self, _: &Reply, _: &[Target], _: UnixMs) -> Vec<Answer> {
        unreachable!("rendering sends nothing")
    }

    fn probe(&self, _: &SendingCertificate, _: Option<&AccessToken>, _: UnixMs) -> Option<Request> {
        unreachable!("rendering sends nothing")
    }

    fn advice(&self, _: &str, _: Verdict) -> Option<&'static str> {
        unreachable!("rendering sends nothing")
    }
}

fn certificate_of(options: Options) -> SendingCertificate {
    SendingCertificate {
        cert_id: 7,
        environment: Environment::Production,
        options: Arc::new(options),
        material: Arc::new(()) as Arc<dyn Any + Send + Sync>,
        endpoints: Arc::new(Endpoints::default()),
    }
}

pub(crate) fn certificate() -> SendingCertificate {
    certificate_of(Options { voip: true, live_activity: true, ..Options::default() })
}

pub(crate) fn certificate_with_sound(sound: &str) -> SendingCertificate {
    certificate_of(Options { sound: Some(sound.to_owned()), ..Options::default() })
}

pub(crate) fn private_certificate(privacy: Privacy) -> SendingCertificate {
    certificate_of(Options { privacy, voip: true, live_activity: true, ..Options::default() })
}

/// A message from `mina` to `joon`; `rest` are its other fields.
pub(crate) fn message(rest: &str) -> Message {
    let json = format!(r#"{{"From_Account":"mina","To_Account":"joon","MsgRandom":1,{rest}}}"#);
    Message::parse(json.as_bytes()).expect(rest)
}

/// A rendering by a device that told nothing of itself.
pub(crate) fn request<'a>(message: &'a Message, vendor: &'a Stub) -> RenderRequest<'a> {
    static READER: Reader<'static> = Reader { locale: None, sound: None };
    static CERTIFICATE: std::sync::LazyLock<SendingCertificate> =
        std::sync::LazyLock::new(certificate);
    RenderRequest {
        message,
        message_id: MESSAGE_ID,
        expires_at: EXPIRES_AT,
        reader: &READER,
        default_locale: "en",
        vendor,
        certificate: &CERTIFICATE,
        collapse: Collapse::Never,
    }
}

/// A finished notification with these texts.
pub(crate) fn notification(title: &str, body: &str) -> Notification {
    Notification {
        kind: Kind::Alert,
        title: title.to_owned(),
        body: body.to_owned(),
        subtitle: None,
        ext: None,
        image: None,
        sound: None,
        message_id: String::new(),
        conversation: String::new(),
        notify_id: 1,
        replaces: None,
        expires_at: UnixMs(0),
        priority: Priority::Normal,
        info: Arc::default(),
    }
}

/// Words that stand for what a privacy level must hide.
pub(crate) mod marked {
    /// In everything that is said.
    pub(crate) const CONTENT: &str = "CoNtEnT";
    /// In every name and id of sender and group.
    pub(crate) const NAME: &str = "NaMe";
}

/// A message with marked words in every place that `parts` has a bit for; text is always there.
pub(crate) fn full_message(parts: u32, group: bool) -> Message {
    let has = |bit: u32| parts & (1 << bit) != 0;
    let said = |what: &str| format!("{} {what}", marked::CONTENT);
    let maybe = |bit: u32, what: &str| has(bit).then(|| said(what));
    let mut message = message(r#""MsgBody":[{"MsgType":"TIMFaceElem","MsgContent":{}}]"#);
    message.from = format!("{}-mina", marked::NAME).as_str().into();
    message.from_nick = Some(format!("{} Mina", marked::NAME));
    if group {
        message.group = Some(format!("{}-team", marked::NAME).as_str().into());
        message.group_name = Some(format!("{} Team", marked::NAME));
    }
    message.elements.push(Element::Text(said("text")));
    if has(1) {
        let (desc, ext) = (said("desc"), said("ext"));
        message.elements.push(Element::Custom { desc, ext, sound: "s.caf".into() });
    }
    let push = Arc::make_mut(&mut message.push);
    (push.title, push.desc, push.ext) = (maybe(2, "title"), maybe(3, "desc"), maybe(4, "ext"));
    if has(5) {
        let (title, desc) = (Some(said("title")), Some(said("desc")));
        let language = "en".to_owned();
        push.multi_language_content.push(LanguageContent { language, title, desc });
    }
    let values = |bit| has(bit).then(|| BTreeMap::from([(said("key"), said("value").into())]));
    let android = &mut push.android_info;
    android.oppo_channel_id = Some("chat".to_owned());
    android.oppo_private_title_parameters = values(6);
    android.oppo_private_content_parameters = values(7);
    android.huawei_image = maybe(8, "image");
    android.honor_image = maybe(9, "image");
    android.google_image = maybe(10, "image");
    let apns = &mut push.apns_info;
    (apns.title, apns.sub_title) = (maybe(11, "title"), maybe(12, "subtitle"));
    (apns.image, apns.sound) = (maybe(13, "image"), Some("a.caf".to_owned()));
    apns.interruption_level = Some("time-sensitive".to_owned());
    apns.is_voip_push = Some(u8::from(has(14)));
    apns.content_available = Some(u8::from(has(15)));
    apns.live_activity = has(16).then(|| LiveActivity {
        la_id: said("activity"),
        event: "update".to_owned(),
        content_state: [(said("key"), said("value").into())].into_iter().collect(),
        dismissal_date: None,
    });
    push.harmony_info.title = maybe(17, "title");
    push.harmony_info.image = maybe(18, "image");
    message
}
