//! `kill -9` of the real program under load, again and again: what was answered 202 rings, and what
//! rings twice was at a vendor when the process died.
//!
//! A seed decides when each kill comes; some come while the relay starts. What was not answered is
//! posted again after the start, as a chat server does, so that in the end everything posted was
//! answered 202 and the ledger can be compared to the message. Phones are counted by the simulators
//! and checked against what was accepted; now and then everything is waited for, so that what must
//! be remembered stays bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Value, json};

use crate::bench::bars::{self, Bar};
use crate::bench::course::{grown, is_empty};
use crate::bench::crash::senders::Senders;
use crate::bench::median::median;
use crate::bench::relay::{Relay, Setup};
use crate::bench::report::{plain, right};
use crate::bench::run::Run;
use crate::bench::traffic::{MIX, People};
use crate::bench::vendors::Vendors;
use crate::bench::watch::bar;
use crate::config::sections::Engine;

pub mod senders;

/// Requests at a vendor at a time, per lane: bounds what may ring twice.
const IN_FLIGHT: u64 = 16;

/// Settings for short waits and that bound; what the caller sets comes later and wins.
const SET: [&str; 2] = ["lanes.backoff_base_ms=20", "lanes.in_flight_max=16"];

/// The vendors' answers: a part of them is late, so that a kill meets requests in flight.
const LATE: (f64, u64) = (0.2, 40);

/// A kill comes so long after the load began, in milliseconds.
const KILL_AFTER_MS: std::ops::Range<u64> = 20..1_200;

/// Of so many kills one meets a relay that starts.
const STARTING_ONE_IN: u32 = 5;

/// Such a kill comes so long after the start, in milliseconds.
const STARTING_MS: std::ops::Range<u64> = 0..120;

/// Accepted messages from which on everything is waited for, checked and forgotten. Below what
/// phones remember ([`crate::sim::phones::SHOWN_MAX`]) and what one answer can hold.
const CHECK_EVERY: usize = 10_000;

/// The study on one engine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Crash {
    /// Engine.
    pub engine: String,
    /// What decided when the kills came.
    pub seed: u64,
    /// Kills in all.
    pub kills: u32,
    /// Of those, while the relay started.
    pub kills_starting: u32,
    /// Messages answered 202.
    pub accepted: u64,
    /// Messages that got no answer and were posted again.
    pub posted_again: u64,
    /// Accepted messages that rang nowhere.
    pub lost: u64,
    /// Rings beyond the first of a message.
    pub repeats: u64,
    /// From the start of the process until it listened, the middle, in milliseconds.
    pub listening_ms: f64,
    /// The longest.
    pub listening_ms_max: f64,
    /// How long all took, in seconds.
    pub seconds: f64,
    /// Whether the ledger balanced after every start, and in the end was empty and held exactly
    /// what was accepted, all of it pushed.
    pub ledger_right: bool,
    /// What is asked of it.
    pub bars: Vec<Bar>,
    /// What was wrong; `None` when nothing was.
    pub says: Option<String>,
}

/// Ids of the rings of each text.
type Rings = HashMap<String, Vec<Option<String>>>;

/// A run on one engine.
struct Killing {
    setup: Setup,
    vendors: Vendors,
    random: fastrand::Rng,
    senders: Arc<Senders>,
    /// Ids of the rings of each text that was not accepted yet: a message that was accepted without
    /// an answer rings before it is posted again.
    rings: Rings,
    found: Crash,
    starts_ms: Vec<f64>,
    wrong: Vec<String>,
}

