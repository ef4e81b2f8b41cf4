//! Writing a file so that others see all of it or nothing, and that a crash leaves the old one or the new one.

use std::{
    fs::File,
    io::{self, Write as _},
    time::SystemTime,
};

use cap_std::fs::{Dir, OpenOptions};
#[cfg(unix)]
use cap_std::fs::{DirBuilderExt as _, OpenOptionsExt as _};

use super::error::FileError;
use super::path::{RelativePath, TEMPORARY_PREFIX};
use super::{is_symlink, parent_of};
use crate::random::{OsRandom, array};

/// Mode of a new file: its owner reads and writes.
#[cfg(unix)]
const FILE_MODE: u32 = 0o600;

/// Mode of a new folder: its owner lists and enters.
#[cfg(unix)]
const DIRECTORY_MODE: u32 = 0o700;

/// `EPERM`: what link(2) says where "the filesystem [...] does not support the creation of hard links".
const EPERM: i32 = 1;

/// Whether something that is there already may be replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfPresent {
    Refuse,
    Replace,
}

/// Writes `bytes` at `path`, of the time `modified` where one is named, and returns whether nothing was there before.
pub(super) fn write(
    root: &Dir,
    path: &RelativePath<'_>,
    bytes: &[u8],
    if_present: IfPresent,
    modified: Option<SystemTime>,
) -> Result<bool, FileError> {
    // Refused before folders are made for it; the operation below is what holds under a race.
    refuse_what_cannot_be_replaced(root, path, if_present)?;
    let parent = make_parent(root, path)?;
    let failed = |source| FileError::from_io(path.text(), source);
    let mut temporary = Temporary::create(&parent).map_err(failed)?;
    temporary.fill(bytes, modified).map_err(failed)?;
    let created = match temporary.publish_new(path.name()) {
        Ok(()) => true,
        Err(error)
            if error.kind() == io::ErrorKind::AlreadyExists && if_present == IfPresent::Replace =>
        {
            refuse_what_cannot_be_replaced(root, path, if_present)?;
            temporary.publish_over(path.name()).map_err(failed)?;
            false
        }
        Err(error) => return Err(failed(error)),
    };
    sync_directory(&parent).map_err(failed)?;
    Ok(created)
}

/// Refuses a link, anything but a regular file, and a file that is to stay.
fn refuse_what_cannot_be_replaced(
    root: &Dir,
    path: &RelativePath<'_>,
    if_present: IfPresent,
) -> Result<(), FileError> {
    let present =
        match parent_of(root, path).and_then(|parent| parent.symlink_metadata(path.name())) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(FileError::from_io(path.text(), error)),
        };
    let path = path.text().to_owned();
    if is_symlink(&present) {
        return Err(FileError::SymbolicLink { path });
    }
    if !present.is_file() {
        return Err(FileError::NotAFile { path });
    }
    match if_present {
        IfPresent::Refuse => Err(FileError::AlreadyExists { path }),
        IfPresent::Replace => Ok(()),
    }
}

/// Opens the folder that holds `path`, and makes it and those above it where they are missing.
fn make_parent(root: &Dir, path: &RelativePath<'_>) -> Result<Dir, FileError> {
    let failed = |source| FileError::from_io(path.text(), source);
    match parent_of(root, path) {
        Ok(parent) => return Ok(parent),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let parent = path.parent().unwrap_or_default();
    let ends = parent
        .match_indices('/')
        .map(|(at, _)| at)
        .chain([parent.len()]);
    for ancestor in ends.filter_map(|end| parent.get(..end)) {
        match root.create_dir_with(ancestor, &directory_builder()) {
            Ok(()) => sync_directory_of(root, ancestor).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    parent_of(root, path).map_err(failed)
}

fn directory_builder() -> cap_std::fs::DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "modes exist on unix alone"))]
    let mut builder = cap_std::fs::DirBuilder::new();
    #[cfg(unix)]
    builder.mode(DIRECTORY_MODE);
    builder
}

/// Makes the entry of the new folder `path` durable, which is content of the folder above it.
fn sync_directory_of(root: &Dir, path: &str) -> io::Result<()> {
    match path.rsplit_once('/') {
        Some((above, _)) => sync_directory(&root.open_dir(above)?),
        None => sync_directory(root),
    }
}

