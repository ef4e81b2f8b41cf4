//! Who calls with a token of a proxy, and the identity provider's tokens behind it, kept good.

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use secrecy::SecretString;
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use tokio::time::{sleep, timeout};

use super::record::{Held, Kind, Session, VaultError};
use super::token::{SESSION, digest_of};
use super::upstream::UpstreamError;
use super::{Inner, OAuthProxy};
use crate::caller::{Caller, Identity};
use crate::claims::ClaimNames;
use crate::digest::sha256;
use crate::token::AccessToken;
use crate::verifier::{TokenVerifier, VerifyError};

/// Tokens are renewed when they have no more than that left.
const MARGIN: Duration = Duration::from_secs(60);

/// How long one replica has the turn to renew the tokens of a session, and how often the others look whether it did.
const TURN: Duration = Duration::from_secs(30);
const LOOKS: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// How long whoever needs tokens renewed waits for those before it, and how many wait in one line: an identity provider that
/// hangs must not gather everybody who calls.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_WAITING: usize = 64;

/// How often a session is read again because somebody else changed it at the same time.
const TRIES: usize = 5;

impl From<VaultError> for VerifyError {
    fn from(error: VaultError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// Where those wait who renew the tokens of some sessions.
pub(super) struct Line {
    /// Held while the identity provider is asked.
    turn: Mutex<()>,
    places: Semaphore,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            turn: Mutex::default(),
            places: Semaphore::new(MOST_WAITING),
        }
    }
}

impl Line {
    /// Waits for the turn, not for ever and not among too many.
    async fn turn(&self) -> Result<MutexGuard<'_, ()>, VerifyError> {
        let busy = || {
            let why = "too many wait for the identity provider to renew tokens";
            VerifyError::Unavailable(why.into())
        };
        let _place = self.places.try_acquire().map_err(|_| busy())?;
        let turn = timeout(PATIENCE, self.turn.lock()).await;
        turn.map_err(|_| busy())
    }
}

/// Why there is no token of the identity provider for a caller.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamTokenError {
    /// The caller did not come with a token of this proxy.
    #[error("the caller has no token of this proxy")]
    NotOurs,
    /// The session is over, or the identity provider cannot be asked.
    #[error("the identity provider's token cannot be had")]
    Session(#[from] VerifyError),
}

impl TokenVerifier for OAuthProxy {
    /// Verifies a token that this proxy issued; the identity provider's own tokens are nothing to it.
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
        Box::pin(self.check(token))
    }

    fn required_scopes(&self) -> &[String] {
        &self.inner.config.required_scopes
    }
}

impl OAuthProxy {
    /// The identity provider's access token of a caller, renewed if that is due: for tools that ask the identity provider's
    /// API in the name of their caller. It goes nowhere else, least of all to the caller.
    ///
    /// # Errors
    /// If the caller did not come with a token of this proxy, the session is over, or its token cannot be renewed.
    ///
    /// # Cancel safety
    /// A renewal that was begun goes on when the future is dropped.
    pub async fn upstream_token(
        &self,
        caller: &Caller,
    ) -> Result<SecretString, UpstreamTokenError> {
        let token = caller.token().ok_or(UpstreamTokenError::NotOurs)?;
        let session = self.inner.named(token.expose()).await;
        let session = session.ok_or(UpstreamTokenError::NotOurs)?;
        let held = self.inner.held(&session).await?;
        let fresh = self.fresh(&session, held.record).await?;
        Ok(fresh.tokens.access.into())
    }

