//! TLS at the gateway's own door: its certificate, those of clients, and tokens that are good with one alone.

use std::{fs, io, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Gateway, Home, until, within};

/// An authority.
struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
struct Identity {
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = params.self_signed(&key).unwrap();
        Self {
            pem: made.pem(),
            der: made.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            pem: made.pem(),
            der: made.der().clone(),
            key,
        }
    }
}

/// A home with the files of a listener.
struct Secured {
    home: Home,
    authority: Authority,
    clients: Authority,
}

impl Secured {
    fn new() -> Self {
        let secured = Self {
            home: Home::new(),
            authority: Authority::new(),
            clients: Authority::new(),
        };
        secured.put("clients.pem", &secured.clients.pem);
        secured.renew();
        secured
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.home.folder().join(name), text).unwrap();
    }

    /// Puts a new certificate in place, and returns it.
    fn renew(&self) -> CertificateDer<'static> {
        let identity = self.authority.issue("localhost");
        self.put("key.pem", &identity.key.serialize_pem());
        self.put("cert.pem", &identity.pem);
        identity.der
    }

    async fn start(&self, more: &[(&str, &str)]) -> Gateway {
        let files = [("TLS_CERT_FILE", "cert.pem"), ("TLS_KEY_FILE", "key.pem")];
        self.home.start_with(&[&files, more].concat()).await
    }

    /// Gets the catalogue as a client that shows `identity`: the status, the challenge and the server's certificate.
    async fn get(
        &self,
        gateway: &Gateway,
        identity: Option<&Identity>,
        token: &str,
    ) -> io::Result<(u16, String, CertificateDer<'static>)> {
        let answered = async {
            let (mut sender, shown) = self.connect(gateway, identity).await?;
            let (status, challenge) = ask(&mut sender, token).await?;
            Ok((status, challenge, shown))
        };
        within("an answer over TLS", answered).await
    }

    /// A connection of a client that shows `identity`, and the server's certificate.
    async fn connect(
        &self,
        gateway: &Gateway,
        identity: Option<&Identity>,
    ) -> io::Result<(Sender, CertificateDer<'static>)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { der, key, .. }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder
                    .with_client_auth_cert(vec![der.clone()], key)
                    .unwrap()
            }
        };
        let stream = TcpStream::connect(gateway.address()).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio_util::task::TaskTracker::new().spawn(connection);
        Ok((sender, shown))
    }

    async fn mint(&self, identity: Option<&Identity>) -> String {
        let Some(identity) = identity else {
            return self.home.role("ada", "data-analyst").await;
        };
        self.put("client.pem", &identity.pem);
        let bound = ["--role", "data-analyst", "--client-cert", "client.pem"];
        self.home.mint("ada", &bound).await
    }
}

type Sender = http1::SendRequest<Full<Bytes>>;

/// Gets the catalogue on a connection: the status and the challenge.
async fn ask(sender: &mut Sender, token: &str) -> io::Result<(u16, String)> {
    let request = Request::get("/tool-catalog")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.map_or("", |value| value.to_str().unwrap());
    let challenge = challenge.to_owned();
    let body = response.into_body().collect().await;
    body.map_err(io::Error::other)?;
    Ok((status, challenge))
}

