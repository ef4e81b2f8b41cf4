//! Which hooks run, in which order, and what they may do.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use fastmcp::{
    ToolBuilder,
    middleware::{MessageType, prelude::*},
    prelude::*,
    protocol::{ProtocolVersion, content::ContentBlock, elicit::ElicitResult},
};
use serde_json::Value;

use super::Tracer;
use crate::eras::{modern, send};

/// Adds.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Says who it heard of.
#[tool]
async fn whoami(ctx: Context) -> String {
    ctx.get_state("user_id").unwrap_or_default()
}

#[resource("data://x")]
async fn data() -> String {
    "text".to_owned()
}

#[resource("item://{id}")]
async fn item(id: String) -> String {
    id
}

/// Greets.
#[prompt]
async fn greet(name: String) -> String {
    format!("Hello {name}")
}

fn everything() -> FastMcp {
    FastMcp::new("layers")
        .tool(add)
        .tool(whoami)
        .resource(data)
        .resource(item)
        .prompt(greet)
}

async fn client_of(server: &Server, revision: ProtocolVersion) -> Client {
    let client = Client::builder().revision(revision);
    client.connect_server(server).await.unwrap()
}

const BOTH: [ProtocolVersion; 2] = [ProtocolVersion::LATEST, ProtocolVersion::LATEST_LEGACY];

/// What two layers write down about a message with a hook of its own.
fn nested(hook: &str, method: &str, end: &str) -> Vec<String> {
    let mut hooks = vec!["on_message", "on_request", hook];
    if hook.starts_with("on_list_") {
        hooks.insert(2, "on_list");
    }
    let down = ["A", "B"].into_iter().flat_map(|layer| {
        hooks
            .iter()
            .map(move |hook| format!("{layer}.{hook} {method}"))
    });
    let up = ["B", "A"].into_iter().flat_map(|layer| {
        hooks
            .iter()
            .rev()
            .map(move |hook| format!("{layer}.{hook} {end}"))
    });
    down.chain(up).collect()
}