    async fn check(&self, token: &str) -> Result<Caller, VerifyError> {
        let inner = &self.inner;
        let ours = inner.own.verify(token).await?;
        let text = |name: &str| ours.claims().get(name).and_then(serde_json::Value::as_str);
        let id = text(SESSION).ok_or(VerifyError::UnknownToken)?.to_owned();
        let session = inner.held(&id).await?.record;
        // The signature says so already; a store that was tampered with must not make it mean somebody else.
        if session.person.subject != ours.subject()
            || Some(digest_of(&session.client_id).as_str()) != ours.client_id()
        {
            return Err(VerifyError::UnknownToken);
        }
        let session = self.fresh(&id, session).await?;
        let identity = inner.identity(&ours, &session).await?;
        let admit = inner.config.admit.as_ref();
        if admit.is_some_and(|admit| !admit(&identity.claims)) {
            return Err(VerifyError::UnknownToken);
        }
        let access = AccessToken::new(token)
            .with_scopes(ours.scopes().unwrap_or_default().to_vec())
            .with_client_id(session.client_id.as_str())
            .with_claims(Arc::clone(&identity.claims));
        let access = match ours.expires_at() {
            Some(end) => access.with_expires_at(end),
            None => access,
        };
        Ok(Caller::mint(Identity {
            scopes: ours.scopes().map(<[String]>::to_vec),
            client_id: ours.client_id().map(str::to_owned),
            expires_at: ours.expires_at(),
            valid_until: ours.valid_until(),
            token: Some(access),
            ..identity
        }))
    }

    /// The session with tokens of the identity provider that are good.
    pub(super) async fn fresh(&self, id: &str, session: Session) -> Result<Session, VerifyError> {
        let now = self.inner.clock.now();
        let Some(end) = session.tokens.expires_at else {
            return Ok(session);
        };
        if session.tokens.refresh.is_none() {
            let good = now < end;
            return good.then_some(session).ok_or(VerifyError::Expired);
        }
        if now.saturating_add(MARGIN) < end {
            return Ok(session);
        }
        // Elsewhere, so that a caller who leaves does not lose tokens that were just replaced.
        let (inner, id) = (Arc::clone(&self.inner), id.to_owned());
        let renewing = self
            .inner
            .network
            .tasks()
            .spawn(async move { Box::pin(inner.renew(&id)).await });
        let ended = |_| VerifyError::Unavailable("the server ends".into());
        match renewing.await.map_err(ended)? {
            // What cannot be renewed now is good as long as it is.
            Err(error) if error.is_unavailable() && self.inner.clock.now() < end => {
                tracing::warn!(%error, "the tokens of a session are not renewed yet");
                Ok(session)
            }
            renewed => renewed,
        }
    }
}

/// Whether a refresh that failed so will never work again.
///
/// Source: RFC 6749, section 5.2; GitHub's name for the same is the second.
fn ends_a_session(error: &str) -> bool {
    matches!(error, "invalid_grant" | "bad_refresh_token")
}

impl Inner {
    pub(super) async fn held(&self, id: &str) -> Result<Held<Session>, VerifyError> {
        let held = self.vault.get::<Session>(Kind::Session, id).await?;
        held.filter(|held| self.clock.now() < held.record.until)
            .ok_or(VerifyError::UnknownToken)
    }

    fn is_due(&self, session: &Session) -> bool {
        let soon = self.clock.now().saturating_add(MARGIN);
        session.tokens.expires_at.is_some_and(|end| end <= soon)
    }

    /// Renews the tokens of a session, once however many ask, in this process and in others.
    async fn renew(&self, id: &str) -> Result<Session, VerifyError> {
        let at = sha256(id.as_bytes()).first().copied().unwrap_or_default();
        let line = self.lines.get(usize::from(at) % self.lines.len().max(1));
        let line = line.ok_or(VerifyError::UnknownToken)?;
        let _turn = line.turn().await?;
        for _ in 0..LOOKS {
            let session = self.held(id).await?.record;
            if !self.is_due(&session) {
                return Ok(session);
            }
            if self.vault.put_new(Kind::Turn, id, &(), TURN).await? {
                let renewed = self.renewed(id).await;
                self.vault.forget(Kind::Turn, id).await?;
                return renewed;
            }
            sleep(BETWEEN_LOOKS).await;
        }
        Err(VerifyError::Unavailable(
            "the tokens of the session are being renewed elsewhere".into(),
        ))
    }

