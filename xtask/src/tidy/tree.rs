//! The text files of a checkout.

use std::{collections::BTreeSet, fs, io, path::Path, process::Command};

use anyhow::{Context as _, ensure};

/// A file above this is data, not a text that someone reads.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// One text file.
#[derive(Debug)]
pub(crate) struct File {
    /// Its path from the top of the checkout, with `/`.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
}

impl File {
    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is Rust that ships in a crate: below `crates/*/src` and no test.
    pub(crate) fn is_production(&self) -> bool {
        self.source_path().is_some() && !self.is_test()
    }

    /// `(crates/gateway, confirm/state.rs)` for a source of a crate.
    pub(crate) fn source_path(&self) -> Option<(&str, &str)> {
        if !self.is_rust() || !self.path.starts_with("crates/") {
            return None;
        }
        let (folder, source) = self.path.split_once("/src/")?;
        (folder.matches('/').count() == 1).then_some((folder, source))
    }

    /// Whether it is a module of tests: `tests.rs`, `*_tests.rs`, or below a folder `tests`.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.rsplit('/');
        let name = parts.next().unwrap_or_default();
        name == "tests.rs" || name.ends_with("_tests.rs") || parts.any(|folder| folder == "tests")
    }
}

/// The files of a checkout.
#[derive(Debug)]
pub(crate) struct Tree(Vec<File>);

impl Tree {
    /// Reads every text file that git tracks, and new ones that it does not ignore.
    ///
    /// # Errors
    ///
    /// When git cannot list the files or one cannot be read.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let output = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root)
            .output()
            .context("cannot start `git ls-files`")?;
        ensure!(
            output.status.success(),
            "`git ls-files` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let listed = String::from_utf8(output.stdout).context("a path is not UTF-8")?;
        let paths: BTreeSet<_> = listed.split('\0').filter(|path| !path.is_empty()).collect();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let found = text(&root.join(path)).with_context(|| format!("cannot read `{path}`"))?;
            if let Some(text) = found {
                files.push(File {
                    path: path.to_owned(),
                    text,
                });
            }
        }
        Ok(Self(files))
    }

    /// The files, in the order of their paths.
    pub(crate) fn files(&self) -> &[File] {
        &self.0
    }

    /// A tree out of paths and texts.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self(
            files
                .iter()
                .map(|(path, text)| File {
                    path: (*path).to_owned(),
                    text: (*text).to_owned(),
                })
                .collect(),
        )
    }
}

/// The text of a file; nothing if it is no text, too large, no file, or deleted but not yet so in git.
fn text(path: &Path) -> io::Result<Option<String>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Ok(None);
    }
    Ok(String::from_utf8(fs::read(path)?).ok())
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[test]
    fn production_code_is_told_from_tests() {
        let tree = Tree::of(&[
            ("crates/gateway/src/confirm/state.rs", ""),
            ("crates/gateway/src/confirm/tests.rs", ""),
            ("crates/gateway/src/confirm/state_tests.rs", ""),
            ("crates/gateway/tests/it/main.rs", ""),
            ("crates/gateway/examples/src/main.rs", ""),
            ("xtask/src/main.rs", ""),
        ]);
        let production: Vec<_> = tree
            .files()
            .iter()
            .map(super::File::is_production)
            .collect();
        assert_eq!(production, [true, false, false, false, false, false]);
        assert_eq!(
            tree.files()[0].source_path(),
            Some(("crates/gateway", "confirm/state.rs"))
        );
    }
}
