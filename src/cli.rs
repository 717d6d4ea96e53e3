//! The command line: every command, where its answer goes, and the exit code.
//!
//! Most commands are a thin client of a running server's public API ([`client`]); `serve`, `demo`,
//! `sim`, `bench` and `check` work by themselves ([`local`], [`check`]). Answers go to standard
//! output, everything else to standard error. With `-o json` the API's own answer is printed.

pub mod apps;
pub mod bench;
pub mod certificates;
pub mod check;
pub mod client;
pub mod demo;
pub mod devices;
pub mod doctor;
pub mod explain;
pub mod export;
pub mod local;
pub mod operate;
pub mod output;
pub mod preferences;
pub mod send;
pub mod serve;
pub mod signals;
pub mod sim;
pub mod simulate;
pub mod tls;

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind as UsageKind;
use clap::{Args, Parser, Subcommand};

use crate::cli::client::{Client, ClientError};
use crate::cli::output::{Answer, Format};

/// It worked.
pub const EXIT_OK: u8 = 0;
/// It did not; why is on standard error.
pub const EXIT_FAILED: u8 = 1;
/// The arguments make no sense; nothing was done.
pub const EXIT_USAGE: u8 = 2;

const EXIT_CODES: &str = "\
Exit codes: 0 it worked; 1 it failed, the reason is on standard error; 2 wrong arguments.";

/// An offline push relay that runs beside a chat server.
#[derive(Parser)]
#[command(name = "offpush", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// How to reach the server, and how to print.
    #[command(flatten)]
    pub remote: Remote,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command that asks a server.
#[derive(Clone, Args)]
#[command(next_help_heading = "Server and output")]
pub struct Remote {
    /// The server to ask
    #[arg(
        long,
        global = true,
        env = "OFFPUSH_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub server: String,
    /// An API key [env: OFFPUSH_KEY, else OFFPUSH_ADMIN_KEY]
    #[arg(long, global = true, value_name = "KEY")]
    pub key: Option<String>,
    /// Extra trust roots (PEM), for an https server with a certificate of your own
    #[arg(long, global = true, env = "OFFPUSH_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Longest wait for an answer, in seconds
    #[arg(long, global = true, default_value_t = 30, value_name = "SECONDS")]
    pub timeout_s: u64,
    /// How to print the answer
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Format,
}

