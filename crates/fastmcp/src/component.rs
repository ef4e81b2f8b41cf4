//! Tools, resources and prompts.

pub mod authorize;
mod base64;
mod behind;
mod builder;
mod bundle;
pub mod check;
mod completion;
mod definition;
mod icon;
pub mod macros;
mod mark;
mod media;
pub(crate) mod media_type;
pub mod prompt;
pub mod resource;
pub mod source;
pub(crate) mod template;
pub mod tool;
mod version;

use std::{
    any::Any,
    collections::BTreeSet,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use fastmcp_auth::Caller;
use fastmcp_protocol::{
    app::{self, ToolUi},
    header::{MirroredParam, mirrored_params},
    skill::Skill,
    tool::TaskSupport,
    wire::CacheHint,
};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::{
    call::{Input, Outcome},
    context::{Context, Needs},
    error::{Error, Result},
};

pub use self::base64::Base64;
pub use crate::{call::Kind, schema};
pub use authorize::Decision;
pub(crate) use authorize::SharedCheck;
pub(crate) use behind::Behind;
pub use bundle::{Bundle, Tools};
pub use check::{Invalid, Valid, Validate};
pub(crate) use completion::Completers;
pub use completion::{Complete, CompletionBuilder, CompletionOutput, IntoCompletion, Made};
pub use definition::Definition;
pub(crate) use icon::check_icons;
pub use mark::Deprecation;
pub(crate) use mark::Marks;
pub use media::{Audio, File, Image, IntoContent};
pub use prompt::{IntoPrompt, PromptBuilder, PromptOutput};
pub use resource::{IntoResource, ResourceBuilder, ResourceOutput};
pub use template::UriTemplate;
pub(crate) use template::percent_decode;
pub use tool::{IntoTool, Json, ToolBuilder, ToolOutput, ToolResult};
pub use version::{Version, VersionSpec};

/// The code of a component.
pub trait Handler: Send + Sync + 'static {
    /// Handles one call.
    fn call(&self, context: Context, input: Input) -> BoxFuture<'static, Result<Outcome>>;
}

impl Handler for Arc<dyn Handler> {
    fn call(&self, context: Context, input: Input) -> BoxFuture<'static, Result<Outcome>> {
        (**self).call(context, input)
    }
}

impl<F> Handler for F
where
    F: Fn(Context, Input) -> BoxFuture<'static, Result<Outcome>> + Send + Sync + 'static,
{
    fn call(&self, context: Context, input: Input) -> BoxFuture<'static, Result<Outcome>> {
        self(context, input)
    }
}

/// Code around the handler of one component: below the gate, above the handler.
pub(crate) trait Around: Send + Sync + 'static {
    /// Handles one call, by [`Inside::run`] or without it.
    fn call(&self, inside: Inside) -> BoxFuture<'static, Result<Outcome>>;
}

/// What is left of a call that one [`Around`] has in hand. A clone runs the handler once more.
#[derive(Clone)]
pub(crate) struct Inside {
    pub(crate) component: Arc<Component>,
    pub(crate) context: Context,
    pub(crate) input: Input,
    /// How many are around already.
    depth: usize,
}

impl Inside {
    pub(crate) fn new(component: Arc<Component>, context: Context, input: Input) -> Self {
        Self {
            component,
            context,
            input,
            depth: 0,
        }
    }

    /// Goes on to the next around, and to the handler in the end.
    pub(crate) fn run(mut self) -> BoxFuture<'static, Result<Outcome>> {
        let Some(around) = self.component.around.get(self.depth).map(Arc::clone) else {
            return self.component.handler.call(self.context, self.input);
        };
        self.depth += 1;
        around.call(self)
    }
}

/// A tool, resource, template or prompt with its code.
#[derive(Clone)]
pub struct Component {
    definition: Definition,
    handler: Arc<dyn Handler>,
    around: Vec<Arc<dyn Around>>,
    template: Option<UriTemplate>,
    required_scopes: Vec<String>,
    checks: Vec<SharedCheck>,
    tags: BTreeSet<String>,
    extension: Option<Arc<dyn Any + Send + Sync>>,
    hash: OnceLock<[u8; 32]>,
    mirrored: Vec<MirroredParam>,
    completers: Completers,
    cache_hint: CacheHint,
    begins_task: bool,
    skill: SkillPart,
    listed: bool,
    app_only: bool,
    needs: Needs,
    behind: Option<Arc<dyn Behind>>,
    imported: bool,
    deprecation: Option<Arc<Deprecation>>,
    feature: Option<String>,
    timeout: Option<Duration>,
    version: Option<Version>,
    disabled: bool,
}

