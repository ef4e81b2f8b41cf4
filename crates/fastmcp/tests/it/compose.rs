//! Servers made of servers, and components that come and go.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fastmcp::{
    Context, PromptBuilder, ResourceBuilder, Skill, TaskLimits, ToolBuilder,
    auth::{Caller, testing},
    client::{Change as Heard, ClientBuilder, Subscription},
    gate::{Class, Gate, Input, Leaf, Outcome, Target},
    prelude::*,
    protocol::{
        ProtocolVersion,
        app::ToolUi,
        completion::{CompleteParams, Reference},
        elicit::ElicitResult,
        logging::LoggingLevel,
        subscription::SubscriptionFilter,
    },
    registry::{Change, Duplicates, Kind},
};
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

const REVISIONS: [ProtocolVersion; 2] = [ProtocolVersion::LATEST, ProtocolVersion::V2025_11_25];

#[derive(Debug, Deserialize, JsonSchema)]
struct City {
    name: String,
}

/// Tells the weather.
#[tool]
async fn get_forecast(city: String) -> String {
    format!("Rain in {city}.")
}

/// Cities.
#[resource("data://cities")]
async fn cities() -> &'static str {
    "London, Paris, Tokyo"
}

/// The weather of a city now.
#[resource("data://{city}/now")]
async fn now(city: String) -> String {
    format!("dry in {city}")
}

/// Asks for a packing list.
#[prompt]
async fn pack(place: String) -> String {
    format!("What do I pack for {place}?")
}

fn weather() -> FastMcp {
    FastMcp::new("Weather")
        .tool(get_forecast)
        .resource(cities)
        .resource(now)
        .prompt(pack)
}

fn says(name: &str, text: &'static str) -> ToolBuilder {
    ToolBuilder::new(name, move |(): (), _: Context| async move { text })
}

async fn tools(client: &Client) -> Vec<String> {
    let tools = client.list_tools().await.unwrap();
    tools.into_iter().map(|tool| tool.name).collect()
}

async fn said(client: &Client, tool: &str) -> String {
    let result = client.call_tool(tool, json!({})).await;
    match result {
        Ok(result) => result.text().to_owned(),
        Err(error) => format!("error: {}", error.message()),
    }
}

async fn text(client: &Client, uri: &str) -> (String, String) {
    let read = client.read_resource(uri).await.unwrap();
    let read = serde_json::to_value(&read).unwrap();
    let contents = &read["contents"][0];
    (
        contents["uri"].as_str().unwrap().to_owned(),
        contents["text"].as_str().unwrap().to_owned(),
    )
}

/// Everything of [`weather`] is there, under the names that a prefix makes.
async fn is_whole(client: &Client) {
    assert_eq!(tools(client).await, ["weather_get_forecast"]);
    let told = client
        .call_tool("weather_get_forecast", json!({"city": "Oslo"}))
        .await
        .unwrap();
    assert_eq!(told.data::<String>().unwrap(), "Rain in Oslo.");
    let resources = client.list_resources().await.unwrap();
    assert_eq!(resources[0].uri, "data://weather/cities");
    let templates = client.list_resource_templates().await.unwrap();
    assert_eq!(templates[0].uri_template, "data://weather/{city}/now");
    assert_eq!(
        text(client, "data://weather/cities").await,
        (
            "data://weather/cities".to_owned(),
            "London, Paris, Tokyo".to_owned()
        )
    );
    assert_eq!(
        text(client, "data://weather/Oslo/now").await,
        (
            "data://weather/Oslo/now".to_owned(),
            "dry in Oslo".to_owned()
        )
    );
    assert!(client.read_resource("data://cities").await.is_err());
    let prompt = client
        .get_prompt("weather_pack", json!({"place": "Rome"}))
        .await
        .unwrap();
    let prompt = serde_json::to_string(&prompt).unwrap();
    assert!(prompt.contains("What do I pack for Rome?"), "{prompt}");
}

#[tokio::test]
async fn an_import_copies_everything_once_under_its_prefix() {
    let child = weather().build().unwrap();
    let main = FastMcp::new("Main")
        .import_server(&child, "weather")
        .build()
        .unwrap();
    for revision in REVISIONS {
        let client = Client::builder().revision(revision);
        is_whole(&client.connect_server(&main).await.unwrap()).await;
    }
    child.add_tool(says("late", "late")).unwrap();
    let client = Client::connect(&main).await.unwrap();
    assert_eq!(tools(&client).await, ["weather_get_forecast"]);
}

