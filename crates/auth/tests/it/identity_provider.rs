//! An identity provider that knows one client, entered by hand, and speaks the wires of several products.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fastmcp_auth::testing::SigningKey;
use fastmcp_guard::clock::{Clock as _, ManualClock};
use serde_json::{Value, json};

use crate::host::{Answer, Asked, Host, pairs};

pub(crate) const CLIENT: &str = "the-one-client";
pub(crate) const SECRET: &str = "its s3cret: entered by hand";

/// What it does; tests change it while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    /// The seconds that its access tokens are good.
    pub(crate) expires_in: Option<u64>,
    /// Whether it gives refresh tokens.
    pub(crate) refreshes: bool,
    /// What it says of scopes, in place of what was asked for.
    pub(crate) scope: Option<String>,
    /// Who logs in.
    pub(crate) user: &'static str,
    /// The Workspace domain of who logs in.
    pub(crate) domain: Option<&'static str>,
    /// The nonce of ID tokens, in place of the one that was sent.
    pub(crate) nonce: Option<&'static str>,
    /// What its answers say of who answers, in place of nothing.
    pub(crate) iss: Option<String>,
    /// The audience and further claims of access tokens that are JWTs.
    pub(crate) jwt: Option<Value>,
    /// Whether it declines.
    pub(crate) declines: bool,
    /// Whether its token endpoint is broken.
    pub(crate) broken: bool,
    /// For whom its tokens are, where it is asked.
    pub(crate) application: &'static str,
    /// How it calls itself; default its URL.
    pub(crate) issuer: Option<String>,
    /// Further claims of ID tokens, which go on top.
    pub(crate) id_claims: Option<Value>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            expires_in: None,
            refreshes: true,
            scope: None,
            user: "583231",
            domain: None,
            nonce: None,
            iss: None,
            jwt: None,
            declines: false,
            broken: false,
            application: CLIENT,
            issuer: None,
            id_claims: None,
        }
    }
}

#[derive(Clone)]
struct Code {
    challenge: String,
    redirect_uri: String,
    scope: String,
    nonce: Option<String>,
}

#[derive(Default)]
struct Issued {
    count: u64,
    codes: HashMap<String, Code>,
    access: HashMap<String, String>,
    refresh: HashMap<String, String>,
    revoked: HashSet<String>,
}

struct Inner {
    url: String,
    clock: Arc<ManualClock>,
    key: SigningKey,
    behaviour: Mutex<Behaviour>,
    issued: Mutex<Issued>,
}

#[derive(Clone)]
pub(crate) struct IdentityProvider {
    pub(crate) host: Host,
    inner: Arc<Inner>,
}

impl IdentityProvider {
    pub(crate) async fn start(clock: Arc<ManualClock>) -> Self {
        let (listener, url) = Host::bind().await;
        let inner = Arc::new(Inner {
            url,
            clock,
            key: SigningKey::ec("idp-1"),
            behaviour: Mutex::default(),
            issued: Mutex::default(),
        });
        let answering = Arc::clone(&inner);
        let host = Host::serve(
            listener,
            Box::new(move |asked| {
                let answer = answering.answer(&asked);
                Box::pin(async move { answer })
            }),
        );
        Self { host, inner }
    }

    pub(crate) fn url(&self) -> String {
        self.inner.url.clone()
    }

    pub(crate) fn now_it(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.inner.behaviour.lock().unwrap());
    }

    /// Takes everything back that it issued.
    pub(crate) fn forget_all(&self) {
        let mut issued = self.inner.issued.lock().unwrap();
        issued.access.clear();
        issued.refresh.clear();
    }

    /// The access tokens that are good.
    pub(crate) fn access_tokens(&self) -> Vec<String> {
        let issued = self.inner.issued.lock().unwrap();
        issued.access.keys().cloned().collect()
    }

    pub(crate) fn revoked(&self) -> usize {
        self.inner.issued.lock().unwrap().revoked.len()
    }
}

