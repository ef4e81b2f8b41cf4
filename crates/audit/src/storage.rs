//! The disk, as the log sees it: a folder in which files only grow or are replaced whole.
//!
//! A file of records may end in NUL bytes: room that is reserved for what comes next. A line holds none, so whoever reads
//! knows where it ends (`docs/audit-format.md`, "Room").
//!
//! A seam for tests, which make it fail and crash at every single operation.

mod file;
#[cfg(test)]
pub(crate) mod memory;

use std::{
    any::Any,
    fmt,
    io::{self, Read},
    path::Path,
};

pub use file::FileStorage;

use crate::error::StorageError;

/// A folder of the log. Names are relative to it, with `/` between folders.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Returns where this is, for messages to people.
    fn place(&self) -> String;

    /// Creates the folder where needed and keeps every other process from writing to it until the
    /// returned value is dropped.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if another process holds it; otherwise the disk's error.
    fn lock(&self) -> io::Result<Box<dyn Any + Send>>;

    /// Lists the files directly in the folder, with their lengths in bytes. No folder, no files.
    ///
    /// # Errors
    ///
    /// The disk's error.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Opens a file for reading from its beginning.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is none; otherwise the disk's error.
    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    /// Creates an empty file that must not exist yet; its name is durable when this returns.
    ///
    /// # Errors
    ///
    /// The disk's error. Whether the file exists is then unknown.
    fn create(&self, name: &str) -> io::Result<Box<dyn Segment>>;

    /// Opens a file that exists in order to append to its first `len` bytes; whatever follows them is
    /// room, and is given back.
    ///
    /// Those after the first `durable` are written once more, the same bytes in the same place. Where a sync failed they may be
    /// in memory alone and pass for written there, and then no sync would reach them.
    ///
    /// # Errors
    ///
    /// The disk's error.
    fn resume(&self, name: &str, durable: u64, len: u64) -> io::Result<Box<dyn Segment>>;

    /// Gives the file this content, whole or not at all, durably. Creates folders on the way.
    ///
    /// # Errors
    ///
    /// The disk's error. The file then has its old content or the new one.
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()>;

    /// As [`Storage::replace`] for each of several files, of which all are durable when this returns: for less than
    /// one at a time.
    ///
    /// # Errors
    ///
    /// The disk's error. Each of the files then has its old content or the new one.
    fn replace_all(&self, files: &[(String, Vec<u8>)]) -> io::Result<()>;

    /// Copies a file of records into another folder, whole and durably, under its name. A file of
    /// that name and content is left as it is.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] if another file has the name there; otherwise the disk's
    /// error.
    fn copy_to(&self, name: &str, folder: &Path) -> io::Result<()>;

    /// Removes a file, or a folder with all that is in it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is none; otherwise the disk's error.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A file of records, open for appending.
pub trait Segment: fmt::Debug + Send {
    /// Writes all bytes after those that were appended before.
    ///
    /// # Errors
    ///
    /// The disk's error. Any part of the bytes may then be in the file.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reserves room for what is appended next, where that makes its sync cheaper. Called while nobody waits.
    fn reserve(&mut self) {}

    /// Returns when all that was appended is durable.
    ///
    /// # Errors
    ///
    /// The disk's error. What was appended since the last success is then lost or not, and a
    /// second try proves nothing: the file must be given up.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives back the room after what was appended. The file is not written any more.
    ///
    /// # Errors
    ///
    /// The disk's error. Room that is left does no harm.
    fn trim(&mut self) -> io::Result<()>;
}

/// Reads a small file whole. Nothing if there is none.
pub(crate) fn read_small(
    storage: &dyn Storage,
    name: &str,
    max: usize,
) -> Result<Option<Vec<u8>>, StorageError> {
    let failed = |error| StorageError::new("read", name, error);
    let file = match storage.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > max {
        let error = io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is longer than {max} bytes"),
        );
        return Err(failed(error));
    }
    Ok(Some(bytes))
}
