//! Why does nothing ring for this user? The usual suspects, one by one.
//!
//! The items are those of Tencent's check-list for missing pushes (reference, part 15), answered
//! from what the relay knows: registrations, certificates, preferences and recent traces. Pure:
//! whoever asks reads first.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::account::Account;
use crate::explain::advice;
use crate::explain::halt::Halt;
use crate::model::certificate::{CertificateInfo, CertificateStatus};
use crate::model::device::{Device, Presence, TokenState};
use crate::model::id::{Conversation, UserId};
use crate::model::reason::Terminal;
use crate::model::time::{UnixMs, rfc3339};
use crate::policy::{RuleSettings, WindowFacts};
use crate::preferences::receive::ReceiveOption;
use crate::trace::{Attempt, Trace};
use crate::vendor::Vendor;

/// How far back traces are looked at.
pub const LOOKS_BACK: Duration = Duration::from_secs(24 * 3_600);

/// Most messages looked at.
pub const MESSAGES_MAX: usize = 1_000;

/// So many changes of token within [`LOOKS_BACK`] are flapping: several processes initialise the
/// SDK, or two devices share an id.
const FLAPPING_MIN: usize = 3;

/// So many repeats by one sender, or more, are looked at.
const REPEATS_MIN: usize = 3;

/// Repeats are suspect when the sender has fewer than one random for so many messages.
const MESSAGES_PER_RANDOM: usize = 2;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing to do.
    Ok,
    /// Explains some silence, or soon will.
    Warning,
    /// Nothing rings because of it.
    Problem,
}

/// What was found; the catalogue of advice has one sentence for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the catalogue of advice says what each means")]
pub enum Finding {
    Fine,
    NoDevice,
    CertMissing,
    CertDisabled,
    CertExpired,
    CertBroken,
    CertMismatch,
    CertEndsSoon,
    TokenDead,
    TokenMoved,
    NeverBackground,
    StuckForeground,
    OnScreen,
    Flapping,
    LoggedOut,
    StaleLogin,
    PushDisabled,
    QuietNow,
    QuietForever,
    ConversationsSilenced,
    ConstantRandom,
    Repeats,
    NothingSent,
    VendorRefuses,
    VendorTroubled,
    LaneStopped,
    LaneWaits,
}

/// One answered item.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// Which question.
    pub item: &'static str,
    /// The device it is about; absent for the user as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// The answer.
    pub status: Health,
    /// What it rests on.
    pub saw: Value,
    /// One sentence.
    pub advice: String,
}

/// Every answer about one user.
#[derive(Clone, Debug, Serialize)]
pub struct Checkup {
    /// User.
    pub user: UserId,
    /// When it was looked at.
    #[serde(with = "rfc3339")]
    pub checked_at: UnixMs,
    /// The worst answer.
    pub status: Health,
    /// The answers.
    pub items: Vec<Item>,
}

/// A device and the certificate it reports, if that exists.
pub struct DeviceCase<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its certificate and vendor.
    pub certificate: Option<(&'a CertificateInfo, &'static dyn Vendor)>,
    /// Why its lane sends nothing now.
    pub lane: Option<Halt>,
}

/// What the checkup rests on.
pub struct Case<'a> {
    /// User.
    pub user: &'a UserId,
    /// What is known of the user.
    pub account: &'a Account,
    /// Devices, with their certificates.
    pub devices: Vec<DeviceCase<'a>>,
    /// The window open now.
    pub window: Option<WindowFacts>,
    /// Conversations whose option is not the default.
    pub conversations: Vec<(Conversation, ReceiveOption)>,
    /// Messages to the user within [`LOOKS_BACK`], oldest first.
    pub traces: &'a [Trace],
    /// Settings of the rules.
    pub settings: &'a RuleSettings,
    /// Now.
    pub now: UnixMs,
}

fn item(name: &'static str, finding: Finding, saw: Value) -> Item {
    let status = health(finding);
    Item { item: name, device_id: None, status, saw, advice: advice::of_finding(finding).into() }
}

fn health(finding: Finding) -> Health {
    match finding {
        Finding::Fine | Finding::OnScreen | Finding::NothingSent => Health::Ok,
        Finding::CertEndsSoon
        | Finding::NeverBackground
        | Finding::StuckForeground
        | Finding::Flapping
        | Finding::QuietNow
        | Finding::ConversationsSilenced
        | Finding::ConstantRandom
        | Finding::Repeats
        | Finding::VendorTroubled
        | Finding::LaneWaits => Health::Warning,
        Finding::NoDevice
        | Finding::CertMissing
        | Finding::CertDisabled
        | Finding::CertExpired
        | Finding::CertBroken
        | Finding::CertMismatch
        | Finding::TokenDead
        | Finding::TokenMoved
        | Finding::LoggedOut
        | Finding::StaleLogin
        | Finding::PushDisabled
        | Finding::QuietForever
        | Finding::VendorRefuses
        | Finding::LaneStopped => Health::Problem,
    }
}

