//! How long a notification may be, and shortening it.
//!
//! Two limits hold. Some vendors cut titles and texts at a number of UTF-16 units (reference 1.5
//! after product/269/133879); all have a largest payload. A text too long ends in an ellipsis of
//! three full stops, which costs three units of its limit as in Tencent's rule. A cut never falls
//! inside a grapheme cluster, so neither a surrogate pair, nor an emoji of several code points,
//! nor a letter and its marks are torn.

use unicode_segmentation::UnicodeSegmentation;

use crate::model::push_info::OfflinePushInfo;
use crate::vendor::profile::Profile;
use crate::vendor::{Kind, Notification, SendingCertificate, Vendor};

/// What a shortened text ends in; its length is the same in bytes and in UTF-16 units.
pub const ELLIPSIS: &str = "...";

/// A payload that cannot be made small enough: everything but title and text is untouchable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the payload has {size} bytes with its texts at their shortest, at most {limit} are allowed"
)]
pub struct RenderRefusal {
    /// Bytes with title and text at their shortest.
    pub size: usize,
    /// Most bytes the vendor takes for this kind of push.
    pub limit: usize,
}

/// Applies the vendor's limits of title and text; whether either was shortened.
pub fn fit_texts(notification: &mut Notification, profile: &Profile) -> bool {
    let body_max = body_units_max(profile, &notification.info);
    let title = profile.title_units_max.is_some_and(|max| shorten(&mut notification.title, max));
    let body = body_max.is_some_and(|max| shorten(&mut notification.body, max));
    title || body
}

/// Makes the payload small enough: the text gives way first, then the title, never `Ext`. Whether
/// anything was shortened.
///
/// # Errors
/// When the rest alone is too large.
pub fn fit_payload(
    notification: &mut Notification,
    vendor: &dyn Vendor,
    certificate: &SendingCertificate,
) -> Result<bool, RenderRefusal> {
    let limit = payload_bytes_max(vendor.profile(), notification.kind);
    let measure = |notification: &Notification| vendor.payload_bytes(certificate, notification);
    if measure(notification) <= limit {
        return Ok(false);
    }
    if shrink(notification, |n| &mut n.body, limit, &measure) <= limit {
        return Ok(true);
    }
    let size = shrink(notification, |n| &mut n.title, limit, &measure);
    if size <= limit { Ok(true) } else { Err(RenderRefusal { size, limit }) }
}

/// Cuts a text to at most `units_max` UTF-16 units, ellipsis included; whether it had to.
pub fn shorten(text: &mut String, units_max: usize) -> bool {
    // No character has more UTF-16 units than UTF-8 bytes.
    if text.len() <= units_max || units(text) <= units_max {
        return false;
    }
    text.truncate(prefix(text, units_max.saturating_sub(ELLIPSIS.len()), units));
    if units_max >= ELLIPSIS.len() {
        text.push_str(ELLIPSIS);
    }
    true
}

fn body_units_max(profile: &Profile, info: &OfflinePushInfo) -> Option<usize> {
    match (info.android_info.push_style, profile.big_body_units_max) {
        (Some(1), Some(big)) => Some(big),
        _ => profile.body_units_max,
    }
}