#[tokio::test]
async fn a_connection_ends_with_the_trust_in_who_opened_it() {
    let secured = Secured::new();
    let gateway = secured
        .start(&[("TLS_CLIENT_CA_FILE", "clients.pem")])
        .await;
    let own = secured.clients.issue("ada");
    let token = secured.mint(Some(&own)).await;
    let free = secured.mint(None).await;
    let (mut vouched, _) = secured.connect(&gateway, Some(&own)).await.unwrap();
    let (mut anonymous, _) = secured.connect(&gateway, None).await.unwrap();
    let reloads = || {
        let audit = secured.home.audit();
        let loaded = audit
            .iter()
            .filter(|r| r["action"] == "tls.reloaded" && r["status"] == "success");
        loaded.count()
    };
    // Who goes on being vouched for goes on. A connection at rest would end by itself.
    secured.renew();
    until("the new certificate", async || {
        assert_eq!(ask(&mut vouched, &token).await.unwrap().0, 200);
        assert_eq!(ask(&mut anonymous, &free).await.unwrap().0, 200);
        (reloads() >= 1).then_some(())
    })
    .await;
    assert_eq!(ask(&mut vouched, &token).await.unwrap().0, 200);
    secured.put("clients.pem", &Authority::new().pem);
    until("the end", async || {
        assert_eq!(ask(&mut anonymous, &free).await.unwrap().0, 200);
        ask(&mut vouched, &token).await.is_err().then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn https_is_spoken_and_a_renewed_certificate_is_shown() {
    let secured = Secured::new();
    let gateway = secured.start(&[]).await;
    let token = secured.mint(None).await;
    let (status, _, before) = secured.get(&gateway, None, &token).await.unwrap();
    assert_eq!(status, 200);
    let plain = gateway.ask("GET", "/health").attempt().await;
    assert!(plain.is_err(), "{plain:?}");

    // A bad file changes nothing; a new pair takes effect.
    secured.put("cert.pem", "nothing");
    let failed = |r: &serde_json::Value| r["action"] == "tls.reloaded" && r["status"] == "failed";
    until("the complaint", async || {
        secured.home.audit().iter().any(failed).then_some(())
    })
    .await;
    let (_, _, still) = secured.get(&gateway, None, &token).await.unwrap();
    assert_eq!(still, before);
    let renewed = secured.renew();
    until("the new certificate", async || {
        let got = Box::pin(secured.get(&gateway, None, &token)).await;
        let (status, _, shown) = got.unwrap();
        assert_eq!(status, 200);
        (shown == renewed).then_some(())
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_client_certificate_nobody_comes_in_where_one_is_required() {
    let secured = Secured::new();
    let required = [
        ("TLS_CLIENT_CA_FILE", "clients.pem"),
        ("REQUIRE_MTLS", "true"),
    ];
    let gateway = secured.start(&required).await;
    let (own, other) = (secured.clients.issue("ada"), secured.clients.issue("bob"));
    let bound = secured.mint(Some(&own)).await;
    let free = secured.mint(None).await;
    let (status, _, _) = secured.get(&gateway, Some(&own), &bound).await.unwrap();
    assert_eq!(status, 200);
    assert!(secured.get(&gateway, None, &bound).await.is_err());
    let stranger = Authority::new().issue("ada");
    let stranger = secured.get(&gateway, Some(&stranger), &bound).await;
    assert!(stranger.is_err(), "{stranger:?}");

    // A token that was stolen, and one that anybody could have stolen.
    for (token, shown) in [(&bound, &other), (&free, &own)] {
        let (status, challenge, _) = secured.get(&gateway, Some(shown), token).await.unwrap();
        assert_eq!(status, 401);
        assert!(challenge.contains("invalid_token"), "{challenge}");
    }

    // Keys are bound in the same way.
    secured.put("client.pem", &own.pem);
    let create = [
        "token",
        "key",
        "create",
        "--sub",
        "ci",
        "--role",
        "data-analyst",
        "--client-cert",
        "client.pem",
    ];
    let output = secured.home.run(&create, &[]).await;
    let key = String::from_utf8(output.stdout).unwrap();
    let key = key.trim_end();
    until("the key", async || {
        let got = Box::pin(secured.get(&gateway, Some(&own), key)).await;
        (got.unwrap().0 == 200).then_some(())
    })
    .await;
    let (status, _, _) = secured.get(&gateway, Some(&other), key).await.unwrap();
    assert_eq!(status, 401);
    gateway.stop().await;
}

#[tokio::test]
async fn a_bound_token_needs_its_certificate_wherever_it_is_shown() {
    let secured = Secured::new();
    let gateway = secured
        .start(&[("TLS_CLIENT_CA_FILE", "clients.pem")])
        .await;
    let own = secured.clients.issue("ada");
    let (bound, free) = (secured.mint(Some(&own)).await, secured.mint(None).await);
    for (identity, token, expected) in [
        (Some(&own), &bound, 200),
        (None, &bound, 401),
        (None, &free, 200),
        (Some(&own), &free, 200),
    ] {
        let (status, _, _) = secured.get(&gateway, identity, token).await.unwrap();
        assert_eq!(status, expected);
    }
    gateway.stop().await;

    // Where no TLS is spoken, a bound token is no good either.
    let plain = secured.home.start().await;
    assert_eq!(plain.catalogue(&free).await.status, 200);
    plain.catalogue(&bound).await.error(401, "UNAUTHORIZED");
    let body = crate::support::modern("tools/list", json!({}), &json!({}));
    assert_eq!(plain.modern(&bound, &body).send().await.status, 401);
    plain.stop().await;
}

#[tokio::test]
async fn files_that_do_not_go_together_stop_the_start() {
    let secured = Secured::new();
    for (vars, expected) in [
        (&[("REQUIRE_MTLS", "true")][..], "REQUIRE_MTLS"),
        (&[("TLS_CERT_FILE", "cert.pem")], "TLS_KEY_FILE"),
        (&[("TLS_CLIENT_CA_FILE", "clients.pem")], "TLS_CERT_FILE"),
        (
            &[("TLS_CERT_FILE", "none.pem"), ("TLS_KEY_FILE", "key.pem")],
            "no such file",
        ),
        (
            &[
                ("TLS_CERT_FILE", "clients.pem"),
                ("TLS_KEY_FILE", "key.pem"),
            ],
            "cannot be used together",
        ),
    ] {
        let serve = ["serve", "--bind", "127.0.0.1:0"];
        let output = secured.home.run(&serve, vars).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains(expected),
            "{vars:?}: {said}"
        );
    }
}

/// Runs `approvals list`: whether it passed, and all that it said.
async fn approvals(secured: &Secured, more: &[&str], vars: &[(&str, &str)]) -> (bool, String) {
    let arguments = [
        &["approvals", "list", "--json", "--token-file", "token"],
        more,
    ]
    .concat();
    let output = secured.home.run(&arguments, vars).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn people_decide_over_tls_with_a_certificate_of_their_own() {
    let secured = Secured::new();
    let required = [
        ("TLS_CLIENT_CA_FILE", "clients.pem"),
        ("REQUIRE_MTLS", "true"),
    ];
    let gateway = secured.start(&required).await;
    let (own, other) = (secured.clients.issue("bob"), secured.clients.issue("eve"));
    for (name, identity) in [("own", &own), ("other", &other)] {
        secured.put(&format!("{name}.pem"), &identity.pem);
        secured.put(&format!("{name}.key"), &identity.key.serialize_pem());
    }
    secured.put("ca.pem", &secured.authority.pem);
    let bound = ["--role", "approver", "--client-cert", "own.pem"];
    secured.put("token", &secured.home.mint("bob", &bound).await);
    let url = format!("https://localhost:{}", gateway.address().port());
    let shown = ["--cert", "own.pem", "--key", "own.key"];
    let at = ["--url", url.as_str(), "--cacert", "ca.pem"];
    let (passed, said) = approvals(&secured, &[&at[..], &shown].concat(), &[]).await;
    assert!(passed && said.is_empty(), "nothing waits: {said}");

    for (more, expected) in [
        (&at[..], "no gateway answers"),
        (&[&["--url", url.as_str()][..], &shown].concat(), "--cacert"),
        (
            &[&at[..], &["--cert", "other.pem", "--key", "other.key"]].concat(),
            "UNAUTHORIZED",
        ),
        (
            &[&at[..], &["--cert", "own.pem", "--key", "other.key"]].concat(),
            "`own.pem` and `other.key`",
        ),
        (&[&at[..], &["--cert", "own.pem"]].concat(), "--key"),
    ] {
        let (passed, said) = approvals(&secured, more, &[]).await;
        assert!(
            !passed && said.contains(expected),
            "{more:?}: {passed} {said}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_configured_gateway_is_asked_as_it_speaks() {
    let secured = Secured::new();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    secured.put("cert.pem", &made.cert.pem());
    secured.put("key.pem", &made.signing_key.serialize_pem());
    let gateway = secured.start(&[]).await;
    secured.put("token", &secured.home.role("bob", "approver").await);
    let port = gateway.address().port().to_string();
    let vars = [
        ("TLS_CERT_FILE", "cert.pem"),
        ("TLS_KEY_FILE", "key.pem"),
        ("PORT", port.as_str()),
    ];
    let (passed, said) = approvals(&secured, &[], &vars).await;
    assert!(passed && said.is_empty(), "{said}");
    // Whoever issued its certificate, and whatever name that bears: here it is known by the certificate itself.
    let public = secured.authority.issue("gateway.example");
    let chain = [public.pem.as_str(), &secured.authority.pem].concat();
    secured.put("key.pem", &public.key.serialize_pem());
    secured.put("cert.pem", &chain);
    until("the certificate", async || {
        let (passed, said) = approvals(&secured, &[], &vars).await;
        (passed && said.is_empty()).then_some(())
    })
    .await;
    // Another gateway at that address is not the configured one.
    secured.put("cert.pem", &Authority::new().issue("localhost").pem);
    let (passed, said) = approvals(&secured, &[], &vars).await;
    assert!(
        !passed && said.contains("no gateway answers at `https://"),
        "{said}"
    );
}
