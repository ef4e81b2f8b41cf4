//! What clients are told of where to get tokens.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use fastmcp_auth::ResourceMetadata;

use super::{Error, MCP_PATH, issuers::Issuers};
use crate::config::Config;

/// The metadata of the gateway as a protected resource: the issuers in force are named at each look.
#[derive(Clone, Debug)]
pub(super) struct Described {
    metadata: ResourceMetadata,
    issuers: Issuers,
}

impl Described {
    /// That of the gateway at `address`.
    ///
    /// No scopes are named: the roles of a caller say what it may do, and a token that names none is not narrowed. A client that
    /// was told of scopes would ask for all of them.
    pub(super) fn new(
        config: &Config,
        address: SocketAddr,
        issuers: Issuers,
    ) -> Result<Self, Error> {
        let resource = match config.allowed_hosts.first() {
            Some(host) if !address.ip().is_loopback() => format!("https://{host}{MCP_PATH}"),
            _ if config.tls.is_some() => format!("https://{address}{MCP_PATH}"),
            _ => format!("http://{address}{MCP_PATH}"),
        };
        let shows_certificates = config
            .tls
            .as_ref()
            .is_some_and(|tls| tls.client_ca.is_some());
        let metadata = ResourceMetadata::without_servers(&resource)
            .map_err(Error::part("resource metadata"))?
            .with_certificate_bound_tokens(shows_certificates);
        Ok(Self { metadata, issuers })
    }

    /// The address of the document.
    pub(super) fn url(&self) -> String {
        self.metadata.url()
    }

    fn document(&self) -> String {
        let issuers = self.issuers.named();
        let metadata = self.metadata.clone();
        metadata
            .with_issuers(issuers.iter().map(String::as_str))
            .to_json()
    }

    /// Serves the document where challenges say, and where clients look that have seen none.
    pub(super) fn route(self, router: Router) -> Router {
        let path = self.metadata.path();
        let described = move || {
            let document = self.document();
            async move { ([(http::header::CONTENT_TYPE, "application/json")], document) }
        };
        router
            .route(fastmcp_auth::metadata::WELL_KNOWN, get(described.clone()))
            .route(&path, get(described))
    }
}
