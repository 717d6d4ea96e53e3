//! `offpush send`: hands in a message, from flags or as JSON.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::apps::{AppFlag, read_file};
use crate::cli::client::{Client, path};
use crate::cli::explain;
use crate::cli::output::{Answer, Format, rows, table};
use crate::clock::Clock;

/// `offpush send`.
#[derive(Args)]
pub struct Send {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// A message, or {"messages":[…]}, as JSON; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "text"])]
    pub file: Option<PathBuf>,
    /// Who wrote it
    #[arg(long, value_name = "USER", required_unless_present = "file")]
    pub from: Option<String>,
    /// Who shall be rung; repeat for more
    #[arg(long, value_name = "USER", required_unless_present = "file")]
    pub to: Vec<String>,
    /// What it says
    #[arg(long, required_unless_present_any = ["file", "desc"])]
    pub text: Option<String>,
    /// The group it was written in; without it, it is one-to-one
    #[arg(long, value_name = "ID")]
    pub group: Option<String>,
    /// MsgRandom: the same number twice is the same message; random when absent
    #[arg(long, value_name = "U32")]
    pub random: Option<u32>,
    /// MsgSeq
    #[arg(long, value_name = "U32")]
    pub seq: Option<u32>,
    /// Seconds after which it is not worth ringing
    #[arg(long, value_name = "SECONDS")]
    pub life_time_s: Option<u32>,
    /// High, Normal or Low
    #[arg(long)]
    pub priority: Option<String>,
    /// Name of the sender, for the notification
    #[arg(long)]
    pub from_nick: Option<String>,
    /// Title of the notification
    #[arg(long)]
    pub title: Option<String>,
    /// Text of the notification, instead of the message's
    #[arg(long)]
    pub desc: Option<String>,
    /// Pass-through text for the app
    #[arg(long)]
    pub ext: Option<String>,
    /// Decide without sending, and explain the decision
    #[arg(long)]
    pub dry_run: bool,
}

impl Send {
    /// Asks the server. Fails the process when a message was invalid.
    ///
    /// # Errors
    /// When the server refuses, or the file is not JSON.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        let body = self.body(&Clock::system())?;
        let app = self.app.segment();
        if self.dry_run {
            let answer = client.post(&path(&["v1", "apps", &app, "explain"]), &body).await?;
            return Ok(Answer::of(&answer, format, |answer| explain::render(answer, false)));
        }
        let answer = client.post(&path(&["v1", "apps", &app, "messages"]), &body).await?;
        Ok(sent(&answer, format))
    }

    fn body(&self, clock: &Clock) -> anyhow::Result<Value> {
        if let Some(file) = &self.file {
            let bytes = read_file(file)?;
            let body: Value = serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is not JSON", file.display()))?;
            ensure!(body.is_object(), "{} is not a JSON object", file.display());
            return Ok(body);
        }
        let mut body = json!({
            "From_Account": self.from,
            "To_Account": self.to,
            "MsgRandom": self.random.unwrap_or_else(|| fastrand::u32(..)),
            "MsgTime": clock.now().secs(),
        });
        if let Some(text) = &self.text {
            body["MsgBody"] = json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}]);
        }
        let texts = [
            ("GroupId", &self.group),
            ("FromNick", &self.from_nick),
            ("MsgPriority", &self.priority),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        for (name, value) in [("MsgSeq", self.seq), ("MsgLifeTime", self.life_time_s)] {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        let mut push = json!({});
        for (name, value) in [("Title", &self.title), ("Desc", &self.desc), ("Ext", &self.ext)] {
            if let Some(value) = value {
                push[name] = json!(value);
            }
        }
        if push.as_object().is_some_and(|push| !push.is_empty()) {
            body["OfflinePushInfo"] = push;
        }
        Ok(body)
    }
}

/// One line per message; an invalid one also says why.
fn sent(answer: &Value, format: Format) -> Answer {
    let invalid = |results: &[&Value]| results.iter().any(|result| result["status"] == "invalid");
    let failed = invalid(&rows(answer));
    let readable = |answer: &Value| table(&rows(answer), &["message_id", "status", "of", "error"]);
    Answer { failed, ..Answer::of(answer, format, readable) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::model::time::UnixMs;

    fn parsed(args: &[&str]) -> Result<Send, clap::Error> {
        let args = ["offpush", "send", "--app", "1"].iter().chain(args);
        match Cli::try_parse_from(args)?.command {
            Command::Send(send) => Ok(send),
            _ => panic!("not a send"),
        }
    }

    #[tokio::test]
    async fn flags_make_a_message() {
        let clock = Clock::starting_at(UnixMs(1_760_000_000_000));
        let args = [
            "--from",
            "mina",
            "--to",
            "joon",
            "--to",
            "sora",
            "--text",
            "hi",
            "--random",
            "7",
            "--group",
            "g1",
            "--life-time-s",
            "60",
            "--title",
            "T",
        ];
        let send = parsed(&args).unwrap_or_else(|error| panic!("{error}"));
        let expected = json!({
            "From_Account": "mina", "To_Account": ["joon", "sora"], "GroupId": "g1",
            "MsgRandom": 7, "MsgTime": 1_760_000_000, "MsgLifeTime": 60,
            "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "hi"}}],
            "OfflinePushInfo": {"Title": "T"},
        });
        assert_eq!(send.body(&clock).expect("a message"), expected);
    }

    #[test]
    fn a_message_without_a_receiver_is_a_wrong_command_line() {
        assert!(parsed(&["--from", "mina", "--text", "hi"]).is_err());
        assert!(parsed(&["--file", "m.json", "--text", "hi"]).is_err());
        assert!(parsed(&["--file", "m.json"]).is_ok());
    }

    #[test]
    fn an_invalid_message_among_good_ones_fails_the_process() {
        let answer = json!({"results": [
            {"message_id": "01J", "status": "accepted"},
            {"status": "invalid", "error": {"code": "90005", "field": "MsgRandom"}},
        ]});
        let printed = sent(&answer, Format::Table);
        assert!(printed.failed);
        assert!(printed.text.contains("code=90005"), "{}", printed.text);
        assert!(!sent(&json!({"results": [{"status": "duplicate"}]}), Format::Table).failed);
    }
}
