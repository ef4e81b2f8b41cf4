//! A package whose binary is the server: found, built by cargo, and then started itself, so that nothing stands between
//! the server and who speaks with it.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::process::Command;

use crate::{definition::Process, output, surroundings::did_you_mean};

/// A package, and which of its binaries is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Project {
    /// Its `Cargo.toml`, or that of its workspace.
    pub(crate) manifest: PathBuf,
    pub(crate) package: Option<String>,
    pub(crate) bin: Option<String>,
    pub(crate) example: Option<String>,
    pub(crate) features: Vec<String>,
    pub(crate) release: bool,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    /// The folder that the server runs in; that of the package where none is named.
    pub(crate) folder: Option<PathBuf>,
}

/// What of a package is built.
struct Chosen {
    package: String,
    folder: PathBuf,
    /// `bin` or `example`.
    kind: &'static str,
    target: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    default_run: Option<String>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// A line that cargo says about what it built.
#[derive(Deserialize)]
struct Said {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
}

impl Package {
    fn targets(&self, kind: &str) -> Vec<&str> {
        let fits = |target: &&Target| target.kind.iter().any(|one| one == kind);
        self.targets
            .iter()
            .filter(fits)
            .map(|target| target.name.as_str())
            .collect()
    }

    fn folder(&self) -> PathBuf {
        self.manifest_path
            .parent()
            .unwrap_or(Path::new(""))
            .to_owned()
    }
}

impl Project {
    /// The package on one line.
    pub(crate) fn told(&self) -> String {
        let folder = self.manifest.parent().unwrap_or(&self.manifest);
        let mut line = format!("package in {}", folder.display());
        for (what, name) in [
            ("package", &self.package),
            ("bin", &self.bin),
            ("example", &self.example),
        ] {
            if let Some(name) = name {
                line.push_str(&format!(", {what} {name}"));
            }
        }
        output::printable(&line)
    }

    /// Builds the binary; the compiler says on stderr what it has to say.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the build is ended.
    pub(crate) async fn build(&self) -> anyhow::Result<Process> {
        let chosen = self.chosen(&self.packages().await?)?;
        if io::stderr().is_terminal() {
            output::complain(&format!(
                "building `{}` of `{}`",
                chosen.target, chosen.package
            ));
        }
        let mut command = cargo("build", &self.manifest);
        command
            .args(["--quiet", "--message-format", "json-render-diagnostics"])
            .args(["--package", &chosen.package])
            .arg(format!("--{}", chosen.kind))
            .arg(&chosen.target);
        if self.release {
            command.arg("--release");
        }
        if !self.features.is_empty() {
            command.args(["--features", &self.features.join(",")]);
        }
        // `output` would keep to itself what the compiler says.
        let building = command.stderr(Stdio::inherit()).spawn().context(NO_CARGO)?;
        let built = building.wait_with_output().await.context(NO_CARGO)?;
        if !built.status.success() {
            bail!("`{}` does not build; the compiler says why", chosen.package);
        }
        let executable = built
            .stdout
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<Said>(line).ok())
            .filter(|said| said.reason == "compiler-artifact")
            .filter(|said| {
                said.target
                    .as_ref()
                    .is_some_and(|target| target.name == chosen.target)
            })
            .find_map(|said| said.executable)
            .context("cargo did not say where the binary is")?;
        Ok(Process {
            program: executable
                .to_str()
                .context("the path of the binary is not UTF-8")?
                .to_owned(),
            args: self.args.clone(),
            env: self.env.clone(),
            folder: Some(self.folder.clone().unwrap_or(chosen.folder)),
            whole_environment: true,
        })
    }

    /// The folders of all packages of the workspace, whose files decide what is built.
    pub(crate) async fn sources(&self) -> anyhow::Result<Vec<PathBuf>> {
        Ok(self.packages().await?.iter().map(Package::folder).collect())
    }

    /// The name of the package that is meant.
    pub(crate) async fn name(&self) -> anyhow::Result<String> {
        Ok(self.chosen(&self.packages().await?)?.package)
    }

    async fn packages(&self) -> anyhow::Result<Vec<Package>> {
        let mut command = cargo("metadata", &self.manifest);
        command.args(["--no-deps", "--format-version", "1"]);
        let said = command.output().await.context(NO_CARGO)?;
        if !said.status.success() {
            let why = String::from_utf8_lossy(&said.stderr);
            bail!(
                "cargo cannot read `{}`: {}",
                self.manifest.display(),
                output::printable(why.trim())
            );
        }
        let metadata: Metadata =
            serde_json::from_slice(&said.stdout).context("cargo's answer cannot be read")?;
        Ok(metadata.packages)
    }

