//! `offpush export` and `offpush import`: what must not be lost, between stores and machines.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Args;

use crate::app::{App, export};
use crate::cli::local::ConfigFlags;
use crate::cli::output::Answer;
use crate::config::Settings;
use crate::config::sections::Engine;
use crate::seal::Seal;
use crate::store::Store;

/// Rows between two words about progress.
const TELL_EVERY: u64 = 10_000;

/// `offpush export`.
#[derive(Args)]
pub struct Export {
    /// Settings of the store to read; it must not be in use.
    #[command(flatten)]
    pub config: ConfigFlags,
    /// File to write; it must not exist
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `offpush import`.
#[derive(Args)]
pub struct Import {
    /// Settings of the store to fill; it must be empty and not in use.
    #[command(flatten)]
    pub config: ConfigFlags,
    /// File that `offpush export` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

impl Export {
    /// Writes the file.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn run(self) -> anyhow::Result<Answer> {
        let settings = self.config.load()?;
        let data_dir = settings.data_dir.display();
        ensure!(is_memory(&settings) || settings.has_store(), "there is no store in {data_dir}");
        let seal = seal_of(&settings)?;
        let rows = block_on(async {
            let store = open(&settings)?;
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(&self.out);
            let file = file.with_context(|| format!("create {}", self.out.display()))?;
            let written =
                export::export(&store, &seal, BufWriter::new(&file), teller("exported")).await;
            store.close().await;
            file.sync_all().context("write the export")?;
            written
        })?;
        Ok(said(format!("exported {rows} rows to {}", self.out.display())))
    }
}

impl Import {
    /// Fills the store.
    ///
    /// # Errors
    /// What is wrong with the file, or why the store could not be filled.
    pub fn run(self) -> anyhow::Result<Answer> {
        let settings = self.config.load()?;
        let seal = seal_of(&settings)?;
        let read = || -> anyhow::Result<BufReader<File>> {
            let file = File::open(&self.file);
            Ok(BufReader::new(file.with_context(|| format!("open {}", self.file.display()))?))
        };
        // First the whole file is checked, so that a damaged one changes nothing.
        export::check(read()?, &seal).with_context(|| format!("{}", self.file.display()))?;
        let rows = block_on(async {
            let store = open(&settings)?;
            let written = export::import(&store, read()?, teller("imported")).await;
            store.close().await;
            written
        })?;
        Ok(said(format!("imported {rows} rows from {}", self.file.display())))
    }
}

/// What is sealed came from elsewhere: a new key would open none of it.
fn seal_of(settings: &Settings) -> anyhow::Result<Seal> {
    Ok(Seal::new(&settings.existing_secret_key().context("read secrets.key_file")?))
}

fn is_memory(settings: &Settings) -> bool {
    settings.store.engine == Engine::Memory
}

fn open(settings: &Settings) -> anyhow::Result<Arc<dyn Store>> {
    ensure!(!is_memory(settings), "store.engine: memory holds nothing to move");
    App::open_store(settings).context("is a relay still running on this data_dir?")
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Tells on standard error how far it is.
fn teller(what: &'static str) -> impl FnMut(u64) {
    let mut told = 0;
    move |rows| {
        if rows / TELL_EVERY > told / TELL_EVERY {
            eprintln!("{what} {rows} rows");
        }
        told = rows;
    }
}

fn said(text: String) -> Answer {
    Answer { text, ..Answer::default() }
}
