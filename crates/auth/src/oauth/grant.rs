//! The token request.
//!
//! Source: RFC 6749, sections 2.3.1, 4.1.3, 4.4.2, 5 and 6; RFC 7523, section 2.2; RFC 8707, section 2.2; RFC 9449,
//! sections 5 and 8.

use bytes::Bytes;
use fastmcp_guard::clock::Clock;
use fastmcp_guard::http::Response;
use fastmcp_guard::random::Random;
use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use url::form_urlencoded;

use super::discovery::ServerMetadata;
use super::dpop::{Nonces, PROOF, ProofKey, Purpose};
use super::error::{OAuthError, quoted};
use super::network::Network;
use super::registration::{self, Client, Proof};
use super::scope::Scopes;
use crate::basic;
use crate::bearer::MAX_TOKEN_BYTES;

/// The grant that a signed statement is (RFC 7523, section 2.1).
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The grant that exchanges a token (RFC 8693, section 2.1), and the types of the tokens that are exchanged.
pub(crate) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
pub(crate) const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

/// How a client's statement about itself is called (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How often a request is made again because the server wants a nonce.
const MAX_NONCES: usize = 2;

/// The longest that a token is taken to be good, in seconds: 10 years.
const MAX_LIFETIME: u64 = 10 * 366 * 86_400;

/// What a request is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tools<'a> {
    pub(crate) network: &'a Network,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) random: &'a dyn Random,
    pub(crate) nonces: &'a Nonces,
}

/// Where a request goes, and who makes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenRequest<'a> {
    pub(crate) tools: Tools<'a>,
    pub(crate) server: &'a ServerMetadata,
    /// None where a statement says it all.
    pub(crate) client: Option<&'a Client>,
    /// The key that the token is to be bound to.
    pub(crate) key: Option<&'a ProofKey>,
}

/// What a request is answered with (RFC 6749, section 5.1).
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) access_token: SecretString,
    pub(crate) token_type: String,
    pub(crate) expires_in: Option<u64>,
    pub(crate) refresh_token: Option<SecretString>,
    pub(crate) scope: Option<Scopes>,
    pub(crate) issued_token_type: Option<String>,
}

/// How a client proves itself at a token endpoint.
enum Method<'a> {
    None,
    Basic(&'a SecretString),
    Post(&'a SecretString),
    Statement(SecretString),
}

impl TokenRequest<'_> {
    /// Makes the request with `form` and who makes it.
    pub(crate) async fn send(&self, form: &[(&str, &str)]) -> Result<Granted, OAuthError> {
        let url = self.server.token_endpoint()?;
        let mut again = MAX_NONCES;
        loop {
            let (headers, body) = self.compose(url, form)?;
            let post = self
                .tools
                .network
                .post("the token endpoint", url, headers, body);
            let answer = post.await?;
            let fresh = self.tools.nonces.note(url, &answer.headers);
            if answer.status.as_u16() == 200 {
                return read(url, &answer);
            }
            let says = registration::says(&answer);
            if self.key.is_some() && fresh && again > 0 && says.error() == "use_dpop_nonce" {
                again -= 1;
                continue;
            }
            return Err(OAuthError::TokenRefused {
                issuer: self.server.issuer.clone(),
                says,
            });
        }
    }

    /// Has the server take `token` back, at `url`. A token that it does not know is none any more.
    ///
    /// Source: RFC 7009, section 2. Clients prove themselves as they do for tokens.
    pub(crate) async fn revoke(
        &self,
        url: &str,
        hint: &str,
        token: &SecretString,
    ) -> Result<(), OAuthError> {
        let form = [("token", token.expose_secret()), ("token_type_hint", hint)];
        let (headers, body) = self.compose(url, &form)?;
        let network = self.tools.network;
        let answer = network.post("the revocation endpoint", url, headers, body);
        let answer = answer.await?;
        if answer.status.as_u16() == 200 {
            return Ok(());
        }
        Err(OAuthError::RevocationRefused {
            issuer: self.server.issuer.clone(),
            says: registration::says(&answer),
        })
    }

    fn compose(&self, url: &str, form: &[(&str, &str)]) -> Result<(HeaderMap, Bytes), OAuthError> {
        let mut headers = HeaderMap::new();
        let urlencoded = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, urlencoded);
        let mut body = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form {
            body.append_pair(name, value);
        }
        if let Some(client) = self.client {
            match self.method(client)? {
                Method::None => {
                    body.append_pair("client_id", &client.id);
                }
                Method::Basic(secret) => {
                    headers.insert(header::AUTHORIZATION, basic(&client.id, secret)?);
                }
                Method::Post(secret) => {
                    body.append_pair("client_id", &client.id)
                        .append_pair("client_secret", secret.expose_secret());
                }
                Method::Statement(statement) => {
                    body.append_pair("client_id", &client.id)
                        .append_pair("client_assertion_type", ASSERTION_TYPE)
                        .append_pair("client_assertion", statement.expose_secret());
                }
            }
        }
        if let Some(key) = self.key {
            let nonce = self.tools.nonces.of(url);
            let purpose = Purpose {
                method: "POST",
                url,
                nonce: nonce.as_deref(),
                token: None,
            };
            let proof = key.proof(purpose, self.tools.clock, self.tools.random)?;
            headers.insert(PROOF, proof);
        }
        Ok((headers, Bytes::from(body.finish())))
    }

    /// What the client has, and the server takes.
    fn method<'a>(&self, client: &'a Client) -> Result<Method<'a>, OAuthError> {
        let takes = |method| self.server.takes_method(method);
        match &client.proof {
            Proof::None => Ok(Method::None),
            Proof::Key(_) if takes("private_key_jwt") == Some(false) => Err(self
                .server
                .lacks("does not let clients prove themselves by `private_key_jwt`".to_owned())),
            Proof::Key(key) => {
                let (clock, random) = (self.tools.clock, self.tools.random);
                let issuer = &self.server.issuer;
                let statement = key.client_assertion(&client.id, issuer, clock, random)?;
                Ok(Method::Statement(statement))
            }
            Proof::Secret(secret) => match client.method.as_deref() {
                Some("client_secret_basic") => Ok(Method::Basic(secret)),
                Some("client_secret_post") => Ok(Method::Post(secret)),
                Some("none") => Ok(Method::None),
                // Without a word on it, the server takes Basic (RFC 8414, section 2).
                _ if takes("client_secret_basic") != Some(false) => Ok(Method::Basic(secret)),
                _ if takes("client_secret_post") == Some(true) => Ok(Method::Post(secret)),
                _ if takes("none") == Some(true) => Ok(Method::None),
                _ => Err(self
                    .server
                    .lacks("does not let clients prove themselves by a secret".to_owned())),
            },
        }
    }
}

