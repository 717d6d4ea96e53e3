//! `offpush cert`: vendor credentials, by their certificate ID.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::apps::AppFlag;
use crate::cli::client::{Client, path, path_with};
use crate::cli::output::{Answer, Format};
use crate::vendor;

const COLUMNS: &[&str] =
    &["cert_id", "vendor", "name", "environment", "status", "expires_at", "revision", "broken"];
const DEVICE_COLUMNS: &[&str] =
    &["user", "device_id", "platform", "brand", "token_hash", "token_state", "state", "seen_at"];

/// `offpush cert …`.
#[derive(Subcommand)]
pub enum CertCommand {
    /// Upload a credential; prints its certificate ID
    Upload(Upload),
    /// List the certificates of an app
    List(AppFlag),
    /// Show one
    Show(One),
    /// Replace its secret; the certificate ID stays
    Rotate(Rotate),
    /// Ask the vendor whether it works, without ringing anyone
    Verify(One),
    /// Push to one token and show the vendor's raw answer
    TestPush(TestPush),
    /// Use it again
    Enable(One),
    /// Stop using it; its deliveries are suppressed
    Disable(One),
    /// Delete it
    Delete(One),
    /// List the devices registered against it
    Devices(Devices),
}

/// One certificate of an app.
#[derive(Args)]
pub struct One {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// The certificate ID
    pub cert_id: u32,
}

impl One {
    fn path(&self, more: &[&str]) -> String {
        certificate_path(&self.app, self.cert_id, more)
    }
}

fn certificate_path(app: &AppFlag, cert_id: u32, more: &[&str]) -> String {
    let (app, cert_id) = (app.segment(), cert_id.to_string());
    let mut segments = vec!["v1", "apps", &app, "certificates", &cert_id];
    segments.extend(more);
    path(&segments)
}

/// Where a credential comes from.
#[derive(Args)]
pub struct CredentialFlags {
    /// The vendor's file: .p8, .p12, service account …; or as JSON the credential object, or a
    /// whole upload such as `offpush sim --out` writes
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A field of the credential, such as key_id=ABC; @FILE as value reads a file
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub field: Vec<(String, String)>,
}

/// `offpush cert upload`.
#[derive(Args)]
pub struct Upload {
    /// Which app.
    #[command(flatten)]
    pub app: AppFlag,
    /// The vendor, by its name in the API; a file that holds a whole upload names it itself.
    #[arg(
        long,
        help = format!("The vendor: {}", known_vendors()),
        required_unless_present = "file"
    )]
    pub vendor: Option<String>,
    /// A name, for people
    #[arg(long)]
    pub name: Option<String>,
    /// Which of the vendor's worlds [default: production]
    #[arg(long, value_enum)]
    pub environment: Option<World>,
    /// The certificate ID to take; without it the next free one
    #[arg(long, value_name = "ID")]
    pub cert_id: Option<u32>,
    /// The credential.
    #[command(flatten)]
    pub credential: CredentialFlags,
    /// A default of its pushes, such as channel_id=chat
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub option: Vec<(String, String)>,
}

/// The environments as flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum World {
    /// Store and TestFlight builds
    Production,
    /// Development builds, where the vendor has a world for them
    Sandbox,
}

/// `offpush cert rotate`.
#[derive(Args)]
pub struct Rotate {
    /// Which certificate.
    #[command(flatten)]
    pub one: One,
    /// The new credential.
    #[command(flatten)]
    pub credential: CredentialFlags,
}

/// `offpush cert test-push`.
#[derive(Args)]
pub struct TestPush {
    /// Which certificate.
    #[command(flatten)]
    pub one: One,
    /// The device's token
    #[arg(long)]
    pub token: String,
    /// Title of the notification
    #[arg(long, default_value = "offpush")]
    pub title: String,
    /// Text of the notification
    #[arg(long, default_value = "test push")]
    pub desc: String,
}

/// `offpush cert devices`.
#[derive(Args)]
pub struct Devices {
    /// Which certificate.
    #[command(flatten)]
    pub one: One,
    /// Where the last page ended
    #[arg(long)]
    pub cursor: Option<String>,
}

