//! The end of tokens.
//!
//! Source: RFC 7009.

use std::sync::Arc;

use super::super::discovery::ServerMetadata;
use super::super::error::OAuthError;
use super::super::grant::TokenRequest;
use super::super::scope::Scopes;
use super::attempts::Attempts;
use super::tokens::Tokens;
use super::{Inner, OAuthClient, record};

/// What came of [`OAuthClient::logout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoggedOut {
    /// There were no tokens.
    NothingHeld,
    /// The tokens are forgotten here; the authorization server has no way to be told, so that they stay good for
    /// whoever else has them until they expire.
    Forgotten,
    /// The tokens are forgotten, and the authorization server takes them no more.
    Revoked,
}

impl OAuthClient {
    /// Forgets the tokens, here and in the storage; the registration stays. The authorization server is not told: see
    /// [`Self::logout`].
    ///
    /// # Errors
    ///
    /// [`OAuthError::Storage`] if they are not known to be gone from the storage.
    ///
    /// # Cancel safety
    ///
    /// They may or may not be gone from the storage.
    pub async fn forget(&self) -> Result<(), OAuthError> {
        let _turn = self.inner.turn.lock().await;
        let held = self.inner.current().await?;
        self.inner.let_go(held.as_deref()).await
    }

    /// Ends the login: forgets the tokens, as [`Self::forget`] does, and has the authorization server revoke them, so
    /// that they are of no use to whoever else may have them. They are forgotten whatever the server says. The next
    /// refusal begins a new login.
    ///
    /// # Errors
    ///
    /// [`OAuthError::RevocationRefused`] and its like if the server did not take them back,
    /// [`OAuthError::Storage`] if they are not known to be gone from the storage.
    ///
    /// # Cancel safety
    ///
    /// Once begun, it goes on when the future is dropped.
    pub async fn logout(&self) -> Result<LoggedOut, OAuthError> {
        let inner = Arc::clone(&self.inner);
        self.carried_through(async move {
            let _turn = inner.turn.lock().await;
            let held = inner.current().await?;
            let forgotten = inner.let_go(held.as_deref()).await;
            let revoked = match &held {
                Some(held) => inner.revoke(held).await,
                None => Ok(LoggedOut::NothingHeld),
            };
            forgotten?;
            revoked
        })
        .await
    }
}

impl Inner {
    /// Forgets what is held.
    async fn let_go(&self, held: Option<&Tokens>) -> Result<(), OAuthError> {
        {
            let mut state = self.state();
            state.tokens = None;
            state.asked = Scopes::default();
            state.attempts = Attempts::default();
        }
        record::forget(&self.config, held).await
    }

    /// Has the authorization server take `held` back: the refresh token first, since new tokens come of it.
    async fn revoke(&self, held: &Tokens) -> Result<LoggedOut, OAuthError> {
        let server = ServerMetadata::find(&self.network, &held.issuer).await?;
        let Some(endpoint) = server.revocation_endpoint.as_deref() else {
            return Ok(LoggedOut::Forgotten);
        };
        let request = TokenRequest {
            tools: self.tools(),
            server: &server,
            client: held.client.as_ref(),
            key: None,
        };
        let renewal = match &held.refresh_token {
            Some(token) => request.revoke(endpoint, "refresh_token", token).await,
            None => Ok(()),
        };
        let access = request.revoke(endpoint, "access_token", &held.access_token);
        let access = match access.await {
            // Some servers take back refresh tokens alone, and what hangs on them (RFC 7009, section 2.1).
            Err(error) if held.refresh_token.is_some() && error.is_unsupported_token_type() => {
                Ok(())
            }
            other => other,
        };
        renewal?;
        access?;
        Ok(LoggedOut::Revoked)
    }
}
