//! The official Rust SDK as a client of ours, in each of the ways in which it can connect.
//!
//! Run with: `cargo run --bin rmcp-client -- http://127.0.0.1:3000/mcp target/debug/examples/demo`,
//! where the address is that of `conformance-server` and the program a server with the tool `add`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt as _, ErrorData,
    model::{
        CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig,
        ElicitRequestParams, ElicitResult, ElicitationAction, GetPromptRequestParams,
        Implementation, ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams,
        ResourceContents,
    },
    service::{NotificationContext, RequestContext, RoleClient, RunningService},
    transport::{
        StreamableHttpClientTransport, TokioChildProcess,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};
use tokio::{process::Command, sync::Semaphore};

/// How long all the checks of one connection may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long reports of progress may take that were sent before a result.
const REPORTS: Duration = Duration::from_secs(10);

/// Accepts whatever is asked, and counts; each report of progress is one permit.
#[derive(Clone)]
struct Person {
    asked: Arc<AtomicUsize>,
    progress: Arc<Semaphore>,
}

impl Default for Person {
    fn default() -> Self {
        Self {
            asked: Arc::default(),
            progress: Arc::new(Semaphore::new(0)),
        }
    }
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let mut config = ClientConfig::default();
        config.capabilities = ClientCapabilities::builder().enable_elicitation().build();
        config.client_info = Implementation::new("rmcp-client", "1.0.0");
        config
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let ElicitRequestParams::FormElicitationParams {
            requested_schema, ..
        } = request
        else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        let schema = serde_json::to_value(requested_schema)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let fields = schema.get("properties").and_then(Value::as_object);
        let content = fields
            .into_iter()
            .flat_map(|fields| fields.keys())
            .map(|field| (field.clone(), json!(format!("my {field}"))))
            .collect();
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(Value::Object(content)))
    }

    async fn on_progress(&self, _: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress.add_permits(1);
    }
}

type Client = RunningService<RoleClient, Person>;

