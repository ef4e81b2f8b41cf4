//! A protected resource: an MCP server as far as its door.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::authorization_server::AuthorizationServer;
use crate::host::{Answer, Asked, Host};
use crate::proofs;

/// How it behaves.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Where its metadata is; none has none.
    pub(crate) metadata_at: Option<&'static str>,
    /// Whether a refusal names the metadata.
    pub(crate) names_metadata: bool,
    /// Members of the metadata to replace.
    pub(crate) metadata: Value,
    /// A URL that a refusal names in place of the metadata's.
    pub(crate) metadata_url: Option<String>,
    /// The scope that a 401 names.
    pub(crate) scope: Option<&'static str>,
    /// The scopes that operations need, each by its name.
    pub(crate) needs: Vec<(&'static str, &'static str)>,
    /// Whether it refuses whatever comes.
    pub(crate) never: bool,
    /// The nonce that proofs must have.
    pub(crate) nonce: Option<&'static str>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            metadata_at: Some("/.well-known/oauth-protected-resource/mcp"),
            names_metadata: true,
            metadata: json!({}),
            metadata_url: None,
            scope: None,
            needs: Vec::new(),
            never: false,
            nonce: None,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Resource {
    pub(crate) host: Host,
    pub(crate) url: String,
    rules: Arc<Mutex<Rules>>,
    servers: Arc<Mutex<Vec<AuthorizationServer>>>,
}

impl Resource {
    pub(crate) async fn start(rules: Rules, server: &AuthorizationServer) -> Self {
        let (listener, url) = Host::bind().await;
        let rules = Arc::new(Mutex::new(rules));
        let servers = Arc::new(Mutex::new(vec![server.clone()]));
        let own = Own {
            url: url.clone(),
            rules: Arc::clone(&rules),
            servers: Arc::clone(&servers),
        };
        let host = Host::serve(
            listener,
            Box::new(move |asked| {
                let own = own.clone();
                Box::pin(async move { own.answer(&asked) })
            }),
        );
        Self {
            host,
            url: format!("{url}/mcp"),
            rules,
            servers,
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules.lock().unwrap());
    }

    /// Moves to another authorization server.
    pub(crate) fn move_to(&self, server: &AuthorizationServer) {
        *self.servers.lock().unwrap() = vec![server.clone()];
    }
}

#[derive(Clone)]
struct Own {
    url: String,
    rules: Arc<Mutex<Rules>>,
    servers: Arc<Mutex<Vec<AuthorizationServer>>>,
}

impl Own {
    fn answer(&self, asked: &Asked) -> Answer {
        let rules = self.rules.lock().unwrap().clone();
        match asked.path.as_str() {
            "/mcp" => self.operation(asked, &rules),
            path if Some(path) == rules.metadata_at => self.metadata(&rules),
            _ => Answer::status(404),
        }
    }

    fn metadata(&self, rules: &Rules) -> Answer {
        let servers = self.servers.lock().unwrap();
        let issuers: Vec<&str> = servers
            .iter()
            .map(|server| server.issuer.as_str())
            .collect();
        let root = rules.metadata_at == Some("/.well-known/oauth-protected-resource");
        let path = if root { "" } else { "/mcp" };
        let mut metadata =
            json!({"resource": format!("{}{path}", self.url), "authorization_servers": issuers});
        for (name, value) in rules.metadata.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        Answer::json(200, &metadata)
    }

    fn operation(&self, asked: &Asked, rules: &Rules) -> Answer {
        let Some(authorization) = asked.header("authorization") else {
            return self.refuse(401, rules, &[("scope", rules.scope.unwrap_or_default())]);
        };
        let (scheme, token) = authorization.split_once(' ').unwrap();
        let given = {
            let servers = self.servers.lock().unwrap();
            servers.iter().find_map(|server| server.given(token))
        };
        let Some(given) = given else {
            return self.refuse(401, rules, &[("error", "invalid_token")]);
        };
        assert_eq!(
            scheme,
            if given.jkt.is_some() {
                "DPoP"
            } else {
                "Bearer"
            }
        );
        if let Some(jkt) = &given.jkt {
            let proof = proofs::verified(&asked.header("dpop").unwrap());
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
            assert_eq!(proof.claims["ath"], URL_SAFE_NO_PAD.encode(digest.as_ref()));
            assert_eq!(proof.claims["htu"], format!("{}/mcp", self.url));
            assert_eq!(proof.claims["htm"], asked.method);
            assert_eq!(proof.thumbprint, *jkt);
            if let Some(nonce) = rules.nonce
                && proof.claims["nonce"] != nonce
            {
                return Answer::status(401)
                    .with("www-authenticate", "DPoP error=\"use_dpop_nonce\"")
                    .with("dpop-nonce", nonce);
            }
        }
        let needed = rules
            .needs
            .iter()
            .find(|(operation, _)| *operation == asked.body);
        let needed = needed.map_or("", |(_, scope)| scope);
        let held: Vec<&str> = given.scope.split(' ').collect();
        let reaches = needed
            .split(' ')
            .filter(|s| !s.is_empty())
            .all(|s| held.contains(&s));
        if rules.never || !reaches {
            let error = ("error", "insufficient_scope");
            return self.refuse(403, rules, &[error, ("scope", needed)]);
        }
        Answer::status(200)
    }

    fn refuse(&self, status: u16, rules: &Rules, parameters: &[(&str, &str)]) -> Answer {
        let mut all = vec!["realm=\"mcp, tools\"".to_owned()];
        for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
            all.push(format!("{name}=\"{value}\""));
        }
        if let (true, Some(path)) = (rules.names_metadata, rules.metadata_at) {
            let url = format!("{}{path}", self.url);
            let url = rules.metadata_url.clone().unwrap_or(url);
            all.push(format!("resource_metadata=\"{url}\""));
        }
        Answer::status(status).with("www-authenticate", &format!("Bearer {}", all.join(", ")))
    }
}
