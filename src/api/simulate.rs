//! What would other settings have decided about the messages that came?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::auth::OfApp;
use crate::api::body::{self, Body};
use crate::api::error::ApiError;
use crate::api::explain::instant;
use crate::explain::replay::{self, Changes, Difference};
use crate::explain::search;
use crate::model::app::HonourMute;
use crate::model::reason::Reason;

/// Messages read at a time.
const PAGE: usize = 500;

/// Differences listed one by one; all are counted.
const LISTED_MAX: usize = 1_000;

/// What may ring, in place of a reason.
const RINGS: &str = "would_push";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Simulate {
    since: Option<String>,
    until: Option<String>,
    #[serde(default)]
    settings: Tried,
}

/// Settings to try.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tried {
    honour_mute: Option<HonourMute>,
    mention_all_lifts_mute: Option<bool>,
    stale_login_days: Option<u32>,
    foreground_expires_s: Option<u32>,
}

impl Tried {
    fn changes(&self) -> Changes {
        let seconds = |seconds: u64| Duration::from_secs(seconds);
        Changes {
            honour_mute: self.honour_mute,
            mention_all_lifts_mute: self.mention_all_lifts_mute,
            stale_login: self.stale_login_days.map(|days| seconds(u64::from(days) * 86_400)),
            foreground_expires: self.foreground_expires_s.map(|s| seconds(u64::from(s))),
        }
    }
}

/// Counts and lists what would come out otherwise.
#[derive(Default)]
struct Report {
    messages: usize,
    deliveries: usize,
    changed: usize,
    counts: BTreeMap<(&'static str, &'static str), usize>,
    listed: Vec<Value>,
}

fn name(reason: Option<Reason>) -> &'static str {
    reason.map_or(RINGS, Reason::as_str)
}

impl Report {
    fn note(&mut self, difference: &Difference) {
        let (before, after) = (name(difference.before), name(difference.after));
        self.changed += 1;
        *self.counts.entry((before, after)).or_default() += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(json!({
                "message_id": difference.message_id,
                "user": difference.user,
                "device_id": difference.device_id,
                "before": before,
                "after": after,
            }));
        }
    }

    fn answer(self) -> Value {
        let reasons: Vec<Value> = self
            .counts
            .into_iter()
            .map(|((before, after), deliveries)| {
                json!({ "before": before, "after": after, "deliveries": deliveries })
            })
            .collect();
        json!({
            "messages": self.messages,
            "deliveries": self.deliveries,
            "changed": self.changed,
            "reasons": reasons,
            "differences": self.listed,
            "differences_left_out": self.changed - self.listed.len(),
        })
    }
}

/// `POST …/simulate`: decides what came again, with other settings and without any effect.
pub async fn simulate(
    State(api): State<Arc<Api>>,
    OfApp { app, .. }: OfApp,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let asked: Simulate = body::read(body)?;
    let changes = asked.settings.changes();
    let query = search::Query {
        since: asked.since.as_deref().map(|text| instant("since", text)).transpose()?,
        until: asked.until.as_deref().map(|text| instant("until", text)).transpose()?,
        ..search::Query::default()
    };
    let now = api.clock.now();
    let mut report = Report::default();
    let mut after = None;
    loop {
        let (traces, next) = search::many(&api.store, app.app, &query, after, PAGE, now).await?;
        for trace in &traces {
            report.messages += 1;
            report.deliveries += trace.opening.deliveries.len();
            for difference in replay::decide_again(trace, &changes) {
                report.note(&difference);
            }
        }
        after = next;
        if after.is_none() {
            return Ok(Json(report.answer()));
        }
    }
}
