//! Who is asking, over HTTP.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use fastmcp_auth::oauth::{OAuthClient, OAuthError, Refusal};
use fastmcp_transport::{Challenge, Credentials, WireError};
use futures_util::future::BoxFuture;
use http::HeaderMap;

/// Tokens that are got over OAuth.
#[derive(Debug)]
pub(super) struct OAuth {
    client: OAuthClient,
    logins: Arc<AtomicUsize>,
}

impl OAuth {
    /// Counts in `logins` how many requests wait for somebody who logs in.
    pub(super) fn new(client: &OAuthClient, logins: &Arc<AtomicUsize>) -> Self {
        Self {
            client: client.clone(),
            logins: Arc::clone(logins),
        }
    }
}

/// A request that waits for somebody who logs in, until it is dropped.
struct Login<'a>(&'a AtomicUsize);

impl<'a> Login<'a> {
    fn begin(logins: &'a AtomicUsize) -> Self {
        logins.fetch_add(1, Ordering::Relaxed);
        Self(logins)
    }
}

impl Drop for Login<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Credentials for OAuth {
    fn headers<'a>(
        &'a self,
        http_method: &'a str,
        url: &'a str,
    ) -> BoxFuture<'a, Result<HeaderMap, WireError>> {
        Box::pin(async move {
            let headers = self.client.headers(http_method, url).await;
            headers.map_err(|error| unauthorized(&error))
        })
    }

    fn challenged<'a>(
        &'a self,
        challenge: &'a Challenge,
    ) -> BoxFuture<'a, Result<bool, WireError>> {
        let refusal = Refusal {
            status: challenge.status,
            headers: &challenge.headers,
            url: &challenge.url,
            operation: &challenge.method,
            sent: challenge.sent.as_ref(),
        };
        Box::pin(async move {
            let _login = Login::begin(&self.logins);
            let again = self.client.challenged(refusal).await;
            again.map_err(|error| unauthorized(&error))
        })
    }
}

/// The error and its causes, in one line.
fn unauthorized(error: &OAuthError) -> WireError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    WireError::Unauthorized(text)
}
