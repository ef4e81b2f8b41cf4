//! Sources of components: they come up together, fail alone, and are told of.

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastmcp::{
    Component, Context, ResourceBuilder, ToolBuilder,
    auth::Caller,
    client::{Change as Heard, ClientBuilder, Subscription},
    prelude::*,
    protocol::{
        ProtocolVersion,
        completion::{CompleteParams, Reference},
        elicit::ElicitResult,
        logging::LoggingLevel,
        subscription::SubscriptionFilter,
    },
    provider::{Change, LocalProvider, Provider, ProviderExt as _, ProviderState},
    proxy::ProxyProvider,
    registry::{Duplicates, Kind},
    transform::{ToolTransform, ToolTransformConfig},
};
use futures_util::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt as _},
};
use tokio::{sync::watch, time::Instant};

fn says(name: &str, text: &'static str) -> ToolBuilder {
    ToolBuilder::new(name, move |(): (), _: Context| async move { text })
}

async fn tools(client: &Client) -> Vec<String> {
    let tools = client.list_tools().await.unwrap();
    tools.into_iter().map(|tool| tool.name).collect()
}

async fn said(client: &Client, tool: &str) -> String {
    match client.call_tool(tool, json!({})).await {
        Ok(result) => result.text().to_owned(),
        Err(error) => format!("error: {}", error.message()),
    }
}

async fn subscribe(client: &Client, uris: &[&str]) -> Subscription {
    let filter = SubscriptionFilter {
        tools_list_changed: true,
        resource_subscriptions: uris.iter().map(|&uri| uri.to_owned()).collect(),
        ..SubscriptionFilter::default()
    };
    client.subscribe(filter).await.unwrap()
}

/// Waits until every provider is as `wanted` says.
async fn until(server: &Server, wanted: impl Fn(&ProviderState) -> bool) {
    for _ in 0..100_000 {
        if server.providers().iter().all(|one| wanted(&one.state)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", server.providers());
}

/// How a source behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    Fails,
    Hangs,
    Panics,
    Leaves,
}

/// A source that does as it is told.
#[derive(Clone, Debug)]
struct Moody {
    mood: watch::Sender<Mood>,
    has: LocalProvider,
    started: Arc<AtomicUsize>,
    stopped: Arc<AtomicUsize>,
}

impl Moody {
    fn new(mood: Mood, tool: &str) -> Self {
        let has = LocalProvider::new(tool);
        has.add_tool(says(tool, "well")).unwrap();
        Self {
            mood: watch::Sender::new(mood),
            has,
            started: Arc::default(),
            stopped: Arc::default(),
        }
    }

    fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

impl Provider for Moody {
    fn name(&self) -> Cow<'_, str> {
        "moody".into()
    }

    fn start(&self) -> BoxFuture<'_, Result<()>> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let mood = *self.mood.borrow();
        Box::pin(async move {
            match mood {
                Mood::Fails => Err(Error::internal("not today")),
                Mood::Hangs => std::future::pending().await,
                Mood::Panics => panic!("of fear"),
                Mood::Well | Mood::Leaves => Ok(()),
            }
        })
    }

    fn components(&self) -> BoxFuture<'_, Result<Vec<Arc<Component>>>> {
        self.has.components()
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        let mut mood = self.mood.subscribe();
        let left = stream::once(async move {
            drop(mood.wait_for(|mood| *mood == Mood::Leaves).await);
            Change::Resource("gone://".to_owned())
        });
        let changes = self.has.changes().map(Some);
        let ends = left.map(|_| None);
        stream::select(changes, ends)
            .take_while(|one| std::future::ready(one.is_some()))
            .filter_map(std::future::ready)
            .boxed()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.stopped.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {})
    }
}

