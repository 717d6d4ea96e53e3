//! What operators look at: health, ledger, lanes, dead letters, metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::auth::{self, Admin, OfApp};
use crate::api::body::{self, Body};
use crate::api::certificates::cert_id_of;
use crate::api::devices::PageQuery;
use crate::api::error::ApiError;
use crate::ledger::{self, Ledger};
use crate::model::id::{AppId, CertId, MessageId};
use crate::outcome::dead_letters::{self, DeadLetter};
use crate::store::StoreError;
use crate::telemetry::events;

/// Life given to a replayed dead letter when the caller does not say: stale chat must not ring.
const REPLAY_LIFE_S: u32 = 3_600;

/// Longest life of a replayed dead letter.
pub const REPLAY_LIFE_S_MAX: u32 = 86_400;

/// Most dead letters replayed by one request.
const REPLAY_MAX: usize = 10_000;

/// Dead letters read at a time.
const PAGE: usize = 256;

/// `GET /healthz`: the process answers.
pub async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: new messages are taken.
pub async fn readyz(State(api): State<Arc<Api>>) -> Response {
    let store = match api.store.check().await {
        Ok(()) => api.ingest.check_room().await,
        Err(error) => Err(error),
    };
    let lanes = api.dispatch.lanes();
    let open = lanes.iter().filter(|lane| lane.condition == "breaker_open").count();
    let (status, word, why) = match &store {
        _ if api.is_draining() => (StatusCode::SERVICE_UNAVAILABLE, "draining", None),
        Err(error) => {
            let is_full = matches!(error, StoreError::Full);
            let word = if is_full { "store_full" } else { "store_unavailable" };
            (StatusCode::SERVICE_UNAVAILABLE, word, Some(error.to_string()))
        }
        Ok(()) => (StatusCode::OK, "ready", None),
    };
    let body = json!({ "status": word, "why": why, "lanes": lanes.len(), "breakers_open": open,
        "oldest_wait_s": api.ingest.oldest_wait().as_secs() });
    (status, Json(body)).into_response()
}

/// `GET /version`
pub async fn version(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "store": api.store.engine(),
    }))
}

/// `GET /metrics`: Prometheus text.
pub async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let text = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, text)], api.metrics.render()).into_response()
}

/// One app's ledger, or all.
#[derive(Debug, Default, Deserialize)]
pub struct LedgerQuery {
    #[serde(default)]
    app: Option<u64>,
}

/// `GET /v1/ledger`
pub async fn ledger(
    State(api): State<Arc<Api>>,
    _: Admin,
    query: Result<Query<LedgerQuery>, QueryRejection>,
) -> Result<Json<Ledger>, ApiError> {
    let Query(query) = query?;
    if let Some(app) = query.app.map(AppId) {
        auth::known(&api, app)?;
        return Ok(Json(ledger::read(&api.store, Some(app)).await?));
    }
    let ledger = ledger::read(&api.store, None).await?;
    events::ledger_balanced(ledger.balanced);
    Ok(Json(ledger))
}

/// `GET /v1/lanes`
pub async fn lanes(State(api): State<Arc<Api>>, _: Admin) -> Json<Value> {
    Json(json!({ "lanes": api.dispatch.lanes() }))
}

