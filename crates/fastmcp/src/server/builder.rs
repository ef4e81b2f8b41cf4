//! Building a server.

mod around;
#[cfg(feature = "oauth-proxy")]
mod provided;

#[cfg(feature = "oauth-proxy")]
pub use provided::AuthProvider;

use std::{collections::HashSet, fmt, path::Path, sync::Arc, time::Duration};

use fastmcp_auth::{Caller, ResourceMetadata, caller::LocalIdentity};
use fastmcp_guard::clock::{Clock, SystemClock};
use fastmcp_guard::seal::KeyRing;
use fastmcp_protocol::{content::Icon, meta::Implementation, wire::CacheHint};
use fastmcp_store::{KeyValueStore, MemoryLimits, MemoryStore};
use fastmcp_transport::ReplayLimits;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Authenticate, Engine, Server, composition::Composition};
use crate::{
    call::Kind,
    component::{
        Complete, CompletionBuilder, Component, IntoCompletion, IntoPrompt, IntoResource, IntoTool,
        SharedCheck, Tools, check_icons,
    },
    context::{Shelf, Values},
    engine::{
        CacheHints,
        life::{Begin, Life, Needed, lacking},
        session::Sessions,
        task::{TaskLimits, Tasks},
    },
    error::{Error, Result},
    gate::{Authorized, DefaultGate, Gate},
    middleware::{Chain, Chains, IntoLayer, Layer},
    registry::Registry,
    respond::Identity,
    route::{Route, Routes},
    skill::Skill,
};

/// A server in the making.
///
/// ```no_run
/// use fastmcp::prelude::*;
///
/// /// Adds two numbers.
/// #[tool]
/// async fn add(a: i64, b: i64) -> i64 {
///     a + b
/// }
///
/// # async fn example() -> Result<()> {
/// FastMcp::new("demo").tool(add).run().await
/// # }
/// ```
pub struct FastMcp {
    info: Implementation,
    instructions: Option<String>,
    pub(super) components: Vec<Result<Component>>,
    pub(super) composition: Composition,
    gate: Arc<dyn Gate>,
    checks: Vec<SharedCheck>,
    local: LocalIdentity,
    layers: Vec<Layer>,
    authenticate: Option<Arc<dyn Authenticate>>,
    metadata: Option<ResourceMetadata>,
    completer: Option<Arc<dyn Complete>>,
    completions: Vec<CompletionBuilder>,
    key_ring: Option<KeyRing>,
    clock: Arc<dyn Clock>,
    mask: bool,
    page_size: Option<usize>,
    cache_hints: CacheHints,
    answer_within: Duration,
    values: Values,
    promised: Vec<fn(&mut Shelf)>,
    strict_input: bool,
    features: HashSet<String>,
    tool_timeout: Option<Duration>,
    store: Option<Arc<dyn KeyValueStore>>,
    tasks: TaskLimits,
    max_sessions: usize,
    stateless_http: bool,
    session_idle: Duration,
    replay: ReplayLimits,
    max_subscriptions: usize,
    begins: Vec<Begin>,
    routes: Vec<Route>,
    shutdown: CancellationToken,
}

