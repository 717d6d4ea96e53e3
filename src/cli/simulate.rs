//! `offpush simulate`: what other settings would have decided about the messages that came.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::apps::AppFlag;
use crate::cli::client::{Client, path};
use crate::cli::output::{Answer, Format, cell, rows, table};
use crate::config::{ADMIN_KEY_VARIABLE, Overrides, Settings};

const REASON_COLUMNS: &[&str] = &["before", "after", "deliveries"];
const DIFFERENCE_COLUMNS: &[&str] = &["message_id", "user", "device_id", "before", "after"];

/// Which mutes count.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum HonourMuteFlag {
    /// Every mute
    Always,
    /// One-to-one mutes only for messages with WithMuteNotifications
    Tencent,
}

/// `offpush simulate`.
#[derive(Args)]
pub struct Simulate {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// Messages accepted at or after this time (RFC 3339 or Unix seconds)
    #[arg(long, value_name = "TIME")]
    pub since: String,
    /// Messages accepted before this time; now when absent
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// A settings file: its [presence] section is tried
    #[arg(long, value_name = "FILE")]
    pub with: Option<PathBuf>,
    /// Try this setting of the app
    #[arg(long, value_enum, value_name = "WHICH")]
    pub honour_mute: Option<HonourMuteFlag>,
    /// Try this setting of the app
    #[arg(long, value_name = "BOOL")]
    pub mention_all_lifts_mute: Option<bool>,
}

impl Simulate {
    /// Asks the server.
    ///
    /// # Errors
    /// When the settings file is wrong, or the server refuses.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        let app = self.app.segment();
        let body = json!({
            "since": self.since, "until": self.until, "settings": self.settings()? });
        let answer = client.post(&path(&["v1", "apps", &app, "simulate"]), &body).await?;
        Ok(Answer::of(&answer, format, render))
    }

    fn settings(&self) -> anyhow::Result<Value> {
        let mut tried = match &self.with {
            Some(file) => presence(file)?,
            None => Map::new(),
        };
        if let Some(which) = self.honour_mute {
            let which = match which {
                HonourMuteFlag::Always => "always",
                HonourMuteFlag::Tencent => "tencent",
            };
            tried.insert("honour_mute".to_owned(), which.into());
        }
        if let Some(lifts) = self.mention_all_lifts_mute {
            tried.insert("mention_all_lifts_mute".to_owned(), lifts.into());
        }
        Ok(Value::Object(tried))
    }
}

/// What a settings file says of presence. The file is only looked at, so it needs no key.
fn presence(file: &Path) -> anyhow::Result<Map<String, Value>> {
    let env = [(ADMIN_KEY_VARIABLE.to_owned(), "not needed for looking".to_owned())];
    let settings = Settings::load(Some(file), env, &Overrides::default())?;
    let presence = settings.presence;
    Ok(Map::from_iter([
        ("stale_login_days".to_owned(), presence.stale_login_days.into()),
        ("foreground_expires_s".to_owned(), presence.foreground_expires_s.into()),
    ]))
}

fn render(answer: &Value) -> String {
    let head = format!(
        "{} of {} deliveries of {} messages would be decided otherwise",
        cell(&answer["changed"]),
        cell(&answer["deliveries"]),
        cell(&answer["messages"])
    );
    let mut parts = vec![head];
    for (list, columns) in [("reasons", REASON_COLUMNS), ("differences", DIFFERENCE_COLUMNS)] {
        let rows = rows(&answer[list]);
        if !rows.is_empty() {
            parts.push(table(&rows, columns));
        }
    }
    let left_out = answer["differences_left_out"].as_u64().unwrap_or(0);
    if left_out > 0 {
        parts.push(format!("and {left_out} more"));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_told_by_reason_and_then_one_by_one() {
        let answer = json!({
            "messages": 2, "deliveries": 3, "changed": 1,
            "reasons": [{ "before": "foreground", "after": "would_push", "deliveries": 1 }],
            "differences": [{ "message_id": "01KA", "user": "joon", "device_id": "pixel",
                              "before": "foreground", "after": "would_push" }],
            "differences_left_out": 0 });
        let expected = "\
1 of 3 deliveries of 2 messages would be decided otherwise

BEFORE      AFTER       DELIVERIES
foreground  would_push  1

MESSAGE_ID  USER  DEVICE_ID  BEFORE      AFTER
01KA        joon  pixel      foreground  would_push";
        assert_eq!(render(&answer), expected);
    }

    #[test]
    fn a_settings_file_is_read_without_its_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("new.toml");
        let text = "[auth]\nadmin_key_file = \"/not/here\"\n[presence]\nstale_login_days = 30\n";
        std::fs::write(&file, text).expect("written");
        let read = presence(&file).expect("settings");
        assert_eq!(read["stale_login_days"], 30);
        assert_eq!(read["foreground_expires_s"], 300);
    }
}