/// `POST /v1/lanes/{cert_id}/pause`
pub async fn pause(
    State(api): State<Arc<Api>>,
    _: Admin,
    Path(cert_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    set_paused(&api, &cert_id, true)
}

/// `POST /v1/lanes/{cert_id}/resume`
pub async fn resume(
    State(api): State<Arc<Api>>,
    _: Admin,
    Path(cert_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    set_paused(&api, &cert_id, false)
}

fn set_paused(api: &Arc<Api>, cert_id: &str, paused: bool) -> Result<Json<Value>, ApiError> {
    let cert_id = cert_id_of(cert_id)?;
    if api.credentials.get(cert_id).is_none() {
        return Err(crate::credentials::CredentialsError::NotFound.into());
    }
    api.dispatch.set_paused(cert_id, paused);
    Ok(Json(json!({ "cert_id": cert_id, "paused": paused })))
}

fn letter_view(letter: &DeadLetter) -> Value {
    let parcel = &letter.parcel;
    let delivery = parcel.deliveries.first();
    let last = letter.last.as_ref();
    json!({
        "message_id": parcel.message_id,
        "cert_id": parcel.cert_id,
        "user": delivery.map(|delivery| delivery.user.as_str()),
        "device_id": delivery.map(|delivery| delivery.device_id.as_str()),
        "token_hash": delivery.map(|delivery| delivery.token.short_hash()),
        "accepted_at": parcel.message_id.accepted_at().to_string(),
        "given_up_at": letter.at.to_string(),
        "status": last.map(|last| last.status),
        "code": last.map(|last| last.code.as_str()),
        "vendor_says": last.map(|last| last.says.as_str()),
        "verdict": last.map(|last| last.verdict.as_ref()),
    })
}

/// Which dead letters to list.
#[derive(Debug, Deserialize)]
pub struct LettersQuery {
    #[serde(default)]
    cert_id: Option<CertId>,
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// `GET /v1/apps/{app}/dead-letters`
pub async fn dead_letters(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    query: Result<Query<LettersQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let page = PageQuery { cursor: query.cursor, limit: query.limit };
    let cursor = page.cursor.as_deref();
    let (letters, cursor) =
        dead_letters::list(&api.store, app.app, query.cert_id, cursor, page.limit()).await?;
    let letters: Vec<_> = letters.iter().map(|(_, letter)| letter_view(letter)).collect();
    Ok(Json(json!({ "dead_letters": letters, "cursor": cursor })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Replay {
    cert_id: Option<CertId>,
    message_ids: Option<Vec<MessageId>>,
    life_time_s: Option<u32>,
    cursor: Option<String>,
}

/// `POST /v1/apps/{app}/dead-letters/replay`
pub async fn replay(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let bytes = body?;
    let given: Replay =
        if bytes.is_empty() { Replay::default() } else { body::read_slice(&bytes)? };
    let life_s = given.life_time_s.unwrap_or(REPLAY_LIFE_S);
    if life_s == 0 || life_s > REPLAY_LIFE_S_MAX {
        let message = format!("life_time_s must be from 1 to {REPLAY_LIFE_S_MAX}");
        return Err(ApiError::bad("field_malformed", "life_time_s", message));
    }
    let life = Duration::from_secs(u64::from(life_s));
    // A task of its own: what was queued is counted and sent even when the caller is gone by then.
    let replaying = tokio::spawn(async move { replay_letters(&api, app.app, &given, life).await });
    replaying
        .await
        .map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", LOST))?
}

const LOST: &str = "the relay failed while it replayed, ask again";

/// Replays page after page, for at most half of the time that a request may take: the caller must
/// hear how far it came.
async fn replay_letters(
    api: &Api,
    app: AppId,
    given: &Replay,
    life: Duration,
) -> Result<Json<Value>, ApiError> {
    let enough_at = api.clock.instant() + api.request_timeout / 2;
    let (mut replayed, mut cursor) = (0, given.cursor.clone());
    loop {
        let at = cursor.as_deref();
        let (mut letters, next) =
            dead_letters::list(&api.store, app, given.cert_id, at, PAGE).await?;
        if let Some(ids) = &given.message_ids {
            letters.retain(|(_, letter)| ids.contains(&letter.parcel.message_id));
        }
        let now = api.clock.now();
        let (queued, outcome) = dead_letters::replay(&api.store, &letters, life, now).await;
        replayed += queued;
        api.ingest.requeued(queued);
        api.dispatch.look();
        cursor = next;
        if let Err(error) = outcome {
            if replayed == 0 {
                return Err(error.into());
            }
            tracing::warn!(%error, replayed, "some dead letters could not be replayed");
        }
        let is_enough = replayed >= REPLAY_MAX || api.clock.instant() >= enough_at;
        if cursor.is_none() || is_enough {
            let more = cursor.is_some();
            return Ok(Json(json!({ "replayed": replayed, "more": more, "cursor": cursor })));
        }
    }
}
