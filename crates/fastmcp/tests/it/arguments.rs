//! What arguments may be, and what is said of those that are not.

use std::collections::BTreeMap;

use fastmcp::{Base64, ToolBuilder, Valid, prelude::*};
use serde_json::Value;

async fn call(client: &Client, name: &str, args: Value) -> String {
    match client.call_tool(name, args).await {
        Ok(result) => result.text().to_owned(),
        Err(error) => error.message().to_owned(),
    }
}

/// A query: bounds from attributes, a check of one's own beyond them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
struct SearchQuery {
    #[schemars(length(min = 1, max = 500))]
    query: String,
    #[schemars(range(min = 1, max = 100))]
    limit: u32,
}

impl Validate for SearchQuery {
    fn validate(&mut self) -> Result<(), Invalid> {
        let lower = self.query.to_lowercase();
        let found = ["--", ";", "/*", "*/", "xp_", "sp_"]
            .into_iter()
            .find(|pattern| lower.contains(pattern));
        match found {
            Some(pattern) => {
                let why = format!("Query contains dangerous pattern: {pattern}");
                Err(Invalid::new(why).at("query"))
            }
            None => Ok(()),
        }
    }
}

#[tool]
async fn search(query: SearchQuery) -> String {
    format!("{} x{}", query.query, query.limit)
}

#[tool]
async fn search_all(queries: Vec<SearchQuery>, also: Option<SearchQuery>) -> usize {
    queries.len() + usize::from(also.is_some())
}

/// Text that is put in order before anything else looks at it, and then checked.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
struct SecureInput(String);

impl Validate for SecureInput {
    fn validate(&mut self) -> Result<(), Invalid> {
        let lower = self.0.to_lowercase();
        if ["<script", "javascript:", "data:text/html", "vbscript:"]
            .iter()
            .any(|pattern| lower.contains(pattern))
        {
            return Err(Invalid::new(
                "Message contains potentially dangerous content",
            ));
        }
        self.0 = self
            .0
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        Ok(())
    }
}

#[derive(Deserialize, JsonSchema)]
struct UserMessage {
    #[schemars(length(min = 1, max = 1000))]
    message: Valid<SecureInput>,
    #[schemars(regex(pattern = r"^[a-zA-Z0-9_.-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$"))]
    recipient: String,
}

#[tool]
async fn secure_send_message(message_data: UserMessage) -> String {
    format!("{}: {}", message_data.recipient, message_data.message.0.0)
}

fn even(number: &i64) -> Result<(), String> {
    match number % 2 {
        0 => Ok(()),
        _ => Err(format!("{number} is odd")),
    }
}