    fn chosen(&self, packages: &[Package]) -> anyhow::Result<Chosen> {
        let package = self.package(packages)?;
        let (kind, named) = match (&self.bin, &self.example) {
            (_, Some(example)) => ("example", Some(example)),
            (bin, None) => ("bin", bin.as_ref()),
        };
        let there = package.targets(kind);
        let target = match named {
            Some(name) if there.contains(&name.as_str()) => name.clone(),
            Some(name) => bail!(
                "package `{}` has no {kind} `{}`{}",
                package.name,
                output::printable(name),
                did_you_mean(name, there)
            ),
            None => match (there.as_slice(), &package.default_run) {
                (_, Some(default)) => default.clone(),
                ([only], None) => (*only).to_owned(),
                ([], None) => bail!("package `{}` has no binary", package.name),
                (several, None) => bail!(
                    "package `{}` has several binaries; name one with --bin: {}",
                    package.name,
                    several.join(", ")
                ),
            },
        };
        Ok(Chosen {
            package: package.name.clone(),
            folder: package.folder(),
            kind,
            target,
        })
    }

    fn package<'a>(&self, packages: &'a [Package]) -> anyhow::Result<&'a Package> {
        if let Some(name) = &self.package {
            return packages
                .iter()
                .find(|package| package.name == *name)
                .with_context(|| {
                    let known = packages.iter().map(|package| package.name.as_str());
                    format!(
                        "no package `{}` is there{}",
                        output::printable(name),
                        did_you_mean(name, known)
                    )
                });
        }
        if let Ok(manifest) = self.manifest.canonicalize()
            && let Some(package) = packages.iter().find(|package| {
                package
                    .manifest_path
                    .canonicalize()
                    .is_ok_and(|path| path == manifest)
            })
        {
            return Ok(package);
        }
        let with_binaries: Vec<&Package> = packages
            .iter()
            .filter(|p| !p.targets("bin").is_empty())
            .collect();
        match with_binaries.as_slice() {
            [only] => Ok(only),
            [] => bail!("no package of the workspace has a binary"),
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|package| package.name.as_str())
                    .collect();
                bail!(
                    "several packages have binaries; name one with --package: {}",
                    names.join(", ")
                )
            }
        }
    }
}

const NO_CARGO: &str = "cargo cannot be started; see https://rustup.rs";

/// A command of cargo, which ends with whoever waits for it.
fn cargo(command: &str, manifest: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .arg(command)
        .arg("--manifest-path")
        .arg(manifest)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    cargo
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn packages() -> Vec<Package> {
        let target = |name: &str, kind: &str| json!({"name": name, "kind": [kind]});
        serde_json::from_value(json!([
            {"name": "lib", "manifest_path": "/w/lib/Cargo.toml", "default_run": null, "targets": [target("lib", "lib")]},
            {"name": "one", "manifest_path": "/w/one/Cargo.toml", "default_run": null,
             "targets": [target("one", "bin"), target("demo", "example")]},
            {"name": "two", "manifest_path": "/w/two/Cargo.toml", "default_run": null,
             "targets": [target("a", "bin"), target("b", "bin")]},
            {"name": "run", "manifest_path": "/w/run/Cargo.toml", "default_run": "b",
             "targets": [target("a", "bin"), target("b", "bin")]}
        ]))
        .unwrap()
    }

    fn chosen(
        package: Option<&str>,
        bin: Option<&str>,
        example: Option<&str>,
    ) -> Result<String, String> {
        let project = Project {
            package: package.map(str::to_owned),
            bin: bin.map(str::to_owned),
            example: example.map(str::to_owned),
            ..Project::default()
        };
        match project.chosen(&packages()) {
            Ok(chosen) => Ok(format!(
                "{} {} {}",
                chosen.package, chosen.kind, chosen.target
            )),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_binary_that_is_meant_is_found() {
        assert_eq!(chosen(Some("one"), None, None).unwrap(), "one bin one");
        assert_eq!(
            chosen(Some("one"), None, Some("demo")).unwrap(),
            "one example demo"
        );
        assert_eq!(chosen(Some("run"), None, None).unwrap(), "run bin b");
        assert_eq!(chosen(Some("two"), Some("a"), None).unwrap(), "two bin a");
    }

    #[test]
    fn what_is_open_is_asked_by_name() {
        for (package, bin, why) in [
            (None, None, "name one with --package: one, two, run"),
            (Some("two"), None, "name one with --bin: a, b"),
            (Some("lib"), None, "has no binary"),
            (Some("onee"), None, "did you mean `one`?"),
            (
                Some("one"),
                Some("onne"),
                "no bin `onne`; did you mean `one`?",
            ),
        ] {
            let error = chosen(package, bin, None).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
