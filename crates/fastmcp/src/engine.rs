//! What stands behind the doors of one server.

mod home;
mod layered;
pub(crate) mod life;
mod own;
pub(crate) mod session;
pub(crate) mod task;
pub(crate) mod visibility;

pub(crate) use layered::Invoked;

use std::{fmt, sync::Arc, time::Duration};

use fastmcp_auth::{Authenticator, Caller, Connection};
use fastmcp_guard::clock::Clock;
use fastmcp_guard::seal::KeyRing;
use fastmcp_protocol::{
    ErrorCode, Method, ProtocolVersion, RpcError, app,
    capability::{ListCapability, ResourcesCapability, ServerCapabilities},
    completion::{CompleteParams, CompleteResult, Completion, Reference},
    content::JsonObject,
    discover::DiscoverResult,
    skill,
    subscription::SubscriptionFilter,
    task::EXTENSION,
    wire::CacheHint,
};
use fastmcp_transport::{Denied, Peer, TurnedAway};
use futures_util::future::BoxFuture;
use http::HeaderValue;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    call::{Input, Kind},
    component::{Complete, Component},
    context::{Context, Shelf},
    error::{Error, Result},
    gate::{Authorized, Class, Gate, Leaf, Target},
    middleware::{Chain, Chains, PingMiddleware},
    registry::{Registry, Sight, Snapshot},
    respond::Identity,
    route::Routes,
};

/// How long and for whom clients may keep what the server says of itself, list by list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CacheHints {
    pub(crate) discover: CacheHint,
    pub(crate) tools: CacheHint,
    pub(crate) resources: CacheHint,
    pub(crate) templates: CacheHint,
    pub(crate) prompts: CacheHint,
}

impl CacheHints {
    /// One hint for everything.
    pub(crate) const fn all(hint: CacheHint) -> Self {
        Self {
            discover: hint,
            tools: hint,
            resources: hint,
            templates: hint,
            prompts: hint,
        }
    }

    pub(crate) const fn of(&self, kind: Kind) -> CacheHint {
        match kind {
            Kind::Tool => self.tools,
            Kind::Resource => self.resources,
            Kind::Template => self.templates,
            Kind::Prompt => self.prompts,
        }
    }

    pub(crate) const fn set(&mut self, kind: Kind, hint: CacheHint) {
        match kind {
            Kind::Tool => self.tools = hint,
            Kind::Resource => self.resources = hint,
            Kind::Template => self.templates = hint,
            Kind::Prompt => self.prompts = hint,
        }
    }
}

/// Who comes in, or why not.
pub type Admission = std::result::Result<Caller, Denied>;

/// Authenticates requests over HTTP, once each, before the body is read.
pub trait Authenticate: fmt::Debug + Send + Sync + 'static {
    /// Who is calling.
    fn admit<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Admission>;

    /// Takes note of a request that was refused before it became a call; `caller` sent it, if that was asked by then.
    /// Whom [`Self::admit`] did not let in is not told of again. Default: nothing.
    fn turned_away(&self, peer: &Peer, caller: Option<&Caller>, why: TurnedAway<'_>) {
        let _ = (peer, caller, why);
    }

    /// The challenge for a caller whose token lacks one of `needed`. Without one it is told in the
    /// result of its call.
    fn step_up(&self, needed: &[String]) -> Option<HeaderValue> {
        let _ = needed;
        None
    }
}

impl Authenticate for Authenticator {
    fn admit<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Admission> {
        Box::pin(async move {
            let admitted = self.authenticate(&peer.headers).await;
            let caller = admitted.map_err(|refused| Denied {
                status: refused.status().as_u16(),
                challenge: self.challenge(&refused),
                error: RpcError::new(ErrorCode::INVALID_REQUEST, refused.description()),
            })?;
            let agent = peer.header("user-agent");
            Ok(caller.with_connection(Connection::new(peer.address.map(|a| a.ip()), agent)))
        })
    }

    fn step_up(&self, needed: &[String]) -> Option<HeaderValue> {
        let why = "the token lacks a scope that is needed here";
        Some(self.challenger().insufficient_scope(needed, why))
    }
}

