//! What the demonstration tells: as one JSON report, or as text for a terminal of 100 columns.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use crate::cli::demo::stage::{APP, Stage};
use crate::cli::operate::render_ledger;
use crate::cli::output::{cell, table};

/// Width of the text.
const COLUMNS: usize = 100;

/// Where the words of a scene begin.
const INDENT: usize = 13;

/// The whole demonstration.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether everything went as the story says.
    pub ok: bool,
    /// The relay's address.
    pub address: String,
    /// The operator's key.
    pub admin_key: String,
    /// The app.
    pub app: u64,
    /// What the relay says of itself.
    pub version: Value,
    /// The simulators' control URL.
    pub control: String,
    /// What the reader should know about the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Certificates as listed before the first scene.
    pub certificates: Vec<Value>,
    /// Devices as listed before the first scene.
    pub devices: Vec<Value>,
    /// Scenes in order.
    pub scenes: Vec<Scene>,
    /// The ledger at the end.
    pub ledger: Value,
    /// The simulators' counts at the end.
    pub counts: Value,
    /// What does not add up at the end.
    pub unexpected: Vec<String>,
}

/// One scene and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Scene {
    /// Counted from one.
    pub number: usize,
    /// Stable name.
    pub name: &'static str,
    /// One line for people.
    pub title: &'static str,
    /// What was handed in.
    pub sent: String,
    /// What the relay answered: `accepted`, `duplicate`, or a status of the certificate.
    pub answer: String,
    /// The message.
    pub message_id: String,
    /// Which phones rang, read from the simulators.
    pub rang: Vec<Rang>,
    /// Which did not, read from `explain`.
    pub silent: Vec<Silent>,
    /// Differences from what the story says; none when all is well.
    pub unexpected: Vec<String>,
}

/// A phone that rang.
#[derive(Clone, Debug, Serialize)]
pub struct Rang {
    /// Owner.
    pub user: String,
    /// Device.
    pub device_id: String,
    /// Vendor.
    pub vendor: String,
    /// Title on the phone.
    pub title: String,
    /// Text on the phone.
    pub body: String,
}

/// A delivery that did not ring.
#[derive(Clone, Debug, Serialize)]
pub struct Silent {
    /// Receiver.
    pub user: String,
    /// Device, if it came to one.
    pub device_id: Option<String>,
    /// Vendor, if it came to one.
    pub vendor: Option<String>,
    /// Where it stands.
    pub state: String,
    /// Which rule said no.
    pub reason: Option<String>,
    /// Verdict of the last attempt.
    pub verdict: Option<String>,
    /// The vendor's own words at the last attempt.
    pub vendor_says: Option<String>,
    /// When it may ring again.
    pub next_allowed_at: Option<String>,
    /// What to do.
    pub advice: String,
}

impl Report {
    /// A report in which nothing has happened yet.
    ///
    /// # Errors
    /// When the relay does not answer.
    pub async fn opening(stage: &Stage) -> anyhow::Result<Self> {
        Ok(Report {
            ok: false,
            address: stage.address.clone(),
            admin_key: stage.admin_key.clone(),
            app: APP,
            version: stage.relay.get("/version").await?,
            control: stage.control().to_owned(),
            note: stage.note.clone(),
            certificates: Vec::new(),
            devices: Vec::new(),
            scenes: Vec::new(),
            ledger: Value::Null,
            counts: Value::Null,
            unexpected: Vec::new(),
        })
    }

    /// Where everything is.
    pub fn head(&self) -> String {
        let (name, version) = (cell(&self.version["name"]), cell(&self.version["version"]));
        let store = cell(&self.version["store"]);
        let mut text = format!("{name} {version} on {store}, and simulators of every vendor\n");
        if let Some(note) = &self.note {
            let _ = writeln!(text, "  note        {note}");
        }
        let _ = writeln!(text, "  relay       {}", self.address);
        let _ = writeln!(text, "  simulators  {}", self.control);
        text
    }

    /// Who takes part.
    pub fn cast(&self) -> String {
        let rows: Vec<&Value> = self.certificates.iter().collect();
        let mut text = table(&rows, &["cert_id", "vendor", "name", "status", "expires_at"]);
        text.push_str("\n\n");
        let rows: Vec<&Value> = self.devices.iter().collect();
        let columns =
            ["user", "device_id", "cert_id", "vendor", "platform", "locale", "token_hash", "state"];
        text.push_str(&table(&rows, &columns));
        text.push('\n');
        text
    }

