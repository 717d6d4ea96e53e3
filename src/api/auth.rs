//! Who may do what: extractors that a handler names in its arguments, so that no handler can
//! forget to ask.
//!
//! A key that is nobody's is 401. A key of another app, or the UserSig of another user, is 403
//! whether or not the asked app exists, so that nothing can be learned about what is not one's own.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::api::Api;
use crate::api::error::ApiError;
use crate::api_keys::Caller;
use crate::model::app::App;
use crate::model::id::{AppId, UserId};
use crate::model::message::checked_id;
use crate::usersig::{self, UserSigError};

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
    app_id_of(&text)
}

/// Reads an app's number from a path.
///
/// # Errors
/// 400.
pub fn app_id_of(text: &str) -> Result<AppId, ApiError> {
    let id = number(text).map(AppId);
    id.ok_or_else(|| ApiError::bad("app_malformed", "app", "app must be a number (SDKAppID)"))
}

/// A number in its one way of writing: `7`, not `+7` or `07`, so that a resource has one address.
pub fn number<T: FromStr>(text: &str) -> Option<T> {
    let plain = text == "0" || text.starts_with(|digit: char| ('1'..='9').contains(&digit));
    text.parse().ok().filter(|_| plain)
}

/// The app of that number.
///
/// # Errors
/// 404.
pub fn known(api: &Api, app: AppId) -> Result<Arc<App>, ApiError> {
    let message = || format!("there is no app {app}");
    api.apps.get(app).ok_or_else(|| ApiError::not_found("app_not_found", message()).field("app"))
}

const FOREIGN: &str = "the key is for another app";

/// The answer to what is no API key: a good UserSig, but not one that may do this, or nobody's. It
/// depends on nothing but the UserSig.
fn stranger(api: &Api, key: &str) -> ApiError {
    let is_good = |(app, user): (AppId, String)| {
        api.apps.get(app).is_some_and(|known| {
            let keys = &known.settings.usersig_keys;
            usersig::verify(key, keys, app, &user, api.clock.now()).is_ok()
        })
    };
    // Only what nobody signed counts as a guess.
    if usersig::named(key).is_ok_and(is_good) {
        ApiError::forbidden("a UserSig opens its own user's devices and preferences only")
    } else {
        api.unknown_key()
    }
}

impl FromRequestParts<Arc<Api>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        if api.open_to_all {
            return Ok(Admin);
        }
        let key = bearer(parts)?;
        match api.keys.scope_of(key) {
            Some(Caller::Admin) => Ok(Admin),
            Some(Caller::App(_)) => Err(ApiError::forbidden("only the admin key may do this")),
            None => Err(stranger(api, key)),
        }
    }
}

impl FromRequestParts<Arc<Api>> for OfApp {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let caller = if api.open_to_all {
            Caller::Admin
        } else {
            let key = bearer(parts)?;
            api.keys.scope_of(key).ok_or_else(|| stranger(api, key))?
        };
        let asked = app_id(parts, api).await?;
        match caller {
            Caller::App(own) if own != asked => Err(ApiError::forbidden(FOREIGN)),
            Caller::App(_) | Caller::Admin => {
                let app = known(api, asked)?;
                api.limits.may_ask(asked)?;
                Ok(OfApp { app, is_admin: caller == Caller::Admin })
            }
        }
    }
}

impl FromRequestParts<Arc<Api>> for OfUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let key = if api.open_to_all { None } else { Some(bearer(parts)?.to_owned()) };
        let caller = key.as_ref().map_or(Some(Caller::Admin), |key| api.keys.scope_of(key));
        let asked = app_id(parts, api).await?;
        match (caller, key) {
            (Some(Caller::App(own)), _) if own != asked => Err(ApiError::forbidden(FOREIGN)),
            (None, Some(key)) => of_user_sig(parts, api, asked, &key).await,
            (Some(_) | None, _) => {
                let app = known(api, asked)?;
                api.limits.may_ask(asked)?;
                Ok(OfUser { app, user: user_of(parts, api).await? })
            }
        }
    }
}

async fn user_of(parts: &mut Parts, api: &Arc<Api>) -> Result<UserId, ApiError> {
    let text = param(parts, api, "user").await?;
    Ok(UserId::from(checked_id(&text, "user", "user_malformed")?))
}

/// The key is no API key: it may be a UserSig of the path's user.
async fn of_user_sig(
    parts: &mut Parts,
    api: &Arc<Api>,
    asked: AppId,
    sig: &str,
) -> Result<OfUser, ApiError> {
    let user = user_of(parts, api).await;
    let found = api.apps.get(asked).map(|app| {
        let named = user.as_ref().map(UserId::as_str).unwrap_or_default();
        let keys = &app.settings.usersig_keys;
        let verified = usersig::verify(sig, keys, asked, named, api.clock.now());
        (app, verified)
    });
    let app = match found {
        Some((app, Ok(_))) => app,
        // Only somebody who once had a good one can have an expired one: telling so gives nothing
        // away, and the client learns that it must ask for another.
        Some((_, Err(error @ UserSigError::Expired))) => {
            let code = error.code().to_string();
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, &code, "the UserSig is expired"));
        }
        Some((_, Err(_))) | None => return Err(stranger(api, sig)),
    };
    api.limits.may_ask(asked)?;
    Ok(OfUser { app, user: user? })
}
