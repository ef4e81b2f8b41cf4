//! What handlers want to know of the caller, as state.

use fastmcp_auth::CallerKind;

use super::{Middleware, MiddlewareContext, Next, Response};
use crate::{context::Kept, error::Result};

/// Puts what is known of the caller into the state of each request, so that handlers need not look at
/// tokens: `user_id`, `tenant_id`, `scopes`, `roles`, `client_id` where there are any, and
/// `request_timestamp` (RFC 3339, UTC).
///
/// ```
/// use fastmcp::{middleware::StateManagementMiddleware, prelude::*};
///
/// /// Says whose data this is.
/// #[tool]
/// async fn get_tenant_data(ctx: Context) -> Result<String> {
///     let tenant: Option<String> = ctx.get_state("tenant_id");
///     tenant.ok_or_else(|| Error::tool("No tenant context available"))
/// }
///
/// let server = FastMcp::new("tenants")
///     .middleware(StateManagementMiddleware::new())
///     .tool(get_tenant_data);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StateManagementMiddleware {}

impl StateManagementMiddleware {
    /// Sets them.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

impl Middleware for StateManagementMiddleware {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let (state, caller) = (context.fastmcp_context(), context.caller());
        let text = |text: &str| Kept::Value(text.into());
        if caller.kind() != CallerKind::Anonymous {
            state.keep("user_id", text(caller.subject()));
        }
        if let Some(tenant) = caller.tenant() {
            state.keep("tenant_id", text(tenant));
        }
        if let Some(scopes) = caller.scopes() {
            state.set_state("scopes", scopes)?;
        }
        if !caller.roles().is_empty() {
            state.set_state("roles", caller.roles())?;
        }
        if let Some(client) = caller.client_id() {
            state.keep("client_id", text(client));
        }
        state.keep("request_timestamp", Kept::Moment(context.timestamp()));
        next.run(context).await
    }
}
