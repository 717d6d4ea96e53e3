//! offpush: an offline push relay that runs beside a chat server.

pub mod cli;
pub mod clock;
pub mod config;
pub mod model;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod vendor;
