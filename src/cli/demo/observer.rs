//! Looks at relay and simulators from outside: hands messages in, waits until they rest, reads
//! back what rang and why not, and compares it with what was expected.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::cli::demo::cast::{below, phones};
use crate::cli::demo::report::{Rang, Report, Scene, Silent};
use crate::cli::demo::stage::Stage;

/// Rest between two looks at something that is not there yet.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks before something that never comes is called a failure: half a minute.
const LOOKS_MAX: usize = 3_000;

/// Where a delivery shall end: user, device, state, reason; empty where there shall be none.
pub type Ending = (&'static str, &'static str, &'static str, &'static str);

/// What a scene is called and how it shall end.
pub struct Plot {
    /// Stable name.
    pub name: &'static str,
    /// One line for people.
    pub title: &'static str,
    /// Every delivery's end.
    pub endings: &'static [Ending],
}

/// What is remembered from one look to the next.
pub struct Observer<'a> {
    /// Where to look.
    pub stage: &'a Stage,
    number: usize,
    shown_before: usize,
    ledger_before: Value,
    rung_before: u64,
    /// The last explanation of every message.
    explained: BTreeMap<String, Value>,
}

impl<'a> Observer<'a> {
    /// Notes where ledger and phones stand.
    ///
    /// # Errors
    /// When relay or simulators do not answer.
    pub async fn new(stage: &'a Stage) -> anyhow::Result<Self> {
        Ok(Observer {
            stage,
            number: 0,
            shown_before: 0,
            ledger_before: stage.relay.get("/v1/ledger").await?,
            rung_before: rung(&stage.phones.get("/counts").await?),
            explained: BTreeMap::new(),
        })
    }

    /// A new scene: whatever phones show from here on belongs to it.
    ///
    /// # Errors
    /// When the simulators do not answer.
    pub async fn begin(&mut self) -> anyhow::Result<usize> {
        self.number += 1;
        self.shown_before = self.shown().await?.len();
        Ok(self.number)
    }

    /// Hands a message in and tells the scene to its end.
    ///
    /// # Errors
    /// When the relay refuses, or the message never comes to rest.
    pub async fn send(&mut self, plot: Plot, message: Value) -> anyhow::Result<Scene> {
        let mut scene = self.hand_in(&plot, &message).await?;
        self.settle(&scene.message_id).await?;
        self.conclude(&plot, &mut scene).await?;
        Ok(scene)
    }

    /// Hands a message in, and leaves it at that.
    ///
    /// # Errors
    /// When the relay refuses.
    pub async fn hand_in(&mut self, plot: &Plot, message: &Value) -> anyhow::Result<Scene> {
        let answer = self.stage.relay.post(&below(&["messages"]), message).await?;
        let result = &answer["results"][0];
        let message_id = result["message_id"].as_str().context("the answer names no message")?;
        let mut said = result["status"].as_str().unwrap_or_default().to_owned();
        if let Some(first) = result["of"].as_str() {
            said = format!("{said} of {first}");
        }
        Ok(self.scene(plot, told(message), said, message_id))
    }

    /// A scene in which nothing has rung yet.
    pub fn scene(&self, plot: &Plot, sent: String, answer: String, message_id: &str) -> Scene {
        Scene {
            number: self.number,
            name: plot.name,
            title: plot.title,
            sent,
            answer,
            message_id: message_id.to_owned(),
            rang: Vec::new(),
            silent: Vec::new(),
            unexpected: Vec::new(),
        }
    }

    /// What the relay says about a message.
    ///
    /// # Errors
    /// When it does not know it.
    pub async fn explain(&self, message_id: &str) -> anyhow::Result<Value> {
        Ok(self.stage.relay.get(&below(&["messages", message_id, "explain"])).await?)
    }

    /// Waits until none of a message's deliveries is in flight.
    ///
    /// # Errors
    /// When that never happens.
    pub async fn settle(&self, message_id: &str) -> anyhow::Result<()> {
        self.until(&format!("message {message_id} rests"), async || {
            let explained = self.explain(message_id).await?;
            Ok(deliveries(&explained).iter().all(|delivery| delivery["state"] != "in_flight"))
        })
        .await
    }

