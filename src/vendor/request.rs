//! What building requests shares: URIs below an endpoint, form and JSON bodies, secrets in headers,
//! texts that no vendor refuses as blank, and times to live.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use unicode_segmentation::UnicodeSegmentation;

use crate::model::push_info::filled;
use crate::model::time::UnixMs;
use crate::transport::Request;
use crate::vendor::profile::Profile;
use crate::vendor::{AccessToken, Notification};

/// Stands where a vendor demands a text and the message has none.
pub const FALLBACK_TEXT: &str = "New message";

const FORM: &str = "application/x-www-form-urlencoded;charset=UTF-8";
const JSON: &str = "application/json; charset=UTF-8";

/// The URI that `url` names. Config has checked it; what cannot be read after all leads nowhere,
/// which the transport reports as not sent, so that nothing here can panic.
pub fn uri(url: &str) -> Uri {
    url.parse().unwrap_or_default()
}

/// Endpoints that a thread remembers having read: an operator has a handful.
const BASES_MAX: usize = 32;

thread_local! {
    static BASES: RefCell<Vec<(String, Rc<Base>)>> = const { RefCell::new(Vec::new()) };
}

/// Scheme, authority and path prefix of an endpoint; joining copies no more than the path.
pub struct Base {
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    prefix: String,
}

impl Base {
    /// The base that `url` names.
    pub fn of(url: &str) -> Rc<Self> {
        BASES.with_borrow_mut(|bases| {
            if let Some((_, base)) = bases.iter().find(|(known, _)| known == url) {
                return base.clone();
            }
            let base = Rc::new(Base::read(url));
            bases.truncate(BASES_MAX - 1);
            bases.push((url.to_owned(), base.clone()));
            base
        })
    }

    fn read(url: &str) -> Self {
        let parts = uri(url).into_parts();
        let prefix = parts.path_and_query.as_ref().map_or("", PathAndQuery::path);
        let prefix = prefix.trim_end_matches('/').to_owned();
        Base { scheme: parts.scheme, authority: parts.authority, prefix }
    }

    /// This base with the concatenation of `segments` as its path; they begin with a slash.
    pub fn join(&self, segments: &[&str]) -> Uri {
        let length = self.prefix.len() + segments.iter().map(|part| part.len()).sum::<usize>();
        let mut path = String::with_capacity(length);
        path.push_str(&self.prefix);
        segments.iter().for_each(|part| path.push_str(part));
        let mut parts = Parts::default();
        parts.scheme = self.scheme.clone();
        parts.authority = self.authority.clone();
        parts.path_and_query = PathAndQuery::from_maybe_shared(Bytes::from(path)).ok();
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// A `POST` of form fields, each percent-encoded once.
pub fn form<'a>(uri: Uri, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Request {
    let mut body = Serializer::new(String::new());
    for (name, value) in fields {
        body.append_pair(name, value);
    }
    post(uri, FORM, body.finish().into())
}

/// A `POST` of JSON text.
pub fn json(uri: Uri, body: String) -> Request {
    post(uri, JSON, body.into())
}

fn post(uri: Uri, content_type: &'static str, body: Bytes) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Request { method: Method::POST, uri, headers, body }
}

/// Puts a secret into `Authorization`, marked so that it is never printed. A text that no header
/// can hold is left out and the vendor answers that it is missing.
pub fn authorize(headers: &mut HeaderMap, value: String) {
    if let Ok(mut value) = HeaderValue::try_from(value) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
}

/// Puts an access token into `Authorization`, marked so that it is never printed. Every request of
/// an hour carries the same value, which is made once. It travels whole in each of them: Apple asks
/// to index it, but h2 puts this header's value into no HPACK table, whether it is marked or not.
pub fn authorize_by(headers: &mut HeaderMap, scheme: &str, access: &AccessToken) {
    let make = || {
        let text = [scheme, access.value.expose_secret()].join(" ");
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    };
    if let Some(value) = access.header.get_or_init(make) {
        headers.insert(AUTHORIZATION, value.clone());
    }
}

/// The message's value when it is filled, else the certificate's.
pub fn chosen<'a>(message: &'a Option<String>, certificate: &'a Option<String>) -> Option<&'a str> {
    filled(message).or_else(|| filled(certificate))
}

/// Title and text as sent: never blank and within the profile's limits.
///
/// A blank title becomes the beginning of the text, which needs no language of ours; a blank text
/// becomes [`FALLBACK_TEXT`].
pub fn texts<'a>(
    notification: &'a Notification,
    profile: &Profile,
    big: bool,
) -> (Cow<'a, str>, Cow<'a, str>) {
    let body = visible(&notification.body).unwrap_or(FALLBACK_TEXT);
    let title = visible(&notification.title).unwrap_or(body);
    let body_max = if big { profile.big_body_units_max } else { profile.body_units_max };
    (at_most(title, profile.title_units_max), at_most(body, body_max))
}

fn visible(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.trim().is_empty())
}

