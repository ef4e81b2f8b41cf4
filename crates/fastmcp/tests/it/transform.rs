//! Other faces for components, versions of them, and what is shown of them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use fastmcp::{
    Component, Context, PromptBuilder, ResourceBuilder, ToolBuilder,
    auth::{Caller, testing},
    client::{CallOptions, Change as Heard},
    component::VersionSpec,
    gate::{Class, Gate, Input, Leaf, Outcome, Target},
    prelude::*,
    protocol::{
        elicit::ElicitResult,
        subscription::SubscriptionFilter,
        tool::{JsonSchema as Schema, TaskSupport, ToolAnnotations},
    },
    registry::{Filter, Kind},
    transform::{
        ArgTransform, Namespace, PromptsAsTools, ResourcesAsTools, ToolSearch, ToolTransform,
        ToolTransformConfig, VersionFilter, Visibility,
    },
};
use futures_util::future::BoxFuture;
use serde_json::Value;

/// Searches the index.
#[tool(tags("find"))]
async fn search(q: String, limit: u32, index: Option<String>) -> String {
    format!("{q} {limit} {}", index.unwrap_or_default())
}

fn says(name: &str, text: &'static str) -> ToolBuilder {
    ToolBuilder::new(name, move |(): (), _: Context| async move { text })
}

async fn connect(server: FastMcp) -> Client {
    Client::connect(&server.build().unwrap()).await.unwrap()
}

async fn tools(client: &Client) -> Vec<String> {
    let tools = client.list_tools().await.unwrap();
    tools.into_iter().map(|tool| tool.name).collect()
}

async fn said(client: &Client, tool: &str, arguments: Value) -> String {
    match client.call_tool(tool, arguments).await {
        Ok(result) => result.text().to_owned(),
        Err(error) => format!("error: {}", error.message()),
    }
}

fn reshaping(config: ToolTransformConfig) -> FastMcp {
    let transform = ToolTransform::new().tool("search", config);
    FastMcp::new("t").tool(search).transform(transform)
}

#[tokio::test]
async fn a_tool_has_another_name_description_and_arguments() {
    let config = ToolTransformConfig::new()
        .name("find")
        .title("Find")
        .description("Finds pages.")
        .tags(["docs"])
        .annotations(ToolAnnotations {
            read_only_hint: Some(true),
            ..ToolAnnotations::default()
        })
        .argument(
            "q",
            ArgTransform::new()
                .name("query")
                .description("What to find.")
                .examples(["mount"]),
        )
        .argument("limit", ArgTransform::new().default(10))
        .argument("index", ArgTransform::new().hide("docs"));
    let server = reshaping(config).build().unwrap();
    let client = Client::connect(&server).await.unwrap();
    let tool = client.list_tools().await.unwrap().remove(0);
    assert_eq!(tool.name, "find");
    assert_eq!(tool.title.as_deref(), Some("Find"));
    assert_eq!(tool.description.as_deref(), Some("Finds pages."));
    assert!(tool.is_read_only());
    let schema = tool.input_schema.to_value().unwrap();
    assert_eq!(schema["required"], json!(["query"]));
    assert_eq!(schema["additionalProperties"], false);
    let properties = schema["properties"].as_object().unwrap();
    let names: Vec<_> = properties.keys().collect();
    assert_eq!(names, ["limit", "query"]);
    assert_eq!(properties["query"]["description"], "What to find.");
    assert_eq!(properties["query"]["examples"], json!(["mount"]));
    assert_eq!(properties["limit"]["default"], 10);

    let call = |arguments| said(&client, "find", arguments);
    assert_eq!(call(json!({"query": "a"})).await, "a 10 docs");
    assert_eq!(call(json!({"query": "a", "limit": 3})).await, "a 3 docs");
    for (sent, named) in [
        (json!({"query": "a", "index": "secret"}), "`index`"),
        (json!({"q": "a"}), "`query`"),
        (json!({"query": "a", "q": "b"}), "`q`"),
        (json!({"query": "a", "more": 1}), "`more`"),
        (json!({"query": "a", "limit": "many"}), "`limit`"),
        (json!({"query": 7}), "`query`"),
        (json!({}), "`query`"),
    ] {
        let refused = call(sent.clone()).await;
        let is_named = refused.starts_with("error: ") && refused.contains(named);
        assert!(is_named, "{sent}: {refused}");
    }
    let gone = said(&client, "search", json!({"q": "a", "limit": 1})).await;
    assert!(gone.contains("unknown tool"), "{gone}");
    let snapshot = server.registry().snapshot();
    let shown = snapshot.of_kind(Kind::Tool).next().unwrap();
    assert!(shown.tags().contains("docs") && !shown.tags().contains("find"));
}