impl Remote {
    /// A client with these flags; the key comes from `variable` when no flag gives it.
    fn client(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Client, ClientError> {
        // An empty variable sets nothing, as everywhere; an empty flag says that there is no key.
        let set = |name: &str| variable(name).filter(|key| !key.is_empty());
        let key = self
            .key
            .clone()
            .or_else(|| set("OFFPUSH_KEY"))
            .or_else(|| set("OFFPUSH_ADMIN_KEY"))
            .filter(|key| !key.is_empty());
        let timeout = Duration::from_secs(self.timeout_s);
        Client::new(&self.server, key.as_deref(), self.ca_file.as_deref(), timeout)
    }
}

/// Every command.
#[derive(Subcommand)]
pub enum Command {
    /// Run the server
    Serve(serve::Serve),
    /// Run server and vendor simulators, tell a story of messages, and stay up to look around
    Demo(demo::Demo),
    /// Run the vendor simulators
    Sim(sim::Sim),
    /// Measure the relay on this machine, or one that runs elsewhere
    Bench(bench::Bench),
    /// The simulators of a measurement
    #[command(hide = true)]
    BenchSims {
        /// Phones remember what they showed
        #[arg(long)]
        record: bool,
    },
    /// The bare loop of a measurement
    #[command(hide = true)]
    BenchLimit,
    /// Write apps, certificates, devices and preferences to a file
    Export(export::Export),
    /// Fill an empty store from such a file
    Import(export::Import),
    /// Check settings, directories and keys without starting anything
    Check(check::Check),
    /// Create, change and list apps
    #[command(subcommand)]
    App(apps::AppCommand),
    /// API keys and UserSigs of an app
    #[command(subcommand)]
    Key(apps::KeyCommand),
    /// Vendor credentials
    #[command(subcommand)]
    Cert(certificates::CertCommand),
    /// Registered devices
    #[command(subcommand)]
    Device(devices::DeviceCommand),
    /// What a user wants to be rung for
    #[command(subcommand)]
    Preferences(preferences::PreferencesCommand),
    /// Hand in a message
    Send(send::Send),
    /// Why a message did or did not ring
    Explain(explain::Explain),
    /// Why nothing rings for a user: the usual suspects, one by one
    Doctor(doctor::Doctor),
    /// What other settings would have decided about the messages that came
    Simulate(simulate::Simulate),
    /// What waits: every lane, and the ledger's figures
    Queue(operate::Queue),
    /// The ledger: everything accepted, and how it ended
    Ledger(operate::Ledger),
    /// Lanes: one per certificate
    #[command(subcommand)]
    Lanes(operate::LanesCommand),
    /// Deliveries whose retries were used up
    #[command(subcommand)]
    DeadLetters(operate::DeadLettersCommand),
}

/// Runs one command line (the program's name first) and says how the process shall exit.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match execute(cli) {
        Ok(answer) => {
            let written = print(&answer.text);
            ExitCode::from(if answer.failed || !written { EXIT_FAILED } else { EXIT_OK })
        }
        Err(error) => {
            report(&error);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Prints what is wrong with the arguments, or the help that was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when printing fails.
    let _ = error.print();
    match error.kind() {
        UsageKind::DisplayHelp | UsageKind::DisplayVersion => ExitCode::from(EXIT_OK),
        _ => ExitCode::from(EXIT_USAGE),
    }
}

fn execute(cli: Cli) -> anyhow::Result<Answer> {
    let Cli { remote, command } = cli;
    match command {
        Command::Serve(command) => command.run(),
        Command::Demo(command) => command.run(remote.output),
        Command::Sim(command) => command.run(remote.output),
        Command::Bench(command) => command.run(remote.key, remote.output),
        Command::BenchSims { record } => {
            crate::bench::sims::run(record).map(|()| Answer::default())
        }
        Command::BenchLimit => crate::bench::limit::run().map(|()| Answer::default()),
        Command::Export(command) => command.run(),
        Command::Import(command) => command.run(),
        Command::Check(command) => command.run(remote.output),
        Command::Key(apps::KeyCommand::Usersig(command)) => Ok(command.run(remote.output)?),
        other => {
            let client = remote.client(|name| std::env::var(name).ok())?;
            block_on(ask(other, &client, remote.output))?
        }
    }
}

/// The commands that ask a server.
async fn ask(command: Command, client: &Client, format: Format) -> anyhow::Result<Answer> {
    match command {
        Command::App(command) => command.run(client, format).await,
        Command::Key(command) => command.run(client, format).await,
        Command::Cert(command) => command.run(client, format).await,
        Command::Device(command) => command.run(client, format).await,
        Command::Preferences(command) => command.run(client, format).await,
        Command::Send(command) => command.run(client, format).await,
        Command::Explain(command) => command.run(client, format).await,
        Command::Doctor(command) => command.run(client, format).await,
        Command::Simulate(command) => command.run(client, format).await,
        Command::Queue(command) => command.run(client, format).await,
        Command::Ledger(command) => command.run(client, format).await,
        Command::Lanes(command) => command.run(client, format).await,
        Command::DeadLetters(command) => command.run(client, format).await,
        Command::Serve(_)
        | Command::Demo(_)
        | Command::Sim(_)
        | Command::Bench(_)
        | Command::BenchSims { .. }
        | Command::BenchLimit
        | Command::Export(_)
        | Command::Import(_)
        | Command::Check(_) => Err(anyhow::anyhow!("this command does not ask a server")),
    }
}

/// Runs one client command to its end on this thread.
fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(work))
}

/// Writes an answer to standard output; false when that failed. A reader that closed its end
/// early (`offpush … | head`) has what it wanted.
pub fn print(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
    match written {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::BrokenPipe,
    }
}

/// Writes an error and its causes to standard error.
fn report(error: &anyhow::Error) {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    if let Some(hint) = error.downcast_ref::<ClientError>().and_then(ClientError::hint) {
        text.push_str(&format!("\n  hint: {hint}"));
    }
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_key_flag_beats_the_variables_and_the_apps_key_the_admins() {
        let args = ["offpush", "ledger", "--key", "flag"];
        let cli = Cli::try_parse_from(args).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(cli.remote.key.as_deref(), Some("flag"));
        let remote = Remote { key: None, ..cli.remote };
        let both = |name: &str| Some(name.to_owned());
        assert_eq!(remote.client(both).expect("a client").key(), Some("OFFPUSH_KEY"));
        let admin = |name: &str| (name == "OFFPUSH_ADMIN_KEY").then(|| "a".to_owned());
        assert_eq!(remote.client(admin).expect("a client").key(), Some("a"));
        let empty = |name: &str| Some(if name == "OFFPUSH_KEY" { "" } else { "a" }.to_owned());
        assert_eq!(remote.client(empty).expect("a client").key(), Some("a"), "empty sets nothing");
        assert_eq!(remote.client(|_| None).expect("a client").key(), None);
    }
}
