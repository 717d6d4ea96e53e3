//! The fixed words of notifications, by language.
//!
//! Chinese and English words of the elements are Tencent's (trtc.io/document/33527 and the older
//! iOS text of product/269/44517); the others are our own. How Tencent chooses between its two
//! languages is not documented; here the device's locale chooses, then the app's default, then
//! English.

/// One language's words. Those of elements stand in brackets, as Tencent writes them.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// `TIMImageElem`.
    pub image: &'static str,
    /// `TIMSoundElem`.
    pub voice: &'static str,
    /// `TIMFileElem`.
    pub file: &'static str,
    /// `TIMVideoFileElem`.
    pub video: &'static str,
    /// `TIMLocationElem`.
    pub location: &'static str,
    /// `TIMFaceElem`.
    pub face: &'static str,
    /// `TIMRelayElem`.
    pub forwarded: &'static str,
    /// A neutral title, for messages whose sender has no name that may be shown.
    pub new_message: &'static str,
    /// A neutral text, where there is none or none may be shown.
    pub you_have_new_message: &'static str,
    /// How many messages came while nobody was to be disturbed; `{n}` is the number, two or more.
    pub new_messages: &'static str,
    /// In place of a message that its sender took back.
    pub recalled: &'static str,
}

impl Words {
    /// The sentence for so many new messages.
    pub fn count(&self, messages: usize) -> String {
        match messages {
            0 | 1 => self.you_have_new_message.to_owned(),
            more => self.new_messages.replace("{n}", &more.to_string()),
        }
    }
}

/// The words for a device: its own language, else the app's, else English.
pub fn words(locale: Option<&str>, default_locale: &str) -> &'static Words {
    locale.and_then(known).or_else(|| known(default_locale)).unwrap_or(&ENGLISH)
}

/// The parts of a language tag; both `zh-Hant-TW` and Android's `zh_TW_#Hant` are understood.
pub fn subtags(tag: &str) -> impl Iterator<Item = &str> {
    tag.split(['-', '_', '#', '.', '@']).filter(|part| !part.is_empty())
}

/// Whether a Chinese tag means the traditional script: by its script, else by its region.
pub fn is_traditional(tag: &str) -> bool {
    let named = |names: &[&str]| {
        subtags(tag).skip(1).any(|part| names.iter().any(|name| part.eq_ignore_ascii_case(name)))
    };
    named(&["Hant"]) || (!named(&["Hans"]) && named(&["TW", "HK", "MO"]))
}

fn known(locale: &str) -> Option<&'static Words> {
    let language = subtags(locale).next()?;
    if language.eq_ignore_ascii_case("zh") {
        return Some(if is_traditional(locale) { &TRADITIONAL_CHINESE } else { &CHINESE });
    }
    BY_LANGUAGE
        .iter()
        .find(|(code, _)| language.eq_ignore_ascii_case(code))
        .map(|(_, words)| *words)
}

/// Every language but Chinese, whose two scripts need more than the language code. `in` is what
/// old Android versions call Indonesian.
const BY_LANGUAGE: &[(&str, &Words)] = &[
    ("en", &ENGLISH),
    ("ja", &JAPANESE),
    ("ko", &KOREAN),
    ("es", &SPANISH),
    ("fr", &FRENCH),
    ("de", &GERMAN),
    ("pt", &PORTUGUESE),
    ("ru", &RUSSIAN),
    ("ar", &ARABIC),
    ("vi", &VIETNAMESE),
    ("th", &THAI),
    ("id", &INDONESIAN),
    ("in", &INDONESIAN),
    ("hi", &HINDI),
];

const ENGLISH: Words = Words {
    image: "[Image]",
    voice: "[Voice]",
    file: "[File]",
    video: "[Video]",
    location: "[Location]",
    face: "[Face]",
    forwarded: "[Chat History]",
    new_message: "New message",
    you_have_new_message: "You have a new message",
    new_messages: "{n} new messages",
    recalled: "This message was recalled",
};

const CHINESE: Words = Words {
    image: "[图片]",
    voice: "[语音]",
    file: "[文件]",
    video: "[视频]",
    location: "[位置]",
    face: "[表情]",
    forwarded: "[聊天记录]",
    new_message: "新消息",
    you_have_new_message: "你收到一条新消息",
    new_messages: "{n}条新消息",
    recalled: "此消息已撤回",
};

