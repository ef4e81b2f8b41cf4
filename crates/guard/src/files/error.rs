//! Why a file was not touched.

use std::fmt;
use std::io;

use thiserror::Error;

use super::path::PathFault;

/// Characters of a path that a message shows.
const SHOWN_CHARS: usize = 200;

/// Why an operation on files was refused or failed.
///
/// Every variant is safe to show to the caller: it names only the path that the caller gave, never where the root lies.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The text of the path is refused; nothing was opened.
    #[error("path `{}`: {fault}", Shown(path))]
    InvalidPath {
        /// The path as it was given.
        path: String,
        /// What is wrong with it.
        fault: PathFault,
    },
    /// A limit that was asked for is out of its range.
    #[error("`{field}` is {value}: give {min} to {max}")]
    InvalidLimit {
        /// The limit's name.
        field: &'static str,
        /// The value that was given.
        value: u64,
        /// The least value.
        min: u64,
        /// The greatest value.
        max: u64,
    },
    /// The root could not be opened as a folder.
    #[error("the root folder cannot be opened")]
    Root {
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Nothing is there.
    #[error("`{}` does not exist", Shown(path))]
    NotFound {
        /// The path as it was given.
        path: String,
    },
    /// Something is there, and it was not to be replaced.
    #[error(
        "`{}` exists already: choose another name, or ask to overwrite it",
        Shown(path)
    )]
    AlreadyExists {
        /// The path as it was given.
        path: String,
    },
    /// What is there is not a regular file: a folder, a pipe, a socket or a device.
    #[error("`{}` is not a regular file", Shown(path))]
    NotAFile {
        /// The path as it was given.
        path: String,
    },
    /// What is there is not a folder.
    #[error("`{}` is not a folder", Shown(path))]
    NotADirectory {
        /// The path as it was given.
        path: String,
    },
    /// The last component is a symbolic link, which is never followed.
    #[error("`{}` is a symbolic link: name what it points to", Shown(path))]
    SymbolicLink {
        /// The path as it was given.
        path: String,
    },
    /// The path leads out of the root, by a symbolic link on its way.
    #[error("`{}` leads out of the root folder", Shown(path))]
    Escapes {
        /// The path as it was given.
        path: String,
    },
    /// The file, or what was to be written, is larger than the limit.
    #[error(
        "`{}` has more than {max_bytes} bytes, the most a file may have",
        Shown(path)
    )]
    TooLarge {
        /// The path as it was given.
        path: String,
        /// The limit.
        max_bytes: u64,
    },
    /// The folder holds more than may be listed at once.
    #[error(
        "`{}` holds more than {max_entries} entries: list a folder beneath it",
        Shown(path)
    )]
    TooManyEntries {
        /// The path as it was given.
        path: String,
        /// The limit.
        max_entries: usize,
    },
    /// The process lacks the permission.
    #[error("`{}` may not be accessed by this process", Shown(path))]
    PermissionDenied {
        /// The path as it was given.
        path: String,
    },
    /// The operating system failed.
    #[error("`{}` could not be accessed", Shown(path))]
    Io {
        /// The path as it was given.
        path: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    /// Names what the operating system said about `path`.
    pub(super) fn from_io(path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { path },
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            io::ErrorKind::IsADirectory => Self::NotAFile { path },
            // cap-std reports an escape with this kind and without an error number of the system.
            io::ErrorKind::PermissionDenied if source.raw_os_error().is_none() => {
                Self::Escapes { path }
            }
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { path },
            _ => Self::Io { path, source },
        }
    }
}

/// A path as a message shows it: bounded, control characters escaped.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(SHOWN_CHARS) {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        if characters.next().is_some() {
            f.write_str("...")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_no_control_character_and_not_too_much() {
        let path = format!("a\n\u{1b}[31m{}", "x".repeat(5_000));
        let message = FileError::NotFound { path }.to_string();
        assert!(message.starts_with(r"`a\n\u{1b}[31mxxx"), "{message}");
        assert!(message.ends_with("...` does not exist"), "{message}");
        assert!(message.len() < 300);
    }

    #[test]
    fn an_escape_is_told_from_a_missing_permission() {
        let escape = io::Error::new(
            io::ErrorKind::PermissionDenied,
            "a path led outside of the filesystem",
        );
        assert!(matches!(
            FileError::from_io("x", escape),
            FileError::Escapes { .. }
        ));
        let denied = io::Error::from_raw_os_error(13);
        assert!(matches!(
            FileError::from_io("x", denied),
            FileError::PermissionDenied { .. }
        ));
    }
}
