//! Access tokens: fetched once, shared by every request of a certificate, renewed early.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Clock;
use crate::credentials::Certificate;
use crate::model::certificate::Edition;
use crate::model::id::CertId;
use crate::model::time::UnixMs;
use crate::telemetry::events;
use crate::transport::{Lane, Request, Transport, TransportError};
use crate::vendor::clocks::{self, Exchange};
use crate::vendor::{AccessToken, Answer, SignIn, Verdict, reply};

mod refused;

pub use refused::Refused;

/// After a refused or failed sign-in, how long the same answer is given without asking again.
const REFUSAL_KEPT: Duration = Duration::from_secs(5);

/// For whom a token is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Issuer {
    /// One certificate.
    Certificate(CertId),
    /// Every certificate of a vendor that says so by [`crate::vendor::Vendor::shares_sign_in`].
    Shared(&'static str, Arc<str>),
}

/// For whom a certificate's token is, and of which edition: a shared one outlives the rotation of
/// one of its certificates.
fn issuer(certificate: &Certificate) -> (Issuer, Option<Edition>) {
    match certificate.vendor.shares_sign_in(&certificate.sending) {
        Some(name) => (Issuer::Shared(certificate.vendor.profile().name, name.clone()), None),
        None => (Issuer::Certificate(certificate.info.cert_id), Some(certificate.info.edition())),
    }
}

/// A token, and of which edition it is.
type Issued = (Option<Edition>, AccessToken);

/// The last refusal, of which edition it is, and when it came.
type Remembered = Option<(Option<Edition>, tokio::time::Instant, Box<Refused>)>;

/// One issuer's token, and the turn to fetch it.
#[derive(Default)]
struct Slot {
    token: Mutex<Option<Issued>>,
    fetching: tokio::sync::Mutex<Remembered>,
}

/// The access tokens of all certificates. In memory only: after a restart each is fetched anew.
pub struct AccessTokens {
    transport: Transport,
    clock: Clock,
    slots: Mutex<HashMap<Issuer, Arc<Slot>>>,
}

impl AccessTokens {
    /// No tokens yet.
    pub fn new(transport: Transport, clock: Clock) -> Self {
        AccessTokens { transport, clock, slots: Mutex::new(HashMap::new()) }
    }

