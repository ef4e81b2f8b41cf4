//! Whether a file changed, and why it cannot be read.

use std::{path::Path, time::SystemTime};

/// Changes when a file is written, another one takes its place, or who may read it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
    /// When anything of the file changed last, its owner and mode included.
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file at `path`; `None` where there is none.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&metadata),
            #[cfg(not(unix))]
            inode: 0,
            #[cfg(unix)]
            changed: {
                use std::os::unix::fs::MetadataExt as _;
                (metadata.ctime(), metadata.ctime_nsec())
            },
            #[cfg(not(unix))]
            changed: (0, 0),
        })
    }
}

/// An error and what it came from: what to do stands there.
pub(super) fn told_of(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        told.push_str(": ");
        told.push_str(&cause.to_string());
        source = cause.source();
    }
    told
}
