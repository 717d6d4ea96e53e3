//! Why did it ring, or not?

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::auth::OfApp;
use crate::api::body::Body;
use crate::api::error::ApiError;
use crate::api::messages::{message_id_of, not_found};
use crate::dispatch::lane::LaneReport;
use crate::explain::halt::Halt;
use crate::explain::{self, Explanation, search};
use crate::model::id::{AppId, CertId, MessageId};
use crate::model::time::UnixMs;
use crate::store::keys::PageError;

/// Messages on one page when the caller does not say.
const PAGE: usize = 50;

/// Most messages on one page.
const PAGE_MAX: usize = 500;

/// What to show of one message.
#[derive(Debug, Default, Deserialize)]
pub struct OneQuery {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    device_id: Option<String>,
}

/// Why the lane of a certificate of this app sends nothing now; `None` when it runs, or has nothing
/// to send yet.
pub fn halt(api: &Api, app: AppId, cert_id: CertId) -> Option<Halt> {
    // The number may be another app's by now.
    let credentials = &api.credentials;
    let is_ours =
        credentials.get_of(app, cert_id).is_some() || credentials.set_aside(app, cert_id).is_some();
    let lane = api.dispatch.lane_of(cert_id).filter(|_| is_ours)?;
    if lane.condition == "running" {
        return None;
    }
    let LaneReport { condition, resumes_in_s, why, .. } = lane;
    Some(Halt { cert_id, condition, resumes_in_s, why })
}

fn narrow(explanation: &mut Explanation, user: Option<&str>, device_id: Option<&str>) {
    explanation.deliveries.retain(|delivery| {
        user.is_none_or(|user| delivery.user.as_str() == user)
            && device_id.is_none_or(|id| delivery.device_id.as_deref() == Some(id))
    });
}

/// `GET …/messages/{message_id}/explain`
pub async fn one(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    Path((_, message_id)): Path<(String, String)>,
    query: Result<Query<OneQuery>, QueryRejection>,
) -> Result<Json<Explanation>, ApiError> {
    let Query(query) = query?;
    let message_id = message_id_of(&message_id)?;
    let trace = search::one(&api.store, app.app, message_id).await?.ok_or_else(not_found)?;
    let mut explanation = explain::explain(&trace, |cert_id| halt(&api, app.app, cert_id));
    narrow(&mut explanation, query.user.as_deref(), query.device_id.as_deref());
    Ok(Json(explanation))
}

/// What to look for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SearchQuery {
    user: Option<String>,
    device_id: Option<String>,
    from: Option<String>,
    msg_random: Option<u32>,
    msg_key: Option<String>,
    since: Option<String>,
    until: Option<String>,
    reason: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// `GET …/explain`
pub async fn search(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    query: Result<Query<SearchQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let wanted = search::Query {
        user: query.user.as_deref().map(Into::into),
        from: query.from.as_deref().map(Into::into),
        msg_random: query.msg_random,
        msg_key: query.msg_key,
        since: query.since.as_deref().map(|text| instant("since", text)).transpose()?,
        until: query.until.as_deref().map(|text| instant("until", text)).transpose()?,
        reason: query.reason.map(known_reason).transpose()?,
        device_id: query.device_id.clone(),
    };
    let malformed = |_| ApiError::from(PageError::Cursor);
    let after = query.cursor.as_deref().map(str::parse::<MessageId>).transpose();
    let after = after.map_err(malformed)?;
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let now = api.clock.now();
    let (traces, cursor) = search::many(&api.store, app.app, &wanted, after, limit, now).await?;
    let messages: Vec<Explanation> = traces
        .iter()
        .map(|trace| {
            let mut explanation = explain::explain(trace, |cert_id| halt(&api, app.app, cert_id));
            narrow(&mut explanation, query.user.as_deref(), query.device_id.as_deref());
            explanation
        })
        .collect();
    Ok(Json(json!({ "messages": messages, "cursor": cursor })))
}

fn known_reason(reason: String) -> Result<String, ApiError> {
    let message = "reason is neither a reason nor a state: see the tables of the documents";
    let is_known = search::is_known(&reason);
    is_known.then_some(reason).ok_or_else(|| ApiError::bad("field_malformed", "reason", message))
}

/// Reads a time: Unix seconds, or RFC 3339.
///
/// # Errors
/// 400 with the field.
pub fn instant(field: &str, text: &str) -> Result<UnixMs, ApiError> {
    if let Ok(seconds) = text.parse() {
        return Ok(UnixMs::from_secs(seconds));
    }
    let parsed: Option<jiff::Timestamp> = text.parse().ok();
    let millis = parsed.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    let message = || format!("{field} must be Unix seconds or RFC 3339");
    millis.map(UnixMs).ok_or_else(|| ApiError::bad("field_malformed", field, message()))
}

/// `POST …/explain`: decides without sending.
pub async fn dry_run(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    body: Body,
) -> Result<Json<Explanation>, ApiError> {
    let body = body?;
    let trace = api.ingest.dry_run(&app, &body).await??;
    Ok(Json(explain::dry_run(&trace, |cert_id| halt(&api, app.app, cert_id))))
}
