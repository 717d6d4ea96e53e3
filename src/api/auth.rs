//! Who may do what: extractors that a handler names in its arguments, so that no handler can
//! forget to ask.
//!
//! A key that is nobody's is 401. A key of another app is 403 whether or not the asked app exists,
//! so that nothing can be learned about apps that are not one's own.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::api::Api;
use crate::api::error::ApiError;
use crate::api_keys::Caller;
use crate::model::app::App;
use crate::model::id::{AppId, UserId};
use crate::model::message::checked_id;
use crate::usersig;

/// The operator.
pub struct Admin;

/// The operator or the app's own key.
pub struct OfApp {
    /// The app of the path.
    pub app: Arc<App>,
    /// Whether the operator asks.
    pub is_admin: bool,
}

/// The operator, the app's key, or the user of the path with a UserSig.
pub struct OfUser {
    /// The app of the path.
    pub app: Arc<App>,
    /// The user of the path.
    pub user: UserId,
}

fn bearer(parts: &Parts) -> Result<&str, ApiError> {
    let Some(value) = parts.headers.get(AUTHORIZATION) else {
        return Err(ApiError::unauthorized("the Authorization header is missing"));
    };
    let key = value.to_str().ok().and_then(|text| {
        let (scheme, key) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    key.ok_or_else(|| ApiError::unauthorized("Authorization must be `Bearer <key>`"))
}

async fn param(parts: &mut Parts, api: &Arc<Api>, name: &str) -> Result<String, ApiError> {
    let params = RawPathParams::from_request_parts(parts, api)
        .await
        .map_err(|_| ApiError::bad("path_malformed", name, "the path is not valid UTF-8"))?;
    let value = params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
    value.ok_or_else(|| ApiError::bad("path_malformed", name, format!("{name} is missing")))
}

async fn app_id(parts: &mut Parts, api: &Arc<Api>) -> Result<AppId, ApiError> {
    let text = param(parts, api, "app").await?;
    let id = text.parse().map(AppId);
    id.map_err(|_| ApiError::bad("app_malformed", "app", "app must be a number (SDKAppID)"))
}

fn known(api: &Api, app: AppId) -> Result<Arc<App>, ApiError> {
    let message = || format!("there is no app {app}");
    api.apps.get(app).ok_or_else(|| ApiError::not_found("app_not_found", message()).field("app"))
}

const NOBODY: &str = "the key is not known";
const FOREIGN: &str = "the key is for another app";

impl FromRequestParts<Arc<Api>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        if api.open_to_all {
            return Ok(Admin);
        }
        let key = bearer(parts)?;
        match api.check_key(key)? {
            Some(Caller::Admin) => Ok(Admin),
            Some(Caller::App(_)) => Err(ApiError::forbidden("only the admin key may do this")),
            None => Err(ApiError::unauthorized(NOBODY)),
        }
    }
}

impl FromRequestParts<Arc<Api>> for OfApp {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        if api.open_to_all {
            let app = app_id(parts, api).await?;
            return Ok(OfApp { app: known(api, app)?, is_admin: true });
        }
        let caller = api.check_key(bearer(parts)?)?;
        let asked = app_id(parts, api).await?;
        match caller {
            Some(Caller::Admin) => Ok(OfApp { app: known(api, asked)?, is_admin: true }),
            Some(Caller::App(own)) if own == asked => {
                Ok(OfApp { app: known(api, asked)?, is_admin: false })
            }
            Some(Caller::App(_)) => Err(ApiError::forbidden(FOREIGN)),
            None => Err(ApiError::unauthorized(NOBODY)),
        }
    }
}

impl FromRequestParts<Arc<Api>> for OfUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let text = param(parts, api, "user").await?;
        let user = UserId::from(checked_id(&text, "user", "user_malformed")?);
        if api.open_to_all {
            let app = app_id(parts, api).await?;
            return Ok(OfUser { app: known(api, app)?, user });
        }
        let key = bearer(parts)?.to_owned();
        let caller = api.keys.scope_of(&key);
        let asked = app_id(parts, api).await?;
        match caller {
            Some(Caller::Admin) => Ok(OfUser { app: known(api, asked)?, user }),
            Some(Caller::App(own)) if own == asked => Ok(OfUser { app: known(api, asked)?, user }),
            Some(Caller::App(_)) => Err(ApiError::forbidden(FOREIGN)),
            None => {
                api.check_attempts()?;
                let app = api.apps.get(asked).filter(|app| {
                    let keys = &app.settings.usersig_keys;
                    let now = api.clock.now();
                    usersig::verify(&key, keys, asked, user.as_str(), now).is_ok()
                });
                match app {
                    Some(app) => Ok(OfUser { app, user }),
                    None => {
                        api.failed_attempt();
                        Err(ApiError::unauthorized(NOBODY))
                    }
                }
            }
        }
    }
}