impl CertCommand {
    /// Asks the server.
    ///
    /// # Errors
    /// When the server refuses, or the credential's file is not one.
    pub async fn run(self, client: &Client, format: Format) -> anyhow::Result<Answer> {
        let record = |answer: Value| Ok(Answer::record(&answer, format));
        match self {
            CertCommand::Upload(upload) => {
                let path = path(&["v1", "apps", &upload.app.segment(), "certificates"]);
                record(client.post(&path, &upload.body()?).await?)
            }
            CertCommand::List(app) => {
                let path = path(&["v1", "apps", &app.segment(), "certificates"]);
                Ok(Answer::table(&client.get(&path).await?, format, COLUMNS))
            }
            CertCommand::Show(one) => record(client.get(&one.path(&[])).await?),
            CertCommand::Rotate(rotate) => {
                let current = client.get(&rotate.one.path(&[])).await?;
                let vendor = current["vendor"].as_str().context("the answer names no vendor")?;
                let body = json!({ "credential": rotate.credential.credential(vendor)? });
                record(client.put(&rotate.one.path(&[]), &body).await?)
            }
            CertCommand::Verify(one) => {
                let answer = client.post(&one.path(&["verify"]), &json!({})).await?;
                Ok(judged(&answer, format))
            }
            CertCommand::TestPush(push) => {
                let body = json!({
                    "token": push.token, "title": push.title, "desc": push.desc,
                });
                let answer = client.post(&push.one.path(&["test-push"]), &body).await?;
                Ok(judged(&answer, format))
            }
            CertCommand::Enable(one) => {
                record(client.put(&one.path(&[]), &json!({ "enabled": true })).await?)
            }
            CertCommand::Disable(one) => {
                record(client.put(&one.path(&[]), &json!({ "enabled": false })).await?)
            }
            CertCommand::Delete(one) => record(client.delete(&one.path(&[])).await?),
            CertCommand::Devices(devices) => {
                let (app, cert_id) = (devices.one.app.segment(), devices.one.cert_id.to_string());
                let segments = ["v1", "apps", &app, "certificates", &cert_id, "devices"];
                let path = path_with(&segments, &[("cursor", devices.cursor)]);
                Ok(Answer::table(&client.get(&path).await?, format, DEVICE_COLUMNS))
            }
        }
    }
}

/// The answer of a check; the process fails when the vendor did not accept, so scripts can tell.
fn judged(answer: &Value, format: Format) -> Answer {
    let verdict = answer["verdict"].as_str();
    let failed = verdict.is_some_and(|verdict| verdict != "accepted");
    Answer { failed, ..Answer::record(answer, format) }
}

impl Upload {
    fn body(&self) -> anyhow::Result<Value> {
        let mut body = match self.credential.whole_upload() {
            Some(upload) => upload,
            None => {
                let vendor = self.vendor.as_deref().context("--vendor is needed with this file")?;
                json!({ "credential": self.credential.credential(vendor)? })
            }
        };
        if let Some(vendor) = &self.vendor {
            body["vendor"] = json!(vendor);
        }
        if let Some(environment) = self.environment {
            body["environment"] = json!(match environment {
                World::Production => "production",
                World::Sandbox => "sandbox",
            });
        }
        if let Some(name) = &self.name {
            body["name"] = json!(name);
        }
        if let Some(cert_id) = self.cert_id {
            body["cert_id"] = json!(cert_id);
        }
        if !self.option.is_empty() {
            let options = self.option.iter().map(|(name, text)| (name.clone(), looks_like(text)));
            body["options"] = Value::Object(options.collect());
        }
        Ok(body)
    }
}

impl CredentialFlags {
    /// The file's content when it is the body of an upload: an object with a `credential`.
    fn whole_upload(&self) -> Option<Value> {
        let bytes = fs::read(self.file.as_ref()?).ok()?;
        let object: Value = serde_json::from_slice(&bytes).ok()?;
        object["credential"].is_object().then_some(object)
    }

