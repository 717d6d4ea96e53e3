//! Rendering: from a message and who reads it to a finished [`Notification`].
//!
//! Pure; the same input gives the same notification, so a retry sends what the first try sent.
//! A message is rendered once for every group of devices that read the same: same certificate,
//! locale and sound. The order is fixed:
//!
//! 1. [`text`] finds title and text for the reader's language;
//! 2. `privacy` lets through what the certificate's privacy level allows, and nothing else enters
//!    the notification;
//! 3. [`limits`] shortens what is too long, or refuses what cannot be made to fit.
//!
//! The badge differs between devices that read the same, so [`badge::badge`] is asked per device.
//!
//! A value of the message beats the certificate's, which beats the vendor's default (Tencent
//! Cloud Chat, product/269/133879). Which fields are for one vendor alone only that vendor knows:
//! [`Vendor::own`].

use crate::model::certificate::Options;
use crate::model::id::{MessageId, digest128};
use crate::model::message::{Element, Message};
use crate::model::push_info::filled;
use crate::model::time::UnixMs;
use crate::render::limits::RenderRefusal;
use crate::render::privacy::{Shown, shown};
use crate::vendor::{Kind, Notification, Own, SendingCertificate, Vendor};

pub mod badge;
pub mod limits;
pub mod privacy;
#[cfg(test)]
pub(crate) mod stub;
pub mod text;
pub mod words;

/// Who reads the notification, as far as it changes what is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reader<'a> {
    /// The device's language tag.
    pub locale: Option<&'a str>,
    /// Sound that the user, else the device, prefers for this kind of conversation.
    pub sound: Option<&'a str>,
}

/// Which shown notification a push replaces on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Collapse {
    /// None: each message has its own.
    #[default]
    Never,
    /// That of this message, for instance because it was withdrawn.
    Message(MessageId),
}

/// Everything one rendering needs.
#[derive(Clone, Copy)]
pub struct RenderRequest<'a> {
    /// The message.
    pub message: &'a Message,
    /// Our id of it.
    pub message_id: MessageId,
    /// When it stops being worth anything.
    pub expires_at: UnixMs,
    /// Who reads it.
    pub reader: &'a Reader<'a>,
    /// The app's language.
    pub default_locale: &'a str,
    /// The vendor the push goes to.
    pub vendor: &'a dyn Vendor,
    /// The certificate it is sent with; its options hold the privacy level.
    pub certificate: &'a SendingCertificate,
    /// What it replaces.
    pub collapse: Collapse,
}

/// A finished notification.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// What to send.
    pub notification: Notification,
    /// Whether title or text lost something to a limit.
    pub shortened: bool,
}

/// Renders a message for one group of readers.
///
/// # Errors
/// When the payload is too large although title and text gave way.
pub fn render(request: &RenderRequest<'_>) -> Result<Rendered, RenderRefusal> {
    let message = request.message;
    let own = request.vendor.own(&message.push);
    let conversation = message.conversation().to_string();
    let replaces = match request.collapse {
        Collapse::Message(replaced) => Some(replaced.to_string()),
        Collapse::Never => None,
    };
    let Shown { kind, title, body, subtitle, ext, image, conversation, info } =
        shown(request, &own, kind(own.kind, &request.certificate.options), conversation);
    let mut notification = Notification {
        kind,
        title,
        body,
        subtitle,
        ext,
        image,
        sound: sound(request, &own).map(str::to_owned),
        message_id: request.message_id.to_string(),
        conversation,
        notify_id: notify_id(request),
        replaces,
        expires_at: request.expires_at,
        priority: message.priority,
        info,
    };
    let cut = limits::fit_texts(&mut notification, request.vendor.profile());
    let shrunk = limits::fit_payload(&mut notification, request.vendor, request.certificate)?;
    Ok(Rendered { notification, shortened: cut || shrunk })
}

/// What a notification that its vendor knows as `own` is for the tokens of a certificate. A call
/// without a token that rings as one is an ordinary alert (trtc.io/document/77715); where no
/// activity has a token, the app is woken to change it itself.
pub fn kind(own: Kind, options: &Options) -> Kind {
    match own {
        Kind::Voip if !options.voip => Kind::Alert,
        Kind::LiveActivity if !options.live_activity => Kind::Silent,
        kind => kind,
    }
}

