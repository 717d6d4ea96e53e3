//! Certificates: uploaded, rotated, verified, tried out. Secrets go in and never come out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::auth::{Admin, OfApp, number};
use crate::api::body::{self, Body};
use crate::api::error::ApiError;
use crate::credentials::{Certificate, CredentialsError, Draft};
use crate::dispatch::verify::Verified;
use crate::model::certificate::{CertificateInfo, CertificateStatus, Environment, Options};
use crate::model::id::{AppId, CertId};
use crate::model::json::from_value;
use crate::model::time::{UnixMs, rfc3339};
use crate::telemetry::events;
use crate::vendor;

/// A certificate as answered.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateView {
    /// App.
    pub app: AppId,
    /// Number.
    pub cert_id: CertId,
    /// Vendor.
    pub vendor: String,
    /// Name.
    pub name: String,
    /// Production or sandbox.
    pub environment: Environment,
    /// `active`, `disabled`, `expired` or `broken`.
    pub status: CertificateStatus,
    /// Why the vendor refuses it.
    pub broken: Option<String>,
    /// Switched on.
    pub enabled: bool,
    /// End of validity.
    #[serde(with = "rfc3339::option")]
    pub expires_at: Option<UnixMs>,
    /// What is odd about it.
    pub warnings: Vec<String>,
    /// What it says of itself.
    pub identity: BTreeMap<String, String>,
    /// Defaults of its pushes.
    pub options: Options,
    /// Counts rotations.
    pub revision: u32,
    /// First upload.
    #[serde(with = "rfc3339")]
    pub created_at: UnixMs,
    /// Last upload of a secret.
    #[serde(with = "rfc3339")]
    pub updated_at: UnixMs,
    /// Where its vendor may post receipts: a secret of operator and vendor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_path: Option<String>,
}

fn view(api: &Api, certificate: &Certificate, now: UnixMs) -> CertificateView {
    let receipt_path = api.receipts.path_of(certificate);
    CertificateView { receipt_path, ..view_of(&certificate.info, now) }
}

fn view_of(info: &CertificateInfo, now: UnixMs) -> CertificateView {
    let mut warnings = info.warnings.clone();
    if let Some(days) = info.ends_within_days(now) {
        let unit = if days == 1 { "day" } else { "days" };
        warnings.push(format!("it ends within {days} {unit}: upload a new one under the same id"));
    }
    CertificateView {
        app: info.app,
        cert_id: info.cert_id,
        vendor: info.vendor.clone(),
        name: info.name.clone(),
        environment: info.environment,
        status: info.status(now),
        broken: info.broken.clone(),
        enabled: info.enabled,
        expires_at: info.expires_at,
        warnings,
        identity: info.identity.clone(),
        options: info.options.clone(),
        revision: info.revision,
        created_at: info.created_at,
        updated_at: info.updated_at,
        receipt_path: None,
    }
}

/// As [`view`]; where receipts are posted is told to the operator alone.
fn view_for(api: &Api, certificate: &Certificate, now: UnixMs, is_admin: bool) -> CertificateView {
    let view = view(api, certificate, now);
    CertificateView { receipt_path: view.receipt_path.filter(|_| is_admin), ..view }
}

/// Reads a certificate's number from a path.
///
/// # Errors
/// 400.
pub fn cert_id_of(text: &str) -> Result<CertId, ApiError> {
    let number = number(text).map(CertId);
    number.ok_or_else(|| ApiError::bad("cert_id_malformed", "cert_id", "cert_id must be a number"))
}

fn find(api: &Api, app: AppId, cert_id: &str) -> Result<Arc<Certificate>, ApiError> {
    let cert_id = cert_id_of(cert_id)?;
    let found = api.credentials.get_of(app, cert_id);
    found.ok_or_else(|| match api.credentials.set_aside(app, cert_id) {
        Some(aside) => CredentialsError::Unusable(aside.why).into(),
        None => CredentialsError::NotFound.into(),
    })
}

/// `POST …/certificates`
pub async fn create(
    State(api): State<Arc<Api>>,
    _: Admin,
    OfApp { app, .. }: OfApp,
    request: Request,
) -> Result<(StatusCode, Json<CertificateView>), ApiError> {
    let draft = read_draft(&api, request, None).await?;
    check_app(&draft, app.app)?;
    let now = api.clock.now();
    let certificate = api.credentials.create(app.app, draft, now).await?;
    Ok((StatusCode::CREATED, Json(view(&api, &certificate, now))))
}

