//! Strict simulators of the vendors: they verify what the vendors verify and answer in the
//! vendors' own error bodies, so that a mistake of the relay is found here and not on a phone.
//!
//! Nothing in this room uses an adapter's code, and no adapter uses this room's: one mistake must
//! not cancel another. A simulator is a pure state machine over [`SimRequest`]; sockets, TLS,
//! faults and the control API are written once, around them.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use crate::model::certificate::Environment;
use crate::model::time::UnixMs;
use crate::sim::apns::Apns;
use crate::sim::fcm::Fcm;
use crate::sim::huawei::Huawei;
use crate::sim::oppo::Oppo;
use crate::sim::phones::Phones;
use crate::sim::xiaomi::Xiaomi;

pub mod apns;
pub mod body;
pub mod ca;
pub mod control;
pub mod faults;
pub mod fcm;
pub mod fields;
pub mod form;
pub mod huawei;
pub mod listener;
pub mod memory;
pub mod oppo;
pub mod phones;
pub mod quota;
pub mod server;
pub mod socket;
pub mod tls;
pub mod window;
pub mod xiaomi;

/// Every simulated vendor with fresh throw-away credentials, ready for
/// [`SimServer::start`](crate::sim::server::SimServer::start).
pub fn all() -> Vec<Arc<dyn Simulator>> {
    with_apns(Apns::production())
}

/// The same, with the habits of real clients that Apple puts up with although its texts ask for
/// something else: `Bearer`, padded base64, ASN.1 signatures.
pub fn lenient() -> Vec<Arc<dyn Simulator>> {
    with_apns(Apns::production().lenient())
}

fn with_apns(apns: Apns) -> Vec<Arc<dyn Simulator>> {
    let sandbox = apns.sandbox();
    vec![
        Arc::new(apns),
        Arc::new(sandbox),
        Arc::new(Fcm::new()),
        Arc::new(Huawei::new()),
        Arc::new(Xiaomi::new()),
        Arc::new(Oppo::new()),
    ]
}

/// One request as a vendor's server sees it.
#[derive(Clone, Debug)]
pub struct SimRequest {
    /// Method.
    pub method: Method,
    /// Path without query.
    pub path: String,
    /// Query without `?`; empty when there is none.
    pub query: String,
    /// Headers, repeated ones kept.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Which connection it came on: APNs binds keys to connections.
    pub connection: u64,
    /// The client certificate of that connection, leaf DER, when one was presented.
    pub client_certificate: Option<Bytes>,
    /// Now.
    pub now: UnixMs,
}

/// One answer of a vendor's server.
#[derive(Clone, Debug)]
pub struct SimReply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl SimReply {
    /// An answer with a JSON body.
    pub fn json(status: StatusCode, body: &Value) -> Self {
        let mut headers = HeaderMap::new();
        let json = http::HeaderValue::from_static("application/json");
        headers.insert(http::header::CONTENT_TYPE, json);
        SimReply { status, headers, body: Bytes::from(body.to_string()) }
    }

    /// An answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        SimReply { status, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// One simulated vendor.
pub trait Simulator: Send + Sync + 'static {
    /// The vendor's name, lower case.
    fn vendor(&self) -> &'static str;

    /// Whether this request is for this vendor's API by its path; the server tries each in turn
    /// when several vendors share a port.
    fn owns(&self, path: &str) -> bool;

    /// Verifies a request as the vendor would and answers it; what a phone would have received is
    /// recorded in `phones`.
    fn answer(&self, request: &SimRequest, phones: &Phones) -> SimReply;

    /// Credentials that this simulator accepts, in the form of the upload API's `credential`
    /// object, with the `options` they need; the first is the usual one.
    fn credentials(&self) -> Vec<SimCredential>;

    /// Which of the vendor's worlds this is. A sandbox listens beside its production twin, under
    /// the name `<vendor>_sandbox`, and shares its phones.
    fn environment(&self) -> Environment {
        Environment::Production
    }

    /// How many streams a fresh HTTP/2 connection may open until its first accepted request;
    /// `None` where the vendor does not hold a connection back. `Some` also means that the vendor
    /// speaks HTTP/2 and nothing else.
    fn opening_streams(&self) -> Option<u32> {
        None
    }

    /// A connection is gone: what was remembered for it may be forgotten.
    fn connection_closed(&self, _connection: u64) {}
}

/// A credential that works here.
#[derive(Clone, Debug)]
pub struct SimCredential {
    /// A name for people, such as `p8` or `p12`.
    pub name: &'static str,
    /// The `credential` object.
    pub credential: Value,
    /// The `options` object.
    pub options: Value,
}
