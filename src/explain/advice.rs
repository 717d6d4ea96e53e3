//! What to tell people, in one catalogue so that other languages can follow.

use crate::explain::DeliveryExplanation;
use crate::explain::doctor::Finding;
use crate::explain::halt::Halt;
use crate::model::reason::Reason;
use crate::policy::{DeviceFacts, ReceiverFacts};
use crate::trace::PAYLOAD_TOO_LARGE;
use crate::vendor::{self, Vendor, Verdict, clocks};

/// The facts of the step that decided a delivery.
#[derive(Clone, Copy)]
pub struct Grounds<'a> {
    /// Receiver.
    pub receiver: &'a ReceiverFacts,
    /// Device; `None` for a receiver without it.
    pub device: Option<&'a DeviceFacts>,
}

/// One sentence about a delivery: what happened, and what a person could do. One that waits in a
/// lane that does not run is told so first, and then what the vendor said last.
pub fn of(delivery: &DeliveryExplanation, grounds: Grounds<'_>) -> String {
    if let Some(reason) = delivery.reason {
        return of_reason(reason, delivery, grounds);
    }
    let last = delivery.attempts.last().filter(|last| last.verdict != "accepted");
    let said = last.and_then(|last| of_vendor(delivery, &last.code, &last.verdict));
    match (&delivery.lane, said) {
        (Some(halt), _) if delivery.state == "would_push" => {
            format!("It would ring once its lane sends again: {}.", halt.advice())
        }
        (Some(halt), None) => format!("It waits: {}.", halt.advice()),
        (Some(halt), Some(said)) => {
            format!("It waits: {}. On the last answer: {said}.", halt.advice())
        }
        (None, Some(said)) if delivery.state == "dead_letter" => of_given_up(said),
        (None, Some(said)) => said.to_owned(),
        (None, None) => of_state(delivery),
    }
}

/// What the doctor says of a lane that does not run.
pub fn of_halt(halt: &Halt) -> String {
    format!("Nothing is sent now: {}.", halt.advice())
}

/// What adapters promise of a push that can still be tried.
const PROMISE: &str = "the push is sent again";

/// Advice on a push that was given up: an adapter knows the cause, but not that it lasted.
pub fn of_given_up(said: &str) -> String {
    let cause = said.split_once(PROMISE).map_or(said, |(cause, _)| cause);
    let cause = cause.trim_end().trim_end_matches("and").trim_end_matches([' ', ',', ';']);
    format!("{cause}; the push was given up: replay it once the cause is gone")
}

fn of_vendor(delivery: &DeliveryExplanation, code: &str, verdict: &str) -> Option<&'static str> {
    let vendor = vendor::named(delivery.vendor.as_deref()?)?;
    of_answer(vendor, code, verdict_named(verdict)?)
}

/// What to do about an answer: in our words for codes of our own, else in the adapter's.
pub fn of_answer(vendor: &dyn Vendor, code: &str, verdict: Verdict) -> Option<&'static str> {
    of_our_code(code).or_else(|| vendor.advice(code, verdict))
}

fn of_our_code(code: &str) -> Option<&'static str> {
    Some(match code {
        PAYLOAD_TOO_LARGE => {
            "the push is larger than its vendor takes even with title and text at their shortest: \
             shorten Ext, and what else OfflinePushInfo carries beside Desc; nothing was sent"
        }
        clocks::CODE => {
            "the vendor refuses the time in our proof: set this machine's clock right (NTP); \
             the certificate is fine as far as anyone can tell, and the push is sent again"
        }
        "tls_unknown_issuer" => {
            "the server's certificate is of an authority this machine does not trust: look for a \
             TLS proxy on the way, or set vendors.ca_file; nothing was sent"
        }
        "tls_wrong_name" => {
            "another host answers under the vendor's name: check DNS, vendors.proxy and the \
             endpoint; nothing was sent"
        }
        "tls_expired" | "tls_not_yet_valid" => {
            "the server's certificate is out of date by this machine's clock: check the clock \
             first, then who answers; nothing was sent"
        }
        "tls_not_spoken" => {
            "what answers at the endpoint does not speak TLS: check its port, captive portals \
             and proxies; nothing was sent"
        }
        "tls_failed" => {
            "TLS with the vendor fails: see its words and what is on the way; nothing was sent"
        }
        "tls_client_certificate" => {
            "the vendor refuses the client certificate: see whether it has expired or was \
             revoked, and upload a new one under the same id"
        }
        _ => return None,
    })
}

