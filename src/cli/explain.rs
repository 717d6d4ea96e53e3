//! `offpush explain`: why a message did or did not ring, told for people.

use std::fmt::Write;

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::apps::AppFlag;
use crate::cli::client::{Client, path_with};
use crate::cli::output::{Answer, Format, cell, folded};

/// `offpush explain`.
#[derive(Args)]
pub struct Explain {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// The message, as `send` printed it; without it, flags below search
    #[arg(
        value_name = "MESSAGE_ID",
        required_unless_present_any = [
            "user", "device", "from", "random", "msg_key", "reason", "since", "until", "cursor"
        ]
    )]
    pub message_id: Option<String>,
    /// Only this receiver
    #[arg(long)]
    pub user: Option<String>,
    /// Search: who wrote it
    #[arg(long, conflicts_with = "message_id")]
    pub from: Option<String>,
    /// Search: its MsgRandom
    #[arg(long, conflicts_with = "message_id", value_name = "U32")]
    pub random: Option<u32>,
    /// Search: its MsgKey
    #[arg(long, conflicts_with = "message_id", value_name = "MSGKEY")]
    pub msg_key: Option<String>,
    /// Only this device
    #[arg(long, value_name = "DEVICE_ID")]
    pub device: Option<String>,
    /// Search: some delivery ended so, such as do_not_disturb or dead_letter
    #[arg(long, conflicts_with = "message_id", value_name = "REASON")]
    pub reason: Option<String>,
    /// Search: accepted before this time (RFC 3339)
    #[arg(long, conflicts_with = "message_id", value_name = "TIME")]
    pub until: Option<String>,
    /// Search: go on after the page that answered this cursor
    #[arg(long, conflicts_with = "message_id", value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Search: not before this time (RFC 3339)
    #[arg(long, conflicts_with = "message_id", value_name = "TIME")]
    pub since: Option<String>,
    /// Show every rule that was asked and what it saw, also those that passed
    #[arg(long)]
    pub steps: bool,
}

impl Explain {
    /// Asks the server.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        let answer = client.get(&self.path()).await?;
        Ok(Answer::of(&answer, format, |answer| render(answer, self.steps)))
    }

    fn path(&self) -> String {
        let app = self.app.segment();
        let user = ("user", self.user.clone());
        let device = ("device_id", self.device.clone());
        match &self.message_id {
            Some(id) => {
                path_with(&["v1", "apps", &app, "messages", id, "explain"], &[user, device])
            }
            None => {
                let random = self.random.map(|random| random.to_string());
                let parameters = [
                    user,
                    device,
                    ("from", self.from.clone()),
                    ("msg_random", random),
                    ("msg_key", self.msg_key.clone()),
                    ("reason", self.reason.clone()),
                    ("until", self.until.clone()),
                    ("cursor", self.cursor.clone()),
                    ("since", self.since.clone()),
                ];
                path_with(&["v1", "apps", &app, "explain"], &parameters)
            }
        }
    }
}

/// Tells one explained message, or each of several; with every step, or only those that refused.
pub fn render(answer: &Value, steps: bool) -> String {
    let several = answer.as_array().or_else(|| answer["messages"].as_array());
    match several.map(Vec::as_slice) {
        Some([]) => "no message found".to_owned(),
        Some(messages) => {
            let mut told: Vec<String> = messages.iter().map(|one| message(one, steps)).collect();
            let more = filled(&answer["cursor"]);
            told.extend(more.map(|cursor| format!("there may be more: --cursor {cursor}")));
            told.join("\n\n")
        }
        None => message(answer, steps),
    }
}

/// Fields told in a fixed place; all others follow as they are, so that nothing is hidden.
const MESSAGE_FIELDS: &[&str] =
    &["message_id", "accepted_at", "from", "kind", "unknown_fields", "deliveries"];
const DELIVERY_FIELDS: &[&str] = &[
    "delivery",
    "user",
    "device_id",
    "cert_id",
    "vendor",
    "token_hash",
    "state",
    "reason",
    "next_allowed_at",
    "advice",
    "steps",
    "attempts",
];

