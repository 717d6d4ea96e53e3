//! Why did this message ring, or not, on that phone? The trace, read back as an answer.
//!
//! The rules are asked again on the facts the trace kept, so every step can show what its rule
//! saw. Whatever is shown to people in words comes from [`advice`].

use serde::Serialize;
use serde_json::Value;

use crate::explain::advice::Grounds;
use crate::explain::halt::Halt;
use crate::model::id::{CertId, MessageId, UserId};
use crate::model::reason::{Reason, Terminal};
use crate::model::time::{UnixMs, rfc3339};
use crate::policy::{self, DeviceFacts, Facts, Phase, ReceiverFacts};
use crate::telemetry::events::MessageKind;
use crate::trace::{Attempt, DeliveryOpening, Opening, Receipt, Recheck, StepResult, Trace};

pub mod advice;
pub mod doctor;
pub mod halt;
pub mod replay;
pub mod search;

/// One message, explained.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Its id.
    pub message_id: MessageId,
    /// When it was accepted.
    #[serde(with = "rfc3339")]
    pub accepted_at: UnixMs,
    /// Sender.
    pub from: UserId,
    /// `c2c` or `group`.
    pub kind: &'static str,
    /// Group, if said in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `MsgRandom`.
    pub msg_random: u32,
    /// `MsgSeq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_seq: Option<u32>,
    /// `MsgKey`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_key: Option<String>,
    /// Fields of the message that this relay does not know.
    pub unknown_fields: u32,
    /// When it stops being worth anything.
    #[serde(with = "rfc3339")]
    pub expires_at: UnixMs,
    /// Title and text, only when the operator keeps text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<(String, String)>,
    /// Every delivery.
    pub deliveries: Vec<DeliveryExplanation>,
}

/// One delivery, explained.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryExplanation {
    /// Its number within the message.
    pub delivery: u16,
    /// Receiver.
    pub user: UserId,
    /// Device; `null` for a receiver who has none.
    pub device_id: Option<String>,
    /// Certificate.
    pub cert_id: Option<u32>,
    /// Vendor.
    pub vendor: Option<String>,
    /// Short hash of the token.
    pub token_hash: Option<String>,
    /// `in_flight` (`would_push` in a dry run) or a terminal of the ledger.
    pub state: &'static str,
    /// Why, when a rule said no.
    pub reason: Option<Reason>,
    /// The message this one repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<MessageId>,
    /// When the same message would be allowed, as far as is known.
    #[serde(with = "rfc3339::option")]
    pub next_allowed_at: Option<UnixMs>,
    /// When it will be tried again.
    #[serde(with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<UnixMs>,
    /// Why its lane sends nothing now; only while it waits there, or would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Halt>,
    /// What to do about it, in one sentence.
    pub advice: String,
    /// Each rule asked and what it saw.
    pub steps: Vec<StepExplanation>,
    /// Each time the vendor was asked.
    pub attempts: Vec<AttemptExplanation>,
    /// What the vendor reported later.
    pub receipts: Vec<ReceiptExplanation>,
}

/// One rule's part.
#[derive(Clone, Debug, Serialize)]
pub struct StepExplanation {
    /// When it was asked.
    #[serde(with = "rfc3339")]
    pub at: UnixMs,
    /// `accept` or `send`.
    pub phase: &'static str,
    /// The rule.
    pub rule: &'static str,
    /// `pass` or `suppress`.
    pub outcome: &'static str,
    /// What it looked at.
    pub saw: Value,
}

/// One request to the vendor.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptExplanation {
    /// When it was settled.
    #[serde(with = "rfc3339")]
    pub at: UnixMs,
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// The vendor's code.
    pub code: String,
    /// The vendor's own words.
    pub vendor_says: String,
    /// What it means.
    pub verdict: String,
    /// From request to answer.
    pub latency_ms: u32,
    /// The vendor's id of the push.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<String>,
}

/// One receipt.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiptExplanation {
    /// When it came.
    #[serde(with = "rfc3339")]
    pub at: UnixMs,
    /// `reached`, `clicked` or `not_shown`.
    pub what: &'static str,
    /// The vendor's status, for `not_shown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
}

/// Explains a message from its trace; `lanes` knows why a certificate's lane sends nothing now.
pub fn explain(trace: &Trace, lanes: impl Fn(CertId) -> Option<Halt>) -> Explanation {
    explained(trace, "in_flight", lanes)
}

/// Explains what would become of a message, from the trace of a decision that was not committed.
pub fn dry_run(trace: &Trace, lanes: impl Fn(CertId) -> Option<Halt>) -> Explanation {
    explained(trace, "would_push", lanes)
}

fn explained(
    trace: &Trace,
    open: &'static str,
    lanes: impl Fn(CertId) -> Option<Halt>,
) -> Explanation {
    let mut explanation = of_opening(trace.message_id, &trace.opening, open);
    for step in &trace.steps {
        for result in &step.results {
            if let Some(delivery) = explanation.deliveries.get_mut(usize::from(result.delivery)) {
                delivery.follow(&trace.opening, result, step.at);
            }
        }
    }
    for (delivery, opened) in explanation.deliveries.iter_mut().zip(&trace.opening.deliveries) {
        let cert_id = delivery.cert_id.filter(|_| delivery.state == open);
        delivery.lane = cert_id.and_then(|cert_id| lanes(CertId(cert_id)));
        delivery.advice = advice::of(delivery, grounds(trace, delivery.delivery, opened));
    }
    explanation
}

