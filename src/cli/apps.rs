//! `offpush app` and `offpush key`: tenants and who may speak for them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::client::{Client, path};
use crate::cli::output::{Answer, Format};
use crate::clock::Clock;
use crate::model::id::AppId;
use crate::usersig;

const APP_COLUMNS: &[&str] =
    &["app", "name", "admins", "callback_url", "honour_mute", "created_at"];
const KEY_COLUMNS: &[&str] = &["id", "key_id", "name", "scope", "created_at", "last_used_at"];

/// Which app a command is about.
#[derive(Clone, Args)]
pub struct AppFlag {
    /// The app: its SDKAppID
    #[arg(long, env = "OFFPUSH_APP", value_name = "SDKAPPID")]
    pub app: u64,
}

impl AppFlag {
    /// The number as a path segment.
    pub fn segment(&self) -> String {
        self.app.to_string()
    }
}

/// `offpush app …`.
#[derive(Subcommand)]
pub enum AppCommand {
    /// Create an app, or change the settings given
    Put(PutApp),
    /// List the apps
    List,
}

/// `offpush app put`.
#[derive(Args)]
pub struct PutApp {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// Its name, for people
    #[arg(long)]
    pub name: Option<String>,
    /// File with a UserSig secret key; repeat it while a key is being replaced, newest first
    #[arg(long, value_name = "FILE")]
    pub usersig_key_file: Vec<PathBuf>,
    /// Account that may call the Tencent-shaped front door; repeat for more
    #[arg(long, value_name = "ACCOUNT")]
    pub admin: Vec<String>,
    /// Where push results are posted
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<String>,
    /// File with the settings as JSON, or - for standard input; flags beat it
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl AppCommand {
    /// Asks the server.
    ///
    /// # Errors
    /// When the server refuses, or a file cannot be read.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        match self {
            AppCommand::Put(put) => {
                let body = put.body()?;
                let path = path(&["v1", "apps", &put.app.segment()]);
                Ok(Answer::record(&client.put(&path, &body).await?, format))
            }
            AppCommand::List => {
                let answer = client.get(&path(&["v1", "apps"])).await?;
                Ok(Answer::table(&answer, format, APP_COLUMNS))
            }
        }
    }
}

impl PutApp {
    fn body(&self) -> anyhow::Result<Value> {
        let mut body = match &self.file {
            Some(file) => read_json_object(file)?,
            None => Map::new(),
        };
        if let Some(name) = &self.name {
            body.insert("name".to_owned(), json!(name));
        }
        if let Some(url) = &self.callback_url {
            body.insert("callback_url".to_owned(), json!(url));
        }
        if !self.admin.is_empty() {
            body.insert("admins".to_owned(), json!(self.admin));
        }
        if !self.usersig_key_file.is_empty() {
            let keys: Vec<String> =
                self.usersig_key_file.iter().map(read_word).collect::<anyhow::Result<_>>()?;
            body.insert("usersig_keys".to_owned(), json!(keys));
        }
        Ok(Value::Object(body))
    }
}

/// `offpush key …`.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Make an API key of an app; it is shown this once
    Create(CreateKey),
    /// List the keys of an app, without the keys themselves
    List(AppFlag),
    /// Delete a key; requests with it fail from then on
    Delete(DeleteKey),
    /// Make a UserSig: what a client of the app signs in with
    Usersig(Usersig),
}

/// `offpush key create`.
#[derive(Args)]
pub struct CreateKey {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// A name, for people
    #[arg(long)]
    pub name: Option<String>,
}

/// `offpush key delete`.
#[derive(Args)]
pub struct DeleteKey {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// The key's id, as `key list` shows it
    pub id: String,
}

/// `offpush key usersig`.
#[derive(Args)]
pub struct Usersig {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// The user who signs in
    #[arg(long)]
    pub user: String,
    /// File with the app's UserSig secret key
    #[arg(long, value_name = "FILE")]
    pub secret_key_file: PathBuf,
    /// For how long it is valid, in seconds
    #[arg(
        long,
        default_value_t = 180 * 86_400,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub expires_s: u64,
}

impl Usersig {
    /// Makes the UserSig here; no server is asked.
    ///
    /// # Errors
    /// When the key's file cannot be read.
    pub fn run(self, format: Format) -> anyhow::Result<Answer> {
        let key = read_word(&self.secret_key_file)?;
        let now = Clock::system().now();
        let validity = Duration::from_secs(self.expires_s);
        let sig = usersig::make(&key, AppId(self.app.app), &self.user, now, validity);
        let expires_at = now.after(validity).to_string();
        let answer = json!({ "user": self.user, "usersig": sig, "expires_at": expires_at });
        Ok(Answer::of(&answer, format, |_| sig.clone()))
    }
}

impl KeyCommand {
    /// Asks the server.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        match self {
            KeyCommand::Create(create) => {
                let body = match &create.name {
                    Some(name) => json!({ "name": name }),
                    None => json!({}),
                };
                let path = path(&["v1", "apps", &create.app.segment(), "keys"]);
                Ok(Answer::record(&client.post(&path, &body).await?, format))
            }
            KeyCommand::List(app) => {
                let path = path(&["v1", "apps", &app.segment(), "keys"]);
                Ok(Answer::table(&client.get(&path).await?, format, KEY_COLUMNS))
            }
            KeyCommand::Delete(delete) => {
                let path = path(&["v1", "apps", &delete.app.segment(), "keys", &delete.id]);
                Ok(Answer::record(&client.delete(&path).await?, format))
            }
            KeyCommand::Usersig(usersig) => usersig.run(format),
        }
    }
}

/// Reads a file, or standard input when it is named `-`.
///
/// # Errors
/// When it cannot be read; the error names the file.
pub fn read_file(file: &PathBuf) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
            .context("standard input")?;
        return Ok(bytes);
    }
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The same, as a JSON object.
///
/// # Errors
/// When it cannot be read or is not one.
pub fn read_json_object(file: &PathBuf) -> anyhow::Result<Map<String, Value>> {
    serde_json::from_slice(&read_file(file)?)
        .with_context(|| format!("{} is not a JSON object", file.display()))
}

/// A secret kept in a file: its text without the white space around it.
fn read_word(file: &PathBuf) -> anyhow::Result<String> {
    let bytes = read_file(file)?;
    let text = String::from_utf8(bytes).ok().context("the file is not text")?;
    anyhow::ensure!(!text.trim().is_empty(), "{} is empty", file.display());
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_changed_and_flags_beat_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("app.json");
        fs::write(&file, r#"{"name":"old","webhook_token":"t"}"#).expect("written");
        let key = directory.path().join("sig.key");
        fs::write(&key, "abc\n").expect("written");
        let put = PutApp {
            app: AppFlag { app: 1 },
            name: Some("new".to_owned()),
            usersig_key_file: vec![key],
            admin: vec![],
            callback_url: None,
            file: Some(file),
        };
        let expected = json!({"name": "new", "webhook_token": "t", "usersig_keys": ["abc"]});
        assert_eq!(put.body().expect("a body"), expected);
    }
}
