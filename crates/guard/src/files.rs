//! Files beneath a root that nothing escapes.
//!
//! The root is opened once, as a capability (`cap-std`): every later path is resolved beneath that open folder by the
//! kernel (`openat2` with `RESOLVE_BENEATH` on Linux, component by component elsewhere), so `..`, absolute paths and
//! symbolic links cannot lead out, not even links that are planted while an operation runs. A link in the *middle* of a
//! path is followed as long as it stays beneath the root; a link at its *end* is never followed.
//!
//! Everything here blocks: from async code, call it through `spawn_blocking`. It knows no tenant and no policy: open one
//! root for each tenant.

mod error;
mod folder;
mod path;
mod unfinished;
mod write;

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::SystemTime;

use cap_fs_ext::{DirExt as _, FollowSymlinks, OpenOptionsFollowExt as _, OpenOptionsSyncExt as _};
use cap_std::fs::{Dir, File, Metadata, OpenOptions};

pub use self::error::FileError;
pub use self::path::PathFault;
use self::path::{RelativePath, depth, is_nameable};
use self::write::IfPresent;
use crate::clock::Timestamp;

/// Bounds of what a root gives and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a file that is read or written; 1 byte to 1 GiB, default 10 MiB. A file is held in memory whole.
    pub max_file_bytes: u64,
    /// Most components of a path; 1 to 64, default 16.
    pub max_depth: usize,
    /// Most entries that one listing looks at, those included that it does not show; 1 to 1,000,000, default 10,000.
    pub max_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_file_bytes: 10 * 1024 * 1024,
            max_depth: 16,
            max_entries: 10_000,
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), FileError> {
        let within = |field, value, max| {
            if (1..=max).contains(&value) {
                Ok(())
            } else {
                Err(FileError::InvalidLimit {
                    field,
                    value,
                    min: 1,
                    max,
                })
            }
        };
        within("max_file_bytes", self.max_file_bytes, 1 << 30)?;
        within(
            "max_depth",
            u64::try_from(self.max_depth).unwrap_or(u64::MAX),
            64,
        )?;
        within(
            "max_entries",
            u64::try_from(self.max_entries).unwrap_or(u64::MAX),
            1_000_000,
        )
    }
}

/// What an entry of a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
}

impl EntryKind {
    /// The kind as a word: `file` or `directory`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
        }
    }
}

/// A file or folder beneath the root.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its path relative to the root, separated by `/`.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file; 0 for a folder.
    pub size: u64,
    /// When its content last changed, where the file system tells.
    pub modified: Option<Timestamp>,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Bytes of the file now.
    pub bytes: u64,
    /// Whether nothing was there before.
    pub created: bool,
}

/// Reads, writes and lists files beneath one root.
///
/// Paths are relative, UTF-8 and separated by `/`. Shared between threads by reference or in an `Arc`.
pub struct FileOperations {
    root: Dir,
    limits: Limits,
}

