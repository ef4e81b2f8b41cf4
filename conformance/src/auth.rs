//! How the client proves itself in the scenarios about authorization.

use std::sync::Arc;

use fastmcp::{
    Error, Result,
    auth::{
        Algorithm,
        oauth::{
            AssertionKey, AssertionSource, Enterprise, Grant, Headless, IdentityProvider,
            NetworkConfig, OAuthClient, OAuthConfig, OAuthError, RegisteredClient, Secret,
        },
    },
};
use serde_json::Value;

/// Where the suite's authorization server sends its answers; it agrees at once, so nothing listens there.
const REDIRECT: &str = "http://localhost:3118/callback";

/// What the suite takes for the client's metadata document.
const DOCUMENT: &str = "https://conformance-test.local/client-metadata.json";

/// The OAuth client for `scenario`, in which the server at `url` wants tokens.
pub(crate) fn client(scenario: &str, url: &str, context: &Value) -> Result<OAuthClient> {
    // The suite's servers are on this machine.
    let network = NetworkConfig::public().allow_loopback();
    let mut config = OAuthConfig::new(url, Grant::Client);
    match scenario {
        "auth/client-credentials-basic" => config.registered = vec![with_secret(context)?],
        "auth/client-credentials-jwt" => config.registered = vec![with_key(context)?],
        "auth/enterprise-managed-authorization" => {
            config.registered = vec![with_secret(context)?];
            config.grant = Grant::Enterprise(enterprise(context)?);
        }
        "auth/wif-jwt-bearer" => {
            let client = RegisteredClient::of_any_issuer(text(context, "client_id")?);
            config.registered = vec![client];
            config.grant = Grant::Workload(statement(context, "valid_jwt")?);
        }
        _ => {
            let person = Headless::new(REDIRECT, &network).map_err(|e| refused(&e))?;
            config.grant = Grant::Person(Arc::new(person));
            config.metadata_document = Some(DOCUMENT.to_owned());
            if context.get("client_id").is_some() {
                config.registered = vec![with_secret(context)?];
            }
        }
    }
    config.network = network;
    OAuthClient::new(config).map_err(|e| refused(&e))
}

fn with_secret(context: &Value) -> Result<RegisteredClient> {
    let id = text(context, "client_id")?;
    let client = match context.get("issuer").and_then(Value::as_str) {
        Some(issuer) => RegisteredClient::new(issuer, id),
        None => RegisteredClient::of_any_issuer(id),
    };
    Ok(client.with_secret(text(context, "client_secret")?.into()))
}

fn with_key(context: &Value) -> Result<RegisteredClient> {
    let algorithm: Algorithm = text(context, "signing_algorithm")?
        .parse()
        .map_err(|error| refused(&OAuthError::Config(error)))?;
    let pem = Secret::from(text(context, "private_key_pem")?);
    let key = AssertionKey::from_pem(&pem, algorithm)
        .map_err(|error| refused(&OAuthError::Config(error)))?;
    let client = RegisteredClient::of_any_issuer(text(context, "client_id")?);
    Ok(client.with_key(Arc::new(key)))
}

fn enterprise(context: &Value) -> Result<Enterprise> {
    Ok(Enterprise {
        provider: IdentityProvider::TokenEndpoint(text(context, "idp_token_endpoint")?.to_owned()),
        client: RegisteredClient::of_any_issuer(text(context, "idp_client_id")?),
        id_token: statement(context, "idp_id_token")?,
    })
}

fn statement(context: &Value, name: &str) -> Result<Arc<dyn AssertionSource>> {
    Ok(Arc::new(Secret::from(text(context, name)?)))
}

fn text<'a>(context: &'a Value, name: &str) -> Result<&'a str> {
    let found = context.get(name).and_then(Value::as_str);
    found.ok_or_else(|| Error::validation(format!("`--context`: `{name}` is missing")))
}

fn refused(error: &OAuthError) -> Error {
    Error::validation(error.to_string())
}
