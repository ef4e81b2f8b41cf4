//! A server in front of others, of which it shows what they have.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use fastmcp::{
    Component, FastMcp, Result, Server,
    protocol::meta::Implementation,
    provider::{Change, Provider},
    proxy::ProxyProvider,
    transform::Transform,
};
use futures_util::{future::BoxFuture, stream::BoxStream};

use crate::{
    reach::{Ready, failed},
    target::plain_name,
};

/// What a server said of itself.
#[derive(Clone, Default)]
struct Described {
    info: Option<Implementation>,
    instructions: Option<String>,
}

/// A provider that was started before it got a server, so that it is known what to say of it and that it works.
struct Begun {
    inner: ProxyProvider,
    is_new: AtomicBool,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Provider for Begun {
    fn name(&self) -> Cow<'_, str> {
        self.inner.name()
    }

    fn start(&self) -> BoxFuture<'_, Result<()>> {
        if self.is_new.swap(false, Ordering::AcqRel) {
            return Box::pin(std::future::ready(Ok(())));
        }
        self.inner.start()
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<Arc<Component>>>> {
        self.inner.components()
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        self.inner.changes()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.inner.stop()
    }

    fn transforms(&self) -> Vec<Arc<dyn Transform>> {
        self.inner.transforms()
    }
}

fn provider(
    name: &str,
    ready: Ready,
    silence: Duration,
    described: Arc<OnceLock<Described>>,
) -> ProxyProvider {
    ProxyProvider::new(name, move |builder| {
        let (ready, described) = (ready.clone(), Arc::clone(&described));
        async move {
            let client = ready.connect(builder.timeout(silence)).await?;
            let said = Described {
                info: client.server_info(),
                instructions: client.instructions(),
            };
            // The first description stays: clients were told it.
            let _stays = described.set(said);
            Ok(client)
        }
    })
}

/// A server in front of one, that is called and described as it is. Connects at once.
///
/// # Cancel safety
///
/// Cancel safe: the server is left.
pub(crate) async fn of_one(name: &str, ready: Ready, silence: Duration) -> anyhow::Result<Server> {
    let (begun, described) = begin(name, ready, silence).await?;
    let info = described
        .info
        .unwrap_or_else(|| Implementation::new(name, ""));
    let mut base = FastMcp::new(info.name);
    if !info.version.is_empty() {
        base = base.version(info.version);
    }
    if let Some(text) = described.instructions {
        base = base.instructions(text);
    }
    if let Some(text) = info.title {
        base = base.title(text);
    }
    if let Some(text) = info.description {
        base = base.description(text);
    }
    if let Some(url) = info.website_url {
        base = base.website_url(url);
    }
    base.provider(begun)
        .build()
        .map_err(|error| failed("the server cannot be put in front", &error))
}

/// A source that is connected, for a server that runs already.
///
/// # Cancel safety
///
/// As [`of_one`].
pub(crate) async fn source(
    name: &str,
    ready: Ready,
    silence: Duration,
) -> anyhow::Result<impl Provider> {
    Ok(begin(name, ready, silence).await?.0)
}

async fn begin(name: &str, ready: Ready, silence: Duration) -> anyhow::Result<(Begun, Described)> {
    let described = Arc::new(OnceLock::new());
    let within = ready.connects_within(silence);
    let inner = provider(name, ready, silence, Arc::clone(&described));
    let started = tokio::time::timeout(within, Box::pin(inner.start())).await;
    started
        .with_context(|| {
            format!(
                "server `{name}` did not answer within {} s",
                within.as_secs()
            )
        })?
        .map_err(|error| failed(&format!("server `{name}` cannot be connected to"), &error))?;
    let said = described.get().cloned().unwrap_or_default();
    Ok((
        Begun {
            inner,
            is_new: AtomicBool::new(true),
        },
        said,
    ))
}

/// A server in front of several: what `files` calls `read` is called `files_read`. One that is away takes nobody down, and
/// is tried again.
pub(crate) fn of_many(
    name: &str,
    servers: Vec<(String, Ready)>,
    silence: Duration,
) -> anyhow::Result<Server> {
    let mut base = FastMcp::new(name);
    for (name, ready) in servers {
        let prefix = plain_name(&name);
        base = base.mount_proxy(
            provider(&name, ready, silence, Arc::default()),
            prefix.as_str(),
        );
    }
    base.build()
        .map_err(|error| failed("the servers cannot be put behind one", &error))
}
