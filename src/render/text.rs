//! Title and text of a message, before any limit.
//!
//! What the sender wrote for the notification is taken as it is; what the elements say is put
//! together here, in order and without a separator (trtc.io/document/33527). Tencent's older
//! single-string alert decorates the text with the sender's and the group's name; a notification
//! of today has two fields, so the names move:
//!
//! | Case | Tencent, one string | Title | Text |
//! |---|---|---|---|
//! | one-to-one, sender has a name | `Mina:hi` | `Mina` | `hi` |
//! | one-to-one, no name | `hi` | neutral words | `hi` |
//! | group, both names | `Mina(Team):hi` | `Team` | `Mina: hi` |
//! | group, sender has no name | `(Team):hi` | `Team` | `hi` |
//! | group, the group has no name | | `Mina` | `hi` |
//!
//! A raw user or group id is never shown: people complain about it, so neutral words of the
//! reader's language stand in. The sender's name is put before the text only where the title is
//! ours and the text comes from the elements: a sentence the sender wrote is never changed.

use crate::model::message::{Element, Message, Notice};
use crate::model::push_info::{LanguageContent, filled};
use crate::render::words::{Words, is_traditional, subtags, words};

/// What a notification says. Neither part is ever empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Title.
    pub title: String,
    /// Text.
    pub body: String,
}

/// What the message says to a reader of that locale; `default_locale` is the app's.
///
/// The entry of `MultiLanguageContent` for the reader's language comes first, then `Title` and
/// `Desc`, then the entry of the app's language, then the elements and the names.
pub fn text(message: &Message, locale: Option<&str>, default_locale: &str) -> Text {
    text_with_title(message, None, locale, default_locale)
}

/// The same with a vendor's own title, which beats `Title` but not one in the reader's language.
pub fn text_with_title(
    message: &Message,
    own_title: Option<&str>,
    locale: Option<&str>,
    default_locale: &str,
) -> Text {
    let info = &message.push;
    let words = words(locale, default_locale);
    if let Some(notice) = message.notice {
        return noticed(message, notice, words);
    }
    let entries = info.multi_language_content.as_slice();
    let theirs = locale.and_then(|locale| entry_for(entries, locale));
    let apps = || entry_for(entries, default_locale);
    let title = theirs
        .and_then(|entry| filled(&entry.title))
        .or(own_title)
        .or_else(|| filled(&info.title))
        .or_else(|| apps().and_then(|entry| filled(&entry.title)));
    let desc = theirs
        .and_then(|entry| filled(&entry.desc))
        .or_else(|| filled(&info.desc))
        .or_else(|| apps().and_then(|entry| filled(&entry.desc)));
    if let Some(desc) = desc {
        return Text {
            title: title.map_or_else(|| names(message, words), str::to_owned),
            body: desc.to_owned(),
        };
    }
    let prefix = if title.is_none() { speaker(message) } else { None };
    if let Some(body) = said(&message.elements, words, prefix) {
        return Text { title: title.map_or_else(|| names(message, words), str::to_owned), body };
    }
    // Nothing fits this reader: any language is better than none, title and text of one where it
    // has both, then a title alone.
    let foreign = entries.iter().find_map(|entry| Some((filled(&entry.desc)?, entry)));
    let any_title = || entries.iter().find_map(|entry| filled(&entry.title));
    match (foreign, title.or_else(|| foreign.is_none().then(any_title).flatten())) {
        (Some((desc, entry)), title) => Text {
            title: title
                .or(filled(&entry.title))
                .map_or_else(|| names(message, words), str::to_owned),
            body: desc.to_owned(),
        },
        (None, Some(title)) => Text { title: names(message, words), body: title.to_owned() },
        (None, None) => {
            Text { title: names(message, words), body: words.you_have_new_message.to_owned() }
        }
    }
}

/// The relay's own words.
fn noticed(message: &Message, notice: Notice, words: &Words) -> Text {
    let body = match notice {
        Notice::Recalled(_) => words.recalled.to_owned(),
        Notice::Summed(messages) => {
            let count = words.count(usize::try_from(messages).unwrap_or(usize::MAX));
            match speaker(message) {
                Some(last) => format!("{count} ({last})"),
                None => count,
            }
        }
    };
    Text { title: names(message, words), body }
}

/// The title made of names: the group's, else the sender's, else neutral words.
pub fn names(message: &Message, words: &Words) -> String {
    let group = if message.group.is_some() { filled(&message.group_name) } else { None };
    group.or_else(|| filled(&message.from_nick)).unwrap_or(words.new_message).to_owned()
}

/// Who speaks, where the title is the group's name and so does not say it.
pub fn speaker(message: &Message) -> Option<&str> {
    let named_group = message.group.is_some() && filled(&message.group_name).is_some();
    if named_group { filled(&message.from_nick) } else { None }
}

/// `Mina: hi`.
pub fn spoken(speaker: Option<&str>, said: &str) -> String {
    match speaker {
        Some(speaker) => [speaker, ": ", said].concat(),
        None => said.to_owned(),
    }
}

