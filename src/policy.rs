//! May it ring? An ordered list of plain functions; the first that speaks decides.
//!
//! A rule sees [`Facts`] and nothing else: no store, no clock, no message. Facts are small and are
//! kept in the trace, so `explain` can ask every rule again and show what each saw, and a changed
//! setting can be tried on yesterday's messages.
//!
//! The same list runs when a message is accepted and again, on fresh facts, before each sending.

use serde_json::{Value, json};

use crate::model::app::HonourMute;
use crate::model::certificate::CertificateStatus;
use crate::model::device::{Presence, TokenState};
use crate::model::reason::Reason;
use crate::model::time::UnixMs;
use crate::preferences::receive::{ReceiveOption, lets_through};

mod facts;

pub use facts::{
    CertificateFacts, DeviceFacts, Facts, MessageFacts, Phase, ReceiverFacts, RuleSettings,
    WindowFacts,
};

/// A rule's no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which rule.
    pub rule: &'static str,
    /// Why.
    pub reason: Reason,
    /// When the same message would be allowed, as far as is known.
    pub next_allowed_at: Option<UnixMs>,
}

/// Why not, and until when as far as is known.
type No = (Reason, Option<UnixMs>);

/// One rule.
pub struct Rule {
    /// Its name in `explain`.
    pub name: &'static str,
    /// Says no, or nothing.
    decide: fn(&Facts<'_>) -> Option<No>,
    /// What it looked at.
    saw: fn(&Facts<'_>) -> Value,
}

/// The rules, in the order they are asked (design, section 6).
pub const RULES: &[Rule] = &[
    Rule {
        name: "duplicate",
        decide: |facts| facts.receiver.duplicate_of.map(|_| (Reason::Duplicate, None)),
        saw: |facts| json!({ "of": facts.receiver.duplicate_of.map(|id| id.to_string()) }),
    },
    Rule {
        name: "send_failed",
        decide: |facts| facts.message.send_failed.then_some((Reason::SendFailed, None)),
        saw: |facts| json!({ "send_failed": facts.message.send_failed }),
    },
    Rule {
        name: "no_push_flag",
        decide: |facts| facts.message.no_push.then_some((Reason::NoPushFlag, None)),
        saw: |facts| json!({ "push_flag": u8::from(facts.message.no_push) }),
    },
    Rule {
        name: "online_only",
        decide: |facts| facts.message.online_only.then_some((Reason::OnlineOnly, None)),
        saw: |facts| json!({ "online_only": facts.message.online_only }),
    },
    Rule {
        name: "empty_custom_desc",
        decide: |facts| nothing_to_show(facts).then_some((Reason::EmptyCustomDesc, None)),
        saw: |facts| json!({ "empty": nothing_to_show(facts) }),
    },
    Rule {
        name: "self",
        decide: |facts| facts.receiver.is_sender.then_some((Reason::SelfSent, None)),
        saw: |facts| json!({ "is_sender": facts.receiver.is_sender }),
    },
    Rule {
        name: "push_disabled",
        decide: |facts| (!facts.receiver.push_enabled).then_some((Reason::PushDisabled, None)),
        saw: |facts| json!({ "push_enabled": facts.receiver.push_enabled }),
    },
    Rule { name: "receive_option", decide: receive_option, saw: saw_receive_option },
    Rule {
        name: "do_not_disturb",
        decide: |facts| {
            let window = facts.receiver.window.as_ref()?;
            Some((Reason::DoNotDisturb, window.closes_at))
        },
        saw: |facts| match &facts.receiver.window {
            Some(window) => json!({
                "open": true, "zone": window.zone, "closes_at": text(window.closes_at) }),
            None => json!({ "open": false }),
        },
    },
    Rule {
        name: "no_device",
        decide: |facts| facts.device.is_none().then_some((Reason::NoDevice, None)),
        saw: |facts| json!({ "has_device": facts.device.is_some() }),
    },
    Rule { name: "device_state", decide: device_state, saw: saw_device_state },
    Rule { name: "certificate", decide: certificate, saw: saw_certificate },
    Rule { name: "token", decide: token, saw: saw_token },
    Rule { name: "life_time", decide: life_time, saw: saw_life_time },
];

/// Asks the rules in order; `None` means it may ring.
pub fn decide(facts: &Facts<'_>) -> Option<Refusal> {
    RULES.iter().find_map(|rule| {
        let (reason, next_allowed_at) = (rule.decide)(facts)?;
        Some(Refusal { rule: rule.name, reason, next_allowed_at })
    })
}

/// One rule's part in a decision, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The rule.
    pub rule: &'static str,
    /// Whether it spoke.
    pub refused: Option<Reason>,
    /// What it looked at.
    pub saw: Value,
}

/// Asks the rules again and tells what each saw, up to and including the one that decided.
pub fn steps(facts: &Facts<'_>) -> Vec<Step> {
    let mut steps = Vec::with_capacity(RULES.len());
    for rule in RULES {
        let refused = (rule.decide)(facts).map(|(reason, _)| reason);
        steps.push(Step { rule: rule.name, refused, saw: (rule.saw)(facts) });
        if refused.is_some() {
            break;
        }
    }
    steps
}

fn text(at: Option<UnixMs>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn nothing_to_show(facts: &Facts<'_>) -> bool {
    let certificate = facts.device.map(|device| device.certificate);
    facts.message.empty_custom || certificate == Some(CertificateFacts::NothingToShow)
}

/// Whether the conversation's receive option counts for this message at all.
fn mute_counts(facts: &Facts<'_>) -> bool {
    facts.settings.honour_mute == HonourMute::Always
        || facts.message.in_group
        || facts.message.with_mute
}

fn receive_option(facts: &Facts<'_>) -> Option<No> {
    if !mute_counts(facts) {
        return None;
    }
    let option = ReceiveOption::of_number(facts.receiver.receive_option).unwrap_or_default();
    let lifts = facts.settings.mention_all_lifts_mute;
    let said = lets_through(option, facts.receiver.mentioned, facts.message.mention_all, lifts);
    said.err().map(|reason| (reason, None))
}

fn saw_receive_option(facts: &Facts<'_>) -> Value {
    json!({
        "option": facts.receiver.receive_option,
        "mentioned": facts.receiver.mentioned,
        "mention_all": facts.message.mention_all,
        "honour_mute": facts.settings.honour_mute,
        "with_mute_notifications": facts.message.with_mute,
        "counts": mute_counts(facts),
    })
}

fn device_state(facts: &Facts<'_>) -> Option<No> {
    let device = facts.device?;
    if device.presence.is_signed_out() {
        return Some((Reason::LoggedOut, None));
    }
    if facts.now.since(device.seen_at) > facts.settings.stale_login {
        return Some((Reason::StaleLogin, None));
    }
    let until = device.presence_at.after(facts.settings.foreground_expires);
    if device.presence == Presence::Foreground && facts.now < until {
        return Some((Reason::Foreground, Some(until)));
    }
    None
}

fn saw_device_state(facts: &Facts<'_>) -> Value {
    let Some(device) = facts.device else { return Value::Null };
    json!({
        "state": device.presence,
        "state_age_s": facts.now.since(device.presence_at).as_secs(),
        "seen_age_s": facts.now.since(device.seen_at).as_secs(),
        "ever_in_background": device.was_background,
        "foreground_expires_s": facts.settings.foreground_expires.as_secs(),
        "stale_after_s": facts.settings.stale_login.as_secs(),
    })
}

fn certificate(facts: &Facts<'_>) -> Option<No> {
    let reason = match facts.device?.certificate {
        CertificateFacts::NothingToShow => return None,
        CertificateFacts::Missing => Reason::CertNotFound,
        CertificateFacts::Known { mismatch: true, .. } => Reason::CertMismatch,
        CertificateFacts::Known { status, .. } => match status {
            CertificateStatus::Active => return None,
            CertificateStatus::Disabled => Reason::CertDisabled,
            // What was accepted before the certificate ended or broke waits for another secret.
            CertificateStatus::Expired | CertificateStatus::Broken
                if facts.phase == Phase::Send =>
            {
                return None;
            }
            CertificateStatus::Expired => Reason::CertExpired,
            CertificateStatus::Broken => Reason::CertBroken,
        },
    };
    Some((reason, None))
}

fn saw_certificate(facts: &Facts<'_>) -> Value {
    match facts.device.map(|device| device.certificate) {
        None | Some(CertificateFacts::NothingToShow) => Value::Null,
        Some(CertificateFacts::Missing) => json!({ "status": "missing" }),
        Some(CertificateFacts::Known { status, mismatch }) => {
            json!({ "status": status, "mismatch": mismatch })
        }
    }
}

fn token(facts: &Facts<'_>) -> Option<No> {
    let device = facts.device?;
    match device.token_state {
        TokenState::Dead { .. } => Some((Reason::TokenDead, None)),
        TokenState::Moved { .. } => Some((Reason::TokenMoved, None)),
        TokenState::Live if device.token_elsewhere => Some((Reason::TokenMoved, None)),
        TokenState::Live => None,
    }
}

fn saw_token(facts: &Facts<'_>) -> Value {
    let Some(device) = facts.device else { return Value::Null };
    let (state, since) = match device.token_state {
        TokenState::Live if device.token_elsewhere => ("moved", None),
        TokenState::Live => ("live", None),
        TokenState::Dead { at } => ("dead", Some(at)),
        TokenState::Moved { at } => ("moved", Some(at)),
    };
    json!({ "state": state, "since": text(since) })
}

fn life_time(facts: &Facts<'_>) -> Option<No> {
    if facts.receiver.withdrawn || facts.receiver.read_at.is_some() {
        return Some((Reason::Cancelled, None));
    }
    (facts.now >= facts.message.expires_at).then_some((Reason::Expired, None))
}

fn saw_life_time(facts: &Facts<'_>) -> Value {
    json!({
        "expires_at": facts.message.expires_at.to_string(),
        "withdrawn": facts.receiver.withdrawn,
        "read_at": text(facts.receiver.read_at),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::id::MessageId;

    const NOW: UnixMs = UnixMs(1_760_000_000_000);

    fn settings() -> RuleSettings {
        RuleSettings {
            honour_mute: HonourMute::Always,
            mention_all_lifts_mute: true,
            stale_login: Duration::from_secs(7 * 86_400),
            foreground_expires: Duration::from_secs(3_600),
        }
    }

    fn message() -> MessageFacts {
        MessageFacts {
            accepted_at: NOW,
            expires_at: NOW.after(Duration::from_secs(60)),
            in_group: false,
            send_failed: false,
            no_push: false,
            online_only: false,
            empty_custom: false,
            with_mute: false,
            mention_all: false,
        }
    }

    fn receiver() -> ReceiverFacts {
        ReceiverFacts {
            duplicate_of: None,
            is_sender: false,
            push_enabled: true,
            receive_option: 0,
            mentioned: false,
            window: None,
            read_at: None,
            withdrawn: false,
        }
    }

    fn device() -> DeviceFacts {
        DeviceFacts {
            presence: Presence::Background,
            presence_at: NOW,
            was_background: true,
            seen_at: NOW,
            token_state: TokenState::Live,
            token_elsewhere: false,
            certificate: CertificateFacts::Known {
                status: CertificateStatus::Active,
                mismatch: false,
            },
        }
    }

    struct Case {
        message: MessageFacts,
        receiver: ReceiverFacts,
        device: Option<DeviceFacts>,
        settings: RuleSettings,
        phase: Phase,
    }

    fn case(change: impl FnOnce(&mut Case)) -> Option<Reason> {
        let mut case = Case {
            message: message(),
            receiver: receiver(),
            device: Some(device()),
            settings: settings(),
            phase: Phase::Accept,
        };
        change(&mut case);
        let facts = Facts {
            now: NOW,
            phase: case.phase,
            message: &case.message,
            receiver: &case.receiver,
            device: case.device.as_ref(),
            settings: &case.settings,
        };
        let decided = decide(&facts).map(|refusal| refusal.reason);
        let last = steps(&facts).pop().expect("there are rules");
        assert_eq!(last.refused, decided, "the steps end with the decision");
        decided
    }

    fn on_device(change: impl FnOnce(&mut DeviceFacts)) -> Option<Reason> {
        case(|case| {
            let mut facts = device();
            change(&mut facts);
            case.device = Some(facts);
        })
    }

    #[test]
    fn each_rule_speaks_with_its_own_reason() {
        use CertificateFacts::{Known, Missing};
        let at = NOW;
        assert_eq!(case(|_| ()), None);
        let of = MessageId(7);
        assert_eq!(case(|c| c.receiver.duplicate_of = Some(of)), Some(Reason::Duplicate));
        assert_eq!(case(|c| c.message.send_failed = true), Some(Reason::SendFailed));
        assert_eq!(case(|c| c.message.no_push = true), Some(Reason::NoPushFlag));
        assert_eq!(case(|c| c.message.online_only = true), Some(Reason::OnlineOnly));
        assert_eq!(case(|c| c.message.empty_custom = true), Some(Reason::EmptyCustomDesc));
        assert_eq!(case(|c| c.receiver.is_sender = true), Some(Reason::SelfSent));
        assert_eq!(case(|c| c.receiver.push_enabled = false), Some(Reason::PushDisabled));
        let window = WindowFacts { zone: "UTC".into(), closes_at: None };
        assert_eq!(case(|c| c.receiver.window = Some(window)), Some(Reason::DoNotDisturb));
        assert_eq!(case(|c| c.device = None), Some(Reason::NoDevice));
        assert_eq!(on_device(|d| d.presence = Presence::Foreground), Some(Reason::Foreground));
        assert_eq!(on_device(|d| d.presence = Presence::LoggedOut), Some(Reason::LoggedOut));
        assert_eq!(on_device(|d| d.presence = Presence::Kicked), Some(Reason::LoggedOut));
        let bare = CertificateFacts::NothingToShow;
        assert_eq!(on_device(|d| d.certificate = bare), Some(Reason::EmptyCustomDesc));
        let week_ago = UnixMs(NOW.0 - 7 * 86_400_000 - 1);
        assert_eq!(on_device(|d| d.seen_at = week_ago), Some(Reason::StaleLogin));
        assert_eq!(on_device(|d| d.certificate = Missing), Some(Reason::CertNotFound));
        for (status, reason) in [
            (CertificateStatus::Disabled, Reason::CertDisabled),
            (CertificateStatus::Expired, Reason::CertExpired),
            (CertificateStatus::Broken, Reason::CertBroken),
        ] {
            let certificate = Known { status, mismatch: false };
            assert_eq!(on_device(|d| d.certificate = certificate), Some(reason));
        }
        let mismatch = Known { status: CertificateStatus::Active, mismatch: true };
        assert_eq!(on_device(|d| d.certificate = mismatch), Some(Reason::CertMismatch));
        assert_eq!(on_device(|d| d.token_state = TokenState::Dead { at }), Some(Reason::TokenDead));
        let moved = TokenState::Moved { at };
        assert_eq!(on_device(|d| d.token_state = moved), Some(Reason::TokenMoved));
        assert_eq!(on_device(|d| d.token_elsewhere = true), Some(Reason::TokenMoved));
        assert_eq!(case(|c| c.message.expires_at = NOW), Some(Reason::Expired));
        assert_eq!(case(|c| c.receiver.withdrawn = true), Some(Reason::Cancelled));
        assert_eq!(case(|c| c.receiver.read_at = Some(at)), Some(Reason::Cancelled));
    }

    #[test]
    fn receive_options_and_mentions_follow_tencents_table() {
        let check = |option: u8, mentioned: bool, expected: Option<Reason>| {
            let decided = case(|c| {
                c.receiver.receive_option = option;
                c.receiver.mentioned = mentioned;
                c.message.in_group = true;
            });
            assert_eq!(decided, expected, "option {option}, mentioned {mentioned}");
        };
        check(0, false, None);
        check(1, true, Some(Reason::ConversationBlocked));
        check(2, true, Some(Reason::ConversationMuted));
        check(3, false, Some(Reason::ConversationMuted));
        check(3, true, None);
        check(4, false, Some(Reason::ConversationBlocked));
        check(4, true, None);
    }

    #[test]
    fn tencents_rule_ignores_a_mute_without_the_control_word() {
        let tencent = |with_mute: bool, in_group: bool| {
            case(|c| {
                c.settings.honour_mute = HonourMute::Tencent;
                c.receiver.receive_option = 2;
                c.message.with_mute = with_mute;
                c.message.in_group = in_group;
            })
        };
        assert_eq!(tencent(false, false), None);
        assert_eq!(tencent(true, false), Some(Reason::ConversationMuted));
        assert_eq!(tencent(false, true), Some(Reason::ConversationMuted));
    }

    #[test]
    fn a_foreground_that_was_never_closed_expires() {
        let hour_ago = UnixMs(NOW.0 - 3_600_000);
        let decided = on_device(|d| {
            d.presence = Presence::Foreground;
            d.presence_at = hour_ago;
        });
        assert_eq!(decided, None);
    }

    #[test]
    fn what_was_accepted_before_its_certificate_broke_waits() {
        let decided = case(|c| {
            c.phase = Phase::Send;
            let mut facts = device();
            facts.certificate =
                CertificateFacts::Known { status: CertificateStatus::Broken, mismatch: false };
            c.device = Some(facts);
        });
        assert_eq!(decided, None);
    }

    #[test]
    fn an_earlier_rule_wins() {
        let decided = case(|c| {
            c.message.no_push = true;
            c.receiver.push_enabled = false;
            c.device = None;
        });
        assert_eq!(decided, Some(Reason::NoPushFlag));
    }
}
