//! One parcel's way: a second look at the rules, rendering, signing in, the requests, the answers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::access::{AccessTokens, Refused};
use crate::credentials::Certificate;
use crate::digest;
use crate::dispatch::Dispatch;
use crate::dispatch::lane::Lane;
use crate::model::id::{DeviceId, Token, UserId};
use crate::model::message::Notice;
use crate::model::reason::{Reason, Terminal};
use crate::outcome::{self, Said};
use crate::policy::{self, Phase};
use crate::queue::{self, Delivery, Held, Parcel};
use crate::registry::{Registry, Standing};
use crate::render::{Collapse, Reader, RenderRequest, render};
use crate::store::{Batch, StoreError};
use crate::telemetry::events;
use crate::trace::Recheck;
use crate::transport::{Lane as Connections, Reply, TransportError};
use crate::vendor::clocks::{self, Exchange};
use crate::vendor::{
    AccessToken, Answer, Call, Notification, Push, Target, Vendor, Verdict, reply,
};

/// Refused TLS handshakes in a row that mean the client certificate is refused.
const HANDSHAKES_MAX: u32 = 3;

/// Rest of a lease below which it is renewed before sending: a request must end within it.
const LEASE_MARGIN: Duration = Duration::from_secs(10);

/// What is needed to ask a vendor anything.
pub struct Sender {
    access: AccessTokens,
    registry: Registry,
    deadline: Duration,
}

/// A certificate with the right to send.
struct Ready<'a> {
    certificate: &'a Certificate,
    access: Option<AccessToken>,
    connections: Connections,
    /// The parcel was refused before, so what is refused now was signed just now.
    renewed: bool,
}

impl Sender {
    /// Builds it.
    pub fn new(access: AccessTokens, registry: Registry, deadline: Duration) -> Self {
        Sender { access, registry, deadline }
    }

    /// The access tokens.
    pub fn access(&self) -> &AccessTokens {
        &self.access
    }

    /// The connections of a certificate.
    pub fn connections(&self, certificate: &Certificate, generation: u32) -> Connections {
        Connections {
            cert: certificate.info.cert_id.0,
            generation,
            protocol: certificate.vendor.profile().protocol,
            identity: certificate.credential.client_identity.clone(),
            deadline: self.deadline,
        }
    }
}

/// What became of a parcel that was sent.
pub(crate) struct Delivered {
    /// The certificate it was sent with; `None` when there is none any more.
    pub certificate: Option<Arc<Certificate>>,
    /// What is to be said about each delivery, in their order.
    pub said: Vec<Said>,
    /// Of which generation the connections were.
    pub generation: u32,
}

impl Dispatch {
    /// Sends one parcel; `None` when somebody else has it now.
    pub(crate) async fn deliver(&self, lane: &Lane, held: &mut Held) -> Option<Delivered> {
        if !self.renew_lease(held).await {
            return None;
        }
        let certificate = self.rooms.credentials.get_of(held.parcel.app, held.parcel.cert_id);
        let (said, generation) = match self.say(lane, certificate.as_deref(), held).await {
            Ok(said) => said,
            Err(error) => {
                tracing::warn!(%error, "a parcel's facts cannot be read");
                let until = self.rooms.clock.now().after(LEASE_MARGIN);
                (vec![Said::Postponed { until }; held.parcel.deliveries.len()], lane.generation())
            }
        };
        Some(Delivered { certificate, said, generation })
    }

