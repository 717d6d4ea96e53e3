//! Devices: registered, listed, logged out, and where their app is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::auth::{OfApp, OfUser};
use crate::api::body::{self, Body};
use crate::api::certificates::cert_id_of;
use crate::api::error::ApiError;
use crate::credentials::Certificate;
use crate::model::device::{Device, Platform, Presence, TokenState};
use crate::model::id::{CertId, DeviceId, TOKEN_BYTES_MAX, UserId};
use crate::model::message::checked_id;
use crate::model::time::{UnixMs, rfc3339};
use crate::preferences::zone::Zone;
use crate::registry::{Registration, StateReport};

/// Longest descriptive text of a device: brand, locale, version.
const TEXT_BYTES_MAX: usize = 64;

/// Most unknown fields of a registration that are named in its answer.
const IGNORED_MAX: usize = 8;

/// Devices on one page when the caller does not say.
const PAGE: usize = 100;

/// Most devices on one page.
const PAGE_MAX: usize = 1_000;

/// Body of a registration.
#[derive(Debug, Deserialize)]
struct Register {
    cert_id: CertId,
    #[serde(default)]
    token: String,
    platform: String,
    #[serde(default)]
    brand: Option<String>,
    #[serde(default)]
    locale: Option<String>,
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    app_version: Option<String>,
    #[serde(default)]
    sound: Option<String>,
    #[serde(default, rename = "isTPNSToken")]
    is_tpns_token: Option<bool>,
    #[serde(flatten)]
    unknown: BTreeMap<String, IgnoredAny>,
}

/// Body of a state report.
#[derive(Debug, Deserialize)]
struct ReportState {
    state: Presence,
    #[serde(default)]
    unread: Option<u32>,
}

/// A device as answered.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceView {
    /// User.
    pub user: UserId,
    /// Device.
    pub device_id: DeviceId,
    /// Certificate.
    pub cert_id: CertId,
    /// Vendor of the certificate; `null` when it does not exist any more.
    pub vendor: Option<&'static str>,
    /// Token.
    pub token: String,
    /// Short hash of the token, as traces and logs show it.
    pub token_hash: String,
    /// `live`, `dead` or `moved`.
    pub token_state: &'static str,
    /// Operating system.
    pub platform: Platform,
    /// Maker.
    pub brand: Option<String>,
    /// Language.
    pub locale: Option<String>,
    /// Zone.
    pub time_zone: Option<String>,
    /// Version of the app.
    pub app_version: Option<String>,
    /// Sound.
    pub sound: Option<String>,
    /// Where the app is.
    pub state: Presence,
    /// Since when.
    #[serde(with = "rfc3339")]
    pub state_at: UnixMs,
    /// Badge as last reported.
    pub unread: u32,
    /// When the token was registered.
    #[serde(with = "rfc3339")]
    pub registered_at: UnixMs,
    /// Last sign of life.
    #[serde(with = "rfc3339")]
    pub seen_at: UnixMs,
    /// What is odd about the registration, one sentence each.
    pub warnings: Vec<String>,
}

fn view(api: &Api, user: &UserId, device: &Device) -> DeviceView {
    let certificate = api.credentials.get(device.cert_id);
    let token_state = match device.token_state {
        TokenState::Live => "live",
        TokenState::Dead { .. } => "dead",
        TokenState::Moved { .. } => "moved",
    };
    let vendor = certificate.as_ref().map(|certificate| certificate.vendor.profile());
    let serves = vendor.is_none_or(|profile| profile.platforms.contains(&device.platform));
    let mut warnings = Vec::new();
    if let Some(profile) = vendor.filter(|_| !serves) {
        let (cert_id, name) = (device.cert_id, profile.name);
        warnings.push(format!(
            "certificate {cert_id} is for {name}, which does not serve this platform: nothing will \
             ring here"
        ));
    }
    DeviceView {
        user: user.clone(),
        device_id: device.device_id.clone(),
        cert_id: device.cert_id,
        vendor: vendor.map(|profile| profile.name),
        token: device.token.as_str().to_owned(),
        token_hash: device.token.short_hash(),
        token_state,
        platform: device.platform,
        brand: device.brand.clone(),
        locale: device.locale.clone(),
        time_zone: device.time_zone.clone(),
        app_version: device.app_version.clone(),
        sound: device.sound.clone(),
        state: device.presence,
        state_at: device.presence_at,
        unread: device.unread,
        registered_at: device.registered_at,
        seen_at: device.seen_at,
        warnings,
    }
}

/// `PUT …/users/{user}/devices/{device_id}`
pub async fn register(
    State(api): State<Arc<Api>>,
    OfUser { app, user }: OfUser,
    Path((_, _, device_id)): Path<(String, String, String)>,
    body: Body,
) -> Result<Json<DeviceView>, ApiError> {
    let device_id = device_id_of(&device_id)?;
    let mut given: Register = body::read(body)?;
    let unknown = std::mem::take(&mut given.unknown);
    let certificate = api
        .credentials
        .get_of(app.app, given.cert_id)
        .ok_or_else(|| no_certificate(given.cert_id))?;
    let registration = check(given, device_id, &certificate)?;
    let now = api.clock.now();
    let device = api.registry.register(app.app, &user, &registration, now).await?;
    let mut view = view(&api, &user, &device);
    view.warnings.extend(ignored(&unknown));
    Ok(Json(view))
}

/// Fields that are none of a registration's, such as `timezone`: whoever misspells one should see.
fn ignored(unknown: &BTreeMap<String, IgnoredAny>) -> impl Iterator<Item = String> {
    let names = unknown.keys().filter(|name| name.len() <= TEXT_BYTES_MAX);
    names.take(IGNORED_MAX).map(|name| format!("{name} is no field of a registration: ignored"))
}

