//! An authorization server that keeps the rules: codes once and with their verifier, refresh tokens that rotate, tokens
//! bound to keys, clients that prove themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use url::form_urlencoded;

use crate::host::{Answer, Asked, Host, pairs};
use crate::proofs;

/// What the server puts into `iss`.
#[derive(Clone, Debug, Default)]
pub(crate) enum Iss {
    #[default]
    Own,
    Left,
    Other(String),
}

/// How it behaves.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// What follows the origin in its issuer.
    pub(crate) issuer_path: &'static str,
    /// Where its metadata is.
    pub(crate) metadata_at: &'static str,
    /// Members of the metadata to replace; `null` takes one out.
    pub(crate) metadata: Value,
    pub(crate) iss: Iss,
    /// What it answers in place of the state it got.
    pub(crate) state: Option<&'static str>,
    /// An error that it answers authorizations with.
    pub(crate) denies: Option<&'static str>,
    /// How clients prove themselves: `none`, `client_secret_basic`, `client_secret_post`, `private_key_jwt`.
    pub(crate) method: &'static str,
    pub(crate) expires_in: Option<u64>,
    pub(crate) refresh_tokens: bool,
    /// The scopes that it gives of those that were asked for; none gives all.
    pub(crate) gives: Option<&'static str>,
    /// The nonce that proofs must have.
    pub(crate) nonce: Option<&'static str>,
    /// An error that it answers token requests with.
    pub(crate) token_error: Option<&'static str>,
    /// The public key that statements are signed with.
    pub(crate) keys: Option<Value>,
    /// The type of tokens that it does not take back.
    pub(crate) keeps: Option<&'static str>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            issuer_path: "",
            metadata_at: "/.well-known/oauth-authorization-server",
            metadata: json!({}),
            iss: Iss::default(),
            state: None,
            denies: None,
            method: "none",
            expires_in: Some(3_600),
            refresh_tokens: true,
            gives: None,
            nonce: None,
            token_error: None,
            keys: None,
            keeps: None,
        }
    }
}

/// A token that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) scope: String,
    pub(crate) resource: String,
    pub(crate) jkt: Option<String>,
    pub(crate) client_id: String,
}

#[derive(Default)]
struct Book {
    next: usize,
    clients: HashMap<String, Option<String>>,
    codes: HashMap<String, (Given, HashMap<String, String>)>,
    refresh_tokens: HashMap<String, Given>,
    used: Vec<String>,
    tokens: HashMap<String, Given>,
}

#[derive(Clone)]
pub(crate) struct AuthorizationServer {
    pub(crate) host: Host,
    pub(crate) issuer: String,
    rules: Arc<Mutex<Rules>>,
    book: Arc<Mutex<Book>>,
    /// Token requests wait for one of these.
    pub(crate) gate: Arc<Semaphore>,
}

impl AuthorizationServer {
    pub(crate) async fn start(rules: Rules) -> Self {
        let (listener, url) = Host::bind().await;
        let issuer = format!("{url}{}", rules.issuer_path);
        let rules = Arc::new(Mutex::new(rules));
        let book = Arc::new(Mutex::new(Book::default()));
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let own = Own {
            url,
            issuer: issuer.clone(),
            rules: Arc::clone(&rules),
            book: Arc::clone(&book),
        };
        let waits = Arc::clone(&gate);
        let host = Host::serve(
            listener,
            Box::new(move |asked| {
                let (own, waits) = (own.clone(), Arc::clone(&waits));
                Box::pin(async move {
                    if asked.path == "/token" {
                        waits.acquire().await.unwrap().forget();
                    }
                    own.answer(&asked)
                })
            }),
        );
        Self {
            host,
            issuer,
            rules,
            book,
            gate,
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules.lock().unwrap());
    }

    /// What a token is good for.
    pub(crate) fn given(&self, token: &str) -> Option<Given> {
        self.book.lock().unwrap().tokens.get(token).cloned()
    }

    /// Takes back every access token.
    pub(crate) fn revoke(&self) {
        self.book.lock().unwrap().tokens.clear();
    }

    /// Whether any token is good.
    pub(crate) fn has_tokens(&self) -> bool {
        let book = self.book.lock().unwrap();
        !book.tokens.is_empty() || !book.refresh_tokens.is_empty()
    }

    /// Has the metadata say where tokens are taken back.
    pub(crate) fn announce_revocation(&self) {
        let url = format!("{}/revoke", self.issuer);
        self.change(|rules| rules.metadata["revocation_endpoint"] = json!(url));
    }

    /// Registers a client by hand.
    pub(crate) fn know(&self, client_id: &str, secret: Option<&str>) {
        let mut book = self.book.lock().unwrap();
        book.clients
            .insert(client_id.to_owned(), secret.map(str::to_owned));
    }

    pub(crate) fn forget_clients(&self) {
        self.book.lock().unwrap().clients.clear();
    }

