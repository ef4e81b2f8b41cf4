//! Programs that the checks use and cargo does not bring: Debian packages.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, bail};

use crate::{ci::process::run, house::say};

/// How long the package manager may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A program, and where it comes from.
#[derive(Debug)]
struct Needed {
    program: &'static str,
    package: &'static str,
    /// The stages that run it.
    stages: &'static [&'static str],
}

const NEEDED: &[Needed] = &[
    Needed {
        program: "redis-server",
        package: "redis-server",
        stages: &["test", "doctest", "e2e"],
    },
    Needed {
        program: "initdb",
        package: "postgresql",
        stages: &["test", "doctest", "e2e"],
    },
    Needed {
        program: "cvc5",
        package: "cvc5",
        stages: &["test"],
    },
    Needed {
        program: "npm",
        package: "npm",
        stages: &["conformance", "e2e"],
    },
    Needed {
        program: "valgrind",
        package: "valgrind",
        stages: &["bench"],
    },
];

/// Sees to it that the machine has what `stages` run: whoever is root gets it installed.
///
/// # Errors
///
/// When something is missing and cannot be installed; the error names the packages.
pub(crate) fn provide<'a>(stages: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    let folders = folders();
    let there = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    let missing = missing(&stages.collect::<Vec<_>>(), there);
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !is_root() || !there("apt-get") {
        bail!(
            "missing: {names}. Install them (`apt-get install {names}`), or run this as root on Debian"
        );
    }
    say(&format!("\n=== packages: {names}"));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command, LIMIT)
    };
    apt(&["update", "-qq"]).context("the list of packages cannot be read")?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(missing);
    apt(&install)
}

fn missing(stages: &[&str], there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    NEEDED
        .iter()
        .filter(|needed| needed.stages.iter().any(|stage| stages.contains(stage)))
        .filter(|needed| !there(needed.program))
        .map(|needed| needed.package)
        .collect()
}

/// Where programs are: the search path, and where Debian keeps those of PostgreSQL.
fn folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let releases = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    env::split_paths(&path)
        .chain(releases.flatten().map(|release| release.path().join("bin")))
        .collect()
}

fn is_root() -> bool {
    let mut command = Command::new("id");
    let said = command.arg("-u").output();
    said.is_ok_and(|said| said.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::{NEEDED, missing};
    use crate::ci::stage::names;

    #[test]
    fn only_what_the_stages_need_is_missing() {
        assert_eq!(missing(&["bench"], |_| false), ["valgrind"]);
        assert!(missing(&["bench"], |program| program == "valgrind").is_empty());
        assert!(missing(&["fmt", "tidy"], |_| false).is_empty());
        assert_eq!(missing(&names(), |_| false).len(), NEEDED.len());
    }

    #[test]
    fn stages_are_known_by_their_names() {
        let names = names();
        let stages = NEEDED.iter().flat_map(|needed| needed.stages);
        for stage in stages {
            assert!(names.contains(stage), "{stage}");
        }
    }
}
