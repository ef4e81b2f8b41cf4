//! Resources that are ready made: text, bytes, files, folders and what HTTP serves.

use std::{path::Path, sync::Arc};

use fastmcp_guard::{
    files::{Entry, EntryKind, FileError, FileOperations, Limits},
    http::{Config, FetchError, UrlFetcher},
};
use fastmcp_protocol::{content::ResourceContents, resource::ReadResourceResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bundle, IntoResource, Json, ResourceBuilder, Tools, macros::blocking, media_type};
use crate::{
    context::Context,
    error::{Error, Result},
};

/// Text that does not change.
///
/// ```
/// use fastmcp::{TextResource, prelude::*};
///
/// let server = FastMcp::new("demo")
///     .resource(TextResource::new("data://motd", "motd", "Be kind."))
///     .build();
/// assert!(server.is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct TextResource {
    uri: String,
    name: String,
    text: Arc<str>,
}

impl TextResource {
    /// Text at `uri`.
    pub fn new(uri: impl Into<String>, name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        Self {
            uri: uri.into(),
            name: name.into(),
            text: text.into(),
        }
    }
}

impl IntoResource for TextResource {
    fn into_resource(self) -> ResourceBuilder {
        let text = self.text;
        let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let read = move |(), _| {
            let text = text.to_string();
            async move { text }
        };
        ResourceBuilder::new(self.uri, self.name, read).size(size)
    }
}

/// Bytes that do not change.
#[derive(Clone, Debug)]
pub struct BinaryResource {
    uri: String,
    name: String,
    bytes: Arc<[u8]>,
}

impl BinaryResource {
    /// Bytes at `uri`; [`ResourceBuilder::mime_type`] says what they are.
    pub fn new(
        uri: impl Into<String>,
        name: impl Into<String>,
        bytes: impl Into<Arc<[u8]>>,
    ) -> Self {
        Self {
            uri: uri.into(),
            name: name.into(),
            bytes: bytes.into(),
        }
    }
}

impl IntoResource for BinaryResource {
    fn into_resource(self) -> ResourceBuilder {
        let bytes = self.bytes;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let read = move |(), _| {
            let bytes = bytes.to_vec();
            async move { bytes }
        };
        ResourceBuilder::new(self.uri, self.name, read).size(size)
    }
}

/// A file, read whenever the resource is: text where its bytes are text, else bytes; at most 10 MiB.
#[derive(Debug)]
pub struct FileResource {
    uri: String,
    name: String,
    folder: Result<Arc<FileOperations>>,
}

impl FileResource {
    /// The file at `path`. Its folder must exist and is opened now.
    pub fn new(uri: impl Into<String>, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let name = path.file_name().and_then(|name| name.to_str());
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let opened = match name {
            Some(_) => open(folder.unwrap_or_else(|| Path::new(".")), Limits::default()),
            None => Err(Error::internal(format!(
                "path `{}` names no file",
                path.display()
            ))),
        };
        Self {
            uri: uri.into(),
            name: name.unwrap_or_default().to_owned(),
            folder: opened,
        }
    }
}

impl IntoResource for FileResource {
    fn into_resource(self) -> ResourceBuilder {
        let (name, folder) = (self.name.clone(), self.folder);
        let mime_type = media_type::named(&name);
        let builder = match folder {
            Ok(folder) => {
                let uri = self.uri.clone();
                ResourceBuilder::new(self.uri, self.name, move |(), context: Context| {
                    let (folder, name, uri) = (Arc::clone(&folder), name.clone(), uri.clone());
                    async move { contents(&context, folder, name, uri).await }
                })
            }
            Err(error) => ResourceBuilder::wrong(self.uri, self.name, error),
        };
        match mime_type {
            Some(mime_type) => builder.mime_type(mime_type),
            None => builder,
        }
    }
}

/// A folder: what is in it, as JSON. With [`FastMcp::tools`](crate::FastMcp::tools) in place of
/// `resource`, its files too, each at the folder's URI and its path.
///
/// Nothing outside of the folder is read, links out of it included.
#[derive(Debug)]
pub struct DirectoryResource {
    uri: String,
    name: String,
    recursive: bool,
    folder: Result<Arc<FileOperations>>,
}

/// What stands in the list of a folder.
#[derive(Debug, Serialize)]
struct Listed {
    path: String,
    kind: &'static str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'static str>,
}

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Self {
        let is_file = entry.kind == EntryKind::File;
        Self {
            mime_type: is_file.then(|| media_type::named(&entry.path)).flatten(),
            kind: entry.kind.as_str(),
            size: entry.size,
            path: entry.path,
        }
    }
}

impl DirectoryResource {
    /// The folder at `path`, which must exist and is opened now; renamed later, it stays the same one.
    pub fn new(uri: impl Into<String>, path: impl AsRef<Path>) -> Self {
        Self::with_limits(uri, path, Limits::default())
    }

    /// As [`Self::new`], with other bounds than 10 MiB a file, 16 folders deep and 10,000 entries.
    pub fn with_limits(uri: impl Into<String>, path: impl AsRef<Path>, limits: Limits) -> Self {
        let path = path.as_ref();
        let name = path.file_name().and_then(|name| name.to_str());
        Self {
            uri: uri.into(),
            name: name.unwrap_or("folder").to_owned(),
            recursive: false,
            folder: open(path, limits),
        }
    }

    /// Lists what is in the folders of the folder too.
    #[must_use]
    pub const fn recursive(mut self) -> Self {
        self.recursive = true;
        self
    }
}

