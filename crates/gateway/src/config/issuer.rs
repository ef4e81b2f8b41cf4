//! The issuers of `JWT_ISSUERS_FILE`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use fastmcp_auth::{
    Algorithm,
    claims::{ClaimName, ClaimNames},
};
use serde::Deserialize;
use url::Url;

use super::{layer, parse, yaml};

/// The most issuers: a token is tried with one after the other.
const MAX_ISSUERS: usize = 15;
/// The most tenants of an issuer.
const MAX_TENANTS: usize = 10_000;
const ANY: &str = "*";

/// An issuer whose tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its name, compared exactly with the `iss` of tokens.
    pub issuer: String,
    /// The audience that its tokens must be for; default `JWT_AUDIENCE`.
    pub audience: Option<String>,
    /// How its tokens are checked.
    pub proof: Proof,
    /// The algorithms that it may sign with; default `JWT_ALG`.
    pub algorithms: Option<Vec<Algorithm>>,
    /// The tenants whose callers it may name; `None` is all of them.
    pub tenants: Option<BTreeSet<String>>,
    /// Under which names its tokens say what.
    pub claims: ClaimNames,
    /// How its keys are kept, where they are fetched.
    pub keys: Keeping,
}

/// How keys that are fetched are kept; what is left out keeps its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keeping {
    /// After how many seconds they are fetched again; default 900.
    pub refresh_sec: Option<u64>,
    /// The fewest seconds between two fetches, whatever key ids tokens name; default 30.
    pub cooldown_sec: Option<u64>,
    /// For how many seconds they stay good while they cannot be fetched; default 86400.
    pub stale_sec: Option<u64>,
}

impl Keeping {
    fn check(self) -> Result<Self, String> {
        const DAY: u64 = 86_400;
        let refresh = self.refresh_sec.unwrap_or(1);
        for (field, given, range) in [
            ("refresh_sec", self.refresh_sec, 1..=DAY),
            ("cooldown_sec", self.cooldown_sec, 1..=3_600),
            ("stale_sec", self.stale_sec, refresh..=7 * DAY),
        ] {
            if given.is_some_and(|given| !range.contains(&given)) {
                let (least, most) = (range.start(), range.end());
                return Err(format!("`keys.{field}` must be {least} to {most}"));
            }
        }
        Ok(self)
    }
}

