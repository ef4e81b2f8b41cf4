//! What a server needs while it lives.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fastmcp::{IntoTool as _, prelude::*, server::Lifespan, transport::http::HttpConfig};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::task::TaskTracker;

use crate::http::{Running, call, modern};

/// What happened, in order.
#[derive(Clone, Debug, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    fn read(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A pool of connections that were made once.
#[derive(Debug)]
struct Pool(&'static str);

#[derive(Debug)]
struct Api(String);

/// Looks into the pool.
#[tool]
async fn query(ctx: Context) -> Result<String> {
    let (pool, api) = (ctx.value::<Pool>()?, ctx.value::<Api>()?);
    Ok(format!("{} and {}", pool.0, api.0))
}

fn server(diary: &Diary) -> FastMcp {
    let (first, second) = (diary.clone(), diary.clone());
    FastMcp::new("lives")
        .tool(query)
        .mask_error_details(false)
        .lifespan(move |life| async move {
            first.note("pool opens");
            tokio::task::yield_now().await;
            life.provide(Pool("pool"))?;
            life.on_end(move || async move { first.note("pool closes") });
            Ok(())
        })
        .lifespan(move |life: Lifespan| async move {
            // A later one has what an earlier one provided.
            let pool = life.value::<Pool>().unwrap();
            second.note(format!("client of {} opens", life.server_name()));
            life.provide(Api(format!("client beside {}", pool.0)))?;
            life.on_end(move || async move { second.note("client closes") });
            Ok(())
        })
}

const OPENED: [&str; 2] = ["pool opens", "client of lives opens"];
const CLOSED: [&str; 4] = [
    "pool opens",
    "client of lives opens",
    "client closes",
    "pool closes",
];

#[tokio::test]
async fn a_server_in_memory_lives_until_it_is_finished() {
    let diary = Diary::default();
    let server = server(&diary).build().unwrap();
    assert!(diary.read().is_empty());
    for _ in 0..2 {
        let client = Client::connect(&server).await.unwrap();
        let answer = client.call_tool("query", json!({})).await.unwrap();
        assert_eq!(answer.text(), "pool and client beside pool");
    }
    assert_eq!(diary.read(), OPENED);
    assert!(server.finish(Duration::from_secs(10)).await);
    assert_eq!(diary.read(), CLOSED);
    let ended = Client::connect(&server).await.unwrap_err();
    assert_eq!(ended.message(), "server `lives` has ended");
}

#[tokio::test]
async fn the_first_message_starts_a_server_that_nobody_started() {
    let diary = Diary::default();
    let server = server(&diary).build().unwrap();
    let memory = server.memory();
    let messages = (0..8).map(|_| {
        let message = crate::eras::modern("tools/call", json!({"name": "query"}), &json!({}));
        let memory = &memory;
        async move { crate::eras::send(memory, message).await.1 }
    });
    for answer in futures_util::future::join_all(messages).await {
        assert!(answer["result"]["isError"] != true, "{answer}");
    }
    assert_eq!(diary.read(), OPENED);
}

#[tokio::test]
async fn who_goes_away_does_not_stop_the_start() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, waits) = (Arc::clone(&begun), Arc::clone(&go));
    let server = FastMcp::new("slow")
        .lifespan(|life| async move {
            told.notify_one();
            waits.notified().await;
            life.provide(Pool("slow"))?;
            life.provide(Api("too".to_owned()))
        })
        .tool(query)
        .build()
        .unwrap();
    tokio::select! {
        _ = server.start() => panic!("it waits"),
        () = begun.notified() => {}
    }
    go.notify_one();
    let client = Client::connect(&server).await.unwrap();
    let answer = client.call_tool("query", json!({})).await.unwrap();
    assert_eq!(answer.text(), "slow and too");
}

#[tokio::test]
async fn a_server_over_http_ends_what_it_began_once_its_calls_have_ended() {
    let diary = Diary::default();
    let server = server(&diary).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = server.clone();
    let served = TaskTracker::new()
        .spawn(async move { serving.serve_http(listener, HttpConfig::default()).await });
    let running = Running { port, server };
    let (status, response) = running
        .send(&modern("query"), &call("query", &json!({})))
        .await;
    assert!(
        status == 200 && response.contains("pool and client"),
        "{response}"
    );
    assert_eq!(diary.read(), OPENED);
    running.server.shutdown().cancel();
    served.await.unwrap().unwrap();
    assert_eq!(diary.read(), CLOSED);
}