    /// The grants of the token requests so far.
    pub(crate) fn grants(&self) -> Vec<String> {
        let asked = self.host.asked("/token");
        asked
            .iter()
            .map(|asked| asked.form()["grant_type"].clone())
            .collect()
    }
}

#[derive(Clone)]
struct Own {
    url: String,
    issuer: String,
    rules: Arc<Mutex<Rules>>,
    book: Arc<Mutex<Book>>,
}

impl Own {
    fn answer(&self, asked: &Asked) -> Answer {
        let rules = self.rules.lock().unwrap().clone();
        match asked.path.as_str() {
            path if path == rules.metadata_at => self.metadata(&rules),
            "/register" => self.register(asked, &rules),
            "/authorize" => self.authorize(asked, &rules),
            "/token" => match self.token(asked, &rules) {
                Ok(answer) | Err(answer) => answer,
            },
            "/revoke" => match self.take_back(asked, &rules) {
                Ok(answer) | Err(answer) => answer,
            },
            _ => Answer::status(404),
        }
    }

    fn metadata(&self, rules: &Rules) -> Answer {
        let mut metadata = json!({
            "issuer": self.issuer,
            "authorization_endpoint": format!("{}/authorize", self.url),
            "token_endpoint": format!("{}/token", self.url),
            "registration_endpoint": format!("{}/register", self.url),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "token_endpoint_auth_methods_supported": [rules.method],
        });
        for (name, value) in rules.metadata.as_object().unwrap() {
            if value.is_null() {
                metadata.as_object_mut().unwrap().remove(name);
            } else {
                metadata[name] = value.clone();
            }
        }
        Answer::json(200, &metadata)
    }

    fn register(&self, asked: &Asked, rules: &Rules) -> Answer {
        let mut book = self.book.lock().unwrap();
        book.next += 1;
        let (id, secret) = (
            format!("client {}", book.next),
            format!("s3cret:{}%", book.next),
        );
        let secret = (rules.method != "none").then_some(secret);
        book.clients.insert(id.clone(), secret.clone());
        let mut answer = json!({"client_id": id, "redirect_uris": asked.json()["redirect_uris"]});
        if let Some(secret) = secret {
            answer["client_secret"] = json!(secret);
            answer["client_secret_expires_at"] = json!(0);
            answer["token_endpoint_auth_method"] = json!(rules.method);
        }
        Answer::json(201, &answer)
    }

