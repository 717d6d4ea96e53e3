//! Online states and quiet hours (cloud.tencent.com/document/product/269/2566 and
//! trtc.io/document/48892).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::account::Accounts;
use crate::api::Api;
use crate::api::tencent::auth::Caller;
use crate::api::tencent::envelope::{Answer, Fail, NO_ACCOUNT, fields};
use crate::api::tencent::fields::{Fields, users};
use crate::api::tencent::send::RECEIVER_CODES;
use crate::model::device::{Device, Presence};
use crate::model::id::UserId;
use crate::model::time::UnixMs;
use crate::preferences::times::TimeOfDay;
use crate::preferences::window::{Daily, Once, PERMANENT_S, Window};
use crate::preferences::zone::Zone;
use crate::store::StoreError;

/// Most users one query names.
const QUERIED_MAX: usize = 500;

/// An illegal parameter of the quiet-hours API.
const ILLEGAL: u32 = 70_402;

/// Tencent's word for a user with these devices. One that was silent for longer than `stale_login`
/// gets no push, so it does not count as `PushOnline` either
/// (cloud.tencent.com/document/product/269/2566).
fn state_of(devices: &[Device], stale_login: Duration, now: UnixMs) -> &'static str {
    let any = |wanted: fn(&Device) -> bool| {
        devices.iter().any(|device| wanted(device) && now.since(device.seen_at) <= stale_login)
    };
    if any(|device| matches!(device.presence, Presence::Foreground | Presence::Background)) {
        "Online"
    } else if any(|device| device.presence == Presence::Offline) {
        "PushOnline"
    } else {
        "Offline"
    }
}

/// `openim/querystate`
pub async fn query(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let asked = users(given, "To_Account", QUERIED_MAX, &RECEIVER_CODES)?;
    let app = caller.app.app;
    let known = api.front_door.accounts.known(app, &asked).await?;
    let accounts = Accounts::new(api.store.clone()).read_many(app, asked.iter()).await?;
    let (stale_login, now) = (api.ingest.rule_settings(&caller.app).stale_login, api.clock.now());
    let (mut states, mut unknown) = (Vec::new(), Vec::new());
    for ((user, account), known) in asked.iter().zip(accounts).zip(known) {
        if known {
            // Older texts call the field State, newer ones Status.
            let state = state_of(&account.devices, stale_login, now);
            states.push(json!({ "To_Account": user, "State": state, "Status": state }));
        } else {
            unknown.push(json!({ "To_Account": user, "ErrorCode": NO_ACCOUNT }));
        }
    }
    Ok(fields(json!({ "QueryResult": states, "ErrorList": unknown })))
}

/// `im_msg_db_logic/admin_set_do_not_disturb`: replaces the user's windows. Level 0 ends them.
pub async fn set_do_not_disturb(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let user = UserId::from(given.id("To_Account", ILLEGAL)?.as_str());
    let windows = match given.optional::<u64>("Level", ILLEGAL)?.unwrap_or(1) {
        0 => Vec::new(),
        1 | 2 => vec![window(given)?],
        _ => return Err(Fail::new(ILLEGAL, "Level must be 0, 1 or 2")),
    };
    Accounts::new(api.store.clone())
        .change(caller.app.app, &user, |account, _| {
            account.preferences.do_not_disturb = windows.clone();
            Ok::<_, StoreError>(())
        })
        .await?;
    Ok(fields(json!({})))
}

fn window(given: &Fields<'_>) -> Result<Window, Fail> {
    let start_s: u64 = given.required("StartTime", ILLEGAL)?;
    let end_s: u64 = given.required("EndTime", ILLEGAL)?;
    let duration_s = end_s
        .checked_sub(start_s)
        .filter(|duration| *duration > 0)
        .ok_or_else(|| Fail::new(ILLEGAL, "EndTime must be later than StartTime"))?;
    let duration_s = u32::try_from(duration_s)
        .map_err(|_| Fail::new(ILLEGAL, "EndTime is too long after StartTime"))?;
    if given.optional::<u64>("IsRepeated", ILLEGAL)?.unwrap_or(0) == 0 {
        return Ok(Window::Once(Once { start_at: UnixMs::from_secs(start_s), duration_s }));
    }
    // Absolute seconds that repeat every day name a time of day in every fixed offset alike.
    let of_day = start_s % u64::from(PERMANENT_S);
    let clock = format!("{:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let start = TimeOfDay::parse(&clock).map_err(|error| Fail::new(ILLEGAL, error.to_string()))?;
    let time_zone = Zone::parse("+00:00").ok();
    Ok(Window::Daily(Daily { start, duration_s, time_zone }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window_of(json: &str) -> Result<Window, Fail> {
        window(&Fields::parse(json.as_bytes()).expect("an object"))
    }

    #[test]
    fn a_repeated_span_is_a_daily_window_in_a_fixed_offset() {
        // 2025-10-09T14:00:00Z is 22:00 in Beijing; eight hours.
        let json = r#"{"StartTime":1760018400,"EndTime":1760047200,"IsRepeated":1}"#;
        let Ok(Window::Daily(daily)) = window_of(json) else { panic!("daily") };
        assert_eq!((daily.start.to_string().as_str(), daily.duration_s), ("14:00", 28_800));
        assert_eq!(daily.time_zone.map(|zone| zone.name().to_owned()).as_deref(), Some("+00:00"));
    }

    #[test]
    fn a_span_of_one_time_must_not_end_before_it_begins() {
        let once = window_of(r#"{"StartTime":1760018400,"EndTime":1760018460}"#).expect("a span");
        let start_at = UnixMs::from_secs(1_760_018_400);
        assert_eq!(once, Window::Once(Once { start_at, duration_s: 60 }));
        for json in [
            r#"{"StartTime":2,"EndTime":1}"#,
            r#"{"StartTime":2,"EndTime":2}"#,
            r#"{"StartTime":"x","EndTime":2}"#,
            r#"{"EndTime":2}"#,
        ] {
            assert_eq!(window_of(json).expect_err(json).code, ILLEGAL);
        }
    }
}
