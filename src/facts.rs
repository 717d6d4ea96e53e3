//! Gathers what the policy rules look at, from the rooms that know it.
//!
//! Used twice for every message: when it is accepted, and on fresh reads before each sending.

use std::sync::Arc;
use std::time::Duration;

use crate::account::{Account, Accounts};
use crate::credentials::{Certificate, Credentials};
use crate::model::app::{App, HonourMute};
use crate::model::certificate::{CertificateStatus, Privacy};
use crate::model::device::{Device, TokenState};
use crate::model::id::{AppId, MessageId, UserId};
use crate::model::message::{Element, Message};
use crate::model::push_info::filled;
use crate::model::time::UnixMs;
use crate::policy::WindowFacts;
use crate::policy::{CertificateFacts, DeviceFacts, MessageFacts, ReceiverFacts, RuleSettings};
use crate::preferences::receive_options::ReceiveOptions;
use crate::preferences::window::open_at;
use crate::store::{Store, StoreError};
use crate::vendor::Kind;

mod withdrawn;

pub use withdrawn::Withdrawn;

/// Settings of the rules that are the relay's and not an app's.
#[derive(Clone, Debug)]
pub struct FactsSettings {
    /// See [`RuleSettings::stale_login`].
    pub stale_login: Duration,
    /// See [`RuleSettings::foreground_expires`].
    pub foreground_expires: Duration,
}

/// Knows where the facts are.
pub struct Facts {
    accounts: Accounts,
    receive_options: ReceiveOptions,
    credentials: Arc<Credentials>,
    withdrawn: Withdrawn,
    settings: FactsSettings,
}

impl Facts {
    /// Facts from these rooms.
    pub fn new(
        store: Arc<dyn Store>,
        credentials: Arc<Credentials>,
        withdrawn: Withdrawn,
        settings: FactsSettings,
    ) -> Self {
        Facts {
            accounts: Accounts::new(store.clone()),
            receive_options: ReceiveOptions::new(store),
            credentials,
            withdrawn,
            settings,
        }
    }

    /// The certificates.
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// The rules' settings for one app.
    pub fn rule_settings(&self, app: Option<&App>) -> RuleSettings {
        RuleSettings {
            honour_mute: app.map_or(HonourMute::Always, |app| app.settings.honour_mute),
            mention_all_lifts_mute: app.is_none_or(|app| app.settings.mention_all_lifts_mute),
            stale_login: self.settings.stale_login,
            foreground_expires: self.settings.foreground_expires,
        }
    }

    /// Whether a message was withdrawn.
    pub fn is_withdrawn(&self, message_id: MessageId) -> bool {
        self.withdrawn.holds(message_id)
    }

    /// Accounts and facts of the receivers, in the order asked.
    ///
    /// # Errors
    /// The store's.
    pub async fn receivers(
        &self,
        app: AppId,
        message: &Message,
        message_id: MessageId,
        users: &[UserId],
        now: UnixMs,
    ) -> Result<Vec<(Arc<Account>, ReceiverFacts)>, StoreError> {
        let accounts = self.accounts.read_many(app, users.iter()).await?;
        let mut read = Vec::with_capacity(users.len());
        for (user, account) in users.iter().zip(accounts) {
            let facts = self.receiver(app, message, message_id, (user, &account), now).await?;
            read.push((account, facts));
        }
        Ok(read)
    }

    /// Facts of one receiver whose account is read already.
    ///
    /// # Errors
    /// The store's.
    pub async fn receiver(
        &self,
        app: AppId,
        message: &Message,
        message_id: MessageId,
        (user, account): (&UserId, &Account),
        now: UnixMs,
    ) -> Result<ReceiverFacts, StoreError> {
        let conversation = message.conversation();
        let receive_option = if account.has_receive_options {
            self.receive_options.read(app, user, &conversation).await?.number()
        } else {
            0
        };
        let zone = default_zone(account);
        let window = open_at(&account.preferences.do_not_disturb, now, zone)
            .map(|open| WindowFacts { zone: open.zone, closes_at: open.closes_at });
        let read_at = account
            .read_until(&conversation)
            .filter(|read_at| message_id.accepted_at() <= *read_at);
        Ok(ReceiverFacts {
            duplicate_of: None,
            is_sender: *user == message.from,
            push_enabled: account.preferences.push_enabled,
            receive_option,
            mentioned: message.mentions_user(user),
            window,
            read_at,
            withdrawn: self.withdrawn.holds(message_id),
        })
    }