/// What a resource is to a skill.
#[derive(Clone)]
enum SkillPart {
    None,
    Manifest(Arc<Skill>),
    File,
}

impl Component {
    /// Creates a component.
    ///
    /// A tool whose schema marks arguments with `x-mcp-header` in a way that is not valid has no
    /// mirrored arguments.
    pub fn new(definition: Definition, handler: impl Handler) -> Self {
        let mirrored = match &definition {
            Definition::Tool(tool) => mirrored_params(&tool.input_schema).unwrap_or_default(),
            _ => Vec::new(),
        };
        let app_only = match &definition {
            Definition::Tool(tool) => {
                ToolUi::of(tool.meta.as_ref()).is_some_and(|ui| ui.is_app_only())
            }
            _ => false,
        };
        Self {
            app_only,
            definition,
            handler: Arc::new(handler),
            around: Vec::new(),
            template: None,
            required_scopes: Vec::new(),
            checks: Vec::new(),
            tags: BTreeSet::new(),
            extension: None,
            hash: OnceLock::new(),
            mirrored,
            completers: Completers::default(),
            cache_hint: CacheHint::default(),
            begins_task: false,
            skill: SkillPart::None,
            listed: true,
            needs: Needs::default(),
            behind: None,
            imported: false,
            deprecation: None,
            feature: None,
            timeout: None,
            version: None,
            disabled: false,
        }
    }

    /// The same component under another definition of its kind: its code, scopes and tags stay.
    ///
    /// # Errors
    ///
    /// When `definition` is of another kind, or the form of a template cannot be read.
    pub fn with_definition(&self, definition: Definition) -> Result<Self> {
        let Self {
            template,
            mirrored,
            app_only,
            ..
        } = Self::new(definition.clone(), Arc::clone(&self.handler));
        let mut component = Self {
            definition,
            mirrored,
            app_only,
            template,
            hash: OnceLock::new(),
            ..self.clone()
        };
        if component.kind() != self.kind() {
            return Err(Error::internal(format!(
                "`{}` cannot become another kind of component",
                self.key()
            )));
        }
        if let Definition::Template(template) = &component.definition {
            component.template = Some(UriTemplate::parse(&template.uri_template)?);
        }
        Ok(component)
    }

    /// The same component with other code.
    #[must_use]
    pub fn with_handler(&self, handler: impl Handler) -> Self {
        Self {
            handler: Arc::new(handler),
            ..self.clone()
        }
    }

    /// The code, for code that stands around it.
    #[must_use]
    pub fn code(&self) -> Arc<dyn Handler> {
        Arc::clone(&self.handler)
    }

    /// Gives the component a version, which clients are told in `_meta.fastmcp.version`. Of several versions
    /// of one name, lists show the highest and calls reach it, unless they name another one there.
    #[must_use]
    pub fn with_version(mut self, version: Version) -> Self {
        self.tell("version", version.as_str().into());
        self.version = Some(version);
        self
    }

    /// The version.
    #[must_use]
    pub const fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    /// Tells clients something in `_meta.fastmcp`.
    pub(crate) fn tell(&mut self, name: &str, value: Value) {
        let meta = match &mut self.definition {
            Definition::Tool(definition) => &mut definition.meta,
            Definition::Resource(definition) => &mut definition.meta,
            Definition::Template(definition) => &mut definition.meta,
            Definition::Prompt(definition) => &mut definition.meta,
        };
        let meta = meta.get_or_insert_default();
        let mut told = meta.get("fastmcp").cloned().unwrap_or_else(|| json!({}));
        if let Some(members) = told.as_object_mut() {
            members.insert(name.to_owned(), value);
            meta.set("fastmcp", told);
        }
        self.hash = OnceLock::new();
    }

