//! The server: what it has, who may come in, how it runs.

mod builder;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fastmcp_auth::Caller;
use fastmcp_guard::clock::Clock;
use fastmcp_protocol::{
    Era, Message, Method, ProtocolVersion, RpcError,
    capability::{ListCapability, ResourcesCapability, ServerCapabilities},
    completion::{CompleteParams, CompleteResult},
    discover::DiscoverResult,
    http::Route,
    subscription::SubscriptionFilter,
    wire::CacheHint,
};
use fastmcp_transport::{
    Call, Denied, Door, Inbound, Limits, Peer, PeerKind, Reply, What,
    http::{HttpConfig, HttpService, Serve},
    memory::Memory,
    stdio::Stdio,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    component::Kind,
    error::{Error, Result},
    gate::Gate,
    registry::Registry,
    respond::Identity,
    seal::KeyRing,
    session::{legacy, listen, modern},
};

pub use builder::{Admission, Authenticate, FastMcp};

/// Answers `completion/complete`: the values for an argument.
pub type Completer = dyn Fn(&Caller, &CompleteParams<'_>) -> Vec<String> + Send + Sync;

/// A server that is ready to run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    engine: Arc<Engine>,
}

impl Server {
    /// Its components, for changes while it runs.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.engine.registry
    }

    /// The name that clients are told.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.engine.identity.info().name
    }

    /// Ends streams and servers of this server when it fires.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.engine.shutdown
    }

    /// What stands behind its doors, for transports that are put together by hand.
    #[must_use]
    pub const fn door(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// A connection within the process, as the local caller: message by message.
    #[must_use]
    pub fn memory(&self) -> Memory<Engine> {
        Memory::connect(Arc::clone(&self.engine), Caller::local())
    }

    /// The endpoint as a tower service, for any router.
    #[must_use]
    pub fn http_service(&self, config: HttpConfig) -> HttpService<Engine> {
        HttpService::new(
            Arc::clone(&self.engine),
            config,
            self.engine.tracker.clone(),
            self.engine.shutdown.clone(),
        )
    }

    /// Serves standard input and output until input ends or [`Self::shutdown`] fires.
    ///
    /// # Errors
    ///
    /// When a stream fails.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a line may have been read in part.
    pub async fn serve_stdio(&self) -> Result<()> {
        let stdio = Stdio::new(Arc::clone(&self.engine), Caller::local(), Limits::default());
        stdio
            .run(
                tokio::io::stdin(),
                tokio::io::stdout(),
                self.engine.shutdown.clone(),
            )
            .await?;
        Ok(())
    }

    /// Serves Streamable HTTP on `listener`, at every path, until [`Self::shutdown`] fires; then
    /// lets calls finish for up to 10 s.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops accepting; calls go on.
    pub async fn serve_http(&self, listener: TcpListener, config: HttpConfig) -> Result<()> {
        let limits = config.limits.clone();
        let service = self.http_service(config);
        let serve = Serve::new(
            limits,
            self.engine.shutdown.clone(),
            self.engine.tracker.clone(),
        );
        if !serve
            .run(listener, |address: SocketAddr| {
                service.from_address(address)
            })
            .await?
        {
            tracing::warn!("some calls did not finish in time");
        }
        Ok(())
    }
}

/// What stands behind the doors of one server.
#[derive(Debug)]
pub struct Engine {
    identity: Identity,
    instructions: Option<String>,
    registry: Registry,
    gate: Arc<dyn Gate>,
    authenticate: Option<Arc<dyn Authenticate>>,
    completer: Option<CompleterSlot>,
    key_ring: KeyRing,
    clock: Arc<dyn Clock>,
    mask: bool,
    page_size: Option<usize>,
    cache_hint: CacheHint,
    sessions: legacy::Sessions,
    subscriptions: Arc<Semaphore>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

struct CompleterSlot(Box<Completer>);

impl std::fmt::Debug for CompleterSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Completer")
    }
}

