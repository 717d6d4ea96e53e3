//! Credentials dropped as files into `certs/`: read at start and on SIGHUP.
//!
//! Each `NAME.json` or `NAME.toml` describes one certificate: the body of the upload API plus
//! `app`, and optionally `file`, a path beside it that holds the credential itself (a `.p8`, a
//! `.p12`, a service account). The certificate is found again by its app and name, so a changed
//! file rotates it under the same number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use figment::Figment;
use figment::providers::{Format, Toml};
use serde::Deserialize;
use serde_json::Value;

use crate::api::Api;
use crate::credentials::Draft;
use crate::model::certificate::{Environment, Options};
use crate::model::id::{AppId, CertId};
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
    let mut changed = 0;
    for path in paths.into_iter().take(FILES_MAX) {
        match take(api, &path).await {
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

async fn take(api: &Arc<Api>, path: &Path) -> anyhow::Result<Option<CertId>> {
    let text = String::from_utf8(read_small(path)?).context("the file is not UTF-8")?;
    let description: Description = if path.extension().is_some_and(|ext| ext == "toml") {
        Figment::from(Toml::string(&text))
            .extract()
            .context("the file does not describe a certificate")?
    } else {
        serde_json::from_str(&text).context("the file does not describe a certificate")?
    };
    let credential = credential(&description, path)?;
    if api.apps.get(description.app).is_none() {
        bail!("there is no app {}: create it first", description.app);
    }
    let now = api.clock.now();
    let known = api
        .credentials
        .list(Some(description.app))
        .into_iter()
        .find(|known| known.info.name == description.name);
    let mut draft = Draft {
        app: Some(description.app),
        vendor: Some(description.vendor),
        name: Some(description.name),
        environment: Some(description.environment),
        credential: Some(credential),
        options: description.options,
        cert_id: description.cert_id,
        enabled: None,
    };
    let certificate = match known {
        None => api.credentials.create(description.app, draft, now).await?,
        Some(known) => {
            let cert_id = known.info.cert_id;
            let credential = draft.credential.as_ref();
            let same = match credential {
                Some(credential) => api.credentials.holds(&known, credential).await?,
                None => true,
            };
            if same && draft.options.as_ref().is_none_or(|options| *options == known.info.options) {
                return Ok(None);
            }
            if same {
                draft.credential = None;
            }
            draft.cert_id = None;
            api.credentials.change(description.app, cert_id, draft, now).await?
        }
    };
    Ok(Some(certificate.info.cert_id))
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
