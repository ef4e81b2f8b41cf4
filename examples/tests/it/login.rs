//! The program that logs people in with GitHub, against a GitHub of this machine.

use std::{collections::HashMap, process::Stdio, sync::Arc};

use axum::{
    Json, Router,
    extract::Query,
    http::{HeaderMap, header},
    response::Redirect,
    routing::{get, post},
};
use fastmcp::{
    auth::oauth::{
        Authorize, AuthorizeError, Grant, Interaction, NetworkConfig, OAuthClient, OAuthConfig,
    },
    prelude::*,
};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use url::Url;

type Pairs = HashMap<String, String>;

/// A GitHub that knows one app, and logs everybody in as the same user.
async fn hub() -> String {
    let log_in = async |Query(query): Query<Pairs>| {
        let (to, state) = (&query["redirect_uri"], &query["state"]);
        assert_eq!(query["client_id"], "the-app");
        Redirect::to(&format!("{to}?code=once&state={state}"))
    };
    let redeem = async |body: String| {
        let form: Pairs = url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        assert_eq!(
            (&*form["code"], &*form["client_secret"]),
            ("once", "its-secret")
        );
        Json(json!({"access_token": "gho_1", "token_type": "bearer", "scope": "read:user"}))
    };
    let user = async |headers: HeaderMap| {
        assert_eq!(headers[header::AUTHORIZATION], "Bearer gho_1");
        Json(json!({"id": 1, "login": "octocat"}))
    };
    let app = Router::new()
        .route("/login/oauth/authorize", get(log_in))
        .route("/login/oauth/access_token", post(redeem))
        .route("/api/v3/user", get(user));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(tokio::task::spawn_local(async move {
        axum::serve(listener, app).await
    }));
    url
}

async fn start(hub: &str) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_github_login"))
        .envs([("PORT", "0"), ("GITHUB_ENTERPRISE_URL", hub)])
        .envs([
            ("GITHUB_CLIENT_ID", "the-app"),
            ("GITHUB_CLIENT_SECRET", "its-secret"),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, url)) = line.split_once("listening on ") {
            return (child, url.to_owned());
        }
    }
    panic!("it does not say where it listens");
}

/// Somebody who agrees to everything.
#[derive(Clone, Debug)]
struct Person;

impl Authorize for Person {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Interaction>, AuthorizeError>> {
        Box::pin(async { Ok(Box::new(Self) as Box<dyn Interaction>) })
    }
}

impl Interaction for Person {
    fn redirect_uri(&self) -> &'static str {
        "http://127.0.0.1:9/callback"
    }

    fn authorize<'a>(
        self: Box<Self>,
        url: &'a str,
        _state: &'a str,
    ) -> BoxFuture<'a, Result<String, AuthorizeError>> {
        Box::pin(async move { Ok(agree(url).await) })
    }
}

/// Sends a request, and returns the answer, head and body.
async fn send(url: &str, method: &str, more: &str, body: &str) -> String {
    let url = Url::parse(url).unwrap();
    let (host, port) = (url.host_str().unwrap(), url.port().unwrap());
    let mut stream = TcpStream::connect((host, port)).await.unwrap();
    let target = &url[url::Position::BeforePath..];
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n{more}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let mut lines = answer.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {name}: {answer}"))
}

/// Agrees as a browser would: the page, its form, the provider, and back.
async fn agree(url: &str) -> String {
    let page = send(url, "GET", "", "").await;
    let sealed = page.split("name=\"request\" value=\"").nth(1).unwrap();
    let sealed = sealed.split('"').next().unwrap();
    let cookie = |answer: &str| {
        let kept = answer
            .lines()
            .filter_map(|line| line.strip_prefix("set-cookie: "));
        let kept: Vec<_> = kept.filter_map(|cookie| cookie.split(';').next()).collect();
        format!("Cookie: {}\r\n", kept.join("; "))
    };
    let consent = Url::parse(url).unwrap().join("/consent").unwrap();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let more = format!("{form}{}", cookie(&page));
    let body = format!("request={sealed}&decision=allow");
    let agreed = send(consent.as_str(), "POST", &more, &body).await;
    let back = send(header(&agreed, "location"), "GET", "", "").await;
    let answer = send(header(&back, "location"), "GET", &cookie(&agreed), "").await;
    let (_, query) = header(&answer, "location").split_once('?').unwrap();
    query.to_owned()
}

#[tokio::test]
async fn people_log_in_with_github() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(Box::pin(async {
            let hub = hub().await;
            let (_child, url) = start(&hub).await;
            let mut config = OAuthConfig::new(url.as_str(), Grant::Person(Arc::new(Person)));
            config.network = NetworkConfig::public().allow_loopback();
            let oauth = OAuthClient::new(config).unwrap();
            let client = Client::builder()
                .oauth(&oauth)
                .connect_url(&url)
                .await
                .unwrap();
            let user = client.call_tool("whoami", json!({})).await.unwrap();
            let user = user.data::<Value>().unwrap();
            assert_eq!(
                user,
                json!({"number": "1", "login": "octocat", "scopes": ["read:user"]})
            );
        }))
        .await;
}