impl IntoResource for DirectoryResource {
    fn into_resource(self) -> ResourceBuilder {
        let recursive = self.recursive;
        let folder = match self.folder {
            Ok(folder) => folder,
            Err(error) => return ResourceBuilder::wrong(self.uri, self.name, error),
        };
        ResourceBuilder::new(self.uri, self.name, move |(), context: Context| {
            let folder = Arc::clone(&folder);
            async move {
                let list = move || folder.list("", recursive);
                let entries = blocking(&context, list).await?.map_err(|e| refused(&e))?;
                let listed: Vec<Listed> = entries.into_iter().map(Listed::from).collect();
                Ok::<_, Error>(Json(listed))
            }
        })
    }
}

#[derive(Deserialize, JsonSchema)]
struct InFolder {
    path: String,
}

impl Tools for DirectoryResource {
    fn bundle(self: Arc<Self>) -> Bundle {
        // It was handed over whole, so nobody else has it.
        let Some(this) = Arc::into_inner(self) else {
            return Bundle::new();
        };
        let template = format!("{}/{{path*}}", this.uri.trim_end_matches('/'));
        let name = format!("{}-file", this.name);
        let files = match &this.folder {
            Ok(folder) => {
                let (folder, base) = (Arc::clone(folder), this.uri.clone());
                let read = move |params: InFolder, context: Context| {
                    let folder = Arc::clone(&folder);
                    let uri = format!("{}/{}", base.trim_end_matches('/'), params.path);
                    async move { contents(&context, folder, params.path, uri).await }
                };
                ResourceBuilder::new(template, name, read)
            }
            // The list says what is wrong.
            Err(_) => return Bundle::new().resource(this),
        };
        Bundle::new()
            .resource(this)
            .resource(files.description("A file of the folder."))
    }
}

/// What an address answers, fetched whenever the resource is read.
///
/// By default the address must be public: neither loopback nor a private network, and so must be what its
/// name resolves to and what it redirects to. A fetcher of one's own has other rules.
#[derive(Debug)]
pub struct HttpResource {
    uri: String,
    name: String,
    url: Result<url::Url>,
    fetcher: Result<UrlFetcher>,
}

impl HttpResource {
    /// What `url` answers.
    pub fn new(uri: impl Into<String>, name: impl Into<String>, url: &str) -> Self {
        let parsed = url::Url::parse(url).map_err(|error| {
            let shown: String = url.chars().take(128).collect();
            Error::internal(format!("`{shown}` is no address: {error}"))
        });
        Self {
            uri: uri.into(),
            name: name.into(),
            url: parsed,
            fetcher: UrlFetcher::new(&Config::public()).map_err(Error::from),
        }
    }

    /// Fetches with `fetcher`, by its rules.
    #[must_use]
    pub fn fetcher(mut self, fetcher: UrlFetcher) -> Self {
        self.fetcher = Ok(fetcher);
        self
    }
}

impl IntoResource for HttpResource {
    fn into_resource(self) -> ResourceBuilder {
        let checked = self.url.and_then(|url| {
            let fetcher = self.fetcher?;
            fetcher.check(&url)?;
            Ok((url, fetcher))
        });
        let (url, fetcher) = match checked {
            Ok(checked) => checked,
            Err(error) => return ResourceBuilder::wrong(self.uri, self.name, error),
        };
        let uri = self.uri.clone();
        ResourceBuilder::new(self.uri, self.name, move |(), _| {
            let (url, fetcher, uri) = (url.clone(), fetcher.clone(), uri.clone());
            async move { fetched(&fetcher, &url, uri).await }
        })
    }
}

async fn fetched(fetcher: &UrlFetcher, url: &url::Url, uri: String) -> Result<ReadResourceResult> {
    let answer = fetcher
        .get(url)
        .await
        .map_err(|e: FetchError| Error::from(e))?;
    if !answer.status.is_success() {
        let status = answer.status.as_u16();
        return Err(Error::internal(format!(
            "the address behind `{uri}` answered with status {status}"
        )));
    }
    let content_type = answer.headers.get(http::header::CONTENT_TYPE);
    let mime_type = content_type.and_then(|value| value.to_str().ok());
    let contents = text_or_bytes(uri, answer.body.to_vec());
    Ok(ReadResourceResult::new(match mime_type {
        Some(mime_type) => contents.with_mime_type(mime_type),
        None => contents,
    }))
}

fn open(folder: &Path, limits: Limits) -> Result<Arc<FileOperations>> {
    let opened = FileOperations::open(folder, limits);
    opened
        .map(Arc::new)
        .map_err(|error| Error::internal(format!("folder `{}`: {error}", folder.display())))
}

async fn contents(
    context: &Context,
    folder: Arc<FileOperations>,
    name: String,
    uri: String,
) -> Result<ReadResourceResult> {
    let path = name.clone();
    let bytes = blocking(context, move || folder.read(&path)).await?;
    let bytes = bytes.map_err(|error| refused(&error))?;
    let mime_type = media_type::of(&name, &bytes);
    let contents = text_or_bytes(uri, bytes).with_mime_type(mime_type);
    Ok(ReadResourceResult::new(contents))
}

fn text_or_bytes(uri: String, bytes: Vec<u8>) -> ResourceContents {
    match String::from_utf8(bytes) {
        Ok(text) => ResourceContents::text(uri, text),
        Err(bytes) => ResourceContents::blob(uri, bytes.as_bytes()),
    }
}

/// What is not there, and what may not be, are one to a client.
fn refused(error: &FileError) -> Error {
    match error {
        FileError::NotFound { .. } | FileError::InvalidPath { .. } => {
            Error::not_found(error.to_string())
        }
        _ => Error::internal(error.to_string()),
    }
}
