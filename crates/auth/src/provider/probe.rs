//! Asking a provider whose token a token is.

use std::fmt;
use std::sync::Arc;

use fastmcp_guard::clock::{Clock, Timestamp};
use fastmcp_guard::http::AllowedHost;
use futures_core::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use url::form_urlencoded;

use crate::claims::parse_object;
use crate::endpoint;
use crate::error::ConfigError;
use crate::oauth::network::{Network, NetworkConfig};
use crate::token::AccessToken;
use crate::verifier::{LookupConfig, LookupVerifier, TokenLookup, TokenVerifier, VerifyError};

/// The most questions that are open at a time; more wait.
const OPEN: usize = 64;

/// The longest text that is taken over as a claim, in bytes.
const MAX_CLAIM: usize = 1_024;

/// What is known of a token.
#[derive(Default)]
pub(super) struct Known {
    pub(super) claims: Map<String, Value>,
    pub(super) expires_at: Option<Timestamp>,
}

impl Known {
    /// Somebody of that name, with those members of `said` that are there.
    pub(super) fn person(subject: String, said: &Map<String, Value>, members: &[&str]) -> Self {
        let mut claims = Map::new();
        for member in members {
            let fits = |value: &&Value| match value {
                Value::String(text) => text.len() <= MAX_CLAIM,
                Value::Bool(_) | Value::Number(_) => true,
                _ => false,
            };
            if let Some(value) = said.get(*member).filter(fits) {
                claims.insert((*member).to_owned(), value.clone());
            }
        }
        claims.insert("sub".to_owned(), subject.into());
        Self {
            claims,
            expires_at: None,
        }
    }
}

/// Reads what a provider says about a token; none if it is not this server's.
type Read = Box<dyn Fn(&Map<String, Value>) -> Option<Known> + Send + Sync>;

/// How the token is shown to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// As every API wants it (RFC 6750).
    Bearer,
    /// As this parameter of the query.
    Query(&'static str),
}

/// Asks at one URL.
pub(super) struct Probe {
    url: String,
    shown: Shown,
    network: Network,
    read: Read,
    open: Semaphore,
}

impl Probe {
    /// A verifier that asks at `url`, whose callers are `issuer`'s.
    pub(super) fn verifier(
        (url, shown): (String, Shown),
        issuer: &str,
        network: &NetworkConfig,
        clock: Arc<dyn Clock>,
        read: Read,
    ) -> Result<Arc<dyn TokenVerifier>, ConfigError> {
        let unfit = |problem| ConfigError::Unfit {
            field: "provider",
            value: url.clone(),
            problem,
        };
        let host = AllowedHost::of_url(&endpoint::parse("provider", &url)?);
        let host = host.map_err(|_| unfit("has no host that can be reached"))?;
        let network = Network::with(&network.clone().allow_host(host), None, 0);
        let network =
            network.map_err(|_| unfit("cannot be reached with these network settings"))?;
        let probe = Self {
            url,
            shown,
            network,
            read,
            open: Semaphore::new(OPEN),
        };
        let config = LookupConfig {
            issuer: Some(issuer.to_owned()),
            ..LookupConfig::default()
        };
        Ok(Arc::new(LookupVerifier::new(probe, config, clock)))
    }

    async fn ask(&self, token: &str) -> Result<Option<AccessToken>, VerifyError> {
        let closed = |_| VerifyError::Unavailable("the server ends".into());
        let _open = self.open.acquire().await.map_err(closed)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let mut url = self.url.clone();
        match self.shown {
            Shown::Bearer => {
                let bearer = HeaderValue::try_from(format!("Bearer {token}"));
                let mut bearer = bearer.map_err(|_| VerifyError::UnknownToken)?;
                bearer.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, bearer);
            }
            Shown::Query(name) => {
                let mut query = form_urlencoded::Serializer::new(String::new());
                url = format!("{url}?{}", query.append_pair(name, token).finish());
            }
        }
        let answer = self.network.get("the provider", &url, headers).await;
        // The error would name the URL, and with it the token.
        let away = |_| VerifyError::Unavailable("the provider cannot be asked".into());
        let answer = answer.map_err(away)?;
        match answer.status.as_u16() {
            200 => {}
            400 | 401 | 404 => return Ok(None),
            status => {
                let said = format!("the provider answers {status}");
                return Err(VerifyError::Unavailable(said.into()));
            }
        }
        let said = parse_object(&answer.body)
            .map_err(|_| VerifyError::Unavailable("the provider's answer is no JSON".into()))?;
        Ok((self.read)(&said).map(|known| {
            let access = AccessToken::new(token).with_claims(known.claims);
            match known.expires_at {
                Some(end) => access.with_expires_at(end),
                None => access,
            }
        }))
    }
}

impl TokenLookup for Probe {
    fn look_up<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<AccessToken>, VerifyError>> {
        Box::pin(self.ask(token))
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
