//! How long tokens live, here and in a storage, and whom they are shown to.

use std::sync::Arc;

use fastmcp_auth::oauth::{
    DpopUse, KeyValueStorage, MemoryStorage, OAuthClient, OAuthError, TokenStorage,
};
use fastmcp_guard::clock::SystemClock;
use fastmcp_store::{Collection, KeyValueStore, MemoryLimits, MemoryStore, Page};
use http::header::AUTHORIZATION;
use secrecy::{ExposeSecret as _, SecretBox};
use serde_json::json;

use crate::authorization_server::Rules;
use crate::host::{Answer, Host};
use crate::resource;
use crate::world::{World, person};

fn store() -> Arc<dyn KeyValueStore> {
    Arc::new(MemoryStore::new(MemoryLimits::default(), Arc::new(SystemClock)).unwrap())
}

async fn token(client: &OAuthClient, url: &str) -> Option<String> {
    let headers = client.headers("POST", url).await.unwrap();
    headers
        .get(AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_and_each_refresh_token_is_used_once() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let (client, url) = (world.client(), world.resource.url.clone());
    assert_eq!(
        token(&client, &url).await,
        None,
        "nothing is done before a refusal"
    );
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    let first = token(&client, &url).await;
    world.pass(3_569);
    assert_eq!(token(&client, &url).await, first);
    world.pass(1);
    let second = token(&client, &url).await;
    assert_ne!(first, second);
    for _ in 0..3 {
        world.pass(3_590);
        assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    }
    let used: Vec<String> = world.server.host.asked("/token")[1..]
        .iter()
        .map(|asked| asked.form()["refresh_token"].clone())
        .collect();
    assert_eq!(used.len(), 4);
    let mut different = used.clone();
    different.dedup();
    assert_eq!(different, used);
    assert_eq!(world.authorizations(), 1);
    assert_eq!(world.server.host.asked("/token")[1].form()["resource"], url);
}

#[tokio::test]
async fn many_requests_make_one_renewal() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let (client, url) = (world.client(), world.resource.url.clone());
    world.ask(&client, "tools/list").await.unwrap();
    world.pass(4_000);
    let waiting: Vec<_> = (0..20).map(|_| token(&client, &url)).collect();
    let tokens = futures_util::future::join_all(waiting).await;
    assert!(tokens[0].is_some());
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(
        world.server.grants(),
        ["authorization_code", "refresh_token"]
    );

    // The same after refusals: whoever comes late with the old token gets the new one.
    world.server.revoke();
    world.pass(60);
    let asking = (0..20).map(|_| world.ask(&client, "tools/list"));
    for outcome in futures_util::future::join_all(asking).await {
        assert_eq!(outcome.unwrap(), 200);
    }
    assert_eq!(world.server.grants().len(), 3);
    assert_eq!(world.authorizations(), 1);
}

#[tokio::test]
async fn a_renewal_goes_on_when_nobody_waits_for_it_any_more() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let (client, url) = (world.client(), world.resource.url.clone());
    world.ask(&client, "tools/list").await.unwrap();
    world.pass(4_000);
    world
        .server
        .gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    {
        let dropped = client.headers("POST", &url);
        tokio::pin!(dropped);
        // Polled until the token request has arrived, then dropped.
        while world.server.host.asked("/token").len() < 2 {
            tokio::select! {
                biased;
                _ = &mut dropped => panic!("the gate is closed"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    world.server.gate.add_permits(8);
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(
        world.server.grants(),
        ["authorization_code", "refresh_token"]
    );
}

#[tokio::test]
async fn a_refresh_token_that_is_no_longer_good_leads_to_a_person() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let client = world.client();
    world.ask(&client, "tools/list").await.unwrap();
    world
        .server
        .change(|rules| rules.token_error = Some("invalid_grant"));
    world.pass(4_000);
    assert_eq!(token(&client, &world.resource.url).await, None);
    world.server.change(|rules| rules.token_error = None);
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(world.authorizations(), 2);
}

#[tokio::test]
async fn a_token_that_is_still_good_outlives_a_failed_renewal() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let client = world.client();
    world.ask(&client, "tools/list").await.unwrap();
    world
        .server
        .change(|rules| rules.token_error = Some("temporarily_unavailable"));
    world.pass(3_590);
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    world.pass(10);
    let error = client
        .headers("POST", &world.resource.url)
        .await
        .unwrap_err();
    assert!(error.is_token_error("temporarily_unavailable"), "{error}");
    world.server.change(|rules| rules.token_error = None);
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(world.authorizations(), 1);
}

#[tokio::test]
async fn a_server_that_is_out_of_order_costs_no_refresh_token() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let client = world.client();
    world.ask(&client, "tools/list").await.unwrap();
    world.server.revoke();
    world.pass(60);
    world
        .server
        .change(|rules| rules.token_error = Some("temporarily_unavailable"));
    let error = world.ask(&client, "tools/list").await.unwrap_err();
    assert!(error.is_token_error("temporarily_unavailable"), "{error}");
    world.server.change(|rules| rules.token_error = None);
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(world.authorizations(), 1);
}

