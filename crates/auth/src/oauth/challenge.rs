//! What a refusal asks for: the `WWW-Authenticate` challenges of a server.
//!
//! Source: RFC 9110, sections 5.6.1 to 5.6.4, 11.2 to 11.6.1; RFC 6750, section 3; RFC 9449, section 7.1; RFC 9728,
//! section 5.1.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use super::scope::Scopes;

/// Most bytes of the headers that are read.
const MAX_BYTES: usize = 16 * 1024;

/// The most challenges of a refusal, and parameters of a challenge.
const MAX_CHALLENGES: usize = 16;
const MAX_PARAMETERS: usize = 32;

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthChallenge {
    scheme: String,
    token: Option<String>,
    parameters: Vec<(String, String)>,
}

impl AuthChallenge {
    /// The challenges of a refusal, in their order. A header that does not follow the grammar, names a parameter twice
    /// or is too large counts as none: what two readers could read differently is not used.
    #[must_use]
    pub fn parse(headers: &HeaderMap) -> Vec<Self> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            bytes += value.len();
            if bytes > MAX_BYTES {
                tracing::debug!("www-authenticate is too long to be read");
                return Vec::new();
            }
            let text = String::from_utf8_lossy(value.as_bytes());
            match Reader::new(&text).challenges() {
                Some(challenges) => found.extend(challenges),
                None => tracing::debug!("www-authenticate is malformed"),
            }
        }
        found.truncate(MAX_CHALLENGES);
        found
    }

    /// The scheme as it was written; compare it without case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The value of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut found = self.parameters.iter();
        let found = found.find(|(held, _)| held.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }
}

/// What the challenges of a refusal come to, for OAuth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Where the metadata of the resource is.
    pub(crate) resource_metadata: Option<String>,
    /// The scopes that the operation needs.
    pub(crate) scopes: Scopes,
    /// Whether the token does not reach.
    pub(crate) insufficient_scope: bool,
    /// Whether the proof needs a nonce.
    pub(crate) wants_nonce: bool,
    /// Whether tokens are to be bound to a key.
    pub(crate) wants_proof: bool,
}

impl Demand {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut demand = Self::default();
        let challenges = AuthChallenge::parse(headers);
        let (bearer, dpop): (Vec<_>, Vec<_>) = challenges
            .iter()
            .filter(|challenge| challenge.is("bearer") || challenge.is("dpop"))
            .partition(|challenge| challenge.is("bearer"));
        demand.wants_proof = bearer.is_empty() && !dpop.is_empty();
        for challenge in dpop.into_iter().chain(bearer) {
            let error = challenge.parameter("error");
            demand.insufficient_scope |= error == Some("insufficient_scope");
            demand.wants_nonce |= error == Some("use_dpop_nonce");
            if let Some(scope) = challenge.parameter("scope") {
                demand.scopes = demand.scopes.union(&Scopes::parse(scope));
            }
            if demand.resource_metadata.is_none() {
                let url = challenge.parameter("resource_metadata");
                demand.resource_metadata = url.map(str::to_owned);
            }
        }
        demand
    }
}