impl Engine {
    pub(crate) const fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) const fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn gate(&self) -> &dyn Gate {
        &*self.gate
    }

    pub(crate) const fn key_ring(&self) -> &KeyRing {
        &self.key_ring
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) const fn masks(&self) -> bool {
        self.mask
    }

    pub(crate) const fn page_size(&self) -> Option<usize> {
        self.page_size
    }

    pub(crate) const fn cache_hint(&self) -> CacheHint {
        self.cache_hint
    }

    pub(crate) const fn sessions(&self) -> &legacy::Sessions {
        &self.sessions
    }

    pub(crate) const fn subscriptions(&self) -> &Arc<Semaphore> {
        &self.subscriptions
    }

    pub(crate) const fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// What clients are told that the server can do: what it has.
    pub(crate) fn capabilities(&self) -> ServerCapabilities {
        let snapshot = self.registry.snapshot();
        let resources = snapshot.has(Kind::Resource) || snapshot.has(Kind::Template);
        ServerCapabilities {
            tools: snapshot.has(Kind::Tool).then(ListCapability::changing),
            prompts: snapshot.has(Kind::Prompt).then(ListCapability::changing),
            resources: resources.then(|| ResourcesCapability {
                subscribe: Some(true),
                list_changed: Some(true),
            }),
            completions: self.completer.is_some().then(serde_json::Map::new),
            logging: Some(serde_json::Map::new()),
            ..ServerCapabilities::default()
        }
    }

    /// What clients are told of the server.
    pub(crate) fn describe(&self) -> DiscoverResult {
        DiscoverResult {
            supported_versions: ProtocolVersion::of(Era::Modern)
                .map(|v| v.as_str().to_owned())
                .collect(),
            capabilities: self.capabilities(),
            instructions: self.instructions.clone(),
            meta: None,
        }
    }

    /// Whether the method belongs to something that the server has.
    pub(crate) fn serves(&self, method: Method) -> bool {
        let snapshot = self.registry.snapshot();
        match method {
            Method::ToolsList | Method::ToolsCall => snapshot.has(Kind::Tool),
            Method::PromptsList | Method::PromptsGet => snapshot.has(Kind::Prompt),
            Method::ResourcesList
            | Method::ResourcesTemplatesList
            | Method::ResourcesRead
            | Method::ResourcesSubscribe
            | Method::ResourcesUnsubscribe => {
                snapshot.has(Kind::Resource) || snapshot.has(Kind::Template)
            }
            Method::Complete => self.completer.is_some(),
            _ => true,
        }
    }

    /// Of what a subscriber wants, what it may hear of.
    pub(crate) fn honoured(
        &self,
        caller: &Caller,
        wanted: &SubscriptionFilter,
    ) -> SubscriptionFilter {
        let capabilities = self.capabilities();
        let offered = listen::offered(
            capabilities.tools.is_some(),
            capabilities.prompts.is_some(),
            capabilities.resources.is_some(),
        );
        let snapshot = self.registry.snapshot();
        wanted.honoured(&offered, |uri| {
            snapshot
                .find_resource(self.gate(), caller, uri)
                .is_some_and(|(c, _)| self.gate().visible(caller, &c))
        })
    }

    pub(crate) fn complete(
        &self,
        caller: &Caller,
        params: CompleteParams<'_>,
    ) -> Result<CompleteResult> {
        let completer = self
            .completer
            .as_ref()
            .ok_or_else(|| Error::protocol(RpcError::method_not_found("completion/complete")))?;
        Ok(CompleteResult::new((completer.0)(caller, &params)))
    }

    async fn answer(self: Arc<Self>, caller: Caller, inbound: Inbound) -> Reply {
        let Inbound {
            what,
            peer,
            outlet,
            cancel,
        } = inbound;
        let legacy = |version, peek| legacy::Exchange {
            caller: caller.clone(),
            peer: Arc::clone(&peer),
            outlet: outlet.clone(),
            cancel: cancel.clone(),
            version,
            peek,
        };
        match what {
            What::Message(Message::Request(request), Route::Modern { version, peek }) => {
                let exchange = modern::Exchange {
                    caller,
                    peer,
                    outlet,
                    cancel,
                    version,
                    peek,
                };
                modern::call(&self, exchange, request).await
            }
            What::Message(Message::Request(request), Route::Legacy { version, peek }) => {
                legacy::call(&self, legacy(version, peek), request).await
            }
            What::Message(Message::Notification(n), Route::Modern { .. }) => modern::notify(&n),
            What::Message(Message::Notification(n), Route::Legacy { version, peek }) => {
                legacy::notify(&self, &legacy(version, peek), &n)
            }
            What::Message(Message::Response(response), route) => match route {
                Route::Legacy { version, peek } => {
                    legacy::respond(&self, &legacy(version, peek), response)
                }
                Route::Modern { .. } => Reply::Status(400),
            },
            What::Listen { .. } => legacy::listen(&self, legacy(None, Default::default())).await,
            What::Terminate => legacy::terminate(&self, &legacy(None, Default::default())),
        }
    }
}

impl Door for Engine {
    type Caller = Caller;

    async fn admit(&self, peer: &Peer) -> std::result::Result<Caller, Denied> {
        match (&self.authenticate, peer.kind) {
            (Some(authenticate), PeerKind::Http) => authenticate.admit(peer).await,
            (None, PeerKind::Http) => Ok(Caller::anonymous()),
            (_, PeerKind::Stdio | PeerKind::Memory) => Ok(Caller::local()),
        }
    }

    fn call(self: &Arc<Self>, caller: Caller, inbound: Inbound) -> Call {
        Box::pin(Arc::clone(self).answer(caller, inbound))
    }
}

/// How long a legacy session may sit idle. Default 30 min.
pub(crate) const SESSION_IDLE: Duration = Duration::from_secs(1_800);