/// The verdict of that name, for asking a vendor's advice.
pub fn verdict_named(name: &str) -> Option<Verdict> {
    Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == name)
}

fn of_state(delivery: &DeliveryExplanation) -> String {
    let vendor = delivery.vendor.as_deref().unwrap_or("the vendor");
    match delivery.state {
        "would_push" => "It would ring.".to_owned(),
        "in_flight" => match delivery.retry_at {
            Some(at) => format!("It waits and is tried again at {at}."),
            None => "It is on its way.".to_owned(),
        },
        "pushed" => format!(
            "{vendor} took it; if the phone stayed silent, look at the phone's notification \
             settings and at the vendor's quota."
        ),
        "token_dead" => {
            "The token is dead: the app must register a new one when it starts again.".to_owned()
        }
        "refused" => format!("{vendor} refused this push as built; its words tell what to change."),
        "dead_letter" => format!(
            "{vendor} could not be reached for the message's whole life; replay it once the cause \
             is gone."
        ),
        "unknown" => format!(
            "{vendor} never answered and a repeat could have rung twice; it may have arrived."
        ),
        _ => String::new(),
    }
}

fn of_reason(reason: Reason, delivery: &DeliveryExplanation, grounds: Grounds<'_>) -> String {
    let fixed = match reason {
        Reason::Duplicate => {
            let of = delivery.duplicate_of.map(|of| of.to_string()).unwrap_or_default();
            return format!(
                "It repeats message {of}; give every message its own random MsgRandom if it was \
                 meant to be another."
            );
        }
        Reason::DoNotDisturb => {
            let zone = grounds.receiver.window.as_ref().map_or("", |window| window.zone.as_str());
            let until = match delivery.next_allowed_at {
                Some(at) => format!("until {at}"),
                None => "permanently".to_owned(),
            };
            return format!(
                "The receiver's do-not-disturb window ({zone}) is open {until}; nothing is wrong."
            );
        }
        Reason::CertNotFound => {
            let cert_id = delivery.cert_id.map(|id| id.to_string()).unwrap_or_default();
            return format!(
                "No certificate {cert_id} exists in this app: the client reports a wrong id, or \
                 the certificate was deleted instead of changed."
            );
        }
        Reason::SendFailed => "The chat server says the send failed, so nobody is rung.",
        Reason::NoPushFlag => "The sender asked for no push (PushFlag 1).",
        Reason::OnlineOnly => {
            "The message is for online receivers only (OnlineOnlyFlag, or MsgLifeTime 0)."
        }
        Reason::EmptyCustomDesc => {
            "The message is one custom element without Desc: fill its Desc or \
             OfflinePushInfo.Desc, or there is nothing to show."
        }
        Reason::SelfSent => "Senders are not rung for their own messages.",
        Reason::PushDisabled => "The receiver switched push off in the preferences.",
        Reason::ConversationBlocked => "The receiver blocked this conversation (option 1 or 4).",
        Reason::ConversationMuted => "The receiver muted this conversation (option 2 or 3).",
        Reason::NoDevice => {
            "The receiver has no registered device: the app must report its token after log-in."
        }
        Reason::Foreground if grounds.device.is_some_and(|device| !device.was_background) => {
            "The app says it is on screen there and never reported the background: check that the \
             client reports going to background."
        }
        Reason::Foreground => "The app is on screen there and shows the message itself.",
        Reason::LoggedOut => {
            "The user logged out there; the next log-in and token report revive it."
        }
        Reason::StaleLogin => {
            "The device gave no sign of life for too long; it rings again after the app starts."
        }
        Reason::CertDisabled => "The certificate is switched off; switch it on to ring again.",
        Reason::CertExpired => {
            "The certificate has expired: upload a new one under the same id, do not delete it."
        }
        Reason::CertBroken => {
            "The vendor refuses the certificate: verify it and upload a new secret under the same \
             id."
        }
        Reason::CertMismatch => {
            "The certificate belongs to another vendor or platform than the device, or its tokens \
             are for calls or Live Activities only: the client may report the wrong certificate \
             id. A call rings on the receiver's device with a token for calls, and not here too."
        }
        Reason::TokenDead => {
            "The vendor called this token dead; the app must register again when it starts."
        }
        Reason::TokenMoved => {
            "Another account or device registered this token since, or the device registered under \
             another certificate; only the latest registration rings."
        }
        Reason::Expired => "The message's life time ended before it could be sent.",
        Reason::Cancelled => "It was read elsewhere or withdrawn before it was sent.",
    };
    fixed.to_owned()
}

