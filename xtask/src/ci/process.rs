//! Commands that are watched: said before they start, and ended when their time is over.

use std::{
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

use crate::house::say;

/// How often a running command is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// Measures how long something takes.
#[derive(Debug)]
pub(crate) struct Stopwatch(
    #[expect(
        clippy::disallowed_types,
        reason = "a command line has no runtime whose time tests could pause"
    )]
    std::time::Instant,
);

impl Stopwatch {
    /// Starts now.
    #[expect(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "a command line has no runtime whose time tests could pause"
    )]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Runs `command` with our own output, and waits for it at most `limit`.
///
/// # Errors
///
/// When it cannot start, fails, or takes too long; then it is killed.
pub(crate) fn run(command: &mut Command, limit: Duration) -> anyhow::Result<()> {
    let shown = show(command);
    say(&format!("$ {shown}"));
    let status = wait(command.stdin(Stdio::null()), limit).with_context(|| format!("`{shown}`"))?;
    ensure!(status.success(), "`{shown}` left with {status}");
    Ok(())
}

/// Whether a program is on the path and answers to `--version`.
pub(crate) fn exists(program: &mut Command) -> bool {
    let quiet = program
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The program's name and arguments, as one would type them.
pub(crate) fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn wait(command: &mut Command, limit: Duration) -> anyhow::Result<ExitStatus> {
    let mut child = command.spawn().context("cannot start")?;
    let watch = Stopwatch::start();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait")? {
            return Ok(status);
        }
        if watch.elapsed() > limit {
            child.kill().context("cannot kill what takes too long")?;
            child.wait().context("cannot wait")?;
            bail!("killed after {} s, far over its budget", limit.as_secs());
        }
        thread::park_timeout(GLANCE);
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::{exists, run, show};

    #[test]
    fn a_command_that_fails_is_named() {
        let error = run(
            Command::new("sh").args(["-c", "exit 3"]),
            Duration::from_secs(60),
        )
        .expect_err("fails");
        assert_eq!(error.to_string(), "`sh -c exit 3` left with exit status: 3");
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let hanging = &mut Command::new("sh");
        let error = run(
            hanging.args(["-c", "read line < /dev/zero"]),
            Duration::ZERO,
        )
        .expect_err("is killed");
        assert!(
            format!("{error:#}").contains("killed after 0 s"),
            "{error:#}"
        );
    }

    #[test]
    fn programs_are_looked_for() {
        assert!(exists(&mut Command::new(crate::house::cargo())));
        assert!(!exists(&mut Command::new("no-such-program-anywhere")));
        assert_eq!(show(Command::new("a").args(["b", "c d"])), "a b c d");
    }
}
