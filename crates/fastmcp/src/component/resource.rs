//! Resources and templates.

use std::{future::Future, sync::Arc};

use fastmcp_protocol::{
    app::{self, ResourceUi},
    content::{Annotations, ResourceContents},
    resource::{ReadResourceResult, Resource, ResourceTemplate},
    wire::CacheHint,
};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    call::{Input, Outcome, Payload},
    component::{
        Component, Definition, Json, UriTemplate,
        builder::{Basics, tell, wrong},
        template,
    },
    context::Context,
    error::{Error, Result},
    schema,
};

/// Becomes a resource: what `#[resource]` makes, and [`ResourceBuilder`].
#[diagnostic::on_unimplemented(
    message = "this is not a resource",
    label = "neither what `#[resource]` makes nor a `ResourceBuilder`",
    note = "put `#[resource(\"data://config\")]` on the function"
)]
pub trait IntoResource {
    /// The resource.
    fn into_resource(self) -> ResourceBuilder;
}

/// A resource or template in the making.
pub struct ResourceBuilder {
    uri: String,
    name: String,
    mime_type: Option<String>,
    annotations: Option<Annotations>,
    size: Option<u64>,
    cache_hint: CacheHint,
    ui: Option<ResourceUi>,
    unscreened: Vec<String>,
    call: Result<(Option<UriTemplate>, Call)>,
    pub(super) basics: Basics,
}

type Call =
    Box<dyn Fn(Context, Input, &Served) -> BoxFuture<'static, Result<Outcome>> + Send + Sync>;

/// How a resource is served, as its builder was told in the end.
#[derive(Default)]
struct Served {
    mime_type: Option<String>,
    /// Parameters that may be any path.
    unscreened: Vec<String>,
}

impl ResourceBuilder {
    /// Creates a resource from a function of its parameters and a context.
    ///
    /// A URI with braces is a template: `data://{id}`; `P` is a struct with its parameters.
    pub fn new<P, F, Fut, R>(uri: impl Into<String>, name: impl Into<String>, function: F) -> Self
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(P, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: ResourceOutput + 'static,
    {
        let uri = uri.into();
        let call = prepare(&uri, function);
        Self {
            uri,
            name: name.into(),
            mime_type: R::mime_type().map(str::to_owned),
            annotations: None,
            size: None,
            cache_hint: CacheHint::default(),
            ui: None,
            unscreened: Vec::new(),
            call,
            basics: Basics::default(),
        }
    }

    /// A resource that cannot be, with what is wrong; the server says it when it is built.
    pub(crate) fn wrong(uri: String, name: String, error: Error) -> Self {
        let mut builder = Self::new(uri, name, |(), _| async { String::new() });
        builder.call = Err(error);
        builder
    }

    /// Says of what type the contents are.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }

    /// Tells whom the contents are for, how much they matter and how old they are.
    #[must_use]
    pub fn annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = Some(annotations);
        self
    }

    /// Says how many bytes the contents have, before any encoding. A template has no size.
    #[must_use]
    pub const fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// Says how long and for whom clients may keep the contents. Default: not at all.
    ///
    /// Source: MCP 2026-07-28, server/utilities/caching.
    #[must_use]
    pub const fn cache_hint(mut self, hint: CacheHint) -> Self {
        self.cache_hint = hint;
        self
    }

    /// Makes this a document of MCP Apps: its address must begin with `ui://`, its type is
    /// `text/html;profile=mcp-app`, and `ui` says what its sandbox allows.
    ///
    /// Source: SEP-1865.
    #[must_use]
    pub fn ui(mut self, ui: ResourceUi) -> Self {
        self.mime_type = Some(app::MIME_TYPE.to_owned());
        self.ui = Some(ui);
        self
    }

