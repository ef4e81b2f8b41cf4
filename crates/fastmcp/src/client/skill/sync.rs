//! All skills of a server in a folder, kept as the server has them.

use std::{collections::HashSet, path::Path, sync::Arc};

use fastmcp_guard::files::{EntryKind, FileOperations};

use super::{Client, RemoteSkill, blocking, opened};
use crate::{
    error::{Error, Result},
    skill::sha256,
};

/// The most skills of one server that are kept.
const MAX_SKILLS: usize = 1_024;

/// What [`Client::sync_skills`] did: skills by their names, which are the names of their folders.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SkillSync {
    /// Those that were not there before.
    pub added: Vec<String>,
    /// Those that were replaced, since a file of them was another, missing, or one too many.
    pub updated: Vec<String>,
    /// Those that were as the server has them.
    pub unchanged: Vec<String>,
    /// Those that could not be had. What was there of them stays.
    pub failed: Vec<SkillFailure>,
}

/// A skill that could not be had.
#[derive(Debug)]
#[non_exhaustive]
pub struct SkillFailure {
    /// The URI of its `SKILL.md`; empty where it has none.
    pub uri: String,
    /// Why.
    pub why: Error,
}

enum Done {
    Added,
    Updated,
    Unchanged,
}

impl Client {
    /// Downloads every skill that the server lists into `folder`, which exists, each into a folder of its name, and
    /// replaces those that are not what the server lists. One skill is replaced as a whole and at once, after every file
    /// of it was fetched and is what was listed; one that cannot be had keeps nobody else from being had.
    ///
    /// The skills' folders are the server's: what somebody changed in them is lost. Nothing else in `folder` is touched,
    /// and a skill that the server lists no longer stays. Skills of different servers may have one name: give each
    /// server a folder of its own, one in which nobody looks for skills of this machine, for what a skill says is to be
    /// trusted as its server is.
    ///
    /// ```
    /// # use fastmcp::{Skill, prelude::*};
    /// # async fn example(folder: &std::path::Path) -> Result<()> {
    /// # let manifest = "---\nname: refunds\ndescription: How refunds work.\n---\n# Refunds\n";
    /// # let server = FastMcp::new("shop").skill(Skill::new(manifest)?).build()?;
    /// # let client = Client::connect(&server).await?;
    /// let sync = client.sync_skills(folder).await?;
    /// println!("{} new, {} replaced", sync.added.len(), sync.updated.len());
    /// # assert_eq!(sync.added, ["refunds"]);
    /// # assert_eq!(client.sync_skills(folder).await?.unchanged, ["refunds"]);
    /// # Ok(())
    /// # }
    /// # let folder = tempfile::tempdir().unwrap();
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example(folder.path())).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// When the server has no skills or does not list them, or `folder` cannot be opened.
    ///
    /// # Cancel safety
    ///
    /// Dropped, each skill is as it was or as the server has it; a folder whose name begins with a dot may be left, which
    /// the next call removes.
    pub async fn sync_skills(&self, folder: &Path) -> Result<SkillSync> {
        let list = self.list_skills().await?;
        let root = opened(folder).await?;
        let mut sync = SkillSync::default();
        for refused in list.refused {
            sync.failed.push(SkillFailure {
                uri: refused.uri,
                why: refused.why.into(),
            });
        }
        let mut names = HashSet::new();
        for skill in list.skills {
            let name = skill.name().to_owned();
            let outcome = if names.len() >= MAX_SKILLS {
                Err(Error::validation(format!(
                    "the server lists more than {MAX_SKILLS} skills"
                )))
            } else if names.insert(name.clone()) {
                synced(&skill, &root).await
            } else {
                Err(Error::validation(format!(
                    "another skill of the server is named `{name}`: download one of them elsewhere"
                )))
            };
            match outcome {
                Ok(Done::Added) => sync.added.push(name),
                Ok(Done::Updated) => sync.updated.push(name),
                Ok(Done::Unchanged) => sync.unchanged.push(name),
                Err(why) => {
                    tracing::warn!(skill = skill.uri(), %why, "a skill could not be had");
                    sync.failed.push(SkillFailure {
                        uri: skill.uri().to_owned(),
                        why,
                    });
                }
            }
        }
        Ok(sync)
    }
}

async fn synced(skill: &RemoteSkill, root: &Arc<FileOperations>) -> Result<Done> {
    skill.require_files()?;
    let name = skill.name().to_owned();
    let listed: Vec<_> = skill
        .files()
        .map(|(path, file)| (path.to_owned(), file.size, file.digest.clone()))
        .collect();
    let files = Arc::clone(root);
    if blocking(move || is_same(&files, &name, &listed)).await? {
        return Ok(Done::Unchanged);
    }
    let fetched = skill.fetch().await?;
    let (name, root) = (skill.name().to_owned(), Arc::clone(root));
    blocking(move || {
        // No skill's name has a dot, so this is nobody's.
        let fresh = format!(".{name}.new");
        root.remove_folder(&fresh)?;
        for (path, content) in fetched {
            root.write(&format!("{fresh}/{path}"), &content, false)?;
        }
        let replaced = root.replace_folder(&fresh, &name)?;
        Ok(if replaced { Done::Updated } else { Done::Added })
    })
    .await
}

/// Whether the folder has exactly these files.
fn is_same(root: &FileOperations, name: &str, listed: &[(String, u64, String)]) -> Result<bool> {
    if !root.exists(name)? {
        return Ok(false);
    }
    let found = root.list(name, true)?;
    let files = found.iter().filter(|entry| entry.kind == EntryKind::File);
    if files.count() != listed.len() {
        return Ok(false);
    }
    for (path, size, digest) in listed {
        let path = format!("{name}/{path}");
        let there = found.iter().find(|entry| entry.path == path);
        if there.is_none_or(|entry| entry.size != *size) || sha256(&root.read(&path)?) != *digest {
            return Ok(false);
        }
    }
    Ok(true)
}
