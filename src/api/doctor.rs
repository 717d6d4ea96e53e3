//! Why does nothing ring for this user?

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use crate::account::Accounts;
use crate::api::Api;
use crate::api::auth::OfApp;
use crate::api::error::ApiError;
use crate::api::explain::halt;
use crate::explain::doctor::{self, Case, Checkup, DeviceCase};
use crate::explain::search;
use crate::facts::default_zone;
use crate::model::id::UserId;
use crate::model::message::checked_id;
use crate::model::time::UnixMs;
use crate::policy::WindowFacts;
use crate::preferences::window::open_at;
use crate::vendor;

/// Most conversations listed.
const CONVERSATIONS_MAX: usize = 100;

/// `GET …/users/{user}/doctor`
pub async fn examine(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    Path((_, user)): Path<(String, String)>,
) -> Result<Json<Checkup>, ApiError> {
    let user = UserId::from(checked_id(&user, "user", "user_malformed")?);
    let now = api.clock.now();
    let account = Accounts::new(api.store.clone()).read(app.app, &user).await?;
    let conversations = if account.has_receive_options {
        api.receive_options.list(app.app, &user, CONVERSATIONS_MAX).await?
    } else {
        Vec::new()
    };
    let back = u64::try_from(doctor::LOOKS_BACK.as_millis()).unwrap_or(u64::MAX);
    let query = search::Query {
        user: Some(user.clone()),
        since: Some(UnixMs(now.0.saturating_sub(back))),
        ..search::Query::default()
    };
    let (most, rows_max) = (doctor::MESSAGES_MAX, search::ROWS_MAX);
    let traces = search::newest(&api.store, app.app, &query, most, rows_max, now).await?;
    let certificates: Vec<_> = account
        .devices
        .iter()
        .map(|device| {
            let info = api.credentials.shown_of(app.app, device.cert_id)?;
            let vendor = vendor::named(&info.vendor)?;
            Some((info, vendor))
        })
        .collect();
    let devices = account
        .devices
        .iter()
        .zip(&certificates)
        .map(|(device, certificate)| DeviceCase {
            device,
            certificate: certificate.as_ref().map(|(info, vendor)| (info, *vendor)),
            lane: halt(&api, app.app, device.cert_id),
        })
        .collect();
    let windows = &account.preferences.do_not_disturb;
    let checkup = doctor::examine(&Case {
        user: &user,
        account: &account,
        devices,
        window: open_at(windows, now, default_zone(&account))
            .map(|open| WindowFacts { zone: open.zone, closes_at: open.closes_at }),
        conversations,
        traces: &traces,
        settings: &api.ingest.rule_settings(&app),
        now,
    });
    Ok(Json(checkup))
}
