//! What must not be written down, taken out of JSON before it reaches a log, an audit record or an error.
//!
//! A member is secret by its name: names are compared without case and without anything but letters and digits, so
//! `api_key`, `apiKey` and `X-Api-Key` are one name, and a name that *ends* in a secret name is secret too
//! (`db_password`, `githubAccessToken`). A string is secret by its form where the form leaves no doubt: a private key in
//! PEM, a JWT, a bearer credential. Redaction is the last net, not the first: secrets are kept out by type where they
//! are made.

mod scan;

use std::borrow::Cow;

use serde_json::Value;
use thiserror::Error;

/// What stands where a secret stood.
pub const REDACTED: &str = "[REDACTED]";

/// Levels of nesting that are looked into unless told otherwise; what lies deeper is replaced as a whole.
pub const DEFAULT_MAX_DEPTH: usize = 64;

/// The deepest nesting that can be asked for: each level costs stack.
pub const LIMIT_MAX_DEPTH: usize = 256;

/// The shortest credential after `Bearer` that is taken for one, so that prose about bearers stays readable.
const MIN_BEARER_CHARS: usize = 16;

/// Names whose values are secret, and those that end in them. Compared in the form of [`canonical`].
const SECRET_NAMES: &[&str] = &[
    "accesskey",
    "apikey",
    "authorization",
    "clientassertion",
    "codeverifier",
    "connectionstring",
    "cookie",
    "cookies",
    "credential",
    "credentials",
    "devicecode",
    "encryptionkey",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "passwordhash",
    "passwords",
    "privatekey",
    "pwd",
    "secret",
    "secretkey",
    "secrets",
    "secretvalue",
    "sessionid",
    "signingkey",
    "token",
];

/// Names that end in a secret name and are none: positions in a list, handles of a progress report.
const HARMLESS_NAMES: &[&str] = &[
    "continuationtoken",
    "nexttoken",
    "pagetoken",
    "paginationtoken",
    "progresstoken",
    "synctoken",
];

/// Takes secrets out of JSON.
///
/// ```
/// use fastmcp_guard::redact::Redactor;
/// use serde_json::json;
///
/// let mut value = json!({"user": "ada", "db_password": "hunter2"});
/// Redactor::default().redact(&mut value);
/// assert_eq!(value, json!({"user": "ada", "db_password": "[REDACTED]"}));
/// ```
#[derive(Clone, Debug)]
pub struct Redactor {
    secret: Vec<Cow<'static, str>>,
    harmless: Vec<Cow<'static, str>>,
    max_depth: usize,
}

impl Default for Redactor {
    /// The default names, [`DEFAULT_MAX_DEPTH`] levels.
    fn default() -> Self {
        Self {
            secret: SECRET_NAMES.iter().copied().map(Cow::Borrowed).collect(),
            harmless: HARMLESS_NAMES.iter().copied().map(Cow::Borrowed).collect(),
            max_depth: DEFAULT_MAX_DEPTH,
        }
    }
}

impl Redactor {
    /// Takes `name`, and every name that ends in it, for secret as well; spelling and case do not matter.
    ///
    /// # Errors
    ///
    /// [`RedactError::EmptyName`] if `name` has no letter or digit: it would match every name.
    pub fn with_secret_name(mut self, name: &str) -> Result<Self, RedactError> {
        self.secret.push(Cow::Owned(parsed(name)?));
        Ok(self)
    }

    /// Takes `name`, and every name that ends in it, for harmless even where it ends in a secret name.
    ///
    /// # Errors
    ///
    /// [`RedactError::EmptyName`] if `name` has no letter or digit: it would switch redaction off.
    pub fn with_harmless_name(mut self, name: &str) -> Result<Self, RedactError> {
        self.harmless.push(Cow::Owned(parsed(name)?));
        Ok(self)
    }

    /// Looks into that many levels of nesting, 1 to [`LIMIT_MAX_DEPTH`]; a value outside is brought to the nearer end.
    #[must_use]
    pub fn with_max_depth(mut self, levels: usize) -> Self {
        self.max_depth = levels.clamp(1, LIMIT_MAX_DEPTH);
        self
    }

    /// Tells whether the value of a member, header or field of this name is secret.
    #[must_use]
    pub fn is_secret_name(&self, name: &str) -> bool {
        if name.is_ascii() {
            // Nearly every name is, and needs no copy. Most known names end in another letter.
            let mut letters = name.bytes().rev().filter(u8::is_ascii_alphanumeric);
            let last = letters.next().map(|letter| letter.to_ascii_lowercase());
            let ends = |known: &str| known.bytes().last() == last && ends_in(name, known);
            return self.says_secret(ends);
        }
        let name = canonical(name);
        self.says_secret(|known| name.ends_with(known))
    }

