//! Tools, resources and prompts through the in-memory client.

use std::collections::BTreeMap;

use fastmcp::{
    ToolBuilder,
    prelude::*,
    protocol::{
        capability::ClientCapabilities, content::ContentBlock, elicit::ElicitResult,
        prompt::PromptMessage,
    },
};
use serde_json::Value;

/// Adds two numbers.
#[tool]
async fn add(
    /// The first.
    a: i64,
    /// The second.
    b: i64,
) -> i64 {
    a + b
}

/// Divides, on the blocking pool.
#[tool]
fn divide(a: f64, b: f64) -> Result<f64> {
    if b == 0.0 {
        return Err(ToolError::new("division by zero not allowed").into());
    }
    Ok(a / b)
}

#[derive(Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
struct Forecast {
    city: String,
    temp: i32,
}

/// Tells the weather.
#[tool(inline, read_only, title = "Weather", tags("weather"))]
fn get_forecast(city: String, days: Option<u8>) -> Forecast {
    Forecast {
        city,
        temp: i32::from(days.unwrap_or(22)),
    }
}

#[tool]
async fn search(
    #[schemars(length(min = 1, max = 500))] query: String,
    #[schemars(range(min = 1, max = 100))]
    #[serde(default = "ten")]
    limit: u32,
) -> String {
    format!("{query} {limit}")
}

fn ten() -> u32 {
    10
}

#[tool]
async fn fail() -> Result<String> {
    Err(std::io::Error::other("the password is hunter2"))?
}

#[tool]
async fn picture() -> Image {
    Image::png(vec![1, 2, 3])
}

