//! Uploads, what they turn out to be, and how their fields are read: those of a `credential` object
//! and of the form around a file, with the same words for the same mistakes, and tokens by shape.
//!
//! Huawei, Xiaomi and OPPO give their customers pairs of strings, so their objects are flat and
//! read through [`Fields`]. APNs and FCM objects hold keys and whole files, read field by field.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::model::certificate::Environment;
use crate::model::id::{TOKEN_BYTES_MAX, Token};
use crate::model::time::UnixMs;
use crate::transport::ClientIdentity;
use crate::vendor::profile::Endpoints;

/// A credential as uploaded: the `credential` object of the API.
#[derive(Clone, Debug)]
pub struct Upload<'a> {
    /// The object. Its `type` says which form.
    pub credential: &'a Value,
    /// What the operator says it is for.
    pub environment: Environment,
    /// Endpoints in force, to refuse an upload that names others.
    pub endpoints: &'a Endpoints,
    /// Now, for expiry.
    pub now: UnixMs,
}

/// What an upload turned out to be.
pub struct Credential {
    /// What it says of itself, secrets left out: `key_id`, `team_id`, `bundle_id`, `project_id` …
    pub identity: BTreeMap<String, String>,
    /// End of validity.
    pub expires_at: Option<UnixMs>,
    /// Read out of the credential where it says (p12), else as uploaded.
    pub environment: Environment,
    /// What is odd about it, one sentence each.
    pub warnings: Vec<String>,
    /// Parsed keys and ids; only the vendor that made it reads it back.
    pub material: Arc<dyn Any + Send + Sync>,
    /// TLS client certificate, where signing in means presenting one.
    pub client_identity: Option<Arc<ClientIdentity>>,
}

/// Why an upload is refused. `field` is relative to the upload: `credential.key`, `environment` …
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct CredentialError {
    /// Stable snake_case code: `credential_missing_field`, `credential_malformed`,
    /// `wrong_password`, `cert_expired`, `wrong_key_type`, `key_mismatch`, `foreign_endpoint` …
    pub code: &'static str,
    /// Dotted field.
    pub field: String,
    /// One sentence for the operator.
    pub message: String,
}

/// Why a token is refused by its shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenError(pub String);

/// Longest text of one field of [`Fields`] in bytes; vendors give out far shorter ones.
pub const FIELD_BYTES_MAX: usize = 512;

/// The error of a field, under a code of its own.
pub fn error(code: &'static str, field: &str, message: impl Into<String>) -> CredentialError {
    CredentialError { code, field: field.to_owned(), message: message.into() }
}

/// The error for a field that is not there.
pub fn missing(field: &str, message: impl Into<String>) -> CredentialError {
    error("credential_missing_field", field, message)
}

/// The error for a field that is there and wrong.
pub fn malformed(field: &str, message: impl Into<String>) -> CredentialError {
    error("credential_malformed", field, message)
}

/// The error of an option that this vendor cannot take; `name` is below `options`.
pub fn bad_option(name: &str, why: &str) -> CredentialError {
    let field = format!("options.{name}");
    let message = format!("{field} {why}");
    error("option_malformed", &field, message)
}

/// The error of a credential whose `type` this vendor does not know.
pub fn unknown_type(given: &str, known: &str) -> CredentialError {
    let message = format!("credential.type is {given:?}, it must be {known}");
    malformed("credential.type", message)
}

/// The error for a file sent to a vendor whose credentials are texts.
pub fn not_a_file(wanted: &str) -> CredentialError {
    let message = format!("this vendor's credential is not a file: send {wanted} as JSON");
    malformed("credential", message)
}

/// A text field that may be left out; blank counts as left out. `path` is where the object stands,
/// such as `credential`.
fn optional_text<'a>(
    value: Option<&'a Value>,
    path: &str,
    name: &str,
) -> Result<Option<&'a str>, CredentialError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.trim().is_empty())),
        Some(_) => {
            let field = format!("{path}.{name}");
            Err(malformed(&field, format!("{field} must be text")))
        }
    }
}

