//! Answers that are kept for a while.

mod recent;
mod settings;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use fastmcp_auth::{Caller, CallerKind};
use fastmcp_guard::clock::SystemClock;
use fastmcp_protocol::{
    Raw,
    prompt::{GetPromptResult, Prompt},
    resource::{ReadResourceResult, Resource, ResourceTemplate},
    tool::{CallToolResult, TaskSupport, Tool},
};
use fastmcp_store::{Collection, KeyValueStore, MemoryLimits, MemoryStore, WhenFull};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::broadcast;

use super::{
    CallTool, GetPrompt, ListPrompts, ListResourceTemplates, ListResources, ListTools, Listed,
    Middleware, MiddlewareContext, Next, Outcome, ReadResource, message::Shown,
};
use crate::{call::Change, component::Component, context::Context, error::Result};

use recent::{Place, Recent};
pub use settings::{
    CacheStatistics, CallToolSettings, Counts, GetPromptSettings, ListPromptsSettings,
    ListResourceTemplatesSettings, ListResourcesSettings, ListToolsSettings, ReadResourceSettings,
};
use settings::{Counter, Counters};

/// Bytes of an answer that is kept.
const MAX_ITEM_SIZE: usize = 1024 * 1024;

/// Where answers are kept within a store, unless told otherwise.
const NAMESPACE: &str = "fastmcp-responses";

/// Keeps answers, and gives them again to the caller that they were given to.
///
/// Lists are kept for 5 minutes, the rest for an hour; see the settings of each. Of tools, only those are kept
/// that are marked read-only, and those that [`CallToolSettings::included_tools`] names. Errors, questions to
/// the client, calls that answer one, and tasks are never kept; nor is what has more than 1 MiB.
///
/// An answer is found again by method, component and its definition, arguments as they were written, and the
/// caller: tenant, subject, issuer, client, roles and scopes; callers that were not authenticated are told apart
/// by the credentials in their headers. What handlers take from elsewhere (other headers, state that a layer
/// sets) must go into [`Self::partition`]. Change notifications of the server make lists and contents of
/// resources be asked for again.
///
/// Clones are one cache. Give each server one of its own, and a [`Self::namespace`] of its own where stores are
/// shared. Answers are kept as they are: give a store that others can read a wrapper that encrypts.
///
/// ```
/// use std::time::Duration;
///
/// use fastmcp::{
///     middleware::{CallToolSettings, ListToolsSettings, ResponseCachingMiddleware},
///     prelude::*,
/// };
///
/// let cache = ResponseCachingMiddleware::new()
///     .list_tools_settings(ListToolsSettings::new().ttl(Duration::from_secs(30)))
///     .call_tool_settings(CallToolSettings::new().included_tools(["expensive_operation"]));
/// let server = FastMcp::new("cached").middleware(cache.clone());
/// let stats = cache.statistics();
/// println!("hits: {}, misses: {}", stats.hits(), stats.misses());
/// ```
#[derive(Clone)]
pub struct ResponseCachingMiddleware {
    store: Option<Arc<dyn KeyValueStore>>,
    collection: Option<Collection>,
    list_tools: ListToolsSettings,
    list_resources: ListResourcesSettings,
    list_resource_templates: ListResourceTemplatesSettings,
    list_prompts: ListPromptsSettings,
    call_tool: CallToolSettings,
    read_resource: ReadResourceSettings,
    get_prompt: GetPromptSettings,
    max_item_size: usize,
    partition: Option<Partition>,
    shared: Arc<Shared>,
}

type Partition = Arc<dyn Fn(&Context) -> String + Send + Sync>;

/// What all clones have in common.
#[derive(Debug, Default)]
struct Shared {
    counters: Counters,
    changes: Mutex<Option<broadcast::Receiver<Change>>>,
    /// How often lists changed, and contents of resources.
    lists: AtomicU64,
    resources: AtomicU64,
    recent: Recent,
}

