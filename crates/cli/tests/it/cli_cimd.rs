//! Documents of clients, written and checked by `auth cimd`.

use std::{fs, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::support::{Home, Said};

/// A host that publishes documents. It ends with the runtime of its test.
struct Publisher {
    url: String,
    /// The certificate of its authority.
    ca: String,
}

impl Publisher {
    async fn start(is_https: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tls, ca) = certified();
        let scheme = if is_https { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let own = url.clone();
        let tasks = TaskTracker::new();
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tls = is_https.then(|| tls.clone());
                connections.spawn(one(stream, tls, own.clone()));
            }
        });
        Self { url, ca }
    }
}

/// Answers one connection.
async fn one(stream: TcpStream, tls: Option<TlsAcceptor>, url: String) {
    let Some(tls) = tls else {
        return answer(stream, &url).await;
    };
    if let Ok(stream) = tls.accept(stream).await {
        answer(stream, &url).await;
    }
}

/// A certificate for this machine, and that of its authority.
fn certified() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let made = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), ca.pem())
}

/// Answers one request with the document of its path.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, url: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let mut document = json!({
        "client_id": format!("{url}{path}"), "client_name": "App", "redirect_uris": ["https://app.example/callback"],
    });
    let mut status = "200 OK";
    match path {
        "/moved.json" => status = "302 Found\r\nlocation: /client.json",
        "/none.json" => status = "404 Not Found",
        "/other.json" => document["client_id"] = "https://app.example/client.json".into(),
        "/bad.json" => {
            document["client_secret"] = "hunter2".into();
            document["token_endpoint_auth_method"] = "client_secret_basic".into();
            document["redirect_uris"] = json!(["http://evil.example/", "javascript:x"]);
        }
        "/steer.json" => document["client_name"] = "A\u{202e}pp".into(),
        _ => {}
    }
    let body = document.to_string();
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn validate(home: &Home, url: &str, more: &[&str]) -> Said {
    let words = [&["auth", "cimd", "validate", url], more].concat();
    home.say(&words).await
}