    fn authorize(&self, asked: &Asked, rules: &Rules) -> Answer {
        let query = &asked.query;
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["code_challenge_method"], "S256");
        let mut book = self.book.lock().unwrap();
        let known = book.clients.contains_key(&query["client_id"])
            || query["client_id"].starts_with("https://");
        let mut answer = form_urlencoded::Serializer::new(String::new());
        if !known || rules.denies.is_some() {
            answer.append_pair("error", rules.denies.unwrap_or("unauthorized_client"));
            answer.append_pair("error_description", "as the test wants");
        } else {
            book.next += 1;
            let code = format!("code {}&{}", book.next, self.issuer);
            let given = Given {
                scope: query.get("scope").cloned().unwrap_or_default(),
                resource: query["resource"].clone(),
                jkt: query.get("dpop_jkt").cloned(),
                client_id: query["client_id"].clone(),
            };
            book.codes.insert(code.clone(), (given, query.clone()));
            answer.append_pair("code", &code);
        }
        answer.append_pair("state", rules.state.unwrap_or(&query["state"]));
        match &rules.iss {
            Iss::Own => answer.append_pair("iss", &self.issuer),
            Iss::Other(iss) => answer.append_pair("iss", iss),
            Iss::Left => &mut answer,
        };
        Answer::redirect(&format!("{}?{}", query["redirect_uri"], answer.finish()))
    }

    fn token(&self, asked: &Asked, rules: &Rules) -> Result<Answer, Answer> {
        let form = asked.form();
        let refuse = |code: &str| Answer::error(400, code);
        if let Some(code) = rules.token_error {
            return Err(refuse(code));
        }
        let jkt = self.proof(asked, rules)?;
        let client_id = self.client(asked, &form, rules)?;
        let mut book = self.book.lock().unwrap();
        let mut given = match form["grant_type"].as_str() {
            "authorization_code" => {
                let found = book.codes.remove(&form["code"]);
                let (given, query) = found.ok_or_else(|| refuse("invalid_grant"))?;
                let digest = aws_lc_rs::digest::digest(
                    &aws_lc_rs::digest::SHA256,
                    form["code_verifier"].as_bytes(),
                );
                let fits = URL_SAFE_NO_PAD.encode(digest.as_ref()) == query["code_challenge"]
                    && form["redirect_uri"] == query["redirect_uri"]
                    && given.client_id == client_id
                    && given
                        .jkt
                        .as_ref()
                        .is_none_or(|bound| Some(bound) == jkt.as_ref());
                if !fits {
                    return Err(refuse("invalid_grant"));
                }
                given
            }
            "refresh_token" => {
                let token = &form["refresh_token"];
                if book.used.contains(token) {
                    // Somebody has a stolen one: the whole family goes.
                    book.refresh_tokens.clear();
                    book.tokens.clear();
                }
                let found = book.refresh_tokens.remove(token);
                let given = found.ok_or_else(|| refuse("invalid_grant"))?;
                book.used.push(token.clone());
                if given.client_id != client_id {
                    return Err(refuse("invalid_grant"));
                }
                given
            }
            "client_credentials" | "urn:ietf:params:oauth:grant-type:jwt-bearer" => Given {
                scope: form.get("scope").cloned().unwrap_or_default(),
                resource: form["resource"].clone(),
                jkt: None,
                client_id,
            },
            _ => return Err(refuse("unsupported_grant_type")),
        };
        if form.get("resource") != Some(&given.resource) {
            return Err(refuse("invalid_target"));
        }
        given.jkt = jkt;
        Ok(self.give(&mut book, given, rules))
    }

    /// Takes a token back, as RFC 7009 has it: what is not known is no failure.
    fn take_back(&self, asked: &Asked, rules: &Rules) -> Result<Answer, Answer> {
        let form = asked.form();
        let client_id = self.client(asked, &form, rules)?;
        if rules.keeps == Some(form["token_type_hint"].as_str()) {
            return Err(Answer::error(400, "unsupported_token_type"));
        }
        let mut book = self.book.lock().unwrap();
        let own = |given: &Given| given.client_id == client_id;
        let token = &form["token"];
        if book.tokens.get(token).is_some_and(own) {
            book.tokens.remove(token);
        }
        if book.refresh_tokens.get(token).is_some_and(own) {
            book.refresh_tokens.remove(token);
        }
        Ok(Answer::status(200))
    }

    fn give(&self, book: &mut Book, mut given: Given, rules: &Rules) -> Answer {
        book.next += 1;
        let token = format!("access-{}", book.next);
        let kind = if given.jkt.is_some() {
            "DPoP"
        } else {
            "Bearer"
        };
        if let Some(scope) = rules.gives {
            given.scope = scope.to_owned();
        }
        let mut answer = json!({"access_token": token, "token_type": kind, "scope": given.scope});
        if let Some(seconds) = rules.expires_in {
            answer["expires_in"] = json!(seconds);
        }
        if rules.refresh_tokens {
            let refresh_token = format!("refresh-{}", book.next);
            book.refresh_tokens
                .insert(refresh_token.clone(), given.clone());
            answer["refresh_token"] = json!(refresh_token);
        }
        book.tokens.insert(token, given);
        Answer::json(200, &answer)
    }

    /// The thumbprint of the key that a proof is signed with.
    fn proof(&self, asked: &Asked, rules: &Rules) -> Result<Option<String>, Answer> {
        let Some(proof) = asked.header("dpop") else {
            return Ok(None);
        };
        let proof = proofs::verified(&proof);
        assert_eq!(proof.claims["htm"], "POST");
        assert_eq!(proof.claims["htu"], format!("{}/token", self.url));
        match rules.nonce {
            Some(nonce) if proof.claims["nonce"] != nonce => {
                Err(Answer::error(400, "use_dpop_nonce").with("dpop-nonce", nonce))
            }
            _ => Ok(Some(proof.thumbprint)),
        }
    }

    /// Who asks, proved by the one method that is taken.
    fn client(
        &self,
        asked: &Asked,
        form: &HashMap<String, String>,
        rules: &Rules,
    ) -> Result<String, Answer> {
        let refuse = || Answer::error(401, "invalid_client");
        let basic = asked.header("authorization");
        let (id, secret) = match rules.method {
            "client_secret_basic" => {
                let basic = basic.ok_or_else(refuse)?;
                let pair = STANDARD
                    .decode(basic.strip_prefix("Basic ").unwrap())
                    .unwrap();
                let pair = String::from_utf8(pair).unwrap();
                let (id, secret) = pair.split_once(':').unwrap();
                let decoded = |text: &str| pairs(&format!("x={text}"))["x"].clone();
                (decoded(id), Some(decoded(secret)))
            }
            _ if basic.is_some() => return Err(refuse()),
            "client_secret_post" => (
                form["client_id"].clone(),
                form.get("client_secret").cloned(),
            ),
            "private_key_jwt" => {
                let keys = rules.keys.as_ref().unwrap();
                let claims = proofs::statement(&form["client_assertion"], keys, &self.issuer);
                assert_eq!(claims["iss"], claims["sub"]);
                (claims["sub"].as_str().unwrap().to_owned(), None)
            }
            _ => (form.get("client_id").cloned().unwrap_or_default(), None),
        };
        if rules.method != "client_secret_post" && form.contains_key("client_secret") {
            return Err(refuse());
        }
        let book = self.book.lock().unwrap();
        let known = match book.clients.get(&id) {
            Some(expected) => rules.method == "private_key_jwt" || *expected == secret,
            None => id.starts_with("https://") || id.is_empty(),
        };
        if known { Ok(id) } else { Err(refuse()) }
    }
}
