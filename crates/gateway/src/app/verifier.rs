//! Who is believed about callers: one verifier for each issuer.

use std::{path::Path, sync::Arc, time::Duration};

use fastmcp_auth::{
    Introspection, IntrospectionConfig, JwkSet, JwtConfig, JwtVerifier, KeySource, LookupVerifier,
    RemoteKeys, TenantVerifier, TokenVerifier, VerifierChain,
    keys::{IssuerFetch, RemoteKeysConfig},
    verifier::{CacheConfig, CachedVerifier, LookupConfig},
};
use fastmcp_guard::clock::Clock;

use super::{Error, open::blocking};
use crate::{
    config::{Config, Issuer, JwtKeys, Keeping, Proof},
    keys::Development,
};

/// What verifies tokens, and the key sets that are kept fresh for it.
pub(super) type Verification = (Option<Arc<dyn TokenVerifier>>, Vec<Fetched>);

/// A key set that is fetched, and how.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) issuer: String,
    settings: RemoteKeysConfig,
    pub(super) keys: Arc<RemoteKeys>,
}

impl Fetched {
    /// Why no token can be checked with it, if none can.
    pub(super) fn trouble(&self) -> Option<String> {
        let status = self.keys.status();
        let why = status
            .last_error
            .unwrap_or_else(|| "its keys were not fetched yet".to_owned());
        (status.keys == 0).then_some(why)
    }
}

/// One verifier for each issuer, and a cache in front of them; `None` where API keys are all that there is. Key sets of
/// `before` that are fetched alike are kept with what they hold.
pub(super) async fn verifier(
    config: &Config,
    clock: &Arc<dyn Clock>,
    before: Vec<Fetched>,
) -> Result<Verification, Error> {
    let mut remote = Remote {
        before,
        now: Vec::new(),
    };
    let mut verifiers: Vec<Arc<dyn TokenVerifier>> = Vec::new();
    if let Some(keys) = own_keys(config, &mut remote).await? {
        let jwt = JwtConfig {
            require_tenant: true,
            leeway: config.jwt.leeway,
            algorithms: config.jwt.algorithms.clone(),
            ..JwtConfig::new(&config.jwt.issuer, &config.jwt.audience)
        };
        let verifier = JwtVerifier::new(jwt, keys, Arc::clone(clock));
        verifiers.push(Arc::new(verifier.map_err(Error::part("JWT settings"))?));
    }
    for issuer in &config.jwt.issuers {
        let verifier = issuer_verifier(config, issuer, clock, &mut remote)?;
        verifiers.push(match &issuer.tenants {
            None => verifier,
            Some(tenants) => {
                let bound = TenantVerifier::new(verifier, tenants.iter().cloned());
                Arc::new(bound.map_err(Error::part("JWT_ISSUERS_FILE"))?)
            }
        });
    }
    if verifiers.is_empty() {
        return Ok((None, remote.now));
    }
    let chain = VerifierChain::new(verifiers).map_err(Error::part("JWT settings"))?;
    let cached = CachedVerifier::new(Arc::new(chain), Arc::clone(clock), &CacheConfig::default())
        .map_err(Error::part("JWT settings"))?;
    Ok((Some(Arc::new(cached)), remote.now))
}

/// The key sets that are fetched: those there were, and those there are from now on.
struct Remote {
    before: Vec<Fetched>,
    now: Vec<Fetched>,
}

/// The keys of `JWT_ISSUER`.
async fn own_keys(config: &Config, remote: &mut Remote) -> Result<Option<KeySource>, Error> {
    Ok(Some(match &config.jwt.keys {
        JwtKeys::None => return Ok(None),
        JwtKeys::Development => {
            let development = blocking(&config.data_dir, Development::open_or_generate)
                .await?
                .map_err(Error::part("development keys"))?;
            KeySource::from(development.jwks())
        }
        JwtKeys::File(path) => key_file(path, "JWT_JWKS_FILE")?,
        JwtKeys::Url(url) => {
            let settings = RemoteKeysConfig::new(url.as_str());
            remote_keys(settings, (url, &config.jwt.issuer), "JWT_JWKS_URL", remote)?
        }
    }))
}