/// Message over reader over certificate. The message's is the vendor's own, else the
/// custom element's where it is written for this vendor (trtc.io/document/33527).
fn sound<'a>(request: &RenderRequest<'a>, own: &Own<'a>) -> Option<&'a str> {
    let custom = || {
        let elements = own.takes_custom_sound.then_some(&request.message.elements);
        elements.into_iter().flatten().find_map(|element| match element {
            Element::Custom { sound, .. } => Some(sound.as_str()).filter(|sound| !sound.is_empty()),
            _ => None,
        })
    };
    own.sound
        .or_else(custom)
        .or_else(|| request.reader.sound.filter(|sound| !sound.is_empty()))
        .or_else(|| filled(&request.certificate.options.sound))
}

/// Positive 31 bits: every vendor's notify id is a signed 32-bit integer.
fn notify_id(request: &RenderRequest<'_>) -> u32 {
    let shown_as = match request.collapse {
        Collapse::Never => request.message_id,
        Collapse::Message(replaced) => replaced,
    };
    let digest = digest128(&[b"notify", &shown_as.to_bytes()]);
    ((digest as u32) & 0x7FFF_FFFF).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::message::Priority;
    use crate::render::stub::{self, Stub, message, request};

    const HI: &str = r#""MsgBody":[{"MsgType":"TIMTextElem","MsgContent":{"Text":"hi"}}]"#;

    fn rendered(rest: &str, stub: &Stub, change: impl FnOnce(&mut RenderRequest<'_>)) -> Rendered {
        let message = message(rest);
        let mut request = request(&message, stub);
        change(&mut request);
        render(&request).expect("it fits")
    }

    fn push(rest: &str, stub: &Stub) -> Notification {
        rendered(rest, stub, |_| {}).notification
    }

    #[test]
    fn a_plain_message_becomes_an_alert_that_names_its_conversation() {
        let rest = format!(r#""FromNick":"Mina","MsgPriority":"High",{HI}"#);
        let push = push(&rest, &Stub::android());
        assert_eq!((push.title.as_str(), push.body.as_str()), ("Mina", "hi"));
        assert_eq!(push.kind, Kind::Alert);
        assert_eq!(push.conversation, "c2c:mina");
        assert_eq!(push.message_id, stub::MESSAGE_ID.to_string());
        assert_eq!(push.expires_at, stub::EXPIRES_AT);
        assert_eq!(push.priority, Priority::High);
        assert_eq!(push.replaces, None);
        let rest = format!(r#""GroupId":"team",{HI}"#);
        assert_eq!(
            rendered(&rest, &Stub::android(), |_| {}).notification.conversation,
            "group:team"
        );
    }

    #[test]
    fn what_is_for_one_vendor_alone_reaches_only_that_vendor() {
        let rest = format!(
            r#"{HI},"OfflinePushInfo":{{"Title":"T","ApnsInfo":{{"Title":"Apple","SubTitle":"Sub",
               "Image":"https://i","Sound":"a.caf","ContentAvailable":1}},
               "AndroidInfo":{{"Sound":"a"}}}}"#
        );
        let apple = push(&rest, &Stub::apple());
        assert_eq!(apple.kind, Kind::Silent);
        assert_eq!(apple.title, "Apple");
        assert_eq!(apple.subtitle.as_deref(), Some("Sub"));
        assert_eq!(apple.image.as_deref(), Some("https://i"));
        assert_eq!(apple.sound.as_deref(), Some("a.caf"));
        let android = push(&rest, &Stub::android());
        assert_eq!(android.kind, Kind::Alert);
        assert_eq!(android.title, "T");
        assert_eq!((android.subtitle, android.image), (None, None));
        assert_eq!(android.sound.as_deref(), Some("a"));
    }

    #[test]
    fn a_call_rings_and_an_activity_changes_only_where_a_token_can() {
        let plain = Options::default();
        let calls = Options { voip: true, ..Options::default() };
        let activities = Options { live_activity: true, ..Options::default() };
        assert_eq!(kind(Kind::Voip, &calls), Kind::Voip);
        assert_eq!(kind(Kind::Voip, &plain), Kind::Alert);
        assert_eq!(kind(Kind::LiveActivity, &activities), Kind::LiveActivity);
        assert_eq!(kind(Kind::LiveActivity, &plain), Kind::Silent);
    }

    #[test]
    fn ext_comes_from_the_push_and_else_from_the_custom_element() {
        let custom = r#""MsgBody":[{"MsgType":"TIMTextElem","MsgContent":{"Text":"a"}},
            {"MsgType":"TIMCustomElem",
             "MsgContent":{"Desc":"d","Ext":"{\"e\":1}","Sound":"c.aiff"}}]"#;
        let with =
            |info: &str| push(&format!(r#"{custom},"OfflinePushInfo":{info}"#), &Stub::apple());
        assert_eq!(with("{}").ext.as_deref(), Some(r#"{"e":1}"#));
        assert_eq!(with(r#"{"Ext":""}"#).ext.as_deref(), Some(r#"{"e":1}"#));
        assert_eq!(with(r#"{"Ext":"{}"}"#).ext.as_deref(), Some("{}"));
        assert_eq!(push(HI, &Stub::apple()).ext, None);
    }

    #[test]
    fn the_nearest_sound_wins() {
        let custom =
            r#""MsgBody":[{"MsgType":"TIMCustomElem","MsgContent":{"Desc":"d","Sound":"custom"}}]"#;
        let own = format!(r#"{custom},"OfflinePushInfo":{{"ApnsInfo":{{"Sound":"own"}}}}"#);
        let sound = |rest: &str, stub: &Stub, reader, certificate: &str| {
            let sending = stub::certificate_with_sound(certificate);
            let reader = Reader { locale: None, sound: reader };
            let message = message(rest);
            let mut request = request(&message, stub);
            (request.reader, request.certificate) = (&reader, &sending);
            render(&request).expect("it fits").notification.sound.unwrap_or_default()
        };
        let (apple, android) = (Stub::apple(), Stub::android());
        assert_eq!(sound(&own, &apple, Some("reader"), "cert"), "own");
        assert_eq!(sound(custom, &apple, Some("reader"), "cert"), "custom");
        // The custom element's sound is Apple's.
        assert_eq!(sound(custom, &android, Some("reader"), "cert"), "reader");
        assert_eq!(sound(HI, &apple, Some(""), "cert"), "cert");
        assert_eq!(sound(HI, &apple, None, "cert"), "cert");
        assert_eq!(sound(HI, &apple, None, ""), "");
    }

    #[test]
    fn a_notify_id_is_positive_and_stable_and_follows_what_is_replaced() {
        let id = |rest: &str, collapse| {
            let change = |request: &mut RenderRequest<'_>| request.collapse = collapse;
            let push = rendered(rest, &Stub::android(), change).notification;
            assert!(push.notify_id > 0 && push.notify_id <= i32::MAX as u32);
            let shown_as = match collapse {
                Collapse::Never => stub::MESSAGE_ID,
                Collapse::Message(replaced) => replaced,
            };
            assert_eq!(push.shown_as(), shown_as.to_string());
            push.notify_id
        };
        let bye = HI.replace("hi", "bye");
        let of_message = id(HI, Collapse::Never);
        assert_eq!(of_message, id(&bye, Collapse::Never));
        assert_eq!(of_message, id(&bye, Collapse::Message(stub::MESSAGE_ID)));
        let another = MessageId(stub::MESSAGE_ID.0 + 1);
        assert_ne!(of_message, id(HI, Collapse::Message(another)));
    }

    #[test]
    fn a_shortened_text_is_reported() {
        let long = HI.replace("hi", &"x".repeat(51));
        let rendered = |rest: &str| rendered(rest, &Stub::android(), |_| {});
        assert!(!rendered(HI).shortened);
        let cut = rendered(&long);
        assert!(cut.shortened);
        assert_eq!(cut.notification.body, format!("{}...", "x".repeat(47)));
    }

    #[test]
    fn an_ext_that_cannot_fit_is_refused_with_its_size() {
        let ext = "e".repeat(Stub::apple().profile().payload_bytes_max);
        let message = message(&format!(r#"{HI},"OfflinePushInfo":{{"Ext":"{ext}"}}"#));
        let stub = Stub::apple();
        let refusal = render(&request(&message, &stub)).expect_err("too large");
        assert!(refusal.size > refusal.limit);
        assert!(refusal.to_string().contains(&refusal.size.to_string()));
        assert!(!refusal.to_string().contains("ee"));
    }
}
