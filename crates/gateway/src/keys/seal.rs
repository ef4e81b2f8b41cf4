//! The file of the keys that seal what the state and clients keep for the gateway: `seal.key` in the folder of keys.
//!
//! It holds 1 to 16 keys of 32 random bytes, one after the other and each once. The first seals, all open. So a key rotates
//! by a new one that is put in front of it, and leaves once nothing needs it any more. The file is written whole or not at
//! all, and its time of change is when the key that seals changed last.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use fastmcp::seal::{KeyId, KeyRing};
use fastmcp_guard::{
    clock::Timestamp,
    files::FileError,
    random::{OsRandom, Random},
};
use zeroize::Zeroizing;

use super::{
    KeyError, SEAL, SECRET_BYTES,
    api::{beside, open_private},
    folder::Folder,
};

/// The most keys of a ring.
pub const MAX_SEAL_KEYS: usize = 16;

const UNFIT: &str = "does not hold 1 to 16 keys of 32 bytes, each once";

/// The keys of a [`SealFile`]. `Debug` does not show them.
pub struct SealKeys {
    keys: Zeroizing<Vec<[u8; SECRET_BYTES]>>,
    /// When the file was changed last; `None` where nobody knows.
    changed: Option<SystemTime>,
}

impl SealKeys {
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self, KeyError> {
        let (keys, rest) = bytes.as_chunks::<SECRET_BYTES>();
        let keys = Zeroizing::new(keys.to_vec());
        let mut ids: Vec<_> = keys.iter().map(KeyId::of).collect();
        ids.sort_unstable();
        ids.dedup();
        let is_fit = !keys.is_empty() && keys.len() <= MAX_SEAL_KEYS && ids.len() == keys.len();
        if !rest.is_empty() || !is_fit {
            return Err(KeyError::Unfit {
                path: path.to_owned(),
                problem: UNFIT,
            });
        }
        Ok(Self {
            keys,
            changed: std::fs::metadata(path)
                .and_then(|found| found.modified())
                .ok(),
        })
    }

    /// The names of the keys; that of the one that seals is the first.
    #[must_use]
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(KeyId::of).collect()
    }

    /// Since when the first key seals, as far as the file tells: no other key has sealed anything here since then.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        // Where nobody knows it began just now, for ever: no key is taken for an old one.
        let never = Timestamp::from_unix_millis(u64::MAX);
        self.changed.map_or(never, Timestamp::from_system_time)
    }

    pub(super) fn ring(&self) -> Result<KeyRing, KeyError> {
        Ok(KeyRing::new(&self.keys)?)
    }

    /// Puts these keys into `ring`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Seal`] when the library refuses one; the ring is then as it was.
    pub fn put_into(&self, ring: &KeyRing) -> Result<(), KeyError> {
        Ok(ring.replace(&self.keys)?)
    }

    fn place(&self, id: KeyId) -> Result<usize, KeyError> {
        let found = self.keys.iter().position(|key| KeyId::of(key) == id);
        found.ok_or(KeyError::NoSuchKey { id })
    }
}

impl std::fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealKeys")
            .field("ids", &self.ids())
            .finish_non_exhaustive()
    }
}

/// The file `seal.key`, to read and to change. Processes that change it at the same moment wait for each other.
pub struct SealFile {
    folder: Folder,
}

impl SealFile {
    /// The file beneath `data_dir`; `None` where there is none yet. Blocks on the disk, as everything here.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the folder is open to others or cannot be used.
    pub fn existing(data_dir: &Path) -> Result<Option<Self>, KeyError> {
        let Some(folder) = Folder::existing(data_dir)? else {
            return Ok(None);
        };
        let exists = folder.path(SEAL).symlink_metadata().is_ok();
        Ok(exists.then_some(Self { folder }))
    }

    /// Where it lies in the data folder `data_dir`.
    #[must_use]
    pub fn path_in(data_dir: &Path) -> PathBuf {
        data_dir.join(super::FOLDER).join(SEAL)
    }

