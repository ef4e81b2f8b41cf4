//! Resources and templates.

use std::{future::Future, sync::Arc};

use fastmcp_auth::Caller;
use fastmcp_protocol::{
    app::{self, ResourceUi},
    content::{Annotations, Icon, Meta, ResourceContents},
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
        self, Component, Decision, Definition, Json, Marks, SharedCheck, UriTemplate, template,
    },
    context::{Context, Needs},
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
    title: Option<String>,
    description: Option<String>,
    mime_type: Option<String>,
    meta: Option<Meta>,
    icons: Option<Vec<Icon>>,
    annotations: Option<Annotations>,
    size: Option<u64>,
    cache_hint: CacheHint,
    ui: Option<ResourceUi>,
    scopes: Vec<String>,
    checks: Vec<SharedCheck>,
    tags: Vec<String>,
    needs: Needs,
    marks: Marks,
    unscreened: Vec<String>,
    version: Option<String>,
    call: Result<(Option<UriTemplate>, Call)>,
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
            title: None,
            description: None,
            mime_type: R::mime_type().map(str::to_owned),
            meta: None,
            icons: None,
            annotations: None,
            size: None,
            cache_hint: CacheHint::default(),
            ui: None,
            scopes: Vec::new(),
            checks: Vec::new(),
            tags: Vec::new(),
            needs: Needs::default(),
            marks: Marks::default(),
            unscreened: Vec::new(),
            version: None,
            call,
        }
    }

    /// A resource that cannot be, with what is wrong; the server says it when it is built.
    pub(crate) fn wrong(uri: String, name: String, error: Error) -> Self {
        let mut builder = Self::new(uri, name, |(), _| async { String::new() });
        builder.call = Err(error);
        builder
    }

    /// Describes the resource for the model.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Names the resource for people.
    #[must_use]
    pub fn title(mut self, text: impl Into<String>) -> Self {
        self.title = Some(text.into());
        self
    }

    /// Says of what type the contents are.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }

    /// Shows clients an icon; may be repeated.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.icons.get_or_insert_default().push(icon);
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

    /// Sets `_meta`.
    #[must_use]
    pub fn meta(mut self, meta: Meta) -> Self {
        self.meta = Some(meta);
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

    /// Names the values that the function must be handed by the server, which then cannot be built
    /// without them. The attributes name them by themselves.
    #[must_use]
    pub fn needs(mut self, name: impl FnOnce(&mut Needs)) -> Self {
        name(&mut self.needs);
        self
    }

    /// Says that it is on its way out, and in a few words what to do instead: `use x`. Its description and
    /// `_meta` say so, calls are logged and counted: see [`Component::deprecation`].
    #[must_use]
    pub fn deprecated(mut self, note: impl Into<String>) -> Self {
        self.marks.deprecated = Some(note.into());
        self
    }

    /// Makes it a part of a feature: it is there only on servers that
    /// [enable](crate::FastMcp::enable_feature) this.
    #[must_use]
    pub fn feature(mut self, name: impl Into<String>) -> Self {
        self.marks.feature = Some(name.into());
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Lets a parameter be any text: one that is no path, or a path that the function screens itself. Others
    /// with `..`, an absolute path or NUL in them are answered as not found.
    #[must_use]
    pub fn unscreened(mut self, parameter: impl Into<String>) -> Self {
        self.unscreened.push(parameter.into());
        self
    }

    /// Gives it a version; see [`Component::with_version`].
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Lets only those use it whom `check` allows; may be repeated, then all must. See [`crate::authorize`].
    #[must_use]
    pub fn auth<F>(mut self, check: F) -> Self
    where
        F: Fn(&Caller, &Component) -> Decision + Send + Sync + 'static,
    {
        self.checks.push(Arc::new(check));
        self
    }

    /// Demands a scope of the caller.
    #[must_use]
    pub fn require_scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    pub(crate) fn build(mut self) -> Result<Component> {
        let uri = std::mem::take(&mut self.uri);
        if !has_scheme(&uri) {
            return Err(Error::internal(format!(
                "resource `{uri}` has no scheme; write `resource://{uri}`"
            )));
        }
        component::check_icons(self.icons.as_deref())
            .map_err(|e| Error::internal(format!("resource `{uri}`: {}", e.message())))?;
        let ui = self.ui.map(ResourceUi::into_meta);
        if let Some((key, value)) = &ui {
            if !uri.starts_with(app::SCHEME) {
                return Err(Error::internal(format!(
                    "resource `{uri}` is a document of an app; its address must begin with `ui://`"
                )));
            }
            let meta = self.meta.unwrap_or_default();
            self.meta = Some(meta.with(*key, value.clone()));
        }
        let (template, call) = self
            .call
            .map_err(|e| Error::internal(format!("resource `{uri}`: {}", e.message())))?;
        let served = Served {
            mime_type: self.mime_type.clone(),
            unscreened: self.unscreened,
        };
        self.marks.describe(&mut self.description, &mut self.meta);
        let definition = if template.is_some() {
            let mut definition = ResourceTemplate::new(uri, self.name);
            definition.title = self.title;
            definition.description = self.description;
            definition.mime_type = self.mime_type;
            definition.meta = self.meta;
            definition.icons = self.icons;
            definition.annotations = self.annotations;
            Definition::Template(definition)
        } else {
            let mut definition = Resource::new(uri, self.name);
            definition.title = self.title;
            definition.description = self.description;
            definition.mime_type = self.mime_type;
            definition.meta = self.meta;
            definition.icons = self.icons;
            definition.annotations = self.annotations;
            definition.size = self.size;
            Definition::Resource(definition)
        };
        let component = Component::new(definition, move |context, input| {
            let read = call(context, input, &served);
            match ui.clone() {
                Some(ui) => Box::pin(async move { read.await.map(|outcome| marked(outcome, &ui)) }),
                None => read,
            }
        })
        .with_required_scopes(self.scopes)
        .with_checks(self.checks)
        .with_cache_hint(self.cache_hint)
        .with_tags(self.tags)
        .with_needs(self.needs)
        .with_marks(self.marks);
        let component = match template {
            Some(template) => component.with_template(template),
            None => component,
        };
        let key = component.key().to_owned();
        component::versioned(component, self.version)
            .map_err(|e| Error::internal(format!("resource `{key}`: {}", e.message())))
    }
}

/// Says in the contents, where hosts look first, what the sandbox allows.
fn marked(mut outcome: Outcome, (key, value): &(&'static str, Value)) -> Outcome {
    if let Outcome::Complete(Payload::Resource(result)) = &mut outcome {
        for contents in &mut result.contents {
            let meta = contents.meta_mut().get_or_insert_default();
            meta.0.entry(*key).or_insert_with(|| value.clone());
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
        let decoded = template::screen_except(&params, &served.unscreened)
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
