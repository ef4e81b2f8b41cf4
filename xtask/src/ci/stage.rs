//! The stages, in the order in which they run: what is cheap and often wrong comes first.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, ensure};

use crate::{
    ci::{
        Run,
        peer::{Ours, peers},
        process::{exists, run},
        suite,
    },
    house::{cargo, say},
    soak, tidy,
};

/// The folder below the build folder that the profile `ci` fills.
const BUILT: &str = "ci";
/// The cargo-deny that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";
/// What is off by default and checked all the same; the stage `build` builds without it.
const FEATURES: &str =
    "--features=fastmcp/compression,fastmcp/testing,fastmcp/redis,fastmcp/disk,fastmcp/oauth-proxy";
/// A stage that takes this many times its budget hangs.
const PATIENCE: u32 = 3;
/// A full run takes hours, by intent.
const FULL_LIMIT: Duration = Duration::from_secs(12 * 60 * 60);

/// One stage.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it shows, in a few words.
    pub(crate) what: &'static str,
    /// What it may take on two cores with an empty build folder.
    pub(crate) budget: Duration,
    /// What it does.
    pub(crate) run: fn(&Run<'_>) -> anyhow::Result<Outcome>,
}

impl Stage {
    /// When one of its commands is killed.
    pub(crate) fn limit(&self, full: bool) -> Duration {
        if full {
            FULL_LIMIT
        } else {
            self.budget * PATIENCE
        }
    }
}

/// How a stage ended that did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Everything held.
    Passed,
    /// There was nothing to run, and why.
    Skipped(String),
}

const fn stage(
    name: &'static str,
    what: &'static str,
    seconds: u64,
    run: fn(&Run<'_>) -> anyhow::Result<Outcome>,
) -> Stage {
    Stage {
        name,
        what,
        budget: Duration::from_secs(seconds),
        run,
    }
}

/// Every stage.
pub(crate) const STAGES: &[Stage] = &[
    stage("fmt", "the layout of sources", 30, fmt),
    stage("clippy", "the lints, on all targets", 480, clippy),
    stage("tidy", "arrows, sizes, words", 60, tidied),
    stage("test", "unit and integration tests", 900, test),
    stage("doctest", "the examples in documentation", 240, doctest),
    stage("doc", "the documentation's links", 180, doc),
    stage("examples", "every example builds", 60, examples),
    stage(
        "deny",
        "licences, bans and sources of dependencies",
        240,
        deny,
    ),
    stage(
        "build",
        "one optimised build of what is run below",
        780,
        build,
    ),
    stage(
        "conformance",
        "the official suite, both revisions, server and client",
        120,
        conformance,
    ),
    stage(
        "soak",
        "memory of 10,000 idle sessions and 1,000 streams",
        60,
        soaked,
    ),
    stage(
        "e2e",
        "real peers: Inspector, the TypeScript and the Rust SDK, known servers; 100 kills under load",
        390,
        e2e,
    ),
    stage("bench", "instructions for each request", 560, bench),
];

/// The names of the stages, for the command line.
pub(crate) fn names() -> Vec<&'static str> {
    STAGES.iter().map(|stage| stage.name).collect()
}

/// Runs cargo in the checkout with the lock as it was committed.
fn with_cargo(ci: &Run<'_>, arguments: &[&str]) -> anyhow::Result<Outcome> {
    run(cargo_command(ci).args(arguments), ci.limit)?;
    Ok(Outcome::Passed)
}

fn cargo_command(ci: &Run<'_>) -> Command {
    let mut command = Command::new(cargo());
    command.current_dir(ci.house.root());
    if ci.full {
        // Tests that have a long form ask for this.
        command.env("FASTMCP_FULL", "1");
    }
    command
}

fn fmt(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    with_cargo(ci, &["fmt", "--all", "--check"])
}

