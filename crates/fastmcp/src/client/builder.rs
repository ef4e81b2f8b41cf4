//! Clients, put together.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytestring::ByteString;
use fastmcp_auth::{Caller, oauth::OAuthClient};
use fastmcp_guard::random::{OsRandom, Random};
use fastmcp_protocol::{
    ProtocolVersion,
    capability::ClientCapabilities,
    elicit::{ElicitParams, ElicitResult},
    logging::{LogMessageParams, LoggingLevel},
    meta::Implementation,
    roots::Root,
    sampling::{CreateMessageParams, CreateMessageResult},
};
use fastmcp_transport::{
    Credentials, HttpWire, HttpWireConfig, SseWire, StdioWire, StdioWireConfig, Wire,
    memory::Memory,
};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use super::{
    Client,
    cache::{ResponseCache, Shelf},
    connect::{self, Failed, Start},
    credentials::OAuth,
    handler::{Asked, Handlers},
    link::{Config, Link, WriteTrace},
    notice::{Change, Listeners, Notices, Notified, Progress},
};
use crate::{
    error::{Error, Result},
    server::Server,
};

/// Puts a [`Client`] together.
///
/// # Defaults
///
/// Whichever revision the server knows; 60 s of silence and 10 min altogether per call; 10 rounds of
/// questions; a cache of its own.
#[must_use = "a builder does nothing until it connects"]
#[derive(Clone)]
pub struct ClientBuilder {
    config: Config,
    handlers: Handlers,
    listeners: Listeners,
    cache: Option<Arc<ResponseCache>>,
    partition: Option<ByteString>,
    http: HttpWireConfig,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            config: Config {
                info: Implementation::new("fastmcp", env!("CARGO_PKG_VERSION")),
                capabilities: ClientCapabilities::default(),
                timeout: Duration::from_mins(1),
                max_time: Duration::from_mins(10),
                probe: Duration::from_secs(10),
                max_rounds: 10,
                revision: None,
                level: None,
                progress: false,
                random: Arc::new(OsRandom),
                trace: None,
                logins: Arc::default(),
            },
            handlers: Handlers::default(),
            listeners: Listeners::default(),
            cache: None,
            partition: None,
            http: HttpWireConfig::default(),
        }
    }
}

impl ClientBuilder {
    /// Says which client this is.
    pub fn info(mut self, info: Implementation) -> Self {
        self.config.info = info;
        self
    }

    /// Speaks `revision` alone. Else the newest is spoken that the server knows.
    pub const fn revision(mut self, revision: ProtocolVersion) -> Self {
        self.config.revision = Some(revision);
        self
    }

    /// How long a server may be silent before a call is given up and cancelled; progress of the
    /// call begins it anew, and the time in which a question of the server waits for its answer does
    /// not count. 60 s unless told otherwise.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// Writes down the trace that the [span](crate::telemetry) of a request belongs to, for the server that is asked:
    /// `traceparent`, `tracestate` and `baggage`, of which others, and those that are not as their specifications
    /// say, are left out. By default the trace goes on that came with the request that is handled, if one is.
    ///
    /// With the crates `tracing-opentelemetry` and `opentelemetry` it is
    /// `|span| { let mut all = HashMap::new(); propagator.inject_context(&span.context(), &mut all); all }`.
    ///
    /// Source: W3C Trace Context and Baggage; MCP SEP-414.
    pub fn trace_context(
        mut self,
        write: impl Fn(&tracing::Span) -> HashMap<String, String> + Send + Sync + 'static,
    ) -> Self {
        self.config.trace = Some(WriteTrace::new(write));
        self
    }

    /// How long one message may go unanswered, whatever comes meanwhile. 10 min unless told
    /// otherwise.
    pub const fn max_time(mut self, max_time: Duration) -> Self {
        self.config.max_time = max_time;
        self
    }

