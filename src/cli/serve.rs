//! `offpush serve`: the relay, until a stop signal.

use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::cli::check;
use crate::cli::local::ConfigFlags;
use crate::cli::output::Answer;
use crate::config::Settings;
use crate::telemetry;

/// After a stop that did not finish in time, what is left is due again after this at the latest.
const LATEST_REPEAT: Duration = Duration::from_secs(60);

/// `offpush serve`.
#[derive(Args)]
pub struct Serve {
    /// Settings.
    #[command(flatten)]
    pub config: ConfigFlags,
}

impl Serve {
    /// Runs the server until a stop signal.
    ///
    /// # Errors
    /// Every mistake of the settings, or why the server could not start.
    pub fn run(self) -> anyhow::Result<Answer> {
        let settings = self.config.load()?;
        // Before anything is made: a start that fails leaves no traces.
        check::refuse_bad(&settings)?;
        telemetry::init_logging(settings.log.format, &settings.log.level);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve(settings))
    }
}

async fn serve(settings: Settings) -> anyhow::Result<Answer> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let app = App::start(settings.clone()).await?;
    if app.api.open_to_all {
        tracing::warn!("--dev without an admin key: everybody may do everything");
    }
    println!("listening on http{}://{}", if has_tls(&settings) { "s" } else { "" }, app.address());
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => {
                tracing::info!("reading the credential folder again");
                app.reload(&settings).await;
            }
        }
    }
    tracing::info!("stopping: finishing what is in flight");
    if !app.drain().await {
        let again_s = LATEST_REPEAT.as_secs();
        tracing::warn!(again_s, "not everything finished in time; the next start goes on with it");
    }
    Ok(Answer::default())
}

fn has_tls(settings: &Settings) -> bool {
    settings.tls.cert_file.is_some() && settings.tls.key_file.is_some()
}
