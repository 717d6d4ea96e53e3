//! Sends what is queued: a lane per certificate, each with its own limit, pace and breaker, so
//! that one slow vendor or one broken tenant never delays another.
//!
//! Parcels reach a lane from ingest, in memory and already leased, or from the sweep, which finds
//! in the store what is due: retries, what did not fit into memory, what a crash left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use foldhash::{HashMap, HashSet};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

use crate::access::AccessTokens;
use crate::apps::Apps;
use crate::clock::Clock;
use crate::credentials::Credentials;
use crate::dispatch::couriers::{Couriers, Desk};
use crate::dispatch::errands::{Ahead, Errands};
use crate::dispatch::lane::memory::Memory;
use crate::dispatch::lane::{Lane, LaneReport};
use crate::dispatch::send::{Delivered, Sender};
use crate::dispatch::settle::Answered;
use crate::facts::Facts;
use crate::model::certificate::{CertificateStatus, Edition};
use crate::model::id::{CertId, MessageId};
use crate::model::time::UnixMs;
use crate::outcome::{Outcome, Settlement};
use crate::queue::backlog::Backlog;
use crate::queue::handover::{Births, FullLanes, TakeOver};
use crate::queue::{self, Held};
use crate::registry::Registry;
use crate::store::{Batch, Store};
use crate::transport::Transport;

pub mod breaker;
mod couriers;
mod errands;
pub mod lane;
mod push;
pub mod send;
pub mod settle;
pub mod sweep;
pub mod verify;

/// Settings of this stage.
#[derive(Clone, Debug)]
pub struct DispatchSettings {
    /// Deliveries at a vendor at a time, per lane.
    pub in_flight_max: usize,
    /// Parcels a lane holds in memory.
    pub parcels_in_memory: usize,
    /// Bytes of parcels that all lanes together hold in memory.
    pub memory_bytes: usize,
    /// Longest wait for a vendor's answer.
    pub request_deadline: Duration,
    /// How long a claimed parcel is held.
    pub lease: Duration,
    /// Failures in a row that open a breaker.
    pub breaker_failures: u32,
    /// First pause of an open breaker.
    pub breaker_base: Duration,
    /// Longest pause of an open breaker.
    pub breaker_max: Duration,
    /// Longest time between two looks at the store.
    pub sweep_interval: Duration,
    /// Suspect answers in a row, none accepted between, that stop tokens from being retired.
    pub suspects_max: usize,
}

/// The rooms this stage works with.
pub struct Rooms {
    /// Store.
    pub store: Arc<dyn Store>,
    /// Clock.
    pub clock: Clock,
    /// Apps.
    pub apps: Arc<Apps>,
    /// Certificates.
    pub credentials: Arc<Credentials>,
    /// Facts for the second look.
    pub facts: Arc<Facts>,
    /// Settles.
    pub outcome: Arc<Outcome>,
    /// HTTP.
    pub transport: Transport,
}

/// The stage.
pub struct Dispatch {
    rooms: Rooms,
    sender: Sender,
    settings: DispatchSettings,
    lanes: Mutex<HashMap<CertId, Arc<Lane>>>,
    /// What all lanes hold.
    memory: Arc<Memory>,
    sweep: Notify,
    /// What the next look is to do besides claiming what is due.
    errands: Mutex<Errands>,
    /// Messages that ingest is handing over: their rows are not to be claimed.
    births: Arc<Births>,
    full_lanes: Arc<FullLanes>,
    /// Since when parcels wait that could go.
    backlog: Arc<Backlog>,
    draining: AtomicBool,
    tasks: TaskTracker,
}

