//! Who receives a message on which device, and whether it may ring there.

use std::sync::Arc;

use crate::account::Account;
use crate::dedupe::SeenMark;
use crate::facts::{self, Facts};
use crate::ingest::PHASE;
use crate::model::app::App;
use crate::model::device::Device;
use crate::model::id::{AppId, DeviceId, MessageId, UserId};
use crate::model::message::Message;
use crate::model::reason::Terminal;
use crate::model::time::UnixMs;
use crate::plan::Allowed;
use crate::policy::{self, DeviceFacts, MessageFacts, ReceiverFacts, RuleSettings};
use crate::queue::Delivery;
use crate::registry::{Registry, badge_key};
use crate::render::badge::badge;
use crate::render::kind;
use crate::store::{Key, Store, StoreError};
use crate::trace::{DeliveryOpening, DeviceOpening, Opening};
use crate::vendor::Kind;
use crate::vendor::profile::Badges;

/// A decided message.
pub struct Decided {
    /// What the trace keeps: every delivery with the facts it was decided on.
    pub opening: Opening,
    /// The deliveries that may ring.
    pub allowed: Vec<Allowed>,
    /// Badge counters to change with the commit.
    pub counted: Vec<(Key, i64)>,
}

/// Decides messages.
pub struct Decider {
    facts: Arc<Facts>,
    registry: Registry,
}

/// What all deliveries of one message are decided on.
struct Ground<'a> {
    app: AppId,
    message: &'a Message,
    facts: &'a MessageFacts,
    settings: &'a RuleSettings,
    now: UnixMs,
}

impl Decider {
    /// Decides on what these rooms know.
    pub fn new(store: Arc<dyn Store>, facts: Arc<Facts>) -> Self {
        Decider { facts, registry: Registry::new(store) }
    }

    /// Where the facts come from.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Decides every delivery of a message. `seen` names receivers who have it already; with
    /// `only`, no other device is considered.
    ///
    /// # Errors
    /// The store's.
    pub async fn decide(
        &self,
        app: &App,
        message: &Message,
        message_id: MessageId,
        seen: &SeenMark,
        only: Option<&[(UserId, DeviceId)]>,
        now: UnixMs,
    ) -> Result<Decided, StoreError> {
        let facts = facts::of_message(message, message_id.accepted_at());
        let settings = self.facts.rule_settings(Some(app));
        let receivers =
            self.facts.receivers(app.app, message, message_id, &message.receivers, now).await?;
        let ground = Ground { app: app.app, message, facts: &facts, settings: &settings, now };
        let mut deliveries = Vec::with_capacity(receivers.len());
        let mut allowed = Vec::new();
        for (user, (account, mut receiver)) in message.receivers.iter().zip(receivers) {
            receiver.duplicate_of = seen.received(user);
            if account.devices.is_empty() && only.is_none() {
                deliveries.push(ground.decide(user, &receiver, None));
            }
            let calls = self.facts.rings_as_call(app.app, message, &account, now);
            let meant = |device: &&Device| {
                only.is_none_or(|only| {
                    only.iter().any(|(of, id)| of == user && *id == device.device_id)
                })
            };
            for device in account.devices.iter().filter(meant) {
                let device_facts = self.facts.device(app.app, message, device, calls, now);
                let opened = self.describe(app.app, device, device_facts);
                let decision = ground.decide(user, &receiver, Some(opened));
                if decision.ended.is_none() {
                    let number = u16::try_from(deliveries.len()).unwrap_or(u16::MAX);
                    allowed.extend(self.allow(&ground, user, &account, device, number));
                }
                deliveries.push(decision);
            }
        }
        let counted = self.count_badges(&ground, &mut allowed).await?;
        let mut opening = Opening::of(app.app, message, facts, settings);
        opening.deliveries = deliveries;
        Ok(Decided { opening, allowed, counted })
    }

    fn describe(&self, app: AppId, device: &Device, facts: DeviceFacts) -> DeviceOpening {
        let certificate = self.facts.credentials().get_of(app, device.cert_id);
        let vendor = certificate.map_or("", |certificate| certificate.vendor.profile().name);
        DeviceOpening {
            device_id: device.device_id.clone(),
            cert_id: device.cert_id,
            vendor: vendor.into(),
            token_hash: device.token.short_hash(),
            facts,
        }
    }

    fn allow(
        &self,
        ground: &Ground<'_>,
        user: &UserId,
        account: &Account,
        device: &Device,
        number: u16,
    ) -> Option<Allowed> {
        let certificate = self.facts.credentials().get_of(ground.app, device.cert_id)?;
        let user_sound = account.preferences.sound(ground.message.group.is_some());
        Some(Allowed {
            delivery: Delivery {
                number,
                user: user.clone(),
                device_id: device.device_id.clone(),
                token: device.token.clone(),
                registered_at: device.registered_at,
                badge: None,
            },
            certificate,
            locale: device.locale.clone(),
            sound: user_sound.or(device.sound.as_deref()).map(str::to_owned),
        })
    }

    /// Gives each delivery its badge and answers the counters that go up with it.
    async fn count_badges(
        &self,
        ground: &Ground<'_>,
        allowed: &mut [Allowed],
    ) -> Result<Vec<(Key, i64)>, StoreError> {
        // Where the vendor adds, or shows no badge, our own count is not needed.
        let kind = |allowed: &Allowed| {
            let certificate = &allowed.certificate;
            kind(certificate.vendor.own(&ground.message.push).kind, &certificate.info.options)
        };
        let is_absolute = |allowed: &Allowed| {
            allowed.certificate.vendor.profile().badges == Badges::PerTarget
                && kind(allowed) == Kind::Alert
        };
        let asked: Vec<_> = allowed
            .iter()
            .filter(|allowed| is_absolute(allowed))
            .map(|allowed| (&allowed.delivery.user, &allowed.delivery.device_id))
            .collect();
        let unread = match asked.as_slice() {
            [] => Vec::new(),
            asked => self.registry.badges(ground.app, asked).await?,
        };
        let mut unread = unread.into_iter();
        let mut counted = Vec::new();
        for allowed in allowed {
            let absolute = is_absolute(allowed);
            let before = if absolute { unread.next().unwrap_or(0) } else { 0 };
            let vendor = allowed.certificate.vendor;
            let (number, after) = badge(ground.message, vendor, kind(allowed), before);
            let delivery = &mut allowed.delivery;
            delivery.badge = number;
            if absolute && after != before {
                let key = badge_key(ground.app, &delivery.user, &delivery.device_id);
                counted.push((key, i64::from(after) - i64::from(before)));
            }
        }
        Ok(counted)
    }
}

impl Ground<'_> {
    fn decide(
        &self,
        user: &UserId,
        receiver: &ReceiverFacts,
        device: Option<DeviceOpening>,
    ) -> DeliveryOpening {
        let refusal = policy::decide(&policy::Facts {
            now: self.now,
            phase: PHASE,
            message: self.facts,
            receiver,
            device: device.as_ref().map(|device| &device.facts),
            settings: self.settings,
        });
        DeliveryOpening {
            user: user.clone(),
            receiver: receiver.clone(),
            device,
            ended: refusal.map(|refusal| Terminal::of(refusal.reason)),
            next_allowed_at: refusal.and_then(|refusal| refusal.next_allowed_at),
            parcel: None,
        }
    }
}
