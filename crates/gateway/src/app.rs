//! The gateway put together: built once, served, closed.

mod api_keys;
mod background;
mod certificates;
mod front;
mod issuers;
mod limits;
mod open;
mod policies;
mod resource;
mod seal_keys;
mod sweep;
mod trail;
mod unfinished;
mod verifier;
mod watch;
mod webhook;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::Router;
use fastmcp::{
    FastMcp, Server,
    auth::caller::LocalIdentity,
    transport::{
        Limits,
        http::{AllowedHosts, HttpConfig, HttpService, Serve},
        stdio::Stdio,
    },
};
use fastmcp_audit::Status;
use fastmcp_auth::{ApiKeyVerifier, Authenticator, Caller, Challenger};
use fastmcp_guard::{
    clock::{Clock, SystemClock, Timestamp},
    random::{OsRandom, Random},
};
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::front::Front;
use crate::{
    announce::Webhook,
    broker::Broker,
    catalog::Catalog,
    config::{Config, JwtKeys},
    door::Door,
    keys::{Keys, SealFile},
    label::Labels,
    mcp,
    pipeline::Pipeline,
    policy::Policy,
    rest::{self, Desk, Looks, OpenApiDocument, Rest},
    state::State,
    telemetry::Telemetry,
};

use api_keys::WatchedKeys;
use certificates::Certificates;
use issuers::{Callers, Issuers};
use policies::PolicyFiles;
use resource::Described;
use seal_keys::SealWatch;
use watch::{Seen, Stamp};

/// How long a session may sit idle.
const SESSION_IDLE: Duration = Duration::from_secs(1_800);
/// The path of the MCP door.
const MCP_PATH: &str = "/mcp";

/// The gateway cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A folder or file cannot be used.
    #[error("`{path}` cannot be used")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Development keys are for loopback alone.
    #[error(
        "development keys are for loopback: bind 127.0.0.1, or set JWT_JWKS_URL or JWT_JWKS_FILE to the keys of your identity provider (bind was {0})"
    )]
    DevelopmentKeys(SocketAddr),
    /// The policy cannot be used.
    #[error("policy cannot be loaded:\n{0}")]
    Policy(String),
    /// A part cannot be opened.
    #[error("{part} cannot be opened: {source}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The listener failed.
    #[error("listener failed")]
    Listener(#[source] io::Error),
}

impl Error {
    fn part<E>(part: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::Part {
            part,
            source: source.into(),
        }
    }
}

/// The gateway.
pub struct App {
    config: Config,
    pipeline: Arc<Pipeline>,
    policies: PolicyFiles,
    loaded: Seen<policies::Fingerprint>,
    limits_loaded: Seen<Option<Stamp>>,
    /// Says that keys, certificates and issuers are to be read now.
    asked: tokio::sync::watch::Sender<()>,
    state: State,
    api_keys: WatchedKeys,
    certificates: Option<Certificates>,
    webhook: Option<Arc<Webhook>>,
    issuers: Issuers,
    key_ring: Keys,
    seal_keys: SealWatch,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    started: Timestamp,
    server: OnceLock<Server>,
    tracker: TaskTracker,
}

