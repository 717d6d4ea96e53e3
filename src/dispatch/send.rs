//! One parcel's way: a second look at the rules, rendering, signing in, the requests, the answers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::access::AccessTokens;
use crate::credentials::{self, Certificate};
use crate::digest;
use crate::dispatch::Dispatch;
use crate::dispatch::lane::{Lane, Turn};
use crate::model::id::{AppId, CertId, Token, UserId};
use crate::model::message::Notice;
use crate::model::reason::{Reason, Terminal};
use crate::outcome::{Effect, Said};
use crate::policy::{self, Phase};
use crate::queue::{self, Delivery, Held};
use crate::registry::{Owner, Registry};
use crate::render::{Collapse, Reader, RenderRequest, Source, render};
use crate::results::event::{CertificateBroken, Event};
use crate::store::{Batch, StoreError};
use crate::telemetry::events;
use crate::trace::Recheck;
use crate::transport::{Lane as Connections, Reply, TransportError};
use crate::vendor::{AccessToken, Answer, Call, Notification, Push, Target, Vendor, Verdict};

/// Refused TLS handshakes in a row that mean the client certificate is refused.
const HANDSHAKES_MAX: u32 = 3;

/// Longest wait between two tries to write an outcome down.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(5);

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

impl Dispatch {
    /// Sends one parcel and settles it.
    pub(crate) async fn deliver(self: &Arc<Self>, lane: &Lane, mut held: Held) {
        let id = held.id();
        let size = held.parcel.deliveries.len();
        let mut effect = None;
        let mut certificate = None;
        if self.renew_lease(&mut held).await {
            certificate = self.rooms.credentials.get_of(held.parcel.app, held.parcel.cert_id);
            let said = match self.say(lane, certificate.as_deref(), &held).await {
                Ok(said) => said,
                Err(error) => {
                    tracing::warn!(%error, "a parcel's facts cannot be read");
                    let until = self.rooms.clock.now().after(LEASE_MARGIN);
                    vec![Said::Postponed { until }; held.parcel.deliveries.len()]
                }
            };
            lane.answered(size);
            effect = self.settle(lane, certificate.as_deref(), &held, &said).await;
        } else {
            lane.answered(size);
        }
        // First let go of it: what follows may look for its row, which is due again.
        lane.release(id);
        match effect {
            Some(effect) => self.act(lane, certificate.as_deref(), &effect).await,
            None => lane.learn_nothing(),
        }
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

    /// Finds out what is to be said about each delivery: by a rule, or by the vendor.
    async fn say(
        &self,
        lane: &Lane,
        certificate: Option<&Certificate>,
        held: &Held,
    ) -> Result<Vec<Said>, StoreError> {
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
        if let (Some(certificate), Some(access)) = (certificate, access)
            && !open.is_empty()
        {
            let answers = match access {
                Ok(access) => self.send(lane, certificate, access, held, &open).await,
                Err(answer) => {
                    let said = Said::Answered { answer, status: 0, latency: Duration::ZERO };
                    vec![said; open.len()]
                }
            };
            for (index, answer) in open.into_iter().zip(answers) {
                said[index] = Some(answer);
            }
        }
        let now = self.rooms.clock.now();
        let postponed = || Said::Postponed { until: now.after(LEASE_MARGIN) };
        Ok(said.into_iter().map(|said| said.unwrap_or_else(postponed)).collect())
    }

    /// Asks the rules again on fresh reads; `None` for what may go out.
    async fn look_again(&self, held: &Held) -> Result<Vec<Option<Said>>, StoreError> {
        let parcel = &held.parcel;
        let now = self.rooms.clock.now();
        let app = self.rooms.apps.get(parcel.app);
        let digests = app.as_ref().is_some_and(|app| digest::wanted(app, &held.message));
        let settings = self.rooms.facts.rule_settings(app.as_deref());
        let mut message = crate::facts::of_message(&held.message, parcel.message_id.accepted_at());
        message.expires_at = parcel.expires_at;
        let users: Vec<UserId> =
            parcel.deliveries.iter().map(|delivery| delivery.user.clone()).collect();
        let receivers = self
            .rooms
            .facts
            .receivers(parcel.app, &held.message, parcel.message_id, &users, now)
            .await?;
        let tokens: Vec<(AppId, CertId, &Token)> = parcel
            .deliveries
            .iter()
            .map(|delivery| (parcel.app, parcel.cert_id, &delivery.token))
            .collect();
        let owners = self.sender.registry.owners(&tokens).await?;
        let mut said = Vec::with_capacity(parcel.deliveries.len());
        for ((delivery, (account, receiver)), owner) in
            parcel.deliveries.iter().zip(receivers).zip(owners)
        {
            let device = account
                .device(&delivery.device_id)
                .filter(|device| device.cert_id == parcel.cert_id)
                .map(|device| {
                    let mut facts = self.rooms.facts.device(parcel.app, device, now);
                    let elsewhere = !is_owner(owner.as_ref(), delivery);
                    facts.token_elsewhere = device.token != delivery.token || elsewhere;
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
        access: Option<AccessToken>,
        held: &Held,
        open: &[usize],
    ) -> Vec<Said> {
        let notification = match self.render(certificate, held) {
            Ok(notification) => notification,
            Err(why) => return vec![Said::TooLarge { why }; open.len()],
        };
        let connections = self.sender.connections(certificate, lane.generation());
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
        let ready = Ready { certificate, access, connections };
        let mut said = Vec::with_capacity(open.len());
        if let [_] = pushes.as_slice() {
            for push in pushes {
                said.extend(self.push(lane, &ready, push, &targets).await);
            }
        } else {
            let sent = pushes.into_iter().map(|push| self.push(lane, &ready, push, &targets));
            said.extend(join_all(sent).await.into_iter().flatten());
        }
        if said.iter().any(is_auth_rejected)
            && let Some(access) = &ready.access
        {
            self.sender.access.refuse(certificate, access);
        }
        said
    }

    fn render(&self, certificate: &Certificate, held: &Held) -> Result<Notification, String> {
        let app = self.rooms.apps.get(held.parcel.app);
        let default_locale = app.as_ref().map_or("en", |app| &app.settings.default_locale);
        let request = RenderRequest {
            source: &Source::new(&held.message),
            message_id: held.parcel.message_id,
            reader: &Reader {
                locale: held.parcel.locale.as_deref(),
                user_sound: held.parcel.sound.as_deref(),
                device_sound: None,
            },
            default_locale,
            vendor: certificate.vendor,
            certificate: &certificate.sending,
            voip_allowed: certificate.info.options.voip,
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
        push: Push,
        targets: &[Target],
    ) -> Vec<Said> {
        let targets = &targets[push.targets];
        let vendor = ready.certificate.vendor;
        let started = self.rooms.clock.instant();
        let replied = self.rooms.transport.send(&ready.connections, push.request).await;
        let latency = started.elapsed();
        events::request_finished(vendor.profile().name, latency);
        let (status, answers) = match replied {
            Ok(reply) => {
                (reply.status.as_u16(), decode(vendor, &reply, targets, self.rooms.clock.now()))
            }
            Err(error) => {
                let answer = unanswered(lane, ready.certificate, &error);
                (0, vec![answer; targets.len()])
            }
        };
        answers.into_iter().map(|answer| Said::Answered { answer, status, latency }).collect()
    }

    /// Writes the outcome down, as often as it takes: until then the parcel is not done with.
    async fn settle(
        &self,
        lane: &Lane,
        certificate: Option<&Certificate>,
        held: &Held,
        said: &[Said],
    ) -> Option<Effect> {
        let mut wait = Duration::from_millis(50);
        loop {
            let believed = lane.believes_dead();
            match self.rooms.outcome.settle(certificate, held, said, believed).await {
                Ok(effect) => return Some(effect),
                Err(StoreError::Conflict) => {
                    // Either somebody took over after a lost lease, or an earlier try of ours was
                    // applied although its answer was lost. Both times the row is not ours.
                    tracing::info!(
                        message_id = %held.parcel.message_id,
                        "an outcome came too late and is discarded"
                    );
                    return None;
                }
                Err(error) => {
                    tracing::error!(%error, "an outcome cannot be written yet");
                    if self.is_draining() {
                        return None;
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(SETTLE_WAIT_MAX);
                }
            }
        }
    }

    /// What follows for the lane and its certificate.
    async fn act(
        self: &Arc<Self>,
        lane: &Lane,
        certificate: Option<&Certificate>,
        effect: &Effect,
    ) {
        let now = self.rooms.clock.instant();
        let turn = lane.learn(effect, now);
        if effect.waits_until.is_some() {
            self.look();
        }
        let Some(certificate) = certificate else { return };
        let vendor = certificate.vendor.profile().name;
        match turn {
            Some(Turn::Opened) => {
                events::breaker_opened(lane.cert_id().0, vendor, self.settings.breaker_failures);
            }
            Some(Turn::Closed) => events::breaker_closed(lane.cert_id().0, vendor),
            None => {}
        }
        let Some(rejection) = &effect.auth else { return };
        if rejection.renew {
            lane.renew_connections();
            self.rooms.transport.retire(lane.cert_id().0, lane.generation());
            return;
        }
        let why = [rejection.code.as_str(), rejection.says.as_str()].join(" ").trim().to_owned();
        let info = &certificate.info;
        let broken = Event::CertificateBroken(CertificateBroken {
            cert_id: info.cert_id,
            name: &info.name,
            vendor,
            platform: certificate.vendor.profile().tencent_platform,
            why: &why,
        });
        let results = self.rooms.outcome.results();
        let (partition, now) = (credentials::partition_of(info.app), self.rooms.clock.now());
        let mut batch = Batch::default();
        let added = results.add(info.app, partition, &broken, now, &mut batch);
        let marked = self
            .rooms
            .credentials
            .mark_broken_and(info.cert_id, info.revision, Some(why.clone()), batch)
            .await;
        match marked {
            Ok(true) => {
                results.added(info.app, added);
                events::certificate_broken(info.cert_id.0, vendor, &rejection.code);
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "a broken certificate could not be marked"),
        }
    }
}

fn is_owner(owner: Option<&Owner>, delivery: &Delivery) -> bool {
    owner.is_some_and(|owner| owner.user == delivery.user && owner.device_id == delivery.device_id)
}

fn is_auth_rejected(said: &Said) -> bool {
    matches!(said, Said::Answered { answer, .. }
        if matches!(answer.verdict, Verdict::AuthRejected { .. }))
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

/// What no answer means.
fn unanswered(lane: &Lane, certificate: &Certificate, error: &TransportError) -> Answer {
    let verdict = match error {
        TransportError::NotSent(_) => Verdict::Unavailable { retry_after: None },
        TransportError::Lost(_) => Verdict::Unknown,
        // A vendor that refuses the client certificate refuses the handshake; a single refusal
        // may have other causes.
        TransportError::Handshake(_) => {
            let presents = certificate.credential.client_identity.is_some();
            if presents && lane.handshake_failed() >= HANDSHAKES_MAX {
                Verdict::AuthRejected { renew: false }
            } else {
                Verdict::Unavailable { retry_after: None }
            }
        }
    };
    Answer::new(verdict, "", &error.to_string())
}