/// Reads one header value from left to right.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    const fn new(rest: &'a str) -> Self {
        Self { rest }
    }

    /// `WWW-Authenticate = #challenge`; `None` if it is malformed.
    fn challenges(mut self) -> Option<Vec<AuthChallenge>> {
        let mut challenges: Vec<AuthChallenge> = Vec::new();
        loop {
            self.skip(|c| c == ' ' || c == '\t' || c == ',');
            if self.rest.is_empty() {
                return Some(challenges);
            }
            if challenges.len() > MAX_CHALLENGES {
                return None;
            }
            challenges.push(self.challenge()?);
        }
    }

    /// `challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ]`
    fn challenge(&mut self) -> Option<AuthChallenge> {
        let mut challenge = AuthChallenge {
            scheme: self.token()?.to_owned(),
            token: None,
            parameters: Vec::new(),
        };
        if !self.skip(|c| c == ' ') {
            return self.ends_element().then_some(challenge);
        }
        if let Some(token) = self.token68() {
            challenge.token = Some(token.to_owned());
            return Some(challenge);
        }
        loop {
            self.skip(|c| c == ' ' || c == '\t' || c == ',');
            let before = self.rest;
            let Some((name, value)) = self.parameter() else {
                // What is no parameter begins the next challenge, or nothing at all.
                self.rest = before;
                return Some(challenge);
            };
            let twice = challenge.parameter(&name).is_some();
            if twice || challenge.parameters.len() == MAX_PARAMETERS || !self.ends_element() {
                return None;
            }
            challenge.parameters.push((name, value));
        }
    }

    /// `auth-param = token BWS "=" BWS ( token / quoted-string )`
    fn parameter(&mut self) -> Option<(String, String)> {
        let name = self.token()?.to_owned();
        self.skip_spaces();
        self.rest = self.rest.strip_prefix('=')?;
        self.skip_spaces();
        let value = match self.rest.strip_prefix('"') {
            Some(rest) => {
                self.rest = rest;
                self.quoted()?
            }
            None => self.token()?.to_owned(),
        };
        Some((name, value))
    }

    /// `token68 = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`, up to the end of the element.
    fn token68(&mut self) -> Option<&'a str> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let body = self.rest.find(|c| !allowed(c)).unwrap_or(self.rest.len());
        let (_, tail) = self.rest.split_at_checked(body)?;
        let rest = tail.trim_start_matches('=');
        let token = self.rest.get(..self.rest.len() - rest.len())?;
        if body == 0 || !(Self { rest }).ends_element() {
            return None;
        }
        self.rest = rest;
        Some(token)
    }

    /// `token = 1*tchar`
    fn token(&mut self) -> Option<&'a str> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !allowed(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(end)?;
        if token.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(token)
    }

    /// The rest of a `quoted-string`, its opening quote being read.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.rest = self.rest.get(at + 1..)?;
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                c => value.push(c),
            }
        }
        None
    }

    /// Whether nothing more belongs to this element of the list.
    fn ends_element(&self) -> bool {
        let rest = self.rest.trim_start_matches([' ', '\t']);
        rest.is_empty() || rest.starts_with(',')
    }

    fn skip_spaces(&mut self) {
        self.skip(|c| c == ' ' || c == '\t');
    }

    fn skip(&mut self, skipped: impl Fn(char) -> bool) -> bool {
        let rest = self.rest.trim_start_matches(skipped);
        let moved = rest.len() < self.rest.len();
        self.rest = rest;
        moved
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn read(values: &[&str]) -> Vec<String> {
        let shown = |challenge: &AuthChallenge| {
            let mut text = challenge.scheme.clone();
            if let Some(token) = &challenge.token {
                text.push_str(&format!(" {token}"));
            }
            for (name, value) in &challenge.parameters {
                text.push_str(&format!(" [{name}|{value}]"));
            }
            text
        };
        AuthChallenge::parse(&headers(values))
            .iter()
            .map(shown)
            .collect()
    }

    #[test]
    fn the_grammar() {
        for (value, expected) in [
            ("Bearer", &["Bearer"][..]),
            ("Bearer ", &["Bearer"]),
            (
                // The example of RFC 9110, section 11.6.1.
                "Basic realm=\"simple\", Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\"\"",
                &[
                    "Basic [realm|simple]",
                    "Newauth [realm|apps] [type|1] [title|Login to \"apps\"]",
                ],
            ),
            ("Negotiate, Bearer a=b", &["Negotiate", "Bearer [a|b]"]),
            (
                "Negotiate YWJj==, Bearer a=\"b, c\"",
                &["Negotiate YWJj==", "Bearer [a|b, c]"],
            ),
            ("Bearer a = b , c\t=\t\"d\"", &["Bearer [a|b] [c|d]"]),
            (",, Bearer a=b,,c=d ,", &["Bearer [a|b] [c|d]"]),
            ("Bearer a=\"\"", &["Bearer [a|]"]),
            (
                "DPoP algs=\"ES256\", Bearer scope=\"x y\"",
                &["DPoP [algs|ES256]", "Bearer [scope|x y]"],
            ),
            ("Bearer a=b, A=c", &[]),
            ("Bearer a=\"b", &[]),
            ("Bearer a=\"b\\", &[]),
            ("Bearer a=b c", &[]),
            ("=", &[]),
            ("\"Bearer\"", &[]),
            ("", &[]),
        ] {
            assert_eq!(read(&[value]), expected, "{value}");
        }
        assert_eq!(
            read(&["Basic realm=x", "Bearer a=b"]),
            ["Basic [realm|x]", "Bearer [a|b]"]
        );
        assert_eq!(read(&["Bearer a=\"b", "Bearer c=d"]), ["Bearer [c|d]"]);
    }

    #[test]
    fn it_is_bounded() {
        assert!(read(&[&format!("Bearer a=\"{}\"", "x".repeat(MAX_BYTES))]).is_empty());
        let many: Vec<String> = (0..40).map(|n| format!("p{n}=x")).collect();
        assert!(read(&[&format!("Bearer {}", many.join(", "))]).is_empty());
        assert!(read(&[&"Basic a=b,".repeat(40)]).len() <= MAX_CHALLENGES);
        assert!(read(&["Basic a=b"; 40]).len() <= MAX_CHALLENGES);
    }

    #[test]
    fn a_demand_is_what_bearer_and_dpop_ask_for() {
        let demand = Demand::of(&headers(&[
            "Basic realm=\"x\", scope=\"no\"",
            "Bearer error=\"insufficient_scope\", scope=\"b a\", resource_metadata=\"https://h/m\"",
        ]));
        assert_eq!(demand.scopes.to_string(), "b a");
        assert_eq!(demand.resource_metadata.as_deref(), Some("https://h/m"));
        assert!(demand.insufficient_scope && !demand.wants_proof && !demand.wants_nonce);
        let demand = Demand::of(&headers(&["DPoP error=\"use_dpop_nonce\""]));
        assert!(demand.wants_nonce && demand.wants_proof);
        let demand = Demand::of(&headers(&["Bearer realm=x, DPoP algs=\"ES256\""]));
        assert!(!demand.wants_proof);
        assert_eq!(Demand::of(&headers(&["Basic realm=x"])), Demand::default());
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_grows(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.append(WWW_AUTHENTICATE, value);
                prop_assert!(AuthChallenge::parse(&headers).len() <= MAX_CHALLENGES);
            }
        }

        #[test]
        fn what_is_quoted_is_read_back(value in "[ -~]{0,80}", scope in "[a-z]{1,9}( [a-z]{1,9}){0,4}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer x=\"{quoted}\", scope=\"{scope}\"");
            let challenges = AuthChallenge::parse(&headers(&[&header]));
            prop_assert_eq!(challenges[0].parameter("X"), Some(value.as_str()));
            prop_assert_eq!(challenges[0].parameter("scope"), Some(scope.as_str()));
        }
    }
}
