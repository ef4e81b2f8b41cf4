//! Other servers as sources of a server's components.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt as _},
};

use super::{Parking, Upstream, client, mirror};
use crate::{
    client::{Client, ClientBuilder, Subscription},
    component::Component,
    error::{Error, Result},
    provider::{Change, Provider, ProviderExt as _, SourceId, Transformed},
    server::{FastMcp, Server},
};

type Connect = dyn Fn(ClientBuilder) -> BoxFuture<'static, Result<Client>> + Send + Sync;

/// Another server, wherever it is, as a source of components.
///
/// Its server connects when it starts, keeps that one connection for all callers, and connects again where
/// the other server went away. What is asked, logged and told on the way goes to the caller whose call it is,
/// as with [`Proxy`](super::Proxy). Nothing of the callers' own (tokens, headers, client info) is passed on.
///
/// ```no_run
/// use fastmcp::{prelude::*, proxy::ProxyProvider};
///
/// # async fn example() -> Result<()> {
/// let docs = ProxyProvider::new("docs", |client| client.connect_url("https://docs.example/mcp"));
/// let mail = ProxyProvider::new("mail", |client| client.connect_url("https://mail.example/mcp"));
/// FastMcp::new("front")
///     .mount_proxy(docs, "docs")
///     .mount_proxy(mail, "mail")
///     .run()
///     .await
/// # }
/// ```
pub struct ProxyProvider {
    name: String,
    connect: Box<Connect>,
    parking: Arc<Parking>,
    connected: Mutex<Connected>,
}

#[derive(Default)]
struct Connected {
    upstream: Option<Arc<Upstream>>,
    changes: Option<Subscription>,
}

impl ProxyProvider {
    /// A server that people call `name`, and that `connect` connects to; asked whenever there is no
    /// connection. The client that it is handed declares that it answers whatever a server may ask.
    pub fn new<F, Fut>(name: impl Into<String>, connect: F) -> Self
    where
        F: Fn(ClientBuilder) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Client>> + Send + 'static,
    {
        Self {
            name: name.into(),
            connect: Box::new(move |client| Box::pin(connect(client))),
            parking: Arc::default(),
            connected: Mutex::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connected> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ProxyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyProvider")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Provider for ProxyProvider {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn start(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let client = (self.connect)(client(&self.parking)).await?;
            let upstream = Arc::new(Upstream {
                client,
                parking: Arc::clone(&self.parking),
            });
            let changes = mirror::changes(&upstream).await;
            *self.lock() = Connected {
                upstream: Some(upstream),
                changes,
            };
            Ok(())
        })
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<Arc<Component>>>> {
        Box::pin(async {
            let upstream = self.lock().upstream.clone();
            let upstream = upstream.ok_or_else(|| Error::internal("it is not connected"))?;
            upstream.client.forget_answers();
            let components = mirror::components(&upstream).await?;
            Ok(components.into_iter().map(Arc::new).collect())
        })
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        match self.lock().changes.take() {
            Some(changes) => changes.map(mirror::shown).boxed(),
            // It tells of none: its lists are read once.
            None => stream::pending().boxed(),
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        let connected = std::mem::take(&mut *self.lock());
        Box::pin(async move {
            if let Some(upstream) = connected.upstream {
                upstream.client.close().await;
            }
        })
    }
}

/// With a prefix, or as it is.
enum Face {
    Bare(ProxyProvider),
    Within(Result<Transformed>),
}

fn face(proxy: ProxyProvider, prefix: Option<&str>) -> Face {
    match prefix {
        Some(prefix) => Face::Within(proxy.namespace(prefix)),
        None => Face::Bare(proxy),
    }
}

impl FastMcp {
    /// Shows what another server has, wherever it is, with a prefix or without: names as in
    /// [`Self::mount`], and one that is away takes nobody down, as with every [`Self::provider`].
    #[must_use]
    pub fn mount_proxy<'a>(self, proxy: ProxyProvider, prefix: impl Into<Option<&'a str>>) -> Self {
        match face(proxy, prefix.into()) {
            Face::Bare(proxy) => self.provider(proxy),
            Face::Within(Ok(proxy)) => self.provider(proxy),
            Face::Within(Err(error)) => self.refused(error),
        }
    }
}

impl Server {
    /// As [`FastMcp::mount_proxy`], while the server runs.
    ///
    /// # Errors
    ///
    /// When `prefix` is unfit; as [`Self::add_provider`].
    ///
    /// # Cancel safety
    ///
    /// As [`Self::add_provider`].
    pub async fn mount_proxy<'a>(
        &self,
        proxy: ProxyProvider,
        prefix: impl Into<Option<&'a str>>,
    ) -> Result<SourceId> {
        match face(proxy, prefix.into()) {
            Face::Bare(proxy) => self.add_provider(proxy).await,
            Face::Within(proxy) => self.add_provider(proxy?).await,
        }
    }
}