#[tokio::test]
async fn of_two_imports_the_later_one_counts() {
    let first = FastMcp::new("a").tool(says("hello", "first"));
    let second = FastMcp::new("b").tool(says("hello", "second"));
    let (first, second) = (first.build().unwrap(), second.build().unwrap());
    let main = FastMcp::new("Main")
        .import_server(&first, None)
        .import_server(&second, None)
        .build()
        .unwrap();
    let client = Client::connect(&main).await.unwrap();
    assert_eq!(tools(&client).await, ["hello"]);
    assert_eq!(said(&client, "hello").await, "second");
    main.import_server(&first, None).unwrap();
    assert_eq!(said(&client, "hello").await, "first");

    let own = || FastMcp::new("Main").tool(says("hello", "own"));
    let refused = own().import_server(&first, None).build().unwrap_err();
    assert!(refused.message().contains("`hello`"), "{refused}");
    let kept = own()
        .on_duplicate(Duplicates::Ignore)
        .import_server(&first, None);
    let client = Client::connect(&kept.build().unwrap()).await.unwrap();
    assert_eq!(said(&client, "hello").await, "own");
}

#[tokio::test]
async fn a_prefix_that_is_unfit_is_refused_by_name() {
    let child = weather().build().unwrap();
    for refused in [
        FastMcp::new("Main").mount(&child, "a/b").build(),
        FastMcp::new("Main").import_server(&child, "").build(),
    ] {
        assert!(refused.unwrap_err().message().starts_with("prefix `"));
    }
}

#[tokio::test]
async fn a_mount_is_a_live_link() {
    let child = weather().build().unwrap();
    let main = FastMcp::new("Main")
        .mount(&child, "weather")
        .build()
        .unwrap();
    for revision in REVISIONS {
        let client = Client::builder().revision(revision);
        is_whole(&client.connect_server(&main).await.unwrap()).await;
    }
    let client = Client::connect(&main).await.unwrap();
    let mut changes = subscribe(&client, &[]).await;
    child.add_tool(says("added_later", "here")).unwrap();
    assert_eq!(changes.next().await, Some(Heard::Tools));
    assert_eq!(
        tools(&client).await,
        ["weather_get_forecast", "weather_added_later"]
    );
    assert_eq!(said(&client, "weather_added_later").await, "here");
    child.remove_tool("get_forecast").unwrap();
    assert_eq!(changes.next().await, Some(Heard::Tools));
    assert_eq!(tools(&client).await, ["weather_added_later"]);
    let gone = said(&client, "weather_get_forecast").await;
    assert!(gone.contains("unknown tool"), "{gone}");
    let refused = child.remove_tool("get_forecast").unwrap_err();
    assert!(refused.message().contains("`get_forecast`"), "{refused}");
}

#[tokio::test]
async fn what_is_mounted_while_the_server_runs_can_be_unmounted() {
    let main = FastMcp::new("Main").tool(says("own", "own"));
    let main = main.build().unwrap();
    let client = Client::connect(&main).await.unwrap();
    let child = weather().build().unwrap();
    let (with, without) = (main.mount(&child, "w").unwrap(), main.mount(&child, None));
    assert_eq!(
        tools(&client).await,
        ["own", "w_get_forecast", "get_forecast"]
    );
    assert!(main.unmount(with).unwrap());
    assert!(!main.unmount(with).unwrap(), "it is gone already");
    assert_eq!(tools(&client).await, ["own", "get_forecast"]);
    assert_eq!(
        text(&client, "data://cities").await.1,
        "London, Paris, Tokyo"
    );
    assert!(main.unmount(without.unwrap()).unwrap());
    assert_eq!(tools(&client).await, ["own"]);
    child.add_tool(says("late", "late")).unwrap();
    assert_eq!(tools(&client).await, ["own"]);
}

#[tokio::test]
async fn a_name_that_is_taken_stays_taken() {
    let one = FastMcp::new("one").tool(says("a", "one a"));
    let one = one.tool(says("b", "one b")).build().unwrap();
    let two = FastMcp::new("two").tool(says("b", "two b"));
    let two = two.tool(says("c", "two c")).build().unwrap();
    let main = FastMcp::new("Main").tool(says("a", "own a"));
    let main = main.mount(&one, None).build().unwrap();
    main.mount(&two, None).unwrap();
    let client = Client::connect(&main).await.unwrap();
    assert_eq!(tools(&client).await, ["a", "b", "c"]);
    assert_eq!(said(&client, "a").await, "own a");
    assert_eq!(said(&client, "b").await, "one b");
    one.remove_tool("b").unwrap();
    assert_eq!(said(&client, "b").await, "two b", "the next one steps in");
    main.remove_tool("a").unwrap();
    assert_eq!(said(&client, "a").await, "one a");
}

