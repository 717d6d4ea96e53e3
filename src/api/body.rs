//! Reading a JSON body into a type, with the field in every error.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::api::error::ApiError;
use crate::model::json::without_values;

/// A body, or why there is none.
pub type Body = Result<Bytes, BytesRejection>;

/// The body of a request whose caller is known; until then nothing of it is read. Of one who has
/// yet to prove it by the body, at most `bytes_max` are read.
///
/// # Errors
/// 413, or 400.
pub async fn of(mut request: Request, bytes_max: Option<usize>) -> Result<Bytes, ApiError> {
    if let Some(bytes_max) = bytes_max {
        DefaultBodyLimit::max(bytes_max).apply(&mut request);
    }
    Ok(Bytes::from_request(request, &()).await?)
}

/// Reads a JSON body.
///
/// # Errors
/// 413, or 400 `json_malformed` / `field_malformed` with the field's path.
pub fn read<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    read_slice(&body?)
}

/// Reads JSON text.
///
/// # Errors
/// As [`read`].
pub fn read_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, ApiError> {
    if !is_object(json) {
        let message = "the body must be a JSON object";
        return Err(ApiError::bad("json_malformed", "", message).without_field());
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.inner();
        let is_choice = is_choice(inner, json);
        if inner.is_eof() || (inner.is_syntax() && !is_choice) {
            let message = format!("the body is not valid JSON: {}", without_values(inner));
            return ApiError::bad("json_malformed", "", message).without_field();
        }
        let named = missing_field(inner);
        let field = match (path.as_str(), named) {
            (".", Some(named)) => named,
            // An unknown field is part of the path already, a missing one is not.
            (path, Some(named)) if path == named || path.ends_with(&format!(".{named}")) => {
                path.to_owned()
            }
            (path, Some(named)) => format!("{path}.{named}"),
            (path, None) => path.to_owned(),
        };
        let code = if inner.to_string().starts_with("missing field") {
            "missing_field"
        } else {
            "field_malformed"
        };
        let message = if is_choice { CHOICE.to_owned() } else { without_values(inner) };
        ApiError::bad(code, &field, message)
    })?;
    reader.end().map_err(|error| {
        let message = format!("the body is not valid JSON: {}", without_values(&error));
        ApiError::bad("json_malformed", "", message).without_field()
    })?;
    Ok(value)
}

const CHOICE: &str = "expected an object that holds exactly one of what is possible here";

/// Whether a mistake that serde_json takes for one of writing is one in a choice: an object that
/// names nothing, or several things, in JSON that is well written.
fn is_choice(error: &serde_json::Error, json: &[u8]) -> bool {
    error.is_syntax()
        && error.to_string().starts_with("expected value")
        && serde_json::from_slice::<IgnoredAny>(json).is_ok()
}

/// Whether JSON text can only be an object. A reader generated for a struct would take an array
/// for its fields in order, which nobody means.
pub fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

/// The field a serde error names in its text but not in its path.
fn missing_field(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let rest =
        text.strip_prefix("missing field `").or_else(|| text.strip_prefix("unknown field `"))?;
    rest.split_once('`').map(|(name, _)| name.to_owned())
}

impl ApiError {
    fn without_field(mut self) -> Self {
        self.field = None;
        self
    }
}