fn no_certificate(cert_id: CertId) -> ApiError {
    let message = format!("there is no certificate {cert_id} in this app");
    ApiError::not_found("cert_not_found", message).field("cert_id")
}

fn check(
    given: Register,
    device_id: DeviceId,
    certificate: &Certificate,
) -> Result<Registration, ApiError> {
    if given.is_tpns_token == Some(true) {
        let message = "tokens of TPNS are not served: register the token of the phone's vendor";
        return Err(ApiError::bad("token_malformed", "isTPNSToken", message));
    }
    if given.token.trim().is_empty() {
        return Err(ApiError::bad("22003", "token", "token is empty"));
    }
    if given.token.len() > TOKEN_BYTES_MAX {
        let bytes = given.token.len();
        let message = format!("token has {bytes} bytes, at most {TOKEN_BYTES_MAX} are allowed");
        return Err(ApiError::bad("22004", "token", message));
    }
    let token = certificate
        .vendor
        .check_token(&given.token)
        .map_err(|error| ApiError::bad("token_malformed", "token", error.to_string()))?;
    if let Some(zone) = &given.time_zone {
        Zone::parse(zone).map_err(|_| {
            let message = "time_zone must be an IANA zone or an offset such as +09:00";
            ApiError::bad("field_malformed", "time_zone", message)
        })?;
    }
    for (field, text) in [
        ("brand", &given.brand),
        ("locale", &given.locale),
        ("app_version", &given.app_version),
        ("sound", &given.sound),
    ] {
        let long = text.as_ref().is_some_and(|text| text.len() > TEXT_BYTES_MAX);
        if long {
            let message = format!("{field} is longer than {TEXT_BYTES_MAX} bytes");
            return Err(ApiError::bad("field_too_long", field, message));
        }
    }
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(Registration {
        device_id,
        cert_id: given.cert_id,
        token,
        platform: platform(&given.platform)?,
        brand: filled(given.brand),
        locale: filled(given.locale),
        time_zone: filled(given.time_zone),
        app_version: filled(given.app_version),
        sound: filled(given.sound),
    })
}

/// Platforms are written in many ways: `iOS`, `iPadOS`, `HarmonyOS` … Case does not count.
fn platform(text: &str) -> Result<Platform, ApiError> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "ios" | "iphone" => Platform::Ios,
        "ipados" | "ipad" => Platform::Ipados,
        "macos" | "mac" => Platform::Macos,
        "android" => Platform::Android,
        "harmony" | "harmonyos" | "ohos" => Platform::Harmony,
        "other" => Platform::Other,
        _ => {
            let message = "platform must be ios, ipados, macos, android, harmony or other";
            return Err(ApiError::bad("field_malformed", "platform", message));
        }
    })
}

fn device_id_of(text: &str) -> Result<DeviceId, ApiError> {
    Ok(checked_id(text, "device_id", "device_id_malformed")?.into())
}

fn no_device() -> ApiError {
    let message = "this user has no such device";
    ApiError::not_found("device_not_found", message).field("device_id")
}

/// `GET …/users/{user}/devices`
pub async fn list(
    State(api): State<Arc<Api>>,
    OfUser { app, user }: OfUser,
) -> Result<Json<Value>, ApiError> {
    let devices = api.registry.devices(app.app, &user).await?;
    let devices: Vec<_> = devices.iter().map(|device| view(&api, &user, device)).collect();
    Ok(Json(json!({ "devices": devices })))
}

/// `DELETE …/users/{user}/devices/{device_id}`: log-out.
pub async fn log_out(
    State(api): State<Arc<Api>>,
    OfUser { app, user }: OfUser,
    Path((_, _, device_id)): Path<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    let device_id = device_id_of(&device_id)?;
    let found = api.registry.log_out(app.app, &user, &device_id, api.clock.now()).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(no_device()) }
}

/// `POST …/users/{user}/devices/{device_id}/state`
pub async fn report_state(
    State(api): State<Arc<Api>>,
    OfUser { app, user }: OfUser,
    Path((_, _, device_id)): Path<(String, String, String)>,
    body: Body,
) -> Result<Json<DeviceView>, ApiError> {
    let device_id = device_id_of(&device_id)?;
    let given: ReportState = body::read(body)?;
    let report = StateReport { presence: given.state, unread: given.unread };
    let now = api.clock.now();
    let device = api.registry.report_state(app.app, &user, &device_id, report, now).await?;
    let device = device.ok_or_else(no_device)?;
    Ok(Json(view(&api, &user, &device)))
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct PageQuery {
    /// From a previous answer.
    #[serde(default)]
    pub cursor: Option<String>,
    /// How many.
    #[serde(default)]
    pub limit: Option<usize>,
}

impl PageQuery {
    /// How many, within bounds.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)
    }
}

/// `GET …/certificates/{cert_id}/devices`
pub async fn list_of_certificate(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    Path((_, cert_id)): Path<(String, String)>,
    query: Result<Query<PageQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let cert_id = cert_id_of(&cert_id)?;
    let Query(query) = query?;
    if api.credentials.get_of(app.app, cert_id).is_none() {
        return Err(no_certificate(cert_id));
    }
    let cursor = query.cursor.as_deref();
    let page = api.registry.devices_of_certificate(app.app, cert_id, cursor, query.limit()).await?;
    let devices: Vec<_> =
        page.devices.iter().map(|(user, device)| view(&api, user, device)).collect();
    Ok(Json(json!({ "devices": devices, "cursor": page.cursor })))
}