#[tool]
async fn chatty(ctx: Context) -> String {
    ctx.info("begin").await;
    ctx.report_progress(1.0, Some(2.0), None).await;
    ctx.report_progress(1.0, Some(2.0), Some("not more")).await;
    ctx.report_progress(2.0, Some(2.0), Some("done")).await;
    ctx.set_state("seen", true).unwrap();
    format!("{:?}", ctx.get_state::<bool>("seen"))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct City {
    name: String,
}

#[tool]
async fn visit(ctx: Context) -> Result<String> {
    let city: City = ctx.elicit("city", "Which city?").await?;
    match ctx
        .try_elicit::<City>("second", format!("After {}?", city.name))
        .await?
    {
        Elicited::Accepted(second) => Ok(format!("{} and {}", city.name, second.name)),
        other => Ok(format!("{} alone: {other:?}", city.name)),
    }
}

/// The configuration.
#[resource("data://config", mime_type = "application/json")]
fn config() -> Json<Value> {
    Json(json!({"debug": true}))
}

/// An item.
#[resource("items://{id}/detail")]
async fn item(id: u32) -> Result<String> {
    if id == 0 {
        return Err(Error::not_found("no such item"));
    }
    Ok(format!("item {id}"))
}

/// Greets.
#[prompt]
fn greet(name: String, times: Option<u32>) -> Vec<PromptMessage> {
    vec![PromptMessage::user(format!(
        "hello {name} x{}",
        times.unwrap_or(1)
    ))]
}

fn server() -> Server {
    FastMcp::new("test")
        .version("1.2.3")
        .instructions("for tests")
        .tool(add)
        .tool(divide)
        .tool(get_forecast)
        .tool(search)
        .tool(fail)
        .tool(picture)
        .tool(chatty)
        .tool(visit)
        .tool(
            ToolBuilder::new("greet", |args: City, _| async move {
                format!("hi {}", args.name)
            })
            .description("Greets."),
        )
        .resource(config)
        .resource(item)
        .prompt(greet)
        .build()
        .unwrap()
}

async fn client() -> Client {
    Client::connect(&server()).await.unwrap()
}

#[tokio::test]
async fn a_tool_returns_data_and_text() {
    let client = client().await;
    let result = client
        .call_tool("add", json!({"a": 5, "b": 3}))
        .await
        .unwrap();
    assert_eq!(result.data::<i64>().unwrap(), 8);
    assert_eq!(result.text(), "8");
    assert_eq!(result.structured_content(), Some(json!({"result": 8})));
    let forecast = client
        .call_tool("get_forecast", json!({"city": "Rome"}))
        .await
        .unwrap();
    assert_eq!(
        forecast.data::<Forecast>().unwrap(),
        Forecast {
            city: "Rome".into(),
            temp: 22
        }
    );
    assert_eq!(
        client
            .call_tool("greet", json!({"name": "Ada"}))
            .await
            .unwrap()
            .text(),
        "hi Ada"
    );
    assert_eq!(add::call(1, 2).await, 3, "the function can still be called");
}

#[tokio::test]
async fn a_tool_error_is_shown_and_others_are_masked() {
    let client = client().await;
    let error = client
        .call_tool("divide", json!({"a": 1.0, "b": 0.0}))
        .await
        .unwrap_err();
    assert_eq!(error.message(), "division by zero not allowed");
    let error = client.call_tool("fail", json!({})).await.unwrap_err();
    assert_eq!(error.message(), "an internal error occurred");
}

#[tokio::test]
async fn wrong_arguments_name_the_field() {
    let client = client().await;
    let message = async |name, args| {
        client
            .call_tool(name, args)
            .await
            .unwrap_err()
            .message()
            .to_owned()
    };
    assert!(
        message("add", json!({"a": "x", "b": 1}))
            .await
            .contains("`a`")
    );
    assert!(
        message("add", json!({"a": 1, "b": 1, "c": 1}))
            .await
            .contains("unknown field `c`")
    );
    assert!(
        message("search", json!({"query": ""}))
            .await
            .contains("`query`")
    );
    assert!(
        message("search", json!({"query": "x", "limit": 101}))
            .await
            .contains("`limit`")
    );
    assert_eq!(
        client
            .call_tool("search", json!({"query": "x"}))
            .await
            .unwrap()
            .text(),
        "x 10"
    );
    let unknown = client.call_tool("nope", json!({})).await.unwrap_err();
    assert!(unknown.message().contains("unknown tool `nope`"));
}

#[tokio::test]
async fn definitions_come_from_the_function() {
    let client = client().await;
    let tools: BTreeMap<_, _> = client
        .list_tools()
        .await
        .unwrap()
        .into_iter()
        .map(|t| (t.name.clone(), t))
        .collect();
    let adds = tools.get("add").unwrap();
    assert_eq!(adds.description.as_deref(), Some("Adds two numbers."));
    let schema = adds.input_schema.to_value().unwrap();
    assert_eq!(schema["properties"]["a"]["type"], "integer");
    assert_eq!(schema["properties"]["a"]["description"], "The first.");
    assert_eq!(schema["required"], json!(["a", "b"]));
    assert_eq!(schema["additionalProperties"], false);
    let output = adds.output_schema.as_ref().unwrap().to_value().unwrap();
    assert_eq!(output["x-fastmcp-wrap-result"], true);
    let weather = tools.get("get_forecast").unwrap();
    assert_eq!(weather.title.as_deref(), Some("Weather"));
    assert!(weather.is_read_only());
    assert_eq!(
        weather.output_schema.as_ref().unwrap().to_value().unwrap()["properties"]["temp"]["type"],
        "integer"
    );
    let names: Vec<_> = client
        .list_tools()
        .await
        .unwrap()
        .into_iter()
        .map(|t| t.name)
        .collect();
    assert_eq!(
        names.first().map(String::as_str),
        Some("add"),
        "in the order of registration"
    );
}

/// A component's name is free for variables and parameters, its own among them.
#[tool(inline)]
fn price(mut add: i64, price: i64, _: Context) -> i64 {
    add *= price;
    add
}

#[tokio::test]
async fn the_name_of_a_component_is_free_for_others() {
    let add = FastMcp::new("free").tool(price).tool(add).build().unwrap();
    let picture = Client::connect(&add).await.unwrap();
    let sum = picture
        .call_tool("price", json!({"add": 3, "price": 2}))
        .await
        .unwrap();
    assert_eq!(sum.data::<i64>().unwrap(), 6);
}

#[tokio::test]
async fn content_blocks_and_notifications() {
    let client = client().await;
    let drawn = client.call_tool("picture", json!({})).await.unwrap();
    assert!(
        matches!(drawn.content(), [ContentBlock::Image(image)] if image.bytes().unwrap() == [1, 2, 3])
    );
    assert_eq!(
        client.call_tool("chatty", json!({})).await.unwrap().text(),
        "Some(true)"
    );
    let methods: Vec<_> = client
        .take_notifications()
        .into_iter()
        .map(|n| n.method)
        .collect();
    assert_eq!(
        methods,
        [
            "notifications/message",
            "notifications/progress",
            "notifications/progress"
        ]
    );
}

#[tokio::test]
async fn asking_reads_top_to_bottom() {
    let client = client().await.on_elicit(|key, _| {
        let name = if key == "city" { "Rome" } else { "Oslo" };
        ElicitResult::accept(json!({"name": name}).as_object().unwrap().clone())
    });
    assert_eq!(
        client.call_tool("visit", json!({})).await.unwrap().text(),
        "Rome and Oslo"
    );
}

#[tokio::test]
async fn a_refusal_is_a_value() {
    let declines_second = client().await.on_elicit(|key, _| match key {
        "city" => ElicitResult::accept(json!({"name": "Rome"}).as_object().unwrap().clone()),
        _ => ElicitResult::decline(),
    });
    assert_eq!(
        declines_second
            .call_tool("visit", json!({}))
            .await
            .unwrap()
            .text(),
        "Rome alone: Declined"
    );
    let cancels = client().await.on_elicit(|_, _| ElicitResult::cancel());
    let error = cancels.call_tool("visit", json!({})).await.unwrap_err();
    assert_eq!(error.message(), "the user cancelled `city`");
    let cannot = client()
        .await
        .call_tool("visit", json!({}))
        .await
        .unwrap_err();
    assert_eq!(
        cannot.data(),
        Some(&json!({"requiredCapabilities": {"elicitation": {}}}))
    );
    assert_eq!(ClientCapabilities::default().elicitation, None);
}

#[tokio::test]
async fn resources_and_templates_are_read() {
    let client = client().await;
    let text = async |uri: &str| match client.read_resource(uri).await {
        Ok(result) => serde_json::to_value(&result.contents[0]).unwrap(),
        Err(error) => json!(error.message()),
    };
    assert_eq!(
        text("data://config").await,
        json!({"uri": "data://config", "mimeType": "application/json", "text": "{\"debug\":true}"})
    );
    assert_eq!(text("items://42/detail").await["text"], "item 42");
    for missing in [
        "items://0/detail",
        "items://x/detail",
        "items://..%2f/detail",
        "nope://x",
    ] {
        let error = client.read_resource(missing).await.unwrap_err();
        assert_eq!(error.data(), Some(&json!({"uri": missing})), "{missing}");
    }
    assert_eq!(client.list_resources().await.unwrap().len(), 1);
    assert_eq!(
        client.list_resource_templates().await.unwrap()[0].uri_template,
        "items://{id}/detail"
    );
}

#[tokio::test]
async fn prompts_take_strings() {
    let client = client().await;
    let prompt = client
        .get_prompt("greet", json!({"name": "Ada", "times": "3"}))
        .await
        .unwrap();
    assert_eq!(prompt.messages[0].content.as_text(), Some("hello Ada x3"));
    let error = client.get_prompt("greet", json!({})).await.unwrap_err();
    assert!(error.message().contains("`name`"), "{error}");
    let arguments = client
        .list_prompts()
        .await
        .unwrap()
        .remove(0)
        .arguments
        .unwrap();
    assert_eq!(
        arguments
            .iter()
            .filter(|a| a.required == Some(true))
            .count(),
        1
    );
}

#[tokio::test]
async fn lists_are_paged() {
    let mut server = FastMcp::new("pages").list_page_size(2);
    for i in 0..5 {
        server = server.tool(ToolBuilder::new(format!("t{i}"), |(), _| async { "x" }));
    }
    let client = Client::connect(&server.build().unwrap()).await.unwrap();
    let names: Vec<_> = client
        .list_tools()
        .await
        .unwrap()
        .into_iter()
        .map(|t| t.name)
        .collect();
    assert_eq!(names, ["t0", "t1", "t2", "t3", "t4"]);
    assert_eq!(client.call_tool("t0", json!({})).await.unwrap().text(), "x");
    assert!(
        client
            .call_tool("t0", json!({"a": 1}))
            .await
            .unwrap_err()
            .message()
            .contains("unknown field `a`")
    );
    let described = FastMcp::new("wrong")
        .tool(ToolBuilder::new("t", |_: Vec<u8>, _| async { "x" }))
        .build()
        .unwrap_err();
    assert_eq!(
        described.message(),
        "tool `t`: arguments must be a struct with named fields"
    );
}
