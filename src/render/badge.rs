//! The number on the app's icon.
//!
//! A message that says `BadgeSetNum` decides; else one that says `BadgeAddNum`; else the message
//! counts one, unless its `BadgeMode` or `NoUnread` says it does not count (reference 1.1 and 6.5
//! after trtc.io/document/77715). Where deliveries may differ in their number the device's own
//! count, seeded by its reports, becomes an absolute number; elsewhere the vendor adds.

use crate::model::message::Message;
use crate::model::push_info::BADGE_MAX;
use crate::vendor::profile::Badges;
use crate::vendor::{Badge, Kind, Vendor};

/// What becomes of one device's badge, and its unread count after this message. `kind` is the
/// rendered notification's; `unread` is the count before.
pub fn badge(
    message: &Message,
    vendor: &dyn Vendor,
    kind: Kind,
    unread: u32,
) -> (Option<Badge>, u32) {
    // Apple allows no badge in other kinds, and they show nothing that one could count.
    let absolute = match (vendor.profile().badges, kind) {
        (Badges::PerTarget, Kind::Alert) => true,
        (Badges::PerParcel, Kind::Alert) => false,
        (Badges::None, _) | (_, Kind::Silent | Kind::Voip | Kind::LiveActivity) => {
            return (None, unread);
        }
    };
    let info = &message.push;
    if let Some(number) = info.badge_set_num {
        let shown = if absolute { number } else { number.min(BADGE_MAX) };
        return (Some(Badge::Set(shown)), shown);
    }
    let counts =
        info.badge_add_num.is_some() || !(message.no_unread || vendor.own(info).keeps_badge);
    if !counts {
        return (None, unread);
    }
    let more = info.badge_add_num.unwrap_or(1);
    let after = match total(message) {
        Some(total) if info.badge_add_num.is_none() => total,
        _ => unread.saturating_add(more),
    };
    let badge = if absolute { Badge::Set(after) } else { Badge::Add(more) };
    (Some(badge), after)
}

/// The receiver's total as the producer counted it. Several receivers cannot share one total.
fn total(message: &Message) -> Option<u32> {
    if message.receivers.len() == 1 { message.unread } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::stub::{Stub, message};

    fn check(rest: &str, absolute: (Option<Badge>, u32), adding: (Option<Badge>, u32)) {
        let message = message(rest);
        assert_eq!(badge(&message, &Stub::apple(), Kind::Alert, 7), absolute, "absolute: {rest}");
        assert_eq!(badge(&message, &Stub::android(), Kind::Alert, 7), adding, "adding: {rest}");
    }

    fn with(fields: &str) -> String {
        let body = r#""MsgBody":[{"MsgType":"TIMTextElem","MsgContent":{"Text":"x"}}]"#;
        if fields.is_empty() { body.to_owned() } else { format!("{body},{fields}") }
    }

    #[test]
    fn the_badge_follows_the_first_rule_that_speaks() {
        use Badge::{Add, Set};
        let push = |info: &str| with(&format!(r#""OfflinePushInfo":{{{info}}}"#));
        check(&with(""), (Some(Set(8)), 8), (Some(Add(1)), 8));
        check(&with(r#""UnreadMsgNum":31"#), (Some(Set(31)), 31), (Some(Add(1)), 31));
        check(&with(r#""SendMsgControl":["NoUnread"]"#), (None, 7), (None, 7));
        check(&push(r#""BadgeAddNum":5"#), (Some(Set(12)), 12), (Some(Add(5)), 12));
        check(&push(r#""BadgeSetNum":0"#), (Some(Set(0)), 0), (Some(Set(0)), 0));
        check(&push(r#""BadgeSetNum":999"#), (Some(Set(999)), 999), (Some(Set(99)), 99));
        check(
            &push(r#""BadgeSetNum":3,"BadgeAddNum":5,"ApnsInfo":{"BadgeMode":1}"#),
            (Some(Set(3)), 3),
            (Some(Set(3)), 3),
        );
        // Only Apple's vendor knows BadgeMode.
        check(&push(r#""ApnsInfo":{"BadgeMode":1}"#), (None, 7), (Some(Add(1)), 8));
        check(&push(r#""ApnsInfo":{"BadgeMode":0}"#), (Some(Set(8)), 8), (Some(Add(1)), 8));
        check(
            &with(r#""SendMsgControl":["NoUnread"],"OfflinePushInfo":{"BadgeAddNum":2}"#),
            (Some(Set(9)), 9),
            (Some(Add(2)), 9),
        );
    }

    #[test]
    fn a_total_counts_for_a_single_receiver_only() {
        let mut message = message(&with(r#""UnreadMsgNum":31"#));
        message.receivers.push("another".into());
        let counted = badge(&message, &Stub::apple(), Kind::Alert, 7);
        assert_eq!(counted, (Some(Badge::Set(8)), 8));
    }

    #[test]
    fn a_push_that_shows_nothing_leaves_the_badge_alone() {
        let message = message(&with(r#""OfflinePushInfo":{"BadgeSetNum":3}"#));
        for kind in [Kind::Silent, Kind::Voip, Kind::LiveActivity] {
            assert_eq!(badge(&message, &Stub::apple(), kind, 7), (None, 7));
        }
    }

    #[test]
    fn nothing_is_counted_for_a_vendor_that_shows_no_badge() {
        let message = message(&with(r#""OfflinePushInfo":{"BadgeSetNum":3}"#));
        assert_eq!(badge(&message, &Stub::without_badges(), Kind::Alert, 7), (None, 7));
    }

    #[test]
    fn a_count_at_its_end_stays_there() {
        let message = message(&with(""));
        let counted = badge(&message, &Stub::apple(), Kind::Alert, u32::MAX);
        assert_eq!(counted, (Some(Badge::Set(u32::MAX)), u32::MAX));
    }
}
