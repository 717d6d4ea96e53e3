//! One parcel's way: signing in, a second look at the rules, rendering, the requests (`push`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use crate::access::{AccessTokens, Refused};
use crate::credentials::Certificate;
use crate::digest;
use crate::dispatch::Dispatch;
use crate::dispatch::lane::Lane;
use crate::dispatch::push::{Ready, targets};
use crate::facts;
use crate::model::id::{DeviceId, Token, UserId};
use crate::model::message::{Message, Notice};
use crate::model::reason::{Reason, Terminal};
use crate::outcome::{self, Said};
use crate::policy::{self, Phase};
use crate::queue::{self, Delivery, Held, Parcel};
use crate::registry::{Registry, Standing};
use crate::render::{Collapse, Reader, RenderRequest, render};
use crate::store::{Batch, StoreError};
use crate::telemetry::events;
use crate::trace::Recheck;
use crate::transport::Lane as Connections;
use crate::vendor::{AccessToken, Answer, Notification, Verdict, clocks};

/// Rest of a lease below which it is renewed before sending: a request must end within it.
const LEASE_MARGIN: Duration = Duration::from_secs(10);

/// What is needed to ask a vendor anything.
pub struct Sender {
    access: AccessTokens,
    registry: Registry,
    deadline: Duration,
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
        let deadline = self.settings.request_deadline;
        // The wait for a connection takes half of it at most.
        let needed = now.after(deadline).after(deadline / 2).after(LEASE_MARGIN);
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
        let mut said = self.look_again(&mut held.parcel, &held.message).await?;
        let open = unsaid(&said);
        let generation = lane.generation();
        if let (Some(certificate), Some(access)) = (certificate, access)
            && !open.is_empty()
        {
            let answers = match access {
                Ok(access) => {
                    let connections = self.sender.connections(certificate, generation);
                    let access = (access, connections);
                    let (answers, renewed) =
                        self.send(lane, certificate, access, held, &open).await;
                    for (index, delivery) in renewed {
                        held.parcel.deliveries[index] = delivery;
                    }
                    answers
                }
                Err(refused) => {
                    let Refused { answer, status, .. } = *refused;
                    let said = Said::Answered { answer, status, latency: Duration::ZERO };
                    vec![said; open.len()]
                }
            };
            answer_for(&mut said, open, answers);
        }
        Ok((self.postponed(said), generation))
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
    pub(super) async fn look_again(
        &self,
        parcel: &mut Parcel,
        message: &Message,
    ) -> Result<Vec<Option<Said>>, StoreError> {
        let standings = self.standings(parcel).await?;
        let now = self.rooms.clock.now();
        let app = self.rooms.apps.get(parcel.app);
        let digests = app.as_ref().is_some_and(|app| digest::wanted(app, message));
        let settings = self.rooms.facts.rule_settings(app.as_deref());
        let mut about = facts::of_message(message, parcel.message_id.accepted_at());
        about.expires_at = parcel.expires_at;
        let mut said = Vec::with_capacity(parcel.deliveries.len());
        for (delivery, standing) in parcel.deliveries.iter().zip(&standings) {
            let account = &*standing.account;
            let asked = (&delivery.user, account);
            let known = &self.rooms.facts;
            let receiver =
                known.receiver(parcel.app, message, parcel.message_id, asked, now).await?;
            let device = account.device(&delivery.device_id).map(|device| {
                let mut facts = known.device(parcel.app, message, device, false, now);
                let is_same = device.cert_id == parcel.cert_id && device.token == delivery.token;
                facts.token_elsewhere = !(is_same && standing.owns_token);
                facts
            });
            let facts = policy::Facts {
                now,
                phase: Phase::Send,
                message: &about,
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

    /// Sends to the deliveries at `open`; one answer for each, in order. Answers too which of the
    /// parcel's deliveries, by their place, went to another token than before.
    async fn send(
        &self,
        lane: &Lane,
        certificate: &Certificate,
        (access, connections): (Option<AccessToken>, Connections),
        held: &Held,
        open: &[usize],
    ) -> (Vec<Said>, Vec<(usize, Delivery)>) {
        let notification = match self.render(certificate, held) {
            Ok(notification) => notification,
            Err(why) => return (vec![Said::TooLarge { why }; open.len()], Vec::new()),
        };
        let renewed = outcome::was_renewed(Some(certificate), held);
        let ready = Ready {
            certificate,
            access,
            connections,
            renewed,
            notification,
            held,
            renewed_tokens: Mutex::default(),
        };
        let targets = targets(&held.parcel, open);
        let pushes = self.encode(&ready, &targets);
        let mut said = Vec::with_capacity(open.len());
        if let [push] = pushes.as_slice() {
            said.extend(self.push(lane, &ready, push, &targets, open).await);
        } else {
            let sent = pushes.iter().map(|push| self.push(lane, &ready, push, &targets, open));
            said.extend(join_all(sent).await.into_iter().flatten());
        }
        if let Some(access) = &ready.access {
            self.refused(lane, &ready, access, &said);
        }
        let renewed = ready.renewed_tokens.into_inner();
        (said, renewed.unwrap_or_else(PoisonError::into_inner))
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
            expires_at: held.parcel.expires_at,
            reader: &Reader {
                locale: held.parcel.locale.as_deref(),
                sound: held.parcel.sound.as_deref(),
            },
            default_locale,
            vendor: certificate.vendor,
            certificate: &certificate.sending,
            collapse: match held.message.notice {
                Some(Notice::Recalled(replaced)) => Collapse::Message(replaced),
                Some(Notice::Summed(_)) | None => Collapse::Never,
            },
        };
        match render(&request) {
            Ok(rendered) => Ok(rendered.notification),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    /// What nothing was said about waits a moment.
    pub(super) fn postponed(&self, said: Vec<Option<Said>>) -> Vec<Said> {
        let until = self.rooms.clock.now().after(LEASE_MARGIN);
        said.into_iter().map(|said| said.unwrap_or(Said::Postponed { until })).collect()
    }
}

/// The deliveries that no rule said no to.
pub(super) fn unsaid(said: &[Option<Said>]) -> Vec<usize> {
    (0..said.len()).filter(|index| said[*index].is_none()).collect()
}

/// Puts what the vendor said of the deliveries at `open` among what the rules said of the others.
pub(super) fn answer_for(said: &mut [Option<Said>], open: Vec<usize>, answers: Vec<Said>) {
    for (index, answer) in open.into_iter().zip(answers) {
        said[index] = Some(answer);
    }
}

/// What the registry is asked of deliveries.
fn named(
    deliveries: &[Delivery],
) -> impl ExactSizeIterator<Item = (&UserId, &DeviceId, &Token)> + Clone + Send {
    deliveries.iter().map(|asked| (&asked.user, &asked.device_id, &asked.token))
}