    /// Asks for new tokens, and keeps them.
    async fn renewed(&self, id: &str) -> Result<Session, VerifyError> {
        let session = self.held(id).await?.record;
        let Some(refresh) = session
            .tokens
            .refresh
            .as_deref()
            .filter(|_| self.is_due(&session))
        else {
            return Ok(session);
        };
        let renewed = match self.asking().renew(refresh).await {
            Ok(renewed) => renewed,
            // Anything else is about this server or the moment, and may pass.
            Err(UpstreamError::Refused(error)) if ends_a_session(&error) => {
                let subject = &session.person.subject;
                tracing::info!(error, subject, "the identity provider ended a session");
                self.vault.forget(Kind::Session, id).await?;
                return Err(VerifyError::UnknownToken);
            }
            Err(error) => {
                let end = session.tokens.expires_at;
                if end.is_some_and(|end| self.clock.now() < end) {
                    return Ok(session);
                }
                return Err(VerifyError::Unavailable(Box::new(error)));
            }
        };
        let mut claims = None;
        if let (Some(verifier), Some(token)) = (self.verification.id_token(), &renewed.id_token) {
            // Source: OpenID Connect Core 1.0, section 12.2: it must be about the same person.
            match verifier.verify(token, None).await {
                Ok((subject, said)) if subject == session.person.subject => claims = Some(said),
                Ok(_) => {
                    self.vault.forget(Kind::Session, id).await?;
                    return Err(VerifyError::UnknownToken);
                }
                // The keys are away, but the old tokens are spent: the new ones must not be lost.
                Err(error) if error.is_unavailable() => {}
                Err(error) => return Err(error),
            }
        }
        for _ in 0..TRIES {
            let Held { record, version } = self.held(id).await?;
            let mut next = Session {
                tokens: renewed.tokens.clone(),
                ..record
            }
            .bounded(self.clock.now(), self.config.lifetimes.session);
            if let Some(claims) = &claims {
                next.person.claims.clone_from(claims);
            }
            let ttl = next
                .until
                .since(self.clock.now())
                .max(Duration::from_secs(1));
            let place = (Kind::Session, id);
            if self.vault.replace(place, version, &next, ttl).await? {
                return Ok(next);
            }
        }
        Err(VerifyError::Unavailable("the store is too busy".into()))
    }

    /// Who a session is of, as the identity provider says now.
    async fn identity(&self, ours: &Caller, session: &Session) -> Result<Identity, VerifyError> {
        let mut claims = session.person.claims.clone();
        if let Some(verifier) = self.verification.token() {
            let caller = verifier.verify(&session.tokens.access).await?;
            if caller.subject() != session.person.subject {
                return Err(VerifyError::UnknownToken);
            }
            claims.extend(caller.claims().clone());
            return Ok(Identity {
                subject: caller.subject().to_owned(),
                tenant: caller.tenant().map(str::to_owned),
                roles: caller.roles().to_vec(),
                issuer: caller.issuer().map(str::to_owned),
                claims: Arc::new(claims),
                actors: caller.actors().to_vec(),
                ..Identity::default()
            });
        }
        let names = self
            .verification
            .id_token()
            .map(|verifier| verifier.names());
        let said = names.unwrap_or(&ClaimNames::default()).read(&claims)?;
        let issuer = claims.get("iss").and_then(serde_json::Value::as_str);
        Ok(Identity {
            subject: ours.subject().to_owned(),
            tenant: said.tenant,
            roles: said.roles,
            issuer: issuer.map(str::to_owned),
            claims: Arc::new(claims),
            ..Identity::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_before_an_identity_provider_that_hangs_is_bounded() {
        let line = Line::default();
        let hanging = line.turn().await.unwrap();
        let begun = Instant::now();
        let waiting = join_all((0..MOST_WAITING).map(|_| line.turn()));
        let more = async {
            tokio::task::yield_now().await;
            let refused = line.turn().await.map(drop);
            (refused, begun.elapsed())
        };
        let (waited, (refused, at)) = tokio::join!(waiting, more);
        assert!(refused.unwrap_err().is_unavailable());
        assert_eq!(at, Duration::ZERO, "who finds a long line does not wait");
        assert!(waited.into_iter().all(|turn| turn.is_err()));
        assert_eq!(begun.elapsed(), PATIENCE);
        drop(hanging);
        assert!(line.turn().await.is_ok());
    }
}