const TRADITIONAL_CHINESE: Words = Words {
    image: "[圖片]",
    voice: "[語音]",
    file: "[檔案]",
    video: "[影片]",
    location: "[位置]",
    face: "[表情]",
    forwarded: "[聊天記錄]",
    new_message: "新訊息",
    you_have_new_message: "你收到一則新訊息",
    new_messages: "{n}則新訊息",
    recalled: "此訊息已收回",
};

const JAPANESE: Words = Words {
    image: "[画像]",
    voice: "[ボイスメッセージ]",
    file: "[ファイル]",
    video: "[動画]",
    location: "[位置情報]",
    face: "[スタンプ]",
    forwarded: "[チャット履歴]",
    new_message: "新着メッセージ",
    you_have_new_message: "新しいメッセージがあります",
    new_messages: "新着メッセージ{n}件",
    recalled: "このメッセージは取り消されました",
};

const KOREAN: Words = Words {
    image: "[사진]",
    voice: "[음성 메시지]",
    file: "[파일]",
    video: "[동영상]",
    location: "[위치]",
    face: "[이모티콘]",
    forwarded: "[대화 내용]",
    new_message: "새 메시지",
    you_have_new_message: "새 메시지가 도착했습니다",
    new_messages: "새 메시지 {n}개",
    recalled: "회수된 메시지입니다",
};

const SPANISH: Words = Words {
    image: "[Imagen]",
    voice: "[Mensaje de voz]",
    file: "[Archivo]",
    video: "[Vídeo]",
    location: "[Ubicación]",
    face: "[Emoji]",
    forwarded: "[Historial de chat]",
    new_message: "Mensaje nuevo",
    you_have_new_message: "Tienes un mensaje nuevo",
    new_messages: "{n} mensajes nuevos",
    recalled: "Se retiró este mensaje",
};

const FRENCH: Words = Words {
    image: "[Image]",
    voice: "[Message vocal]",
    file: "[Fichier]",
    video: "[Vidéo]",
    location: "[Position]",
    face: "[Émoticône]",
    forwarded: "[Historique de discussion]",
    new_message: "Nouveau message",
    you_have_new_message: "Vous avez un nouveau message",
    new_messages: "{n} nouveaux messages",
    recalled: "Ce message a été retiré",
};

const GERMAN: Words = Words {
    image: "[Bild]",
    voice: "[Sprachnachricht]",
    file: "[Datei]",
    video: "[Video]",
    location: "[Standort]",
    face: "[Emoji]",
    forwarded: "[Chatverlauf]",
    new_message: "Neue Nachricht",
    you_have_new_message: "Du hast eine neue Nachricht",
    new_messages: "{n} neue Nachrichten",
    recalled: "Diese Nachricht wurde zurückgezogen",
};

const PORTUGUESE: Words = Words {
    image: "[Imagem]",
    voice: "[Mensagem de voz]",
    file: "[Arquivo]",
    video: "[Vídeo]",
    location: "[Localização]",
    face: "[Emoji]",
    forwarded: "[Histórico da conversa]",
    new_message: "Nova mensagem",
    you_have_new_message: "Você tem uma nova mensagem",
    new_messages: "{n} novas mensagens",
    recalled: "Esta mensagem foi recolhida",
};

const RUSSIAN: Words = Words {
    image: "[Изображение]",
    voice: "[Голосовое сообщение]",
    file: "[Файл]",
    video: "[Видео]",
    location: "[Местоположение]",
    face: "[Эмодзи]",
    forwarded: "[История чата]",
    new_message: "Новое сообщение",
    you_have_new_message: "У вас новое сообщение",
    new_messages: "Новых сообщений: {n}",
    recalled: "Сообщение отозвано",
};

const ARABIC: Words = Words {
    image: "[صورة]",
    voice: "[رسالة صوتية]",
    file: "[ملف]",
    video: "[فيديو]",
    location: "[موقع]",
    face: "[رمز تعبيري]",
    forwarded: "[سجل المحادثة]",
    new_message: "رسالة جديدة",
    you_have_new_message: "لديك رسالة جديدة",
    new_messages: "رسائل جديدة: {n}",
    recalled: "تم سحب هذه الرسالة",
};

