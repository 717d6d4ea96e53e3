//! Moving what must not be lost between stores and machines: apps, certificates, API keys,
//! devices and preferences, as JSON lines. What is on its way (queue, traces, ledger) stays.
//!
//! ```text
//! {"offpush_export":3,"engine":"sled","seal":"…"}       the seal proves the secret key
//! {"kind":"certificate","key":"…hex…","value":"…base64…"}
//! {"rows":1234}                                          the end: a cut file shows
//! ```
//!
//! Secrets stay sealed, so the file is worth nothing without `secrets.key_file`; the importing
//! relay needs the same key.

use std::io::{BufRead, Write};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::app::partitions::parted;
use crate::seal::Seal;
use crate::store::keys::{Class, KeyBuilder, just_after};
use crate::store::{Batch, Key, Scope, Store};

/// The form of the file; raised when a line changes its meaning or a kind is added, so that an
/// older version says that the file is too new. Form 1 had no `known_account`, form 2 no
/// `certificate_number`.
pub const FORM: u32 = 3;

/// Rows read, and written, at a time.
const PAGE: usize = 64;

/// Commits handed in together.
const COMMITS_TOGETHER: usize = 16;

/// Longest line read: the largest row, in base64, with room.
const LINE_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// What the sealed proof holds.
const PROOF: &str = "offpush export";

/// What moves, in the order it is written: an app before what belongs to it.
const KINDS: [(&str, Class); 11] = [
    ("app", Class::App),
    ("api_key", Class::ApiKey),
    ("certificate", Class::Certificate),
    ("certificate_number", Class::CertificateNumber),
    ("user", Class::User),
    ("known_account", Class::KnownAccount),
    ("owner", Class::Owner),
    ("device_by_certificate", Class::DeviceByCertificate),
    ("badge", Class::Badge),
    ("receive_option", Class::ReceiveOption),
    ("member", Class::Member),
];

#[derive(Serialize, Deserialize)]
struct Head {
    offpush_export: u32,
    engine: String,
    seal: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    kind: String,
    key: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
struct End {
    rows: u64,
}

/// Writes everything that moves; `progress` hears how many rows are done. Answers their number.
///
/// # Errors
/// The store's, or the file's.
pub async fn export(
    store: &Arc<dyn Store>,
    seal: &Seal,
    mut out: impl Write,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<u64> {
    let proof = STANDARD.encode(seal.seal(PROOF, PROOF.as_bytes())?);
    let head = Head { offpush_export: FORM, engine: store.engine().to_owned(), seal: proof };
    write_line(&mut out, &head)?;
    let mut rows = 0;
    for (kind, class) in KINDS {
        let mut range = KeyBuilder::new(class).prefix();
        loop {
            let page = store.scan(Scope::Everywhere, range.clone(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            range.start = just_after(last);
            for (key, value) in &page {
                let line = Line {
                    kind: kind.to_owned(),
                    key: hex::encode(key),
                    value: STANDARD.encode(value),
                };
                write_line(&mut out, &line)?;
            }
            rows += page.len() as u64;
            progress(rows);
        }
    }
    write_line(&mut out, &End { rows })?;
    out.flush().context("write the export")?;
    Ok(rows)
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec(line).context("write the export")?;
    text.push(b'\n');
    out.write_all(&text).context("write the export")
}

/// Checks a whole file without changing anything; answers its rows.
///
/// # Errors
/// What is wrong with it, with the number of the line.
pub fn check(file: impl BufRead, seal: &Seal) -> anyhow::Result<u64> {
    let mut lines = Lines { file, number: 0 };
    let head: Head = lines.next()?.context("the file is empty")?;
    ensure!(
        head.offpush_export <= FORM,
        "the file is of form {}, this version reads up to {FORM}",
        head.offpush_export
    );
    let proof = STANDARD.decode(&head.seal).context("line 1: seal is not base64")?;
    if seal.open(PROOF, &proof).is_err() {
        bail!("the secret key is another than the export's: copy its secrets.key_file first");
    }
    let mut rows = 0;
    loop {
        let line: serde_json::Value =
            lines.next()?.context("the file ends too early: it has no last line with rows")?;
        if let Ok(End { rows: counted }) = serde_json::from_value(line.clone()) {
            ensure!(counted == rows, "the file has {rows} rows, its last line says {counted}");
            return Ok(rows);
        }
        let number = lines.number;
        let line: Line = serde_json::from_value(line).with_context(|| format!("line {number}"))?;
        row(&line).with_context(|| format!("line {number}"))?;
        rows += 1;
    }
}

/// Writes a checked file's rows into an empty store; `progress` hears how many are done.
///
/// # Errors
/// When the store holds apps already, the store's, or the file's.
pub async fn import(
    store: &Arc<dyn Store>,
    file: impl BufRead,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<u64> {
    let apps = KeyBuilder::new(Class::App).prefix();
    let known = store.scan(Scope::Everywhere, apps, 1).await?;
    ensure!(known.is_empty(), "the store holds apps already: import into an empty data_dir");
    let mut lines = Lines { file, number: 0 };
    let _: Head = lines.next()?.context("the file is empty")?;
    let mut rows = 0;
    // Apps come first in the file but are written last: an import that was cut short leaves a
    // store that counts as empty, so it is simply run again.
    let mut apps = Vec::new();
    let mut waiting = Vec::new();
    while let Some(line) = lines.next::<serde_json::Value>()? {
        let Ok(line) = serde_json::from_value::<Line>(line) else { break };
        let row = row(&line)?;
        if line.kind == "app" {
            apps.push(row)
        } else {
            waiting.push(row)
        }
        if waiting.len() == PAGE * COMMITS_TOGETHER {
            rows += write(store, std::mem::take(&mut waiting)).await?;
            progress(rows);
        }
    }
    rows += write(store, waiting).await?;
    rows += write(store, apps).await?;
    progress(rows);
    Ok(rows)
}

async fn write(store: &Arc<dyn Store>, rows: Vec<(Key, Bytes)>) -> anyhow::Result<u64> {
    let count = rows.len() as u64;
    let batches = parted(rows, PAGE)
        .into_iter()
        .map(|(partition, put)| (partition, Batch { put, ..Batch::default() }))
        .collect();
    for result in store.commit_all(batches).await {
        result.context("write the imported rows")?;
    }
    Ok(count)
}

/// Reads a row, and refuses keys of a kind that does not move.
fn row(line: &Line) -> anyhow::Result<(Key, Bytes)> {
    let known = KINDS.iter().find(|(kind, _)| *kind == line.kind);
    let (_, class) = known.with_context(|| format!("kind {:?} is not known", line.kind))?;
    let key = hex::decode(&line.key).context("key is not hex")?;
    ensure!(key.first() == Some(&(*class as u8)), "key does not belong to kind {}", line.kind);
    let value = STANDARD.decode(&line.value).context("value is not base64")?;
    Ok((key.into(), value.into()))
}

struct Lines<R> {
    file: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next<T: serde::de::DeserializeOwned>(&mut self) -> anyhow::Result<Option<T>> {
        let mut line = Vec::new();
        self.number += 1;
        let limit = LINE_BYTES_MAX as u64;
        let mut bounded = std::io::Read::take(&mut self.file, limit);
        if bounded.read_until(b'\n', &mut line).context("read the export")? == 0 {
            return Ok(None);
        }
        let read = serde_json::from_slice(&line);
        read.with_context(|| format!("line {} is damaged", self.number)).map(Some)
    }
}
