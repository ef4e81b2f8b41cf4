//! A server under test: started, asked for its address, killed when its stage is over.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::ci::process::show;

/// What a server prints once it accepts connections; the address follows.
const BANNER: &str = "listening on http://";
/// How long it may take to print that.
const START: Duration = Duration::from_secs(30);
/// The longest line of output that is read at once, in bytes; a longer one is cut in pieces.
const LINE: u64 = 16 * 1024;
/// How many characters of its output an error shows.
const TAIL: usize = 4000;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Server {
    /// Starts `command` and waits for its banner. Its output goes to the file `log`.
    ///
    /// # Errors
    ///
    /// When it cannot start, leaves, or prints no banner in time.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> anyhow::Result<Self> {
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        let shown = show(command);
        let output =
            File::create(&log).with_context(|| format!("cannot create `{}`", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let (found, address) = sync_channel(2);
        if let Some(stdout) = child.stdout.take() {
            drain(
                stdout,
                output.try_clone().context("cannot share the log")?,
                found.clone(),
            );
        }
        if let Some(stderr) = child.stderr.take() {
            drain(stderr, output, found);
        }
        let mut server = Self {
            child,
            port: 0,
            log,
        };
        server.port = server
            .banner(&address)
            .with_context(|| format!("`{shown}`"))?;
        Ok(server)
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it printed.
    pub(crate) fn log(&self) -> String {
        tail(&self.log)
    }

    // Both readers hang up when the server leaves, so that waiting ends at once then.
    fn banner(&mut self, address: &Receiver<u16>) -> anyhow::Result<u16> {
        match address.recv_timeout(START) {
            Ok(port) => Ok(port),
            Err(error) => bail!(
                "printed no `{BANNER}...` ({error}); its output ends with\n{}",
                self.log()
            ),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have left already; either way nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies one stream to the log and reports the port of every banner.
fn drain(stream: impl Read + Send + 'static, mut log: File, found: SyncSender<u16>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while let Ok(1..) = reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
            // The log is for people: a full disk must not stop the server under test.
            let _ = log.write_all(&line);
            if let Some(port) = port(&String::from_utf8_lossy(&line)) {
                // The first address is taken; a second one finds no place.
                let _ = found.try_send(port);
            }
            line.clear();
        }
    });
}

/// The port in a line like `listening on http://127.0.0.1:43117`.
fn port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once(BANNER)?;
    let authority = rest
        .split(|c: char| c == '/' || c == '"' || c.is_whitespace())
        .next()?;
    authority.rsplit_once(':')?.1.parse().ok()
}

fn tail(log: &Path) -> String {
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let skipped = text.chars().count().saturating_sub(TAIL);
    text.chars().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Server, port};

    #[test]
    fn the_port_is_read_from_the_banner() {
        assert_eq!(port("listening on http://127.0.0.1:43117"), Some(43117));
        assert_eq!(
            port("INFO  listening on http://[::1]:80/mcp era=both\n"),
            Some(80)
        );
        assert_eq!(
            port(r#"{"message":"listening on http://127.0.0.1:9"}"#),
            Some(9)
        );
        assert_eq!(port("listening on http://127.0.0.1:99999"), None);
        assert_eq!(port("listening on http://example.com"), None);
        assert_eq!(port("nothing"), None);
    }

    #[test]
    fn a_server_is_found_and_killed() {
        let script =
            "echo starting; echo 'listening on http://127.0.0.1:4711' >&2; exec tail -f /dev/null";
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(
            Command::new("sh").args(["-c", script]),
            folder.path().join("logs/server.log"),
        )
        .expect("starts");
        assert_eq!(server.port(), 4711);
        drop(server);
    }

    #[test]
    fn a_server_that_leaves_is_reported_with_its_output() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Server::start(
            Command::new("sh").args(["-c", "echo boom >&2; exit 1"]),
            folder.path().join("logs/server.log"),
        )
        .expect_err("has left");
        assert!(format!("{error:#}").contains("boom"), "{error:#}");
    }
}
