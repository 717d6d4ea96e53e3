//! The parts of the demonstration: simulators, a relay that talks to them, and clients of both.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ring::rand::{SecureRandom, SystemRandom};
use tempfile::TempDir;

use crate::app::App;
use crate::cli::client::Client;
use crate::clock::Clock;
use crate::config::{ADMIN_KEY_VARIABLE, Overrides, Settings};
use crate::sim;
use crate::sim::server::{Endpoint, SimConfig, SimServer};
use crate::vendor;

/// The app of the demonstration.
pub const APP: u64 = 1_400_000_001;

/// Where it listens when nobody says.
const USUAL_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8_080);

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Length of the admin key before it is written in hex.
const ADMIN_KEY_BYTES: usize = 16;

/// Everything that runs.
pub struct Stage {
    /// The relay's API, as the operator.
    pub relay: Client,
    /// The simulators' control API.
    pub phones: Client,
    /// Base URL of the relay.
    pub address: String,
    /// The operator's key, made for this run.
    pub admin_key: String,
    /// What the reader should know about the start.
    pub note: Option<String>,
    app: App,
    simulators: SimServer,
    /// The data, when nobody wants to keep it; removed at the end.
    folder: Option<TempDir>,
}

impl Stage {
    /// Starts simulators and relay.
    ///
    /// # Errors
    /// When an address is taken, or the store cannot be opened.
    pub async fn start(
        listen: Option<SocketAddr>,
        data_dir: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let (listen, note) = choose(listen).await?;
        let simulators = SimServer::start(SimConfig::default(), sim::all(), Clock::system())
            .await
            .context("start the simulators")?;
        let folder = match data_dir {
            Some(_) => None,
            None => Some(tempfile::tempdir().context("make a temporary folder")?),
        };
        let data_dir = data_dir.or(folder.as_ref().map(TempDir::path)).unwrap_or(Path::new("data"));
        std::fs::create_dir_all(data_dir)
            .with_context(|| format!("make the folder {}", data_dir.display()))?;
        let ca_file = data_dir.join("simulators-ca.pem");
        std::fs::write(&ca_file, simulators.ca_pem())
            .with_context(|| format!("write {}", ca_file.display()))?;
        let admin_key = random_key()?;
        let env = [(ADMIN_KEY_VARIABLE.to_owned(), admin_key.clone())];
        let mut settings = Settings::load(None, env, &Overrides::default())?;
        settings.listen = listen;
        settings.data_dir = data_dir.to_owned();
        settings.certs_dir = data_dir.join("certs");
        settings.vendors.ca_file = Some(ca_file);
        settings.vendors.endpoints = vendor_endpoints(simulators.endpoints());
        let app = App::start(settings).await?;
        let address = format!("http://{}", app.address());
        let relay = Client::new(&address, Some(&admin_key), None, TIMEOUT)?;
        let phones = Client::new(simulators.control(), None, None, TIMEOUT)?;
        Ok(Stage { relay, phones, address, admin_key, note, app, simulators, folder })
    }

    /// The simulators' control URL.
    pub fn control(&self) -> &str {
        self.simulators.control()
    }

    /// Stops relay and simulators in order and removes what nobody keeps.
    pub async fn stop(self) {
        self.app.drain().await;
        self.simulators.shutdown().await;
        drop(self.folder);
    }
}

/// The simulators' listeners as `[vendors.NAME]` settings: a sandbox belongs to its vendor.
pub fn vendor_endpoints(
    listeners: &BTreeMap<String, Endpoint>,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut vendors: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (name, found) in listeners {
        let (vendor, key) = match name.strip_suffix("_sandbox") {
            Some(vendor) => (vendor, "sandbox_endpoint"),
            None => (name.as_str(), "endpoint"),
        };
        let own = vendors.entry(vendor.to_owned()).or_default();
        own.insert(key.to_owned(), found.endpoint.clone());
        if let Some(token_endpoint) = &found.token_endpoint {
            own.insert("token_endpoint".to_owned(), token_endpoint.clone());
        }
    }
    // One simulator stands for all regions of its vendor, so that no certificate leads outside.
    for (vendor, own) in &mut vendors {
        let (Some(vendor), Some(here)) = (vendor::named(vendor), own.get("endpoint").cloned())
        else {
            continue;
        };
        for (name, _) in vendor.profile().endpoints {
            own.entry((*name).to_owned()).or_insert_with(|| here.clone());
        }
    }
    vendors
}

/// The address to listen on. Only the usual one may be replaced by a free port: an address that
/// was asked for is meant.
async fn choose(wanted: Option<SocketAddr>) -> anyhow::Result<(SocketAddr, Option<String>)> {
    let address = wanted.unwrap_or(USUAL_ADDRESS);
    match tokio::net::TcpListener::bind(address).await {
        Ok(_) => Ok((address, None)),
        Err(error) if wanted.is_none() && error.kind() == ErrorKind::AddrInUse => {
            let free = SocketAddr::new(address.ip(), 0);
            Ok((free, Some(format!("{address} is taken, a free port is used instead"))))
        }
        Err(error) => Err(error).with_context(|| format!("listen on {address}")),
    }
}

fn random_key() -> anyhow::Result<String> {
    let mut bytes = [0; ADMIN_KEY_BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.ok().context("the system gives no random bytes for the admin key")?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_is_an_endpoint_of_its_vendor() {
        let at = |port: u16, token: Option<&str>| Endpoint {
            endpoint: format!("https://127.0.0.1:{port}"),
            token_endpoint: token.map(str::to_owned),
        };
        let listeners = BTreeMap::from([
            ("apns".to_owned(), at(1, None)),
            ("apns_sandbox".to_owned(), at(2, None)),
            ("fcm".to_owned(), at(3, Some("https://127.0.0.1:3/token"))),
        ]);
        let vendors = vendor_endpoints(&listeners);
        assert_eq!(vendors.keys().collect::<Vec<_>>(), ["apns", "fcm"]);
        assert_eq!(vendors["apns"]["sandbox_endpoint"], "https://127.0.0.1:2");
        assert_eq!(vendors["fcm"]["token_endpoint"], "https://127.0.0.1:3/token");
    }

    /// A certificate of any region stays with the simulators.
    #[test]
    fn no_endpoint_of_a_simulated_vendor_leads_outside() {
        let own = |name: &str| {
            let endpoint = format!("https://{name}.sim.test");
            let token_endpoint = Some(format!("{endpoint}/token"));
            (name.to_owned(), Endpoint { endpoint, token_endpoint })
        };
        let names = vendor::ALL.iter().map(|vendor| vendor.profile().name);
        let vendors = vendor_endpoints(&names.map(own).collect());
        for vendor in vendor::ALL {
            let profile = vendor.profile();
            for (name, _) in profile.endpoints {
                let url = &vendors[profile.name][*name];
                assert!(url.starts_with(&format!("https://{}.sim.test", profile.name)), "{url}");
            }
        }
        assert_eq!(vendors["xiaomi"]["europe_endpoint"], vendors["xiaomi"]["endpoint"]);
    }

    #[tokio::test]
    async fn an_address_that_was_asked_for_is_not_replaced() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = taken.local_addr().expect("an address");
        assert!(choose(Some(address)).await.is_err());
    }
}
