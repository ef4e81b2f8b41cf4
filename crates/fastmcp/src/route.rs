//! Routes beside the endpoint: health, metrics, whatever else a server says over HTTP.

mod answer;

use std::{collections::HashMap, fmt, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use fastmcp_auth::Caller;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Uri, request::Parts};
use serde::de::DeserializeOwned;

use crate::{
    context::Shelf,
    error::{Error, Result},
};
pub(crate) use answer::refusal;
pub use answer::{IntoRouteResponse, RouteResponse};

/// Bytes of a body that a route takes, unless it says otherwise.
const MAX_BODY: usize = 1024 * 1024;

type Handle = Arc<dyn Fn(RouteRequest) -> BoxFuture<'static, RouteResponse> + Send + Sync>;

/// A route in the making.
///
/// ```
/// use fastmcp::{Route, prelude::*};
/// use http::Method;
///
/// # fn example() -> Result<()> {
/// let server = FastMcp::new("demo")
///     .custom_route(Method::GET, "/version", |_| async { "1.2.3" })
///     .route(
///         Route::new(Method::POST, "/notes/{name}", |request| async move {
///             let name = request.param("name").unwrap_or_default().to_owned();
///             let text = request.text()?.to_owned();
///             Ok::<_, Error>(Json(json!({"name": name, "length": text.len()})))
///         })
///         .authenticated()
///         .max_body(64 * 1024),
///     )
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Route {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) handle: Handle,
    pub(crate) authenticated: bool,
    pub(crate) any_host: bool,
    pub(crate) max_body: usize,
}

impl Route {
    /// A route at `path`, which begins with `/`. `{name}` stands for one segment, `{*name}` for the rest.
    /// A route for GET answers HEAD too.
    pub fn new<F, Fut>(method: Method, path: impl Into<String>, handler: F) -> Self
    where
        F: Fn(RouteRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoRouteResponse> + Send + 'static,
    {
        Self {
            method,
            path: path.into(),
            handle: Arc::new(move |request| {
                let handled = handler(request);
                Box::pin(async move { handled.await.into_response() })
            }),
            authenticated: false,
            any_host: false,
            max_body: MAX_BODY,
        }
    }

    /// Lets in only whom the [authentication](crate::FastMcp::auth) of the server lets in; without one that is
    /// everybody. Default: it is asked of nobody.
    #[must_use]
    pub const fn authenticated(mut self) -> Self {
        self.authenticated = true;
        self
    }

    /// Answers whatever host and origin a request names: probes name an address. Default: those that
    /// [`HttpConfig::hosts`](fastmcp_transport::http::HttpConfig::hosts) allows, since a page in a browser can
    /// reach this server under a name of its own.
    #[must_use]
    pub const fn any_host(mut self) -> Self {
        self.any_host = true;
        self
    }

    /// How many bytes a body may have. Default 1 MiB.
    #[must_use]
    pub const fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("authenticated", &self.authenticated)
            .finish_non_exhaustive()
    }
}

/// The routes of a server by path and method.
pub(crate) struct Routes {
    paths: matchit::Router<HashMap<Method, Route>>,
}

impl Routes {
    /// # Errors
    ///
    /// When a path is none, or two routes have one path and method.
    pub(crate) fn new(routes: Vec<Route>) -> Result<Option<Self>> {
        if routes.is_empty() {
            return Ok(None);
        }
        let mut by_path: HashMap<String, HashMap<Method, Route>> = HashMap::new();
        for route in routes {
            let wrong = |why: &dyn fmt::Display| {
                Error::internal(format!("route {} `{}`: {why}", route.method, route.path))
            };
            if !route.path.starts_with('/') || route.path.contains(['?', '#']) {
                return Err(wrong(&"a path begins with `/` and has neither `?` nor `#`"));
            }
            let methods = by_path.entry(route.path.clone()).or_default();
            if methods.contains_key(&route.method) {
                return Err(wrong(&"there is one already"));
            }
            methods.insert(route.method.clone(), route);
        }
        let mut paths = matchit::Router::new();
        for (path, methods) in by_path {
            paths
                .insert(path.as_str(), methods)
                .map_err(|error| Error::internal(format!("route `{path}`: {error}")))?;
        }
        Ok(Some(Self { paths }))
    }

    /// The route of a method and path, with what stands in the path for its names. HEAD is answered by GET.
    pub(crate) fn find(
        &self,
        method: &Method,
        path: &str,
    ) -> Option<(Route, Vec<(String, String)>)> {
        let found = self.paths.at(path).ok()?;
        let answers = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let route = found
            .value
            .get(method)
            .or_else(|| found.value.get(answers))?;
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Some((route.clone(), found.params.iter().map(own).collect()))
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").finish_non_exhaustive()
    }
}

/// A request to a route, its body read whole.
#[derive(Debug)]
pub struct RouteRequest {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) caller: Caller,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) values: Arc<Shelf>,
}

impl RouteRequest {
    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.head.method
    }

    /// The address that was asked for.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.head.uri
    }

    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// What stands in the path for `{name}`, as sent: percent-encoded.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as text.
    ///
    /// # Errors
    ///
    /// When it is not UTF-8; answered with 400.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.body).map_err(|_| Error::validation("the body is not UTF-8"))
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// When it is no JSON, or not of the shape of `T`; answered with 400.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::validation(format!("the body does not fit: {error}")))
    }

    /// Who is calling: nobody in particular, unless the route is [authenticated](Route::authenticated).
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whence the connection came; the address of a proxy where there is one.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The value of type `T` that the server was [given](crate::FastMcp::state), or that a
    /// [lifespan](crate::FastMcp::lifespan) made.
    ///
    /// # Errors
    ///
    /// When there is none; answered with 500.
    pub fn value<T: Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        self.values.get().ok_or_else(|| {
            Error::internal(format!(
                "the server has no value of type `{}`; give it one with `FastMcp::state`, or in a lifespan",
                std::any::type_name::<T>()
            ))
        })
    }
}