impl Run {
    /// Kills the relay as often as the plan says, on one engine.
    ///
    /// # Errors
    /// When a part fails in a way that is no answer to the question.
    pub async fn crash(&mut self, engine: Engine) -> anyhow::Result<Crash> {
        let (kills, seed) = (self.plan.kills, self.plan.seed);
        let began = Instant::now();
        let set = SET.map(str::to_owned).into_iter().chain(self.plan.set.clone()).collect();
        let setup = Setup::new(engine, self.plan.cores.relay, set)?;
        // Phones of the people that other measurements use must not be mixed in: own simulators.
        eprintln!("{}: {kills} kills, --seed {seed}", engine.as_str());
        let others = Vendors::start(self.plan.cores.sims, true).await?;
        let vendors = std::mem::replace(&mut self.vendors, others);
        let relay = self.furnish(&setup, People { apns: 2, certificates: 1 }).await;
        let recording = std::mem::replace(&mut self.vendors, vendors);
        let mut killing = Killing {
            setup,
            vendors: recording,
            random: fastrand::Rng::with_seed(seed),
            senders: Arc::new(Senders::default()),
            rings: Rings::new(),
            found: Crash { engine: engine.as_str().to_owned(), seed, ..Crash::default() },
            starts_ms: Vec::new(),
            wrong: Vec::new(),
        };
        for vendor in MIX {
            let late = json!({ "delay_ms": LATE.1 });
            killing.vendors.fault(vendor, late, LATE.0).await?;
        }
        let progress = bar(&format!("{}: kills", engine.as_str()), u64::from(kills));
        let done = killing.run(relay?, kills, &progress).await;
        progress.finish_and_clear();
        if let Err(error) = done {
            let kept = killing.setup.keep();
            let kills = killing.found.kills;
            let what = format!("seed {seed}, after kill {kills}; its data: {}", kept.display());
            return Err(error.context(what));
        }
        let mut found = killing.end();
        found.seconds = began.elapsed().as_secs_f64();
        Ok(found)
    }
}

impl Killing {
    async fn run(
        &mut self,
        relay: Relay,
        kills: u32,
        progress: &ProgressBar,
    ) -> anyhow::Result<()> {
        let (before, _) = relay.settled(0).await?;
        let mut relay = Some(relay);
        while self.found.kills < kills {
            let running = match relay.take() {
                Some(relay) => relay,
                None => self.begin().await?,
            };
            if self.senders.accepted() >= CHECK_EVERY {
                self.check(&running).await?;
            }
            let load = self.senders.clone().post_to(&running.host, &running.key);
            let after = Duration::from_millis(self.random.u64(KILL_AFTER_MS));
            tokio::time::sleep(after).await;
            running.kill().await?;
            self.found.kills += 1;
            load.ended().await?;
            if self.found.kills < kills && self.random.u32(..STARTING_ONE_IN) == 0 {
                self.kill_starting().await?;
            }
            progress.set_position(u64::from(self.found.kills));
        }
        let relay = self.begin().await?;
        self.senders.post_open(&relay.host, &relay.key).await?;
        let after = self.check(&relay).await?;
        self.compare(&before, &after);
        relay.stop().await
    }

    /// Starts the relay again, and looks at its ledger.
    async fn begin(&mut self) -> anyhow::Result<Relay> {
        let began = Instant::now();
        let relay = self.setup.start(&self.vendors).await?;
        self.starts_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
        let ledger = relay.ledger().await?;
        if ledger["balanced"] != true {
            self.wrong.push(format!("after kill {}: {ledger}", self.found.kills));
        }
        Ok(relay)
    }

    async fn kill_starting(&mut self) -> anyhow::Result<()> {
        let part = self.setup.launch(&self.vendors)?;
        tokio::time::sleep(Duration::from_millis(self.random.u64(STARTING_MS))).await;
        part.kill().await?;
        self.found.kills += 1;
        self.found.kills_starting += 1;
        Ok(())
    }

    /// Waits until nothing is in flight, and compares what rang with what was accepted.
    async fn check(&mut self, relay: &Relay) -> anyhow::Result<Value> {
        let (ledger, _) = relay.settled(0).await?;
        for vendor in MIX {
            for shown in self.vendors.shown(vendor).await? {
                self.rings.entry(shown.body).or_default().push(shown.push_id);
            }
        }
        self.vendors.forget().await?;
        let accepted = self.senders.take_accepted();
        let tally = tally(&accepted, &mut self.rings);
        self.found.accepted += accepted.len() as u64;
        self.found.lost += tally.lost.len() as u64;
        self.found.repeats += tally.repeats;
        if !tally.lost.is_empty() {
            self.wrong.push(format!("never rang: {:?}", tally.lost));
        }
        if !tally.other_ids.is_empty() {
            self.wrong.push(format!("rang again with another id: {:?}", tally.other_ids));
        }
        Ok(ledger)
    }

