//! Documents of clients, got over a real socket.

use fastmcp_auth::oauth::NetworkConfig;
use fastmcp_auth::proxy::{ClientDocument, DocumentError, DocumentProof, RedirectRules};
use serde_json::json;

use crate::host::{Answer, Host};

/// A host that publishes documents.
async fn host() -> Host {
    let (listener, url) = Host::bind().await;
    Host::serve(
        listener,
        Box::new(move |asked| {
            let document = json!({
                "client_id": format!("{url}{}", asked.path), "client_name": "App",
                "redirect_uris": ["https://app.example/callback"],
            });
            let answer = match asked.path.as_str() {
                "/moved.json" => Answer::redirect(&format!("{url}/client.json")),
                "/large.json" => Answer::json(200, &json!({"x": "y".repeat(40_000)})),
                "/huge.json" => Answer::json(200, &json!({"x": "y".repeat(400_000)})),
                "/page.json" => Answer::status(200),
                "/broken.json" => Answer::status(500),
                "/none.json" => Answer::status(404),
                "/secret.json" => Answer::json(200, &json!({"client_secret": "hunter2"})),
                _ => Answer::json(200, &document),
            };
            Box::pin(async move { answer })
        }),
    )
}

async fn fetch(id: &str, network: &NetworkConfig) -> Result<ClientDocument, DocumentError> {
    ClientDocument::fetch(id, network, &RedirectRules::default()).await
}

#[tokio::test]
async fn a_document_is_got_at_its_own_url() {
    let host = host().await;
    let here = NetworkConfig::public().allow_loopback();
    let id = format!("{}/client.json", host.url);
    let document = fetch(&id, &here).await.unwrap();
    assert_eq!((document.id(), document.name()), (id.as_str(), "App"));
    assert_eq!(document.proof(), DocumentProof::None);
    for (path, why) in [
        ("/moved.json", "the url redirects"),
        ("/large.json", "more than 32768 bytes"),
        ("/huge.json", "more than 32768 bytes"),
        ("/page.json", "no JSON object"),
        ("/broken.json", "status 500"),
        ("/none.json", "there is no document"),
        ("/secret.json", "`client_secret` must not stand"),
        ("/", "must have a path"),
        ("/a/%2e%2e/client.json", "must have a path"),
        ("/client.json#x", "has a fragment"),
    ] {
        let error = fetch(&format!("{}{path}", host.url), &here)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(why), "{path}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    assert_eq!(
        host.asked("/client.json").len(),
        1,
        "no redirect was followed"
    );
}

#[tokio::test]
async fn hosts_of_inner_networks_are_not_asked() {
    let host = host().await;
    for id in [
        format!("{}/client.json", host.url),
        host.url.replace("http:", "https:") + "/client.json",
        "https://169.254.169.254/client.json".to_owned(),
        "https://[::1]/client.json".to_owned(),
        "https://10.0.0.1/client.json".to_owned(),
        "https://localhost/client.json".to_owned(),
    ] {
        let error = fetch(&id, &NetworkConfig::public()).await.unwrap_err();
        assert!(matches!(error, DocumentError::Fetch(_)), "{id}: {error}");
    }
    assert!(host.paths().is_empty());
}