    /// The `credential` object of the API, for this vendor.
    fn credential(&self, vendor: &str) -> anyhow::Result<Value> {
        let mut fields = BTreeMap::new();
        for (name, value) in &self.field {
            fields.insert(name.clone(), value_or_file(value)?);
        }
        let Some(file) = &self.file else {
            ensure!(!fields.is_empty(), "give --file, or each --field of the credential");
            return Ok(json!(fields));
        };
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut object: Option<Map<String, Value>> = serde_json::from_slice(&bytes).ok();
        // Of a whole upload only the credential counts here.
        if let Some(Value::Object(mut inner)) =
            object.as_mut().and_then(|object| object.remove("credential"))
        {
            inner.extend(fields.into_iter().map(|(name, value)| (name, json!(value))));
            return Ok(Value::Object(inner));
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let read =
            vendor::named(vendor).map(|vendor| vendor.credential_from_file(&name, &bytes, &fields));
        match (read, object) {
            (Some(Ok(credential)), _) => Ok(credential),
            // A vendor whose credentials are not files: the file holds the object itself.
            (_, Some(mut object)) => {
                object.extend(fields.into_iter().map(|(name, value)| (name, json!(value))));
                Ok(Value::Object(object))
            }
            (Some(Err(error)), None) => Err(error).with_context(|| file.display().to_string()),
            (None, None) => bail!("there is no vendor `{vendor}`; known: {}", known_vendors()),
        }
    }
}

fn known_vendors() -> String {
    vendor::ALL.iter().map(|vendor| vendor.profile().name).collect::<Vec<_>>().join(", ")
}

/// Splits `name=value`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}

/// A value, or the text of the file that `@FILE` names: secrets need not stand in the arguments.
fn value_or_file(value: &str) -> anyhow::Result<String> {
    match value.strip_prefix('@') {
        Some(file) => {
            let text = fs::read_to_string(Path::new(file));
            Ok(text.with_context(|| format!("cannot read {file}"))?.trim().to_owned())
        }
        None => Ok(value.to_owned()),
    }
}

/// Options are typed: what reads as JSON that is not text (a number, a switch, an object) is that.
fn looks_like(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Number(number)) => Value::Number(number),
        Ok(Value::Bool(switch)) => Value::Bool(switch),
        Ok(Value::Object(object)) => Value::Object(object),
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(file: Option<PathBuf>, field: &[(&str, &str)]) -> CredentialFlags {
        let field = field.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        CredentialFlags { file, field }
    }

    #[test]
    fn fields_alone_make_a_credential_and_secrets_come_from_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let secret = directory.path().join("secret");
        fs::write(&secret, "s3cret\n").expect("written");
        let from_file = format!("@{}", secret.display());
        let made = flags(None, &[("type", "oauth"), ("client_secret", &from_file)]);
        let expected = json!({"type": "oauth", "client_secret": "s3cret"});
        assert_eq!(made.credential("any").expect("a credential"), expected);
        assert!(flags(None, &[]).credential("any").is_err());
    }

    #[test]
    fn a_json_file_of_a_vendor_without_files_is_the_credential_itself() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("credential.json");
        fs::write(&file, r#"{"type":"secret","app_secret":"a"}"#).expect("written");
        let made = flags(Some(file), &[("package_name", "com.example")]);
        let credential = made.credential("no-such-vendor").expect("a credential");
        assert_eq!(credential["package_name"], "com.example");
        assert_eq!(credential["app_secret"], "a");
    }

    #[test]
    fn a_file_of_an_unknown_vendor_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("key.p8");
        fs::write(&file, "-----BEGIN").expect("written");
        let error = flags(Some(file), &[]).credential("no-such-vendor").expect_err("refused");
        assert!(error.to_string().starts_with("there is no vendor `no-such-vendor`"), "{error}");
    }

    #[test]
    fn options_keep_their_types() {
        assert_eq!(looks_like("2"), json!(2));
        assert_eq!(looks_like("true"), json!(true));
        assert_eq!(looks_like("chat"), json!("chat"));
        assert_eq!(looks_like(r#"{"type":"open_app"}"#), json!({"type": "open_app"}));
    }

    #[test]
    fn a_verdict_that_is_not_accepted_fails_the_process() {
        assert!(judged(&json!({"verdict": "token_dead"}), Format::Table).failed);
        assert!(!judged(&json!({"verdict": "accepted"}), Format::Table).failed);
    }
}
