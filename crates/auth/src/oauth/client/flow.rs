//! How tokens come about: found out, asked for, fetched.

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::super::authorize::{self, Authorize, AuthorizeError, Question};
use super::super::challenge::Demand;
use super::super::config::{DpopUse, Enterprise, Grant, IdentityProvider};
use super::super::discovery::{ResourceDescription, ServerMetadata};
use super::super::dpop::ProofKey;
use super::super::error::OAuthError;
use super::super::grant::{
    self, Granted, ID_JAG, ID_TOKEN, JWT_BEARER, TOKEN_EXCHANGE, TokenRequest,
};
use super::super::pkce::{Pkce, unguessable};
use super::super::registration::{self, Client, Origin, Proof};
use super::super::scope::Scopes;
use super::tokens::{Asked, Tokens};
use super::{Inner, OAuthClient, Refusal, record};

/// A refresh token that is younger is not used again: the token that it gave was refused at once.
const YOUNG: std::time::Duration = std::time::Duration::from_secs(10);

/// The scope that asks for a refresh token (OpenID Connect Core 1.0, section 11).
const OFFLINE_ACCESS: &str = crate::challenge::OFFLINE_ACCESS;

/// What was found out about where tokens are to be had.
struct Found {
    resource: ResourceDescription,
    server: ServerMetadata,
}

impl OAuthClient {
    /// Gets tokens that a refusal asks for.
    pub(super) async fn authorized(
        &self,
        refusal: Refusal<'_>,
        demand: &Demand,
    ) -> Result<(), OAuthError> {
        let inner = &self.inner;
        let found = inner.find(demand).await?;
        let held = inner.state().tokens.clone();
        let held = held.filter(|tokens| {
            tokens.issuer == found.server.issuer && tokens.resource == found.resource.resource
        });
        if refusal.status == 401
            && let Some(held) = &held
            && self.refreshed(held, demand).await?
        {
            return Ok(());
        }
        let scopes = inner.scopes(&found, demand);
        let nothing_new =
            refusal.status == 403 && held.is_some_and(|held| held.granted.covers(&demand.scopes));
        let now = inner.config.clock.now();
        let counted =
            inner
                .state()
                .attempts
                .count(refusal.operation, now, &demand.scopes, nothing_new);
        counted?;
        match &inner.config.grant {
            Grant::Person(person) => self.by_person(&**person, found, scopes, demand).await,
            _ => {
                let asked = inner.asked(&found, scopes, demand)?;
                let inner = Arc::clone(inner);
                self.carried_through(async move {
                    let tokens = inner.alone(&found.server, asked).await?;
                    inner.keep(tokens).await;
                    Ok(())
                })
                .await
            }
        }
    }

