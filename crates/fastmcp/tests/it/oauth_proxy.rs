//! Logging in with an identity provider that registers no clients: our client, our server, and a GitHub of the test.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json as AxumJson, Router,
    extract::{Query, State as AxumState},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use fastmcp::{
    AuthProvider as _, State,
    auth::{
        oauth::{
            Authorize, AuthorizeError, Grant, Interaction, NetworkConfig, OAuthClient, OAuthConfig,
        },
        provider::{GitHubProvider, RemoteAuthProvider},
        proxy::{Backing, OAuthProxy, ProxyKeys},
        verifier::{StaticIdentity, StaticTokens},
    },
    guard::{
        clock::SystemClock,
        http::{AllowedHost, Config, UrlFetcher},
        random::OsRandom,
    },
    prelude::*,
    store::{MemoryLimits, MemoryStore},
    transport::http::HttpConfig,
};
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::BodyExt as _;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;

use crate::http::Running;

const REDIRECT: &str = "http://127.0.0.1:9/callback";

/// What the test's GitHub remembers: challenges by code, tokens it issued, and what it was shown.
#[derive(Default)]
struct Hub {
    codes: Mutex<HashMap<String, String>>,
    tokens: Mutex<Vec<String>>,
}

type Pairs = HashMap<String, String>;

async fn log_in(
    AxumState(hub): AxumState<Arc<Hub>>,
    Query(query): Query<Pairs>,
) -> impl IntoResponse {
    let mut codes = hub.codes.lock().unwrap();
    let code = format!("code-{}", codes.len());
    codes.insert(code.clone(), query["code_challenge"].clone());
    let (to, state) = (&query["redirect_uri"], &query["state"]);
    Redirect::to(&format!("{to}?code={code}&state={state}"))
}

async fn redeem(AxumState(hub): AxumState<Arc<Hub>>, body: String) -> impl IntoResponse {
    let form: Pairs = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(
        (&*form["client_id"], &*form["client_secret"]),
        ("app", "s3cret")
    );
    let challenge = hub.codes.lock().unwrap().remove(&form["code"]).unwrap();
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, form["code_verifier"].as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(digest), challenge);
    let token = "gho_of-the-hub".to_owned();
    hub.tokens.lock().unwrap().push(token.clone());
    AxumJson(json!({"access_token": token, "token_type": "bearer", "scope": "read:user"}))
}

async fn user(AxumState(hub): AxumState<Arc<Hub>>, headers: HeaderMap) -> impl IntoResponse {
    let token = headers[header::AUTHORIZATION]
        .to_str()
        .unwrap()
        .strip_prefix("Bearer ")
        .unwrap();
    if !hub
        .tokens
        .lock()
        .unwrap()
        .iter()
        .any(|known| known == token)
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    AxumJson(json!({"id": 583_231, "login": "octocat", "name": "The Octocat"})).into_response()
}

async fn hub() -> (Arc<Hub>, String) {
    let hub = Arc::new(Hub::default());
    let app = Router::new()
        .route("/login/oauth/authorize", get(log_in))
        .route("/login/oauth/access_token", post(redeem))
        .route("/api/v3/user", get(user))
        .with_state(Arc::clone(&hub));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio_util::task::TaskTracker::new()
        .spawn(async move { axum::serve(listener, app).await.unwrap() });
    (hub, url)
}

/// A person with a browser, who agrees to everything and reads what it shows.
#[derive(Clone, Debug, Default)]
struct Person {
    read: Arc<Mutex<Vec<String>>>,
}

impl Authorize for Person {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Interaction>, AuthorizeError>> {
        let browsing: Box<dyn Interaction> = Box::new(self.clone());
        Box::pin(async move { Ok(browsing) })
    }
}

impl Interaction for Person {
    fn redirect_uri(&self) -> &str {
        REDIRECT
    }

    fn authorize<'a>(
        self: Box<Self>,
        url: &'a str,
        _state: &'a str,
    ) -> BoxFuture<'a, Result<String, AuthorizeError>> {
        Box::pin(async move { Ok(self.browse(url).await) })
    }
}

fn fetcher() -> UrlFetcher {
    UrlFetcher::new(&Config::configured(vec![
        AllowedHost::new("127.0.0.1").unwrap(),
    ]))
    .unwrap()
}

