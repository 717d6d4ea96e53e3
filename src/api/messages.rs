//! Taking messages, and taking them back.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::Api;
use crate::api::auth::OfApp;
use crate::api::body::Body;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::limits::RATE_LIMITED;
use crate::explain::search;
use crate::ingest::{IngestError, Taken};
use crate::model::app::App;
use crate::model::id::{CertId, MessageId};
use crate::model::message::{Invalid, Wire};
use crate::recall;
use crate::store::StoreError;
use crate::telemetry::events::{self, TurnedAway};
use crate::turns::give_way;

mod batch;

use crate::api::messages::batch::batch_of;

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

/// What became of the posted messages, in their order.
#[derive(Serialize)]
struct Answer {
    results: Vec<TakenView>,
}

/// Who may post messages now. Refused posts are counted, and nothing of their bodies is read.
pub struct Poster(Arc<App>);

impl FromRequestParts<Arc<Api>> for Poster {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let caller = OfApp::from_request_parts(parts, api).await;
        let OfApp { app, .. } = caller.inspect_err(|error| {
            if error.code == RATE_LIMITED {
                events::messages_turned_away(TurnedAway::RateLimited, 1);
            }
        })?;
        if api.is_draining() {
            events::messages_turned_away(TurnedAway::Draining, 1);
            return Err(ApiError::unavailable("draining", "the relay is stopping"));
        }
        Ok(Poster(app))
    }
}

/// `POST …/messages`: one message, or `{"messages": […]}`.
pub async fn take(
    State(api): State<Arc<Api>>,
    Poster(app): Poster,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body?;
    // Runs in its own task: if the caller disconnects or times out, the message is still committed,
    // counted and queued. Boxed because the task is moved. Requests that arrived together are read
    // from their connections first and parsed together.
    let taking = tokio::spawn(Box::pin(async move {
        give_way().await;
        take_body(&api, &app, &body).await
    }));
    taking.await.map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", LOST))?
}

const LOST: &str = "the relay failed while it took this, post it again";

async fn take_body(api: &Api, app: &App, body: &[u8]) -> Result<Response, ApiError> {
    let batch = batch_of(body)?;
    let taken = match &batch {
        Some(batch) => api.ingest.take(app, batch).await,
        None => api.ingest.take(app, &[Wire::find(body)]).await,
    };
    let taken = taken.inspect_err(|error| {
        let cause = match error {
            IngestError::Full => TurnedAway::QueueFull,
            IngestError::Overdue => TurnedAway::QueueOverdue,
            IngestError::Store(StoreError::Full) => TurnedAway::StoreFull,
            IngestError::Store(_) => TurnedAway::StoreUnavailable,
        };
        events::messages_turned_away(cause, batch.as_ref().map_or(1, Vec::len) as u64);
    })?;
    Ok(answer(taken, batch.is_none()))
}

fn answer(taken: Vec<Taken>, single: bool) -> Response {
    if single && let [Taken::Invalid(invalid)] = taken.as_slice() {
        let result = TakenView::from(Taken::Invalid(invalid.clone()));
        let error = ApiError::from(invalid.clone());
        return error.into_response_with(json!({ "results": [result] }));
    }
    let results: Vec<TakenView> = taken.into_iter().map(TakenView::from).collect();
    (StatusCode::ACCEPTED, Json(Answer { results })).into_response()
}

/// Names to show in place of a withdrawn message: the relay does not keep them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WithdrawQuery {
    from_nick: Option<String>,
    group_name: Option<String>,
}

/// `DELETE …/messages/{message_id}`: what is queued of it ends as `cancelled`. What was shown is
/// replaced by a notice, when the app asks for that (`replace_recalled`).
pub async fn withdraw(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    Path((_, message_id)): Path<(String, String)>,
    query: Result<Query<WithdrawQuery>, QueryRejection>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let Query(query) = query?;
    let message_id = message_id_of(&message_id)?;
    let withdrawn = withdraw_message(&api, &app, message_id, &query).await?;
    Ok(Json(withdrawn.ok_or_else(not_found)?))
}

/// Withdraws a message of this app, whatever named it. Answers what became of it; `None` when
/// there is no such message.
///
/// # Errors
/// The store's.
pub async fn withdraw_message(
    api: &Api,
    app: &App,
    message_id: MessageId,
    names: &WithdrawQuery,
) -> Result<Option<serde_json::Value>, ApiError> {
    let Some(trace) = search::one(&api.store, app.app, message_id).await? else { return Ok(None) };
    let is_first = !api.withdrawn.holds(message_id);
    api.withdrawn.add(message_id).await?;
    let mut lanes: Vec<CertId> = Vec::new();
    for device in trace.opening.deliveries.iter().filter_map(|delivery| delivery.device.as_ref()) {
        if !lanes.contains(&device.cert_id) {
            lanes.push(device.cert_id);
            api.dispatch.withdraw(device.cert_id, message_id);
        }
    }
    let mut answer = json!({ "message_id": message_id, "status": "withdrawn" });
    if app.settings.replace_recalled
        && is_first
        && let Some(recall) = recall::of(&trace, api.clock.now())
    {
        let notice = recall.message(names.from_nick.as_deref(), names.group_name.as_deref());
        let bytes = notice.to_string().into_bytes();
        let taken = api.ingest.take_own(app, &bytes, Some(recall.devices)).await?;
        answer["replaced_by"] = json!(TakenView::from(taken).message_id);
    }
    Ok(Some(answer))
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
