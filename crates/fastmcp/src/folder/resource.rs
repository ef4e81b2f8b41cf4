//! Files as resources, folders as templates.

use std::sync::Arc;

use fastmcp_guard::files::{Entry, EntryKind, FileError, FileOperations};
use fastmcp_protocol::{
    content::ResourceContents,
    resource::{ReadResourceResult, Resource, ResourceTemplate},
};
use futures_util::future::BoxFuture;

use super::{Folder, is_hidden};
use crate::{
    call::{Input, Outcome},
    component::{Component, Definition, UriTemplate, media_type, template},
    context::Context,
    error::{Error, Result},
    skill::escaped,
};

/// The resource of a file, or the template of a folder, at `path` beneath the folder of resources.
pub(super) fn component(folder: &Folder, entry: &Entry, path: &str) -> Result<Component> {
    let uri = uri(folder, path);
    let name = path.to_owned();
    let files = Arc::clone(&folder.files);
    if entry.kind == EntryKind::Directory {
        return beneath(files, entry.path.clone(), format!("{uri}/{{path*}}"), name);
    }
    let mut resource = Resource::new(uri, name);
    resource.mime_type = media_type::named(path).map(str::to_owned);
    resource.size = Some(entry.size);
    let file = entry.path.clone();
    let handler = move |_: Context, input: Input| -> BoxFuture<'static, Result<Outcome>> {
        let uri = input.uri.unwrap_or_default().to_string();
        Box::pin(read(Arc::clone(&files), file.clone(), uri))
    };
    Ok(Component::new(Definition::Resource(resource), handler))
}

/// The URI of the resource at `path`.
pub(super) fn uri(folder: &Folder, path: &str) -> String {
    format!("{}://{}", folder.scheme, escaped(path))
}

/// Everything beneath a folder, what comes later too.
fn beneath(
    files: Arc<FileOperations>,
    folder: String,
    uri: String,
    name: String,
) -> Result<Component> {
    let template = UriTemplate::parse(&uri)?;
    let matching = template.clone();
    let handler = move |_: Context, input: Input| -> BoxFuture<'static, Result<Outcome>> {
        let uri = input.uri.unwrap_or_default().to_string();
        match file(&matching, &folder, &uri) {
            Ok(file) => Box::pin(read(Arc::clone(&files), file, uri)),
            Err(error) => Box::pin(async move { Err(error) }),
        }
    };
    let definition = Definition::Template(ResourceTemplate::new(uri, name));
    Ok(Component::new(definition, handler).with_template(template))
}

/// The file that a URI of the template names.
fn file(matching: &UriTemplate, folder: &str, uri: &str) -> Result<String> {
    let params = matching.matches(uri).ok_or_else(none)?;
    template::screen(&params)?;
    let path = params.get("path").and_then(serde_json::Value::as_str);
    let path = path.filter(|path| !is_hidden(path)).ok_or_else(none)?;
    Ok(format!("{folder}/{path}"))
}

fn none() -> Error {
    Error::not_found("no such file")
}

async fn read(files: Arc<FileOperations>, file: String, uri: String) -> Result<Outcome> {
    let path = file.clone();
    let bytes = tokio::task::spawn_blocking(move || files.read(&path)).await?;
    let bytes = bytes.map_err(|error| match error {
        FileError::TooLarge { .. } => Error::tool("the file has more than 10 MiB"),
        FileError::Io { .. } | FileError::PermissionDenied { .. } => error.into(),
        _ => none(),
    })?;
    let kind = media_type::of(&file, &bytes);
    let contents = match String::from_utf8(bytes) {
        Ok(text) => ResourceContents::text(uri, text),
        Err(error) => ResourceContents::blob(uri, error.as_bytes()),
    };
    Ok(ReadResourceResult::new(contents.with_mime_type(kind)).into())
}
