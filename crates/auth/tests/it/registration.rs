//! Which client asks.

use std::sync::Arc;

use fastmcp_auth::Algorithm;
use fastmcp_auth::oauth::{AssertionKey, OAuthClient, OAuthError, RegisteredClient};
use fastmcp_auth::testing::SigningKey;
use serde_json::json;

use crate::authorization_server::Rules;
use crate::resource;
use crate::world::{REDIRECT, World, person};

const DOCUMENT: &str = "https://app.example/oauth/client.json";

#[tokio::test]
async fn it_registers_itself_with_all_that_servers_want_to_know() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    world.ask(&world.client(), "tools/list").await.unwrap();
    let asked = world.server.host.asked("/register").remove(0).json();
    assert_eq!(asked["redirect_uris"], json!([REDIRECT]));
    assert_eq!(asked["application_type"], "native");
    assert_eq!(
        asked["grant_types"],
        json!(["authorization_code", "refresh_token"])
    );
    assert_eq!(asked["token_endpoint_auth_method"], "none");
    assert_eq!(asked["client_name"], "FastMCP client");
}

#[tokio::test]
async fn it_proves_itself_as_the_server_takes_it() {
    for method in ["none", "client_secret_basic", "client_secret_post"] {
        let world = World::start(
            Rules {
                method,
                ..Rules::default()
            },
            resource::Rules::default(),
        )
        .await;
        let client = world.client();
        assert_eq!(
            world.ask(&client, "tools/list").await.unwrap(),
            200,
            "{method}"
        );
        world.pass(3_599);
        assert_eq!(
            world.ask(&client, "tools/list").await.unwrap(),
            200,
            "{method}"
        );
        assert_eq!(
            world.server.grants(),
            ["authorization_code", "refresh_token"]
        );
    }
}

#[tokio::test]
async fn a_document_comes_before_a_registration_and_a_registered_client_before_both() {
    let supports = json!({"client_id_metadata_document_supported": true});
    let server = Rules {
        metadata: supports,
        ..Rules::default()
    };
    let world = World::start(server, resource::Rules::default()).await;
    let mut config = world.config(person());
    config.metadata_document = Some(DOCUMENT.to_owned());
    let client = OAuthClient::new(config.clone()).unwrap();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    let id = |at: usize| world.server.host.asked("/authorize")[at].query["client_id"].clone();
    assert_eq!(id(0), DOCUMENT);

    world.server.know("known", None);
    config.registered = vec![RegisteredClient::new(world.server.issuer.clone(), "known")];
    config.storage = Arc::new(fastmcp_auth::oauth::MemoryStorage::new());
    let client = OAuthClient::new(config.clone()).unwrap();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(id(1), "known");
    assert!(world.server.host.asked("/register").is_empty());

    world.server.change(|rules| rules.metadata = json!({}));
    config.registered.clear();
    config.storage = Arc::new(fastmcp_auth::oauth::MemoryStorage::new());
    let client = OAuthClient::new(config).unwrap();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(world.server.host.asked("/register").len(), 1);
}

#[tokio::test]
async fn a_client_of_another_issuer_keeps_its_secret() {
    let server = Rules {
        method: "client_secret_basic",
        ..Rules::default()
    };
    let world = World::start(server, resource::Rules::default()).await;
    world.server.know("mine", Some("secret"));
    let mut config = world.config(person());
    let registered =
        |issuer: &str| RegisteredClient::new(issuer, "mine").with_secret("secret".into());
    config.registered = vec![registered("https://idp.example")];
    let client = OAuthClient::new(config.clone()).unwrap();
    let error = world.ask(&client, "tools/list").await.unwrap_err();
    assert!(matches!(error, OAuthError::OtherIssuer { .. }), "{error}");
    assert!(
        world.server.host.paths().is_empty(),
        "it is not even asked for its metadata"
    );

    // Of several servers, the one that the client is registered with is chosen.
    let both = json!({"authorization_servers": ["https://idp.example", world.server.issuer]});
    world.resource.change(|rules| rules.metadata = both);
    config.registered = vec![registered(&world.server.issuer)];
    let client = OAuthClient::new(config).unwrap();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
}

#[tokio::test]
async fn where_nothing_serves_it_says_what_to_do() {
    let server = Rules {
        metadata: json!({"registration_endpoint": null}),
        ..Rules::default()
    };
    let world = World::start(server, resource::Rules::default()).await;
    let error = world.ask(&world.client(), "tools/list").await.unwrap_err();
    assert!(
        error.to_string().contains("configure its client id"),
        "{error}"
    );

    world.server.change(|rules| rules.metadata = json!({}));
    let mut config = world.config(person());
    config.dynamic_registration = false;
    let error = world
        .ask(&OAuthClient::new(config).unwrap(), "tools/list")
        .await
        .unwrap_err();
    assert!(
        matches!(error, OAuthError::NoRegistration { .. }),
        "{error}"
    );
    assert!(world.server.host.asked("/register").is_empty());
}

#[tokio::test]
async fn a_server_that_forgot_its_client_gets_a_new_one() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let client = world.client();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    world.server.forget_clients();
    world.server.revoke();
    world.pass(60);
    // The renewal is refused to a client that nobody knows, and with it the registration goes.
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(world.authorizations(), 2);
    assert_eq!(world.server.host.asked("/register").len(), 2);
}

#[tokio::test]
async fn a_key_proves_a_client_as_well() {
    let key = SigningKey::ec("k1");
    let server = Rules {
        method: "private_key_jwt",
        keys: Some(key.jwk()),
        ..Rules::default()
    };
    let world = World::start(server, resource::Rules::default()).await;
    world.server.know("keyed", None);
    let mut config = world.config(person());
    let own = AssertionKey::from_pem(&key.private_pem(), Algorithm::Es256).unwrap();
    let own = Arc::new(own.with_key_id("k1"));
    config.registered =
        vec![RegisteredClient::new(world.server.issuer.clone(), "keyed").with_key(own)];
    let client = OAuthClient::new(config).unwrap();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);

    world
        .server
        .change(|rules| rules.method = "client_secret_basic");
    world.server.revoke();
    world.pass(60);
    let error = world.ask(&client, "tools/list").await.unwrap_err();
    assert!(error.to_string().contains("private_key_jwt"), "{error}");
}

#[test]
fn a_key_must_fit_its_algorithm() {
    let (ec, ed) = (
        SigningKey::ec("a").private_pem(),
        SigningKey::ed25519("b").private_pem(),
    );
    assert!(AssertionKey::from_pem(&ec, Algorithm::Es256).is_ok());
    assert!(AssertionKey::from_pem(&ed, Algorithm::EdDsa).is_ok());
    assert!(AssertionKey::from_pem(&ec, Algorithm::Es384).is_err());
    assert!(AssertionKey::from_pem(&ec, Algorithm::EdDsa).is_err());
    assert!(AssertionKey::from_pem(&ec, Algorithm::Rs256).is_err());
    let error = AssertionKey::from_pem(&"hush".into(), Algorithm::Es256).unwrap_err();
    assert!(!error.to_string().contains("hush"), "{error}");
}