impl Dispatch {
    /// Builds the stage and starts its tasks; parcels come from `take_over`.
    pub fn start(rooms: Rooms, settings: DispatchSettings, take_over: TakeOver) -> Arc<Self> {
        let access = AccessTokens::new(rooms.transport.clone(), rooms.clock.clone());
        let dispatch = Arc::new(Dispatch {
            sender: Sender::new(
                access,
                Registry::new(rooms.store.clone()),
                settings.request_deadline,
            ),
            rooms,
            memory: Arc::new(Memory::new(settings.memory_bytes)),
            settings,
            lanes: Mutex::new(HashMap::default()),
            sweep: Notify::new(),
            errands: Mutex::default(),
            births: take_over.births(),
            full_lanes: take_over.full_lanes(),
            backlog: take_over.backlog(),
            draining: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        });
        tokio::spawn(take_in(dispatch.clone(), take_over));
        tokio::spawn(sweep::run(dispatch.clone()));
        tokio::spawn(follow_credentials(dispatch.clone()));
        dispatch
    }

    /// Access tokens, transport and deadlines, for `verify` and test pushes.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// HTTP.
    pub fn transport(&self) -> &Transport {
        &self.rooms.transport
    }

    /// The lane of a certificate; made and started when there is none.
    fn lane(self: &Arc<Self>, cert_id: CertId) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lanes
            .entry(cert_id)
            .or_insert_with(|| {
                let (full, memory) = (self.full_lanes.clone(), self.memory.clone());
                let lane = Arc::new(Lane::new(cert_id, &self.settings, full, memory));
                tokio::spawn(run_lane(self.clone(), lane.clone()));
                lane
            })
            .clone()
    }

    /// The lane of a certificate, when there is one.
    fn running(&self, cert_id: CertId) -> Option<Arc<Lane>> {
        let lanes = self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lanes.get(&cert_id).cloned()
    }

    /// Every lane there is, by certificate.
    fn all_lanes(&self) -> Vec<Arc<Lane>> {
        let lanes = self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut all: Vec<_> = lanes.values().cloned().collect();
        all.sort_by_key(|lane| lane.cert_id());
        all
    }

    /// The condition of every lane; lanes appear with their first parcel, and disappear with the
    /// last one of a certificate that is deleted.
    pub fn lanes(&self) -> Vec<LaneReport> {
        self.all_lanes().iter().filter_map(|lane| self.report(lane)).collect()
    }

    /// The condition of a certificate's lane, when there is one.
    pub fn lane_of(&self, cert_id: CertId) -> Option<LaneReport> {
        self.report(&*self.running(cert_id)?)
    }

    fn report(&self, lane: &Lane) -> Option<LaneReport> {
        let (now, instant) = (self.rooms.clock.now(), self.rooms.clock.instant());
        let credentials = &self.rooms.credentials;
        let certificate = credentials.get(lane.cert_id());
        let aside = match certificate {
            Some(_) => None,
            None => credentials.why_set_aside(lane.cert_id()),
        };
        let is_deleted = certificate.is_none() && aside.is_none();
        let report = lane.report(certificate.as_deref(), aside, now, instant);
        (!is_deleted || report.has_work()).then_some(report)
    }

    /// Stops or resumes sending with a certificate. Paused parcels wait, and expire in time.
    pub fn set_paused(self: &Arc<Self>, cert_id: CertId, paused: bool) {
        let lane = self.lane(cert_id);
        lane.set_paused(paused);
        if !paused {
            // Whoever says "go on" also means a vendor's long wait and an open breaker.
            lane.forgive(self.rooms.clock.instant());
            self.hurry(cert_id);
        }
    }

    /// Looks at once at everything that waits for a certificate, also what is due only later.
    fn hurry(&self, cert_id: CertId) {
        self.errands().look_ahead(cert_id, Ahead::all());
        self.sweep.notify_one();
    }

    fn errands(&self) -> MutexGuard<'_, Errands> {
        self.errands.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A message was withdrawn: what waits of it for a certificate ends now, also when nothing may
    /// be sent with that.
    pub fn withdraw(&self, cert_id: CertId, message_id: MessageId) {
        if let Some(lane) = self.running(cert_id) {
            lane.withdraw(message_id);
        }
        self.errands().end(cert_id, message_id);
        self.sweep.notify_one();
    }

    /// Looks at the store now: something became due.
    pub fn look(&self) {
        self.sweep.notify_one();
    }

    /// Looks at everything now: time may have moved.
    pub fn look_everywhere(&self) {
        for lane in self.all_lanes() {
            lane.wake();
        }
        self.look();
    }

    /// Stops at once, as a crash would: what is at the vendors is not waited for, nothing is given
    /// back.
    pub fn abandon(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.look_everywhere();
    }

    /// Stops sending, lets what is at the vendors finish until `deadline`, and gives the rest
    /// back. Answers whether everything finished.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.draining.store(true, Ordering::Relaxed);
        self.tasks.close();
        self.look_everywhere();
        let finished = tokio::time::timeout(deadline, self.tasks.wait()).await.is_ok();
        for lane in self.all_lanes() {
            self.give_back(lane.take_all()).await;
        }
        finished
    }

    /// Makes parcels due at once, for whoever looks next. They keep their place among others.
    async fn give_back(&self, parcels: Vec<Held>) {
        let now = self.rooms.clock.now();
        let batches: Vec<_> = parcels
            .into_iter()
            .map(|mut held| {
                let mut batch = Batch::default();
                let due = held.due_again(now);
                queue::move_to(&mut held, due, &mut batch);
                (held.parcel.message_id.partition(), batch)
            })
            .collect();
        if batches.is_empty() {
            return;
        }
        let given = batches.len();
        let results = self.rooms.store.commit_all(batches).await;
        let lost = results.iter().filter(|result| result.is_err()).count();
        if lost > 0 {
            tracing::warn!(given, lost, "parcels wait for their lease to end");
        }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Hands parcels from ingest to their lanes; what does not fit goes back to the store.
async fn take_in(dispatch: Arc<Dispatch>, mut take_over: TakeOver) {
    let mut together = Vec::new();
    while take_over.take(&mut together, 64).await > 0 {
        let mut surplus = Vec::new();
        for born in together.drain(..).flatten() {
            for held in born.parcels {
                let lane = dispatch.lane(held.parcel.cert_id);
                if dispatch.is_draining() {
                    surplus.push(held);
                } else {
                    let since = held.waits_since(dispatch.rooms.clock.now());
                    surplus.extend(lane.push(held, since));
                }
            }
            drop(born.birth);
        }
        if !surplus.is_empty() {
            dispatch.give_back(surplus).await;
        }
    }
}

/// Wakes a lane whose certificate was rotated, mended, switched, deleted or brought back.
async fn follow_credentials(dispatch: Arc<Dispatch>) {
    let mut changes = dispatch.rooms.credentials.changes();
    let mut known: HashMap<CertId, (Edition, bool, bool)> = HashMap::default();
    // At the start lanes are as new as their certificates.
    let mut is_start = true;
    loop {
        let there = dispatch.rooms.credentials.list(None);
        for certificate in &there {
            let info = &certificate.info;
            let state = (info.edition(), info.enabled, info.broken.is_some());
            let before = known.insert(info.cert_id, state);
            if !is_start && before != Some(state) {
                dispatch.begin_anew(info.cert_id, info.broken.is_none());
            }
        }
        is_start = false;
        let there: HashSet<CertId> = there.iter().map(|cert| cert.info.cert_id).collect();
        for gone in known.extract_if(|cert_id, _| !there.contains(cert_id)) {
            // Its number may be given to another, who is to find nothing of it.
            dispatch.sender.access().forget(gone.0);
            if let Some(lane) = dispatch.running(gone.0) {
                lane.set_paused(false);
            }
            dispatch.begin_anew(gone.0, true);
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Sends a lane's parcels as far as its limits allow, and waits for the next reason to look.
async fn run_lane(dispatch: Arc<Dispatch>, lane: Arc<Lane>) {
    let (answered, answers) = mpsc::unbounded_channel();
    tokio::spawn(settle::run(dispatch.clone(), lane.clone(), answers));
    let couriers = Arc::new(Couriers::default());
    loop {
        let wait = lane.wait(dispatch.rooms.clock.instant());
        tokio::select! {
            () = lane.woken() => {}
            () = tokio::time::sleep(wait) => couriers.send_half_home(),
        }
        if dispatch.is_draining() {
            return couriers.close();
        }
        let now = dispatch.rooms.clock.now();
        let blocked = dispatch.is_blocked(lane.cert_id(), now);
        for held in lane.take(blocked, now, dispatch.rooms.clock.instant()) {
            let Some(held) = couriers.give(held) else { continue };
            let (lane, couriers) = (lane.clone(), couriers.clone());
            let carried = carry(dispatch.clone(), lane, couriers, held, answered.clone());
            // Boxed, for a task is moved about while it is made and when it ends.
            dispatch.tasks.spawn(Box::pin(carried));
        }
        if lane.wants_more() {
            dispatch.look();
        }
        let since = lane.waits_since(blocked, now, dispatch.rooms.clock.instant());
        dispatch.backlog.note(lane.cert_id(), since);
    }
}

/// Delivers a parcel, and then whichever comes next, as long as couriers are needed.
async fn carry(
    dispatch: Arc<Dispatch>,
    lane: Arc<Lane>,
    couriers: Arc<Couriers>,
    mut held: Held,
    answered: mpsc::UnboundedSender<Answered>,
) {
    let desk = Arc::<Desk>::default();
    loop {
        let size = held.parcel.deliveries.len();
        let delivered = dispatch.deliver(&lane, &mut held).await;
        lane.answered(size);
        match delivered {
            Some(Delivered { certificate, said, generation }) => {
                let settlement = Settlement { certificate, held, said };
                let pending = dispatch.tasks.token();
                // The receiver ends only after the last sender.
                let _ = answered.send(Answered { settlement, generation, pending });
            }
            None => {
                lane.release(held.id());
                lane.learn_nothing();
                lane.finished(size);
            }
        }
        if dispatch.is_draining() {
            return;
        }
        if lane.wants_more() {
            dispatch.look();
        }
        let now = dispatch.rooms.clock.now();
        let blocked = dispatch.is_blocked(lane.cert_id(), now);
        held = match lane.take_next(blocked, dispatch.rooms.clock.instant()) {
            Some(next) => next,
            None => match couriers.rest(&desk).await {
                Some(next) => next,
                None => return,
            },
        };
    }
}

impl Dispatch {
    /// A certificate is another one now: its lane opens connections of its own, and, when it may
    /// send, forgets old failures and looks at everything that waits.
    fn begin_anew(&self, cert_id: CertId, may_send: bool) {
        if let Some(lane) = self.running(cert_id) {
            self.renew_connections(&lane, lane.generation());
            if may_send {
                lane.forgive(self.rooms.clock.instant());
            }
        }
        if may_send {
            self.hurry(cert_id);
        }
    }

    /// What is sent from now on takes other connections than those of `generation`, which finish
    /// what they have begun.
    fn renew_connections(&self, lane: &Lane, generation: u32) {
        let generation = lane.renew_connections(generation);
        self.rooms.transport.retire(lane.cert_id().0, generation);
    }

    /// Whether nothing may be sent with a certificate although it exists: it is broken, has ended
    /// or is set aside, and what waits for it waits on. A missing or disabled one is not blocked:
    /// the rules end its deliveries.
    fn is_blocked(&self, cert_id: CertId, now: UnixMs) -> bool {
        let waits =
            |status| matches!(status, CertificateStatus::Broken | CertificateStatus::Expired);
        match self.rooms.credentials.get(cert_id) {
            Some(certificate) => waits(certificate.info.status(now)),
            None => self.rooms.credentials.is_set_aside(cert_id),
        }
    }
}