#[tokio::test]
async fn arguments_swap_names_are_demanded_checked_and_made() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    let config = ToolTransformConfig::new()
        .argument("q", ArgTransform::new().name("index"))
        .argument("index", ArgTransform::new().name("q").required())
        .argument(
            "limit",
            ArgTransform::new().hide_with(move || counted.fetch_add(1, Ordering::SeqCst)),
        );
    let client = connect(reshaping(config)).await;
    let sent = json!({"index": "words", "q": "docs"});
    assert_eq!(said(&client, "search", sent.clone()).await, "words 0 docs");
    assert_eq!(said(&client, "search", sent).await, "words 1 docs");
    let missing = said(&client, "search", json!({"index": "words"})).await;
    assert!(missing.contains("`q`"), "it is required now: {missing}");

    let schema = json!({"type": "integer", "minimum": 1, "maximum": 5});
    let config = ToolTransformConfig::new()
        .argument("limit", ArgTransform::new().name("count").schema(schema));
    let client = connect(reshaping(config)).await;
    let fits = json!({"q": "a", "count": 5});
    assert_eq!(said(&client, "search", fits).await, "a 5 ");
    let beyond = said(&client, "search", json!({"q": "a", "count": 6})).await;
    assert!(beyond.contains("`count`"), "{beyond}");
}

#[tokio::test]
async fn numbers_come_through_as_they_were_sent() {
    let seen: Arc<Mutex<String>> = Arc::default();
    let sees = Arc::clone(&seen);
    let handler = move |_: Context, input: Input| -> BoxFuture<'static, Result<Outcome>> {
        *sees.lock().unwrap() = input.args.unwrap().as_str().to_owned();
        Box::pin(async { Err(Error::tool("seen")) })
    };
    let schema = r#"{"type":"object","properties":{"n":{},"m":{}}}"#;
    let tool = fastmcp::protocol::tool::Tool::new("t", Schema::parse(schema).unwrap());
    let component = Component::new(fastmcp::component::Definition::Tool(tool), handler);
    let config = ToolTransformConfig::new().argument("n", ArgTransform::new().name("x"));
    let server = FastMcp::new("t")
        .component(component)
        .transform(ToolTransform::new().tool("t", config))
        .build()
        .unwrap();
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"x":1.50,"m":9007199254740993},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let memory = server.memory();
    let mut exchange = memory.send(&message.to_owned().into());
    while let fastmcp::transport::Step::Frame(_) = exchange.next().await {}
    assert_eq!(*seen.lock().unwrap(), r#"{"n":1.50,"m":9007199254740993}"#);
}