#[tokio::test]
async fn each_message_goes_through_each_layer_once_and_in_order() {
    for revision in BOTH {
        let outer = Tracer::new("A");
        let inner = outer.beside("B");
        let server = everything()
            .middleware(outer.clone())
            .middleware(inner)
            .build()
            .unwrap();
        let client = client_of(&server, revision).await;
        let opened = outer.take();
        if revision == ProtocolVersion::LATEST {
            assert_eq!(opened, nested("on_discover", "server/discover", "ok"));
        } else {
            let mut wanted = nested("on_initialize", "initialize", "ok");
            for hook in ["on_message", "on_notification"] {
                assert!(opened.contains(&format!("B.{hook} notifications/initialized")));
            }
            wanted.extend(opened.iter().skip(12).cloned());
            assert_eq!(opened, wanted);
            assert_eq!(opened.len(), 12 + 8);
        }

        let sum = client.call_tool("add", json!({"a": 1, "b": 2})).await;
        assert_eq!(sum.unwrap().data::<i64>().unwrap(), 3);
        assert_eq!(outer.take(), nested("on_call_tool", "tools/call", "ok"));
        client.read_resource("data://x").await.unwrap();
        let read = nested("on_read_resource", "resources/read", "ok");
        assert_eq!(outer.take(), read);
        client.read_resource("item://7").await.unwrap();
        assert_eq!(outer.take(), read);
        client
            .get_prompt("greet", json!({"name": "Ada"}))
            .await
            .unwrap();
        assert_eq!(outer.take(), nested("on_get_prompt", "prompts/get", "ok"));
        assert_eq!(client.list_tools().await.unwrap().len(), 2);
        assert_eq!(outer.take(), nested("on_list_tools", "tools/list", "ok"));
        assert_eq!(client.list_resources().await.unwrap().len(), 1);
        assert_eq!(
            outer.take(),
            nested("on_list_resources", "resources/list", "ok")
        );
        assert_eq!(client.list_resource_templates().await.unwrap().len(), 1);
        assert_eq!(
            outer.take(),
            nested(
                "on_list_resource_templates",
                "resources/templates/list",
                "ok"
            )
        );
        assert_eq!(client.list_prompts().await.unwrap().len(), 1);
        assert_eq!(
            outer.take(),
            nested("on_list_prompts", "prompts/list", "ok")
        );
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_has_no_hook_of_its_own_is_seen_too() {
    for revision in BOTH {
        let tracer = Tracer::new("A");
        let server = everything().middleware(tracer.clone()).build().unwrap();
        let client = client_of(&server, revision).await;
        tracer.take();
        client.call_tool("nothing", json!({})).await.unwrap_err();
        let seen = tracer.take();
        assert_eq!(
            seen.first().map(String::as_str),
            Some("A.on_message tools/call")
        );
        assert_eq!(seen.last().map(String::as_str), Some("A.on_message failed"));
        assert_eq!(seen.len(), 6);
        client.read_resource("none://x").await.unwrap_err();
        assert_eq!(tracer.take().len(), 6);
        client
            .request("no/such", serde_json::Map::new())
            .await
            .unwrap_err();
        assert_eq!(
            tracer.take(),
            [
                "A.on_message no/such",
                "A.on_request no/such",
                "A.on_request failed",
                "A.on_message failed"
            ]
        );
        if revision != ProtocolVersion::LATEST {
            client.ping().await.unwrap();
            assert_eq!(
                tracer.take(),
                [
                    "A.on_message ping",
                    "A.on_request ping",
                    "A.on_request ok",
                    "A.on_message ok"
                ]
            );
        }
    }
}

/// Sets what handlers look up, and looks at what it was told.
struct Auth;

impl Middleware for Auth {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        assert_eq!(context.message_type(), MessageType::Request);
        assert_eq!(context.source().as_str(), "client");
        assert!(context.timestamp().unix_seconds() > 1_700_000_000);
        context.fastmcp_context().set_state("user_id", "123")?;
        next.run(context).await
    }
}

#[tokio::test]
async fn state_goes_from_layers_to_handlers() {
    for revision in BOTH {
        let server = everything().middleware(Auth).build().unwrap();
        let client = client_of(&server, revision).await;
        let heard = client.call_tool("whoami", json!({})).await.unwrap();
        assert_eq!(heard.text(), "123");
    }
}

/// Doubles `a`, adds a line to the answer, answers `whoami` itself and refuses `admin_`.
struct Meddler;

impl Middleware for Meddler {
    async fn on_call_tool(
        &self,
        mut context: MiddlewareContext<CallTool>,
        next: Next<'_, CallTool>,
    ) -> Result<Outcome<CallToolResult>> {
        match context.message.name() {
            "whoami" => return Ok(Outcome::Complete(CallToolResult::text("nobody"))),
            name if name.starts_with("admin_") => {
                return Err(Error::tool("Admin access required"));
            }
            _ => {}
        }
        assert!(context.message.component().is_some());
        let mut arguments: Value = context.message.decode()?;
        arguments["a"] = json!(arguments["a"].as_i64().unwrap_or_default() * 2);
        context.message.set_arguments(&arguments)?;
        let mut outcome = next.run(context).await?;
        if let Outcome::Complete(result) = &mut outcome {
            result.content.push(ContentBlock::text("seen"));
        }
        Ok(outcome)
    }

    async fn on_list_tools(
        &self,
        context: MiddlewareContext<ListTools>,
        next: Next<'_, ListTools>,
    ) -> Result<Vec<Listed<Tool>>> {
        let mut tools = next.run(context).await?;
        tools.retain(|tool| tool.component().is_some_and(|c| c.tags().is_empty()));
        for tool in &mut tools {
            tool.description = Some("changed".to_owned());
        }
        Ok(tools)
    }
}

#[tokio::test]
async fn arguments_results_and_lists_may_be_changed() {
    for revision in BOTH {
        let server = everything()
            .tool(admin_tool())
            .middleware(Meddler)
            .list_page_size(1)
            .build()
            .unwrap();
        let client = client_of(&server, revision).await;
        let sum = client.call_tool("add", json!({"a": 5, "b": 1})).await;
        let sum = sum.unwrap();
        // It is still told that the value stands under `result`.
        assert_eq!(sum.data::<i64>().unwrap(), 11);
        assert_eq!(sum.content().len(), 2);
        let nobody = client.call_tool("whoami", json!({})).await.unwrap();
        assert_eq!(nobody.text(), "nobody");
        let refused = client.call_tool("admin_wipe", json!({})).await;
        assert_eq!(refused.unwrap_err().message(), "Admin access required");
        let tools = client.list_tools().await.unwrap();
        let names: Vec<_> = tools.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["add", "whoami"], "two pages");
        assert!(
            tools
                .iter()
                .all(|t| t.description.as_deref() == Some("changed"))
        );
    }
}