/// What the doctor says of a finding.
pub fn of_finding(finding: Finding) -> &'static str {
    match finding {
        Finding::Fine => "Fine.",
        Finding::NoDevice => {
            "No device reported a token: the app must report it after log-in, with the user id \
             that messages are sent to."
        }
        Finding::CertMissing => {
            "The device reports a certificate id that does not exist in this app: correct the id \
             in the client; never delete a certificate in order to replace it."
        }
        Finding::CertDisabled => "The certificate is switched off; switch it on to ring again.",
        Finding::CertExpired => {
            "The certificate has expired: upload a new one under the same id, do not delete it."
        }
        Finding::CertBroken => {
            "The vendor refuses the certificate: verify it and upload a new secret under the same \
             id."
        }
        Finding::CertMismatch => {
            "The certificate belongs to another vendor than the device's platform: the client \
             reports the wrong certificate id."
        }
        Finding::CertEndsSoon => {
            "The certificate ends within 30 days: upload a new one under the same id in time."
        }
        Finding::TokenDead => {
            "The vendor called the token dead: the app must register again when it starts."
        }
        Finding::TokenMoved => {
            "Another account or device registered this token since; only the latest one rings."
        }
        Finding::NeverBackground => {
            "The device never reported going to background: if pushes are missing or unwanted, \
             check that the client reports foreground and background."
        }
        Finding::StuckForeground => {
            "The foreground was reported long ago and never closed; it no longer counts, but the \
             client should report going to background."
        }
        Finding::OnScreen => "The app is on screen there now and shows messages itself.",
        Finding::Flapping => {
            "The token changes again and again: several processes initialise the SDK, or two \
             devices share one device id."
        }
        Finding::LoggedOut => {
            "The user logged out there or was kicked; the next log-in and token report revive it."
        }
        Finding::StaleLogin => {
            "The device gave no sign of life for too long; it rings again after the app starts."
        }
        Finding::PushDisabled => "The user switched push off in the preferences.",
        Finding::QuietNow => "A do-not-disturb window is open now; nothing is wrong.",
        Finding::QuietForever => "A do-not-disturb window is open for good: the user must end it.",
        Finding::ConversationsSilenced => {
            "These conversations are muted or blocked by the user; others ring."
        }
        Finding::ConstantRandom => {
            "A sender repeats the same MsgRandom, so its messages are dropped as repeats: every \
             message needs its own random number."
        }
        Finding::Repeats => {
            "A sender's messages arrive several times; only the first of each rings, as it should."
        }
        Finding::NothingSent => {
            "No vendor was asked for this device in the last 24 hours; a test push tells more."
        }
        Finding::VendorRefuses => {
            "The vendor refused the last push to this device; its words tell why."
        }
        Finding::VendorTroubled => {
            "The vendor did not take the last push to this device yet; look at its lane."
        }
        Finding::LaneStopped => "The certificate's lane sends nothing until a person acts.",
        Finding::LaneWaits => "The certificate's lane waits and goes on by itself.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::ThrottleScope;

    #[test]
    fn a_push_that_was_given_up_is_told_its_cause_and_that_it_can_be_replayed() {
        let later = [
            Verdict::Throttled { retry_after: None, scope: ThrottleScope::Certificate },
            Verdict::Unavailable { retry_after: None },
        ];
        let codes = [clocks::CODE, "503", "UNAVAILABLE", "InternalServerError", "Shutdown"];
        let mut promises = 0;
        for vendor in vendor::ALL {
            for (code, verdict) in codes.iter().flat_map(|code| later.map(|later| (code, later))) {
                let Some(said) = of_answer(*vendor, code, verdict) else { continue };
                promises += usize::from(said.contains(PROMISE));
                let advice = of_given_up(said);
                let (cause, _) = advice.split_once("; the push was given up: replay").expect(said);
                assert!(!cause.contains("sent again") && said.starts_with(cause), "{advice}");
                assert!(!cause.is_empty() && !cause.ends_with([',', ';', ' ']), "{advice}");
            }
        }
        assert!(promises > 0, "an adapter still promises in these words");
    }
}