/// Answers every item.
pub fn examine(case: &Case<'_>) -> Checkup {
    let reported = if case.devices.is_empty() { Finding::NoDevice } else { Finding::Fine };
    let mut items = vec![
        item("token_reported", reported, json!({ "devices": case.devices.len() })),
        push_enabled(case),
        do_not_disturb(case),
        conversations(case),
        repeats(case),
    ];
    for one in &case.devices {
        let about = [
            certificate(one, case.now),
            certificate_id(one),
            token(one.device),
            login(one.device, case),
            foreground(one.device, case),
            flapping(one.device, case.now),
            vendor_answers(one, case),
            lane(one),
        ];
        let device_id = one.device.device_id.to_string();
        items.extend(
            about.into_iter().map(|item| Item { device_id: Some(device_id.clone()), ..item }),
        );
    }
    let status = items.iter().map(|item| item.status).max().unwrap_or(Health::Ok);
    Checkup { user: case.user.clone(), checked_at: case.now, status, items }
}

fn push_enabled(case: &Case<'_>) -> Item {
    let enabled = case.account.preferences.push_enabled;
    let finding = if enabled { Finding::Fine } else { Finding::PushDisabled };
    item("push_enabled", finding, json!({ "push_enabled": enabled }))
}

fn do_not_disturb(case: &Case<'_>) -> Item {
    let windows = case.account.preferences.do_not_disturb.len();
    let (finding, saw) = match &case.window {
        None => (Finding::Fine, json!({ "windows": windows, "open": false })),
        Some(open) => {
            let closes_at = open.closes_at.map(|at| at.to_string());
            let saw = json!({ "windows": windows, "open": true, "zone": open.zone,
                              "closes_at": closes_at });
            let forever = open.closes_at.is_none();
            (if forever { Finding::QuietForever } else { Finding::QuietNow }, saw)
        }
    };
    item("do_not_disturb", finding, saw)
}

fn conversations(case: &Case<'_>) -> Item {
    let named: Vec<Value> = case
        .conversations
        .iter()
        .map(|(place, option)| {
            json!({ "conversation": place.to_string(),
                                       "option": option.number() })
        })
        .collect();
    let finding = if named.is_empty() { Finding::Fine } else { Finding::ConversationsSilenced };
    item("conversation_options", finding, json!({ "silenced": named }))
}

/// What one sender sent to this user.
#[derive(Default)]
struct Sent {
    messages: usize,
    repeats: usize,
    randoms: HashSet<u32>,
}

fn repeats(case: &Case<'_>) -> Item {
    let mut senders: BTreeMap<&UserId, Sent> = BTreeMap::new();
    for trace in case.traces {
        let sent = senders.entry(&trace.opening.from).or_default();
        sent.messages += 1;
        sent.randoms.insert(trace.opening.random);
        let mut own = trace.opening.deliveries.iter().filter(|one| one.user == *case.user);
        sent.repeats += usize::from(own.any(|one| one.receiver.duplicate_of.is_some()));
    }
    let mut finding = Finding::Fine;
    let mut saw = Vec::new();
    for (from, sent) in senders.iter().filter(|(_, sent)| sent.repeats >= REPEATS_MIN) {
        let constant = sent.randoms.len() * MESSAGES_PER_RANDOM <= sent.messages;
        if constant {
            finding = Finding::ConstantRandom;
        } else if finding == Finding::Fine {
            finding = Finding::Repeats;
        }
        saw.push(json!({ "from": from, "messages": sent.messages, "repeats": sent.repeats,
                         "different_msg_random": sent.randoms.len() }));
    }
    item("msg_random", finding, json!({ "messages": case.traces.len(), "senders": saw }))
}

fn certificate(one: &DeviceCase<'_>, now: UnixMs) -> Item {
    let cert_id = one.device.cert_id;
    let Some((info, _)) = one.certificate else {
        return item("certificate", Finding::CertMissing, json!({ "cert_id": cert_id }));
    };
    let finding = match info.status(now) {
        CertificateStatus::Active if info.ends_within_days(now).is_some() => Finding::CertEndsSoon,
        CertificateStatus::Active => Finding::Fine,
        CertificateStatus::Disabled => Finding::CertDisabled,
        CertificateStatus::Expired => Finding::CertExpired,
        CertificateStatus::Broken => Finding::CertBroken,
    };
    let saw = json!({
        "cert_id": cert_id,
        "vendor": info.vendor,
        "environment": info.environment,
        "status": info.status(now),
        "broken": info.broken,
        "expires_at": info.expires_at.map(|at| at.to_string()),
        "warnings": info.warnings,
    });
    item("certificate", finding, saw)
}

fn certificate_id(one: &DeviceCase<'_>) -> Item {
    let platform = one.device.platform;
    let Some((info, vendor)) = one.certificate else {
        let saw = json!({ "cert_id": one.device.cert_id, "platform": platform });
        return item("certificate_id", Finding::CertMissing, saw);
    };
    let serves = vendor.profile().platforms.contains(&platform);
    let finding = if serves { Finding::Fine } else { Finding::CertMismatch };
    let saw = json!({ "cert_id": info.cert_id, "vendor": info.vendor, "platform": platform,
                      "brand": one.device.brand });
    item("certificate_id", finding, saw)
}