impl FastMcp {
    /// Begins a server that clients know by `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            info: Implementation::new(name, "0.1.0"),
            instructions: None,
            components: Vec::new(),
            composition: Composition::default(),
            gate: Arc::new(DefaultGate),
            checks: Vec::new(),
            local: LocalIdentity::default(),
            layers: Vec::new(),
            authenticate: None,
            metadata: None,
            completer: None,
            completions: Vec::new(),
            key_ring: None,
            clock: Arc::new(SystemClock),
            mask: true,
            page_size: None,
            cache_hints: CacheHints::default(),
            answer_within: Duration::from_secs(600),
            values: Values::new(),
            promised: Vec::new(),
            strict_input: false,
            features: HashSet::new(),
            tool_timeout: None,
            store: None,
            tasks: TaskLimits::default(),
            max_sessions: 10_000,
            stateless_http: false,
            session_idle: Duration::from_secs(1_800),
            replay: ReplayLimits::default(),
            max_subscriptions: 1_024,
            begins: Vec::new(),
            routes: Vec::new(),
            shutdown: CancellationToken::new(),
        }
    }

    /// Sets the version that clients are told. Default `0.1.0`.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.info.version = version.into();
        self
    }

    /// Tells models what the server is for.
    #[must_use]
    pub fn instructions(mut self, text: impl Into<String>) -> Self {
        self.instructions = Some(text.into());
        self
    }

    /// Names a page about the server.
    #[must_use]
    pub fn website_url(mut self, url: impl Into<String>) -> Self {
        self.info.website_url = Some(url.into());
        self
    }

    /// Names the server for people.
    #[must_use]
    pub fn title(mut self, text: impl Into<String>) -> Self {
        self.info.title = Some(text.into());
        self
    }

    /// Says what the server is, in a sentence.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.info.description = Some(text.into());
        self
    }

    /// Shows clients an icon of the server; may be repeated. It goes out with every answer, so give an
    /// `https:` address rather than a long `data:` one.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.info.icons.get_or_insert_default().push(icon);
        self
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, tool: impl IntoTool) -> Self {
        self.components.push(tool.into_tool().build());
        self
    }

    /// Adds a resource or a template.
    #[must_use]
    pub fn resource(mut self, resource: impl IntoResource) -> Self {
        self.components.push(resource.into_resource().build());
        self
    }

    /// Adds a prompt.
    #[must_use]
    pub fn prompt(mut self, prompt: impl IntoPrompt) -> Self {
        self.components.push(prompt.into_prompt().build());
        self
    }

    /// Adds the tools, resources, prompts and completions of a value: what `#[tools]` finds on an `impl` block,
    /// and [`Bundle`](crate::Bundle)s.
    #[must_use]
    pub fn tools(mut self, tools: impl Tools) -> Self {
        let (components, completions) = Arc::new(tools).bundle().into_parts();
        self.components.extend(components);
        self.completions.extend(completions);
        self
    }

    /// Adds a skill: its manifest is a resource that lists show, its other files are resources that
    /// they do not.
    #[must_use]
    pub fn skill(mut self, skill: Skill) -> Self {
        self.add_skill(skill);
        self
    }

    /// Adds the skills of a folder; see [`Skill::from_folder`]. Reads it now, and blocks while it does. Where
    /// other products keep theirs, [`SkillFolder`](crate::skill::SkillFolder) says.
    #[must_use]
    pub fn skills_from(mut self, folder: impl AsRef<Path>) -> Self {
        match Skill::from_folder(folder.as_ref()) {
            Ok(skills) => skills.into_iter().for_each(|skill| self.add_skill(skill)),
            Err(error) => self.components.push(Err(error)),
        }
        self
    }

    fn add_skill(&mut self, skill: Skill) {
        match skill.into_components() {
            Ok(components) => self.components.extend(components.into_iter().map(Ok)),
            Err(error) => self.components.push(Err(error)),
        }
    }

    /// Adds a component that was made by hand.
    #[must_use]
    pub fn component(mut self, component: Component) -> Self {
        self.components.push(Ok(component));
        self
    }

    /// Completes an argument of one of the server's own prompts or templates: what `#[completion]` makes, and
    /// [`CompletionBuilder`]. Or all that nothing else completes: an async function of the caller and of
    /// [what is asked](fastmcp_protocol::completion::CompleteParams), which returns values, the best first; of
    /// several of these the last counts. Asked is only about what the caller's lists show.
    ///
    /// ```
    /// use fastmcp::prelude::*;
    ///
    /// /// Greets.
    /// #[prompt(inline)]
    /// fn greet(name: String) -> String {
    ///     format!("Greet {name}.")
    /// }
    ///
    /// #[completion(prompt = "greet", argument = "name")]
    /// async fn names(value: &str) -> Vec<&'static str> {
    ///     let known = ["Ada", "Alan", "Grace"].into_iter();
    ///     known.filter(|name| name.starts_with(value)).collect()
    /// }
    ///
    /// let server = FastMcp::new("greeter").prompt(greet).completion(names).build();
    /// assert!(server.is_ok());
    /// ```
    #[must_use]
    pub fn completion<Of: ?Sized>(mut self, completion: impl IntoCompletion<Of>) -> Self {
        match completion.into_completion().into_general() {
            Ok(completer) => self.completer = Some(completer),
            Err(completion) => self.completions.push(completion),
        }
        self
    }

    /// Puts calls through `gate`. Default: [`DefaultGate`].
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Puts a layer around everything that clients send, within those that were put around before; see
    /// [`middleware`](crate::middleware).
    #[must_use]
    pub fn middleware(mut self, layer: impl IntoLayer) -> Self {
        self.layers.push(layer.into_layer());
        self
    }

    /// Lets in over HTTP only who `authenticate` knows. Default: everybody, as nobody in particular.
    #[must_use]
    pub fn auth(mut self, authenticate: impl Authenticate) -> Self {
        self.authenticate = Some(Arc::new(authenticate));
        self
    }

    /// Serves the metadata of the protected resource at its well-known address, which challenges name,
    /// to everybody who asks. [`Server::serve_http`] and [`Server::http_app`] do; a router that mounts the
    /// endpoint alone serves it at [`ResourceMetadata::path`].
    ///
    /// Source: RFC 9728.
    #[must_use]
    pub fn resource_metadata(mut self, metadata: ResourceMetadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Seals what clients carry between rounds. Default: a key that is forgotten with the process;
    /// several replicas need one that they share.
    #[must_use]
    pub fn key_ring(mut self, key_ring: KeyRing) -> Self {
        self.key_ring = Some(key_ring);
        self
    }

    /// Asks `clock` for the time.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Whether internal errors are told without details. Default: they are masked.
    #[must_use]
    pub const fn mask_error_details(mut self, mask: bool) -> Self {
        self.mask = mask;
        self
    }

    /// How many entries a page of a list has. Default: all.
    #[must_use]
    pub fn list_page_size(mut self, size: usize) -> Self {
        self.page_size = Some(size.max(1));
        self
    }

    /// How long and for whom clients may keep the lists and the description of the server. Default:
    /// not at all. [`CacheScope::Public`](fastmcp_protocol::wire::CacheScope) is for lists that are
    /// the same for every caller.
    ///
    /// Source: MCP 2026-07-28, server/utilities/caching.
    #[must_use]
    pub const fn cache_hint(mut self, hint: CacheHint) -> Self {
        self.cache_hints = CacheHints::all(hint);
        self
    }

    /// How long and for whom clients may keep the list of one kind. A resource has a hint of its own
    /// for what is read there: [`ResourceBuilder::cache_hint`](crate::ResourceBuilder::cache_hint).
    #[must_use]
    pub const fn list_cache_hint(mut self, kind: Kind, hint: CacheHint) -> Self {
        self.cache_hints.set(kind, hint);
        self
    }

    /// How long a client may take to answer what a handler or gate asks its user; above zero. Default
    /// 10 min. What a client carries between rounds cannot be used later.
    #[must_use]
    pub const fn answer_within(mut self, within: Duration) -> Self {
        self.answer_within = within;
        self
    }

    /// Keeps tasks, and notes of what must not be done twice ([`Context::once`](crate::Context::once)), in
    /// `store`. Default: in memory, 64 MiB, forgotten with the process.
    ///
    /// `RedisStore` (feature `redis`) is shared: each process answers for the tasks of all, see
    /// [`TaskLimits::lease`]. `DiskStore` (feature `disk`) survives this process. Any other
    /// [`KeyValueStore`] does as well. Entries are not encrypted: give a store that others can read a
    /// wrapper that does it.
    ///
    /// ```
    /// # #[cfg(feature = "redis")]
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use fastmcp::{FastMcp, store::RedisStore};
    ///
    /// let store = RedisStore::connect("redis://redis.internal:6379").await?;
    /// let server = FastMcp::new("replica").store(store).build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn store(mut self, store: impl KeyValueStore + 'static) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Bounds tasks. Default: [`TaskLimits::default`].
    #[must_use]
    pub const fn tasks(mut self, limits: TaskLimits) -> Self {
        self.tasks = limits;
        self
    }

    /// How many sessions may be open, and how long one may sit idle; only clients up to 2025-11-25
    /// open sessions. Default 10,000 and 30 min.
    #[must_use]
    pub const fn sessions(mut self, max: usize, idle: Duration) -> Self {
        self.max_sessions = max;
        self.session_idle = idle;
        self
    }

    /// Whether clients up to 2025-11-25 do without sessions over HTTP, as all later ones do: each of their requests stands
    /// alone, so that any replica behind any load balancer can answer it. Default `false`.
    ///
    /// The server then asks such clients nothing (no elicitation, sampling or roots), sends what a call has to say on the
    /// stream of its answer alone, and offers neither subscriptions, nor log levels, nor tasks, nor to take a call back.
    /// Connections that carry everything (stdio, memory) keep their sessions.
    ///
    /// Source: MCP 2025-11-25, basic/transports, "Session Management": a server *may* assign a session id.
    #[must_use]
    pub const fn stateless_http(mut self, stateless: bool) -> Self {
        self.stateless_http = stateless;
        self
    }

    /// How many streams of `subscriptions/listen` may be open, at least one. Default 1,024.
    #[must_use]
    pub fn subscriptions(mut self, max: usize) -> Self {
        self.max_subscriptions = max.max(1);
        self
    }

    /// What is kept of the streams of a session for clients that come back to them, and how soon they
    /// shall; only clients up to 2025-11-25 do.
    #[must_use]
    pub fn replay(mut self, limits: ReplayLimits) -> Self {
        self.replay = limits;
        self
    }

    /// Gives handlers a value by its type: a connection pool, a client, settings. Handlers take it as
    /// [`State<T>`](crate::State), and a server whose handlers take one that it was not given cannot be
    /// built. There is one value of each type.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        if self.values.insert(value) {
            let name = std::any::type_name::<T>();
            self.components.push(Err(Error::internal(format!(
                "the server was given two values of type `{name}`; wrap one in a type of its own"
            ))));
        }
        self
    }

    /// Says that a `T` for handlers comes once the server is built and before its first call: see
    /// [`Server::give_state`].
    #[must_use]
    pub fn state_later<T: Send + Sync + 'static>(mut self) -> Self {
        self.promised.push(Shelf::promise::<T>);
        self
    }

    /// Enables a feature: components that are a part of it are there. Others are not, for nobody.
    #[must_use]
    pub fn enable_feature(mut self, name: impl Into<String>) -> Self {
        self.features.insert(name.into());
        self
    }

    /// How long a call of a tool may take that says nothing of it itself: see
    /// [`ToolBuilder::timeout`](crate::ToolBuilder::timeout). Default: as long as it takes.
    #[must_use]
    pub const fn tool_timeout(mut self, timeout: Duration) -> Self {
        self.tool_timeout = Some(timeout);
        self
    }

    /// Whether arguments must have the types of the schema as they are. Default: not quite: what does
    /// not fit is looked at once more, and text that is the JSON of what is wanted there (`"10"` for a
    /// number, `"true"` for a boolean, `"[1, 2]"` for a list, `"{...}"` for an object) is taken for it,
    /// since models write such. Text is never taken where text is wanted, nothing is rounded, and the
    /// constraints of the schema hold for what was taken.
    #[must_use]
    pub const fn strict_input(mut self, strict: bool) -> Self {
        self.strict_input = strict;
        self
    }

    /// Ends the server when `shutdown` fires.
    #[must_use]
    pub fn shutdown(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Builds the server.
    ///
    /// # Errors
    ///
    /// When a component cannot be built or two have one name, and when a limit is out of its range.
    pub fn build(mut self) -> Result<Server> {
        check_icons(self.info.icons.as_deref())?;
        let mut components = self.components.into_iter().collect::<Result<Vec<_>>>()?;
        for completion in self.completions {
            completion.join(&mut components)?;
        }
        components.retain(|c| c.feature().is_none_or(|name| self.features.contains(name)));
        let mut begins = self.composition.begins();
        begins.append(&mut self.begins);
        let (values, needed) = shelf(self.values, &self.promised, &components, begins.is_empty())?;
        let key_ring = match self.key_ring {
            Some(key_ring) => key_ring,
            None => KeyRing::ephemeral()?,
        };
        let store = match self.store {
            Some(store) => store,
            None => Arc::new(MemoryStore::new(
                MemoryLimits::default(),
                Arc::clone(&self.clock),
            )?),
        };
        let mut routes = self.routes;
        routes.extend(self.metadata.as_ref().map(around::described));
        let tasks = Tasks::new(self.tasks, store, Arc::clone(&self.clock))?;
        let sources = self.composition.sources(components);
        let server = Server {
            engine: Arc::new(Engine {
                life: Life::new(&self.info.name, Arc::clone(&values), begins, needed),
                routes: Routes::new(routes)?,
                identity: Identity::new(self.info),
                instructions: self.instructions,
                registry: Registry::of(sources)?,
                gate: Authorized::new(self.gate, self.checks),
                local: Caller::local_as(self.local),
                layers: Chains::of(&self.layers),
                unlayered: Chain::default(),
                ping: self.layers.iter().find_map(Layer::ping),
                authenticate: self.authenticate,
                completer: self.completer,
                key_ring,
                clock: self.clock,
                mask: self.mask,
                page_size: self.page_size,
                cache_hints: self.cache_hints,
                answer_within: self.answer_within,
                values,
                strict_input: self.strict_input,
                tool_timeout: self.tool_timeout,
                tasks,
                sessions: Sessions::new(self.max_sessions, self.session_idle, self.replay),
                stateless_http: self.stateless_http,
                subscriptions: Arc::new(Semaphore::new(self.max_subscriptions)),
                tracker: TaskTracker::new(),
                shutdown: self.shutdown,
            }),
        };
        self.composition.join(&server)?;
        Ok(server)
    }
}

/// The values of the server, once it is sure that its handlers get what they need; where some come with the
/// start, what is needed then.
fn shelf(
    values: Values,
    promised: &[fn(&mut Shelf)],
    components: &[Component],
    is_whole: bool,
) -> Result<(Arc<Shelf>, Vec<Needed>)> {
    let mut shelf = Shelf::new(values);
    promised.iter().for_each(|promise| promise(&mut shelf));
    let mut needed = Vec::new();
    for component in components {
        let what = format!("{} `{}`", component.kind().as_str(), component.key());
        match shelf.lacks(component.needs()) {
            Some(lacked) if is_whole => return Err(lacking(&what, lacked)),
            Some(_) => needed.push((what, component.needs().clone())),
            None => {}
        }
    }
    Ok((Arc::new(shelf), needed))
}

impl fmt::Debug for FastMcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastMcp")
            .field("info", &self.info)
            .field("components", &self.components.len())
            .finish_non_exhaustive()
    }
}
