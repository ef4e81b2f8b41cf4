//! A Redis server.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    error::ServiceError,
    process::{Process, find, on_free_port},
};

const PROGRAM: &str = "redis-server";
const PACKAGE: &str = "redis-server";

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
    port: u16,
    folder: TempDir,
}

impl Redis {
    /// Starts a server that has no data.
    ///
    /// # Errors
    ///
    /// Where `redis-server` is missing or does not become ready within a minute.
    pub fn start() -> Result<Self, ServiceError> {
        let program = find(PROGRAM, PACKAGE, &[])?;
        let folder = TempDir::new().map_err(ServiceError::io("making a folder"))?;
        let (port, process) = on_free_port(|port| run(&program, port, &folder))?;
        Ok(Self {
            process: Some(process),
            program,
            port,
            folder,
        })
    }

    /// Where it is: `redis://127.0.0.1:PORT`. The same after an outage.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}:{}", Ipv4Addr::LOCALHOST, self.port)
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
        self.process = Some(run(&self.program, self.port, &self.folder)?);
        Ok(())
    }
}

fn run(program: &PathBuf, port: u16, folder: &TempDir) -> Result<Process, ServiceError> {
    let mut command = Command::new(program);
    command
        .args(["--port", &port.to_string()])
        .args(["--bind", "127.0.0.1"])
        .args(["--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "no"])
        .arg("--dir")
        .arg(folder.path());
    Process::start(PROGRAM, command, &folder.path().join("log"), || {
        answers(port).unwrap_or(false)
    })
}

/// Whether the server on `port` says that it is there, and has read its data.
fn answers(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}
