//! The filesystem adapter: `listDirectory`, `readFile` and `writeFile` beneath one root.
//!
//! Every tenant has a folder of its own beneath the root, and sees that folder as its root; nothing leads out of it
//! (see [`fastmcp_guard::files`]). A tenant named by 1 to 64 of `a-z0-9_-`, beginning with a letter or digit, has the
//! folder of its name, so the public tenant has `public`; any other has the folder `_` and the SHA-256 of its name in
//! hexadecimal digits. No two names share a folder, also where upper and lower case are one.

mod manifests;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use data_encoding::HEXLOWER;
use fastmcp_guard::{
    files::{FileError, FileOperations, Limits},
    random::Random,
};
use fastmcp_protocol::{Raw, args::Args};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{
    Call, Demands, Effect, Exchange, Grant, ProviderAdapter, ProviderError, grant,
    input::{decode, raw, unknown_endpoint},
    work::Workers,
};
use crate::{error::told_of, manifest::Manifest};

/// The adapter's name.
pub const PROVIDER_ID: &str = "filesystem";
/// What listing and reading need.
pub const SCOPE_READ: &str = "filesystem.read";
/// What writing needs.
pub const SCOPE_WRITE: &str = "filesystem.write";
/// The tag of writes that replace a file.
const DESTRUCTIVE: &str = "destructive";

const LIST_DIRECTORY: &str = "listDirectory";
const READ_FILE: &str = "readFile";
const WRITE_FILE: &str = "writeFile";

/// How long `/ready` waits for the root.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// What the adapter gives and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bounds on files, paths and listings.
    pub limits: Limits,
    /// How long an operation may take; default 30 seconds. The call's own time bounds it as well.
    pub timeout: Duration,
    /// Operations at the same time, from 1 to 64; default 8. More wait. Each may hold a file in memory.
    pub workers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            timeout: Duration::from_secs(30),
            workers: 8,
        }
    }
}

/// Why the adapter could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The number of workers is out of its range.
    #[error("filesystem option `workers` is {0}; it takes 1 to 64")]
    Workers(usize),
    /// The root is no folder, or a limit is out of its range.
    #[error(
        "filesystem root `{path}` cannot be used; create the folder, or point `FILESYSTEM_ROOT` at another"
    )]
    Root {
        /// The path as given.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: FileError,
    },
}

/// The adapter for the files beneath one root.
#[derive(Debug)]
pub struct FilesystemProvider {
    tenants: Arc<Tenants>,
    workers: Workers,
    timeout: Duration,
    random: Arc<dyn Random>,
}

