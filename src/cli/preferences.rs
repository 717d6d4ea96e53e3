//! `offpush preferences`: push on or off, do-not-disturb windows, muted conversations.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::devices::UserFlags;
use crate::cli::output::{Answer, Format};

/// `offpush preferences …`.
#[derive(Subcommand)]
pub enum PreferencesCommand {
    /// Show what a user set
    Get(UserFlags),
    /// Change it; what no flag names stays
    Set(SetPreferences),
    /// Show or set the receive option of one conversation
    ReceiveOption(ReceiveOption),
}

/// `offpush preferences set`.
#[derive(Args)]
#[group(
    id = "change",
    required = true,
    multiple = true,
    args = ["push_enabled", "daily", "no_dnd"]
)]
pub struct SetPreferences {
    /// Whose.
    #[command(flatten)]
    pub user: UserFlags,
    /// Whether anything may ring
    #[arg(long, value_name = "true|false")]
    pub push_enabled: Option<bool>,
    /// Do-not-disturb every day, such as 22:00+8h@Asia/Seoul; repeat for more windows. Replaces
    /// all windows
    #[arg(long, value_name = "START+DURATION@ZONE", value_parser = daily_window)]
    pub daily: Vec<Value>,
    /// Remove all do-not-disturb windows
    #[arg(long, conflicts_with = "daily")]
    pub no_dnd: bool,
}

/// `offpush preferences receive-option`.
#[derive(Args)]
pub struct ReceiveOption {
    /// Whose.
    #[command(flatten)]
    pub user: UserFlags,
    /// c2c:PEER or group:ID
    pub conversation: String,
    /// 0 ring, 1 receive nothing, 2 do not ring, 3 ring for mentions, 4 receive only mentions;
    /// without it the option is shown
    #[arg(value_parser = clap::value_parser!(u8).range(0..=4))]
    pub option: Option<u8>,
}

impl PreferencesCommand {
    /// Asks the server.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        let answer = match self {
            PreferencesCommand::Get(user) => client.get(&user.path(&["preferences"])).await?,
            PreferencesCommand::Set(set) => {
                let path = set.user.path(&["preferences"]);
                let current = client.get(&path).await?;
                client.put(&path, &set.changed(&current)).await?
            }
            PreferencesCommand::ReceiveOption(one) => {
                let segments = ["conversations", &one.conversation, "receive-option"];
                let path = one.user.path(&segments);
                match one.option {
                    Some(option) => client.put(&path, &json!({ "option": option })).await?,
                    None => client.get(&path).await?,
                }
            }
        };
        Ok(Answer::record(&answer, format))
    }
}

impl SetPreferences {
    /// The user's preferences with the flags' changes: a PUT replaces all of them.
    fn changed(&self, current: &Value) -> Value {
        let enabled = self.push_enabled.map_or(current["push_enabled"].clone(), Value::from);
        let windows = if self.no_dnd || !self.daily.is_empty() {
            Value::Array(self.daily.clone())
        } else {
            current["do_not_disturb"].clone()
        };
        let mut body = json!({});
        if !enabled.is_null() {
            body["push_enabled"] = enabled;
        }
        if !windows.is_null() {
            body["do_not_disturb"] = windows;
        }
        body
    }
}

/// Reads `22:00+8h@Asia/Seoul`.
fn daily_window(text: &str) -> Result<Value, String> {
    const FORM: &str = "must look like 22:00+8h@Asia/Seoul";
    let (start, rest) = text.split_once('+').ok_or(FORM)?;
    let (duration, zone) = rest.split_once('@').ok_or(FORM)?;
    let duration_s = seconds(duration).ok_or("the duration must look like 8h, 90m or 8h30m")?;
    if zone.is_empty() {
        return Err(FORM.to_owned());
    }
    Ok(json!({"daily": {"start": start, "duration_s": duration_s, "time_zone": zone}}))
}

/// Reads a duration of hours, minutes and seconds.
fn seconds(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_s = match rest.as_bytes()[digits] {
            b'h' => 3_600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit_s)?)?;
        rest = &rest[digits + 1..];
    }
    (total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_start_duration_and_zone() {
        let expected = json!({"daily":
            {"start": "22:00", "duration_s": 30_600, "time_zone": "Etc/GMT+8"}});
        assert_eq!(daily_window("22:00+8h30m@Etc/GMT+8"), Ok(expected));
        for bad in
            ["22:00", "22:00+8h", "22:00+@Asia/Seoul", "22:00+8x@Asia/Seoul", "1+8h@", "é+é@é"]
        {
            assert!(daily_window(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_no_flag_names_stays() {
        let user = UserFlags { app: crate::cli::apps::AppFlag { app: 1 }, user: "u".to_owned() };
        let set = SetPreferences { user, push_enabled: Some(false), daily: vec![], no_dnd: false };
        let current = json!({"push_enabled": true, "do_not_disturb": [{"once": {}}]});
        let expected = json!({"push_enabled": false, "do_not_disturb": [{"once": {}}]});
        assert_eq!(set.changed(&current), expected);
        let cleared = SetPreferences { push_enabled: None, no_dnd: true, ..set };
        let expected = json!({"push_enabled": true, "do_not_disturb": []});
        assert_eq!(cleared.changed(&current), expected);
    }
}
