//! Reading the fields of an uploaded credential, with the same words for the same mistakes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::vendor::CredentialError;

/// The error of a field.
pub fn error(code: &'static str, field: &str, message: impl Into<String>) -> CredentialError {
    CredentialError { code, field: field.to_owned(), message: message.into() }
}

/// A text field of `object` that must be there and not empty; `path` is where the object stands,
/// such as `credential`.
///
/// # Errors
/// `credential_missing_field` or, for another JSON type, `credential_malformed`.
pub fn text<'a>(object: &'a Value, path: &str, name: &str) -> Result<&'a str, CredentialError> {
    let field = format!("{path}.{name}");
    match object.get(name) {
        None | Some(Value::Null) => {
            Err(error("credential_missing_field", &field, format!("{field} is missing")))
        }
        Some(Value::String(text)) if text.trim().is_empty() => {
            Err(error("credential_missing_field", &field, format!("{field} is empty")))
        }
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(error("credential_malformed", &field, format!("{field} must be text"))),
    }
}

/// The error of a credential whose `type` this vendor does not know.
pub fn unknown_type(given: &str, known: &str) -> CredentialError {
    let message = format!("credential.type is {given:?}, it must be {known}");
    error("credential_malformed", "credential.type", message)
}

/// A field of the form that came with an uploaded file.
///
/// # Errors
/// `credential_missing_field` when it is absent or empty.
pub fn form<'a>(
    fields: &'a BTreeMap<String, String>,
    name: &str,
) -> Result<&'a str, CredentialError> {
    match fields.get(name).map(|text| text.trim()) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => {
            let message = format!("the form field {name} is missing or empty");
            Err(error("credential_missing_field", name, message))
        }
    }
}
