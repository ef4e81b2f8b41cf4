//! What a client says about itself: when it registers, or in a document at the URL that is its id.
//!
//! The rules stand here alone: the proxy holds clients against them, and so does whoever publishes a document and wants to
//! know beforehand.
//!
//! Source: RFC 7591, section 2; OAuth Client ID Metadata Document (draft-ietf-oauth-client-id-metadata-document), sections 3
//! to 6; MCP 2026-07-28, basic/authorization, "Client ID Metadata Documents".

use std::fmt;

use fastmcp_guard::http::FetchError;
use serde_json::{Map, Value};

use super::answer::Refused;
use super::redirect::RedirectRules;
use crate::claims::{parse_object, read};
use crate::endpoint;
use crate::error::ConfigError;
use crate::oauth::error::OAuthError;
use crate::oauth::identifier;
use crate::oauth::network::{Network, NetworkConfig};

/// Most redirect URIs of a client, and most bytes of all of them.
const MAX_REDIRECTS: usize = 10;
const MAX_REDIRECT_BYTES: usize = 1_536;

/// Most characters of a name.
const MAX_NAME: usize = 100;

/// Most bytes of a document.
const MAX_DOCUMENT: usize = 32 * 1024;

/// Members whose values are URLs for people.
const LINKS: [&str; 4] = ["client_uri", "logo_uri", "tos_uri", "policy_uri"];

/// Members that hold a secret, which a document is no place for: everybody can read it.
const SECRETS: [&str; 2] = ["client_secret", "client_secret_expires_at"];

/// Members of a key that only its owner may know (RFC 7518, section 6).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// How a client that a document describes proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DocumentProof {
    /// It is a public client: PKCE proves who asked for a code.
    None,
    /// By a key, whose public half the document names (`private_key_jwt`).
    Key,
}

/// A client's metadata document that keeps the rules.
///
/// ```
/// # use fastmcp_auth::proxy::{ClientDocument, RedirectRules};
/// let id = "https://app.example/client.json";
/// let text = br#"{"client_id": "https://app.example/client.json", "client_name": "App",
///                 "redirect_uris": ["http://127.0.0.1:3000/callback"]}"#;
/// let document = ClientDocument::read(id, text, &RedirectRules::default())?;
/// assert_eq!(document.name(), "App");
/// # Ok::<_, fastmcp_auth::proxy::DocumentError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientDocument {
    id: String,
    name: String,
    redirect_uris: Vec<String>,
    scopes: Vec<String>,
    proof: DocumentProof,
}

/// Why there is no document, or why it describes no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The URL cannot be the id of a client.
    #[error("`client_id`: `{id}` {problem}")]
    Id {
        /// The beginning of the URL.
        id: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It cannot be got, or may not be.
    #[error(transparent)]
    Fetch(OAuthError),
    /// The URL leads elsewhere.
    #[error("the url redirects: the document must be at the url itself, which is the client's id")]
    Moved,
    /// There is nothing at the URL.
    #[error("there is no document at the url: it answers that there is none")]
    Absent,
    /// It is too large.
    #[error("the document has more than {MAX_DOCUMENT} bytes")]
    TooLarge,
    /// It is not a JSON object, or a member stands in it twice.
    #[error("the document is no JSON object whose members each stand once: {0}")]
    NoObject(String),
    /// It breaks rules.
    #[error("{}", list(.0))]
    Unfit(Vec<DocumentProblem>),
}

impl DocumentError {
    fn of(error: OAuthError) -> Self {
        if let OAuthError::Fetch { source, .. } = &error {
            match **source {
                FetchError::TooManyRedirects { .. } => return Self::Moved,
                FetchError::TooLarge { .. } => return Self::TooLarge,
                _ => {}
            }
        }
        Self::Fetch(error)
    }
}

/// A rule that a client's metadata breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentProblem {
    field: &'static str,
    /// Which of several values, and what is wrong with that one.
    at: Option<(usize, &'static str)>,
    /// The whole, with the name of the member.
    why: &'static str,
}

impl DocumentProblem {
    const fn new(field: &'static str, why: &'static str) -> Self {
        Self {
            field,
            at: None,
            why,
        }
    }