#[tokio::test]
async fn servers_stand_within_servers_but_never_in_themselves() {
    let inner = weather().build().unwrap();
    let middle = FastMcp::new("middle").mount(&inner, "weather");
    let middle = middle.build().unwrap();
    let outer = FastMcp::new("outer").mount(&middle, "eu").build().unwrap();
    let client = Client::connect(&outer).await.unwrap();
    assert_eq!(tools(&client).await, ["eu_weather_get_forecast"]);
    let told = client
        .call_tool("eu_weather_get_forecast", json!({"city": "Oslo"}))
        .await;
    assert_eq!(told.unwrap().text(), "Rain in Oslo.");
    assert_eq!(
        text(&client, "data://eu/weather/Oslo/now").await,
        (
            "data://eu/weather/Oslo/now".to_owned(),
            "dry in Oslo".to_owned()
        )
    );
    inner.add_tool(says("late", "late")).unwrap();
    assert_eq!(said(&client, "eu_weather_late").await, "late");
    for (parent, child) in [(&inner, &inner), (&inner, &middle), (&inner, &outer)] {
        let refused = parent.mount(child, "x").unwrap_err();
        assert!(refused.message().contains("part of it"), "{refused}");
    }
    assert_eq!(
        tools(&client).await,
        ["eu_weather_get_forecast", "eu_weather_late"]
    );
}

/// Writes down what it lets through, and refuses and hides what it is told to.
#[derive(Debug, Default)]
struct Doorkeeper {
    name: &'static str,
    hides: AtomicBool,
    passed: Arc<Mutex<Vec<String>>>,
}

impl Gate for Doorkeeper {
    fn class(&self, _: &Caller) -> Class {
        let hides = self.hides.load(Ordering::SeqCst);
        Class(hides.to_string().into())
    }

    fn visible(&self, _: &Caller, component: &fastmcp::Component) -> bool {
        !(self.hides.load(Ordering::SeqCst) && component.key() == "secret")
    }

    fn invoke(
        &self,
        context: Context,
        target: Target,
        input: Input,
        leaf: Leaf,
    ) -> BoxFuture<'_, Result<Outcome>> {
        let key = target.component().key();
        let line = format!("{} {key}", self.name);
        self.passed.lock().unwrap().push(line);
        if key == "forbidden" {
            return Box::pin(async { Err(Error::forbidden("not through here")) });
        }
        context.set_state(self.name, "was here").unwrap();
        leaf.run(context, input)
    }
}

