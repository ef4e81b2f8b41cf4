//! The gateway's own secrets, in `keys` beneath the data folder.
//!
//! The folder is for its owner alone (0700), as is every secret in it (0600); what others can read is refused, not
//! used. A file is made whole or not at all, and of several processes that make it at the same moment one succeeds and
//! the others use what it made.

mod api;
mod development;
mod folder;
mod seal;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use fastmcp::seal::{KeyId, KeyRing, SealError};
use fastmcp_audit::{NoteError, Signer};
use fastmcp_auth::mint::MintError;
use fastmcp_guard::{
    files::FileError,
    random::{OsRandom, Random, RandomError},
};
use zeroize::Zeroizing;

pub use self::api::{API_KEYS_FILE, ApiKeyFile, ApiKeyFileError, ApiKeyLine, time as api_key_time};
pub use self::development::{Development, Mint};
pub(crate) use self::folder::private_folder;
use self::folder::{Folder, write_public};
pub use self::seal::{MAX_SEAL_KEYS, SealFile, SealKeys};

/// The folder of keys in the data folder.
pub const FOLDER: &str = "keys";
/// The file of the audit log's public key in the data folder.
pub const VERIFIER_FILE: &str = "audit.vkey";

/// Seals results, arguments and tokens in the state: keys of 32 random bytes, the one that seals first.
const SEAL: &str = "seal.key";
/// Signs the checkpoints of the audit log: Ed25519, PKCS#8 (DER).
const AUDIT_SIGNING: &str = "audit-signing.p8";
/// Keys the digests in the audit log: 32 random bytes.
const AUDIT_SALT: &str = "audit-salt.key";
const SECRET_BYTES: usize = 32;
const WRONG_SIZE: &str = "does not hold 32 bytes";

/// A key that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A folder cannot be made or opened.
    #[error("key folder `{path}` cannot be used")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than the owner can read it.
    #[error(
        "`{path}` is open to others (mode {mode:04o}); run `chmod {fix:o} {path}` if it was never read by others, else replace it"
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode that it must have.
        fix: u32,
    },
    /// A file cannot be read or written.
    #[error("key file `{path}` cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: FileError,
    },
    /// A file holds something else.
    #[error(
        "key file `{path}` {problem}; restore it from a backup: what was made with it cannot be used without it"
    )]
    Unfit {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No randomness could be had.
    #[error("no key can be made")]
    Random(#[from] RandomError),
    /// The seal key cannot be used.
    #[error("seal key cannot be used")]
    Seal(#[from] SealError),
    /// There are as many seal keys as there may be.
    #[error("there are {MAX_SEAL_KEYS} seal keys already; remove one that is not needed any more")]
    TooManyKeys,
    /// No seal key is called so.
    #[error("there is no seal key `{id}`")]
    NoSuchKey {
        /// Its name.
        id: KeyId,
    },
    /// The key that seals was to be removed.
    #[error("key `{id}` seals; have another one seal first")]
    Sealing {
        /// Its name.
        id: KeyId,
    },
    /// The audit key cannot be made or used.
    #[error("audit key cannot be used")]
    Audit(#[from] NoteError),
    /// A development key or token cannot be made.
    #[error("development key or token cannot be made")]
    Mint(#[from] MintError),
}

/// The secrets of a gateway. `Debug` does not show them.
pub struct Keys {
    data_dir: PathBuf,
    seal: KeyRing,
    audit_signing: Zeroizing<Vec<u8>>,
    audit_salt: Zeroizing<[u8; SECRET_BYTES]>,
}

impl Keys {
    /// Opens the keys beneath `data_dir`, making what is missing. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when a file is open to others, holds something else, or cannot be read or written.
    pub fn open(data_dir: &Path) -> Result<Self, KeyError> {
        Self::open_with(data_dir, &OsRandom)
    }

    fn open_with(data_dir: &Path, random: &dyn Random) -> Result<Self, KeyError> {
        let folder = Folder::open(data_dir)?;
        folder.remove_unfinished();
        Ok(Self {
            data_dir: data_dir.to_owned(),
            seal: SealKeys::parse(&made(&folder, SEAL, random)?, &folder.path(SEAL))?.ring()?,
            audit_signing: folder.secret(AUDIT_SIGNING, || Ok(fastmcp_audit::generate_key()?))?,
            audit_salt: secret(&folder, AUDIT_SALT, random)?,
        })
    }

    /// Looks at the keys beneath `data_dir` without making any, and returns the files that are there. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn inspect(data_dir: &Path) -> Result<Vec<PathBuf>, KeyError> {
        let Some(folder) = Folder::existing(data_dir)? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for name in [SEAL, AUDIT_SIGNING, AUDIT_SALT, development::PRIVATE] {
            if let Some(bytes) = folder.read(name)? {
                if name == SEAL {
                    SealKeys::parse(&bytes, &folder.path(name))?;
                }
                if name == AUDIT_SALT && bytes.len() != SECRET_BYTES {
                    return Err(KeyError::Unfit {
                        path: folder.path(name),
                        problem: WRONG_SIZE,
                    });
                }
                found.push(folder.path(name));
            }
        }
        Ok(found)
    }

    /// The ring of the keys that seal what the state and clients keep for the gateway. All that it is given to share one.
    #[must_use]
    pub fn seal(&self) -> KeyRing {
        self.seal.clone()
    }

    /// The signer of the audit log of `instance`. Leaves its public half in `audit.vkey` in the data folder, for those
    /// who verify.
    ///
    /// # Errors
    ///
    /// [`KeyError::Audit`] when the key or the name cannot be used, [`KeyError::File`] when the public half cannot be
    /// written.
    pub fn audit_signer(&self, instance: &str) -> Result<Signer, KeyError> {
        let signer = Signer::for_instance(instance, &self.audit_signing)?;
        write_public(
            &self.data_dir,
            VERIFIER_FILE,
            &format!("{}\n", signer.verifier()),
        )?;
        Ok(signer)
    }

    /// What keys the digests of arguments and results in the audit log.
    #[must_use]
    pub fn audit_salt(&self) -> &[u8] {
        self.audit_salt.as_slice()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

fn secret(
    folder: &Folder,
    name: &'static str,
    random: &dyn Random,
) -> Result<Zeroizing<[u8; SECRET_BYTES]>, KeyError> {
    let bytes = made(folder, name, random)?;
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    if bytes.len() != SECRET_BYTES {
        return Err(KeyError::Unfit {
            path: folder.path(name),
            problem: WRONG_SIZE,
        });
    }
    secret.copy_from_slice(&bytes);
    Ok(secret)
}

/// The secret in the file `name`, made where there is none.
fn made(
    folder: &Folder,
    name: &'static str,
    random: &dyn Random,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    folder.secret(name, || {
        let mut bytes = Zeroizing::new(vec![0; SECRET_BYTES]);
        random.fill(&mut bytes)?;
        Ok(bytes)
    })
}

#[cfg(test)]
mod tests;