    /// Compares the ledger with what was accepted, now that nothing is open.
    fn compare(&mut self, before: &Value, after: &Value) {
        let accepted = self.found.accepted;
        let counted = grown(before, after, "/accepted");
        let pushed = grown(before, after, "/terminals/pushed");
        if !self.rings.is_empty() {
            self.wrong.push(format!("rang but was never accepted: {:?}", self.rings.keys()));
        }
        if !is_empty(after) || counted != accepted || pushed != accepted {
            self.wrong.push(format!("{accepted} accepted, but the ledger says {after}"));
        }
    }

    fn end(mut self) -> Crash {
        let mut found = self.found;
        found.posted_again = self.senders.posted_again();
        found.listening_ms = median(self.starts_ms.iter().copied());
        found.listening_ms_max = self.starts_ms.iter().copied().fold(0.0, f64::max);
        let at_vendors = u64::from(found.kills) * IN_FLIGHT * MIX.len() as u64;
        found.bars = vec![
            Bar::most("lost", found.lost as f64, 0.0),
            Bar::most("repeats", found.repeats as f64, at_vendors as f64),
        ];
        if found.repeats > at_vendors {
            self.wrong.push(format!("more than {at_vendors} repeats"));
        }
        found.ledger_right = self.wrong.is_empty();
        if !self.wrong.is_empty() {
            let folder = self.setup.keep();
            self.wrong.push(format!("the relay's data is kept in {}", folder.display()));
            found.says = Some(self.wrong.join("\n"));
        }
        found
    }
}

/// What a comparison of rings with accepted messages shows.
struct Tally {
    lost: Vec<String>,
    repeats: u64,
    other_ids: Vec<String>,
}

/// Compares rings with the texts that were accepted, and takes those out.
fn tally(accepted: &[String], rings: &mut Rings) -> Tally {
    let mut tally = Tally { lost: Vec::new(), repeats: 0, other_ids: Vec::new() };
    for text in accepted {
        let Some(ids) = rings.remove(text) else {
            tally.lost.push(text.clone());
            continue;
        };
        tally.repeats += ids.len() as u64 - 1;
        if ids.iter().any(|id| id.is_none() || *id != ids[0]) {
            tally.other_ids.push(text.clone());
        }
    }
    tally
}

impl Crash {
    /// For people.
    pub fn table(&self) -> String {
        let mut table = plain(&[
            "KILLS",
            "STARTING",
            "ACCEPTED",
            "POSTED AGAIN",
            "LOST",
            "REPEATS",
            "LISTENS ms middle/most",
            "LEDGER",
            "BARS",
        ]);
        table.add_row(vec![
            self.kills.to_string(),
            self.kills_starting.to_string(),
            self.accepted.to_string(),
            self.posted_again.to_string(),
            self.lost.to_string(),
            self.repeats.to_string(),
            format!("{:.0} / {:.0}", self.listening_ms, self.listening_ms_max),
            right(self.ledger_right),
            bars::cell(&self.bars),
        ]);
        let says = self.says.as_deref().map(|says| format!("\n{says}")).unwrap_or_default();
        format!(
            "crash on {}, seed {}, {:.0} s\n\n{table}{says}",
            self.engine, self.seed, self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rang_is_compared_with_what_was_accepted() {
        let id = |id: &str| Some(id.to_owned());
        let mut rings = Rings::from([
            ("once".to_owned(), vec![id("a")]),
            ("twice".to_owned(), vec![id("b"), id("b")]),
            ("otherwise".to_owned(), vec![id("c"), id("d")]),
            ("not answered".to_owned(), vec![id("e")]),
            ("without an id".to_owned(), vec![None]),
        ]);
        let accepted = ["once", "twice", "otherwise", "without an id", "never"];
        let accepted = accepted.map(str::to_owned);
        let tally = tally(&accepted, &mut rings);
        assert_eq!(tally.lost, ["never"]);
        assert_eq!(tally.repeats, 2);
        assert_eq!(tally.other_ids, ["otherwise", "without an id"]);
        assert_eq!(rings.into_keys().collect::<Vec<_>>(), ["not answered"]);
    }
}