impl App {
    /// Opens everything that `config` names, making what is missing.
    ///
    /// # Errors
    ///
    /// [`Error`] names the part and what to do.
    ///
    /// # Cancel safety
    ///
    /// Dropped, files may have been made; the next start uses them.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        check_bind(config, config.bind)?;
        let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) =
            (Arc::new(SystemClock), Arc::new(OsRandom));
        open::private_folder(&config.data_dir)?;
        // Taken before the file is read, so that what changes meanwhile is seen as a change; unless the file is made here.
        let seal_file = SealFile::path_in(&config.data_dir);
        let sealed_by = Stamp::of(&seal_file);
        let key_ring = open::blocking(&config.data_dir, Keys::open)
            .await?
            .map_err(Error::part("key folder"))?;
        let sealed_by = sealed_by.or_else(|| Stamp::of(&seal_file));
        let policies = PolicyFiles::open(&config.policy_path)?;
        // Taken before the files are read, so that what changes meanwhile is seen as a change.
        let loaded = Seen::new(policies.fingerprint());
        let limits_loaded = Seen::new(Stamp::of(&config.limits_path));
        let policy = Policy::load(&policies.read()?, Arc::clone(&clock))
            .map_err(|e| Error::Policy(e.to_string()))?;
        let telemetry = Telemetry::new();
        let audit = open::open_audit(config, &key_ring, Arc::clone(&clock), &telemetry).await?;
        let state = open::open_state(config, &key_ring).await?;
        let adapters = open::adapters(config, &random).await?;
        let catalog = Catalog::open(state.clone(), adapters, Arc::clone(&clock))
            .await
            .map_err(Error::part("catalogue"))?;
        telemetry.count_tools(catalog.all().len());
        let (webhook, announcer) = webhook::open(config, &clock)?.unzip();
        let consents = open::consents(config, &state, announcer)?;
        let limit = open::limit(config, &clock, &random, &telemetry)?;
        let issuers = Issuers::open(config, &clock).await?;
        let api_keys = WatchedKeys::open(config.api_keys_file.clone(), |keys| {
            ApiKeyVerifier::new(keys, issuers.verifier(), Arc::clone(&clock))
        })
        .await?;
        let certificates = Certificates::open(config).await?;
        let seal_keys = SealWatch::new(config.data_dir.clone(), sealed_by, &key_ring, &state);
        let pipeline = Pipeline {
            audit,
            catalog,
            policy,
            labels: Labels::new(state.clone(), config.label_ttl),
            limit,
            consents,
            broker: Broker::new(Arc::clone(&clock)),
            timeout: config.request_timeout,
            telemetry,
        };
        Ok(Self {
            config: config.clone(),
            pipeline: Arc::new(pipeline),
            policies,
            loaded,
            limits_loaded,
            asked: tokio::sync::watch::Sender::default(),
            state,
            api_keys,
            certificates,
            webhook,
            issuers,
            seal_keys,
            key_ring,
            started: clock.now(),
            clock,
            random,
            server: OnceLock::new(),
            tracker: TaskTracker::new(),
        })
    }

    /// Serves both doors until `shutdown` fires; then stops accepting, lets calls finish within the
    /// grace period, and says whether all did. Call [`Self::close`] afterwards.
    ///
    /// # Errors
    ///
    /// When the listener fails, or listens beyond loopback with development keys.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it stops accepting; calls go on.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<bool, Error> {
        let address = listener.local_addr().map_err(Error::Listener)?;
        check_bind(&self.config, address)?;
        let described = Described::new(&self.config, address, self.issuers.clone())?;
        let challenger = Challenger::new()
            .with_resource_metadata(&described.url())
            .map_err(Error::part("resource metadata"))?;
        let door = Door::new(
            Arc::new(Authenticator::new(self.api_keys.verifier(), challenger).with_api_keys()),
            self.pipeline.audit.clone(),
            self.pipeline.telemetry.clone(),
            Arc::clone(&self.random),
            self.config.trusted_proxies.clone(),
        )
        .require_bound(self.config.tls.as_ref().is_some_and(|tls| tls.require));
        let server = self.server(&shutdown, Some(door.clone()))?;
        let mcp = HttpService::new(
            Arc::clone(server.door()),
            self.http_config(),
            self.tracker.clone(),
            shutdown.clone(),
        );
        let front = Front {
            door: Arc::new(door.clone()),
            mcp,
            rest: self.router(&server, door, described, address)?,
            address,
            certificate: None,
        };
        self.background(&shutdown).await;
        let serve = Serve::new(Limits::default(), shutdown.clone(), self.tracker.clone())
            .grace(self.config.shutdown_grace);
        let serving = async {
            let addressed = |address| Front {
                address,
                ..front.clone()
            };
            let served = match &self.certificates {
                None => serve.run(listener, addressed).await,
                Some(certificates) => {
                    let tls = certificates.tls();
                    let handshake = |stream| tls.accept(stream);
                    let shown = |address| {
                        let service = addressed(address);
                        move |certificate| Front {
                            certificate,
                            ..service
                        }
                    };
                    serve.run_over(listener, handshake, shown).await
                }
            };
            shutdown.cancel();
            served
        };
        let (served, ()) = tokio::join!(serving, self.watch_policy(shutdown.clone()));
        served.map_err(Error::Listener)
    }

    /// Serves MCP on standard input and output, to one local caller with `roles`.
    ///
    /// # Errors
    ///
    /// When a stream fails.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a line may have been read in part.
    pub async fn serve_stdio(
        &self,
        roles: Vec<String>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let server = self.server(&shutdown, None)?;
        self.background(&shutdown).await;
        let caller = Caller::local_as(LocalIdentity {
            subject: "local".to_owned(),
            tenant: Some(self.config.catalog_tenant_default.clone()),
            roles,
            scopes: None,
        });
        let stdio = Stdio::new(Arc::clone(server.door()), caller, Limits::default());
        let serving = async {
            let served = stdio
                .run(tokio::io::stdin(), tokio::io::stdout(), shutdown.clone())
                .await;
            shutdown.cancel();
            served
        };
        let (served, ()) = tokio::join!(serving, self.watch_policy(shutdown.clone()));
        self.tracker.close();
        self.tracker.wait().await;
        served.map_err(Error::Listener)
    }

    /// Loads the policy files again. A bad file changes nothing.
    ///
    /// # Errors
    ///
    /// What is wrong, with file and line.
    pub fn reload_policy(&self) -> Result<String, String> {
        self.loaded
            .load(|| self.policies.fingerprint(), || self.load_policy())
    }

    fn load_policy(&self) -> Result<String, String> {
        let loaded = self
            .policies
            .read()
            .map_err(|e| e.to_string())
            .and_then(|sources| {
                self.pipeline
                    .policy
                    .reload(&sources)
                    .map_err(|e| e.to_string())
            });
        let audit = &self.pipeline.audit;
        match &loaded {
            Ok(version) => {
                tracing::info!(version, "policy loaded");
                self.pipeline.telemetry.policy_reloaded("success");
                audit.event(
                    "policy.reloaded",
                    Status::Success,
                    json!({"version": version}),
                );
                if let Some(server) = self.server.get() {
                    mcp::list_changed(server);
                }
            }
            Err(error) => {
                tracing::error!(error, "policy not loaded; the one in force stays");
                self.pipeline.telemetry.policy_reloaded("failed");
                let shown: String = error.chars().take(2_000).collect();
                audit.event("policy.reloaded", Status::Failed, json!({"error": shown}));
            }
        }
        loaded
    }

    /// Has API keys, certificates and issuers with their keys read again soon, whether their files seem to have changed or
    /// not. What cannot be used changes nothing; either is logged and recorded.
    pub fn reload_keys(&self) {
        self.asked.send_replace(());
    }

    /// Finishes and closes the state and the audit log.
    ///
    /// # Errors
    ///
    /// When what waits cannot be written.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the log is closed by a thread of its own.
    pub async fn close(&self) -> Result<(), Error> {
        self.pipeline.limit.close().await;
        self.pipeline.audit.catch_up().await;
        self.state.close().await;
        let audit = self.pipeline.audit.clone();
        let closing = audit.clone();
        let closed = tokio::task::spawn_blocking(move || closing.close_log())
            .await
            .map_err(Error::part("audit log"))?;
        audit.finish_exports().await;
        closed.map_err(Error::part("audit log"))
    }

    fn server(&self, shutdown: &CancellationToken, door: Option<Door>) -> Result<Server, Error> {
        let base = FastMcp::new(&self.config.server_name)
            .version(&self.config.server_version)
            .instructions("Governed tools. Some calls are asked about first; refusals say why and what to do.")
            .mask_error_details(self.config.mask_errors)
            .clock(Arc::clone(&self.clock))
            .key_ring(self.key_ring.seal())
            // A question is worth nothing once its ticket has expired.
            .answer_within(self.config.confirm_ttl)
            .sessions(self.config.max_sessions, SESSION_IDLE)
            .stateless_http(self.config.stateless_http)
            .shutdown(shutdown.clone());
        let base = match door {
            Some(door) => base.auth(door),
            None => base,
        };
        let server = mcp::server(&self.pipeline, Arc::clone(&self.random), base).map_err(|e| {
            Error::Part {
                part: "MCP door",
                source: e.message().to_owned().into(),
            }
        })?;
        Ok(self.server.get_or_init(|| server).clone())
    }

    fn router(
        &self,
        server: &Server,
        door: Door,
        described: Described,
        address: SocketAddr,
    ) -> Result<Router, Error> {
        let (hosts, turns_away) = (self.hosts(), door.clone());
        let rest = self.rest(server, door, address)?;
        // Copied with each request.
        let (hosts, turns_away) = (Arc::new(hosts), Arc::new(turns_away));
        let guard = axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                let checked = hosts.check(request.uri(), request.headers());
                let door = Arc::clone(&turns_away);
                async move {
                    match checked {
                        Ok(()) => next.run(request).await,
                        Err(error) => rest::forbidden_host(&door, &error, &request),
                    }
                }
            },
        );
        Ok(described.route(rest::router(Arc::new(rest))).layer(guard))
    }

    fn rest(&self, server: &Server, door: Door, address: SocketAddr) -> Result<Rest, Error> {
        let limits = Limits::default();
        Ok(Rest {
            pipeline: Arc::clone(&self.pipeline),
            door,
            server: server.clone(),
            state: self.state.clone(),
            admission: Arc::new(Callers {
                issuers: self.issuers.clone(),
                keys: self.api_keys.verifier(),
            }),
            clock: Arc::clone(&self.clock),
            started: self.started,
            version: self.config.server_version.clone(),
            default_tenant: self.config.catalog_tenant_default.clone(),
            looks: Looks::default(),
            open_metrics: address.ip().is_loopback(),
            tracker: self.tracker.clone(),
            desk: self.desk(address),
            document: OpenApiDocument::new(&self.config.server_version)
                .map_err(Error::part("REST description"))?,
            calls: Arc::new(Semaphore::new(limits.concurrent_calls)),
            limits,
        })
    }

    fn desk(&self, address: SocketAddr) -> Desk {
        // A name of its own means that a proxy speaks TLS for the gateway.
        let secure = self.config.tls.is_some()
            || !address.ip().is_loopback()
            || !self.config.allowed_hosts.is_empty();
        let (clock, random) = (Arc::clone(&self.clock), Arc::clone(&self.random));
        Desk::new(self.key_ring.seal(), secure, clock, random)
    }

    fn http_config(&self) -> HttpConfig {
        HttpConfig {
            hosts: self.hosts(),
            ..HttpConfig::default()
        }
    }

    fn hosts(&self) -> AllowedHosts {
        let hosts = self
            .config
            .allowed_hosts
            .iter()
            .fold(AllowedHosts::default(), |hosts, name| {
                hosts.allow_host(name)
            });
        self.config
            .allowed_origins
            .iter()
            .fold(hosts, |hosts, origin| hosts.allow_origin(origin))
    }
}

fn check_bind(config: &Config, bind: SocketAddr) -> Result<(), Error> {
    let development = matches!(config.jwt.keys, JwtKeys::Development);
    if development && !bind.ip().is_loopback() {
        Err(Error::DevelopmentKeys(bind))
    } else {
        Ok(())
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("config", &self.config)
            .field("pipeline", &self.pipeline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
