//! A folder whose files are prompts and resources.
//!
//! ```text
//! content/
//!   prompts/
//!     review.md            the prompt `review`
//!   resources/
//!     readme.txt           resource://readme.txt
//!     docs/setup.md        resource://docs/setup.md, and the template resource://docs/{path*}
//! ```
//!
//! A prompt is Markdown with frontmatter. What its text has in double braces, its arguments fill; `\{{` is
//! two braces:
//!
//! ```text
//! ---
//! name: review
//! description: Reviews code.
//! arguments:
//!   - name: code
//!   - name: focus
//!     description: What matters most.
//!     required: false
//! ---
//! Review this code. {{focus}}
//!
//! {{code}}
//! ```
//!
//! Nothing outside of the folder is ever read: links are left out, and so is what has a name that begins with
//! a dot. A file that is unfit is left out, logged, and named by [`Contents::problems`].
//!
//! ```no_run
//! use fastmcp::{FastMcp, folder::Folder};
//!
//! # async fn example() -> fastmcp::Result<()> {
//! // Shows what is there, and goes on to look for changes.
//! FastMcp::new("library").provider(Folder::open("content")?).run().await
//! # }
//! ```

mod prompt;
mod resource;
mod watch;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use fastmcp_guard::files::{Entry, EntryKind, FileError, FileOperations, Limits};

use crate::{
    component::Component,
    error::{Error, Result},
    server::FastMcp,
};

/// The most bytes of a file that is read.
const MAX_FILE: u64 = 10 * 1024 * 1024;
/// The most bytes of a prompt, and of all of them: they are held in memory.
const MAX_PROMPT: u64 = 256 * 1024;
const MAX_PROMPTS: u64 = 16 * 1024 * 1024;
/// The most files and folders that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// A folder of prompts and resources: a [`Provider`](crate::provider::Provider), which shows them and goes on to look for
/// changes.
#[derive(Clone, Debug)]
pub struct Folder {
    files: Arc<FileOperations>,
    prompts: String,
    resources: String,
    scheme: String,
    every: Duration,
}

/// What a folder holds at one moment.
#[derive(Debug)]
pub struct Contents {
    components: Vec<Component>,
    problems: Vec<Problem>,
}

/// A file that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The file's path, relative to the folder.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// What tells one moment of the folder from another.
type Print = Vec<Entry>;