/// What the elements say together; `None` when nothing.
fn said(elements: &[Element], words: &Words, speaker: Option<&str>) -> Option<String> {
    if let [only] = elements {
        let said = contribution(only, words);
        return if said.is_empty() { None } else { Some(spoken(speaker, said)) };
    }
    let bytes: usize = elements.iter().map(|element| contribution(element, words).len()).sum();
    if bytes == 0 {
        return None;
    }
    let mut body = String::with_capacity(bytes + speaker.map_or(0, |speaker| speaker.len() + 2));
    if let Some(speaker) = speaker {
        body.push_str(speaker);
        body.push_str(": ");
    }
    body.extend(elements.iter().map(|element| contribution(element, words)));
    Some(body)
}

/// What one element adds to the text; empty for a custom element without `Desc` and for types
/// without words.
fn contribution<'a>(element: &'a Element, words: &Words) -> &'a str {
    match element {
        Element::Text(text) => text,
        Element::Custom { desc, .. } => desc,
        Element::Location => words.location,
        Element::Face => words.face,
        Element::Sound => words.voice,
        Element::Image => words.image,
        Element::File => words.file,
        Element::Video => words.video,
        Element::Forwarded => words.forwarded,
        Element::Other(_) => "",
    }
}

/// The entry that fits a locale best: the same tag, then one it is a refinement of (`ko` for
/// `ko-KR`), then the same language elsewhere (`pt-PT` for `pt-BR`). Chinese in the other script
/// does not fit.
fn entry_for<'a>(entries: &'a [LanguageContent], locale: &str) -> Option<&'a LanguageContent> {
    let mut best: Option<(u8, &LanguageContent)> = None;
    for entry in entries {
        let closeness = closeness(locale, &entry.language);
        // The first of several equally close entries wins.
        if closeness > best.map_or(0, |(closest, _)| closest) {
            best = Some((closeness, entry));
        }
    }
    best.map(|(_, entry)| entry)
}