    /// How long a server that is no HTTP endpoint may take to answer the first question before it
    /// counts as one that does not know it. 10 s unless told otherwise; never longer than
    /// [`Self::timeout`].
    pub const fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.config.probe = timeout;
        self
    }

    /// Rounds of questions before a call counts as stuck; at least one. 10 unless told otherwise.
    pub const fn max_rounds(mut self, rounds: usize) -> Self {
        self.config.max_rounds = rounds;
        self
    }

    /// Answers what servers ask the user. Fields that an accepted form leaves out get their
    /// defaults.
    ///
    /// Nobody but the user may be asked: who asks must be shown, and an address must be shown whole
    /// and opened only when the user agrees.
    pub fn on_elicit<F, A>(mut self, handler: F) -> Self
    where
        F: Fn(Asked<ElicitParams>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<ElicitResult>> + Send + 'static,
    {
        self.handlers.set_elicit(handler);
        self
    }

    /// Runs the model for servers that ask for it.
    pub fn on_sample<F, A>(mut self, handler: F) -> Self
    where
        F: Fn(Asked<CreateMessageParams>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<CreateMessageResult>> + Send + 'static,
    {
        self.handlers.set_sample(handler);
        self
    }

    /// Names the folders that the client works in.
    pub fn roots(mut self, roots: Vec<Root>) -> Self {
        self.handlers.set_roots(roots);
        self
    }

    /// Declares the extension `id` with its settings.
    pub fn extension(mut self, id: impl Into<String>, settings: Value) -> Self {
        let extensions = &mut self.config.capabilities.extensions;
        extensions
            .get_or_insert_default()
            .insert(id.into(), settings);
        self
    }

    /// Lets servers answer tool calls later: a call that becomes a task is looked at until it has
    /// ended, its questions are answered like others, and it is called off when the call is dropped.
    /// A task may take 24 hours; [`Self::max_time`] is about one message.
    pub fn tasks(self) -> Self {
        self.extension(fastmcp_protocol::task::EXTENSION, json!({}))
    }

    /// Wants log messages from `level` on, and tells `listener` of each. It runs between two
    /// messages of the server and must not block; so do the other listeners.
    pub fn on_log(
        mut self,
        level: LoggingLevel,
        listener: impl Fn(&LogMessageParams) + Send + Sync + 'static,
    ) -> Self {
        self.config.level = Some(level);
        self.listeners.log = Some(Arc::new(listener));
        self
    }

    /// Asks for the progress of every call, and tells `listener` of it.
    pub fn on_progress(mut self, listener: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.listeners.progress = Some(Arc::new(listener));
        self
    }

    /// Tells `listener` of what changes at the server. Servers tell of changes to those who
    /// [subscribe](Client::subscribe), old ones also to those who do not.
    pub fn on_change(mut self, listener: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.listeners.change = Some(Arc::new(listener));
        self
    }

    /// Tells `listener` of every notification.
    pub fn on_notification(mut self, listener: impl Fn(&Notified) + Send + Sync + 'static) -> Self {
        self.listeners.any = Some(Arc::new(listener));
        self
    }

    /// Wants every log message and the progress of every call, for
    /// [`Client::take_notifications`].
    pub const fn observe(mut self) -> Self {
        self.config.level = Some(LoggingLevel::Debug);
        self.config.progress = true;
        self
    }

    /// Keeps answers in `cache`, which other clients may share. Answers that are not public are
    /// shared by clients of one `partition`: it must name whose credentials are used, and change
    /// with them.
    pub fn cache(mut self, cache: Arc<ResponseCache>, partition: impl Into<ByteString>) -> Self {
        self.cache = Some(cache);
        self.partition = Some(partition.into());
        self
    }

    /// Has `handlers` answer every question.
    pub(crate) fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// Draws randomness from `random`: it spreads the attempts of many clients to reach one server.
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.config.random = random;
        self
    }

    /// Sets connections over HTTP up: headers, credentials, limits. Its timeouts are those of one
    /// answer; the shorter of them and of [`Self::timeout`] and [`Self::max_time`] holds.
    pub fn http(mut self, config: HttpWireConfig) -> Self {
        self.http = config;
        self
    }

    /// Sends these headers with every request over HTTP, beside those that are set.
    pub(super) fn headers(mut self, headers: &HeaderMap) -> Self {
        self.http.headers.extend(headers.clone());
        self
    }

    /// Proves who is asking, over HTTP.
    pub fn credentials(mut self, credentials: Arc<dyn Credentials>) -> Self {
        self.http.credentials = Some(credentials);
        self
    }

    /// Gets tokens over OAuth where the server asks for them, over HTTP. The time in which somebody logs in does not
    /// count as silence of the server.
    pub fn oauth(self, client: &OAuthClient) -> Self {
        let credentials = OAuth::new(client, &self.config.logins);
        self.credentials(Arc::new(credentials))
    }

    /// Sends `token` with every request over HTTP.
    ///
    /// # Errors
    ///
    /// When `token` cannot stand in a header.
    pub fn bearer(mut self, token: &str) -> Result<Self> {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Error::validation("the token has characters that no header may have"))?;
        value.set_sensitive(true);
        self.http.headers.insert(header::AUTHORIZATION, value);
        Ok(self)
    }

    /// Connects to the endpoint at `url`, which a person gave: it may be on this machine or in a
    /// private network. An endpoint that takes no messages there is tried as one of HTTP with SSE.
    ///
    /// # Errors
    ///
    /// When the URL cannot be used, the server cannot be reached, or nothing can be agreed on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_url(self, url: &str) -> Result<Client> {
        let wire = Arc::new(HttpWire::new(url, self.http.clone())?);
        let older = self.clone();
        match self
            .attempt(wire, url.to_owned().into(), Start::Asking)
            .await
        {
            Ok(client) => Ok(client),
            Err(Failed::Refused(error)) => match older.connect_sse(url).await {
                Ok(client) => Ok(client),
                Err(worse) => {
                    tracing::debug!(error = %worse, "neither is there HTTP with SSE");
                    Err(error)
                }
            },
            Err(Failed::Gone(error) | Failed::For(error)) => Err(error),
        }
    }

    /// Connects to the endpoint of HTTP with SSE at `url`, as 2024-11-05 had it.
    ///
    /// # Errors
    ///
    /// As [`Self::connect_url`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_sse(self, url: &str) -> Result<Client> {
        let wire = Box::pin(SseWire::connect(url, self.http.clone())).await?;
        self.connect_wire(Arc::new(wire), url.to_owned()).await
    }

    /// Starts a process and connects to it. A process that does not survive being asked what it
    /// speaks is started once more, and greeted in the way of the older revisions.
    ///
    /// # Errors
    ///
    /// When the process does not start, or nothing can be agreed on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the process is ended.
    pub async fn connect_command(self, command: &StdioWireConfig) -> Result<Client> {
        let key = ByteString::from(format!("{:?} {:?}", command.program, command.args));
        let wire = Arc::new(StdioWire::spawn(command)?);
        let again = self.clone();
        match self.attempt(wire, key.clone(), Start::Asking).await {
            Ok(client) => Ok(client),
            Err(Failed::Gone(error)) => {
                tracing::debug!(%error, "the process is started once more");
                let wire = Arc::new(StdioWire::spawn(command)?);
                let client = again.attempt(wire, key, Start::Greeting).await;
                client.map_err(Failed::into_error)
            }
            Err(Failed::Refused(error) | Failed::For(error)) => Err(error),
        }
    }

    /// Connects to `server`, of this process, as the local caller.
    ///
    /// # Errors
    ///
    /// When the server cannot start, and when nothing can be agreed on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_server(self, server: &Server) -> Result<Client> {
        self.connect_server_as(server, server.local_caller().clone())
            .await
    }

    /// Connects to `server`, of this process, as `caller`.
    ///
    /// # Errors
    ///
    /// As [`Self::connect_server`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_server_as(self, server: &Server, caller: Caller) -> Result<Client> {
        server.start().await?;
        let key = format!("memory:{}", server.name());
        let wire = Arc::new(Memory::connect(Arc::clone(server.door()), caller));
        self.connect_wire(wire, key).await
    }

    /// Connects by `wire`. `server` names the server at its end in a shared [cache](Self::cache).
    ///
    /// # Errors
    ///
    /// When nothing can be agreed on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; dropped, the wire is given up.
    pub async fn connect_wire(
        self,
        wire: Arc<dyn Wire>,
        server: impl Into<ByteString>,
    ) -> Result<Client> {
        self.attempt(wire, server.into(), Start::Asking)
            .await
            .map_err(Failed::into_error)
    }

    pub(super) async fn attempt(
        self,
        wire: Arc<dyn Wire>,
        server: ByteString,
        start: Start,
    ) -> std::result::Result<Client, Failed> {
        let shelf = Shelf {
            cache: self.cache.unwrap_or_default(),
            server,
            partition: self.partition.unwrap_or_else(own_partition),
        };
        let notices = Notices::new(self.listeners);
        let link = Link::new(wire, self.config, self.handlers, notices, shelf);
        // Made first: dropped, it ends what was begun.
        let client = Client::of(Arc::clone(&link));
        Box::pin(connect::negotiate(&link, start)).await?;
        Ok(client)
    }
}

/// A partition that no other client of this process has.
fn own_partition() -> ByteString {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("client {}", NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("config", &self.config)
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}