impl Folder {
    /// Opens a folder, which must exist, and holds it open. Blocks.
    ///
    /// # Errors
    ///
    /// When it is no folder that can be opened.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let limits = Limits {
            max_file_bytes: MAX_FILE,
            max_entries: MAX_ENTRIES,
            ..Limits::default()
        };
        Ok(Self {
            files: Arc::new(FileOperations::open(folder.as_ref(), limits)?),
            prompts: "prompts".to_owned(),
            resources: "resources".to_owned(),
            scheme: "resource".to_owned(),
            every: Duration::from_secs(2),
        })
    }

    /// The path of the folder of prompts within this one. Default `prompts`; there need be none.
    #[must_use]
    pub fn prompts(mut self, folder: impl Into<String>) -> Self {
        self.prompts = folder.into();
        self
    }

    /// The path of the folder of resources within this one. Default `resources`; there need be none.
    #[must_use]
    pub fn resources(mut self, folder: impl Into<String>) -> Self {
        self.resources = folder.into();
        self
    }

    /// The scheme of the URIs of resources: letters, digits, `+`, `-` and `.`. Default `resource`.
    #[must_use]
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = scheme.into();
        self
    }

    /// How often a server looks for changes that has it as a provider, 10 ms at least. Default 2 s. Looking
    /// works wherever files do: what tells of changes by itself does not on networks and in containers.
    #[must_use]
    pub fn reload_every(mut self, every: Duration) -> Self {
        self.every = every.max(Duration::from_millis(10));
        self
    }

    /// Reads the folder. Blocks.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, or has more than 10,000 entries.
    pub fn read(&self) -> Result<Contents> {
        let print = self.print()?;
        let (mut components, mut problems, mut bytes) = (Vec::new(), Vec::new(), 0_u64);
        for entry in &print {
            let made = if let Some(path) = beneath(&self.prompts, &entry.path) {
                if !is_prompt(entry) {
                    continue;
                }
                bytes = bytes.saturating_add(entry.size);
                self.prompt(entry, path, bytes)
            } else if let Some(path) = beneath(&self.resources, &entry.path) {
                if entry.kind == EntryKind::Directory && path.contains('/') {
                    // The template of the folder above it answers.
                    continue;
                }
                resource::component(self, entry, path)
            } else {
                continue;
            };
            match made {
                Ok(component) => components.push(component),
                Err(error) => problems.push(Problem {
                    path: entry.path.clone(),
                    reason: error.message().to_owned(),
                }),
            }
        }
        without_twins(&mut components, &mut problems);
        Ok(Contents {
            components,
            problems,
        })
    }

    fn prompt(&self, entry: &Entry, path: &str, bytes: u64) -> Result<Component> {
        if entry.size > MAX_PROMPT {
            return Err(Error::internal("has more than 256 KiB"));
        }
        if bytes > MAX_PROMPTS {
            return Err(Error::internal(
                "all prompts together have more than 16 MiB",
            ));
        }
        let text = String::from_utf8(self.files.read(&entry.path)?)
            .map_err(|_| Error::internal("is not UTF-8"))?;
        prompt::component(path, &text)
    }

    /// The entries that count, in the order of their paths.
    fn print(&self) -> Result<Print> {
        let scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let letter = self.scheme.starts_with(|c: char| c.is_ascii_alphabetic());
        if !letter || !self.scheme.chars().all(scheme) {
            return Err(Error::internal(format!(
                "folder: scheme `{}` must begin with a letter, and have letters, digits, `+`, `-` and `.` alone",
                self.scheme.chars().take(64).collect::<String>()
            )));
        }
        let mut found = Vec::new();
        for folder in [&self.prompts, &self.resources] {
            match self.files.list(folder, true) {
                Ok(entries) => found.extend(entries.into_iter().filter(|e| !is_hidden(&e.path))),
                Err(FileError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }
}

impl Contents {
    /// The prompts, resources and templates.
    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The files that are left out.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The components to register.
    #[must_use]
    pub fn into_components(self) -> Vec<Component> {
        self.components
    }

    fn log(&self) {
        for problem in &self.problems {
            tracing::warn!(
                path = problem.path,
                reason = problem.reason,
                "a file is left out"
            );
        }
    }
}

impl FastMcp {
    /// Adds the prompts and resources that a folder held when it was read. What changes later is shown where the
    /// folder itself is a [provider](Self::provider).
    #[must_use]
    pub fn folder(self, contents: Contents) -> Self {
        contents.log();
        let components = contents.components.into_iter();
        components.fold(self, Self::component)
    }
}

/// The path of `path` relative to `folder`.
fn beneath<'p>(folder: &str, path: &'p str) -> Option<&'p str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}

fn is_hidden(path: &str) -> bool {
    path.split('/').any(|name| name.starts_with('.'))
}

fn is_prompt(entry: &Entry) -> bool {
    let ends = entry
        .path
        .rsplit_once('.')
        .is_some_and(|(_, end)| end.eq_ignore_ascii_case("md"));
    entry.kind == EntryKind::File && ends
}

/// Leaves out what has the name of something before it.
fn without_twins(components: &mut Vec<Component>, problems: &mut Vec<Problem>) {
    let mut seen = std::collections::HashSet::new();
    components.retain(|component| {
        let new = seen.insert((component.kind(), component.key().to_owned()));
        if !new {
            problems.push(Problem {
                path: component.key().to_owned(),
                reason: "another file makes a component of this name; rename one of them"
                    .to_owned(),
            });
        }
        new
    });
}

#[cfg(test)]
mod tests;
