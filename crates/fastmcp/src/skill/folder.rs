//! Skills from a folder.

use std::path::Path;

use fastmcp_guard::files::{Entry, EntryKind, FileOperations, Limits};
use fastmcp_protocol::skill::{MANIFEST, MAX_BYTES};

use super::Skill;
use crate::error::{Error, Result};

/// The most skills of one folder.
const MAX_SKILLS: usize = 1_024;
/// The most bytes of all of them, since they are held in memory.
const MAX_TOTAL: u64 = 64 * 1024 * 1024;
/// The most files and folders that are looked at.
const MAX_ENTRIES: usize = 100_000;

pub(super) fn read(folder: &Path) -> Result<Vec<Skill>> {
    let limits = Limits {
        max_file_bytes: MAX_BYTES,
        max_entries: MAX_ENTRIES,
        ..Limits::default()
    };
    let files = FileOperations::open(folder, limits)?;
    let entries: Vec<_> = files
        .list("", true)?
        .into_iter()
        .filter(|e| e.kind == EntryKind::File && !e.path.split('/').any(|p| p.starts_with('.')))
        .collect();
    let total = entries
        .iter()
        .fold(0_u64, |sum, e| sum.saturating_add(e.size));
    if total > MAX_TOTAL {
        return Err(Error::internal(format!(
            "skills in the folder have {total} bytes; {MAX_TOTAL} are held at most"
        )));
    }
    let roots = roots(&entries);
    if roots.len() > MAX_SKILLS {
        return Err(Error::internal(format!(
            "folder has {} skills; {MAX_SKILLS} are read at most",
            roots.len()
        )));
    }
    roots
        .iter()
        .map(|root| {
            one(&files, &entries, root)
                .map_err(|e| Error::internal(format!("skill in `{root}`: {}", e.message())))
        })
        .collect()
}

/// The folders of skills. What lies within one belongs to it, other manifests too.
fn roots(entries: &[Entry]) -> Vec<&str> {
    let mut roots: Vec<&str> = entries
        .iter()
        .filter_map(|e| e.path.strip_suffix(MANIFEST)?.strip_suffix('/'))
        .collect();
    roots.sort_by_key(|root| root.split('/').count());
    let mut outermost: Vec<&str> = Vec::new();
    for root in roots {
        if !outermost.iter().any(|outer| is_within(root, outer)) {
            outermost.push(root);
        }
    }
    outermost.sort_unstable();
    outermost
}

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn one(files: &FileOperations, entries: &[Entry], root: &str) -> Result<Skill> {
    let manifest = String::from_utf8(files.read(&format!("{root}/{MANIFEST}"))?)
        .map_err(|_| Error::internal(format!("{MANIFEST} is not UTF-8")))?;
    let mut skill = Skill::new(manifest)?;
    let (above, name) = root
        .rsplit_once('/')
        .map_or((None, root), |(a, n)| (Some(a), n));
    if name != skill.name() {
        return Err(Error::internal(format!(
            "{MANIFEST} names it `{}`; its folder must have that name",
            skill.name()
        )));
    }
    if let Some(above) = above {
        skill = skill.within(above)?;
    }
    for entry in entries.iter().filter(|e| is_within(&e.path, root)) {
        let path = entry.path.get(root.len() + 1..).unwrap_or_default();
        if path != MANIFEST {
            skill = skill.file(path, files.read(&entry.path)?)?;
        }
    }
    Ok(skill)
}
