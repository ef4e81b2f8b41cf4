//! Readers of single claims: each takes the claims and gives a checked value, or says what is wrong.

use std::time::Duration;

use fastmcp_guard::clock::Timestamp;
use serde_json::{Map, Value};

use super::{ACT, ClaimError, ClaimName, MAX_ACTORS, MAX_LIST, MAX_TEXT_BYTES};
use crate::caller::Actor;

const TEXT: &str =
    "a string of 1 to 255 bytes without control characters and without spaces at its ends";
const SCOPES: &str = "a list of at most 256 scopes, or a string of them separated by single spaces";
const ROLES: &str = "a list of at most 256 strings";
const SECONDS: &str = "a number of seconds since 1970 and before the year 10000";
const ACTOR: &str = "an object whose `sub` (and `iss`, if there is one) is a string of 1 to 255 bytes, and whose `act`, if there is one, is such an object";
const CHAIN: &str = "a chain of at most 8 actors";
const NESTED: &str =
    "an object that names the actor before it once: by `act`, or by the name of the claim";
const AUDIENCE: &str = "a string or a list of strings";

/// 9999-12-31T23:59:59Z. What lies beyond is milliseconds by mistake.
const LAST_SECOND: u64 = 253_402_300_799;

/// Whether `text` may be a subject, tenant or role: it goes into records and keys.
pub(crate) fn is_text(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_TEXT_BYTES
        && text.trim() == text
        && !text.contains(char::is_control)
}

/// Whether `text` is one scope of bounded length. Source: RFC 6749, section 3.3, "scope-token".
pub(crate) fn is_scope(text: &str) -> bool {
    let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.len() <= MAX_TEXT_BYTES && text.bytes().all(allowed)
}

/// A bounded text.
pub(crate) fn text(
    claims: &Map<String, Value>,
    name: &ClaimName,
) -> Result<Option<String>, ClaimError> {
    let Some(value) = name.find(claims) else {
        return Ok(None);
    };
    match value {
        Value::String(text) if is_text(text) => Ok(Some(text.clone())),
        _ => Err(ClaimError::malformed(name.as_str(), TEXT)),
    }
}

/// A list of roles, or one role as a string: a string with spaces in it could mean one or many, and is refused.
pub(crate) fn roles(
    claims: &Map<String, Value>,
    name: &ClaimName,
) -> Result<Option<Vec<String>>, ClaimError> {
    let malformed = || ClaimError::malformed(name.as_str(), ROLES);
    let roles: Vec<String> = match name.find(claims) {
        None => return Ok(None),
        Some(Value::String(role)) if !role.contains(' ') => vec![role.clone()],
        Some(Value::Array(list)) => strings(list).ok_or_else(malformed)?,
        Some(_) => return Err(malformed()),
    };
    if roles.len() > MAX_LIST || !roles.iter().all(|role| is_text(role)) {
        return Err(malformed());
    }
    Ok(Some(as_set(roles)))
}

/// A list of scopes, or a string of them.
pub(crate) fn scopes(
    claims: &Map<String, Value>,
    name: &ClaimName,
) -> Result<Option<Vec<String>>, ClaimError> {
    let malformed = || ClaimError::malformed(name.as_str(), SCOPES);
    let scopes: Vec<String> = match name.find(claims) {
        None => return Ok(None),
        Some(Value::String(scopes)) if scopes.is_empty() => Vec::new(),
        Some(Value::String(scopes)) => scopes.split(' ').map(str::to_owned).collect(),
        Some(Value::Array(list)) => strings(list).ok_or_else(malformed)?,
        Some(_) => return Err(malformed()),
    };
    if scopes.len() > MAX_LIST || !scopes.iter().all(|scope| is_scope(scope)) {
        return Err(malformed());
    }
    Ok(Some(as_set(scopes)))
}

/// A NumericDate (RFC 7519, section 2), fractions allowed, kept to the millisecond.
pub(crate) fn moment(
    claims: &Map<String, Value>,
    claim: &str,
) -> Result<Option<Timestamp>, ClaimError> {
    let malformed = || ClaimError::malformed(claim, SECONDS);
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    if let Some(seconds) = value.as_u64() {
        if seconds > LAST_SECOND {
            return Err(malformed());
        }
        return Ok(Some(Timestamp::from_unix_seconds(seconds)));
    }
    let seconds = value.as_f64().ok_or_else(malformed)?;
    // Refuses negative numbers, NaN and what does not fit.
    let since_epoch = Duration::try_from_secs_f64(seconds).map_err(|_| malformed())?;
    if since_epoch.as_secs() > LAST_SECOND {
        return Err(malformed());
    }
    Ok(Some(Timestamp::UNIX_EPOCH.saturating_add(since_epoch)))
}

