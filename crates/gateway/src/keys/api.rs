//! The file of API keys: one JSON object a line, hashes alone.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use fastmcp_auth::{
    ConfigError,
    api_key::{ApiKey, ApiKeyEntry, ApiKeyHash, ApiKeys},
    verifier::StaticIdentity,
};
use fastmcp_guard::clock::Timestamp;
use jiff::Timestamp as Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

/// The name of the file in the data folder, unless `API_KEYS_FILE` names another.
pub const API_KEYS_FILE: &str = "api-keys.jsonl";

/// The largest file, in bytes: room for 10,000 keys.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A file of API keys that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyFileError {
    /// It cannot be read or written.
    #[error("API keys in `{path}` cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may write it, and so make keys.
    #[error(
        "`{path}` can be written by others (mode {mode:04o}); run `chmod 600 {path}` and look who stands in it"
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is larger than any number of keys needs.
    #[error("`{path}` is larger than {MAX_BYTES} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A line is no key.
    #[error("`{path}` line {line}: {fault}")]
    Line {
        /// Which.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        fault: String,
    },
    /// The keys do not go together.
    #[error("`{path}`")]
    Keys {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// There is no such key.
    #[error("`{path}` holds no key of the id `{id}`")]
    Unknown {
        /// Which.
        path: PathBuf,
        /// The id.
        id: String,
    },
}

/// A line: a key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyLine {
    /// The id, which the key itself shows as well.
    pub id: String,
    /// `sha256:` and the digits of the hash of the whole key.
    pub hash: String,
    /// Who calls.
    pub subject: String,
    /// For whom.
    pub tenant: String,
    /// The roles, which policy turns into scopes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Scopes that narrow what the roles give; `None` leaves them whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// When it was made.
    pub created: Time,
    /// From when on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Time>,
    /// The SHA-256 of the client certificate that it is good with, as `x5t#S256` has it (RFC 8705).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

impl ApiKeyLine {
    /// A line for `key`, without roles and without an end.
    #[must_use]
    pub fn new(key: &ApiKey, subject: &str, tenant: &str, created: Timestamp) -> Self {
        Self {
            id: key.id().to_owned(),
            hash: key.hash().to_string(),
            subject: subject.to_owned(),
            tenant: tenant.to_owned(),
            roles: Vec::new(),
            scopes: None,
            created: time(created),
            expires: None,
            revoked: None,
            certificate: None,
        }
    }

    fn entry(&self) -> Result<ApiKeyEntry, String> {
        let hash = ApiKeyHash::parse(&self.hash)
            .ok_or("`hash` must be `sha256:` and 64 digits of 0-9 and a-f")?;
        let mut claims = Map::new();
        if let Some(certificate) = &self.certificate {
            claims.insert("cnf".to_owned(), json!({"x5t#S256": certificate}));
        }
        Ok(ApiKeyEntry {
            id: self.id.clone(),
            hash,
            revoked: self.revoked.is_some(),
            identity: StaticIdentity {
                subject: self.subject.clone(),
                tenant: Some(self.tenant.clone()),
                roles: self.roles.clone(),
                scopes: self.scopes.clone(),
                client_id: Some(format!("api-key:{}", self.id)),
                expires_at: self.expires.map(timestamp),
                claims,
            },
        })
    }
}

/// A moment as the file has it.
#[must_use]
pub fn time(moment: Timestamp) -> Time {
    let seconds = i64::try_from(moment.unix_seconds()).unwrap_or(i64::MAX);
    Time::from_second(seconds).unwrap_or(Time::MAX)
}

/// Times before 1970 are over, whatever they are.
fn timestamp(time: Time) -> Timestamp {
    Timestamp::from_unix_seconds(u64::try_from(time.as_second()).unwrap_or_default())
}

/// The file of API keys.
#[derive(Clone, Debug)]
pub struct ApiKeyFile {
    path: PathBuf,
}