    /// The member that breaks it.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// As a registration is refused with (RFC 7591, section 3.2.2).
    pub(super) fn refused(&self) -> Refused {
        let error = if self.field == "redirect_uris" {
            "invalid_redirect_uri"
        } else {
            "invalid_client_metadata"
        };
        Refused::new(error, self.why)
    }
}

impl fmt::Display for DocumentProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((at, problem)) => write!(f, "`{}[{at}]` {problem}", self.field),
            None => f.write_str(self.why),
        }
    }
}

fn list(problems: &[DocumentProblem]) -> String {
    let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
    all.join("; ")
}

impl ClientDocument {
    /// Reads the document that is published at `id`.
    ///
    /// # Errors
    /// If the URL cannot be the id of a client, or the document breaks rules: all of them are named.
    pub fn read(id: &str, document: &[u8], rules: &RedirectRules) -> Result<Self, DocumentError> {
        // Whoever gets it over the network asks the network's settings, which may name hosts for http.
        if let Err(ConfigError::Unfit { problem, .. }) = endpoint::parse("client_id", id) {
            return Err(unfit(id, problem));
        }
        Self::of(id, document, rules)
    }

    fn of(id: &str, document: &[u8], rules: &RedirectRules) -> Result<Self, DocumentError> {
        check_id(id)?;
        if document.len() > MAX_DOCUMENT {
            return Err(DocumentError::TooLarge);
        }
        let said = parse_object(document);
        let said = said.map_err(|error| DocumentError::NoObject(error.to_string()))?;
        let mut problems = Vec::new();
        if text(&said, "client_id") != Ok(Some(id)) {
            let why = "`client_id` must be the url at which the document is, to the letter";
            problems.push(DocumentProblem::new("client_id", why));
        }
        let client = Said::read(&said, rules, &mut problems);
        if client.name.is_none() && !problems.iter().any(|one| one.field == "client_name") {
            let why = "`client_name` must say how people know the client";
            problems.push(DocumentProblem::new("client_name", why));
        }
        for field in SECRETS {
            if said.contains_key(field) {
                let why = "`client_secret` must not stand in a document, which everybody can read";
                problems.push(DocumentProblem::new(field, why));
            }
        }
        for field in LINKS {
            let link = text(&said, field).map(|link| link.map(identifier::parse));
            if !matches!(link, Ok(None | Some(Ok(_)))) {
                let why = match field {
                    "client_uri" => "`client_uri` must be an https url",
                    "logo_uri" => "`logo_uri` must be an https url",
                    "tos_uri" => "`tos_uri` must be an https url",
                    _ => "`policy_uri` must be an https url",
                };
                problems.push(DocumentProblem::new(field, why));
            }
        }
        let scopes = match text(&said, "scope") {
            Ok(scope) => scope.unwrap_or_default().split_ascii_whitespace().collect(),
            Err(()) => vec![""],
        };
        if !scopes.iter().all(|scope| read::is_scope(scope)) {
            let why = "`scope` must be scopes, separated by spaces";
            problems.push(DocumentProblem::new("scope", why));
        }
        let proof = proof(&said, &mut problems);
        if !problems.is_empty() {
            return Err(DocumentError::Unfit(problems));
        }
        Ok(Self {
            id: id.to_owned(),
            name: client.name.unwrap_or_default(),
            redirect_uris: client.redirect_uris,
            scopes: scopes.into_iter().map(str::to_owned).collect(),
            proof,
        })
    }

    /// Gets the document at `id` and reads it. Redirects are not followed: the URL is the id.
    ///
    /// # Errors
    /// As [`read`](Self::read), and if the document cannot be got, or `network` does not allow it.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the request.
    pub async fn fetch(
        id: &str,
        network: &NetworkConfig,
        rules: &RedirectRules,
    ) -> Result<Self, DocumentError> {
        let network = Network::with(network, None, 0).map_err(DocumentError::Fetch)?;
        Self::get(id, &network, rules).await
    }