    /// Runs what must not stop halfway where it goes on without us.
    pub(super) async fn carried_through<T: Send + 'static>(
        &self,
        step: impl Future<Output = Result<T, OAuthError>> + Send + 'static,
    ) -> Result<T, OAuthError> {
        let task = self.inner.network.tasks().spawn(step);
        task.await.map_err(|_| OAuthError::Stopped)?
    }

    /// Renews tokens that were refused, if they can be renewed and that may help.
    async fn refreshed(&self, held: &Arc<Tokens>, demand: &Demand) -> Result<bool, OAuthError> {
        let now = self.inner.config.clock.now();
        let young = now.since(held.obtained_at) < YOUNG;
        if held.refresh_token.is_none() || young || !held.granted.covers(&demand.scopes) {
            return Ok(false);
        }
        let (inner, held) = (Arc::clone(&self.inner), Arc::clone(held));
        self.carried_through(async move {
            match inner.refresh(&held).await {
                Ok(Some(tokens)) => {
                    inner.keep(tokens).await;
                    Ok(true)
                }
                Ok(None) => Ok(false),
                Err(error) if error.is_final() => {
                    tracing::info!(%error, "the refresh token is no longer good");
                    inner.drop_tokens(&held).await;
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Has a person agree.
    async fn by_person(
        &self,
        person: &dyn Authorize,
        found: Found,
        scopes: Scopes,
        demand: &Demand,
    ) -> Result<(), OAuthError> {
        let inner = &self.inner;
        let config = &inner.config;
        let endpoint = found.server.authorization_endpoint()?;
        let interaction = person.begin().await?;
        let redirect_uri = interaction.redirect_uri().to_owned();
        authorize::check_redirect_uri(&redirect_uri)?;
        let client = inner.client(&found.server, &redirect_uri).await?;
        let mut asked = inner.asked(&found, scopes, demand)?;
        let pkce = Pkce::generate(&*config.random)?;
        let state = unguessable(&*config.random)?;
        let question = Question {
            client_id: &client.id,
            redirect_uri: &redirect_uri,
            challenge: pkce.challenge(),
            state: &state,
            resource: &asked.resource,
            scope: asked.scopes.to_string(),
            dpop_jkt: asked.key.as_ref().map(|key| key.thumbprint()),
        };
        let url = question.url(endpoint);
        let answered = interaction.authorize(&url, &state);
        let limit = config.authorize_timeout;
        let answer = tokio::time::timeout(limit, answered).await;
        let answer = answer.map_err(|_| AuthorizeError::Timeout(limit))??;
        let code = match authorize::code(&answer, &state, &found.server) {
            Ok(code) => code,
            Err(error) => {
                inner
                    .unregistered(&error, &client, &found.server.issuer)
                    .await;
                return Err(error);
            }
        };
        asked.client = Some(client);
        let inner = Arc::clone(inner);
        self.carried_through(async move {
            let form = [
                ("grant_type", "authorization_code"),
                ("code", code.expose_secret()),
                ("redirect_uri", &redirect_uri),
                ("code_verifier", pkce.verifier()),
            ];
            let tokens = inner.fetched(&found.server, asked, &form).await?;
            inner.keep(tokens).await;
            Ok(())
        })
        .await
    }
}

impl Inner {
    /// Finds out where tokens for the server are to be had. It is found out anew at each refusal, for a server may have
    /// moved to another authorization server.
    async fn find(&self, demand: &Demand) -> Result<Found, OAuthError> {
        let config = &self.config;
        let named = demand.resource_metadata.as_deref();
        let found = ResourceDescription::find(&self.network, &config.server_url, named).await;
        let resource = match (found, &config.authorization_server) {
            (Err(OAuthError::NoResourceMetadata { .. }), Some(issuer)) => ResourceDescription {
                resource: config.server_url.clone(),
                authorization_servers: vec![issuer.clone()],
                scopes_supported: None,
            },
            (found, _) => found?,
        };
        let issuer = registration::choose(config, &resource.authorization_servers)?;
        let server = ServerMetadata::find(&self.network, issuer).await?;
        Ok(Found { resource, server })
    }

    /// The scopes to ask for: what was asked for before, and what the operation needs; to begin with, what the server
    /// names.
    ///
    /// Source: MCP 2026-07-28, basic/authorization, "Scope Selection Strategy", "Step-Up Authorization Flow", "Refresh
    /// Tokens".
    fn scopes(&self, found: &Found, demand: &Demand) -> Scopes {
        let asked = self.state().asked.clone();
        let wanted = if !asked.is_empty() {
            asked.union(&demand.scopes)
        } else if let Some(scopes) = &self.config.scopes {
            scopes.union(&demand.scopes)
        } else if !demand.scopes.is_empty() {
            demand.scopes.clone()
        } else {
            found.resource.scopes()
        };
        let mut scopes: Scopes = wanted
            .iter()
            .filter(|scope| *scope != OFFLINE_ACCESS)
            .collect();
        let person = matches!(self.config.grant, Grant::Person(_));
        let lasting = person && self.config.offline_access && found.server.refreshes();
        if lasting && !scopes.is_empty() && found.server.lists_scope(OFFLINE_ACCESS) {
            scopes = scopes.union(&Scopes::parse(OFFLINE_ACCESS));
        }
        scopes
    }

    fn asked(&self, found: &Found, scopes: Scopes, demand: &Demand) -> Result<Asked, OAuthError> {
        let offered = found.server.binds_tokens();
        let bind = match self.config.dpop {
            DpopUse::Off => false,
            DpopUse::Offered => offered || demand.wants_proof,
            DpopUse::Required if !offered => {
                return Err(found.server.lacks(
                    "does not bind tokens to keys with ES256, which is required".to_owned(),
                ));
            }
            DpopUse::Required => true,
        };
        let key = if bind {
            Some(Arc::new(ProofKey::generate()?))
        } else {
            None
        };
        Ok(Asked {
            issuer: found.server.issuer.clone(),
            resource: found.resource.resource.clone(),
            client: None,
            key,
            scopes,
            bound_only: self.config.dpop == DpopUse::Required,
        })
    }

    /// The client to be for an authorization with answers to `redirect_uri`.
    ///
    /// Source: MCP 2026-07-28, basic/authorization/client-registration: the order.
    async fn client(
        &self,
        server: &ServerMetadata,
        redirect_uri: &str,
    ) -> Result<Client, OAuthError> {
        let config = &self.config;
        if let Some(client) = registration::registered(config, &server.issuer) {
            return Ok(client);
        }
        if server.client_id_metadata_document_supported
            && let Some(client) = registration::described(config)
        {
            return Ok(client);
        }
        let known = record::load_client(config, &server.issuer).await?;
        if let Some(client) = known.filter(|known| known.serves(redirect_uri, config.clock.now())) {
            return Ok(client);
        }
        let client = registration::register(config, &self.network, server, redirect_uri).await?;
        if let Err(error) = record::save_client(config, &server.issuer, &client).await {
            tracing::warn!(%error, "the registration could not be saved");
        }
        Ok(client)
    }

    /// Lets go of a registration that the authorization server knows no more, so that the next attempt begins with a new
    /// one.
    async fn unregistered(&self, error: &OAuthError, client: &Client, issuer: &str) {
        let unknown = match error {
            OAuthError::TokenRefused { says, .. } | OAuthError::Denied { says, .. } => {
                ["invalid_client", "unauthorized_client"].contains(&says.error())
            }
            _ => false,
        };
        if unknown
            && client.origin == Origin::Dynamic
            && let Err(error) = record::forget_client(&self.config, issuer).await
        {
            tracing::warn!(%error, "the registration could not be removed");
        }
    }

    fn request<'a>(&'a self, server: &'a ServerMetadata, asked: &'a Asked) -> TokenRequest<'a> {
        TokenRequest {
            tools: self.tools(),
            server,
            client: asked.client.as_ref(),
            key: asked.key.as_deref(),
        }
    }

    /// Makes a token request for a resource.
    async fn granted(
        &self,
        server: &ServerMetadata,
        asked: &Asked,
        form: &[(&str, &str)],
    ) -> Result<Granted, OAuthError> {
        let mut form = form.to_vec();
        form.push(("resource", &asked.resource));
        let sent = self.request(server, asked).send(&form).await;
        if let (Err(error), Some(client)) = (&sent, &asked.client) {
            self.unregistered(error, client, &server.issuer).await;
        }
        sent
    }

    async fn fetched(
        &self,
        server: &ServerMetadata,
        asked: Asked,
        form: &[(&str, &str)],
    ) -> Result<Tokens, OAuthError> {
        let granted = self.granted(server, &asked, form).await?;
        Tokens::new(asked, granted, self.config.clock.now())
    }

    /// Fetches new tokens for a refresh token; none if there is none.
    ///
    /// Source: RFC 6749, section 6: without a new refresh token, the old one stays good.
    pub(super) async fn refresh(&self, held: &Tokens) -> Result<Option<Tokens>, OAuthError> {
        let Some(refresh_token) = &held.refresh_token else {
            return Ok(None);
        };
        let server = ServerMetadata::find(&self.network, &held.issuer).await?;
        let asked = Asked {
            issuer: held.issuer.clone(),
            resource: held.resource.clone(),
            client: held.client.clone(),
            key: held.key.clone(),
            scopes: held.requested.clone(),
            bound_only: held.is_bound(),
        };
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.expose_secret()),
        ];
        let mut granted = self.granted(&server, &asked, &form).await?;
        granted.scope = granted.scope.or_else(|| Some(held.granted.clone()));
        granted.refresh_token = granted
            .refresh_token
            .or_else(|| Some(refresh_token.clone()));
        Tokens::new(asked, granted, self.config.clock.now()).map(Some)
    }

    /// Fetches tokens like `held` once more, without a person.
    pub(super) async fn again(&self, held: &Tokens) -> Result<Tokens, OAuthError> {
        let server = ServerMetadata::find(&self.network, &held.issuer).await?;
        let asked = Asked {
            issuer: held.issuer.clone(),
            resource: held.resource.clone(),
            client: None,
            key: held.key.clone(),
            scopes: held.requested.clone(),
            bound_only: held.is_bound(),
        };
        self.alone(&server, asked).await
    }

    /// Fetches tokens without a person.
    async fn alone(&self, server: &ServerMetadata, mut asked: Asked) -> Result<Tokens, OAuthError> {
        asked.client = registration::registered(&self.config, &server.issuer);
        let scope = asked.scopes.to_string();
        let statement;
        let mut form = Vec::new();
        match &self.config.grant {
            Grant::Person(_) => {
                let nobody = "tokens of a person are not fetched without them".to_owned();
                return Err(AuthorizeError::Nobody(nobody).into());
            }
            Grant::Client => {
                let proof = asked.client.as_ref().map(|client| &client.proof);
                if !matches!(proof, Some(Proof::Secret(_) | Proof::Key(_))) {
                    return Err(OAuthError::Key {
                        what: "the registered client",
                        reason: "to ask for itself it needs a secret or a key",
                    });
                }
                form.push(("grant_type", "client_credentials"));
            }
            Grant::Workload(source) => {
                let fetched = source.assertion(&server.issuer).await;
                statement = fetched.map_err(|source| OAuthError::Assertion {
                    what: "statement about this workload",
                    source,
                })?;
                form.push(("grant_type", JWT_BEARER));
                form.push(("assertion", statement.expose_secret()));
            }
            Grant::Enterprise(enterprise) => {
                statement = self.vouched(enterprise, server, &asked).await?;
                form.push(("grant_type", JWT_BEARER));
                form.push(("assertion", statement.expose_secret()));
            }
        }
        if !scope.is_empty() {
            form.push(("scope", &scope));
        }
        self.fetched(server, asked, &form).await
    }

    /// Has the company's identity provider vouch for its user: an ID token for an identity assertion (ID-JAG).
    ///
    /// Source: MCP extension `io.modelcontextprotocol/enterprise-managed-authorization`; RFC 8693, section 2.
    async fn vouched(
        &self,
        enterprise: &Enterprise,
        server: &ServerMetadata,
        asked: &Asked,
    ) -> Result<secrecy::SecretString, OAuthError> {
        let provider = match &enterprise.provider {
            IdentityProvider::Issuer(issuer) => ServerMetadata::find(&self.network, issuer).await?,
            IdentityProvider::TokenEndpoint(url) => ServerMetadata::of_token_endpoint(url),
        };
        let id_token = enterprise.id_token.assertion(&provider.issuer).await;
        let id_token = id_token.map_err(|source| OAuthError::Assertion {
            what: "ID token of the user",
            source,
        })?;
        let scope = asked.scopes.to_string();
        let mut form = vec![
            ("grant_type", TOKEN_EXCHANGE),
            ("requested_token_type", ID_JAG),
            ("audience", &*server.issuer),
            ("resource", &*asked.resource),
            ("subject_token", id_token.expose_secret()),
            ("subject_token_type", ID_TOKEN),
        ];
        if !scope.is_empty() {
            form.push(("scope", &scope));
        }
        let client = registration::client(&enterprise.client);
        let request = TokenRequest {
            tools: self.tools(),
            server: &provider,
            client: Some(&client),
            key: None,
        };
        let granted = request.send(&form).await?;
        if granted.issued_token_type.as_deref() != Some(grant::ID_JAG) {
            return Err(provider.lacks(
                "gave another token than the identity assertion that was asked for".to_owned(),
            ));
        }
        Ok(granted.access_token)
    }
}
