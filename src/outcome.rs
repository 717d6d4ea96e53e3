//! What comes back: a vendor's answer or a rule's late refusal becomes a parcel's end, in one
//! commit with its trace and its count. Tokens are retired after that commit, never before.
//!
//! The `match` in `fate` is the only place that acts on a verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::credentials::Certificate;
use crate::ledger::{Entry, Waiting};
use crate::model::reason::Terminal;
use crate::model::time::UnixMs;
use crate::queue::{self, Held};
use crate::registry::Registry;
use crate::results::Results;
use crate::store::{Batch, Store, StoreError};
use crate::telemetry::events;
use crate::trace::{self, Attempt, Recheck, Step, StepResult};
use crate::vendor::{Answer, Verdict, clocks};

pub mod dead_letters;
mod effect;
mod fate;
mod rest;
mod telling;

pub use effect::{Effect, Rejection};
use fate::FateAt::{Ended, Retried};
use rest::Rest;

/// Settings of this stage.
#[derive(Clone, Debug)]
pub struct OutcomeSettings {
    /// First back-off after a failed sending.
    pub backoff_base: Duration,
    /// Longest back-off.
    pub backoff_max: Duration,
    /// How long to slow down when a vendor throttles and does not say for how long.
    pub throttle_default: Duration,
    /// How long what waits for a broken certificate sleeps before it is looked at again.
    pub broken_wait: Duration,
}

/// What one sending, or a rule before it, said about one delivery of a parcel.
#[derive(Clone, Debug)]
pub enum Said {
    /// A rule refused on fresh facts.
    Refused {
        /// Where it leads.
        terminal: Terminal,
        /// It counts for the digest at the end of the do-not-disturb window.
        sum_up: bool,
        /// The facts.
        recheck: Recheck,
    },
    /// The push could not be built: an `Ext` that cannot fit.
    TooLarge {
        /// The sentence for `explain`.
        why: String,
    },
    /// The vendor answered, or did not.
    Answered {
        /// Its answer.
        answer: Answer,
        /// HTTP status, 0 when there was none.
        status: u16,
        /// From request to answer.
        latency: Duration,
    },
    /// Nothing was tried: it goes back to wait until then.
    Postponed {
        /// When it is due again.
        until: UnixMs,
    },
}

impl Said {
    /// The vendor's answer, when it was asked.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Said::Answered { answer, .. } => Some(answer),
            _ => None,
        }
    }
}

/// A parcel and what was said about each of its deliveries, in their order.
pub struct Settlement {
    /// Its certificate; `None` when that is gone.
    pub certificate: Option<Arc<Certificate>>,
    /// The parcel.
    pub held: Held,
    /// One for each delivery.
    pub said: Vec<Said>,
}

/// The stage.
pub struct Outcome {
    store: Arc<dyn Store>,
    registry: Registry,
    clock: Clock,
    waiting: Arc<Waiting>,
    results: Results,
    settings: OutcomeSettings,
}

