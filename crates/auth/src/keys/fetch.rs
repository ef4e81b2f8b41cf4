//! How bytes come from an issuer. This crate opens no connection of its own.

use std::error::Error;

use bytes::Bytes;
use fastmcp_guard::http::{Config, UrlFetcher};
use futures_core::future::BoxFuture;
use http::StatusCode;
use url::Url;

/// What gets a document from an issuer.
///
/// The implementation of the product is the guarded [`UrlFetcher`]: it limits redirects, time and bytes, and refuses
/// addresses that its configuration does not allow. Tests and users with connectors of their own implement it too.
pub trait Fetch: Send + Sync {
    /// Gets the body of a successful (200) answer.
    ///
    /// # Errors
    /// If there is no answer, or none of 200.
    ///
    /// # Cancel safety
    /// Dropping the future must abandon the request.
    fn get<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Result<Bytes, FetchError>>;
}

/// A document that could not be got.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There was no answer.
    #[error("no answer")]
    Connection(#[source] Box<dyn Error + Send + Sync>),
    /// The answer was not 200.
    #[error("the answer has status {status}, not 200")]
    Status {
        /// The status.
        status: u16,
    },
}

impl Fetch for UrlFetcher {
    fn get<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(async move {
            let answer = self.get(url).await;
            let answer = answer.map_err(|error| FetchError::Connection(error.into()))?;
            if answer.status != StatusCode::OK {
                let status = answer.status.as_u16();
                return Err(FetchError::Status { status });
            }
            Ok(answer.body)
        })
    }
}

/// Gets documents of one issuer that the configuration names: at its own host, wherever that is, and, since an issuer may
/// keep its keys elsewhere, at public hosts over `https`.
#[derive(Clone, Debug)]
pub struct IssuerFetch {
    own: UrlFetcher,
    public: UrlFetcher,
}

impl IssuerFetch {
    /// For the issuer at `url`, or the one whose keys are there.
    ///
    /// # Errors
    /// If the URL names no host.
    pub fn new(url: &Url) -> Result<Self, fastmcp_guard::http::FetchError> {
        Ok(Self {
            own: UrlFetcher::new(&Config::upstream(url)?)?,
            public: UrlFetcher::new(&Config::public())?,
        })
    }
}

impl Fetch for IssuerFetch {
    fn get<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        if self.own.check(url).is_ok() {
            Fetch::get(&self.own, url)
        } else {
            Fetch::get(&self.public, url)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp_guard::http::AllowedHost;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::algorithm::Algorithm;
    use crate::keys::{KeySource, NoKey, RemoteKeys, RemoteKeysConfig};
    use crate::testing::SigningKey;

    /// Finds the key `k1` at an issuer that gives one answer over a real socket.
    async fn found(status: &str, body: &str) -> Result<(), NoKey> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/jwks");
        let host = AllowedHost::of_url(&Url::parse(&url).unwrap()).unwrap();
        let fetcher = UrlFetcher::new(&Config::configured(vec![host])).unwrap();
        let config = RemoteKeysConfig::new(url);
        let keys = RemoteKeys::new(config, Arc::new(fetcher)).unwrap();
        let source = KeySource::from(Arc::new(keys));
        let answer = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(peer.read_u8().await.unwrap());
            }
            assert!(head.starts_with(b"GET /jwks HTTP/1.1\r\n"));
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
            peer.write_all(answer.as_bytes()).await.unwrap();
            peer
        };
        let (found, _peer) = tokio::join!(source.find(Some("k1"), Algorithm::Es256), answer);
        found.map(|_| ())
    }

    #[tokio::test]
    async fn keys_come_over_the_guarded_connector() {
        let set = serde_json::json!({"keys": [SigningKey::ec("k1").jwk()]}).to_string();
        assert_eq!(found("200 OK", &set).await, Ok(()));
        for status in ["404 Not Found", "500 Oops", "204 No Content"] {
            let body = if status.starts_with("204") { "" } else { &set };
            assert_eq!(
                found(status, body).await,
                Err(NoKey::Unavailable),
                "{status}"
            );
        }
    }
}
