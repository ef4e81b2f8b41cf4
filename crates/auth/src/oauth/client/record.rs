//! What is saved, and under which names.
//!
//! Three kinds of entries: which issuer and resource belong to a server's URL, the tokens of an issuer and resource, and
//! the client of an issuer. All of them differ by owner.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastmcp_guard::clock::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::config::OAuthConfig;
use super::super::dpop;
use super::super::error::OAuthError;
use super::super::identifier;
use super::super::registration::{self, Client, Origin, Proof};
use super::super::scope::Scopes;
use super::super::storage::StorageError;
use super::tokens::Tokens;
use crate::digest::sha256;

#[derive(Serialize, Deserialize)]
struct ServerRecord {
    issuer: String,
    resource: String,
}

#[derive(Serialize, Deserialize)]
struct TokensRecord {
    issuer: String,
    resource: String,
    client: Option<ClientRecord>,
    access_token: String,
    refresh_token: Option<String>,
    key: Option<String>,
    requested: Scopes,
    granted: Scopes,
    obtained_at: Timestamp,
    expires_at: Option<Timestamp>,
}

/// Secrets and keys of clients that were registered before are never written: they come from the configuration.
#[derive(Serialize, Deserialize)]
struct ClientRecord {
    id: String,
    origin: Origin,
    secret: Option<String>,
    method: Option<String>,
    redirect_uri: Option<String>,
    secret_expires_at: Option<Timestamp>,
}

impl ClientRecord {
    fn of(client: &Client) -> Self {
        let secret = match &client.proof {
            Proof::Secret(secret) if client.origin == Origin::Dynamic => {
                Some(secret.expose_secret().to_owned())
            }
            _ => None,
        };
        Self {
            id: client.id.clone(),
            origin: client.origin,
            secret,
            method: client.method.clone(),
            redirect_uri: client.redirect_uri.clone(),
            secret_expires_at: client.secret_expires_at,
        }
    }

    /// The client; none if the configuration does not know it any more.
    fn client(self, config: &OAuthConfig, issuer: &str) -> Option<Client> {
        let known = match self.origin {
            Origin::Registered => registration::registered(config, issuer),
            Origin::Document => registration::described(config),
            Origin::Dynamic => {
                let secret = self.secret.map(SecretString::from);
                return Some(Client {
                    id: self.id,
                    proof: secret.map_or(Proof::None, Proof::Secret),
                    method: self.method,
                    origin: Origin::Dynamic,
                    redirect_uri: self.redirect_uri,
                    secret_expires_at: self.secret_expires_at,
                });
            }
        };
        known.filter(|client| client.id == self.id)
    }
}

/// The name of an entry: a word, and a digest of what it belongs to. Lengths keep `a`, `bc` from `ab`, `c`.
fn name(config: &OAuthConfig, word: &str, parts: &[&str]) -> String {
    let mut text = format!("{}:{}", config.owner.len(), config.owner);
    for part in parts {
        text.push_str(&format!(",{}:{part}", part.len()));
    }
    format!("{word}.{}", URL_SAFE_NO_PAD.encode(sha256(text.as_bytes())))
}

fn server_name(config: &OAuthConfig) -> String {
    name(config, "server", &[&config.server_url])
}

fn tokens_name(config: &OAuthConfig, issuer: &str, resource: &str) -> String {
    name(config, "tokens", &[issuer, resource])
}

fn client_name(config: &OAuthConfig, issuer: &str) -> String {
    name(config, "client", &[issuer])
}

async fn read<T: DeserializeOwned>(
    config: &OAuthConfig,
    name: &str,
) -> Result<Option<T>, OAuthError> {
    let Some(text) = config.storage.load(name).await? else {
        return Ok(None);
    };
    let read = serde_json::from_str(text.expose_secret());
    if read.is_err() {
        // The cause would repeat what the entry holds.
        tracing::warn!(
            name,
            "an entry of the token storage cannot be read, and is passed over"
        );
    }
    Ok(read.ok())
}