#[tool]
async fn bounds(
    #[arg(min = 1, max = 10)] small: Option<i64>,
    #[arg(multiple_of = 5, exclusive_max = 100)] fives: Option<i64>,
    #[arg(min_length = 2, max_length = 3, pattern = "^[a-z]+$")] code: Option<String>,
    #[arg(max_items = 2)] list: Option<Vec<u8>>,
    #[arg(check = even)] even: Option<i64>,
    #[arg(rename = "from", description = "Whence.", default = "here")] origin: String,
) -> String {
    let said = [small, fives, even].into_iter().flatten().count()
        + usize::from(code.is_some())
        + usize::from(list.is_some());
    format!("{said} {origin}")
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Colour {
    Red,
    Blue,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Shape {
    colour: Colour,
    corners: BTreeMap<String, f64>,
}

#[tool]
async fn draw(
    shape: Shape,
    tags: Vec<String>,
    count: Option<u8>,
    filled: bool,
    note: String,
) -> String {
    format!(
        "{:?} {} {tags:?} {count:?} {filled} {note}",
        shape.colour,
        shape.corners.len()
    )
}

#[tool]
async fn upload(data: Base64, on: jiff::civil::Date, at: Option<jiff::Timestamp>) -> String {
    format!("{} {} {}", data.len(), on.year(), at.is_some())
}

#[tokio::test]
async fn bytes_and_dates_are_text_that_is_checked() {
    let client = client().await;
    let fine = json!({"data": "AQID", "on": "2026-11-21", "at": "2026-11-21T13:00:00Z"});
    assert_eq!(call(&client, "upload", fine).await, "3 2026 true");
    for (field, wrong) in [
        ("data", json!({"data": "?", "on": "2026-11-21"})),
        ("on", json!({"data": "", "on": "2026-02-30"})),
        ("at", json!({"data": "", "on": "2026-11-21", "at": "noon"})),
    ] {
        let message = call(&client, "upload", wrong).await;
        let begins = format!("invalid arguments: `{field}`: ");
        assert!(message.starts_with(&begins), "{message}");
    }
    let tools = client.list_tools().await.unwrap();
    let upload = tools.iter().find(|t| t.name == "upload").unwrap();
    let properties = &upload.input_schema.to_value().unwrap()["properties"];
    assert_eq!(properties["data"]["contentEncoding"], "base64");
    assert_eq!(properties["on"]["format"], "date");
}

fn server() -> FastMcp {
    FastMcp::new("arguments")
        .tool(upload)
        .tool(search)
        .tool(search_all)
        .tool(secure_send_message)
        .tool(bounds)
        .tool(draw)
        .tool(ToolBuilder::new(
            "closure",
            |query: Valid<SearchQuery>, _| async move { query.0.query },
        ))
}

async fn client() -> Client {
    Client::connect(&server().build().unwrap()).await.unwrap()
}

#[tokio::test]
async fn bounds_are_kept_and_messages_name_the_argument() {
    let client = client().await;
    assert_eq!(call(&client, "bounds", json!({})).await, "0 here");
    let fine =
        json!({"small": 1, "fives": 95, "code": "abc", "list": [1, 2], "even": 4, "from": "x"});
    assert_eq!(call(&client, "bounds", fine).await, "5 x");
    for (args, field) in [
        (json!({"small": 11}), "small"),
        (json!({"small": 0}), "small"),
        (json!({"fives": 7}), "fives"),
        (json!({"fives": 100}), "fives"),
        (json!({"code": "a"}), "code"),
        (json!({"code": "ABC"}), "code"),
        (json!({"list": [1, 2, 3]}), "list"),
        (json!({"from": 1}), "from"),
    ] {
        let message = call(&client, "bounds", args).await;
        assert!(
            message.starts_with(&format!("invalid arguments: `{field}`: ")),
            "{message}"
        );
    }
    assert_eq!(
        call(&client, "bounds", json!({"even": 3})).await,
        "invalid arguments: `even`: 3 is odd"
    );
    let tools = client.list_tools().await.unwrap();
    let bounds = tools.iter().find(|t| t.name == "bounds").unwrap();
    let schema = bounds.input_schema.to_value().unwrap();
    assert_eq!(
        schema["properties"]["from"],
        json!({"type": "string", "description": "Whence.", "default": "here"})
    );
    assert_eq!(schema["properties"]["small"]["maximum"], 10);
    assert_eq!(schema["properties"]["code"]["pattern"], "^[a-z]+$");
}

#[tokio::test]
async fn validators_see_what_no_schema_can_say() {
    let client = client().await;
    let with = |query: &str, limit: i64| json!({"query": {"query": query, "limit": limit}});
    assert_eq!(call(&client, "search", with("tea", 3)).await, "tea x3");
    assert_eq!(
        call(&client, "search", with("tea; DROP", 3)).await,
        "invalid arguments: `query.query`: Query contains dangerous pattern: ;"
    );
    assert!(
        call(&client, "search", with("", 3))
            .await
            .contains("`query.query`")
    );
    assert!(
        call(&client, "search", with("tea", 101))
            .await
            .contains("`query.limit`")
    );
    let bad = json!({"query": "xp_cmdshell", "limit": 1});
    assert_eq!(
        call(
            &client,
            "search_all",
            json!({"queries": [{"query": "tea", "limit": 1}, bad]})
        )
        .await,
        "invalid arguments: `queries[1].query`: Query contains dangerous pattern: xp_"
    );
    assert!(
        call(&client, "search_all", json!({"queries": [], "also": bad}))
            .await
            .contains("`also.query`")
    );
    assert!(
        call(&client, "closure", bad)
            .await
            .contains("dangerous pattern: xp_")
    );
    assert_eq!(
        call(&client, "closure", json!({"query": "tea", "limit": 1})).await,
        "tea"
    );
}

#[tokio::test]
async fn a_validator_may_put_its_value_in_order() {
    let client = client().await;
    let send = |message: &str, recipient: &str| json!({"message_data": {"message": message, "recipient": recipient}});
    assert_eq!(
        call(
            &client,
            "secure_send_message",
            send("1 < 2 & 3", "ada@example.org")
        )
        .await,
        "ada@example.org: 1 &lt; 2 &amp; 3"
    );
    let dangerous = send("<SCRIPT>alert(1)</SCRIPT>", "ada@example.org");
    let refused = call(&client, "secure_send_message", dangerous).await;
    assert_eq!(
        refused,
        "invalid arguments: `message_data.message`: Message contains potentially dangerous content"
    );
    for wrong in [send("x", "nobody"), send("", "ada@example.org")] {
        let refused = call(&client, "secure_send_message", wrong).await;
        assert!(
            refused.starts_with("invalid arguments: `message_data."),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn text_is_taken_for_what_the_schema_wants_unless_the_server_is_strict() {
    let lenient = client().await;
    let as_text = json!({
        "shape": "{\"colour\": \"red\", \"corners\": {\"a\": \"1.5\"}}",
        "tags": "[\"x\", \"y\"]",
        "count": "10",
        "filled": "true",
        "note": "[1]",
    });
    assert_eq!(
        call(&lenient, "draw", as_text.clone()).await,
        r#"Red 1 ["x", "y"] Some(10) true [1]"#
    );
    let mut too_many = as_text.clone();
    too_many["count"] = json!("300");
    let message = call(&lenient, "draw", too_many).await;
    assert!(message.contains("`count`"), "{message}");
    let bounded = call(&lenient, "bounds", json!({"small": "11"})).await;
    assert!(
        bounded.starts_with("invalid arguments: `small`"),
        "{bounded}"
    );
    let strict = server().strict_input(true).build().unwrap();
    let strict = Client::connect(&strict).await.unwrap();
    let message = call(&strict, "draw", as_text).await;
    assert!(
        message.starts_with("invalid arguments: `") && message.contains("invalid type: string"),
        "{message}"
    );
    let plain = json!({
        "shape": {"colour": "blue", "corners": {}}, "tags": [], "count": null, "filled": false, "note": ""
    });
    assert_eq!(call(&strict, "draw", plain).await, "Blue 0 [] None false ");
}