async fn fetch(request: Request<Bytes>) -> (http::response::Parts, String) {
    let (head, body) = fetcher().stream(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head, String::from_utf8(body.to_vec()).unwrap())
}

fn location(head: &http::response::Parts) -> String {
    let location = head.headers.get(header::LOCATION);
    location
        .unwrap_or_else(|| panic!("{head:?}"))
        .to_str()
        .unwrap()
        .to_owned()
}

/// What a browser keeps of an answer, and sends with its next request.
fn cookies(head: &http::response::Parts) -> String {
    let kept = head.headers.get_all(header::SET_COOKIE).into_iter();
    let kept = kept.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap());
    kept.collect::<Vec<_>>().join("; ")
}

impl Person {
    async fn browse(&self, url: &str) -> String {
        let get = |url: &str| Request::get(url).body(Bytes::new()).unwrap();
        let (head, page) = fetch(get(url)).await;
        assert_eq!(head.status, 200, "{page}");
        self.read.lock().unwrap().push(page.clone());
        let cookie = cookies(&head);
        let sealed = page.split("name=\"request\" value=\"").nth(1).unwrap();
        let sealed = sealed.split('"').next().unwrap();
        let origin = Url::parse(url).unwrap().origin().ascii_serialization();
        let agreed = Request::post(format!("{origin}/consent"))
            .header("cookie", cookie)
            .header("origin", &origin)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(format!("request={sealed}&decision=allow")))
            .unwrap();
        let (head, _) = fetch(agreed).await;
        let cookie = cookies(&head);
        let (head, _) = fetch(get(&location(&head))).await;
        let back = Request::get(location(&head)).header("cookie", cookie);
        let (head, _) = fetch(back.body(Bytes::new()).unwrap()).await;
        location(&head)
            .strip_prefix(&format!("{REDIRECT}?"))
            .unwrap()
            .to_owned()
    }
}

/// Who calls, as GitHub knows them.
#[tool]
async fn who(ctx: Context) -> String {
    let caller = ctx.caller();
    format!(
        "{} {} {}",
        caller.subject(),
        caller.claims()["login"],
        caller.has_scope("read:user")
    )
}

/// Asks GitHub in the name of its caller.
#[tool]
async fn name(ctx: Context, proxy: State<OAuthProxy>, hub: State<Url>) -> Result<String> {
    let token = proxy.upstream_token(ctx.caller()).await;
    let token = token.map_err(|error| ToolError::new(error.to_string()))?;
    let request = Request::get(hub.join("/api/v3/user").unwrap().as_str())
        .header("authorization", format!("Bearer {}", token.expose_secret()))
        .body(Bytes::new())
        .unwrap();
    let (_, body) = fetch(request).await;
    let user: Value = serde_json::from_str(&body)?;
    Ok(user["name"].as_str().unwrap().to_owned())
}

/// A server at a port of its own that logs people in with the test's GitHub.
async fn server() -> (Arc<Hub>, Running, String) {
    let (hub, hub_url) = hub().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let base = format!("http://{address}");
    let store = MemoryStore::new(MemoryLimits::default(), Arc::new(SystemClock)).unwrap();
    let backing = Backing::new(ProxyKeys::ephemeral(&OsRandom).unwrap(), Arc::new(store));
    let proxy = GitHubProvider::new(("app", "s3cret".into()), &base)
        .enterprise(&hub_url)
        .required_scopes(["read:user"])
        .build(backing)
        .unwrap();
    let server = FastMcp::new("tools")
        .tool(who)
        .tool(name)
        .state(proxy.clone())
        .state(Url::parse(&hub_url).unwrap())
        .auth_provider(proxy)
        .build()
        .unwrap();
    let serving = server.clone();
    tokio_util::task::TaskTracker::new().spawn(async move {
        serving
            .serve_http(listener, HttpConfig::default())
            .await
            .unwrap();
    });
    let port = address.port();
    (hub, Running { port, server }, format!("{base}/mcp"))
}