    /// The same component with these tags alone.
    #[must_use]
    pub(crate) fn replace_tags(mut self, tags: BTreeSet<String>) -> Self {
        self.tags = tags;
        self
    }

    /// Says that another server answers for the component.
    #[must_use]
    pub(crate) fn with_behind(mut self, behind: Arc<dyn Behind>) -> Self {
        self.behind = Some(behind);
        self
    }

    /// The server that answers for it, where it is another one.
    pub(crate) fn behind(&self) -> Option<&Arc<dyn Behind>> {
        self.behind.as_ref()
    }

    /// Whether the server that answers for it has it for the caller.
    pub(crate) fn exists_behind(&self, caller: &Caller) -> bool {
        self.behind.as_ref().is_none_or(|b| b.exists(caller))
    }

    /// Whether the server that answers for it shows it to the caller.
    pub(crate) fn is_visible_behind(&self, caller: &Caller) -> bool {
        self.behind.as_ref().is_none_or(|b| b.visible(caller))
    }

    /// Marks a copy of another server's component: the next copy of that name replaces it.
    #[must_use]
    pub(crate) const fn into_import(mut self) -> Self {
        self.imported = true;
        self
    }

    /// Whether it is a copy of another server's component.
    pub(crate) const fn is_import(&self) -> bool {
        self.imported
    }

    pub(crate) fn with_template(mut self, template: UriTemplate) -> Self {
        self.template = Some(template);
        self
    }

    /// Says how long and for whom clients may keep what is read here. Default: not at all.
    #[must_use]
    pub const fn with_cache_hint(mut self, hint: CacheHint) -> Self {
        self.cache_hint = hint;
        self
    }

    /// Says that the handler itself says from where on it is a task.
    #[must_use]
    pub(crate) const fn with_begins_task(mut self, begins: bool) -> Self {
        self.begins_task = begins;
        self
    }

    /// Names the scopes that a caller needs, all of them.
    #[must_use]
    pub fn with_required_scopes(mut self, scopes: Vec<String>) -> Self {
        self.required_scopes = scopes;
        self
    }

    /// Lets only those use it whom `check` allows, besides what else is demanded.
    #[must_use]
    pub fn with_check<F>(self, check: F) -> Self
    where
        F: Fn(&Caller, &Self) -> Decision + Send + Sync + 'static,
    {
        self.with_checks([Arc::new(check) as SharedCheck])
    }

    pub(crate) fn with_checks(mut self, checks: impl IntoIterator<Item = SharedCheck>) -> Self {
        self.checks.extend(checks);
        self
    }

    /// Adds tags.
    #[must_use]
    pub fn with_tags(mut self, tags: impl IntoIterator<Item = String>) -> Self {
        self.tags.extend(tags);
        self
    }

    /// Attaches a value of the source of this component, for its gate.
    #[must_use]
    pub fn with_extension<T: Any + Send + Sync>(mut self, value: Arc<T>) -> Self {
        self.extension = Some(value);
        self
    }