fn required<'a>(
    given: Option<&'a str>,
    path: &str,
    name: &str,
) -> Result<&'a str, CredentialError> {
    given.ok_or_else(|| {
        let field = format!("{path}.{name}");
        missing(&field, format!("{field} is missing or empty"))
    })
}

/// A text field of `object` that must be there and not blank, as it was given; `path` is where the
/// object stands, such as `credential`.
///
/// # Errors
/// `credential_missing_field` or, for another JSON type, `credential_malformed`.
pub fn text<'a>(object: &'a Value, path: &str, name: &str) -> Result<&'a str, CredentialError> {
    required(optional_text(object.get(name), path, name)?, path, name)
}

/// A field of the form that came with an uploaded file.
///
/// # Errors
/// `credential_missing_field` when it is absent or blank.
pub fn form<'a>(
    fields: &'a BTreeMap<String, String>,
    name: &str,
) -> Result<&'a str, CredentialError> {
    match fields.get(name).map(|text| text.trim()) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(missing(name, format!("the form field {name} is missing or empty"))),
    }
}

/// The `credential` object of one upload, its `type` checked.
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Opens the upload's object. `form` is the only `type` this vendor knows.
    ///
    /// # Errors
    /// Not an object, another type, or a field that tries to choose an endpoint: those come from
    /// the operator's config only.
    pub fn open(upload: &Upload<'a>, form: &str) -> Result<Self, CredentialError> {
        let Some(object) = upload.credential.as_object() else {
            return Err(malformed("credential", "credential must be an object"));
        };
        let fields = Fields { object };
        let given = fields.text("type")?;
        if given != form {
            return Err(unknown_type(given, form));
        }
        for (name, value) in object {
            let url = value.as_str().filter(|text| is_url(text));
            if let Some(url) = url
                && !upload.endpoints.0.values().any(|endpoint| endpoint == url)
            {
                let message = "endpoints are set in the server's config, not in a credential";
                return Err(error("foreign_endpoint", &format!("credential.{name}"), message));
            }
        }
        Ok(fields)
    }

    /// A field that may be left out; empty counts as left out.
    ///
    /// # Errors
    /// Not text, or text no vendor gives out: blanks, control or non-ASCII characters, too long.
    pub fn optional(&self, name: &str) -> Result<Option<&'a str>, CredentialError> {
        let given = optional_text(self.object.get(name), "credential", name)?;
        let Some(text) = given.map(str::trim) else { return Ok(None) };
        let field = format!("credential.{name}");
        if text.len() > FIELD_BYTES_MAX {
            let message = format!("{field} is longer than {FIELD_BYTES_MAX} bytes");
            return Err(malformed(&field, message));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("{field} must be printable ASCII without blanks");
            return Err(malformed(&field, message));
        }
        Ok(Some(text))
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// As [`Fields::optional`], and `credential_missing_field`.
    pub fn text(&self, name: &str) -> Result<&'a str, CredentialError> {
        required(self.optional(name)?, "credential", name)
    }

    /// A field that must be an identifier fit for a path: letters, digits, `.`, `-`, `_`.
    ///
    /// # Errors
    /// As [`Fields::text`], and any other character.
    pub fn identifier(&self, name: &str) -> Result<&'a str, CredentialError> {
        let text = self.text(name)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if text.bytes().all(fits) {
            return Ok(text);
        }
        let field = format!("credential.{name}");
        let message = format!("{field} may hold only letters, digits, dots, hyphens, underscores");
        Err(malformed(&field, message))
    }

    /// One warning per field but `type` that is not `known` to be read, and one when the upload
    /// asks for a sandbox that these vendors do not have.
    pub fn warnings(&self, known: &[&str], environment: Environment) -> Vec<String> {
        let unread = self.object.keys().filter(|name| {
            let name = name.as_str();
            name != "type" && !known.contains(&name)
        });
        let mut warnings: Vec<String> =
            unread.map(|name| format!("credential.{name} is not used")).collect();
        if environment == Environment::Sandbox {
            warnings.push("this vendor has no sandbox: the certificate is for production".into());
        }
        warnings
    }
}