/// Makes what was renamed, linked or made in a folder durable.
#[cfg(unix)]
pub(super) fn sync_directory(directory: &Dir) -> io::Result<()> {
    // The handle itself is `O_PATH` on Linux, which cannot be synced.
    directory.open(".")?.sync_all()
}

/// Folders cannot be synced here; the file system's journal orders their changes.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "as on unix")]
pub(super) fn sync_directory(_: &Dir) -> io::Result<()> {
    Ok(())
}

/// A file that nobody can name yet; it vanishes unless it is published.
struct Temporary<'a> {
    directory: &'a Dir,
    name: String,
    file: File,
    published: bool,
}

impl<'a> Temporary<'a> {
    fn create(directory: &'a Dir) -> io::Result<Self> {
        let random = u128::from_le_bytes(array(&OsRandom).map_err(io::Error::other)?);
        let name = format!("{TEMPORARY_PREFIX}{random:032x}");
        let file = directory.open_with(&name, &new_file_options())?.into_std();
        // Says that it is being written. Where files cannot be locked, what a kill leaves stays.
        let _ = file.try_lock();
        Ok(Self {
            directory,
            name,
            file,
            published: false,
        })
    }

    fn fill(&mut self, bytes: &[u8], modified: Option<SystemTime>) -> io::Result<()> {
        self.file.write_all(bytes)?;
        if let Some(modified) = modified {
            self.file.set_modified(modified)?;
        }
        self.file.sync_all()
    }

    /// Gives the file its name if nothing has that name, in one step.
    fn publish_new(&mut self, name: &str) -> io::Result<()> {
        match self.directory.hard_link(&self.name, self.directory, name) {
            // The temporary name goes when this is dropped.
            Ok(()) => Ok(()),
            Err(error) if has_no_hard_links(&error) => self.publish_reserved(name),
            Err(error) => Err(error),
        }
    }

    /// As [`Self::publish_new`], for file systems without hard links (FAT, SMB): an empty file takes the name, then this
    /// one replaces it. A reader may meet the empty file for a moment; nothing is ever overwritten.
    fn publish_reserved(&mut self, name: &str) -> io::Result<()> {
        self.directory.open_with(name, &new_file_options())?;
        self.publish_over(name).inspect_err(|_| {
            // Ours, and empty: nobody else can have taken the name since.
            let _ = self.directory.remove_file(name);
        })
    }

    /// Gives the file its name, whatever had it before; a link that has it is replaced, not followed.
    fn publish_over(&mut self, name: &str) -> io::Result<()> {
        self.directory.rename(&self.name, self.directory, name)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.published {
            // What stays behind after a failure here is unnameable and unlisted; there is nobody to tell.
            let _ = self.directory.remove_file(&self.name);
        }
    }
}

/// Options that make a file which must not exist, for its owner alone; a link in its place fails too (`O_EXCL`).
fn new_file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(FILE_MODE);
    options
}

fn has_no_hard_links(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || (cfg!(unix) && error.raw_os_error() == Some(EPERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, Dir) {
        let folder = tempfile::tempdir().unwrap();
        let directory = Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
        (folder, directory)
    }

    #[test]
    fn without_hard_links_nothing_is_overwritten_either() {
        let (folder, directory) = directory();
        std::fs::write(folder.path().join("taken"), "old").unwrap();
        let mut temporary = Temporary::create(&directory).unwrap();
        temporary.fill(b"new", None).unwrap();
        assert_eq!(
            temporary.publish_reserved("taken").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        temporary.publish_reserved("free").unwrap();
        drop(temporary);
        assert_eq!(std::fs::read(folder.path().join("taken")).unwrap(), b"old");
        assert_eq!(std::fs::read(folder.path().join("free")).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_unpublished_file_vanishes() {
        let (folder, directory) = directory();
        let mut temporary = Temporary::create(&directory).unwrap();
        temporary.fill(b"half", None).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(temporary);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_what_says_so_counts_as_without_hard_links() {
        assert!(has_no_hard_links(&io::Error::from(
            io::ErrorKind::Unsupported
        )));
        assert!(!has_no_hard_links(&io::Error::from(
            io::ErrorKind::AlreadyExists
        )));
        assert!(!has_no_hard_links(&io::Error::from(
            io::ErrorKind::PermissionDenied
        )));
    }
}
