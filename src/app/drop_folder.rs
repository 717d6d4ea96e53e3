//! Credentials dropped as files into `certs/`: read at start and on SIGHUP.
//!
//! Each `NAME.json` or `NAME.toml` describes one certificate: the body of the upload API plus
//! `app`, and optionally `file`, a path beside it that holds the credential itself (a `.p8`, a
//! `.p12`, a service account). The certificate is found again by its app and name, so a changed
//! file rotates it under the same number. A file acts when what it says changes, and then in whole.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use figment::providers::{Format, Toml};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::Api;
use crate::credentials::{Described, Draft};
use crate::model::certificate::{Environment, Options};
use crate::model::id::{AppId, CertId};
use crate::model::json::{from_value, without_values};
use crate::vendor;

/// Largest file read from the folder.
const FILE_BYTES_MAX: u64 = 256 * 1_024;

/// Most descriptions read from the folder.
const FILES_MAX: usize = 1_000;

/// One description.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    app: AppId,
    vendor: String,
    name: String,
    #[serde(default)]
    environment: Environment,
    #[serde(default)]
    cert_id: Option<CertId>,
    #[serde(default)]
    options: Option<Options>,
    /// The credential object, or the fields that go with `file`.
    #[serde(default)]
    credential: Option<Value>,
    #[serde(default)]
    file: Option<PathBuf>,
}

/// Reads the folder; what cannot be read is reported and skipped, so that one bad file does not
/// keep the relay from starting. Answers how many certificates were created or rotated.
pub async fn read(api: &Arc<Api>, dir: &Path) -> usize {
    let mut paths = match descriptions(dir) {
        Ok(paths) => paths,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return 0,
        Err(error) => {
            tracing::error!(%error, dir = %dir.display(), "certs_dir cannot be read");
            return 0;
        }
    };
    paths.sort();
    let described: Vec<_> =
        paths.into_iter().take(FILES_MAX).map(|path| (describe(&path), path)).collect();
    // A service account is a JSON file too: one that a description names is none itself.
    let named: HashSet<PathBuf> =
        described.iter().filter_map(|(read, _)| read.as_ref().ok()?.file.clone()).collect();
    let mut changed = 0;
    for (read, path) in described {
        if path.file_name().is_some_and(|name| named.contains(Path::new(name))) {
            continue;
        }
        let taken = match read {
            Ok(description) => take(api, &path, description).await,
            Err(error) => Err(error),
        };
        match taken {
            Ok(Some(cert_id)) => {
                changed += 1;
                tracing::info!(%cert_id, file = %path.display(), "certificate loaded");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(file = %path.display(), "certificate not loaded: {error:#}");
            }
        }
    }
    changed
}

fn descriptions(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("json" | "toml")) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Reads a description. What is wrong with it is told without the words it holds: one of them is
/// the secret, and this ends in the log.
fn describe(path: &Path) -> anyhow::Result<Description> {
    let text = String::from_utf8(read_small(path)?).context("the file is not UTF-8")?;
    let value: Value = if path.extension().is_some_and(|ext| ext == "toml") {
        Toml::from_str(&text).map_err(|error| {
            let (line, column) = place(&text, error.span().map_or(0, |span| span.start));
            anyhow!("not TOML, line {line}, column {column}: {}", kind(error.message()))
        })?
    } else {
        serde_json::from_str(&text)
            .map_err(|error| anyhow!("not JSON: {}", without_values(&error)))?
    };
    from_value(value).map_err(|why| anyhow!("the file does not describe a certificate: {why}"))
}

/// Line and column of a byte, from one.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// The kind of a mistake on one line. Only this one quotes what the file says.
fn kind(message: &str) -> String {
    if message.starts_with("duplicate key") {
        return "duplicate key".to_owned();
    }
    message.lines().collect::<Vec<_>>().join(", ")
}

