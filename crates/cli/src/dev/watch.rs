//! Whether files changed, told by their stamps: it works on every file system, and needs nothing of the system.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, bail};

/// The most files that are looked at.
const MAX_FILES: usize = 20_000;
/// How deep folders are looked into.
const DEPTH: usize = 16;
/// What files of code end in. Others are written by servers too, which must not start themselves anew.
const SOURCES: [&str; 9] = ["rs", "toml", "js", "mjs", "cjs", "ts", "py", "go", "rb"];
/// Folders of what was built or fetched.
const PASSED_OVER: [&str; 4] = ["target", "node_modules", "__pycache__", "dist"];

/// Which files count.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    /// Folders of which code counts.
    folders: Vec<PathBuf>,
    /// Files and folders of which everything counts.
    named: Vec<PathBuf>,
}

/// When each file was changed, and how long it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamps(BTreeMap<PathBuf, (Option<SystemTime>, u64)>);

impl Watched {
    pub(super) fn new(folders: Vec<PathBuf>, named: Vec<PathBuf>) -> anyhow::Result<Self> {
        for path in &named {
            fs::metadata(path).with_context(|| format!("--watch: `{}`", path.display()))?;
        }
        Ok(Self { folders, named })
    }

    /// The files as they are now.
    pub(super) async fn look(&self) -> anyhow::Result<Stamps> {
        let watched = self.clone();
        tokio::task::spawn_blocking(move || watched.stamps())
            .await
            .context("files cannot be looked at")?
    }

    fn stamps(&self) -> anyhow::Result<Stamps> {
        let mut stamps = Stamps::default();
        for folder in &self.folders {
            stamps.visit(folder, true, DEPTH)?;
        }
        for path in &self.named {
            stamps.visit(path, false, DEPTH)?;
        }
        Ok(stamps)
    }
}

impl Stamps {
    /// A file that is not as it was.
    pub(super) fn first_difference(&self, before: &Self) -> Option<&Path> {
        let changed = self
            .0
            .iter()
            .find(|(path, stamp)| before.0.get(*path) != Some(stamp));
        changed.map(|(path, _)| path.as_path())
    }

    fn visit(&mut self, path: &Path, only_sources: bool, depth: usize) -> anyhow::Result<()> {
        // What is gone or cannot be read now is not there.
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return Ok(());
        };
        if metadata.is_file() {
            if self.0.len() >= MAX_FILES {
                bail!(
                    "there are more than {MAX_FILES} files to watch; name those that count with --watch"
                );
            }
            self.0
                .insert(path.to_owned(), (metadata.modified().ok(), metadata.len()));
            return Ok(());
        }
        let (true, Some(depth)) = (metadata.is_dir(), depth.checked_sub(1)) else {
            return Ok(());
        };
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let is_source = path
                .extension()
                .is_some_and(|end| SOURCES.iter().any(|source| end == *source));
            let counts = if is_folder {
                !PASSED_OVER.contains(&&*name)
            } else {
                is_source || !only_sources
            };
            if counts && !name.starts_with('.') {
                self.visit(&path, only_sources, depth)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_counts_and_what_is_built_or_hidden_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("src/main.rs", "1");
        write("Cargo.toml", "1");
        let watched = Watched::new(vec![folder.path().to_owned()], Vec::new()).unwrap();
        let before = watched.stamps().unwrap();
        for path in [
            "target/debug/x.rs",
            ".git/x.rs",
            "data.sqlite",
            "Cargo.lock",
        ] {
            write(path, "1");
        }
        assert_eq!(watched.stamps().unwrap(), before);
        write("src/main.rs", "22");
        let after = watched.stamps().unwrap();
        assert_eq!(
            after.first_difference(&before),
            Some(folder.path().join("src/main.rs").as_path())
        );
        let named = Watched::new(Vec::new(), vec![folder.path().join("data.sqlite")]).unwrap();
        assert_eq!(named.stamps().unwrap().0.len(), 1);
        assert!(Watched::new(Vec::new(), vec![folder.path().join("none")]).is_err());
    }
}
