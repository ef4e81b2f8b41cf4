//! Where clients send people to.
//!
//! Source: RFC 6749, section 4.1.1; RFC 7636, section 4.3; RFC 8707, section 2; RFC 9700, section 2.1.

use bytes::Bytes;
use http::{HeaderMap, Request as HttpRequest};

use super::answer::{self, Answer, Parameters, Refused};
use super::client::Client;
use super::consent::Browser;
use super::record::{Login, Request};
use super::upstream::Sent;
use super::{Consent, Inner, page, redirect};
use crate::oauth::pkce::{Pkce, unguessable};

/// Longest `state` of a client, in bytes.
const MAX_STATE: usize = 2_048;

impl Inner {
    /// Asks a person, or sends them to log in if they agreed before.
    pub(super) async fn authorize(&self, request: &HttpRequest<Bytes>) -> Answer {
        match self.asked(request).await {
            Ok(answer) => answer,
            Err(refused) => page::failure(refused.status, refused.why),
        }
    }

    async fn asked(&self, request: &HttpRequest<Bytes>) -> Result<Answer, Refused> {
        let parameters = Parameters::of_query(request.uri())?;
        let id = parameters.need("client_id", "the program does not say who it is")?;
        let client = self.clients.find(&self.documents, id, self.clock.now());
        let client = client.await?.ok_or(Refused::new(
            "invalid_client",
            "the program is not known here, or its registration has ended",
        ))?;
        let uri = parameters.need("redirect_uri", "the program does not say where it is")?;
        if !client.redirects_to(uri) || !self.clients.allow(uri) {
            let why = "the answer would go to a place that the program did not register";
            return Err(Refused::new("invalid_request", why));
        }
        match self.wanted(&client, uri, &parameters) {
            Ok(wanted) => self.ask_or_log_in(request, &client, &wanted),
            Err(refused) if redirect::takes_errors(uri) => {
                let request = bare(&client, uri, &parameters);
                let error = [("error", refused.error), ("error_description", refused.why)];
                Ok(answer::to_client(&request, self.issuer(), &error))
            }
            Err(refused) => Err(refused),
        }
    }

    /// What the client wants, checked.
    fn wanted(
        &self,
        client: &Client,
        uri: &str,
        parameters: &Parameters,
    ) -> Result<Request, Refused> {
        if parameters.get("response_type") != Some("code") {
            let why = "`response_type` must be `code`";
            return Err(Refused::new("unsupported_response_type", why));
        }
        if parameters
            .get("state")
            .is_some_and(|state| state.len() > MAX_STATE)
        {
            return Err(Refused::new("invalid_request", "`state` is too long"));
        }
        let why = "a `code_challenge` of method `S256` is needed";
        let challenge = parameters.need("code_challenge", why)?;
        // Without a method it would be `plain` (RFC 7636, section 4.3), which shows the verifier to whoever sees the URL.
        if parameters.get("code_challenge_method") != Some("S256") || !is_challenge(challenge) {
            return Err(Refused::new("invalid_request", why));
        }
        self.check_resource(parameters)?;
        let mut request = bare(client, uri, parameters);
        challenge.clone_into(&mut request.challenge);
        request.scopes = self.scopes(parameters.get("scope"))?;
        Ok(request)
    }

    /// Source: RFC 8707, section 2. Older clients name none; then it is this one, since there is no other.
    pub(super) fn check_resource(&self, parameters: &Parameters) -> Result<(), Refused> {
        let named = parameters.get("resource");
        let bare = |url: &str| url.strip_suffix('/').unwrap_or(url).to_owned();
        if named.is_none_or(|named| bare(named) == bare(&self.resource)) {
            return Ok(());
        }
        Err(Refused::new(
            "invalid_target",
            "`resource` is another server",
        ))
    }

    fn scopes(&self, asked: Option<&str>) -> Result<Vec<String>, Refused> {
        let required = &self.config.required_scopes;
        let Some(asked) = asked else {
            return Ok(required.clone());
        };
        let known = self.config.known_scopes();
        let unknown = Refused::new("invalid_scope", "one of the scopes is not known here");
        let mut scopes: Vec<String> = Vec::new();
        for scope in asked.split(' ').filter(|scope| !scope.is_empty()) {
            // What a client adds to get a refresh token, which it gets anyway.
            if scope == crate::challenge::OFFLINE_ACCESS && !known.iter().any(|k| k == scope) {
                continue;
            }
            if !known.iter().any(|known| known == scope) {
                return Err(unknown);
            }
            if !scopes.iter().any(|held| held == scope) {
                scopes.push(scope.to_owned());
            }
        }
        // Without them nobody is let in, so a login that does not ask for them would be for nothing.
        for scope in required {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        Ok(scopes)
    }

    fn ask_or_log_in(
        &self,
        request: &HttpRequest<Bytes>,
        client: &Client,
        wanted: &Request,
    ) -> Result<Answer, Refused> {
        let browser = match self.browser(request.headers()) {
            Some(browser) => browser,
            None => self.new_browser()?,
        };
        let remembers = matches!(self.config.consent, Consent::Remember(_));
        if remembers && browser.has_approved(wanted, self.clock.now()) {
            return self.log_in(request.headers(), wanted, &browser);
        }
        self.ask(wanted, client.vouched.as_deref(), &browser)
    }

    /// Sends a person who agreed to the identity provider. Its browser keeps what is needed when they come back.
    pub(super) fn log_in(
        &self,
        headers: &HeaderMap,
        request: &Request,
        browser: &Browser,
    ) -> Result<Answer, Refused> {
        let pkce = Pkce::generate(&*self.random)?;
        let state = unguessable(&*self.random)?;
        let login = Login {
            request: request.clone(),
            browser: browser.id.clone(),
            verifier: pkce.verifier().to_owned(),
            nonce: unguessable(&*self.random)?,
            until: self.clock.now().saturating_add(self.config.lifetimes.login),
        };
        let url = self.config.upstream.login(
            &self.config.callback(),
            &state,
            &Sent {
                challenge: pkce.challenge(),
                nonce: &login.nonce,
                scopes: &request.scopes,
            },
        );
        let mut answer = answer::redirect(&url);
        self.begin_login(headers, (&state, &login), &mut answer)?;
        Ok(answer)
    }
}

/// What is needed to answer a client, before anything else it asked for is known to be fit.
fn bare(client: &Client, uri: &str, parameters: &Parameters) -> Request {
    Request {
        client_id: client.id.clone(),
        client_name: client.name.clone(),
        redirect_uri: uri.to_owned(),
        state: parameters
            .get("state")
            .filter(|state| state.len() <= MAX_STATE)
            .map(str::to_owned),
        challenge: String::new(),
        scopes: Vec::new(),
    }
}

/// Whether a text can be the SHA-256 of a verifier: 43 characters of base64url (RFC 7636, section 4.2).
fn is_challenge(text: &str) -> bool {
    let base64url = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    text.len() == 43 && text.bytes().all(base64url)
}