/// The audiences of a token. Source: RFC 7519, section 4.1.3.
pub(crate) fn audiences(claims: &Map<String, Value>) -> Result<Vec<&str>, ClaimError> {
    match claims.get("aud") {
        None => Err(ClaimError::missing("aud")),
        Some(Value::String(audience)) => Ok(vec![audience]),
        Some(Value::Array(list)) => list
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()
            .ok_or_else(|| ClaimError::malformed("aud", AUDIENCE)),
        Some(_) => Err(ClaimError::malformed("aud", AUDIENCE)),
    }
}

/// The chain of actors that begins with the claim `name`, the current actor first. The one before stands within it as
/// `act` or, where the issuer has a name of its own for the claim, by that.
///
/// Source: RFC 8693, section 4.1.
pub(crate) fn actors(
    claims: &Map<String, Value>,
    name: &ClaimName,
) -> Result<Option<Vec<Actor>>, ClaimError> {
    let refuse = |expected| ClaimError::malformed(name.as_str(), expected);
    let Some(current) = name.find(claims) else {
        return Ok(None);
    };
    let own = name.last();
    let mut actors = Vec::new();
    let mut next = Some(current);
    while let Some(value) = next {
        let members = value.as_object().ok_or_else(|| refuse(ACTOR))?;
        let issuer = match members.get("iss") {
            None => None,
            Some(issuer) => Some(bounded(Some(issuer)).ok_or_else(|| refuse(ACTOR))?),
        };
        let subject = bounded(members.get("sub")).ok_or_else(|| refuse(ACTOR))?;
        if actors.len() == MAX_ACTORS {
            return Err(refuse(CHAIN));
        }
        actors.push(Actor { subject, issuer });
        let theirs = members.get(&*own).filter(|_| own != ACT);
        next = match (members.get(ACT), theirs) {
            (Some(_), Some(_)) => return Err(refuse(NESTED)),
            (before, own) => before.or(own),
        };
    }
    Ok(Some(actors))
}

fn bounded(value: Option<&Value>) -> Option<String> {
    value?.as_str().filter(|t| is_text(t)).map(str::to_owned)
}

fn strings(list: &[Value]) -> Option<Vec<String>> {
    let owned = |value: &Value| value.as_str().map(str::to_owned);
    // One more than allowed is enough to be refused.
    list.iter().take(MAX_LIST + 1).map(owned).collect()
}

