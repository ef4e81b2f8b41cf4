//! One server process: started on a free port, waited for, ended.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::error::ServiceError;

/// How long a server may take until it is ready.
const READY: Duration = Duration::from_secs(60);

/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(20);

/// Ports that are tried: another process may take a free one first.
const ATTEMPTS: usize = 5;

/// A process that ends with this value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`, and waits until `is_ready` says so.
    pub(crate) fn start(
        program: &'static str,
        mut command: Command,
        log: &Path,
        is_ready: impl Fn() -> bool,
    ) -> Result<Self, ServiceError> {
        let output = || File::options().append(true).create(true).open(log);
        let opened = || ServiceError::io(format!("opening {}", log.display()));
        command
            .stdin(Stdio::null())
            .stdout(output().map_err(opened())?)
            .stderr(output().map_err(opened())?);
        let child = command
            .spawn()
            .map_err(ServiceError::io(format!("starting `{program}`")))?;
        let mut process = Self { child };
        let until = Instant::now() + READY;
        loop {
            let ended = !matches!(process.child.try_wait(), Ok(None));
            if ended || Instant::now() > until {
                let said = fs::read_to_string(log).unwrap_or_default();
                let said = last_lines(&said);
                return Err(ServiceError::NotReady { program, said });
            }
            if is_ready() {
                return Ok(process);
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended on its own; then there is nothing to do.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Calls `start` with a free port until one works.
pub(crate) fn on_free_port<T>(
    start: impl Fn(u16) -> Result<T, ServiceError>,
) -> Result<(u16, T), ServiceError> {
    let mut attempt = 1;
    loop {
        let port = free_port().map_err(ServiceError::io("looking for a free port"))?;
        match start(port) {
            Ok(started) => return Ok((port, started)),
            Err(ServiceError::NotReady { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Where `program` is: on the search path, or in one of `folders`.
pub(crate) fn find(
    program: &'static str,
    package: &'static str,
    folders: &[PathBuf],
) -> Result<PathBuf, ServiceError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or(ServiceError::Missing { program, package })
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
