//! The request that is handled, for code that was not handed its context.
//!
//! ```
//! use fastmcp::{dependencies::get_context, prelude::*};
//!
//! async fn log_operation(message: &str) -> Result<()> {
//!     get_context()?.info(message).await;
//!     Ok(())
//! }
//!
//! /// Counts the letters.
//! #[tool]
//! async fn count(text: String) -> Result<usize> {
//!     log_operation("counting").await?;
//!     Ok(text.len())
//! }
//! ```
//!
//! The functions find a request in handlers, in middleware, and in what they call and await, on the
//! blocking pool too. They find none in tasks that were spawned: see [`Context::scope`].

use std::sync::Arc;

use fastmcp_auth::AccessToken;
use fastmcp_transport::{Peer, PeerKind};
use http::{HeaderMap, header};

use crate::{context::Context, error::Result, server::Server};

pub use crate::context::get_context;

/// Headers that a caller proves itself by, and those that belong to one connection or body: they are not
/// for passing on.
const KEPT_BACK: [header::HeaderName; 14] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The server whose handler runs here.
///
/// # Errors
///
/// When no request is handled here.
pub fn get_server() -> Result<Server> {
    get_context()?.server()
}

/// The caller's access token; none where no request is handled here, or the caller has none.
#[must_use]
pub fn get_access_token() -> Option<AccessToken> {
    get_context().ok()?.access_token().cloned()
}

/// The scopes of the caller's access token; none where there is no token.
#[must_use]
pub fn get_token_scopes() -> Vec<String> {
    let context = get_context().ok();
    let token = context.as_ref().filter(|c| c.access_token().is_some());
    let scopes = token.and_then(|c| c.caller().scopes());
    scopes.map(<[_]>::to_vec).unwrap_or_default()
}

/// The HTTP request that is handled here, with all its headers.
#[must_use]
pub fn get_http_request() -> Option<Arc<Peer>> {
    let context = get_context().ok()?;
    Some(Arc::clone(context.shared_peer())).filter(|peer| peer.kind == PeerKind::Http)
}

/// The headers of the HTTP request that is handled here, fit for passing on: without `authorization`,
/// `cookie` and what belongs to one connection or body. Empty where no such request is handled here.
/// [`get_http_request`] has all of them.
#[must_use]
pub fn get_http_headers() -> HeaderMap {
    let Some(request) = get_http_request() else {
        return HeaderMap::new();
    };
    let mut headers = request.headers.clone();
    for name in &KEPT_BACK {
        headers.remove(name);
    }
    headers
}

/// Whether the caller has `scope`: one that middleware set in the state `scopes`, or else one of its own.
/// A local caller that is not narrowed has every scope. Whom it lacks, is told so in the client's log.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn check_permission(context: &Context, scope: &str) -> bool {
    let set: Option<Vec<String>> = context.get_state("scopes");
    let has = match set.filter(|scopes| !scopes.is_empty()) {
        Some(scopes) => scopes.iter().any(|held| held == scope),
        None => context.caller().has_scope(scope),
    };
    if !has {
        let user: Option<String> = context.get_state("user_id");
        let user = user.unwrap_or_else(|| context.caller().subject().to_owned());
        let denied = format!("Permission denied: {user} lacks scope {scope}");
        context.warning(denied).await;
    }
    has
}

/// Whether the caller belongs to the tenant that owns something: by the state `tenant_id`, which
/// middleware set, or else by what its token says. Who belongs to none, has no access.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn check_tenant_access(context: &Context, resource_tenant_id: &str) -> bool {
    let set: Option<String> = context.get_state("tenant_id");
    let tenant = set.or_else(|| context.caller().tenant().map(str::to_owned));
    let Some(tenant) = tenant.filter(|tenant| !tenant.is_empty()) else {
        context.warning("No tenant context found for user").await;
        return false;
    };
    if tenant != resource_tenant_id {
        // The owner's name is not the caller's to know.
        let mismatch = format!("Tenant mismatch: {tenant} does not own the resource");
        context.warning(mismatch).await;
        return false;
    }
    true
}
