//! One server process: started on a free port, waited for, ended.

use std::{
    fs::{self, File},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
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

/// How long its own processes may take to notice that a server is gone.
const GONE: Duration = Duration::from_secs(10);

/// Ports below those that the system gives to whoever asks for any (from 32768 on with Linux): nobody else gets the port
/// of a server that is away for a while.
const PORTS: Range<u16> = 20_000..32_000;

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
            // Who answers may be another, where this one found its port taken.
            if is_ready() && matches!(process.child.try_wait(), Ok(None)) {
                return Ok(process);
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let begun = children(self.child.id());
        // It may have ended on its own; then there is nothing to do.
        let _ended = self.child.kill();
        let _status = self.child.wait();
        // What it had begun ends a moment later by itself, and answers until then.
        let until = Instant::now() + GONE;
        while begun.iter().any(|id| lives(*id)) && Instant::now() < until {
            thread::sleep(PAUSE);
        }
    }
}

/// The processes that a process has begun, where the system tells of them as Linux does.
fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| stat(*id).is_some_and(|(_, of)| of == parent))
        .collect()
}

/// Whether a process is there, and does not only wait for somebody to hear of its end.
fn lives(id: u32) -> bool {
    stat(id).is_some_and(|(state, _)| !matches!(&*state, "Z" | "X"))
}

/// The state and the parent of a process. Source: proc_pid_stat(5).
fn stat(id: u32) -> Option<(String, u32)> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name of the program stands before them in brackets, and may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Calls `start` with a free port until one works.
pub(crate) fn on_free_port<T>(
    start: impl Fn(u16) -> Result<T, ServiceError>,
) -> Result<(Port, T), ServiceError> {
    let mut attempt = 1;
    loop {
        let port = free_port().map_err(ServiceError::io("looking for a free port"))?;
        match start(port.number) {
            Ok(started) => return Ok((port, started)),
            Err(ServiceError::NotReady { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// A port that is given to nobody else while this lives, also while nobody listens at it.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// Locked.
    _held: File,
}

/// Any of [`PORTS`] that is free now.
fn free_port() -> io::Result<Port> {
    for _ in PORTS {
        // Its keys are random.
        let [high, low, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
        let number = PORTS.start + u16::from_be_bytes([high, low]) % (PORTS.end - PORTS.start);
        let file = std::env::temp_dir().join(format!("fastmcp-port-{number}"));
        let held = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(file);
        // Another user's, or another test's.
        let Some(held) = held.ok().filter(|file| file.try_lock().is_ok()) else {
            continue;
        };
        match TcpListener::bind((Ipv4Addr::LOCALHOST, number)) {
            Ok(_free) => {
                return Ok(Port {
                    number,
                    _held: held,
                });
            }
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => {}
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
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