/// How tokens of an issuer are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By keys whose address the issuer's metadata names.
    Discovered,
    /// By keys at an address.
    Url(Url),
    /// By keys in a file.
    File(PathBuf),
    /// By asking: they are opaque.
    Introspection {
        /// Whom to ask.
        url: String,
        /// As whom to ask.
        client_id: String,
        /// The file that holds the secret to ask with.
        client_secret_file: PathBuf,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    issuers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    issuer: String,
    tenants: OneOrMany,
    audience: Option<String>,
    algorithms: Option<Vec<String>>,
    jwks_url: Option<String>,
    jwks_file: Option<PathBuf>,
    introspection: Option<Introspection>,
    claims: Option<Claims>,
    keys: Option<Keeping>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Introspection {
    url: String,
    client_id: String,
    client_secret_file: PathBuf,
}

/// The names of claims, as the file gives them; what is left out keeps its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    subject: Option<String>,
    tenant: Option<OneOrMany>,
    roles: Option<OneOrMany>,
    scopes: Option<OneOrMany>,
    client_id: Option<OneOrMany>,
    act: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// Reads the file at `path`; paths in it are relative to its folder. Blocks on the disk.
pub(super) fn read(path: &Path) -> Result<Vec<Issuer>, String> {
    let text = layer::read_text(path).map_err(|error| format!("cannot be read: {error}"))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse_text(&text, folder)
}

fn parse_text(text: &str, folder: &Path) -> Result<Vec<Issuer>, String> {
    let file: File = yaml::parse(text)?;
    if file.issuers.is_empty() || file.issuers.len() > MAX_ISSUERS {
        return Err(format!("`issuers` must list 1 to {MAX_ISSUERS} of them"));
    }
    let mut seen = BTreeSet::new();
    let mut issuers = Vec::with_capacity(file.issuers.len());
    for entry in file.issuers {
        let name = entry.issuer.chars().take(200).collect::<String>();
        if !seen.insert(entry.issuer.clone()) {
            return Err(format!("issuer `{name}` is listed twice; join its entries"));
        }
        let issuer = entry.check(folder);
        issuers.push(issuer.map_err(|fault| format!("issuer `{name}`: {fault}"))?);
    }
    Ok(issuers)
}

impl Entry {
    fn check(self, folder: &Path) -> Result<Issuer, String> {
        parse::printable(1024)(&self.issuer)
            .map_err(|_| "must be 1 to 1024 printable characters".to_owned())?;
        let proof = match (self.jwks_url, self.jwks_file, self.introspection) {
            (None, None, None) => Proof::Discovered,
            (Some(url), None, None) => Proof::Url(parse::jwks_url(&url).map_err(|_| {
                "`jwks_url` must be an https address, or http on loopback, without user name and password"
            })?),
            (None, Some(file), None) => {
                let file = folder.join(file);
                if !file.is_file() {
                    return Err(format!("`jwks_file`: there is no file `{}`", file.display()));
                }
                Proof::File(file)
            }
            (None, None, Some(asked)) => Proof::Introspection {
                url: asked.url,
                client_id: asked.client_id,
                client_secret_file: folder.join(asked.client_secret_file),
            },
            _ => {
                return Err("name one of `jwks_url`, `jwks_file` and `introspection`, or none of them to use the issuer's metadata".to_owned());
            }
        };
        if self.keys.is_some() && !matches!(proof, Proof::Discovered | Proof::Url(_)) {
            return Err("`keys` counts where keys are fetched: remove it".to_owned());
        }
        let algorithms = self
            .algorithms
            .map(|names| parse::algorithms(&names.join(",")));
        let algorithms = algorithms.transpose().map_err(|_| {
            "`algorithms` must list some of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
        })?;
        Ok(Issuer {
            tenants: tenants(self.tenants.into_vec())?,
            issuer: self.issuer,
            audience: self.audience,
            proof,
            algorithms,
            claims: self.claims.unwrap_or_default().names()?,
            keys: self.keys.unwrap_or_default().check()?,
        })
    }
}

/// Each issuer says for whom it speaks: one that is trusted for a customer must not name callers of another.
fn tenants(named: Vec<String>) -> Result<Option<BTreeSet<String>>, String> {
    if named == [ANY] {
        return Ok(None);
    }
    let fits = |tenant: &String| parse::printable(128)(tenant).is_ok() && tenant != ANY;
    let count = 1..=MAX_TENANTS;
    if count.contains(&named.len()) && named.iter().all(fits) {
        Ok(Some(named.into_iter().collect()))
    } else {
        Err(format!(
            "`tenants` must list 1 to {MAX_TENANTS} tenants, or be \"*\" alone for an issuer that speaks for all of them"
        ))
    }
}

impl Claims {
    fn names(self) -> Result<ClaimNames, String> {
        let name = |field: &str, text: &str| {
            ClaimName::parse(text).map_err(|error| format!("`claims.{field}`: {error}"))
        };
        let mut names = ClaimNames::default();
        if let Some(subject) = self.subject {
            names.subject = name("subject", &subject)?;
        }
        for (field, given, slot) in [
            ("tenant", self.tenant, &mut names.tenant),
            ("roles", self.roles, &mut names.roles),
            ("scopes", self.scopes, &mut names.scopes),
            ("client_id", self.client_id, &mut names.client_id),
            ("act", self.act, &mut names.act),
        ] {
            if let Some(given) = given {
                *slot = given
                    .into_vec()
                    .iter()
                    .map(|text| name(field, text))
                    .collect::<Result<_, _>>()?;
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
issuers:
  - issuer: https://idp.example/t1
    tenants: [acme, globex]
    claims: {tenant: org_id, roles: /realm_access/roles, act: [act, /actor]}
  - issuer: https://keys.example
    tenants: "*"
    audience: tools
    algorithms: [ES256]
    jwks_url: https://keys.example/set
    keys: {refresh_sec: 300, stale_sec: 3600}
  - issuer: https://opaque.example
    tenants: initech
    introspection: {url: "https://opaque.example/introspect", client_id: gateway, client_secret_file: secret.txt}
"#;

    #[test]
    fn issuers_are_read_with_their_tenants() {
        let issuers = parse_text(FILE, Path::new("/etc/fastmcp")).unwrap();
        let [discovered, keyed, opaque] = issuers.as_slice() else {
            panic!("{issuers:?}")
        };
        assert_eq!(discovered.proof, Proof::Discovered);
        assert_eq!(discovered.tenants.as_ref().unwrap().len(), 2);
        assert_eq!(discovered.claims.tenant[0].as_str(), "org_id");
        assert_eq!(discovered.claims.subject.as_str(), "sub");
        let act: Vec<_> = discovered.claims.act.iter().map(|it| it.as_str()).collect();
        assert_eq!(act, ["act", "/actor"]);
        assert_eq!(keyed.claims.act, ClaimNames::default().act);
        assert_eq!(keyed.tenants, None);
        assert_eq!(keyed.algorithms, Some(vec![Algorithm::Es256]));
        assert_eq!(keyed.audience.as_deref(), Some("tools"));
        assert_eq!(
            keyed.keys,
            Keeping {
                refresh_sec: Some(300),
                cooldown_sec: None,
                stale_sec: Some(3_600)
            }
        );
        let Proof::Introspection {
            client_secret_file, ..
        } = &opaque.proof
        else {
            panic!("{opaque:?}")
        };
        assert_eq!(client_secret_file, Path::new("/etc/fastmcp/secret.txt"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (change, expected) in [
            (("tenants: initech", "tenants: []"), "`tenants` must list"),
            (
                ("tenants: initech", "tenants: [\"*\", a]"),
                "`tenants` must list",
            ),
            (("    tenants: initech\n", ""), "tenants"),
            (("jwks_url: https", "jwks_url: http"), "`jwks_url` must be"),
            (("[ES256]", "[HS256]"), "`algorithms` must list"),
            (
                ("    algorithms: [ES256]", "    jwks_file: nowhere.json"),
                "name one of",
            ),
            (
                (
                    "    jwks_url: https://keys.example/set",
                    "    jwks_file: nowhere.json",
                ),
                "there is no file",
            ),
            (
                ("https://opaque.example\n", "https://keys.example\n"),
                "listed twice",
            ),
            (("org_id", "\"\""), "`claims.tenant`"),
            (("[act, /actor]", "/"), "`claims.act`"),
            (("audience: tools", "audiense: tools"), "audiense"),
            (
                ("stale_sec: 3600", "stale_sec: 299"),
                "`keys.stale_sec` must be 300 to 604800",
            ),
            (("refresh_sec: 300", "refresh_sec: 0"), "`keys.refresh_sec`"),
            (
                (
                    "tenants: initech",
                    "tenants: initech\n    keys: {refresh_sec: 60}",
                ),
                "`keys` counts where",
            ),
        ] {
            let text = FILE.replacen(change.0, change.1, 1);
            assert_ne!(text, FILE, "{change:?}");
            let fault = parse_text(&text, Path::new("")).unwrap_err();
            assert!(fault.contains(expected), "{change:?}: {fault}");
        }
        assert!(parse_text("issuers: []", Path::new("")).is_err());
    }
}