#[tokio::test]
async fn a_call_passes_the_gates_of_both_servers_with_one_context() {
    let passed: Arc<Mutex<Vec<String>>> = Arc::default();
    let keeper = |name| Doorkeeper {
        name,
        passed: Arc::clone(&passed),
        ..Doorkeeper::default()
    };
    let look = ToolBuilder::new("look", |(): (), ctx: Context| async move {
        let state = |key| ctx.get_state::<String>(key).unwrap_or_default();
        format!("{} {}", state("parent"), state("child"))
    });
    let inner = Arc::new(keeper("child"));
    let child = FastMcp::new("child")
        .gate(inner.clone())
        .tool(look)
        .tool(says("forbidden", "no"))
        .tool(says("secret", "s"))
        .build()
        .unwrap();
    let parent = FastMcp::new("parent")
        .gate(Arc::new(keeper("parent")))
        .mount(&child, "c")
        .build()
        .unwrap();
    let client = Client::connect(&parent).await.unwrap();
    assert_eq!(said(&client, "c_look").await, "was here was here");
    assert_eq!(
        said(&client, "c_forbidden").await,
        "error: not through here"
    );
    assert_eq!(
        *passed.lock().unwrap(),
        [
            "parent c_look",
            "child look",
            "parent c_forbidden",
            "child forbidden"
        ]
    );
    assert_eq!(tools(&client).await, ["c_look", "c_forbidden", "c_secret"]);
    inner.hides.store(true, Ordering::SeqCst);
    assert_eq!(
        tools(&client).await,
        ["c_look", "c_forbidden"],
        "the child says whom its tools are for, and the list is not an old one"
    );

    passed.lock().unwrap().clear();
    let parent = FastMcp::new("parent").import_server(&child, "c");
    let client = Client::connect(&parent.build().unwrap()).await.unwrap();
    assert_eq!(said(&client, "c_forbidden").await, "no", "a copy is free");
    assert!(passed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn scopes_of_a_mounted_tool_are_asked_for() {
    let child = FastMcp::new("child").tool(says("pay", "paid").require_scope("pay"));
    let main = FastMcp::new("Main").mount(&child.build().unwrap(), "shop");
    let main = main.build().unwrap();
    let connect = |scopes: &'static [&'static str]| {
        let caller = testing::caller("ada").scopes(scopes.iter().copied());
        Client::connect_as(&main, caller.build())
    };
    let client = connect(&["pay"]).await.unwrap();
    assert_eq!(said(&client, "shop_pay").await, "paid");
    let client = connect(&[]).await.unwrap();
    assert!(tools(&client).await.is_empty());
    let refused = said(&client, "shop_pay").await;
    assert!(refused.contains("scope `pay` is needed"), "{refused}");
}

fn able() -> ClientBuilder {
    Client::builder().on_elicit(async |_| {
        let content = json!({"name": "Oslo"});
        Ok(ElicitResult::accept(content.as_object().unwrap().clone()))
    })
}

#[tokio::test]
async fn questions_progress_and_logs_go_through_a_mount() {
    let survey = ToolBuilder::new("survey", |(): (), ctx: Context| async move {
        ctx.info("begun").await;
        ctx.report_progress(1.0, Some(2.0), None).await;
        let city: City = ctx.elicit("city", "Which city?").await?;
        Ok::<_, Error>(city.name)
    });
    let child = FastMcp::new("child").tool(survey).build().unwrap();
    let main = FastMcp::new("Main").mount(&child, "c").build().unwrap();
    for revision in REVISIONS {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (steps, lines) = (Arc::clone(&heard), Arc::clone(&heard));
        let client = able()
            .revision(revision)
            .on_progress(move |p| steps.lock().unwrap().push(p.progress.to_string()))
            .on_log(LoggingLevel::Info, move |m| {
                lines.lock().unwrap().push(m.data.as_str().to_owned());
            })
            .connect_server(&main)
            .await
            .unwrap();
        assert_eq!(said(&client, "c_survey").await, "Oslo", "{revision}");
        let heard = heard.lock().unwrap().clone();
        assert_eq!(heard[..2], ["\"begun\"", "1"], "{revision}");
    }
}

#[tokio::test]
async fn a_call_through_a_mount_is_cancelled_with_its_request() {
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
    let child = FastMcp::new("child").tool(wait).build().unwrap();
    let main = FastMcp::new("Main").mount(&child, "c").build().unwrap();
    let client = Client::connect(&main).await.unwrap();
    {
        let mut call = std::pin::pin!(client.call_tool("c_wait", json!({})));
        tokio::select! {
            ended = &mut call => panic!("{ended:?}"),
            () = begun.notified() => {}
        }
    }
    ended.notified().await;
}

async fn subscribe(client: &Client, uris: &[&str]) -> Subscription {
    let filter = SubscriptionFilter {
        tools_list_changed: true,
        resource_subscriptions: uris.iter().map(|&uri| uri.to_owned()).collect(),
        ..SubscriptionFilter::default()
    };
    client.subscribe(filter).await.unwrap()
}

#[tokio::test]
async fn changes_of_a_mounted_resource_are_told_under_its_uri_of_each_server() {
    let touch = ToolBuilder::new("touch", |(): (), ctx: Context| async move {
        ctx.notify(Change::Resource("data://cities".to_owned()));
    });
    let child = weather().tool(touch).build().unwrap();
    let main = FastMcp::new("Main").mount(&child, "w").build().unwrap();
    let outer = FastMcp::new("outer").mount(&main, "eu").build().unwrap();
    let (below, above) = (
        Client::connect(&child).await.unwrap(),
        Client::connect(&outer).await.unwrap(),
    );
    let mut below_hears = subscribe(&below, &["data://cities"]).await;
    let mut above_hears = subscribe(&above, &["data://eu/w/cities"]).await;
    let changed = |uri: &str| Some(Heard::Resource(uri.to_owned()));
    child
        .registry()
        .notify(Change::Resource("data://cities".to_owned()));
    assert_eq!(below_hears.next().await, changed("data://cities"));
    assert_eq!(above_hears.next().await, changed("data://eu/w/cities"));
    above.call_tool("eu_w_touch", json!({})).await.unwrap();
    assert_eq!(below_hears.next().await, changed("data://cities"));
    assert_eq!(above_hears.next().await, changed("data://eu/w/cities"));
}

#[tokio::test]
async fn arguments_of_what_is_mounted_are_completed_by_its_own_server() {
    let complete = |_: Caller, params: CompleteParams<'static>| async move {
        let Reference::Prompt { name } = params.reference else {
            return vec!["a city".to_owned()];
        };
        vec![format!("{name} {}", params.argument.value)]
    };
    let child = weather().completion(complete).build().unwrap();
    let own = PromptBuilder::new("own", |(): (), _: Context| async { "own" });
    let main = FastMcp::new("Main").prompt(own).mount(&child, "w");
    let client = Client::connect(&main.build().unwrap()).await.unwrap();
    assert!(client.server_capabilities().completions.is_some());
    let prompt = |name: &'static str| Reference::Prompt { name: name.into() };
    let values = async |reference| {
        let completed = client.complete(reference, "place", "R", None).await;
        completed
            .map(|c| c.values)
            .map_err(|e| e.message().to_owned())
    };
    assert_eq!(values(prompt("w_pack")).await.unwrap(), ["pack R"]);
    let uri = "data://w/{city}/now".into();
    assert_eq!(
        values(Reference::Resource { uri }).await.unwrap(),
        ["a city"]
    );
    assert!(values(prompt("own")).await.unwrap().is_empty());
    assert!(values(prompt("pack")).await.is_err(), "not by that name");
}

