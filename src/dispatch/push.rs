//! One request's way: its turn on a connection, one more look at the rules when that took long, the
//! answers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::credentials::Certificate;
use crate::dispatch::Dispatch;
use crate::dispatch::lane::Lane;
use crate::dispatch::send::{answer_for, unsaid};
use crate::model::time::UnixMs;
use crate::outcome::Said;
use crate::queue::{Delivery, Held, Parcel};
use crate::telemetry::events;
use crate::transport::{BUSY, Lane as Connections, Reply, Room, TransportError};
use crate::vendor::clocks::{self, Exchange};
use crate::vendor::{
    AccessToken, Answer, Call, Notification, Push, Target, Vendor, Verdict, reply,
};

/// Refused TLS handshakes in a row that mean the client certificate is refused.
const HANDSHAKES_MAX: u32 = 3;

/// How long the second look at the rules holds. A push that waits longer for its turn on a
/// connection is looked at once more when it has it.
const LOOK_HOLDS: Duration = Duration::from_millis(250);

/// How long what found all connections busy is left alone.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// A certificate with the right to send.
pub(super) struct Ready<'a> {
    pub(super) certificate: &'a Certificate,
    pub(super) access: Option<AccessToken>,
    pub(super) connections: Connections,
    /// The parcel was refused before, so what is refused now was signed just now.
    pub(super) renewed: bool,
    pub(super) notification: Notification,
    pub(super) held: &'a Held,
    /// Deliveries, by their place, whose device got another token while they waited.
    pub(super) renewed_tokens: Mutex<Vec<(usize, Delivery)>>,
}

impl Dispatch {
    pub(super) fn encode(&self, ready: &Ready<'_>, targets: &[Target]) -> Vec<Push> {
        ready.certificate.vendor.encode(&Call {
            certificate: &ready.certificate.sending,
            access: ready.access.as_ref(),
            notification: &ready.notification,
            targets,
            now: self.rooms.clock.now(),
        })
    }

    /// One request when its turn on a connection has come, and its answers: one for each of the
    /// deliveries at `open` that it carries.
    pub(super) async fn push(
        &self,
        lane: &Lane,
        ready: &Ready<'_>,
        push: &Push,
        targets: &[Target],
        open: &[usize],
    ) -> Vec<Said> {
        let (targets, open) = (&targets[push.targets.clone()], &open[push.targets.clone()]);
        let asked = self.rooms.clock.instant();
        let room = self.rooms.transport.room(&ready.connections, &push.request.uri).await;
        match room {
            Ok(Some(room)) => {
                lane.set_parcels_at_once(room.requests_max());
                let waited = self.rooms.clock.instant().saturating_duration_since(asked);
                match waited > LOOK_HOLDS {
                    true => self.push_anew(lane, ready, room, open).await,
                    false => self.push_in(lane, ready, room, (push, targets)).await,
                }
            }
            // That we are busy says nothing of the vendor, and is no try.
            Ok(None) => {
                events::request_unanswered(ready.certificate.vendor.profile().name, BUSY);
                let until = self.rooms.clock.now().after(BUSY_WAIT);
                vec![Said::Postponed { until }; open.len()]
            }
            Err(error) => {
                let vendor = ready.certificate.vendor.profile().name;
                let latency = self.rooms.clock.instant().saturating_duration_since(asked);
                lane.request_took(vendor, latency);
                events::request_unanswered(vendor, error.cause());
                let is_run = || lane.handshake_failed() >= HANDSHAKES_MAX;
                let answer = unanswered(ready.certificate, &error, is_run);
                vec![Said::Answered { answer, status: 0, latency }; open.len()]
            }
        }
    }

    /// The same when so much time has passed that the rules are to be asked once more.
    async fn push_anew(
        &self,
        lane: &Lane,
        ready: &Ready<'_>,
        room: Room,
        open: &[usize],
    ) -> Vec<Said> {
        let whole = &ready.held.parcel;
        let mut part = whole.emptied();
        part.deliveries.extend(open.iter().map(|index| whole.deliveries[*index].clone()));
        let mut said = match self.look_again(&mut part, &ready.held.message).await {
            Ok(said) => said,
            Err(error) => {
                tracing::warn!(%error, "a parcel's facts cannot be read");
                return self.postponed(vec![None; open.len()]);
            }
        };
        let renewed = open.iter().copied().zip(&part.deliveries);
        let renewed = renewed.filter(|(index, now)| whole.deliveries[*index].token != now.token);
        ready
            .renewed_tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(renewed.map(|(index, now)| (index, now.clone())));
        let open = unsaid(&said);
        let targets = targets(&part, &open);
        // They fit into one request: there were as many or more in the one before.
        if let Some(push) = self.encode(ready, &targets).first() {
            let answers = self.push_in(lane, ready, room, (push, &targets)).await;
            answer_for(&mut said, open, answers);
        }
        self.postponed(said)
    }

