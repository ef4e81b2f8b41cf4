//! A path that names something beneath a root, parsed once.
//!
//! The parser refuses by its text everything that has no business in a tool's argument. It is not the wall: what a path
//! leads to (symbolic links, races) is held by the capability that opens it.

use std::fmt;

use super::error::FileError;

/// Longest path, in bytes; `PATH_MAX` of Linux, which counts a closing NUL.
pub(super) const MAX_PATH_BYTES: usize = 4_095;

/// Longest component, in bytes; `NAME_MAX` of Linux and of every usual file system.
pub(super) const MAX_NAME_BYTES: usize = 255;

/// What the names of unfinished files begin with; nobody can name or list them.
pub(super) const TEMPORARY_PREFIX: &str = ".fastmcp-tmp-";

/// A relative path without surprises: one or more plain components, the last of which is its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct RelativePath<'a> {
    text: &'a str,
    parent: Option<&'a str>,
    name: &'a str,
}

impl<'a> RelativePath<'a> {
    /// Parses a path of at most `max_depth` components.
    pub(super) fn parse(text: &'a str, max_depth: usize) -> Result<Self, FileError> {
        match fault(text, max_depth) {
            Some(fault) => Err(FileError::InvalidPath {
                path: text.into(),
                fault,
            }),
            None => Ok(match text.rsplit_once('/') {
                Some((parent, name)) => Self {
                    text,
                    parent: Some(parent),
                    name,
                },
                None => Self {
                    text,
                    parent: None,
                    name: text,
                },
            }),
        }
    }

    /// Parses the path of a folder, where nothing or `.` names the root itself.
    pub(super) fn parse_directory(
        text: &'a str,
        max_depth: usize,
    ) -> Result<Option<Self>, FileError> {
        if text.is_empty() || text == "." {
            Ok(None)
        } else {
            Self::parse(text, max_depth).map(Some)
        }
    }

    /// The whole path.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The path of the folder that holds it, if that is not the root.
    pub(super) fn parent(&self) -> Option<&'a str> {
        self.parent
    }

    /// The last component.
    pub(super) fn name(&self) -> &'a str {
        self.name
    }
}

/// How many components a path has that the parser accepted.
pub(super) fn depth(path: &str) -> usize {
    path.split('/').count()
}

/// Tells whether a name met on disk is one that a path can hold: what cannot be named is not listed either.
pub(super) fn is_nameable(name: &str) -> bool {
    !name.contains('/') && fault(name, 1).is_none()
}

fn fault(text: &str, max_depth: usize) -> Option<PathFault> {
    if text.is_empty() {
        return Some(PathFault::Empty);
    }
    if text.len() > MAX_PATH_BYTES {
        return Some(PathFault::TooLong {
            max_bytes: MAX_PATH_BYTES,
        });
    }
    if text.starts_with('/') {
        return Some(PathFault::Absolute);
    }
    if let Some(fault) = text.chars().find_map(character_fault) {
        return Some(fault);
    }
    if depth(text) > max_depth {
        return Some(PathFault::TooDeep { max_depth });
    }
    text.split('/').find_map(component_fault)
}

fn character_fault(character: char) -> Option<PathFault> {
    match character {
        '\0' => Some(PathFault::Nul),
        '\\' => Some(PathFault::Backslash),
        // A drive or an alternate stream.
        ':' if cfg!(windows) => Some(PathFault::Colon),
        // A line break in a name forges lines wherever names are printed.
        control if control.is_control() => Some(PathFault::ControlCharacter),
        _ => None,
    }
}

fn component_fault(component: &str) -> Option<PathFault> {
    match component {
        "" => Some(PathFault::EmptyComponent),
        ".." => Some(PathFault::ParentComponent),
        "." => Some(PathFault::CurrentComponent),
        name if name.len() > MAX_NAME_BYTES => Some(PathFault::NameTooLong {
            max_bytes: MAX_NAME_BYTES,
        }),
        name if name.starts_with(TEMPORARY_PREFIX) => Some(PathFault::Reserved),
        _ => None,
    }
}

