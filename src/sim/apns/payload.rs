//! The payload: size, shape, and what a phone shows of it (vendors-apns-fcm.md, A.6).
//!
//! What Apple answers to a malformed payload is unknown; it may even take it and show nothing.
//! Here it is refused with `SimulatorBadPayload` and a `detail`, so that a mistake is seen.

use http::StatusCode;
use serde_json::{Map, Value};

use crate::sim::apns::Refusal;
use crate::sim::apns::headers::PushType;

/// Largest payload in bytes.
pub const PAYLOAD_MAX: usize = 4_096;
/// Largest VoIP payload in bytes.
pub const VOIP_PAYLOAD_MAX: usize = 5_120;

/// Checks a payload; hands it back when it is `wanted`.
///
/// # Errors
/// `PayloadEmpty`, `PayloadTooLarge` or `SimulatorBadPayload`.
pub fn check(body: &[u8], push_type: PushType, wanted: bool) -> Result<Option<Value>, Refusal> {
    if body.is_empty() {
        return Err(Refusal::bad("PayloadEmpty"));
    }
    let limit = if push_type == PushType::Voip { VOIP_PAYLOAD_MAX } else { PAYLOAD_MAX };
    if body.len() > limit {
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge"));
    }
    let payload: Value = serde_json::from_slice(body).map_err(|_| malformed("is no JSON"))?;
    check_shape(&payload, push_type).map_err(malformed)?;
    Ok(wanted.then_some(payload))
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal { detail: Some(detail.into()), ..Refusal::bad("SimulatorBadPayload") }
}

fn check_shape(payload: &Value, push_type: PushType) -> Result<(), String> {
    let payload = payload.as_object().ok_or("is no object")?;
    if push_type == PushType::Mdm {
        return payload.get("mdm").map(|_| ()).ok_or_else(|| "mdm is missing".into());
    }
    if push_type == PushType::FileProvider {
        let named = payload.contains_key("container-identifier");
        return if named { Ok(()) } else { Err("container-identifier is missing".into()) };
    }
    // A PushKit payload may hold the app's own keys alone.
    if push_type == PushType::Voip && !payload.contains_key("aps") {
        return Ok(());
    }
    let aps = payload.get("aps").and_then(Value::as_object).ok_or("aps is no object")?;
    for (key, value) in aps {
        if !aps_value_fits(key, value) {
            return Err(format!("aps.{key} has the wrong type or value"));
        }
    }
    if let Some(alert) = aps.get("alert").and_then(Value::as_object) {
        for (key, value) in alert {
            if !alert_value_fits(key, value) {
                return Err(format!("aps.alert.{key} has the wrong type"));
            }
        }
    }
    check_kind(aps, push_type)
}

/// What a push type demands of `aps`.
fn check_kind(aps: &Map<String, Value>, push_type: PushType) -> Result<(), String> {
    let missing = match push_type {
        PushType::Background => {
            let shows = ["alert", "badge", "sound"].iter().any(|key| aps.contains_key(*key));
            if shows {
                return Err("a background push shows something".into());
            }
            !aps.contains_key("content-available")
        }
        PushType::Widgets | PushType::Controls => !aps.contains_key("content-changed"),
        PushType::LiveActivity => {
            !["event", "timestamp", "content-state"].iter().all(|key| aps.contains_key(*key))
        }
        PushType::Alert => !["alert", "badge", "sound"].iter().any(|key| aps.contains_key(*key)),
        _ => false,
    };
    if missing { Err("aps lacks what the push type demands".into()) } else { Ok(()) }
}

fn aps_value_fits(key: &str, value: &Value) -> bool {
    match key {
        "alert" => value.is_string() || value.is_object(),
        "badge" => value.is_u64(),
        "sound" => value.is_string() || sound_fits(value),
        "thread-id" | "category" | "target-content-id" | "filter-criteria" => value.is_string(),
        "attributes-type" => value.is_string(),
        "content-available" | "mutable-content" | "input-push-token" => value.as_u64() == Some(1),
        "interruption-level" => {
            let levels = ["passive", "active", "time-sensitive", "critical"];
            value.as_str().is_some_and(|level| levels.contains(&level))
        }
        "relevance-score" => value.is_number(),
        "stale-date" | "timestamp" | "dismissal-date" => value.is_u64(),
        "event" => value.as_str().is_some_and(|e| ["start", "update", "end"].contains(&e)),
        "content-state" | "attributes" => value.is_object(),
        "content-changed" => value.as_bool() == Some(true),
        "url-args" => value.is_array(),
        // Apple ignores keys of one's own.
        _ => true,
    }
}

/// The sound of a critical alert: `critical` 0 or 1, `volume` 0 to 1, and a name.
fn sound_fits(sound: &Value) -> bool {
    let fits = |key: &str, fits: &dyn Fn(&Value) -> bool| sound.get(key).is_none_or(fits);
    sound.get("name").is_some_and(Value::is_string)
        && fits("critical", &|flag| matches!(flag.as_u64(), Some(0 | 1)))
        && fits("volume", &|volume| volume.as_f64().is_some_and(|v| (0.0..=1.0).contains(&v)))
}

fn alert_value_fits(key: &str, value: &Value) -> bool {
    match key {
        "title-loc-args" | "subtitle-loc-args" | "loc-args" => {
            value.as_array().is_some_and(|args| args.iter().all(Value::is_string))
        }
        "summary-arg-count" => value.is_u64(),
        _ => value.is_string(),
    }
}

/// What a phone shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Displayed {
    /// Title.
    pub title: String,
    /// Text.
    pub body: String,
    /// Line under the title.
    pub subtitle: Option<String>,
    /// Number on the icon.
    pub badge: Option<u64>,
    /// The app's own `ext`: text as it is, anything else as JSON.
    pub ext: Option<String>,
}

/// Reads what a phone would show of a payload.
pub fn displayed(payload: &Value) -> Displayed {
    let aps = &payload["aps"];
    let alert = &aps["alert"];
    let text = |key: &str, localised: &str| {
        let found = alert[key].as_str().or_else(|| alert[localised].as_str());
        found.map(str::to_owned)
    };
    let body = alert.as_str().map(str::to_owned).or_else(|| text("body", "loc-key"));
    Displayed {
        title: text("title", "title-loc-key").unwrap_or_default(),
        body: body.unwrap_or_default(),
        subtitle: text("subtitle", "subtitle-loc-key"),
        badge: aps["badge"].as_u64(),
        ext: payload.get("ext").map(|ext| match ext {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }),
    }
}