impl Outcome {
    /// Builds the stage; `waiting` counts what waits.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        waiting: Arc<Waiting>,
        results: Results,
        settings: OutcomeSettings,
    ) -> Self {
        Outcome { registry: Registry::new(store.clone()), store, clock, waiting, results, settings }
    }

    /// Where what became of pushes is told.
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// Settles parcels, in one commit each that share one sync. Deliveries that are to be tried
    /// again stay in the queue under a new due time.
    ///
    /// # Errors
    /// Per parcel; `Conflict` when somebody else settled or took it: this outcome is void.
    pub async fn settle(&self, parcels: &[Settlement]) -> Vec<Result<Effect, StoreError>> {
        let now = self.clock.now();
        let mut drawn = Vec::with_capacity(parcels.len());
        let mut batches = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            let last = self.last_words(parcel).await;
            drawn.push(last.map(|last| {
                let mut drawn = self.draw(parcel, &last, now);
                let batch = std::mem::take(&mut drawn.batch);
                batches.push((parcel.held.parcel.message_id.partition(), batch));
                drawn
            }));
        }
        let mut committed = self.store.commit_all(batches).await.into_iter();
        let mut effects = Vec::with_capacity(parcels.len());
        let mut settled = events::Settled::default();
        for (parcel, drawn) in parcels.iter().zip(drawn) {
            effects.push(drawn.and_then(|drawn| {
                let committed = committed.next().unwrap_or(Err(StoreError::Conflict));
                self.settled(parcel, drawn, committed, &mut settled)
            }));
        }
        settled.count();
        effects
    }

    /// What vendors said before of a parcel that is given up without being sent again.
    async fn last_words(&self, parcel: &Settlement) -> Result<BTreeMap<u16, Attempt>, StoreError> {
        if parcel.said.iter().any(|said| gave_up(said, &parcel.held)) {
            dead_letters::last_words(&self.store, parcel.held.parcel.message_id).await
        } else {
            Ok(BTreeMap::new())
        }
    }

    fn settled(
        &self,
        parcel: &Settlement,
        drawn: Drawn,
        committed: Result<(), StoreError>,
        settled: &mut events::Settled,
    ) -> Result<Effect, StoreError> {
        if !matches!(committed, Err(StoreError::Conflict)) {
            // After any other error the batch may have been applied, its events with it.
            self.results.added(parcel.held.parcel.app, drawn.events);
        }
        committed?;
        self.waiting.grew(-drawn.ended, drawn.queued_bytes);
        report(parcel, &drawn, settled);
        Ok(drawn.effect)
    }

    /// Works out what the commit holds.
    fn draw(&self, parcel: &Settlement, last: &BTreeMap<u16, Attempt>, now: UnixMs) -> Drawn {
        let Settlement { certificate, held, said } = parcel;
        let certificate = certificate.as_deref();
        let batch = Batch::with_room(1, 2, 8);
        let mut drawn = Drawn { batch, ..Drawn::default() };
        let mut rest = Rest::default();
        let mut results = Vec::with_capacity(said.len());
        let mut entry = Entry::default();
        let mut dead = Vec::new();
        let wanted = self.results.wanted(held.parcel.app);
        let jitter = fastrand::f64();
        for (delivery, said) in held.parcel.deliveries.iter().zip(said) {
            let mut result = StepResult::of(delivery.number);
            describe(said, &mut result);
            telling::sum_up(said, held, &delivery.user, &mut drawn.batch);
            drawn.effect.note(said, was_renewed(certificate, held), &self.settings);
            match self.fate_of(certificate, said, held, now, jitter) {
                Ended(terminal) => {
                    entry.end(terminal);
                    drawn.ended += 1;
                    drawn.terminals.push(terminal);
                    result.ended = Some(terminal);
                    let words = last_answer(said, terminal, &result, last);
                    if let Some(attempt) = words {
                        drawn.sendable.push(terminal);
                        if wanted {
                            self.tell(certificate, held, (delivery, attempt, terminal), &mut drawn);
                        }
                    }
                    if terminal == Terminal::DeadLetter {
                        dead.push((delivery.clone(), words.cloned()));
                    }
                }
                Retried { at, counts } => {
                    let left = rest.add(&held.parcel, delivery, (at, counts));
                    if let Said::Answered { answer, status, .. } = said {
                        match answer.verdict {
                            Verdict::AuthRejected { .. } => {
                                left.renewed = certificate.map_or(0, |cert| cert.info.revision);
                            }
                            // Whoever answers something else let us in. Clocks are a refusal, too.
                            _ if *status != 0 && answer.code != clocks::CODE => left.renewed = 0,
                            _ => {}
                        }
                    }
                    result.retry_at = Some(at);
                }
            }
            if !matches!(said, Said::Postponed { .. }) {
                results.push(result);
            }
        }
        queue::remove(held, &mut drawn.batch);
        for (due, left) in rest.into_parcels() {
            queue::put(left, held.message.clone(), due, &mut drawn.batch);
            let soonest = drawn.effect.waits_until.map_or(due, |known| known.min(due));
            drawn.effect.waits_until = Some(soonest);
        }
        if !results.is_empty() {
            telling::count(certificate, held, &drawn.sendable, &mut drawn.batch);
            let step = Step { at: now, results };
            let order = held.parcel.attempts;
            let id = held.parcel.message_id;
            trace::step(id, held.parcel.number, order, &step, &mut drawn.batch);
        }
        for (delivery, last) in dead {
            dead_letters::add(&held.parcel, delivery, last, now, &mut drawn.batch);
        }
        drawn.queued_bytes = queue::bytes_in(&drawn.batch) - held.row.len() as i64;
        entry.queue_grew(drawn.queued_bytes);
        entry.write(held.parcel.app, &mut drawn.batch);
        drawn
    }
}

