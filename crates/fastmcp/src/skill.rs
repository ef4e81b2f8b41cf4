//! Skills: instructions for a model with the files that belong to them.
//!
//! ```
//! use fastmcp::{FastMcp, Skill};
//!
//! # fn example() -> fastmcp::Result<()> {
//! let refunds = Skill::new("---\nname: refunds\ndescription: How refunds work.\n---\n# Refunds\n")?
//!     .file("forms/request.md", "Why do you want it back?")?;
//! let server = FastMcp::new("shop").skill(refunds).build()?;
//! # Ok(())
//! # }
//! # example().unwrap();
//! ```
//!
//! Source: SEP-2640, the extension `io.modelcontextprotocol/skills`.

mod folder;
pub(crate) mod frontmatter;
mod product;

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use fastmcp_protocol::{
    content::{JsonObject, ResourceContents},
    resource::{ReadResourceResult, Resource},
    skill::{self as wire, MANIFEST, MAX_BYTES, MAX_FILES, SkillFile, SkillFiles},
};

use crate::{
    call::{Input, Outcome},
    component::{Component, Definition, media_type},
    context::Context,
    error::{Error, Result},
};

pub use product::SkillFolder;

/// The longest path of a file, in bytes.
const MAX_PATH: usize = 1_024;
/// The deepest path of a file, or of a skill.
const MAX_DEPTH: usize = 16;

/// A skill with its files, which are held in memory: what clients were told of them stays true.
pub struct Skill {
    frontmatter: JsonObject,
    name: String,
    description: String,
    /// The folders above the skill's own.
    above: Vec<String>,
    files: BTreeMap<String, Bytes>,
    bytes: u64,
    scopes: Vec<String>,
}

impl Skill {
    /// Creates a skill from the text of its `SKILL.md`, which begins with YAML frontmatter that has a
    /// `name` and a `description`. Its address is `skill://NAME/SKILL.md`.
    ///
    /// # Errors
    ///
    /// When the frontmatter is missing or unfit: the message names what to change.
    pub fn new(manifest: impl Into<String>) -> Result<Self> {
        let manifest = manifest.into();
        let frontmatter = frontmatter::read(&manifest)?;
        let text = |field: &str| {
            let value = frontmatter.get(field).and_then(serde_json::Value::as_str);
            let value = value.map(str::trim).filter(|text| !text.is_empty());
            value.map(str::to_owned).ok_or_else(|| {
                Error::internal(format!(
                    "{MANIFEST}: frontmatter must have `{field}`, a text that is not empty"
                ))
            })
        };
        let (name, description) = (text("name")?, text("description")?);
        if !wire::is_name(&name) {
            return Err(Error::internal(format!(
                "{MANIFEST}: `name` is `{name}`; use 1 to 64 lowercase letters, digits and single \
                 hyphens between them"
            )));
        }
        let skill = Self {
            frontmatter,
            name,
            description,
            above: Vec::new(),
            files: BTreeMap::new(),
            bytes: 0,
            scopes: Vec::new(),
        };
        skill.with(MANIFEST.to_owned(), manifest.into())
    }

    /// Adds a file at `path`, which is relative to the skill's folder and separated by `/`.
    ///
    /// # Errors
    ///
    /// When the path leads elsewhere or is taken, or the skill has 512 files or 16 MiB already.
    pub fn file(self, path: impl Into<String>, content: impl Into<Bytes>) -> Result<Self> {
        let path = path.into();
        check_path(&path)?;
        self.with(path, content.into())
    }

    /// Puts the skill into a folder of its kind: `billing/eu` makes it `skill://billing/eu/NAME/SKILL.md`.
    ///
    /// # Errors
    ///
    /// When the path is none, or too deep.
    pub fn within(mut self, folder: &str) -> Result<Self> {
        check_path(folder)?;
        self.above = folder.split('/').map(str::to_owned).collect();
        Ok(self)
    }