#[tokio::test]
async fn what_cannot_be_reshaped_is_refused_when_the_server_is_built() {
    let hides = || ArgTransform::new().drop_argument();
    for (config, why) in [
        (
            ToolTransformConfig::new().argument("none", ArgTransform::new()),
            "no argument `none`",
        ),
        (
            ToolTransformConfig::new().argument("q", hides()),
            "argument `q` is required",
        ),
        (
            ToolTransformConfig::new().argument("q", ArgTransform::new().name("limit")),
            "two arguments are named `limit`",
        ),
    ] {
        let refused = reshaping(config).build().unwrap_err();
        assert!(refused.message().contains(why), "{refused}");
        assert!(refused.message().contains("`search`"), "{refused}");
    }
    for schema in [
        json!({"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}]}),
        json!({"type": "object", "properties": {"a": {}, "b": {"$ref": "#/properties/a"}}}),
    ] {
        let tool = says("t", "t").input_schema(Schema::from_value(&schema).unwrap());
        let config = ToolTransformConfig::new().argument("a", hides());
        let server = FastMcp::new("t").tool(tool);
        let refused = server
            .transform(ToolTransform::new().tool("t", config))
            .build();
        assert!(refused.is_err(), "{schema}");
    }
}

#[tokio::test]
async fn code_stands_around_a_tool_and_a_tool_can_be_taken_away() {
    let config = ToolTransformConfig::new().around(async |context, input, next| {
        let twice = json!({"q": "again", "limit": 2});
        let first = next.run(context.clone(), input).await;
        assert!(first.is_ok());
        next.run_with(context, &twice).await
    });
    let client = connect(reshaping(config)).await;
    let sent = json!({"q": "once", "limit": 1});
    assert_eq!(said(&client, "search", sent).await, "again 2 ");
    let off = ToolTransformConfig::new().enabled(false);
    let client = connect(reshaping(off).tool(says("other", "other"))).await;
    assert_eq!(tools(&client).await, ["other"]);
}

#[tokio::test]
async fn transforms_run_one_after_another_over_everything_that_is_shown() {
    let child = FastMcp::new("child")
        .tool(says("a", "a"))
        .tool(says("b", "b"));
    let child = child.build().unwrap();
    let renamed = ToolTransform::new().tool("x_c_a", ToolTransformConfig::new().name("last"));
    let main = FastMcp::new("main")
        .tool(says("own", "own"))
        .mount(&child, "c")
        .transform(Namespace::new("x").unwrap())
        .transform(renamed)
        .transform(Visibility::by(|component| component.key() != "x_own"))
        .build()
        .unwrap();
    let client = Client::connect(&main).await.unwrap();
    assert_eq!(tools(&client).await, ["last", "x_c_b"]);
    assert_eq!(said(&client, "last", json!({})).await, "a");
    child.add_tool(says("d", "d")).unwrap();
    assert_eq!(tools(&client).await, ["last", "x_c_b", "x_c_d"]);
}

/// Greets.
#[tool(version = "1.9", name = "greet")]
async fn old() -> &'static str {
    "old"
}

fn versioned() -> FastMcp {
    let greet = |version, text| says("greet", text).version(version);
    let readme = |version, text: &'static str| {
        ResourceBuilder::new(
            "data://readme",
            "readme",
            move |(): (), _: Context| async move { text },
        )
        .version(version)
    };
    FastMcp::new("versions")
        .tool(old)
        .tool(greet("1.10", "new"))
        .tool(greet("2.0-rc.1", "soon").require_scope("beta"))
        .tool(says("plain", "plain"))
        .resource(readme("1", "first"))
        .resource(readme("2", "second"))
}

async fn in_version(client: &Client, tool: &str, version: &str) -> String {
    let options = CallOptions::new().meta("fastmcp", json!({"version": version}));
    match client.call_tool_with(tool, json!({}), &options).await {
        Ok(result) => result.text().to_owned(),
        Err(error) => format!("error: {}", error.message()),
    }
}

