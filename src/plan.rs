//! Which devices share a parcel: the same certificate, the same words, the same sound and, where
//! the vendor cannot tell targets apart, the same badge.

use std::sync::Arc;

use bytes::Bytes;

use crate::credentials::Certificate;
use crate::model::id::{AppId, MessageId};
use crate::model::message::Message;
use crate::model::time::UnixMs;
use crate::queue::{Delivery, Parcel, urgency_of};
use crate::render::privacy::read;
use crate::render::text::Text;
use crate::vendor::profile::Badges;

/// One delivery that may ring, ready to be put into a parcel.
pub struct Allowed {
    /// The delivery.
    pub delivery: Delivery,
    /// Its certificate.
    pub certificate: Arc<Certificate>,
    /// The device's language.
    pub locale: Option<String>,
    /// Sound the user or the device prefers.
    pub sound: Option<String>,
}

/// What all parcels of one message have in common.
pub struct Common<'a> {
    /// App.
    pub app: AppId,
    /// The app's language.
    pub default_locale: &'a str,
    /// The message.
    pub message: &'a Message,
    /// Its id.
    pub message_id: MessageId,
    /// When it is worth nothing any more.
    pub expires_at: UnixMs,
    /// What the queue keeps of it.
    pub content: Bytes,
}

/// A parcel being filled.
struct Open {
    parcel: Parcel,
    text: Text,
    deliveries_max: usize,
    badges: Badges,
}

/// Puts deliveries into as few parcels as can be, in order.
pub fn parcels(common: &Common<'_>, allowed: Vec<Allowed>) -> Vec<Parcel> {
    let mut open: Vec<Open> = Vec::with_capacity(1);
    for allowed in allowed {
        let text = words(common, &allowed);
        match open.iter_mut().find(|open| open.takes(&allowed, &text)) {
            Some(open) => open.parcel.deliveries.push(allowed.delivery),
            None => {
                let number = u16::try_from(open.len()).unwrap_or(u16::MAX);
                open.push(Open::new(common, allowed, text, number));
            }
        }
    }
    open.into_iter().map(|open| open.parcel).collect()
}

/// What this device would read: the same words may serve several locales.
fn words(common: &Common<'_>, allowed: &Allowed) -> Text {
    let own_title = allowed.certificate.vendor.own(&common.message.push).title;
    let level = allowed.certificate.info.options.privacy;
    let locales = (allowed.locale.as_deref(), common.default_locale);
    read(common.message, level, own_title, locales)
}

impl Open {
    fn new(common: &Common<'_>, allowed: Allowed, text: Text, number: u16) -> Self {
        let profile = allowed.certificate.vendor.profile();
        let parcel = Parcel {
            app: common.app,
            cert_id: allowed.certificate.info.cert_id,
            message_id: common.message_id,
            number,
            urgency: urgency_of(common.message.priority),
            locale: allowed.locale,
            sound: allowed.sound,
            expires_at: common.expires_at,
            attempts: 0,
            renewed: 0,
            deliveries: vec![allowed.delivery],
            content: common.content.clone(),
        };
        Open { parcel, text, deliveries_max: profile.parcel_deliveries_max, badges: profile.badges }
    }

    fn takes(&self, allowed: &Allowed, text: &Text) -> bool {
        self.parcel.cert_id == allowed.certificate.info.cert_id
            && self.parcel.deliveries.len() < self.deliveries_max
            && self.parcel.sound == allowed.sound
            && self.text == *text
            && (self.badges != Badges::PerParcel
                || self.parcel.deliveries[0].badge == allowed.delivery.badge)
    }
}