impl ApiKeyFile {
    /// The file at `path`, which need not be there.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The table of the keys; of a file that is not there, an empty one. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`ApiKeyFileError`] names the line and what is wrong with it.
    pub fn table(&self) -> Result<ApiKeys, ApiKeyFileError> {
        let mut entries = Vec::new();
        for (line, key) in self.numbered()? {
            let entry = key.entry().map_err(|fault| self.fault(line, fault))?;
            entries.push(entry);
        }
        ApiKeys::new(entries).map_err(|source| ApiKeyFileError::Keys {
            path: self.path.clone(),
            source,
        })
    }

    /// The lines, in their order. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::table`].
    pub fn lines(&self) -> Result<Vec<ApiKeyLine>, ApiKeyFileError> {
        Ok(self.numbered()?.into_iter().map(|(_, key)| key).collect())
    }

    /// Adds a key. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::table`]; the file is then as it was.
    pub fn add(&self, key: ApiKeyLine) -> Result<(), ApiKeyFileError> {
        self.change(|keys| {
            keys.push(key);
            Ok(())
        })
    }

    /// Revokes the key of `id`; one that was revoked before stays so. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::table`]; [`ApiKeyFileError::Unknown`].
    pub fn revoke(&self, id: &str, now: Timestamp) -> Result<ApiKeyLine, ApiKeyFileError> {
        let mut found = None;
        self.change(|keys| {
            let key = keys.iter_mut().find(|key| key.id == id);
            let key = key.ok_or_else(|| ApiKeyFileError::Unknown {
                path: self.path.clone(),
                id: id.chars().take(80).collect(),
            })?;
            key.revoked.get_or_insert(time(now));
            found = Some(key.clone());
            Ok(())
        })?;
        found.ok_or_else(|| ApiKeyFileError::Unknown {
            path: self.path.clone(),
            id: id.to_owned(),
        })
    }

    /// Writes the file anew, whole or not at all, while no other process does.
    fn change(
        &self,
        change: impl FnOnce(&mut Vec<ApiKeyLine>) -> Result<(), ApiKeyFileError>,
    ) -> Result<(), ApiKeyFileError> {
        let lock = open_private(&beside(&self.path, ".lock"), false).map_err(|e| self.failed(e))?;
        lock.lock().map_err(|e| self.failed(e))?;
        let mut keys = self.lines()?;
        change(&mut keys)?;
        let mut entries = Vec::new();
        for (line, key) in (1..).zip(&keys) {
            entries.push(key.entry().map_err(|fault| self.fault(line, fault))?);
        }
        ApiKeys::new(entries).map_err(|source| ApiKeyFileError::Keys {
            path: self.path.clone(),
            source,
        })?;
        let mut text = Vec::new();
        for key in &keys {
            serde_json::to_writer(&mut text, key).map_err(|e| self.failed(e.into()))?;
            text.push(b'\n');
        }
        let fresh = beside(&self.path, ".new");
        let written = open_private(&fresh, true).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &self.path)
        });
        written.map_err(|e| self.failed(e))
    }

    fn numbered(&self) -> Result<Vec<(usize, ApiKeyLine)>, ApiKeyFileError> {
        let text = match self.read() {
            Ok(text) => text,
            Err(ApiKeyFileError::File { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let lines = (1..)
            .zip(text.lines())
            .filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(number, line)| {
                let key = serde_json::from_str(line);
                let key = key.map_err(|error| self.fault(number, error.to_string()))?;
                Ok((number, key))
            })
            .collect()
    }

    fn read(&self) -> Result<String, ApiKeyFileError> {
        let file = File::open(&self.path).map_err(|e| self.failed(e))?;
        let metadata = file.metadata().map_err(|e| self.failed(e))?;
        self.refuse_exposed(&metadata)?;
        let mut text = String::new();
        file.take(MAX_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(|e| self.failed(e))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(ApiKeyFileError::TooLarge {
                path: self.path.clone(),
            });
        }
        Ok(text)
    }

    /// Reading the hashes helps nobody; whoever can write them can make keys.
    #[cfg(unix)]
    fn refuse_exposed(&self, metadata: &std::fs::Metadata) -> Result<(), ApiKeyFileError> {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
        if mode & 0o022 == 0 {
            return Ok(());
        }
        Err(ApiKeyFileError::Exposed {
            path: self.path.clone(),
            mode,
        })
    }

    #[cfg(not(unix))]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "modes are of Unix alone"
    )]
    fn refuse_exposed(&self, _: &std::fs::Metadata) -> Result<(), ApiKeyFileError> {
        Ok(())
    }

    fn failed(&self, source: io::Error) -> ApiKeyFileError {
        ApiKeyFileError::File {
            path: self.path.clone(),
            source,
        }
    }

    fn fault(&self, line: usize, fault: impl Into<String>) -> ApiKeyFileError {
        ApiKeyFileError::Line {
            path: self.path.clone(),
            line,
            fault: fault.into(),
        }
    }
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