    /// The ledger, and whether all went as told.
    pub fn end(&self) -> String {
        let mut text = "The ledger\n".to_owned();
        for line in render_ledger(&self.ledger).lines() {
            let _ = writeln!(text, "    {line}");
        }
        let surprises: usize = self.scenes.iter().map(|scene| scene.unexpected.len()).sum();
        for line in &self.unexpected {
            text.push_str(&wrapped("NOT AS TOLD", line));
        }
        text.push('\n');
        text.push_str(match (self.ok, surprises) {
            (true, _) => "Everything went as told.",
            (false, 0) => "The ledger is NOT as told.",
            (false, _) => "Something did NOT go as told; see above.",
        });
        text
    }

    /// How to go on by oneself.
    pub fn invitation(&self) -> String {
        let example = self.scenes.first().map_or("", |scene| scene.message_id.as_str());
        format!(
            "
Relay and simulators stay up until Ctrl-C. In another terminal:

  export OFFPUSH_SERVER={address}
  export OFFPUSH_KEY={key}
  export OFFPUSH_APP={app}

  offpush cert list
  offpush device list --user joon
  offpush send --from mina --to joon --from-nick Mina --text \"Are you there?\"
  offpush explain {example}
  offpush explain --user bo
  offpush queue
  curl -s \"{control}/phones?limit=3\"",
            address = self.address,
            key = self.admin_key,
            app = self.app,
            control = self.control,
        )
    }
}

impl Scene {
    /// The scene as text.
    pub fn render(&self) -> String {
        let mut text = format!("{:2}. {}\n", self.number, self.title);
        text.push_str(&wrapped("sent", &format!("{}; {}", self.sent, self.answer)));
        text.push_str(&wrapped("message", &self.message_id));
        for rang in &self.rang {
            let who = format!("{}/{}", rang.user, rang.device_id);
            let line = format!("{who:13} {:7} {}: {}", rang.vendor, rang.title, rang.body);
            text.push_str(&wrapped("rang", &line));
        }
        if self.rang.is_empty() {
            text.push_str(&wrapped("rang", "nowhere"));
        }
        for silent in &self.silent {
            text.push_str(&silent.render());
        }
        for line in &self.unexpected {
            text.push_str(&wrapped("NOT AS TOLD", line));
        }
        text
    }
}

impl Silent {
    fn render(&self) -> String {
        let who = match &self.device_id {
            Some(device_id) => format!("{}/{device_id}", self.user),
            None => self.user.clone(),
        };
        let vendor = self.vendor.as_deref().unwrap_or("");
        let mut line = format!("{who:13} {vendor:7} {}", self.state);
        if let Some(reason) = &self.reason {
            let _ = write!(line, ": {reason}");
        }
        if let Some(next) = &self.next_allowed_at {
            let _ = write!(line, ", may ring again {next}");
        }
        if let (Some(verdict), Some(says)) = (&self.verdict, &self.vendor_says) {
            let _ = write!(line, ", {verdict} ({says})");
        }
        wrapped("silent", &line) + &wrapped("", &self.advice)
    }
}

/// A label, and words that go on below each other when the line is full.
fn wrapped(label: &str, words: &str) -> String {
    let mut text = format!("    {label:8} ");
    let mut room = COLUMNS - INDENT;
    if label.len() > 8 {
        room -= label.len() - 8;
    }
    let (mut left, whole) = (room, room);
    for (index, word) in words.split(' ').enumerate() {
        let width = word.chars().count();
        if index > 0 && width + 1 > left {
            let trimmed = text.trim_end().len();
            text.truncate(trimmed);
            let _ = write!(text, "\n{:INDENT$}", "");
            left = whole;
        } else if index > 0 {
            text.push(' ');
            left -= 1;
        }
        text.push_str(word);
        left = left.saturating_sub(width);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_words_is_wider_than_the_terminal() {
        let words = "a sentence of advice that goes on and on, ".repeat(9);
        let text = wrapped("silent", words.trim_end());
        assert!(text.lines().count() > 3);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        let together: Vec<&str> = text.split_whitespace().skip(1).collect();
        assert_eq!(together, words.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn a_column_keeps_its_spaces() {
        assert_eq!(wrapped("rang", "joon/iphone   apns"), "    rang     joon/iphone   apns\n");
    }
}
