//! Settings, and the server that is made of them.

use std::{sync::Arc, time::Duration};

use fastmcp::{
    BaseServer, Transport,
    config::{LogFormat, LogOutput, ServerConfig, dotenv},
    prelude::*,
};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::task::TaskTracker;

use crate::http::{Running, call, modern};

fn read(pairs: &[(&str, &str)]) -> std::result::Result<ServerConfig, String> {
    ServerConfig::from_vars(pairs.iter().copied()).map_err(|error| error.to_string())
}

#[test]
fn every_variable_of_the_documents_is_read() {
    let config = read(&[
        ("MCP_SERVER_NAME", "ProdServer"),
        ("SERVER_NAME", "another"),
        ("SERVER_VERSION", "2.1.0"),
        ("MCP_LOG_LEVEL", "WARNING"),
        ("MCP_TRANSPORT", "http"),
        ("MCP_HTTP_HOST", "0.0.0.0"),
        ("PORT", "9000"),
        ("MCP_ALLOWED_HOSTS", "mcp.example.com, internal"),
        ("RATE_LIMIT", "2.5"),
        ("CACHE_TTL", "60"),
        ("POOL_SIZE", "5"),
        ("REQUEST_TIMEOUT", "7"),
        ("API_ENDPOINT", "https://api.production.com"),
        ("API_TIMEOUT", "8"),
        ("DATABASE_URL", "postgres://ada:hunter2@db/x"),
        ("REDIS_URL", "redis://redis-service:6379"),
        ("OPENAI_API_KEY", "sk-openai"),
        ("ANTHROPIC_API_KEY", "sk-anthropic"),
        ("AUTH_SECRET", "hunter3"),
        ("ENABLE_CACHING", "false"),
        ("ENABLE_AUTH", "True"),
        ("ENABLE_EXPERIMENTAL", "1"),
        ("MASK_ERRORS", "no"),
        ("HOME", "/"),
    ])
    .unwrap();
    assert_eq!((&*config.name, &*config.version), ("ProdServer", "2.1.0"));
    let address = "0.0.0.0:9000".parse().unwrap();
    assert_eq!(config.transport(), Transport::Http(address));
    assert_eq!(
        config.http_config().limits.call_timeout,
        Duration::from_secs(7)
    );
    assert_eq!(config.cache_ttl, Duration::from_secs(60));
    assert_eq!((config.rate_limit, config.connection_pool_size), (2.5, 5));
    assert_eq!(
        config.api_endpoint.as_ref().unwrap().host_str(),
        Some("api.production.com")
    );
    assert!(!config.enable_caching && config.enable_auth && config.enable_experimental);
    assert!(!config.mask_errors);
    let logging = config.logging();
    assert_eq!(
        (logging.format, logging.output),
        (LogFormat::Json, LogOutput::Stdout)
    );
    assert_eq!(logging.level.to_string(), "warn");
    // Secrets are never shown.
    let shown = format!("{config:?}");
    for secret in ["hunter", "sk-openai", "sk-anthropic", "redis-service"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[test]
fn without_variables_a_server_stands_on_standard_input_and_output() {
    let config = read(&[("PORT", ""), ("MCP_SERVER_NAME", "")]).unwrap();
    assert_eq!(config.transport(), Transport::Stdio);
    let logging = config.logging();
    assert_eq!(
        (logging.format, logging.output),
        (LogFormat::Text, LogOutput::Stderr)
    );
    assert!(config.mask_errors);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_without_secrets() {
    let wrong = read(&[
        ("MCP_SERVER_NAME", "two\nlines"),
        ("MCP_LOG_LEVEL", "LOUD"),
        ("TRANSPORT", "http"),
        ("PORT", "80"),
        ("RATE_LIMIT", "0"),
        ("CACHE_TTL", "five"),
        ("POOL_SIZE", "0"),
        ("REQUEST_TIMEOUT", "0"),
        ("API_ENDPOINT", "https://ada:hunter2@x"),
        ("DATABASE_URL", "hunter2"),
        ("ENABLE_AUTH", "true"),
        ("MASK_ERRORS", "perhaps"),
        ("MCP_ALLOWED_HOSTS", "a b"),
    ])
    .unwrap_err();
    assert!(!wrong.contains("hunter2"), "{wrong}");
    insta::assert_snapshot!(wrong);
}

#[test]
fn the_text_of_a_file_is_read_as_it_stands() {
    let text = concat!(
        "# Development\n\n",
        "MCP_SERVER_NAME=\"Dev \\\"Server\\\"\" # a comment\n",
        "export API_ENDPOINT = http://localhost:8080 # another\n",
        "AUTH_SECRET='$HOME \\n #'\n",
        "EMPTY=\r\n",
        "CACHE_TTL=60\nCACHE_TTL=61\n",
    );
    let own = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
    assert_eq!(
        dotenv(text).unwrap(),
        [
            ("MCP_SERVER_NAME", "Dev \"Server\""),
            ("API_ENDPOINT", "http://localhost:8080"),
            ("AUTH_SECRET", "$HOME \\n #"),
            ("EMPTY", ""),
            ("CACHE_TTL", "60"),
            ("CACHE_TTL", "61"),
        ]
        .map(own)
    );
    let config = ServerConfig::from_dotenv(text).unwrap();
    assert_eq!(config.cache_ttl.as_secs(), 61);
    let wrong = dotenv("A=1\nsecret\n1B=2\nC=\"x\nD='x' y\nE=\"\\z\"\n").unwrap_err();
    insta::assert_snapshot!(wrong);
}

/// Adds.
#[tool]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

fn http() -> ServerConfig {
    ServerConfig {
        name: "base".to_owned(),
        http: true,
        ..ServerConfig::default()
    }
}

async fn start(base: BaseServer) -> (Running, fastmcp::base::Drain, tokio::task::JoinHandle<()>) {
    let config = base.config().http_config();
    let (server, drain) = base.build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = server.clone();
    let served = TaskTracker::new()
        .spawn(async move { serving.serve_http(listener, config).await.unwrap() });
    (Running { port, server }, drain, served)
}

#[tokio::test]
async fn a_base_server_lives_is_ready_drains_and_ends() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (begins, ends) = (Arc::clone(&told), Arc::clone(&told));
    let base = BaseServer::new(http())
        .unwrap()
        .configure(|server| server.tool(add))
        .on_startup(|_| async move {
            begins.lock().unwrap().push("begun");
            Ok(())
        })
        .on_shutdown(|| async move { ends.lock().unwrap().push("ended") })
        .check("database", || async { Ok(()) })
        .drain_for(Duration::ZERO);
    let (running, drain, served) = start(base).await;
    // Probes name an address, not a name of the server.
    let probe = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: 10.1.2.3:8000");
    let (status, response) = running.send(&probe("/health"), "").await;
    assert!(
        status == 200 && response.contains(r#""status":"healthy""#),
        "{response}"
    );
    assert!(response.contains(r#""version":"1.0.0""#), "{response}");
    let (status, response) = running.send(&probe("/ready"), "").await;
    assert!(
        status == 200
            && body(&response) == json!({"checks": {"database": "ok"}, "status": "ready"}),
        "{response}"
    );
    drain.begin();
    let (status, response) = running.send(&probe("/ready"), "").await;
    assert!(
        status == 503 && response.contains(r#""status":"draining""#),
        "{response}"
    );
    // It is served as before.
    let (status, _) = running
        .send(&modern("add"), &call("add", &json!({"a": 1, "b": 2})))
        .await;
    assert_eq!(status, 200);
    assert_eq!(*told.lock().unwrap(), ["begun"]);
    drain.stop().await;
    served.await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["begun", "ended"]);
}

/// The JSON behind the head of a response.
fn body(response: &str) -> serde_json::Value {
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn a_check_that_fails_is_named_and_its_reason_is_not() {
    let asked = Arc::new(Notify::new());
    let asks = Arc::clone(&asked);
    let base = BaseServer::new(http())
        .unwrap()
        .configure(|server| server.tool(add))
        .check("database", move || {
            asks.notify_one();
            async { Err(Error::internal("password hunter2 is wrong")) }
        })
        .check("queue", || async { Ok(()) });
    let (running, ..) = start(base).await;
    for _ in 0..2 {
        let (status, response) = running.send("GET /ready HTTP/1.1", "").await;
        assert_eq!(status, 503);
        assert_eq!(
            body(&response),
            json!({"checks": {"database": "failed", "queue": "ok"}, "status": "not ready"}),
            "the reason is for the log"
        );
    }
    asked.notified().await;
}

#[test]
fn a_server_that_must_authenticate_and_cannot_is_not_built() {
    let mut config = http();
    config.enable_auth = true;
    let error = BaseServer::new(config.clone()).unwrap_err();
    assert!(error.message().contains("`AUTH_SECRET`"), "{error}");
    config.auth_secret = Some("secret".to_owned().into());
    let error = BaseServer::new(config).unwrap().build().unwrap_err();
    assert!(error.message().contains("`ENABLE_AUTH` is set"), "{error}");
}
