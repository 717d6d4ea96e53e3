//! The metrics of a relay that has done nothing yet.

use crate::results::event::Command;
use crate::telemetry::Metrics;
use crate::telemetry::zeroes::{Labels, begin};
use crate::transport::tls::Mistrust;
use crate::transport::{BUSY, TransportError};
use crate::vendor::receipt::{ReceiptError, ReceiptPost};
use crate::vendor::{self, Verdict};

/// The registry, with every counter in it whose labels are known ahead.
pub fn metrics() -> Metrics {
    let metrics = Metrics::install();
    begin(&Labels {
        vendors: vendor::ALL.iter().map(|vendor| vendor.profile().name).collect(),
        receipts: receipts(),
        verdicts: Verdict::ALL.map(Verdict::as_str).to_vec(),
        causes: causes(),
        results: (0..=u8::MAX).filter_map(Command::of).map(Command::as_str).collect(),
    });
    metrics
}

/// The vendors that send receipts.
fn receipts() -> Vec<&'static str> {
    let headers = http::HeaderMap::new();
    let nothing = ReceiptPost { headers: &headers, body: &[] };
    let all = vendor::ALL.iter();
    all.filter(|vendor| vendor.read_receipts(&nothing) != Err(ReceiptError::None))
        .map(|vendor| vendor.profile().name)
        .collect()
}

fn causes() -> Vec<&'static str> {
    let nothing = String::new;
    let mut causes = vec![
        BUSY,
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
