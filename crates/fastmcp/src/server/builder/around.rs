//! What stands around the components of a server: who may use them, what it needs while it lives, what it says
//! over HTTP beside MCP.

use std::sync::Arc;

use fastmcp_auth::{Caller, ResourceMetadata, caller::LocalIdentity};
use fastmcp_guard::clock::Clock;
use http::{HeaderValue, Method, header};

use super::FastMcp;
use crate::{
    component::{Component, Decision},
    error::Result,
    route::{IntoRouteResponse, Route, RouteRequest, RouteResponse},
    server::Lifespan,
};

impl FastMcp {
    /// Whether callers over HTTP are authenticated.
    pub(crate) const fn is_authenticated(&self) -> bool {
        self.authenticate.is_some()
    }

    /// What it asks for the time.
    pub(crate) fn clock_of(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Lets callers use only those components that `check` allows, whatever gate there is and whatever the
    /// components demand themselves; may be repeated, then all must. See [`crate::authorize`].
    #[must_use]
    pub fn authorize<F>(mut self, check: F) -> Self
    where
        F: Fn(&Caller, &Component) -> Decision + Send + Sync + 'static,
    {
        self.checks.push(Arc::new(check));
        self
    }

    /// Says who calls over standard input and output and from within the process, for checks of roles,
    /// tenants and scopes. Default: [`Caller::local`].
    #[must_use]
    pub fn local_caller(mut self, identity: LocalIdentity) -> Self {
        self.local = identity;
        self
    }

    /// Serves `handler` at `path` beside MCP, over HTTP: health, metrics, a page. Nobody is authenticated for it;
    /// [`Self::route`] takes routes that differ in this, in their hosts or in the size of their bodies.
    #[must_use]
    pub fn custom_route<F, Fut>(self, method: Method, path: impl Into<String>, handler: F) -> Self
    where
        F: Fn(RouteRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoRouteResponse> + Send + 'static,
    {
        self.route(Route::new(method, path, handler))
    }

    /// Serves a route beside MCP, over HTTP. MCP is served at all other paths, and at this one with other methods.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Makes what the server needs while it lives, and undoes it: `begin` runs once, before the first call is
    /// let in, and gives values to handlers, which take them as
    /// [`State<T>`](crate::State). Several run one after another, in the order of their addition; they
    /// are undone the other way round, once the calls of the server have ended.
    ///
    /// It begins with [`Server::serve_stdio`] and [`Server::serve_http`], and with [`Server::start`] or the first
    /// message of a client in the process or of a router of one's own. It ends where those end, with
    /// [`Server::finish`], or in the background once nobody has the [`Server`] any more. Where `begin` fails, the
    /// server does not start, and what was begun before is undone.
    ///
    /// [`Server`]: crate::Server
    /// [`Server::finish`]: crate::Server::finish
    /// [`Server::serve_http`]: crate::Server::serve_http
    /// [`Server::serve_stdio`]: crate::Server::serve_stdio
    /// [`Server::start`]: crate::Server::start
    ///
    /// ```
    /// use fastmcp::prelude::*;
    ///
    /// # #[derive(Clone)]
    /// # struct Pool;
    /// # impl Pool {
    /// #     async fn connect(_url: &str) -> Result<Self> { Ok(Self) }
    /// #     async fn count(&self) -> i64 { 3 }
    /// #     async fn close(&self) {}
    /// # }
    /// /// Counts the rows.
    /// #[tool]
    /// async fn count(ctx: Context) -> Result<i64> {
    ///     Ok(ctx.value::<Pool>()?.count().await)
    /// }
    ///
    /// # async fn example() -> Result<()> {
    /// FastMcp::new("demo")
    ///     .lifespan(|life| async move {
    ///         let pool = Pool::connect("sqlite://demo.db").await?;
    ///         life.provide(pool.clone())?;
    ///         life.on_end(|| async move { pool.close().await });
    ///         Ok(())
    ///     })
    ///     .tool(count)
    ///     .run()
    ///     .await
    /// # }
    /// ```
    #[must_use]
    pub fn lifespan<F, Fut>(mut self, begin: F) -> Self
    where
        F: FnOnce(Lifespan) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.begins
            .push(Box::new(move |life| Box::pin(begin(life))));
        self
    }
}

/// The route that tells of the protected resource, whatever name the server goes by.
pub(super) fn described(metadata: &ResourceMetadata) -> Route {
    let document = metadata.to_json();
    let tell = move |_: RouteRequest| {
        let mut response = RouteResponse::new(document.clone().into());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        async move { response }
    };
    Route::new(Method::GET, metadata.path(), tell).any_host()
}