#[tokio::test]
async fn the_highest_version_is_listed_and_called_unless_another_is_asked_for() {
    let server = versioned().build().unwrap();
    let nobody = testing::caller("ada").build();
    let client = Client::connect_as(&server, nobody).await.unwrap();
    let listed = client.list_tools().await.unwrap();
    let names: Vec<_> = listed.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["greet", "plain"]);
    let meta = listed[0].meta.as_ref().unwrap().get("fastmcp").unwrap();
    assert_eq!(
        meta["version"], "1.10",
        "the highest that the caller may see"
    );
    assert_eq!(meta["versions"], json!(["2.0-rc.1", "1.10", "1.9"]));
    assert!(listed[1].meta.is_none());
    assert_eq!(said(&client, "greet", json!({})).await, "new");
    assert_eq!(in_version(&client, "greet", "1.9").await, "old");
    assert_eq!(in_version(&client, "greet", "1.9.0").await, "old");
    for (tool, version, why) in [
        ("greet", "3", "unknown tool `greet` in version `3`"),
        ("plain", "1", "unknown tool `plain` in version `1`"),
        ("greet", "", "`params._meta.fastmcp.version`"),
        ("greet", "2.0-rc.1", "scope `beta` is needed"),
    ] {
        let refused = in_version(&client, tool, version).await;
        assert!(refused.contains(why), "{refused}");
    }
    let beta = testing::caller("bob").scopes(["beta"]).build();
    let client = Client::connect_as(&server, beta).await.unwrap();
    assert_eq!(said(&client, "greet", json!({})).await, "soon");
    let resources = client.list_resources().await.unwrap();
    assert_eq!(resources.len(), 1);
    let read = client.read_resource("data://readme").await.unwrap();
    let read = serde_json::to_string(&read).unwrap();
    assert!(read.contains("second"), "{read}");
}

#[tokio::test]
async fn versions_are_filtered_mounted_and_not_mixed_with_none() {
    let first = versioned().transform(VersionFilter::new().lt("1.10").unwrap());
    let client = connect(first).await;
    assert_eq!(tools(&client).await, ["greet", "plain"]);
    assert_eq!(said(&client, "greet", json!({})).await, "old");
    let only = VersionFilter::new().gte("1.10").unwrap();
    let second = versioned().transform(only.include_unversioned(false));
    assert_eq!(tools(&connect(second).await).await, ["greet"]);

    let child = versioned().build().unwrap();
    let main = FastMcp::new("main").mount(&child, "v");
    let client = connect(main).await;
    assert_eq!(in_version(&client, "v_greet", "1.9").await, "old");
    // A name that is taken stays taken, whatever the version of the other.
    let own = FastMcp::new("main").tool(says("greet", "own").version("0.1"));
    let client = connect(own.mount(&child, None)).await;
    assert_eq!(said(&client, "greet", json!({})).await, "own");
    let stolen = in_version(&client, "greet", "1.10").await;
    assert!(stolen.contains("unknown tool"), "{stolen}");

    let mixed = versioned().tool(says("greet", "none")).build().unwrap_err();
    assert!(mixed.message().contains("give both a version"), "{mixed}");
    let twice = versioned().tool(says("greet", "x").version("1.10.0"));
    assert!(twice.build().unwrap_err().message().contains("twice"));
    let wrong = FastMcp::new("x").tool(says("t", "t").version("1 0"));
    assert!(wrong.build().unwrap_err().message().contains("tool `t`"));
}

