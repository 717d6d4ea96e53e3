//! Tencent's way of answering: always HTTP 200, the verdict in the body.
//!
//! Codes are Tencent's (cloud.tencent.com/document/product/269/1671; reference, part 3.8).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::api::error::ApiError;
use crate::ingest::IngestError;
use crate::members::MembersError;
use crate::model::message::Invalid;
use crate::preferences::receive_options::OptionsError;
use crate::store::StoreError;

/// The relay cannot do it now: try again.
pub const TRY_AGAIN: u32 = 91_000;
/// Called too often.
pub const TOO_OFTEN: u32 = 60_007;
/// The URL or the command is not one this relay serves.
pub const UNKNOWN_COMMAND: u32 = 60_009;
/// The body is not a JSON object.
pub const NOT_JSON: u32 = 60_003;
/// A parameter is wrong, where no API has a number of its own for it.
pub const BAD_PARAMETER: u32 = 10_004;
/// The account is not known.
pub const NO_ACCOUNT: u32 = 70_107;

/// A refused call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fail {
    /// Tencent's number.
    pub code: u32,
    /// One sentence.
    pub info: String,
    /// 200, but for webhooks that prove nothing or come at a bad time.
    pub status: StatusCode,
}

impl Fail {
    /// A refusal.
    pub fn new(code: u32, info: impl Into<String>) -> Self {
        Fail { code, info: info.into(), status: StatusCode::OK }
    }

    /// The same with another number, as some APIs have their own for a mistake.
    pub fn renumbered(mut self, numbers: &[(u32, u32)]) -> Self {
        if let Some((_, own)) = numbers.iter().find(|(given, _)| *given == self.code) {
            self.code = *own;
        }
        self
    }

    /// The same under an HTTP status.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

/// What an API answers besides the envelope, or a refusal.
pub type Answer = Result<Map<String, Value>, Fail>;

/// The fields of an object literal.
pub fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Puts an answer into its envelope.
pub fn respond(answer: Answer) -> Response {
    match answer {
        Ok(mut body) => {
            body.insert("ActionStatus".to_owned(), json!("OK"));
            body.entry("ErrorInfo").or_insert_with(|| json!(""));
            body.insert("ErrorCode".to_owned(), json!(0));
            Json(body).into_response()
        }
        Err(fail) => {
            let body = json!({
                "ActionStatus": "FAIL", "ErrorInfo": fail.info, "ErrorCode": fail.code });
            (fail.status, Json(body)).into_response()
        }
    }
}

impl From<Invalid> for Fail {
    fn from(invalid: Invalid) -> Self {
        Fail::new(invalid.code.parse().unwrap_or(BAD_PARAMETER), invalid.message)
    }
}

impl From<ApiError> for Fail {
    fn from(error: ApiError) -> Self {
        let code = match error.status {
            StatusCode::TOO_MANY_REQUESTS => TOO_OFTEN,
            status if status.is_server_error() => TRY_AGAIN,
            StatusCode::PAYLOAD_TOO_LARGE => 93_000,
            _ => error.code.parse().unwrap_or(BAD_PARAMETER),
        };
        Fail::new(code, error.message)
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<IngestError> for Fail {
    fn from(error: IngestError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<OptionsError> for Fail {
    fn from(error: OptionsError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<MembersError> for Fail {
    fn from(error: MembersError) -> Self {
        ApiError::from(error).into()
    }
}
