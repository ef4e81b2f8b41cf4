//! Where the policy comes from: a file, or a folder of files.

use std::{
    io,
    path::{Path, PathBuf},
};

use fastmcp_policy::{DEFAULT_POLICY, Sources};

use super::{Error, watch::Stamp};
use crate::config::policy_sources;

/// The files of the policy.
#[derive(Clone, Debug)]
pub(super) struct PolicyFiles {
    path: PathBuf,
}

/// Changes when a file does.
pub(super) type Fingerprint = Vec<(PathBuf, Option<Stamp>)>;

impl PolicyFiles {
    /// The policy at `path`; where there is nothing, the default policy is put there. The configuration has refused a place
    /// that is named and empty.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            std::fs::write(path, DEFAULT_POLICY).map_err(file(path))?;
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The texts.
    pub(super) fn read(&self) -> Result<Sources, Error> {
        policy_sources(&self.path).map_err(|e| {
            let cause = std::error::Error::source(&e).map(|c| format!(": {c}"));
            Error::Policy(format!("{e}{}", cause.unwrap_or_default()))
        })
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let files = self.files().unwrap_or_default();
        files
            .into_iter()
            .map(|path| {
                let stamp = Stamp::of(&path);
                (path, stamp)
            })
            .collect()
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        if !self.path.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let known = path
                .extension()
                .is_some_and(|e| e == "yml" || e == "yaml" || e == "cedar");
            if known && path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.display().to_string();
    move |source| Error::File { path, source }
}
