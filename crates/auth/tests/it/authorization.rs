//! The human part: who answers, which scopes are asked for, when it is enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastmcp_auth::oauth::{
    Authorize, AuthorizeError, Grant, Interaction, OAuthClient, OAuthError, Refusal, Scopes,
};
use futures_core::future::BoxFuture;
use http::HeaderMap;
use serde_json::json;
use tokio::sync::Notify;

use crate::authorization_server::{AuthorizationServer, Iss, Rules};
use crate::resource;
use crate::world::{REDIRECT, World, person};

#[tokio::test]
async fn who_answers_is_settled_before_the_code_is_used() {
    let other = || Iss::Other("https://evil.example".to_owned());
    for (announced, iss, accepted) in [
        (json!(true), Iss::Own, true),
        (json!(true), Iss::Left, false),
        (json!(true), other(), false),
        (json!(false), Iss::Own, true),
        (json!(null), Iss::Left, true),
        (json!(null), other(), false),
    ] {
        let server = Rules {
            metadata: json!({"authorization_response_iss_parameter_supported": announced}),
            iss,
            ..Rules::default()
        };
        let world = World::start(server, resource::Rules::default()).await;
        let outcome = world.ask(&world.client(), "tools/list").await;
        assert_eq!(world.authorizations(), 1);
        assert_eq!(outcome.is_ok(), accepted, "{announced} {outcome:?}");
        assert_eq!(
            world.server.host.asked("/token").len(),
            usize::from(accepted)
        );
    }
}

#[tokio::test]
async fn an_issuer_that_differs_by_a_slash_is_another() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let slash = Iss::Other(format!("{}/", world.server.issuer));
    world.server.change(|rules| rules.iss = slash);
    let error = world.ask(&world.client(), "tools/list").await.unwrap_err();
    assert!(matches!(error, OAuthError::Answer { .. }), "{error}");
    assert!(world.server.host.asked("/token").is_empty());
}

#[tokio::test]
async fn what_a_stranger_says_is_not_shown() {
    let server = Rules {
        iss: Iss::Other("https://evil.example".to_owned()),
        denies: Some("access_denied"),
        ..Rules::default()
    };
    let world = World::start(server, resource::Rules::default()).await;
    let error = world
        .ask(&world.client(), "tools/list")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        !error.contains("access_denied") && !error.contains("as the test wants"),
        "{error}"
    );
    world.server.change(|rules| rules.iss = Iss::Own);
    let error = world
        .ask(&world.client(), "tools/list")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("access_denied (as the test wants)"),
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_to_another_question_is_not_used() {
    let server = Rules {
        state: Some("guessed"),
        ..Rules::default()
    };
    let world = World::start(server, resource::Rules::default()).await;
    let error = world.ask(&world.client(), "tools/list").await.unwrap_err();
    assert!(error.to_string().contains("`state`"), "{error}");
    assert!(world.server.host.asked("/token").is_empty());
}

#[tokio::test]
async fn which_scopes_are_asked_for_first() {
    let supported = json!({"scopes_supported": ["a", "b"]});
    for (challenged, metadata, configured, expected) in [
        (Some("c"), supported.clone(), None, Some("c")),
        (None, supported.clone(), None, Some("a b")),
        (None, json!({}), None, None),
        (Some("c"), supported, Some("d"), Some("d c")),
    ] {
        let rules = resource::Rules {
            scope: challenged,
            metadata,
            ..resource::Rules::default()
        };
        let world = World::start(Rules::default(), rules).await;
        let mut config = world.config(person());
        config.scopes = configured.map(Scopes::parse);
        let client = OAuthClient::new(config).unwrap();
        assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
        assert_eq!(world.scope().as_deref(), expected);
    }
}

