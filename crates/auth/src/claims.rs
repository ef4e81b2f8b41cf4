//! What a token says, and under which names.
//!
//! Claims are parsed once, into types, with every text bounded. Where an issuer may use several names for one thing,
//! the names that are present must agree: a token must not mean one tenant to one reader and another to the next.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{self, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::caller::Actor;
use crate::error::ConfigError;

pub(crate) mod read;

/// The most bytes of a subject, tenant, role, scope or client id. 255 is what OpenID Connect Core, section 2, allows a `sub`.
pub const MAX_TEXT_BYTES: usize = 255;
/// The most roles, and the most scopes, of one token.
pub const MAX_LIST: usize = 256;
/// The most actors in a chain of `act` claims.
pub const MAX_ACTORS: usize = 8;

/// The claim that names who acts, and within it who acted before. Source: RFC 8693, section 4.1.
const ACT: &str = "act";

/// Where a claim stands: the name of a member, or a JSON Pointer (RFC 6901) to a nested one.
///
/// Names that begin with `/` are pointers (`/realm_access/roles` for Keycloak), all others are plain names
/// (`https://example.com/roles` is one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName(String);

impl ClaimName {
    /// Parses a name or a pointer of 1 to 255 bytes.
    ///
    /// # Errors
    /// If it is empty, too long, or `/` alone.
    pub fn parse(name: &str) -> Result<Self, ConfigError> {
        ConfigError::unless_empty("claims", name.is_empty() || name == "/")?;
        let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
        ConfigError::unless_outside("claims (bytes of a name)", length, 1..=255)?;
        Ok(Self(name.to_owned()))
    }

    pub(crate) fn plain(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let Some(pointer) = self.0.strip_prefix('/') else {
            return claims.get(&self.0);
        };
        let (first, rest) = match pointer.find('/') {
            Some(at) => pointer.split_at(at),
            None => (pointer, ""),
        };
        let first = first.replace("~1", "/").replace("~0", "~");
        claims.get(&first)?.pointer(rest)
    }

    /// The name of the member itself, without where it stands.
    fn last(&self) -> Cow<'_, str> {
        if !self.0.starts_with('/') {
            return Cow::Borrowed(&self.0);
        }
        let last = self.0.rsplit('/').next().unwrap_or_default();
        Cow::Owned(last.replace("~1", "/").replace("~0", "~"))
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Under which names an issuer says what.
///
/// # Defaults
///
/// | field | names |
/// |---|---|
/// | `subject` | `sub` |
/// | `tenant` | `tenant`, `tenant_id` |
/// | `roles` | `roles` |
/// | `scopes` | `scopes` (a list), `scope` (separated by spaces); each may have either form |
/// | `client_id` | `client_id`, `azp` |
/// | `act` | `act` |
///
/// Where several names are present they must say the same; only of `client_id` the first one wins, since nothing but
/// records rest on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// Who the caller is.
    pub subject: ClaimName,
    /// The tenant it belongs to.
    pub tenant: Vec<ClaimName>,
    /// Its roles.
    pub roles: Vec<ClaimName>,
    /// Its scopes.
    pub scopes: Vec<ClaimName>,
    /// The OAuth client through which it calls.
    pub client_id: Vec<ClaimName>,
    /// Who acts for it: a chain of at most [`MAX_ACTORS`] (RFC 8693, section 4.1).
    pub act: Vec<ClaimName>,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            subject: ClaimName::plain("sub"),
            tenant: vec![ClaimName::plain("tenant"), ClaimName::plain("tenant_id")],
            roles: vec![ClaimName::plain("roles")],
            scopes: vec![ClaimName::plain("scopes"), ClaimName::plain("scope")],
            client_id: vec![ClaimName::plain("client_id"), ClaimName::plain("azp")],
            act: vec![ClaimName::plain(ACT)],
        }
    }
}

/// A claim that is missing or not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Two names for one thing say different things.
    #[error("the claims `{first}` and `{second}` disagree")]
    Disagree {
        /// The name that was read first.
        first: String,
        /// The name that says something else.
        second: String,
    },
    /// A claim of the wrong type, or out of bounds.
    #[error("the claim `{claim}` must be {expected}")]
    Malformed {
        /// The claim.
        claim: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// A claim that must be there.
    #[error("the claim `{claim}` is missing")]
    Missing {
        /// The claim.
        claim: String,
    },
}

impl ClaimError {
    fn malformed(claim: &str, expected: &'static str) -> Self {
        Self::Malformed {
            claim: claim.to_owned(),
            expected,
        }
    }

    pub(crate) fn missing(claim: &str) -> Self {
        Self::Missing {
            claim: claim.to_owned(),
        }
    }
}

/// What the claims say about a caller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) subject: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) client_id: Option<String>,
    pub(crate) actors: Vec<Actor>,
}

impl ClaimNames {
    /// Reads who `claims` are about.
    pub(crate) fn read(&self, claims: &Map<String, Value>) -> Result<Said, ClaimError> {
        Ok(Said {
            subject: read::text(claims, &self.subject)?,
            tenant: agreed(claims, &self.tenant, read::text)?,
            roles: agreed(claims, &self.roles, read::roles)?.unwrap_or_default(),
            scopes: agreed(claims, &self.scopes, read::scopes)?,
            client_id: first(claims, &self.client_id)?,
            actors: agreed(claims, &self.act, read::actors)?.unwrap_or_default(),
        })
    }
}

