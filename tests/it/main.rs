//! The one integration binary; each module says what belongs in it.

mod api;
mod cli;
mod config;
mod crash;
mod faults;
mod harness;
mod hostile;
mod journey;
mod kill;
mod moving;
mod policy;
mod pressure;
mod process;
mod results;
mod sim_android;
mod sim_west;
mod simulation;
mod stage;
mod store;
mod tencent;
mod tidy;
mod transport;
mod vendor_own;
mod vendors_android;
mod vendors_west;
mod verify;
