//! What an operator may set: the shape of the file, where values come from, and what is wrong.
//!
//! Every value has a default, so an empty file is a valid one. Later sources win: defaults, then
//! the TOML file, then environment variables (`OFFPUSH__SECTION__KEY`), then flags. Reading never
//! stops at the first mistake: all of them are reported at once, each with its key, what is wrong
//! and where it came from. `config/offpush.example.toml` documents every setting; a test keeps it
//! complete.

pub mod check;
pub mod limits;
pub mod mistake;
pub mod read;
pub mod secret;
pub mod sections;

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::config::limits::{DeadLetters, Dedupe, Lanes, Presence, Queue, Trace};
use crate::config::mistake::Mistakes;
use crate::config::secret::SECRET_KEY_BYTES;
use crate::config::sections::{
    Auth, Callbacks, Drain, Engine, Http, Log, Secrets, Store, Tls, Vendors,
};
use crate::store::directory::ENGINE_FILE;

/// Variables that set a key start with this; sections and keys are joined with `__` too.
pub const VARIABLE_PREFIX: &str = "OFFPUSH__";
/// The variable that holds the admin key itself, instead of `auth.admin_key_file`.
pub const ADMIN_KEY_VARIABLE: &str = "OFFPUSH_ADMIN_KEY";
/// The variable that holds the key that encrypts credentials, instead of `secrets.key_file`.
pub const SECRET_KEY_VARIABLE: &str = "OFFPUSH_SECRET_KEY";
/// Name of the secret key's file inside `data_dir` when `secrets.key_file` is not set.
pub const SECRET_KEY_FILE: &str = "secret.key";
/// Name of the embedded store's directory inside `data_dir`.
const STORE_DIR: &str = "store";

/// Everything an operator may set, read once at start and never changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the API listens; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Where the embedded store and the secret key live; made on first start.
    pub data_dir: PathBuf,
    /// Where operators drop credential files, to be loaded at start; may be absent.
    pub certs_dir: PathBuf,
    /// TLS of the API.
    pub tls: Tls,
    /// Limits of the API.
    pub http: Http,
    /// Where everything is kept.
    pub store: Store,
    /// Who may do everything.
    pub auth: Auth,
    /// What encrypts credentials at rest.
    pub secrets: Secrets,
    /// How long repeats are recognised.
    pub dedupe: Dedupe,
    /// What waits to be sent.
    pub queue: Queue,
    /// How fast it is sent.
    pub lanes: Lanes,
    /// What `explain` remembers.
    pub trace: Trace,
    /// What was given up and may be sent again.
    pub dead_letters: DeadLetters,
    /// When a device's last word is too old.
    pub presence: Presence,
    /// Where the vendors are.
    pub vendors: Vendors,
    /// Where push results may be posted.
    pub callbacks: Callbacks,
    /// What is logged.
    pub log: Log,
    /// How long a stop may take.
    pub drain: Drain,
    /// Development: no admin key is needed. Set by `--dev` only, never by the file.
    #[serde(skip)]
    pub dev: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8_080)),
            data_dir: PathBuf::from("data"),
            certs_dir: PathBuf::from("certs"),
            tls: Tls::default(),
            http: Http::default(),
            store: Store::default(),
            auth: Auth::default(),
            secrets: Secrets::default(),
            dedupe: Dedupe::default(),
            queue: Queue::default(),
            lanes: Lanes::default(),
            trace: Trace::default(),
            dead_letters: DeadLetters::default(),
            presence: Presence::default(),
            vendors: Vendors::default(),
            callbacks: Callbacks::default(),
            log: Log::default(),
            drain: Drain::default(),
            dev: false,
        }
    }
}

/// What the command line sets: it beats the file and the environment.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Development: start without an admin key.
    pub dev: bool,
    /// Single settings.
    pub set: Vec<Override>,
}

/// One setting given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The flag, as a mistake names it: `--listen`.
    pub flag: String,
    /// The dotted key: `store.engine`.
    pub key: String,
    /// Its value as text.
    pub value: String,
}

impl Settings {
    /// Reads the settings from all sources and checks them; `env` is usually [`std::env::vars`].
    ///
    /// The admin key is read too (from its variable or file), so that a missing or unreadable one
    /// is reported with the rest. A secret key's file is not: see [`Settings::secret_key`].
    ///
    /// # Errors
    /// Every mistake found, in the order of the keys.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        overrides: &Overrides,
    ) -> Result<Settings, Mistakes> {
        read::load(file, env, overrides)
    }

    /// The key that encrypts credentials: from its variable, else from its file, which is made
    /// when it is absent.
    ///
    /// # Errors
    /// When the file cannot be read or made, or does not hold 32 bytes.
    pub fn secret_key(&self) -> io::Result<[u8; SECRET_KEY_BYTES]> {
        match &self.secrets.key {
            Some(text) => secret::parse_secret_key(text.expose_secret().as_bytes()),
            None => secret::secret_key(&self.secret_key_file()),
        }
    }

    /// The same, but made only while there is no store: what is in one was sealed with another key,
    /// which is lost, and a new one would open nothing.
    ///
    /// # Errors
    /// As [`Settings::secret_key`], and when there is a store and the file is absent.
    pub fn secret_key_beside_store(&self) -> io::Result<[u8; SECRET_KEY_BYTES]> {
        if self.has_store() { self.existing_secret_key() } else { self.secret_key() }
    }

    /// The same, never made.
    ///
    /// # Errors
    /// As [`Settings::secret_key`], and when the file is absent, with what to do about it.
    pub fn existing_secret_key(&self) -> io::Result<[u8; SECRET_KEY_BYTES]> {
        if self.secrets.key.is_some() {
            return self.secret_key();
        }
        let path = self.secret_key_file();
        secret::read_secret_key(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => secret::lost(&path),
            _ => error,
        })
    }

    /// The directory of the embedded store.
    pub fn store_dir(&self) -> PathBuf {
        self.data_dir.join(STORE_DIR)
    }

    /// Whether an embedded store was made there. What cannot be looked at counts as one.
    pub fn has_store(&self) -> bool {
        let marker = self.store_dir().join(ENGINE_FILE);
        self.store.engine != Engine::Memory && marker.try_exists().unwrap_or(true)
    }

    /// The file of the key that encrypts credentials: `secrets.key_file`, else inside `data_dir`.
    pub fn secret_key_file(&self) -> PathBuf {
        self.secrets.key_file.clone().unwrap_or_else(|| self.data_dir.join(SECRET_KEY_FILE))
    }
}
