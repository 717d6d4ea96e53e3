//! The phones behind the simulators: which tokens live, and what each would have shown.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::time::{UnixMs, rfc3339};

/// Most notifications remembered; the oldest are forgotten first, but still counted.
pub const SHOWN_MAX: usize = 100_000;

/// What became of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenLife {
    /// The app is installed.
    #[default]
    Live,
    /// The app was removed.
    Dead {
        /// When the vendor learned it.
        since: UnixMs,
    },
}

/// One notification as a phone would have received it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// Vendor.
    pub vendor: String,
    /// Token of the phone.
    pub token: String,
    /// When it arrived.
    #[serde(with = "rfc3339")]
    pub at: UnixMs,
    /// The vendor-side id the sender gave (apns-id, app_message_id, jobkey, tag …), if any.
    pub push_id: Option<String>,
    /// Title as displayed.
    pub title: String,
    /// Text as displayed.
    pub body: String,
    /// Pass-through text for the app.
    pub ext: Option<String>,
    /// What it replaces on the screen when shown again (collapse-id, tag, notify_id), if any.
    pub replaces: Option<String>,
    /// Everything as it arrived: headers and payload.
    pub raw: Value,
}

#[derive(Default)]
struct Inner {
    tokens: HashMap<String, HashMap<String, TokenLife>>,
    shown: VecDeque<Shown>,
    rung: HashMap<String, u64>,
    requests: HashMap<String, u64>,
    rejected: HashMap<String, u64>,
}

/// Adds one without allocating for a vendor that is known already.
fn count(counts: &mut HashMap<String, u64>, vendor: &str) {
    match counts.get_mut(vendor) {
        Some(count) => *count += 1,
        None => {
            counts.insert(vendor.to_owned(), 1);
        }
    }
}

/// All phones of all vendors. A token that nobody spoke of lives.
#[derive(Default)]
pub struct Phones {
    inner: Mutex<Inner>,
    counts_only: AtomicBool,
}

impl Phones {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether notifications are remembered; when not, they are only counted.
    pub fn recording(&self) -> bool {
        !self.counts_only.load(Ordering::Relaxed)
    }

    /// Switches remembering on (the start) or off, for load runs.
    pub fn set_recording(&self, on: bool) {
        self.counts_only.store(!on, Ordering::Relaxed);
    }

    /// Whether a token lives.
    pub fn life(&self, vendor: &str, token: &str) -> TokenLife {
        let inner = self.inner();
        let known = inner.tokens.get(vendor).and_then(|tokens| tokens.get(token));
        known.copied().unwrap_or_default()
    }

    /// Declares a token live or dead.
    pub fn set_life(&self, vendor: &str, token: &str, life: TokenLife) {
        let mut inner = self.inner();
        inner.tokens.entry(vendor.to_owned()).or_default().insert(token.to_owned(), life);
    }

    /// A phone receives a notification.
    pub fn show(&self, shown: Shown) {
        let recording = self.recording();
        let mut inner = self.inner();
        count(&mut inner.rung, &shown.vendor);
        if !recording {
            return;
        }
        if inner.shown.len() == SHOWN_MAX {
            inner.shown.pop_front();
        }
        inner.shown.push_back(shown);
    }

    /// A phone receives a notification that nobody wants remembered: counts it.
    pub fn ring(&self, vendor: &str) {
        count(&mut self.inner().rung, vendor);
    }

    /// Counts one request of a vendor's send API, and whether it was refused whole. Called by the
    /// simulator; for requests that a fault answered in its place, by the server.
    pub fn count_request(&self, vendor: &str, rejected: bool) {
        let mut inner = self.inner();
        count(&mut inner.requests, vendor);
        if rejected {
            count(&mut inner.rejected, vendor);
        }
    }

    /// What phones showed, oldest first; only one vendor or token when given.
    pub fn shown(&self, vendor: Option<&str>, token: Option<&str>) -> Vec<Shown> {
        let matches = |shown: &&Shown| {
            vendor.is_none_or(|vendor| shown.vendor == vendor)
                && token.is_none_or(|token| shown.token == token)
        };
        self.inner().shown.iter().filter(matches).cloned().collect()
    }

    /// Notifications that reached phones of a vendor, forgotten ones included.
    pub fn rung(&self, vendor: &str) -> u64 {
        self.inner().rung.get(vendor).copied().unwrap_or_default()
    }

    /// Send requests a vendor received.
    pub fn requests(&self, vendor: &str) -> u64 {
        self.inner().requests.get(vendor).copied().unwrap_or_default()
    }

    /// Send requests a vendor refused whole.
    pub fn rejected(&self, vendor: &str) -> u64 {
        self.inner().rejected.get(vendor).copied().unwrap_or_default()
    }

    /// Forgets notifications and counts, keeps which tokens live.
    pub fn clear(&self) {
        let mut inner = self.inner();
        inner.shown.clear();
        inner.rung.clear();
        inner.requests.clear();
        inner.rejected.clear();
    }
}
