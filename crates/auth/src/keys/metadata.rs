//! What an issuer says of itself, as far as it leads to its keys.
//!
//! Source: OpenID Connect Discovery 1.0, sections 3 and 4; RFC 8414, sections 2 and 3.

use serde::Deserialize;
use url::Url;

use super::{Fetch, FetchError};
use crate::endpoint;
use crate::error::ConfigError;
use crate::oauth::discovery::well_known_server;

const ISSUER: &str = "issuer";

/// Where the metadata of an issuer may be.
#[derive(Debug)]
pub(super) struct Metadata {
    issuer: String,
    urls: Vec<Url>,
}

/// Why metadata leads to no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum MetadataError {
    #[error("it is of another issuer")]
    Issuer,
    #[error("it is not JSON of the right form: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its `jwks_uri` cannot be used: {0}")]
    JwksUri(#[from] ConfigError),
    #[error("fetching it failed: {0}")]
    Fetch(#[from] FetchError),
}

#[derive(Deserialize)]
struct Said {
    issuer: String,
    jwks_uri: String,
}

impl Metadata {
    /// The metadata of `issuer`, which is `https://`, or `http://` to this machine, without a query.
    pub(super) fn of(issuer: &str) -> Result<Self, ConfigError> {
        if endpoint::parse(ISSUER, issuer)?.query().is_some() {
            return Err(ConfigError::Unfit {
                field: ISSUER,
                value: issuer.to_owned(),
                problem: "must not have a query",
            });
        }
        let urls = well_known_server(issuer);
        Ok(Self {
            issuer: issuer.to_owned(),
            urls: urls
                .iter()
                .map(|url| endpoint::parse(ISSUER, url))
                .collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where the keys are, by the first of the documents that is one of this issuer.
    pub(super) async fn jwks_uri(&self, fetch: &dyn Fetch) -> Result<Url, MetadataError> {
        let mut failed = None;
        for url in &self.urls {
            let found = match fetch.get(url).await {
                Ok(body) => self.read(&body),
                Err(error @ FetchError::Status { status: 400..=499 }) => Err(error.into()),
                Err(error) => return Err(error.into()),
            };
            match found {
                Ok(url) => return Ok(url),
                // Some hosts answer every path with a page. What was there says more than what was not.
                Err(MetadataError::Fetch(error)) => failed = failed.or(Some(error.into())),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(MetadataError::Issuer))
    }

    fn read(&self, body: &[u8]) -> Result<Url, MetadataError> {
        let said: Said = serde_json::from_slice(body)?;
        if said.issuer != self.issuer {
            return Err(MetadataError::Issuer);
        }
        Ok(endpoint::parse("jwks_uri", &said.jwks_uri)?)
    }
}
