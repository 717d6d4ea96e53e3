//! The words of the domain: identifiers, the message, what a push should look like, and why a
//! delivery ended as it did.
//!
//! Nothing here does I/O, reads the time or knows a vendor. Every other room may use it.

pub mod addressed;
pub mod app;
pub mod certificate;
pub mod device;
pub mod id;
pub mod json;
pub mod message;
pub mod object;
pub mod push_info;
pub mod reason;
pub mod time;