#[tokio::test(start_paused = true)]
async fn sources_come_up_together_and_one_that_does_not_takes_nobody_down() {
    let moods = [
        Moody::new(Mood::Well, "a"),
        Moody::new(Mood::Fails, "b"),
        Moody::new(Mood::Hangs, "c"),
        Moody::new(Mood::Panics, "d"),
        Moody::new(Mood::Well, "e"),
    ];
    let mut server = FastMcp::new("demo").tool(says("own", "own"));
    for one in &moods {
        server = server.provider(one.clone());
    }
    let server = server.build().unwrap();
    let states = |server: &Server| {
        let states = server.providers().into_iter();
        states.map(|one| one.state).collect::<Vec<_>>()
    };
    assert_eq!(states(&server), vec![ProviderState::Starting; 5]);
    let begun = Instant::now();
    let client = Client::connect(&server).await.unwrap();
    assert_eq!(tools(&client).await, ["own", "a", "e"]);
    assert!(
        begun.elapsed() <= Duration::from_secs(6),
        "it waits no longer"
    );
    assert_eq!(said(&client, "e").await, "well");
    let failed = |why: &str| ProviderState::Failed {
        why: why.to_owned(),
        attempts: 1,
    };
    let now = states(&server);
    assert_eq!(now[0], ProviderState::Ready);
    assert!(matches!(&now[1], ProviderState::Failed { why, .. } if why == "not today"));
    assert_eq!(now[2], ProviderState::Starting);
    assert!(matches!(&now[3], ProviderState::Failed { why, .. } if why == "it panicked"));
    until(&server, |state| *state != ProviderState::Starting).await;
    assert_eq!(states(&server)[2], failed("it did not answer within 30 s"));

    let mut changes = subscribe(&client, &[]).await;
    moods[1..4].iter().for_each(|one| one.set(Mood::Well));
    until(&server, |state| *state == ProviderState::Ready).await;
    assert_eq!(changes.next().await, Some(Heard::Tools));
    assert_eq!(tools(&client).await, ["own", "a", "b", "c", "d", "e"]);
    let counts: Vec<_> = server
        .providers()
        .iter()
        .map(|one| one.components)
        .collect();
    assert_eq!(counts, [1; 5]);
}

#[tokio::test(start_paused = true)]
async fn pauses_between_tries_grow_and_what_was_there_stays() {
    let moody = Moody::new(Mood::Well, "tool");
    let server = FastMcp::new("demo")
        .provider(moody.clone())
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    assert_eq!(tools(&client).await, ["tool"]);
    moody.set(Mood::Leaves);
    until(&server, |state| *state != ProviderState::Ready).await;
    moody.set(Mood::Fails);
    assert_eq!(tools(&client).await, ["tool"], "what was there stays");
    let before = moody.started.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = moody.started.load(Ordering::SeqCst) - before;
    assert!((8..=20).contains(&tries), "1, 2, 4 ... 60 s: {tries}");
    let stopped = moody.stopped.load(Ordering::SeqCst);
    assert!(stopped >= tries, "what failed is stopped");
    moody.set(Mood::Well);
    until(&server, |state| *state == ProviderState::Ready).await;

    let id = server.providers()[0].id;
    assert!(server.remove_provider(id).unwrap());
    assert!(server.providers().is_empty());
    assert!(tools(&client).await.is_empty());
    let started = moody.started.load(Ordering::SeqCst);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(moody.started.load(Ordering::SeqCst), started, "it is over");
}

