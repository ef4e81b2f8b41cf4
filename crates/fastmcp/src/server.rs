//! The server: what it has, who may come in, how it runs.

mod builder;
mod composition;
mod front;
mod providers;
mod run;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fastmcp_auth::Caller;
use fastmcp_protocol::{Message, RpcError, jsonrpc::encode_error};
use fastmcp_transport::{
    Call, Denied, Door, Inbound, Limits, Peer, PeerKind, Reply, TurnedAway, What,
    http::{HttpConfig, HttpService, Serve},
    memory::Memory,
    stdio::Stdio,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    component::Component,
    context::{Context, Home, Values},
    error::Result,
    registry::{Kind, Registry},
    session,
    telemetry::{self, About},
};

pub use crate::engine::{Admission, Authenticate, Engine, life::Lifespan, task::TaskLimits};
#[cfg(feature = "oauth-proxy")]
pub use builder::AuthProvider;
pub use builder::FastMcp;
pub use front::HttpApp;
pub use run::Transport;
pub(crate) use run::told_to_end;

/// How long calls and tasks may take to finish once the server ends.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// A server that is ready to run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    engine: Arc<Engine>,
}

impl Server {
    /// Runs `work` beside the server; whoever waits for the server to end waits for it too.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.engine.tracker.spawn(work));
    }

    /// Its components, for changes while it runs.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.engine.registry
    }

    /// The tool of this name, whoever may see it.
    #[must_use]
    pub fn get_tool(&self, name: &str) -> Option<Arc<Component>> {
        self.get(Kind::Tool, name)
    }

    /// The resource at this URI, or the template of this form, whoever may see it.
    #[must_use]
    pub fn get_resource(&self, uri: &str) -> Option<Arc<Component>> {
        self.get(Kind::Resource, uri)
            .or_else(|| self.get(Kind::Template, uri))
    }

    /// The prompt of this name, whoever may see it.
    #[must_use]
    pub fn get_prompt(&self, name: &str) -> Option<Arc<Component>> {
        self.get(Kind::Prompt, name)
    }

    fn get(&self, kind: Kind, key: &str) -> Option<Arc<Component>> {
        let snapshot = self.engine.registry.snapshot();
        snapshot.of_kind(kind).find(|c| c.key() == key).cloned()
    }

    /// The name that clients are told.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.engine.identity.info().name
    }

    /// Gives handlers values that are there while the server runs, in place of those that it was given so
    /// before; [`Values::new`](crate::Values::new) takes them away. What it was built with stays.
    pub fn give_state(&self, values: Values) {
        self.engine.values.run_with(values);
    }

    /// Ends streams and servers of this server when it fires.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.engine.shutdown
    }

    /// Who calls over standard input and output and from within the process.
    #[must_use]
    pub fn local_caller(&self) -> &Caller {
        &self.engine.local
    }

    /// What stands behind its doors, for transports that are put together by hand.
    #[must_use]
    pub const fn door(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// A connection within the process, as the local caller: message by message.
    #[must_use]
    pub fn memory(&self) -> Memory<Engine> {
        Memory::connect(Arc::clone(&self.engine), self.engine.local.clone())
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

    /// Everything that [`Self::serve_http`] serves, as a tower service for any router: the routes of the server at
    /// their paths, and the endpoint at all others. The server starts with [`Self::start`] or its first request,
    /// and ends with [`Self::finish`].
    #[must_use]
    pub fn http_app(&self, config: HttpConfig) -> HttpApp {
        let (limits, hosts) = (config.limits.clone(), config.hosts.clone());
        let endpoint = self.http_service(config);
        HttpApp::new(endpoint, self, limits, hosts)
    }

    /// Runs the [lifespans](FastMcp::lifespan), if nothing has; the doors do it by themselves. Before a service is
    /// mounted in a router of one's own, this says why the server cannot start.
    ///
    /// # Errors
    ///
    /// When a lifespan fails, now or before, and when the server has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; what has begun goes on.
    pub async fn start(&self) -> Result<()> {
        self.engine.life.start(&self.engine.tracker).await
    }

    /// Serves a door from the start of the server to its end.
    async fn serving(&self, door: impl Future<Output = Result<()>>) -> Result<()> {
        let serving = Serving::of(&self.engine);
        self.start().await?;
        let outcome = door.await;
        drop(serving);
        self.engine.life.end().await;
        outcome
    }

    /// Serves standard input and output until input ends or [`Self::shutdown`] fires; then lets tasks
    /// finish for up to 10 s, calling off those that only memory keeps.
    ///
    /// # Errors
    ///
    /// When a stream fails.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a line may have been read in part.
    pub async fn serve_stdio(&self) -> Result<()> {
        self.serving(Box::pin(self.stdio())).await
    }

    async fn stdio(&self) -> Result<()> {
        let stdio = Stdio::new(
            Arc::clone(&self.engine),
            self.engine.local.clone(),
            Limits::default(),
        );
        stdio
            .run(
                tokio::io::stdin(),
                tokio::io::stdout(),
                self.engine.shutdown.clone(),
            )
            .await?;
        // Nobody can look at what a client on this connection began and memory keeps.
        if !self.engine.tasks.store().capabilities().durable {
            self.engine.tasks.cancel_all();
        }
        if !self.settle(FINISH_WITHIN).await {
            tracing::warn!("some calls did not finish in time");
        }
        Ok(())
    }

    /// Waits until tasks and calls whose clients went away have ended; whether they did so `within` the
    /// time; then ends what [lifespans](FastMcp::lifespan) began, unless a door is served.
    /// [`Self::serve_http`] and [`Self::serve_stdio`] do it by themselves. Nothing is called off by
    /// it, except that questions of tasks end once [`Self::shutdown`] fires.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe until lifespans end; what is dropped then is not undone.
    pub async fn finish(&self, within: Duration) -> bool {
        let finished = self.settle(within).await;
        self.engine.life.end().await;
        finished
    }

    async fn settle(&self, within: Duration) -> bool {
        self.engine.tracker.close();
        tokio::time::timeout(within, self.engine.tracker.wait())
            .await
            .is_ok()
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
        self.serving(Box::pin(self.http(listener, config))).await
    }

    async fn http(&self, listener: TcpListener, config: HttpConfig) -> Result<()> {
        let limits = config.limits.clone();
        let service = self.http_app(config);
        let serve = Serve::new(
            limits,
            self.engine.shutdown.clone(),
            self.engine.tracker.clone(),
        );
        if !serve
            .run(listener, |address: SocketAddr| {
                service.on_connection_from(address)
            })
            .await?
        {
            tracing::warn!("some calls did not finish in time");
        }
        Ok(())
    }
}

impl Context {
    /// The server that the handler belongs to.
    ///
    /// # Errors
    ///
    /// When the context was not made by a server.
    pub fn server(&self) -> Result<Server> {
        let engine = self.engine()?;
        Ok(Server { engine })
    }

    /// The same request, as a handler of `server` sees it: that server's state, components and strictness.
    #[must_use]
    pub fn within(&self, server: &Server) -> Self {
        self.at(Arc::clone(&server.engine) as Arc<dyn Home>)
    }
}

impl Door for Engine {
    type Caller = Caller;

    async fn admit(&self, peer: &Peer) -> std::result::Result<Caller, Denied> {
        match (&self.authenticate, peer.kind) {
            (Some(authenticate), PeerKind::Http) => authenticate.admit(peer).await,
            (None, PeerKind::Http) => Ok(Caller::anonymous()),
            (_, PeerKind::Stdio | PeerKind::Memory) => Ok(self.local.clone()),
        }
    }

    async fn still_admits(&self, peer: &Peer, caller: &Caller) -> bool {
        if !caller.is_valid_at(self.clock().now()) {
            return false;
        }
        match Door::admit(self, peer).await {
            // Somebody whose rights changed comes in anew, as what they are now.
            Ok(now) => {
                now.principal() == caller.principal()
                    && now.tenant() == caller.tenant()
                    && now.roles() == caller.roles()
                    && now.scopes() == caller.scopes()
            }
            // Who verifies is away: what was proven holds until it expires.
            Err(denied) => denied.status == 503,
        }
    }

    fn turned_away(&self, peer: &Peer, caller: Option<&Caller>, why: TurnedAway<'_>) {
        if let Some(authenticate) = &self.authenticate {
            authenticate.turned_away(peer, caller, why);
        }
    }

    fn call(self: &Arc<Self>, caller: Caller, inbound: Inbound) -> Call {
        if telemetry::is_wanted() {
            let knows = |kind, key: &str| self.registry.snapshot().knows(kind, key);
            let introduced = session::introduced(&inbound.what);
            let about = introduced.and_then(|all| About::of(&inbound.peer, all, knows));
            if let Some(about) = about {
                return telemetry::observe(about, || self.answer(caller, inbound));
            }
        }
        self.answer(caller, inbound)
    }
}

impl Engine {
    /// Answers a message, once the server has started.
    fn answer(self: &Arc<Self>, caller: Caller, inbound: Inbound) -> Call {
        if self.life.is_open() {
            return session::answer(Arc::clone(self), caller, inbound);
        }
        let engine = Arc::clone(self);
        Box::pin(async move {
            match engine.life.start(&engine.tracker).await {
                Ok(()) => session::answer(engine, caller, inbound).await,
                Err(error) => unserved(&inbound.what, &error.shown(engine.mask)),
            }
        })
    }
}

/// The answer of a server that could not start, or has ended.
fn unserved(what: &What, why: &str) -> Reply {
    match what {
        What::Message(Message::Request(request), _) => {
            let error = RpcError::internal(why.to_owned());
            Reply::with_status(503, encode_error(Some(&request.id), &error))
        }
        What::Message(..) | What::Listen { .. } | What::Terminate => Reply::Status(503),
    }
}

/// A use of a server, until it is dropped: a door, or a server that it is mounted in.
struct Serving(Arc<Engine>);

impl Serving {
    fn of(engine: &Arc<Engine>) -> Self {
        engine.life.enter();
        Self(Arc::clone(engine))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.life.leave();
    }
}
