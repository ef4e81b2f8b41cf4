//! The caller: the proof that somebody was authenticated, and as whom.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use fastmcp_guard::clock::Timestamp;
use serde_json::{Map, Value};

use crate::token::AccessToken;

mod connection;
mod principal;

pub use connection::{Connection, UserAgent};
pub use principal::Principal;

/// How a caller came to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallerKind {
    /// Nobody was authenticated: the server asks for no token.
    Anonymous,
    /// The process that started this one, or that lives in it: stdio and in-memory transports.
    Local,
    /// A verified token.
    Token,
}

impl CallerKind {
    /// The word for it in principals, logs and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Local => "local",
            Self::Token => "token",
        }
    }
}

/// Somebody who acts for somebody else.
///
/// Source: RFC 8693, section 4.1, "act" (Actor) Claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub(crate) subject: String,
    pub(crate) issuer: Option<String>,
}

impl Actor {
    /// Who acts.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Who vouches for that name, if it is not the token's issuer.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }
}

/// What a local caller is known as; see [`Caller::local_as`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalIdentity {
    /// Who it is; `local` if empty.
    pub subject: String,
    /// The tenant it belongs to.
    pub tenant: Option<String>,
    /// The roles it holds.
    pub roles: Vec<String>,
    /// What it is narrowed to; `None` leaves it as wide as its roles are.
    pub scopes: Option<Vec<String>>,
}

/// Whoever makes a request, authenticated.
///
/// Cheap to clone. The fields are private and there is no way to deserialise one, so that a `Caller` with a subject is
/// always a checked token or openly local:
///
/// ```compile_fail,E0277
/// let forged: fastmcp_auth::Caller = serde_json::from_str(r#"{"subject": "root"}"#).unwrap();
/// ```
///
/// ```compile_fail,E0451
/// let forged = fastmcp_auth::Caller { inner: todo!(), connection: None };
/// ```
#[derive(Clone)]
pub struct Caller {
    inner: Arc<Inner>,
    connection: Option<Arc<Connection>>,
}

struct Inner {
    kind: CallerKind,
    principal: Principal,
    identity: Identity,
}

/// What a verifier found out.
#[derive(Default)]
pub(crate) struct Identity {
    pub(crate) subject: String,
    pub(crate) tenant: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) client_id: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
    /// `expires_at` and the leeway with which it was checked.
    pub(crate) valid_until: Option<Timestamp>,
    pub(crate) claims: Arc<Map<String, Value>>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) token: Option<AccessToken>,
}

impl Caller {
    /// The caller of a server that asks for no token.
    #[must_use]
    pub fn anonymous() -> Self {
        static ANONYMOUS: LazyLock<Caller> = LazyLock::new(|| {
            let identity = Identity {
                subject: "anonymous".to_owned(),
                ..Identity::default()
            };
            Caller::of_kind(CallerKind::Anonymous, identity)
        });
        ANONYMOUS.clone()
    }

    /// The caller of a stdio or in-memory transport: subject `local`, no tenant, no roles, not narrowed to any scopes.
    #[must_use]
    pub fn local() -> Self {
        static LOCAL: LazyLock<Caller> =
            LazyLock::new(|| Caller::local_as(LocalIdentity::default()));
        LOCAL.clone()
    }

    /// A local caller with a name, a tenant and roles of its own, as whoever starts the process decides.
    #[must_use]
    pub fn local_as(identity: LocalIdentity) -> Self {
        let subject = if identity.subject.is_empty() {
            "local".to_owned()
        } else {
            identity.subject
        };
        let identity = Identity {
            subject,
            tenant: identity.tenant,
            roles: identity.roles,
            scopes: identity.scopes,
            ..Identity::default()
        };
        Self::of_kind(CallerKind::Local, identity)
    }

    /// Mints the caller of a token that was verified. Only verifiers of this crate can reach it.
    pub(crate) fn mint(identity: Identity) -> Self {
        Self::of_kind(CallerKind::Token, identity)
    }

    fn of_kind(kind: CallerKind, identity: Identity) -> Self {
        let principal = Principal::of(
            kind,
            identity.issuer.as_deref(),
            identity.tenant.as_deref(),
            &identity.subject,
        );
        let inner = Inner {
            kind,
            principal,
            identity,
        };
        Self {
            inner: Arc::new(inner),
            connection: None,
        }
    }