    /// Waits until something holds.
    ///
    /// # Errors
    /// When it never does, or cannot be looked at.
    pub async fn until(
        &self,
        what: &str,
        mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        for _ in 0..LOOKS_MAX {
            if holds().await? {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        anyhow::bail!("waited in vain until {what}")
    }

    /// Reads back what rang and what `explain` says, and compares.
    ///
    /// # Errors
    /// When relay or simulators do not answer.
    pub async fn conclude(&mut self, plot: &Plot, scene: &mut Scene) -> anyhow::Result<()> {
        let explained = self.explain(&scene.message_id).await?;
        let shown = self.shown().await?;
        scene.rang = shown.iter().skip(self.shown_before).map(rang).collect();
        let all = deliveries(&explained);
        scene.silent = all.iter().filter(|one| one["state"] != "pushed").map(silent).collect();
        compare(plot, scene, all);
        self.explained.insert(scene.message_id.clone(), explained);
        Ok(())
    }

    async fn shown(&self) -> anyhow::Result<Vec<Value>> {
        let shown = self.stage.phones.get("/phones").await?;
        Ok(shown.as_array().cloned().unwrap_or_default())
    }

    /// Compares the ledger with the sum of all explanations and with the phones' own counts.
    ///
    /// # Errors
    /// When relay or simulators do not answer.
    pub async fn balance(&self, report: &mut Report) -> anyhow::Result<()> {
        report.ledger = self.stage.relay.get("/v1/ledger").await?;
        report.counts = self.stage.phones.get("/counts").await?;
        let mut told: BTreeMap<String, i64> = BTreeMap::new();
        for delivery in self.explained.values().flat_map(|explained| deliveries(explained)) {
            let state = text(&delivery["state"]);
            let name = match delivery["reason"].as_str() {
                Some(reason) if state == "suppressed" => format!("{state}.{reason}"),
                _ => state,
            };
            *told.entry(name).or_default() += 1;
            *told.entry("accepted".to_owned()).or_default() += 1;
        }
        let mut counted = flat(&report.ledger);
        for (name, before) in flat(&self.ledger_before) {
            *counted.entry(name).or_default() -= before;
        }
        counted.retain(|_, count| *count != 0);
        if counted != told {
            let line = format!("the ledger counted {counted:?}, explain tells {told:?}");
            report.unexpected.push(line);
        }
        let rung = i64::try_from(rung(&report.counts).saturating_sub(self.rung_before))?;
        let pushed = counted.get("pushed").copied().unwrap_or_default();
        if rung != pushed {
            let line = format!("{rung} phones rang, the ledger counted {pushed} pushed");
            report.unexpected.push(line);
        }
        if report.ledger["balanced"] != true {
            report.unexpected.push("the ledger does not balance".to_owned());
        }
        let scenes = report.scenes.iter().all(|scene| scene.unexpected.is_empty());
        report.ok = scenes && report.unexpected.is_empty();
        Ok(())
    }
}

/// Notes where deliveries ended otherwise than they should, and where phones rang that should not
/// or the other way round.
fn compare(plot: &Plot, scene: &mut Scene, all: &[Value]) {
    let ended: Vec<[String; 4]> = all
        .iter()
        .map(|one| ["user", "device_id", "state", "reason"].map(|name| text(&one[name])))
        .collect();
    let wanted: Vec<[String; 4]> = plot
        .endings
        .iter()
        .map(|(user, device_id, state, reason)| {
            [user, device_id, state, reason].map(|word| (*word).to_owned())
        })
        .collect();
    let line = |end: &[String; 4]| end.join(" ").trim_end().to_owned();
    for end in wanted.iter().filter(|end| !ended.contains(end)) {
        scene.unexpected.push(format!("expected and missing: {}", line(end)));
    }
    for end in ended.iter().filter(|end| !wanted.contains(end)) {
        scene.unexpected.push(format!("not expected: {}", line(end)));
    }
    let mut should_ring: Vec<(String, String)> = wanted
        .iter()
        .filter(|end| end[2] == "pushed")
        .map(|end| (end[0].clone(), end[1].clone()))
        .collect();
    let mut did_ring: Vec<(String, String)> =
        scene.rang.iter().map(|rang| (rang.user.clone(), rang.device_id.clone())).collect();
    should_ring.sort();
    did_ring.sort();
    if should_ring != did_ring {
        scene.unexpected.push(format!("rang {did_ring:?}, should ring {should_ring:?}"));
    }
}

fn deliveries(explained: &Value) -> &[Value] {
    explained["deliveries"].as_array().map_or(&[], Vec::as_slice)
}

/// All notifications that reached phones, of all vendors.
fn rung(counts: &Value) -> u64 {
    let vendors = counts.as_object().into_iter().flatten();
    vendors.filter_map(|(_, count)| count["rung"].as_u64()).sum()
}

/// A ledger's counters by name, `suppressed` with its reasons.
fn flat(ledger: &Value) -> BTreeMap<String, i64> {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let mut counters = BTreeMap::new();
    counters.insert("accepted".to_owned(), number(&ledger["accepted"]));
    counters.insert("in_flight".to_owned(), number(&ledger["in_flight"]));
    for (state, count) in ledger["terminals"].as_object().into_iter().flatten() {
        match count.as_object() {
            Some(reasons) => counters.extend(
                reasons.iter().map(|(reason, count)| (format!("{state}.{reason}"), number(count))),
            ),
            None => drop(counters.insert(state.clone(), number(count))),
        }
    }
    counters
}

/// A message in a few words.
fn told(message: &Value) -> String {
    let to = match &message["To_Account"] {
        Value::Array(users) => users.iter().map(text).collect::<Vec<_>>().join(", "),
        one => text(one),
    };
    let group = message["GroupName"].as_str().map(|name| format!(" in \"{name}\""));
    let element = &message["MsgBody"][0];
    let what = match element["MsgContent"]["Text"].as_str() {
        Some(text) => format!("\"{text}\""),
        None => text(&element["MsgType"]),
    };
    format!("{} to {to}{}: {what}", text(&message["From_Account"]), group.unwrap_or_default())
}

/// Whose phone it was that showed something.
fn rang(shown: &Value) -> Rang {
    let owner = phones().find(|phone| shown["token"] == phone.token().as_str());
    let unknown = "unknown";
    Rang {
        user: owner.map_or(unknown, |phone| phone.user).to_owned(),
        device_id: owner.map_or(unknown, |phone| phone.device_id).to_owned(),
        vendor: text(&shown["vendor"]),
        title: text(&shown["title"]),
        body: text(&shown["body"]),
    }
}

fn silent(delivery: &Value) -> Silent {
    let some = |value: &Value| value.as_str().map(str::to_owned);
    let last = delivery["attempts"].as_array().and_then(|attempts| attempts.last());
    let last = last.unwrap_or(&Value::Null);
    Silent {
        user: text(&delivery["user"]),
        device_id: some(&delivery["device_id"]),
        vendor: some(&delivery["vendor"]),
        state: text(&delivery["state"]),
        reason: some(&delivery["reason"]),
        verdict: some(&last["verdict"]),
        vendor_says: some(&last["vendor_says"]),
        next_allowed_at: some(&delivery["next_allowed_at"]),
        advice: text(&delivery["advice"]),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ledger_is_flattened_with_its_reasons() {
        let ledger = json!({"accepted": 3, "in_flight": 0, "terminals":
            {"pushed": 1, "suppressed": {"self": 2}}});
        let expected = [("accepted", 3), ("in_flight", 0), ("pushed", 1), ("suppressed.self", 2)];
        let expected = expected.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(flat(&ledger), BTreeMap::from(expected));
    }

    #[test]
    fn an_end_that_was_not_told_is_reported_both_ways() {
        let plot = Plot { name: "n", title: "t", endings: &[("a", "d", "pushed", "")] };
        let mut scene = Scene {
            number: 1,
            name: "n",
            title: "t",
            sent: String::new(),
            answer: String::new(),
            message_id: String::new(),
            rang: Vec::new(),
            silent: Vec::new(),
            unexpected: Vec::new(),
        };
        let ended = [json!({"user": "a", "device_id": "d", "state": "refused", "reason": null})];
        compare(&plot, &mut scene, &ended);
        assert_eq!(scene.unexpected.len(), 3, "{:?}", scene.unexpected);
        scene.unexpected.clear();
        scene.rang.push(rang(&json!({})));
        scene.rang[0].user = "a".to_owned();
        scene.rang[0].device_id = "d".to_owned();
        let ended = [json!({"user": "a", "device_id": "d", "state": "pushed"})];
        compare(&plot, &mut scene, &ended);
        assert_eq!(scene.unexpected, [""; 0]);
    }
}
