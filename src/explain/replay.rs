//! What would other settings have decided? The rules, asked again over the facts of a trace.
//!
//! A trace keeps everything a decision rested on but the message itself, so yesterday's messages
//! can be decided again without anybody's text and without a side effect.

use std::time::Duration;

use crate::model::app::HonourMute;
use crate::model::id::{DeviceId, MessageId, UserId};
use crate::model::reason::Reason;
use crate::model::time::UnixMs;
use crate::policy::{self, DeviceFacts, Facts, Phase, ReceiverFacts, RuleSettings};
use crate::trace::Trace;

/// Settings to try; what is `None` stays as it was when the message was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// See [`RuleSettings::honour_mute`].
    pub honour_mute: Option<HonourMute>,
    /// See [`RuleSettings::mention_all_lifts_mute`].
    pub mention_all_lifts_mute: Option<bool>,
    /// See [`RuleSettings::stale_login`].
    pub stale_login: Option<Duration>,
    /// See [`RuleSettings::foreground_expires`].
    pub foreground_expires: Option<Duration>,
}

impl Changes {
    fn applied_to(&self, settings: &RuleSettings) -> RuleSettings {
        RuleSettings {
            honour_mute: self.honour_mute.unwrap_or(settings.honour_mute),
            mention_all_lifts_mute: self
                .mention_all_lifts_mute
                .unwrap_or(settings.mention_all_lifts_mute),
            stale_login: self.stale_login.unwrap_or(settings.stale_login),
            foreground_expires: self.foreground_expires.unwrap_or(settings.foreground_expires),
        }
    }
}

/// A delivery that would have been decided otherwise; no reason means that it may ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Message.
    pub message_id: MessageId,
    /// Receiver.
    pub user: UserId,
    /// Device; `None` for a receiver who has none.
    pub device_id: Option<DeviceId>,
    /// As it was decided.
    pub before: Option<Reason>,
    /// As it would be decided.
    pub after: Option<Reason>,
}

/// Decides every delivery of a trace again; answers those that come out otherwise.
pub fn decide_again(trace: &Trace, changes: &Changes) -> Vec<Difference> {
    let before = &trace.opening.settings;
    let after = changes.applied_to(before);
    let mut differences = Vec::new();
    for (delivery, number) in trace.opening.deliveries.iter().zip(0u16..) {
        let was = decide(trace, number, before);
        let would = decide(trace, number, &after);
        if was != would {
            differences.push(Difference {
                message_id: trace.message_id,
                user: delivery.user.clone(),
                device_id: delivery.device.as_ref().map(|device| device.device_id.clone()),
                before: was,
                after: would,
            });
        }
    }
    differences
}

/// The decision when it was accepted and, where a rule refused it later, on those facts too.
fn decide(trace: &Trace, number: u16, settings: &RuleSettings) -> Option<Reason> {
    let opening = &trace.opening;
    let delivery = opening.deliveries.get(usize::from(number))?;
    let ask = |now: UnixMs, phase, receiver: &ReceiverFacts, device: Option<&DeviceFacts>| {
        let message = &opening.facts;
        let facts = Facts { now, phase, message, receiver, device, settings };
        policy::decide(&facts).map(|refusal| refusal.reason)
    };
    let device = delivery.device.as_ref().map(|device| &device.facts);
    ask(opening.facts.accepted_at, Phase::Accept, &delivery.receiver, device).or_else(|| {
        let results = trace.steps.iter().flat_map(|step| {
            let own = step.results.iter().filter(|result| result.delivery == number);
            own.filter_map(|result| Some((step.at, result.refused.as_ref()?)))
        });
        results
            .filter_map(|(at, recheck)| {
                ask(at, Phase::Send, &recheck.receiver, recheck.device.as_ref())
            })
            .next()
    })
}