#[tokio::test]
async fn without_a_refresh_token_a_person_is_asked_again() {
    let server = Rules {
        refresh_tokens: false,
        expires_in: None,
        ..Rules::default()
    };
    let world = World::start(server, resource::Rules::default()).await;
    let client = world.client();
    world.ask(&client, "tools/list").await.unwrap();
    world.pass(1_000_000);
    assert_eq!(
        world.ask(&client, "tools/list").await.unwrap(),
        200,
        "nobody said that it ends"
    );
    world.server.revoke();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(world.authorizations(), 2);
}

#[tokio::test]
async fn a_token_is_shown_to_its_server_alone() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let client = world.client();
    world.ask(&client, "tools/list").await.unwrap();
    let own = &world.resource.url;
    assert!(token(&client, own).await.is_some());
    assert!(
        token(&client, &own.replace("/mcp", "/messages?x=1"))
            .await
            .is_some()
    );
    let port = own
        .rsplit_once(':')
        .unwrap()
        .1
        .strip_suffix("/mcp")
        .unwrap();
    for other in [
        own.replace("http:", "https:"),
        own.replace("127.0.0.1", "localhost"),
        own.replace(port, "1"),
        own.replace("127.0.0.1", "127.0.0.1@evil.example"),
        own.replace("127.0.0.1", "evil.example"),
        format!("http://evil.example/?{own}"),
        "not a url".to_owned(),
        String::new(),
    ] {
        assert_eq!(token(&client, &other).await, None, "{other}");
    }
    // Nor does a redirect of its server carry it elsewhere: a transport that follows one asks anew, for that URL.
    let (listener, elsewhere) = Host::bind().await;
    let _elsewhere = Host::serve(
        listener,
        Box::new(|_| Box::pin(async { Answer::status(200) })),
    );
    assert_eq!(token(&client, &elsewhere).await, None);
}

#[tokio::test]
async fn tokens_and_registrations_outlive_the_process_sealed() {
    let server = Rules {
        method: "client_secret_basic",
        ..Rules::default()
    };
    let world = World::start(server, resource::Rules::default()).await;
    let store = store();
    let key = |byte| SecretBox::new(Box::new([byte; 32]));
    let with = |byte: u8, owner: &str| {
        let mut config = world.config(person());
        let storage = KeyValueStorage::sealed(Arc::clone(&store), &key(byte)).unwrap();
        config.storage = Arc::new(storage);
        config.dpop = DpopUse::Off;
        config.owner = owner.to_owned();
        OAuthClient::new(config).unwrap()
    };
    let first = with(1, "alice");
    world.ask(&first, "tools/list").await.unwrap();
    let held = token(&first, &world.resource.url).await;

    // Another process goes on where this one ended, and renews as the client that was registered.
    let second = with(1, "alice");
    assert_eq!(token(&second, &world.resource.url).await, held);
    world.pass(4_000);
    assert_eq!(world.ask(&second, "tools/list").await.unwrap(), 200);
    // The first one has an old refresh token by now, and takes what the second one saved.
    assert_eq!(
        token(&first, &world.resource.url).await,
        token(&second, &world.resource.url).await
    );
    assert_eq!(
        world.server.grants(),
        ["authorization_code", "refresh_token"]
    );
    assert_eq!(world.authorizations(), 1);

    let page = Page {
        after: None,
        limit: 100.try_into().unwrap(),
    };
    let collection = Collection::new("oauth-client").unwrap();
    let names = store.scan(&collection, "", page).await.unwrap();
    assert_eq!(names.len(), 3);
    for name in &names {
        let value = store.get(&collection, name).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&value);
        for secret in ["access-", "refresh-", "s3cret", "issuer"] {
            assert!(!text.contains(secret), "{name}");
        }
    }

    // Somebody else's tokens are not there, and another key opens nothing.
    assert_eq!(token(&with(1, "bob"), &world.resource.url).await, None);
    let error = with(2, "alice")
        .headers("POST", &world.resource.url)
        .await
        .unwrap_err();
    assert!(matches!(error, OAuthError::Storage(_)), "{error}");

    // An entry under another's name does not open either.
    let storage = KeyValueStorage::sealed(Arc::clone(&store), &key(1)).unwrap();
    let value = store.get(&collection, &names[0]).await.unwrap().unwrap();
    store
        .put(&collection, &names[1], value, None)
        .await
        .unwrap();
    assert!(storage.load(names[1].as_str()).await.is_err());

    second.forget().await.unwrap();
    assert_eq!(token(&second, &world.resource.url).await, None);
    assert_eq!(token(&with(1, "alice"), &world.resource.url).await, None);
}