#[tokio::test]
async fn skills_and_documents_of_a_mounted_server_have_addresses_of_here() {
    let skill = Skill::new("---\nname: refunds\ndescription: How.\n---\n# Refunds\n").unwrap();
    let skill = skill.file("forms/a.md", "a form").unwrap();
    let shows = says("show", "shown").ui(ToolUi::new("ui://doc"));
    let child = FastMcp::new("child").skill(skill).tool(shows);
    let main = FastMcp::new("Main").mount(&child.build().unwrap(), "shop");
    let client = Client::connect(&main.build().unwrap()).await.unwrap();
    let skills = client.request("skills/list", serde_json::Map::new()).await;
    let skills: serde_json::Value = skills.unwrap().decode().unwrap();
    let skill = &skills["skills"][0];
    assert_eq!(skill["uri"], "skill://shop/refunds/SKILL.md");
    assert_eq!(
        skill["resources"][1]["uri"],
        "skill://shop/refunds/forms/a.md"
    );
    assert_eq!(
        text(&client, "skill://shop/refunds/forms/a.md").await.1,
        "a form"
    );
    let tools = client.list_tools().await.unwrap();
    let meta = tools[0].meta.as_ref().unwrap();
    assert_eq!(meta.get("ui").unwrap()["resourceUri"], "ui://shop/doc");
}

#[tokio::test]
async fn a_mounted_tool_runs_as_a_task_once_its_own_gate_has_let_it_through() {
    let keeper = Doorkeeper {
        name: "child",
        ..Doorkeeper::default()
    };
    let child = FastMcp::new("child")
        .gate(Arc::new(keeper))
        .tool(crate::tasks::add)
        .tool(crate::tasks::ask)
        .tool(says("forbidden", "no").task(fastmcp::protocol::tool::TaskSupport::Required))
        .build()
        .unwrap();
    let limits = TaskLimits {
        poll_interval: Duration::from_millis(10),
        ..TaskLimits::default()
    };
    let main = FastMcp::new("Main").mount(&child, "c").tasks(limits);
    let main = main.build().unwrap();
    let outer = FastMcp::new("outer").mount(&main, None).tasks(limits);
    let outer = outer.build().unwrap();
    for server in [&main, &outer] {
        let answers = async |_| {
            let content = json!({"name": "Ada", "ok": true});
            Ok(ElicitResult::accept(content.as_object().unwrap().clone()))
        };
        let client = Client::builder().tasks().on_elicit(answers);
        let client = client.connect_server(server).await.unwrap();
        let sum = client.call_tool("c_add", json!({"a": 2, "b": 3})).await;
        assert_eq!(sum.unwrap().data::<i64>().unwrap(), 5);
        let asked = client.call_tool("c_ask", json!({})).await.unwrap();
        assert_eq!(asked.text(), "Ada true Ada");
        assert_eq!(
            said(&client, "c_forbidden").await,
            "error: not through here"
        );
        let memory = crate::tasks::connect(server, "ada");
        let call = crate::tasks::knowing(
            "tools/call",
            json!({"name": "c_add", "arguments": {"a": 1, "b": 1}}),
        );
        let seed = crate::tasks::send(&memory, call).await;
        assert_eq!(seed["result"]["resultType"], "task", "{seed}");
        let call = crate::tasks::knowing(
            "tools/call",
            json!({"name": "c_forbidden", "arguments": {}}),
        );
        let refused = crate::tasks::send(&memory, call).await;
        assert_eq!(refused["result"]["isError"], true, "no task: {refused}");
    }
}

