//! What handlers are handed beside their arguments, and methods of values as components.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use fastmcp::{
    Bundle, ResourceBuilder, ToolBuilder, Values, auth::Caller, get_context, prelude::*,
    protocol::prompt::PromptMessage,
};
use http::HeaderMap;

struct Greeting(&'static str);

impl Greeting {
    const fn text(&self) -> &'static str {
        self.0
    }
}

#[derive(Default)]
struct Opened(AtomicUsize);

/// A connection that is opened for a request.
struct Connection(usize);

impl FromContext for Connection {
    fn needs(needs: &mut fastmcp::Needs) {
        needs.state::<Opened>();
    }

    async fn from_context(ctx: &Context) -> Result<Self> {
        let opened: Arc<Opened> = ctx.value()?;
        Ok(Self(opened.0.fetch_add(1, Ordering::Relaxed) + 1))
    }
}

/// A value that needs another.
struct Repository {
    connection: Arc<Connection>,
}

impl FromContext for Repository {
    fn needs(needs: &mut fastmcp::Needs) {
        Connection::needs(needs);
    }

    async fn from_context(ctx: &Context) -> Result<Self> {
        let connection = ctx.depends().await?;
        Ok(Self { connection })
    }
}

struct Nobody;

impl FromContext for Nobody {
    async fn from_context(_: &Context) -> Result<Self> {
        Err(ToolError::new("sign in first").into())
    }
}

/// Greets.
#[tool]
async fn greet(name: String, State(greeting): State<Greeting>, caller: Caller) -> String {
    format!("{} {name} from {}", greeting.0, caller.subject())
}

#[tool]
fn greet_on_the_pool(name: String, greeting: State<Greeting>, headers: HeaderMap) -> String {
    format!("{} {name} {}", greeting.text(), headers.len())
}

#[tool]
async fn connections(
    one: Depends<Connection>,
    two: Depends<Connection>,
    repository: Depends<Repository>,
    #[inject] fresh: Connection,
) -> Vec<usize> {
    vec![one.0.0, two.0.0, repository.connection.0, fresh.0]
}

#[tool]
async fn private(#[inject] _nobody: Nobody) -> String {
    "never".to_owned()
}

/// A type of one's own that has the name of one that is handed in.
mod own {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    pub(super) struct State {
        pub(super) name: String,
    }
}

#[tool]
async fn move_to(#[arg] state: own::State) -> String {
    state.name
}

fn server() -> FastMcp {
    FastMcp::new("inject")
        .state(Greeting("hello"))
        .state(Opened::default())
        .tool(greet)
        .tool(greet_on_the_pool)
        .tool(connections)
        .tool(private)
        .tool(move_to)
}

async fn call(client: &Client, name: &str, args: serde_json::Value) -> String {
    match client.call_tool(name, args).await {
        Ok(result) => result.text().to_owned(),
        Err(error) => error.message().to_owned(),
    }
}

#[tokio::test]
async fn values_are_handed_in_and_are_no_part_of_the_schema() {
    let client = Client::connect(&server().build().unwrap()).await.unwrap();
    let ada = json!({"name": "Ada"});
    assert_eq!(
        call(&client, "greet", ada.clone()).await,
        format!("hello Ada from {}", Caller::local().subject())
    );
    assert_eq!(call(&client, "greet_on_the_pool", ada).await, "hello Ada 0");
    let tools = client.list_tools().await.unwrap();
    let greet = tools.iter().find(|t| t.name == "greet").unwrap();
    let schema = greet.input_schema.to_value().unwrap();
    let properties: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(properties, ["name"]);
    let smuggled = json!({"name": "Ada", "caller": {"subject": "root"}});
    assert!(
        call(&client, "greet", smuggled)
            .await
            .contains("unknown field `caller`")
    );
    assert_eq!(
        call(&client, "move_to", json!({"state": {"name": "Rome"}})).await,
        "Rome"
    );
}

