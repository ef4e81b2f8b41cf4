//! A server as a platform runs it: settings, `/health` and `/ready`, a start and an end in peace.
//!
//! Source: the base components, "Base server class with lifecycle management"; the best practices, "Production server".

mod ready;

use std::{fmt, sync::Arc, time::Duration};

use http::Method;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    component::Json,
    config::{Logging, ServerConfig},
    error::{Error, Result},
    route::{Route, RouteRequest},
    server::{FastMcp, Lifespan, Server, Transport, told_to_end},
};
use ready::{Checks, Named};

/// How long a server over HTTP that drains is still served, so that balancers see that it is not ready.
const DRAIN_FOR: Duration = Duration::from_secs(5);

/// A server with settings and a life.
///
/// Over HTTP it says at `/health` that it lives, and at `/ready` whether it can be of use: its checks pass and it
/// does not drain. Nobody is authenticated for the two, and they answer under every name.
///
/// ```no_run
/// use fastmcp::{BaseServer, config::ServerConfig, prelude::*};
///
/// /// Adds two numbers.
/// #[tool]
/// async fn add(a: i64, b: i64) -> i64 {
///     a + b
/// }
///
/// # async fn example(vars: Vec<(String, String)>) -> Result<()> {
/// let config = ServerConfig::from_vars(vars)?;
/// BaseServer::new(config)?
///     .configure(|server| server.tool(add))
///     .on_startup(|life| async move { life.provide(String::from("a pool")) })
///     .check("database", || async { Ok(()) })
///     .run()
///     .await
/// # }
/// ```
pub struct BaseServer {
    config: ServerConfig,
    server: FastMcp,
    checks: Vec<Named>,
    drain_for: Duration,
}

impl BaseServer {
    /// Begins a server with settings.
    ///
    /// # Errors
    ///
    /// When the settings are wrong; see [`ServerConfig::validate`].
    pub fn new(config: ServerConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            server: config.server(),
            drain_for: if config.http {
                DRAIN_FOR
            } else {
                Duration::ZERO
            },
            config,
            checks: Vec::new(),
        })
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// How it logs; a binary makes a subscriber of it.
    #[must_use]
    pub const fn logging(&self) -> Logging {
        self.config.logging()
    }

    /// Gives the server its components and whatever else a server has.
    #[must_use]
    pub fn configure(mut self, configure: impl FnOnce(FastMcp) -> FastMcp) -> Self {
        self.server = configure(self.server);
        self
    }

    /// Runs `begin` before the first call; see [`FastMcp::lifespan`].
    #[must_use]
    pub fn on_startup<F, Fut>(self, begin: F) -> Self
    where
        F: FnOnce(Lifespan) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.configure(|server| server.lifespan(begin))
    }

    /// Runs `end` after the last call: what was added last runs first.
    #[must_use]
    pub fn on_shutdown<F, Fut>(self, end: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.on_startup(|life| async move {
            life.on_end(end);
            Ok(())
        })
    }

    /// Asks `check` whenever somebody looks at `/ready`, at most once a second; what takes longer than 5 s fails.
    /// Whoever looks is told the name and whether it passed, the log is told why it did not.
    #[must_use]
    pub fn check<F, Fut>(mut self, name: impl Into<String>, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.checks.push(Named::new(name.into(), check));
        self
    }

    /// How long a server that drains is still served, so that balancers see that it is not ready. Default 5 s over
    /// HTTP, none otherwise.
    #[must_use]
    pub const fn drain_for(mut self, time: Duration) -> Self {
        self.drain_for = time;
        self
    }

    /// Builds the server, and what ends it in peace.
    ///
    /// # Errors
    ///
    /// As [`FastMcp::build`], and when the settings demand authentication over HTTP and the server has none.
    pub fn build(self) -> Result<(Server, Drain)> {
        let config = &self.config;
        if config.http && config.enable_auth && !self.server.is_authenticated() {
            return Err(Error::internal(
                "`ENABLE_AUTH` is set, and the server lets in everybody; give it `FastMcp::auth`",
            ));
        }
        let draining = CancellationToken::new();
        let checks = Arc::new(Checks::new(self.checks, draining.clone()));
        let (version, clock) = (config.version.clone(), self.server.clock_of());
        let begun = Instant::now();
        let health = move |_: RouteRequest| {
            let told = serde_json::json!({
                "status": "healthy",
                "version": version,
                "timestamp": clock.now().to_string(),
                "uptime_seconds": begun.elapsed().as_secs(),
            });
            async move { Json(told) }
        };
        let ready = move |_: RouteRequest| {
            let checks = Arc::clone(&checks);
            async move { checks.answer().await }
        };
        let server = self
            .server
            .route(
                Route::new(Method::GET, "/health", health)
                    .any_host()
                    .max_body(0),
            )
            .route(
                Route::new(Method::GET, "/ready", ready)
                    .any_host()
                    .max_body(0),
            )
            .build()?;
        let drain = Drain {
            draining,
            shutdown: server.shutdown().clone(),
            time: self.drain_for,
        };
        Ok((server, drain))
    }

    /// Builds the server and serves it as the settings say, until input ends or the process is told to end by
    /// SIGTERM or SIGINT: then it drains, lets calls finish for 10 s, and undoes what its start did.
    ///
    /// # Errors
    ///
    /// As [`Self::build`] and [`Server::run`], and when the system gives no signals.
    ///
    /// # Cancel safety
    ///
    /// As [`Server::run`].
    pub async fn run(self) -> Result<()> {
        let (transport, config): (Transport, _) =
            (self.config.transport(), self.config.http_config());
        let (server, drain) = self.build()?;
        let told = told_to_end()?;
        let ended = server.shutdown().clone();
        drop(TaskTracker::new().spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = told => drain.stop().await,
            }
        }));
        server.run(transport, config).await
    }
}

impl fmt::Debug for BaseServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseServer")
            .field("config", &self.config)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Ends a [`BaseServer`] in peace. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain {
    draining: CancellationToken,
    shutdown: CancellationToken,
    time: Duration,
}

impl Drain {
    /// Says at `/ready` from now on that the server is not ready. It is served as before.
    pub fn begin(&self) {
        self.draining.cancel();
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Begins, waits as long as [`BaseServer::drain_for`] says, and ends the server.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the server drains and is not ended.
    pub async fn stop(&self) {
        self.begin();
        tokio::time::sleep(self.time).await;
        self.shutdown.cancel();
    }
}
