//! FCM credentials: the service-account file of a Firebase project.
//!
//! Facts: Google, "Using OAuth 2.0 for server to server applications" (reference, B.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::vendor::sign::{KeyError, Rs256Key};
use crate::vendor::upload::{
    Credential, CredentialError, Upload, error, malformed, missing, text, unknown_type,
};

/// Google's token endpoint: what every service-account file names.
pub const TOKEN_ENDPOINT: &str = "https://oauth2.googleapis.com/token";

/// What [`read`] looks at in a service-account file.
const READ: [&str; 6] =
    ["type", "project_id", "private_key_id", "private_key", "client_email", "token_uri"];

/// What sending needs of a service account.
pub struct Material {
    /// The Firebase project.
    pub project_id: String,
    /// Id of the private key, the `kid` of assertions.
    pub private_key_id: String,
    /// The account, the `iss` of assertions.
    pub client_email: String,
    /// Signs assertions.
    pub key: Rs256Key,
}

/// Reads an upload.
///
/// # Errors
/// The first mistake, with its field.
pub fn read(upload: &Upload<'_>) -> Result<Credential, CredentialError> {
    match text(upload.credential, "credential", "type")? {
        "service_account" => {}
        other => return Err(unknown_type(other, "service_account")),
    }
    const FILE: &str = "credential.json";
    let file = match upload.credential.get("json") {
        Some(file @ Value::Object(_)) => file,
        None | Some(Value::Null) => {
            return Err(missing(FILE, "credential.json is missing"));
        }
        Some(_) => {
            let message = "credential.json must be the object in the service-account file";
            return Err(malformed(FILE, message));
        }
    };
    let kind = text(file, FILE, "type")?;
    if kind != "service_account" {
        let message = format!(
            "credential.json.type is {kind:?}; download a service-account key in the Firebase \
             console (google-services.json is for the app, not for servers)"
        );
        return Err(malformed("credential.json.type", message));
    }
    let project_id = text(file, FILE, "project_id")?;
    if !project_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte)) {
        let message = "credential.json.project_id is not the id of a project";
        return Err(malformed("credential.json.project_id", message));
    }
    let private_key_id = text(file, FILE, "private_key_id")?;
    let client_email = text(file, FILE, "client_email")?;
    check_token_endpoint(file, upload)?;
    let key = Rs256Key::from_pem(text(file, FILE, "private_key")?).map_err(|problem| {
        let code = match problem {
            KeyError::NotPem => "credential_malformed",
            KeyError::WrongType(_) => "wrong_key_type",
        };
        let message = format!("credential.json.private_key: {problem}");
        error(code, "credential.json.private_key", message)
    })?;
    let material = Material {
        project_id: project_id.to_owned(),
        private_key_id: private_key_id.to_owned(),
        client_email: client_email.to_owned(),
        key,
    };
    let identity = [
        ("type", "service_account"),
        ("project_id", project_id),
        ("client_email", client_email),
        ("private_key_id", private_key_id),
    ];
    Ok(Credential {
        identity: identity.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        expires_at: None,
        environment: upload.environment,
        warnings: Vec::new(),
        material: Arc::new(material),
        client_identity: None,
    })
}

/// An upload must not choose where the relay connects to: a foreign `token_uri` would get signed
/// assertions, or make the relay probe inner hosts.
fn check_token_endpoint(file: &Value, upload: &Upload<'_>) -> Result<(), CredentialError> {
    let given = match file.get("token_uri") {
        None | Some(Value::Null) => return Ok(()),
        Some(given) => given.as_str(),
    };
    let configured = upload.endpoints.get("token_endpoint");
    if given.is_some_and(|given| given == TOKEN_ENDPOINT || given == configured) {
        return Ok(());
    }
    let message = format!(
        "credential.json.token_uri must be {TOKEN_ENDPOINT}; another one is set in the relay's \
         configuration, never in an upload"
    );
    Err(error("foreign_endpoint", "credential.json.token_uri", message))
}

/// Makes the `credential` object out of the uploaded service-account file.
///
/// # Errors
/// When the file is not JSON.
pub fn from_file(
    _file_name: &str,
    file: &[u8],
    _fields: &BTreeMap<String, String>,
) -> Result<Value, CredentialError> {
    let mut file: Value = serde_json::from_slice(file)
        .map_err(|_| malformed("file", "the service-account file is not JSON"))?;
    // What nothing reads is not kept, however much of it there is and however deep it is nested.
    if let Some(fields) = file.as_object_mut() {
        fields.retain(|name, _| READ.contains(&name.as_str()));
    }
    Ok(json!({"type": "service_account", "json": file}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_file_only_what_is_read_is_kept() {
        let deep = format!("{}{}", "[".repeat(126), "]".repeat(126));
        let file = format!(r#"{{"type":"service_account","client_id":"1","extra":{deep}}}"#);
        let made = from_file("a.json", file.as_bytes(), &BTreeMap::new()).expect("JSON");
        let kept = json!({"type": "service_account", "json": {"type": "service_account"}});
        assert_eq!(made, kept);
    }
}
