//! Receipts of vendors: each finds its delivery and becomes a step of its trace, a count and a
//! push result. A receipt that says a token is dead retires it.
//!
//! A receipt names its message by the id the push carried and its device by the token, of which
//! the trace keeps a short hash. What is older than the traces is unknown and only counted.
//!
//! Idempotent: the trace row's key is made from what the receipt says and must not exist yet, and
//! count and event are in the same commit, so the same receipt counts once however often it comes.
//!
//! Authentic: signed by the vendor, or posted to the certificate's secret path, which only the
//! relay can make and the operator shows to the vendor alone.

use std::collections::HashMap;
use std::sync::Arc;

use ring::hmac;

use crate::account;
use crate::clock::Clock;
use crate::credentials::{Certificate, Credentials};
use crate::model::id::{AppId, CertId, MessageId, Partition};
use crate::model::time::UnixMs;
use crate::registry::Registry;
use crate::results::Results;
use crate::results::event::{About, DeviceRetired, Event, PushResult, Stage};
use crate::statistics::{self, Count, Day};
use crate::store::{Batch, Key, Store, StoreError};
use crate::telemetry::events;
use crate::trace::{self, DeliveryOpening, Opening};
use crate::vendor::Vendor;
use crate::vendor::receipt::{Collected, Proof, Receipt, ReceiptError, ReceiptPost, What};

/// Where the posts of receipts come in.
pub const PATH: &str = "/v1/receipts";

/// Bytes of the code in a secret path: 128 bits, too many to guess.
const CODE_BYTES: usize = 16;

/// Why a post was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptsError {
    /// The vendor's format is not met.
    #[error(transparent)]
    Post(#[from] ReceiptError),
    /// The store's: the vendor should post again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a post held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Receipts counted for the first time.
    pub counted: usize,
    /// Receipts that were there already.
    pub repeated: usize,
    /// Receipts whose delivery is not known, or not any more.
    pub unknown: usize,
    /// Entries of the post that could not be read.
    pub unreadable: usize,
    /// Tokens retired.
    pub retired: usize,
}

/// The stage.
pub struct Receipts {
    store: Arc<dyn Store>,
    clock: Clock,
    credentials: Arc<Credentials>,
    registry: Registry,
    results: Results,
    paths: hmac::Key,
}

/// A receipt and the delivery it is about.
struct Found<'a> {
    receipt: &'a Receipt,
    message_id: MessageId,
    opening: &'a Opening,
    number: u16,
    delivery: &'a DeliveryOpening,
}