/// A token that is neither empty nor longer than [`TOKEN_BYTES_MAX`].
///
/// # Errors
/// One sentence for the app's developer.
pub fn token_of_fair_length(token: &str) -> Result<&str, TokenError> {
    match token.len() {
        0 => Err(TokenError("the token is empty".into())),
        1..=TOKEN_BYTES_MAX => Ok(token),
        _ => Err(TokenError(format!("the token is longer than {TOKEN_BYTES_MAX} bytes"))),
    }
}

/// Checks a token that is opaque text: one word of printable ASCII that fits into a comma or
/// semicolon separated list. White space around it is dropped.
///
/// # Errors
/// One sentence for the app's developer.
pub fn opaque_token(token: &str) -> Result<Token, TokenError> {
    let token = token_of_fair_length(token.trim())?;
    let fits = |byte: u8| byte.is_ascii_graphic() && !b",;".contains(&byte);
    if !token.bytes().all(fits) {
        let message = "the token may hold only printable ASCII without blanks, commas, semicolons";
        return Err(TokenError(message.into()));
    }
    Ok(Token(token.into()))
}

fn is_url(text: &str) -> bool {
    let start = text.trim_start().get(..8).unwrap_or(text).to_ascii_lowercase();
    start.starts_with("http://") || start.starts_with("https://")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn open_error(credential: &Value) -> (&'static str, String) {
        let endpoints = Endpoints([("endpoint".to_owned(), "https://ours".to_owned())].into());
        let upload = Upload {
            credential,
            environment: Environment::Production,
            endpoints: &endpoints,
            now: UnixMs(0),
        };
        let checked = Fields::open(&upload, "oauth").and_then(|fields| fields.identifier("id"));
        let error = checked.expect_err("a refusal");
        (error.code, error.field)
    }

    #[test]
    fn each_mistake_names_its_field() {
        let cases = [
            (json!("x"), "credential_malformed", "credential"),
            (json!({}), "credential_missing_field", "credential.type"),
            (json!({"type": "p8"}), "credential_malformed", "credential.type"),
            (json!({"type": "oauth"}), "credential_missing_field", "credential.id"),
            (json!({"type": "oauth", "id": null}), "credential_missing_field", "credential.id"),
            (json!({"type": "oauth", "id": " "}), "credential_missing_field", "credential.id"),
            (json!({"type": "oauth", "id": 7}), "credential_malformed", "credential.id"),
            (json!({"type": "oauth", "id": "a/../b"}), "credential_malformed", "credential.id"),
            (json!({"type": "oauth", "id": "a b"}), "credential_malformed", "credential.id"),
            (
                json!({"type": "oauth", "id": "x".repeat(513)}),
                "credential_malformed",
                "credential.id",
            ),
            (
                json!({"type": "oauth", "id": "a", "token_uri": "HTTPS://theirs"}),
                "foreign_endpoint",
                "credential.token_uri",
            ),
        ];
        for (credential, code, field) in cases {
            assert_eq!(open_error(&credential), (code, field.to_owned()), "{credential}");
        }
    }

    #[test]
    fn what_nothing_reads_and_a_sandbox_are_warned_about() {
        let credential = json!({"type": "oauth", "id": "a", "extra": "https://ours"});
        let endpoints = Endpoints([("endpoint".to_owned(), "https://ours".to_owned())].into());
        let upload = Upload {
            credential: &credential,
            environment: Environment::Sandbox,
            endpoints: &endpoints,
            now: UnixMs(0),
        };
        let fields = Fields::open(&upload, "oauth").expect("our own endpoint may be named");
        let warnings = fields.warnings(&["id"], upload.environment);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert_eq!(warnings[0], "credential.extra is not used");
    }

    #[test]
    fn a_token_is_one_printable_word() {
        assert_eq!(opaque_token(" CN_a+/=.:\n").expect("a token").as_str(), "CN_a+/=.:");
        for wrong in ["", "  ", "a b", "a,b", "a;b", "é", "a\u{7}b", &"x".repeat(257)] {
            opaque_token(wrong).expect_err(wrong);
        }
        opaque_token(&"x".repeat(256)).expect("the longest");
    }
}
