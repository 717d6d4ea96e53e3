//! `offpush device`: what the registry knows of a user's devices.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::cli::apps::AppFlag;
use crate::cli::client::{Client, path};
use crate::cli::output::{Answer, Format};

const COLUMNS: &[&str] = &[
    "device_id",
    "cert_id",
    "vendor",
    "platform",
    "token_hash",
    "token_state",
    "state",
    "unread",
    "locale",
    "seen_at",
];

/// One user of an app.
#[derive(Clone, Args)]
pub struct UserFlags {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// The user
    #[arg(long)]
    pub user: String,
}

impl UserFlags {
    /// The user's path, with more segments after it.
    pub fn path(&self, more: &[&str]) -> String {
        let app = self.app.segment();
        let mut segments = vec!["v1", "apps", &app, "users", &self.user];
        segments.extend(more);
        path(&segments)
    }
}

/// `offpush device …`.
#[derive(Subcommand)]
pub enum DeviceCommand {
    /// Register a device, or change its registration
    Put(PutDevice),
    /// List the devices of a user
    List(UserFlags),
    /// Log a device out: it does not ring until it registers again
    Delete(OneDevice),
    /// Say where the app is on a device
    State(SetState),
}

/// One device of a user.
#[derive(Args)]
pub struct OneDevice {
    /// Whose.
    #[command(flatten)]
    pub user: UserFlags,
    /// The device's id
    pub device_id: String,
}

/// `offpush device put`.
#[derive(Args)]
pub struct PutDevice {
    /// Which device.
    #[command(flatten)]
    pub one: OneDevice,
    /// The certificate ID its token belongs to
    #[arg(long, value_name = "ID")]
    pub cert_id: u32,
    /// The vendor's token
    #[arg(long)]
    pub token: String,
    /// ios, ipados, macos, android, harmony or other
    #[arg(long)]
    pub platform: String,
    /// Maker
    #[arg(long)]
    pub brand: Option<String>,
    /// Language tag, such as ko-KR
    #[arg(long)]
    pub locale: Option<String>,
    /// IANA zone, such as Asia/Seoul
    #[arg(long)]
    pub time_zone: Option<String>,
    /// Version of the app
    #[arg(long)]
    pub app_version: Option<String>,
}

/// `offpush device state`.
#[derive(Args)]
pub struct SetState {
    /// Which device.
    #[command(flatten)]
    pub one: OneDevice,
    /// Where the app is
    #[arg(value_enum)]
    pub state: State,
    /// The number on the app's icon
    #[arg(long)]
    pub unread: Option<u32>,
}

/// Where the app is on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum State {
    /// On screen
    Foreground,
    /// Running, not on screen
    Background,
    /// Not running
    Offline,
    /// Logged out
    LoggedOut,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            State::Foreground => "foreground",
            State::Background => "background",
            State::Offline => "offline",
            State::LoggedOut => "logged_out",
        }
    }
}

impl DeviceCommand {
    /// Asks the server.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        match self {
            DeviceCommand::Put(put) => {
                let path = put.one.user.path(&["devices", &put.one.device_id]);
                Ok(Answer::record(&client.put(&path, &put.body()).await?, format))
            }
            DeviceCommand::List(user) => {
                let answer = client.get(&user.path(&["devices"])).await?;
                Ok(Answer::table(&answer, format, COLUMNS))
            }
            DeviceCommand::Delete(one) => {
                let path = one.user.path(&["devices", &one.device_id]);
                Ok(Answer::record(&client.delete(&path).await?, format))
            }
            DeviceCommand::State(set) => {
                let path = set.one.user.path(&["devices", &set.one.device_id, "state"]);
                let mut body = json!({ "state": set.state.as_str() });
                if let Some(unread) = set.unread {
                    body["unread"] = json!(unread);
                }
                Ok(Answer::record(&client.post(&path, &body).await?, format))
            }
        }
    }
}

impl PutDevice {
    fn body(&self) -> Value {
        let mut body = json!({
            "cert_id": self.cert_id, "token": self.token, "platform": self.platform,
        });
        let optional = [
            ("brand", &self.brand),
            ("locale", &self.locale),
            ("time_zone", &self.time_zone),
            ("app_version", &self.app_version),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        body
    }
}