    /// The same, over a way out that is there.
    pub(super) async fn get(
        id: &str,
        network: &Network,
        rules: &RedirectRules,
    ) -> Result<Self, DocumentError> {
        check_id(id)?;
        let document = network
            .document("the client's metadata document", id)
            .await
            .map_err(DocumentError::of)?;
        Self::of(id, &document.ok_or(DocumentError::Absent)?, rules)
    }

    /// The client's id: the URL of the document.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How people know the client.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its answers may be sent.
    #[must_use]
    pub fn redirect_uris(&self) -> &[String] {
        &self.redirect_uris
    }

    /// The scopes that it asks for, where it says.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// How it proves who it is.
    #[must_use]
    pub const fn proof(&self) -> DocumentProof {
        self.proof
    }
}

/// Refuses a URL that cannot be the id of a client.
fn check_id(id: &str) -> Result<(), DocumentError> {
    let checked = identifier::document(id);
    checked.map(|_| ()).map_err(|problem| unfit(id, problem))
}

fn unfit(id: &str, problem: &'static str) -> DocumentError {
    DocumentError::Id {
        id: id.chars().take(200).collect(),
        problem,
    }
}

/// How the client proves itself: never by a secret that others hold too.
fn proof(said: &Map<String, Value>, problems: &mut Vec<DocumentProblem>) -> DocumentProof {
    let mut breaks = |field, why| problems.push(DocumentProblem::new(field, why));
    let keys = said.get("jwks").filter(|keys| !keys.is_null());
    let keys_at = text(said, "jwks_uri");
    let method = "token_endpoint_auth_method";
    let proof = match text(said, method) {
        Ok(None | Some("none")) => DocumentProof::None,
        Ok(Some("private_key_jwt")) => DocumentProof::Key,
        _ => {
            breaks(
                method,
                "`token_endpoint_auth_method` must be `none` or `private_key_jwt`: a secret would be no secret here",
            );
            DocumentProof::None
        }
    };
    if proof == DocumentProof::Key && keys.is_none() == matches!(keys_at, Ok(None)) {
        breaks(
            "jwks",
            "`jwks` or `jwks_uri`, one of them, must name the key of `private_key_jwt`",
        );
    }
    if let Some(keys) = keys {
        let listed = keys.get("keys").and_then(Value::as_array);
        let is_open =
            |key: &Value| key.is_object() && PRIVATE.iter().all(|one| key.get(one).is_none());
        if !listed.is_some_and(|keys| !keys.is_empty() && keys.iter().all(is_open)) {
            breaks(
                "jwks",
                "`jwks` must be a set of public keys, with nothing private in them",
            );
        }
    }
    let is_https = |uri: &str| identifier::parse(uri).is_ok_and(|uri| uri.scheme() == "https");
    if !matches!(keys_at, Ok(uri) if uri.is_none_or(is_https)) {
        breaks("jwks_uri", "`jwks_uri` must be an https url");
    }
    proof
}

/// What a client says of itself in either way.
pub(super) struct Said {
    pub(super) name: Option<String>,
    pub(super) redirect_uris: Vec<String>,
}

