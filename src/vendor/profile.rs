//! What is fixed about a vendor: its limits, its ways and its endpoints.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::device::Platform;
use crate::transport::Protocol;

/// How a vendor changes the number on an app's icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Badges {
    /// Not at all: nothing needs to be counted for it.
    None,
    /// Each delivery of a parcel has its own number, which is counted here.
    PerTarget,
    /// One change for the whole parcel: only additions, which are the same for all, can be
    /// batched.
    PerParcel,
}

/// What is fixed about a vendor.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Lower case; the same in the API, config, metrics and docs.
    pub name: &'static str,
    /// Most deliveries one parcel holds.
    pub parcel_deliveries_max: usize,
    /// Whether one request carries the whole parcel (else one request per delivery).
    pub batches: bool,
    /// How the number on the app's icon is changed.
    pub badges: Badges,
    /// Whether each of its tokens is for one kind of push: alerts, calls (`voip`) or Live
    /// Activities (`live_activity`).
    pub token_kinds: bool,
    /// HTTP version.
    pub protocol: Protocol,
    /// Longest title in UTF-16 units; `None` when only the payload size counts.
    pub title_units_max: Option<usize>,
    /// Longest text in UTF-16 units.
    pub body_units_max: Option<usize>,
    /// Longest text when the message asks for big text (`PushStyle` 1).
    pub big_body_units_max: Option<usize>,
    /// Largest payload in bytes, as [`Vendor::payload_bytes`](crate::vendor::Vendor::payload_bytes)
    /// measures it.
    pub payload_bytes_max: usize,
    /// Largest VoIP payload.
    pub voip_payload_bytes_max: usize,
    /// Whether a repeat with the same push id is harmless: it replaces or is dropped.
    pub repeats_are_safe: bool,
    /// Longest life time the vendor keeps a push for an unreachable device.
    pub ttl_max: Duration,
    /// Platforms whose devices may use this vendor.
    pub platforms: &'static [Platform],
    /// Endpoints by name and their defaults: `endpoint` always, `token_endpoint`,
    /// `sandbox_endpoint` and others where the vendor has them.
    pub endpoints: &'static [(&'static str, &'static str)],
    /// PushPlatform number of Tencent's push callbacks (reference, 5.7).
    pub tencent_platform: u8,
}

/// Base URLs of one vendor: the profile's defaults, overridden by the operator's config only.
/// Never taken from an upload. No trailing slash.
#[derive(Clone, Debug, Default)]
pub struct Endpoints(pub BTreeMap<String, String>);

impl Endpoints {
    /// The defaults of a vendor.
    pub fn defaults(profile: &Profile) -> Self {
        Endpoints(
            profile.endpoints.iter().map(|(name, url)| ((*name).into(), (*url).into())).collect(),
        )
    }

    /// The base URL of that name; empty when there is none (a programming mistake the adapters'
    /// tests catch).
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}