/// The ways to connect, and what each must agree on.
fn modes() -> [(&'static str, ClientLifecycleMode, ProtocolVersion); 3] {
    let preferred = || vec![ProtocolVersion::V_2026_07_28];
    [
        (
            "initialize",
            ClientLifecycleMode::Initialize,
            ProtocolVersion::V_2025_11_25,
        ),
        (
            "discover",
            ClientLifecycleMode::Discover {
                preferred_versions: preferred(),
            },
            ProtocolVersion::V_2026_07_28,
        ),
        (
            "auto",
            ClientLifecycleMode::Auto {
                preferred_versions: preferred(),
                legacy_version: None,
            },
            ProtocolVersion::V_2026_07_28,
        ),
    ]
}

fn text(result: &CallToolResult) -> &str {
    let block = result.content.first();
    block
        .and_then(|block| block.as_text())
        .map_or("", |text| &text.text)
}

async fn call(
    client: &Client,
    tool: &'static str,
    arguments: Value,
) -> anyhow::Result<CallToolResult> {
    let Value::Object(arguments) = arguments else {
        bail!("arguments of `{tool}` are no object");
    };
    let params = CallToolRequestParams::new(tool).with_arguments(arguments);
    client.call_tool(params).await.with_context(|| tool)
}

/// The version that was agreed on.
fn agreed(client: &Client, expected: &ProtocolVersion) -> anyhow::Result<()> {
    let info = client.peer_info().context("no peer info")?;
    ensure!(
        info.protocol_version == *expected,
        "agreed on {}, not {expected}",
        info.protocol_version
    );
    Ok(())
}

/// Every kind of component that `conformance-server` has.
async fn fixtures(client: &Client) -> anyhow::Result<()> {
    let tools = client.list_all_tools().await.context("tools/list")?;
    ensure!(
        tools.iter().any(|tool| tool.name == "test_simple_text"),
        "`test_simple_text` is not listed"
    );
    let result = call(client, "test_simple_text", json!({})).await?;
    ensure!(text(&result).contains("simple text"), "{result:?}");
    let result = call(
        client,
        "test_mirrored_argument",
        json!({"region": "eu-west-1"}),
    )
    .await?;
    ensure!(text(&result) == "Looked in eu-west-1", "{result:?}");
    let result = call(client, "test_error_handling", json!({})).await?;
    ensure!(result.is_error == Some(true), "{result:?}");
    let unknown = CallToolRequestParams::new("nobody_knows");
    ensure!(
        client.call_tool(unknown).await.is_err(),
        "an unknown tool was called"
    );
    call(client, "test_tool_with_progress", json!({})).await?;
    // The reports are handed over by tasks of their own, which may come after the result.
    let heard = client.service().progress.acquire_many(3);
    tokio::time::timeout(REPORTS, heard)
        .await
        .context("not all 3 reports of progress were heard")??
        .forget();

    let resources = client
        .list_all_resources()
        .await
        .context("resources/list")?;
    ensure!(
        resources.iter().any(|one| one.uri == "test://static-text"),
        "{resources:?}"
    );
    let templates = client
        .list_all_resource_templates()
        .await
        .context("resources/templates/list")?;
    ensure!(templates.len() == 1, "{templates:?}");
    let params = ReadResourceRequestParams::new("test://template/42/data");
    let read = client
        .read_resource(params)
        .await
        .context("resources/read")?;
    let Some(ResourceContents::TextResourceContents { text, .. }) = read.contents.first() else {
        bail!("no text: {read:?}");
    };
    ensure!(text.contains("42"), "{text}");
    let missing = ReadResourceRequestParams::new("test://nowhere");
    ensure!(
        client.read_resource(missing).await.is_err(),
        "a missing resource was read"
    );

    let prompts = client.list_all_prompts().await.context("prompts/list")?;
    ensure!(
        prompts
            .iter()
            .any(|one| one.name == "test_prompt_with_arguments"),
        "{prompts:?}"
    );
    let Value::Object(arguments) = json!({"arg1": "one", "arg2": "two"}) else {
        bail!("no object");
    };
    let params =
        GetPromptRequestParams::new("test_prompt_with_arguments").with_arguments(arguments);
    let prompt = client.get_prompt(params).await.context("prompts/get")?;
    ensure!(prompt.messages.len() == 1, "{prompt:?}");
    Ok(())
}

/// A tool that asks twice; both questions reach the handler once.
async fn questions(client: &Client) -> anyhow::Result<()> {
    let result = call(client, "test_input_required_result_multi_round", json!({})).await?;
    ensure!(text(&result) == "my name likes my color", "{result:?}");
    let asked = client.service().asked.load(Ordering::SeqCst);
    ensure!(asked == 2, "asked {asked} times, not twice");
    Ok(())
}

async fn over_http(url: &str) -> anyhow::Result<()> {
    for (name, mode, version) in modes() {
        let config = StreamableHttpClientTransportConfig::with_uri(url.to_owned());
        let checks = async {
            let transport = StreamableHttpClientTransport::from_config(config);
            let client = Person::default()
                .serve_with_lifecycle(transport, mode)
                .await?;
            agreed(&client, &version)?;
            fixtures(&client).await?;
            questions(&client).await?;
            client.cancel().await?;
            anyhow::Ok(())
        };
        within(checks)
            .await
            .with_context(|| format!("http, {name}"))?;
        println!("  ok  http, {name}");
    }
    Ok(())
}

async fn over_stdio(program: &str) -> anyhow::Result<()> {
    for (name, mode, version) in modes() {
        let checks = async {
            let transport = TokioChildProcess::new(Command::new(program))?;
            let client = Person::default()
                .serve_with_lifecycle(transport, mode)
                .await?;
            agreed(&client, &version)?;
            let result = call(&client, "add", json!({"a": 1, "b": 2})).await?;
            ensure!(text(&result) == "3", "{result:?}");
            client.cancel().await?;
            anyhow::Ok(())
        };
        within(checks)
            .await
            .with_context(|| format!("stdio, {name}"))?;
        println!("  ok  stdio, {name}");
    }
    Ok(())
}

async fn within(checks: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::time::timeout(LIMIT, checks)
        .await
        .context("took too long")?
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(program)) = (arguments.next(), arguments.next()) else {
        bail!("usage: rmcp-client URL PROGRAM");
    };
    over_http(&url).await?;
    over_stdio(&program).await?;
    println!("rmcp client: passed");
    Ok(())
}