    /// The keys that it holds.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when it is gone, is open to others, or holds something else.
    pub fn keys(&self) -> Result<SealKeys, KeyError> {
        let path = self.folder.path(SEAL);
        match self.folder.read(SEAL)? {
            Some(bytes) => SealKeys::parse(&bytes, &path),
            None => Err(KeyError::File {
                source: FileError::NotFound { path: SEAL.into() },
                path,
            }),
        }
    }

    /// Adds a new key that opens and does not seal yet, and returns its name.
    ///
    /// # Errors
    ///
    /// As [`Self::keys`]; [`KeyError::TooManyKeys`], or when the file cannot be written. It is then as it was.
    pub fn add(&self) -> Result<KeyId, KeyError> {
        self.add_from(&OsRandom)
    }

    pub(super) fn add_from(&self, random: &dyn Random) -> Result<KeyId, KeyError> {
        self.change(|keys| {
            let id = push(keys, random)?;
            Ok((id, Sealing::Same))
        })
    }

    /// Has the key of this name seal from here on; the others open.
    ///
    /// # Errors
    ///
    /// As [`Self::add`]; [`KeyError::NoSuchKey`].
    pub fn seal_with(&self, id: KeyId) -> Result<(), KeyError> {
        self.change(|keys| {
            let place = keys.place(id)?;
            to_front(keys, place);
            let sealing = if place == 0 {
                Sealing::Same
            } else {
                Sealing::Changed
            };
            Ok(((), sealing))
        })
    }

    /// Adds a new key and has it seal from here on, and returns its name.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub fn rotate(&self) -> Result<KeyId, KeyError> {
        self.change(|keys| {
            let id = push(keys, &OsRandom)?;
            let last = keys.keys.len().saturating_sub(1);
            to_front(keys, last);
            Ok((id, Sealing::Changed))
        })
    }

    /// Removes the keys of these names for good. What they sealed opens never again.
    ///
    /// # Errors
    ///
    /// As [`Self::add`]; [`KeyError::NoSuchKey`], and [`KeyError::Sealing`] for the one that seals.
    pub fn remove(&self, ids: &[KeyId]) -> Result<(), KeyError> {
        self.change(|keys| {
            for id in ids {
                match keys.place(*id)? {
                    0 => return Err(KeyError::Sealing { id: *id }),
                    place => drop(Zeroizing::new(keys.keys.remove(place))),
                }
            }
            Ok(((), Sealing::Same))
        })
    }

    /// Writes the file anew, whole or not at all, while no other process does.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut SealKeys) -> Result<(T, Sealing), KeyError>,
    ) -> Result<T, KeyError> {
        let path = self.folder.path(SEAL);
        let failed = |source| KeyError::Folder {
            path: path.clone(),
            source,
        };
        let lock = open_private(&beside(&path, ".lock"), false).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut keys = self.keys()?;
        let (done, sealing) = change(&mut keys)?;
        let bytes = Zeroizing::new(keys.keys.concat());
        SealKeys::parse(&bytes, &path)?;
        // Its time says since when the first key seals.
        let since = keys.changed.filter(|_| sealing == Sealing::Same);
        self.folder.replace(SEAL, &bytes, since)?;
        Ok(done)
    }
}

impl std::fmt::Debug for SealFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealFile")
            .field("path", &self.folder.path(SEAL))
            .finish()
    }
}

/// Whether a change leaves the key that seals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sealing {
    Same,
    Changed,
}

fn push(keys: &mut SealKeys, random: &dyn Random) -> Result<KeyId, KeyError> {
    if keys.keys.len() >= MAX_SEAL_KEYS {
        return Err(KeyError::TooManyKeys);
    }
    let mut key = Zeroizing::new([0; SECRET_BYTES]);
    random.fill(key.as_mut_slice())?;
    // Room for all of them from the start, so that no copy is left behind where the list grew out of.
    let mut all = Zeroizing::new(Vec::with_capacity(MAX_SEAL_KEYS));
    all.extend_from_slice(&keys.keys);
    all.push(*key);
    keys.keys = all;
    Ok(KeyId::of(&key))
}

fn to_front(keys: &mut SealKeys, place: usize) {
    if let Some(up_to) = keys.keys.get_mut(..=place) {
        up_to.rotate_right(1);
    }
}
