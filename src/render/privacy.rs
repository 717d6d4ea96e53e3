//! What a vendor, and so the lock screen, may see of a message.
//!
//! [`shown`] is the only place where words of a message enter a notification. Each level is built
//! up from what it may show, never by taking away, so a field added to the message later stays
//! hidden until somebody decides otherwise. Settings for vendors (channels, classes, sounds) are
//! not content and pass at every level.

use std::sync::Arc;

use crate::model::certificate::Privacy;
use crate::model::id::digest128;
use crate::model::message::{Element, Message, Notice};
use crate::model::push_info::{
    AndroidInfo, ApnsInfo, HarmonyInfo, OfflinePushInfo, Seldom, filled,
};
use crate::render::RenderRequest;
use crate::render::text::{Text, names, speaker, spoken, text_with_title};
use crate::render::words::words;
use crate::vendor::{Kind, Own};

/// Every part of a notification that can hold words of its message.
pub(crate) struct Shown {
    pub kind: Kind,
    pub title: String,
    pub body: String,
    pub subtitle: Option<String>,
    pub ext: Option<String>,
    pub image: Option<String>,
    pub conversation: String,
    pub info: Arc<OfflinePushInfo>,
}

/// What the certificate's privacy level lets through. `kind` is what the push would be and
/// `conversation` where the message was said.
pub(crate) fn shown(
    request: &RenderRequest<'_>,
    own: &Own<'_>,
    kind: Kind,
    conversation: String,
) -> Shown {
    let message = request.message;
    let level = request.certificate.options.privacy;
    let locales = (request.reader.locale, request.default_locale);
    let Text { title, body } = read(message, level, own.title, locales);
    if level == Privacy::Full {
        return Shown {
            kind,
            title,
            body,
            subtitle: own.subtitle.map(str::to_owned),
            ext: ext(message).map(str::to_owned),
            image: own.image.map(str::to_owned),
            conversation,
            info: Arc::clone(&message.push),
        };
    }
    let conversation = match level {
        Privacy::IdOnly => opaque(request.certificate.cert_id, &conversation),
        Privacy::SenderOnly | Privacy::Full => conversation,
    };
    Shown {
        kind: hidden_kind(kind),
        title,
        body,
        subtitle: None,
        ext: None,
        image: None,
        conversation,
        info: Arc::new(settings(&message.push)),
    }
}

/// What is read of a message at a privacy level, in the reader's language or else the app's.
/// `own_title` is the title that the message has for the vendor alone.
pub fn read(
    message: &Message,
    level: Privacy,
    own_title: Option<&str>,
    (locale, default_locale): (Option<&str>, &str),
) -> Text {
    if level == Privacy::Full {
        return text_with_title(message, own_title, locale, default_locale);
    }
    let words = words(locale, default_locale);
    // That a message was taken back tells nothing of it.
    let neutral = match message.notice {
        Some(Notice::Recalled(_)) => words.recalled,
        Some(Notice::Summed(_)) | None => words.you_have_new_message,
    };
    let (title, body) = match (level, speaker(message)) {
        (Privacy::IdOnly, _) => (words.new_message.to_owned(), neutral.to_owned()),
        (_, Some(speaker)) if message.notice.is_none() => {
            (names(message, words), spoken(Some(speaker), words.new_message))
        }
        (_, _) => (names(message, words), neutral.to_owned()),
    };
    Text { title, body }
}

/// Pass-through text: the sender's, else the custom element's.
fn ext(message: &Message) -> Option<&str> {
    filled(&message.push.ext).or_else(|| {
        message.elements.iter().find_map(|element| match element {
            Element::Custom { ext, .. } if !ext.is_empty() => Some(ext.as_str()),
            _ => None,
        })
    })
}

/// A Live Activity is nothing but content. Where content is hidden the app is woken instead, to
/// fetch it by the message id.
fn hidden_kind(kind: Kind) -> Kind {
    match kind {
        Kind::LiveActivity => Kind::Silent,
        Kind::Alert | Kind::Silent | Kind::Voip => kind,
    }
}

/// A name for a conversation that groups its notifications on the device and tells nothing.
fn opaque(cert_id: u32, conversation: &str) -> String {
    let parts: [&[u8]; 3] = [b"conversation", &cert_id.to_be_bytes(), conversation.as_bytes()];
    format!("{:032x}", digest128(&parts))
}

