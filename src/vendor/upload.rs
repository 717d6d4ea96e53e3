//! Reading the `credential` object of an upload whose fields are plain texts: Huawei, Xiaomi and
//! OPPO give their customers pairs of strings, not files.

use serde_json::{Map, Value};

use crate::model::certificate::Environment;
use crate::model::id::Token;
use crate::vendor::{CredentialError, TokenError, Upload};

/// Longest text of one credential field in bytes; vendors give out far shorter ones.
pub const FIELD_BYTES_MAX: usize = 512;

/// Longest token in bytes (reference, Tencent 6.6: a token is at most 256 bytes).
pub const TOKEN_BYTES_MAX: usize = 256;

/// The `credential` object of one upload, its `type` checked.
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Opens the upload's object. `form` is the only `type` this vendor knows; `known` names every
    /// field it reads, `type` left out.
    ///
    /// # Errors
    /// Not an object, another type, or a field that tries to choose an endpoint: those come from
    /// the operator's config only.
    pub fn open(upload: &Upload<'a>, form: &str) -> Result<Self, CredentialError> {
        let Some(object) = upload.credential.as_object() else {
            let message = "credential must be an object".to_owned();
            return Err(malformed("credential", message));
        };
        let fields = Fields { object };
        let given = fields.text("type")?;
        if given != form {
            let message = format!("credential.type must be {form}");
            return Err(malformed("credential.type", message));
        }
        for (name, value) in object {
            let url = value.as_str().filter(|text| is_url(text));
            if let Some(url) = url
                && !upload.endpoints.0.values().any(|endpoint| endpoint == url)
            {
                return Err(CredentialError {
                    code: "foreign_endpoint",
                    field: format!("credential.{name}"),
                    message: "endpoints are set in the server's config, not in a credential".into(),
                });
            }
        }
        Ok(fields)
    }

    /// A field that may be left out; empty counts as left out.
    ///
    /// # Errors
    /// Not text, or text no vendor gives out: blanks, control or non-ASCII characters, too long.
    pub fn optional(&self, name: &str) -> Result<Option<&'a str>, CredentialError> {
        let field = format!("credential.{name}");
        let text = match self.object.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.trim(),
            Some(_) => return Err(malformed(&field, format!("{field} must be text"))),
        };
        if text.is_empty() {
            return Ok(None);
        }
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
        self.optional(name)?.ok_or_else(|| missing(name, format!("credential.{name} is missing")))
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

    /// One warning per field that nothing reads, and one when the upload asks for a sandbox that
    /// these vendors do not have.
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

/// The error for a field that is not there; `name` is relative to `credential`.
pub fn missing(name: &str, message: String) -> CredentialError {
    let field = format!("credential.{name}");
    CredentialError { code: "credential_missing_field", field, message }
}

/// The error for a field that is there and wrong.
pub fn malformed(field: &str, message: String) -> CredentialError {
    CredentialError { code: "credential_malformed", field: field.to_owned(), message }
}

/// The error for a file sent to a vendor whose credentials are texts.
pub fn not_a_file(wanted: &str) -> CredentialError {
    let message = format!("this vendor's credential is not a file: send {wanted} as JSON");
    malformed("credential", message)
}

/// Checks a token that is opaque text: one word of printable ASCII that fits into a comma or
/// semicolon separated list. White space around it is dropped.
///
/// # Errors
/// One sentence for the app's developer.
pub fn opaque_token(token: &str) -> Result<Token, TokenError> {
    let token = token.trim();
    if token.is_empty() {
        return Err(TokenError("token is empty".into()));
    }
    if token.len() > TOKEN_BYTES_MAX {
        let message = format!("token is longer than {TOKEN_BYTES_MAX} bytes");
        return Err(TokenError(message));
    }
    let fits = |byte: u8| byte.is_ascii_graphic() && !b",;".contains(&byte);
    if !token.bytes().all(fits) {
        let message = "token may hold only printable ASCII without blanks, commas, semicolons";
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
    use crate::model::time::UnixMs;
    use crate::vendor::Endpoints;

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