    /// Makes sure nobody else takes the parcel while it is at the vendor. Answers whether it is
    /// still ours.
    async fn renew_lease(&self, held: &mut Held) -> bool {
        let now = self.rooms.clock.now();
        let needed = now.after(self.settings.request_deadline).after(LEASE_MARGIN);
        if held.leased_until > needed {
            return true;
        }
        let mut batch = Batch::default();
        queue::move_to(held, now.after(self.settings.lease), &mut batch);
        match self.rooms.store.commit(held.parcel.message_id.partition(), batch).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "a parcel's lease is lost");
                false
            }
        }
    }

    /// Finds out what is to be said about each delivery: by a rule, or by the vendor, over
    /// connections of the generation answered.
    async fn say(
        &self,
        lane: &Lane,
        certificate: Option<&Certificate>,
        held: &mut Held,
    ) -> Result<(Vec<Said>, u32), StoreError> {
        // Signing in may take long. It comes before the second look, so that nothing but the
        // request itself lies between that look and the vendor.
        let usable = |certificate: &&Certificate| {
            certificate.info.enabled && held.parcel.expires_at > self.rooms.clock.now()
        };
        let access = match certificate.filter(usable) {
            Some(certificate) => {
                let connections = self.sender.connections(certificate, lane.generation());
                Some(self.sender.access.current(certificate, &connections).await)
            }
            None => None,
        };
        let mut said: Vec<Option<Said>> = self.look_again(held).await?;
        let open: Vec<usize> = (0..said.len()).filter(|index| said[*index].is_none()).collect();
        let generation = lane.generation();
        if let (Some(certificate), Some(access)) = (certificate, access)
            && !open.is_empty()
        {
            let answers = match access {
                Ok(access) => {
                    let connections = self.sender.connections(certificate, generation);
                    self.send(lane, certificate, (access, connections), held, &open).await
                }
                Err(refused) => {
                    let Refused { answer, status, .. } = *refused;
                    let said = Said::Answered { answer, status, latency: Duration::ZERO };
                    vec![said; open.len()]
                }
            };
            for (index, answer) in open.into_iter().zip(answers) {
                said[index] = Some(answer);
            }
        }
        let now = self.rooms.clock.now();
        let postponed = || Said::Postponed { until: now.after(LEASE_MARGIN) };
        let said = said.into_iter().map(|said| said.unwrap_or_else(postponed)).collect();
        Ok((said, generation))
    }

    /// How the deliveries of a parcel stand now. A device that got another token meanwhile gets the
    /// push there.
    async fn standings(&self, parcel: &mut Parcel) -> Result<Vec<Standing>, StoreError> {
        let (app, cert_id) = (parcel.app, parcel.cert_id);
        let registry = &self.sender.registry;
        let standings = registry.standings(app, cert_id, named(&parcel.deliveries)).await?;
        let mut is_renewed = false;
        for (delivery, standing) in parcel.deliveries.iter_mut().zip(&standings) {
            if let Some(device) = standing.account.device(&delivery.device_id)
                && device.cert_id == cert_id
                && device.token != delivery.token
            {
                delivery.token = device.token.clone();
                delivery.registered_at = device.registered_at;
                is_renewed = true;
            }
        }
        match is_renewed {
            false => Ok(standings),
            true => registry.standings(app, cert_id, named(&parcel.deliveries)).await,
        }
    }

    /// Asks the rules again on fresh reads; `None` for what may go out.
    async fn look_again(&self, held: &mut Held) -> Result<Vec<Option<Said>>, StoreError> {
        let standings = self.standings(&mut held.parcel).await?;
        let parcel = &held.parcel;
        let now = self.rooms.clock.now();
        let app = self.rooms.apps.get(parcel.app);
        let digests = app.as_ref().is_some_and(|app| digest::wanted(app, &held.message));
        let settings = self.rooms.facts.rule_settings(app.as_deref());
        let mut message = crate::facts::of_message(&held.message, parcel.message_id.accepted_at());
        message.expires_at = parcel.expires_at;
        let mut said = Vec::with_capacity(parcel.deliveries.len());
        for (delivery, standing) in parcel.deliveries.iter().zip(&standings) {
            let account = &*standing.account;
            let asked = (&delivery.user, account);
            let facts = &self.rooms.facts;
            let receiver =
                facts.receiver(parcel.app, &held.message, parcel.message_id, asked, now).await?;
            let device = account.device(&delivery.device_id).map(|device| {
                let mut facts = facts.device(parcel.app, &held.message, device, now);
                let is_same = device.cert_id == parcel.cert_id && device.token == delivery.token;
                facts.token_elsewhere = !(is_same && standing.owns_token);
                facts
            });
            let facts = policy::Facts {
                now,
                phase: Phase::Send,
                message: &message,
                receiver: &receiver,
                device: device.as_ref(),
                settings: &settings,
            };
            let refusal = policy::decide(&facts);
            said.push(refusal.map(|refusal| Said::Refused {
                terminal: Terminal::of(refusal.reason),
                sum_up: digests && refusal.reason == Reason::DoNotDisturb,
                recheck: Recheck { receiver, device },
            }));
        }
        Ok(said)
    }

    /// Sends to the deliveries at `open`; one answer for each, in order.
    async fn send(
        &self,
        lane: &Lane,
        certificate: &Certificate,
        (access, connections): (Option<AccessToken>, Connections),
        held: &Held,
        open: &[usize],
    ) -> Vec<Said> {
        let notification = match self.render(certificate, held) {
            Ok(notification) => notification,
            Err(why) => return vec![Said::TooLarge { why }; open.len()],
        };
        let targets: Vec<Target> = open
            .iter()
            .map(|index| {
                let delivery = &held.parcel.deliveries[*index];
                Target {
                    token: delivery.token.clone(),
                    push_id: held.parcel.message_id.push_id(delivery.number),
                    badge: delivery.badge,
                }
            })
            .collect();
        let call = Call {
            certificate: &certificate.sending,
            access: access.as_ref(),
            notification: &notification,
            targets: &targets,
            now: self.rooms.clock.now(),
        };
        let pushes = certificate.vendor.encode(&call);
        let renewed = outcome::was_renewed(Some(certificate), held);
        let ready = Ready { certificate, access, connections, renewed };
        let mut said = Vec::with_capacity(open.len());
        if let [push] = pushes.as_slice() {
            said.extend(self.push(lane, &ready, push, &targets).await);
        } else {
            let sent = pushes.iter().map(|push| self.push(lane, &ready, push, &targets));
            said.extend(join_all(sent).await.into_iter().flatten());
        }
        if let Some(access) = &ready.access {
            self.refused(lane, &ready, access, &said);
        }
        said
    }

    /// Forgets an access token that was refused, because of itself or of the time it carries.
    fn refused(&self, lane: &Lane, ready: &Ready<'_>, access: &AccessToken, said: &[Said]) {
        let certificate = ready.certificate;
        let cert_id = certificate.info.cert_id;
        let answers = said.iter().filter_map(Said::answer);
        let skewed = answers.clone().find(|answer| answer.code == clocks::CODE);
        let rejected = |one: &Answer| matches!(one.verdict, Verdict::AuthRejected { renew: true });
        let rejected = answers.clone().any(rejected);
        if (rejected || skewed.is_some())
            && !self.sender.access.refuse(certificate, access)
            && let Some(skewed) = skewed
        {
            let vendor = certificate.vendor.profile().name;
            events::clocks_differ(cert_id.0, vendor, &skewed.says);
            self.renew_connections(lane, ready.connections.generation);
        }
    }

    fn render(&self, certificate: &Certificate, held: &Held) -> Result<Notification, String> {
        let app = self.rooms.apps.get(held.parcel.app);
        let default_locale = app.as_ref().map_or("en", |app| &app.settings.default_locale);
        let request = RenderRequest {
            message: &held.message,
            message_id: held.parcel.message_id,
            reader: &Reader {
                locale: held.parcel.locale.as_deref(),
                user_sound: held.parcel.sound.as_deref(),
                device_sound: None,
            },
            default_locale,
            vendor: certificate.vendor,
            certificate: &certificate.sending,
            collapse: match held.message.notice {
                Some(Notice::Recalled(replaced)) => Collapse::Message(replaced),
                Some(Notice::Summed(_)) | None => Collapse::Never,
            },
        };
        let mut notification =
            render(&request).map_err(|refusal| refusal.to_string())?.notification;
        notification.expires_at = held.parcel.expires_at;
        Ok(notification)
    }

    /// One request and its answers, one per target it carries.
    async fn push(
        &self,
        lane: &Lane,
        ready: &Ready<'_>,
        push: &Push,
        targets: &[Target],
    ) -> Vec<Said> {
        let targets = &targets[push.targets.clone()];
        let vendor = ready.certificate.vendor;
        let (sent, started) = (self.rooms.clock.now(), self.rooms.clock.instant());
        let replied = self.rooms.transport.send(&ready.connections, &push.request).await;
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
                let answer = unanswered(lane, ready.certificate, &error);
                (0, vec![answer; targets.len()])
            }
        };
        answers.into_iter().map(|answer| Said::Answered { answer, status, latency }).collect()
    }
}

