//! One seed drives everything: messages, repeats, account switches, dying tokens, vendor faults,
//! jumps of the clock, store faults, stops and crashes. After each seed the promises are checked.
//!
//! `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` the first n, `SLOW_TESTS=1` thousands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use offpush::model::time::UnixMs;
use offpush::sim::phones::TokenLife;
use offpush::store::faulty::{Fault, FaultyStore};
use serde_json::{Value, json};

use crate::faults::fault;
use crate::harness::{Relay, VENDORS, text, token_of, until};
use crate::stage::Stage;

/// Seeds of a run in CI, one to two minutes.
const SEEDS: u64 = 200;

/// Seeds of a long run.
const SEEDS_SLOW: u64 = 3_000;

/// Steps of one seed.
const STEPS: usize = 40;

/// The phone that changes hands, and its two users.
const SHARED: &str = "shared-phone";
const HANDS: [&str; 2] = ["left", "right"];

/// Says how to run a seed again when it fails.
struct Again(u64);

impl Drop for Again {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again: SIM_SEED={} cargo test --test it simulation::", self.0);
        }
    }
}

/// One seed's world.
struct World {
    stage: Stage,
    random: fastrand::Rng,
    view: Arc<FaultyStore>,
    relay: Relay,
    certificates: BTreeMap<&'static str, u64>,
    /// Whether vendors and store behave and nothing crashes.
    calm: bool,
    posted: Vec<Value>,
    accepted: BTreeMap<String, Value>,
    /// Since when the shared phone is whose.
    owners: Vec<(UnixMs, &'static str)>,
    dead: BTreeSet<&'static str>,
}

impl World {
    async fn new(seed: u64) -> World {
        let stage = Stage::new(|settings| settings.lanes.breaker_failures = 4).await;
        let view = stage.view();
        let relay = stage.try_start(&view).await.expect("a relay");
        let app = json!({ "name": "simulation" });
        relay.admin.put(&relay.path(""), &app).await;
        let mut certificates = BTreeMap::new();
        for vendor in VENDORS {
            let cert_id = relay.certificate(&stage.sims, vendor).await;
            relay.device(vendor, vendor, cert_id, 1).await;
            certificates.insert(vendor, cert_id);
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let calm = random.u8(0..4) == 0;
        let mut world = World {
            stage,
            random,
            view,
            relay,
            certificates,
            calm,
            posted: Vec::new(),
            accepted: BTreeMap::new(),
            owners: Vec::new(),
            dead: BTreeSet::new(),
        };
        world.log_in(HANDS[0]).await;
        world
    }

    async fn log_in(&mut self, user: &'static str) {
        let path = self.relay.path(&format!("/users/{user}/devices/phone"));
        let body = json!({ "cert_id": self.certificates["huawei"], "token": SHARED,
            "platform": "android" });
        self.relay.admin.put(&path, &body).await;
        self.owners.push((self.stage.clock.now(), user));
    }

    /// The phone changes hands while nothing is at its vendor: what is there already cannot be
    /// called back.
    async fn switch(&mut self) {
        self.view.restart();
        let cert_id = self.certificates["huawei"];
        self.pause(cert_id, true).await;
        until("nothing is at the vendor", async || {
            let lanes = self.relay.admin.get("/v1/lanes").await;
            let lanes = lanes["lanes"].as_array().expect("lanes").clone();
            lanes.iter().all(|lane| lane["cert_id"] != cert_id || lane["in_flight"] == 0)
        })
        .await;
        let old = self.owners.last().expect("an owner").1;
        let new = if old == HANDS[0] { HANDS[1] } else { HANDS[0] };
        self.log_in(new).await;
        self.pause(cert_id, false).await;
    }

    async fn pause(&self, cert_id: u64, paused: bool) {
        let word = if paused { "pause" } else { "resume" };
        self.relay.admin.post(&format!("/v1/lanes/{cert_id}/{word}"), &json!({})).await;
    }

    async fn post(&mut self, message: Value) {
        let path = self.relay.path("/messages");
        let Some(answer) = self.relay.admin.try_post(&path, &message).await else { return };
        if answer.status == 202 && answer.body["results"][0]["status"] == "accepted" {
            let id = answer.body["results"][0]["message_id"].clone();
            self.accepted.insert(id.as_str().expect("an id").to_owned(), message);
        }
    }

    fn message(&mut self) -> Value {
        let users: Vec<&str> = VENDORS.into_iter().chain(HANDS).collect();
        let number = u32::try_from(self.posted.len()).expect("few");
        let user = users[self.random.usize(..users.len())];
        let mut message = text("mina", user, number, &format!("{number} for {user}"));
        if self.random.u8(0..4) == 0 {
            message["GroupId"] = json!("all");
            message["To_Account"] = json!(users);
            message["MsgBody"][0]["MsgContent"]["Text"] = json!(format!("{number} for all"));
        }
        if self.random.u8(0..3) == 0 {
            message["MsgLifeTime"] = json!(self.random.u32(1..120));
        }
        message
    }

    fn vendor_fault(&mut self) {
        let actions = [
            json!({ "status": 500 }),
            json!({ "status": 503, "retry_after": 3 }),
            json!({ "status": 429, "retry_after": 5 }),
            json!({ "reset_before": true }),
            json!({ "reset_after": true }),
            json!({ "answer": "truncated" }),
            json!({ "goaway": true }),
            json!({ "reset_stream": 7 }),
            json!({ "delay_ms": 5 }),
            json!({ "half_close": true }),
            json!({ "goaway_before_next": "{\"reason\":\"Shutdown\"}" }),
            json!({ "streams": 1 }),
            json!({ "tls": "unknown_ca" }),
            json!({ "tls": "reset" }),
        ];
        let action = actions[self.random.usize(..actions.len())].clone();
        let share = self.random.f64();
        let times = self.random.u64(1..20);
        let seed = self.random.u64(..);
        let vendor = VENDORS[self.random.usize(..VENDORS.len())];
        fault(
            &self.stage,
            json!({ "vendor": vendor, "action": action,
                "match": { "times": times, "probability": share, "seed": seed } }),
        );
    }

    fn store_fault(&mut self) {
        let faults = [Fault::Unavailable, Fault::AnswerLost, Fault::Full];
        let number = self.view.calls() + self.random.u64(1..30);
        self.view.fail_call(number, faults[self.random.usize(..faults.len())]);
    }

    async fn start_again(&mut self, crash: bool) {
        if crash {
            self.view.crash();
            if let Some(app) = self.relay.app.take() {
                app.abandon().await;
            }
        } else {
            self.relay.stop().await;
        }
        self.view = self.stage.view();
        self.relay = self.stage.try_start(&self.view).await.expect("a relay");
    }

    async fn step(&mut self) {
        match self.random.u8(0..20) {
            0..10 => {
                let message = self.message();
                self.posted.push(message.clone());
                self.post(message).await;
            }
            10..12 if !self.posted.is_empty() => {
                let old = self.posted[self.random.usize(..self.posted.len())].clone();
                self.post(old).await;
            }
            12..14 => {
                let span = Duration::from_millis(self.random.u64(1..20_000));
                self.stage.pass(&self.relay, span);
            }
            14 => self.switch().await,
            15 => {
                let vendor = VENDORS[self.random.usize(..VENDORS.len())];
                let since = self.stage.clock.now();
                let token = token_of(vendor, vendor, 1);
                let phones = self.stage.sims.server.phones();
                phones.set_life(vendor, &token, TokenLife::Dead { since });
                self.dead.insert(vendor);
            }
            16 => self.start_again(false).await,
            17 if !self.calm => self.start_again(true).await,
            18 if !self.calm => self.vendor_fault(),
            19 if !self.calm => self.store_fault(),
            _ => {
                let vendor = VENDORS[self.random.usize(..VENDORS.len())];
                self.view.restart();
                let path = format!("/certificates/{}", self.certificates[vendor]);
                let credential = self.stage.sims.upload(vendor)["credential"].clone();
                let body = json!({ "credential": credential });
                self.relay.admin.put(&self.relay.path(&path), &body).await;
            }
        }
    }

    /// Heals everything, lets the relay work off what is left, and checks.
    async fn finish(mut self) -> (usize, usize) {
        self.stage.sims.server.faults().clear();
        self.view.restart();
        self.stage.settle(&self.relay, Duration::from_secs(2)).await;
        for (message_id, message) in &self.accepted {
            let explained = self.relay.explain(&json!(message_id)).await;
            for delivery in explained["deliveries"].as_array().expect("deliveries") {
                self.check_delivery(message, delivery);
            }
        }
        self.check_owners();
        let repeats = self.check_repeats();
        self.check_dead().await;
        let accepted = self.accepted.len();
        self.relay.stop().await;
        (accepted, repeats)
    }

    /// What ended as pushed has rung.
    fn check_delivery(&self, message: &Value, delivery: &Value) {
        assert_ne!(delivery["state"], "in_flight", "{delivery:#}");
        if delivery["state"] == "pushed" {
            let body = &message["MsgBody"][0]["MsgContent"]["Text"];
            let user = delivery["user"].as_str().expect("a user");
            let (vendor, token) = match VENDORS.iter().find(|vendor| **vendor == user) {
                Some(vendor) => (*vendor, token_of(vendor, vendor, 1)),
                None => ("huawei", SHARED.to_owned()),
            };
            let shown = self.stage.sims.server.phones().shown(Some(vendor), Some(&token));
            assert!(shown.iter().any(|shown| json!(shown.body) == *body), "{delivery:#}");
        }
    }

    /// Nothing for the old account reached the phone after the switch.
    fn check_owners(&self) {
        for shown in self.stage.sims.server.phones().shown(Some("huawei"), Some(SHARED)) {
            let owner = self.owners.iter().rev().find(|(since, _)| *since <= shown.at);
            let owner = owner.expect("somebody owned it").1;
            let meant = shown.body.ends_with(owner) || shown.body.ends_with("all");
            assert!(meant, "{} at {} while {owner} had the phone", shown.body, shown.at);
        }
    }

    /// Repeats carry one id, and there are none while everybody behaves.
    fn check_repeats(&self) -> usize {
        let mut rings: BTreeMap<(String, String), usize> = BTreeMap::new();
        for vendor in VENDORS {
            for shown in self.stage.sims.shown(vendor) {
                let push_id = shown.push_id.expect("an id");
                *rings.entry((shown.token, push_id)).or_default() += 1;
            }
        }
        let repeats = rings.values().map(|times| times - 1).sum();
        assert!(!self.calm || repeats == 0, "{repeats} repeats although nothing went wrong");
        repeats
    }

    /// A token that was retired is not used again.
    async fn check_dead(&self) {
        for vendor in &self.dead {
            let path = self.relay.path(&format!("/users/{vendor}/devices"));
            let devices = self.relay.admin.get(&path).await;
            if !devices["devices"][0]["token_state"].to_string().contains("dead") {
                continue;
            }
            let requests = self.stage.sims.server.phones().requests(vendor);
            let taken = self.relay.send(&text("mina", vendor, 999_999, "to nobody")).await;
            let explained = self.relay.settled(&taken["message_id"]).await;
            assert_eq!(explained["deliveries"][0]["reason"], "token_dead");
            assert_eq!(self.stage.sims.server.phones().requests(vendor), requests);
        }
    }
}

async fn run(seed: u64) -> (usize, usize) {
    let _again = Again(seed);
    let mut world = World::new(seed).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_the_promises_hold() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let only = number("SIM_SEED");
    let slow = std::env::var_os("SLOW_TESTS").is_some();
    let seeds = match only {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(if slow { SEEDS_SLOW } else { SEEDS }),
    };
    let (count, mut accepted, mut repeats) = (seeds.end - seeds.start, 0, 0);
    for seed in seeds {
        let (took, again) = run(seed).await;
        accepted += took;
        repeats += again;
    }
    println!("simulation: {count} seeds, {accepted} accepted, 0 lost, {repeats} repeats");
}
