//! The one integration binary; each module says what belongs in it.

mod cli;
mod config;
mod crash;
mod faults;
mod harness;
mod hostile;
mod journey;
mod kill;
mod moving;
mod pressure;
mod sim_android;
mod sim_west;
mod simulation;
mod stage;
mod store;
mod transport;
mod vendors_android;
mod vendors_west;