pub(super) fn open_private(path: &Path, empty: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(empty);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::random::OsRandom;

    use super::*;

    fn line() -> ApiKeyLine {
        let key = ApiKey::generate(&OsRandom).unwrap();
        ApiKeyLine::new(
            &key,
            "ci",
            "acme",
            Timestamp::from_unix_seconds(1_800_000_000),
        )
    }

    #[test]
    fn keys_are_added_listed_and_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let file = ApiKeyFile::new(&folder.path().join("keys.jsonl"));
        assert!(file.table().unwrap().is_empty());
        let (one, two) = (line(), line());
        file.add(one.clone()).unwrap();
        file.add(two.clone()).unwrap();
        assert_eq!(file.lines().unwrap(), [one.clone(), two.clone()]);
        let now = Timestamp::from_unix_seconds(1_800_000_100);
        let revoked = file.revoke(&one.id, now).unwrap();
        assert_eq!(revoked.revoked, Some(time(now)));
        let later = Timestamp::from_unix_seconds(1_900_000_000);
        assert_eq!(file.revoke(&one.id, later).unwrap(), revoked);
        assert_eq!(file.lines().unwrap(), [revoked, two.clone()]);
        assert!(
            file.revoke("0123", now)
                .unwrap_err()
                .to_string()
                .contains("no key of the id")
        );
        assert!(
            file.add(two)
                .unwrap_err()
                .to_string()
                .contains("keys.jsonl")
        );
        assert_eq!(file.table().unwrap().len(), 2);
    }

    #[test]
    fn of_many_at_once_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.jsonl");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| ApiKeyFile::new(&path).add(line()).unwrap());
            }
        });
        assert_eq!(ApiKeyFile::new(&path).table().unwrap().len(), 8);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.jsonl");
        let file = ApiKeyFile::new(&path);
        let good = serde_json::to_string(&line()).unwrap();
        for (bad, expected) in [
            (good.replace("sha256:", "md5:"), "`hash` must be"),
            (good.replace("\"tenant\"", "\"tenent\""), "tenent"),
            (good.replace("\"acme\"", "1"), "line 3"),
            ("fmk_x".to_owned(), "line 3"),
        ] {
            std::fs::write(&path, format!("{good}\n\n{bad}\n")).unwrap();
            let refused = file.table().unwrap_err().to_string();
            assert!(
                refused.contains(expected) && refused.contains("line 3"),
                "{refused}"
            );
        }
        std::fs::write(&path, format!("{good}\n{good}\n")).unwrap();
        assert!(matches!(file.table(), Err(ApiKeyFileError::Keys { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_write_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.jsonl");
        let file = ApiKeyFile::new(&path);
        file.add(line()).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).unwrap();
        let refused = file.table().unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }
}
