//! How a lane does, for operators.

use serde::Serialize;
use tokio::time::Instant;

use crate::credentials::Certificate;
use crate::dispatch::breaker::Passage;
use crate::dispatch::lane::Lane;
use crate::model::certificate::CertificateStatus;
use crate::model::id::CertId;
use crate::model::time::UnixMs;

/// A lane's condition, for operators.
#[derive(Clone, Debug, Serialize)]
pub struct LaneReport {
    /// Certificate.
    pub cert_id: CertId,
    /// Vendor; `null` when the certificate is gone.
    pub vendor: Option<&'static str>,
    /// `running`, `paused`, `slowed`, `breaker_open`, `certificate_broken` or
    /// `certificate_expired`.
    pub condition: &'static str,
    /// Parcels waiting in memory.
    pub waiting: usize,
    /// Bytes of the parcels in memory, those at the vendor included: its part of
    /// `lanes.memory_mb`.
    pub memory_bytes: usize,
    /// Deliveries at the vendor.
    pub in_flight: usize,
    /// Seconds until it goes on by itself.
    pub resumes_in_s: Option<u64>,
    /// Why its breaker is open or its certificate broken, in the vendor's or the network's words.
    pub why: Option<String>,
}

/// The conditions a lane can have, in the order in which they are looked for.
pub const CONDITIONS: [&str; 6] =
    ["paused", "certificate_broken", "certificate_expired", "breaker_open", "slowed", "running"];

impl LaneReport {
    /// Whether there is something in its lane.
    pub fn has_work(&self) -> bool {
        self.waiting > 0 || self.in_flight > 0
    }
}

impl Lane {
    /// Its condition. `aside` says why its certificate cannot be used although it is stored.
    pub fn report(
        &self,
        certificate: Option<&Certificate>,
        aside: Option<String>,
        now: UnixMs,
        instant: Instant,
    ) -> LaneReport {
        let pace = self.pace();
        let status = certificate.map(|cert| cert.info.status(now));
        let slow = pace.slow_until.filter(|until| *until > instant).map(|until| until - instant);
        let closed = match pace.breaker.passage(instant) {
            Passage::Closed(left) => Some(left),
            Passage::Open | Passage::Probe => None,
        };
        let condition = match () {
            () if pace.paused => "paused",
            () if aside.is_some() || status == Some(CertificateStatus::Broken) => {
                "certificate_broken"
            }
            () if status == Some(CertificateStatus::Expired) => "certificate_expired",
            () if pace.breaker.is_open() => "breaker_open",
            () if slow.is_some() => "slowed",
            () => "running",
        };
        let why = match condition {
            "breaker_open" => pace.trouble.clone(),
            "certificate_broken" => {
                aside.or_else(|| certificate.and_then(|cert| cert.info.broken.clone()))
            }
            _ => None,
        };
        let waiting = self.waiting();
        LaneReport {
            why,
            cert_id: self.cert_id,
            vendor: certificate.map(|cert| cert.vendor.profile().name),
            condition,
            waiting: waiting.len(),
            memory_bytes: waiting.held().bytes(),
            in_flight: pace.in_flight,
            resumes_in_s: closed.or(slow).map(|left| left.as_secs_f64().ceil() as u64),
        }
    }
}
