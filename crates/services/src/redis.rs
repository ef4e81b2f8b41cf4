//! A Redis server.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    authority,
    error::ServiceError,
    process::{Port, Process, find, on_free_port},
};

const PROGRAM: &str = "redis-server";
const PACKAGE: &str = "redis-server";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const SOCKET: &str = "socket";

/// A Redis server on a loopback port of its own.
///
/// It hands each change to the operating system before it answers, and does not wait for the disk: what it answered
/// outlives [`stop`](Self::stop), not a machine that loses its power.
///
/// ```
/// let redis = fastmcp_services::Redis::start()?;
/// assert!(redis.url().starts_with("redis://127.0.0.1:"));
/// # Ok::<_, fastmcp_services::ServiceError>(())
/// ```
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    program: PathBuf,
    port: Port,
    folder: TempDir,
    /// Who vouches for its certificate, where it speaks TLS.
    authority: Option<String>,
}

impl Redis {
    /// Starts a server that has no data.
    ///
    /// # Errors
    ///
    /// Where `redis-server` is missing or does not become ready within a minute.
    pub fn start() -> Result<Self, ServiceError> {
        Self::begin(None)
    }

    /// As [`start`](Self::start), a server that speaks TLS alone, with a certificate for `127.0.0.1` and `localhost` of an
    /// authority of its own: see [`authority`](Self::authority).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_tls() -> Result<Self, ServiceError> {
        Self::begin(Some(authority::issue()?))
    }

    fn begin(issued: Option<authority::Issued>) -> Result<Self, ServiceError> {
        let program = find(PROGRAM, PACKAGE, &[])?;
        let folder = TempDir::new().map_err(ServiceError::io("making a folder"))?;
        if let Some(issued) = &issued {
            for (name, text) in [(CERTIFICATE, &issued.certificate), (KEY, &issued.key)] {
                let written = fs::write(folder.path().join(name), text);
                written.map_err(ServiceError::io(format!("writing {name}")))?;
            }
        }
        let authority = issued.map(|issued| issued.authority);
        let tls = authority.is_some();
        let (port, process) = on_free_port(|port| run(&program, port, &folder, tls))?;
        Ok(Self {
            process: Some(process),
            program,
            port,
            folder,
            authority,
        })
    }

    /// Where it is: `redis://127.0.0.1:PORT`, `rediss://` where it speaks TLS. The same after an outage.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = self.authority.as_ref().map_or("redis", |_| "rediss");
        format!("{scheme}://{}:{}", Ipv4Addr::LOCALHOST, self.port.number)
    }

    /// The certificate (PEM) of who vouches for the server, where it speaks TLS.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// Ends the server at once, as a failing machine would.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts the server again after [`stop`](Self::stop), on its port and with its data.
    ///
    /// # Errors
    ///
    /// Where it does not become ready within a minute: its port may be taken by now.
    pub fn start_again(&mut self) -> Result<(), ServiceError> {
        self.process = None;
        self.process = Some(run(
            &self.program,
            self.port.number,
            &self.folder,
            self.authority.is_some(),
        )?);
        Ok(())
    }
}

fn run(program: &PathBuf, port: u16, folder: &TempDir, tls: bool) -> Result<Process, ServiceError> {
    let mut command = Command::new(program);
    command
        .args(["--bind", "127.0.0.1"])
        .args(["--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "no"])
        .arg("--dir")
        .arg(folder.path());
    let (port_text, inside) = (port.to_string(), |name| folder.path().join(name));
    if tls {
        command
            .args(["--port", "0", "--tls-port", &port_text])
            .args(["--tls-auth-clients", "no"])
            .arg("--tls-cert-file")
            .arg(inside(CERTIFICATE))
            .arg("--tls-key-file")
            .arg(inside(KEY))
            .arg("--tls-ca-cert-file")
            .arg(inside(CERTIFICATE))
            .arg("--unixsocket")
            .arg(inside(SOCKET));
    } else {
        command.args(["--port", &port_text]);
    }
    let answers = || {
        if tls {
            // Asked where no TLS is spoken; by then it listens at its port too.
            UnixStream::connect(inside(SOCKET)).and_then(answers)
        } else {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(answers)
        }
    };
    Process::start(PROGRAM, command, &inside("log"), || {
        answers().unwrap_or(false)
    })
}

/// Whether the server at the other end says that it is there, and has read its data.
fn answers(mut stream: impl Stream) -> io::Result<bool> {
    stream.set_patience(Duration::from_secs(5))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}

/// A connection that is not waited for without end.
trait Stream: io::Read + io::Write {
    fn set_patience(&self, patience: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }
}

impl Stream for UnixStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }
}
