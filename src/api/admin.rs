//! Tenants and their keys: the operator's part.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api::Api;
use crate::api::auth::{Admin, OfApp, app_id_of};
use crate::api::body::{self, Body};
use crate::api::error::ApiError;
use crate::model::app::{AfterWindow, App, AppSettings, HonourMute};
use crate::model::id::AppId;
use crate::model::time::{UnixMs, rfc3339};

/// Longest name of an app or a key, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Longest callback URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// Most UserSig keys of one app.
const USERSIG_KEYS_MAX: usize = 8;

/// A tenant as answered: secrets are counted, not shown.
#[derive(Clone, Debug, Serialize)]
pub struct AppView {
    app: AppId,
    name: String,
    usersig_keys: usize,
    admins: Vec<String>,
    callback_url: Option<String>,
    has_callback_key: bool,
    has_webhook_token: bool,
    honour_mute: HonourMute,
    mention_all_lifts_mute: bool,
    after_do_not_disturb: AfterWindow,
    default_locale: String,
    replace_recalled: bool,
    #[serde(with = "rfc3339")]
    created_at: UnixMs,
}

fn view(app: &App) -> AppView {
    let settings = &app.settings;
    AppView {
        app: app.app,
        name: settings.name.clone(),
        usersig_keys: settings.usersig_keys.len(),
        admins: settings.admins.clone(),
        callback_url: settings.callback_url.clone(),
        has_callback_key: settings.callback_key.is_some(),
        has_webhook_token: settings.webhook_token.is_some(),
        honour_mute: settings.honour_mute,
        mention_all_lifts_mute: settings.mention_all_lifts_mute,
        after_do_not_disturb: settings.after_do_not_disturb,
        default_locale: settings.default_locale.clone(),
        replace_recalled: settings.replace_recalled,
        created_at: app.created_at,
    }
}

/// `GET /v1/apps`
pub async fn list_apps(State(api): State<Arc<Api>>, _: Admin) -> Json<Value> {
    let apps: Vec<_> = api.apps.all().iter().map(|app| view(app)).collect();
    Json(json!({ "apps": apps }))
}

/// `GET /v1/apps/{app}`
pub async fn get_app(OfApp { app, .. }: OfApp) -> Json<AppView> {
    Json(view(&app))
}

/// `PUT /v1/apps/{app}`: creates it, or changes the fields that are given; `null` takes one back
/// to its default.
pub async fn put_app(
    State(api): State<Arc<Api>>,
    _: Admin,
    Path(app): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<AppView>), ApiError> {
    let id = app_id_of(&app)?;
    let given: Value = body::read(body)?;
    let Value::Object(given) = given else {
        let message = "the body must be an object";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "json_malformed", message));
    };
    let change = |old: AppSettings| {
        let settings = merge(&old, &given)?;
        check(&settings)?;
        if let Some(url) = &settings.callback_url {
            let refused = |message| ApiError::bad("field_malformed", "callback_url", message);
            api.results.check_address(url).map_err(refused)?;
        }
        Ok::<_, ApiError>(settings)
    };
    let (app, is_new) = api.apps.change(id, api.clock.now(), change).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(view(&app))))
}

/// The settings with the fields that are given.
fn merge(old: &AppSettings, given: &Map<String, Value>) -> Result<AppSettings, ApiError> {
    let mut merged = serde_json::to_value(old)
        .map_err(|error| ApiError::bad("app_malformed", "app", error.to_string()))?;
    if let Value::Object(merged) = &mut merged {
        for (field, value) in given {
            // A null takes a field back to its default. One that is not known stays, so that the
            // typing mistake is reported.
            if value.is_null() && merged.contains_key(field) {
                merged.remove(field);
            } else {
                merged.insert(field.clone(), value.clone());
            }
        }
    }
    body::read_slice(merged.to_string().as_bytes())
}

fn check(settings: &AppSettings) -> Result<(), ApiError> {
    if settings.name.len() > NAME_BYTES_MAX {
        let message = format!("name is longer than {NAME_BYTES_MAX} bytes");
        return Err(ApiError::bad("field_too_long", "name", message));
    }
    if settings.usersig_keys.len() > USERSIG_KEYS_MAX {
        let message = format!("at most {USERSIG_KEYS_MAX} keys are allowed");
        return Err(ApiError::bad("too_many_keys", "usersig_keys", message));
    }
    if settings.usersig_keys.iter().any(String::is_empty) {
        return Err(ApiError::bad("field_malformed", "usersig_keys", "a key is empty"));
    }
    settings.callback_url.as_deref().map_or(Ok(()), check_callback_url)
}

fn check_callback_url(url: &str) -> Result<(), ApiError> {
    let refused = |message| Err(ApiError::bad("field_malformed", "callback_url", message));
    let parsed: Option<Uri> = url.parse().ok().filter(|_| url.len() <= URL_BYTES_MAX);
    let scheme = parsed.as_ref().and_then(Uri::scheme_str);
    if !matches!(scheme, Some("http" | "https")) {
        return refused("callback_url must be an http or https URL");
    }
    let authority = parsed.as_ref().and_then(Uri::authority);
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return refused("callback_url must not hold credentials, they would show in answers");
    }
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NewKey {
    name: String,
}

/// `POST /v1/apps/{app}/keys`
pub async fn create_key(
    State(api): State<Arc<Api>>,
    _: Admin,
    OfApp { app, .. }: OfApp,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let bytes = body?;
    let given: NewKey =
        if bytes.is_empty() { NewKey::default() } else { body::read_slice(&bytes)? };
    if given.name.len() > NAME_BYTES_MAX {
        let message = format!("name is longer than {NAME_BYTES_MAX} bytes");
        return Err(ApiError::bad("field_too_long", "name", message));
    }
    let (key, info) = api.keys.create(app.app, &given.name, api.clock.now()).await?;
    let created_at = info.created_at.to_string();
    let answer = json!({
        "id": info.id, "app": info.app, "name": info.name, "created_at": created_at, "key": key });
    Ok((StatusCode::CREATED, Json(answer)))
}

/// `GET /v1/apps/{app}/keys`
pub async fn list_keys(
    State(api): State<Arc<Api>>,
    _: Admin,
    OfApp { app, .. }: OfApp,
) -> Json<Value> {
    Json(json!({ "keys": api.keys.list(app.app) }))
}

/// `DELETE /v1/apps/{app}/keys/{id}`
pub async fn delete_key(
    State(api): State<Arc<Api>>,
    _: Admin,
    OfApp { app, .. }: OfApp,
    Path((_, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    if api.keys.delete(app.app, &id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(ApiError::not_found("key_not_found", "this app has no such key").field("id"))
}
