//! The facade: headers for requests, and what is done about refusals.

mod attempts;
mod flow;
mod logout;
mod record;
mod tokens;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastmcp_guard::clock::Timestamp;
use http::{HeaderMap, HeaderValue};
use url::Url;

use self::attempts::Attempts;
use self::tokens::Tokens;
use super::challenge::Demand;
use super::config::{Grant, OAuthConfig};
use super::dpop::Nonces;
use super::error::OAuthError;
use super::grant::Tools;
use super::identifier;
use super::network::Network;
use super::scope::Scopes;
use crate::error::ConfigError;

pub use self::logout::LoggedOut;

/// Gets tokens for one MCP server, and keeps them good.
///
/// Cheap to clone; clones are one client. Many requests may go on at once: one of them fetches a token, the others wait
/// for it. A token is sent to the origin of the server's URL and to nobody else.
#[derive(Clone)]
pub struct OAuthClient {
    inner: Arc<Inner>,
}

/// A request that the server refused.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// The status of the answer.
    pub status: u16,
    /// The headers of the answer.
    pub headers: &'a HeaderMap,
    /// The URL that was asked.
    pub url: &'a str,
    /// What was asked for, by the protocol's name of it: attempts are counted by it.
    pub operation: &'a str,
    /// The `authorization` header of the request, if that is known. It tells a token that was renewed in the meantime
    /// from one that does not serve.
    pub sent: Option<&'a HeaderValue>,
}

struct Inner {
    config: OAuthConfig,
    server_url: Url,
    network: Network,
    nonces: Nonces,
    state: Mutex<State>,
    /// Whose turn it is to fetch tokens. Held across requests and while a person is asked, which no other mutex allows.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Whether the storage was asked.
    loaded: bool,
    tokens: Option<Arc<Tokens>>,
    /// What was ever asked for: a step up must not lose what was there.
    asked: Scopes,
    attempts: Attempts,
    /// Counts the authorizations that ended, well or not, and why the last one failed, if it did.
    round: u64,
    failure: Option<String>,
}

impl OAuthClient {
    /// A client that is set up so. Nothing is sent before a server refuses a request.
    ///
    /// # Errors
    ///
    /// [`OAuthError::Config`] for a setting that cannot work.
    pub fn new(config: OAuthConfig) -> Result<Self, OAuthError> {
        config.check()?;
        let unfit = |problem| ConfigError::Unfit {
            field: "server_url",
            value: config.server_url.chars().take(200).collect(),
            problem,
        };
        let server_url = identifier::parse(&config.server_url).map_err(unfit)?;
        let network = Network::new(&config.network, Some(&server_url))?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                server_url,
                network,
                nonces: Nonces::default(),
                state: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// The headers for a request of `http_method` to `url`: `authorization`, and `dpop` where the token is bound to a
    /// key. None while there is no token, and for other origins than the server's.
    ///
    /// A token that is about to expire is renewed first, if that needs no person. With tokens that are bound to a key,
    /// every request needs headers of its own.
    ///
    /// # Errors
    ///
    /// [`OAuthError`] if an expired token could not be renewed, or the storage failed.
    ///
    /// # Cancel safety
    ///
    /// A renewal that was begun goes on when the future is dropped, so that a new refresh token is not lost.
    pub async fn headers(&self, http_method: &str, url: &str) -> Result<HeaderMap, OAuthError> {
        let inner = &self.inner;
        if !inner.is_for(url) {
            return Ok(HeaderMap::new());
        }
        let Some(mut tokens) = inner.current().await? else {
            return Ok(HeaderMap::new());
        };
        if tokens.is_due(inner.config.clock.now()) {
            match self.renewed(tokens).await? {
                Some(renewed) => tokens = renewed,
                None => return Ok(HeaderMap::new()),
            }
        }
        tokens.headers(http_method, url, inner.tools())
    }

    /// Does something about a refusal, and returns whether the request is to be sent again with new headers.
    ///
    /// It answers 401, and 403 that asks for more scopes; others are not its business. It may take as long as a person
    /// does. At most 3 authorizations are made for one operation within 5 minutes.
    ///
    /// # Errors
    ///
    /// [`OAuthError`], with what a person can do about it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the waiting for a person; what the authorization server was already asked for is
    /// fetched and kept.
    pub async fn challenged(&self, refusal: Refusal<'_>) -> Result<bool, OAuthError> {
        let inner = &self.inner;
        let demand = Demand::of(refusal.headers);
        let answerable =
            refusal.status == 401 || (refusal.status == 403 && demand.insufficient_scope);
        if !answerable || !inner.is_for(refusal.url) {
            return Ok(false);
        }
        let fresh = inner.nonces.note(refusal.url, refusal.headers);
        let held = inner.current().await?;
        if demand.wants_nonce && fresh && held.is_some_and(|tokens| tokens.is_bound()) {
            return Ok(true);
        }
        let round = inner.state().round;
        let _turn = inner.turn.lock().await;
        if let Some(settled) = inner.settled(round, refusal.sent) {
            return settled;
        }
        let outcome = self.authorized(refusal, &demand).await;
        let mut state = inner.state();
        state.round += 1;
        state.failure = outcome.as_ref().err().map(ToString::to_string);
        outcome.map(|()| true)
    }

    /// Renews `due` where it goes on without us.
    async fn renewed(&self, due: Arc<Tokens>) -> Result<Option<Arc<Tokens>>, OAuthError> {
        let inner = Arc::clone(&self.inner);
        let renewal = async move { inner.renew(due).await };
        let task = self.inner.network.tasks().spawn(renewal);
        task.await.map_err(|_| OAuthError::Stopped)?
    }
}

impl fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthClient")
            .field("server_url", &self.inner.config.server_url)
            .field("grant", &self.inner.config.grant)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request to `url` may carry the token.
    fn is_for(&self, url: &str) -> bool {
        let own = Url::parse(url).is_ok_and(|url| identifier::same_origin(&url, &self.server_url));
        if !own {
            tracing::debug!("no token for another origin than the server's");
        }
        own
    }

