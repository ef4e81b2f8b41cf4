//! Keys that stand in for an identity provider until there is one.

use std::{fmt, path::Path, time::Duration};

use fastmcp_auth::{
    JwkSet,
    certificate::Thumbprint,
    mint::{Claims, DEV_KEY_ID, DevKeys, mint},
};
use fastmcp_guard::clock::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{KeyError, folder::Folder};

/// The private key: RSA, PKCS#8 (PEM).
pub(super) const PRIVATE: &str = "dev-private.pem";
/// The public key: a JWK Set.
const PUBLIC: &str = "jwks.json";

/// The development keys of a gateway. `Debug` does not show the private one.
pub struct Development {
    keys: DevKeys,
    jwks: JwkSet,
}

/// What a token is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mint {
    /// Who calls.
    pub sub: String,
    /// For whom.
    pub tenant: String,
    /// The roles, which policy turns into scopes.
    pub roles: Vec<String>,
    /// Scopes that narrow what the roles give; empty leaves them whole.
    pub scopes: Vec<String>,
    /// How long the token lives, in whole seconds: 1 second to 30 days.
    pub ttl: Duration,
    /// Who vouches: the `JWT_ISSUER` of the gateway.
    pub issuer: String,
    /// For which gateway: its `JWT_AUDIENCE`.
    pub audience: String,
    /// The client certificate that the token is good with.
    pub certificate: Option<Thumbprint>,
    /// Now.
    pub issued_at: Timestamp,
}

impl Development {
    /// Opens the development keys beneath `data_dir`, or makes them: up to some seconds of CPU time, once. The public
    /// one is left beside the private one, in `jwks.json`. Blocks.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when a file is open to others, holds something else, or cannot be read or written.
    pub fn open_or_generate(data_dir: &Path) -> Result<Self, KeyError> {
        let folder = Folder::open(data_dir)?;
        let pem = folder.secret(PRIVATE, || {
            let made = DevKeys::generate()?;
            Ok(Zeroizing::new(
                made.private_pem().expose_secret().as_bytes().to_vec(),
            ))
        })?;
        let unfit = || KeyError::Unfit {
            path: folder.path(PRIVATE),
            problem: "is not an RSA key in PEM",
        };
        let text = str::from_utf8(&pem).map_err(|_| unfit())?;
        let keys = DevKeys::from_pem(&SecretString::from(text)).map_err(|_| unfit())?;
        let jwks = keys.jwks()?;
        folder.publish(PUBLIC, keys.jwks_json())?;
        Ok(Self { keys, jwks })
    }

    /// The public key, for the verifier.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        self.jwks.clone()
    }

    /// Mints a token that this gateway takes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Mint`] when a claim is empty or the lifetime out of bounds.
    pub fn mint(&self, wanted: &Mint) -> Result<String, KeyError> {
        let claims = Claims {
            issuer: wanted.issuer.clone(),
            audiences: vec![wanted.audience.clone()],
            subject: wanted.sub.clone(),
            tenant: Some(wanted.tenant.clone()),
            roles: wanted.roles.clone(),
            scopes: (!wanted.scopes.is_empty()).then(|| wanted.scopes.clone()),
            issued_at: wanted.issued_at,
            lifetime: wanted.ttl,
            extra: wanted.certificate.as_ref().map(bound).unwrap_or_default(),
        };
        Ok(mint(self.keys.private_pem(), DEV_KEY_ID, &claims)?)
    }
}

/// The claim that binds a token to a certificate. Source: RFC 8705, section 3.1.
fn bound(certificate: &Thumbprint) -> Map<String, Value> {
    let cnf = json!({"x5t#S256": certificate.as_str()});
    std::iter::once(("cnf".to_owned(), cnf)).collect()
}

impl fmt::Debug for Development {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Development")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
