//! Sections about the way of a message: windows, queue, lanes, traces, presence.

use serde::{Deserialize, Serialize};

/// `[dedupe]`: for how long the same message is recognised.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dedupe {
    /// One-to-one messages, in seconds.
    pub c2c_window_s: u32,
    /// Group messages, in seconds.
    pub group_window_s: u32,
    /// Marks kept in memory to answer the common repeat without the store, about 100 bytes each.
    pub front_entries: usize,
}

impl Default for Dedupe {
    fn default() -> Self {
        Dedupe { c2c_window_s: 120, group_window_s: 300, front_entries: 262_144 }
    }
}

/// `[queue]`: what waits to be sent. A full queue answers 503 to new messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Most deliveries that may wait.
    pub rows_max: u64,
    /// Most bytes that may wait.
    pub bytes_max: u64,
    /// How long the oldest parcel of a running lane may have waited, in seconds; then new messages
    /// are answered 503 too. 0 switches the limit off.
    pub age_max_s: u32,
    /// How long a claimed parcel belongs to the node that claimed it, in seconds.
    pub lease_s: u32,
    /// Most parcels one lane holds in memory; the rest wait in the store.
    pub parcels_in_memory: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            rows_max: 2_000_000,
            bytes_max: 4 * 1_024 * 1_024 * 1_024,
            age_max_s: 600,
            lease_s: 60,
            parcels_in_memory: 8_192,
        }
    }
}

/// `[lanes]`: how each certificate's lane sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lanes {
    /// Deliveries of one lane at its vendor at a time, beyond which no further request begins.
    pub in_flight_max: usize,
    /// Parcels that all lanes together hold in memory, in MiB of their rows; the rest wait in the
    /// store.
    pub memory_mb: usize,
    /// Longest wait for a vendor's whole answer, connecting included, in seconds.
    pub request_deadline_s: u32,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// First wait before a retry, in milliseconds; it doubles each time, with full jitter.
    pub backoff_base_ms: u64,
    /// Longest wait before a retry, in seconds.
    pub backoff_max_s: u32,
}

impl Default for Lanes {
    fn default() -> Self {
        Lanes {
            in_flight_max: 512,
            memory_mb: 64,
            request_deadline_s: 20,
            breaker_failures: 10,
            backoff_base_ms: 500,
            backoff_max_s: 300,
        }
    }
}

/// `[trace]`: what `explain` remembers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trace {
    /// For how many hours.
    pub keep_h: u32,
    /// Most bytes of traces; the oldest go first.
    pub bytes_max: u64,
    /// Whether titles and texts are kept too. They are private: leave it off.
    pub include_text: bool,
}

impl Default for Trace {
    fn default() -> Self {
        Trace { keep_h: 72, bytes_max: 1_024 * 1_024 * 1_024, include_text: false }
    }
}

/// `[dead_letters]`: what was given up and may be sent again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetters {
    /// For how many hours, counted from when the message was accepted. A message may live for
    /// seven days before it is given up.
    pub keep_h: u32,
}

impl Default for DeadLetters {
    fn default() -> Self {
        DeadLetters { keep_h: 720 }
    }
}

/// `[presence]`: when a device's last word is too old to count.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Presence {
    /// "In the foreground" is believed for this many seconds, then the device rings again.
    pub foreground_expires_s: u32,
    /// A device without a sign of life for this many days does not ring.
    pub stale_login_days: u32,
}

impl Default for Presence {
    fn default() -> Self {
        Presence { foreground_expires_s: 300, stale_login_days: 7 }
    }
}