#[tokio::test]
async fn a_document_is_got_and_checked_over_https() {
    let (home, publisher) = (Home::new(), Publisher::start(true).await);
    home.write("ca.pem", &publisher.ca);
    let at = |path: &str| format!("{}{path}", publisher.url);
    let here = ["--allow-loopback", "--ca", "ca.pem"];
    let said = validate(&home, &at("/client.json"), &here).await;
    assert_eq!(said.code, 0, "{said:?}");
    for part in ["App", "https://app.example/callback", "it keeps the rules"] {
        assert!(said.stdout.contains(part), "{part}: {said:?}");
    }
    let said = validate(
        &home,
        &at("/client.json"),
        &[&here[..], &["--json"]].concat(),
    )
    .await;
    assert_eq!(
        (&said.json()["valid"], &said.json()["client_name"]),
        (&json!(true), &json!("App"))
    );
    for (path, why) in [
        ("/moved.json", "the url redirects"),
        ("/none.json", "there is no document"),
        ("/other.json", "`client_id` must be the url"),
        ("/bad.json", "`client_secret` must not stand in a document"),
        ("/bad.json", "`token_endpoint_auth_method` must be `none`"),
        (
            "/bad.json",
            "`redirect_uris[0]` must be https, or http to this machine",
        ),
        ("/bad.json", "`redirect_uris[1]` has a scheme"),
        ("/", "must have a path"),
        ("/a/../client.json", "must have a path"),
        ("/client.json#x", "has a fragment"),
    ] {
        let said = validate(&home, &at(path), &here).await;
        assert!(
            said.code == 1 && said.stderr.contains(why),
            "{path}: {said:?}"
        );
        assert!(!said.stderr.contains("hunter2"), "{said:?}");
    }
    let said = validate(&home, &at("/bad.json"), &[&here[..], &["--json"]].concat()).await;
    let fields: Vec<Value> = said.json()["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["field"].clone())
        .collect();
    assert!(
        said.code == 1 && fields.contains(&json!("client_secret")),
        "{fields:?}"
    );
    let said = validate(&home, &at("/steer.json"), &here).await;
    assert!(said.stdout.contains("A\\u{202e}pp"), "{said:?}");
    // Nobody vouches for its certificate.
    let said = validate(&home, &at("/client.json"), &["--allow-loopback"]).await;
    assert!(
        said.code == 1 && said.stderr.contains("cannot reach"),
        "{said:?}"
    );
}

#[tokio::test]
async fn this_machine_is_asked_where_that_is_wanted_alone() {
    let (home, publisher) = (Home::new(), Publisher::start(false).await);
    let url = format!("{}/client.json", publisher.url);
    let said = validate(&home, &url, &["--allow-loopback"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    for url in [
        &url,
        &url.replace("http:", "https:"),
        "https://[::1]/c.json",
    ] {
        let said = validate(&home, url, &[]).await;
        assert!(
            said.code == 1 && said.stderr.contains("--allow-loopback"),
            "{url}: {said:?}"
        );
    }
    for url in ["https://169.254.169.254/c.json", "https://10.0.0.1/c.json"] {
        let said = validate(&home, url, &["--allow-loopback"]).await;
        assert!(
            said.code == 1 && said.stderr.contains("may not be asked"),
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn a_document_is_written_that_keeps_the_rules() {
    let home = Home::new();
    let base = [
        "auth",
        "cimd",
        "create",
        "--client-id",
        "https://app.example.com/client.json",
        "--name",
        "My App",
    ];
    let create = async |more: &[&str]| home.say(&[&base, more].concat()).await;
    let said = create(&[
        "--redirect-uri",
        "http://127.0.0.1:3000/callback",
        "--redirect-uri",
        "com.example.app:/callback",
        "--client-uri",
        "https://app.example.com",
        "--logo-uri",
        "https://app.example.com/logo.png",
        "--scope",
        "read write",
    ])
    .await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(
        said.json(),
        json!({
            "client_id": "https://app.example.com/client.json", "client_name": "My App",
            "redirect_uris": ["http://127.0.0.1:3000/callback", "com.example.app:/callback"],
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            "token_endpoint_auth_method": "none", "client_uri": "https://app.example.com",
            "logo_uri": "https://app.example.com/logo.png", "scope": "read write",
        })
    );
    assert!(
        said.stderr
            .contains("serve it at https://app.example.com/client.json as application/json"),
        "{said:?}"
    );
    assert_eq!(said.stdout.lines().count(), 1);
    let words = [
        "--redirect-uri",
        "https://h/cb",
        "--pretty",
        "-o",
        "client.json",
    ];
    let said = create(&words).await;
    assert!(said.code == 0 && said.stdout.is_empty(), "{said:?}");
    let text = fs::read_to_string(home.folder().join("client.json")).unwrap();
    assert!(text.lines().count() > 5 && text.ends_with("}\n"), "{text}");
    for (more, why) in [
        (
            &["--redirect-uri", "http://evil.example/cb"][..],
            "`redirect_uris[0]` must be https, or http to this machine",
        ),
        (
            &["--redirect-uri", "https://h/cb", "--logo-uri", "logo.png"],
            "`logo_uri` must be an https url",
        ),
        (
            &["--redirect-uri", "https://h/cb", "--scope", "a\"b"],
            "`scope` must be scopes",
        ),
        (&[], "--redirect-uri <URI>"),
    ] {
        let said = create(more).await;
        assert!(
            said.code == 2 && said.stderr.contains(why),
            "{more:?}: {said:?}"
        );
        assert!(said.stdout.is_empty(), "{said:?}");
    }
    for id in [
        "http://app.example.com/client.json",
        "https://app.example.com/",
        "https://u:p@app.example.com/c",
        "client.json",
    ] {
        let words = [
            "auth",
            "cimd",
            "create",
            "--client-id",
            id,
            "--name",
            "x",
            "--redirect-uri",
            "https://h/cb",
        ];
        let said = home.say(&words).await;
        assert!(
            said.code == 2 && said.stderr.contains("`client_id`"),
            "{id}: {said:?}"
        );
    }
}