#[tokio::test]
async fn a_server_that_nobody_has_any_more_ends_in_the_background() {
    let ended = Arc::new(Notify::new());
    let told = Arc::clone(&ended);
    let server = FastMcp::new("dropped")
        .lifespan(|life| async move {
            life.on_end(move || async move { told.notify_one() });
            Ok(())
        })
        .build()
        .unwrap();
    server.start().await.unwrap();
    drop(server);
    ended.notified().await;
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_undoes_what_was_begun() {
    let diary = Diary::default();
    let failing = || {
        server(&diary)
            .lifespan(|_| async { Err(Error::internal("the database is away")) })
            .build()
            .unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = failing()
        .serve_http(listener, HttpConfig::default())
        .await
        .unwrap_err();
    let why = "server `lives` could not start: the database is away";
    assert_eq!(error.message(), why);
    assert_eq!(diary.read(), CLOSED);
    let server = failing();
    let error = Client::connect(&server).await.unwrap_err();
    assert_eq!(error.message(), why);
    // Whoever comes in by another way is told too, and nothing is tried again.
    let message = crate::eras::modern("tools/call", json!({"name": "query"}), &json!({}));
    let (_, answer) = crate::eras::send(&server.memory(), message).await;
    assert_eq!(answer["error"]["message"], why);
    assert_eq!(diary.read().len(), 2 * CLOSED.len());
}

#[tokio::test]
async fn a_panic_is_a_failure_to_start() {
    let server = FastMcp::new("panics")
        .lifespan(|_| async { panic!("no") })
        .build()
        .unwrap();
    let error = server.start().await.unwrap_err();
    assert_eq!(
        error.message(),
        "server `panics` could not start: its lifespan panicked"
    );
}

#[tokio::test]
async fn values_are_told_apart_by_their_type() {
    let later = FastMcp::new("later")
        .state(1_u8)
        .lifespan(|life| async move { life.provide(2_u8) })
        .build()
        .unwrap();
    let error = later.start().await.unwrap_err();
    let why = "a value of type `u8` is provided twice; wrap one in a type of its own";
    assert!(error.message().ends_with(why), "{error}");
}

#[tokio::test]
async fn what_nobody_provides_is_named_when_the_server_starts() {
    let needs_both = query.into_tool().needs(|needs| {
        needs.state::<Pool>();
        needs.state::<Api>();
    });
    let server = FastMcp::new("lacking")
        .tool(needs_both)
        .lifespan(|life| async move { life.provide(Pool("alone")) })
        .build()
        .unwrap();
    let error = server.start().await.unwrap_err();
    let message = error.message();
    assert!(
        message.starts_with("server `lacking` could not start: tool `query` takes `State<")
            && message.contains("Api>`"),
        "{message}"
    );
}

#[tokio::test]
async fn what_is_mounted_begins_and_ends_with_the_server() {
    let diary = Diary::default();
    let child = server(&diary).build().unwrap();
    let parent = FastMcp::new("parent")
        .mount(&child, "child")
        .build()
        .unwrap();
    let client = Client::connect(&parent).await.unwrap();
    assert_eq!(diary.read(), OPENED);
    let answer = client.call_tool("child_query", json!({})).await.unwrap();
    assert_eq!(answer.text(), "pool and client beside pool");
    // It is of use elsewhere still, and is left alone.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = child.clone();
    let served = TaskTracker::new()
        .spawn(async move { serving.serve_http(listener, HttpConfig::default()).await });
    let running = Running {
        port,
        server: child,
    };
    let (status, _) = running
        .send(&modern("query"), &call("query", &json!({})))
        .await;
    assert_eq!(status, 200);
    assert!(parent.finish(Duration::from_secs(10)).await);
    assert_eq!(diary.read(), OPENED);
    running.server.shutdown().cancel();
    served.await.unwrap().unwrap();
    assert_eq!(diary.read(), CLOSED);
}

#[tokio::test]
async fn what_is_mounted_later_begins_with_its_first_call() {
    let diary = Diary::default();
    let child = server(&diary).build().unwrap();
    let parent = FastMcp::new("parent").build().unwrap();
    parent.mount(&child, "child").unwrap();
    let client = Client::connect(&parent).await.unwrap();
    assert!(diary.read().is_empty());
    let answer = client.call_tool("child_query", json!({})).await.unwrap();
    assert_eq!(answer.text(), "pool and client beside pool");
    assert_eq!(diary.read(), OPENED);
}
