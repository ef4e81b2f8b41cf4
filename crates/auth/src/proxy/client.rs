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
use url::Url;

use super::answer::{self, Answer, Refused};
use super::keys::ProxyKeys;
use super::lookup::{self, Lookups};
use super::redirect::{self, RedirectRules};
use crate::claims::parse_object;
use crate::oauth::identifier::{self, split_origin};
use crate::oauth::network::Network;

/// Most redirect URIs of a client, and most bytes of all of them.
const MAX_REDIRECTS: usize = 10;
const MAX_REDIRECT_BYTES: usize = 1_536;

/// Most characters of a name.
const MAX_NAME: usize = 100;

/// Longest client id, in bytes.
const MAX_ID_BYTES: usize = 4_096;

/// Most bytes of a metadata document, how long it is kept, and how many are.
const MAX_DOCUMENT: usize = 32 * 1024;
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

/// What a client says about itself (RFC 7591, section 2): the members that mean something here.
#[derive(Deserialize)]
struct Said {
    client_id: Option<String>,
    client_name: Option<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    token_endpoint_auth_method: Option<String>,
}

impl Said {
    fn check(&self, rules: &RedirectRules) -> Result<(), Refused> {
        let has = |list: &Option<Vec<String>>, value: &str| {
            list.as_ref()
                .is_none_or(|list| list.iter().any(|one| one == value))
        };
        let metadata = |why| Err(Refused::new("invalid_client_metadata", why));
        if !has(&self.grant_types, "authorization_code") {
            return metadata("`grant_types` must have `authorization_code`");
        }
        if !has(&self.response_types, "code") {
            return metadata("`response_types` must have `code`");
        }
        let name = self.client_name.as_deref().unwrap_or_default();
        if name.chars().count() > MAX_NAME || name.contains(char::is_control) {
            return metadata(
                "`client_name` must have at most 100 characters, no control characters",
            );
        }
        let uris = |why| Err(Refused::new("invalid_redirect_uri", why));
        let bytes: usize = self.redirect_uris.iter().map(String::len).sum();
        if self.redirect_uris.is_empty() {
            return uris("`redirect_uris` must name at least one");
        }
        if self.redirect_uris.len() > MAX_REDIRECTS || bytes > MAX_REDIRECT_BYTES {
            return uris("`redirect_uris` may name 10, with 1536 bytes altogether");
        }
        if self
            .redirect_uris
            .iter()
            .any(|uri| rules.check(uri).is_err())
        {
            return uris("`redirect_uris`: one of them is not allowed here");
        }
        Ok(())
    }

    fn name(&self) -> Option<String> {
        self.client_name
            .clone()
            .filter(|name| !name.trim().is_empty())
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
        let said = parse_object(body).ok();
        let said = said.and_then(|said| serde_json::from_value::<Said>(said.into()).ok());
        let said = said.ok_or(unfit)?;
        said.check(&self.rules)?;
        let sealed = Sealed {
            name: said.name(),
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
        let Some(url) = document_url(id).filter(|_| self.documents) else {
            return Ok(None);
        };
        if let Some(kept) = self.kept(id, now) {
            return Ok(Some(kept));
        }
        // Plain http is for hosts that the operator named alone.
        if network.check(&url).is_err() {
            return Ok(None);
        }
        let document = network.document("the client's metadata document", id);
        let host = url.host_str().unwrap_or_default();
        let Some(document) = self.lookups.run(host, document).await else {
            tracing::info!(host, "a client's metadata document did not come in time");
            return Err(Refused::unavailable());
        };
        let document = match document {
            Ok(document) => document.filter(|document| document.len() <= MAX_DOCUMENT),
            Err(error) => {
                tracing::info!(%error, "a client's metadata document cannot be read");
                None
            }
        };
        let said = document.and_then(|document| parse_object(&document).ok());
        let said = said.and_then(|said| serde_json::from_value::<Said>(said.into()).ok());
        let Some(said) = said.filter(|said| said.client_id.as_deref() == Some(id)) else {
            return Ok(None);
        };
        said.check(&self.rules)?;
        let method = said.token_endpoint_auth_method.as_deref();
        if !matches!(method, None | Some("none")) {
            let why = "clients with keys or secrets are not served here; use `none` with PKCE";
            return Err(Refused::new("invalid_client_metadata", why));
        }
        let client = Client {
            id: id.to_owned(),
            name: said.name(),
            vouched: url.host_str().map(str::to_owned),
            redirect_uris: said.redirect_uris,
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

/// The URL of a document, if it can be a client id (section 3 of the draft).
fn document_url(id: &str) -> Option<Url> {
    let url = identifier::resource(id).ok()?;
    let (_, path) = split_origin(id);
    let dots = |segment: &str| segment == "." || segment == "..";
    (path.len() > 1 && path.starts_with('/') && !path.split('/').any(dots)).then_some(url)
}
