//! What tools may return, how long they may take, and what is said of those on their way out.

use std::{sync::Arc, time::Duration};

use fastmcp::{
    Audio, File, IntoContent, ToolBuilder,
    prelude::*,
    protocol::{
        ProtocolVersion,
        content::{ContentBlock, ResourceContents},
        elicit::ElicitResult,
    },
    transport::http::HttpConfig,
};
use serde_json::Value;
use tokio::sync::Notify;

use crate::http::{Running, call as body, modern};

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Level {
    High,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Reading {
    level: Level,
    note: Option<String>,
}

#[tool]
async fn maybe(there: bool) -> Option<Reading> {
    there.then_some(Reading {
        level: Level::High,
        note: None,
    })
}

#[tool]
async fn level() -> Level {
    Level::High
}

#[tool]
async fn readings() -> Vec<Reading> {
    vec![Reading {
        level: Level::High,
        note: Some("x".to_owned()),
    }]
}

#[tool]
async fn nothing() {}

#[tool]
async fn anything(kind: String) -> Value {
    match kind.as_str() {
        "object" => json!({"a": 1}),
        "list" => json!([1, 2]),
        "text" => json!("plain"),
        _ => Value::Null,
    }
}

#[tool]
async fn pictures() -> Vec<Image> {
    vec![Image::png([1]), Image::new([2], "image/webp")]
}

#[tool]
async fn sound() -> Audio {
    Audio::wav([1, 2])
}

#[tool]
async fn no_picture() -> Option<Image> {
    None
}

#[tool]
async fn mixed() -> Vec<ContentBlock> {
    vec![
        "two files".into(),
        File::new("a b.md", "# Title").into_content(),
        File::new("raw", [0xff, 0]).into_content(),
    ]
}

#[tool]
async fn full() -> ToolResult {
    let mut result = ToolResult::text("done");
    result.is_error = true;
    result
}

fn outputs() -> FastMcp {
    FastMcp::new("outputs")
        .tool(maybe)
        .tool(level)
        .tool(readings)
        .tool(nothing)
        .tool(anything)
        .tool(pictures)
        .tool(sound)
        .tool(no_picture)
        .tool(mixed)
        .tool(full)
}

#[tokio::test]
async fn types_become_structured_content_and_its_schema() {
    let client = Client::connect(&outputs().build().unwrap()).await.unwrap();
    let structured = async |name: &str, args: Value| {
        let result = client.call_tool(name, args).await.unwrap();
        result.structured_content()
    };
    let high = json!({"level": "high", "note": null});
    assert_eq!(
        structured("maybe", json!({"there": true})).await,
        Some(json!({"result": high}))
    );
    assert_eq!(
        structured("maybe", json!({"there": false})).await,
        Some(json!({"result": null}))
    );
    assert_eq!(
        structured("level", json!({})).await,
        Some(json!({"result": "high"}))
    );
    assert_eq!(
        structured("readings", json!({})).await,
        Some(json!({"result": [{"level": "high", "note": "x"}]}))
    );
    assert_eq!(structured("nothing", json!({})).await, None);
    assert_eq!(
        structured("anything", json!({"kind": "object"})).await,
        Some(json!({"a": 1}))
    );
    for (kind, text) in [("list", "[1,2]"), ("text", "plain"), ("null", "")] {
        let result = client
            .call_tool("anything", json!({"kind": kind}))
            .await
            .unwrap();
        assert_eq!((result.text(), result.structured_content()), (text, None));
    }
    let tools = client.list_tools().await.unwrap();
    let schema = |name: &str| {
        let tool = tools.iter().find(|t| t.name == name).unwrap();
        tool.output_schema.as_ref().map(|s| s.to_value().unwrap())
    };
    let level = schema("level").unwrap();
    assert_eq!(level["properties"]["result"]["enum"], json!(["high"]));
    let many = schema("readings").unwrap();
    assert_eq!(many["properties"]["result"]["type"], "array");
    for bare in ["nothing", "anything", "pictures", "mixed", "full"] {
        assert_eq!(schema(bare), None, "{bare}");
    }
}

#[tokio::test]
async fn pictures_sounds_and_files_are_content() {
    let client = Client::connect(&outputs().build().unwrap()).await.unwrap();
    let content = async |name: &str| {
        let result = client.call_tool(name, json!({})).await.unwrap();
        result.content().to_vec()
    };
    let pictures = content("pictures").await;
    assert!(matches!(
        &*pictures,
        [ContentBlock::Image(a), ContentBlock::Image(b)]
            if a.mime_type == "image/png" && b.bytes().unwrap() == [2]
    ));
    assert!(matches!(
        &*content("sound").await,
        [ContentBlock::Audio(sound)] if sound.mime_type == "audio/wav"
    ));
    assert!(content("no_picture").await.is_empty());
    let mixed = content("mixed").await;
    let files: Vec<_> = mixed
        .iter()
        .filter_map(|block| match block {
            ContentBlock::Resource(embedded) => Some(&embedded.resource),
            _ => None,
        })
        .collect();
    assert_eq!(files[0].uri(), "file:///a%20b.md");
    assert_eq!(files[0].mime_type(), Some("text/markdown"));
    assert!(matches!(files[0], ResourceContents::Text(text) if text.text == "# Title"));
    assert!(matches!(files[1], ResourceContents::Blob(_)));
    assert_eq!(files[1].mime_type(), Some("application/octet-stream"));
    let error = client.call_tool("full", json!({})).await.unwrap_err();
    assert_eq!(error.message(), "done");
    assert_eq!(
        Image::png([1, 2, 3]).to_data_uri(),
        "data:image/png;base64,AQID"
    );
}

#[tokio::test]
async fn files_are_read_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp3");
    std::fs::write(&path, [7]).unwrap();
    let sound = Audio::from_path(&path).await.unwrap();
    assert_eq!(sound, Audio::new([7], "audio/mpeg"));
    let missing = Image::from_path(folder.path().join("b.png")).await;
    assert!(missing.unwrap_err().message().contains("b.png"));
}

