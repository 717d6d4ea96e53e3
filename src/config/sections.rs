//! Sections about the outside: the API's front, the store, secrets, vendors, logs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::telemetry::LogFormat;
use crate::vendor::profile::{Endpoints, Profile};

/// `[tls]`: the API speaks TLS when both files are set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, PEM, leaf first.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub key_file: Option<PathBuf>,
}

/// `[http]`: what one caller may take of the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Largest request body, in bytes; a larger one is answered 413.
    pub body_bytes_max: u64,
    /// Longest wait for a request's headers, in seconds; then the connection is closed.
    pub header_timeout_s: u32,
    /// Longest time for one request, its body included, in seconds.
    pub request_timeout_s: u32,
    /// Most connections at a time; more wait to be accepted.
    pub connections_max: u32,
    /// Requests per second for one app, by all its keys and UserSigs and the admin key; more are
    /// answered 429. 0 switches the limit off.
    pub key_requests_per_s: u32,
    /// How many requests for one app may come at once before the rate counts.
    pub key_burst: u32,
    /// Requests per second, from everybody together, that may come with a key that is nobody's;
    /// more are answered 429. 0 switches the limit off.
    pub unknown_keys_per_s: u32,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            body_bytes_max: 8 * 1_024 * 1_024,
            header_timeout_s: 10,
            request_timeout_s: 30,
            connections_max: 10_000,
            key_requests_per_s: 20_000,
            key_burst: 40_000,
            unknown_keys_per_s: 50,
        }
    }
}

/// Which embedded engine keeps the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// sled 0.34, fenced.
    Sled,
    /// redb 4.
    #[default]
    Redb,
    /// Nothing survives a restart: tests and demonstrations.
    Memory,
}

impl Engine {
    /// The name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Engine::Sled => "sled",
            Engine::Redb => "redb",
            Engine::Memory => "memory",
        }
    }
}

/// `[store]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Which engine.
    pub engine: Engine,
    /// Memory the engine may use for caching, in MiB. Rows read often are cached besides: usually
    /// about ⅔ of this, at most about twice this.
    pub cache_mb: u64,
    /// Rows kept in memory before they go from the journal to the engine, in MiB; while the engine
    /// is busy, up to three times as much.
    pub recent_mb: u64,
}

impl Default for Store {
    fn default() -> Self {
        Store { engine: Engine::default(), cache_mb: 64, recent_mb: 32 }
    }
}

/// `[auth]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// File that holds the admin key; white space around it does not count.
    pub admin_key_file: Option<PathBuf>,
    /// The admin key itself, from the variable or the file; `None` only in development.
    #[serde(skip)]
    pub admin_key: Option<SecretString>,
}

/// `[secrets]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// File of the 32 bytes that encrypt credentials; made with mode 0600 when absent.
    pub key_file: Option<PathBuf>,
    /// The key itself as hex or base64, from its variable; then no file is read or made.
    #[serde(skip)]
    pub key: Option<SecretString>,
}

/// `[vendors]`: how to reach them. One untyped table per vendor: only its own file knows more.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Vendors {
    /// Extra trust roots, PEM: for simulators and inspecting proxies.
    pub ca_file: Option<PathBuf>,
    /// HTTP proxy for all vendor traffic, `http://host:port`.
    pub proxy: Option<String>,
    /// Endpoints by vendor, then by the names of the vendor's profile.
    #[serde(flatten)]
    pub endpoints: BTreeMap<String, BTreeMap<String, String>>,
}

impl Vendors {
    /// The endpoints in force for a vendor: its defaults, overridden by what is set here.
    pub fn endpoints(&self, profile: &Profile) -> Endpoints {
        let mut endpoints = Endpoints::defaults(profile);
        for (name, url) in self.endpoints.get(profile.name).into_iter().flatten() {
            endpoints.0.insert(name.clone(), url.trim_end_matches('/').to_owned());
        }
        endpoints
    }
}

/// `[callbacks]`: where push results may be posted. Callback addresses come through the API, so
/// what they may reach is the operator's decision.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Callbacks {
    /// Plain http addresses too.
    pub allow_http: bool,
    /// Addresses of this machine and of private networks too.
    pub allow_private: bool,
}

/// `[log]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as
    /// `info,offpush::dispatch=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::default(), level: "info".to_owned() }
    }
}

/// `[drain]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// After a stop signal: longest wait for what is in flight, in seconds.
    pub deadline_s: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Drain { deadline_s: 25 }
    }
}
