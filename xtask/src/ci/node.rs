//! Node and the pinned packages of `e2e/`: the official suite, Inspector, the TypeScript client.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use crate::ci::{
    Run,
    process::{exists, run},
};

/// The peers, ready to run.
#[derive(Debug)]
pub(crate) struct Peers {
    node: PathBuf,
    folder: PathBuf,
}

impl Peers {
    /// Installs exactly what `e2e/package-lock.json` names, unless that is there already.
    ///
    /// Node itself is one of the packages on Linux. Packages run no scripts of their own.
    ///
    /// # Errors
    ///
    /// When npm is missing or cannot install, or when there is no Node of version 22 or later.
    pub(crate) fn install(ci: &Run<'_>) -> anyhow::Result<Self> {
        let folder = ci.house.root().join("e2e");
        let lock = fs::read(folder.join("package-lock.json"))
            .context("cannot read `e2e/package-lock.json`")?;
        // npm's own record of what it installed is no copy of the lock, so we keep one beside it.
        let stamp = folder.join("node_modules").join(".installed-lock.json");
        if fs::read(&stamp).ok().as_ref() != Some(&lock) {
            ensure!(
                exists(&mut Command::new("npm")),
                "npm is not installed: it comes with Node (nodejs.org, or the package `npm` of your system)"
            );
            let npm = &mut Command::new("npm");
            npm.args([
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
            ])
            .current_dir(&folder);
            run(npm, ci.limit)?;
            fs::write(&stamp, &lock)
                .with_context(|| format!("cannot write `{}`", stamp.display()))?;
        }
        Ok(Self {
            node: node(&folder)?,
            folder,
        })
    }

    /// A command that runs a script below `e2e/`.
    pub(crate) fn script(&self, script: &str) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(self.folder.join(script));
        command
    }
}

/// The pinned Node, or on a platform that it is not packaged for the one on the path.
fn node(folder: &Path) -> anyhow::Result<PathBuf> {
    let pinned = folder.join("node_modules/.bin/node");
    if pinned.exists() {
        return Ok(pinned);
    }
    let output = Command::new("node")
        .arg("--version")
        .output()
        .context("cannot start `node`: install Node 22.19")?;
    let version = String::from_utf8_lossy(&output.stdout);
    ensure!(
        recent(&version),
        "`node` is {}, but the peers need 22.19 or later",
        version.trim()
    );
    Ok("node".into())
}

/// Whether `v22.23.3` is at least 22.19, which Inspector needs.
fn recent(version: &str) -> bool {
    let mut parts = version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (22, 19),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::recent;

    #[test]
    fn versions_of_node_are_compared_as_numbers() {
        assert!(recent("v22.19.0\n") && recent("v22.23.3") && recent("v100.0.0"));
        assert!(!recent("v22.9.0") && !recent("v20.20.2") && !recent("") && !recent("node"));
    }
}
