//! Taking messages, and taking them back.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::api::Api;
use crate::api::auth::OfApp;
use crate::api::body::Body;
use crate::api::error::{ApiError, ErrorBody};
use crate::explain::search;
use crate::ingest::{MESSAGES_MAX, Taken};
use crate::model::id::{AppId, CertId, MessageId};
use crate::model::message::Invalid;
use crate::telemetry::events::{self, TurnedAway};

/// One message's answer.
#[derive(Clone, Debug, Serialize)]
pub struct TakenView {
    /// Its id; absent when it was invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// `accepted`, `duplicate` or `invalid`.
    pub status: &'static str,
    /// The message it repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<MessageId>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

impl From<Taken> for TakenView {
    fn from(taken: Taken) -> Self {
        let view = |message_id, status| TakenView { message_id, status, of: None, error: None };
        match taken {
            Taken::Accepted { message_id } => view(Some(message_id), "accepted"),
            Taken::Duplicate { message_id, of } => {
                TakenView { of: Some(of), ..view(Some(message_id), "duplicate") }
            }
            Taken::Invalid(invalid) => {
                TakenView { error: Some(error_of(invalid)), ..view(None, "invalid") }
            }
        }
    }
}

fn error_of(invalid: Invalid) -> ErrorBody {
    ApiError::from(invalid).body()
}

/// A batch, found but not yet read.
#[derive(Deserialize)]
struct Posted<'a> {
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
}

/// `POST …/messages`: one message, or `{"messages": […]}`.
pub async fn take(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    body: Body,
) -> Result<Response, ApiError> {
    if api.is_draining() {
        events::messages_turned_away(TurnedAway::Draining, 1);
        return Err(ApiError::unavailable("draining", "the relay is stopping"));
    }
    api.limits.may_ask(app.app).inspect_err(|_| {
        events::messages_turned_away(TurnedAway::RateLimited, 1);
    })?;
    let body = body?;
    let batch = match serde_json::from_slice::<Posted<'_>>(&body) {
        Ok(Posted { messages: Some(messages) }) => Some(read_batch(messages)?),
        // Anything else is read as one message, whose reader names the mistake.
        Ok(_) | Err(_) => None,
    };
    let taken = match &batch {
        Some(batch) => {
            let messages: Vec<&[u8]> = batch.iter().map(|raw| raw.get().as_bytes()).collect();
            api.ingest.take(&app, &messages).await
        }
        None => api.ingest.take(&app, &[body.as_ref()]).await,
    };
    let taken = taken.inspect_err(|error| {
        let cause = match error {
            crate::ingest::IngestError::Full => TurnedAway::QueueFull,
            crate::ingest::IngestError::Store(_) => TurnedAway::StoreUnavailable,
        };
        events::messages_turned_away(cause, batch.as_ref().map_or(1, Vec::len) as u64);
    })?;
    Ok(answer(taken, batch.is_none()))
}

fn read_batch(messages: &RawValue) -> Result<Vec<&RawValue>, ApiError> {
    let batch: Vec<&RawValue> = serde_json::from_str(messages.get()).map_err(|_| {
        ApiError::bad("field_malformed", "messages", "messages must be an array of messages")
    })?;
    if batch.is_empty() {
        return Err(ApiError::bad("messages_empty", "messages", "messages is empty"));
    }
    if batch.len() > MESSAGES_MAX {
        let message = format!("messages has {} entries, at most {MESSAGES_MAX}", batch.len());
        return Err(ApiError::bad("too_many_messages", "messages", message));
    }
    Ok(batch)
}

fn answer(taken: Vec<Taken>, single: bool) -> Response {
    if single && let [Taken::Invalid(invalid)] = taken.as_slice() {
        let result = TakenView::from(Taken::Invalid(invalid.clone()));
        let error = ApiError::from(invalid.clone());
        return error.into_response_with(json!({ "results": [result] }));
    }
    let results: Vec<TakenView> = taken.into_iter().map(TakenView::from).collect();
    (StatusCode::ACCEPTED, Json(json!({ "results": results }))).into_response()
}

/// `DELETE …/messages/{message_id}`: what is queued of it ends as `cancelled`.
pub async fn withdraw(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    Path((_, message_id)): Path<(String, String)>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let message_id = message_id_of(&message_id)?;
    if !withdraw_message(&api, app.app, message_id).await? {
        return Err(not_found());
    }
    Ok(Json(json!({ "message_id": message_id, "status": "withdrawn" })))
}

/// Withdraws a message of this app, whatever named it. Answers whether there is one.
///
/// # Errors
/// The store's.
pub async fn withdraw_message(
    api: &Api,
    app: AppId,
    message_id: MessageId,
) -> Result<bool, ApiError> {
    let Some(trace) = search::one(&api.store, app, message_id).await? else { return Ok(false) };
    api.withdrawn.add(message_id).await?;
    let mut lanes: Vec<CertId> = Vec::new();
    for device in trace.opening.deliveries.iter().filter_map(|delivery| delivery.device.as_ref()) {
        if !lanes.contains(&device.cert_id) {
            lanes.push(device.cert_id);
            api.dispatch.hurry(device.cert_id);
        }
    }
    Ok(true)
}

/// Reads a message id from a path.
///
/// # Errors
/// 400.
pub fn message_id_of(text: &str) -> Result<MessageId, ApiError> {
    text.parse()
        .map_err(|message: String| ApiError::bad("message_id_malformed", "message_id", message))
}

/// 404 for a message.
pub fn not_found() -> ApiError {
    let message = "there is no such message in this app, or its trace was trimmed";
    ApiError::not_found("message_not_found", message).field("message_id")
}
