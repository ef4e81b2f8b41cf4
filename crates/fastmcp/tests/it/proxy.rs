//! A server in front of another, of either era, for clients of either era.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use fastmcp::{
    Proxy, ToolBuilder,
    auth::Caller,
    client::ClientBuilder,
    prelude::*,
    protocol::{
        ProtocolVersion,
        completion::{CompleteParams, Reference},
        elicit::ElicitResult,
        logging::LoggingLevel,
        roots::Root,
        sampling::{CreateMessageParams, CreateMessageResult, SamplingContent, SamplingMessage},
        subscription::SubscriptionFilter,
    },
};
use serde_json::Value;
use tokio::sync::Notify;

const REVISIONS: [ProtocolVersion; 2] = [ProtocolVersion::LATEST, ProtocolVersion::V2025_11_25];

#[derive(Debug, Deserialize, JsonSchema)]
struct City {
    name: String,
}

/// Adds two numbers.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Fails.
#[tool]
async fn fail() -> Result<String> {
    Err(ToolError::new("no luck").into())
}

/// Asks for a city, the model for its country, and the client for its folders.
#[tool]
async fn survey(ctx: Context) -> Result<String> {
    let city: City = ctx.elicit("city", "Which city?").await?;
    let question = CreateMessageParams::new(vec![SamplingMessage::user("Which country?")], 20);
    let country = ctx.sample("country", question).await?;
    let country = country.content.first().and_then(SamplingContent::as_text);
    let roots = ctx.roots("roots").await?;
    Ok(format!(
        "{} {} {}",
        city.name,
        country.unwrap_or_default(),
        roots.len()
    ))
}

/// Says what it does.
#[tool]
async fn work(ctx: Context) -> Result<String> {
    ctx.info("begun").await;
    for step in 1..=3 {
        ctx.report_progress(f64::from(step), Some(3.0), Some("step"))
            .await;
    }
    Ok("done".to_owned())
}

/// A greeting.
#[resource("data://greeting")]
async fn greeting() -> &'static str {
    "hello"
}

/// A user.
#[resource("data://users/{id}")]
async fn user(id: String) -> String {
    format!("user {id}")
}

/// Asks for a review.
#[prompt]
async fn review(language: String) -> String {
    format!("Review this {language}.")
}

async fn complete(_: Caller, params: CompleteParams<'static>) -> Vec<String> {
    vec![format!("{}ust", params.argument.value)]
}

fn upstream() -> Server {
    FastMcp::new("upstream")
        .instructions("What stands behind.")
        .tool(add)
        .tool(fail)
        .tool(survey)
        .tool(work)
        .resource(greeting)
        .resource(user)
        .prompt(review)
        .completion(complete)
        .build()
        .unwrap()
}

async fn front(upstream: &Server, revision: ProtocolVersion) -> Server {
    let proxy = Proxy::new();
    let client = proxy
        .client()
        .revision(revision)
        .connect_server(upstream)
        .await
        .unwrap();
    assert_eq!(client.protocol_version(), revision);
    proxy.serve(client, FastMcp::new("front")).await.unwrap()
}

/// A client that answers everything.
fn able() -> ClientBuilder {
    Client::builder()
        .on_elicit(async |_| {
            Ok(ElicitResult::accept(
                json!({"name": "Oslo"}).as_object().unwrap().clone(),
            ))
        })
        .on_sample(async |_| Ok(CreateMessageResult::text("Norway", "m")))
        .roots(vec![Root::new("file:///a")])
}

/// Runs `check` with a client of each revision in front of an upstream of each.
async fn each<F>(check: impl Fn(Client, String) -> F)
where
    F: Future<Output = ()>,
{
    for behind in REVISIONS {
        let server = front(&upstream(), behind).await;
        for before in REVISIONS {
            let client = able()
                .revision(before)
                .connect_server(&server)
                .await
                .unwrap();
            check(client, format!("{before} in front of {behind}")).await;
        }
    }
}

#[tokio::test]
async fn everything_of_the_upstream_is_there() {
    each(async |client, which| {
        assert_eq!(
            client.instructions().as_deref(),
            Some("What stands behind."),
            "{which}"
        );
        assert_eq!(client.server_info().unwrap().name, "front");
        let tools = client.list_tools().await.unwrap();
        let names: Vec<_> = tools.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["add", "fail", "survey", "work"], "{which}");
        assert_eq!(client.list_resources().await.unwrap().len(), 1);
        assert_eq!(client.list_resource_templates().await.unwrap().len(), 1);
        assert_eq!(client.list_prompts().await.unwrap()[0].name, "review");

        let sum = client
            .call_tool("add", json!({"a": 2, "b": 3}))
            .await
            .unwrap();
        assert_eq!(sum.data::<i64>().unwrap(), 5, "{which}");
        let read = client.read_resource("data://users/7").await.unwrap();
        assert_eq!(
            serde_json::to_value(&read).unwrap()["contents"][0]["text"],
            "user 7"
        );
        let prompt = client
            .get_prompt("review", json!({"language": "Rust"}))
            .await
            .unwrap();
        assert!(
            serde_json::to_string(&prompt)
                .unwrap()
                .contains("Review this Rust.")
        );
        let reference = Reference::Prompt {
            name: "review".into(),
        };
        let completed = client
            .complete(reference, "language", "R", None)
            .await
            .unwrap();
        assert_eq!(completed.values, ["Rust"], "{which}");
    })
    .await;
}

