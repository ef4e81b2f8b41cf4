//! The end of tokens.

use fastmcp_auth::oauth::{LoggedOut, OAuthClient, OAuthError};
use http::header::AUTHORIZATION;

use crate::authorization_server::Rules;
use crate::resource;
use crate::world::World;

async fn logged_in(rules: Rules) -> (World, OAuthClient) {
    let world = World::start(rules, resource::Rules::default()).await;
    world.server.announce_revocation();
    let client = world.client();
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert!(world.server.has_tokens());
    (world, client)
}

async fn has_token(client: &OAuthClient, url: &str) -> bool {
    let headers = client.headers("POST", url).await.unwrap();
    headers.contains_key(AUTHORIZATION)
}

#[tokio::test]
async fn a_logout_takes_both_tokens_back_and_the_next_login_asks_again() {
    let (world, client) = logged_in(Rules::default()).await;
    assert_eq!(client.logout().await.unwrap(), LoggedOut::Revoked);
    assert!(!has_token(&client, &world.resource.url).await);
    assert!(!world.server.has_tokens());
    let asked = world.server.host.asked("/revoke");
    let hints: Vec<_> = asked
        .iter()
        .map(|a| a.form()["token_type_hint"].clone())
        .collect();
    assert_eq!(
        hints,
        ["refresh_token", "access_token"],
        "new tokens come of the first"
    );
    assert_eq!(client.logout().await.unwrap(), LoggedOut::NothingHeld);
    assert_eq!(world.server.host.asked("/revoke").len(), 2);
    assert_eq!(world.ask(&client, "tools/list").await.unwrap(), 200);
    assert_eq!(world.authorizations(), 2);
}

#[tokio::test]
async fn clients_prove_themselves_to_take_tokens_back() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let rules = Rules {
            method,
            ..Rules::default()
        };
        let (world, client) = logged_in(rules).await;
        assert_eq!(client.logout().await.unwrap(), LoggedOut::Revoked);
        assert!(!world.server.has_tokens(), "{method}");
    }
}

#[tokio::test]
async fn tokens_are_forgotten_whatever_the_server_says() {
    let (world, client) = logged_in(Rules::default()).await;
    world
        .server
        .change(|rules| rules.keeps = Some("refresh_token"));
    let error = client.logout().await.unwrap_err();
    assert!(
        matches!(error, OAuthError::RevocationRefused { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("unsupported_token_type"),
        "{error}"
    );
    assert!(!has_token(&client, &world.resource.url).await);
    assert_eq!(
        world.server.host.asked("/revoke").len(),
        2,
        "the other one all the same"
    );

    // Access tokens hang on the refresh token where they are not taken back alone.
    let (world, client) = logged_in(Rules::default()).await;
    world
        .server
        .change(|rules| rules.keeps = Some("access_token"));
    assert_eq!(client.logout().await.unwrap(), LoggedOut::Revoked);
    assert!(!has_token(&client, &world.resource.url).await);
}

#[tokio::test]
async fn a_server_that_takes_nothing_back_is_not_asked() {
    let world = World::start(Rules::default(), resource::Rules::default()).await;
    let client = world.client();
    assert_eq!(client.logout().await.unwrap(), LoggedOut::NothingHeld);
    world.ask(&client, "tools/list").await.unwrap();
    assert_eq!(client.logout().await.unwrap(), LoggedOut::Forgotten);
    assert!(!has_token(&client, &world.resource.url).await);
    assert!(world.server.host.asked("/revoke").is_empty());
}
