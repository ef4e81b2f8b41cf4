//! A server on the official Rust SDK, of both eras: what our client is tried on.
//!
//! Run with: `cargo run --bin rmcp-server`, or with `--stdio` for standard input and output.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use rmcp::{
    ErrorData, ServerHandler, ServiceExt as _,
    handler::server::{
        router::{prompt::PromptRouter, tool::ToolRouter},
        tool::{InputResponses, RequestState},
        wrapper::Parameters,
    },
    model::{
        CallToolResponse, CallToolResult, ContentBlock, ElicitRequest, ElicitRequestParams,
        Implementation, InputRequest, InputRequests, InputRequiredResult, ListResourcesResult,
        PaginatedRequestParams, ProgressNotificationParam, PromptMessage,
        ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, RequestMetaObject,
        Resource, ResourceContents, Role, ServerCapabilities, ServerConfig,
    },
    prompt, prompt_handler, prompt_router, schemars,
    service::{Peer, RequestContext, RoleServer},
    tool, tool_handler, tool_router,
    transport::{
        stdio,
        streamable_http_server::{
            StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
        },
    },
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const MOTTO: &str = "memo://motto";

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Greet {
    name: String,
}

/// What a form is for.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Name {
    /// The name.
    name: String,
}
rmcp::elicit_safe!(Name);

/// What a form is for.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Color {
    /// The colour.
    color: String,
}
rmcp::elicit_safe!(Color);

#[derive(Clone)]
struct Fixture {
    tools: Arc<ToolRouter<Self>>,
    prompts: Arc<PromptRouter<Self>>,
}

fn text(said: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(said.into())])
}

fn internal(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

/// A round that asks one question.
fn ask(key: &str, message: &str, state: Option<String>) -> Result<CallToolResponse, ErrorData> {
    let schema =
        json!({"type": "object", "properties": {key: {"type": "string"}}, "required": [key]});
    let params = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message.to_owned(),
        requested_schema: serde_json::from_value(schema).map_err(internal)?,
    };
    let mut requests = InputRequests::new();
    requests.insert(
        key.to_owned(),
        InputRequest::Elicitation(ElicitRequest::new(params)),
    );
    Ok(InputRequiredResult::new(Some(requests), state).into())
}

#[tool_router]
impl Fixture {
    /// Adds two numbers.
    #[tool]
    async fn add(&self, Parameters(Add { a, b }): Parameters<Add>) -> CallToolResult {
        let sum = a.saturating_add(b);
        let mut result = text(sum.to_string());
        result.structured_content = Some(json!({"sum": sum}));
        result
    }

    /// Fails.
    #[tool]
    async fn fail(&self) -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text("as it should")])
    }

    /// Reports how far it is.
    #[tool]
    async fn count(
        &self,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        if let Some(token) = meta.get_progress_token() {
            for step in [1.0, 2.0, 3.0] {
                let progress = ProgressNotificationParam::new(token.clone(), step).with_total(3.0);
                client.notify_progress(progress).await.map_err(internal)?;
            }
        }
        Ok(text("counted"))
    }

    /// Asks for a name, then for a colour.
    #[tool]
    async fn introduce(
        &self,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
        RequestState(state): RequestState,
        InputResponses(responses): InputResponses,
    ) -> Result<CallToolResponse, ErrorData> {
        if meta.protocol_version().is_none() {
            let name = client.elicit::<Name>("What is your name?").await;
            let color = client.elicit::<Color>("Which colour do you like?").await;
            let (Some(name), Some(color)) = (name.map_err(internal)?, color.map_err(internal)?)
            else {
                return Ok(
                    CallToolResult::error(vec![ContentBlock::text("nothing was said")]).into(),
                );
            };
            return Ok(text(format!("{} likes {}", name.name, color.color)).into());
        }
        let answer = |key: &str| {
            let content = responses.as_ref()?.get(key)?.get("content")?;
            content.get(key).and_then(Value::as_str).map(str::to_owned)
        };
        let Some(name) = state.or_else(|| answer("name")) else {
            return ask("name", "What is your name?", None);
        };
        match answer("color") {
            Some(color) => Ok(text(format!("{name} likes {color}")).into()),
            None => ask("color", "Which colour do you like?", Some(name)),
        }
    }
}

#[prompt_router]
impl Fixture {
    /// Greets.
    #[prompt]
    async fn greet(&self, Parameters(Greet { name }): Parameters<Greet>) -> Vec<PromptMessage> {
        vec![PromptMessage::new_text(
            Role::User,
            format!("Say hello to {name}."),
        )]
    }
}

#[tool_handler(router = self.tools)]
#[prompt_handler(router = self.prompts)]
impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_prompts()
            .enable_resources()
            .build();
        let mut config = ServerConfig::new(capabilities);
        config.server_info = Implementation::new("rmcp-server", "1.0.0");
        config
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(vec![Resource::new(
            MOTTO, "motto",
        )]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != MOTTO {
            let data = json!({"uri": request.uri});
            return Err(ErrorData::resource_not_found(
                "no such resource",
                Some(data),
            ));
        }
        let contents = vec![ResourceContents::text("measure twice", MOTTO)];
        Ok(ReadResourceResult::new(contents).into())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let fixture = Fixture {
        tools: Arc::new(Fixture::tool_router()),
        prompts: Arc::new(Fixture::prompt_router()),
    };
    if std::env::args().any(|argument| argument == "--stdio") {
        fixture.serve(stdio()).await?.waiting().await?;
        return Ok(());
    }
    let service: StreamableHttpService<Fixture, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(fixture.clone()),
        Arc::default(),
        StreamableHttpServerConfig::default().enforce_origin_validation(),
    );
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("cannot listen")?;
    println!("listening on http://{}/mcp", listener.local_addr()?);
    axum::serve(listener, Router::new().nest_service("/mcp", service)).await?;
    Ok(())
}