fn token(device: &Device) -> Item {
    let (finding, state, since) = match device.token_state {
        TokenState::Live => (Finding::Fine, "live", None),
        TokenState::Dead { at } => (Finding::TokenDead, "dead", Some(at)),
        TokenState::Moved { at } => (Finding::TokenMoved, "moved", Some(at)),
    };
    let saw = json!({
        "state": state,
        "since": since.map(|at| at.to_string()),
        "token_hash": device.token.short_hash(),
        "registered_at": device.registered_at.to_string(),
    });
    item("token", finding, saw)
}

fn login(device: &Device, case: &Case<'_>) -> Item {
    let silent = case.now.since(device.seen_at);
    let finding = match device.presence {
        Presence::LoggedOut | Presence::Kicked => Finding::LoggedOut,
        _ if silent > case.settings.stale_login => Finding::StaleLogin,
        _ => Finding::Fine,
    };
    let saw = json!({
        "state": device.presence,
        "seen_age_s": silent.as_secs(),
        "stale_after_s": case.settings.stale_login.as_secs(),
    });
    item("login", finding, saw)
}

fn foreground(device: &Device, case: &Case<'_>) -> Item {
    let age = case.now.since(device.presence_at);
    let on_screen = device.presence == Presence::Foreground;
    let finding = match on_screen {
        _ if !device.was_background => Finding::NeverBackground,
        true if age >= case.settings.foreground_expires => Finding::StuckForeground,
        true => Finding::OnScreen,
        false => Finding::Fine,
    };
    let saw = json!({
        "state": device.presence,
        "state_age_s": age.as_secs(),
        "ever_in_background": device.was_background,
        "foreground_at": device.foreground_at.map(|at| at.to_string()),
        "foreground_expires_s": case.settings.foreground_expires.as_secs(),
    });
    item("foreground_events", finding, saw)
}

fn flapping(device: &Device, now: UnixMs) -> Item {
    let recent = |at: &&UnixMs| now.since(**at) <= LOOKS_BACK;
    let changes = device.token_changes.iter().filter(recent).count();
    let finding = if changes >= FLAPPING_MIN { Finding::Flapping } else { Finding::Fine };
    item("token_changes", finding, json!({ "within_24_h": changes }))
}

fn vendor_answers(one: &DeviceCase<'_>, case: &Case<'_>) -> Item {
    let Some(Last { message_id, at, attempt, given_up }) = last_attempt(one.device, case) else {
        return item("vendor_answers", Finding::NothingSent, json!({ "last": null }));
    };
    let finding = match attempt.verdict.as_ref() {
        "accepted" => Finding::Fine,
        "token_dead" | "refused" | "auth_rejected" => Finding::VendorRefuses,
        _ => Finding::VendorTroubled,
    };
    let saw = json!({ "last": {
        "message_id": message_id, "at": at.to_string(), "status": attempt.status,
        "code": attempt.code, "vendor_says": attempt.says, "verdict": attempt.verdict,
    } });
    let mut item = item("vendor_answers", finding, saw);
    let known = one.certificate.and_then(|(_, vendor)| {
        advice::of_answer(vendor, &attempt.code, advice::verdict_named(&attempt.verdict)?)
    });
    if let Some(words) = known.filter(|_| finding != Finding::Fine) {
        item.advice = if given_up { advice::of_given_up(words) } else { words.to_owned() };
    }
    item
}

fn lane(one: &DeviceCase<'_>) -> Item {
    let Some(halt) = &one.lane else {
        return item("lane", Finding::Fine, json!({ "halted": null }));
    };
    let stopped = halt.needs_a_person();
    let finding = if stopped { Finding::LaneStopped } else { Finding::LaneWaits };
    let advice = advice::of_halt(halt);
    Item { advice, ..item("lane", finding, json!({ "halted": halt })) }
}

/// The vendor's last word about a device.
struct Last<'a> {
    message_id: String,
    at: UnixMs,
    attempt: &'a Attempt,
    /// Whether the push was given up with it.
    given_up: bool,
}

fn last_attempt<'a>(device: &Device, case: &Case<'a>) -> Option<Last<'a>> {
    let mut last: Option<Last<'_>> = None;
    for trace in case.traces {
        let own = |number: u16| {
            trace.opening.deliveries.get(usize::from(number)).is_some_and(|one| {
                let there = one.device.as_ref();
                one.user == *case.user
                    && there.is_some_and(|there| there.device_id == device.device_id)
            })
        };
        for step in &trace.steps {
            for result in step.results.iter().filter(|result| own(result.delivery)) {
                let message_id = trace.message_id.to_string();
                let given_up = result.ended == Some(Terminal::DeadLetter);
                if let Some(attempt) = &result.attempt
                    && last.as_ref().is_none_or(|last| step.at >= last.at)
                {
                    last = Some(Last { message_id, at: step.at, attempt, given_up });
                } else if let Some(last) = &mut last {
                    last.given_up |= given_up && last.message_id == message_id;
                }
            }
        }
    }
    last
}