fn clippy(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    with_cargo(
        ci,
        &[
            "clippy",
            "--locked",
            "--workspace",
            FEATURES,
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )
}

fn tidied(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    tidy::run(ci.house)?;
    Ok(Outcome::Passed)
}

fn test(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    match std::env::var_os("MCP_SCHEMA_DIR") {
        Some(folder) => say(&format!("MCP_SCHEMA_DIR is `{}`", folder.display())),
        None => {
            say("MCP_SCHEMA_DIR is not set: messages are not compared with the official schemas")
        }
    }
    if exists(Command::new(cargo()).arg("nextest")) {
        with_cargo(
            ci,
            &[
                "nextest",
                "run",
                "--locked",
                "--workspace",
                FEATURES,
                "--profile",
                "ci",
            ],
        )
    } else {
        say("cargo-nextest is not installed: cargo test does the same, more slowly");
        with_cargo(
            ci,
            &[
                "test",
                "--locked",
                "--workspace",
                FEATURES,
                "--lib",
                "--bins",
                "--tests",
                "--no-fail-fast",
            ],
        )
    }
}

fn doctest(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    with_cargo(ci, &["test", "--locked", "--doc", "--workspace", FEATURES])
}

fn doc(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    let mut command = cargo_command(ci);
    command.env("RUSTDOCFLAGS", "-D warnings").args([
        "doc",
        "--locked",
        "--workspace",
        FEATURES,
        "--no-deps",
    ]);
    run(&mut command, ci.limit)?;
    Ok(Outcome::Passed)
}

fn examples(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    with_cargo(
        ci,
        &["build", "--locked", "--workspace", FEATURES, "--examples"],
    )
}

fn deny(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    let tool = cargo_deny(ci)?;
    let mut command = Command::new(tool);
    command
        .current_dir(ci.house.root())
        .args(["--locked", "check", "bans", "licenses", "sources"]);
    run(&mut command, ci.limit)?;
    Ok(Outcome::Passed)
}

/// The installed cargo-deny, or one built once into the build folder. Without optimisation
/// that takes less than a minute, and it checks a few hundred crates in a second all the same.
fn cargo_deny(ci: &Run<'_>) -> anyhow::Result<PathBuf> {
    if exists(&mut Command::new("cargo-deny")) {
        return Ok("cargo-deny".into());
    }
    let tools = ci.house.target().join("tools");
    let tool = tools.join("bin").join("cargo-deny");
    let pinned = tools.join(format!("cargo-deny-{CARGO_DENY}"));
    if tool.exists() && pinned.exists() {
        return Ok(tool);
    }
    let workshop = tools.join("build");
    let mut install = cargo_command(ci);
    install
        .env("CARGO_TARGET_DIR", &workshop)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .args([
            "install",
            "cargo-deny",
            "--version",
            CARGO_DENY,
            "--locked",
            "--debug",
            "--force",
            "--root",
        ])
        .arg(&tools);
    run(&mut install, ci.limit)?;
    // Hundreds of megabytes that nothing reads again.
    fs::remove_dir_all(&workshop)
        .with_context(|| format!("cannot remove `{}`", workshop.display()))?;
    fs::write(&pinned, "").with_context(|| format!("cannot write `{}`", pinned.display()))?;
    Ok(tool)
}

fn build(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    with_cargo(
        ci,
        &[
            "build",
            "--locked",
            "--profile",
            "ci",
            "-p",
            "fastmcp-cli",
            "-p",
            "fastmcp-conformance",
        ],
    )
}

/// A program that the stage `build` made.
fn built(ci: &Run<'_>, program: &str) -> anyhow::Result<PathBuf> {
    let path = ci.house.target().join(BUILT).join(program);
    ensure!(
        path.exists(),
        "`{}` is missing: run the stage `build` first",
        path.display()
    );
    Ok(path)
}

fn conformance(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    let client = ci.house.target().join(BUILT).join("conformance-client");
    suite::conformance(ci, &built(ci, "conformance-server")?, &client)?;
    Ok(Outcome::Passed)
}

fn soaked(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    built(ci, "conformance-server")?;
    soak::run(ci.house, &soak::Arguments::default())?;
    Ok(Outcome::Passed)
}

fn e2e(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    // The stage `examples` made it, or cargo does now.
    with_cargo(
        ci,
        &["build", "--locked", "-p", "fastmcp", "--example", "demo"],
    )?;
    let ours = Ours {
        fastmcp: built(ci, "fastmcp")?,
        conformance_server: built(ci, "conformance-server")?,
        peer_client: built(ci, "peer-client")?,
        demo: ci.house.target().join("debug/examples/demo"),
    };
    peers(ci, &ours)?;
    Ok(Outcome::Passed)
}

fn bench(ci: &Run<'_>) -> anyhow::Result<Outcome> {
    let gate = ci.house.root().join("bench").join("gate.sh");
    if !gate.exists() {
        return Ok(Outcome::Skipped("there is no bench/gate.sh".to_owned()));
    }
    let mut command = Command::new("bash");
    command.arg(gate).current_dir(ci.house.root());
    command.env("FASTMCP_BIN", built(ci, "fastmcp")?);
    command.env("CONFORMANCE_SERVER_BIN", built(ci, "conformance-server")?);
    run(&mut command, ci.limit)?;
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{STAGES, names};

    #[test]
    fn all_stages_fit_into_seventy_minutes() {
        let sum: Duration = STAGES.iter().map(|stage| stage.budget).sum();
        assert!(sum <= Duration::from_secs(70 * 60), "{} s", sum.as_secs());
    }

    #[test]
    fn stages_have_names_of_their_own() {
        let mut all = names();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), STAGES.len());
    }
}
