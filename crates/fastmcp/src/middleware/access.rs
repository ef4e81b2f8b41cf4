//! Who may use what.

use std::{collections::HashMap, fmt, sync::Arc};

use fastmcp_auth::Caller;
use fastmcp_protocol::{
    prompt::{GetPromptResult, Prompt},
    resource::{ReadResourceResult, Resource, ResourceTemplate},
    tool::{CallToolResult, Tool},
};

use super::{
    CallTool, GetPrompt, ListPrompts, ListResourceTemplates, ListResources, ListTools, Listed,
    Middleware, MiddlewareContext, Next, Outcome, ReadResource,
};
use crate::{
    component::{Component, Definition},
    context::Context,
    error::{Error, Result},
};

type Check = Arc<dyn Fn(&Caller, &Component) -> Result<()> + Send + Sync>;

/// Lets callers use, and see in lists, what a check allows.
///
/// The check gets the caller and the component. Its error is what a call ends with;
/// [`Error::insufficient_scope`] challenges callers over HTTP to get a token that has more.
///
/// ```
/// use fastmcp::{middleware::AuthMiddleware, prelude::*};
///
/// let auth = AuthMiddleware::new(|caller, component| {
///     if component.tags().contains("private") && !caller.has_scope("internal") {
///         return Err(Error::insufficient_scope(&["internal".to_owned()]));
///     }
///     Ok(())
/// });
/// let server = FastMcp::new("guarded").middleware(auth);
/// ```
#[derive(Clone)]
pub struct AuthMiddleware {
    check: Check,
}

impl AuthMiddleware {
    /// Asks `check`. It must not block.
    #[must_use]
    pub fn new(check: impl Fn(&Caller, &Component) -> Result<()> + Send + Sync + 'static) -> Self {
        Self {
            check: Arc::new(check),
        }
    }

    fn call(&self, context: &Context, component: Option<&Component>) -> Result<()> {
        component.map_or(Ok(()), |component| {
            (self.check)(context.caller(), component)
        })
    }

    fn shows(&self, context: &Context, component: Option<&Component>) -> bool {
        component.is_none_or(|component| (self.check)(context.caller(), component).is_ok())
    }
}

impl fmt::Debug for AuthMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthMiddleware").finish_non_exhaustive()
    }
}

/// The permission that is needed for a tool.
type Needs = Arc<dyn Fn(&Component) -> String + Send + Sync>;

/// Lets callers call, and see in the list, the tools that their roles permit.
///
/// A role is what the caller's token says ([`Caller::roles`]), or what [`Self::role_from_state`] names. The
/// permission that a tool needs is `read` where it is marked read-only and `write` else, unless
/// [`Self::permission`] or [`Self::tool_permission`] says otherwise. A role with `*` may do everything; who
/// has no role may do what [`Self::default_role`] may, by default nothing.
///
/// ```
/// use fastmcp::{middleware::RbacMiddleware, prelude::*};
///
/// let rbac = RbacMiddleware::new()
///     .role("admin", ["*"])
///     .role("writer", ["read", "write"])
///     .role("reader", ["read"])
///     .permission("purge", "admin")
///     .default_role("reader");
/// let server = FastMcp::new("roles").middleware(rbac);
/// ```
#[derive(Clone)]
pub struct RbacMiddleware {
    roles: HashMap<String, Vec<String>>,
    permissions: HashMap<String, String>,
    needs: Option<Needs>,
    state_key: Option<String>,
    default_role: Option<String>,
}

impl Default for RbacMiddleware {
    fn default() -> Self {
        Self::new()
    }
}

impl RbacMiddleware {
    /// No roles: nobody may call a tool.
    #[must_use]
    pub fn new() -> Self {
        Self {
            roles: HashMap::new(),
            permissions: HashMap::new(),
            needs: None,
            state_key: None,
            default_role: None,
        }
    }

    /// Says what a role may do.
    #[must_use]
    pub fn role<I, S>(mut self, role: impl Into<String>, permissions: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let permissions = permissions.into_iter().map(Into::into).collect();
        self.roles.insert(role.into(), permissions);
        self
    }

    /// Says which permission one tool needs.
    #[must_use]
    pub fn permission(mut self, tool: impl Into<String>, permission: impl Into<String>) -> Self {
        self.permissions.insert(tool.into(), permission.into());
        self
    }