    /// Lets a parameter be any text: one that is no path, or a path that the function screens itself. Others
    /// with `..`, an absolute path or NUL in them are answered as not found.
    #[must_use]
    pub fn unscreened(mut self, parameter: impl Into<String>) -> Self {
        self.unscreened.push(parameter.into());
        self
    }

    pub(crate) fn build(self) -> Result<Component> {
        let uri = self.uri.clone();
        if !has_scheme(&uri) {
            return Err(Error::internal(format!(
                "resource `{uri}` has no scheme; write `resource://{uri}`"
            )));
        }
        self.built().map_err(|e| wrong("resource", &uri, &e))
    }

    fn built(self) -> Result<Component> {
        let (uri, mut basics) = (self.uri, self.basics);
        basics.settle()?;
        let ui = self.ui.map(ResourceUi::into_meta);
        if let Some((key, value)) = &ui {
            if !uri.starts_with(app::SCHEME) {
                return Err(Error::internal(
                    "it is a document of an app; its address must begin with `ui://`",
                ));
            }
            basics.meta = Some(basics.meta.unwrap_or_default().with(*key, value.clone()));
        }
        let (template, call) = self.call?;
        let served = Served {
            mime_type: self.mime_type.clone(),
            unscreened: self.unscreened,
        };
        let definition = if template.is_some() {
            let mut definition = ResourceTemplate::new(uri, self.name);
            tell!(basics => definition);
            definition.mime_type = self.mime_type;
            definition.annotations = self.annotations;
            Definition::Template(definition)
        } else {
            let mut definition = Resource::new(uri, self.name);
            tell!(basics => definition);
            definition.mime_type = self.mime_type;
            definition.annotations = self.annotations;
            definition.size = self.size;
            Definition::Resource(definition)
        };
        let handler = move |context: Context, input: Input| {
            let read = call(context, input, &served);
            match ui.clone() {
                Some(ui) => Box::pin(async move { read.await.map(|outcome| marked(outcome, &ui)) }),
                None => read,
            }
        };
        let component = basics
            .component(definition, handler)?
            .with_cache_hint(self.cache_hint);
        let component = match template {
            Some(template) => component.with_template(template),
            None => component,
        };
        component.check_completers()?;
        Ok(component)
    }
}

/// Says in the contents, where hosts look first, what the sandbox allows.
fn marked(mut outcome: Outcome, (key, value): &(&'static str, Value)) -> Outcome {
    if let Outcome::Complete(Payload::Resource(result)) = &mut outcome {
        for contents in &mut result.contents {
            let meta = contents.meta_mut().get_or_insert_default();
            if meta.get(key).is_none() {
                meta.set(*key, value.clone());
            }
        }
    }
    outcome
}

impl std::fmt::Debug for ResourceBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResourceBuilder")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

impl IntoResource for ResourceBuilder {
    fn into_resource(self) -> ResourceBuilder {
        self
    }
}

/// What an attribute leaves under the function's name: a function that makes the resource.
#[diagnostic::do_not_recommend]
impl<F, C> IntoResource for F
where
    F: FnOnce() -> C,
    C: IntoResource,
{
    fn into_resource(self) -> ResourceBuilder {
        self().into_resource()
    }
}

fn prepare<P, F, Fut, R>(uri: &str, function: F) -> Result<(Option<UriTemplate>, Call)>
where
    P: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(P, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: ResourceOutput + 'static,
{
    let schema = schema::arguments::<P>()?;
    let template = UriTemplate::parse(uri)?;
    let names: Vec<_> = template.names().map(str::to_owned).collect();
    let takes = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(Map::keys)
        .into_iter()
        .flatten();
    if let Some(missing) = takes.into_iter().find(|p| !names.contains(p)) {
        return Err(Error::internal(format!(
            "parameter `{missing}` does not occur in the URI"
        )));
    }
    let matching = (!names.is_empty()).then(|| template.clone());
    let (template, function) = (matching.clone(), Arc::new(function));
    let call = move |context: Context,
                     input: Input,
                     served: &Served|
          -> BoxFuture<'static, Result<Outcome>> {
        let uri = input.uri.unwrap_or_default();
        let params = matching
            .as_ref()
            .and_then(|t| t.matches(&uri))
            .unwrap_or_default();
        let decoded = template::screen(&params, &served.unscreened)
            .and_then(|()| schema::from_strings(&schema, params))
            .and_then(|raw| {
                schema::decode::<P>(Some(&raw))
                    .map_err(|e| Error::not_found(e.message().to_owned()))
            });
        match decoded {
            Ok(params) => {
                let mime_type = served.mime_type.clone();
                let read = function(params, context);
                Box::pin(async move { Ok(read.await.into_contents(&uri, mime_type)?.into()) })
            }
            Err(error) => Box::pin(async move { Err(error) }),
        }
    };
    Ok((template, Box::new(call)))
}

fn has_scheme(uri: &str) -> bool {
    uri.split_once("://").is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

/// What a resource may return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned by a resource",
    note = "return `String`, `Vec<u8>`, `Json(value)` or `ReadResourceResult`"
)]
pub trait ResourceOutput: Send {
    /// The MIME type that such values have unless the resource says otherwise.
    #[must_use]
    fn mime_type() -> Option<&'static str>
    where
        Self: Sized,
    {
        None
    }