/// `PUT …/certificates/{cert_id}`
pub async fn change(
    State(api): State<Arc<Api>>,
    _: Admin,
    OfApp { app, .. }: OfApp,
    Path((_, cert_id)): Path<(String, String)>,
    request: Request,
) -> Result<Json<CertificateView>, ApiError> {
    let cert_id = cert_id_of(&cert_id)?;
    let old = api.credentials.info_of(app.app, cert_id).ok_or(CredentialsError::NotFound)?;
    let draft = read_draft(&api, request, Some(&old)).await?;
    check_app(&draft, app.app)?;
    let now = api.clock.now();
    let certificate = api.credentials.change(app.app, cert_id, draft, now).await?;
    Ok(Json(view(&api, &certificate, now)))
}

/// A credential file names its app; it must not end up in another one by mistake.
fn check_app(draft: &Draft, asked: AppId) -> Result<(), ApiError> {
    match draft.app {
        Some(named) if named != asked => {
            let message = format!("the upload is for app {named}, the path names app {asked}");
            Err(ApiError::bad("app_mismatch", "app", message))
        }
        _ => Ok(()),
    }
}

/// Reads an upload, or a change of `old`: JSON, or a form with the file.
async fn read_draft(
    api: &Arc<Api>,
    request: Request,
    old: Option<&CertificateInfo>,
) -> Result<Draft, ApiError> {
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("multipart/form-data"));
    if !is_form {
        let body = Bytes::from_request(request, api).await?;
        return match old.and_then(|old| with_options_of(old, &body)) {
            Some(whole) => body::read_slice(&whole),
            None => body::read_slice(&body),
        };
    }
    let form = Multipart::from_request(request, api).await.map_err(|_| unreadable_form())?;
    draft_of_form(form, old).await
}

/// A change whose options are given in part, with the others as they are: whoever changes a sound
/// must not lose the privacy level. `None` when there is nothing to add.
fn with_options_of(old: &CertificateInfo, body: &[u8]) -> Option<Vec<u8>> {
    let mut change: Value = serde_json::from_slice(body).ok()?;
    complete_options(old, change.get_mut("options")?);
    serde_json::to_vec(&change).ok()
}

/// Adds the options that are not given; `null` makes one what it is when nobody sets it.
fn complete_options(old: &CertificateInfo, options: &mut Value) {
    let Some(given) = options.as_object_mut() else { return };
    let Ok(Value::Object(mut whole)) = serde_json::to_value(&old.options) else { return };
    for (name, value) in std::mem::take(given) {
        if value.is_null() && whole.remove(&name).is_some() {
            continue;
        }
        whole.insert(name, value);
    }
    *given = whole;
}

type Parts = (BTreeMap<String, String>, Option<(String, Bytes)>);

/// The text fields of a form, and its file.
async fn parts_of_form(mut form: Multipart) -> Result<Parts, ApiError> {
    let (mut fields, mut file) = (BTreeMap::new(), None);
    while let Some(field) = form.next_field().await.map_err(|error| bad_form(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(str::to_owned);
        let bytes = field.bytes().await.map_err(|error| bad_form(&error))?;
        match file_name {
            Some(file_name) => file = Some((file_name, bytes)),
            None => {
                let text = String::from_utf8(bytes.to_vec())
                    .map_err(|_| ApiError::bad("form_malformed", &name, "not UTF-8"))?;
                fields.insert(name, text);
            }
        }
    }
    Ok((fields, file))
}

fn bad_form(error: &MultipartError) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::body_too_large();
    }
    unreadable_form()
}

fn unreadable_form() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "form_malformed", "the form cannot be read")
}

async fn draft_of_form(form: Multipart, old: Option<&CertificateInfo>) -> Result<Draft, ApiError> {
    let (mut fields, file) = parts_of_form(form).await?;
    let mut draft = Draft {
        vendor: fields.remove("vendor").or_else(|| old.map(|old| old.vendor.clone())),
        name: fields.remove("name"),
        ..Draft::default()
    };
    let quoted = |text: String| Value::String(text);
    if let Some(text) = fields.remove("environment") {
        draft.environment = Some(of_field("environment", quoted(text))?);
    }
    if let Some(text) = fields.remove("cert_id") {
        draft.cert_id = Some(cert_id_of(&text)?);
    }
    if let Some(text) = fields.remove("enabled") {
        let enabled = text.parse().map_err(|_| {
            ApiError::bad("field_malformed", "enabled", "enabled must be true or false")
        })?;
        draft.enabled = Some(enabled);
    }
    if let Some(text) = fields.remove("options") {
        let mut options: Value = serde_json::from_str(&text)
            .map_err(|_| ApiError::bad("field_malformed", "options", "options must be JSON"))?;
        if let Some(old) = old {
            complete_options(old, &mut options);
        }
        draft.options = Some(of_field("options", options)?);
    }
    let Some((file_name, bytes)) = file else {
        // What is there already may be changed without its secret; anything else in the form
        // would be a part of one.
        return match fields.keys().next() {
            None if old.is_some() => Ok(draft),
            _ => Err(ApiError::bad("missing_field", "file", "the form has no file")),
        };
    };
    let vendor = draft.vendor.as_deref().and_then(vendor::named).ok_or_else(|| {
        ApiError::bad("vendor_unknown", "vendor", "the form names no known vendor")
    })?;
    let credential =
        vendor.credential_from_file(&file_name, &bytes, &fields).map_err(CredentialsError::from)?;
    draft.credential = Some(credential);
    Ok(draft)
}