    /// One request where there is room for it, and its answers: one for each target.
    async fn push_in(
        &self,
        lane: &Lane,
        ready: &Ready<'_>,
        room: Room,
        (push, targets): (&Push, &[Target]),
    ) -> Vec<Said> {
        let vendor = ready.certificate.vendor;
        let (sent, started) = (self.rooms.clock.now(), self.rooms.clock.instant());
        let transport = &self.rooms.transport;
        let replied = transport.send_in(room, &ready.connections, &push.request).await;
        let latency = started.elapsed();
        lane.request_took(vendor.profile().name, latency);
        let (status, answers) = match replied {
            Ok(reply) => {
                let exchange = Exchange { sent, received: self.rooms.clock.now() };
                let mut answers = decode(vendor, &reply, targets, exchange.received);
                if answers.iter().any(|answer| vendor.is_leaving(answer)) {
                    self.renew_connections(lane, ready.connections.generation);
                }
                if answers.iter().any(|answer| proves_nothing_new(answer, ready.renewed)) {
                    answers = blame_clocks(vendor, answers, &reply, exchange);
                }
                (reply.status.as_u16(), answers)
            }
            Err(error) => {
                events::request_unanswered(vendor.profile().name, error.cause());
                let certificate = ready.certificate;
                let is_run = || lane.handshake_failed() >= HANDSHAKES_MAX;
                let answer = unanswered(certificate, &error, is_run);
                (0, vec![answer; targets.len()])
            }
        };
        answers.into_iter().map(|answer| Said::Answered { answer, status, latency }).collect()
    }
}

/// What a request carries for the deliveries at `open`.
pub(super) fn targets(parcel: &Parcel, open: &[usize]) -> Vec<Target> {
    let target = |delivery: &Delivery| Target {
        token: delivery.token.clone(),
        push_id: parcel.message_id.push_id(delivery.number),
        badge: delivery.badge,
    };
    open.iter().map(|index| target(&parcel.deliveries[*index])).collect()
}

/// A refusal of the right to send that another access token will not change.
fn proves_nothing_new(answer: &Answer, renewed: bool) -> bool {
    matches!(answer.verdict, Verdict::AuthRejected { renew } if renewed || !renew)
}

/// Refusals that clocks explain are attributed to them.
fn blame_clocks(
    vendor: &dyn Vendor,
    answers: Vec<Answer>,
    reply: &Reply,
    exchange: Exchange,
) -> Vec<Answer> {
    let judge = |answer: Answer| {
        let blame = vendor.blames_clock(&answer);
        clocks::judged(answer, blame, reply, exchange)
    };
    answers.into_iter().map(judge).collect()
}

/// Reads a reply; an adapter that does not answer for every target is corrected, not believed.
pub(super) fn decode(
    vendor: &dyn Vendor,
    reply: &Reply,
    targets: &[Target],
    now: UnixMs,
) -> Vec<Answer> {
    let mut answers = vendor.decode(reply, targets, now);
    answers.truncate(targets.len());
    let missing = || Answer::new(Verdict::Unknown, "", "the reply does not speak of this token");
    answers.resize_with(targets.len(), missing);
    answers
}

/// What no answer means. A vendor that refuses the client certificate refuses the handshake;
/// `is_believed` says whether this refusal is taken for one, as it may have other causes.
pub(super) fn unanswered(
    certificate: &Certificate,
    error: &TransportError,
    is_believed: impl FnOnce() -> bool,
) -> Answer {
    let mut answer = reply::unanswered(error);
    let presents = certificate.credential.client_identity.is_some();
    if matches!(error, TransportError::Handshake(_)) && presents && is_believed() {
        answer.verdict = Verdict::AuthRejected { renew: false };
    }
    answer
}
