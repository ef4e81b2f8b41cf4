//! The least of a client: one request after the other on a connection, and streams that stay open.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// The largest body of an answer.
const BODY: usize = 1024 * 1024;
/// The header that names a session.
const SESSION: &str = "mcp-session-id";

/// The head of an answer.
struct Head {
    status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    fn read(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Self> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = stream
                .by_ref()
                .take(16 * 1024)
                .read_line(&mut line)
                .context("no answer")?;
            ensure!(read > 0, "the server hung up");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            lines.push(line.to_owned());
        }
        let status = lines
            .first()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .context("an answer without a status")?;
        let fields = lines
            .iter()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Self { status, fields })
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find_map(|(known, value)| (known == name).then_some(value.as_str()))
    }
}

fn connect(port: u16) -> anyhow::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port))
        .context("cannot connect (for many streams, raise the limit of files: `ulimit -n 4096`)")?;
    stream.set_nodelay(true).context("nodelay")?;
    stream
        .set_read_timeout(Some(ANSWER))
        .context("read timeout")?;
    Ok(BufReader::new(stream))
}

fn send(
    stream: &mut BufReader<TcpStream>,
    method: &str,
    headers: &str,
    body: &str,
) -> anyhow::Result<Head> {
    let request = format!(
        "{method} /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream
        .get_mut()
        .write_all(request.as_bytes())
        .context("cannot send")?;
    Head::read(stream)
}

/// A connection for requests, one after the other.
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(super) fn open(port: u16) -> anyhow::Result<Self> {
        Ok(Self(connect(port)?))
    }

    /// Sends a request and reads the answer to its end.
    fn exchange(
        &mut self,
        method: &str,
        headers: &str,
        body: &str,
    ) -> anyhow::Result<(Head, String)> {
        let head = send(&mut self.0, method, headers, body)?;
        let length: usize = head
            .field("content-length")
            .map_or(Ok(0), str::parse)
            .context("Content-Length is no number")?;
        ensure!(length <= BODY, "an answer of {length} bytes");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).context("half an answer")?;
        Ok((head, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Opens a session; its id.
    pub(super) fn initialize(&mut self) -> anyhow::Result<String> {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{},"sampling":{}},"clientInfo":{"name":"soak","version":"1.0"}}}"#;
        let (head, body) = self.exchange("POST", "", body)?;
        match head.field(SESSION) {
            Some(id) if head.status == 200 => Ok(id.to_owned()),
            _ => bail!("status {}: {body}", head.status),
        }
    }

    /// Asks whether a session is there.
    pub(super) fn ping(&mut self, id: &str) -> anyhow::Result<()> {
        let headers = format!("Mcp-Session-Id: {id}\r\nMCP-Protocol-Version: 2025-11-25\r\n");
        let body = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
        let (head, body) = self.exchange("POST", &headers, body)?;
        ensure!(
            head.status == 200 && body.contains(r#""result":{}"#),
            "a session is gone: status {}: {body}",
            head.status
        );
        Ok(())
    }

    /// Ends a session.
    pub(super) fn end(&mut self, id: &str) -> anyhow::Result<()> {
        let (head, body) = self.exchange("DELETE", &format!("Mcp-Session-Id: {id}\r\n"), "")?;
        ensure!(
            head.status == 204,
            "a session cannot be ended: status {}: {body}",
            head.status
        );
        Ok(())
    }
}

/// A stream on which nothing happens.
pub(super) struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Opens one and reads its acknowledgement.
    pub(super) fn listen(port: u16) -> anyhow::Result<Self> {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"resourcesListChanged":true},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
        let headers = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\n";
        let mut stream = connect(port)?;
        let head = send(&mut stream, "POST", headers, body)?;
        ensure!(
            head.status == 200 && head.field("content-type") == Some("text/event-stream"),
            "status {}",
            head.status
        );
        let mut line = String::new();
        while !line.contains("subscriptions/acknowledged") {
            line.clear();
            let read = stream
                .by_ref()
                .take(16 * 1024)
                .read_line(&mut line)
                .context("no acknowledgement")?;
            ensure!(read > 0, "the stream ended before its acknowledgement");
        }
        Ok(Self(stream))
    }

    /// Sees that the server has not ended it.
    pub(super) fn is_open(&self) -> anyhow::Result<()> {
        let stream = self.0.get_ref();
        stream.set_nonblocking(true).context("nonblocking")?;
        let mut byte = [0];
        // What is there to read is a comment that keeps the stream open, or nothing.
        match stream.peek(&mut byte) {
            Ok(0) => bail!("a stream was ended by the server"),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("a stream broke"),
        }
    }
}
