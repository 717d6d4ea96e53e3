//! What users want: push switch, quiet hours, sounds, options per conversation.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::auth::OfUser;
use crate::api::body::{self, Body};
use crate::api::error::ApiError;
use crate::model::id::{Conversation, ID_BYTES_MAX};
use crate::preferences::Preferences;
use crate::preferences::receive::ReceiveOption;

/// `GET …/users/{user}/preferences`
pub async fn show(
    State(api): State<Arc<Api>>,
    OfUser { app, user }: OfUser,
) -> Result<Json<Preferences>, ApiError> {
    Ok(Json(api.receive_options.preferences(app.app, &user).await?))
}

/// `PUT …/users/{user}/preferences`: replaces them whole.
pub async fn set(
    State(api): State<Arc<Api>>,
    OfUser { app, user }: OfUser,
    body: Body,
) -> Result<Json<Preferences>, ApiError> {
    let preferences: Preferences = body::read(body)?;
    api.receive_options.set_preferences(app.app, &user, &preferences).await?;
    Ok(Json(preferences))
}

#[derive(Debug, Deserialize)]
struct SetOption {
    option: ReceiveOption,
}

fn conversation_of(text: &str) -> Result<Conversation, ApiError> {
    let malformed =
        |message: String| ApiError::bad("conversation_malformed", "conversation", message);
    if text.len() > ID_BYTES_MAX + 8 || text.chars().any(char::is_control) {
        return Err(malformed("the conversation is too long or holds control characters".into()));
    }
    text.parse().map_err(malformed)
}

fn option_view(conversation: &Conversation, option: ReceiveOption) -> Json<Value> {
    Json(json!({ "conversation": conversation.to_string(), "option": option.number() }))
}

/// `GET …/conversations/{conversation}/receive-option`
pub async fn show_option(
    State(api): State<Arc<Api>>,
    OfUser { app, user }: OfUser,
    Path((_, _, conversation)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let conversation = conversation_of(&conversation)?;
    let option = api.receive_options.read(app.app, &user, &conversation).await?;
    Ok(option_view(&conversation, option))
}

/// `PUT …/conversations/{conversation}/receive-option`
pub async fn set_option(
    State(api): State<Arc<Api>>,
    OfUser { app, user }: OfUser,
    Path((_, _, conversation)): Path<(String, String, String)>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let conversation = conversation_of(&conversation)?;
    let SetOption { option } = body::read(body)?;
    api.receive_options.write(app.app, &user, &conversation, option).await?;
    Ok(option_view(&conversation, option))
}

/// `DELETE …/conversations/{conversation}/receive-option`: back to receiving.
pub async fn clear_option(
    State(api): State<Arc<Api>>,
    OfUser { app, user }: OfUser,
    Path((_, _, conversation)): Path<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    let conversation = conversation_of(&conversation)?;
    let option = ReceiveOption::default();
    api.receive_options.write(app.app, &user, &conversation, option).await?;
    Ok(StatusCode::NO_CONTENT)
}
