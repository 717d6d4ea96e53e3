//! `kill -9` of the real program under load, again and again: every message that was answered 202
//! reaches its phone, and what rings twice was at a vendor when the process died.
//!
//! Nothing is timed: a kill follows after a seeded number of accepted messages. `SLOW_TESTS=1` runs
//! 50 kills per engine, `KILL_SEED` chooses another seed.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use offpush::config::Settings;
use offpush::config::sections::Engine;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

use crate::harness::{ADMIN, APP, Caller, Sims, VENDORS, text, token_of};

/// Requests that are posted at a time.
const SENDERS: usize = 8;

/// Most deliveries at a vendor at a time, per lane: bounds what may ring twice.
const IN_FLIGHT: usize = 16;

/// Tries before a queue that never empties is called a failure.
const TRIES_MAX: usize = 200_000;

/// One running program.
struct Program {
    child: Child,
    admin: Caller,
}

impl Program {
    /// Starts `offpush serve` and waits until it says where it listens.
    async fn start(config: &Path) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_offpush"))
            .args(["serve", "--config"])
            .arg(config)
            .env("OFFPUSH_ADMIN_KEY", ADMIN)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the program");
        let stdout = child.stdout.take().expect("its output");
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next_line().await.expect("a line").expect("a line, not the end");
        let address = line.strip_prefix("listening on ").expect("the address").to_owned();
        Program { child, admin: Caller::new(&address, Some(ADMIN)) }
    }

    /// `kill -9`.
    async fn kill(mut self) {
        self.child.kill().await.expect("it runs until it is killed");
    }
}

/// What the senders share.
#[derive(Default)]
struct Load {
    next: AtomicU32,
    accepted: Mutex<HashMap<String, String>>,
    unanswered: AtomicUsize,
    count: AtomicUsize,
    wake: Notify,
}

impl Load {
    /// Posts until the program is gone.
    async fn post(self: Arc<Self>, admin: Caller) {
        let path = format!("/v1/apps/{APP}/messages");
        loop {
            let random = self.next.fetch_add(1, Ordering::Relaxed);
            let vendor = VENDORS[random as usize % VENDORS.len()];
            let body = format!("message {random}");
            let message = text("mina", vendor, random, &body);
            match admin.try_post(&path, &message).await {
                Some(answer) if answer.status == 202 => {
                    let mut accepted = self.accepted.lock().expect("no sender panics");
                    accepted.insert(body, vendor.to_owned());
                    self.count.store(accepted.len(), Ordering::Relaxed);
                    drop(accepted);
                    self.wake.notify_one();
                }
                _ => {
                    self.unanswered.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    /// Waits until this many are accepted in all.
    async fn reaches(&self, count: usize) {
        while self.count.load(Ordering::Relaxed) < count {
            self.wake.notified().await;
        }
    }
}

/// The settings as a file for the program.
fn write_config(settings: &Settings, path: &Path) {
    let mut text = format!(
        "listen = \"127.0.0.1:0\"\ndata_dir = {:?}\ncerts_dir = {:?}\n\
         [store]\nengine = \"{}\"\n[lanes]\nbackoff_base_ms = 20\nin_flight_max = {IN_FLIGHT}\n\
         [vendors]\nca_file = {:?}\n",
        settings.data_dir,
        settings.certs_dir,
        settings.store.engine.as_str(),
        settings.vendors.ca_file.clone().unwrap_or_else(PathBuf::new),
    );
    for (vendor, endpoints) in &settings.vendors.endpoints {
        text.push_str(&format!("[vendors.{vendor}]\n"));
        for (name, url) in endpoints {
            text.push_str(&format!("{name} = {url:?}\n"));
        }
    }
    std::fs::write(path, text).expect("the settings");
}

/// One certificate and one device of a user named after each vendor.
async fn prepare(admin: &Caller, sims: &Sims) {
    let base = format!("/v1/apps/{APP}");
    admin.put(&base, &json!({ "name": "tests" })).await;
    for vendor in VENDORS {
        let made = admin.post(&format!("{base}/certificates"), &sims.upload(vendor)).await;
        let platform = if vendor == "apns" { "ios" } else { "android" };
        let body = json!({ "cert_id": made["cert_id"], "platform": platform,
            "token": token_of(vendor, vendor, 1) });
        admin.put(&format!("{base}/users/{vendor}/devices/phone"), &body).await;
    }
}

/// Waits until nothing is in flight; answers the ledger.
async fn emptied(admin: &Caller) -> Value {
    for _ in 0..TRIES_MAX {
        let ledger = admin.get("/v1/ledger").await;
        assert_eq!(ledger["balanced"], true, "{ledger}");
        if ledger["in_flight"] == 0 {
            return ledger;
        }
    }
    panic!("never empty: {}", admin.get("/v1/ledger").await);
}

/// Checks the phones; answers how many rings were repeats.
fn check_phones(sims: &Sims, load: &Load) -> usize {
    let mut rings: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    for vendor in VENDORS {
        for shown in sims.shown(vendor) {
            rings.entry(shown.body).or_default().push(shown.push_id);
        }
    }
    let accepted = load.accepted.lock().expect("no sender panics");
    let lost: Vec<_> = accepted.keys().filter(|body| !rings.contains_key(*body)).collect();
    assert!(lost.is_empty(), "{} accepted messages never rang: {lost:?}", lost.len());
    for (body, ids) in &rings {
        assert!(ids.iter().all(|id| id.is_some() && *id == ids[0]), "{body}: {ids:?}");
    }
    rings.values().map(|ids| ids.len() - 1).sum()
}

async fn survives_kills(engine: Engine, kills_in_ci: usize) {
    let slow = std::env::var_os("SLOW_TESTS").is_some();
    let kills = if slow { 50 } else { kills_in_ci };
    let seed = std::env::var("KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut random = fastrand::Rng::with_seed(seed);
    let sims = Sims::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("offpush.toml");
    write_config(&sims.settings(folder.path(), engine), &config);
    let load = Arc::new(Load::default());
    let mut program = Program::start(&config).await;
    prepare(&program.admin, &sims).await;
    for _ in 0..kills {
        let senders: Vec<_> =
            (0..SENDERS).map(|_| tokio::spawn(load.clone().post(program.admin.clone()))).collect();
        let more = random.usize(5..120);
        load.reaches(load.count.load(Ordering::Relaxed) + more).await;
        program.kill().await;
        for sender in senders {
            sender.await.expect("a sender");
        }
        program = Program::start(&config).await;
    }
    let ledger = emptied(&program.admin).await;
    let (accepted, open) =
        (load.count.load(Ordering::Relaxed), load.unanswered.load(Ordering::Relaxed));
    let repeats = check_phones(&sims, &load);
    assert!(repeats <= kills * IN_FLIGHT * VENDORS.len(), "{repeats} repeats");
    let pushed = ledger["terminals"]["pushed"].as_u64().expect("pushed") as usize;
    assert!((accepted..=accepted + open).contains(&pushed), "{ledger}, {accepted} accepted");
    assert_eq!(ledger["accepted"], json!(pushed), "every one of them was pushed");
    println!(
        "kill: {} seed {seed}: {kills} kills, {accepted} accepted, 0 lost, {repeats} repeats",
        engine.as_str()
    );
    program.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_program_on_sled_loses_nothing() {
    survives_kills(Engine::Sled, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_program_on_redb_loses_nothing() {
    survives_kills(Engine::Redb, 3).await;
}
