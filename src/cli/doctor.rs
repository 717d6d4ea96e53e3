//! `offpush doctor`: the check-list for "nothing rings", answered for one user.

use clap::Args;
use serde_json::Value;

use crate::cli::apps::AppFlag;
use crate::cli::client::{Client, path};
use crate::cli::output::{Answer, Format, cell};

/// `offpush doctor`.
#[derive(Args)]
pub struct Doctor {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// Whose devices stay silent
    #[arg(long)]
    pub user: String,
}

impl Doctor {
    /// Asks the server. The process fails when there is a problem, so that scripts can tell.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        let app = self.app.segment();
        let path = path(&["v1", "apps", &app, "users", &self.user, "doctor"]);
        let checkup = client.get(&path).await?;
        let answer = Answer::of(&checkup, format, render);
        Ok(Answer { failed: checkup["status"] == "problem", ..answer })
    }
}

/// One line per item; what is not fine is followed by advice and by what was seen.
fn render(checkup: &Value) -> String {
    let mut lines = vec![format!("{}: {}", cell(&checkup["user"]), cell(&checkup["status"]))];
    let mut about = None;
    for item in checkup["items"].as_array().map_or(&[][..], Vec::as_slice) {
        let device = item["device_id"].as_str();
        if device != about {
            lines.push(format!("device {}", device.unwrap_or_default()));
            about = device;
        }
        let status = cell(&item["status"]);
        lines.push(format!("  {status:8} {}", cell(&item["item"])));
        if status != "ok" {
            lines.push(format!("           {}", cell(&item["advice"])));
            lines.push(format!("           saw: {}", cell(&item["saw"])));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_not_fine_is_explained() {
        let checkup = json!({ "user": "joon", "status": "problem", "items": [
            { "item": "push_enabled", "status": "ok", "saw": {}, "advice": "Fine." },
            { "item": "certificate", "device_id": "pixel", "status": "problem",
              "saw": { "cert_id": 7 }, "advice": "Upload a new one." } ] });
        let expected = "\
joon: problem
  ok       push_enabled
device pixel
  problem  certificate
           Upload a new one.
           saw: cert_id=7";
        assert_eq!(render(&checkup), expected);
    }
}
