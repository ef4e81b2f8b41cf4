//! Pattern 5, state of a request: a layer finds out who is calling, and tools read it where they need it.
//!
//! Run with: `cargo run -p fastmcp-examples --bin context_state`

use fastmcp::{middleware::prelude::*, prelude::*};

/// Notes what later layers and the handler want to know of the caller.
struct AuthMiddleware;

impl Middleware for AuthMiddleware {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let ctx = context.fastmcp_context();
        let caller = ctx.caller().clone();
        ctx.set_state("user_id", caller.subject())?;
        ctx.set_state("user_role", caller.roles().first())?;
        ctx.set_state("permissions", caller.scopes().unwrap_or_default())?;
        next.run(context).await
    }
}

/// What is known of a user.
#[derive(Serialize, JsonSchema)]
struct Profile {
    name: String,
    role: String,
}

/// A user.
#[derive(Serialize, JsonSchema)]
struct User {
    user_id: String,
    profile: Profile,
}

/// Tells who is calling.
#[tool(read_only)]
async fn get_user_profile(ctx: Context) -> Result<User> {
    let user_id: Option<String> = ctx.get_state("user_id");
    let user_id = user_id.ok_or_else(|| ToolError::new("Not authenticated"))?;
    let profile = Profile {
        name: user_id.to_uppercase(),
        role: ctx.get_state_or("user_role", "user".to_owned()),
    };
    Ok(User { user_id, profile })
}

/// Does what an administrator may do.
#[tool]
async fn admin_operation(ctx: Context) -> Result<&'static str, ToolError> {
    if ctx.get_state_or("user_role", "user".to_owned()) != "admin" {
        return Err(ToolError::new("Admin access required"));
    }
    Ok("done")
}

/// Whether the caller may use a resource.
#[tool(read_only)]
async fn check_permission(resource: String, ctx: Context) -> bool {
    let permissions: Vec<String> = ctx.get_state_or("permissions", Vec::new());
    permissions.contains(&resource)
}

fn server() -> FastMcp {
    FastMcp::new("StateDemo")
        .middleware(AuthMiddleware)
        .tool(get_user_profile)
        .tool(admin_operation)
        .tool(check_permission)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use fastmcp::auth::testing::caller;

    use super::*;

    #[tokio::test]
    async fn tools_read_what_the_layer_noted() {
        let server = server().build().unwrap();
        let ada = caller("ada").roles(["admin"]).scopes(["reports"]).build();
        let client = Client::connect_as(&server, ada).await.unwrap();
        let profile = client
            .call_tool("get_user_profile", json!({}))
            .await
            .unwrap();
        assert_eq!(
            profile.structured_content().unwrap(),
            json!({"user_id": "ada", "profile": {"name": "ADA", "role": "admin"}})
        );
        let done = client
            .call_tool("admin_operation", json!({}))
            .await
            .unwrap();
        assert_eq!(done.text(), "done");
        let may = client
            .call_tool("check_permission", json!({"resource": "reports"}))
            .await;
        assert!(may.unwrap().data::<bool>().unwrap());
        let grace = Client::connect_as(&server, caller("grace").build())
            .await
            .unwrap();
        let refused = grace
            .call_tool("admin_operation", json!({}))
            .await
            .unwrap_err();
        assert_eq!(refused.message(), "Admin access required");
    }
}