    /// Says which permission tools need that [`Self::permission`] does not name.
    #[must_use]
    pub fn tool_permission(
        mut self,
        needs: impl Fn(&Component) -> String + Send + Sync + 'static,
    ) -> Self {
        self.needs = Some(Arc::new(needs));
        self
    }

    /// Takes the role from the state of the request, where an outer layer put it: a string, or an object
    /// with a `role`. The caller's own roles then do not count.
    #[must_use]
    pub fn role_from_state(mut self, key: impl Into<String>) -> Self {
        self.state_key = Some(key.into());
        self
    }

    /// The role of who has none.
    #[must_use]
    pub fn default_role(mut self, role: impl Into<String>) -> Self {
        self.default_role = Some(role.into());
        self
    }

    fn needed(&self, component: &Component) -> String {
        if let Some(permission) = self.permissions.get(component.key()) {
            return permission.clone();
        }
        if let Some(needs) = &self.needs {
            return needs(component);
        }
        match component.definition() {
            Definition::Tool(tool) if tool.is_read_only() => "read".to_owned(),
            _ => "write".to_owned(),
        }
    }

    fn held(&self, context: &Context) -> Vec<String> {
        let mut roles = match &self.state_key {
            None => context.caller().roles().to_vec(),
            Some(key) => {
                let value: Option<serde_json::Value> = context.get_state(key);
                let role = value
                    .as_ref()
                    .and_then(|v| v.get("role").unwrap_or(v).as_str());
                role.map(str::to_owned).into_iter().collect()
            }
        };
        if roles.is_empty() {
            roles.extend(self.default_role.clone());
        }
        roles
    }

    fn allows(&self, context: &Context, component: &Component) -> bool {
        let needed = self.needed(component);
        self.held(context).iter().any(|role| {
            let permissions = self.roles.get(role);
            permissions.is_some_and(|all| all.iter().any(|p| p == "*" || *p == needed))
        })
    }
}

impl fmt::Debug for RbacMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RbacMiddleware")
            .field("roles", &self.roles)
            .field("permissions", &self.permissions)
            .field("state_key", &self.state_key)
            .field("default_role", &self.default_role)
            .finish_non_exhaustive()
    }
}

impl Middleware for RbacMiddleware {
    async fn on_call_tool(
        &self,
        context: MiddlewareContext<CallTool>,
        next: Next<'_, CallTool>,
    ) -> Result<Outcome<CallToolResult>> {
        if let Some(component) = context.message.component()
            && !self.allows(context.fastmcp_context(), component)
        {
            let name = component.key();
            return Err(Error::forbidden(format!(
                "Insufficient permissions for {name}"
            )));
        }
        next.run(context).await
    }

    async fn on_list_tools(
        &self,
        context: MiddlewareContext<ListTools>,
        next: Next<'_, ListTools>,
    ) -> Result<Vec<Listed<Tool>>> {
        let own = context.fastmcp_context().clone();
        let mut tools = next.run(context).await?;
        tools.retain(|tool| tool.component().is_none_or(|c| self.allows(&own, c)));
        Ok(tools)
    }
}

macro_rules! checked {
    (calls { $($call:ident($call_message:ty) -> $result:ty;)* }
     lists { $($list:ident($list_message:ty) -> $entry:ty;)* }) => {
        impl Middleware for AuthMiddleware {
            $(async fn $call(
                &self,
                context: MiddlewareContext<$call_message>,
                next: Next<'_, $call_message>,
            ) -> Result<Outcome<$result>> {
                self.call(context.fastmcp_context(), context.message.component())?;
                next.run(context).await
            })*

            $(async fn $list(
                &self,
                context: MiddlewareContext<$list_message>,
                next: Next<'_, $list_message>,
            ) -> Result<Vec<Listed<$entry>>> {
                let own = context.fastmcp_context().clone();
                let mut list = next.run(context).await?;
                list.retain(|entry| self.shows(&own, entry.component()));
                Ok(list)
            })*
        }
    };
}

checked! {
    calls {
        on_call_tool(CallTool) -> CallToolResult;
        on_read_resource(ReadResource) -> ReadResourceResult;
        on_get_prompt(GetPrompt) -> GetPromptResult;
    }
    lists {
        on_list_tools(ListTools) -> Tool;
        on_list_resources(ListResources) -> Resource;
        on_list_resource_templates(ListResourceTemplates) -> ResourceTemplate;
        on_list_prompts(ListPrompts) -> Prompt;
    }
}
