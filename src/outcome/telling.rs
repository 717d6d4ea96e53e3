//! What outcomes tell others: events for the chat server, counts for the statistics and the digest,
//! all in the commit that settles; and dead tokens for the registry, after it.

use crate::account;
use crate::credentials::Certificate;
use crate::digest;
use crate::model::id::UserId;
use crate::model::reason::Terminal;
use crate::outcome::{Drawn, Outcome, Said, Settlement, name_of, platform_of};
use crate::queue::{Delivery, Held};
use crate::registry::Owner;
use crate::results::event::{About, DeviceRetired, Event, PushResult, Stage};
use crate::statistics::{self, Count, Day};
use crate::store::Batch;
use crate::telemetry::events;
use crate::trace::Attempt;
use crate::vendor::Verdict;

/// Counts the pushes that ended so after their vendor was asked.
pub fn count(
    certificate: Option<&Certificate>,
    held: &Held,
    ended: &[Terminal],
    batch: &mut Batch,
) {
    let (app, day) = (held.parcel.app, Day::of(held.parcel.message_id.accepted_at()));
    let sent = ended.iter().filter(|terminal| **terminal == Terminal::Pushed).count();
    for (count, by) in [(Count::Sendable, ended.len()), (Count::Sent, sent)] {
        if by != 0 {
            let by = i64::try_from(by).unwrap_or(i64::MAX);
            statistics::add(app, day, name_of(certificate), count, by, batch);
        }
    }
}

/// Counts a message that a do-not-disturb window held back for the digest at its end.
pub fn sum_up(said: &Said, held: &Held, user: &UserId, batch: &mut Batch) {
    let Said::Refused { sum_up: true, recheck, .. } = said else { return };
    let sum = digest::Sum {
        app: held.parcel.app,
        user,
        message: &held.message,
        message_id: held.parcel.message_id,
        expires_at: held.parcel.expires_at,
    };
    digest::add(&sum, &recheck.receiver, batch);
}

impl Outcome {
    /// Adds the event of a push that ended at its vendor.
    pub(in crate::outcome) fn tell(
        &self,
        certificate: Option<&Certificate>,
        held: &Held,
        (delivery, attempt, terminal): (&Delivery, &Attempt, Terminal),
        drawn: &mut Drawn,
    ) {
        let parcel = &held.parcel;
        let (err_code, err_info) = error_of(attempt, terminal);
        let event = Event::Push(PushResult {
            about: About::message(&held.message, parcel.message_id),
            message_id: parcel.message_id,
            to: &delivery.user,
            device_id: &delivery.device_id,
            cert_id: parcel.cert_id,
            platform: platform_of(certificate),
            stage: Stage::Sent,
            err_code,
            err_info: &err_info,
        });
        let (partition, now) = (parcel.message_id.partition(), self.clock.now());
        drawn.events += self.results.add(parcel.app, partition, &event, now, &mut drawn.batch);
    }

    /// Retires the tokens the vendor called dead. What fails here is tried again by the next push.
    pub async fn retire_dead(&self, parcel: &Settlement) {
        let Settlement { certificate, held, said } = parcel;
        let (certificate, now) = (certificate.as_deref(), self.clock.now());
        for (delivery, said) in held.parcel.deliveries.iter().zip(said) {
            let Said::Answered { answer, .. } = said else { continue };
            let Verdict::TokenDead { since, .. } = answer.verdict else { continue };
            let owner =
                Owner { user: delivery.user.clone(), device_id: delivery.device_id.clone() };
            let token = (held.parcel.cert_id, &delivery.token, delivery.registered_at);
            let app = held.parcel.app;
            let hash = delivery.token.short_hash();
            let event = Event::DeviceRetired(DeviceRetired {
                user: &delivery.user,
                device_id: &delivery.device_id,
                cert_id: held.parcel.cert_id,
                platform: platform_of(certificate),
                token_hash: &hash,
                source: "push",
                why: &answer.code,
            });
            let partition = account::partition_of(app, &delivery.user);
            let announce = |batch: &mut Batch| {
                self.results.add(app, partition, &event, now, batch);
            };
            let retired = self.registry.retire(app, &owner, token, since, now, announce).await;
            match retired {
                Ok(true) => {
                    let vendor = name_of(certificate);
                    self.results.added(app, i64::from(self.results.wanted(app)));
                    events::token_retired(vendor, held.parcel.cert_id.0, &hash);
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "a dead token could not be retired yet"),
            }
        }
    }
}

/// `ErrCode` and `ErrInfo`: the vendor's number where its code is one, else the HTTP status, and
/// never 0 for a push that was not taken.
fn error_of(attempt: &Attempt, terminal: Terminal) -> (i64, String) {
    if terminal == Terminal::Pushed {
        return (0, String::new());
    }
    let code = attempt.code.parse().unwrap_or(0);
    let code = if code == 0 { i64::from(attempt.status).max(1) } else { code };
    let (word, says) = (attempt.code.as_str(), attempt.says.as_str());
    // Some vendors' words are their code over again.
    let says = if says.starts_with(word) { says.to_owned() } else { [word, says].join(" ") };
    (code, format!("{}: {}", terminal.as_str(), says.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_vendors_number_where_there_is_one_and_never_zero() {
        let attempt = |status, code: &str, says: &str| Attempt {
            status,
            code: code.to_owned(),
            says: says.to_owned(),
            verdict: "".into(),
            latency_ms: 0,
            vendor_id: None,
        };
        let error = |attempt, terminal| error_of(&attempt, terminal);
        assert_eq!(
            error(attempt(200, "80000000", "Success"), Terminal::Pushed),
            (0, String::new())
        );
        let dead = error(attempt(410, "Unregistered", "Unregistered"), Terminal::TokenDead);
        assert_eq!(dead, (410, "token_dead: Unregistered".to_owned()));
        let refused = error(attempt(200, "80300008", "too large"), Terminal::Refused);
        assert_eq!(refused, (80_300_008, "refused: 80300008 too large".to_owned()));
        let lost = error(attempt(0, "", "no answer"), Terminal::Unknown);
        assert_eq!(lost, (1, "unknown: no answer".to_owned()));
    }
}
