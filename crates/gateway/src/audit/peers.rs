//! Replicas keep each other's checkpoints.
//!
//! Whoever holds one replica's disk and key can put its log back to an older state and sign that. So
//! each replica leaves its newest checkpoint in a folder that all share, and writes down what the
//! others left there, in its own log, under its own signature. `fastmcp audit verify` holds each log
//! against what the others wrote of it. A log that goes back while its peers run is said at once.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use fastmcp_audit::{Checkpoint, Hash, peer_checkpoint};

use super::Audit;

/// How often the folder is looked at, and the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// `AUDIT_PEERS_DIR`: shared by all replicas, writable by nobody else.
    pub folder: PathBuf,
    /// `AUDIT_PEERS_INTERVAL_SEC`.
    pub every: Duration,
}

const SUFFIX: &str = ".checkpoint";
/// Replicas that are looked at.
const MAX_PEERS: usize = 256;
/// The longest note that is written down, in bytes.
const MAX_NOTE: usize = 2_048;

/// What one replica knows of the others, while it runs.
#[derive(Debug)]
pub struct Watch {
    peers: Peers,
    /// The newest of each log that was written down, and what was wrong with what came after it.
    seen: BTreeMap<String, Seen>,
    /// The size that the others were told last, and how many notes of theirs came after it.
    told: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Seen {
    size: u64,
    root: Hash,
    wrong: Option<(u64, Hash)>,
}

impl Watch {
    /// Looks at a folder.
    #[must_use]
    pub const fn new(peers: Peers) -> Self {
        Self {
            peers,
            seen: BTreeMap::new(),
            told: None,
        }
    }

    /// How often to look.
    #[must_use]
    pub const fn every(&self) -> Duration {
        self.peers.every
    }

    /// Writes down what the others left, and leaves what is signed here.
    ///
    /// # Errors
    ///
    /// When the folder cannot be used or the log takes no records.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the next look does what is left.
    pub async fn look(&mut self, audit: &Audit) -> io::Result<()> {
        let folder = self.peers.folder.clone();
        let found = tokio::task::spawn_blocking(move || read(&folder)).await??;
        let own = audit.origin().to_owned();
        for checkpoint in found.into_iter().filter(|found| found.origin != own) {
            let Some(wrong) = self.judge(&checkpoint) else {
                continue;
            };
            if let Some(wrong) = &wrong {
                tracing::error!(peer = checkpoint.origin, wrong, "audit log of a peer");
            }
            let draft = peer_checkpoint(&checkpoint, wrong);
            audit.append(&draft).await.map_err(io::Error::other)?;
            if let Some((_, notes)) = &mut self.told {
                *notes += 1;
            }
        }
        self.tell(audit).await
    }

    /// What to write down of a checkpoint: nothing, that it is new, or what is wrong with it.
    fn judge(&mut self, found: &Checkpoint) -> Option<Option<String>> {
        let Checkpoint {
            origin, size, root, ..
        } = found;
        let Some(seen) = self.seen.get_mut(origin) else {
            let seen = Seen {
                size: *size,
                root: *root,
                wrong: None,
            };
            self.seen.insert(origin.clone(), seen);
            return Some(None);
        };
        if *size > seen.size {
            (seen.size, seen.root, seen.wrong) = (*size, *root, None);
            return Some(None);
        }
        let same = (*size, *root) == (seen.size, seen.root);
        if same || seen.wrong == Some((*size, *root)) {
            return None;
        }
        seen.wrong = Some((*size, *root));
        Some(Some(if *size == seen.size {
            format!("it signs another root for {size} records")
        } else {
            format!("it went back from {} records to {size}", seen.size)
        }))
    }

    /// Leaves the newest checkpoint, where there is more to sign than what was written down of the
    /// others: else two replicas that have nothing to do would tell each other so for ever.
    async fn tell(&mut self, audit: &Audit) -> io::Result<()> {
        let size = audit.health().size;
        if self.told.is_some_and(|(told, notes)| size <= told + notes) {
            return Ok(());
        }
        let checkpoint = audit.checkpoint().await.map_err(io::Error::other)?;
        let (folder, size) = (self.peers.folder.clone(), checkpoint.size);
        tokio::task::spawn_blocking(move || leave(&folder, &checkpoint)).await??;
        self.told = Some((size, 0));
        Ok(())
    }
}

/// Leaves a checkpoint for the others. Blocks on the disk.
fn leave(folder: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = checkpoint.origin.chars().map(plain).take(100).collect();
    // Two names may come to the same; their hashes do not.
    let hash = Hash::of(&[checkpoint.origin.as_bytes()]).to_string();
    let name = format!("{name}.{}{SUFFIX}", hash.get(..8).unwrap_or_default());
    let temporary = folder.join(format!(".{name}.tmp"));
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(checkpoint.note.as_bytes())?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&temporary, folder.join(name))
}

/// The checkpoints that lie in the folder. Blocks on the disk.
fn read(folder: &Path) -> io::Result<Vec<Checkpoint>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(4 * MAX_PEERS) {
        let entry = entry?;
        let name = entry.file_name();
        let is_note = name.to_str().is_some_and(|name| name.ends_with(SUFFIX));
        if !is_note || !entry.file_type()?.is_file() || found.len() == MAX_PEERS {
            continue;
        }
        let mut note = Vec::new();
        let file = std::fs::File::open(entry.path())?;
        file.take(MAX_NOTE as u64 + 1).read_to_end(&mut note)?;
        // Signatures are checked by those who have the keys of all: `fastmcp audit verify`.
        match Checkpoint::open_unverified(&note) {
            Ok(checkpoint) if note.len() <= MAX_NOTE => found.push(checkpoint),
            _ => tracing::warn!(file = %entry.path().display(), "not the checkpoint of a peer"),
        }
    }
    found.sort_by(|one, other| one.origin.cmp(&other.origin));
    Ok(found)
}

#[cfg(test)]
mod tests;
