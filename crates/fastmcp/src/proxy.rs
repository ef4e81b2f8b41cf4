//! A server in front of another.
//!
//! Clients of either era reach an upstream of either era. What the upstream asks is asked of the
//! client whose call it is; progress and logs go the same way. Nothing of the client's own (tokens,
//! headers, client info) is passed on: the upstream knows the proxy alone.
//!
//! | upstream asks | the call meanwhile |
//! |---|---|
//! | in its answer (2026-07-28) | is over; the upstream's state travels sealed inside the proxy's own |
//! | by a request of its own (2025-11-25) | waits here, for as long as an answer may take |
//!
//! A call that waits lives in this process: where it is lost, the client is told so and nothing is
//! repeated.

mod forward;
mod mirror;
mod park;
mod provider;

use std::sync::Arc;

use fastmcp_protocol::subscription::SubscriptionFilter;
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, ClientBuilder, Handlers},
    error::Result,
    server::{FastMcp, Server},
};

use forward::Upstream;
use park::Parking;
pub use provider::ProxyProvider;

/// Puts a server in front of another.
///
/// ```no_run
/// use fastmcp::{Proxy, prelude::*};
///
/// # async fn example(upstream: Server) -> Result<()> {
/// let proxy = Proxy::new();
/// let client = proxy.client().connect_server(&upstream).await?;
/// let server = proxy.serve(client, FastMcp::new("front")).await?;
/// server.serve_stdio().await
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Proxy {
    parking: Arc<Parking>,
}

impl Proxy {
    /// A proxy without an upstream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the client that [`Self::serve`] takes. It declares that it answers whatever a server
    /// may ask, and passes questions on to the clients whose calls they belong to.
    pub fn client(&self) -> ClientBuilder {
        client(&self.parking)
    }

    /// Adds everything that the upstream of `client` has to `base`, and keeps it as the upstream's
    /// lists change, until the server shuts down.
    ///
    /// # Errors
    ///
    /// When the upstream's lists cannot be read, or `base` cannot be built with them.
    ///
    /// # Cancel safety
    ///
    /// Dropped, there is no server.
    pub async fn serve(self, client: Client, base: FastMcp) -> Result<Server> {
        let upstream = Arc::new(Upstream {
            client,
            parking: self.parking,
        });
        let base = mirror::describe(&upstream, base);
        let changes = mirror::changes(&upstream).await;
        let mut server = base;
        for component in mirror::components(&upstream).await? {
            server = server.component(component);
        }
        let server = server.build()?;
        if let Some(changes) = changes {
            let (followed, ends) = (server.clone(), server.shutdown().clone());
            server.spawn(async move {
                tokio::select! {
                    () = mirror::follow(&upstream, &followed, changes) => {}
                    () = ends.cancelled() => {}
                }
            });
        }
        Ok(server)
    }
}

/// A client that answers whatever a server may ask, by those whose calls wait in `parking`.
fn client(parking: &Arc<Parking>) -> ClientBuilder {
    let parking = Arc::clone(parking);
    Client::builder().handlers(Handlers::all(move |key, request| {
        // What is asked outside of a call's own stream belongs to a call that nobody names.
        let parking = Arc::clone(&parking);
        Box::pin(async move { parking.ask_the_only_call(key, request).await })
    }))
}

/// Every list of a server.
const fn lists() -> SubscriptionFilter {
    SubscriptionFilter {
        tools_list_changed: true,
        prompts_list_changed: true,
        resources_list_changed: true,
        resource_subscriptions: Vec::new(),
        task_ids: Vec::new(),
    }
}

/// What ends a wait.
type Ended = CancellationToken;
