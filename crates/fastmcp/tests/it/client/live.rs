//! Our own servers, over real connections, in the newest revision and the one before it.

use std::sync::{Arc, Mutex};

use fastmcp::{
    auth::Caller,
    client::{CallOptions, Change, ClientBuilder},
    prelude::*,
    protocol::{
        ProtocolVersion,
        completion::{CompleteParams, Reference},
        content::JsonObject,
        elicit::ElicitResult,
        logging::LoggingLevel,
        subscription::SubscriptionFilter,
    },
    transport::http::HttpConfig,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::task::TaskTracker;

const REVISIONS: [ProtocolVersion; 2] =
    [ProtocolVersion::V2026_07_28, ProtocolVersion::V2025_11_25];

#[derive(Debug, Deserialize, JsonSchema)]
struct City {
    name: String,
}

/// Adds.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[tool]
async fn visit(ctx: Context) -> Result<String> {
    let city: City = ctx.elicit("city", "Which city?").await?;
    Ok(city.name)
}

#[tool]
async fn chatty(ctx: Context) -> &'static str {
    ctx.report_progress(1.0, Some(2.0), Some("half")).await;
    ctx.info("working").await;
    "done"
}

#[resource("note://one")]
async fn note() -> &'static str {
    "a note"
}

#[prompt]
async fn greet(name: String) -> String {
    format!("Hello {name}")
}

async fn complete(_: Caller, params: CompleteParams<'static>) -> Vec<String> {
    vec![format!("{}nn", params.argument.value)]
}

struct Running {
    server: Server,
    url: String,
}

impl Running {
    async fn start(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let serving = server.clone();
        TaskTracker::new().spawn(async move {
            serving
                .serve_http(listener, HttpConfig::default())
                .await
                .unwrap();
        });
        Self { server, url }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.shutdown().cancel();
    }
}

fn server() -> Server {
    FastMcp::new("live")
        .instructions("Be kind.")
        .tool(add)
        .tool(visit)
        .tool(chatty)
        .resource(note)
        .prompt(greet)
        .completion(complete)
        .build()
        .unwrap()
}

fn answering() -> ClientBuilder {
    Client::builder().on_elicit(|_| async {
        let content = JsonObject::from_iter([("name".to_owned(), json!("Rome"))]);
        Ok(ElicitResult::accept(content))
    })
}

async fn use_everything(client: &Client, revision: ProtocolVersion) {
    assert_eq!(client.protocol_version(), revision);
    assert_eq!(client.server_info().unwrap().name, "live");
    assert_eq!(client.instructions().as_deref(), Some("Be kind."));
    assert_eq!(client.list_tools().await.unwrap().len(), 3);
    let sum = client
        .call_tool("add", json!({"a": 5, "b": 3}))
        .await
        .unwrap();
    assert_eq!(sum.data::<i64>().unwrap(), 8);
    let city = client.call_tool("visit", json!({})).await.unwrap();
    assert_eq!(city.data::<String>().unwrap(), "Rome");
    read_and_render(client).await;
    client.ping().await.unwrap();
    client.discover().await.unwrap();
}

async fn read_and_render(client: &Client) {
    let read = client.read_resource("note://one").await.unwrap();
    assert_eq!(read.contents.len(), 1);
    let missing = client.read_resource("note://two").await.unwrap_err();
    let not_found = fastmcp::protocol::ErrorCode::INVALID_PARAMS;
    assert_eq!(
        missing.kind(),
        fastmcp::error::ErrorKind::Protocol(not_found),
        "in the words of the newest revision"
    );
    assert_eq!(client.list_prompts().await.unwrap().len(), 1);
    let prompt = client
        .get_prompt("greet", json!({"name": "Ann"}))
        .await
        .unwrap();
    assert_eq!(prompt.messages.len(), 1);
    let reference = Reference::Prompt {
        name: "greet".into(),
    };
    let completed = client.complete(reference, "name", "A", None).await.unwrap();
    assert_eq!(completed.values, ["Ann"]);
}

#[tokio::test]
async fn everything_over_http() {
    let running = Running::start(server()).await;
    for revision in REVISIONS {
        let client = answering()
            .revision(revision)
            .connect_url(&running.url)
            .await
            .unwrap();
        use_everything(&client, revision).await;
        client.close().await;
        assert!(client.ping().await.is_err(), "closed");
    }
    let client = answering().connect_url(&running.url).await.unwrap();
    use_everything(&client, REVISIONS[0]).await;
}

#[tokio::test]
async fn everything_in_the_same_process() {
    let server = server();
    for revision in REVISIONS {
        let builder = answering().revision(revision);
        let client = builder.connect_server(&server).await.unwrap();
        use_everything(&client, revision).await;
        client.close().await;
    }
}

#[tokio::test]
async fn progress_and_log_come_before_the_answer() {
    let running = Running::start(server()).await;
    for revision in REVISIONS {
        let (log, mut logged) = mpsc::channel(8);
        let client = Client::builder()
            .revision(revision)
            .on_log(LoggingLevel::Info, move |m| log.try_send(m.level).unwrap())
            .connect_url(&running.url)
            .await
            .unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let see = Arc::clone(&seen);
        let options = CallOptions::new().on_progress(move |p| see.lock().unwrap().push(p.clone()));
        client
            .call_tool_with("chatty", json!({}), &options)
            .await
            .unwrap();
        let progress = seen.lock().unwrap().clone();
        assert_eq!(progress.len(), 1, "{revision}");
        assert_eq!(progress[0].total, Some(2.0));
        assert_eq!(logged.recv().await, Some(LoggingLevel::Info));
        client.set_log_level(LoggingLevel::Error).await.unwrap();
        client.call_tool("chatty", json!({})).await.unwrap();
        assert!(logged.try_recv().is_err(), "{revision}");
    }
}

#[tokio::test]
async fn changes_are_told_of() {
    for revision in REVISIONS {
        let running = Running::start(server()).await;
        let client = Client::builder()
            .revision(revision)
            .connect_url(&running.url)
            .await
            .unwrap();
        let filter = SubscriptionFilter {
            tools_list_changed: true,
            ..SubscriptionFilter::default()
        };
        let mut subscription = client.subscribe(filter).await.unwrap();
        assert_eq!(client.list_tools().await.unwrap().len(), 3);
        let registry = running.server.registry();
        registry
            .edit(|components| components.retain(|one| one.key() != "chatty"))
            .unwrap();
        assert_eq!(subscription.next().await, Some(Change::Tools), "{revision}");
        assert_eq!(client.list_tools().await.unwrap().len(), 2);
    }
}