#[tokio::test]
async fn failures_stay_what_they_were() {
    each(async |client, which| {
        let failed = client.call_tool("fail", json!({})).await.unwrap_err();
        assert_eq!(failed.message(), "no luck", "{which}");
        let wrong = client
            .call_tool_raw("add", json!({"a": "x"}))
            .await
            .unwrap();
        assert!(wrong.is_error(), "{which}");
        assert!(client.call_tool("none", json!({})).await.is_err());
        let missing = client.read_resource("data://none").await.unwrap_err();
        let data = missing.data().cloned().unwrap_or_default();
        assert_eq!(data["uri"], "data://none", "{which}: {missing}");
    })
    .await;
}

#[tokio::test]
async fn what_the_upstream_asks_is_asked_of_the_caller() {
    each(async |client, which| {
        let survey = client.call_tool("survey", json!({})).await;
        assert_eq!(survey.unwrap().text(), "Oslo Norway 1", "{which}");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_cannot_be_asked_is_told_so() {
    for behind in REVISIONS {
        let server = front(&upstream(), behind).await;
        for before in REVISIONS {
            let client = Client::builder()
                .revision(before)
                .connect_server(&server)
                .await
                .unwrap();
            let survey = client.call_tool("survey", json!({})).await;
            assert!(survey.is_err(), "{before} in front of {behind}: {survey:?}");
        }
    }
}

#[tokio::test]
async fn progress_and_logs_go_to_the_caller() {
    for behind in REVISIONS {
        let server = front(&upstream(), behind).await;
        for before in REVISIONS {
            let heard: Arc<Mutex<Vec<String>>> = Arc::default();
            let (steps, lines) = (Arc::clone(&heard), Arc::clone(&heard));
            let client = able()
                .revision(before)
                .on_progress(move |p| steps.lock().unwrap().push(p.progress.to_string()))
                .on_log(LoggingLevel::Info, move |m| {
                    lines.lock().unwrap().push(m.data.as_str().to_owned());
                })
                .connect_server(&server)
                .await
                .unwrap();
            client.call_tool("work", json!({})).await.unwrap();
            let heard = heard.lock().unwrap().clone();
            assert_eq!(
                heard,
                ["\"begun\"", "1", "2", "3"],
                "{before} in front of {behind}"
            );
        }
    }
}

#[tokio::test]
async fn changes_of_the_upstream_reach_the_clients() {
    for behind in REVISIONS {
        let upstream = upstream();
        let server = front(&upstream, behind).await;
        let client = Client::connect(&server).await.unwrap();
        let filter = SubscriptionFilter {
            tools_list_changed: true,
            ..SubscriptionFilter::default()
        };
        let mut changes = client.subscribe(filter).await.unwrap();
        upstream
            .registry()
            .edit(|components| components.retain(|c| c.key() != "fail"))
            .unwrap();
        let changed =
            tokio::time::timeout(std::time::Duration::from_secs(20), changes.next()).await;
        assert!(
            changed
                .unwrap_or_else(|_| panic!("nothing came: {behind}"))
                .is_some()
        );
        let tools = client.list_tools().await.unwrap();
        assert!(tools.iter().all(|t| t.name != "fail"), "{behind}");
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_is_given_up_upstream() {
    for behind in REVISIONS {
        let (begun, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (says_begun, says_ended) = (Arc::clone(&begun), Arc::clone(&ended));
        let wait = ToolBuilder::new("wait", move |(): (), ctx: Context| {
            let (begun, ended) = (Arc::clone(&says_begun), Arc::clone(&says_ended));
            async move {
                begun.notify_one();
                ctx.cancellation().cancelled().await;
                ended.notify_one();
                "cancelled"
            }
        });
        let upstream = FastMcp::new("upstream").tool(wait).build().unwrap();
        let server = front(&upstream, behind).await;
        let client = Client::connect(&server).await.unwrap();
        {
            let mut call = std::pin::pin!(client.call_tool("wait", json!({})));
            tokio::select! {
                ended = &mut call => panic!("{ended:?}"),
                () = begun.notified() => {}
            }
        }
        ended.notified().await;
    }
}

#[tokio::test]
async fn a_call_that_waited_is_never_repeated() {
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ran);
    let once = ToolBuilder::new("once", move |(): (), ctx: Context| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let city: City = ctx.elicit("city", "Which city?").await?;
            Ok::<_, Error>(city.name)
        }
    });
    let upstream = FastMcp::new("upstream").tool(once).build().unwrap();
    let server = front(&upstream, ProtocolVersion::V2025_11_25).await;
    let memory = server.memory();
    let first = round(&memory, json!({"name": "once", "arguments": {}})).await;
    assert_eq!(first["result"]["resultType"], "input_required", "{first}");
    let (key, _) = first["result"]["inputRequests"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    let state = &first["result"]["requestState"];
    let answer = json!({
        "name": "once",
        "arguments": {},
        "inputResponses": {key: {"action": "accept", "content": {"name": "Oslo"}}},
        "requestState": state,
    });
    let second = round(&memory, answer.clone()).await;
    assert_eq!(second["result"]["content"][0]["text"], "Oslo", "{second}");
    let third = round(&memory, answer).await;
    assert_eq!(third["result"]["isError"], true, "{third}");
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

async fn round(
    memory: &fastmcp::transport::memory::Memory<fastmcp::server::Engine>,
    mut params: Value,
) -> Value {
    use fastmcp::transport::{Reply, Step};

    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    });
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let mut exchange = memory.send(&message.to_string().into());
    loop {
        if let Step::Done(Reply::Message { body, .. }) = exchange.next().await {
            return serde_json::from_str(&body).unwrap();
        }
    }
}