impl Said {
    /// Reads it; what breaks the rules is added to `problems`.
    pub(super) fn read(
        said: &Map<String, Value>,
        rules: &RedirectRules,
        problems: &mut Vec<DocumentProblem>,
    ) -> Self {
        let mut breaks = |field, why| problems.push(DocumentProblem::new(field, why));
        let has = |field, value: &str| match texts(said, field) {
            Ok(None) => true,
            Ok(Some(list)) => list.contains(&value),
            Err(()) => false,
        };
        if !has("grant_types", "authorization_code") {
            breaks(
                "grant_types",
                "`grant_types` must have `authorization_code`",
            );
        }
        if !has("response_types", "code") {
            breaks("response_types", "`response_types` must have `code`");
        }
        let name = text(said, "client_name").ok();
        let fits =
            |name: &str| name.chars().count() <= MAX_NAME && !name.contains(char::is_control);
        if !name.is_some_and(|name| name.is_none_or(fits)) {
            breaks(
                "client_name",
                "`client_name` must have at most 100 characters, no control characters",
            );
        }
        let uris = texts(said, "redirect_uris").ok().flatten();
        let uris = uris.unwrap_or_default();
        let bytes: usize = uris.iter().map(|uri| uri.len()).sum();
        if uris.is_empty() {
            breaks("redirect_uris", "`redirect_uris` must name at least one");
        } else if uris.len() > MAX_REDIRECTS || bytes > MAX_REDIRECT_BYTES {
            breaks(
                "redirect_uris",
                "`redirect_uris` may name 10, with 1536 bytes altogether",
            );
        } else {
            for (at, uri) in uris.iter().enumerate() {
                if let Err(problem) = rules.check(uri) {
                    problems.push(DocumentProblem {
                        at: Some((at, problem)),
                        ..DocumentProblem::new(
                            "redirect_uris",
                            "`redirect_uris`: one of them is not allowed here",
                        )
                    });
                }
            }
        }
        let name = name.flatten().filter(|name| !name.trim().is_empty());
        Self {
            name: name.map(str::to_owned),
            redirect_uris: uris.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// A member that is a text, where it is there.
fn text<'a>(said: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, ()> {
    match said.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(()),
    }
}

/// A member that is a list of texts, where it is there.
fn texts<'a>(said: &'a Map<String, Value>, field: &str) -> Result<Option<Vec<&'a str>>, ()> {
    match said.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(all)) => {
            let texts: Option<Vec<_>> = all.iter().map(Value::as_str).collect();
            texts.map(Some).ok_or(())
        }
        Some(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "https://app.example/client.json";

    fn read(change: impl FnOnce(&mut Map<String, Value>)) -> Result<ClientDocument, String> {
        let mut document = json!({
            "client_id": ID, "client_name": "App", "redirect_uris": ["http://127.0.0.1:3000/callback"],
        });
        change(document.as_object_mut().unwrap());
        let bytes = document.to_string().into_bytes();
        ClientDocument::read(ID, &bytes, &RedirectRules::default()).map_err(|e| e.to_string())
    }

    fn with(field: &str, value: Value) -> Result<ClientDocument, String> {
        read(|document| {
            document.insert(field.to_owned(), value);
        })
    }

    #[test]
    fn documents_that_keep_the_rules_are_read() {
        let document = with("scope", json!("read write")).unwrap();
        assert_eq!((document.id(), document.name()), (ID, "App"));
        assert_eq!(document.redirect_uris(), ["http://127.0.0.1:3000/callback"]);
        assert_eq!(document.scopes(), ["read", "write"]);
        assert_eq!(document.proof(), DocumentProof::None);
        for (field, value) in [
            (
                "redirect_uris",
                json!(["https://app.example/cb", "com.example.app:/cb"]),
            ),
            (
                "grant_types",
                json!(["authorization_code", "refresh_token"]),
            ),
            ("response_types", json!(["code"])),
            ("token_endpoint_auth_method", json!("none")),
            ("client_uri", json!("https://app.example")),
            ("logo_uri", json!(null)),
            ("whatever", json!({"else": 1})),
        ] {
            assert!(with(field, value.clone()).is_ok(), "{field} {value}");
        }
        let keyed = read(|document| {
            let method = "token_endpoint_auth_method".to_owned();
            document.insert(method, "private_key_jwt".into());
            document.insert(
                "jwks".to_owned(),
                json!({"keys": [{"kty": "EC", "x": "a"}]}),
            );
        });
        assert_eq!(keyed.unwrap().proof(), DocumentProof::Key);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of rules")]
    fn what_breaks_a_rule_is_named_by_its_field() {
        for (field, value, why) in [
            (
                "client_id",
                json!("https://app.example/client.json/"),
                "`client_id` must be the url",
            ),
            (
                "client_id",
                json!("https://APP.example/client.json"),
                "`client_id` must be the url",
            ),
            ("client_id", json!(null), "`client_id` must be the url"),
            ("client_name", json!(null), "`client_name` must say"),
            ("client_name", json!(" "), "`client_name` must say"),
            (
                "client_name",
                json!("a\nb"),
                "`client_name` must have at most 100",
            ),
            (
                "client_name",
                json!("x".repeat(101)),
                "`client_name` must have at most 100",
            ),
            (
                "client_name",
                json!(7),
                "`client_name` must have at most 100",
            ),
            (
                "redirect_uris",
                json!([]),
                "`redirect_uris` must name at least one",
            ),
            (
                "redirect_uris",
                json!("https://h/cb"),
                "`redirect_uris` must name at least one",
            ),
            (
                "redirect_uris",
                json!(vec!["https://h/cb"; 11]),
                "`redirect_uris` may name 10",
            ),
            (
                "redirect_uris",
                json!(["https://h/cb", "http://h/cb"]),
                "`redirect_uris[1]` must be https, or http to this machine",
            ),
            (
                "redirect_uris",
                json!(["https://h/cb#x"]),
                "`redirect_uris[0]`",
            ),
            (
                "redirect_uris",
                json!(["javascript:alert(1)"]),
                "`redirect_uris[0]`",
            ),
            (
                "grant_types",
                json!(["implicit"]),
                "`grant_types` must have",
            ),
            (
                "response_types",
                json!(["token"]),
                "`response_types` must have",
            ),
            (
                "token_endpoint_auth_method",
                json!("client_secret_basic"),
                "`token_endpoint_auth_method` must be `none`",
            ),
            (
                "token_endpoint_auth_method",
                json!("client_secret_post"),
                "`token_endpoint_auth_method`",
            ),
            (
                "token_endpoint_auth_method",
                json!("client_secret_jwt"),
                "`token_endpoint_auth_method`",
            ),
            (
                "token_endpoint_auth_method",
                json!("private_key_jwt"),
                "`jwks` or `jwks_uri`",
            ),
            (
                "jwks",
                json!({"keys": [{"kty": "EC", "d": "secret"}]}),
                "`jwks` must be a set of public keys",
            ),
            (
                "jwks",
                json!({"keys": [{"kty": "oct", "k": "secret"}]}),
                "`jwks` must be",
            ),
            ("jwks", json!({"keys": []}), "`jwks` must be"),
            (
                "jwks_uri",
                json!("http://h/jwks"),
                "`jwks_uri` must be an https url",
            ),
            (
                "client_secret",
                json!("hunter2"),
                "`client_secret` must not stand",
            ),
            (
                "client_secret_expires_at",
                json!(0),
                "`client_secret` must not stand",
            ),
            (
                "client_uri",
                json!("javascript:alert(1)"),
                "`client_uri` must be",
            ),
            (
                "logo_uri",
                json!("https://u:p@h/logo"),
                "`logo_uri` must be",
            ),
            ("scope", json!(["read"]), "`scope` must be"),
            ("scope", json!("a\"b"), "`scope` must be"),
        ] {
            let error = with(field, value.clone()).unwrap_err();
            assert!(error.starts_with(why), "{field} {value}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let all = read(|document| document.clear()).unwrap_err();
        for field in ["client_id", "client_name", "redirect_uris"] {
            assert!(all.contains(field), "{all}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let rules = RedirectRules::default();
        for id in [
            "",
            "client",
            "https://h",
            "https://h/",
            "https://h?x",
            "https://h/c#x",
            "https://u@h/c",
            "https://u:p@h/c",
            "https://h/a/../c",
            "https://h/./c",
            "https://h/a/%2E%2e/c",
            "https://h/%2e/c",
            "file:///c.json",
            "http://app.example/client.json",
            "https://h/a b",
        ] {
            let error = ClientDocument::read(id, b"{}", &rules).unwrap_err();
            assert!(matches!(error, DocumentError::Id { .. }), "{id}: {error}");
        }
        for text in ["", "[]", "{", "{\"client_id\": 1, \"client_id\": 2}"] {
            let error = ClientDocument::read(ID, text.as_bytes(), &rules).unwrap_err();
            assert!(
                matches!(error, DocumentError::NoObject(_)),
                "{text}: {error}"
            );
        }
        let large = ClientDocument::read(ID, &vec![b' '; MAX_DOCUMENT + 1], &rules).unwrap_err();
        assert!(matches!(large, DocumentError::TooLarge), "{large}");
    }
}
