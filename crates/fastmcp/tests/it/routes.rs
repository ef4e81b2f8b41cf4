//! Routes beside the endpoint, and the endpoint in other routers.

use std::{sync::Arc, time::Duration};

use fastmcp::{
    Transport,
    auth::{
        Authenticator, Challenger,
        verifier::{StaticIdentity, StaticTokens},
    },
    prelude::*,
    route::{Route, RouteRequest},
    transport::http::HttpConfig,
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use http::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::http::{Running, call, modern};

/// Adds.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

struct Greeting(&'static str);

async fn health(_: RouteRequest) -> Json<serde_json::Value> {
    Json(json!({"status": "healthy"}))
}

async fn greet(request: RouteRequest) -> Result<String> {
    let name = request.param("name").unwrap_or_default();
    let greeting = request.value::<Greeting>()?;
    let query = request.uri().query().unwrap_or_default();
    Ok(format!("{} {name}, {query}", greeting.0))
}

#[derive(Deserialize)]
struct Note {
    text: String,
}

async fn note(request: RouteRequest) -> Result<(StatusCode, String)> {
    let note: Note = request.json()?;
    match note.text.as_str() {
        "panic" => panic!("no"),
        "fail" => Err(Error::internal("a secret of the house")),
        "refuse" => Err(Error::forbidden("not you")),
        text => Ok((StatusCode::CREATED, text.to_owned())),
    }
}

fn server() -> FastMcp {
    FastMcp::new("routes")
        .tool(add)
        .state(Greeting("hello"))
        .custom_route(Method::GET, "/health", health)
        .custom_route(Method::GET, "/greet/{name}", greet)
        .custom_route(Method::DELETE, "/greet/{name}", |_| async {
            StatusCode::NO_CONTENT
        })
        .route(Route::new(Method::POST, "/notes", note).max_body(64))
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn routes_stand_beside_the_endpoint() {
    let running = Running::start(server().build().unwrap(), HttpConfig::default()).await;
    let (status, response) = running.send("GET /health HTTP/1.1", "").await;
    assert_eq!(status, 200);
    assert!(
        response.contains("content-type: application/json"),
        "{response}"
    );
    assert_eq!(body(&response), r#"{"status":"healthy"}"#);
    let (status, response) = running.send("HEAD /health HTTP/1.1", "").await;
    assert!(status == 200 && body(&response).is_empty(), "{response}");
    assert!(response.contains("content-length: 20"), "{response}");
    let (_, response) = running.send("GET /greet/ada?a=1 HTTP/1.1", "").await;
    assert_eq!(body(&response), "hello ada, a=1");
    assert_eq!(running.send("DELETE /greet/ada HTTP/1.1", "").await.0, 204);
    // All other paths and methods are the endpoint's.
    for path in ["/mcp", "/", "/healthy", "/greet", "/greet/ada"] {
        let head = modern("add").replace("/mcp", path);
        let (status, response) = running
            .send(&head, &call("add", &json!({"a": 1, "b": 2})))
            .await;
        assert!(
            status == 200 && response.contains(r#""result":3"#),
            "{path}: {response}"
        );
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_failures_are_told_without_secrets() {
    let running = Running::start(server().build().unwrap(), HttpConfig::default()).await;
    let post = "POST /notes HTTP/1.1";
    for (text, expected, told) in [
        (r#"{"text":"noted"}"#, 201, "noted"),
        (r#"{"text":1}"#, 400, "the body does not fit: invalid type"),
        (r#"{"text":"refuse"}"#, 403, "not you"),
        (r#"{"text":"fail"}"#, 500, "an internal error occurred"),
        (r#"{"text":"panic"}"#, 500, "an internal error occurred"),
    ] {
        let (status, response) = running.send(post, text).await;
        assert_eq!(status, expected, "{text}: {response}");
        assert!(body(&response).contains(told), "{text}: {response}");
    }
    let (status, response) = running.send(post, &"x".repeat(65)).await;
    assert!(
        status == 413 && response.contains("larger than 64 bytes"),
        "{response}"
    );
}

#[tokio::test]
async fn nobody_is_authenticated_for_a_route_unless_it_asks() {
    let identity = StaticIdentity {
        subject: "ada".to_owned(),
        ..StaticIdentity::default()
    };
    let tokens = StaticTokens::new()
        .token("the-token-of-ada", identity)
        .unwrap()
        .build(Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
            1_000,
        ))))
        .unwrap();
    let who = |request: RouteRequest| async move { request.caller().subject().to_owned() };
    let server = server()
        .route(Route::new(Method::GET, "/who", who).authenticated())
        .custom_route(Method::GET, "/anybody", who)
        .auth(Authenticator::new(Arc::new(tokens), Challenger::new()))
        .build()
        .unwrap();
    let running = Running::start(server, HttpConfig::default()).await;
    let token = "\r\nAuthorization: Bearer the-token-of-ada";
    assert_eq!(
        running
            .send(&modern("add"), &call("add", &json!({})))
            .await
            .0,
        401
    );
    assert_eq!(running.send("GET /health HTTP/1.1", "").await.0, 200);
    let (status, response) = running.send("GET /who HTTP/1.1", "").await;
    assert!(
        status == 401 && response.contains("www-authenticate: Bearer"),
        "{response}"
    );
    let (_, response) = running.send(&format!("GET /who HTTP/1.1{token}"), "").await;
    assert_eq!(body(&response), "ada");
    let (_, response) = running
        .send(&format!("GET /anybody HTTP/1.1{token}"), "")
        .await;
    assert_eq!(body(&response), "anonymous");
}

#[tokio::test]
async fn a_page_under_another_name_reaches_only_what_is_open_to_any() {
    let server = server()
        .route(Route::new(Method::GET, "/ready", health).any_host())
        .build()
        .unwrap();
    let running = Running::start(server, HttpConfig::default()).await;
    let evil = "\r\nHost: evil.test";
    let (status, response) = running
        .send(&format!("GET /health HTTP/1.1{evil}"), "")
        .await;
    assert!(
        status == 403 && response.contains("evil.test"),
        "{response}"
    );
    let (status, _) = running
        .send(&format!("GET /ready HTTP/1.1{evil}"), "")
        .await;
    assert_eq!(status, 200);
}

#[test]
fn routes_that_cannot_be_told_apart_are_refused() {
    let get = |path: &str| Route::new(Method::GET, path, health);
    for (routes, why) in [
        (
            vec![get("health")],
            "route GET `health`: a path begins with `/`",
        ),
        (
            vec![get("/health"), get("/health")],
            "route GET `/health`: there is one already",
        ),
        (vec![get("/a/{b}"), get("/a/{c}")], "route `/a/{"),
        (vec![get("/a?b")], "route GET `/a?b`: a path begins"),
    ] {
        let mut server = FastMcp::new("wrong");
        for route in routes {
            server = server.route(route);
        }
        let error = server.build().unwrap_err();
        assert!(error.message().starts_with(why), "{error}");
    }
}

#[tokio::test]
async fn an_axum_app_mounts_the_server() {
    let opened = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (opens, closes) = (Arc::clone(&opened), Arc::clone(&opened));
    let server = server()
        .lifespan(|life| async move {
            opens.lock().unwrap().push("opened");
            life.on_end(move || async move { closes.lock().unwrap().push("closed") });
            Ok(())
        })
        .build()
        .unwrap();
    let app = axum::Router::new()
        .route("/own", axum::routing::get(|| async { "own" }))
        .route_service("/mcp", server.http_service(HttpConfig::default()))
        .fallback_service(server.http_app(HttpConfig::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shutdown = server.shutdown().clone();
    let served = TaskTracker::new().spawn(async move {
        let ends = async move { shutdown.cancelled().await };
        axum::serve(listener, app)
            .with_graceful_shutdown(ends)
            .await
    });
    let running = Running { port, server };
    let (_, response) = running.send("GET /own HTTP/1.1", "").await;
    assert_eq!(body(&response), "own");
    assert!(opened.lock().unwrap().is_empty());
    for _ in 0..2 {
        let (status, response) = running
            .send(&modern("add"), &call("add", &json!({"a": 1, "b": 2})))
            .await;
        assert!(
            status == 200 && response.contains(r#""result":3"#),
            "{response}"
        );
    }
    let (_, response) = running.send("GET /greet/eve HTTP/1.1", "").await;
    assert_eq!(body(&response), "hello eve, ");
    running.server.shutdown().cancel();
    served.await.unwrap().unwrap();
    assert_eq!(*opened.lock().unwrap(), ["opened"]);
    assert!(running.server.finish(Duration::from_secs(10)).await);
    assert_eq!(*opened.lock().unwrap(), ["opened", "closed"]);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = server()
        .run_with(Transport::Http(address))
        .await
        .unwrap_err();
    let why = format!("address {address} cannot be served: ");
    assert!(error.message().starts_with(&why), "{error}");
}
