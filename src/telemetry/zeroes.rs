//! Counters that are there, with 0, before anything happened. A series that appears with its first
//! event appears with 1, and whoever asks how much it grew hears of no growth: the alert for the
//! first event would stay silent.

use metrics::counter;

use crate::model::reason::{Reason, Terminal};
use crate::telemetry::events::{self, MessageKind, TurnedAway};

/// Closed sets of labels that floors above this one know.
#[derive(Clone, Debug)]
pub struct Labels {
    /// Names of vendors.
    pub vendors: Vec<&'static str>,
    /// Those of them that send receipts.
    pub receipts: Vec<&'static str>,
    /// What a vendor's answer can mean.
    pub verdicts: Vec<&'static str>,
    /// Why a request got no answer.
    pub causes: Vec<&'static str>,
    /// Kinds of push results.
    pub results: Vec<&'static str>,
}

/// Names every counter whose labels are known ahead. Doing it again changes nothing.
pub fn begin(labels: &Labels) {
    counter!(events::DUPLICATES).increment(0);
    for kind in [MessageKind::C2c, MessageKind::Group] {
        counter!(events::MESSAGES_ACCEPTED, "kind" => kind.as_str()).increment(0);
    }
    for cause in TurnedAway::ALL {
        counter!(events::MESSAGES_TURNED_AWAY, "cause" => cause.as_str()).increment(0);
    }
    for terminal in terminals() {
        let (state, reason) = events::labels_of(terminal);
        counter!(events::DELIVERIES, "state" => state, "reason" => reason).increment(0);
    }
    for &vendor in &labels.vendors {
        of_vendor(vendor, labels);
    }
    for &vendor in &labels.receipts {
        for result in ["counted", "repeated", "unknown", "unreadable"] {
            counter!(events::RECEIPTS, "vendor" => vendor, "result" => result).increment(0);
        }
    }
    for &kind in &labels.results {
        counter!(events::RESULTS_POSTED, "kind" => kind).increment(0);
        counter!(events::RESULTS_POSTS_FAILED, "kind" => kind).increment(0);
    }
    for cause in ["too_old", "too_many", "no_address"] {
        counter!(events::RESULTS_DROPPED, "cause" => cause).increment(0);
    }
}

fn of_vendor(vendor: &'static str, labels: &Labels) {
    for name in [
        events::TOKENS_RETIRED,
        events::TOKENS_DOUBTED,
        events::CERTIFICATES_BROKEN,
        events::CLOCK_REFUSALS,
    ] {
        counter!(name, "vendor" => vendor).increment(0);
    }
    for &verdict in &labels.verdicts {
        counter!(events::PUSHES, "vendor" => vendor, "verdict" => verdict).increment(0);
    }
    for &cause in &labels.causes {
        counter!(events::REQUESTS_UNANSWERED, "vendor" => vendor, "cause" => cause).increment(0);
    }
}

/// What a rule says of the message alone. It is said when the message comes, so no delivery that
/// was queued ends of it.
const SAID_AT_ONCE: [Reason; 6] = [
    Reason::Duplicate,
    Reason::SendFailed,
    Reason::NoPushFlag,
    Reason::OnlineOnly,
    Reason::EmptyCustomDesc,
    Reason::SelfSent,
];

/// Every way a delivery that was queued can end.
fn terminals() -> impl Iterator<Item = Terminal> {
    let later = Reason::ALL.iter().filter(|reason| !SAID_AT_ONCE.contains(reason));
    // Some reasons are states of their own: `of` knows which.
    let suppressed = later.map(|reason| Terminal::of(*reason));
    Terminal::PLAIN.into_iter().chain(suppressed)
}
