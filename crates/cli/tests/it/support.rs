//! What the tests of the gateway share: a home of its own for each of them, the built binary as a child process, and
//! the audit log as it lies on the disk.

mod client;
mod mcp;
mod sample;

use std::{
    fs::{self, File},
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::{MissedTickBehavior, interval, timeout},
};

pub(crate) use client::{Ask, Events, Reply};
pub(crate) use mcp::{Legacy, accept, can_be_asked, decline, modern};
pub(crate) use sample::Sample;

/// How long anything that is waited for may take. Far more than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// Serves on any free port.
const SERVE: [&str; 3] = ["serve", "--bind", "127.0.0.1:0"];
/// How often something is looked at that cannot be waited for.
const LOOK: Duration = Duration::from_millis(20);

/// The built binary.
pub(crate) const PATH: &str = env!("CARGO_BIN_EXE_fastmcp");

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code; -1 where a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What it said to scripts.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Waits for `future`, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Looks until `look` gives something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    within(what, async {
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    })
    .await
}

/// Waits out the last minute of a day (UTC): what counts or files by the day would begin anew within a test.
pub(crate) async fn not_at_midnight() {
    const DAY: u64 = 86_400;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let second = now.as_secs() % DAY;
    if second >= DAY - 60 {
        tokio::time::sleep(Duration::from_secs(DAY - second)).await;
    }
}

/// A folder that outlives the processes that use it.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The working folder of every process.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `--data-dir` names.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// The policies in force.
    pub(crate) fn policies(&self) -> PathBuf {
        self.data().join("policies.yml")
    }

    /// The binary, with `arguments` and the data folder.
    pub(crate) fn fastmcp(&self, arguments: &[&str], vars: &[(&str, &str)]) -> Command {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_fastmcp")), vars);
        command.args(arguments).arg("--data-dir").arg(self.data());
        command
    }

    /// A program, in an environment that holds nothing of the developer's own.
    fn command(&self, program: &Path, vars: &[(&str, &str)]) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.folder())
            .envs(vars.iter().copied())
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str], vars: &[(&str, &str)]) -> Output {
        let what = arguments.join(" ");
        within(&what, self.fastmcp(arguments, vars).output())
            .await
            .unwrap()
    }

    /// Runs a command that has no data folder to its end.
    pub(crate) async fn say(&self, arguments: &[&str]) -> Said {
        self.say_with(arguments, &[]).await
    }

    /// As [`Self::say`], with `vars` on top.
    pub(crate) async fn say_with(&self, arguments: &[&str], vars: &[(&str, &str)]) -> Said {
        let what = arguments.join(" ");
        let mut command = self.plain(arguments, vars);
        Said::of(within(&what, command.output()).await.unwrap())
    }

    /// The binary, with `arguments` alone.
    pub(crate) fn plain(&self, arguments: &[&str], vars: &[(&str, &str)]) -> Command {
        let mut command = self.command(Path::new(PATH), vars);
        command.args(arguments);
        command
    }

    /// Runs a program of the working folder by a shell to its end. It finds the binary by the variable FASTMCP.
    pub(crate) async fn shell(&self, arguments: &[&str], vars: &[(&str, &str)]) -> Said {
        let mut command = self.command(Path::new("/bin/sh"), vars);
        command.env("FASTMCP", PATH).args(arguments);
        let output = within(&arguments.join(" "), command.output()).await;
        Said::of(output.unwrap())
    }

    /// Writes a file of the working folder.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Mints a token; `rest` are further arguments of `token mint`.
    pub(crate) async fn mint(&self, subject: &str, rest: &[&str]) -> String {
        let arguments = [&["token", "mint", "--sub", subject], rest].concat();
        let output = self.run(&arguments, &[]).await;
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "token mint: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let token = stdout.strip_suffix('\n').unwrap_or(&stdout);
        assert!(
            !token.contains(char::is_whitespace),
            "the token alone stands on stdout: `{stdout}`"
        );
        token.to_owned()
    }

    /// Mints a token for a subject with one role.
    pub(crate) async fn role(&self, subject: &str, role: &str) -> String {
        self.mint(subject, &["--role", role]).await
    }

    /// Starts a gateway whose limits are out of the way.
    pub(crate) async fn start(&self) -> Gateway {
        self.start_with(&[]).await
    }

    /// Starts a gateway with `vars` on top.
    pub(crate) async fn start_with(&self, vars: &[(&str, &str)]) -> Gateway {
        self.listen(self.fastmcp(&SERVE, vars), vars).await
    }

    /// Starts a gateway that listens at every address of the machine, and is reached by loopback.
    pub(crate) async fn start_beyond_loopback(&self, vars: &[(&str, &str)]) -> Gateway {
        let command = self.fastmcp(&["serve", "--bind", "0.0.0.0:0"], vars);
        let mut gateway = self.listen(command, vars).await;
        gateway.address.set_ip(Ipv4Addr::LOCALHOST.into());
        gateway
    }

    /// Starts a gateway whose files cannot grow beyond `blocks` of 512 bytes, as if the disk were full.
    pub(crate) async fn start_on_a_small_disk(&self, blocks: u32) -> Gateway {
        let mut shell = self.command(Path::new("/bin/sh"), &[]);
        // Ignored, the signal of the limit becomes an error of the write. Source: setrlimit(2), RLIMIT_FSIZE.
        shell
            .arg("-c")
            .arg(format!(
                "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""
            ))
            .arg(env!("CARGO_BIN_EXE_fastmcp"))
            .args(SERVE)
            .arg("--data-dir")
            .arg(self.data());
        self.listen(shell, &[]).await
    }

    async fn listen(&self, mut command: Command, vars: &[(&str, &str)]) -> Gateway {
        let log = self.folder().join("stderr.log");
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let roomy = [
            ("RATE_LIMIT_DEFAULT_RPS", "1000"),
            ("RATE_BUCKET_BURST", "1000"),
        ];
        let given = |name: &str| vars.iter().any(|(var, _)| *var == name);
        command.envs(roomy.into_iter().filter(|(name, _)| !given(name)));
        let mut child = command.stderr(stderr).spawn().unwrap();
        let mut banner = Banner::new(child.stdout.take().unwrap());
        let listening = within("listening", banner.listening()).await;
        let told = || fs::read_to_string(&log).unwrap_or_default();
        let address = listening
            .unwrap_or_else(|| panic!("no `listening on` line:\n{}\n{}", banner.seen, told()));
        Gateway {
            address,
            child,
            banner,
            log,
        }
    }

    /// The audit log, file by file, in the order of the records.
    pub(crate) fn audit_files(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.data().join("audit")) else {
            return Vec::new();
        };
        let mut files: Vec<_> = entries
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "jsonl"))
            .collect();
        files.sort();
        files
    }

    /// The first file of the audit log that holds `text`. There are two where a day ended meanwhile.
    pub(crate) fn audit_file(&self, text: &str) -> PathBuf {
        let holds = |file: &PathBuf| fs::read_to_string(file).unwrap().contains(text);
        let found = self.audit_files().into_iter().find(holds);
        found.unwrap_or_else(|| panic!("`{text}` is nowhere in the audit log"))
    }

    /// Every whole record of the audit log.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let mut records: Vec<Value> = Vec::new();
        for file in self.audit_files() {
            let text = fs::read_to_string(file).unwrap();
            // The last line may be half written while the gateway runs.
            records.extend(
                text.split_inclusive('\n')
                    .filter(|l| l.ends_with('\n'))
                    .map(|l| serde_json::from_str(l).unwrap()),
            );
        }
        records.sort_by_key(|r| r["seq"].as_u64());
        records
    }

    /// The records of one request.
    pub(crate) fn audit_of(&self, corr_id: &str) -> Vec<Value> {
        self.audit()
            .into_iter()
            .filter(|r| r["corr_id"] == corr_id)
            .collect()
    }

    /// Runs `audit verify`: whether it passed, and all that it said.
    pub(crate) async fn verify(&self) -> (bool, String) {
        let output = self.run(&["audit", "verify"], &[]).await;
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }
}

