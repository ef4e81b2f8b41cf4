//! Which clients there are: those that registered themselves, and those that a document describes.
//!
//! A registration is nothing that is kept: all of it stands, sealed, in the client id that it is answered with (RFC 7591,
//! appendix A.5.2). So registering costs no memory however often it is done, and every replica knows every client.
//!
//! Source: RFC 7591; OAuth Client ID Metadata Document (draft-ietf-oauth-client-id-metadata-document).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastmcp_guard::clock::Timestamp;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{self, Answer, Refused};
use super::document::{ClientDocument, DocumentError, DocumentProof, Said};
use super::keys::ProxyKeys;
use super::lookup::{self, Lookups};
use super::redirect::{self, RedirectRules};
use crate::claims::parse_object;
use crate::oauth::identifier;
use crate::oauth::network::Network;

/// Longest client id, in bytes.
const MAX_ID_BYTES: usize = 4_096;

/// How long a metadata document is kept, and how many are.
const KEEP: Duration = Duration::from_secs(600);
const MAX_KEPT: usize = 1_000;

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) name: Option<String>,
    /// The host that publishes its document.
    pub(super) vouched: Option<String>,
    redirect_uris: Vec<String>,
}

impl Client {
    /// Whether its answers may be sent to `uri`.
    pub(super) fn redirects_to(&self, uri: &str) -> bool {
        let mut registered = self.redirect_uris.iter();
        registered.any(|registered| redirect::is_same(registered, uri))
    }
}

/// What a client id holds.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(rename = "n", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "r")]
    redirect_uris: Vec<String>,
    #[serde(rename = "t")]
    issued_at: u64,
}

/// Knows clients.
pub(super) struct Clients {
    keys: Arc<ProxyKeys>,
    /// What registrations are bound to.
    bound: String,
    rules: RedirectRules,
    registration: bool,
    documents: bool,
    lifetime: Duration,
    kept: Mutex<HashMap<String, (Client, Timestamp)>>,
    lookups: Lookups,
}

impl Clients {
    pub(super) fn new(keys: Arc<ProxyKeys>, config: &super::OAuthProxyConfig) -> Self {
        Self {
            keys,
            bound: format!("client|{}", config.base_url),
            rules: config.redirect_uris.clone(),
            registration: config.registration,
            documents: config.metadata_documents,
            lifetime: config.lifetimes.registration,
            kept: Mutex::default(),
            lookups: Lookups::default(),
        }
    }

    /// Whether the rules of this server, which may have changed since it registered, still allow `uri`.
    pub(super) fn allow(&self, uri: &str) -> bool {
        self.rules.check(uri).is_ok()
    }

    /// Registers a client. All are public ones: they can keep no secret, and PKCE proves who asked for a code.
    pub(super) fn register(&self, body: &[u8], now: Timestamp) -> Result<Answer, Refused> {
        if !self.registration {
            return Err(Refused {
                status: StatusCode::FORBIDDEN,
                ..Refused::new("access_denied", "clients cannot register themselves here")
            });
        }
        let unfit = Refused::new(
            "invalid_client_metadata",
            "the body is no client's metadata",
        );
        let said = parse_object(body).map_err(|_| unfit)?;
        let mut problems = Vec::new();
        let said = Said::read(&said, &self.rules, &mut problems);
        if let Some(first) = problems.first() {
            return Err(first.refused());
        }
        let sealed = Sealed {
            name: said.name,
            redirect_uris: said.redirect_uris,
            issued_at: now.unix_seconds(),
        };
        let plain = serde_json::to_vec(&sealed).map_err(|_| Refused::unavailable())?;
        let ring = self.keys.ring();
        let id = ring.seal_text(self.bound.as_bytes(), &plain);
        let id = id.map_err(|_| Refused::unavailable())?;
        let mut body = json!({
            "client_id": id,
            "client_id_issued_at": sealed.issued_at,
            "redirect_uris": sealed.redirect_uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        });
        if let (Some(name), Some(body)) = (sealed.name, body.as_object_mut()) {
            body.insert("client_name".to_owned(), name.into());
        }
        Ok(answer::json(StatusCode::CREATED, &body))
    }

