//! The way to a server: from what it is to a client of it, and the life of a command that has one.

use std::{collections::HashSet, future::Future, io, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use fastmcp::{
    Client, Server,
    auth::oauth::{Grant, OAuthClient, OAuthConfig},
    client::{BrowserLogin, ClientBuilder},
    protocol::meta::Implementation,
    provider::ProviderState,
    transport::{HttpWireConfig, StdioWireConfig},
};
use http::{HeaderName, HeaderValue};
use tokio_util::task::TaskTracker;
use tracing_subscriber::filter::EnvFilter;
use url::{Host, Url};

use crate::{
    definition::{Definition, Process, Remote},
    front,
    output::{self, Interrupted, Usage, printable},
    surroundings::Surroundings,
    target::{Found, Reach, Servers, shown},
};

/// How long processes may take to end when the command does.
const END_WITHIN: Duration = Duration::from_secs(6);
/// How long a connection may take beyond the silence that is borne.
const CONNECT_EXTRA: Duration = Duration::from_secs(15);
/// How long somebody may take to log in.
const LOG_IN_WITHIN: Duration = Duration::from_mins(6);

/// A server that can be connected to at once.
#[derive(Clone)]
pub(crate) enum Ready {
    Process(StdioWireConfig),
    Remote {
        url: String,
        http: HttpWireConfig,
        is_sse: bool,
        oauth: Option<OAuthClient>,
    },
}

impl Ready {
    /// Fills variables in and builds what has to be built. Processes are looked after by `tasks`.
    pub(crate) async fn of(
        definition: Definition,
        around: &Surroundings,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Self> {
        let definition = definition.expanded(around).map_err(anyhow::Error::msg)?;
        Ok(match definition {
            Definition::Process(process) => Self::Process(wire(process, around, tasks)),
            Definition::Project(project) => {
                Self::Process(wire(project.build().await?, around, tasks))
            }
            Definition::Remote(remote) => address(remote)?,
        })
    }

    /// Connects.
    pub(crate) async fn connect(&self, builder: ClientBuilder) -> fastmcp::Result<Client> {
        match self {
            Self::Process(command) => builder.connect_command(command).await,
            Self::Remote {
                url,
                http,
                is_sse,
                oauth,
            } => {
                let mut builder = builder.http(http.clone());
                if let Some(oauth) = oauth {
                    builder = builder.oauth(oauth);
                }
                if *is_sse {
                    builder.connect_sse(url).await
                } else {
                    builder.connect_url(url).await
                }
            }
        }
    }

    /// How long connecting may take, where a server may be silent for `silence`.
    pub(crate) const fn connects_within(&self, silence: Duration) -> Duration {
        match self {
            Self::Remote { oauth: Some(_), .. } => silence.saturating_add(LOG_IN_WITHIN),
            _ => silence.saturating_add(CONNECT_EXTRA),
        }
    }
}

/// The process as a wire starts it.
pub(crate) fn wire(
    process: Process,
    around: &Surroundings,
    tasks: &TaskTracker,
) -> StdioWireConfig {
    let mut config = StdioWireConfig::new(process.program, process.args);
    for (name, value) in process.env {
        config = config.env(name, value);
    }
    let all = around
        .variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    config = if process.whole_environment {
        all.fold(config, |config, (name, value)| {
            if config.env.contains_key(&name) {
                config
            } else {
                config.env(name, value)
            }
        })
    } else {
        config.inherit(all)
    };
    if let Some(folder) = process.folder {
        config = config.directory(folder);
    }
    config.tasks = tasks.clone();
    config
}

fn address(remote: Remote) -> anyhow::Result<Ready> {
    let url = Url::parse(&remote.url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.context("give an `http` or `https` address, such as `https://host/mcp`")?;
    let mut http = HttpWireConfig::default();
    for (name, value) in &remote.headers {
        let shown = printable(name);
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| anyhow::anyhow!("header `{shown}`: this is no name of a header"))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| anyhow::anyhow!("header `{shown}`: give visible ASCII characters"))?;
        value.set_sensitive(true);
        http.headers.insert(name, value);
    }
    if !http.headers.is_empty() && url.scheme() == "http" && !is_here(&url) {
        bail!("the token or header would go over the network unencrypted; use https");
    }
    let oauth = remote.oauth.then(|| {
        let login = BrowserLogin::new()
            .on_url(|url| output::complain(&format!("log in at {}", printable(url))));
        OAuthClient::new(OAuthConfig::new(
            remote.url.clone(),
            Grant::Person(Arc::new(login)),
        ))
    });
    Ok(Ready::Remote {
        url: remote.url,
        http,
        is_sse: remote.is_sse,
        oauth: oauth.transpose()?,
    })
}

/// Whether the address is one of this machine.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A connection to a target.
pub(crate) struct Reached {
    pub(crate) client: Client,
    /// What makes one of several.
    front: Option<Server>,
}

impl Reached {
    /// Connects to what was found.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: processes are ended.
    pub(crate) async fn to(
        found: Found,
        reach: &Reach,
        around: &Surroundings,
        builder: ClientBuilder,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Self> {
        let mut builder = builder
            .info(Implementation::new(
                "fastmcp-cli",
                env!("CARGO_PKG_VERSION"),
            ))
            .timeout(reach.timeout());
        if let Some(revision) = reach.revision() {
            builder = builder.revision(revision);
        }
        match found.servers {
            Servers::One(definition) => {
                let name = shown(&definition);
                let ready = Ready::of(definition, around, tasks).await?;
                let within = ready.connects_within(reach.timeout());
                let connecting = tokio::time::timeout(within, Box::pin(ready.connect(builder)));
                let client = match connecting.await {
                    Ok(connected) => connected.map_err(|error| {
                        failed(&format!("`{name}` cannot be connected to"), &error)
                    })?,
                    Err(_) => bail!("`{name}` did not answer within {} s", within.as_secs()),
                };
                Ok(Self {
                    client,
                    front: None,
                })
            }
            Servers::Many(servers) => {
                let mut all = Vec::new();
                for (name, definition) in servers {
                    let ready = Ready::of(definition, around, tasks).await;
                    all.push((
                        name.clone(),
                        ready.with_context(|| format!("server `{}`", printable(&name)))?,
                    ));
                }
                let front = front::of_many("fastmcp", all, reach.timeout())?;
                front
                    .start()
                    .await
                    .map_err(|error| failed("the servers cannot be started", &error))?;
                tell_failures(&front);
                let client = builder.connect_server(&front).await;
                let client =
                    client.map_err(|error| failed("the servers cannot be connected to", &error))?;
                Ok(Self {
                    client,
                    front: Some(front),
                })
            }
        }
    }

    /// Ends the connection, and the processes behind it.
    pub(crate) async fn close(self) {
        let closing = async {
            self.client.close().await;
            if let Some(front) = self.front {
                front.shutdown().cancel();
                front.finish(END_WITHIN).await;
            }
        };
        if tokio::time::timeout(END_WITHIN, closing).await.is_err() {
            tracing::debug!("the connection was not closed in time");
        }
    }
}

/// Says which servers of a file are away.
pub(crate) fn tell_failures(front: &Server) {
    for status in front.providers() {
        if let ProviderState::Failed { why, .. } = status.state {
            output::complain(&format!(
                "server `{}` is away: {}",
                printable(&status.name),
                printable(&why)
            ));
        } else if status.state == ProviderState::Starting {
            output::complain(&format!(
                "server `{}` is slow to start",
                printable(&status.name)
            ));
        }
    }
}

/// What went wrong, and what a person may do about it.
pub(crate) fn failed(what: &str, error: &fastmcp::Error) -> anyhow::Error {
    let mut told = printable(error.message());
    if told.contains("HTTP status 401") || told.contains("not authorized") {
        told.push_str(
            "; give a token with --bearer-env VARIABLE or --header, or log in with --oauth",
        );
    }
    anyhow::anyhow!("{what}: {told}")
}

/// Runs a command to its end, or to the person's.
///
/// `work` gets what looks after processes: they are waited for.
pub(crate) fn run<T, F: Future<Output = anyhow::Result<T>>>(
    work: impl FnOnce(TaskTracker) -> F,
) -> anyhow::Result<T> {
    run_to_end(|tasks| unless_interrupted(Box::pin(work(tasks))))
}

/// As [`run`], for a command that hears signals itself.
pub(crate) fn run_to_end<T, F: Future<Output = anyhow::Result<T>>>(
    work: impl FnOnce(TaskTracker) -> F,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no threads can be started")?;
    let outcome = runtime.block_on(async {
        let tasks = TaskTracker::new();
        let outcome = Box::pin(work(tasks.clone())).await;
        tasks.close();
        if tokio::time::timeout(END_WITHIN, tasks.wait())
            .await
            .is_err()
        {
            tracing::debug!("a process did not end in time");
        }
        outcome
    });
    // A read of the terminal cannot be cancelled; the process does not wait for it.
    runtime.shutdown_background();
    outcome
}

/// `work`, unless the person ends the command first, which drops it.
pub(crate) async fn unless_interrupted<T>(
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let interrupted = interrupted()?;
    tokio::select! {
        biased;
        () = interrupted => Err(anyhow::Error::new(Interrupted)),
        outcome = work => outcome,
    }
}

/// SIGINT or SIGTERM, from now on.
#[cfg(unix)]
pub(crate) fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let take = |kind| signal(kind).context("signals cannot be taken");
    let (mut interrupt, mut terminate) = (
        take(SignalKind::interrupt())?,
        take(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ctrl-C.
#[cfg(not(unix))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the same form as where signals can be refused"
)]
pub(crate) fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Log lines on stderr: from `level` on, and everything of ours where the person wants to see it.
pub(crate) fn log(level: &str, verbose: bool) -> anyhow::Result<()> {
    let filter = if verbose {
        "warn,fastmcp=debug,fastmcp_transport=debug"
    } else {
        level
    };
    if !verbose
        && !HashSet::from(["error", "warn", "info", "debug", "trace", "off"]).contains(level)
    {
        return Err(Usage::new(format!(
            "`{}` is no level; give error, warn, info, debug or trace",
            printable(level)
        )));
    }
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .log_internal_errors(false)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .try_init()
        .map_err(|error| anyhow::anyhow!("log lines cannot be written: {error}"))
}
