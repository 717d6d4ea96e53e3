//! What a settled parcel tells its lane.

use std::time::Duration;

use crate::model::time::UnixMs;
use crate::outcome::fate::pause;
use crate::outcome::{OutcomeSettings, Said};
use crate::vendor::{ThrottleScope, Verdict};

/// What the lane should know of a settled parcel.
#[derive(Clone, Debug, Default)]
pub struct Effect {
    /// The vendor was asked: a rule's refusal says nothing about the vendor.
    pub asked: bool,
    /// How long the slowest request took.
    pub took: Duration,
    /// Deliveries the vendor took.
    pub accepted: usize,
    /// Tokens it called dead in a way that a wrong credential also would.
    pub suspects: usize,
    /// It was not available.
    pub unavailable: bool,
    /// Why not, in a few words: its code and what was said.
    pub trouble: Option<String>,
    /// It asks the whole certificate to slow down for this long.
    pub throttled: Option<Duration>,
    /// It refused the right to send.
    pub auth: Option<Rejection>,
    /// What is left waits in the store until then.
    pub waits_until: Option<UnixMs>,
}

/// The right to send was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A new access token may help, and none was tried for this parcel.
    pub renew: bool,
    /// The vendor's code.
    pub code: String,
    /// The vendor's words.
    pub says: String,
}

impl Effect {
    pub(super) fn note(&mut self, said: &Said, renewed: bool, settings: &OutcomeSettings) {
        let Said::Answered { answer, latency, .. } = said else { return };
        self.asked = true;
        self.took = self.took.max(*latency);
        match answer.verdict {
            Verdict::Accepted => self.accepted += 1,
            Verdict::TokenDead { suspect: true, .. } => self.suspects += 1,
            Verdict::TokenDead { .. } | Verdict::Refused => {}
            Verdict::Throttled { retry_after, scope: ThrottleScope::Certificate } => {
                let wait = pause(retry_after, settings);
                self.throttled = Some(self.throttled.map_or(wait, |known| known.max(wait)));
            }
            Verdict::Throttled { .. } => {}
            Verdict::Unavailable { .. } | Verdict::Unknown => {
                self.unavailable = true;
                self.trouble.get_or_insert_with(|| answer.words());
            }
            Verdict::AuthRejected { renew } => {
                self.auth = Some(Rejection {
                    renew: renew && !renewed,
                    code: answer.code.clone(),
                    says: answer.says.clone(),
                });
            }
        }
    }
}