    fn tools(&self) -> Tools<'_> {
        Tools {
            network: &self.network,
            clock: &*self.config.clock,
            random: &*self.config.random,
            nonces: &self.nonces,
        }
    }

    /// The tokens that are held; the first time, those of the storage.
    async fn current(&self) -> Result<Option<Arc<Tokens>>, OAuthError> {
        {
            let state = self.state();
            if state.loaded {
                return Ok(state.tokens.clone());
            }
        }
        let found = record::load(&self.config).await?;
        let mut state = self.state();
        if !state.loaded {
            state.loaded = true;
            if let Some(tokens) = &found {
                state.asked = tokens.requested.clone();
            }
            state.tokens = found.map(Arc::new);
        }
        Ok(state.tokens.clone())
    }

    /// What came of the authorization that a refusal waited for; none if there was none.
    fn settled(&self, round: u64, sent: Option<&HeaderValue>) -> Option<Result<bool, OAuthError>> {
        let state = self.state();
        if let (Some(sent), Some(tokens)) = (sent, &state.tokens)
            && !tokens.is_sent_as(sent)
        {
            return Some(Ok(true));
        }
        if state.round == round {
            return None;
        }
        Some(match &state.failure {
            None => Ok(true),
            Some(reason) => Err(OAuthError::Meanwhile {
                reason: reason.clone(),
            }),
        })
    }

    /// Takes new tokens into use and saves them. Tokens that cannot be saved serve until the process ends.
    async fn keep(&self, tokens: Tokens) -> Arc<Tokens> {
        let tokens = Arc::new(tokens);
        {
            let mut state = self.state();
            state.loaded = true;
            state.asked = tokens.requested.clone();
            state.tokens = Some(Arc::clone(&tokens));
        }
        if let Err(error) = record::save(&self.config, &tokens).await {
            tracing::warn!(%error, "tokens could not be saved");
        }
        tokens
    }

    /// Lets go of tokens that do not serve any more.
    async fn drop_tokens(&self, tokens: &Tokens) {
        self.state().tokens = None;
        if let Err(error) = record::forget(&self.config, Some(tokens)).await {
            tracing::warn!(%error, "tokens could not be removed");
        }
    }

    /// Renews tokens that are about to expire, unless somebody else did; none if that needs a person.
    async fn renew(&self, due: Arc<Tokens>) -> Result<Option<Arc<Tokens>>, OAuthError> {
        let _turn = self.turn.lock().await;
        let held = self.state().tokens.clone();
        match held {
            Some(held) if !Arc::ptr_eq(&held, &due) => return Ok(Some(held)),
            None => return Ok(None),
            Some(_) => {}
        }
        let now = self.config.clock.now();
        // Another process may have renewed them, and ours would then be the old refresh token.
        if let Some(stored) = record::load(&self.config).await?
            && !stored.is_same(&due)
            && !stored.is_due(now)
        {
            return Ok(Some(self.keep(stored).await));
        }
        let renewed = match &self.config.grant {
            Grant::Person(_) => self.refresh(&due).await,
            _ => self.again(&due).await.map(Some),
        };
        self.settle(due, renewed, now).await
    }

    /// What serves after an attempt to renew `due`.
    async fn settle(
        &self,
        due: Arc<Tokens>,
        renewed: Result<Option<Tokens>, OAuthError>,
        now: Timestamp,
    ) -> Result<Option<Arc<Tokens>>, OAuthError> {
        match renewed {
            Ok(Some(tokens)) => Ok(Some(self.keep(tokens).await)),
            Ok(None) => Ok((!due.is_over(now)).then_some(due)),
            Err(error) if error.is_final() && due.refresh_token.is_some() => {
                tracing::info!(%error, "the refresh token is no longer good");
                self.drop_tokens(&due).await;
                Ok(None)
            }
            Err(error) if !due.is_over(now) => {
                tracing::warn!(%error, "tokens could not be renewed before they expire");
                Ok(Some(due))
            }
            Err(error) => Err(error),
        }
    }
}