#[tokio::test]
async fn components_are_enabled_and_disabled_while_the_server_runs() {
    let server = FastMcp::new("rules")
        .tool(says("read", "r").tag("open"))
        .tool(says("write", "w").tag("admin"))
        .tool(says("wipe", "x").tag("admin").version("1"))
        .tool(says("wipe", "y").tag("admin").version("2"))
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    let filter = SubscriptionFilter {
        tools_list_changed: true,
        ..SubscriptionFilter::default()
    };
    let mut changes = client.subscribe(filter).await.unwrap();
    server.disable(Filter::new().tag("admin")).unwrap();
    assert_eq!(changes.next().await, Some(Heard::Tools));
    assert_eq!(tools(&client).await, ["read"]);
    let gone = said(&client, "write", json!({})).await;
    assert!(gone.contains("unknown tool `write`"), "{gone}");
    server.enable(Filter::new().name("write")).unwrap();
    assert_eq!(tools(&client).await, ["read", "write"]);
    server.enable(Filter::new().key("tool:wipe@1")).unwrap();
    assert_eq!(said(&client, "wipe", json!({})).await, "x");
    server.enable_only(Filter::new().tag("open")).unwrap();
    assert_eq!(tools(&client).await, ["read"]);
    server.add_tool(says("late", "late")).unwrap();
    assert_eq!(tools(&client).await, ["read"], "what comes later, too");
    server.enable(Filter::new()).unwrap();
    assert_eq!(tools(&client).await, ["read", "write", "wipe", "late"]);
    assert_eq!(said(&client, "wipe", json!({})).await, "y");
    let old = Filter::new().version(VersionSpec::new().lt("2").unwrap());
    server.disable(old.kind(Kind::Tool)).unwrap();
    assert!(in_version(&client, "wipe", "1").await.contains("unknown"));
    assert_eq!(in_version(&client, "wipe", "2").await, "y");

    let tagged = || {
        FastMcp::new("tags")
            .tool(says("a", "a").tag("x"))
            .tool(says("b", "b").tag("y"))
            .tool(says("c", "c"))
    };
    assert_eq!(
        tools(&connect(tagged().include_tags(["x"])).await).await,
        ["a"]
    );
    let without = connect(tagged().exclude_tags(["x", "y"])).await;
    assert_eq!(tools(&without).await, ["c"]);
}

#[tokio::test]
async fn rules_are_bounded_and_say_the_same_once() {
    let server = FastMcp::new("rules").tool(says("t", "t")).build().unwrap();
    for _ in 0..3_000 {
        server.disable(Filter::new().name("t")).unwrap();
        server.enable(Filter::new().name("t")).unwrap();
    }
    let client = Client::connect(&server).await.unwrap();
    assert_eq!(tools(&client).await, ["t"]);
    let refused = (0..2_000).find_map(|n| {
        let filter = Filter::new().name(n.to_string());
        server.disable(filter).err()
    });
    assert!(refused.unwrap().message().contains("1024"));
}

#[tokio::test]
async fn resources_and_prompts_are_tools_for_clients_that_know_no_others() {
    let readme = |(): (), _: Context| async { "read me" };
    let secret = |(): (), _: Context| async { "secret" };
    let blob = |(): (), _: Context| async { vec![1_u8, 2, 3] };
    #[derive(Deserialize, JsonSchema)]
    struct Topic {
        topic: String,
    }
    let explain = |args: Topic, _: Context| async move { format!("Explain {}.", args.topic) };
    #[derive(Deserialize, JsonSchema)]
    struct Page {
        page: String,
    }
    let wiki = |args: Page, _: Context| async move { args.page };
    let server = FastMcp::new("t")
        .resource(ResourceBuilder::new("data://readme", "readme", readme))
        .resource(ResourceBuilder::new("data://secret", "s", secret).require_scope("s"))
        .resource(ResourceBuilder::new("data://blob", "blob", blob))
        .resource(ResourceBuilder::new("wiki://{page}", "wiki", wiki))
        .prompt(PromptBuilder::new("explain", explain))
        .transform(ResourcesAsTools)
        .transform(PromptsAsTools)
        .build()
        .unwrap();
    let nobody = testing::caller("ada").build();
    let client = Client::connect_as(&server, nobody).await.unwrap();
    assert_eq!(
        tools(&client).await,
        [
            "list_resources",
            "read_resource",
            "list_prompts",
            "get_prompt"
        ]
    );
    let listed = client.call_tool("list_resources", json!({})).await.unwrap();
    let listed: Vec<Value> = listed.data().unwrap();
    let uris: Vec<_> = listed
        .iter()
        .map(|one| one.get("uri").or(one.get("uri_template")).unwrap())
        .collect();
    assert_eq!(uris, ["data://readme", "data://blob", "wiki://{page}"]);
    let read = |uri: &str| said(&client, "read_resource", json!({"uri": uri}));
    assert_eq!(read("data://readme").await, "read me");
    assert_eq!(read("data://blob").await, "AQID");
    assert_eq!(read("wiki://Rust").await, "Rust");
    let refused = read("data://secret").await;
    assert!(refused.contains("scope `s`"), "the same gate: {refused}");
    assert!(read("data://none").await.contains("unknown resource"));
    let wrong = said(&client, "read_resource", json!({"url": "x"})).await;
    assert!(wrong.contains("`url`"), "{wrong}");

    let listed = client.call_tool("list_prompts", json!({})).await.unwrap();
    let listed: Vec<Value> = listed.data().unwrap();
    assert_eq!(listed[0]["arguments"][0]["name"], "topic");
    let arguments = json!({"name": "explain", "arguments": {"topic": "mounts"}});
    let prompt = client.call_tool("get_prompt", arguments).await.unwrap();
    let prompt = prompt.structured_content().unwrap();
    assert_eq!(prompt["messages"][0]["content"]["text"], "Explain mounts.");
    let missing = said(&client, "get_prompt", json!({"name": "explain"})).await;
    assert!(missing.contains("`topic`"), "{missing}");
}