fn admin_tool() -> ToolBuilder {
    ToolBuilder::new("admin_wipe", |(), _| async { "wiped" }).tag("private")
}

/// Answers for one method what belongs to another, fails, and asks where nothing may be asked.
struct Broken;

#[derive(Debug, Deserialize, JsonSchema)]
struct City {
    name: String,
}

impl Middleware for Broken {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        match context.message.target() {
            Some("add") => Ok(Response::Nothing),
            Some("whoami") => panic!("a layer panics"),
            _ => next.run(context).await,
        }
    }

    async fn on_list_tools(
        &self,
        context: MiddlewareContext<ListTools>,
        _: Next<'_, ListTools>,
    ) -> Result<Vec<Listed<Tool>>> {
        let asked: Result<City> = context.fastmcp_context().elicit("city", "Which?").await;
        asked.map(|_| Vec::new())
    }
}

#[tokio::test]
async fn a_broken_layer_breaks_its_message_alone() {
    let server = everything().middleware(Broken).build().unwrap();
    let client = Client::connect(&server)
        .await
        .unwrap()
        .on_elicit(|_, _| ElicitResult::cancel());
    for tool in ["add", "whoami"] {
        let error = client.call_tool(tool, json!({"a": 1, "b": 1})).await;
        assert_eq!(error.unwrap_err().message(), "an internal error occurred");
    }
    let error = client.list_tools().await.unwrap_err();
    assert!(error.message().contains("an internal error"), "{error}");
    assert_eq!(client.list_prompts().await.unwrap().len(), 1);
}

/// Counts rounds by how they end.
#[derive(Default)]
struct Rounds {
    asked: AtomicUsize,
    done: AtomicUsize,
}