#[tokio::test]
async fn a_client_logs_in_through_the_proxy_and_tools_know_who_calls() {
    let (hub, running, url) = server().await;
    let person = Person::default();
    let mut config = OAuthConfig::new(url.as_str(), Grant::Person(Arc::new(person.clone())));
    config.network = NetworkConfig::public().allow_loopback();
    config.client_name = "Editor <of Ada>".to_owned();
    let oauth = OAuthClient::new(config).unwrap();
    let client = Client::builder()
        .oauth(&oauth)
        .connect_url(&url)
        .await
        .unwrap();
    let said = client.call_tool("who", json!({})).await.unwrap();
    assert_eq!(said.data::<String>().unwrap(), "583231 \"octocat\" true");
    let said = client.call_tool("name", json!({})).await.unwrap();
    assert_eq!(said.data::<String>().unwrap(), "The Octocat");

    let read = person.read.lock().unwrap().clone();
    assert_eq!(read.len(), 1, "asked once");
    assert!(read[0].contains("Editor &lt;of Ada&gt;") && read[0].contains("127.0.0.1"));

    // The token of GitHub lets nobody in here.
    let theirs = hub.tokens.lock().unwrap()[0].clone();
    let refused = Client::builder()
        .bearer(&theirs)
        .unwrap()
        .connect_url(&url)
        .await;
    assert!(refused.is_err());
    // Logged out, the client's tokens are over.
    let ours = oauth.headers("POST", &url).await.unwrap();
    let ours = ours[header::AUTHORIZATION].to_str().unwrap().to_owned();
    let ours = ours.strip_prefix("Bearer ").unwrap();
    assert_ne!(ours, theirs);
    oauth.logout().await.unwrap();
    let refused = Client::builder()
        .bearer(ours)
        .unwrap()
        .connect_url(&url)
        .await;
    assert!(refused.is_err());
    drop(running);
}

#[tokio::test]
async fn who_has_no_token_is_told_where_to_get_one() {
    let (_, running, url) = server().await;
    let base = url.strip_suffix("/mcp").unwrap();
    let (status, response) = running.send(crate::http::POST, "{}").await;
    assert_eq!(status, 401);
    let metadata = format!("{base}/.well-known/oauth-protected-resource/mcp");
    assert!(
        response.contains(&format!("resource_metadata=\"{metadata}\"")),
        "{response}"
    );
    assert!(response.contains("scope=\"read:user\""), "{response}");
    let get = |path: &str| format!("GET {path} HTTP/1.1");
    let (status, response) = running
        .send(&get("/.well-known/oauth-protected-resource/mcp"), "")
        .await;
    assert!(
        status == 200 && response.contains(&format!("[\"{base}\"]")),
        "{response}"
    );
    let (status, response) = running
        .send(&get("/.well-known/oauth-authorization-server"), "")
        .await;
    assert!(status == 200 && response.contains("\"S256\""), "{response}");
    // Pages for people are for names of this server; programs may call it what they want.
    let (status, _) = running
        .send("GET /authorize HTTP/1.1\r\nHost: evil.example", "")
        .await;
    assert_eq!(status, 403);
    let preflight = "OPTIONS /token HTTP/1.1\r\nHost: tools.example\r\nOrigin: https://app.example";
    assert_eq!(running.send(preflight, "").await.0, 204);
    // What is too large is not read.
    let post = "POST /register HTTP/1.1\r\nContent-Type: application/json";
    assert_eq!(running.send(post, &"x".repeat(17_000)).await.0, 413);
}

#[tokio::test]
async fn an_authorization_server_elsewhere_is_told_of() {
    let identity = StaticIdentity {
        subject: "ada".to_owned(),
        ..StaticIdentity::default()
    };
    let tokens = StaticTokens::new()
        .token("the-token-of-ada-0123", identity)
        .unwrap();
    let tokens = tokens.build(Arc::new(SystemClock)).unwrap();
    let resource = "https://tools.example/mcp";
    let remote =
        RemoteAuthProvider::new(Arc::new(tokens), resource, ["https://idp.example"]).unwrap();
    let server = remote
        .provide(FastMcp::new("remote").tool(who))
        .build()
        .unwrap();
    let running = Running::start(server, HttpConfig::default()).await;
    let (status, response) = running.send(crate::http::POST, "{}").await;
    assert_eq!(status, 401);
    assert!(response.contains("https://tools.example/.well-known/oauth-protected-resource/mcp"));
    let path = "GET /.well-known/oauth-protected-resource/mcp HTTP/1.1";
    let (status, response) = running.send(path, "").await;
    assert!(
        status == 200 && response.contains("https://idp.example"),
        "{response}"
    );
}