    fn slot(&self, issuer: Issuer) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        slots.entry(issuer).or_default().clone()
    }

    /// The token to send with; `None` for vendors that need none. Many callers, one request.
    ///
    /// # Errors
    /// The vendor's refusal, or what stopped us from asking.
    pub async fn current(
        &self,
        certificate: &Certificate,
        lane: &Lane,
    ) -> Result<Option<AccessToken>, Box<Refused>> {
        let (issuer, edition) = issuer(certificate);
        let slot = self.slot(issuer);
        if let Some(token) = self.fresh(&slot, edition) {
            return Ok(Some(token));
        }
        let mut fetching = slot.fetching.lock().await;
        if let Some(token) = self.fresh(&slot, edition) {
            return Ok(Some(token));
        }
        if let Some((of, at, refused)) = &*fetching
            && *of == edition
            && self.clock.instant().saturating_duration_since(*at) < REFUSAL_KEPT
        {
            return Err(refused.clone());
        }
        let now = self.clock.now();
        let request = match certificate.vendor.sign_in(&certificate.sending, now) {
            SignIn::None => return Ok(None),
            SignIn::Minted(token) => {
                *lock(&slot) = Some((edition, token.clone()));
                return Ok(Some(token));
            }
            SignIn::Exchange(request) => *request,
        };
        let fetched = self.exchange(certificate, lane, request, now).await.map(|(token, _)| token);
        let refused = match self.noted(&slot, edition, fetched, &mut fetching) {
            Ok(token) => return Ok(Some(token)),
            Err(refused) => refused,
        };
        // An old token may still be good while the vendor's sign-in is down.
        let valid =
            lock(&slot).clone().filter(|(of, token)| *of == edition && token.expires_at > now);
        match (valid, refused.answer.verdict) {
            (Some((_, token)), Verdict::Unavailable { .. } | Verdict::Throttled { .. }) => {
                Ok(Some(token))
            }
            _ => Err(refused),
        }
    }

    /// A token the vendor gave just now, and the status of its answer, whatever is known: one got
    /// before the vendor changed its mind proves nothing, and neither does a refusal from before
    /// somebody mended it. One that is made here is the current one, with 0 for a status: APNs
    /// refuses a second one within twenty minutes, on every connection.
    ///
    /// # Errors
    /// As [`AccessTokens::current`].
    pub async fn anew(
        &self,
        certificate: &Certificate,
        lane: &Lane,
    ) -> Result<Option<(AccessToken, u16)>, Box<Refused>> {
        let (issuer, edition) = issuer(certificate);
        let slot = self.slot(issuer);
        let mut fetching = slot.fetching.lock().await;
        let now = self.clock.now();
        let SignIn::Exchange(request) = certificate.vendor.sign_in(&certificate.sending, now)
        else {
            drop(fetching);
            let made = self.current(certificate, lane).await?;
            return Ok(made.map(|token| (token, 0)));
        };
        let fetched = self.exchange(certificate, lane, *request, now).await;
        let status = fetched.as_ref().map_or(0, |(_, status)| *status);
        let fetched = fetched.map(|(token, _)| token);
        self.noted(&slot, edition, fetched, &mut fetching).map(|token| Some((token, status)))
    }

    /// Keeps what a sign-in came to, for the next who asks.
    fn noted(
        &self,
        slot: &Slot,
        edition: Option<Edition>,
        fetched: Result<AccessToken, Box<Refused>>,
        remembered: &mut Remembered,
    ) -> Result<AccessToken, Box<Refused>> {
        match &fetched {
            Ok(token) => {
                *remembered = None;
                *lock(slot) = Some((edition, token.clone()));
            }
            Err(refused) => *remembered = Some((edition, self.clock.instant(), refused.clone())),
        }
        fetched
    }

    /// Asks the vendor; answers its HTTP status too.
    async fn exchange(
        &self,
        certificate: &Certificate,
        lane: &Lane,
        request: Request,
        sent: UnixMs,
    ) -> Result<(AccessToken, u16), Box<Refused>> {
        let vendor = certificate.vendor;
        let reply = self.transport.send(lane, &request).await.map_err(|error| {
            events::request_unanswered(vendor.profile().name, error.cause());
            Refused::unanswered(unanswered(&error))
        })?;
        let received = self.clock.now();
        let granted = vendor.read_sign_in(&reply, received).map_err(|refusal| {
            let blame = vendor.blames_clock(&refusal);
            let answer = clocks::judged(refusal, blame, &reply, Exchange { sent, received });
            if answer.code == clocks::CODE {
                events::clocks_differ(
                    certificate.info.cert_id.0,
                    vendor.profile().name,
                    &answer.says,
                );
            }
            Refused::answered(answer, &request, &reply)
        })?;
        Ok((granted, reply.status.as_u16()))
    }

    /// Forgets the token of a certificate that is gone.
    pub fn forget(&self, cert_id: CertId) {
        let mut slots = self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        slots.remove(&Issuer::Certificate(cert_id));
    }

    fn fresh(&self, slot: &Slot, edition: Option<Edition>) -> Option<AccessToken> {
        let held = lock(slot);
        let (of, token) = held.as_ref()?;
        (*of == edition && self.clock.now() < token.renew_at).then(|| token.clone())
    }

    /// Forgets a token the vendor refused, unless it was renewed since or is too young to be.
    /// Answers whether a newer one is there already.
    ///
    /// A token that other certificates send with as well is not thrown away for what is wrong with
    /// one of them: they would all wait for the vendor to take the next.
    pub fn refuse(&self, certificate: &Certificate, refused: &AccessToken) -> bool {
        let slot = self.slot(issuer(certificate).0);
        let mut held = lock(&slot);
        let same =
            held.as_ref().is_some_and(|(_, token)| Arc::ptr_eq(&token.value, &refused.value));
        let keep_until = refused.issued_at.after(certificate.vendor.sign_in_pause());
        if same && self.clock.now() >= keep_until {
            *held = None;
        }
        !same
    }
}

fn lock(slot: &Slot) -> std::sync::MutexGuard<'_, Option<Issued>> {
    slot.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What no answer to a sign-in means: repeating it harms nobody. Vendors that sign in so present no
/// client certificate, so a refused handshake says nothing of the credential.
fn unanswered(error: &TransportError) -> Answer {
    Answer { verdict: Verdict::Unavailable { retry_after: None }, ..reply::unanswered(error) }
}
