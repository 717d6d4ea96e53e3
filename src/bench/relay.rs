//! The relay under measurement: our own process, or one that runs elsewhere.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bench::process::Part;
use crate::bench::procfs::{self, Usage};
use crate::bench::traffic::{APP, People};
use crate::cli::client::{Client, path};
use crate::config::sections::Engine;

/// Longest wait for one answer of the API.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Longest wait for the ledger to become empty.
const SETTLE_MAX: Duration = Duration::from_secs(600);

/// What the simulators say about themselves.
pub struct Vendors {
    /// Client of their control API.
    pub endpoints: Value,
    /// Uploads by listener.
    pub credentials: Value,
    /// What to trust, PEM.
    pub ca_pem: String,
}

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

    /// Starts it; returns when it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(&self, vendors: &Vendors) -> anyhow::Result<Relay> {
        let file = self.write(vendors)?.to_string_lossy().into_owned();
        let mut args = vec!["serve".to_owned(), "--config".to_owned(), file];
        args.extend(self.set.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
        let variables = [("OFFPUSH_ADMIN_KEY", self.key.as_str())];
        let mut part = Part::start("the relay", self.core, &args, &variables)?;
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

    /// Creates the app and uploads every certificate of the people.
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
            self.client
                .post(&path(&["v1", "apps", &app, "certificates"]), &upload)
                .await
                .with_context(|| format!("upload certificate {cert_id} ({vendor})"))?;
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

    /// Waits until at most `left` deliveries are in flight; answers the ledger and when that was.
    ///
    /// # Errors
    /// The API's, or that it takes too long.
    pub async fn settled(&self, left: i64) -> anyhow::Result<(Value, Instant)> {
        let started = Instant::now();
        loop {
            let ledger = self.ledger().await?;
            let now = Instant::now();
            if ledger["in_flight"].as_i64().unwrap_or(i64::MAX) <= left {
                return Ok((ledger, now));
            }
            anyhow::ensure!(started.elapsed() < SETTLE_MAX, "never settled: {ledger}");
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

    /// Bytes of its data on disk; 0 for a relay elsewhere.
    pub fn disk_bytes(&self) -> u64 {
        self.folder.as_deref().map_or(0, procfs::disk_bytes)
    }

    /// Where its data is, if it is ours.
    pub fn folder(&self) -> Option<PathBuf> {
        self.folder.clone()
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
