//! A modular server: each module registers its own tools.
//!
//! Run with: `cargo run -p fastmcp-examples --bin modular_server`

use std::path::Path;

use fastmcp::prelude::*;

/// Tools around signing in.
mod auth_tools {
    use fastmcp::prelude::*;

    /// Who signs in.
    #[derive(Deserialize, JsonSchema)]
    pub(super) struct LoginRequest {
        username: String,
        #[expect(dead_code, reason = "an example signs everybody in")]
        password: String,
        #[serde(default)]
        remember_me: bool,
    }

    /// Signs a user in.
    #[tool]
    async fn login(request: LoginRequest) -> String {
        let kept = if request.remember_me {
            ", and is remembered"
        } else {
            ""
        };
        format!("User {} logged in{kept}", request.username)
    }

    /// Signs a user out.
    #[tool]
    async fn logout(session_id: String) -> String {
        format!("Session {session_id} logged out")
    }

    /// Who is signed in.
    #[resource("resource://current-user", mime_type = "application/json")]
    async fn current_user(caller: fastmcp::auth::Caller) -> String {
        json!({"user": caller.subject()}).to_string()
    }

    pub(super) fn register(server: FastMcp) -> FastMcp {
        server.tool(login).tool(logout).resource(current_user)
    }
}

/// Tools around data.
mod data_tools {
    use fastmcp::prelude::*;

    /// Counts words.
    #[tool(read_only, inline)]
    fn count_words(text: String) -> usize {
        text.split_whitespace().count()
    }

    pub(super) fn register(server: FastMcp) -> FastMcp {
        server.tool(count_words)
    }
}

/// Tools around files.
mod file_tools {
    use std::path::Path;

    use fastmcp::{
        guard::files::{FileOperations, Limits},
        prelude::*,
    };

    /// The files beneath one folder; what a path says cannot leave it.
    struct Files(FileOperations);

    #[tools]
    impl Files {
        /// Lists a folder.
        #[tool(read_only)]
        fn list_files(
            &self,
            #[arg(default = String::new())] folder: String,
        ) -> Result<Vec<String>> {
            let listed = self.0.list(&folder, false);
            let entries = listed.map_err(|error| ToolError::new(error.to_string()))?;
            Ok(entries.into_iter().map(|entry| entry.path).collect())
        }
    }

    pub(super) fn register(server: FastMcp, root: &Path) -> Result<FastMcp> {
        Ok(server.tools(Files(FileOperations::open(root, Limits::default())?)))
    }
}

fn create_server(root: &Path) -> Result<FastMcp> {
    let server = FastMcp::new("Modular MCP Server")
        .version("1.0.0")
        .description("A well-structured MCP server");
    let server = auth_tools::register(server);
    let server = data_tools::register(server);
    file_tools::register(server, root)
}

#[tokio::main]
async fn main() -> Result<()> {
    create_server(Path::new("."))?.run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_module_is_there() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let server = create_server(Path::new(folder)).unwrap().build().unwrap();
        let client = Client::connect(&server).await.unwrap();
        let request = json!({"request": {"username": "ada", "password": "x"}});
        let told = client.call_tool("login", request).await.unwrap();
        assert_eq!(told.text(), "User ada logged in");
        let words = client
            .call_tool("count_words", json!({"text": "one two"}))
            .await;
        assert_eq!(words.unwrap().data::<usize>().unwrap(), 2);
        let files = client.call_tool("list_files", json!({})).await.unwrap();
        let files: Vec<String> = files.data().unwrap();
        assert!(files.iter().any(|file| file == "Cargo.toml"), "{files:?}");
        let outside = client
            .call_tool("list_files", json!({"folder": "../.."}))
            .await;
        outside.unwrap_err();
        let user = client
            .read_resource("resource://current-user")
            .await
            .unwrap();
        assert_eq!(user.contents.len(), 1);
    }
}