fn report(parcel: &Settlement, drawn: &Drawn, settled: &mut events::Settled) {
    let vendor = name_of(parcel.certificate.as_deref());
    let message_id = parcel.held.parcel.message_id;
    for said in &parcel.said {
        if let Said::Answered { answer, .. } = said {
            settled.push_answered(message_id, vendor, answer.verdict.as_str(), &answer.code);
        }
    }
    for terminal in &drawn.terminals {
        settled.delivery_ended(message_id, *terminal);
    }
}

/// What the vendor said last of a delivery that ends so: now, or before it was given up. What no
/// vendor was asked about is no push yet, and has none.
fn last_answer<'a>(
    said: &Said,
    terminal: Terminal,
    now: &'a StepResult,
    before: &'a BTreeMap<u16, Attempt>,
) -> Option<&'a Attempt> {
    match (said, terminal) {
        (Said::Answered { .. }, _) => now.attempt.as_ref(),
        (Said::Refused { .. }, Terminal::DeadLetter) => before.get(&now.delivery),
        _ => None,
    }
}

/// Whether a delivery's life ended while it waited for another try: the vendor failed it, not time.
fn gave_up(said: &Said, held: &Held) -> bool {
    held.parcel.attempts > 0 && matches!(said, Said::Refused { terminal: Terminal::Expired, .. })
}

/// The vendor for metrics; empty when the certificate is gone.
fn name_of(certificate: Option<&Certificate>) -> &'static str {
    certificate.map_or("", |certificate| certificate.vendor.profile().name)
}

/// Tencent's number of the vendor; 0, unknown, when the certificate is gone.
fn platform_of(certificate: Option<&Certificate>) -> u8 {
    certificate.map_or(0, |certificate| certificate.vendor.profile().tencent_platform)
}

/// What a commit will hold and what to tell afterwards.
#[derive(Default)]
struct Drawn {
    batch: Batch,
    effect: Effect,
    ended: i64,
    queued_bytes: i64,
    events: i64,
    terminals: Vec<Terminal>,
    /// Ends of those deliveries that a vendor was asked about.
    sendable: Vec<Terminal>,
}

/// Whether a sign-in with the secret in force was already renewed for this parcel.
pub fn was_renewed(certificate: Option<&Certificate>, held: &Held) -> bool {
    certificate.is_some_and(|cert| cert.info.revision == held.parcel.renewed)
}

/// Writes down what was said.
fn describe(said: &Said, result: &mut StepResult) {
    match said {
        Said::Refused { recheck, .. } => result.refused = Some(recheck.clone()),
        Said::TooLarge { why } => result.attempt = Some(Attempt::too_large(why.clone())),
        Said::Answered { answer, status, latency } => {
            result.attempt = Some(Attempt {
                status: *status,
                code: answer.code.clone(),
                says: answer.says.clone(),
                verdict: answer.verdict.as_str().into(),
                latency_ms: u32::try_from(latency.as_millis()).unwrap_or(u32::MAX),
                vendor_id: answer.vendor_id.clone(),
            });
        }
        Said::Postponed { .. } => {}
    }
}