#[tokio::test]
async fn a_provider_is_stopped_with_its_server() {
    let moody = Moody::new(Mood::Well, "tool");
    let server = FastMcp::new("demo")
        .provider(moody.clone())
        .build()
        .unwrap();
    server.start().await.unwrap();
    assert_eq!(server.providers()[0].state, ProviderState::Ready);
    server.finish(Duration::from_secs(5)).await;
    assert_eq!(server.providers()[0].state, ProviderState::Stopped);
    assert_eq!(moody.stopped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn local_components_are_shared_prefixed_transformed_and_told_of() {
    let local = LocalProvider::new("plugins");
    local.add_tool(says("hello", "hello")).unwrap();
    let text = |(): (), _: Context| async { "text" };
    local
        .add_resource(ResourceBuilder::new("data://x", "x", text))
        .unwrap();
    let renamed = ToolTransform::new().tool("p_hello", ToolTransformConfig::new().name("hi"));
    let one = FastMcp::new("one").provider(local.clone()).build().unwrap();
    let two = FastMcp::new("two")
        .provider(local.clone().namespace("p").unwrap().transform(renamed))
        .build()
        .unwrap();
    let (first, second) = (
        Client::connect(&one).await.unwrap(),
        Client::connect(&two).await.unwrap(),
    );
    assert_eq!(tools(&first).await, ["hello"]);
    assert_eq!(tools(&second).await, ["hi"]);
    assert_eq!(said(&second, "hi").await, "hello");
    let mut hears = subscribe(&second, &["data://p/x"]).await;
    local.resource_updated("data://x");
    let updated = Heard::Resource("data://p/x".to_owned());
    assert_eq!(hears.next().await, Some(updated));
    local.add_tool(says("more", "more")).unwrap();
    assert_eq!(hears.next().await, Some(Heard::Tools));
    assert_eq!(tools(&second).await, ["hi", "p_more"]);
    assert!(local.add_tool(says("more", "again")).is_err());
    local.remove(Kind::Tool, "more").unwrap();
    assert!(local.remove(Kind::Tool, "more").is_err());
    assert_eq!(hears.next().await, Some(Heard::Tools));
    assert_eq!(tools(&second).await, ["hi"]);
    let lenient = LocalProvider::with_duplicates("l", Duplicates::Replace);
    lenient.add_tool(says("x", "1")).unwrap();
    lenient.add_tool(says("x", "2")).unwrap();
    let id = one.add_provider(lenient).await.unwrap();
    assert_eq!(said(&first, "x").await, "2");
    assert!(one.remove_provider(id).unwrap());
    assert_eq!(tools(&first).await, ["hello"]);
}

#[derive(Debug, Deserialize, JsonSchema)]
struct City {
    name: String,
}

/// Asks for a city.
#[tool]
async fn survey(ctx: Context) -> Result<String> {
    ctx.info("begun").await;
    let city: City = ctx.elicit("city", "Which city?").await?;
    Ok(city.name)
}

/// Asks for a packing list.
#[prompt]
async fn pack(place: String) -> String {
    format!("What do I pack for {place}?")
}

fn upstream(name: &str, text: &'static str) -> Server {
    let read = |(): (), _: Context| async { "far away" };
    let complete = |_: Caller, params: CompleteParams<'static>| async move {
        vec![format!("{}ome", params.argument.value)]
    };
    FastMcp::new(name)
        .tool(says("who", text))
        .tool(survey)
        .prompt(pack)
        .resource(ResourceBuilder::new("data://x", "x", read))
        .completion(complete)
        .build()
        .unwrap()
}

fn to(server: &Server, revision: ProtocolVersion) -> ProxyProvider {
    let server = server.clone();
    ProxyProvider::new(server.name().to_owned(), move |client: ClientBuilder| {
        let server = server.clone();
        async move { client.revision(revision).connect_server(&server).await }
    })
}

#[tokio::test]
async fn several_upstreams_stand_behind_one_server() {
    for behind in [ProtocolVersion::LATEST, ProtocolVersion::V2025_11_25] {
        let (one, two) = (upstream("one", "first"), upstream("two", "second"));
        let away = ProxyProvider::new("away", |client: ClientBuilder| async move {
            drop(client);
            Err(Error::internal("nobody is there"))
        });
        let server = FastMcp::new("front")
            .tool(says("own", "own"))
            .mount_proxy(to(&one, behind), "one")
            .mount_proxy(away, "away")
            .mount_proxy(to(&two, behind), None)
            .build()
            .unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = Arc::clone(&heard);
        let client = Client::builder()
            .on_elicit(async |_| {
                let content = json!({"name": "Oslo"});
                Ok(ElicitResult::accept(content.as_object().unwrap().clone()))
            })
            .on_log(LoggingLevel::Info, move |m| {
                lines.lock().unwrap().push(m.data.as_str().to_owned());
            })
            .connect_server(&server)
            .await
            .unwrap();
        let all = ["own", "one_who", "one_survey", "who", "survey"];
        assert_eq!(tools(&client).await, all, "{behind}");
        assert_eq!(said(&client, "one_who").await, "first");
        assert_eq!(said(&client, "who").await, "second");
        assert_eq!(said(&client, "one_survey").await, "Oslo", "{behind}");
        assert!(heard.lock().unwrap().iter().all(|line| line == "\"begun\""));
        let read = client.read_resource("data://one/x").await.unwrap();
        let read = serde_json::to_value(&read).unwrap();
        assert_eq!(read["contents"][0]["uri"], "data://one/x");
        assert_eq!(read["contents"][0]["text"], "far away");
        let name = "one_pack".into();
        let completed = client.complete(Reference::Prompt { name }, "place", "R", None);
        assert_eq!(completed.await.unwrap().values, ["Rome"], "{behind}");

        let mut changes = subscribe(&client, &[]).await;
        one.add_tool(says("late", "late")).unwrap();
        assert_eq!(changes.next().await, Some(Heard::Tools), "{behind}");
        assert_eq!(said(&client, "one_late").await, "late");
        let states: Vec<_> = server
            .providers()
            .into_iter()
            .map(|one| one.state)
            .collect();
        assert_eq!(states[0], ProviderState::Ready);
        assert!(
            matches!(&states[1], ProviderState::Failed { why, .. } if why == "nobody is there")
        );
        assert_eq!(states[2], ProviderState::Ready);
    }
}

#[tokio::test]
async fn an_upstream_is_mounted_while_the_server_runs_and_taken_away() {
    let one = upstream("one", "first");
    let server = FastMcp::new("front").build().unwrap();
    let client = Client::connect(&server).await.unwrap();
    let proxy = to(&one, ProtocolVersion::LATEST);
    let id = server.mount_proxy(proxy, "one").await.unwrap();
    assert_eq!(said(&client, "one_who").await, "first");
    assert!(server.unmount(id).unwrap());
    assert!(said(&client, "one_who").await.starts_with("error"));
    let proxy = to(&one, ProtocolVersion::LATEST);
    assert!(server.mount_proxy(proxy, "a b").await.is_err());
}