fn basic(id: &str, secret: &SecretString) -> Result<HeaderValue, OAuthError> {
    basic::authorization(id, secret).ok_or(OAuthError::Key {
        what: "the client's secret",
        reason: "it cannot be sent",
    })
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
    refresh_token: Option<String>,
    scope: Option<String>,
    issued_token_type: Option<String>,
}

/// Seconds as a number; some servers write them as text, or with a fraction.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    let text = match value {
        None => return Ok(None),
        Some(serde_json::Value::String(text)) => text,
        Some(value) => value.to_string(),
    };
    let whole = text
        .split_once('.')
        .map_or(text.as_str(), |(whole, _)| whole);
    Ok(whole
        .parse()
        .ok()
        .map(|seconds: u64| seconds.min(MAX_LIFETIME)))
}

fn read(url: &str, answer: &Response) -> Result<Granted, OAuthError> {
    let unfit = |reason: &str| OAuthError::Document {
        what: "the answer of the token endpoint",
        url: url.to_owned(),
        reason: reason.to_owned(),
    };
    // The cause would repeat what the answer holds, tokens too.
    let read: Answer = serde_json::from_slice(&answer.body).map_err(|_| {
        unfit("`access_token` or `token_type` is missing, or a member has the wrong type")
    })?;
    let sendable = |token: &String| {
        !token.is_empty()
            && token.len() <= MAX_TOKEN_BYTES
            && token.bytes().all(|b| b.is_ascii_graphic())
    };
    if !sendable(&read.access_token) {
        return Err(unfit("`access_token` is no token of at most 16 KiB"));
    }
    if read
        .refresh_token
        .as_ref()
        .is_some_and(|token| token.len() > MAX_TOKEN_BYTES)
    {
        return Err(unfit("`refresh_token` is longer than 16 KiB"));
    }
    Ok(Granted {
        access_token: read.access_token.into(),
        token_type: quoted(&read.token_type),
        expires_in: read.expires_in,
        refresh_token: read
            .refresh_token
            .filter(|token| !token.is_empty())
            .map(SecretString::from),
        scope: read.scope.map(Scopes::from),
        issued_token_type: read.issued_token_type,
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_parts_of_basic_are_form_encoded() {
        let value = basic("a b:c", &"p+q%/é".into()).unwrap();
        let text = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
        assert_eq!(pair, "a+b%3Ac:p%2Bq%25%2F%C3%A9");
        assert!(value.is_sensitive());
        // The example of RFC 6749, section 2.3.1.
        let value = basic("s6BhdRkqt3", &"7Fjfp0ZBr1KtDRbnfVdmIw".into()).unwrap();
        assert_eq!(
            value.to_str().unwrap(),
            "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"
        );
    }

    #[test]
    fn lifetimes_are_read_as_servers_write_them() {
        for (text, expected) in [
            ("3600", Some(3_600)),
            ("\"3600\"", Some(3_600)),
            ("59.9", Some(59)),
            ("null", None),
            ("-1", None),
            ("\"soon\"", None),
            ("99999999999999", Some(MAX_LIFETIME)),
        ] {
            let json = format!(r#"{{"access_token":"t","token_type":"x","expires_in":{text}}}"#);
            let read: Answer = serde_json::from_str(&json).unwrap();
            assert_eq!(read.expires_in, expected, "{text}");
        }
    }
}
