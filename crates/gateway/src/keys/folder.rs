//! A folder of secrets.

use std::{
    fs::DirBuilder,
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use fastmcp_guard::files::{FileError, FileOperations, Limits};
use zeroize::Zeroizing;

use super::{FOLDER, KeyError};

/// The largest file here, in bytes.
const MAX_BYTES: u64 = 64 * 1024;
const LIMITS: Limits = Limits {
    max_file_bytes: MAX_BYTES,
    max_depth: 1,
    max_entries: 1_000,
};

/// Makes a folder for its owner alone, and those above it, where they are missing.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The open folder.
pub(super) struct Folder {
    path: PathBuf,
    files: FileOperations,
}

impl Folder {
    /// Opens `keys` beneath `data_dir`, making both where they are missing.
    pub(super) fn open(data_dir: &Path) -> Result<Self, KeyError> {
        let path = data_dir.join(FOLDER);
        private_folder(&path).map_err(|source| KeyError::Folder {
            path: path.clone(),
            source,
        })?;
        refuse_exposed(&path, 0o700)?;
        let files = open(&path)?;
        Ok(Self { path, files })
    }

    /// Opens `keys` beneath `data_dir` if it is there.
    pub(super) fn existing(data_dir: &Path) -> Result<Option<Self>, KeyError> {
        let exists = data_dir.join(FOLDER).symlink_metadata().is_ok();
        exists.then(|| Self::open(data_dir)).transpose()
    }

    /// Removes what a process left behind that was killed while it wrote here.
    pub(super) fn remove_unfinished(&self) {
        if let Err(error) = self.files.remove_unfinished() {
            tracing::warn!(%error, "unfinished files cannot be looked for among the keys");
        }
    }

    /// Where the file `name` lies.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The secret in the file `name`, made by `make` where there is none.
    pub(super) fn secret(
        &self,
        name: &'static str,
        make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, KeyError>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        if let Some(found) = self.read(name)? {
            return Ok(found);
        }
        let made = make()?;
        match self.files.write(name, &made, false) {
            Ok(_) => Ok(made),
            // Another process was faster; its key is in use already, so it is the key.
            Err(source @ FileError::AlreadyExists { .. }) => {
                self.read(name)?.ok_or_else(|| self.failed(name, source))
            }
            Err(source) => Err(self.failed(name, source)),
        }
    }

    /// Puts another secret into the file `name`, whole or not at all; with `modified` as of that time.
    pub(super) fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        modified: Option<SystemTime>,
    ) -> Result<(), KeyError> {
        let written = match modified {
            Some(modified) => self.files.replace_dated(name, bytes, modified),
            None => self.files.write(name, bytes, true),
        };
        written
            .map(drop)
            .map_err(|source| self.failed(name, source))
    }

    /// Puts `text`, which is not secret, into the file `name`.
    pub(super) fn publish(&self, name: &str, text: &str) -> Result<(), KeyError> {
        publish(&self.files, &self.path, name, text)
    }

    /// The secret in the file `name`, if there is one.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
        match self.files.read(name) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                refuse_exposed(&self.path(name), 0o600)?;
                Ok(Some(bytes))
            }
            Err(FileError::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.failed(name, source)),
        }
    }

    fn failed(&self, name: &str, source: FileError) -> KeyError {
        KeyError::File {
            path: self.path(name),
            source,
        }
    }
}

/// Puts `text`, which is not secret, into the file `name` of `folder`.
pub(super) fn write_public(folder: &Path, name: &str, text: &str) -> Result<(), KeyError> {
    publish(&open(folder)?, folder, name, text)
}

fn publish(files: &FileOperations, folder: &Path, name: &str, text: &str) -> Result<(), KeyError> {
    if files.read(name).is_ok_and(|known| known == text.as_bytes()) {
        return Ok(());
    }
    let written = files.write(name, text.as_bytes(), true);
    written.map(drop).map_err(|source| KeyError::File {
        path: folder.join(name),
        source,
    })
}

fn open(folder: &Path) -> Result<FileOperations, KeyError> {
    FileOperations::open(folder, LIMITS).map_err(|source| KeyError::File {
        path: folder.to_owned(),
        source,
    })
}

/// Refuses what others than the owner can read, change or enter.
#[cfg(unix)]
fn refuse_exposed(path: &Path, fix: u32) -> Result<(), KeyError> {
    let failed = |source| KeyError::Folder {
        path: path.to_owned(),
        source,
    };
    let metadata = std::fs::symlink_metadata(path).map_err(failed)?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
            fix,
        })
    }
}

/// Elsewhere a folder takes its access list from the user's own.
#[cfg(not(unix))]
fn refuse_exposed(_: &Path, _: u32) -> Result<(), KeyError> {
    Ok(())
}