impl Default for ResponseCachingMiddleware {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseCachingMiddleware {
    /// Keeps answers in memory, 64 MiB at most; the oldest make room.
    #[must_use]
    pub fn new() -> Self {
        let limits = MemoryLimits {
            max_value_bytes: MemoryLimits::default().max_bytes,
            when_full: WhenFull::EvictOldest,
            ..MemoryLimits::default()
        };
        // These limits are within their ranges.
        let store = MemoryStore::new(limits, Arc::new(SystemClock)).ok();
        Self {
            store: store.map(|store| Arc::new(store) as Arc<dyn KeyValueStore>),
            collection: Collection::new(NAMESPACE).ok(),
            list_tools: ListToolsSettings::new(),
            list_resources: ListResourcesSettings::new(),
            list_resource_templates: ListResourceTemplatesSettings::new(),
            list_prompts: ListPromptsSettings::new(),
            call_tool: CallToolSettings::new(),
            read_resource: ReadResourceSettings::new(),
            get_prompt: GetPromptSettings::new(),
            max_item_size: MAX_ITEM_SIZE,
            partition: None,
            shared: Arc::default(),
        }
    }

    /// Keeps answers in `store`.
    #[must_use]
    pub fn cache_storage(mut self, store: Arc<dyn KeyValueStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Where in the store: letters, digits, `_`, `.` and `-`, at most 64. Default `fastmcp-responses`.
    ///
    /// # Errors
    ///
    /// When the name has other characters or is too long.
    pub fn namespace(mut self, name: &str) -> Result<Self> {
        self.collection = Some(Collection::new(name)?);
        Ok(self)
    }

    /// How lists of tools are kept.
    #[must_use]
    pub const fn list_tools_settings(mut self, settings: ListToolsSettings) -> Self {
        self.list_tools = settings;
        self
    }

    /// How lists of resources are kept.
    #[must_use]
    pub const fn list_resources_settings(mut self, settings: ListResourcesSettings) -> Self {
        self.list_resources = settings;
        self
    }

    /// How lists of resource templates are kept.
    #[must_use]
    pub const fn list_resource_templates_settings(
        mut self,
        settings: ListResourceTemplatesSettings,
    ) -> Self {
        self.list_resource_templates = settings;
        self
    }

    /// How lists of prompts are kept.
    #[must_use]
    pub const fn list_prompts_settings(mut self, settings: ListPromptsSettings) -> Self {
        self.list_prompts = settings;
        self
    }

    /// How results of tools are kept.
    #[must_use]
    pub fn call_tool_settings(mut self, settings: CallToolSettings) -> Self {
        self.call_tool = settings;
        self
    }

    /// How contents of resources are kept.
    #[must_use]
    pub const fn read_resource_settings(mut self, settings: ReadResourceSettings) -> Self {
        self.read_resource = settings;
        self
    }

    /// How prompts are kept.
    #[must_use]
    pub const fn get_prompt_settings(mut self, settings: GetPromptSettings) -> Self {
        self.get_prompt = settings;
        self
    }

    /// Bytes of an answer that is kept, at most. Default 1 MiB.
    #[must_use]
    pub const fn max_item_size(mut self, bytes: usize) -> Self {
        self.max_item_size = bytes;
        self
    }

    /// Tells answers apart by something more than the caller, for example a header that handlers look at.
    #[must_use]
    pub fn partition(
        mut self,
        partition: impl Fn(&Context) -> String + Send + Sync + 'static,
    ) -> Self {
        self.partition = Some(Arc::new(partition));
        self
    }

    /// How often answers were found and not found.
    #[must_use]
    pub fn statistics(&self) -> CacheStatistics {
        self.shared.counters.read()
    }

    /// Takes note of changes since the last look.
    fn catch_up(&self, context: &Context) {
        let mut changes = self
            .shared
            .changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let changes = changes.get_or_insert_with(|| context.changes());
        loop {
            match changes.try_recv() {
                Ok(Change::List(_)) => {
                    self.shared.lists.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Change::Resource(_)) => {
                    self.shared.resources.fetch_add(1, Ordering::Relaxed);
                }
                Err(broadcast::error::TryRecvError::Lagged(_)) => {
                    self.shared.lists.fetch_add(1, Ordering::Relaxed);
                    self.shared.resources.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => return,
            }
        }
    }

    fn material(&self, context: &Context, kind: &'static str) -> Material {
        let mut material = Material::new(kind);
        material.caller(context.caller(), context);
        let partition = self.partition.as_ref().map(|partition| partition(context));
        material.part(partition.unwrap_or_default().as_bytes());
        material
    }

    /// The place of a list, by what the caller sees now.
    fn list_place(&self, context: &Context, kind: &'static str, shown: &Shown) -> Option<Place> {
        self.catch_up(context);
        let mut material = self.material(context, kind);
        material.number(self.shared.lists.load(Ordering::Relaxed));
        material.number(u64::from(shown.apps));
        for component in shown.components.iter() {
            material.part(&component.definition_hash());
        }
        self.shared.recent.place(material.0)
    }

    /// The place of a call, where its answer may be kept.
    fn call_place(
        &self,
        context: &Context,
        kind: &'static str,
        component: Option<&Component>,
        what: (&str, Option<&Raw>),
    ) -> Option<Place> {
        let component = component?;
        let is_task = component.task_support() != TaskSupport::Forbidden;
        if is_task || context.input_responses().iter().len() > 0 || context.gate_state().is_some() {
            return None;
        }
        self.catch_up(context);
        let (name, arguments) = what;
        let mut material = self.material(context, kind);
        material.number(self.shared.resources.load(Ordering::Relaxed));
        material.part(&component.definition_hash());
        material.part(name.as_bytes());
        material.part(arguments.map_or("{}", Raw::as_str).as_bytes());
        self.shared.recent.place(material.0)
    }

    async fn find<T>(&self, place: &Place, counter: &Counter) -> Option<T>
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let (store, collection) = (self.store.as_ref()?, self.collection.as_ref()?);
        let found = match store.get(collection, &place.key).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "kept answers cannot be read");
                None
            }
        };
        let value = found.and_then(|bytes| self.shared.recent.read(place, bytes));
        counter.count(value.is_some());
        value
    }

    async fn keep<T: Serialize>(&self, place: &Place, value: &T, ttl: Duration) {
        let (Some(store), Some(collection)) = (&self.store, &self.collection) else {
            return;
        };
        let Ok(bytes) = serde_json::to_vec(value) else {
            return;
        };
        if bytes.len() > self.max_item_size {
            return;
        }
        if let Err(error) = store
            .put(collection, &place.key, Bytes::from(bytes), Some(ttl))
            .await
        {
            tracing::warn!(%error, "an answer cannot be kept");
        }
    }
}

