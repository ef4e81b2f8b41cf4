//! `cargo xtask fuzz`: the targets of `fuzz/`, each for some seconds.
//!
//! The instrumentation that libFuzzer needs comes from stable flags of rustc, so neither a nightly
//! toolchain nor cargo-fuzz is needed. No sanitizer: there is no `unsafe` of ours to watch.

use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use toml::{Table, Value};

use crate::{
    ci::process::run as watched,
    house::{House, cargo, say},
};

/// What cargo-fuzz passes for the coverage of edges and comparisons, but for the sanitizer.
const INSTRUMENTED: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing";
/// The longest input, in bytes: enough for every limit but those of whole files.
const MAX_LEN: usize = 16 * 1024;
/// An input that takes this many seconds hangs.
const TIMEOUT: u32 = 10;
/// The most memory of one target, in MiB.
const RSS_LIMIT: u32 = 2048;
/// An empty build folder on two cores takes a quarter of this.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);
/// What a target may take above its seconds: it reads its corpus first.
const GRACE: Duration = Duration::from_secs(120);

/// What is fuzzed, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Seconds for each target.
    #[arg(long, value_name = "N", default_value = "10")]
    seconds: NonZeroU32,
    /// This target alone.
    #[arg(long, value_name = "T")]
    target: Option<String>,
}

/// Builds the targets and runs one after the other.
///
/// # Errors
///
/// When there is no such target, a build fails, or an input breaks a check; it is kept and named.
pub(crate) fn run(house: &House, arguments: &Arguments) -> anyhow::Result<()> {
    let workshop = house.root().join("fuzz");
    let manifest = workshop.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read `{}`", manifest.display()))?;
    let targets = chosen(targets(&text)?, arguments.target.as_deref())?;
    let host = host()?;
    let built = build(&workshop, &host, &targets)?;
    for target in &targets {
        fuzz(&workshop, &built.join(target), target, arguments.seconds)?;
    }
    say(&format!(
        "fuzz: {} targets held for {} s each",
        targets.len(),
        arguments.seconds
    ));
    Ok(())
}

/// The names of the binaries in a manifest.
fn targets(manifest: &str) -> anyhow::Result<Vec<String>> {
    let manifest: Table = manifest.parse().context("fuzz/Cargo.toml is not TOML")?;
    let names: Vec<_> = manifest
        .get("bin")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|bin| bin.get("name")?.as_str().map(str::to_owned))
        .collect();
    ensure!(!names.is_empty(), "fuzz/Cargo.toml has no [[bin]]");
    Ok(names)
}

/// All targets, or the one that was asked for.
fn chosen(mut targets: Vec<String>, wanted: Option<&str>) -> anyhow::Result<Vec<String>> {
    let Some(wanted) = wanted else {
        return Ok(targets);
    };
    let known = targets.join(", ");
    targets.retain(|target| target == wanted);
    if targets.is_empty() {
        bail!("there is no fuzz target `{wanted}`; use one of {known}");
    }
    Ok(targets)
}

/// The triple of this machine. Naming it keeps the flags away from build scripts and macros.
fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("cannot start `rustc -vV`")?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("`rustc -vV` named no host")
}

/// Builds the targets; returns the folder that they lie in.
fn build(workshop: &Path, host: &str, targets: &[String]) -> anyhow::Result<PathBuf> {
    let folder = workshop.join("target");
    let mut command = Command::new("nice");
    command
        .current_dir(workshop)
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", INSTRUMENTED)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["-n", "10"])
        .arg(cargo())
        .args(["build", "--locked", "--release", "--target", host]);
    for target in targets {
        command.args(["--bin", target]);
    }
    watched(&mut command, BUILD_LIMIT)?;
    Ok(folder.join(host).join("release"))
}

fn fuzz(workshop: &Path, program: &Path, target: &str, seconds: NonZeroU32) -> anyhow::Result<()> {
    let seeds = workshop.join("corpus").join(target);
    ensure!(
        seeds.is_dir(),
        "`{}` is missing; give the target a first input there",
        seeds.display()
    );
    let found = workshop.join("target/corpus").join(target);
    let crashes = workshop.join("target/crashes").join(target);
    for folder in [&found, &crashes] {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    let mut command = Command::new("nice");
    command
        .current_dir(workshop)
        .args(["-n", "10"])
        .arg(program)
        .args([&found, &seeds])
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_LEN}"))
        .arg(format!("-timeout={TIMEOUT}"))
        .arg(format!("-rss_limit_mb={RSS_LIMIT}"))
        .args(["-print_final_stats=1", "-print_funcs=0", "-verbosity=0"]);
    let limit = Duration::from_secs(seconds.get().into()) + GRACE;
    watched(&mut command, limit).with_context(|| {
        format!(
            "fuzz target `{target}`: the input lies in `{}`; fix the decoder and add the file to `{}`",
            crashes.display(),
            seeds.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::{chosen, targets};

    #[test]
    fn every_target_has_seeds_and_every_folder_of_seeds_a_target() {
        let workshop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = fs::read_to_string(workshop.join("Cargo.toml")).unwrap();
        let targets: BTreeSet<_> = targets(&manifest).unwrap().into_iter().collect();
        let seeds: BTreeSet<_> = fs::read_dir(workshop.join("corpus"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(targets, seeds);
    }

    #[test]
    fn a_target_that_is_none_is_refused_with_those_that_are() {
        let all = || vec!["one".to_owned(), "two".to_owned()];
        assert_eq!(chosen(all(), None).unwrap(), all());
        assert_eq!(chosen(all(), Some("two")).unwrap(), ["two"]);
        let error = chosen(all(), Some("three")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no fuzz target `three`; use one of one, two"
        );
    }
}
