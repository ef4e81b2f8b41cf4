//! Oracle Cloud Infrastructure: identity domains of OCI IAM, which were Oracle Identity Cloud Service (IDCS).
//!
//! Every domain calls itself by the one name of the service, so that its discovery document cannot be held against its URL, as
//! OpenID Connect Discovery, section 4.3, wants it. What differs are keys, endpoints and clients: these are the domain's own.
//!
//! Source: docs.oracle.com, REST API for Oracle Identity Cloud Service: "Retrieve OpenID Discovery Doc" and "Identity Token".

use std::sync::Arc;

use fastmcp_guard::http::AllowedHost;
use secrecy::SecretString;

use super::{Application, built, trimmed};
use crate::claims::ClaimNames;
use crate::endpoint;
use crate::error::ConfigError;
use crate::keys::RemoteKeysConfig;
use crate::oauth::network::Network;
use crate::proxy::{
    Backing, IdTokenVerifier, OAuthProxyConfig, Upstream, Verification, remote_keys,
};

/// How identity domains call themselves in tokens.
const ISSUER: &str = "https://identity.oraclecloud.com/";

/// Oracle Cloud Infrastructure: a confidential application of an identity domain, with the grant "authorization code" and the redirect
/// URL `https://your.server/auth/callback`. In the settings of the domain, clients must be allowed to see the signing certificate
/// ("Configure client access").
///
/// Who logged in is known by the ID token, which is for that application: access tokens are for Oracle's own APIs. Every caller needs
/// the scope `openid`, unless others are required.
#[derive(Clone, Debug)]
pub struct OciProvider {
    application: Application,
    domain: String,
    issuer: String,
}

built!(OciProvider);

impl OciProvider {
    /// The application with this id and secret of the identity domain at `domain_url` (such as
    /// `https://idcs-0123456789abcdef.identity.oraclecloud.com`), for the server that is reached under `base_url`.
    #[must_use]
    pub fn new(
        domain_url: impl Into<String>,
        client: (impl Into<String>, SecretString),
        base_url: impl Into<String>,
    ) -> Self {
        let mut application = Application::new(client, base_url);
        application.required_scopes = vec!["openid".to_owned()];
        Self {
            application,
            domain: trimmed(domain_url),
            issuer: ISSUER.to_owned(),
        }
    }

    /// How the domain calls itself in its tokens, to the letter. Default: `https://identity.oraclecloud.com/`, as all of Oracle's do.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// The settings of the proxy.
    ///
    /// # Errors
    /// If a URL cannot be used.
    pub fn config(&self, backing: &Backing) -> Result<OAuthProxyConfig, ConfigError> {
        let unfit = |problem| ConfigError::Unfit {
            field: "domain_url",
            value: self.domain.clone(),
            problem,
        };
        let at = |path: &str| format!("{}{path}", self.domain);
        let host = AllowedHost::of_url(&endpoint::parse("domain_url", &self.domain)?);
        let host = host.map_err(|_| unfit("has no host"))?;
        let network = self.application.network.clone().allow_host(host);
        let network = Network::new(&network, None).map_err(|_| unfit("cannot be reached"))?;
        let keys = RemoteKeysConfig::new(at("/admin/v1/SigningCert/jwk"));
        let id_token = IdTokenVerifier::new(
            &self.issuer,
            &self.application.client_id,
            ClaimNames::default(),
            remote_keys(keys, network)?,
            backing.clock(),
        )?;
        let mut upstream = Upstream::new(
            "Oracle Cloud",
            at("/oauth2/v1/authorize"),
            at("/oauth2/v1/token"),
            self.application.client(),
            Verification::IdToken(Arc::new(id_token)),
        );
        upstream.revocation_endpoint = Some(at("/oauth2/v1/revoke"));
        upstream.scopes.push("openid".to_owned());
        Ok(self.application.config(upstream))
    }
}