    /// The same caller, seen over `connection`.
    #[must_use]
    pub fn with_connection(&self, connection: Connection) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            connection: Some(Arc::new(connection)),
        }
    }

    /// How the caller came to be one.
    #[must_use]
    pub fn kind(&self) -> CallerKind {
        self.inner.kind
    }

    /// Who it is: at most 255 bytes, no control characters.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.inner.identity.subject
    }

    /// The tenant it belongs to.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.inner.identity.tenant.as_deref()
    }

    /// The roles it holds.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.inner.identity.roles
    }

    /// The scopes that its token carries. `None` if the token carries none, which is not the same as an empty list: an
    /// empty list narrows to nothing.
    #[must_use]
    pub fn scopes(&self) -> Option<&[String]> {
        self.inner.identity.scopes.as_deref()
    }

    /// Whether the caller itself brings `scope`: its token names it, or it is local and not narrowed.
    ///
    /// Scopes that follow from roles are the policy's to add.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        match self.scopes() {
            Some(scopes) => scopes.iter().any(|held| held == scope),
            None => self.kind() == CallerKind::Local,
        }
    }

    /// Those of `required` that [`has_scope`](Self::has_scope) denies.
    #[must_use]
    pub fn missing_scopes<'a>(&self, required: &'a [String]) -> Vec<&'a str> {
        let lacks = |scope: &&str| !self.has_scope(scope);
        required.iter().map(String::as_str).filter(lacks).collect()
    }

    /// The OAuth client through which it calls.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.inner.identity.client_id.as_deref()
    }

    /// Who vouches for it.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.inner.identity.issuer.as_deref()
    }

    /// When its token says that it expires.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.inner.identity.expires_at
    }

    /// Until when (exclusively) its token is accepted: its expiry and the leeway of the verifier.
    #[must_use]
    pub fn valid_until(&self) -> Option<Timestamp> {
        self.inner.identity.valid_until
    }

    /// Whether its token is still accepted at `now`. Long streams ask again and again.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.valid_until().is_none_or(|until| now < until)
    }

    /// All claims of its token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.inner.identity.claims
    }

    /// [`Self::claims`] for who keeps them.
    #[must_use]
    pub fn shared_claims(&self) -> Arc<Map<String, Value>> {
        Arc::clone(&self.inner.identity.claims)
    }

    /// Who acts for it: the current actor first, those before it after. Empty if it acts itself.
    #[must_use]
    pub fn actors(&self) -> &[Actor] {
        &self.inner.identity.actors
    }

    /// The token it presented.
    #[must_use]
    pub fn token(&self) -> Option<&AccessToken> {
        self.inner.identity.token.as_ref()
    }

    /// The stable key of who this is: what sessions, tickets and handles are bound to.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.inner.principal
    }

    /// The address it calls from, as the door saw it.
    #[must_use]
    pub fn client_address(&self) -> Option<IpAddr> {
        self.connection.as_ref().and_then(|c| c.client_address())
    }

    /// The program it calls with, as that program says.
    #[must_use]
    pub fn user_agent(&self) -> Option<&UserAgent> {
        self.connection.as_ref().and_then(|c| c.user_agent())
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("kind", &self.kind())
            .field("subject", &self.subject())
            .field("tenant", &self.tenant())
            .field("roles", &self.roles())
            .field("scopes", &self.scopes())
            .field("client_id", &self.client_id())
            .field("issuer", &self.issuer())
            .field("expires_at", &self.expires_at())
            .field("actors", &self.actors())
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn token_caller(scopes: Option<&[&str]>) -> Caller {
        Caller::mint(Identity {
            subject: "ada".to_owned(),
            tenant: Some("acme".to_owned()),
            scopes: scopes.map(|s| s.iter().map(|s| (*s).to_owned()).collect()),
            issuer: Some("https://idp.example".to_owned()),
            valid_until: Some(Timestamp::from_unix_seconds(100)),
            token: Some(AccessToken::new("very-secret-token")),
            ..Identity::default()
        })
    }

    #[test]
    fn local_and_anonymous_say_what_they_are() {
        let (local, anonymous) = (Caller::local(), Caller::anonymous());
        assert_eq!(
            (local.kind(), local.subject()),
            (CallerKind::Local, "local")
        );
        assert_eq!(anonymous.kind(), CallerKind::Anonymous);
        assert!(local.has_scope("anything"));
        assert!(!anonymous.has_scope("anything"));
        assert_ne!(local.principal(), anonymous.principal());
        let narrowed = Caller::local_as(LocalIdentity {
            scopes: Some(vec!["read".to_owned()]),
            ..LocalIdentity::default()
        });
        assert!(narrowed.has_scope("read") && !narrowed.has_scope("write"));
    }

    #[test]
    fn a_token_without_scopes_brings_none() {
        assert!(!token_caller(None).has_scope("read"));
        assert!(!token_caller(Some(&[])).has_scope("read"));
        let caller = token_caller(Some(&["read"]));
        let required = ["read".to_owned(), "write".to_owned()];
        assert_eq!(caller.missing_scopes(&required), ["write"]);
    }

    #[test]
    fn a_local_name_never_equals_a_token_of_that_name() {
        let token = token_caller(None);
        let local = Caller::local_as(LocalIdentity {
            subject: "ada".to_owned(),
            tenant: Some("acme".to_owned()),
            ..LocalIdentity::default()
        });
        assert_ne!(token.principal(), local.principal());
        assert_eq!(
            token.principal(),
            token_caller(Some(&["other"])).principal()
        );
    }

    #[test]
    fn validity_ends_exactly_at_its_end() {
        let caller = token_caller(None);
        let end = Timestamp::from_unix_seconds(100);
        assert!(caller.is_valid_at(end.saturating_sub(Duration::from_millis(1))));
        assert!(!caller.is_valid_at(end));
        assert!(Caller::local().is_valid_at(Timestamp::MAX));
    }

    #[test]
    fn debug_never_shows_the_token() {
        let caller = token_caller(None).with_connection(Connection::new(
            "::ffff:10.1.2.3".parse().ok(),
            Some("cli/1.2"),
        ));
        let shown = format!("{caller:?}");
        assert!(!shown.contains("very-secret"), "{shown}");
        assert!(shown.contains("ada"), "{shown}");
        assert_eq!(caller.client_address(), "10.1.2.3".parse().ok());
        assert_eq!(caller.user_agent().unwrap().product(), Some("cli"));
    }
}
