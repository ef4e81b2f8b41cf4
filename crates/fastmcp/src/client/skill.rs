//! Skills of a server: what it lists, and files that are what was listed.
//!
//! Source: MCP extension `io.modelcontextprotocol/skills` (SEP-2640).

mod entry;
mod error;
mod sync;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use fastmcp_guard::files::{FileOperations, Limits};
use fastmcp_protocol::{
    content::{JsonObject, ResourceContents},
    resource::{ReadResourceResult, Resource},
    skill::{EXTENSION, MANIFEST, MAX_BYTES, ReadDirectoryResult, SkillFile},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Client, notice::Change, object};
use crate::{
    error::{Error, Result},
    skill::sha256,
};
use entry::Entry;

pub use error::SkillError;
pub use sync::{SkillFailure, SkillSync};

/// Files that are fetched at once where all are wanted.
const AT_ONCE: usize = 8;
/// Folders that a path has beneath the one that is downloaded to.
const MAX_DEPTH: usize = 64;

/// What `skills/list` answers, with entries that may be anything.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    skills: Vec<Value>,
    next_cursor: Option<String>,
}

/// What `skills/get` answers.
#[derive(Deserialize)]
struct One {
    skill: Value,
}

/// The skills of a server; see [`Client::list_skills`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SkillList {
    /// Those that may be used. Two may have one name: a skill is known by its server and its URI.
    pub skills: Vec<RemoteSkill>,
    /// Those that break a rule, and which.
    pub refused: Vec<RefusedSkill>,
}

/// A skill that breaks a rule.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RefusedSkill {
    /// Its URI; empty where it has none.
    pub uri: String,
    /// The rule.
    pub why: SkillError,
}

/// A skill of a server, as it was listed. Its files are fetched when they are asked for, and are given
/// out only when they are what was listed: size, SHA-256 and, of `SKILL.md`, frontmatter.
///
/// Cheap to clone; keeps the connection open.
///
/// What a skill says comes from its server and is to be trusted as much: digests show that files belong
/// to the list, not that either is good. Whoever shows a skill to a model says where it is from, and
/// lets nothing run, nor `allowed-tools` take effect, before the user agreed.
#[derive(Clone)]
pub struct RemoteSkill {
    client: Client,
    entry: Arc<Entry>,
    /// Bytes of files that are made when they are asked for.
    taken: Arc<AtomicU64>,
}

impl Client {
    /// Every skill that the server lists. Nothing of their files is fetched. That a skill is missing
    /// here says nothing: a server may have more than it lists, see [`Self::get_skill`].
    ///
    /// ```
    /// # use fastmcp::prelude::*;
    /// # use fastmcp::Skill;
    /// # async fn example() -> Result<()> {
    /// # let manifest = "---\nname: refunds\ndescription: How refunds work.\n---\n# Refunds\n";
    /// # let server = FastMcp::new("shop").skill(Skill::new(manifest)?.file("forms/a.md", "Why?")?).build()?;
    /// let client = Client::connect(&server).await?;
    /// for skill in client.list_skills().await?.skills {
    ///     println!("{}: {}", skill.name(), skill.description());
    ///     let instructions = skill.load().await?;
    ///     let form = skill.read_text("forms/a.md").await?;
    /// #   assert_eq!((instructions.as_str(), form.as_str()), (manifest, "Why?"));
    /// }
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// When the server does not declare that it has skills, or answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_skills(&self) -> Result<SkillList> {
        self.require_skills()?;
        let split = |page: Page| (page.skills, page.next_cursor);
        let entries = self.link.pages("skills/list", split).await?;
        let mut list = SkillList::default();
        for entry in entries {
            let uri = entry.get("uri").and_then(Value::as_str);
            let uri = uri.unwrap_or_default().to_owned();
            match Entry::read(entry) {
                Ok(entry) => list.skills.push(RemoteSkill::new(self, entry)),
                Err(why) => {
                    tracing::warn!(%why, "skill is refused");
                    list.refused.push(RefusedSkill { uri, why });
                }
            }
        }
        Ok(list)
    }

    /// The skill whose `SKILL.md` has this URI, whether the server lists it or not. Nothing of its files
    /// is fetched.
    ///
    /// # Errors
    ///
    /// When the server does not declare that it has skills, does not know this one, or when what it
    /// says of it breaks a rule: the [source](Error::source) is then a [`SkillError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn get_skill(&self, uri: &str) -> Result<RemoteSkill> {
        self.require_skills()?;
        let params = object(json!({"uri": uri}));
        let answer: One = self.request("skills/get", params).await?.decode()?;
        let entry = Entry::read(answer.skill)?;
        if entry.uri != uri {
            return Err(Error::from(SkillError::Unfit {
                skill: uri.to_owned(),
                why: "the server answers with another skill".to_owned(),
            }));
        }
        Ok(RemoteSkill::new(self, entry))
    }

    /// What is right in a folder of the server's resources; folders in it have the media type
    /// `inode/directory`. A skill's own files are known without asking: [`RemoteSkill::files`].
    ///
    /// # Errors
    ///
    /// When the server does not declare `directoryRead`, or answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read_directory(&self, uri: &str) -> Result<Vec<Resource>> {
        let capabilities = self.server_capabilities();
        let settings = capabilities
            .extensions
            .as_ref()
            .and_then(|all| all.get(EXTENSION));
        let reads = settings.and_then(|settings| settings.get("directoryRead"));
        if reads != Some(&Value::Bool(true)) {
            return Err(Error::validation(
                "the server reads no folders: it does not declare `directoryRead`",
            ));
        }
        let params = object(json!({"uri": uri}));
        let split = |page: ReadDirectoryResult| (page.resources, page.next_cursor);
        let pages = self
            .link
            .pages_of("resources/directory/read", &params, split);
        pages.await
    }

    fn require_skills(&self) -> Result<()> {
        let capabilities = self.server_capabilities();
        let declared = capabilities.extensions.as_ref();
        if declared.is_some_and(|all| all.contains_key(EXTENSION)) {
            return Ok(());
        }
        Err(Error::validation(format!(
            "the server has no skills: it does not declare `{EXTENSION}`"
        )))
    }
}