async fn write<T: Serialize>(
    config: &OAuthConfig,
    name: &str,
    value: &T,
) -> Result<(), OAuthError> {
    let text = serde_json::to_string(value)
        .map_err(|_| StorageError::new("an entry could not be written as JSON"))?;
    config.storage.save(name, text.into()).await?;
    Ok(())
}

/// The tokens for the server that were saved.
pub(super) async fn load(config: &OAuthConfig) -> Result<Option<Tokens>, OAuthError> {
    let Some(server) = read::<ServerRecord>(config, &server_name(config)).await? else {
        return Ok(None);
    };
    let name = tokens_name(config, &server.issuer, &server.resource);
    let Some(record) = read::<TokensRecord>(config, &name).await? else {
        return Ok(None);
    };
    let fits = record.issuer == server.issuer
        && record.resource == server.resource
        && identifier::covers(&record.resource, &config.server_url);
    if !fits {
        return Ok(None);
    }
    let client = match record.client {
        None => None,
        Some(client) => match client.client(config, &record.issuer) {
            Some(client) => Some(client),
            None => return Ok(None),
        },
    };
    let key = match record.key.map(SecretString::from) {
        None => None,
        Some(key) => Some(dpop::decoded(&key)?.into()),
    };
    Ok(Some(Tokens {
        issuer: record.issuer,
        resource: record.resource,
        client,
        access_token: record.access_token.into(),
        refresh_token: record.refresh_token.map(SecretString::from),
        key,
        requested: record.requested,
        granted: record.granted,
        obtained_at: record.obtained_at,
        expires_at: record.expires_at,
    }))
}

/// Saves tokens, the tokens before what leads to them.
pub(super) async fn save(config: &OAuthConfig, tokens: &Tokens) -> Result<(), OAuthError> {
    let exposed = |secret: &SecretString| secret.expose_secret().to_owned();
    let record = TokensRecord {
        issuer: tokens.issuer.clone(),
        resource: tokens.resource.clone(),
        client: tokens.client.as_ref().map(ClientRecord::of),
        access_token: exposed(&tokens.access_token),
        refresh_token: tokens.refresh_token.as_ref().map(exposed),
        key: tokens.key.as_ref().map(|key| exposed(&dpop::encoded(key))),
        requested: tokens.requested.clone(),
        granted: tokens.granted.clone(),
        obtained_at: tokens.obtained_at,
        expires_at: tokens.expires_at,
    };
    let name = tokens_name(config, &tokens.issuer, &tokens.resource);
    write(config, &name, &record).await?;
    let server = ServerRecord {
        issuer: tokens.issuer.clone(),
        resource: tokens.resource.clone(),
    };
    write(config, &server_name(config), &server).await
}

/// Removes tokens.
pub(super) async fn forget(
    config: &OAuthConfig,
    tokens: Option<&Tokens>,
) -> Result<(), OAuthError> {
    if let Some(tokens) = tokens {
        let name = tokens_name(config, &tokens.issuer, &tokens.resource);
        config.storage.remove(&name).await?;
    }
    config.storage.remove(&server_name(config)).await?;
    Ok(())
}

/// The client that registered itself with `issuer`.
pub(super) async fn load_client(
    config: &OAuthConfig,
    issuer: &str,
) -> Result<Option<Client>, OAuthError> {
    let record = read::<ClientRecord>(config, &client_name(config, issuer)).await?;
    Ok(record.and_then(|record| record.client(config, issuer)))
}

/// Saves the client that registered itself with `issuer`.
pub(super) async fn save_client(
    config: &OAuthConfig,
    issuer: &str,
    client: &Client,
) -> Result<(), OAuthError> {
    write(
        config,
        &client_name(config, issuer),
        &ClientRecord::of(client),
    )
    .await
}

/// Removes the client that registered itself with `issuer`.
pub(super) async fn forget_client(config: &OAuthConfig, issuer: &str) -> Result<(), OAuthError> {
    config.storage.remove(&client_name(config, issuer)).await?;
    Ok(())
}