    /// Whether a message is a call that rings as one on a device of this receiver. Then their other
    /// devices need not ring: what falls back to an alert is a call for whom no token takes it
    /// (trtc.io/document/77715). It is asked when a message is accepted and never again: a token
    /// that comes later gets no call of this message, so the alert must go out.
    pub fn rings_as_call(
        &self,
        app: AppId,
        message: &Message,
        account: &Account,
        now: UnixMs,
    ) -> bool {
        account.devices.iter().any(|device| {
            let Some(certificate) = self.credentials.get_of(app, device.cert_id) else {
                return false;
            };
            certificate.info.options.voip
                && is_call(&certificate, message)
                && certificate.info.status(now) == CertificateStatus::Active
                && device.token_state == TokenState::Live
                && !device.presence.is_signed_out()
                && now.since(device.seen_at) <= self.settings.stale_login
        })
    }

    /// Facts of one device that a message is for. `rings_as_call` says that it rings as a call on a
    /// device of the same receiver.
    pub fn device(
        &self,
        app: AppId,
        message: &Message,
        device: &Device,
        rings_as_call: bool,
        now: UnixMs,
    ) -> DeviceFacts {
        let certificate = match self.credentials.get_of(app, device.cert_id) {
            None if self.credentials.set_aside(app, device.cert_id).is_some() => {
                // It waits for a person, like one that its vendor refuses.
                CertificateFacts::Known { status: CertificateStatus::Broken, mismatch: false }
            }
            None => CertificateFacts::Missing,
            // What is meant to be silent on iPhones is an alert elsewhere.
            Some(certificate)
                if is_bare(message)
                    && certificate.vendor.own(&message.push).kind == Kind::Alert =>
            {
                CertificateFacts::NothingToShow
            }
            Some(certificate) => CertificateFacts::Known {
                status: certificate.info.status(now),
                mismatch: !certificate.vendor.profile().platforms.contains(&device.platform)
                    || !takes(&certificate, message, device)
                    || rings_as_call
                        && is_call(&certificate, message)
                        && !certificate.info.options.voip,
            },
        };
        DeviceFacts {
            presence: device.presence,
            presence_at: device.presence_at,
            was_background: device.was_background,
            seen_at: device.seen_at,
            token_state: device.token_state,
            token_elsewhere: false,
            certificate,
        }
    }
}

/// Whether a certificate's vendor rings this message as a call where a token takes calls.
fn is_call(certificate: &Certificate, message: &Message) -> bool {
    certificate.vendor.own(&message.push).kind == Kind::Voip
}

/// Whether a device's token takes such a message. Apple calls a token dead that gets what it was
/// not made for: a token for calls takes nothing but calls, and one of a Live Activity nothing but
/// what changes that activity, which cannot be said without content.
fn takes(certificate: &Certificate, message: &Message, device: &Device) -> bool {
    let options = &certificate.info.options;
    if !options.voip && !options.live_activity {
        return true;
    }
    match certificate.vendor.own(&message.push).kind {
        Kind::Voip => options.voip,
        Kind::LiveActivity => {
            let activity = message.push.apns_info.live_activity.as_ref();
            options.live_activity
                && options.privacy == Privacy::Full
                && activity.is_some_and(|activity| activity.la_id == device.device_id.as_str())
        }
        Kind::Alert | Kind::Silent => false,
    }
}

/// Facts of a message.
pub fn of_message(message: &Message, accepted_at: UnixMs) -> MessageFacts {
    let life_time = Duration::from_secs(u64::from(message.life_time_s()));
    MessageFacts {
        accepted_at,
        expires_at: accepted_at.after(life_time),
        in_group: message.group.is_some(),
        send_failed: message.send_result.is_some_and(|result| result != 0),
        no_push: message.push.push_flag == 1,
        online_only: message.online_only || message.life_time_s == Some(0),
        empty_custom: is_bare(message) && !may_be_silent(message),
        with_mute: message.with_mute,
        mention_all: message.mentions.all,
    }
}

/// One custom element and no `Desc` anywhere: there is nothing to show
/// (trtc.io/document/33527, the most often repeated cause of "push not received"). The same is true
/// of a message that only changes a Live Activity.
fn is_bare(message: &Message) -> bool {
    let push = &message.push;
    let desc = match message.elements.as_slice() {
        [] => return message.notice.is_none() && !push.has_text(),
        [Element::Custom { desc, .. }] => desc,
        _ => return false,
    };
    let mut contents = push.multi_language_content.iter();
    desc.is_empty()
        && filled(&push.desc).is_none()
        && contents.all(|content| filled(&content.desc).is_none())
}

/// Whether there is a push of this message that shows nothing and has its use all the same.
fn may_be_silent(message: &Message) -> bool {
    let own = &message.push.apns_info;
    own.content_available == Some(1) || own.live_activity.is_some()
}

/// The zone for windows that name none: that of the device last seen.
pub fn default_zone(account: &Account) -> Option<&str> {
    account
        .devices
        .iter()
        .filter(|device| device.time_zone.is_some())
        .max_by_key(|device| device.seen_at)
        .and_then(|device| device.time_zone.as_deref())
}