#[tokio::test]
async fn a_plain_store_and_memory_keep_the_same() {
    let store = store();
    let storages: [Arc<dyn TokenStorage>; 2] = [
        Arc::new(KeyValueStorage::plain(store).unwrap()),
        Arc::new(MemoryStorage::new()),
    ];
    for storage in storages {
        assert!(storage.load("k").await.unwrap().is_none());
        storage.save("k", "one".into()).await.unwrap();
        storage.save("k", "two".into()).await.unwrap();
        assert_eq!(
            storage.load("k").await.unwrap().unwrap().expose_secret(),
            "two"
        );
        assert!(!format!("{storage:?}").contains("two"));
        storage.remove("k").await.unwrap();
        storage.remove("k").await.unwrap();
        assert!(storage.load("k").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn tokens_are_bound_to_a_key_where_that_is_offered() {
    let server = Rules {
        metadata: json!({"dpop_signing_alg_values_supported": ["RS256", "ES256"]}),
        nonce: Some("as-nonce"),
        ..Rules::default()
    };
    let rules = resource::Rules {
        nonce: Some("rs-nonce"),
        ..resource::Rules::default()
    };
    let world = World::start(server, rules).await;
    let storage: Arc<dyn TokenStorage> = Arc::new(MemoryStorage::new());
    let with = || {
        let mut config = world.config(person());
        config.storage = Arc::clone(&storage);
        OAuthClient::new(config).unwrap()
    };
    let client = with();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(
        world.server.host.asked("/token").len(),
        2,
        "once more, with the nonce"
    );
    assert!(
        world.server.host.asked("/authorize")[0]
            .query
            .contains_key("dpop_jkt")
    );
    // Nonces change, as they do.
    world
        .server
        .change(|rules| rules.nonce = Some("as-nonce-2"));
    world
        .resource
        .change(|rules| rules.nonce = Some("rs-nonce-2"));
    world.pass(4_000);
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(world.authorizations(), 1);
    // The key is kept with the tokens.
    let again = with();
    assert_eq!(world.ask(&again, "tools/list").await.unwrap(), 200);
    assert_eq!(world.authorizations(), 1);
    assert!(
        token(&again, &world.resource.url)
            .await
            .unwrap()
            .starts_with("DPoP ")
    );
    let proof = |headers: http::HeaderMap| headers["dpop"].clone();
    let one = proof(client.headers("POST", &world.resource.url).await.unwrap());
    assert_ne!(
        one,
        proof(client.headers("POST", &world.resource.url).await.unwrap())
    );
}

#[tokio::test]
async fn a_required_binding_is_not_given_up() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let mut config = world.config(person());
    config.dpop = DpopUse::Required;
    let client = OAuthClient::new(config.clone()).unwrap();
    let error = world.ask(&client, "tools/list").await.unwrap_err();
    assert!(
        error.to_string().contains("does not bind tokens"),
        "{error}"
    );
    assert_eq!(world.authorizations(), 0);

    config.dpop = DpopUse::Off;
    let offers = json!({"dpop_signing_alg_values_supported": ["ES256"]});
    world.server.change(|rules| rules.metadata = offers);
    let client = OAuthClient::new(config).unwrap();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert!(
        token(&client, &world.resource.url)
            .await
            .unwrap()
            .starts_with("Bearer ")
    );
}

#[tokio::test]
async fn secrets_are_not_in_debug_output() {
    let server = Rules {
        method: "client_secret_post",
        ..Rules::default()
    };
    let world = World::start(server, resource::Rules::default()).await;
    world.server.know("known", Some("hush-hush"));
    let mut config = world.config(person());
    config.registered = vec![
        fastmcp_auth::oauth::RegisteredClient::new(world.server.issuer.clone(), "known")
            .with_secret("hush-hush".into()),
    ];
    let client = OAuthClient::new(config.clone()).unwrap();
    world.ask(&client, "tools/list").await.unwrap();
    let headers = client.headers("POST", &world.resource.url).await.unwrap();
    for text in [
        format!("{client:?}"),
        format!("{config:?}"),
        format!("{headers:?}"),
    ] {
        for secret in ["hush-hush", "access-", "refresh-"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