    /// The contents at `uri`.
    ///
    /// # Errors
    ///
    /// When the value is an error or cannot be represented.
    fn into_contents(self, uri: &str, mime_type: Option<String>) -> Result<ReadResourceResult>;
}

fn typed(contents: ResourceContents, mime_type: Option<String>) -> ReadResourceResult {
    ReadResourceResult::new(match mime_type {
        Some(mime_type) => contents.with_mime_type(mime_type),
        None => contents,
    })
}

impl ResourceOutput for String {
    fn mime_type() -> Option<&'static str> {
        Some("text/plain")
    }

    fn into_contents(self, uri: &str, mime_type: Option<String>) -> Result<ReadResourceResult> {
        Ok(typed(ResourceContents::text(uri, self), mime_type))
    }
}

impl ResourceOutput for &'static str {
    fn mime_type() -> Option<&'static str> {
        Some("text/plain")
    }

    fn into_contents(self, uri: &str, mime_type: Option<String>) -> Result<ReadResourceResult> {
        self.to_owned().into_contents(uri, mime_type)
    }
}

impl ResourceOutput for Vec<u8> {
    fn mime_type() -> Option<&'static str> {
        Some("application/octet-stream")
    }

    fn into_contents(self, uri: &str, mime_type: Option<String>) -> Result<ReadResourceResult> {
        Ok(typed(ResourceContents::blob(uri, &self), mime_type))
    }
}

impl<T: Serialize + Send> ResourceOutput for Json<T> {
    fn mime_type() -> Option<&'static str> {
        Some("application/json")
    }

    fn into_contents(self, uri: &str, mime_type: Option<String>) -> Result<ReadResourceResult> {
        Ok(typed(
            ResourceContents::text(uri, serde_json::to_string(&self.0)?),
            mime_type,
        ))
    }
}

impl ResourceOutput for ResourceContents {
    fn into_contents(self, _: &str, _: Option<String>) -> Result<ReadResourceResult> {
        Ok(ReadResourceResult::new(self))
    }
}

impl ResourceOutput for ReadResourceResult {
    fn into_contents(self, _: &str, _: Option<String>) -> Result<ReadResourceResult> {
        Ok(self)
    }
}

impl<T: ResourceOutput, E: Into<Error> + Send> ResourceOutput for std::result::Result<T, E> {
    fn mime_type() -> Option<&'static str> {
        T::mime_type()
    }

    fn into_contents(self, uri: &str, mime_type: Option<String>) -> Result<ReadResourceResult> {
        self.map_err(Into::into)?.into_contents(uri, mime_type)
    }
}
