//! Starting parts of a measurement as processes of their own, each on its core.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Which core each part runs on.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The relay, and the bare loop while no relay works.
    pub relay: Option<usize>,
    /// The simulators.
    pub sims: Option<usize>,
    /// The load.
    pub load: Option<usize>,
}

impl Cores {
    /// No part is tied to a core.
    pub const FREE: Cores = Cores { relay: None, sims: None, load: None };

    /// The relay alone on the first core, the others on the next ones as far as there are any;
    /// nothing is tied when there is one core or no `taskset`.
    pub fn of_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let has_taskset = std::process::Command::new("taskset")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if cores < 2 || !has_taskset {
            return Cores::FREE;
        }
        Cores { relay: Some(0), sims: Some(1), load: Some(if cores > 2 { 2 } else { 1 }) }
    }

    /// Ties this process and its threads to the core of the load.
    ///
    /// # Errors
    /// When `taskset` refuses.
    pub fn tie_load(&self) -> anyhow::Result<()> {
        let Some(core) = self.load else { return Ok(()) };
        let status = std::process::Command::new("taskset")
            .args(["-a", "-c", "-p", &core.to_string(), &std::process::id().to_string()])
            .stdout(Stdio::null())
            .status()
            .context("run taskset")?;
        anyhow::ensure!(status.success(), "taskset refused to move this process to core {core}");
        Ok(())
    }
}

/// A part that runs: it says one thing a line, and is told one thing a line.
pub struct Part {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    name: &'static str,
}

impl Part {
    /// Runs this program again with other arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        name: &'static str,
        core: Option<usize>,
        args: &[String],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Part> {
        let program = program()?;
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(args).envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let stdin = child.stdin.take().context("its standard input is missing")?;
        let stdout = child.stdout.take().context("its standard output is missing")?;
        Ok(Part { child, stdin, lines: BufReader::new(stdout).lines(), name })
    }

    /// Its process; `taskset` becomes the program it runs, so this is the program's own.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// The next line it says.
    ///
    /// # Errors
    /// When it ended instead.
    pub async fn line(&mut self) -> anyhow::Result<String> {
        let line = self.lines.next_line().await.context("read from a part")?;
        line.with_context(|| format!("{} ended unexpectedly", self.name))
    }

    /// Tells it one line and waits for the line it answers.
    ///
    /// # Errors
    /// When it ended instead.
    pub async fn ask(&mut self, line: &str) -> anyhow::Result<String> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        self.stdin.flush().await?;
        self.line().await
    }

    /// `kill -9`, and waits for its end.
    ///
    /// # Errors
    /// When it ended before.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("{} ended by itself before it was killed: {status}", self.name);
        }
        self.child.kill().await.with_context(|| format!("kill {}", self.name))
    }

    /// Asks it to stop as an operator would, and waits for its end.
    ///
    /// # Errors
    /// When it cannot be signalled or fails.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let signal = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        anyhow::ensure!(signal.await.context("run kill")?.success(), "cannot signal {}", self.name);
        let status = self.child.wait().await?;
        anyhow::ensure!(status.success(), "{} failed: {status}", self.name);
        Ok(())
    }
}

fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("find this program's own file")
}
