//! What a verdict means for a delivery: its end, or another try and when.

use std::time::Duration;

use crate::credentials::Certificate;
use crate::model::reason::Terminal;
use crate::model::time::UnixMs;
use crate::outcome::{Outcome, OutcomeSettings, Said, gave_up, was_renewed};
use crate::queue::{self, Held};
use crate::vendor::Verdict;

use FateAt::{Ended, Retried};

/// Shortest pause of a vendor that throttles.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// What a verdict means for one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    End(Terminal),
    /// Try again; whether this counts as a failed attempt, and after which wait at least.
    Again {
        counts: bool,
        after: Option<Duration>,
    },
}

pub(super) enum FateAt {
    Ended(Terminal),
    Retried { at: UnixMs, counts: bool },
}

impl Outcome {
    /// What becomes of one delivery. The `jitter`, from 0 to 1, of a back-off is the same for a
    /// whole parcel, so that what failed together is tried together.
    pub(super) fn fate_of(
        &self,
        certificate: Option<&Certificate>,
        said: &Said,
        held: &Held,
        now: UnixMs,
        jitter: f64,
    ) -> FateAt {
        let answer = match said {
            Said::Refused { .. } if gave_up(said, held) => return Ended(Terminal::DeadLetter),
            Said::Refused { terminal, .. } => return Ended(*terminal),
            Said::TooLarge { .. } => return Ended(Terminal::Refused),
            Said::Postponed { until } => return Retried { at: *until, counts: false },
            Said::Answered { answer, .. } => answer,
        };
        let repeats_are_safe =
            certificate.is_some_and(|cert| cert.vendor.profile().repeats_are_safe);
        let expires_at = held.parcel.expires_at;
        let renewed = was_renewed(certificate, held);
        match fate(answer.verdict, repeats_are_safe, renewed, &self.settings) {
            Fate::End(terminal) => Ended(terminal),
            Fate::Again { counts, after } => {
                let backoff = if counts {
                    let (base, longest) = (self.settings.backoff_base, self.settings.backoff_max);
                    queue::backoff(held.parcel.attempts, base, longest, jitter)
                } else {
                    Duration::ZERO
                };
                if counts && now.after(backoff) >= expires_at {
                    return Ended(Terminal::DeadLetter);
                }
                // A vendor that is out of order may wish for more than a message lives: half of
                // what is left of its life is waited, and then it is asked again.
                let wish = match counts {
                    true => after.unwrap_or_default().min(expires_at.since(now) / 2),
                    false => after.unwrap_or_default(),
                };
                let at = now.after(backoff.max(wish));
                // What was not really tried waits at most until its end, and then expires.
                Retried { at: at.min(expires_at.max(now)), counts }
            }
        }
    }
}

/// How long a vendor that throttles is left alone. It may say "now", or a time that is past: as
/// such tries count for nothing, they would never end.
pub(super) fn pause(retry_after: Option<Duration>, settings: &OutcomeSettings) -> Duration {
    retry_after.unwrap_or(settings.throttle_default).max(PAUSE_MIN)
}

/// The one place that acts on a verdict (design, section 7).
fn fate(
    verdict: Verdict,
    repeats_are_safe: bool,
    renewed: bool,
    settings: &OutcomeSettings,
) -> Fate {
    match verdict {
        Verdict::Accepted => Fate::End(Terminal::Pushed),
        Verdict::TokenDead { .. } => Fate::End(Terminal::TokenDead),
        Verdict::Refused => Fate::End(Terminal::Refused),
        Verdict::Throttled { retry_after, .. } => {
            Fate::Again { counts: false, after: Some(pause(retry_after, settings)) }
        }
        Verdict::Unavailable { retry_after } => Fate::Again { counts: true, after: retry_after },
        // The first refusal is answered with a new access token, at once; after that the
        // certificate is broken and its deliveries wait for a person.
        Verdict::AuthRejected { renew: true } if !renewed => {
            Fate::Again { counts: false, after: None }
        }
        Verdict::AuthRejected { .. } => {
            Fate::Again { counts: false, after: Some(settings.broken_wait) }
        }
        Verdict::Unknown if repeats_are_safe => Fate::Again { counts: true, after: None },
        Verdict::Unknown => Fate::End(Terminal::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::ThrottleScope;

    fn settings() -> OutcomeSettings {
        OutcomeSettings {
            backoff_base: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            throttle_default: Duration::from_secs(10),
            broken_wait: Duration::from_secs(60),
        }
    }

    #[test]
    fn every_verdict_has_the_fate_of_the_contract() {
        let settings = settings();
        let decide = |verdict, safe, renewed| fate(verdict, safe, renewed, &settings);
        let again = |counts, after| Fate::Again { counts, after };
        let secs = |s| Some(Duration::from_secs(s));
        assert_eq!(decide(Verdict::Accepted, true, false), Fate::End(Terminal::Pushed));
        let dead = Verdict::TokenDead { since: None, suspect: false };
        assert_eq!(decide(dead, true, false), Fate::End(Terminal::TokenDead));
        assert_eq!(decide(Verdict::Refused, true, false), Fate::End(Terminal::Refused));
        let throttled =
            |retry_after| Verdict::Throttled { retry_after, scope: ThrottleScope::Certificate };
        assert_eq!(decide(throttled(None), true, false), again(false, secs(10)));
        assert_eq!(decide(throttled(secs(3)), true, false), again(false, secs(3)));
        assert_eq!(decide(throttled(secs(0)), true, false), again(false, secs(1)));
        let unavailable = Verdict::Unavailable { retry_after: secs(7) };
        assert_eq!(decide(unavailable, true, false), again(true, secs(7)));
        let rejected = |renew| Verdict::AuthRejected { renew };
        assert_eq!(decide(rejected(true), true, false), again(false, None));
        assert_eq!(decide(rejected(true), true, true), again(false, secs(60)));
        assert_eq!(decide(rejected(false), true, false), again(false, secs(60)));
        assert_eq!(decide(Verdict::Unknown, true, false), again(true, None));
        assert_eq!(decide(Verdict::Unknown, false, false), Fate::End(Terminal::Unknown));
    }
}
