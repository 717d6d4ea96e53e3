//! The simulators as a run sees them: a process of its own, or somebody else's.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::bench::process::Part;
use crate::bench::sims::{Arrivals, LOOK, Started, TAKE};
use crate::cli::client::{Client, path};
use crate::sim::phones::Shown;

/// Longest wait for one answer of the control API.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Nothing arriving for so long means that nothing is on its way.
const QUIET_FOR: Duration = Duration::from_millis(200);

/// Simulators that run.
pub struct Vendors {
    part: Option<Part>,
    control: Client,
    /// Where each listener is reached.
    pub endpoints: Value,
    /// Uploads by listener.
    pub credentials: Value,
    /// What to trust, PEM; empty when they are somebody else's.
    pub ca_pem: String,
}

impl Vendors {
    /// Starts a process of our own; `record` makes the phones remember what they showed.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(core: Option<usize>, record: bool) -> anyhow::Result<Vendors> {
        let mut args = vec!["bench-sims".to_owned()];
        args.extend(record.then(|| "--record".to_owned()));
        let mut part = Part::start("the simulators", core, &args, &[])?;
        let started: Started = serde_json::from_str(&part.line().await?)?;
        Self::connect(Some(part), started).await
    }

    /// Those of somebody else, by their control API.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn elsewhere(control: &str) -> anyhow::Result<Vendors> {
        // A relay elsewhere trusts them already.
        let started = Started { control: control.to_owned(), ca_pem: String::new() };
        Self::connect(None, started).await
    }

    async fn connect(part: Option<Part>, started: Started) -> anyhow::Result<Vendors> {
        let control = Client::new(&started.control, None, None, TIMEOUT)?;
        let endpoints = control.get("/endpoints").await.context("ask the simulators")?;
        let credentials = control.get("/credentials").await.context("ask the simulators")?;
        Ok(Vendors { part, control, endpoints, credentials, ca_pem: started.ca_pem })
    }

    /// Their process; 0 when it is not ours.
    pub fn pid(&self) -> u32 {
        self.part.as_ref().map_or(0, Part::pid)
    }

    /// Marked pushes since they were last forgotten; none when the simulators are not ours.
    ///
    /// # Errors
    /// When the process ended.
    pub async fn look(&mut self) -> anyhow::Result<Arrivals> {
        self.ask(LOOK).await
    }

    /// The same, and forgets them.
    ///
    /// # Errors
    /// When the process ended.
    pub async fn take(&mut self) -> anyhow::Result<Arrivals> {
        self.ask(TAKE).await
    }

    async fn ask(&mut self, question: &str) -> anyhow::Result<Arrivals> {
        match &mut self.part {
            Some(part) => Ok(serde_json::from_str(&part.ask(question).await?)?),
            None => Ok(Arrivals::default()),
        }
    }

    /// Waits until no more marked pushes arrive, such as those a dead relay had on their way, and
    /// forgets them.
    ///
    /// # Errors
    /// When the process ended.
    pub async fn quiet(&mut self) -> anyhow::Result<()> {
        let mut before = self.look().await?.ages.count;
        loop {
            tokio::time::sleep(QUIET_FOR).await;
            let count = self.look().await?.ages.count;
            if count == before {
                self.take().await?;
                return Ok(());
            }
            before = count;
        }
    }

    /// Puts a fault rule into force.
    ///
    /// # Errors
    /// The control API's.
    pub async fn fault(&self, vendor: &str, action: Value, share: f64) -> anyhow::Result<()> {
        let matching = json!({ "probability": share });
        let rule = json!({ "vendor": vendor, "match": matching, "action": action });
        self.control.post("/faults", &rule).await.context("order a fault")?;
        Ok(())
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// The control API's.
    pub async fn heal(&self) -> anyhow::Result<()> {
        self.control.delete("/faults").await.context("end the faults")?;
        Ok(())
    }

    /// What phones of a vendor showed since they were last forgotten.
    ///
    /// # Errors
    /// The control API's.
    pub async fn shown(&self, vendor: &str) -> anyhow::Result<Vec<Shown>> {
        let at = format!("{}?vendor={vendor}", path(&["phones"]));
        Ok(serde_json::from_value(self.control.get(&at).await.context("ask the phones")?)?)
    }

    /// Makes the phones forget what they showed.
    ///
    /// # Errors
    /// The control API's.
    pub async fn forget(&self) -> anyhow::Result<()> {
        self.control.delete("/phones").await.context("clear the phones")?;
        Ok(())
    }
}
