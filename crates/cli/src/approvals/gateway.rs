//! The running gateway, asked over HTTP.

use std::{net::Ipv4Addr, path::PathBuf};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use fastmcp_guard::http::{AllowedHost, Config, UrlFetcher};
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
        let url = self.address()?.join(path).context("no such address")?;
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token()?))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .context("the token is no text that a header can carry")?;
        let mut config = Config::configured(vec![AllowedHost::of_url(&url)?]);
        config.max_bytes = MAX_ANSWER_BYTES;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime can be started")?;
        let answered = runtime.block_on(async { UrlFetcher::new(&config)?.request(request).await });
        let response = answered.with_context(|| format!("no gateway answers at `{url}`"))?;
        let text = String::from_utf8(response.body.to_vec()).context("the answer is not text")?;
        let body: Value = serde_json::from_str(&text)
            .with_context(|| format!("what answers at `{url}` is no gateway"))?;
        if !response.status.is_success() {
            bail!("{}", refusal(&body));
        }
        Ok(Answer { text, body })
    }

    fn address(&self) -> anyhow::Result<Url> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => {
                let mut bind = self.place.preview(None)?.config.bind;
                if bind.ip().is_unspecified() {
                    bind.set_ip(Ipv4Addr::LOCALHOST.into());
                }
                format!("http://{bind}").parse()?
            }
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