/// Waits until it is told to go on, and says that it did.
struct Slow {
    begun: Notify,
    go_on: Notify,
    ended: Notify,
}

impl Slow {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Notify::new(),
            go_on: Notify::new(),
            ended: Notify::new(),
        })
    }
}

#[tools]
impl Slow {
    #[tool(timeout = "50ms")]
    async fn wait(&self, ctx: Context) -> bool {
        self.begun.notify_one();
        ctx.cancellation().cancelled().await;
        self.go_on.notified().await;
        self.ended.notify_one();
        true
    }

    #[tool(timeout = 3600)]
    async fn patient(&self, ctx: Context) -> bool {
        ctx.deadline().is_some()
    }

    #[tool]
    async fn unbounded(&self, ctx: Context) -> bool {
        ctx.deadline().is_some()
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_answered_and_goes_on() {
    let slow = Slow::new();
    let server = FastMcp::new("slow")
        .tools(Arc::clone(&slow))
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    let error = client.call_tool("wait", json!({})).await.unwrap_err();
    assert_eq!(error.message(), "operation timed out, please try again");
    // Its cancellation fired, and it was not dropped.
    slow.go_on.notify_one();
    slow.ended.notified().await;
    for (name, has) in [("patient", true), ("unbounded", false)] {
        let result = client.call_tool(name, json!({})).await.unwrap();
        assert_eq!(result.data::<bool>().unwrap(), has, "{name}");
    }
    let bounded = FastMcp::new("slow")
        .tool_timeout(Duration::from_secs(3600))
        .tools(Arc::clone(&slow))
        .build()
        .unwrap();
    let client = Client::connect(&bounded).await.unwrap();
    let result = client.call_tool("unbounded", json!({})).await.unwrap();
    assert!(result.data::<bool>().unwrap(), "the server's own bound");
}

#[tokio::test]
async fn a_client_over_http_hears_of_the_timeout() {
    let slow = Slow::new();
    let server = FastMcp::new("slow")
        .tools(Arc::clone(&slow))
        .build()
        .unwrap();
    let running = Running::start(server, HttpConfig::default()).await;
    let (status, response) = running
        .send(&modern("wait"), &body("wait", &json!({})))
        .await;
    assert!(
        status == 200 && response.contains("operation timed out"),
        "{response}"
    );
    slow.go_on.notify_one();
    slow.ended.notified().await;
}

#[derive(Debug, Deserialize, JsonSchema)]
struct City {
    name: String,
}

#[tool(timeout = "200ms")]
async fn asks(ctx: Context) -> Result<String> {
    let city: City = ctx.elicit("city", "Which city?").await?;
    Ok(city.name)
}

#[tokio::test(start_paused = true)]
async fn the_time_in_which_a_user_thinks_does_not_count() {
    let server = FastMcp::new("asks").tool(asks).build().unwrap();
    let client = Client::builder()
        .revision(ProtocolVersion::LATEST_LEGACY)
        .on_elicit(|_| async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let city = json!({"name": "Rome"});
            Ok(ElicitResult::accept(city.as_object().unwrap().clone()))
        })
        .connect_server(&server)
        .await
        .unwrap();
    let result = client.call_tool("asks", json!({})).await.unwrap();
    assert_eq!(result.text(), "Rome");
}

#[tool(deprecated = "use new_tool")]
/// Does it the old way.
async fn old_tool() -> &'static str {
    "old"
}