    fn says_secret(&self, ends_in: impl Fn(&str) -> bool) -> bool {
        let any = |names: &[Cow<'static, str>]| names.iter().any(|known| ends_in(known));
        any(&self.secret) && !any(&self.harmless)
    }

    /// Tells whether a string's form alone shows a secret.
    #[must_use]
    pub fn is_secret_text(text: &str) -> bool {
        is_secret_text(text)
    }

    /// Replaces every secret in `value` by [`REDACTED`], and what lies too deep to be looked at. Tells whether there was any.
    pub fn redact(&self, value: &mut Value) -> bool {
        self.visit(value, self.max_depth)
    }

    /// Tells whether [`Self::redact`] would find anything in the value whose JSON text is `text`, without making the
    /// value.
    ///
    /// # Errors
    ///
    /// When `text` is not JSON.
    pub fn is_needed(&self, text: &str) -> Result<bool, serde_json::Error> {
        scan::is_needed(self, text, self.max_depth)
    }

    /// Returns a copy of `value` without its secrets.
    #[must_use]
    pub fn redacted(&self, value: &Value) -> Value {
        let mut copy = value.clone();
        self.redact(&mut copy);
        copy
    }

    fn visit(&self, value: &mut Value, levels_left: usize) -> bool {
        let found = match value {
            Value::Array(_) | Value::Object(_) if levels_left == 0 => true,
            Value::Array(items) => {
                // Each of them, whatever the others held.
                let mut found = false;
                for item in items {
                    found |= self.visit(item, levels_left - 1);
                }
                return found;
            }
            Value::Object(members) => {
                let mut found = false;
                for (name, member) in members {
                    found |= self.member(name, member, levels_left - 1);
                }
                return found;
            }
            Value::String(text) => is_secret_text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        };
        if found {
            *value = Value::from(REDACTED);
        }
        found
    }

    fn member(&self, name: &str, value: &mut Value, levels_left: usize) -> bool {
        if value.is_null() || !self.is_secret_name(name) {
            return self.visit(value, levels_left);
        }
        *value = Value::from(REDACTED);
        true
    }
}

/// A list of names that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RedactError {
    /// A name without a letter or digit.
    #[error("a name to redact has no letter or digit: give at least one")]
    EmptyName,
}

/// Whether `name`, which is ASCII, ends in `known` once it is in canonical form.
fn ends_in(name: &str, known: &str) -> bool {
    let letters = name.bytes().rev().filter(u8::is_ascii_alphanumeric);
    let mut letters = letters.map(|letter| letter.to_ascii_lowercase());
    known.bytes().rev().all(|byte| letters.next() == Some(byte))
}

/// A name in canonical form, if anything of it is left.
fn parsed(name: &str) -> Result<String, RedactError> {
    let name = canonical(name);
    if name.is_empty() {
        Err(RedactError::EmptyName)
    } else {
        Ok(name)
    }
}