/// The tenants' folders.
#[derive(Debug)]
struct Tenants {
    root: PathBuf,
    limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListInput {
    path: String,
    #[serde(default)]
    recursive: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadInput {
    path: String,
    #[serde(default)]
    as_base64: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteInput {
    path: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    content_base64: Option<String>,
    #[serde(default)]
    overwrite: bool,
}

impl WriteInput {
    fn bytes(self) -> Result<(String, Vec<u8>, bool), ProviderError> {
        let bytes = match (self.content, self.content_base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => STANDARD.decode(text).map_err(|_| {
                ProviderError::invalid(
                    "`content_base64` is not base64 (RFC 4648, section 4, with padding)",
                )
            })?,
            (None, None) => {
                return Err(ProviderError::invalid(
                    "`content` is missing: give `content` or `content_base64`",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(ProviderError::invalid(
                    "give `content` or `content_base64`, not both",
                ));
            }
        };
        Ok((self.path, bytes, self.overwrite))
    }
}

#[derive(Serialize)]
struct Listing<'a> {
    path: &'a str,
    entries: Vec<ListedEntry>,
}

#[derive(Serialize)]
struct ListedEntry {
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    size: u64,
    /// RFC 3339, where the file system tells.
    modified: Option<String>,
}

#[derive(Serialize)]
struct Content<'a> {
    path: &'a str,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_base64: Option<String>,
}

#[derive(Serialize)]
struct WriteResult<'a> {
    path: &'a str,
    bytes: u64,
    created: bool,
}

impl FilesystemProvider {
    /// Opens `root`, a folder that exists; `random` makes the grants. Blocks for as long as opening a folder takes.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when the root is no folder or an option is out of range.
    pub fn open(root: &Path, options: Options, random: Arc<dyn Random>) -> Result<Self, OpenError> {
        if !(1..=64).contains(&options.workers) {
            return Err(OpenError::Workers(options.workers));
        }
        let unusable = |source| OpenError::Root {
            path: root.to_owned(),
            source,
        };
        let files = FileOperations::open(root, options.limits).map_err(unusable)?;
        match files.remove_unfinished() {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "unfinished files of an earlier run removed"),
            Err(error) => tracing::warn!(%error, "unfinished files cannot be looked for"),
        }
        let root = root
            .canonicalize()
            .map_err(|source| unusable(FileError::Root { source }))?;
        Ok(Self {
            tenants: Arc::new(Tenants {
                root,
                limits: options.limits,
            }),
            workers: Workers::new("the file system", options.workers),
            timeout: options.timeout,
            random,
        })
    }

    /// Does `work` on the files of the call's tenant, off the runtime.
    async fn on_files(
        &self,
        call: &Call<'_>,
        late: Effect,
        work: impl FnOnce(&FileOperations) -> Result<String, ProviderError> + Send + 'static,
    ) -> Result<String, ProviderError> {
        let tenants = Arc::clone(&self.tenants);
        let tenant = call.tenant.to_owned();
        let timeout = self.timeout.min(call.timeout);
        self.workers
            .run(timeout, late, move |_deadline| {
                work(&tenants.files(&tenant)?)
            })
            .await
    }

    async fn answer(
        &self,
        endpoint: &str,
        payload: &Args,
        call: &Call<'_>,
    ) -> Result<String, ProviderError> {
        match endpoint {
            LIST_DIRECTORY => {
                let input: ListInput = decode(payload)?;
                self.on_files(call, Effect::None, move |files| list(files, &input))
                    .await
            }
            READ_FILE => {
                let input: ReadInput = decode(payload)?;
                self.on_files(call, Effect::None, move |files| read(files, &input))
                    .await
            }
            WRITE_FILE => {
                let (path, bytes, overwrite) = decode::<WriteInput>(payload)?.bytes()?;
                self.on_files(call, Effect::Maybe, move |files| {
                    write(files, &path, &bytes, overwrite)
                })
                .await
            }
            _ => Err(unknown_endpoint(PROVIDER_ID, endpoint)),
        }
    }
}

impl Tenants {
    /// The files of `tenant`; its folder is made when it is first needed.
    ///
    /// It is opened for each call: a folder held open would outlive its removal, and swallow what is written to it.
    fn files(&self, tenant: &str) -> Result<FileOperations, ProviderError> {
        let folder = self.root.join(folder_name(tenant));
        let unusable = |detail: String| {
            ProviderError::failed(Effect::None, "the tenant's folder cannot be opened")
                .with_detail(detail)
        };
        make_folder(&folder).map_err(|error| unusable(error.to_string()))?;
        FileOperations::open(&folder, self.limits).map_err(|error| unusable(told_of(&error)))
    }
}

/// Makes `folder` for its owner alone, unless it is there.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    match builder.create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The folder of `tenant`, as the module's first lines say.
fn folder_name(tenant: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let first = tenant.bytes().next().is_some_and(plain);
    let rest = tenant
        .bytes()
        .all(|byte| plain(byte) || matches!(byte, b'_' | b'-'));
    if first && rest && tenant.len() <= 64 {
        return tenant.to_owned();
    }
    let digest = digest(&SHA256, tenant.as_bytes());
    format!("_{}", HEXLOWER.encode(digest.as_ref()))
}

fn list(files: &FileOperations, input: &ListInput) -> Result<String, ProviderError> {
    let entries = files
        .list(&input.path, input.recursive)
        .map_err(|error| failure(&error, Effect::None))?
        .into_iter()
        .map(|entry| ListedEntry {
            kind: entry.kind.as_str(),
            size: entry.size,
            modified: entry.modified.and_then(|at| {
                let millis = i64::try_from(at.millis()).ok()?;
                jiff::Timestamp::from_millisecond(millis)
                    .ok()
                    .map(|at| at.to_string())
            }),
            path: entry.path,
        })
        .collect();
    json(&Listing {
        path: &input.path,
        entries,
    })
}

fn read(files: &FileOperations, input: &ReadInput) -> Result<String, ProviderError> {
    let path = &*input.path;
    let bytes = files
        .read(path)
        .map_err(|error| failure(&error, Effect::None))?;
    let size = bytes.len();
    if input.as_base64 {
        let content_base64 = Some(STANDARD.encode(bytes));
        return json(&Content {
            path,
            size,
            content: None,
            content_base64,
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => json(&Content {
            path,
            size,
            content: Some(text),
            content_base64: None,
        }),
        Err(_) => Err(ProviderError::invalid(
            "`path`: the file is not UTF-8 text; read it with `as_base64: true`",
        )),
    }
}

fn write(
    files: &FileOperations,
    path: &str,
    bytes: &[u8],
    overwrite: bool,
) -> Result<String, ProviderError> {
    let written = files
        .write(path, bytes, overwrite)
        .map_err(|error| failure(&error, Effect::Maybe))?;
    json(&WriteResult {
        path,
        bytes: written.bytes,
        created: written.created,
    })
}

/// What `error` means to the caller; `io` is the effect where the system failed half-way.
fn failure(error: &FileError, io: Effect) -> ProviderError {
    match error {
        FileError::Io { .. } => {
            ProviderError::failed(io, format!("`path`: {error}")).with_detail(told_of(error))
        }
        FileError::PermissionDenied { .. } => {
            ProviderError::failed(Effect::Definite, format!("`path`: {error}"))
                .with_detail(told_of(error))
        }
        FileError::Root { .. } | FileError::InvalidLimit { .. } => {
            ProviderError::failed(Effect::None, "the tenant's folder cannot be opened")
                .with_detail(told_of(error))
        }
        _ => ProviderError::invalid(format!("`path`: {error}")),
    }
}

fn json<T: Serialize>(value: &T) -> Result<String, ProviderError> {
    serde_json::to_string(value).map_err(|error| {
        ProviderError::failed(Effect::Maybe, "the result has no JSON form")
            .with_detail(error.to_string())
    })
}

impl ProviderAdapter for FilesystemProvider {
    fn provider_id(&self) -> &str {
        PROVIDER_ID
    }

    fn manifests(&self) -> Vec<Manifest> {
        manifests::all()
    }

    fn may_demand(&self, endpoint: &str) -> Option<Demands> {
        let mut most = Demands {
            writes: endpoint == WRITE_FILE,
            ..Demands::default()
        };
        if most.writes {
            most.safety_tags.push(DESTRUCTIVE.to_owned());
        }
        Some(most)
    }

    fn demands(&self, endpoint: &str, args: &Args) -> Result<Demands, ProviderError> {
        let mut demands = Demands {
            writes: endpoint == WRITE_FILE,
            ..Demands::default()
        };
        if endpoint == WRITE_FILE && decode::<WriteInput>(args)?.overwrite {
            demands.safety_tags.push(DESTRUCTIVE.to_owned());
        }
        Ok(demands)
    }

    fn exchange<'a>(
        &'a self,
        _request: &'a Exchange<'a>,
    ) -> BoxFuture<'a, Result<Grant, ProviderError>> {
        Box::pin(std::future::ready(grant::internal(
            PROVIDER_ID,
            &*self.random,
        )))
    }

    fn call<'a>(
        &'a self,
        endpoint: &'a str,
        payload: &'a Args,
        call: &'a Call<'a>,
    ) -> BoxFuture<'a, Result<Raw, ProviderError>> {
        Box::pin(async move { raw(self.answer(endpoint, payload, call).await?) })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let tenants = Arc::clone(&self.tenants);
            let look = self
                .workers
                .run(READY_TIMEOUT, Effect::None, move |_deadline| {
                    FileOperations::open(&tenants.root, tenants.limits)
                        .map(drop)
                        .map_err(|error| failure(&error, Effect::None))
                });
            look.await
                .map_err(|_| "the root folder cannot be opened".to_owned())
        })
    }
}
