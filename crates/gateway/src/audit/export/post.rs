//! Records over HTTP: lines of JSON, or OTLP.

use std::{io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use fastmcp_guard::http::{Config, FetchError, Response, UrlFetcher};
use http::{HeaderValue, Method, Request, StatusCode, header};
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use super::{Collector, Delivered, Failure, Origin, otlp::Otlp};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 65_536;
/// The longest file of a token, in bytes.
const MAX_TOKEN: u64 = 16_384;

pub(super) struct Post {
    fetcher: UrlFetcher,
    collector: Collector,
    form: Form,
}

enum Form {
    Lines,
    Otlp(Otlp),
}

impl Post {
    pub(super) fn lines(collector: &Collector) -> Result<Self, FetchError> {
        Self::new(collector, Form::Lines)
    }

    pub(super) fn otlp(collector: &Collector, origin: &Origin) -> Result<Self, FetchError> {
        Self::new(collector, Form::Otlp(Otlp::new(origin)))
    }

    fn new(collector: &Collector, form: Form) -> Result<Self, FetchError> {
        let mut config = Config::upstream(&collector.url)?;
        config.max_bytes = MAX_ANSWER;
        Ok(Self {
            fetcher: UrlFetcher::new(&config)?,
            collector: collector.clone(),
            form,
        })
    }

    pub(super) async fn deliver(&mut self, lines: &[Arc<str>]) -> Delivered {
        let away = |why: String| Failure::Away(why, None);
        let (kind, body) = match &self.form {
            Form::Lines => ("application/x-ndjson", joined(lines)),
            Form::Otlp(otlp) => ("application/json", otlp.request(lines)?),
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.collector.url.as_str())
            .header(header::CONTENT_TYPE, kind);
        if let Some(file) = &self.collector.token_file {
            let token = bearer(file)
                .await
                .map_err(|e| away(format!("token file `{}`: {e}", file.display())))?;
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request
            .body(Bytes::from(body))
            .map_err(|e| away(e.to_string()))?;
        let answer = self.fetcher.request(request).await;
        self.judge(&answer.map_err(|e| away(e.to_string()))?)
    }

    fn judge(&self, answer: &Response) -> Delivered {
        let status = answer.status;
        if status.is_success() {
            return Ok(match &self.form {
                Form::Lines => 0,
                Form::Otlp(_) => Otlp::rejected(&answer.body),
            });
        }
        let why = format!("it answered {status}");
        if is_of_records(status) {
            return Err(Failure::Refused(why));
        }
        let after = answer.headers.get(header::RETRY_AFTER);
        let after = after.and_then(|v| v.to_str().ok()?.parse().ok());
        Err(Failure::Away(why, after.map(Duration::from_secs)))
    }
}

/// Whether a refusal may lie with a record: neither with the address, the form or the token, which are those of all
/// records and can be put right, nor with how much there is to do.
///
/// OTLP 1.9 asks for repetition at 429, 502, 503 and 504 alone ("Retryable Response Codes"), which suits spans, that may be
/// lost.
fn is_of_records(status: StatusCode) -> bool {
    !status.is_redirection()
        && !matches!(
            status.as_u16(),
            401 | 403 | 404 | 405 | 407 | 408 | 415 | 425 | 429 | 502 | 503 | 504
        )
}

fn joined(lines: &[Arc<str>]) -> Vec<u8> {
    let mut body = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        body.extend_from_slice(line.as_bytes());
        body.push(b'\n');
    }
    body
}

/// The header of a token that a file holds.
async fn bearer(file: &Path) -> io::Result<HeaderValue> {
    let mut text = Zeroizing::new(String::new());
    let file = tokio::fs::File::open(file).await?;
    file.take(MAX_TOKEN).read_to_string(&mut text).await?;
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let token = text.trim();
    if token.is_empty() {
        return Err(wrong("it is empty"));
    }
    let header = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&header).map_err(|_| wrong("it is no token"))?;
    value.set_sensitive(true);
    Ok(value)
}