/// How well an offered language suits a reader: 0 not at all, 3 exactly.
fn closeness(reader: &str, offered: &str) -> u8 {
    let (mut wanted, mut given) = (subtags(reader), subtags(offered));
    let (Some(language), Some(first)) = (wanted.next(), given.next()) else { return 0 };
    if !language.eq_ignore_ascii_case(first) {
        return 0;
    }
    if language.eq_ignore_ascii_case("zh") && is_traditional(reader) != is_traditional(offered) {
        return 0;
    }
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return 3,
            (Some(_), None) => return 2,
            (Some(wanted), Some(given)) if wanted.eq_ignore_ascii_case(given) => {}
            _ => return 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::stub::message;

    const HI: &str = r#"{"MsgType":"TIMTextElem","MsgContent":{"Text":"hi"}}"#;
    const EMPTY_CUSTOM: &str = r#"{"MsgType":"TIMCustomElem","MsgContent":{"Data":"secret"}}"#;

    fn body(elements: &str, locale: &str) -> String {
        text(&message(&format!(r#""MsgBody":[{elements}]"#)), Some(locale), "en").body
    }

    fn both(rest: &str, locale: &str) -> (String, String) {
        let text = text(&message(rest), Some(locale), "en");
        (text.title, text.body)
    }

    #[test]
    fn each_element_contributes_its_words() {
        let table = [
            ("TIMLocationElem", "[Location]", "[位置]"),
            ("TIMFaceElem", "[Face]", "[表情]"),
            ("TIMSoundElem", "[Voice]", "[语音]"),
            ("TIMImageElem", "[Image]", "[图片]"),
            ("TIMFileElem", "[File]", "[文件]"),
            ("TIMVideoFileElem", "[Video]", "[视频]"),
            ("TIMRelayElem", "[Chat History]", "[聊天记录]"),
            ("TIMUnheardOfElem", "You have a new message", "你收到一条新消息"),
        ];
        for (kind, english, chinese) in table {
            // The element's own Desc must never be looked at.
            let element = format!(r#"{{"MsgType":"{kind}","MsgContent":{{"Desc":"no"}}}}"#);
            assert_eq!(body(&element, "en-US"), english, "{kind}");
            assert_eq!(body(&element, "zh-CN"), chinese, "{kind}");
        }
        assert_eq!(body(HI, "zh"), "hi");
        let custom = r#"{"MsgType":"TIMCustomElem","MsgContent":{"Desc":"call","Data":"no"}}"#;
        assert_eq!(body(custom, "en"), "call");
    }

    #[test]
    fn a_composite_is_joined_in_order_without_a_separator() {
        let hello = r#"{"MsgType":"TIMTextElem","MsgContent":{"Text":"hello"}}"#;
        let world = r#"{"MsgType":"TIMCustomElem","MsgContent":{"Desc":"world"}}"#;
        let face = r#"{"MsgType":"TIMFaceElem","MsgContent":{}}"#;
        assert_eq!(body(&format!("{hello},{world}"), "en"), "helloworld");
        assert_eq!(body(&format!("{world},{face},{hello}"), "en"), "world[Face]hello");
        assert_eq!(body(&format!("{HI},{EMPTY_CUSTOM}"), "en"), "hi");
    }

    #[test]
    fn names_move_from_the_single_string_into_title_and_text() {
        // Tencent's string in the first column, what we show in the last two.
        let table = [
            ("Mina:hi", r#""FromNick":"Mina","#, "Mina", "hi"),
            ("hi", "", "New message", "hi"),
            (
                "Mina(Team):hi",
                r#""GroupId":"g","FromNick":"Mina","GroupName":"Team","#,
                "Team",
                "Mina: hi",
            ),
            ("(Team):hi", r#""GroupId":"g","GroupName":"Team","#, "Team", "hi"),
            ("Mina():hi", r#""GroupId":"g","FromNick":"Mina","#, "Mina", "hi"),
            ("():hi", r#""GroupId":"g","FromNick":"","#, "New message", "hi"),
            // A group name on a one-to-one message means nothing.
            ("Mina:hi", r#""FromNick":"Mina","GroupName":"Team","#, "Mina", "hi"),
        ];
        for (tencent, names, title, said) in table {
            let ours = both(&format!(r#"{names}"MsgBody":[{HI}]"#), "en");
            assert_eq!(ours, (title.into(), said.into()), "{tencent}");
        }
    }

    #[test]
    fn what_the_sender_wrote_for_the_notification_is_taken_as_it_is() {
        let group = r#""GroupId":"g","FromNick":"Mina","GroupName":"Team""#;
        let table = [
            (r#"{"Title":"T","Desc":"D"}"#, "T", "D"),
            (r#"{"Desc":"D"}"#, "Team", "D"),
            (r#"{"Title":"T"}"#, "T", "hi"),
            (r#"{"Title":"","Desc":""}"#, "Team", "Mina: hi"),
        ];
        for (info, title, said) in table {
            let ours = both(&format!(r#"{group},"MsgBody":[{HI}],"OfflinePushInfo":{info}"#), "en");
            assert_eq!(ours, (title.into(), said.into()), "{info}");
        }
        // A message of nothing but a title: the title is what it says.
        let ours = both(r#""FromNick":"Mina","OfflinePushInfo":{"Title":"T"}"#, "en");
        assert_eq!(ours, ("Mina".into(), "T".into()));
    }

    #[test]
    fn the_readers_language_comes_first() {
        let info = r#""MsgBody":[],"OfflinePushInfo":{"Title":"T","Desc":"D",
            "MultiLanguageContent":[
            {"Language":"pt-PT","Title":"Tpt","Desc":"Dpt"},
            {"Language":"zh-Hant","Title":"Thant","Desc":"Dhant"},
            {"Language":"ko","Desc":"Dko"},
            {"Language":"ko-KR","Desc":"Dkr"},
            {"Language":"en","Title":"Ten"}]}"#;
        let table = [
            ("ko-KR", "T", "Dkr"),
            ("ko_kr", "T", "Dkr"),
            ("ko-KP", "T", "Dko"),
            ("pt-BR", "Tpt", "Dpt"),
            ("zh-TW", "Thant", "Dhant"),
            ("zh-Hant-HK", "Thant", "Dhant"),
            ("zh-CN", "T", "D"),
            ("en-GB", "Ten", "D"),
            ("sv", "T", "D"),
        ];
        for (locale, title, desc) in table {
            assert_eq!(both(info, locale), (title.into(), desc.into()), "{locale}");
        }
    }

    #[test]
    fn without_a_common_text_the_apps_language_and_then_any_speaks() {
        let entries = r#""MultiLanguageContent":[{"Language":"fr","Desc":"Dfr"},
            {"Language":"en","Title":"Ten","Desc":"Den"}]"#;
        let with_app = format!(r#""MsgBody":[{HI}],"OfflinePushInfo":{{{entries}}}"#);
        assert_eq!(both(&with_app, "sv"), ("Ten".into(), "Den".into()));
        let foreign = format!(
            r#""MsgBody":[{EMPTY_CUSTOM}],"OfflinePushInfo":{{"MultiLanguageContent":[
               {{"Language":"fr","Desc":"Dfr"}}]}}"#
        );
        assert_eq!(both(&foreign, "sv"), ("New message".into(), "Dfr".into()));
        let whole = r#""OfflinePushInfo":{"MultiLanguageContent":[
            {"Language":"fr","Title":"Tfr","Desc":"Dfr"}]}"#;
        assert_eq!(both(whole, "sv"), ("Tfr".into(), "Dfr".into()), "not half of it in another");
        let title = r#""OfflinePushInfo":{"MultiLanguageContent":[{"Language":"fr","Title":"T"}]}"#;
        assert_eq!(both(title, "sv"), ("New message".into(), "T".into()));
    }

    #[test]
    fn a_vendors_own_title_beats_the_common_one_but_not_the_readers_language() {
        let info = r#""MsgBody":[],"OfflinePushInfo":{"Title":"T","Desc":"D",
            "MultiLanguageContent":[{"Language":"ko","Title":"Tko"}]}"#;
        let message = message(info);
        let title = |locale| text_with_title(&message, Some("Own"), Some(locale), "en").title;
        assert_eq!((title("en"), title("ko")), ("Own".into(), "Tko".into()));
    }
}