/// The longest beginning of whole grapheme clusters within `units_max` UTF-16 units.
fn at_most(text: &str, units_max: Option<usize>) -> Cow<'_, str> {
    let Some(mut left) = units_max else { return text.into() };
    // Bytes are never fewer than UTF-16 units: most texts need no counting.
    if text.len() <= left {
        return text.into();
    }
    let mut end = 0;
    for (at, cluster) in text.grapheme_indices(true) {
        let units = cluster.encode_utf16().count();
        if units > left {
            break;
        }
        left -= units;
        end = at + cluster.len();
    }
    text[..end].into()
}

/// Pass-through text: `Ext`, or the message id where there is none, so that the app can always
/// find the message that rang.
pub fn pass_through(notification: &Notification) -> Cow<'_, str> {
    match filled(&notification.ext) {
        Some(ext) => ext.into(),
        None => {
            let mut object = Map::new();
            object.insert("message_id".into(), Value::from(notification.message_id.as_str()));
            Value::Object(object).to_string().into()
        }
    }
}

/// How long the push is worth keeping, from one second to `most`.
pub fn time_to_live(notification: &Notification, now: UnixMs, most: Duration) -> Duration {
    notification.expires_at.since(now).clamp(Duration::from_secs(1), most)
}

/// Name of a sound resource: callers write it with an extension, a folder, or neither.
pub fn sound_name(sound: &str) -> &str {
    let file = sound.rsplit('/').next().unwrap_or(sound);
    file.split('.').next().filter(|name| !name.is_empty()).unwrap_or(file)
}

/// Whether an Android page is named by an action (`com.app.OPEN_CHAT`) and not by a class
/// (`com.app.ChatActivity`): actions end in an upper-case word, classes never do.
pub fn is_action(page: &str) -> bool {
    let last = page.rsplit('.').next().unwrap_or(page);
    let upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    last.bytes().any(|byte| byte.is_ascii_uppercase()) && last.bytes().all(upper)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::message::Priority;
    use crate::model::push_info::OfflinePushInfo;
    use crate::vendor::{Kind, xiaomi::XIAOMI};

    fn notification() -> Notification {
        Notification {
            kind: Kind::Alert,
            title: "Mina".into(),
            body: "hi".into(),
            subtitle: None,
            ext: None,
            image: None,
            sound: None,
            message_id: "m-1".into(),
            conversation: "c2c:mina".into(),
            notify_id: 42,
            replaces: None,
            expires_at: UnixMs(10_000),
            priority: Priority::Normal,
            info: Arc::new(OfflinePushInfo::default()),
        }
    }

    #[test]
    fn paths_are_joined_to_the_endpoint() {
        let join = |url| Base::of(url).join(&["/3/device/", "00ff"]).to_string();
        assert_eq!(join("https://api.example"), "https://api.example/3/device/00ff");
        assert_eq!(join("http://127.0.0.1:9/apns/"), "http://127.0.0.1:9/apns/3/device/00ff");
    }

    #[test]
    fn an_unreadable_base_or_path_never_panics() {
        assert_eq!(Base::of("not a url").join(&["/x"]).host(), None);
        assert_eq!(Base::of("https://a").join(&["/with blank"]).host(), None);
    }

    #[test]
    fn a_blank_title_is_the_beginning_of_the_text() {
        let (title, body) = (" ".to_owned(), "å".repeat(60));
        let notification = Notification { title, body, ..notification() };
        let (title, body) = texts(&notification, &XIAOMI, false);
        assert_eq!(title.chars().count(), 49);
        assert_eq!(body.chars().count(), 60);
    }

    #[test]
    fn a_message_without_words_still_says_something() {
        let notification =
            Notification { title: String::new(), body: "\n".into(), ..notification() };
        let (title, body) = texts(&notification, &XIAOMI, false);
        assert_eq!((title.as_ref(), body.as_ref()), (FALLBACK_TEXT, FALLBACK_TEXT));
    }

    #[test]
    fn cutting_never_splits_an_emoji() {
        let family = "👨‍👩‍👧";
        assert_eq!(at_most(&format!("ab{family}"), Some(9)), "ab");
        assert_eq!(at_most(&format!("ab{family}"), Some(10)), format!("ab{family}"));
    }

    #[test]
    fn a_life_time_is_at_least_a_second() {
        let most = Duration::from_secs(8);
        let live = |now| time_to_live(&notification(), UnixMs(now), most).as_secs();
        assert_eq!((live(0), live(5_000), live(99_000)), (8, 5, 1));
    }

    #[test]
    fn actions_and_classes_are_told_apart() {
        assert!(is_action("com.app.OPEN_CHAT") && is_action("OPEN"));
        assert!(!is_action("com.app.ChatActivity") && !is_action("com.app.chat"));
    }

    #[test]
    fn a_sound_is_named_without_folder_and_extension() {
        assert_eq!(
            ["ding", "/raw/ding", "ding.mp3", "/raw/ding.caf", ".x"].map(sound_name),
            ["ding", "ding", "ding", "ding", ".x"]
        );
    }
}