/// What stands behind the doors of one server; a [`Door`](fastmcp_transport::Door) itself.
pub struct Engine {
    pub(crate) identity: Identity,
    pub(crate) instructions: Option<String>,
    pub(crate) registry: Registry,
    pub(crate) gate: Authorized,
    /// Who calls from where nobody is authenticated: standard input and output, and the process.
    pub(crate) local: Caller,
    /// The layers by what they are around; none where there are none.
    pub(crate) layers: Option<Box<Chains>>,
    /// The way of a message around which there is none.
    pub(crate) unlayered: Chain,
    /// How clients are pinged.
    pub(crate) ping: Option<PingMiddleware>,
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
    pub(crate) completer: Option<Arc<dyn Complete>>,
    pub(crate) key_ring: KeyRing,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether internal failures are told without details.
    pub(crate) mask: bool,
    pub(crate) page_size: Option<usize>,
    pub(crate) cache_hints: CacheHints,
    /// How long a client may take to answer what it is asked.
    pub(crate) answer_within: Duration,
    pub(crate) sessions: session::Sessions,
    /// Whether HTTP is spoken without sessions in every revision.
    pub(crate) stateless_http: bool,
    pub(crate) tasks: task::Tasks,
    /// What its handlers are handed.
    pub(crate) values: Arc<Shelf>,
    /// Whether arguments must have the types of the schema as they are.
    pub(crate) strict_input: bool,
    /// How long a call of a tool may take that says nothing of it itself.
    pub(crate) tool_timeout: Option<Duration>,
    pub(crate) subscriptions: Arc<Semaphore>,
    pub(crate) life: life::Life,
    /// What is served over HTTP beside the endpoint.
    pub(crate) routes: Option<Routes>,
    pub(crate) tracker: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("identity", &self.identity)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Whether checks decide on what lists show, here or in a server that is shown here.
    pub(crate) fn is_checked(&self, snapshot: &Snapshot) -> bool {
        let linked = snapshot.linked();
        self.gate.checks_all() || snapshot.has_checks() || linked.iter().any(|l| l.is_checked())
    }

    /// Callers of one class see the same lists.
    pub(crate) fn class(&self, caller: &Caller) -> Class {
        let own = self.gate.class(caller);
        let snapshot = self.registry.snapshot();
        let linked = snapshot.linked();
        if linked.is_empty() {
            return own;
        }
        let all = std::iter::once(own).chain(linked.iter().map(|link| link.class(caller)));
        let all: Vec<_> = all.map(|class| class.0.to_string()).collect();
        Class(json!(all).to_string().into())
    }

    /// The layers around a request that is no call of a component; around a list, also where only servers that
    /// are shown here have any.
    pub(crate) fn chain(&self, method: Option<Method>) -> Option<&Chain> {
        let own = self.layers.as_ref().and_then(|l| l.request(method));
        own.or_else(|| {
            let kind = method.and_then(Kind::listed_by)?;
            self.shows_layered(kind).then_some(&self.unlayered)
        })
    }

    /// Whether layers look at the list of `kind`, here or in a server that is shown here.
    pub(crate) fn is_layered(&self, kind: Kind) -> bool {
        let own = self.layers.as_ref().and_then(|l| l.list(kind));
        own.is_some() || self.shows_layered(kind)
    }

    /// Whether layers of a server that is shown here look at its list of `kind`.
    pub(crate) fn shows_layered(&self, kind: Kind) -> bool {
        let snapshot = self.registry.snapshot();
        snapshot.linked().iter().any(|l| l.is_layered(kind))
    }

    /// Puts a resolved call through the layers and the gate: the one way from a session to a handler.
    pub(crate) fn invoke(
        &self,
        context: Context,
        target: Target,
        input: Input,
        leaf: Leaf,
    ) -> Invoked<'_> {
        if let Some(layers) = &self.layers
            && let Some(chain) = layers.call(target.component().kind())
        {
            let answer = layered::invoke(self, chain, context, target, (input, leaf));
            return Invoked::Layered(answer);
        }
        Invoked::Plain(self.gate.invoke(context, target, input, leaf))
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// What a caller over HTTP is told whose token lacks a scope.
    pub(crate) fn step_up(&self, error: &Error) -> Option<HeaderValue> {
        let needed = error.needed_scopes();
        if needed.is_empty() {
            return None;
        }
        self.authenticate.as_ref()?.step_up(needed)
    }

    /// What clients are told that the server can do: what it has.
    pub(crate) fn capabilities(&self) -> ServerCapabilities {
        let offered = self.offered();
        let list = |on: bool| on.then(ListCapability::changing);
        let resources = offered
            .resources_list_changed
            .then_some(ResourcesCapability {
                subscribe: Some(true),
                list_changed: Some(true),
            });
        ServerCapabilities {
            tools: list(offered.tools_list_changed),
            prompts: list(offered.prompts_list_changed),
            resources,
            completions: self.completes().then(serde_json::Map::new),
            logging: Some(serde_json::Map::new()),
            extensions: self.extensions(),
            ..ServerCapabilities::default()
        }
    }