/// Reads whichever of `names` are present, and insists that they say the same.
fn agreed<T: PartialEq>(
    claims: &Map<String, Value>,
    names: &[ClaimName],
    read: impl Fn(&Map<String, Value>, &ClaimName) -> Result<Option<T>, ClaimError>,
) -> Result<Option<T>, ClaimError> {
    let mut agreed: Option<(&ClaimName, T)> = None;
    for name in names {
        let Some(value) = read(claims, name)? else {
            continue;
        };
        match &agreed {
            None => agreed = Some((name, value)),
            Some((_, before)) if *before == value => {}
            Some((before, _)) => {
                return Err(ClaimError::Disagree {
                    first: before.to_string(),
                    second: name.to_string(),
                });
            }
        }
    }
    Ok(agreed.map(|(_, value)| value))
}

fn first(claims: &Map<String, Value>, names: &[ClaimName]) -> Result<Option<String>, ClaimError> {
    for name in names {
        if let Some(value) = read::text(claims, name)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Parses a JSON object whose member names are unique.
///
/// Source: RFC 7515, section 4, and RFC 7519, section 4, which leave it to the reader to refuse a second member of a name.
pub(crate) fn parse_object(json: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    struct Unique;

    impl<'de> Visitor<'de> for Unique {
        type Value = Map<String, Value>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut object = Map::new();
            while let Some((name, value)) = access.next_entry::<String, Value>()? {
                if object.insert(name, value).is_some() {
                    return Err(de::Error::custom("a member name occurs twice"));
                }
            }
            Ok(object)
        }
    }

    let mut json = serde_json::Deserializer::from_slice(json);
    let object = json.deserialize_map(Unique)?;
    json.end()?;
    Ok(object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(claims: &Value) -> Result<Said, ClaimError> {
        ClaimNames::default().read(claims.as_object().unwrap())
    }

    #[test]
    fn reads_the_seed_claims() {
        let said = said(&json!({
            "sub": "agent-1", "tenant": "acme", "roles": ["data-analyst", "mcp-user"],
            "scopes": ["database.read", "tools.invoke:write"],
        }))
        .unwrap();
        assert_eq!(said.subject.as_deref(), Some("agent-1"));
        assert_eq!(said.tenant.as_deref(), Some("acme"));
        assert_eq!(said.roles, ["data-analyst", "mcp-user"]);
        assert_eq!(
            said.scopes.unwrap(),
            ["database.read", "tools.invoke:write"]
        );
        assert!(said.actors.is_empty() && said.client_id.is_none());
    }

    #[test]
    fn two_names_for_one_thing_must_agree() {
        let refused = said(&json!({"sub": "a", "tenant": "acme", "tenant_id": "evil"}));
        assert_eq!(
            refused.unwrap_err().to_string(),
            "the claims `tenant` and `tenant_id` disagree"
        );
        assert!(said(&json!({"sub": "a", "scopes": ["r"], "scope": "r w"})).is_err());
        let same = said(&json!({
            "sub": "a", "tenant": "acme", "tenant_id": "acme", "scopes": ["w", "r"], "scope": "r w",
        }))
        .unwrap();
        assert_eq!(same.tenant.as_deref(), Some("acme"));
        assert_eq!(same.scopes.unwrap(), ["r", "w"]);
    }

    #[test]
    fn no_scopes_and_an_empty_list_differ() {
        assert_eq!(said(&json!({"sub": "a"})).unwrap().scopes, None);
        for empty in [
            json!({"sub": "a", "scope": ""}),
            json!({"sub": "a", "scopes": []}),
        ] {
            assert_eq!(said(&empty).unwrap().scopes, Some(vec![]));
        }
        // Were null read as absent, it would widen the token to all that its roles allow.
        assert!(said(&json!({"sub": "a", "scope": null})).is_err());
    }

    #[test]
    fn pointers_reach_nested_claims_and_urls_stay_names() {
        let names = ClaimNames {
            roles: vec![ClaimName::parse("/realm_access/roles").unwrap()],
            tenant: vec![ClaimName::parse("https://acme.example/tenant").unwrap()],
            subject: ClaimName::parse("/a~1b").unwrap(),
            ..ClaimNames::default()
        };
        let claims = json!({
            "realm_access": {"roles": ["admin"]}, "https://acme.example/tenant": "t", "a/b": "s",
        });
        let said = names.read(claims.as_object().unwrap()).unwrap();
        assert_eq!(said.roles, ["admin"]);
        assert_eq!(said.tenant.as_deref(), Some("t"));
        assert_eq!(said.subject.as_deref(), Some("s"));
        assert!(ClaimName::parse("").is_err() && ClaimName::parse("/").is_err());
        assert!(ClaimName::parse(&"n".repeat(256)).is_err());
    }

    #[test]
    fn objects_hold_every_name_once() {
        assert_eq!(parse_object(br#"{"a":1}"#).unwrap().len(), 1);
        for refused in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1} x"#,
            "[]",
            "null",
            "",
            "{",
        ] {
            assert!(parse_object(refused.as_bytes()).is_err(), "{refused}");
        }
        assert!(parse_object(format!("{{\"a\":{}", "[".repeat(20_000)).as_bytes()).is_err());
    }
}