#[tokio::test]
async fn components_come_and_go_and_subscribers_hear_of_it() {
    let server = FastMcp::new("dynamic").tool(says("a", "a"));
    let server = server.resource(cities).prompt(pack).build().unwrap();
    let client = Client::connect(&server).await.unwrap();
    let filter = SubscriptionFilter {
        tools_list_changed: true,
        resources_list_changed: true,
        prompts_list_changed: true,
        ..SubscriptionFilter::default()
    };
    let mut changes = client.subscribe(filter).await.unwrap();
    server.add_tool(says("b", "b")).unwrap();
    assert_eq!(changes.next().await, Some(Heard::Tools));
    assert_eq!(tools(&client).await, ["a", "b"]);
    assert_eq!(said(&client, "b").await, "b");
    server.remove_tool("b").unwrap();
    assert_eq!(changes.next().await, Some(Heard::Tools));
    assert!(said(&client, "b").await.contains("unknown tool"));

    let more = ResourceBuilder::new("data://more", "more", |(): (), _: Context| async { "more" });
    server.add_resource(more).unwrap();
    assert_eq!(changes.next().await, Some(Heard::Resources));
    server.add_resource(now).unwrap();
    assert_eq!(changes.next().await, Some(Heard::Resources));
    server.remove_resource("data://more").unwrap();
    assert_eq!(changes.next().await, Some(Heard::Resources));
    server.remove_resource("data://{city}/now").unwrap();
    assert_eq!(changes.next().await, Some(Heard::Resources));
    assert_eq!(client.list_resources().await.unwrap().len(), 1);
    server.remove_prompt("pack").unwrap();
    assert_eq!(changes.next().await, Some(Heard::Prompts));
    assert!(server.remove_prompt("pack").is_err());
}

#[tokio::test]
async fn a_duplicate_is_refused_replaced_or_left_out() {
    for (policy, first) in [
        (Duplicates::Error, None),
        (Duplicates::Warn, Some("two")),
        (Duplicates::Replace, Some("two")),
        (Duplicates::Ignore, Some("one")),
    ] {
        let base = || {
            FastMcp::new("d")
                .on_duplicate(policy)
                .tool(says("x", "one"))
        };
        let built = base().tool(says("x", "two")).build();
        let server = base().tool(says("y", "y")).build().unwrap();
        let added = server.add_tool(says("x", "two"));
        let Some(first) = first else {
            assert!(built.unwrap_err().message().contains("`x`"));
            assert!(added.unwrap_err().message().contains("`x`"));
            let client = Client::connect(&server).await.unwrap();
            assert_eq!(said(&client, "x").await, "one", "nothing changed");
            continue;
        };
        added.unwrap();
        let client = Client::connect(&built.unwrap()).await.unwrap();
        assert_eq!(said(&client, "x").await, first, "{policy:?}");
        let client = Client::connect(&server).await.unwrap();
        assert_eq!(said(&client, "x").await, first, "{policy:?}");
        assert_eq!(tools(&client).await, ["x", "y"], "{policy:?}");
    }
}

#[tokio::test]
async fn many_edits_at_once_all_show() {
    let child = FastMcp::new("child").build().unwrap();
    let main = FastMcp::new("Main").mount(&child, "c").build().unwrap();
    let add = &|thread: usize| {
        for n in 0..20 {
            let name = format!("t{thread}_{n}");
            child.add_tool(says(&name, "x")).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || add(thread));
        }
    });
    let shown = main.registry().snapshot().of_kind(Kind::Tool).count();
    assert_eq!(shown, 160);
}