/// Sorted and without repetition, so that two spellings of one set are equal.
fn as_set(mut list: Vec<String>) -> Vec<String> {
    list.sort_unstable();
    list.dedup();
    list
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> &Map<String, Value> {
        value.as_object().unwrap()
    }

    #[test]
    fn texts_are_bounded_and_printable() {
        let name = ClaimName::parse("sub").unwrap();
        for good in ["a", "ada@example.org", "Zoë of Acme", &"x".repeat(255)] {
            let claims = json!({ "sub": good });
            assert_eq!(text(object(&claims), &name).unwrap().unwrap(), good);
        }
        let long = "x".repeat(256);
        for bad in [
            json!(""),
            json!(long),
            json!(" a"),
            json!("a\n"),
            json!("a\u{0}b"),
            json!(7),
            json!(null),
            json!(["a"]),
        ] {
            let claims = json!({ "sub": bad });
            assert!(text(object(&claims), &name).is_err(), "{claims}");
        }
    }

    #[test]
    fn lists_hold_what_they_should() {
        let name = ClaimName::parse("x").unwrap();
        let many: Vec<_> = (0..257).map(|n| format!("s{n}")).collect();
        for bad in [
            json!(["a b"]),
            json!(["a\"b"]),
            json!([""]),
            json!("a  b"),
            json!(" a"),
            json!("a\\b"),
            json!(["é"]),
            json!([1]),
            json!({"a": 1}),
            json!(many),
            json!(many.join(" ")),
        ] {
            let claims = json!({ "x": bad });
            assert!(scopes(object(&claims), &name).is_err(), "{claims}");
        }
        let claims = json!({"x": "b a b"});
        assert_eq!(scopes(object(&claims), &name).unwrap().unwrap(), ["a", "b"]);
        for bad in [json!("two words"), json!([["a"]]), json!(many), json!(1)] {
            let claims = json!({ "x": bad });
            assert!(roles(object(&claims), &name).is_err(), "{claims}");
        }
        let claims = json!({"x": "admin"});
        assert_eq!(roles(object(&claims), &name).unwrap().unwrap(), ["admin"]);
    }

    #[test]
    fn moments_are_seconds() {
        let at = |value: Value| moment(object(&json!({ "exp": value })), "exp");
        assert_eq!(
            at(json!(1_700_000_000)).unwrap(),
            Some(Timestamp::from_unix_seconds(1_700_000_000))
        );
        assert_eq!(at(json!(1.5)).unwrap().unwrap().millis(), 1_500);
        assert_eq!(moment(&Map::new(), "exp"), Ok(None));
        let milliseconds = 1_700_000_000_000_u64;
        for bad in [
            json!("1700000000"),
            json!(-1),
            json!(-0.5),
            json!(milliseconds),
            json!(1e300),
            json!(null),
            json!(true),
            json!(u64::MAX),
        ] {
            assert!(at(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn audiences_are_strings() {
        let claims = json!({"aud": ["a", "b"]});
        assert_eq!(audiences(object(&claims)).unwrap(), ["a", "b"]);
        for bad in [
            json!({}),
            json!({"aud": ["a", 1]}),
            json!({"aud": null}),
            json!({"aud": {}}),
        ] {
            assert!(audiences(object(&bad)).is_err(), "{bad}");
        }
    }

    fn subjects(claims: &Value, name: &str) -> Result<Vec<String>, String> {
        let name = ClaimName::parse(name).unwrap();
        let chain = actors(object(claims), &name).map_err(|error| error.to_string())?;
        let chain = chain.unwrap_or_default();
        Ok(chain.iter().map(|it| it.subject().to_owned()).collect())
    }

    #[test]
    fn actor_chains_are_read_in_order_and_bounded() {
        // RFC 8693, section 4.1, Figure 7.
        let claims = json!({
            "sub": "user@example.com",
            "act": {"sub": "https://service16.example.com", "act": {"sub": "https://service77.example.com"}},
        });
        assert_eq!(
            subjects(&claims, "act").unwrap(),
            [
                "https://service16.example.com",
                "https://service77.example.com"
            ]
        );
        assert!(subjects(&json!({}), "act").unwrap().is_empty());
        let mut deep = json!({"sub": "s"});
        for _ in 0..MAX_ACTORS {
            deep = json!({"sub": "s", "act": deep});
        }
        for (bad, says) in [
            (json!({"act": deep}), CHAIN),
            (json!({"act": "x"}), ACTOR),
            (json!({"act": null}), ACTOR),
            (json!({"act": {}}), ACTOR),
            (json!({"act": {"sub": "a", "iss": 1}}), ACTOR),
            (json!({"act": {"sub": "a", "act": "b"}}), ACTOR),
        ] {
            let refused = subjects(&bad, "act").unwrap_err();
            assert_eq!(refused, format!("the claim `act` must be {says}"), "{bad}");
        }
    }

    #[test]
    fn actors_are_found_under_an_issuers_own_name() {
        let claims = json!({
            "actor": {"sub": "agent-7", "actor": {"sub": "svc", "act": {"sub": "first"}}},
            "delegation": {"by": {"sub": "agent-8", "by": {"sub": "svc"}}},
            "act": {"sub": "somebody else"},
        });
        for name in ["actor", "/actor"] {
            assert_eq!(
                subjects(&claims, name).unwrap(),
                ["agent-7", "svc", "first"]
            );
        }
        assert_eq!(
            subjects(&claims, "/delegation/by").unwrap(),
            ["agent-8", "svc"]
        );
        let both = json!({"actor": {"sub": "a", "actor": {"sub": "b"}, "act": {"sub": "c"}}});
        let refused = subjects(&both, "actor").unwrap_err();
        assert_eq!(refused, format!("the claim `actor` must be {NESTED}"));
    }
}
