//! A PostgreSQL server.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::{fs::MetadataExt as _, fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    error::ServiceError,
    process::{Port, Process, find, on_free_port},
};

const PROGRAM: &str = "postgres";
const PACKAGE: &str = "postgresql";
const USER: &str = "fastmcp";

/// A PostgreSQL server on a loopback port of its own, with the database `postgres` and the user `fastmcp`, who needs no
/// password.
///
/// It does not wait for the disk (`fsync` is off): it outlives [`stop`](Self::stop), not a machine that loses its power.
///
/// ```
/// let postgres = fastmcp_services::Postgres::start()?;
/// assert!(postgres.url().starts_with("postgres://fastmcp@127.0.0.1:"));
/// # Ok::<_, fastmcp_services::ServiceError>(())
/// ```
#[derive(Debug)]
pub struct Postgres {
    process: Option<Process>,
    programs: Programs,
    port: Port,
    folder: TempDir,
}

#[derive(Debug)]
struct Programs {
    postgres: PathBuf,
    initdb: PathBuf,
    is_ready: PathBuf,
    /// The user who runs them: they refuse to run as root.
    user: Option<(u32, u32)>,
}

impl Postgres {
    /// Starts a server that has no tables.
    ///
    /// # Errors
    ///
    /// Where PostgreSQL is missing or does not become ready within a minute.
    pub fn start() -> Result<Self, ServiceError> {
        let programs = Programs::find()?;
        let folder = TempDir::new().map_err(ServiceError::io("making a folder"))?;
        programs.give(folder.path())?;
        programs.init(&folder)?;
        let (port, process) = on_free_port(|port| programs.run(port, &folder))?;
        Ok(Self {
            process: Some(process),
            programs,
            port,
            folder,
        })
    }

    /// Where it is: `postgres://fastmcp@127.0.0.1:PORT/postgres`. The same after an outage.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "postgres://{USER}@{}:{}/postgres",
            Ipv4Addr::LOCALHOST,
            self.port.number
        )
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
        // Killed, it leaves the mark of a server that runs.
        let mark = data(&self.folder).join("postmaster.pid");
        if mark.exists() {
            fs::remove_file(&mark).map_err(ServiceError::io("removing the old mark"))?;
        }
        self.process = Some(self.programs.run(self.port.number, &self.folder)?);
        Ok(())
    }
}

impl Programs {
    fn find() -> Result<Self, ServiceError> {
        let folders = debian_folders();
        let find = |program| find(program, PACKAGE, &folders);
        Ok(Self {
            postgres: find(PROGRAM)?,
            initdb: find("initdb")?,
            is_ready: find("pg_isready")?,
            user: other_user(),
        })
    }

    /// Makes `folder` that of the user who runs the server.
    fn give(&self, folder: &Path) -> Result<(), ServiceError> {
        let Some((user, group)) = self.user else {
            return Ok(());
        };
        chown(folder, Some(user), Some(group)).map_err(ServiceError::io("giving the folder away"))
    }

    fn command(&self, program: &Path, folder: &TempDir) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder.path());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn init(&self, folder: &TempDir) -> Result<(), ServiceError> {
        let output = self
            .command(&self.initdb, folder)
            .args(["--username", USER, "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--no-instructions", "-D"])
            .arg(data(folder))
            .stdin(Stdio::null())
            .output()
            .map_err(ServiceError::io("running `initdb`"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(ServiceError::NotReady {
            program: "initdb",
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn run(&self, port: u16, folder: &TempDir) -> Result<Process, ServiceError> {
        let mut command = self.command(&self.postgres, folder);
        command
            .arg("-D")
            .arg(data(folder))
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""])
            .args(["-c", "fsync=off", "-c", "max_connections=200"]);
        let mut asked = Command::new(&self.is_ready);
        asked
            .args(["-q", "-h", "127.0.0.1", "-d", "postgres", "-U", USER, "-p"])
            .arg(port.to_string());
        let asked = std::cell::RefCell::new(asked);
        Process::start(PROGRAM, command, &folder.path().join("log"), || {
            let status = asked.borrow_mut().status();
            status.is_ok_and(|status| status.success())
        })
    }
}

fn data(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

/// Where Debian puts the programs, the newest release first.
fn debian_folders() -> Vec<PathBuf> {
    let releases = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut numbered: Vec<(u32, PathBuf)> = releases
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, entry.path().join("bin")))
        })
        .collect();
    numbered.sort_unstable_by(|a, b| b.cmp(a));
    numbered.into_iter().map(|(_, folder)| folder).collect()
}

/// The user `postgres`, where this process is root's.
fn other_user() -> Option<(u32, u32)> {
    let own = fs::metadata("/proc/self").ok()?;
    if own.uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2);
    let mut number = || fields.next()?.parse().ok();
    Some((number()?, number()?))
}
