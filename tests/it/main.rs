//! The one integration binary; each module says what belongs in it.

mod store;
mod config;
mod vendors_west;
mod vendors_android;
mod sim_android;