    /// The attached value, where it is a `T`.
    #[must_use]
    pub fn extension<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.extension.as_ref()?.downcast_ref()
    }

    pub(crate) const fn is_extended(&self) -> bool {
        self.extension.is_some()
    }

    /// Makes a resource the manifest of a skill.
    pub(crate) fn with_skill(mut self, skill: Skill) -> Self {
        self.skill = SkillPart::Manifest(Arc::new(skill));
        self
    }

    /// Makes a resource a file of a skill.
    pub(crate) fn within_skill(mut self) -> Self {
        self.skill = SkillPart::File;
        self
    }

    /// The skill of which this is the manifest.
    pub(crate) fn skill(&self) -> Option<&Skill> {
        match &self.skill {
            SkillPart::Manifest(skill) => Some(skill),
            _ => None,
        }
    }

    /// Whether this is a file of a skill, its manifest included.
    pub(crate) const fn is_of_skill(&self) -> bool {
        !matches!(self.skill, SkillPart::None)
    }

    /// Whether this belongs to MCP Apps: a tool that shows a document, or the document.
    pub(crate) fn is_of_app(&self) -> bool {
        match &self.definition {
            Definition::Tool(tool) => ToolUi::of(tool.meta.as_ref()).is_some(),
            Definition::Resource(resource) => resource.uri.starts_with(app::SCHEME),
            Definition::Template(template) => template.uri_template.starts_with(app::SCHEME),
            Definition::Prompt(_) => false,
        }
    }

    /// Whether this is a tool for documents of MCP Apps alone.
    pub(crate) const fn is_app_only(&self) -> bool {
        self.app_only
    }

    /// Leaves the component out of lists: who knows its name may use it.
    #[must_use]
    pub const fn unlisted(mut self) -> Self {
        self.listed = false;
        self
    }

    /// Whether lists show the component to those who may see it.
    #[must_use]
    pub const fn is_listed(&self) -> bool {
        self.listed
    }

    /// What clients are told.
    #[must_use]
    pub const fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.definition {
            Definition::Tool(_) => Kind::Tool,
            Definition::Resource(_) => Kind::Resource,
            Definition::Template(_) => Kind::Template,
            Definition::Prompt(_) => Kind::Prompt,
        }
    }

    /// The name of a tool or prompt, the URI of a resource, the form of a template.
    #[must_use]
    pub fn key(&self) -> &str {
        self.definition.key()
    }

    /// The scopes that a caller needs.
    #[must_use]
    pub fn required_scopes(&self) -> &[String] {
        &self.required_scopes
    }

    /// What decides on callers, besides scopes.
    pub(crate) fn checks(&self) -> &[SharedCheck] {
        &self.checks
    }

    /// The tags.
    #[must_use]
    pub const fn tags(&self) -> &BTreeSet<String> {
        &self.tags
    }

    /// SHA-256 of the definition as clients see it: changes when the definition does.
    #[must_use]
    pub fn definition_hash(&self) -> [u8; 32] {
        *self.hash.get_or_init(|| {
            let text = match &self.definition {
                Definition::Tool(d) => serde_json::to_vec(d),
                Definition::Resource(d) => serde_json::to_vec(d),
                Definition::Template(d) => serde_json::to_vec(d),
                Definition::Prompt(d) => serde_json::to_vec(d),
            };
            let mut text = text.unwrap_or_default();
            // A skill changes with any of its files.
            text.extend(
                self.skill()
                    .and_then(|s| serde_json::to_vec(s).ok())
                    .unwrap_or_default(),
            );
            let mut hash = [0; 32];
            hash.copy_from_slice(digest(&SHA256, &text).as_ref());
            hash
        })
    }

    /// How long and for whom clients may keep what is read here.
    #[must_use]
    pub const fn cache_hint(&self) -> CacheHint {
        self.cache_hint
    }

    /// Whether it runs as a task; tools alone do.
    #[must_use]
    pub fn task_support(&self) -> TaskSupport {
        match &self.definition {
            Definition::Tool(tool) => tool.task_support(),
            _ => TaskSupport::Forbidden,
        }
    }

    /// Whether the handler itself says from where on it is a task.
    pub(crate) const fn begins_task(&self) -> bool {
        self.begins_task
    }

    /// The arguments that headers mirror.
    pub(crate) fn mirrored(&self) -> &[MirroredParam] {
        &self.mirrored
    }

    pub(crate) const fn template(&self) -> Option<&UriTemplate> {
        self.template.as_ref()
    }

    /// Puts code around the handler; the first is the outermost.
    pub(crate) fn with_around(mut self, around: Vec<Arc<dyn Around>>) -> Self {
        self.around = around;
        self
    }

    /// Runs the handler, and what is around it.
    pub(crate) fn call(
        self: &Arc<Self>,
        context: Context,
        input: Input,
    ) -> BoxFuture<'static, Result<Outcome>> {
        if self.around.is_empty() {
            return self.handler.call(context, input);
        }
        Inside::new(Arc::clone(self), context, input).run()
    }

    /// Whether a call that is made twice has the effect of one: reads and prompts, and tools that are
    /// marked read-only or idempotent.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        match &self.definition {
            Definition::Tool(tool) => {
                let hints = tool.annotations.as_ref();
                tool.is_read_only() || hints.and_then(|h| h.idempotent_hint).unwrap_or(false)
            }
            _ => true,
        }
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("kind", &self.kind())
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}
