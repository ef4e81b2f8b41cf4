//! Whole ways to authenticate callers: an authorization server of one's own, or one elsewhere.

use fastmcp_auth::{
    provider::RemoteAuthProvider,
    proxy::{Endpoint, OAuthProxy},
};
use http::Request;

use super::FastMcp;
use crate::route::{Route, RouteRequest};

/// Sets up who is let in, where clients learn how to get in, and what else that takes: see
/// [`FastMcp::auth_provider`].
pub trait AuthProvider {
    /// Sets it up on `server`.
    #[must_use]
    fn provide(self, server: FastMcp) -> FastMcp;
}

impl FastMcp {
    /// Lets in over HTTP only who logged in with `provider`: an [`OAuthProxy`], also of an
    /// [`OidcProxy`](fastmcp_auth::proxy::OidcProxy) or a [provider by name](fastmcp_auth::provider), whose endpoints
    /// are served beside MCP; or a [`RemoteAuthProvider`] (feature `oauth-proxy`).
    ///
    /// It takes the place of [`Self::auth`] and [`Self::resource_metadata`]. The pages for people are served under the
    /// hosts that [`HttpConfig::hosts`](fastmcp_transport::http::HttpConfig::hosts) allows, as MCP is: allow the
    /// one of the base URL.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use fastmcp::{
    ///     auth::{provider::GitHubProvider, proxy::{Backing, ProxyKeys}},
    ///     guard::clock::SystemClock,
    ///     prelude::*,
    ///     store::{MemoryLimits, MemoryStore},
    /// };
    ///
    /// # fn example(client_secret: secrecy::SecretString, keys: secrecy::SecretString) -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new(MemoryLimits::default(), Arc::new(SystemClock))?;
    /// let backing = Backing::new(ProxyKeys::parse(&keys)?, Arc::new(store));
    /// let github = GitHubProvider::new(("client-id", client_secret), "https://tools.example")
    ///     .required_scopes(["read:user"])
    ///     .build(backing)?;
    /// let server = FastMcp::new("tools").auth_provider(github);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn auth_provider(self, provider: impl AuthProvider) -> Self {
        provider.provide(self)
    }
}

impl AuthProvider for OAuthProxy {
    fn provide(self, server: FastMcp) -> FastMcp {
        let server = server
            .auth(self.authenticator())
            .resource_metadata(self.resource_metadata());
        Endpoint::ALL.into_iter().fold(server, |server, endpoint| {
            let methods = endpoint.methods().into_iter();
            methods.fold(server, |server, method| {
                let proxy = self.clone();
                let answer = move |request: RouteRequest| {
                    proxy.answer(endpoint, Request::from_parts(request.head, request.body))
                };
                let route = Route::new(method, self.path(endpoint), answer);
                // One byte more than is taken, so that the endpoint says itself what is wrong.
                let route = route.max_body(endpoint.max_body().saturating_add(1));
                // Programs bring no cookie; pages do, so they are guarded like MCP against names of others.
                server.route(if endpoint.is_for_programs() {
                    route.any_host()
                } else {
                    route
                })
            })
        })
    }
}

impl AuthProvider for RemoteAuthProvider {
    fn provide(self, server: FastMcp) -> FastMcp {
        server
            .auth(self.authenticator())
            .resource_metadata(self.resource_metadata())
    }
}