fn payload_bytes_max(profile: &Profile, kind: Kind) -> usize {
    match kind {
        Kind::Voip => profile.voip_payload_bytes_max,
        Kind::Alert | Kind::Silent | Kind::LiveActivity => profile.payload_bytes_max,
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Bytes of the longest run of whole grapheme clusters that measures at most `max`.
fn prefix(text: &str, max: usize, measure: fn(&str) -> usize) -> usize {
    let mut used = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        used += measure(grapheme);
        if used > max {
            return at;
        }
    }
    text.len()
}

/// Shortens one text as far as the limit needs, at worst to the ellipsis alone; the payload's
/// size after that. How the vendor escapes is unknown here, so the longest text that fits is
/// searched for by measuring: about fourteen times for the largest text a message can have.
fn shrink(
    notification: &mut Notification,
    part: fn(&mut Notification) -> &mut String,
    limit: usize,
    measure: &impl Fn(&Notification) -> usize,
) -> usize {
    if part(notification).len() <= ELLIPSIS.len() {
        return measure(notification);
    }
    let whole = std::mem::take(part(notification));
    // It may end in an ellipsis already; two would look odd.
    let whole = whole.strip_suffix(ELLIPSIS).unwrap_or(&whole);
    let mut measured = |bytes: usize| {
        let kept = &whole[..prefix(whole, bytes, str::len)];
        *part(notification) = [kept, ELLIPSIS].concat();
        measure(notification)
    };
    let shortest = measured(0);
    if shortest > limit {
        return shortest;
    }
    let (mut fitting, mut too_long) = (0, whole.len());
    while too_long - fitting > 1 {
        let middle = fitting + (too_long - fitting) / 2;
        if measured(middle) <= limit {
            fitting = middle;
        } else {
            too_long = middle;
        }
    }
    measured(fitting)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::render::stub::{Stub, certificate, notification};

    fn shortened(text: &str, units_max: usize) -> (String, bool) {
        let mut text = text.to_owned();
        let cut = shorten(&mut text, units_max);
        (text, cut)
    }

    #[test]
    fn a_text_at_its_limit_stays_and_one_unit_more_costs_three() {
        assert_eq!(shortened("12345678", 8), ("12345678".into(), false));
        assert_eq!(shortened("123456789", 8), ("12345...".into(), true));
        assert_eq!(shortened("你好世界朋友们", 7), ("你好世界朋友们".into(), false));
        assert_eq!(shortened("你好世界朋友们", 6), ("你好世...".into(), true));
        assert_eq!(shortened("123", 2), (String::new(), true));
    }

    #[test]
    fn a_cut_steps_back_before_what_it_would_tear() {
        // A surrogate pair, a family of seven code points, a flag, a jamo syllable, a mark.
        assert_eq!(shortened("ab😀cdef", 6), ("ab...".into(), true));
        assert_eq!(shortened("a👨‍👩‍👧‍👦bcd", 9), ("a...".into(), true));
        assert_eq!(shortened("a🇰🇷bcdef", 7), ("a...".into(), true));
        assert_eq!(shortened("a\u{1112}\u{1161}\u{11ab}bcde", 6), ("a...".into(), true));
        assert_eq!(shortened("ae\u{301}bcde", 5), ("a...".into(), true));
    }

    #[test]
    fn big_text_has_its_own_limit_where_the_vendor_has_one() {
        let stub = Stub::android();
        let profile = stub.profile();
        let mut info = OfflinePushInfo::default();
        assert_eq!(body_units_max(profile, &info), Some(50));
        info.android_info.push_style = Some(1);
        assert_eq!(body_units_max(profile, &info), Some(128));
        assert_eq!(body_units_max(Stub::apple().profile(), &info), None);
    }

    #[test]
    fn the_text_gives_way_before_the_title_and_ext_never() {
        let stub = Stub::apple();
        let limit = stub.profile().payload_bytes_max;
        let mut push = notification(&"t".repeat(100), &"b".repeat(2 * limit));
        push.ext = Some("e".repeat(limit / 2));
        assert_eq!(fit_payload(&mut push, &stub, &certificate()), Ok(true));
        assert_eq!(push.title, "t".repeat(100));
        assert!(push.body.starts_with('b') && push.body.ends_with(ELLIPSIS));
        // Nothing was cut that fits.
        assert_eq!(stub.payload_bytes(&certificate(), &push), limit);

        let mut push = notification(&"t".repeat(2 * limit), "body");
        assert_eq!(fit_payload(&mut push, &stub, &certificate()), Ok(true));
        assert_eq!(push.body, ELLIPSIS);
        assert!(push.title.starts_with('t') && push.title.ends_with(ELLIPSIS));

        let mut push = notification("title", "body");
        push.ext = Some("e".repeat(limit));
        let refusal = fit_payload(&mut push, &stub, &certificate()).expect_err("ext is too large");
        assert!(refusal.size > limit && refusal.limit == limit);
        assert_eq!(push.ext, Some("e".repeat(limit)));
    }

    #[test]
    fn a_voip_push_has_its_own_limit() {
        let stub = Stub::apple();
        let mut push = notification("title", &"b".repeat(stub.profile().payload_bytes_max));
        push.kind = Kind::Voip;
        assert_eq!(fit_payload(&mut push, &stub, &certificate()), Ok(false));
        push.kind = Kind::Alert;
        assert_eq!(fit_payload(&mut push, &stub, &certificate()), Ok(true));
    }

    /// Pieces that are torn easily, in any order: what joins what is the library's business.
    fn tricky() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "a",
            " ",
            "é",
            "你",
            "😀",
            "👍🏽",
            "👨‍👩‍👧‍👦",
            "🏳️‍🌈",
            "🇰🇷",
            "🇩",
            "\u{200d}",
            "\u{fe0f}",
            "\u{1112}",
            "\u{1161}",
            "\u{11ab}",
            "한",
            "\u{301}",
            "\u{20dd}",
            "क्षि",
            "ที่",
            "שלום",
            "مرحبا",
            "\u{202e}",
            "\u{2067}",
            "\r\n",
            "\"",
            "\\",
            "\u{1}",
            ".",
        ]);
        prop::collection::vec(pieces, 0..80).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_shortened_text_is_whole_graphemes_within_its_limit(
            text in tricky(),
            units_max in 0usize..120,
        ) {
            let (short, cut) = shortened(&text, units_max);
            prop_assert!(units(&short) <= units_max);
            prop_assert_eq!(cut, units(&text) > units_max);
            if !cut {
                prop_assert_eq!(&short, &text);
            } else {
                let kept = if units_max >= ELLIPSIS.len() {
                    short.strip_suffix(ELLIPSIS).expect("a cut text ends in an ellipsis")
                } else {
                    &short
                };
                prop_assert!(text.starts_with(kept));
                let boundary = text.grapheme_indices(true).any(|(at, _)| at == kept.len());
                prop_assert!(boundary, "{:?} is torn from {:?}", kept, text);
                // The next grapheme would not have fitted: nothing is cut needlessly.
                let next = text[kept.len()..].graphemes(true).next().expect("something was cut");
                prop_assert!(units(kept) + units(next) + ELLIPSIS.len() > units_max);
            }
        }

        #[test]
        fn a_payload_ends_up_fitting_or_is_refused_with_its_ext_untouched(
            title in tricky(),
            body in tricky(),
            ext in prop::option::of(tricky()),
            limit in 0usize..1_500,
            escapes in any::<bool>(),
        ) {
            let stub = Stub::with_payload_limit(limit, escapes);
            let mut push = notification(&title, &body);
            push.ext.clone_from(&ext);
            match fit_payload(&mut push, &stub, &certificate()) {
                Ok(cut) => {
                    prop_assert!(stub.payload_bytes(&certificate(), &push) <= limit);
                    prop_assert_eq!(cut, push.body != body || push.title != title);
                }
                Err(refusal) => {
                    prop_assert!(refusal.size > limit);
                    prop_assert!(push.body.len() <= ELLIPSIS.len());
                    prop_assert!(push.title.len() <= ELLIPSIS.len());
                }
            }
            prop_assert_eq!(push.ext, ext);
        }
    }
}