#[tokio::test]
async fn offline_access_is_asked_for_where_it_is_listed() {
    for (listed, wanted, expected) in [
        (json!(["a", "offline_access"]), true, "a offline_access"),
        (json!(["a", "offline_access"]), false, "a"),
        (json!(["a"]), true, "a"),
        (json!(null), true, "a"),
    ] {
        let server = Rules {
            metadata: json!({"scopes_supported": listed}),
            ..Rules::default()
        };
        let rules = resource::Rules {
            scope: Some("a offline_access"),
            ..resource::Rules::default()
        };
        let world = World::start(server, rules).await;
        let mut config = world.config(person());
        config.offline_access = wanted;
        world
            .ask(&OAuthClient::new(config).unwrap(), "tools/list")
            .await
            .unwrap();
        assert_eq!(world.scope().as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_step_up_keeps_what_there_was() {
    let rules = resource::Rules {
        scope: Some("basic"),
        needs: vec![("tools/call", "write"), ("resources/read", "read")],
        ..resource::Rules::default()
    };
    let world = World::start(Rules::default(), rules).await;
    let client = world.client();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(world.scope().as_deref(), Some("basic"));
    assert_eq!(world.ask(&client, "tools/call").await.unwrap(), 200);
    assert_eq!(world.scope().as_deref(), Some("basic write"));
    assert_eq!(world.ask(&client, "resources/read").await.unwrap(), 200);
    assert_eq!(world.scope().as_deref(), Some("basic write read"));
    assert_eq!(world.ask(&client, "tools/call").await.unwrap(), 200);
    assert_eq!(world.authorizations(), 3);
}

#[tokio::test]
async fn a_server_that_is_never_content_is_given_up() {
    // It says that it gave what was asked for, and another time that it gave less.
    for (gives, expected) in [(None, 2), (Some("less"), 3)] {
        let server = Rules {
            gives,
            ..Rules::default()
        };
        let rules = resource::Rules {
            scope: Some("admin"),
            needs: vec![("tools/call", "admin")],
            never: true,
            ..resource::Rules::default()
        };
        let world = World::start(server, rules).await;
        let client = world.client();
        let error = world.ask(&client, "tools/call").await.unwrap_err();
        assert!(
            matches!(error, OAuthError::TooManyAttempts { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("`admin`"), "{error}");
        assert_eq!(world.authorizations(), expected);
        let again = world.ask(&client, "tools/call").await.unwrap_err();
        assert!(matches!(again, OAuthError::TooManyAttempts { .. }));
        assert_eq!(world.authorizations(), expected);
        world.pass(301);
        world.resource.change(|rules| rules.never = false);
        world.server.change(|rules| rules.gives = None);
        assert_eq!(world.ask(&client, "tools/call").await.unwrap(), 200);
    }
}

#[tokio::test]
async fn other_refusals_are_not_its_business() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let client = world.client();
    let elsewhere = format!("{}/x", world.server.host.url);
    for (status, url) in [
        (403, &world.resource.url),
        (404, &world.resource.url),
        (401, &elsewhere),
    ] {
        let refusal = Refusal {
            status,
            headers: &HeaderMap::new(),
            url,
            operation: "tools/list",
            sent: None,
        };
        assert!(!client.challenged(refusal).await.unwrap(), "{status} {url}");
    }
    assert!(world.resource.host.paths().is_empty());
}

#[tokio::test]
async fn a_server_that_moves_gets_a_client_and_tokens_of_its_own() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let client = world.client();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    let first = world.server.host.asked("/authorize").remove(0).query["client_id"].clone();

    let other = AuthorizationServer::start(Rules::default()).await;
    // So that the same id would be given again, were the registrations not kept apart.
    other.know("client 0", None);
    world.resource.move_to(&other);
    world.pass(60);
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(other.host.asked("/register").len(), 1);
    assert_eq!(
        other.grants(),
        ["authorization_code"],
        "the refresh token stays with its issuer"
    );
    assert_eq!(world.server.grants(), ["authorization_code"]);

    world.resource.move_to(&world.server);
    world.pass(60);
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(
        world.server.host.asked("/register").len(),
        1,
        "the first registration serves again"
    );
    let last = world.server.host.asked("/authorize").pop().unwrap();
    assert_eq!(last.query["client_id"], first);
}

/// Somebody who is asked, and takes their time.
#[derive(Clone, Debug)]
struct Slow {
    asked: Arc<AtomicUsize>,
    came: Arc<Notify>,
    decides: Arc<Notify>,
}

impl Authorize for Slow {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Interaction>, AuthorizeError>> {
        Box::pin(async { Ok(Box::new(self.clone()) as Box<dyn Interaction>) })
    }
}

impl Interaction for Slow {
    fn redirect_uri(&self) -> &str {
        REDIRECT
    }

    fn authorize<'a>(
        self: Box<Self>,
        _url: &'a str,
        _state: &'a str,
    ) -> BoxFuture<'a, Result<String, AuthorizeError>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.came.notify_one();
            self.decides.notified().await;
            Err(AuthorizeError::Declined)
        })
    }
}

#[tokio::test]
async fn one_person_is_asked_once_for_all_who_wait() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let slow = Slow {
        asked: Arc::default(),
        came: Arc::default(),
        decides: Arc::default(),
    };
    let client = OAuthClient::new(world.config(Grant::Person(Arc::new(slow.clone())))).unwrap();
    let decide = async {
        slow.came.notified().await;
        // All three were refused by now, or will be told what came of it.
        while world.resource.host.asked("/mcp").len() < 3 {
            tokio::task::yield_now().await;
        }
        slow.decides.notify_one();
    };
    let (one, two, three, ()) = tokio::join!(
        world.ask(&client, "tools/list"),
        world.ask(&client, "tools/list"),
        world.ask(&client, "tools/list"),
        decide,
    );
    for outcome in [one, two, three] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("declined"), "{error}");
    }
    assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_person_who_does_not_come_is_not_waited_for_forever() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let slow = Slow {
        asked: Arc::default(),
        came: Arc::default(),
        decides: Arc::default(),
    };
    let mut config = world.config(Grant::Person(Arc::new(slow)));
    config.authorize_timeout = std::time::Duration::from_secs(1);
    let client = OAuthClient::new(config).unwrap();
    let error = world.ask(&client, "tools/list").await.unwrap_err();
    assert!(
        error.to_string().contains("nobody logged in within 1 s"),
        "{error}"
    );
}