#[resource("data://old", deprecated = "read data://new", feature = "archive")]
async fn old_resource() -> &'static str {
    "old"
}

#[tool(feature = "experimental")]
async fn experiment() -> &'static str {
    "Experimental result"
}

fn in_motion() -> FastMcp {
    FastMcp::new("moves")
        .tool(old_tool)
        .tool(experiment)
        .tool(ToolBuilder::new("new_tool", |(), _| async { "new" }))
        .resource(old_resource)
}

#[tokio::test]
async fn what_is_deprecated_says_so_and_is_counted() {
    let server = in_motion().build().unwrap();
    let client = Client::connect(&server).await.unwrap();
    let tools = client.list_tools().await.unwrap();
    let old = tools.iter().find(|t| t.name == "old_tool").unwrap();
    assert_eq!(
        old.description.as_deref(),
        Some("Deprecated: use new_tool.\n\nDoes it the old way.")
    );
    assert_eq!(
        old.meta.as_ref().unwrap().get("fastmcp"),
        Some(&json!({"deprecated": "use new_tool"}))
    );
    for _ in 0..2 {
        let result = client.call_tool("old_tool", json!({})).await.unwrap();
        assert_eq!(result.text(), "old");
    }
    let component = server.get_tool("old_tool").unwrap();
    let deprecation = component.deprecation().unwrap();
    assert_eq!(
        (deprecation.note(), deprecation.calls()),
        ("use new_tool", 2)
    );
    assert!(server.get_tool("new_tool").unwrap().deprecation().is_none());
}

#[tokio::test]
async fn features_are_there_where_they_are_enabled() {
    let without = in_motion().build().unwrap();
    let client = Client::connect(&without).await.unwrap();
    assert_eq!(client.list_tools().await.unwrap().len(), 2);
    let error = client.call_tool("experiment", json!({})).await.unwrap_err();
    assert!(error.message().contains("unknown tool"));
    let with = in_motion()
        .enable_feature("experimental")
        .enable_feature("archive")
        .build()
        .unwrap();
    let client = Client::connect(&with).await.unwrap();
    let result = client.call_tool("experiment", json!({})).await.unwrap();
    assert_eq!(result.text(), "Experimental result");
    let resources = client.list_resources().await.unwrap();
    assert_eq!(
        resources[0].description.as_deref(),
        Some("Deprecated: read data://new.")
    );
}