/// The settings of a message without its texts, pictures, activity and template values.
fn settings(info: &OfflinePushInfo) -> OfflinePushInfo {
    let (android, apns, harmony) = (&info.android_info, &info.apns_info, &info.harmony_info);
    OfflinePushInfo {
        push_flag: info.push_flag,
        badge_add_num: info.badge_add_num,
        badge_set_num: info.badge_set_num,
        android_info: Seldom::from(AndroidInfo {
            sound: android.sound.clone(),
            push_style: android.push_style,
            xiaomi_channel_id: android.xiaomi_channel_id.clone(),
            oppo_channel_id: android.oppo_channel_id.clone(),
            oppo_category: android.oppo_category.clone(),
            oppo_notify_level: android.oppo_notify_level,
            oppo_private_msg_template_id: android.oppo_private_msg_template_id.clone(),
            vivo_classification: android.vivo_classification,
            vivo_category: android.vivo_category.clone(),
            vivo_notify_type: android.vivo_notify_type.clone(),
            huawei_channel_id: android.huawei_channel_id.clone(),
            huawei_importance: android.huawei_importance.clone(),
            huawei_category: android.huawei_category.clone(),
            ext_as_huawei_intent_param: android.ext_as_huawei_intent_param,
            honor_importance: android.honor_importance.clone(),
            google_channel_id: android.google_channel_id.clone(),
            google_priority: android.google_priority.clone(),
            meizu_notice_msg_type: android.meizu_notice_msg_type,
            ..AndroidInfo::default()
        }),
        apns_info: Seldom::from(ApnsInfo {
            badge_mode: apns.badge_mode,
            mutable_content: apns.mutable_content,
            sound: apns.sound.clone(),
            interruption_level: apns.interruption_level.clone(),
            content_available: apns.content_available,
            is_voip_push: apns.is_voip_push,
            ..ApnsInfo::default()
        }),
        harmony_info: Seldom::from(HarmonyInfo {
            category: harmony.category.clone(),
            sound: harmony.sound.clone(),
            sound_duration: harmony.sound_duration,
            ..HarmonyInfo::default()
        }),
        ..OfflinePushInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::render::render;
    use crate::render::stub::{Stub, full_message, marked, request};

    /// Everything the notification holds at that level, as text.
    fn seen(message: &Message, stub: &Stub, level: Privacy) -> String {
        let mut request = request(message, stub);
        let certificate = crate::render::stub::private_certificate(level);
        request.certificate = &certificate;
        format!("{:?}", render(&request).expect("it fits").notification)
    }

    fn contents() -> impl Strategy<Value = u32> {
        any::<u32>()
    }

    proptest! {
        #[test]
        fn no_level_shows_more_than_it_may(parts in contents(), group in any::<bool>()) {
            let message = full_message(parts, group);
            for stub in [Stub::apple(), Stub::android()] {
                let full = seen(&message, &stub, Privacy::Full);
                // The check below can fail: some content is there to be hidden.
                prop_assert!(full.contains(marked::CONTENT), "{}", full);
                let sender = seen(&message, &stub, Privacy::SenderOnly);
                prop_assert!(!sender.contains(marked::CONTENT), "{}", sender);
                prop_assert!(sender.contains(marked::NAME), "{}", sender);
                let id = seen(&message, &stub, Privacy::IdOnly);
                prop_assert!(!id.contains(marked::CONTENT), "{}", id);
                prop_assert!(!id.contains(marked::NAME), "{}", id);
            }
        }
    }

    #[test]
    fn a_recall_says_so_at_every_level_and_a_digest_counts_only_where_text_may_be_shown() {
        let push = |notice: &str| {
            crate::render::stub::message(&format!(r#""FromNick":"Mina","Notice":{notice}"#))
        };
        let recalled = push(r#"{"Recalled":"01KA00000000000000000000AB"}"#);
        let summed = push(r#"{"Summed":3}"#);
        let stub = Stub::apple();
        for level in [Privacy::Full, Privacy::SenderOnly, Privacy::IdOnly] {
            assert!(seen(&recalled, &stub, level).contains("This message was recalled"));
            let counts = seen(&summed, &stub, level).contains("3 new messages");
            assert_eq!(counts, level == Privacy::Full, "{level:?}");
            assert_eq!(seen(&summed, &stub, level).contains("Mina"), level != Privacy::IdOnly);
        }
    }

    #[test]
    fn settings_pass_at_every_level() {
        let message = full_message(u32::MAX, false);
        let hidden = settings(&message.push);
        assert_eq!(hidden.android_info.oppo_channel_id, message.push.android_info.oppo_channel_id);
        assert_eq!(hidden.apns_info.sound, message.push.apns_info.sound);
        assert_eq!(hidden.apns_info.interruption_level.as_deref(), Some("time-sensitive"));
    }

    #[test]
    fn who_wrote_is_shown_with_neutral_words() {
        let check = |names: &str, level, title: &str, body: &str| {
            let message = crate::render::stub::message(&format!(
                r#"{names}"MsgBody":[{{"MsgType":"TIMTextElem","MsgContent":{{"Text":"hi"}}}}]"#
            ));
            let stub = Stub::apple();
            let mut request = request(&message, &stub);
            let certificate = crate::render::stub::private_certificate(level);
            request.certificate = &certificate;
            let push = render(&request).expect("it fits").notification;
            assert_eq!((push.title.as_str(), push.body.as_str()), (title, body), "{names}");
        };
        let you_have = "You have a new message";
        let nick = r#""FromNick":"Mina","#;
        let team = r#""FromNick":"Mina","GroupId":"g","GroupName":"Team","#;
        check(nick, Privacy::SenderOnly, "Mina", you_have);
        check(team, Privacy::SenderOnly, "Team", "Mina: New message");
        check("", Privacy::SenderOnly, "New message", you_have);
        check(nick, Privacy::IdOnly, "New message", you_have);
        check(team, Privacy::IdOnly, "New message", you_have);
    }

    #[test]
    fn an_opaque_conversation_is_the_same_every_time_and_differs_between_conversations() {
        assert_eq!(opaque(1, "c2c:mina"), opaque(1, "c2c:mina"));
        assert_ne!(opaque(1, "c2c:mina"), opaque(1, "c2c:joon"));
        assert_ne!(opaque(1, "c2c:mina"), opaque(2, "c2c:mina"));
    }

    #[test]
    fn a_hidden_live_activity_becomes_a_silent_push() {
        assert_eq!(hidden_kind(Kind::LiveActivity), Kind::Silent);
        assert_eq!(hidden_kind(Kind::Voip), Kind::Voip);
    }
}
