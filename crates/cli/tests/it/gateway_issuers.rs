//! Several issuers: each is believed about its own tenants, by keys of its own or by asking it.

use std::{convert::Infallible, fs, sync::Arc};

use fastmcp_auth::{Algorithm, testing::SigningKey};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::support::{Gateway, Home, until};

/// An authorization server on this machine: metadata, keys, and what it knows of opaque tokens.
struct Issuer {
    url: String,
    key: SigningKey,
}

impl Issuer {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/idp", listener.local_addr().unwrap());
        let key = SigningKey::ec("remote");
        let issuer = Arc::new(Self { url, key });
        Arc::clone(&issuer).serve(listener);
        issuer
    }

    fn answer(&self, path: &str, authorization: Option<&str>, body: &str) -> (u16, Value) {
        let origin = self.url.trim_end_matches("/idp");
        match path {
            "/.well-known/oauth-authorization-server/idp" => (
                200,
                json!({"issuer": self.url, "jwks_uri": format!("{origin}/keys")}),
            ),
            "/keys" => (200, json!({"keys": [self.key.jwk()]})),
            // Base64 of `gateway:s3cret`.
            "/introspect" if authorization != Some("Basic Z2F0ZXdheTpzM2NyZXQ=") => {
                (401, json!({}))
            }
            "/introspect" if body.contains("token=opaque-acme&") => (
                200,
                json!({"active": true, "sub": "robot", "aud": "fastmcp", "tenant": "acme", "roles": ["data-analyst"]}),
            ),
            "/introspect" if body.contains("token=opaque-initech&") => (
                200,
                json!({"active": true, "sub": "robot", "aud": "fastmcp", "tenant": "initech", "roles": ["data-analyst"]}),
            ),
            "/introspect" => (200, json!({"active": false})),
            _ => (404, json!({})),
        }
    }

    /// Answers until the runtime of its test ends.
    fn serve(self: Arc<Self>, listener: TcpListener) {
        let tasks = TaskTracker::new();
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let issuer = Arc::clone(&self);
                let service = service_fn(move |request| answered(Arc::clone(&issuer), request));
                connections.spawn(async move {
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
    }
}

async fn answered(
    issuer: Arc<Issuer>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let authorization = head.headers.get("authorization");
    let (status, answer) = issuer.answer(
        head.uri.path(),
        authorization.map(|value| value.to_str().unwrap()),
        std::str::from_utf8(&body).unwrap(),
    );
    let answer = Full::new(Bytes::from(answer.to_string()));
    Ok(Response::builder().status(status).body(answer).unwrap())
}

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn token(key: &SigningKey, kid: &str, issuer: &str, tenant: (&str, &str)) -> String {
    let mut claims = json!({
        "iss": issuer, "aud": "fastmcp", "sub": "ada", "iat": now(), "exp": now() + 600, "roles": ["data-analyst"],
    });
    claims[tenant.0] = tenant.1.into();
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": kid});
    key.sign_as(Algorithm::Es256, &header, &claims)
}

#[tokio::test]
async fn each_issuer_is_believed_about_its_own_tenants() {
    let home = Home::new();
    let issuer = Issuer::start().await;
    let local = SigningKey::ec("local");
    let write = |name: &str, text: String| fs::write(home.folder().join(name), text).unwrap();
    write("customer.json", json!({"keys": [local.jwk()]}).to_string());
    write("secret.txt", "s3cret\n".to_owned());
    let origin = issuer.url.trim_end_matches("/idp").to_owned();
    write(
        "issuers.yml",
        format!(
            r#"
issuers:
  - {{issuer: https://customer.example, tenants: [globex], jwks_file: customer.json, claims: {{tenant: org}}}}
  - {{issuer: "{}", tenants: "*"}}
  - issuer: {origin}
    tenants: acme
    introspection: {{url: "{origin}/introspect", client_id: gateway, client_secret_file: secret.txt}}
"#,
            issuer.url
        ),
    );
    let gateway = home
        .start_with(&[("JWT_ISSUERS_FILE", "issuers.yml")])
        .await;
    let customer = |tenant| token(&local, "local", "https://customer.example", ("org", tenant));
    let discovered = |tenant| token(&issuer.key, "remote", &issuer.url, ("tenant", tenant));
    let cases = [
        (customer("globex"), 200, ""),
        (customer("acme"), 401, "the token is not valid"),
        (discovered("acme"), 200, ""),
        (discovered("initech"), 200, ""),
        ("opaque-acme".to_owned(), 200, ""),
        ("opaque-initech".to_owned(), 401, "the token is not valid"),
        ("opaque-unknown".to_owned(), 401, "the token is not valid"),
        // Signed with one issuer's key in another's name.
        (
            token(&local, "local", &issuer.url, ("tenant", "acme")),
            401,
            "the token is not valid",
        ),
        (
            token(
                &issuer.key,
                "remote",
                "https://customer.example",
                ("org", "globex"),
            ),
            401,
            "the token is not valid",
        ),
    ];
    for (token, expected, says) in &cases {
        let asked = gateway.invoke(token, "database:listTables", &json!({}));
        let reply = asked.send().await;
        assert_eq!(reply.status, *expected, "{token}: {}", reply.text());
        assert!(reply.text().contains(says), "{}", reply.text());
    }
    let vars = [("JWT_ISSUERS_FILE", "issuers.yml")];
    let minted = home.run(&["token", "mint", "--sub", "a"], &vars).await;
    assert_eq!(minted.status.code(), Some(1));
    gateway.stop().await;
}

#[tokio::test]
async fn an_issuer_without_keys_is_told_and_nobody_is_let_in_where_all_are_so() {
    let home = Home::new();
    // Nobody answers there.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = format!("http://{}/keys", silent.local_addr().unwrap());
    let away = format!(
        "issuers:\n  - {{issuer: https://away.example, tenants: acme, jwks_url: \"{keys}\"}}\n"
    );
    put(&home, "issuers.yml", &away);
    let gateway = home
        .start_with(&[("JWT_ISSUERS_FILE", "issuers.yml")])
        .await;
    let reply = gateway.get("/ready").await;
    let told = reply.json();
    assert_eq!((reply.status, &told["ready"]), (503, &json!(false)));
    let issuer = &told["dependencies"]["issuers"]["https://away.example"];
    assert!(
        issuer["ready"] == false && issuer["reason"].is_string(),
        "{told}"
    );
    assert!(told["degraded"]["callers"].is_string(), "{told}");

    let local = SigningKey::ec("local");
    put(
        &home,
        "local.json",
        &json!({"keys": [local.jwk()]}).to_string(),
    );
    let both =
        away + "  - {issuer: https://local.example, tenants: globex, jwks_file: local.json}\n";
    put(&home, "issuers.yml", &both);
    let told = until("an issuer with keys", async || {
        let reply = gateway.get("/ready").await;
        (reply.status == 200).then(|| reply.json())
    })
    .await;
    let issuers = &told["dependencies"]["issuers"];
    assert_eq!(issuers["https://local.example"]["ready"], true, "{told}");
    assert_eq!(issuers["https://away.example"]["ready"], false, "{told}");
    let degraded = &told["degraded"]["issuers.https://away.example"];
    assert!(degraded.is_string(), "{told}");
    let metrics = gateway.get("/metrics").await;
    for line in [
        r#"fastmcp_issuer_ready{issuer="https://away.example"} 0"#,
        r#"fastmcp_issuer_ready{issuer="https://local.example"} 1"#,
    ] {
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
    gateway.stop().await;
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    let asked = gateway.invoke(token, "database:listTables", &json!({}));
    asked.send().await.status
}

/// Writes a file in one step, as whoever keeps keys does.
fn put(home: &Home, name: &str, text: &str) {
    let (new, path) = (
        home.folder().join(format!("{name}.new")),
        home.folder().join(name),
    );
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn reloads(home: &Home, status: &str) -> usize {
    let records = home.audit().into_iter();
    records
        .filter(|record| record["action"] == "issuers.reloaded" && record["status"] == status)
        .count()
}

#[tokio::test]
async fn files_of_issuers_and_of_keys_take_effect_while_the_gateway_runs() {
    const OWN: &str = "https://own.example";
    const THEIRS: &str = "https://customer.example";
    let home = Home::new();
    let (old, new, theirs) = (
        SigningKey::ec("old"),
        SigningKey::ec("new"),
        SigningKey::ec("theirs"),
    );
    let keys = |key: &SigningKey| json!({"keys": [key.jwk()]}).to_string();
    put(&home, "own.json", &keys(&old));
    put(&home, "customer.json", &keys(&theirs));
    let issuers = |tenant: &str| {
        format!("issuers: [{{issuer: {THEIRS}, tenants: {tenant}, jwks_file: customer.json}}]")
    };
    put(&home, "issuers.yml", &issuers("acme"));
    let gateway = home
        .start_with(&[
            ("JWT_ISSUER", OWN),
            ("JWT_ALG", "ES256"),
            ("JWT_JWKS_FILE", "own.json"),
            ("JWT_ISSUERS_FILE", "issuers.yml"),
        ])
        .await;
    let by_old = token(&old, "old", OWN, ("tenant", "acme"));
    let by_new = token(&new, "new", OWN, ("tenant", "acme"));
    let acme = token(&theirs, "theirs", THEIRS, ("tenant", "acme"));
    let globex = token(&theirs, "theirs", THEIRS, ("tenant", "globex"));
    assert_eq!(status(&gateway, &by_old).await, 200);
    assert_eq!(status(&gateway, &by_new).await, 401);
    assert_eq!(status(&gateway, &acme).await, 200);
    assert_eq!(status(&gateway, &globex).await, 401);

    put(&home, "own.json", &keys(&new));
    until("the new key", async || {
        (status(&gateway, &by_new).await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&gateway, &by_old).await, 401, "the old one is gone");
    put(&home, "issuers.yml", &issuers("globex"));
    until("the new tenant", async || {
        (status(&gateway, &globex).await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&gateway, &acme).await, 401, "the old one is gone");

    // What cannot be used changes nothing, and says so.
    put(&home, "issuers.yml", "issuers: [");
    until("a refused file", async || {
        (reloads(&home, "failed") > 0).then_some(())
    })
    .await;
    assert_eq!(status(&gateway, &by_new).await, 200);
    assert_eq!(status(&gateway, &globex).await, 200);
    put(&home, "issuers.yml", &issuers("acme"));
    until("the mended file", async || {
        (status(&gateway, &acme).await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&gateway, &globex).await, 401);
    gateway.stop().await;
}

#[tokio::test]
async fn a_file_of_issuers_that_names_no_tenants_is_refused() {
    let home = Home::new();
    fs::write(
        home.folder().join("issuers.yml"),
        "issuers: [{issuer: https://idp.example}]",
    )
    .unwrap();
    let output = home
        .run(&["doctor"], &[("JWT_ISSUERS_FILE", "issuers.yml")])
        .await;
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(
        told.contains("JWT_ISSUERS_FILE") && told.contains("tenants"),
        "{told}"
    );
}