/// Writes down what it lets through.
#[derive(Debug, Default)]
struct Counting(Mutex<Vec<String>>);

impl Gate for Counting {
    fn class(&self, caller: &Caller) -> Class {
        Class(caller.principal().as_str().to_owned().into())
    }

    fn visible(&self, caller: &Caller, component: &Component) -> bool {
        caller
            .missing_scopes(component.required_scopes())
            .is_empty()
    }

    fn invoke(
        &self,
        context: Context,
        target: Target,
        input: Input,
        leaf: Leaf,
    ) -> BoxFuture<'_, Result<Outcome>> {
        let missing = !self.visible(context.caller(), target.component());
        self.0
            .lock()
            .unwrap()
            .push(target.component().key().to_owned());
        if missing {
            return Box::pin(async { Err(Error::forbidden("not for you")) });
        }
        leaf.run(context, input)
    }
}

fn catalog() -> FastMcp {
    #[derive(Deserialize, JsonSchema)]
    struct Mail {
        /// The person who gets it.
        #[expect(dead_code, reason = "its description is searched")]
        recipient: String,
    }
    let mail = |args: Mail, _: Context| async move {
        drop(args);
        "sent"
    };
    #[derive(Deserialize, JsonSchema)]
    struct City {
        name: String,
    }
    let ask = |(): (), ctx: Context| async move {
        let city: City = ctx.elicit("city", "Which city?").await?;
        Ok::<_, Error>(city.name)
    };
    FastMcp::new("catalog")
        .tool(ToolBuilder::new("send_email", mail).description("Sends an email."))
        .tool(says("email_status", "read").description("Whether an email was read."))
        .tool(
            says("purge_email", "purged")
                .description("Deletes every email.")
                .require_scope("admin"),
        )
        .tool(says("list_files", "files").description("Lists files."))
        .tool(ToolBuilder::new("ask_city", ask).description("Asks for a city."))
        .tool(says("ping", "pong").description("Answers."))
        .tool(says("job", "done").task(TaskSupport::Required))
}

async fn found(client: &Client, arguments: Value) -> Vec<String> {
    let found = client.call_tool("search_tools", arguments).await.unwrap();
    let found: Vec<Value> = found.data().unwrap();
    let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
    found.iter().map(name).collect()
}

