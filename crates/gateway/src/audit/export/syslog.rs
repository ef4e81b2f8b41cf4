//! Syslog: one message for each record, its line as the text.
//!
//! Source: RFC 5424; RFC 5426 (UDP), RFC 6587, 3.4.1 (TCP, octet counting).

use std::{io, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UdpSocket, lookup_host},
    time::timeout,
};

use super::{Delivered, Failure, Origin, Receiving};

/// "log audit". Source: RFC 5424, 6.2.1.
const FACILITY: u8 = 13;
/// Severities. Source: RFC 5424, 6.2.1.
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;
/// The longest fields. Source: RFC 5424, 6.
const MAX_HOST: usize = 255;
const MAX_APP: usize = 48;
const MAX_MSG_ID: usize = 32;
/// How long a connection is looked at before it is written to.
const GLANCE: Duration = Duration::from_millis(1);
/// How long connecting and writing may take.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Syslog {
    to: Receiving,
    /// HOSTNAME and APP-NAME.
    from: String,
    socket: Option<Socket>,
}

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixDatagram),
}

/// What a message says beside the line itself.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    ts: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    action: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    status: std::borrow::Cow<'a, str>,
}

impl Syslog {
    pub(super) fn new(to: Receiving, origin: &Origin) -> Self {
        let (host, app) = (
            field(&origin.instance, MAX_HOST),
            field(&origin.service, MAX_APP),
        );
        Self {
            to,
            from: format!("{host} {app}"),
            socket: None,
        }
    }

    pub(super) async fn deliver(&mut self, lines: &[Arc<str>]) -> Delivered {
        match timeout(LIMIT, self.send(lines)).await {
            Ok(Ok(too_long)) => Ok(too_long),
            Ok(Err(error)) => {
                self.socket = None;
                Err(Failure::Away(error.to_string(), None))
            }
            Err(_) => {
                self.socket = None;
                Err(Failure::Away("it takes nothing in time".to_owned(), None))
            }
        }
    }

    /// Sends all, and says how many are too long for a datagram.
    async fn send(&mut self, lines: &[Arc<str>]) -> io::Result<u64> {
        if let Some(Socket::Tcp(stream)) = &self.socket
            && is_closed(stream).await
        {
            self.socket = None;
        }
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(&self.to).await?,
        };
        let socket = self.socket.insert(socket);
        let mut too_long = 0;
        let mut frames = Vec::new();
        for line in lines {
            let message = message(&self.from, line)?;
            let sent = match socket {
                Socket::Udp(socket) => socket.send(message.as_bytes()).await,
                #[cfg(unix)]
                Socket::Unix(socket) => socket.send(message.as_bytes()).await,
                Socket::Tcp(_) => {
                    frames.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
                    Ok(message.len())
                }
            };
            match sent {
                Err(error) if is_too_long(&error) => too_long += 1,
                other => drop(other?),
            }
        }
        if let Socket::Tcp(stream) = socket {
            stream.write_all(&frames).await?;
            stream.flush().await?;
        }
        Ok(too_long)
    }
}

/// Whether the other end has closed: a write would be taken by this machine, and by nobody else.
async fn is_closed(stream: &TcpStream) -> bool {
    let mut byte = [0];
    match timeout(GLANCE, stream.peek(&mut byte)).await {
        Ok(Ok(read)) => read == 0,
        Ok(Err(_)) => true,
        Err(_) => false,
    }
}

fn is_too_long(error: &io::Error) -> bool {
    // EMSGSIZE has no kind of its own. Source: send(2).
    const EMSGSIZE: [i32; 3] = [90, 40, 10_040];
    error
        .raw_os_error()
        .is_some_and(|code| EMSGSIZE.contains(&code))
}

async fn connect(to: &Receiving) -> io::Result<Socket> {
    Ok(match to {
        Receiving::Tcp(host, port) => {
            Socket::Tcp(TcpStream::connect((host.as_str(), *port)).await?)
        }
        Receiving::Udp(host, port) => {
            let mut addresses = lookup_host((host.as_str(), *port)).await?;
            let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
            let from = if address.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(from).await?;
            socket.connect(address).await?;
            Socket::Udp(socket)
        }
        #[cfg(unix)]
        Receiving::Unix(path) => {
            let socket = tokio::net::UnixDatagram::unbound()?;
            socket.connect(path)?;
            Socket::Unix(socket)
        }
        #[cfg(not(unix))]
        Receiving::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
    })
}

/// The message of a record. Source: RFC 5424, 6 (`<PRI>1 TIME HOST APP PROCID MSGID SD MSG`).
fn message(from: &str, line: &str) -> io::Result<String> {
    let Head { ts, action, status } = serde_json::from_str(line)?;
    let priority = FACILITY * 8 + severity(&status);
    let id = field(&action, MAX_MSG_ID);
    Ok(format!("<{priority}>1 {ts} {from} - {id} - {line}"))
}

fn severity(status: &str) -> u8 {
    match status {
        "success" => INFORMATIONAL,
        "pending" => NOTICE,
        "denied" => WARNING,
        _ => ERROR,
    }
}

/// A text as a field takes it: printable ASCII without spaces, bounded, `-` for nothing.
fn field(text: &str, most: usize) -> String {
    let plain = text
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '_' });
    let field: String = plain.take(most).collect();
    if field.is_empty() {
        "-".to_owned()
    } else {
        field
    }
}