/// What a gateway prints.
#[derive(Debug)]
struct Banner {
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
    seen: String,
}

impl Banner {
    fn new(stdout: ChildStdout) -> Self {
        Self {
            lines: BufReader::new(stdout).lines(),
            seen: String::new(),
        }
    }

    /// The address it listens on; `None` when it ends without one.
    async fn listening(&mut self) -> Option<SocketAddr> {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            self.seen.push_str(&line);
            self.seen.push('\n');
            if let Some((_, rest)) = line
                .split_once("listening on http://")
                .or_else(|| line.split_once("listening on https://"))
            {
                let address = rest
                    .split(|c: char| c.is_whitespace() || c == '/')
                    .next()
                    .unwrap();
                return Some(address.parse().unwrap());
            }
        }
        None
    }
}

/// A running gateway. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    child: Child,
    banner: Banner,
    log: PathBuf,
}

impl Gateway {
    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it wrote to stderr.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The rest of its banner, once it has ended.
    pub(crate) async fn banner(&mut self) -> String {
        let mut rest = String::new();
        within(
            "stdout",
            self.banner.lines.get_mut().read_to_string(&mut rest),
        )
        .await
        .unwrap();
        format!("{}{rest}", self.banner.seen)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        Pid::from_raw(id).unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        within("the end of the gateway", self.child.wait())
            .await
            .unwrap()
    }

    /// Asks it to end, and checks that it did so properly.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.ended().await;
        assert!(status.success(), "{status}");
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(mut self) {
        within("kill", self.child.kill()).await.unwrap();
    }
}

impl Drop for Gateway {
    #[expect(clippy::print_stderr, reason = "what a failing test shows")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- stderr of the gateway ---\n{}\n---", self.stderr());
        }
    }
}