#[tokio::test]
async fn tools_are_searched_and_called_by_two_tools_in_place_of_a_list() {
    let gate = Arc::new(Counting::default());
    let server = catalog()
        .gate(gate.clone())
        .transform(ToolSearch::bm25().max_results(2).always_visible(["ping"]))
        .build()
        .unwrap();
    let nobody = testing::caller("ada").build();
    let client = Client::connect_as(&server, nobody).await.unwrap();
    assert_eq!(tools(&client).await, ["ping", "search_tools", "call_tool"]);
    assert_eq!(
        found(&client, json!({"query": "email"})).await,
        ["email_status", "send_email"]
    );
    assert_eq!(
        found(&client, json!({"query": "person"})).await,
        ["send_email"],
        "descriptions of arguments count"
    );
    assert_eq!(
        found(&client, json!({"query": "deletes everything"})).await,
        [""; 0],
        "who may not see it does not find it"
    );
    let admin = testing::caller("root").scopes(["admin"]).build();
    let root = Client::connect_as(&server, admin).await.unwrap();
    assert_eq!(
        found(&root, json!({"query": "deletes"})).await,
        ["purge_email"]
    );

    gate.0.lock().unwrap().clear();
    let call = |name: &str, arguments: Value| {
        said(
            &client,
            "call_tool",
            json!({"name": name, "arguments": arguments}),
        )
    };
    assert_eq!(
        call("send_email", json!({"recipient": "bob"})).await,
        "sent"
    );
    assert_eq!(*gate.0.lock().unwrap(), ["call_tool", "send_email"]);
    let refused = call("purge_email", json!({})).await;
    assert_eq!(refused, "error: not for you", "the same gate");
    let wrong = call("send_email", json!({"to": "bob"})).await;
    assert!(wrong.contains("`recipient`"), "{wrong}");
    assert!(
        call("none", json!({}))
            .await
            .contains("unknown tool `none`")
    );
    for own in ["call_tool", "search_tools"] {
        assert!(call(own, json!({})).await.contains("by itself"));
    }
    assert!(call("job", json!({})).await.contains("as a task alone"));
    assert_eq!(said(&client, "list_files", json!({})).await, "files");
}

#[tokio::test]
async fn what_can_be_found_is_what_there_is_now_and_queries_are_bounded() {
    let server = catalog().transform(ToolSearch::bm25()).build().unwrap();
    let nobody = testing::caller("ada").build();
    let client = Client::connect_as(&server, nobody).await.unwrap();
    server.disable(Filter::new().name("email_status")).unwrap();
    assert_eq!(
        found(&client, json!({"query": "email"})).await,
        ["send_email"]
    );
    server
        .add_tool(says("fax", "beep").description("Sends a fax."))
        .unwrap();
    assert_eq!(found(&client, json!({"query": "fax"})).await, ["fax"]);
    assert_eq!(tools(&client).await.len(), 2);
    for (arguments, named) in [
        (json!({"query": "x".repeat(1_001)}), "`query`"),
        (json!({"words": "x"}), "`query`"),
        (json!({"query": "x", "more": "y"}), "`query`"),
    ] {
        let refused = said(&client, "search_tools", arguments).await;
        assert!(refused.contains(named), "{refused}");
    }
}

#[tokio::test]
async fn tools_are_searched_by_patterns_under_other_names() {
    let search = ToolSearch::regex()
        .search_tool_name("find")
        .call_tool_name("run");
    let server = catalog().transform(search).build().unwrap();
    let answers = async |_| {
        let content = json!({"name": "Oslo"});
        Ok(ElicitResult::accept(content.as_object().unwrap().clone()))
    };
    for revision in [
        fastmcp::protocol::ProtocolVersion::LATEST,
        fastmcp::protocol::ProtocolVersion::V2025_11_25,
    ] {
        let client = Client::builder().revision(revision).on_elicit(answers);
        let client = client.connect_server(&server).await.unwrap();
        assert_eq!(tools(&client).await, ["find", "run"]);
        let found = client.call_tool("find", json!({"pattern": "^(LIST|ask)_"}));
        let found: Vec<Value> = found.await.unwrap().data().unwrap();
        assert_eq!(found[0]["name"], "list_files");
        assert_eq!(found[1]["name"], "ask_city");
        let wrong = said(&client, "find", json!({"pattern": "("})).await;
        assert!(wrong.contains("`pattern`"), "{wrong}");
        let city = said(&client, "run", json!({"name": "ask_city"})).await;
        assert_eq!(city, "Oslo", "questions go through: {revision}");
    }
}