impl RemoteSkill {
    fn new(client: &Client, entry: Entry) -> Self {
        Self {
            client: client.clone(),
            entry: Arc::new(entry),
            taken: Arc::default(),
        }
    }

    /// The URI of its `SKILL.md`. Another server may have a skill of the same URI.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.entry.uri
    }

    /// Its name, which is a label: other skills may have it too.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// What it is for.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.entry.description
    }

    /// What its `SKILL.md` begins with, as JSON.
    #[must_use]
    pub fn frontmatter(&self) -> &JsonObject {
        &self.entry.frontmatter
    }

    /// Its files by their paths beneath the skill's folder; none are listed where they are made when they
    /// are asked for.
    pub fn files(&self) -> impl Iterator<Item = (&str, &SkillFile)> {
        let files = self.entry.files.iter().flatten();
        files.map(|(path, file)| (path.as_str(), file))
    }

    /// Whether its files are made when they are asked for: then nothing shows that they are what
    /// somebody agreed to, and an agreement must not be kept.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        self.entry.files.is_none()
    }

    /// One digest of all its files and where they are, in the form of the digests of files: what a user's
    /// agreement is kept with. It is void where a later entry has another one. None where the files are
    /// made when they are asked for.
    ///
    /// Source: SEP-2640, "Content-bound approval".
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        let files = self.entry.files.as_ref()?;
        let lines: String = files
            .values()
            .map(|file| format!("{} {}\n", file.digest, file.uri))
            .collect();
        Some(sha256(lines.as_bytes()))
    }

    /// The whole text of `SKILL.md`, for the model.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn load(&self) -> Result<String> {
        self.read_text(MANIFEST).await
    }

    /// The file at `path`, which is relative to the skill's folder.
    ///
    /// # Errors
    ///
    /// When the skill does not list it, the server does not give it, or it is not what was listed: the
    /// [source](Error::source) is then a [`SkillError`]. A file of more than about 12 MiB that is no
    /// text needs a larger [`HttpWireConfig::message_bytes`] over HTTP.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// [`HttpWireConfig::message_bytes`]: fastmcp_transport::HttpWireConfig::message_bytes
    pub async fn read(&self, path: &str) -> Result<Bytes> {
        let path = path.strip_prefix("./").unwrap_or(path);
        let (uri, listed) = self.entry.file(path)?;
        let place = || format!("skill `{}`: file `{path}`", self.entry.uri);
        let answer = self.client.read_resource(&uri).await;
        let answer = answer.map_err(|error| error.within(&place()))?;
        let checked = self.check(path, &uri, listed, answer);
        if checked.is_err() {
            // What is wrong is not kept, lest it be wrong for as long as it is fresh.
            self.client.link.shelf.changed(&Change::Resource(uri));
        }
        Ok(checked?)
    }

    /// The file at `path` as text.
    ///
    /// # Errors
    ///
    /// As [`Self::read`], and when the file is not UTF-8.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn read_text(&self, path: &str) -> Result<String> {
        let bytes = self.read(path).await?;
        String::from_utf8(bytes.into()).map_err(|_| {
            Error::from(self.bad_answer(path, "it is no text: use `read` for its bytes"))
        })
    }

    /// The skill as the server describes it now, for when a file was [not what was
    /// listed](SkillError::Digest). Where its [fingerprint](Self::fingerprint) is another one, so is the skill.
    ///
    /// # Errors
    ///
    /// As [`Client::get_skill`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn refresh(&self) -> Result<Self> {
        self.client.get_skill(self.uri()).await
    }

    /// Writes all files into a new folder of the skill's name in `folder`, which exists, and returns its
    /// path. Nothing is written before every file was fetched and is what was listed, and nothing is
    /// written anywhere else, whatever links there are.
    ///
    /// Skills of different servers may have one name: give each server a folder of its own, one in which
    /// nobody looks for skills of this machine.
    ///
    /// # Errors
    ///
    /// When there is something of that name already, a file cannot be read or written, or the skill's
    /// files are made when they are asked for.
    ///
    /// # Cancel safety
    ///
    /// Dropped, part of the files may be written.
    pub async fn download(&self, folder: &Path) -> Result<PathBuf> {
        self.require_files()?;
        let root = opened(folder).await?;
        let (there, name) = (Arc::clone(&root), self.entry.name.clone());
        blocking(move || {
            if there.exists(&name)? {
                return Err(Error::validation(format!(
                    "`{name}` exists already: remove it, or choose another folder"
                )));
            }
            Ok(())
        })
        .await?;
        let files = self.fetch().await?;
        let name = self.entry.name.clone();
        blocking(move || {
            for (path, content) in files {
                root.write(&format!("{name}/{path}"), &content, false)?;
            }
            Ok(())
        })
        .await?;
        Ok(folder.join(&self.entry.name))
    }

    /// Refuses a skill that has no files to be had as a whole.
    fn require_files(&self) -> Result<()> {
        if self.is_dynamic() {
            return Err(Error::validation(format!(
                "skill `{}`: its files are made when they are asked for, so there is nothing whole to \
                 download; read them one by one",
                self.uri()
            )));
        }
        Ok(())
    }

    /// All files by their paths, each of which is what was listed.
    async fn fetch(&self) -> Result<Vec<(String, Bytes)>> {
        // First, since nothing else is wanted of a skill that is not what it is listed as.
        self.load().await?;
        let paths: Vec<_> = self.files().map(|(path, _)| path.to_owned()).collect();
        stream::iter(paths)
            .map(|path| {
                let skill = self.clone();
                async move {
                    let content = skill.read(&path).await?;
                    Ok::<_, Error>((path, content))
                }
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    /// The bytes of a file, where they are what was listed.
    fn check(
        &self,
        path: &str,
        uri: &str,
        listed: Option<&SkillFile>,
        answer: ReadResourceResult,
    ) -> Result<Bytes, SkillError> {
        let most = listed.map_or(MAX_BYTES, |file| file.size);
        let content = content(uri, most, answer).map_err(|why| self.bad_answer(path, why))?;
        let found = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let (skill, file) = (self.entry.uri.clone(), path.to_owned());
        match listed {
            Some(listed) if listed.size != found => {
                return Err(SkillError::Size {
                    skill,
                    file,
                    listed: listed.size,
                    found,
                });
            }
            Some(listed) if listed.digest != sha256(&content) => {
                return Err(SkillError::Digest { skill, file });
            }
            Some(_) => {}
            None => {
                let before = self.taken.fetch_add(found, Ordering::Relaxed);
                let bytes = before.saturating_add(found);
                if bytes > MAX_BYTES {
                    return Err(SkillError::TooLarge {
                        skill,
                        bytes,
                        max: MAX_BYTES,
                    });
                }
            }
        }
        if path == MANIFEST {
            let text = std::str::from_utf8(&content)
                .map_err(|_| self.bad_answer(path, "it is not UTF-8"))?;
            self.entry.agrees_with(text)?;
        }
        Ok(content)
    }

    fn bad_answer(&self, path: &str, why: &'static str) -> SkillError {
        SkillError::Answer {
            skill: self.entry.uri.clone(),
            file: path.to_owned(),
            why,
        }
    }
}

impl fmt::Debug for RemoteSkill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSkill")
            .field("uri", &self.entry.uri)
            .field(
                "files",
                &self
                    .entry
                    .files
                    .as_ref()
                    .map(std::collections::BTreeMap::len),
            )
            .finish_non_exhaustive()
    }
}

