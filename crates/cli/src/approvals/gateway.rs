//! The running gateway, asked over HTTP.

use std::{net::Ipv4Addr, path::PathBuf};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use fastmcp_gateway::config::part::ListenerPart;
use fastmcp_guard::http::{AllowedHost, Config, Trust, UrlFetcher};
use http::{Method, Request, header};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use url::{Host, Url};

use crate::{
    output,
    place::{Place, variable},
};

/// Holds the token.
const TOKEN: &str = "FASTMCP_TOKEN";
/// The longest token, in bytes.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;
/// The longest file of certificates or of a key, in bytes.
const MAX_PEM_BYTES: u64 = 1024 * 1024;
/// The longest answer, in bytes: a list of 500, or arguments of a megabyte.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Which gateway, and as whom.
#[derive(Clone, Debug, Args)]
pub(super) struct Gateway {
    /// The gateway's address [default: where the configured one listens, on this machine]
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// A file that holds your token [default: the variable FASTMCP_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Authorities (PEM) that the gateway's certificate leads to [default: the public ones; without --url, the gateway is
    /// known by its own certificate, the first in TLS_CERT_FILE]
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Your certificate (PEM), for a gateway that asks for one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// What the gateway answered.
pub(super) struct Answer {
    /// The body.
    pub(super) text: String,
    body: Value,
}

impl Answer {
    /// A member of the body, or null.
    pub(super) fn member(&self, name: &str) -> Value {
        self.body.get(name).cloned().unwrap_or(Value::Null)
    }

    /// The exact arguments, byte for byte.
    pub(super) fn arguments(&self) -> anyhow::Result<Option<&str>> {
        #[derive(Deserialize)]
        struct Shown<'a> {
            #[serde(borrow)]
            arguments: Option<&'a RawValue>,
        }
        let shown: Shown<'_> = serde_json::from_str(&self.text)?;
        Ok(shown.arguments.map(RawValue::get))
    }
}

impl Gateway {
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask(Method::GET, path, Bytes::new())
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.ask(Method::POST, path, body.to_string().into())
    }

    fn ask(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Answer> {
        let listener = match &self.url {
            Some(_) => None,
            None => Some(self.place.listener()?),
        };
        let url = self.address(listener.as_ref())?;
        let url = url.join(path).context("no such address")?;
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token()?))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .context("the token is no text that a header can carry")?;
        let mut config = Config::configured(vec![AllowedHost::of_url(&url)?]);
        config.max_bytes = MAX_ANSWER_BYTES;
        config.trust = self.trust(listener.as_ref())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime can be started")?;
        let answered = runtime.block_on(async { UrlFetcher::new(&config)?.request(request).await });
        let response = answered.with_context(|| match url.scheme() {
            "https" => format!("no gateway answers at `{url}`; --cacert names who vouches for it, --url the name in its certificate, --cert and --key show it yours"),
            _ => format!("no gateway answers at `{url}`"),
        })?;
        let text = String::from_utf8(response.body.to_vec()).context("the answer is not text")?;
        let body: Value = serde_json::from_str(&text)
            .with_context(|| format!("what answers at `{url}` is no gateway"))?;
        if !response.status.is_success() {
            bail!("{}", refusal(&body));
        }
        Ok(Answer { text, body })
    }

    /// Where it is asked: at the address that was named, or where the configured one listens.
    fn address(&self, listener: Option<&ListenerPart>) -> anyhow::Result<Url> {
        let url = match (&self.url, listener) {
            (Some(url), _) => url.clone(),
            (None, Some(listener)) => {
                let mut bind = listener.bind;
                if bind.ip().is_unspecified() {
                    bind.set_ip(Ipv4Addr::LOCALHOST.into());
                }
                let scheme = listener.tls.as_ref().map_or("http", |_| "https");
                format!("{scheme}://{bind}").parse()?
            }
            (None, None) => bail!("which gateway? name it with --url"),
        };
        let on_this_machine = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if url.scheme() != "https" && !on_this_machine {
            bail!("`{url}` would carry your token over the network unencrypted; use https");
        }
        Ok(url)
    }

    /// Whose certificates are trusted, and which one is shown.
    fn trust(&self, listener: Option<&ListenerPart>) -> anyhow::Result<Trust> {
        let own = listener.and_then(|listener| listener.tls.as_ref());
        let named = |path: &PathBuf| format!("`{}`", path.display());
        let trust = match (&self.cacert, own) {
            (Some(path), _) => {
                let trusted = Trust::none().with_pem(&output::read_small(path, MAX_PEM_BYTES)?);
                trusted.with_context(|| named(path))?
            }
            // Whoever holds the key of the gateway that is configured here is that gateway.
            (None, Some(files)) => {
                let path = &files.certificate;
                let trusted = Trust::holder_of(&output::read_small(path, MAX_PEM_BYTES)?);
                trusted.with_context(|| named(path))?
            }
            (None, None) => Trust::default(),
        };
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let (chain, secret) = (
                    output::read_small(cert, MAX_PEM_BYTES)?,
                    output::read_small(key, MAX_PEM_BYTES)?,
                );
                let shown = trust.showing(&chain, &secret);
                shown.with_context(|| format!("{} and {}", named(cert), named(key)))
            }
            _ => Ok(trust),
        }
    }

    fn token(&self) -> anyhow::Result<String> {
        let token = match &self.token_file {
            Some(path) => String::from_utf8(output::read_small(path, MAX_TOKEN_BYTES)?)
                .ok()
                .with_context(|| format!("`{}` is not text", path.display()))?,
            None => variable(TOKEN).with_context(|| {
                format!("who decides? put your token into the variable {TOKEN}, or name a file with --token-file")
            })?,
        };
        Ok(token.trim().to_owned())
    }
}

/// The gateway's own words.
fn refusal(body: &Value) -> String {
    let error = |name: &str| {
        body.pointer(&format!("/error/{name}"))
            .and_then(Value::as_str)
    };
    match (error("message"), error("code")) {
        (Some(message), Some(code)) => output::printable(&format!("{message} ({code})")),
        _ => "the gateway refused, and did not say why".to_owned(),
    }
}