#[tokio::test]
async fn what_is_depended_on_is_made_once_per_request() {
    let client = Client::connect(&server().build().unwrap()).await.unwrap();
    let made = async || {
        let result = client.call_tool("connections", json!({})).await.unwrap();
        result.data::<Vec<usize>>().unwrap()
    };
    assert_eq!(made().await, [1, 1, 1, 2]);
    assert_eq!(made().await, [3, 3, 3, 4], "another request has its own");
}

#[tokio::test]
async fn a_provider_that_refuses_ends_the_call_with_its_error() {
    let client = Client::connect(&server().build().unwrap()).await.unwrap();
    assert_eq!(call(&client, "private", json!({})).await, "sign in first");
}

#[test]
fn a_server_without_a_value_that_is_needed_cannot_be_built() {
    let error = FastMcp::new("x").tool(greet).build().unwrap_err();
    assert_eq!(
        error.message(),
        "tool `greet` takes `State<it::inject::Greeting>`, and the server has no such value; give it one with `FastMcp::state`, or in a lifespan"
    );
    let nested = FastMcp::new("x").tool(connections).build().unwrap_err();
    assert!(nested.message().contains("it::inject::Opened"), "{nested}");
    let twice = server().state(Greeting("again")).build().unwrap_err();
    assert!(twice.message().contains("two values of type"), "{twice}");
}

#[tokio::test]
async fn values_may_come_while_the_server_runs() {
    let server = FastMcp::new("x")
        .state_later::<Greeting>()
        .tool(greet)
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    let ada = json!({"name": "Ada"});
    assert_eq!(
        call(&client, "greet", ada.clone()).await,
        "an internal error occurred",
        "nobody kept the promise yet"
    );
    server.give_state(Values::new().with(Greeting("salve")));
    assert!(call(&client, "greet", ada).await.starts_with("salve Ada"));
}

#[tokio::test]
async fn servers_within_servers_keep_their_own_values() {
    let child = FastMcp::new("child")
        .state(Greeting("ciao"))
        .tool(greet)
        .build()
        .unwrap();
    let parent = FastMcp::new("parent")
        .state(Greeting("hello"))
        .tool(greet)
        .import_server(&child, "copy")
        .mount(&child, "live")
        .build()
        .unwrap();
    let client = Client::connect(&parent).await.unwrap();
    for (name, says) in [
        ("greet", "hello"),
        ("copy_greet", "ciao"),
        ("live_greet", "ciao"),
    ] {
        let said = call(&client, name, json!({"name": "Ada"})).await;
        assert!(said.starts_with(says), "{name}: {said}");
    }
}

struct Weather {
    unit: String,
    asked: AtomicUsize,
}

#[tools]
impl Weather {
    fn new(unit: &str) -> Self {
        Self {
            unit: unit.to_owned(),
            asked: AtomicUsize::new(0),
        }
    }

    /// Tells the weather of tomorrow.
    #[tool(read_only, destructive = false, tags("weather"), meta("cost" = 3))]
    async fn forecast(
        &self,
        /// The city.
        city: String,
        #[arg(min = 1, max = 14, default = 3)] days: u8,
        ctx: Context,
    ) -> Result<String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        ctx.debug("asked").await;
        if city.is_empty() {
            return Err(ToolError::new("which city?").into());
        }
        Ok(format!("{city}: 22{} for {days} days", self.unit))
    }

    #[tool(name = "how_often")]
    fn count(self: Arc<Self>) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    #[tool(inline)]
    fn planet() -> &'static str {
        "Earth"
    }

    /// The unit.
    #[resource("weather://unit")]
    fn unit(&self) -> String {
        self.unit.clone()
    }

    #[resource("weather://{city}/{day}")]
    async fn day(&self, city: String, day: u8) -> String {
        format!("{city} {day} {}", self.unit)
    }

    #[prompt]
    fn report(&self, city: String) -> PromptMessage {
        PromptMessage::user(format!("Report on {city} in {}", self.unit))
    }
}