/// What is wrong with the text of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathFault {
    /// Nothing is named.
    Empty,
    /// It begins with `/`.
    Absolute,
    /// A component is `..`.
    ParentComponent,
    /// A component is `.`.
    CurrentComponent,
    /// Two `/` follow each other, or the last character is one.
    EmptyComponent,
    /// It holds a `\`.
    Backslash,
    /// It holds a `:`, which names drives and streams on Windows.
    Colon,
    /// It holds a NUL character.
    Nul,
    /// It holds a control character, such as a line break.
    ControlCharacter,
    /// It has more components than the limit.
    TooDeep {
        /// The most components it may have.
        max_depth: usize,
    },
    /// It is longer than the limit.
    TooLong {
        /// The most bytes it may have.
        max_bytes: usize,
    },
    /// A component is longer than the limit.
    NameTooLong {
        /// The most bytes a component may have.
        max_bytes: usize,
    },
    /// A component is a name kept for unfinished files.
    Reserved,
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty: name a file or folder relative to the root"),
            Self::Absolute => {
                f.write_str("it is absolute: give it relative to the root, without a leading `/`")
            }
            Self::ParentComponent => {
                f.write_str("it has a component `..`: name the place directly")
            }
            Self::CurrentComponent => f.write_str("it has a component `.`: leave it out"),
            Self::EmptyComponent => f.write_str("it has an empty component: remove the extra `/`"),
            Self::Backslash => f.write_str("it has a backslash: separate components by `/`"),
            Self::Colon => {
                f.write_str("it has a `:`: give it relative to the root, without a drive or stream")
            }
            Self::Nul => f.write_str("it has a NUL character: remove it"),
            Self::ControlCharacter => f.write_str("it has a control character: remove it"),
            Self::TooDeep { max_depth } => write!(
                f,
                "it has more than {max_depth} components: use fewer folders"
            ),
            Self::TooLong { max_bytes } => {
                write!(f, "it is longer than {max_bytes} bytes: shorten it")
            }
            Self::NameTooLong { max_bytes } => {
                write!(
                    f,
                    "it has a component longer than {max_bytes} bytes: shorten it"
                )
            }
            Self::Reserved => write!(
                f,
                "names that begin with `{TEMPORARY_PREFIX}` are kept for unfinished files"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault_of(text: &str) -> Option<PathFault> {
        fault(text, 3)
    }

    #[test]
    fn plain_paths_are_taken_apart() {
        let path = RelativePath::parse("a/b c/ü.txt", 3).unwrap();
        assert_eq!(
            (path.text(), path.parent(), path.name()),
            ("a/b c/ü.txt", Some("a/b c"), "ü.txt")
        );
        let path = RelativePath::parse("...", 3).unwrap();
        assert_eq!((path.parent(), path.name()), (None, "..."));
        assert!(RelativePath::parse_directory(".", 3).unwrap().is_none());
        assert!(RelativePath::parse_directory("", 3).unwrap().is_none());
        assert!(RelativePath::parse_directory("./a", 3).is_err());
    }

    #[test]
    fn every_trick_is_refused_by_name() {
        use PathFault::*;
        let long_name = "n".repeat(MAX_NAME_BYTES + 1);
        let long_path = "p/".repeat(MAX_PATH_BYTES);
        let table: &[(&str, PathFault)] = &[
            ("", Empty),
            ("/etc/passwd", Absolute),
            ("//x", Absolute),
            ("..", ParentComponent),
            ("a/../b", ParentComponent),
            ("a/..", ParentComponent),
            (".", CurrentComponent),
            ("./a", CurrentComponent),
            ("a/./b", CurrentComponent),
            ("a//b", EmptyComponent),
            ("a/", EmptyComponent),
            ("..\\..\\x", Backslash),
            ("C:\\x", Backslash),
            ("a\0.txt", Nul),
            ("a\nb", ControlCharacter),
            ("a\u{1b}[2J", ControlCharacter),
            ("a\u{85}b", ControlCharacter),
            ("a/b/c/d", TooDeep { max_depth: 3 }),
            (
                &long_name,
                NameTooLong {
                    max_bytes: MAX_NAME_BYTES,
                },
            ),
            (
                &long_path,
                TooLong {
                    max_bytes: MAX_PATH_BYTES,
                },
            ),
            ("a/.fastmcp-tmp-00", Reserved),
        ];
        for (text, expected) in table {
            assert_eq!(fault_of(text), Some(*expected), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_never_leaves_by_its_text(text in "[./a\\\\\u{0}é:-]{0,12}") {
            if let Ok(path) = RelativePath::parse(&text, 4) {
                let std_path = std::path::Path::new(path.text());
                prop_assert!(std_path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert_eq!(std_path.components().count(), depth(path.text()));
                prop_assert!(depth(path.text()) <= 4);
            }
        }
    }
}