fn of_field<T: serde::de::DeserializeOwned>(field: &str, value: Value) -> Result<T, ApiError> {
    from_value(value).map_err(|message| ApiError::bad("field_malformed", field, message))
}

/// `GET …/certificates`
pub async fn list(
    State(api): State<Arc<Api>>,
    OfApp { app, is_admin }: OfApp,
) -> Result<Json<Value>, ApiError> {
    let now = api.clock.now();
    let usable = api.credentials.list(Some(app.app));
    let aside = api.credentials.all_set_aside(Some(app.app));
    let mut certificates: Vec<_> = usable
        .iter()
        .map(|certificate| view_for(&api, certificate, now, is_admin))
        .chain(aside.iter().map(|info| view_of(info, now)))
        .collect();
    certificates.sort_by_key(|view| view.cert_id);
    Ok(Json(json!({ "certificates": certificates })))
}

/// `GET …/certificates/{cert_id}`
pub async fn show(
    State(api): State<Arc<Api>>,
    OfApp { app, is_admin }: OfApp,
    Path((_, cert_id)): Path<(String, String)>,
) -> Result<Json<CertificateView>, ApiError> {
    let now = api.clock.now();
    let aside = api.credentials.set_aside(app.app, cert_id_of(&cert_id)?);
    if let Some(info) = aside.and_then(|aside| aside.shown()) {
        return Ok(Json(view_of(&info, now)));
    }
    let certificate = find(&api, app.app, &cert_id)?;
    Ok(Json(view_for(&api, &certificate, now, is_admin)))
}

/// `DELETE …/certificates/{cert_id}`
pub async fn delete(
    State(api): State<Arc<Api>>,
    _: Admin,
    OfApp { app, .. }: OfApp,
    Path((_, cert_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let cert_id = cert_id_of(&cert_id)?;
    api.credentials.delete(app.app, cert_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST …/certificates/{cert_id}/verify`
pub async fn verify(
    State(api): State<Arc<Api>>,
    _: Admin,
    OfApp { app, .. }: OfApp,
    Path((_, cert_id)): Path<(String, String)>,
) -> Result<Json<Verified>, ApiError> {
    let certificate = find(&api, app.app, &cert_id)?;
    let verified = api.dispatch.verify(&certificate).await;
    if verified.ok && certificate.info.broken.is_some() {
        let info = &certificate.info;
        if api.credentials.mark_broken(info.cert_id, info.edition(), None).await? {
            let vendor = certificate.vendor.profile().name;
            events::certificate_mended(info.cert_id.0, vendor);
        }
    }
    Ok(Json(verified))
}

#[derive(Debug, Deserialize)]
struct TestPush {
    token: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    desc: Option<String>,
}

/// `POST …/certificates/{cert_id}/test-push`
pub async fn test_push(
    State(api): State<Arc<Api>>,
    _: Admin,
    OfApp { app, .. }: OfApp,
    Path((_, cert_id)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Verified>, ApiError> {
    let certificate = find(&api, app.app, &cert_id)?;
    let given: TestPush = body::read(body)?;
    if certificate.info.options.live_activity {
        let message = "only the app knows what a Live Activity shows: send it as a message";
        return Err(ApiError::bad("no_test_push", "cert_id", message));
    }
    if given.token.trim().is_empty() {
        return Err(ApiError::bad("22003", "token", "token is empty"));
    }
    let token = certificate
        .vendor
        .check_token(&given.token)
        .map_err(|error| ApiError::bad("token_malformed", "token", error.to_string()))?;
    let title = given.title.unwrap_or_else(|| "offpush".to_owned());
    let desc = given.desc.unwrap_or_else(|| "This certificate works.".to_owned());
    Ok(Json(api.dispatch.test_push(&certificate, token, title, desc).await))
}