#[tokio::test]
async fn methods_of_a_value_are_components() {
    let weather = Arc::new(Weather::new("°C"));
    let server = FastMcp::new("weather")
        .tools(Arc::clone(&weather))
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    assert_eq!(
        call(&client, "forecast", json!({"city": "Rome"})).await,
        "Rome: 22°C for 3 days"
    );
    assert_eq!(call(&client, "how_often", json!({})).await, "1");
    assert_eq!(weather.asked.load(Ordering::Relaxed), 1);
    assert_eq!(call(&client, "planet", json!({})).await, "Earth");
    assert_eq!(
        call(&client, "forecast", json!({"city": ""})).await,
        "which city?"
    );
    assert!(
        call(&client, "forecast", json!({"city": "Rome", "days": 15}))
            .await
            .starts_with("invalid arguments: `days`")
    );
    let text = async |uri: &str| {
        let read = client.read_resource(uri).await.unwrap();
        serde_json::to_value(&read.contents[0]).unwrap()["text"].clone()
    };
    assert_eq!(text("weather://unit").await, "°C");
    assert_eq!(text("weather://Rome/2").await, "Rome 2 °C");
    let prompt = client.get_prompt("report", json!({"city": "Rome"})).await;
    assert_eq!(
        prompt.unwrap().messages[0].content.as_text(),
        Some("Report on Rome in °C")
    );
    let tools = client.list_tools().await.unwrap();
    let forecast = tools.iter().find(|t| t.name == "forecast").unwrap();
    assert_eq!(
        forecast.description.as_deref(),
        Some("Tells the weather of tomorrow.")
    );
    let annotations = forecast.annotations.as_ref().unwrap();
    assert_eq!(
        (annotations.read_only_hint, annotations.destructive_hint),
        (Some(true), Some(false))
    );
    assert_eq!(forecast.meta.as_ref().unwrap().get("cost"), Some(&json!(3)));
    let schema = forecast.input_schema.to_value().unwrap();
    assert_eq!(schema["properties"]["city"]["description"], "The city.");
    assert_eq!(schema["properties"]["days"]["default"], 3);
    assert_eq!(schema["required"], json!(["city"]));
}

#[tokio::test]
async fn a_bundle_holds_what_belongs_together() {
    let bundle = Bundle::new()
        .tool(greet)
        .tool(ToolBuilder::new("twice", |(), _| async { 2 }))
        .resource(ResourceBuilder::new("data://x", "x", |(), _| async { "x" }))
        .tools(Weather::new("K"));
    let server = FastMcp::new("all").state(Greeting("ave")).tools(bundle);
    let client = Client::connect(&server.build().unwrap()).await.unwrap();
    assert_eq!(client.list_tools().await.unwrap().len(), 5);
    assert_eq!(client.list_resources().await.unwrap().len(), 2);
}

async fn who() -> String {
    tokio::task::yield_now().await;
    match get_context() {
        Ok(context) => format!("{:?}", context.request_id().is_some()),
        Err(error) => error.message().to_owned(),
    }
}

#[tool]
async fn reaches() -> Vec<String> {
    tokio::task::yield_now().await;
    let here = who().await;
    let spawned = tokio::task::JoinSet::from_iter([who()]).join_all().await;
    let context = get_context().unwrap();
    let scoped = tokio::task::JoinSet::from_iter([context.scope(who())])
        .join_all()
        .await;
    [vec![here], spawned, scoped].concat()
}

#[tool]
fn reaches_on_the_pool() -> bool {
    get_context().is_ok_and(|c| c.request_id().is_some())
}

#[tokio::test]
async fn the_context_is_found_where_it_was_not_passed() {
    let server = FastMcp::new("reach")
        .tool(reaches)
        .tool(reaches_on_the_pool)
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    let found = client.call_tool("reaches", json!({})).await.unwrap();
    let found: Vec<String> = found.data().unwrap();
    assert_eq!((&*found[0], &*found[2]), ("true", "true"));
    assert!(found[1].contains("Context::scope"), "{found:?}");
    let on_pool = client.call_tool("reaches_on_the_pool", json!({})).await;
    assert!(on_pool.unwrap().data::<bool>().unwrap());
    assert!(get_context().is_err(), "nothing is left behind");
}