    /// The extensions that what the server has belongs to.
    fn extensions(&self) -> Option<JsonObject> {
        let mut extensions = JsonObject::new();
        if self.registry.snapshot().has_skills() {
            extensions.insert(skill::EXTENSION.to_owned(), json!({"directoryRead": true}));
        }
        if self.registry.snapshot().has_apps() {
            extensions.insert(app::EXTENSION.to_owned(), json!({}));
        }
        if self.registry.snapshot().has_tasks() {
            extensions.insert(EXTENSION.to_owned(), json!({}));
        }
        (!extensions.is_empty()).then_some(extensions)
    }

    /// The lists that the server has and tells changes of.
    fn offered(&self) -> SubscriptionFilter {
        let snapshot = self.registry.snapshot();
        SubscriptionFilter {
            tools_list_changed: snapshot.may_have(Kind::Tool),
            prompts_list_changed: snapshot.may_have(Kind::Prompt),
            resources_list_changed: snapshot.may_have(Kind::Resource)
                || snapshot.may_have(Kind::Template),
            ..SubscriptionFilter::default()
        }
    }

    /// What clients are told of the server.
    pub(crate) fn describe(&self) -> DiscoverResult {
        DiscoverResult {
            supported_versions: ProtocolVersion::discoverable()
                .map(|v| v.as_str().to_owned())
                .collect(),
            capabilities: self.capabilities(),
            instructions: self.instructions.clone(),
            meta: None,
        }
    }

    /// Whether the method belongs to something that the server has.
    pub(crate) fn serves(&self, method: Method) -> bool {
        let has = |kind| self.registry.snapshot().may_have(kind);
        match method {
            Method::ToolsList | Method::ToolsCall => has(Kind::Tool),
            Method::PromptsList | Method::PromptsGet => has(Kind::Prompt),
            Method::ResourcesList
            | Method::ResourcesTemplatesList
            | Method::ResourcesRead
            | Method::ResourcesSubscribe
            | Method::ResourcesUnsubscribe => has(Kind::Resource) || has(Kind::Template),
            Method::Complete => self.completes(),
            Method::TasksGet
            | Method::TasksUpdate
            | Method::TasksCancel
            | Method::TasksList
            | Method::TasksResult => self.registry.snapshot().has_tasks(),
            Method::SkillsList | Method::SkillsGet | Method::ResourcesDirectoryRead => {
                self.registry.snapshot().has_skills()
            }
            _ => true,
        }
    }

    /// Whether arguments of something are completed.
    pub(crate) fn completes(&self) -> bool {
        self.completer.is_some() || self.registry.snapshot().completes()
    }

    /// Of what a subscriber wants, what it may hear of.
    pub(crate) fn honoured(
        &self,
        sight: &Sight<'_>,
        wanted: &SubscriptionFilter,
    ) -> SubscriptionFilter {
        wanted.honoured(&self.offered(), |uri| self.shows(sight, uri))
    }

    /// Whether the caller may hear of the resource at `uri`.
    pub(crate) fn shows(&self, sight: &Sight<'_>, uri: &str) -> bool {
        let found = self.registry.snapshot().find_resource(sight, uri);
        found.is_some_and(|(component, _)| sight.visible(&component))
    }

    /// Completes an argument of a prompt or template that the caller's lists show.
    pub(crate) async fn complete(
        &self,
        context: Context,
        params: CompleteParams<'static>,
    ) -> Result<CompleteResult> {
        let component = self.referenced(&context.sight_of(self), &params.reference)?;
        if let Some(behind) = component.behind() {
            // Who answers for it knows it by its own name.
            return behind.complete(context, params).await;
        }
        let own = component.completer(&params.argument.name);
        match own.as_ref().or(self.completer.as_ref()) {
            Some(completer) => Ok(completer.complete(context, params).await?.into()),
            // Something else here is completed; this is not.
            None => Ok(Completion::new(Vec::new()).into()),
        }
    }

    /// Refuses references to what the caller does not see: values tell of what they belong to.
    fn referenced(&self, sight: &Sight<'_>, reference: &Reference<'_>) -> Result<Arc<Component>> {
        let snapshot = self.registry.snapshot();
        let (what, name, component) = match reference {
            Reference::Prompt { name } => {
                ("prompt", name, snapshot.find(sight, Kind::Prompt, name))
            }
            Reference::Resource { uri } => {
                let template = snapshot
                    .find(sight, Kind::Template, uri)
                    .or_else(|| Some(snapshot.find_resource(sight, uri)?.0));
                ("resource template", uri, template)
            }
            _ => {
                return Err(Error::protocol(RpcError::invalid_params(
                    "`params.ref` is of an unknown type",
                )));
            }
        };
        match component {
            Some(component) if sight.visible(&component) => Ok(component),
            _ => {
                let shown: String = name.chars().take(128).collect();
                let unknown = format!("`params.ref` names the unknown {what} `{shown}`");
                Err(Error::protocol(RpcError::invalid_params(unknown)))
            }
        }
    }
}
