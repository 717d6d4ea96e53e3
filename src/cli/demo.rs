//! `offpush demo`: a relay and all vendor simulators in this process, and a story told on them.
//!
//! [`stage`] starts and stops the parts, [`cast`] registers certificates and devices, [`story`]
//! sends the messages, [`observer`] reads back what became of them, [`report`] prints it. Whatever is printed was read back from the relay's API or the simulators' control API; the
//! story never looks inside.

pub mod cast;
pub mod observer;
pub mod report;
pub mod stage;
pub mod story;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::cli::demo::cast::Cast;
use crate::cli::demo::report::Report;
use crate::cli::demo::stage::Stage;
use crate::cli::demo::story::Story;
use crate::cli::output::{Answer, Format};
use crate::cli::print;
use crate::cli::signals::StopSignals;
use crate::telemetry::{self, LogFormat};

/// `offpush demo`.
#[derive(Args)]
pub struct Demo {
    /// Where to listen; port 0 takes any free port [default: 127.0.0.1:8080, or a free port when
    /// that is taken]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Keep the data here; without it nothing is kept
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Leave after the story, with 0 when all went as told
    #[arg(long)]
    pub exit: bool,
    /// What the relay logs to standard error: off, error, warn, info, debug …
    #[arg(long, default_value = "off", value_name = "LEVEL")]
    pub log: String,
}

impl Demo {
    /// Tells the story; then, unless `--exit` is given, stays until a stop signal.
    ///
    /// # Errors
    /// Why it could not start, or what the relay refused.
    pub fn run(self, format: Format) -> anyhow::Result<Answer> {
        telemetry::init_logging(LogFormat::Text, &self.log);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.perform(format))
    }

    async fn perform(self, format: Format) -> anyhow::Result<Answer> {
        let mut stop = StopSignals::listen()?;
        let stage = Stage::start(self.listen, self.data_dir.as_deref()).await?;
        let told = tokio::select! {
            told = tell(&stage, format) => told.map(Some),
            () = stop.received() => Ok(None),
        };
        if let Ok(Some(report)) = &told
            && !self.exit
        {
            if format == Format::Table {
                print(&report.invitation());
            }
            stop.received().await;
        }
        stage.stop().await;
        let ok = told?.is_some_and(|report| report.ok);
        Ok(Answer { text: String::new(), failed: !ok })
    }
}

/// The whole story; in the table format each scene is printed as soon as it is over.
async fn tell(stage: &Stage, format: Format) -> anyhow::Result<Report> {
    let show = |text: String| {
        if format == Format::Table {
            print(&text);
        }
    };
    let mut report = Report::opening(stage).await?;
    show(report.head());
    let cast = Cast::register(stage).await?;
    report.certificates = cast.certificates(stage).await?;
    report.devices = cast.devices(stage).await?;
    show(report.cast());
    let mut story = Story::begin(stage, &cast).await?;
    while let Some(scene) = story.next().await? {
        show(scene.render());
        report.scenes.push(scene);
    }
    story.balance(&mut report).await?;
    show(report.end());
    if format == Format::Json {
        print(&format!("{:#}", serde_json::to_value(&report)?));
    }
    Ok(report)
}