impl fmt::Debug for ResponseCachingMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCachingMiddleware")
            .field("store", &self.store)
            .field("collection", &self.collection)
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}

/// What an answer is found by.
struct Material(Vec<u8>);

impl Material {
    fn new(kind: &str) -> Self {
        let mut material = Self(Vec::with_capacity(512));
        material.part(b"fastmcp/responses/v1");
        material.part(kind.as_bytes());
        material
    }

    fn part(&mut self, bytes: &[u8]) {
        self.number(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn list(&mut self, list: Option<&[String]>) {
        self.number(list.map_or(u64::MAX, |l| u64::try_from(l.len()).unwrap_or(u64::MAX)));
        for entry in list.unwrap_or_default() {
            self.part(entry.as_bytes());
        }
    }

    fn caller(&mut self, caller: &Caller, context: &Context) {
        self.part(caller.principal().as_str().as_bytes());
        self.part(caller.client_id().unwrap_or_default().as_bytes());
        self.list(Some(caller.roles()));
        self.list(caller.scopes());
        if caller.kind() == CallerKind::Anonymous {
            // Nobody authenticated them here; a layer may have, by what they brought along.
            for name in [
                "authorization",
                "proxy-authorization",
                "x-api-key",
                "cookie",
            ] {
                for value in context.headers().get_all(name) {
                    self.part(name.as_bytes());
                    // What is found lately is remembered by this: a secret does not stand in it.
                    self.part(digest(&SHA256, value.as_bytes()).as_ref());
                }
            }
        }
    }
}

/// Puts the components behind the entries of a list that was kept, so that outer layers see them.
fn revived<T>(kept: Vec<T>, shown: &Shown, name: impl Fn(&T) -> &str) -> Vec<Listed<T>> {
    let component = |definition: &T| {
        let behind = shown.components.iter();
        behind
            .clone()
            .find(|c| c.key() == name(definition))
            .cloned()
    };
    kept.into_iter()
        .map(|definition| match component(&definition) {
            Some(component) => Listed::of(component, definition),
            None => Listed::new(definition),
        })
        .collect()
}

macro_rules! cached {
    (lists { $($list:ident($list_message:ty) -> $entry:ty, $list_settings:ident, $name:ident;)* }
     calls { $($call:ident($call_message:ty) -> $result:ty, $settings:ident, $may:ident, $what:expr, $whole:expr;)* }) => {
        impl Middleware for ResponseCachingMiddleware {
            $(async fn $list(
                &self,
                context: MiddlewareContext<$list_message>,
                next: Next<'_, $list_message>,
            ) -> Result<Vec<Listed<$entry>>> {
                let settings = &self.$list_settings;
                let shown = context.message.shown.clone();
                let place = settings.enabled.then(|| {
                    self.list_place(context.fastmcp_context(), stringify!($list), &shown)
                });
                let Some(place) = place.flatten() else {
                    return next.run(context).await;
                };
                let counter = &self.shared.counters.$list_settings;
                if let Some(kept) = self.find::<Vec<$entry>>(&place, counter).await {
                    return Ok(revived(kept, &shown, |entry| &entry.$name));
                }
                let list = next.run(context).await?;
                let plain: Vec<&$entry> = list.iter().map(|entry| &entry.definition).collect();
                self.keep(&place, &plain, settings.ttl).await;
                Ok(list)
            })*

            $(async fn $call(
                &self,
                context: MiddlewareContext<$call_message>,
                next: Next<'_, $call_message>,
            ) -> Result<Outcome<$result>> {
                let (settings, message) = (&self.$settings, &context.message);
                let place = settings.$may(message.component()).then(|| {
                    let what: fn(&$call_message) -> (&str, Option<&Raw>) = $what;
                    let own = context.fastmcp_context();
                    self.call_place(own, stringify!($call), message.component(), what(message))
                });
                let Some(place) = place.flatten() else {
                    return next.run(context).await;
                };
                let counter = &self.shared.counters.$settings;
                if let Some(kept) = self.find::<$result>(&place, counter).await {
                    return Ok(Outcome::Complete(kept));
                }
                let outcome = next.run(context).await?;
                let is_whole: fn(&$result) -> bool = $whole;
                if let Outcome::Complete(result) = &outcome
                    && is_whole(result)
                {
                    self.keep(&place, result, settings.ttl).await;
                }
                Ok(outcome)
            })*
        }
    };
}

cached! {
    lists {
        on_list_tools(ListTools) -> Tool, list_tools, name;
        on_list_resources(ListResources) -> Resource, list_resources, uri;
        on_list_resource_templates(ListResourceTemplates) -> ResourceTemplate,
            list_resource_templates, uri_template;
        on_list_prompts(ListPrompts) -> Prompt, list_prompts, name;
    }
    calls {
        on_call_tool(CallTool) -> CallToolResult, call_tool, keeps,
            |m| (m.name(), m.arguments.as_ref()), |r| !r.is_error;
        on_read_resource(ReadResource) -> ReadResourceResult, read_resource, keeps,
            |m| (m.uri(), None), |_| true;
        on_get_prompt(GetPrompt) -> GetPromptResult, get_prompt, keeps,
            |m| (m.name(), m.arguments.as_ref()), |_| true;
    }
}

/// A decorator for one resource: what is read there is kept for `ttl`.
#[must_use]
pub fn cached_resource(ttl: Duration) -> ResponseCachingMiddleware {
    ResponseCachingMiddleware::new().read_resource_settings(ReadResourceSettings::new().ttl(ttl))
}