impl Receipts {
    /// Builds the stage; secret paths are made with the relay's secret key.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        credentials: Arc<Credentials>,
        results: Results,
        secret: &[u8; 32],
    ) -> Self {
        // A key of its own, so that a path says nothing about what the secret key seals.
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let own = hmac::sign(&secret, b"offpush receipt paths");
        Receipts {
            registry: Registry::new(store.clone()),
            store,
            clock,
            credentials,
            results,
            paths: hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()),
        }
    }

    /// The secret path of a certificate; `None` for a vendor without receipts.
    pub fn path_of(&self, certificate: &Certificate) -> Option<String> {
        certificate.vendor.receipt_proof(&certificate.sending)?;
        let info = &certificate.info;
        let code = hex::encode(&self.code(info.app, info.cert_id)[..CODE_BYTES]);
        Some(format!("{PATH}/{}/{}-{code}", info.vendor, info.cert_id))
    }

    fn code(&self, app: AppId, cert_id: CertId) -> [u8; 32] {
        let tag = hmac::sign(&self.paths, format!("{app} {cert_id}").as_bytes());
        let mut code = [0; 32];
        code.copy_from_slice(tag.as_ref());
        code
    }

    /// The certificates a post is for: that of its secret path, or those it is signed for. Empty
    /// when nothing proves it.
    pub fn proven(
        &self,
        vendor: &dyn Vendor,
        secret: Option<&str>,
        post: &ReceiptPost<'_>,
    ) -> Vec<Arc<Certificate>> {
        let now = self.clock.now();
        let signed = |certificate: &Arc<Certificate>| {
            certificate.vendor.signed_receipts(&certificate.sending, post, now)
        };
        let proof =
            |certificate: &Certificate| certificate.vendor.receipt_proof(&certificate.sending);
        match secret {
            Some(secret) => {
                let of_path = self.of_path(vendor, secret);
                let proven = of_path.filter(|certificate| match proof(certificate) {
                    Some(Proof::Path) => true,
                    Some(Proof::Signature) => signed(certificate),
                    None => false,
                });
                proven.into_iter().collect()
            }
            None => {
                let all = self.credentials.list(None).into_iter();
                all.filter(|certificate| certificate.info.vendor == vendor.profile().name)
                    .filter(|certificate| proof(certificate) == Some(Proof::Signature))
                    .filter(signed)
                    .collect()
            }
        }
    }

    /// The certificate whose secret this is; the code is compared in constant time.
    fn of_path(&self, vendor: &dyn Vendor, secret: &str) -> Option<Arc<Certificate>> {
        let (cert_id, code) = secret.split_once('-')?;
        let certificate = self.credentials.get(CertId(cert_id.parse().ok()?))?;
        let given = hex::decode(code).ok()?;
        let info = &certificate.info;
        let expected = self.code(info.app, info.cert_id);
        let right = bool::from(subtle::ConstantTimeEq::ct_eq(&expected[..CODE_BYTES], &given[..]));
        (right && info.vendor == vendor.profile().name).then_some(certificate)
    }

    /// Takes a post whose certificates are proven.
    ///
    /// # Errors
    /// The post's format, or the store's; then nothing, or a part that a repeat finds again.
    pub async fn take(
        &self,
        vendor: &'static dyn Vendor,
        certificates: &[Arc<Certificate>],
        post: &ReceiptPost<'_>,
    ) -> Result<Taken, ReceiptsError> {
        let Collected { receipts, unreadable, .. } = vendor.read_receipts(post)?;
        let now = self.clock.now();
        let openings = self.openings(&receipts).await?;
        let found: Vec<Found<'_>> =
            receipts.iter().filter_map(|receipt| find(receipt, &openings, certificates)).collect();
        let unknown = receipts.len() - found.len();
        let mut taken = Taken { unknown, unreadable, ..Taken::default() };
        let platform = vendor.profile().tencent_platform;
        let mut added: Vec<(AppId, i64)> = Vec::with_capacity(found.len());
        let batches: Vec<(Partition, Batch)> = found
            .iter()
            .map(|found| {
                let mut batch = Batch::default();
                let told = self.draw(found, platform, now, &mut batch);
                added.push((found.opening.app, told));
                (found.message_id.partition(), batch)
            })
            .collect();
        for (result, (app, told)) in self.store.commit_all(batches).await.into_iter().zip(added) {
            match result {
                Ok(()) => {
                    taken.counted += 1;
                    self.results.added(app, told);
                }
                Err(StoreError::Conflict) => taken.repeated += 1,
                Err(error) => return Err(error.into()),
            }
        }
        for receipt in &receipts {
            if let What::NotShown { token_dead: true, says, .. } = receipt.what {
                taken.retired += self.retire(receipt, says, certificates, now).await?;
            }
        }
        for (result, count) in [
            ("counted", taken.counted),
            ("repeated", taken.repeated),
            ("unknown", taken.unknown),
            ("unreadable", taken.unreadable),
        ] {
            events::receipts_read(vendor.profile().name, result, count as u64);
        }
        Ok(taken)
    }

    /// The openings of every message that receipts name, each read once.
    async fn openings(
        &self,
        receipts: &[Receipt],
    ) -> Result<HashMap<MessageId, Opening>, StoreError> {
        let mut ids: Vec<MessageId> =
            receipts.iter().filter_map(|receipt| receipt.message_id.parse().ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        let keys: Vec<(Partition, Key)> =
            ids.iter().map(|id| (id.partition(), trace::opening_key(*id))).collect();
        let rows = self.store.get_many(&keys).await?;
        ids.into_iter()
            .zip(rows)
            .filter_map(|(id, row)| Some((id, row?)))
            .map(|(id, row)| Ok((id, trace::read_opening(id, &row)?)))
            .collect()
    }

    /// What one receipt's commit holds; answers how many events are in it.
    fn draw(&self, found: &Found<'_>, platform: u8, now: UnixMs, batch: &mut Batch) -> i64 {
        let (app, message_id) = (found.opening.app, found.message_id);
        let (stage, step, count, err_code, err_info) = match found.receipt.what {
            What::Reached => (Stage::Reached, trace::Receipt::Reached, Some(Count::Reached), 0, ""),
            What::Clicked => (Stage::Clicked, trace::Receipt::Clicked, Some(Count::Clicked), 0, ""),
            What::NotShown { status, says, .. } => {
                let step = trace::Receipt::NotShown(status);
                (Stage::Reached, step, None, i64::from(status), says)
            }
        };
        trace::receipt(message_id, found.number, step, now, batch);
        let Some(device) = &found.delivery.device else { return 0 };
        if let Some(count) = count {
            let day = Day::of(message_id.accepted_at());
            statistics::add(app, day, &device.vendor, count, 1, batch);
        }
        let event = Event::Push(PushResult {
            about: About::opening(found.opening),
            message_id,
            to: &found.delivery.user,
            device_id: &device.device_id,
            cert_id: device.cert_id,
            platform,
            stage,
            err_code,
            err_info,
        });
        self.results.add(app, message_id.partition(), &event, now, batch)
    }

    /// Retires the receipt's token, unless it was registered again since. Answers how many were.
    async fn retire(
        &self,
        receipt: &Receipt,
        says: &str,
        certificates: &[Arc<Certificate>],
        now: UnixMs,
    ) -> Result<usize, StoreError> {
        let accepted = receipt.message_id.parse().map(MessageId::accepted_at).ok();
        let since = receipt.at.map(|at| at.min(now)).or(accepted);
        let asked: Vec<_> = certificates
            .iter()
            .map(|certificate| (certificate.info.app, certificate.info.cert_id, &receipt.token))
            .collect();
        let owners = self.registry.owners(&asked).await?;
        let mut retired = 0;
        for (certificate, owner) in certificates.iter().zip(owners) {
            let Some(owner) = owner else { continue };
            let (app, cert_id) = (certificate.info.app, certificate.info.cert_id);
            let devices = self.registry.devices(app, &owner.user).await?;
            let device = devices.iter().find(|device| device.device_id == owner.device_id);
            let Some(device) = device else { continue };
            let vendor = certificate.vendor.profile();
            let hash = receipt.token.short_hash();
            let event = Event::DeviceRetired(DeviceRetired {
                user: &owner.user,
                device_id: &owner.device_id,
                cert_id,
                platform: vendor.tencent_platform,
                token_hash: &hash,
                source: "receipt",
                why: says,
            });
            let partition = account::partition_of(app, &owner.user);
            let announce = |batch: &mut Batch| {
                self.results.add(app, partition, &event, now, batch);
            };
            let token = (cert_id, &receipt.token, device.registered_at);
            if self.registry.retire(app, &owner, token, since, now, announce).await? {
                self.results.added(app, i64::from(self.results.wanted(app)));
                events::token_retired(vendor.name, cert_id.0, &hash);
                retired += 1;
            }
        }
        Ok(retired)
    }
}

/// The delivery a receipt is about: of its message, to its token, with a proven certificate.
fn find<'a>(
    receipt: &'a Receipt,
    openings: &'a HashMap<MessageId, Opening>,
    certificates: &[Arc<Certificate>],
) -> Option<Found<'a>> {
    let message_id = receipt.message_id.parse().ok()?;
    let opening = openings.get(&message_id)?;
    let hash = receipt.token.short_hash();
    let is_proven = |cert_id: CertId| {
        certificates.iter().any(|certificate| {
            certificate.info.app == opening.app && certificate.info.cert_id == cert_id
        })
    };
    let (number, delivery) = (0u16..).zip(&opening.deliveries).find(|(_, delivery)| {
        let device = delivery.device.as_ref();
        device.is_some_and(|device| device.token_hash == hash && is_proven(device.cert_id))
    })?;
    Some(Found { receipt, message_id, opening, number, delivery })
}
