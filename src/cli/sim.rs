//! `offpush sim`: the vendor simulators by themselves, for a relay in another process.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::demo::stage::{APP, vendor_endpoints};
use crate::cli::output::{Answer, Format, table};
use crate::cli::print;
use crate::cli::signals::StopSignals;
use crate::clock::Clock;
use crate::sim;
use crate::sim::server::{SimConfig, SimServer, listener_name};

/// Name of the settings written for a relay.
const SETTINGS_FILE: &str = "offpush.sim.toml";

/// `offpush sim`.
#[derive(Args)]
pub struct Sim {
    /// Address of the control API; the vendors' ports follow it in order. Port 0 takes any free
    /// ports
    #[arg(long, default_value = "127.0.0.1:9443", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Address of one listener in place of that, such as fcm=127.0.0.1:9999; repeat for more
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = listener)]
    pub listen_vendor: Vec<(String, SocketAddr)>,
    /// Write ca.pem, the credentials and settings for a relay (offpush.sim.toml) here
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The app that the written credentials are for: its SDKAppID
    #[arg(long, default_value_t = APP, value_name = "SDKAPPID")]
    pub app: u64,
    /// Count notifications without remembering them, for load
    #[arg(long)]
    pub no_record: bool,
    /// After a refusal, open one APNs stream at a time until the next accepted push
    #[arg(long)]
    pub refusals_narrow: bool,
    /// Accept what Apple accepts beyond its own texts: `Bearer`, padded base64, ASN.1 signatures
    #[arg(long)]
    pub lenient: bool,
}

/// Splits `name=address`.
fn listener(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("must be NAME=ADDRESS")?;
    let address = address.parse().map_err(|_| format!("`{address}` is not an address"))?;
    Ok((name.to_owned(), address))
}

impl Sim {
    /// Runs the simulators until a stop signal.
    ///
    /// # Errors
    /// Why they could not start, or a file that could not be written.
    pub fn run(self, format: Format) -> anyhow::Result<Answer> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.serve(format))
    }

    async fn serve(self, format: Format) -> anyhow::Result<Answer> {
        let mut stop = StopSignals::listen()?;
        let simulators = if self.lenient { sim::lenient() } else { sim::all() };
        let names: Vec<_> = simulators.iter().map(|one| listener_name(one.as_ref())).collect();
        for (name, _) in &self.listen_vendor {
            ensure!(
                names.contains(name),
                "there is no listener `{name}`; known: {}",
                names.join(", ")
            );
        }
        let config = SimConfig {
            base: self.listen,
            listen: self.listen_vendor,
            record: !self.no_record,
            refusals_narrow: self.refusals_narrow,
        };
        let server = SimServer::start(config, simulators, Clock::system()).await?;
        let written = match &self.out {
            Some(out) => Some(write_files(&server, out, self.app)?),
            None => None,
        };
        print(&announcement(&server, written.as_deref(), format));
        stop.received().await;
        server.shutdown().await;
        Ok(Answer::default())
    }
}

/// What is printed once every port is bound.
fn announcement(server: &SimServer, written: Option<&Path>, format: Format) -> String {
    let answer = json!({
        "control": server.control(),
        "endpoints": server.endpoints(),
        "out": written,
    });
    if format == Format::Json {
        return format!("{answer:#}");
    }
    let rows: Vec<Value> = server
        .endpoints()
        .iter()
        .map(|(name, found)| {
            json!({ "listener": name, "endpoint": found.endpoint,
                    "token_endpoint": found.token_endpoint })
        })
        .collect();
    let rows: Vec<&Value> = rows.iter().collect();
    let mut text = table(&rows, &["listener", "endpoint", "token_endpoint"]);
    text.push_str(&format!("\n\ncontrol  {}\n", server.control()));
    if let Some(folder) = written {
        let settings = folder.join(SETTINGS_FILE);
        text.push_str(&format!("relay    offpush serve --config {}\n", settings.display()));
    }
    text.push_str("\nStop with Ctrl-C.");
    text
}

/// Writes everything a relay needs; answers the folder's full path.
///
/// Files of `certs/` are uploads as they are, and credential files that a relay reads by itself;
/// what `more/` holds are other credentials that the simulators know, working or mistaken.
fn write_files(server: &SimServer, out: &Path, app: u64) -> anyhow::Result<PathBuf> {
    let (certs, more) = (out.join("certs"), out.join("more"));
    for folder in [&certs, &more] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let out = fs::canonicalize(out).with_context(|| format!("find {}", out.display()))?;
    write(&out.join("ca.pem"), server.ca_pem())?;
    for simulator in server.simulators() {
        let listener = listener_name(simulator.as_ref());
        for (index, credential) in simulator.credentials().into_iter().enumerate() {
            let usual = index == 0;
            let name = match usual {
                true => listener.clone(),
                false => format!("{listener}-{}-{index}", credential.name),
            };
            let upload = json!({
                "app": app,
                "vendor": simulator.vendor(),
                "name": name,
                "environment": simulator.environment(),
                "credential": credential.credential,
                "options": credential.options,
            });
            let folder = if usual { &certs } else { &more };
            write(&folder.join(format!("{name}.json")), &format!("{upload:#}\n"))?;
        }
    }
    let settings = settings(&vendor_endpoints(server.endpoints()), &out);
    write(&out.join(SETTINGS_FILE), &settings)?;
    Ok(out)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Settings of a relay that talks to the simulators, as TOML.
fn settings(vendors: &BTreeMap<String, BTreeMap<String, String>>, out: &Path) -> String {
    // Text is written alike in JSON and in a basic string of TOML.
    let quoted = |path: PathBuf| json!(path.to_string_lossy()).to_string();
    let mut text = format!(
        "# Settings of a relay that talks to the simulators of `offpush sim`. Credentials are\n\
         # read at start and on SIGHUP, for apps that exist.\n\
         certs_dir = {}\n\n[vendors]\nca_file = {}\n",
        quoted(out.join("certs")),
        quoted(out.join("ca.pem")),
    );
    for (vendor, endpoints) in vendors {
        text.push_str(&format!("\n[vendors.{vendor}]\n"));
        for (name, url) in endpoints {
            text.push_str(&format!("{name} = {}\n", json!(url)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, Settings};

    #[test]
    fn the_settings_are_read_back_as_they_were_meant() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = BTreeMap::from([
            ("endpoint".to_owned(), "https://127.0.0.1:3".to_owned()),
            ("token_endpoint".to_owned(), "https://127.0.0.1:3/token".to_owned()),
        ]);
        let vendors = BTreeMap::from([("fcm".to_owned(), own.clone())]);
        let out = folder.path().join("a \"quoted\" folder");
        let file = folder.path().join(SETTINGS_FILE);
        fs::write(&file, settings(&vendors, &out)).expect("written");
        let overrides = Overrides { dev: true, ..Overrides::default() };
        let read = Settings::load(Some(&file), [], &overrides).expect("good settings");
        assert_eq!(read.certs_dir, out.join("certs"));
        assert_eq!(read.vendors.ca_file, Some(out.join("ca.pem")));
        assert_eq!(read.vendors.endpoints["fcm"], own);
    }

    #[test]
    fn a_listener_is_a_name_and_an_address() {
        let address = "127.0.0.1:9".parse().expect("an address");
        assert_eq!(listener("fcm=127.0.0.1:9"), Ok(("fcm".to_owned(), address)));
        assert!(listener("fcm").is_err());
        assert!(listener("fcm=here").is_err());
    }
}
