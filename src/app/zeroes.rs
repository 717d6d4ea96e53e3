//! The metrics of a relay that has done nothing yet.

use crate::results::event::Command;
use crate::telemetry::Metrics;
use crate::telemetry::zeroes::{Labels, begin};
use crate::transport::TransportError;
use crate::transport::tls::Mistrust;
use crate::vendor::{self, ThrottleScope, Verdict};

/// The registry, with every counter in it whose labels are known ahead.
pub fn metrics() -> Metrics {
    let metrics = Metrics::install();
    begin(&Labels {
        vendors: vendor::ALL.iter().map(|vendor| vendor.profile().name).collect(),
        verdicts: verdicts(),
        causes: causes(),
        results: (0..=u8::MAX).filter_map(Command::of).map(Command::as_str).collect(),
    });
    metrics
}

fn verdicts() -> Vec<&'static str> {
    let all = [
        Verdict::Accepted,
        Verdict::TokenDead { since: None, suspect: false },
        Verdict::Refused,
        Verdict::Throttled { retry_after: None, scope: ThrottleScope::Certificate },
        Verdict::Unavailable { retry_after: None },
        Verdict::AuthRejected { renew: false },
        Verdict::Unknown,
    ];
    all.map(Verdict::as_str).to_vec()
}

fn causes() -> Vec<&'static str> {
    let nothing = String::new;
    let mut causes = vec![
        TransportError::NotSent(nothing()).cause(),
        TransportError::Lost(nothing()).cause(),
        TransportError::Handshake(nothing()).cause(),
    ];
    causes.extend(
        [
            Mistrust::UnknownIssuer,
            Mistrust::WrongName,
            Mistrust::Expired,
            Mistrust::NotYetValid,
            Mistrust::NotTls,
            Mistrust::Other,
        ]
        .map(Mistrust::code),
    );
    causes
}
