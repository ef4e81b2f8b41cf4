//! What is started, and with what.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;
use tokio_util::task::TaskTracker;

/// Messages that wait for a process that reads slowly, before who sends them waits too.
pub(super) const WAITING_LINES: usize = 64;

/// The variables that [`StdioWireConfig::inherit`] takes: where programs, homes and temporary files
/// are, who the user is, and which language and time zone they use. None of them holds a secret, as
/// others may (`AWS_SECRET_ACCESS_KEY`), and none changes what a program does (`LD_PRELOAD`).
pub const INHERITED: &[&str] = if cfg!(windows) {
    &[
        "APPDATA",
        "COMSPEC",
        "HOMEDRIVE",
        "HOMEPATH",
        "LOCALAPPDATA",
        "PATH",
        "PATHEXT",
        "PROCESSOR_ARCHITECTURE",
        "PROGRAMDATA",
        "PROGRAMFILES",
        "SYSTEMDRIVE",
        "SYSTEMROOT",
        "TEMP",
        "TMP",
        "USERNAME",
        "USERPROFILE",
    ]
} else {
    &[
        "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ",
        "USER",
    ]
};

/// How a wire to a child process is set up.
///
/// # Examples
///
/// ```
/// use fastmcp_transport::StdioWireConfig;
///
/// let mut config = StdioWireConfig::new("npx", ["-y", "@modelcontextprotocol/server-everything"])
///     .inherit([("PATH".into(), "/usr/bin".into()), ("TOKEN".into(), "secret".into())])
///     .env("LOG_LEVEL", "debug");
/// config.message_bytes = 1024 * 1024;
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct StdioWireConfig {
    /// The program: a path, or a name to be found in the `PATH` that the process gets.
    pub program: OsString,
    /// Its arguments. No shell reads them.
    pub args: Vec<OsString>,
    /// Its whole environment. Default empty: see [`Self::inherit`].
    pub env: BTreeMap<OsString, OsString>,
    /// The folder that it runs in. Default that of this process.
    pub directory: Option<PathBuf>,
    /// Bytes of one message, a line. A longer one from the process ends every request that is under
    /// way, since nobody knows which one it answered. Default 16 MiB.
    pub message_bytes: usize,
    /// How long the process may take to end by itself once its input is closed, and then once more
    /// after it was asked to. Default 2 s.
    pub grace: Duration,
    /// Where the tasks run that look after the process.
    pub tasks: TaskTracker,
}

impl StdioWireConfig {
    /// Starts `program` with `args`, without any environment.
    pub fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            directory: None,
            message_bytes: 16 * 1024 * 1024,
            grace: Duration::from_secs(2),
            tasks: TaskTracker::new(),
        }
    }

    /// Gives the process those of `variables` that every program needs ([`INHERITED`]), as the
    /// official SDKs do; a program hands in its own (`std::env::vars_os()`). Functions of a shell are
    /// passed over, and what was given before stays.
    #[must_use]
    pub fn inherit(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        for (name, value) in variables {
            let is_function = value.as_encoded_bytes().starts_with(b"()");
            if is_inherited(&name) && !is_function {
                self.env.entry(name).or_insert(value);
            }
        }
        self
    }

    /// Gives the process one variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Lets the process run in `directory`.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The program without the path to it, for messages and logs.
    pub(super) fn name(&self) -> String {
        let path = Path::new(&self.program);
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        #[cfg(unix)]
        command.process_group(0);
        command
    }
}

impl fmt::Debug for StdioWireConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments and values may be secrets.
        f.debug_struct("StdioWireConfig")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("directory", &self.directory)
            .field("message_bytes", &self.message_bytes)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

fn is_inherited(name: &OsStr) -> bool {
    INHERITED.iter().any(|inherited| {
        if cfg!(windows) {
            name.eq_ignore_ascii_case(inherited)
        } else {
            name == *inherited
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_inherited_and_nothing_secret_is_shown() {
        let variables = [
            ("PATH", "/bin"),
            ("HOME", "() { evil; }"),
            ("LANG", "C"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("LD_PRELOAD", "/evil.so"),
        ];
        let config = StdioWireConfig::new("/usr/bin/server", ["--token", "secret"])
            .env("LANG", "de")
            .env("TOKEN", "secret")
            .inherit(variables.map(|(name, value)| (name.into(), value.into())));
        let given: Vec<_> = config
            .env
            .iter()
            .map(|(n, v)| (n.to_str(), v.to_str()))
            .collect();
        assert_eq!(
            given,
            [("LANG", "de"), ("PATH", "/bin"), ("TOKEN", "secret")]
                .map(|(name, value)| (Some(name), Some(value)))
        );
        assert_eq!(config.name(), "server");
        assert!(!format!("{config:?}").contains("secret"));
    }
}