impl Middleware for Rounds {
    async fn on_call_tool(
        &self,
        context: MiddlewareContext<CallTool>,
        next: Next<'_, CallTool>,
    ) -> Result<Outcome<CallToolResult>> {
        let outcome = next.run(context).await?;
        match &outcome {
            Outcome::InputRequired(asks) => {
                assert!(asks.requests.get("city").is_some());
                self.asked.fetch_add(1, Ordering::Relaxed);
            }
            _ => {
                self.done.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(outcome)
    }
}

#[tool]
async fn visit(ctx: Context) -> Result<String> {
    let city: City = ctx.elicit("city", "Which city?").await?;
    Ok(city.name)
}

#[tokio::test]
async fn a_question_is_an_outcome_that_layers_see_in_each_round() {
    for (revision, asked) in BOTH.into_iter().zip([1, 0]) {
        let rounds = Arc::new(Rounds::default());
        let server = FastMcp::new("ask")
            .tool(visit)
            .middleware(Arc::clone(&rounds))
            .build()
            .unwrap();
        let client = Client::builder()
            .revision(revision)
            .on_elicit(|_| async {
                Ok(ElicitResult::accept(
                    json!({"name": "Rome"}).as_object().unwrap().clone(),
                ))
            })
            .connect_server(&server)
            .await
            .unwrap();
        let answer = client.call_tool("visit", json!({})).await.unwrap();
        assert_eq!(answer.text(), "Rome");
        assert_eq!(rounds.asked.load(Ordering::Relaxed), asked);
        assert_eq!(rounds.done.load(Ordering::Relaxed), 1);
    }
}

/// Has another tool ask.
#[tool]
async fn travel(ctx: Context) -> Result<String> {
    let visited = ctx.call_tool("visit", json!({})).await?;
    Ok(json!(visited.content).to_string())
}

#[tokio::test]
async fn what_a_handler_calls_goes_through_layers_and_may_ask() {
    for revision in BOTH {
        let tracer = Tracer::new("A");
        let server = FastMcp::new("ask")
            .tool(visit)
            .tool(travel)
            .middleware(tracer.clone())
            .build()
            .unwrap();
        let client = Client::builder()
            .revision(revision)
            .on_elicit(|_| async {
                Ok(ElicitResult::accept(
                    json!({"name": "Bern"}).as_object().unwrap().clone(),
                ))
            })
            .connect_server(&server)
            .await
            .unwrap();
        tracer.take();
        let answer = client.call_tool("travel", json!({})).await.unwrap();
        assert!(answer.text().contains("Bern"), "{}", answer.text());
        let seen = tracer.take();
        let inner = seen.iter().filter(|s| *s == "A.on_call_tool ok").count();
        assert!(inner >= 2, "{seen:?}");
    }
}

/// Asks before it lets a call through.
struct Confirming;

impl Middleware for Confirming {
    async fn on_call_tool(
        &self,
        context: MiddlewareContext<CallTool>,
        next: Next<'_, CallTool>,
    ) -> Result<Outcome<CallToolResult>> {
        let city: City = context.fastmcp_context().elicit("where", "Where?").await?;
        context.fastmcp_context().set_state("user_id", city.name)?;
        next.run(context).await
    }
}

#[tokio::test]
async fn a_layer_may_ask_about_a_call() {
    for revision in BOTH {
        let server = everything().middleware(Confirming).build().unwrap();
        let client = Client::builder()
            .revision(revision)
            .on_elicit(|_| async {
                Ok(ElicitResult::accept(
                    json!({"name": "Oslo"}).as_object().unwrap().clone(),
                ))
            })
            .connect_server(&server)
            .await
            .unwrap();
        let answer = client.call_tool("whoami", json!({})).await.unwrap();
        assert_eq!(answer.text(), "Oslo");
    }
}

#[tokio::test]
async fn a_layer_on_one_component_is_within_the_servers() {
    let outer = Tracer::new("server");
    let inner = outer.beside("tool");
    let own = inner.clone();
    let server = everything()
        .tool(ToolBuilder::new("own", |(), _| async { "mine" }).middleware(own))
        .middleware(outer.clone())
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    outer.take();
    client.call_tool("whoami", json!({})).await.unwrap();
    assert!(outer.take().iter().all(|seen| seen.starts_with("server.")));
    let mine = client.call_tool("own", json!({})).await.unwrap();
    assert_eq!(mine.data::<String>().unwrap(), "mine");
    let wanted: Vec<_> = nested("on_call_tool", "tools/call", "ok")
        .into_iter()
        .map(|line| line.replace("A.", "server.").replace("B.", "tool."))
        .collect();
    assert_eq!(outer.take(), wanted);
}

#[tokio::test]
async fn a_layer_on_a_component_of_a_mounted_server_runs_once() {
    let trace = Tracer::new("tool");
    let own = ToolBuilder::new("own", |(), _| async { "mine" }).middleware(trace.clone());
    let child = FastMcp::new("child").tool(own).build().unwrap();
    let mounted = FastMcp::new("parent").mount(&child, "sub").build().unwrap();
    let copied = FastMcp::new("parent")
        .import_server(&child, "sub")
        .build()
        .unwrap();
    for parent in [mounted, copied] {
        let client = Client::connect(&parent).await.unwrap();
        trace.take();
        client.call_tool("sub_own", json!({})).await.unwrap();
        let seen = trace.take();
        let calls = seen.iter().filter(|line| line.contains("on_call_tool"));
        assert_eq!(calls.count(), 2, "in and out: {seen:?}");
    }
}

/// Refuses sessions of one client and cancellations.
struct Doorkeeper;

impl Middleware for Doorkeeper {
    async fn on_initialize(
        &self,
        context: MiddlewareContext<fastmcp::middleware::Initialize>,
        next: Next<'_, fastmcp::middleware::Initialize>,
    ) -> Result<fastmcp::protocol::initialize::InitializeResult> {
        let name = context.message.client_info.name.clone();
        let mut result = next.run(context).await?;
        if name == "unwanted" {
            return Err(Error::tool("not you"));
        }
        result.instructions = Some("changed".to_owned());
        Ok(result)
    }
}

#[tokio::test]
async fn a_session_that_a_layer_refuses_is_not_open() {
    let server = everything().middleware(Doorkeeper).build().unwrap();
    let memory = server.memory();
    let hello = |name: &str| {
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": name, "version": "1"}}})
    };
    let level = json!({"jsonrpc": "2.0", "id": 2, "method": "resources/subscribe", "params": {"uri": "data://x"}});
    let (_, refused) = send(&memory, hello("unwanted")).await;
    assert_eq!(refused["error"]["message"], "not you", "{refused}");
    let (_, closed) = send(&memory, level.clone()).await;
    assert!(
        closed["error"]["message"]
            .as_str()
            .unwrap()
            .contains("initialize first")
    );
    let (_, welcome) = send(&memory, hello("friend")).await;
    assert_eq!(welcome["result"]["instructions"], "changed");
    let (_, open) = send(&memory, level).await;
    assert_eq!(open["result"], json!({}));
}

#[tokio::test]
async fn a_list_that_no_layer_looks_into_is_written_once() {
    /// Knows messages alone.
    struct General(Arc<AtomicUsize>);
    impl Middleware for General {
        async fn on_message(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
            let response = next.run(context).await?;
            if matches!(response, Response::Sealed(_)) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            Ok(response)
        }
    }
    let sealed = Arc::new(AtomicUsize::new(0));
    let server = everything()
        .middleware(General(Arc::clone(&sealed)))
        .build()
        .unwrap();
    let plain = everything().build().unwrap();
    let list = modern("tools/list", json!({}), &json!({}));
    let (_, layered) = send(&server.memory(), list.clone()).await;
    let (_, bare) = send(&plain.memory(), list).await;
    assert_eq!(layered, bare);
    assert_eq!(sealed.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn layers_of_a_mounted_server_run_within_its_parents_for_what_is_its_own() {
    let outer = Tracer::new("A");
    let child = FastMcp::new("child")
        .tool(ToolBuilder::new("own", |(), _| async { "mine" }))
        .middleware(outer.beside("B"))
        .build()
        .unwrap();
    let parent = everything()
        .mount(&child, "child")
        .middleware(outer.clone())
        .build()
        .unwrap();
    let client = Client::connect(&parent).await.unwrap();
    outer.take();
    let mine = client.call_tool("child_own", json!({})).await.unwrap();
    assert_eq!(mine.data::<String>().unwrap(), "mine");
    assert_eq!(outer.take(), nested("on_call_tool", "tools/call", "ok"));
    client.call_tool("whoami", json!({})).await.unwrap();
    assert!(outer.take().iter().all(|seen| seen.starts_with("A.")));
}
