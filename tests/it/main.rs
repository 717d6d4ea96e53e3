//! The one integration binary; each module says what belongs in it.

mod cli;
mod config;
mod harness;
mod journey;
mod sim_android;
mod sim_west;
mod store;
mod tencent;
mod tidy;
mod transport;
mod vendor_own;
mod vendors_android;
mod vendors_west;