/// What the registry is asked of deliveries.
fn named(
    deliveries: &[Delivery],
) -> impl ExactSizeIterator<Item = (&UserId, &DeviceId, &Token)> + Clone + Send {
    deliveries.iter().map(|asked| (&asked.user, &asked.device_id, &asked.token))
}

/// A refusal of the right to send that another access token will not change.
fn proves_nothing_new(answer: &Answer, renewed: bool) -> bool {
    matches!(answer.verdict, Verdict::AuthRejected { renew } if renewed || !renew)
}

/// Refusals that clocks explain are put down to them.
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
fn decode(
    vendor: &dyn Vendor,
    reply: &Reply,
    targets: &[Target],
    now: crate::model::time::UnixMs,
) -> Vec<Answer> {
    let mut answers = vendor.decode(reply, targets, now);
    answers.truncate(targets.len());
    let missing = || Answer::new(Verdict::Unknown, "", "the reply does not speak of this token");
    answers.resize_with(targets.len(), missing);
    answers
}

/// What no answer means. A vendor that refuses the client certificate refuses the handshake; a
/// single refusal may have other causes.
fn unanswered(lane: &Lane, certificate: &Certificate, error: &TransportError) -> Answer {
    let mut answer = reply::unanswered(error);
    let presents = certificate.credential.client_identity.is_some();
    if matches!(error, TransportError::Handshake(_))
        && presents
        && lane.handshake_failed() >= HANDSHAKES_MAX
    {
        answer.verdict = Verdict::AuthRejected { renew: false };
    }
    answer
}
