//! The layers of a mounted server see what it contributes to lists, within the layers of who shows it.

use std::time::Duration;

use fastmcp::{
    auth::Caller,
    middleware::prelude::*,
    prelude::*,
    protocol::ProtocolVersion,
    transform::{ToolTransform, ToolTransformConfig},
};

use super::Tracer;

/// Forecasts.
#[tool]
async fn forecast() -> &'static str {
    "rain"
}

/// What only the weather people see.
#[tool]
async fn calibrate() -> &'static str {
    "done"
}

#[tool]
async fn own() -> &'static str {
    "own"
}

#[prompt]
async fn report() -> String {
    "Report.".to_owned()
}

#[resource("data://cities")]
async fn cities() -> &'static str {
    "[]"
}

/// Hides a tool, changes what another says, and adds one that is nobody's.
struct Edits;

impl Middleware for Edits {
    async fn on_list_tools(
        &self,
        context: MiddlewareContext<ListTools>,
        next: Next<'_, ListTools>,
    ) -> Result<Vec<Listed<Tool>>> {
        let mut list = next.run(context).await?;
        list.retain(|tool| tool.name != "calibrate");
        for tool in &mut list {
            tool.description = Some(format!("{} (by the weather people)", tool.name));
        }
        let mut added = list[0].definition.clone();
        added.name = "added".to_owned();
        list.push(Listed::new(added));
        Ok(list)
    }
}

/// What must not take the rest of a list with it.
enum Fails {
    Error,
    Panic,
    Hang,
}

impl Middleware for Fails {
    async fn on_list_tools(
        &self,
        _: MiddlewareContext<ListTools>,
        _: Next<'_, ListTools>,
    ) -> Result<Vec<Listed<Tool>>> {
        match self {
            Self::Error => Err(Error::tool("nobody may look")),
            Self::Panic => panic!("a layer that panics"),
            Self::Hang => std::future::pending().await,
        }
    }
}

fn weather() -> FastMcp {
    FastMcp::new("weather")
        .tool(forecast)
        .tool(calibrate)
        .prompt(report)
        .resource(cities)
}

const BOTH: [ProtocolVersion; 2] = [ProtocolVersion::LATEST, ProtocolVersion::LATEST_LEGACY];

async fn clients(server: &Server) -> Vec<Client> {
    let mut clients = Vec::new();
    for revision in BOTH {
        let client = Client::builder().revision(revision);
        clients.push(client.connect_server(server).await.unwrap());
    }
    clients
}

async fn told(client: &Client) -> Vec<(String, Option<String>)> {
    let tools = client.list_tools().await.unwrap().into_iter();
    tools.map(|tool| (tool.name, tool.description)).collect()
}

fn by_weather(name: &str, shown: &str) -> (String, Option<String>) {
    let description = format!("{name} (by the weather people)");
    (shown.to_owned(), Some(description))
}

#[tokio::test]
async fn lists_pass_the_layers_of_the_parent_and_then_those_of_the_child() {
    let parent = Tracer::new("parent");
    let child = weather()
        .middleware(parent.beside("child"))
        .build()
        .unwrap();
    let server = FastMcp::new("main")
        .tool(own)
        .mount(&child, "weather")
        .middleware(parent.clone())
        .build()
        .unwrap();
    for client in clients(&server).await {
        parent.take();
        assert_eq!(client.list_tools().await.unwrap().len(), 3);
        assert_eq!(client.list_prompts().await.unwrap().len(), 1);
        let nested = |hook: &str, method: &str| {
            let hooks = ["on_message", "on_request", "on_list", hook];
            let down = ["parent", "child"].into_iter().flat_map(|layer| {
                let down = hooks
                    .iter()
                    .map(move |hook| format!("{layer}.{hook} {method}"));
                down.collect::<Vec<_>>()
            });
            let up = ["child", "parent"].into_iter().flat_map(|layer| {
                let up = hooks
                    .iter()
                    .rev()
                    .map(move |hook| format!("{layer}.{hook} ok"));
                up.collect::<Vec<_>>()
            });
            down.chain(up).collect::<Vec<_>>()
        };
        let mut wanted = nested("on_list_tools", "tools/list");
        wanted.extend(nested("on_list_prompts", "prompts/list"));
        assert_eq!(parent.take(), wanted);
    }
}

#[tokio::test]
async fn what_a_child_changes_in_its_lists_shows_under_the_names_of_here() {
    let child = weather().middleware(Edits).build().unwrap();
    let server = FastMcp::new("main").tool(own).mount(&child, "weather");
    let server = server.build().unwrap();
    // And where that is mounted in turn.
    let outer = FastMcp::new("outer").mount(&server, "all").build().unwrap();
    for client in clients(&server).await {
        let wanted = [
            ("own".to_owned(), None),
            by_weather("forecast", "weather_forecast"),
            by_weather("forecast", "weather_added"),
        ];
        assert_eq!(told(&client).await, wanted);
        // What a list does not show is there all the same for who knows it, as ever.
        let called = client.call_tool("weather_calibrate", json!({})).await;
        assert_eq!(called.unwrap().data::<String>().unwrap(), "done");
        assert_eq!(client.list_resources().await.unwrap().len(), 1);
    }
    for client in clients(&outer).await {
        let wanted = [
            ("all_own".to_owned(), None),
            by_weather("forecast", "all_weather_forecast"),
            by_weather("forecast", "all_weather_added"),
        ];
        assert_eq!(told(&client).await, wanted);
    }
}

#[tokio::test]
async fn what_the_parent_tells_otherwise_stays_so() {
    let child = weather().middleware(Edits).build().unwrap();
    let renamed = ToolTransformConfig::new().description("As we say.");
    let server = FastMcp::new("main")
        .mount(&child, None)
        .transform(ToolTransform::new().tool("forecast", renamed))
        .build()
        .unwrap();
    for client in clients(&server).await {
        let wanted = [
            ("forecast".to_owned(), Some("As we say.".to_owned())),
            by_weather("forecast", "added"),
        ];
        assert_eq!(told(&client).await, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_layer_fails_takes_nobody_with_it() {
    let children = [Fails::Error, Fails::Panic, Fails::Hang]
        .map(|fails| weather().middleware(fails).build().unwrap());
    let healthy = weather().build().unwrap();
    let mut server = FastMcp::new("main").tool(own).mount(&healthy, "healthy");
    for (number, child) in children.iter().enumerate() {
        server = server.mount(child, format!("broken{number}").as_str());
    }
    let server = server.build().unwrap();
    let client = Client::connect_as(&server, Caller::anonymous())
        .await
        .unwrap();
    let started = tokio::time::Instant::now();
    let names: Vec<_> = told(&client)
        .await
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["own", "healthy_forecast", "healthy_calibrate"]);
    assert_eq!(started.elapsed(), Duration::from_secs(30), "all at once");
}
