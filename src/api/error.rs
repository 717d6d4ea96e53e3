//! What a caller is told when something is wrong: a status, a stable code, a sentence, the field.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::apps::AppsError;
use crate::credentials::CredentialsError;
use crate::ingest::IngestError;
use crate::members::MembersError;
use crate::model::message::Invalid;
use crate::preferences::receive_options::OptionsError;
use crate::store::StoreError;
use crate::store::keys::PageError;

/// After which a caller may try again when the store or the queue is in trouble.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A refused request.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable code.
    pub code: String,
    /// One sentence for the caller.
    pub message: String,
    /// The field it is about.
    pub field: Option<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// The `error` object of an answer.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorBody {
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// The field it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl ApiError {
    /// An error without a field.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        ApiError {
            status,
            code: code.to_owned(),
            message: message.into(),
            field: None,
            retry_after: None,
        }
    }

    /// The same about a field.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// A wrong value: 400.
    pub fn bad(code: &str, field: &str, message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, code, message).field(field)
    }

    /// Something that is not there: 404.
    pub fn not_found(code: &str, message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::NOT_FOUND, code, message)
    }

    /// No key, or one that is nobody's: 401.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// A key that may not do this: 403.
    pub fn forbidden(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// A body over the limit: 413.
    pub fn body_too_large() -> Self {
        let message = "the body is larger than http.body_bytes_max";
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    /// Not now: 503 with `Retry-After`.
    pub fn unavailable(code: &str, message: impl Into<String>) -> Self {
        let mut error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        error.retry_after = Some(RETRY_AFTER);
        error
    }

    /// The `error` object.
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            code: self.code.clone(),
            message: self.message.clone(),
            field: self.field.clone(),
        }
    }

    /// The answer, with more beside the `error` object.
    pub fn into_response_with(self, extra: serde_json::Value) -> Response {
        let mut body = json!({ "error": self.body() });
        if let (Some(body), serde_json::Value::Object(extra)) = (body.as_object_mut(), extra) {
            body.extend(extra);
        }
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.into_response_with(json!({}))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => ApiError::unavailable("store_full", "the disk is full"),
            StoreError::Corrupt { .. } => {
                tracing::error!(%error, "a stored row is damaged");
                let message = "a stored row is damaged, the operator's log names it";
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "store_corrupt", message)
            }
            StoreError::Conflict | StoreError::Unavailable(_) => {
                tracing::warn!(%error, "the store cannot be used");
                ApiError::unavailable("store_unavailable", "the store cannot be used now")
            }
        }
    }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Full => ApiError::unavailable("queue_full", "the queue is full"),
            IngestError::Overdue => {
                let message = "what was accepted before waits too long already";
                ApiError::unavailable("queue_overdue", message)
            }
            IngestError::Store(error) => error.into(),
        }
    }
}

impl From<AppsError> for ApiError {
    fn from(error: AppsError) -> Self {
        match error {
            AppsError::TooMany => {
                ApiError::new(StatusCode::CONFLICT, "too_many_apps", error.to_string())
            }
            AppsError::Seal(_) => internal("secrets", &error),
            AppsError::Store(error) => error.into(),
        }
    }
}

impl From<MembersError> for ApiError {
    fn from(error: MembersError) -> Self {
        match error {
            MembersError::TooMany => ApiError::bad("group_too_large", "members", error.to_string()),
            MembersError::Store(error) => error.into(),
        }
    }
}

impl From<OptionsError> for ApiError {
    fn from(error: OptionsError) -> Self {
        match error {
            OptionsError::TooMany => {
                ApiError::bad("too_many_options", "conversation", error.to_string())
            }
            OptionsError::Store(error) => error.into(),
        }
    }
}

impl From<PageError> for ApiError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Cursor => ApiError::bad("field_malformed", "cursor", error.to_string()),
            PageError::Store(error) => error.into(),
        }
    }
}

impl From<CredentialsError> for ApiError {
    fn from(error: CredentialsError) -> Self {
        match error {
            CredentialsError::Refused(refused) => {
                ApiError::bad(refused.code, &refused.field, refused.message)
            }
            CredentialsError::NotFound => {
                ApiError::not_found("cert_not_found", error.to_string()).field("cert_id")
            }
            CredentialsError::Unusable(_) => {
                ApiError::new(StatusCode::CONFLICT, "cert_unusable", error.to_string())
                    .field("cert_id")
            }
            CredentialsError::Taken(_) => {
                ApiError::new(StatusCode::CONFLICT, "cert_id_taken", error.to_string())
                    .field("cert_id")
            }
            CredentialsError::Seal(_) => internal("secrets", &error),
            CredentialsError::Store(error) => error.into(),
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let mut error = ApiError::new(StatusCode::BAD_REQUEST, invalid.code, invalid.message);
        error.field = invalid.field;
        error
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return ApiError::body_too_large();
        }
        ApiError::new(StatusCode::BAD_REQUEST, "body_unreadable", "the body cannot be read")
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, "query_malformed", rejection.body_text())
    }
}

fn internal(code: &str, error: &dyn std::error::Error) -> ApiError {
    tracing::error!(%error, "a request failed");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code, "the relay cannot do this now")
}
