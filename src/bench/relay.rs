//! The relay under measurement: our own process, or one that runs elsewhere.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bench::process::Part;
use crate::bench::procfs::{self, Usage};
use crate::bench::traffic::{APP, People};
use crate::bench::vendors::Vendors;
use crate::cli::client::{Client, ClientError, path};
use crate::config::sections::Engine;
use crate::config::{ADMIN_KEY_VARIABLE, SECRET_KEY_VARIABLE};

/// Longest wait for one answer of the API.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Longest time in which the deliveries in flight do not become fewer.
const STUCK_MAX: Duration = Duration::from_secs(180);

/// Between two questions whether a relay that starts takes messages.
const READY_EVERY: Duration = Duration::from_millis(2);

/// Longest start.
const START_MAX: Duration = Duration::from_secs(600);

/// How to start a relay of our own.
pub struct Setup {
    /// Engine of its store.
    pub engine: Engine,
    /// Its folder.
    pub folder: TempDir,
    /// Its key.
    pub key: String,
    /// Its core.
    pub core: Option<usize>,
    /// Further settings, `key=value`.
    pub set: Vec<String>,
}

/// A relay.
pub struct Relay {
    part: Option<Part>,
    /// Host and port.
    pub host: String,
    /// Its key.
    pub key: String,
    /// Client of its API.
    pub client: Client,
    folder: Option<PathBuf>,
}

impl Setup {
    /// A relay in a new folder, on this core, with these settings.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(engine: Engine, core: Option<usize>, set: Vec<String>) -> anyhow::Result<Setup> {
        let folder = tempfile::Builder::new().prefix("offpush-bench-").tempdir()?;
        let key = format!("{:032x}", fastrand::u128(..));
        Ok(Setup { engine, folder, key, core, set })
    }

    /// Keeps the folder after the run; answers where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// Where its store is.
    pub fn store_folder(&self) -> PathBuf {
        self.folder.path().join("data").join("store")
    }

    fn write(&self, vendors: &Vendors) -> anyhow::Result<PathBuf> {
        let folder = self.folder.path();
        let ca_file = folder.join("ca.pem");
        std::fs::write(&ca_file, &vendors.ca_pem)?;
        let mut text = format!(
            "listen = \"127.0.0.1:0\"\ndata_dir = {:?}\ncerts_dir = {:?}\n\
             [http]\nkey_requests_per_s = 0\n[store]\nengine = \"{}\"\n[log]\nlevel = \"warn\"\n\
             [vendors]\nca_file = {:?}\n",
            folder.join("data"),
            folder.join("certs"),
            self.engine.as_str(),
            ca_file,
        );
        for (listener, endpoint) in vendors.endpoints.as_object().into_iter().flatten() {
            if listener.ends_with("_sandbox") {
                continue;
            }
            text.push_str(&format!("[vendors.{listener}]\n"));
            for (name, url) in endpoint.as_object().into_iter().flatten() {
                text.push_str(&format!("{name} = {url}\n"));
            }
        }
        let file = folder.join("offpush.toml");
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// Begins to start it.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn launch(&self, vendors: &Vendors) -> anyhow::Result<Part> {
        let file = self.write(vendors)?.to_string_lossy().into_owned();
        let mut args = vec!["serve".to_owned(), "--config".to_owned(), file];
        args.extend(self.set.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
        // People are registered before its first start, so its store is there already: beside one
        // no secret key is made.
        let secret = format!("{0}{0}", self.key);
        let variables =
            [(ADMIN_KEY_VARIABLE, self.key.as_str()), (SECRET_KEY_VARIABLE, secret.as_str())];
        Part::start("the relay", self.core, &args, &variables)
    }

    /// Starts it; returns when it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(&self, vendors: &Vendors) -> anyhow::Result<Relay> {
        let mut part = self.launch(vendors)?;
        let line = part.line().await?;
        let url = line.rsplit(' ').next().unwrap_or_default().to_owned();
        let mut relay = Relay::at(&url, &self.key)?;
        relay.part = Some(part);
        relay.folder = Some(self.folder.path().join("data"));
        Ok(relay)
    }
}

impl Relay {
    /// A relay that runs already.
    ///
    /// # Errors
    /// When the address cannot be one.
    pub fn at(url: &str, key: &str) -> anyhow::Result<Relay> {
        let host = url.trim_end_matches('/').strip_prefix("http://");
        let host = host.with_context(|| format!("`{url}` does not start with http://"))?;
        Ok(Relay {
            part: None,
            host: host.to_owned(),
            key: key.to_owned(),
            client: Client::new(url, Some(key), None, TIMEOUT)?,
            folder: None,
        })
    }