    /// Demands a scope of whoever shall see the skill.
    #[must_use]
    pub fn require_scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Reads every skill in `folder`: each folder beneath it that has a `SKILL.md` is one, with all
    /// files in it. Links and names that begin with a dot are left out. Blocks.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, a skill is unfit or is not named as its folder is, or there
    /// are more than 1,024 skills or 64 MiB.
    pub fn from_folder(folder: &Path) -> Result<Vec<Self>> {
        folder::read(folder)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The components to add to a [`crate::registry::Registry`], the manifest first.
    ///
    /// # Errors
    ///
    /// When a file cannot be described.
    pub fn into_components(self) -> Result<Vec<Component>> {
        let base = self.base();
        let address = |path: &str| format!("{base}/{}", escaped(path));
        let listed: Vec<_> = self
            .files
            .iter()
            .map(|(path, content)| SkillFile {
                uri: address(path),
                digest: sha256(content),
                size: size(content),
            })
            .collect();
        let entry = wire::Skill {
            uri: address(MANIFEST),
            frontmatter: self.frontmatter,
            resources: SkillFiles::Listed(listed),
        };
        let mut entry = Some(entry);
        let mut components = Vec::with_capacity(self.files.len());
        for (path, content) in self.files {
            let is_manifest = path == MANIFEST;
            let (name, description) = if is_manifest {
                (self.name.clone(), Some(self.description.clone()))
            } else {
                (path.rsplit('/').next().unwrap_or(&path).to_owned(), None)
            };
            let definition = Resource {
                description,
                mime_type: Some(media_type::of(&path, &content).to_owned()),
                size: Some(size(&content)),
                ..Resource::new(address(&path), name)
            };
            let component =
                component(definition, content).with_required_scopes(self.scopes.clone());
            match entry.take_if(|_| is_manifest) {
                Some(skill) => components.insert(0, component.with_skill(skill)),
                None => components.push(component.within_skill().unlisted()),
            }
        }
        Ok(components)
    }

    fn base(&self) -> String {
        let mut base = "skill://".to_owned();
        for folder in &self.above {
            base.push_str(&escaped(folder));
            base.push('/');
        }
        base + &self.name
    }

    fn with(mut self, path: String, content: Bytes) -> Result<Self> {
        self.bytes = self.bytes.saturating_add(size(&content));
        let unfit = |why: &str| Error::internal(format!("skill `{}`: {why}", self.name));
        if self.bytes > MAX_BYTES {
            return Err(unfit("its files have more than 16 MiB"));
        }
        if self.files.len() >= MAX_FILES {
            return Err(unfit("it has more than 512 files"));
        }
        if self.files.contains_key(&path) {
            return Err(unfit(&format!("`{path}` is there twice")));
        }
        self.files.insert(path, content);
        Ok(self)
    }
}

impl std::fmt::Debug for Skill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Skill")
            .field("name", &self.name)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

fn component(definition: Resource, content: Bytes) -> Component {
    let mime_type = definition.mime_type.clone();
    Component::new(
        Definition::Resource(definition),
        move |_: Context,
              input: Input|
              -> futures_util::future::BoxFuture<'static, Result<Outcome>> {
            let uri = input.uri.unwrap_or_default();
            let contents = match std::str::from_utf8(&content) {
                Ok(text) => ResourceContents::text(&*uri, text),
                Err(_) => ResourceContents::blob(&*uri, &content),
            };
            let contents = match &mime_type {
                Some(mime_type) => contents.with_mime_type(mime_type),
                None => contents,
            };
            Box::pin(async move { Ok(ReadResourceResult::new(contents).into()) })
        },
    )
}

fn size(content: &Bytes) -> u64 {
    u64::try_from(content.len()).unwrap_or(u64::MAX)
}

/// The digest of a file, as lists of files have it.
pub(crate) fn sha256(content: &[u8]) -> String {
    let digest = digest(&SHA256, content);
    format!("sha256:{}", HEXLOWER.encode(digest.as_ref()))
}

/// Refuses paths that lead elsewhere or that no address can hold.
fn check_path(path: &str) -> Result<()> {
    if is_path(path, MAX_DEPTH) {
        return Ok(());
    }
    let shown: String = path.chars().take(128).collect();
    Err(Error::internal(format!(
        "path `{shown}`: use up to {MAX_DEPTH} names separated by `/`, {MAX_PATH} bytes at most, \
         none of them `.` or `..`"
    )))
}

/// Whether `path` leads to a place beneath where it begins, through `depth` names at most.
pub(crate) fn is_path(path: &str, depth: usize) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.contains('\\')
            && !part.chars().any(char::is_control)
    };
    path.len() <= MAX_PATH && path.split('/').count() <= depth && path.split('/').all(plain)
}

/// A path as it stands in an address.
///
/// Source: RFC 3986, section 2.3.
pub(crate) fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => {
                let _infallible = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