/// The facts a delivery was decided on: those of the last rule that refused it before sending,
/// else those of its acceptance.
fn grounds<'a>(trace: &'a Trace, number: u16, opened: &'a DeliveryOpening) -> Grounds<'a> {
    let results = trace.steps.iter().rev().flat_map(|step| &step.results);
    let mut own = results.filter(|result| result.delivery == number);
    match own.find_map(|result| result.refused.as_ref()) {
        Some(recheck) => Grounds { receiver: &recheck.receiver, device: recheck.device.as_ref() },
        None => Grounds {
            receiver: &opened.receiver,
            device: opened.device.as_ref().map(|device| &device.facts),
        },
    }
}

fn of_opening(message_id: MessageId, opening: &Opening, open: &'static str) -> Explanation {
    let deliveries = opening
        .deliveries
        .iter()
        .zip(0u16..)
        .map(|(delivery, number)| opened(opening, delivery, number, open))
        .collect();
    Explanation {
        message_id,
        accepted_at: opening.facts.accepted_at,
        from: opening.from.clone(),
        kind: MessageKind::of(opening.group.is_some()).as_str(),
        group: opening.group.as_ref().map(ToString::to_string),
        msg_random: opening.random,
        msg_seq: opening.seq,
        msg_key: opening.key.clone(),
        unknown_fields: opening.unknown_fields,
        expires_at: opening.facts.expires_at,
        text: opening.text.clone(),
        deliveries,
    }
}

fn opened(
    opening: &Opening,
    delivery: &DeliveryOpening,
    number: u16,
    open: &'static str,
) -> DeliveryExplanation {
    let device = delivery.device.as_ref();
    let facts = device.map(|device| &device.facts);
    let steps = steps(opening, &delivery.receiver, facts, Phase::Accept, opening.facts.accepted_at);
    DeliveryExplanation {
        delivery: number,
        user: delivery.user.clone(),
        device_id: device.map(|device| device.device_id.to_string()),
        cert_id: device.map(|device| device.cert_id.0),
        vendor: device.map(|device| device.vendor.to_string()),
        token_hash: device.map(|device| device.token_hash.clone()),
        state: delivery.ended.map_or(open, Terminal::as_str),
        reason: delivery.ended.and_then(reason_of),
        duplicate_of: delivery.receiver.duplicate_of,
        next_allowed_at: delivery.next_allowed_at,
        retry_at: None,
        lane: None,
        advice: String::new(),
        steps,
        attempts: Vec::new(),
        receipts: Vec::new(),
    }
}

/// The reason that belongs to a terminal a rule led to.
fn reason_of(terminal: Terminal) -> Option<Reason> {
    match terminal {
        Terminal::Suppressed(reason) => Some(reason),
        Terminal::Expired => Some(Reason::Expired),
        Terminal::Cancelled => Some(Reason::Cancelled),
        _ => None,
    }
}

fn steps(
    opening: &Opening,
    receiver: &ReceiverFacts,
    device: Option<&DeviceFacts>,
    phase: Phase,
    at: UnixMs,
) -> Vec<StepExplanation> {
    let facts = Facts {
        now: at,
        phase,
        message: &opening.facts,
        receiver,
        device,
        settings: &opening.settings,
    };
    policy::steps(&facts)
        .into_iter()
        .map(|step| StepExplanation {
            at,
            phase: if phase == Phase::Accept { "accept" } else { "send" },
            rule: step.rule,
            outcome: if step.refused.is_some() { "suppress" } else { "pass" },
            saw: step.saw,
        })
        .collect()
}

/// When a rule that refused before sending would let the message through, as far as is known.
fn next_allowed(
    opening: &Opening,
    recheck: &Recheck,
    ended: Option<Terminal>,
    at: UnixMs,
) -> Option<UnixMs> {
    let facts = Facts {
        now: at,
        phase: Phase::Send,
        message: &opening.facts,
        receiver: &recheck.receiver,
        device: recheck.device.as_ref(),
        settings: &opening.settings,
    };
    // Settings may have changed since it was accepted: another rule's time is none of this one.
    policy::decide(&facts)
        .filter(|refusal| ended == Some(Terminal::of(refusal.reason)))
        .and_then(|refusal| refusal.next_allowed_at)
}

impl DeliveryExplanation {
    /// Takes in what a later step did to the delivery.
    fn follow(&mut self, opening: &Opening, result: &StepResult, at: UnixMs) {
        if let Some(recheck) = &result.refused {
            let device = recheck.device.as_ref();
            self.steps.extend(steps(opening, &recheck.receiver, device, Phase::Send, at));
            self.next_allowed_at = next_allowed(opening, recheck, result.ended, at);
        }
        if let Some(attempt) = &result.attempt {
            self.attempts.push(attempt_at(attempt, at));
        }
        if let Some(receipt) = result.receipt {
            self.receipts.push(receipt_at(receipt, at));
            return;
        }
        self.retry_at = result.retry_at;
        if let Some(terminal) = result.ended {
            self.state = terminal.as_str();
            self.reason = reason_of(terminal);
        }
    }
}

fn attempt_at(attempt: &Attempt, at: UnixMs) -> AttemptExplanation {
    AttemptExplanation {
        at,
        status: attempt.status,
        code: attempt.code.clone(),
        vendor_says: attempt.says.clone(),
        verdict: attempt.verdict.to_string(),
        latency_ms: attempt.latency_ms,
        vendor_id: attempt.vendor_id.clone(),
    }
}

fn receipt_at(receipt: Receipt, at: UnixMs) -> ReceiptExplanation {
    let (what, status) = match receipt {
        Receipt::Reached => ("reached", None),
        Receipt::Clicked => ("clicked", None),
        Receipt::NotShown(status) => ("not_shown", Some(status)),
    };
    ReceiptExplanation { at, what, status }
}
