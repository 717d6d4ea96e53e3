//! Tenants and their keys: the operator's part.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api::Api;
use crate::api::auth::{Admin, OfApp, app_id_of};
use crate::api::body::{self, Body};
use crate::api::error::ApiError;
use crate::model::app::{AfterWindow, App, AppSettings, HonourMute};
use crate::model::id::AppId;
use crate::model::message::checked_id;
use crate::model::time::{UnixMs, rfc3339};
use crate::render::words::subtags;

/// Longest name of an app or a key, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Most UserSig keys of one app.
const USERSIG_KEYS_MAX: usize = 8;

/// Longest secret of an app, in bytes: UserSig keys, `callback_key`, `webhook_token`. Tencent's
/// keys have 64 and its tokens at most 128.
const SECRET_BYTES_MAX: usize = 256;

/// Most admins of one app; Tencent allows 10.
const ADMINS_MAX: usize = 32;

/// Longest `default_locale`, in bytes: what a device's may have.
const LOCALE_BYTES_MAX: usize = 64;

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
        has_callback_key: settings.callback_key().is_some(),
        has_webhook_token: settings.webhook_token().is_some(),
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
    check_secrets(settings)?;
    if settings.admins.len() > ADMINS_MAX {
        let message = format!("at most {ADMINS_MAX} admins are allowed");
        return Err(ApiError::bad("too_many_admins", "admins", message));
    }
    for admin in &settings.admins {
        checked_id(admin, "admins", "field_malformed")?;
    }
    check_locale(&settings.default_locale)
}

fn check_secrets(settings: &AppSettings) -> Result<(), ApiError> {
    let keys = settings.usersig_keys.iter().map(|key| ("usersig_keys", key));
    let others =
        [("callback_key", &settings.callback_key), ("webhook_token", &settings.webhook_token)];
    let others = others.into_iter().filter_map(|(field, key)| Some((field, key.as_ref()?)));
    match keys.chain(others).find(|(_, key)| key.len() > SECRET_BYTES_MAX) {
        None => Ok(()),
        Some((field, _)) => {
            let message = format!("{field} may have at most {SECRET_BYTES_MAX} bytes");
            Err(ApiError::bad("field_too_long", field, message))
        }
    }
}

/// A language of which there are no words is fine: senders may have texts in it.
fn check_locale(locale: &str) -> Result<(), ApiError> {
    let field = "default_locale";
    if locale.len() > LOCALE_BYTES_MAX {
        let message = format!("{field} is longer than {LOCALE_BYTES_MAX} bytes");
        return Err(ApiError::bad("field_too_long", field, message));
    }
    let language = subtags(locale).next().unwrap_or_default();
    let is_language = matches!(language.len(), 2 | 3)
        && locale.starts_with(language)
        && language.bytes().all(|byte| byte.is_ascii_alphabetic());
    let mut parts = subtags(locale);
    if !is_language || !parts.all(|part| part.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        let message = "default_locale must be a language tag such as en or zh-Hant";
        return Err(ApiError::bad("field_malformed", field, message));
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