impl fmt::Debug for FileOperations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileOperations")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl FileOperations {
    /// Opens `root`, which must exist; links on the way to it are followed, for it comes from the operator.
    ///
    /// The folder is held open: renaming it later does not move the root elsewhere.
    ///
    /// # Errors
    ///
    /// [`FileError::InvalidLimit`] for a limit out of its range, [`FileError::Root`] if the root is no folder that can
    /// be opened.
    pub fn open(root: &Path, limits: Limits) -> Result<Self, FileError> {
        limits.check()?;
        let root = Dir::open_ambient_dir(root, cap_std::ambient_authority())
            .map_err(|source| FileError::Root { source })?;
        Ok(Self { root, limits })
    }

    /// The bounds in force.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns what is in a folder, sorted by path; `""` or `"."` is the root.
    ///
    /// Shows regular files and folders. Links, pipes, sockets, devices and names that no path could hold (not UTF-8, a
    /// backslash or control character) are left out. `recursive` descends as deep as a path may be.
    ///
    /// # Errors
    ///
    /// [`FileError::TooManyEntries`] rather than part of a listing; [`FileError`] if the folder cannot be read.
    pub fn list(&self, path: &str, recursive: bool) -> Result<Vec<Entry>, FileError> {
        let folder = RelativePath::parse_directory(path, self.limits.max_depth)?;
        let mut listing = Listing {
            limits: self.limits,
            asked: path,
            seen: 0,
            entries: Vec::new(),
            pending: Vec::new(),
        };
        let base = match folder {
            Some(folder) => self.open_directory(&folder)?,
            None => self
                .root
                .try_clone()
                .map_err(|source| FileError::from_io(path, source))?,
        };
        listing.read(&base, folder.map(|folder| folder.text()))?;
        while let Some(next) = listing.pending.pop() {
            if !recursive {
                break;
            }
            let Some(directory) = self.reopen(&next)? else {
                continue;
            };
            listing.read(&directory, Some(&next))?;
        }
        listing
            .entries
            .sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Ok(listing.entries)
    }

    /// Returns the whole content of a regular file.
    ///
    /// # Errors
    ///
    /// [`FileError::TooLarge`] above the limit, by its size before reading and by what is read;
    /// [`FileError::SymbolicLink`] or [`FileError::NotAFile`] for anything but a regular file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let path = RelativePath::parse(path, self.limits.max_depth)?;
        let max_bytes = self.limits.max_file_bytes;
        let failed = |source| FileError::from_io(path.text(), source);
        let too_large = || FileError::TooLarge {
            path: path.text().into(),
            max_bytes,
        };
        let (file, size) = self.open_file(&path)?;
        if size > max_bytes {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        // The file may grow while it is read: one byte above the limit tells.
        file.take(max_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max_bytes {
            Err(too_large())
        } else {
            Ok(bytes)
        }
    }

    /// Writes a whole file, durably and at once: others see the old content or the new one, also after a crash.
    ///
    /// The file belongs to its owner alone (mode 0600), as do folders that are made for it (0700). Without `overwrite`
    /// a path that is taken is refused in one step with the creation: of two writers one succeeds. With it a regular
    /// file is replaced; its mode and owner are then those of a new file.
    ///
    /// # Errors
    ///
    /// [`FileError::TooLarge`] before anything is touched; [`FileError::AlreadyExists`] without `overwrite`;
    /// [`FileError::SymbolicLink`] or [`FileError::NotAFile`] if something else than a regular file is there.
    pub fn write(&self, path: &str, bytes: &[u8], overwrite: bool) -> Result<Written, FileError> {
        let if_present = if overwrite {
            IfPresent::Replace
        } else {
            IfPresent::Refuse
        };
        self.put(path, bytes, if_present, None)
    }

    /// As [`Self::write`] with `overwrite`; nobody sees the file before its time of change is `modified`.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn replace_dated(
        &self,
        path: &str,
        bytes: &[u8],
        modified: SystemTime,
    ) -> Result<Written, FileError> {
        self.put(path, bytes, IfPresent::Replace, Some(modified))
    }

    fn put(
        &self,
        path: &str,
        bytes: &[u8],
        if_present: IfPresent,
        modified: Option<SystemTime>,
    ) -> Result<Written, FileError> {
        let path = RelativePath::parse(path, self.limits.max_depth)?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > self.limits.max_file_bytes {
            return Err(FileError::TooLarge {
                path: path.text().into(),
                max_bytes: self.limits.max_file_bytes,
            });
        }
        let created = write::write(&self.root, &path, bytes, if_present, modified)?;
        Ok(Written {
            bytes: size,
            created,
        })
    }

    /// Removes what writers left behind that were killed in the middle, here and in all folders beneath; says how many files
    /// that were. What another process still writes stays. Meant for the start of whoever owns the root.
    ///
    /// # Errors
    ///
    /// [`FileError`] if a folder cannot be read or changed.
    pub fn remove_unfinished(&self) -> Result<usize, FileError> {
        unfinished::remove(&self.root).map_err(|source| FileError::from_io(".", source))
    }

    /// Tells whether a regular file or a folder is there; a link or a device is none.
    ///
    /// # Errors
    ///
    /// [`FileError`] if that cannot be told, for example because the path leads out of the root.
    pub fn exists(&self, path: &str) -> Result<bool, FileError> {
        Ok(self.entry(path)?.is_some())
    }

    /// Returns what is known of a file or folder, or nothing where there is none.
    ///
    /// # Errors
    ///
    /// [`FileError`] if that cannot be told, for example because the path leads out of the root.
    pub fn entry(&self, path: &str) -> Result<Option<Entry>, FileError> {
        let path = RelativePath::parse(path, self.limits.max_depth)?;
        match parent_of(&self.root, &path).and_then(|parent| parent.symlink_metadata(path.name())) {
            Ok(metadata) => Ok(entry(path.text().to_owned(), &metadata)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(FileError::from_io(path.text(), error)),
        }
    }

    /// Opens a regular file, and returns its size.
    fn open_file(&self, path: &RelativePath<'_>) -> Result<(File, u64), FileError> {
        let failed = |source| FileError::from_io(path.text(), source);
        let parent = parent_of(&self.root, path).map_err(failed)?;
        // Looked at first because merely opening a device may do something, and to name a link as what it is.
        let metadata = parent.symlink_metadata(path.name()).map_err(failed)?;
        if is_symlink(&metadata) {
            return Err(FileError::SymbolicLink {
                path: path.text().into(),
            });
        }
        if !metadata.is_file() {
            return Err(FileError::NotAFile {
                path: path.text().into(),
            });
        }
        let mut options = OpenOptions::new();
        // Non-blocking: a pipe that took the file's place meanwhile would wait for a writer.
        options.read(true).follow(FollowSymlinks::No).nonblock(true);
        let file = parent.open_with(path.name(), &options).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_file() {
            Ok((file, metadata.len()))
        } else {
            Err(FileError::NotAFile {
                path: path.text().into(),
            })
        }
    }

    /// Opens a folder whose path does not end in a link.
    fn open_directory(&self, path: &RelativePath<'_>) -> Result<Dir, FileError> {
        let failed = |source| FileError::from_io(path.text(), source);
        let parent = parent_of(&self.root, path).map_err(failed)?;
        let metadata = parent.symlink_metadata(path.name()).map_err(failed)?;
        if is_symlink(&metadata) {
            return Err(FileError::SymbolicLink {
                path: path.text().into(),
            });
        }
        if !metadata.is_dir() {
            return Err(FileError::NotADirectory {
                path: path.text().into(),
            });
        }
        parent.open_dir_nofollow(path.name()).map_err(failed)
    }

    /// Opens a folder that was listed; one that vanished or became something else since is no folder any more.
    fn reopen(&self, path: &str) -> Result<Option<Dir>, FileError> {
        let path = RelativePath::parse(path, self.limits.max_depth)?;
        match self.open_directory(&path) {
            Ok(directory) => Ok(Some(directory)),
            Err(
                FileError::NotFound { .. }
                | FileError::NotADirectory { .. }
                | FileError::SymbolicLink { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A listing that is being made.
struct Listing<'a> {
    limits: Limits,
    asked: &'a str,
    seen: usize,
    entries: Vec<Entry>,
    /// Folders that were shown and may be descended into.
    pending: Vec<String>,
}

impl Listing<'_> {
    /// Adds what is in `directory`, whose path is `prefix`; the root has none.
    fn read(&mut self, directory: &Dir, prefix: Option<&str>) -> Result<(), FileError> {
        let shown = prefix.unwrap_or(self.asked);
        let failed = |source| FileError::from_io(shown, source);
        for found in directory.entries().map_err(failed)? {
            let found = found.map_err(failed)?;
            self.seen += 1;
            if self.seen > self.limits.max_entries {
                let max_entries = self.limits.max_entries;
                return Err(FileError::TooManyEntries {
                    path: self.asked.into(),
                    max_entries,
                });
            }
            let Ok(name) = found.file_name().into_string() else {
                continue;
            };
            if !is_nameable(&name) {
                continue;
            }
            let path = match prefix {
                Some(prefix) => format!("{prefix}/{name}"),
                None => name,
            };
            match found.metadata() {
                Ok(metadata) => self.add(path, &metadata),
                // It went away after it was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(FileError::from_io(&path, error)),
            }
        }
        Ok(())
    }

    fn add(&mut self, path: String, metadata: &Metadata) {
        let level = depth(&path);
        // What lies deeper than a path may be cannot be named.
        if level > self.limits.max_depth || path.len() > path::MAX_PATH_BYTES {
            return;
        }
        let Some(entry) = entry(path, metadata) else {
            return;
        };
        if entry.kind == EntryKind::Directory && level < self.limits.max_depth {
            self.pending.push(entry.path.clone());
        }
        self.entries.push(entry);
    }
}

/// Opens the folder that holds `path`. Links on the way are followed as long as they stay beneath the root.
fn parent_of(root: &Dir, path: &RelativePath<'_>) -> io::Result<Dir> {
    match path.parent() {
        Some(parent) => root.open_dir(parent),
        None => root.try_clone(),
    }
}

fn is_symlink(metadata: &Metadata) -> bool {
    metadata.file_type().is_symlink()
}

/// What is known of a regular file or folder; nothing of anything else.
fn entry(path: String, metadata: &Metadata) -> Option<Entry> {
    let (kind, size) = if metadata.is_file() {
        (EntryKind::File, metadata.len())
    } else if metadata.is_dir() {
        (EntryKind::Directory, 0)
    } else {
        return None;
    };
    let modified = metadata
        .modified()
        .ok()
        .map(|time| Timestamp::from_system_time(time.into_std()));
    Some(Entry {
        path,
        kind,
        size,
        modified,
    })
}

#[cfg(test)]
mod tests;