/// Letters and digits in lower case; everything else (case, `_`, `-`, spaces) is spelling.
fn canonical(name: &str) -> String {
    if name.is_ascii() {
        // Nearly every name is, and needs no tables of all the world's letters.
        let mut canonical = name.to_ascii_lowercase();
        canonical.retain(|character| character.is_ascii_alphanumeric());
        return canonical;
    }
    name.chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Tells whether a string's form alone shows a secret.
fn is_secret_text(text: &str) -> bool {
    let text = text.trim();
    (text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----"))
        || is_jwt(text)
        || is_bearer(text)
        || is_api_key(text)
}

/// A key of the gateway: `fmk_`, 16 hex digits, `_` and a long secret.
fn is_api_key(text: &str) -> bool {
    let parts = text
        .strip_prefix("fmk_")
        .and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(id, secret)| {
        id.len() == 16
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && secret.len() >= 32
            && secret
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    })
}

/// A compact JWS or JWE: three or five base64url parts, the first of which begins a JSON object (`{"` is `eyJ`).
///
/// Source: RFC 7515, 7.1; RFC 7516, 7.1.
fn is_jwt(text: &str) -> bool {
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.starts_with("eyJ")
        && matches!(text.split('.').count(), 3 | 5)
        && text.split('.').all(|part| part.bytes().all(base64url))
}

/// `Bearer` and one word that is long enough. Source: RFC 6750, 2.1.
fn is_bearer(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    let (Some(scheme), Some(credential), None) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    (scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("dpop"))
        && credential.len() >= MIN_BEARER_CHARS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn secret_names_are_known_in_every_spelling() {
        let redactor = Redactor::default();
        for name in [
            "password",
            "PASSWD",
            "Secret",
            "token",
            "api_key",
            "apiKey",
            "X-API-Key",
            "apikey",
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "Set-Cookie",
            "private_key",
            "access_token",
            "refreshToken",
            "id_token",
            "client_secret",
            "action_token",
            "X-Action-Token",
            "db.password",
            "githubAccessToken",
            "passphrase",
            "aws_secret_access_key",
            "mcp-session-id",
        ] {
            assert!(redactor.is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn harmless_names_stay() {
        let redactor = Redactor::default();
        for name in [
            "user",
            "max_tokens",
            "token_type",
            "token_meta",
            "token_endpoint",
            "author",
            "progressToken",
            "next_page_token",
            "nextToken",
            "keyboard",
            "",
            "_",
            "secretary",
            "passwordless",
        ] {
            assert!(!redactor.is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn nested_secrets_go_whatever_their_type() {
        let value = json!({
            "a": [{"password": {"deep": ["x"]}}, {"token": 5, "kept": 1}],
            "b": {"client_secret": ["x", "y"], "cookie": null},
            "headers": [["authorization", "Bearer abcdefghijklmnopqrst"]],
        });
        let expected = json!({
            "a": [{"password": REDACTED}, {"token": REDACTED, "kept": 1}],
            "b": {"client_secret": REDACTED, "cookie": null},
            "headers": [["authorization", REDACTED]],
        });
        assert_eq!(Redactor::default().redacted(&value), expected);
    }

    #[test]
    fn strings_that_are_secret_by_form_go() {
        let pem = "-----BEGIN EC PRIVATE KEY-----\nMHc=\n-----END EC PRIVATE KEY-----";
        for text in [
            pem,
            "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln",
            " bearer 0123456789abcdef ",
            "DPoP 0123456789abcdef",
            "fmk_0123456789abcdef_0123456789abcdefghijABCDEFGHIJ012345",
        ] {
            assert_eq!(
                Redactor::default().redacted(&json!([text])),
                json!([REDACTED]),
                "{text}"
            );
        }
        for text in [
            "bearer of good news",
            "eyJust a word",
            "eyJ.x",
            "-----BEGIN CERTIFICATE-----",
            "bearer short",
        ] {
            assert_eq!(
                Redactor::default().redacted(&json!([text])),
                json!([text]),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_too_deep_goes_as_a_whole() {
        let redactor = Redactor::default().with_max_depth(2);
        assert_eq!(
            redactor.redacted(&json!({"a": {"b": {"c": 1}, "d": 2}})),
            json!({"a": {"b": REDACTED, "d": 2}})
        );
        let mut deep = json!("leaf");
        for _ in 0..10_000 {
            deep = Value::Array(vec![deep]);
        }
        Redactor::default()
            .with_max_depth(usize::MAX)
            .redact(&mut deep);
        let mut levels = 0;
        while let Value::Array(mut items) = deep {
            deep = items.remove(0);
            levels += 1;
        }
        assert_eq!((levels, deep), (LIMIT_MAX_DEPTH, json!(REDACTED)));
    }

    #[test]
    fn names_can_be_added_and_excused() {
        let redactor = Redactor::default()
            .with_secret_name("Tax-Number")
            .unwrap()
            .with_harmless_name("public token")
            .unwrap();
        assert!(redactor.is_secret_name("tax_number"));
        assert!(redactor.is_secret_name("userTaxNumber"));
        assert!(!redactor.is_secret_name("public_token"));
        assert_eq!(
            Redactor::default().with_secret_name("__").unwrap_err(),
            RedactError::EmptyName
        );
        assert_eq!(
            Redactor::default().with_harmless_name("").unwrap_err(),
            RedactError::EmptyName
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let name = || "password|x_token|next_token|name|p\"wd|tökën|\u{130}pwd";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "Bearer [a-z]{16}|Bearer [a-z]{2}|[ -~]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 24, 3, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(name(), inner, 0..3)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_name_is_the_same_with_and_without_letters_of_elsewhere(name in "[ -~]{0,16}") {
            // The dash is no letter; with it, the name is not ASCII.
            prop_assert_eq!(canonical(&format!("{name}\u{2013}")), canonical(&name));
        }

        #[test]
        fn a_look_finds_what_redaction_finds(value in value(), levels in 1_usize..6) {
            let redactor = Redactor::default().with_max_depth(levels);
            let text = value.to_string();
            let found = redactor.is_needed(&text).unwrap();
            prop_assert_eq!(found, redactor.redact(&mut value.clone()), "{}", text);
        }

        #[test]
        fn a_canary_beneath_a_secret_name_never_survives(
            prefix in "[a-zA-Z_-]{0,8}", name in prop::sample::select(SECRET_NAMES), depth in 0_usize..80,
        ) {
            // A harmless name may come about by chance ("page" + "token"); those are excused on purpose.
            let key = format!("{prefix}-{name}");
            prop_assume!(!HARMLESS_NAMES.iter().any(|harmless| canonical(&key).ends_with(harmless)));
            let mut value = json!({key: "canary-7f3a"});
            for level in 0..depth {
                value = if level % 2 == 0 { json!([value, 1]) } else { json!({"inner": value}) };
            }
            Redactor::default().redact(&mut value);
            prop_assert!(!value.to_string().contains("canary"));
        }
    }
}
