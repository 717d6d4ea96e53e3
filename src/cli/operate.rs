//! `offpush queue`, `ledger`, `lanes`, `dead-letters`: what operators look at and turn.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::apps::AppFlag;
use crate::cli::client::{Client, path, path_with};
use crate::cli::output::{Answer, Format, cell, rows, table};

const LANE_COLUMNS: &[&str] = &[
    "cert_id",
    "vendor",
    "condition",
    "waiting",
    "memory_bytes",
    "in_flight",
    "resumes_in_s",
    "why",
];
const DEAD_LETTER_COLUMNS: &[&str] = &[
    "message_id",
    "user",
    "device_id",
    "cert_id",
    "verdict",
    "status",
    "code",
    "vendor_says",
    "given_up_at",
];

/// `offpush queue`.
#[derive(Args)]
pub struct Queue {}

impl Queue {
    /// Asks the server.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        let lanes = client.get(&path(&["v1", "lanes"])).await?;
        let ledger = client.get(&path(&["v1", "ledger"])).await?;
        let both = json!({ "lanes": lanes, "ledger": ledger });
        Ok(Answer::of(&both, format, |_| {
            format!("{}\n\n{}", table(&rows(&lanes), LANE_COLUMNS), render_ledger(&ledger))
        }))
    }
}

/// `offpush ledger`.
#[derive(Args)]
pub struct Ledger {}

impl Ledger {
    /// Asks the server. Fails the process when the ledger does not add up.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        let answer = client.get(&path(&["v1", "ledger"])).await?;
        let failed = answer["balanced"] == false;
        Ok(Answer { failed, ..Answer::of(&answer, format, render_ledger) })
    }
}

/// Accepted, in flight, and each terminal state with its reasons below it.
pub fn render_ledger(ledger: &Value) -> String {
    let mut lines = vec![("accepted".to_owned(), cell(&ledger["accepted"]))];
    lines.push(("in_flight".to_owned(), cell(&ledger["in_flight"])));
    let none = Map::new();
    for (state, count) in ledger["terminals"].as_object().unwrap_or(&none) {
        match count.as_object() {
            Some(reasons) => {
                let total: u64 = reasons.values().filter_map(Value::as_u64).sum();
                lines.push((state.clone(), total.to_string()));
                lines.extend(reasons.iter().map(|(reason, n)| (format!("  {reason}"), cell(n))));
            }
            None => lines.push((state.clone(), cell(count))),
        }
    }
    if ledger["duplicates"].is_number() {
        lines.push(("duplicates (not accepted)".to_owned(), cell(&ledger["duplicates"])));
    }
    let balanced = match ledger["balanced"].as_bool() {
        Some(true) => "yes",
        Some(false) => "NO: accepted is not terminals plus in flight",
        None => "",
    };
    lines.push(("balanced".to_owned(), balanced.to_owned()));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<String> =
        lines.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    lines.join("\n")
}

/// `offpush lanes …`.
#[derive(Subcommand)]
pub enum LanesCommand {
    /// List the lanes
    List,
    /// Stop sending with a certificate; what arrives waits
    Pause(Lane),
    /// Send again
    Resume(Lane),
}

/// One lane.
#[derive(Args)]
pub struct Lane {
    /// The certificate ID
    pub cert_id: u32,
}

impl LanesCommand {
    /// Asks the server.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        let (lane, turn) = match &self {
            LanesCommand::List => {
                let answer = client.get(&path(&["v1", "lanes"])).await?;
                return Ok(Answer::table(&answer, format, LANE_COLUMNS));
            }
            LanesCommand::Pause(lane) => (lane, "pause"),
            LanesCommand::Resume(lane) => (lane, "resume"),
        };
        let path = path(&["v1", "lanes", &lane.cert_id.to_string(), turn]);
        Ok(Answer::record(&client.post(&path, &json!({})).await?, format))
    }
}

/// `offpush dead-letters …`.
#[derive(Subcommand)]
pub enum DeadLettersCommand {
    /// List them
    List(ListDeadLetters),
    /// Try them again
    Replay(Replay),
}

/// `offpush dead-letters list`.
#[derive(Args)]
pub struct ListDeadLetters {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// Where the last page ended
    #[arg(long)]
    pub cursor: Option<String>,
}

/// `offpush dead-letters replay`.
#[derive(Args)]
pub struct Replay {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// Only those of these messages; without it, all of the app
    #[arg(value_name = "MESSAGE_ID")]
    pub message_ids: Vec<String>,
    /// Where an answer that said `more` left off
    #[arg(long)]
    pub cursor: Option<String>,
}

impl DeadLettersCommand {
    /// Asks the server.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        match self {
            DeadLettersCommand::List(list) => {
                let app = list.app.segment();
                let segments = ["v1", "apps", &app, "dead-letters"];
                let answer = client.get(&path_with(&segments, &[("cursor", list.cursor)])).await?;
                Ok(Answer::table(&answer, format, DEAD_LETTER_COLUMNS))
            }
            DeadLettersCommand::Replay(replay) => {
                let app = replay.app.segment();
                let path = path(&["v1", "apps", &app, "dead-letters", "replay"]);
                let mut body = json!({ "cursor": replay.cursor });
                if !replay.message_ids.is_empty() {
                    body["message_ids"] = json!(replay.message_ids);
                }
                Ok(Answer::record(&client.post(&path, &body).await?, format))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_lists_each_reason_under_its_state() {
        let suppressed = json!({"no_push_flag": 1, "do_not_disturb": 2});
        let terminals = json!({"pushed": 5, "suppressed": suppressed, "token_dead": 1});
        let ledger =
            json!({"accepted": 9, "in_flight": 0, "balanced": true, "terminals": terminals});
        let expected = "\
accepted          9
in_flight         0
pushed            5
suppressed        3
  do_not_disturb  2
  no_push_flag    1
token_dead        1
balanced          yes";
        assert_eq!(render_ledger(&ledger), expected);
    }
}