const VIETNAMESE: Words = Words {
    image: "[Hình ảnh]",
    voice: "[Tin nhắn thoại]",
    file: "[Tệp]",
    video: "[Video]",
    location: "[Vị trí]",
    face: "[Biểu tượng cảm xúc]",
    forwarded: "[Lịch sử trò chuyện]",
    new_message: "Tin nhắn mới",
    you_have_new_message: "Bạn có tin nhắn mới",
    new_messages: "{n} tin nhắn mới",
    recalled: "Tin nhắn này đã bị thu hồi",
};

const THAI: Words = Words {
    image: "[รูปภาพ]",
    voice: "[ข้อความเสียง]",
    file: "[ไฟล์]",
    video: "[วิดีโอ]",
    location: "[ตำแหน่งที่ตั้ง]",
    face: "[อีโมจิ]",
    forwarded: "[ประวัติการแชท]",
    new_message: "ข้อความใหม่",
    you_have_new_message: "คุณมีข้อความใหม่",
    new_messages: "ข้อความใหม่ {n} ข้อความ",
    recalled: "ข้อความนี้ถูกเรียกคืนแล้ว",
};

const INDONESIAN: Words = Words {
    image: "[Gambar]",
    voice: "[Pesan suara]",
    file: "[File]",
    video: "[Video]",
    location: "[Lokasi]",
    face: "[Emoji]",
    forwarded: "[Riwayat obrolan]",
    new_message: "Pesan baru",
    you_have_new_message: "Anda memiliki pesan baru",
    new_messages: "{n} pesan baru",
    recalled: "Pesan ini telah ditarik",
};

const HINDI: Words = Words {
    image: "[चित्र]",
    voice: "[वॉइस संदेश]",
    file: "[फ़ाइल]",
    video: "[वीडियो]",
    location: "[स्थान]",
    face: "[इमोजी]",
    forwarded: "[चैट इतिहास]",
    new_message: "नया संदेश",
    you_have_new_message: "आपके लिए एक नया संदेश है",
    new_messages: "{n} नए संदेश",
    recalled: "यह संदेश वापस ले लिया गया",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_chooses_its_words_however_it_is_written() {
        let table = [
            ("zh", "[图片]"),
            ("zh-Hans-HK", "[图片]"),
            ("ZH_cn", "[图片]"),
            ("zh-TW", "[圖片]"),
            ("zh_TW_#Hant", "[圖片]"),
            ("zh-Hant", "[圖片]"),
            ("en-GB", "[Image]"),
            ("ja-JP", "[画像]"),
            ("ko_KR", "[사진]"),
            ("es-419", "[Imagen]"),
            ("fr-CA", "[Image]"),
            ("de", "[Bild]"),
            ("pt-BR", "[Imagem]"),
            ("ru-RU", "[Изображение]"),
            ("ar-EG", "[صورة]"),
            ("vi", "[Hình ảnh]"),
            ("th-TH", "[รูปภาพ]"),
            ("in_ID", "[Gambar]"),
            ("hi-IN", "[चित्र]"),
        ];
        for (locale, image) in table {
            assert_eq!(words(Some(locale), "ru").image, image, "{locale}");
        }
    }

    #[test]
    fn an_unknown_locale_falls_back_to_the_apps_and_then_to_english() {
        assert_eq!(words(Some("tlh"), "ko"), &KOREAN);
        assert_eq!(words(None, "ko"), &KOREAN);
        assert_eq!(words(Some(""), ""), &ENGLISH);
        assert_eq!(words(Some("--"), "xx-YY"), &ENGLISH);
    }

    #[test]
    fn no_language_lacks_a_word_and_element_words_stand_in_brackets() {
        let all = BY_LANGUAGE.iter().map(|(_, words)| *words);
        for words in all.chain([&CHINESE, &TRADITIONAL_CHINESE]) {
            let bracketed = [
                words.image,
                words.voice,
                words.file,
                words.video,
                words.location,
                words.face,
                words.forwarded,
            ];
            for word in bracketed {
                assert!(word.len() > 2 && word.starts_with('[') && word.ends_with(']'), "{word}");
            }
            assert!(!words.new_message.is_empty() && !words.you_have_new_message.is_empty());
            assert!(words.count(12).contains("12") && !words.recalled.is_empty());
            assert_eq!(words.count(1), words.you_have_new_message);
        }
    }
}