/// The bytes of the one file that was asked for; not decoded where they are far more than `most`.
fn content(uri: &str, most: u64, answer: ReadResourceResult) -> Result<Bytes, &'static str> {
    let mut contents = answer.contents.into_iter();
    let (Some(one), None) = (contents.next(), contents.next()) else {
        return Err("the server must answer with one content");
    };
    if one.uri() != uri {
        return Err("the server answers with another URI");
    }
    match one {
        ResourceContents::Text(text) => Ok(text.text.into()),
        ResourceContents::Blob(blob) => {
            let encoded = u64::try_from(blob.blob.len()).unwrap_or(u64::MAX);
            if encoded / 4 > most / 3 + 1 {
                return Err("it has more bytes than it may have");
            }
            let decoded = STANDARD.decode(&blob.blob);
            decoded
                .map(Bytes::from)
                .map_err(|_| "its bytes are not in base64")
        }
        _ => Err("it is neither text nor bytes"),
    }
}

/// Opens the folder that skills are written into.
async fn opened(folder: &Path) -> Result<Arc<FileOperations>> {
    let limits = Limits {
        max_file_bytes: MAX_BYTES,
        max_depth: MAX_DEPTH,
        ..Limits::default()
    };
    let folder = folder.to_owned();
    blocking(move || Ok(Arc::new(FileOperations::open(&folder, limits)?))).await
}

/// Runs what waits for the disk where that holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}