impl Inner {
    fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path.as_str();
        let ends = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
        if ends(&["/.well-known/openid-configuration"]) {
            return self.discovery();
        }
        if ends(&["/certs", "/keys", "/jwks", "/jwk"]) {
            return Answer::json(200, &json!({"keys": [self.key.jwk()]}));
        }
        if ends(&["/authorize", "/o/oauth2/v2/auth"]) {
            return self.authorize(asked);
        }
        if ends(&["/access_token", "/token"]) {
            return self.token(asked);
        }
        if ends(&["/revoke"]) {
            let mut issued = self.issued.lock().unwrap();
            let token = asked.form().remove("token").unwrap_or_default();
            issued.refresh.remove(&token);
            issued.access.remove(&token);
            issued.revoked.insert(token);
            return Answer::status(200);
        }
        if ends(&["/user", "/userinfo", "/@me", "/tokeninfo"]) {
            return self.explain(asked);
        }
        Answer::status(404)
    }

    fn issuer(&self) -> String {
        let behaviour = self.behaviour.lock().unwrap();
        behaviour.issuer.clone().unwrap_or_else(|| self.url.clone())
    }

    fn discovery(&self) -> Answer {
        let at = |path: &str| format!("{}{path}", self.url);
        Answer::json(
            200,
            &json!({
                "issuer": self.issuer(),
                "authorization_endpoint": at("/authorize"),
                "token_endpoint": at("/token"),
                "revocation_endpoint": at("/revoke"),
                "jwks_uri": at("/jwks"),
                "scopes_supported": ["openid", "email", "offline_access"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            }),
        )
    }

    /// Logs whoever comes in at once.
    fn authorize(&self, asked: &Asked) -> Answer {
        let query = &asked.query;
        assert_eq!(query["client_id"], CLIENT);
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["code_challenge_method"], "S256");
        let behaviour = self.behaviour.lock().unwrap().clone();
        let back = |parameters: &str| {
            let iss = behaviour.iss.as_ref().map(|iss| format!("&iss={iss}"));
            let (to, state) = (&query["redirect_uri"], &query["state"]);
            Answer::redirect(&format!(
                "{to}?{parameters}&state={state}{}",
                iss.unwrap_or_default()
            ))
        };
        if behaviour.declines {
            return back("error=access_denied");
        }
        let mut issued = self.issued.lock().unwrap();
        issued.count += 1;
        let code = format!("upstream-code-{}", issued.count);
        let record = Code {
            challenge: query["code_challenge"].clone(),
            redirect_uri: query["redirect_uri"].clone(),
            scope: query.get("scope").cloned().unwrap_or_default(),
            nonce: query.get("nonce").cloned(),
        };
        issued.codes.insert(code.clone(), record);
        back(&format!("code={code}"))
    }

    fn is_our_client(asked: &Asked, form: &HashMap<String, String>) -> bool {
        if let Some(basic) = asked.header("authorization") {
            let pair = STANDARD
                .decode(basic.strip_prefix("Basic ").unwrap())
                .unwrap();
            let pair = String::from_utf8(pair).unwrap();
            let (id, secret) = pair.split_once(':').unwrap();
            let decoded = |text: &str| pairs(&format!("x={text}")).remove("x").unwrap();
            return decoded(id) == CLIENT && decoded(secret) == SECRET;
        }
        form.get("client_id").is_some_and(|id| id == CLIENT)
            && form
                .get("client_secret")
                .is_some_and(|secret| secret == SECRET)
    }

    fn token(&self, asked: &Asked) -> Answer {
        let form = asked.form();
        let behaviour = self.behaviour.lock().unwrap().clone();
        if behaviour.broken {
            return Answer::status(502);
        }
        if !Self::is_our_client(asked, &form) {
            return Answer::error(401, "invalid_client");
        }
        let mut issued = self.issued.lock().unwrap();
        let (scope, nonce) = match form["grant_type"].as_str() {
            "authorization_code" => {
                let Some(code) = issued.codes.remove(&form["code"]) else {
                    // As GitHub says it.
                    return Answer::error(200, "bad_verification_code");
                };
                let digest = aws_lc_rs::digest::digest(
                    &aws_lc_rs::digest::SHA256,
                    form["code_verifier"].as_bytes(),
                );
                assert_eq!(URL_SAFE_NO_PAD.encode(digest), code.challenge);
                assert_eq!(form["redirect_uri"], code.redirect_uri);
                (code.scope, code.nonce)
            }
            "refresh_token" => match issued.refresh.remove(&form["refresh_token"]) {
                Some(scope) => (scope, None),
                None => return Answer::error(400, "invalid_grant"),
            },
            _ => return Answer::error(400, "unsupported_grant_type"),
        };
        issued.count += 1;
        let number = issued.count;
        let access = match &behaviour.jwt {
            None => format!("upstream-access-{number}"),
            Some(claims) => self.signed(&behaviour, claims),
        };
        issued.access.insert(access.clone(), scope.clone());
        let mut body = json!({
            "access_token": access,
            "token_type": "bearer",
            "scope": behaviour.scope.clone().unwrap_or_else(|| scope.clone()),
        });
        if let Some(seconds) = behaviour.expires_in {
            body["expires_in"] = seconds.into();
        }
        if behaviour.refreshes {
            let refresh = format!("upstream-refresh-{number}");
            issued.refresh.insert(refresh.clone(), scope.clone());
            body["refresh_token"] = refresh.into();
        }
        if scope.split(' ').any(|scope| scope == "openid") {
            let mut claims = json!({
                "aud": CLIENT, "email": "ada@acme.example", "cognito:groups": ["admins"],
            });
            if let Some(nonce) = behaviour.nonce.map(str::to_owned).or(nonce) {
                claims["nonce"] = nonce.into();
            }
            if let Some(domain) = behaviour.domain {
                claims["hd"] = domain.into();
            }
            for (name, value) in behaviour
                .id_claims
                .iter()
                .flat_map(|more| more.as_object().unwrap())
            {
                claims[name] = value.clone();
            }
            body["id_token"] = self.signed(&behaviour, &claims).into();
        }
        Answer::json(200, &body)
    }

    fn signed(&self, behaviour: &Behaviour, claims: &Value) -> String {
        let issuer = behaviour.issuer.clone().unwrap_or_else(|| self.url.clone());
        let token = self.key.token(behaviour.user, self.clock.now());
        let token = token.claim("iss", issuer);
        let claims = claims.as_object().unwrap().clone();
        let token = claims
            .into_iter()
            .fold(token, |token, (name, value)| token.claim(&name, value));
        token.sign()
    }

    /// Whose a token is, as each product says it.
    fn explain(&self, asked: &Asked) -> Answer {
        let bearer = asked.header("authorization");
        let bearer = bearer.and_then(|bearer| Some(bearer.strip_prefix("Bearer ")?.to_owned()));
        let token = bearer.or_else(|| asked.query.get("access_token").cloned());
        let behaviour = self.behaviour.lock().unwrap().clone();
        let issued = self.issued.lock().unwrap();
        let scope = token.and_then(|token| issued.access.get(&token).cloned());
        let Some(scope) = scope else {
            let google = asked.path.ends_with("/tokeninfo");
            return Answer::error(if google { 400 } else { 401 }, "invalid_token");
        };
        let user = behaviour.user;
        let body = match asked.path.rsplit('/').next().unwrap() {
            "user" => json!({
                "id": user.parse::<u64>().unwrap(), "login": "ada", "name": "Ada", "email": null,
                "roles": ["admin"], "tenant": "evil",
            }),
            "@me" => json!({
                "application": {"id": behaviour.application, "name": "Tools"},
                "scopes": scope.split(' ').collect::<Vec<_>>(),
                "user": {"id": user, "username": "ada", "global_name": "Ada"},
            }),
            "tokeninfo" => json!({
                "aud": behaviour.application, "azp": behaviour.application, "sub": user, "scope": scope,
                "exp": (self.clock.now().unix_seconds() + 3_000).to_string(), "expires_in": "3000",
            }),
            _ => {
                json!({"sub": user, "email": "ada@acme.example", "email_verified": true, "roles": "admin"})
            }
        };
        Answer::json(200, &body)
    }
}