    /// Creates the app and uploads every certificate of the people. On a relay elsewhere they may
    /// be there from an earlier run: then they get the credentials of today's simulators.
    ///
    /// # Errors
    /// The API's.
    pub async fn prepare(&self, vendors: &Vendors, people: People) -> anyhow::Result<()> {
        let app = APP.to_string();
        self.client.put(&path(&["v1", "apps", &app]), &json!({ "name": "bench" })).await?;
        for (cert_id, vendor) in people.certificates() {
            let mut upload = vendors.credentials[vendor][0].clone();
            upload["cert_id"] = json!(cert_id);
            upload["name"] = json!(format!("{vendor} {cert_id}"));
            let at = path(&["v1", "apps", &app, "certificates"]);
            match self.client.post(&at, &upload).await {
                Err(ClientError::Refused(no)) if no.code == "cert_id_taken" => {
                    self.rotate(cert_id, &upload["credential"]).await?;
                }
                made => {
                    made.with_context(|| format!("upload certificate {cert_id} ({vendor})"))?;
                }
            }
        }
        Ok(())
    }

    /// Pauses or resumes every lane of the people.
    ///
    /// # Errors
    /// The API's.
    pub async fn pause(&self, people: People, paused: bool) -> anyhow::Result<()> {
        let verb = if paused { "pause" } else { "resume" };
        for (cert_id, _) in people.certificates() {
            let path = path(&["v1", "lanes", &cert_id.to_string(), verb]);
            self.client.post(&path, &Value::Null).await?;
        }
        Ok(())
    }

    /// The ledger now.
    ///
    /// # Errors
    /// The API's.
    pub async fn ledger(&self) -> anyhow::Result<Value> {
        Ok(self.client.get("/v1/ledger").await?)
    }

    /// Gives a certificate another credential.
    ///
    /// # Errors
    /// The API's.
    pub async fn rotate(&self, cert_id: u32, credential: &Value) -> anyhow::Result<()> {
        let path = path(&["v1", "apps", &APP.to_string(), "certificates", &cert_id.to_string()]);
        let body = json!({ "credential": credential });
        self.client.put(&path, &body).await.context("rotate a certificate")?;
        Ok(())
    }

    /// Waits until it takes messages (`/readyz`); answers when that was.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn ready(&self) -> anyhow::Result<Instant> {
        let started = Instant::now();
        loop {
            match self.client.get("/readyz").await {
                Ok(_) => return Ok(Instant::now()),
                Err(error) => {
                    anyhow::ensure!(started.elapsed() < START_MAX, "never ready: {error}");
                }
            }
            tokio::time::sleep(READY_EVERY).await;
        }
    }

    /// Waits until at most `left` deliveries are in flight; answers the ledger and when that was.
    ///
    /// # Errors
    /// The API's, or that they do not become fewer.
    pub async fn settled(&self, left: i64) -> anyhow::Result<(Value, Instant)> {
        let (mut fewest, mut since) = (i64::MAX, Instant::now());
        loop {
            let ledger = self.ledger().await?;
            let now = Instant::now();
            let in_flight = ledger["in_flight"].as_i64().unwrap_or(i64::MAX);
            if in_flight <= left {
                return Ok((ledger, now));
            }
            if in_flight < fewest {
                (fewest, since) = (in_flight, now);
            }
            anyhow::ensure!(since.elapsed() < STUCK_MAX, "never settled: {ledger}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What its process used so far; `None` for a relay elsewhere.
    pub fn usage(&self) -> Option<Usage> {
        self.pid().map(Usage::of)
    }

    /// Its process, if it is ours.
    pub fn pid(&self) -> Option<u32> {
        self.part.as_ref().map(Part::pid)
    }

    /// Memory it has in use, in bytes; 0 for a relay elsewhere.
    pub fn memory_bytes(&self) -> u64 {
        self.pid().map_or(0, procfs::memory_bytes)
    }

    /// Most memory it had in use since it started, in bytes; 0 for a relay elsewhere.
    pub fn memory_peak_bytes(&self) -> u64 {
        self.pid().map_or(0, procfs::memory_peak_bytes)
    }

    /// Bytes of its data on disk; 0 for a relay elsewhere.
    pub fn disk_bytes(&self) -> u64 {
        self.folder.as_deref().map_or(0, procfs::disk_bytes)
    }

    /// Where its data is, if it is ours.
    pub fn folder(&self) -> Option<PathBuf> {
        self.folder.clone()
    }

    /// `kill -9`, if it is ours.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub async fn kill(self) -> anyhow::Result<()> {
        match self.part {
            Some(part) => part.kill().await,
            None => Ok(()),
        }
    }

    /// Stops it, if it is ours.
    ///
    /// # Errors
    /// When it does not stop in order.
    pub async fn stop(self) -> anyhow::Result<()> {
        match self.part {
            Some(part) => part.stop().await,
            None => Ok(()),
        }
    }
}