async fn take(
    api: &Arc<Api>,
    path: &Path,
    description: Description,
) -> anyhow::Result<Option<CertId>> {
    let credential = credential(&description, path)?;
    let app = description.app;
    if api.apps.get(app).is_none() {
        bail!("there is no app {app}: create it first");
    }
    let now = api.clock.now();
    let options = description.options.clone().unwrap_or_default();
    let mut draft = Draft {
        app: Some(app),
        described: Some(described(&description, &options, &credential)),
        vendor: Some(description.vendor),
        name: Some(description.name.clone()),
        environment: Some(description.environment),
        options: Some(options),
        cert_id: description.cert_id,
        credential: None,
        enabled: None,
    };
    let Some(known) = api.credentials.named(app, &description.name) else {
        draft.credential = Some(credential);
        let created = api.credentials.create(app, draft, now).await?;
        return Ok(Some(created.info.cert_id));
    };
    let cert_id = known.cert_id;
    if draft.described.is_some_and(|said| api.credentials.was_described_as(cert_id, said)) {
        return Ok(None);
    }
    // What cannot be read is not the same.
    let same_secret = api.credentials.holds(&known, &credential).await.unwrap_or(false);
    let same_place = known.environment == description.environment;
    let is_news = !same_secret || !same_place || draft.options.as_ref() != Some(&known.options);
    if !same_secret || !same_place {
        draft.credential = Some(credential);
    }
    api.credentials.change(app, cert_id, draft, now).await?;
    Ok(is_news.then_some(cert_id))
}

/// All that a description says, as far as it can act.
fn described(description: &Description, options: &Options, credential: &Value) -> Described {
    let said = json!({
        "vendor": description.vendor,
        "environment": description.environment,
        "cert_id": description.cert_id,
        "options": options,
        "credential": credential,
    });
    Described::of(&said.to_string())
}

/// The credential object: as written, or made by the vendor from the file beside it.
fn credential(description: &Description, path: &Path) -> anyhow::Result<Value> {
    let Some(file) = &description.file else {
        return description.credential.clone().context("credential or file is missing");
    };
    if file.components().count() != 1 {
        bail!("file must be a name beside the description, not a path");
    }
    let Some(vendor) = vendor::named(&description.vendor) else {
        bail!("there is no vendor {}", description.vendor);
    };
    let beside = path.with_file_name(file);
    let bytes = read_small(&beside)?;
    let mut fields = BTreeMap::new();
    if let Some(Value::Object(given)) = &description.credential {
        for (name, value) in given {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            fields.insert(name.clone(), text);
        }
    }
    let name = file.to_string_lossy();
    Ok(vendor.credential_from_file(&name, &bytes, &fields)?)
}

fn read_small(path: &Path) -> anyhow::Result<Vec<u8>> {
    let length = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
    if length > FILE_BYTES_MAX {
        bail!("{} has {length} bytes, at most {FILE_BYTES_MAX} are read", path.display());
    }
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr3t-of-the-app";

    #[test]
    fn a_mistake_is_told_by_its_place_and_never_with_what_stands_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let head = "app = 1\nvendor = \"xiaomi\"\nname = \"n\"\n";
        for (name, text, told) in [
            ("a.toml", format!("{head}secret = \"{SECRET}"), "not TOML, line 4, column "),
            ("b.toml", format!("{head}secret = {SECRET}"), "not TOML, line 4, column "),
            ("c.toml", format!("{head}{SECRET}\n"), "not TOML, line 4, column "),
            ("d.toml", format!("{head}\"{SECRET}\" = 1\n\"{SECRET}\" = 2"), "duplicate key"),
            ("e.toml", format!("{head}options = \"{SECRET}\""), "options: invalid type: string"),
            ("f.toml", format!("vendor = \"x\"\nname = \"n\"\napp = \"{SECRET}\""), "app: invalid"),
            ("g.toml", format!("{head}environment = \"{SECRET}\""), "environment: an unknown word"),
            ("h.json", format!("{{\"app\": \"{SECRET}\"}}"), "app: invalid type: string"),
            ("i.json", format!("{{\"app\": 1 \"{SECRET}\"}}"), "not JSON: expected"),
            ("j.json", format!("[\"{SECRET}\"]"), "does not describe a certificate"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            let error = format!("{:#}", describe(&path).expect_err(name));
            assert!(error.contains(told), "{name}: {error}");
            assert!(!error.contains("s3cr"), "{name}: {error}");
        }
    }

    #[test]
    fn places_are_counted_from_one() {
        let text = "ab\nécd\n";
        assert_eq!(
            [0, 2, 3, 5, 99].map(|at| place(text, at)),
            [(1, 1), (1, 3), (2, 1), (2, 2), (3, 1)]
        );
    }
}
