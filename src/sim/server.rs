//! The simulator server: one TLS port per vendor, and a plain HTTP port for control.
//!
//! ```text
//! relay ──TLS, h2 or HTTP/1.1──▶ port (apns, fcm …) ─▶ fault rules ─▶ simulator ─▶ phones
//! test, person ───plain HTTP───▶ control
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::model::certificate::Environment;
use crate::sim::Simulator;
use crate::sim::ca::Ca;
use crate::sim::control::{self, Control};
use crate::sim::faults::Faults;
use crate::sim::listener::{Port, Shared};
use crate::sim::phones::Phones;
use crate::sim::tls::Tls;

/// How long [`SimServer::shutdown`] lets running requests finish before it cuts connections.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);

/// Where and how the server listens.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Address of the control port; the vendors' ports follow it in order. With port 0 the system
    /// chooses every port.
    pub base: SocketAddr,
    /// Addresses of single listeners (`apns`, `apns_sandbox`, `fcm` …), in place of the above.
    pub listen: Vec<(String, SocketAddr)>,
    /// Whether phones remember what they showed; when not, they only count.
    pub record: bool,
    /// Whether a refusal narrows an APNs connection to one stream until the next accepted request
    /// (observed at Apple: vendors-apns-fcm.md, A.10).
    pub refusals_narrow: bool,
}

impl Default for SimConfig {
    fn default() -> Self {
        SimConfig {
            base: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            listen: Vec::new(),
            record: true,
            refusals_narrow: false,
        }
    }
}

/// Where a vendor is reached.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    /// Base URL without trailing slash.
    pub endpoint: String,
    /// Sign-in URL, if the vendor has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
}

/// A running server. Dropping it stops it without waiting.
pub struct SimServer {
    simulators: Vec<Arc<dyn Simulator>>,
    endpoints: BTreeMap<String, Endpoint>,
    control: String,
    shared: Arc<Shared>,
}

impl SimServer {
    /// Starts listening; returns when every port is bound.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub async fn start(
        config: SimConfig,
        simulators: Vec<Arc<dyn Simulator>>,
        clock: Clock,
    ) -> anyhow::Result<SimServer> {
        let shared = Arc::new(Shared {
            phones: Arc::new(Phones::default()),
            faults: Arc::new(Faults::default()),
            clock,
            connections: AtomicU64::new(0),
            leaving: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.phones.set_recording(config.record);
        let control_listener = bind("control", config.base).await?;
        let mut endpoints = BTreeMap::new();
        for (index, simulator) in simulators.iter().enumerate() {
            let name = listener_name(simulator.as_ref());
            anyhow::ensure!(!endpoints.contains_key(&name), "two simulators are named {name}");
            let listener = bind(&name, config.address(&name, index)).await?;
            let endpoint = Endpoint::at(simulator.as_ref(), listener.local_addr()?);
            let port = Arc::new(Port {
                token_path: token_path(simulator.vendor()),
                tls: Tls::new(simulator.opening_streams().is_some())?,
                simulator: Arc::clone(simulator),
                refusals_narrow: config.refusals_narrow,
                shared: Arc::clone(&shared),
                name: name.clone(),
            });
            endpoints.insert(name, endpoint);
            shared.tasks.spawn(port.accept(listener));
        }
        let control = format!("http://{}", reachable(control_listener.local_addr()?));
        let state = Control {
            phones: Arc::clone(&shared.phones),
            faults: Arc::clone(&shared.faults),
            clock: shared.clock.clone(),
            endpoints: endpoints.clone(),
            simulators: simulators.clone(),
        };
        let leaving = shared.leaving.clone();
        shared.tasks.spawn(control::serve(control_listener, state, leaving));
        Ok(SimServer { simulators, endpoints, control, shared })
    }

    /// The simulators, for their credentials.
    pub fn simulators(&self) -> &[Arc<dyn Simulator>] {
        &self.simulators
    }

    /// Base URL of a listener (`apns`, `apns_sandbox`, `fcm` …), without trailing slash; empty
    /// when there is none of that name.
    pub fn endpoint(&self, name: &str) -> String {
        self.endpoints.get(name).map(|found| found.endpoint.clone()).unwrap_or_default()
    }

    /// URL of a vendor's sign-in endpoint, if it has one apart from its API.
    pub fn token_endpoint(&self, name: &str) -> Option<String> {
        self.endpoints.get(name).and_then(|found| found.token_endpoint.clone())
    }

    /// Base URL of the control API.
    pub fn control(&self) -> &str {
        &self.control
    }

    /// What a relay must trust, PEM.
    pub fn ca_pem(&self) -> &str {
        Ca::of_this_process().pem()
    }

    /// How many connections were opened to vendors' ports so far, TLS included.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The phones.
    pub fn phones(&self) -> Arc<Phones> {
        Arc::clone(&self.shared.phones)
    }

    /// The fault rules.
    pub fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.shared.faults)
    }

    /// All listeners by name.
    pub fn endpoints(&self) -> &BTreeMap<String, Endpoint> {
        &self.endpoints
    }

    /// Stops: no new connections, running requests get a moment to finish, the rest is cut.
    pub async fn shutdown(self) {
        self.shared.leaving.cancel();
        self.shared.tasks.close();
        let finished = tokio::time::timeout(SHUTDOWN_GRACE, self.shared.tasks.wait());
        if finished.await.is_err() {
            self.shared.cut.cancel();
            self.shared.tasks.wait().await;
        }
    }
}

impl Drop for SimServer {
    fn drop(&mut self) {
        self.shared.leaving.cancel();
        self.shared.cut.cancel();
    }
}

impl SimConfig {
    fn address(&self, name: &str, index: usize) -> SocketAddr {
        if let Some((_, address)) = self.listen.iter().find(|(listener, _)| listener == name) {
            return *address;
        }
        let mut address = self.base;
        if address.port() != 0 {
            let offset = u16::try_from(index + 1).unwrap_or(u16::MAX);
            address.set_port(address.port().saturating_add(offset));
        }
        address
    }
}

impl Endpoint {
    fn at(simulator: &dyn Simulator, bound: SocketAddr) -> Self {
        let endpoint = format!("https://{}", reachable(bound));
        let token_endpoint = token_path(simulator.vendor()).map(|path| format!("{endpoint}{path}"));
        Endpoint { endpoint, token_endpoint }
    }
}

/// The name of a simulator's listener.
pub fn listener_name(simulator: &dyn Simulator) -> String {
    match simulator.environment() {
        Environment::Production => simulator.vendor().to_owned(),
        Environment::Sandbox => format!("{}_sandbox", simulator.vendor()),
    }
}

/// Where vendors that sign in by OAuth do so, on the port of their API.
fn token_path(vendor: &str) -> Option<&'static str> {
    match vendor {
        "fcm" => Some("/token"),
        "huawei" => Some("/oauth2/v3/token"),
        _ => None,
    }
}

async fn bind(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{name} cannot listen on {address}"))
}

/// How a client on this machine reaches a bound address.
fn reachable(bound: SocketAddr) -> String {
    if bound.ip().is_unspecified() {
        return format!("localhost:{}", bound.port());
    }
    bound.to_string()
}
