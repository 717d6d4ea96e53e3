//! Measures a relay from outside: `offpush bench`.
//!
//! The relay, the simulators and the bare loop that serves as the limit are processes of their own
//! (this program again, with hidden commands), each on its own core where the system allows it.
//! This process makes the load and reads what the system says about the relay's process.
//!
//! ```text
//! limit  ──────────────────TLS, h2──▶ simulators     the same requests, nothing else
//! load ──HTTP──▶ relay ────TLS, h2──▶ simulators     the whole path
//! ```
//!
//! After every scenario the ledger must balance and nothing may be in flight; a scenario that ends
//! otherwise is reported as failed.

pub mod bars;
pub mod course;
pub mod crash;
pub mod growth;
pub mod isolation;
pub mod limit;
pub mod load;
pub mod median;
pub mod process;
pub mod procfs;
pub mod relay;
pub mod reopen;
pub mod report;
pub mod run;
pub mod scenario;
pub mod seed;
pub mod sims;
pub mod traffic;
pub mod vendors;
pub mod watch;
