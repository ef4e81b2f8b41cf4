//! Where the identity provider sends people back to.
//!
//! Source: RFC 6749, sections 4.1.2 and 4.1.3; RFC 9207, section 2.4; OpenID Connect Core 1.0, section 3.1.3.3.

use std::time::Duration;

use bytes::Bytes;
use http::{Request as HttpRequest, StatusCode};
use subtle::ConstantTimeEq as _;

use super::answer::{self, Answer, Parameters, Refused};
use super::record::{Code, Fresh, Kind, Login, Person};
use super::upstream::{Tokens, UpstreamError};
use super::{Inner, page};
use crate::oauth::pkce::unguessable;

/// Longest `state` and `code` that are looked at, in bytes.
const MAX_STATE: usize = 128;
const MAX_CODE: usize = 8 * 1024;

/// Why a login came to nothing, as the client is told.
struct Failed {
    error: &'static str,
    why: &'static str,
}

impl Failed {
    const fn new(error: &'static str, why: &'static str) -> Self {
        Self { error, why }
    }
}

impl From<UpstreamError> for Failed {
    fn from(error: UpstreamError) -> Self {
        tracing::warn!(%error, "a login failed");
        match error {
            UpstreamError::Refused(_) => {
                Self::new("server_error", "the identity provider refused the login")
            }
            UpstreamError::Unavailable(_) => Self::new(
                "temporarily_unavailable",
                "the identity provider cannot be asked",
            ),
        }
    }
}

impl From<crate::VerifyError> for Failed {
    fn from(error: crate::VerifyError) -> Self {
        tracing::warn!(%error, reason = error.reason(), "who logged in cannot be verified");
        if error.is_unavailable() {
            let why = "the identity provider cannot be asked";
            return Self::new("temporarily_unavailable", why);
        }
        Self::new("server_error", "who logged in cannot be verified")
    }
}

impl Inner {
    /// Takes the answer of the identity provider, and answers the client.
    pub(super) async fn callback(&self, request: &HttpRequest<Bytes>) -> Answer {
        match self.returned(request).await {
            Ok(answer) => answer,
            Err(refused) => page::failure(refused.status, refused.why),
        }
    }

    async fn returned(&self, request: &HttpRequest<Bytes>) -> Result<Answer, Refused> {
        let parameters = Parameters::of_query(request.uri())?;
        let stranger = || Refused {
            status: StatusCode::FORBIDDEN,
            ..Refused::new(
                "access_denied",
                "nobody in this browser is about to log in: the login was begun elsewhere, is over, or took too long",
            )
        };
        let state = parameters
            .get("state")
            .filter(|state| state.len() <= MAX_STATE);
        let state = state.ok_or_else(stranger)?;
        let headers = request.headers();
        let login = self.login(headers, state).ok_or_else(stranger)?;
        // First, so that a stranger who knows the state cannot use it up.
        let browser = self.browser(headers).ok_or_else(stranger)?;
        let same = browser.id.as_bytes().ct_eq(login.browser.as_bytes());
        let now = self.clock.now();
        if !bool::from(same) || now >= login.until {
            return Err(stranger());
        }
        // Used elsewhere, or here.
        let used = self.vault.get::<()>(Kind::Login, state).await?;
        if used.is_some() || !self.spent.take(state) {
            return Err(stranger());
        }
        let mut answer = match self.logged_in(&login, &parameters).await {
            Ok((person, tokens)) => {
                let left = login.until.since(now).max(Duration::from_secs(1));
                // Who comes second gets nothing. With some identity providers, to take its tokens back would end the session
                // of who came first.
                if !self.vault.put_new(Kind::Login, state, &(), left).await? {
                    return Err(stranger());
                }
                self.issue(login, person, tokens).await?
            }
            Err(failed) => {
                let error = [("error", failed.error), ("error_description", failed.why)];
                answer::to_client(&login.request, self.issuer(), &error)
            }
        };
        self.end_login(headers, state, &mut answer)?;
        Ok(answer)
    }

    /// Redeems the code, and finds out who logged in.
    async fn logged_in(
        &self,
        login: &Login,
        parameters: &Parameters,
    ) -> Result<(Person, Tokens), Failed> {
        let upstream = &self.config.upstream;
        // The answer of another server must not be redeemed at this one (mix-up).
        if let (Some(known), Some(said)) = (&upstream.issuer, parameters.get("iss"))
            && known != said
        {
            tracing::warn!("a login was answered by another identity provider");
            let why = "another identity provider answered";
            return Err(Failed::new("server_error", why));
        }
        if let Some(error) = parameters.get("error") {
            return Err(if error == "access_denied" {
                Failed::new("access_denied", "the login was declined")
            } else {
                Failed::new("server_error", "the identity provider refused the login")
            });
        }
        let code = parameters.get("code").filter(|code| code.len() <= MAX_CODE);
        let code = code.ok_or(Failed::new(
            "server_error",
            "the identity provider sent no code",
        ))?;
        let tokens = self
            .asking()
            .redeem(code, &self.config.callback(), &login.verifier)
            .await?;
        let asked = &login.request.scopes;
        let scopes = upstream.granted(asked, tokens.scope.as_deref());
        let required = &self.config.required_scopes;
        if !required.iter().all(|scope| scopes.contains(scope)) {
            let why = "a scope that is needed here was not granted";
            return Err(Failed::new("access_denied", why));
        }
        let person = self.person(&tokens, &login.nonce, scopes).await?;
        Ok((person, tokens))
    }

    /// Who logged in.
    async fn person(
        &self,
        tokens: &Tokens,
        nonce: &str,
        scopes: Vec<String>,
    ) -> Result<Person, Failed> {
        let mut person = Person {
            subject: String::new(),
            scopes,
            claims: serde_json::Map::new(),
        };
        if let Some(verifier) = self.verification.id_token() {
            let token = tokens.id_token.as_deref().ok_or(Failed::new(
                "server_error",
                "the identity provider sent no ID token",
            ))?;
            (person.subject, person.claims) = verifier.verify(token, Some(nonce)).await?;
        }
        let mut claims = person.claims.clone();
        if let Some(verifier) = self.verification.token() {
            let caller = verifier.verify(&tokens.tokens.access).await?;
            if self.verification.id_token().is_some() && caller.subject() != person.subject {
                let why = "the tokens of the identity provider are of two people";
                return Err(Failed::new("server_error", why));
            }
            caller.subject().clone_into(&mut person.subject);
            claims.extend(caller.claims().clone());
        }
        if self
            .config
            .admit
            .as_ref()
            .is_some_and(|admit| !admit(&claims))
        {
            return Err(Failed::new(
                "access_denied",
                "the account is not let in here",
            ));
        }
        Ok(person)
    }

    /// Answers the client with a code.
    async fn issue(&self, login: Login, person: Person, tokens: Tokens) -> Result<Answer, Refused> {
        let code = unguessable(&*self.random)?;
        let within = self.config.lifetimes.code;
        let request = login.request;
        tracing::info!(subject = person.subject, "somebody logged in");
        let record = Code::Fresh(Box::new(Fresh {
            request: request.clone(),
            person,
            tokens: tokens.tokens,
            until: self.clock.now().saturating_add(within),
        }));
        self.vault.put(Kind::Code, &code, &record, within).await?;
        Ok(answer::to_client(
            &request,
            self.issuer(),
            &[("code", &code)],
        ))
    }
}
