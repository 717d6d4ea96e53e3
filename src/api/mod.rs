//! The HTTP API: every route on one screen, and what holds for all of them.

pub mod admin;
pub mod auth;
pub mod body;
pub mod certificates;
pub mod deadline;
pub mod devices;
pub mod doctor;
pub mod error;
pub mod explain;
pub mod limits;
pub mod messages;
pub mod openapi;
pub mod operate;
pub mod preferences;
pub mod receipts;
pub mod simulate;
pub mod statistics;
pub mod tencent;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::RequestExt;
use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{DefaultBodyLimit, MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};

use crate::api::error::ApiError;
use crate::api::limits::Limits;
use crate::api::tencent::FrontDoor;
use crate::api_keys::ApiKeys;
use crate::apps::Apps;
use crate::clock::Clock;
use crate::credentials::Credentials;
use crate::dispatch::Dispatch;
use crate::facts::Withdrawn;
use crate::ingest::Ingest;
use crate::preferences::receive_options::ReceiveOptions;
use crate::receipts::Receipts;
use crate::registry::Registry;
use crate::results::Results;
use crate::store::Store;
use crate::telemetry::{Metrics, events};

/// Names a request in answers and logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id taken over from a caller.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// What the handlers work with.
pub struct Api {
    /// Clock.
    pub clock: Clock,
    /// Store, for reading what has no room of its own: ledger, traces, health.
    pub store: Arc<dyn Store>,
    /// Tenants.
    pub apps: Arc<Apps>,
    /// API keys.
    pub keys: Arc<ApiKeys>,
    /// Certificates.
    pub credentials: Arc<Credentials>,
    /// Devices.
    pub registry: Registry,
    /// Preferences and receive options.
    pub receive_options: ReceiveOptions,
    /// Takes messages.
    pub ingest: Arc<Ingest>,
    /// Lanes.
    pub dispatch: Arc<Dispatch>,
    /// Takes receipts.
    pub receipts: Receipts,
    /// Posts results.
    pub results: Results,
    /// Withdrawn messages.
    pub withdrawn: Withdrawn,
    /// Rooms of the Tencent-shaped front door.
    pub front_door: FrontDoor,
    /// Metrics.
    pub metrics: Metrics,
    /// Rates of callers.
    pub limits: Limits,
    /// Set while the relay stops.
    pub draining: AtomicBool,
    /// Development: everybody is the operator.
    pub open_to_all: bool,
    /// Longest time for one request, its body included.
    pub request_timeout: Duration,
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
}

impl Api {
    /// The answer to a key that is nobody's; guessing is slowed down.
    fn unknown_key(&self) -> ApiError {
        match self.limits.may_fail() {
            Ok(()) => {
                tracing::warn!("a request came with a key that is nobody's");
                ApiError::unauthorized("the key is not known")
            }
            Err(too_many) => too_many,
        }
    }

    /// Whether new messages are taken.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Every route.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/apps", get(admin::list_apps))
        .route("/v1/apps/{app}", put(admin::put_app).get(admin::get_app))
        .route("/v1/apps/{app}/keys", post(admin::create_key).get(admin::list_keys))
        .route("/v1/apps/{app}/keys/{id}", delete(admin::delete_key))
        .route("/v1/apps/{app}/certificates", post(certificates::create).get(certificates::list))
        .route(
            "/v1/apps/{app}/certificates/{cert_id}",
            get(certificates::show).put(certificates::change).delete(certificates::delete),
        )
        .route("/v1/apps/{app}/certificates/{cert_id}/verify", post(certificates::verify))
        .route("/v1/apps/{app}/certificates/{cert_id}/test-push", post(certificates::test_push))
        .route("/v1/apps/{app}/certificates/{cert_id}/devices", get(devices::list_of_certificate))
        .route("/v1/apps/{app}/users/{user}/devices", get(devices::list))
        .route(
            "/v1/apps/{app}/users/{user}/devices/{device_id}",
            put(devices::register).delete(devices::log_out),
        )
        .route("/v1/apps/{app}/users/{user}/devices/{device_id}/state", post(devices::report_state))
        .route(
            "/v1/apps/{app}/users/{user}/preferences",
            get(preferences::show).put(preferences::set),
        )
        .route(
            "/v1/apps/{app}/users/{user}/conversations/{conversation}/receive-option",
            get(preferences::show_option)
                .put(preferences::set_option)
                .delete(preferences::clear_option),
        )
        .route("/v1/apps/{app}/messages", post(messages::take))
        .route("/v1/apps/{app}/messages/{message_id}", delete(messages::withdraw))
        .route("/v1/apps/{app}/messages/{message_id}/explain", get(explain::one))
        .route("/v1/apps/{app}/users/{user}/doctor", get(doctor::examine))
        .route("/v1/apps/{app}/simulate", post(simulate::simulate))
        .route("/v1/apps/{app}/explain", get(explain::search).post(explain::dry_run))
        .route("/v1/apps/{app}/statistics", get(statistics::show))
        .route("/v1/apps/{app}/dead-letters", get(operate::dead_letters))
        .route("/v1/apps/{app}/dead-letters/replay", post(operate::replay))
        .merge(tencent::router())
        .route("/v1/ledger", get(operate::ledger))
        .route("/v1/lanes", get(operate::lanes))
        .route("/v1/lanes/{cert_id}/pause", post(operate::pause))
        .route("/v1/lanes/{cert_id}/resume", post(operate::resume))
        .merge(receipts::routes())
        .route("/healthz", get(operate::healthz))
        .route("/health", get(operate::readyz))
        .route("/readyz", get(operate::readyz))
        .route("/version", get(operate::version))
        .route("/metrics", get(operate::metrics))
        .route("/openapi.json", get(openapi::show))
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        // Together, outermost first: each layer for itself would cost every request two boxes.
        .layer((
            middleware::from_fn_with_state(api.clone(), around),
            DefaultBodyLimit::max(api.body_bytes_max),
        ))
        .with_state(api)
}

async fn nothing_here() -> ApiError {
    ApiError::not_found("route_not_found", "there is nothing at this path")
}

async fn other_method() -> ApiError {
    let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
    ApiError::new(status, "method_not_allowed", "this path does not take this method")
}

/// Around every request: its id, its count, its log line.
async fn around(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_plain(id)).cloned();
    let id = given.unwrap_or_else(new_request_id);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let mut response = match check_path(&mut request).await {
        Ok(()) => {
            let limits = (api.request_timeout, api.body_bytes_max);
            deadline::within(limits, request, next).await
        }
        Err(error) => error.into_response(),
    };
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let status = response.status().as_u16();
    events::request_answered(route, status);
    tracing::debug!(%method, route, status, request_id = ?id, "request answered");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Handlers may take any part of a path for text: one that is escaped may not be.
async fn check_path(request: &mut Request) -> Result<(), ApiError> {
    if !request.uri().path().contains('%') {
        return Ok(());
    }
    match request.extract_parts::<RawPathParams>().await {
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(invalid)) => {
            let status = axum::http::StatusCode::BAD_REQUEST;
            Err(ApiError::new(status, "path_malformed", invalid.body_text()))
        }
        // Some paths have no parameters.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_plain(id: &HeaderValue) -> bool {
    id.len() <= REQUEST_ID_BYTES_MAX
        && !id.is_empty()
        && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn new_request_id() -> HeaderValue {
    let id = format!("{:016x}", fastrand::u64(..));
    HeaderValue::from_str(&id).expect("hex digits are a header value")
}