    /// The client of that id, if there is one.
    pub(super) async fn find(
        &self,
        network: &Network,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<Client>, Refused> {
        if id.starts_with("https://") || id.starts_with("http://") {
            return self.described(network, id, now).await;
        }
        if id.len() > MAX_ID_BYTES {
            return Ok(None);
        }
        let opened = self.keys.ring().open_text(self.bound.as_bytes(), id).ok();
        let sealed = opened.and_then(|plain| serde_json::from_slice::<Sealed>(&plain).ok());
        Ok(sealed
            .filter(|sealed| {
                let issued = Timestamp::from_unix_seconds(sealed.issued_at);
                now < issued.saturating_add(self.lifetime)
            })
            .map(|sealed| Client {
                id: id.to_owned(),
                name: sealed.name,
                vouched: None,
                redirect_uris: sealed.redirect_uris,
            }))
    }

    /// The client whose id is the URL of a document.
    async fn described(
        &self,
        network: &Network,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<Client>, Refused> {
        let Some(url) = identifier::document(id).ok().filter(|_| self.documents) else {
            return Ok(None);
        };
        if let Some(kept) = self.kept(id, now) {
            return Ok(Some(kept));
        }
        // Plain http is for hosts that the operator named alone.
        if network.check(&url).is_err() {
            return Ok(None);
        }
        let host = url.host_str().unwrap_or_default();
        let document = ClientDocument::get(id, network, &self.rules);
        let Some(document) = self.lookups.run(host, document).await else {
            tracing::info!(host, "a client's metadata document did not come in time");
            return Err(Refused::unavailable());
        };
        let document = match document {
            Ok(document) => document,
            Err(DocumentError::Unfit(problems)) => {
                // A document of another id says nothing about this one.
                let is_of_another = problems.iter().any(|one| one.field() == "client_id");
                let first = problems.first().filter(|_| !is_of_another);
                return first.map_or(Ok(None), |first| Err(first.refused()));
            }
            Err(error) => {
                tracing::info!(%error, "a client's metadata document cannot be read");
                return Ok(None);
            }
        };
        if document.proof() != DocumentProof::None {
            let why = "clients with keys or secrets are not served here; use `none` with PKCE";
            return Err(Refused::new("invalid_client_metadata", why));
        }
        let client = Client {
            id: id.to_owned(),
            name: Some(document.name().to_owned()),
            vouched: url.host_str().map(str::to_owned),
            redirect_uris: document.redirect_uris().to_vec(),
        };
        self.keep(&client, now);
        Ok(Some(client))
    }

    fn kept(&self, id: &str, now: Timestamp) -> Option<Client> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (client, until) = kept.get(id)?;
        (now < *until).then(|| client.clone())
    }

    fn keep(&self, client: &Client, now: Timestamp) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, (_, until)| now < *until);
        }
        if kept.len() >= MAX_KEPT
            && let Some(id) = oldest_of_greediest(&kept)
        {
            kept.remove(&id);
        }
        let until = now.saturating_add(KEEP);
        kept.insert(client.id.clone(), (client.clone(), until));
    }
}

/// Which document makes room: of the site that has the most, the one that came first.
fn oldest_of_greediest(kept: &HashMap<String, (Client, Timestamp)>) -> Option<String> {
    let of = |client: &Client| {
        let host = client.vouched.as_deref().unwrap_or_default();
        lookup::site(host).to_owned()
    };
    let sites: Vec<String> = kept.values().map(|(client, _)| of(client)).collect();
    let greedy = lookup::greediest(sites.iter().map(String::as_str))?;
    let of_site = kept.iter().filter(|(_, (client, _))| of(client) == greedy);
    let oldest = of_site.min_by_key(|(_, (_, until))| *until);
    oldest.map(|(id, _)| id.clone())
}