fn message(answer: &Value, steps: bool) -> String {
    let mut text = String::new();
    let mut head = vec!["message".to_owned()];
    head.extend(labelled("", &answer["message_id"]));
    head.extend(labelled("from ", &answer["from"]));
    head.extend(filled(&answer["kind"]).map(|kind| format!("({kind})")));
    let accepted = labelled("accepted ", &answer["accepted_at"]);
    let head = [Some(head.join(" ")), accepted].into_iter().flatten();
    line(&mut text, 0, &head.collect::<Vec<_>>().join(", "));
    others(&mut text, 1, answer, MESSAGE_FIELDS);
    if answer["unknown_fields"].as_u64().is_some_and(|count| count > 0) {
        line(&mut text, 1, &format!("unknown_fields: {}", answer["unknown_fields"]));
    }
    let deliveries = answer["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
    if deliveries.is_empty() {
        line(&mut text, 1, "no deliveries");
    }
    for one in deliveries {
        text.push('\n');
        delivery(&mut text, one, steps);
    }
    text.trim_end().to_owned()
}

fn delivery(text: &mut String, one: &Value, steps: bool) {
    let who: Vec<String> =
        [&one["user"], &one["device_id"]].into_iter().filter_map(filled).collect();
    let through: Vec<String> = [
        filled(&one["vendor"]),
        labelled("certificate ", &one["cert_id"]),
        labelled("token #", &one["token_hash"]),
    ]
    .into_iter()
    .flatten()
    .collect();
    match through.is_empty() {
        true => line(text, 0, &who.join(" / ")),
        false => line(text, 0, &format!("{} ({})", who.join(" / "), through.join(", "))),
    }
    let mut end = filled(&one["state"]).unwrap_or_else(|| "state unknown".to_owned());
    if let Some(reason) = labelled(": ", &one["reason"]) {
        end.push_str(&reason);
    }
    if let Some(next) = labelled(", may ring again ", &one["next_allowed_at"]) {
        end.push_str(&next);
    }
    line(text, 1, &end);
    if let Some(advice) = labelled("advice: ", &one["advice"]) {
        line(text, 1, &advice);
    }
    others(text, 1, one, DELIVERY_FIELDS);
    let all = one["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let passed = |step: &&Value| step["outcome"] == "pass";
    let told: Vec<&Value> = all.iter().filter(|step| steps || !passed(step)).collect();
    list(text, "steps", &told, step);
    let quiet: Vec<String> =
        all.iter().filter(passed).filter_map(|step| filled(&step["rule"])).collect();
    if !steps && !quiet.is_empty() {
        line(text, 1, &format!("passed: {}", quiet.join(", ")));
    }
    let attempts = one["attempts"].as_array().map_or(&[][..], Vec::as_slice);
    list(text, "attempts", &attempts.iter().collect::<Vec<_>>(), attempt);
}

/// `12:00:00.001Z  do_not_disturb  suppress  window=22:00 zone=Asia/Seoul`.
fn step(step: &Value) -> String {
    let parts = [&step["at"], &step["rule"], &step["outcome"], &step["saw"]];
    parts.into_iter().filter_map(filled).collect::<Vec<_>>().join("  ")
}

/// `12:00:00.010Z  accepted  200 80000000 in 12 ms  "success"`.
fn attempt(attempt: &Value) -> String {
    let answer: Vec<String> = [
        filled(&attempt["status"]),
        filled(&attempt["code"]),
        filled(&attempt["latency_ms"]).map(|ms| format!("in {ms} ms")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let parts = [
        filled(&attempt["at"]),
        filled(&attempt["verdict"]),
        Some(answer.join(" ")).filter(|answer| !answer.is_empty()),
        filled(&attempt["vendor_says"]).map(|says| format!("\"{says}\"")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

fn list(text: &mut String, name: &str, items: &[&Value], one: fn(&Value) -> String) {
    if !items.is_empty() {
        line(text, 1, name);
        for item in items {
            line(text, 2, &one(item));
        }
    }
}

/// The fields that have no fixed place.
fn others(text: &mut String, depth: usize, value: &Value, told: &[&str]) {
    let none = Map::new();
    for (name, value) in value.as_object().unwrap_or(&none) {
        if !told.contains(&name.as_str())
            && let Some(value) = filled(value)
        {
            line(text, depth, &format!("{name}: {value}"));
        }
    }
}

fn line(text: &mut String, depth: usize, words: &str) {
    // Writing to a string cannot fail.
    let indent = depth * 2;
    let _ = writeln!(text, "{}", folded(&" ".repeat(indent), words, indent + 4));
}

fn filled(value: &Value) -> Option<String> {
    Some(cell(value)).filter(|text| !text.is_empty())
}

fn labelled(label: &str, value: &Value) -> Option<String> {
    filled(value).map(|text| format!("{label}{text}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_suppressed_and_a_pushed_delivery_are_told_in_order() {
        let answer = json!({
            "message_id": "01KA", "accepted_at": "2026-11-22T12:00:00.000Z", "from": "mina",
            "kind": "c2c", "msg_random": 7,
            "deliveries": [
                { "user": "joon", "device_id": "pixel", "cert_id": 7, "vendor": "fcm",
                  "token_hash": "9f31c2", "state": "suppressed", "reason": "do_not_disturb",
                  "next_allowed_at": "2026-11-22T21:00:00Z", "advice": "wait until the window ends",
                  "steps": [
                    { "at": "2026-11-22T12:00:00.001Z", "rule": "self", "outcome": "pass",
                      "saw": {} },
                    { "at": "2026-11-22T12:00:00.001Z", "rule": "do_not_disturb",
                      "outcome": "suppress", "saw": { "zone": "Asia/Seoul" } } ],
                  "attempts": [] },
                { "user": "joon", "device_id": "ipad", "cert_id": 3, "vendor": "apns",
                  "token_hash": "17aa00", "state": "pushed", "reason": null, "steps": [],
                  "attempts": [
                    { "at": "2026-11-22T12:00:00.010Z", "status": 200, "code": "",
                      "vendor_says": "", "verdict": "accepted", "latency_ms": 12 } ],
                  "receipts": ["reached"] } ] });
        let expected = "\
message 01KA from mina (c2c), accepted 2026-11-22T12:00:00.000Z
  msg_random: 7

joon / pixel (fcm, certificate 7, token #9f31c2)
  suppressed: do_not_disturb, may ring again 2026-11-22T21:00:00Z
  advice: wait until the window ends
  steps
    2026-11-22T12:00:00.001Z  do_not_disturb  suppress  zone=Asia/Seoul
  passed: self

joon / ipad (apns, certificate 3, token #17aa00)
  pushed
  receipts: reached
  attempts
    2026-11-22T12:00:00.010Z  accepted  200 in 12 ms";
        assert_eq!(render(&answer, false), expected);
        let whole = render(&answer, true);
        assert!(whole.contains("12:00:00.001Z  self  pass"), "{whole}");
        assert!(!whole.contains("passed:"), "{whole}");
    }

    #[test]
    fn a_receiver_without_a_device_has_no_vendor() {
        let answer = json!({"message_id": "01KA", "deliveries": [
            {"user": "sora", "state": "suppressed", "reason": "no_device"}]});
        assert_eq!(render(&answer, false), "message 01KA\n\nsora\n  suppressed: no_device");
    }

    #[test]
    fn a_search_tells_every_message_it_found() {
        assert_eq!(render(&json!({"messages": []}), false), "no message found");
        let two = json!({"messages": [{"message_id": "A"}, {"message_id": "B"}]});
        assert_eq!(render(&two, false), "message A\n  no deliveries\n\nmessage B\n  no deliveries");
        let page = json!({"messages": [{"message_id": "A"}], "cursor": "A"});
        let expected = "message A\n  no deliveries\n\nthere may be more: --cursor A";
        assert_eq!(render(&page, false), expected);
    }
}
