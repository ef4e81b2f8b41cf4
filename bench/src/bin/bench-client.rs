//! Sends one request many times over one connection and checks every answer; or asks several
//! servers once and compares what they say.
//!
//! It exists for callgrind, under which a load generator would time out, and for the proof that the
//! servers do the same work.

use std::{io::Write as _, path::PathBuf};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

#[derive(Debug, Parser)]
#[command(about = "The client of the bench.")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends a request many times, one after the other, and checks that all answers are the same.
    Send {
        /// The request: lines of headers, an empty line, the body.
        #[arg(long)]
        request: PathBuf,
        /// How often.
        #[arg(long, default_value_t = 1)]
        requests: u32,
        /// The endpoint.
        url: Uri,
    },
    /// Asks every endpoint once and checks that all say the same.
    Same {
        /// The request: lines of headers, an empty line, the body.
        #[arg(long)]
        request: PathBuf,
        /// The endpoints.
        #[arg(required = true, num_args = 2..)]
        urls: Vec<Uri>,
    },
}

/// What is sent, apart from where to.
#[derive(Clone, Debug)]
struct Template {
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Template {
    fn read(path: &PathBuf) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("request `{shown}`"))?;
        let (head, body) = text
            .split_once("\n\n")
            .with_context(|| format!("request `{shown}` has no empty line after its headers"))?;
        let headers = head
            .lines()
            .map(|line| {
                let (name, value) = line
                    .split_once(':')
                    .with_context(|| format!("request `{shown}`: `{line}` is not a header"))?;
                Ok((name.trim().parse()?, value.trim().parse()?))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            headers,
            body: Bytes::copy_from_slice(body.trim_end().as_bytes()),
        })
    }

    fn request(&self, url: &Uri) -> anyhow::Result<Request<Full<Bytes>>> {
        let host = url.authority().context("the url has no host")?.as_str();
        let path = url.path_and_query().map_or("/", |p| p.as_str());
        let mut request = Request::post(path).header(header::HOST, host);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(self.body.clone()))?)
    }
}

struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    async fn open(url: &Uri, tasks: &TaskTracker) -> anyhow::Result<Self> {
        let authority = url.authority().context("the url has no host")?.as_str();
        let stream = TcpStream::connect(authority)
            .await
            .with_context(|| format!("connect to `{authority}`"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its failure is the failure of the request that waits for it.
        tasks.spawn(async move { drop(connection.await) });
        Ok(Self(sender))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status == StatusCode::OK,
            "answer {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }
}

async fn send(
    template: &Template,
    requests: u32,
    url: &Uri,
    tasks: &TaskTracker,
) -> anyhow::Result<Bytes> {
    let mut connection = Connection::open(url, tasks).await?;
    let first = connection.send(template.request(url)?).await?;
    for nth in 1..requests {
        let body = connection.send(template.request(url)?).await?;
        ensure!(
            body == first,
            "answer {nth} differs: {}",
            String::from_utf8_lossy(&body)
        );
    }
    Ok(first)
}

/// Compares two answers: as values, for the order of members is nobody's promise.
fn same(a: &Bytes, b: &Bytes) -> anyhow::Result<()> {
    let value = |body: &Bytes| serde_json::from_slice::<Value>(body);
    if value(a)? != value(b)? {
        bail!(
            "the servers do not say the same:\n  {}\n  {}",
            String::from_utf8_lossy(a),
            String::from_utf8_lossy(b)
        );
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let body = match Options::parse().command {
        Command::Send {
            request,
            requests,
            url,
        } => send(&Template::read(&request)?, requests, &url, &tasks).await?,
        Command::Same { request, urls } => {
            let template = Template::read(&request)?;
            let mut first = None;
            for url in &urls {
                let body = send(&template, 1, url, &tasks).await?;
                same(first.get_or_insert_with(|| body.clone()), &body)
                    .with_context(|| format!("`{url}`"))?;
            }
            first.context("no server was asked")?
        }
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&body)?;
    writeln!(stdout)?;
    Ok(())
}