fn issuer_verifier(
    config: &Config,
    issuer: &Issuer,
    clock: &Arc<dyn Clock>,
    remote: &mut Remote,
) -> Result<Arc<dyn TokenVerifier>, Error> {
    const PART: &str = "JWT_ISSUERS_FILE";
    let audience = issuer.audience.as_ref().unwrap_or(&config.jwt.audience);
    let keys = match &issuer.proof {
        Proof::Introspection {
            url,
            client_id,
            client_secret_file,
        } => {
            let secret = secret_file(client_secret_file)?;
            let mut asked = IntrospectionConfig::new(url, client_id, secret, audience);
            asked.issuer = Some(issuer.issuer.clone());
            let tokens = Introspection::new(asked, Arc::clone(clock)).map_err(Error::part(PART))?;
            let lookup = LookupConfig {
                issuer: Some(issuer.issuer.clone()),
                claims: issuer.claims.clone(),
                require_tenant: true,
                ..LookupConfig::default()
            };
            return Ok(Arc::new(LookupVerifier::new(
                tokens,
                lookup,
                Arc::clone(clock),
            )));
        }
        Proof::File(path) => key_file(path, PART)?,
        Proof::Url(url) => {
            let settings = kept(RemoteKeysConfig::new(url.as_str()), issuer.keys);
            remote_keys(settings, (url, &issuer.issuer), PART, remote)?
        }
        Proof::Discovered => {
            let url = url::Url::parse(&issuer.issuer).map_err(Error::part(PART))?;
            let settings = kept(RemoteKeysConfig::discover(&issuer.issuer), issuer.keys);
            remote_keys(settings, (&url, &issuer.issuer), PART, remote)?
        }
    };
    let algorithms = issuer.algorithms.as_ref();
    let jwt = JwtConfig {
        require_tenant: true,
        leeway: config.jwt.leeway,
        algorithms: algorithms.unwrap_or(&config.jwt.algorithms).clone(),
        claims: issuer.claims.clone(),
        ..JwtConfig::new(&issuer.issuer, audience)
    };
    let verifier = JwtVerifier::new(jwt, keys, Arc::clone(clock)).map_err(Error::part(PART))?;
    Ok(Arc::new(verifier))
}

fn key_file(path: &Path, part: &'static str) -> Result<KeySource, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::File {
        path: path.display().to_string(),
        source,
    })?;
    let keys = JwkSet::parse(&bytes).map_err(Error::part(part))?;
    Ok(KeySource::from(keys))
}

/// The settings with what the file of issuers says.
fn kept(mut settings: RemoteKeysConfig, keeping: Keeping) -> RemoteKeysConfig {
    let Keeping {
        refresh_sec,
        cooldown_sec,
        stale_sec,
    } = keeping;
    for (slot, given) in [
        (&mut settings.refresh_after, refresh_sec),
        (&mut settings.min_interval, cooldown_sec),
        (&mut settings.stale_limit, stale_sec),
    ] {
        if let Some(seconds) = given {
            *slot = Duration::from_secs(seconds);
        }
    }
    settings
}

fn remote_keys(
    settings: RemoteKeysConfig,
    (url, issuer): (&url::Url, &str),
    part: &'static str,
    remote: &mut Remote,
) -> Result<KeySource, Error> {
    let known = remote.before.iter().find(|one| one.settings == settings);
    let keys = match known {
        Some(known) => Arc::clone(&known.keys),
        None => {
            let fetch = IssuerFetch::new(url).map_err(Error::part(part))?;
            let keys = RemoteKeys::new(settings.clone(), Arc::new(fetch));
            Arc::new(keys.map_err(Error::part(part))?)
        }
    };
    remote.now.push(Fetched {
        issuer: issuer.to_owned(),
        settings,
        keys: Arc::clone(&keys),
    });
    Ok(KeySource::from(keys))
}

/// A secret in a file of its own; white space around it is not part of it.
pub(super) fn secret_file(path: &Path) -> Result<secrecy::SecretString, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::File {
        path: path.display().to_string(),
        source,
    })?;
    match text.trim() {
        "" => Err(Error::part("client_secret_file")(format!(
            "`{}` is empty; put the secret in it",
            path.display()
        ))),
        secret => Ok(secret.to_owned().into()),
    }
}
