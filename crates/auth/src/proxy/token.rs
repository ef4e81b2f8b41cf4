//! Where codes and refresh tokens become tokens, and where tokens are taken back.
//!
//! Source: RFC 6749, sections 4.1.3, 5 and 6; RFC 7636, section 4.6; RFC 7009; RFC 8707, section 2.2; RFC 9068, section 2;
//! RFC 9700, sections 2.1.1, 4.5 and 4.14.

use std::time::Duration;

use bytes::Bytes;
use http::{Request as HttpRequest, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq as _;

use super::answer::{self, Answer, Parameters, Refused};
use super::record::{Code, Fresh, Held, Kind, Session};
use super::{Inner, OAuthProxy};
use crate::VerifyError;
use crate::digest::sha256;
use crate::oauth::pkce::unguessable;
use crate::verifier::TokenVerifier as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The claim of an access token that names its session.
pub(super) const SESSION: &str = "sid";

/// How often a session is read again because somebody else changed it at the same time.
const TRIES: usize = 5;

/// What a refresh token holds, sealed.
#[derive(Serialize, Deserialize)]
struct Refresh {
    #[serde(rename = "s")]
    session: String,
    #[serde(rename = "g")]
    generation: u64,
}

const fn invalid_grant() -> Refused {
    Refused::new(
        "invalid_grant",
        "the code or token is not good, or not for this client",
    )
}

impl OAuthProxy {
    /// The token endpoint.
    pub(super) async fn token(&self, request: &HttpRequest<Bytes>) -> Result<Answer, Refused> {
        let form = Parameters::of_form(request.headers(), request.body())?;
        let client = form.need("client_id", "`client_id` is needed")?;
        match form.need("grant_type", "`grant_type` is needed")? {
            "authorization_code" => self.inner.redeem(client, &form).await,
            "refresh_token" => self.refresh(client, &form).await,
            _ => Err(Refused::new(
                "unsupported_grant_type",
                "`grant_type` must be `authorization_code` or `refresh_token`",
            )),
        }
    }

    /// Gives tokens for a refresh token, which is replaced.
    async fn refresh(&self, client: &str, form: &Parameters) -> Result<Answer, Refused> {
        let inner = &self.inner;
        inner.check_resource(form)?;
        let token = form.need("refresh_token", "`refresh_token` is needed")?;
        let refresh = inner.opened(token).ok_or(invalid_grant())?;
        for _ in 0..TRIES {
            let held = inner.vault.get::<Session>(Kind::Session, &refresh.session);
            let Held { record, version } = held.await?.ok_or(invalid_grant())?;
            let of_client = record.client_id.as_bytes().ct_eq(client.as_bytes());
            let now = inner.clock.now();
            if !bool::from(of_client) || now >= record.until {
                return Err(invalid_grant());
            }
            if refresh.generation > record.generation {
                return Err(invalid_grant());
            }
            let scopes = narrowed(&record.person.scopes, form.get("scope"))?;
            if refresh.generation < record.generation {
                return inner.repeated(&refresh, &record, &scopes).await;
            }
            // While the tokens of the identity provider are good, so is the session.
            let fresh = self.fresh(&refresh.session, record.clone()).await;
            let fresh = fresh.map_err(|error| match error {
                VerifyError::Unavailable(_) => Refused::unavailable(),
                _ => invalid_grant(),
            })?;
            let unchanged = fresh.tokens.access == record.tokens.access;
            if !unchanged {
                // It was written meanwhile, and has another version.
                continue;
            }
            let next = Session {
                generation: record.generation.saturating_add(1),
                rotated_at: now,
                until: now.saturating_add(inner.config.lifetimes.refresh_token),
                ..fresh
            }
            .bounded(now, inner.config.lifetimes.session);
            let place = (Kind::Session, refresh.session.as_str());
            let ttl = next.until.since(now).max(Duration::from_secs(1));
            if inner.vault.replace(place, version, &next, ttl).await? {
                // The token that was given is used up by now: what cannot be counted is counted at the next refresh.
                if inner.enlist(&refresh.session, &next).await.is_err() {
                    tracing::warn!(
                        "a session that was refreshed is not counted among those of its person yet"
                    );
                }
                return inner.tokens(&refresh.session, &next, &scopes);
            }
        }
        Err(Refused::unavailable())
    }

    /// The revocation endpoint: the session ends, whichever of its tokens is named. A token that is none is none any more.
    pub(super) async fn revoke(&self, request: &HttpRequest<Bytes>) -> Result<Answer, Refused> {
        let inner = &self.inner;
        let form = Parameters::of_form(request.headers(), request.body())?;
        let token = form.need("token", "`token` is needed")?;
        let client = form.need("client_id", "`client_id` is needed")?;
        let session = match inner.opened(token) {
            Some(refresh) => Some(refresh.session),
            None => inner.named(token).await,
        };
        if let Some(session) = session {
            let held = inner.vault.get::<Session>(Kind::Session, &session).await?;
            let held = held.filter(|held| held.record.client_id == client);
            if let Some(held) = held {
                inner.end(&session, &held.record).await?;
            }
        }
        Ok(answer::json(StatusCode::OK, &json!({})))
    }
}

impl Inner {
    /// Gives tokens for a code.
    async fn redeem(&self, client: &str, form: &Parameters) -> Result<Answer, Refused> {
        let code = form.need("code", "`code` is needed")?;
        let held = self.vault.get::<Code>(Kind::Code, code).await?;
        let Held { record, version } = held.ok_or(invalid_grant())?;
        let fresh = match record {
            Code::Fresh(fresh) => *fresh,
            Code::Spent { session } => {
                self.end_named(session).await?;
                return Err(invalid_grant());
            }
        };
        let now = self.clock.now();
        let checked = self.check_redeemer(&fresh, client, form);
        if checked.is_err() || now >= fresh.until {
            // A code is good for one try: whoever fails may be somebody who found it.
            let spent = Code::Spent { session: None };
            let place = (Kind::Code, code);
            let ttl = self.config.lifetimes.code;
            self.vault.replace(place, version, &spent, ttl).await?;
            self.asking().revoke(&fresh.tokens).await;
            return checked.and(Err(invalid_grant()));
        }
        let id = unguessable(&*self.random)?;
        let ttl = self.config.lifetimes.refresh_token;
        let session = Session {
            client_id: fresh.request.client_id,
            person: fresh.person,
            tokens: fresh.tokens,
            generation: 0,
            rotated_at: now,
            until: now.saturating_add(ttl),
            ends_at: None,
        }
        .bounded(now, self.config.lifetimes.session);
        let ttl = session.until.since(now).max(Duration::from_secs(1));
        // Before the code is spent, so that who uses it again finds a session to end.
        self.vault.put(Kind::Session, &id, &session, ttl).await?;
        let spent = Code::Spent {
            session: Some(id.clone()),
        };
        let place = (Kind::Code, code);
        let once = self
            .vault
            .replace(place, version, &spent, self.config.lifetimes.code)
            .await?;
        if !once {
            self.vault.forget(Kind::Session, &id).await?;
            let held = self.vault.get::<Code>(Kind::Code, code).await?;
            if let Some(Code::Spent { session }) = held.map(|held| held.record) {
                self.end_named(session).await?;
            }
            return Err(invalid_grant());
        }
        if let Err(refused) = self.enlist(&id, &session).await {
            // Nothing is taken back at the identity provider, as where a person has too many.
            self.vault.forget(Kind::Session, &id).await?;
            return Err(refused);
        }
        let scopes = session.person.scopes.clone();
        self.tokens(&id, &session, &scopes)
    }

    /// Whether the code was issued to whoever redeems it, for that.
    fn check_redeemer(
        &self,
        fresh: &Fresh,
        client: &str,
        form: &Parameters,
    ) -> Result<(), Refused> {
        let request = &fresh.request;
        let of_client = request.client_id.as_bytes().ct_eq(client.as_bytes());
        let redirect = form.get("redirect_uri").unwrap_or_default();
        let to_redirect = request.redirect_uri.as_bytes().ct_eq(redirect.as_bytes());
        let verifier = form.get("code_verifier").unwrap_or_default();
        let challenge = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
        let proved = challenge.as_bytes().ct_eq(request.challenge.as_bytes());
        if !bool::from(of_client & to_redirect & proved) || !is_verifier(verifier) {
            return Err(invalid_grant());
        }
        self.check_resource(form)
    }

    /// Answers a refresh token that was replaced: shortly after that with the one in its place, else by ending the session,
    /// since two hold what one was given.
    async fn repeated(
        &self,
        refresh: &Refresh,
        session: &Session,
        scopes: &[String],
    ) -> Result<Answer, Refused> {
        let since = self.clock.now().since(session.rotated_at);
        let before = refresh.generation.saturating_add(1) == session.generation;
        if before && since < self.config.lifetimes.refresh_leeway {
            return self.tokens(&refresh.session, session, scopes);
        }
        tracing::warn!(
            subject = session.person.subject,
            "a refresh token was used twice; its session ends"
        );
        self.end(&refresh.session, session).await?;
        Err(invalid_grant())
    }

    async fn end_named(&self, session: Option<String>) -> Result<(), Refused> {
        let Some(id) = session else {
            return Ok(());
        };
        let held = self.vault.get::<Session>(Kind::Session, &id).await?;
        if let Some(held) = held {
            tracing::warn!(
                subject = held.record.person.subject,
                "a code was used twice; its session ends"
            );
            self.end(&id, &held.record).await?;
        }
        Ok(())
    }

    /// Ends a session, here and at the identity provider.
    async fn end(&self, id: &str, session: &Session) -> Result<(), Refused> {
        self.vault.forget(Kind::Session, id).await?;
        self.asking().revoke(&session.tokens).await;
        Ok(())
    }

    /// What a refresh token holds.
    fn opened(&self, token: &str) -> Option<Refresh> {
        let opened = self.keys.ring().open_text(self.bound().as_bytes(), token);
        serde_json::from_slice(&opened.ok()?).ok()
    }

    fn bound(&self) -> String {
        format!("refresh|{}|{}", self.issuer(), self.resource)
    }

    /// The session of an access token.
    pub(super) async fn named(&self, token: &str) -> Option<String> {
        let caller = self.own.verify(token).await.ok()?;
        let session = caller.claims().get(SESSION)?.as_str()?;
        Some(session.to_owned())
    }

    /// The tokens of a session (RFC 6749, section 5.1).
    fn tokens(&self, id: &str, session: &Session, scopes: &[String]) -> Result<Answer, Refused> {
        let now = self.clock.now();
        let mut until = now.saturating_add(self.config.lifetimes.access_token);
        let tokens = &session.tokens;
        // What cannot be renewed ends with what it stands for.
        let ends = tokens.expires_at.filter(|_| tokens.refresh.is_none());
        until = ends
            .map_or(until, |ends| ends.min(until))
            .min(session.until);
        let scope = scopes.join(" ");
        let claims = json!({
            "iss": self.issuer(),
            "sub": session.person.subject,
            "aud": self.resource,
            "client_id": digest_of(&session.client_id),
            "scope": scope,
            "iat": now.unix_seconds(),
            "exp": until.unix_seconds(),
            "jti": unguessable(&*self.random)?,
            SESSION: id,
        });
        let claims: Map<String, Value> = claims.as_object().cloned().unwrap_or_default();
        let access = self.keys.sign(claims).ok_or(Refused::unavailable())?;
        let mut body = json!({
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": until.since(now).as_secs(),
            "scope": scope,
        });
        if let (None, Some(body)) = (ends, body.as_object_mut()) {
            let refresh = Refresh {
                session: id.to_owned(),
                generation: session.generation,
            };
            let plain = serde_json::to_vec(&refresh).map_err(|_| Refused::unavailable())?;
            let sealed = self.keys.ring().seal_text(self.bound().as_bytes(), &plain);
            let sealed = sealed.map_err(|_| Refused::unavailable())?;
            body.insert("refresh_token".to_owned(), sealed.into());
        }
        Ok(answer::json(StatusCode::OK, &body))
    }
}

/// A client as tokens and records name it. Client ids of registrations are long; documents' URLs stay as they are.
pub(super) fn digest_of(client_id: &str) -> String {
    if client_id.len() <= crate::claims::MAX_TEXT_BYTES && client_id.starts_with("http") {
        return client_id.to_owned();
    }
    let digest = sha256(client_id.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.get(..16).unwrap_or_default())
}

/// The scopes of a new token: those of the session, or of them those that are asked for (RFC 6749, section 6).
fn narrowed(held: &[String], asked: Option<&str>) -> Result<Vec<String>, Refused> {
    let Some(asked) = asked else {
        return Ok(held.to_vec());
    };
    let mut scopes = Vec::new();
    for scope in asked.split(' ').filter(|scope| !scope.is_empty()) {
        if scope == crate::challenge::OFFLINE_ACCESS {
            continue;
        }
        if !held.iter().any(|held| held == scope) {
            let why = "one of the scopes is not of this session";
            return Err(Refused::new("invalid_scope", why));
        }
        scopes.push(scope.to_owned());
    }
    Ok(scopes)
}

/// Whether a text can be a verifier: 43 to 128 unreserved characters (RFC 7636, section 4.1).
fn is_verifier(text: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    (43..=128).contains(&text.len()) && text.bytes().all(unreserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifiers_have_the_form_of_rfc_7636() {
        assert!(is_verifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        assert!(is_verifier(&"a".repeat(128)));
        for bad in ["", "short", &"a".repeat(42), &"a".repeat(129)] {
            assert!(!is_verifier(bad), "{bad}");
        }
        assert!(!is_verifier(&format!("{}+", "a".repeat(43))));
    }

    #[test]
    fn scopes_only_become_fewer() {
        let held = ["a".to_owned(), "b".to_owned()];
        assert_eq!(narrowed(&held, None).unwrap(), held);
        assert_eq!(narrowed(&held, Some("b offline_access")).unwrap(), ["b"]);
        assert_eq!(
            narrowed(&held, Some("b c")).unwrap_err().error,
            "invalid_scope"
        );
    }
}
