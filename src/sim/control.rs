//! The control API of the simulators: plain HTTP and JSON, for tests and people.
//!
//! | Method and path | Meaning |
//! |---|---|
//! | `GET /phones?vendor=&token=&limit=` | what phones showed; `limit` keeps the newest |
//! | `POST /phones` | `{"vendor","token","life":"live"\|"dead","since"?}` |
//! | `DELETE /phones` | forgets notifications and counts |
//! | `GET /counts` | per vendor: requests, rung, rejected |
//! | `GET /faults` · `POST` · `DELETE` | rules ([`crate::sim::faults::Rule`]) |
//! | `GET /credentials` | per listener, ready for the relay's upload API |
//! | `GET /endpoints` | per listener: `endpoint`, `token_endpoint` |
//! | `GET /ca.pem` | what a relay must trust |

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::time::{UnixMs, rfc3339};
use crate::sim::Simulator;
use crate::sim::ca::Ca;
use crate::sim::faults::{ActiveRule, Faults, Rule};
use crate::sim::phones::{Phones, Shown, TokenLife};
use crate::sim::server::{Endpoint, listener_name};

/// What the control API works on.
#[derive(Clone)]
pub struct Control {
    /// Phones.
    pub phones: Arc<Phones>,
    /// Fault rules.
    pub faults: Arc<Faults>,
    /// Time.
    pub clock: Clock,
    /// Listeners by name.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// All simulators.
    pub simulators: Vec<Arc<dyn Simulator>>,
}

/// Answers the control API until the server leaves.
pub async fn serve(listener: TcpListener, control: Control, leaving: CancellationToken) {
    let serving = axum::serve(listener.tap_io(|tcp| drop(tcp.set_nodelay(true))), router(control));
    let served = serving.with_graceful_shutdown(leaving.clone().cancelled_owned());
    tokio::select! {
        _ = served => {}
        // An idle keep-alive connection must not hold the server up.
        () = leaving.cancelled() => {}
    }
}

/// The whole control API on one screen.
pub fn router(control: Control) -> Router {
    Router::new()
        .route("/phones", get(list_phones).post(set_phone).delete(clear_phones))
        .route("/counts", get(counts))
        .route("/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/credentials", get(credentials))
        .route("/endpoints", get(endpoints))
        .route("/ca.pem", get(ca_pem))
        .with_state(control)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PhonesQuery {
    vendor: Option<String>,
    token: Option<String>,
    limit: Option<usize>,
}

async fn list_phones(
    State(control): State<Control>,
    Query(query): Query<PhonesQuery>,
) -> Json<Vec<Shown>> {
    let mut shown = control.phones.shown(query.vendor.as_deref(), query.token.as_deref());
    if let Some(limit) = query.limit {
        shown.drain(..shown.len().saturating_sub(limit));
    }
    Json(shown)
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Life {
    Live,
    Dead,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phone {
    vendor: String,
    token: String,
    life: Life,
    #[serde(default, with = "rfc3339::option")]
    since: Option<UnixMs>,
}

async fn set_phone(State(control): State<Control>, Json(phone): Json<Phone>) -> StatusCode {
    let life = match phone.life {
        Life::Live => TokenLife::Live,
        Life::Dead => TokenLife::Dead { since: phone.since.unwrap_or_else(|| control.clock.now()) },
    };
    control.phones.set_life(&phone.vendor, &phone.token, life);
    StatusCode::NO_CONTENT
}

async fn clear_phones(State(control): State<Control>) -> StatusCode {
    control.phones.clear();
    StatusCode::NO_CONTENT
}

async fn counts(State(control): State<Control>) -> Json<Value> {
    let mut counts = serde_json::Map::new();
    for simulator in &control.simulators {
        let vendor = simulator.vendor();
        let numbers = json!({
            "requests": control.phones.requests(vendor),
            "rung": control.phones.rung(vendor),
            "rejected": control.phones.rejected(vendor),
        });
        counts.insert(vendor.to_owned(), numbers);
    }
    Json(Value::Object(counts))
}

async fn list_faults(State(control): State<Control>) -> Json<Vec<ActiveRule>> {
    Json(control.faults.list())
}

async fn add_fault(State(control): State<Control>, Json(rule): Json<Rule>) -> Response {
    match control.faults.add(rule) {
        Ok(id) => (StatusCode::CREATED, Json(json!({ "id": id }))).into_response(),
        Err(message) => {
            let error = json!({"error": {"code": "invalid_rule", "message": message}});
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
    }
}

async fn clear_faults(State(control): State<Control>) -> StatusCode {
    control.faults.clear();
    StatusCode::NO_CONTENT
}

async fn credentials(State(control): State<Control>) -> Json<Value> {
    let mut listed = serde_json::Map::new();
    for simulator in &control.simulators {
        let uploads: Vec<Value> = simulator
            .credentials()
            .into_iter()
            .map(|credential| {
                json!({
                    "vendor": simulator.vendor(),
                    "name": credential.name,
                    "environment": simulator.environment(),
                    "credential": credential.credential,
                    "options": credential.options,
                })
            })
            .collect();
        listed.insert(listener_name(simulator.as_ref()), Value::Array(uploads));
    }
    Json(Value::Object(listed))
}

async fn endpoints(State(control): State<Control>) -> Json<BTreeMap<String, Endpoint>> {
    Json(control.endpoints)
}

async fn ca_pem() -> Response {
    let kind = (header::CONTENT_TYPE, "application/x-pem-file");
    ([kind], Ca::of_this_process().pem()).into_response()
}
