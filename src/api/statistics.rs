//! How many pushes were tried, taken, shown and tapped.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use crate::api::Api;
use crate::api::auth::OfApp;
use crate::api::error::ApiError;
use crate::api::explain::instant;
use crate::statistics::{self, DAYS_MAX, Day, Statistics};

/// Days answered when none are named.
const DAYS_DEFAULT: u32 = 7;

/// Which days.
#[derive(Debug, Deserialize)]
pub struct Days {
    since: Option<String>,
    until: Option<String>,
}

/// `GET …/statistics`: the days (UTC) from `since` to `until`, both included.
pub async fn show(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    query: Result<Query<Days>, QueryRejection>,
) -> Result<Json<Statistics>, ApiError> {
    let Query(days) = query?;
    let day = |field, text: Option<String>| {
        let text = text.as_deref();
        text.map(|text| instant(field, text).map(Day::of)).transpose()
    };
    let last = day("until", days.until)?.unwrap_or(Day::of(api.clock.now()));
    let first = day("since", days.since)?.unwrap_or(last.before(DAYS_DEFAULT - 1));
    if first > last {
        let message = "since is later than until";
        return Err(ApiError::bad("field_malformed", "since", message));
    }
    if last.0 - first.0 >= DAYS_MAX {
        let message = format!("at most {DAYS_MAX} days can be asked for at once");
        return Err(ApiError::bad("range_too_long", "since", message));
    }
    Ok(Json(statistics::read(&api.store, app.app, first, last).await?))
}
