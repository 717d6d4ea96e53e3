//! Writes down what became of a lane's parcels, as many together as have been answered meanwhile,
//! and draws the consequences for the lane and its certificate.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::credentials::Certificate;
use crate::dispatch::Dispatch;
use crate::dispatch::lane::{Belief, Lane, Turn};
use crate::model::id::Partition;
use crate::outcome::{Effect, Said, Settlement};
use crate::results::event::{CertificateBroken, Event};
use crate::store::{Batch, StoreError};
use crate::telemetry::events;
use crate::vendor::Verdict;

/// Most parcels settled together.
const TOGETHER_MAX: usize = 512;

/// First wait between two tries to write an outcome down.
const WAIT_MIN: Duration = Duration::from_millis(50);

/// Longest wait between two tries to write an outcome down.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// An answered parcel. Draining waits for it as long as it is not settled.
pub struct Answered {
    /// What is to be settled.
    pub settlement: Settlement,
    /// Of the connections it was sent on.
    pub generation: u32,
    /// Makes draining wait.
    pub pending: TaskTrackerToken,
}

/// Settles a lane's parcels until nobody can answer any more.
pub async fn run(
    dispatch: Arc<Dispatch>,
    lane: Arc<Lane>,
    mut answers: UnboundedReceiver<Answered>,
) {
    let mut together = Vec::new();
    while answers.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        let (parcels, rest): (Vec<_>, Vec<_>) = together
            .drain(..)
            .map(|answered| (answered.settlement, (answered.generation, answered.pending)))
            .unzip();
        let results = dispatch.rooms.outcome.settle(&parcels).await;
        let mut settled = Vec::with_capacity(parcels.len());
        for ((parcel, result), (generation, pending)) in parcels.into_iter().zip(results).zip(rest)
        {
            match result {
                Err(error) if !matches!(error, StoreError::Conflict) => {
                    tracing::error!(%error, "an outcome cannot be written yet");
                    let (dispatch, lane) = (dispatch.clone(), lane.clone());
                    tokio::spawn(async move {
                        dispatch.settle_later(&lane, parcel, generation).await;
                        drop(pending);
                    });
                }
                result => {
                    settled.push((Settled { parcel, generation, effect: result.ok() }, pending))
                }
            }
        }
        let learned: Vec<Learned> =
            settled.iter().map(|(settled, _)| dispatch.learn(&lane, settled)).collect();
        // Together, so that what they write shares what durability costs: each dead token is a
        // commit of its own.
        let retiring = settled.iter().zip(&learned).filter(|(_, learned)| learned.retires);
        join_all(retiring.map(|((it, _), _)| dispatch.rooms.outcome.retire_dead(&it.parcel))).await;
        for ((settled, pending), learned) in settled.into_iter().zip(learned) {
            dispatch.conclude(&lane, settled, learned).await;
            drop(pending);
        }
    }
}

/// A parcel that is written down. Without an effect the outcome was void: either somebody took over
/// after a lost lease, or an earlier try of ours was applied although its answer was lost. Both
/// times the row is not ours.
struct Settled {
    parcel: Settlement,
    /// Of the connections it was sent on.
    generation: u32,
    effect: Option<Effect>,
}

/// What a settled parcel taught its lane.
struct Learned {
    turn: Option<Turn>,
    /// Its dead tokens are to be retired.
    retires: bool,
}

impl Dispatch {
    /// Writes an outcome down, as often as it takes: until then the parcel is not done with.
    async fn settle_later(&self, lane: &Lane, parcel: Settlement, generation: u32) {
        let mut wait = WAIT_MIN;
        let effect = loop {
            if self.is_draining() {
                break None;
            }
            tokio::time::sleep(wait).await;
            let mut results = self.rooms.outcome.settle(std::slice::from_ref(&parcel)).await;
            match results.pop() {
                Some(Ok(effect)) => break Some(effect),
                Some(Err(StoreError::Conflict)) | None => break None,
                Some(Err(error)) => tracing::error!(%error, "an outcome cannot be written yet"),
            }
            wait = (wait * 2).min(WAIT_MAX);
        };
        let settled = Settled { parcel, generation, effect };
        let learned = self.learn(lane, &settled);
        if learned.retires {
            self.rooms.outcome.retire_dead(&settled.parcel).await;
        }
        self.conclude(lane, settled, learned).await;
    }

    /// What the lane learns of a parcel, before anything is waited for: the next one's answer is
    /// judged by it.
    fn learn(&self, lane: &Lane, settled: &Settled) -> Learned {
        let Settled { parcel, effect, .. } = settled;
        let Some(effect) = effect else { return Learned { turn: None, retires: false } };
        let belief = lane.belief(effect);
        let turn = lane.learn(effect, self.rooms.clock.instant());
        if belief == Belief::Lost {
            let vendor = parcel.certificate.as_deref();
            let vendor = vendor.map_or("", |cert| cert.vendor.profile().name);
            events::tokens_doubted(lane.cert_id().0, vendor, effect.suspects);
        }
        let is_dead = |said: &Said| {
            said.answer().is_some_and(|one| matches!(one.verdict, Verdict::TokenDead { .. }))
        };
        let retires = belief == Belief::Held && parcel.said.iter().any(is_dead);
        Learned { turn, retires }
    }

    /// What follows from a settled parcel.
    async fn conclude(&self, lane: &Lane, settled: Settled, learned: Learned) {
        let Settled { parcel, generation, effect } = settled;
        // First let go of it: what follows may look for its row, which is due again.
        lane.release(parcel.held.id());
        match effect {
            Some(effect) => {
                let certificate = parcel.certificate.as_deref();
                self.act(lane, certificate, (generation, learned.turn), &effect).await;
            }
            None => {
                tracing::info!(
                    message_id = %parcel.held.parcel.message_id,
                    "an outcome came too late and is discarded"
                );
                lane.learn_nothing();
            }
        }
        lane.finished(parcel.held.parcel.deliveries.len());
    }

    /// What follows for the lane and its certificate.
    async fn act(
        &self,
        lane: &Lane,
        certificate: Option<&Certificate>,
        (generation, turn): (u32, Option<Turn>),
        effect: &Effect,
    ) {
        if effect.waits_until.is_some() {
            self.look();
        }
        let Some(certificate) = certificate else { return };
        let vendor = certificate.vendor.profile().name;
        match turn {
            Some(Turn::Opened) => {
                let why = effect.trouble.as_deref().unwrap_or_default();
                let failures = self.settings.breaker_failures;
                events::breaker_opened(lane.cert_id().0, vendor, failures, why);
            }
            Some(Turn::Closed) => events::breaker_closed(lane.cert_id().0, vendor),
            None => {}
        }
        let Some(rejection) = &effect.auth else { return };
        if rejection.renew {
            self.renew_connections(lane, generation);
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
        let (partition, now) = (Partition::of_app(info.app), self.rooms.clock.now());
        let mut batch = Batch::default();
        let added = results.add(info.app, partition, &broken, now, &mut batch);
        let marked = self
            .rooms
            .credentials
            .mark_broken_and(info.cert_id, info.edition(), Some(why.clone()), batch)
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
