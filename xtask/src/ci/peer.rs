//! Real peers: what others wrote, against our servers and before our client.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::Context as _;

use crate::{
    ci::{
        Run,
        node::Peers,
        process::{Stopwatch, run},
        server::Server,
    },
    house::{cargo, say},
};

const NEW: &str = "2026-07-28";
const OLD: &str = "2025-11-25";
/// One run of our client against one server.
const CLIENT_LIMIT: Duration = Duration::from_secs(120);
/// Below `e2e/`.
const EVERYTHING: &str = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
const FILESYSTEM: &str = "node_modules/@modelcontextprotocol/server-filesystem/dist/index.js";

/// What was built of ours.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) fastmcp: PathBuf,
    pub(crate) conformance_server: PathBuf,
    pub(crate) peer_client: PathBuf,
    /// A server on standard input and output.
    pub(crate) demo: PathBuf,
}

/// Runs every peer, each with its time.
///
/// # Errors
///
/// When one finds fault with us, or we with it.
pub(crate) fn peers(ci: &Run<'_>, ours: &Ours) -> anyhow::Result<()> {
    let peers = Peers::install(ci)?;
    let all = All { ci, peers, ours };
    for script in [
        "audit.mjs",
        "kills.mjs",
        "inspector.mjs",
        "mcpdo.mjs",
        "typescript-client.mjs",
    ] {
        timed(script, || all.script(script))?;
    }
    timed("build of peers/", || all.build_rust())?;
    timed("rmcp client", || all.rmcp_client())?;
    timed("TypeScript server", || all.typescript_server())?;
    timed("rmcp server", || all.rmcp_server())?;
    timed("server-everything", || all.everything())?;
    timed("server-filesystem", || all.filesystem())
}

fn timed(what: &str, body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    body().with_context(|| what.to_owned())?;
    say(&format!("{what}: {:.1} s", watch.elapsed().as_secs_f64()));
    Ok(())
}

struct All<'a> {
    ci: &'a Run<'a>,
    peers: Peers,
    ours: &'a Ours,
}

impl All<'_> {
    fn script(&self, script: &str) -> anyhow::Result<()> {
        let mut command = self.peers.script(script);
        command.arg("--binary").arg(&self.ours.fastmcp);
        command
            .arg("--conformance-server")
            .arg(&self.ours.conformance_server);
        command.arg("--stdio-server").arg(&self.ours.demo);
        run(&mut command, self.ci.limit)
    }

    /// A workspace of its own, so a folder of its own. Unoptimised: it is waited for, not measured.
    fn build_rust(&self) -> anyhow::Result<()> {
        let mut command = Command::new(cargo());
        command
            .current_dir(self.ci.house.root().join("peers"))
            .env("CARGO_TARGET_DIR", self.rust_target())
            .args(["build", "--locked"]);
        run(&mut command, self.ci.limit)
    }

    fn rust_target(&self) -> PathBuf {
        self.ci.house.target().join("peers")
    }

    fn rust(&self, program: &str) -> PathBuf {
        self.rust_target().join("debug").join(program)
    }

    fn logs(&self) -> PathBuf {
        self.ci.house.target().join("e2e")
    }

    fn rmcp_client(&self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.ours.conformance_server);
        command.args(["--bind", "127.0.0.1:0"]);
        let server = Server::start(&mut command, self.logs().join("conformance-server.log"))?;
        let mut client = Command::new(self.rust("rmcp-client"));
        client
            .arg(format!("http://127.0.0.1:{}/mcp", server.port()))
            .arg(&self.ours.demo);
        run(&mut client, self.ci.limit)
    }

    /// Our client on a server that has `what`.
    fn client(&self, what: &str) -> Command {
        let mut command = Command::new(&self.ours.peer_client);
        command.arg(what);
        command
    }

    /// Speaks `revision`, or whichever is newest, and over a program's input and output.
    fn on_stdio(&self, mut client: Command, program: &Command) -> anyhow::Result<()> {
        client
            .arg("--")
            .arg(program.get_program())
            .args(program.get_args());
        run(&mut client, CLIENT_LIMIT)
    }

    fn typescript_server(&self) -> anyhow::Result<()> {
        let script = "typescript-server.mjs";
        let log = self.logs().join("typescript-server.log");
        let server = Server::start(&mut self.peers.script(script), log)?;
        let url = format!("http://127.0.0.1:{}/mcp", server.port());
        let twin = || self.client("twin");
        let http = |mut client: Command| run(client.args(["--url", &url]), CLIENT_LIMIT);
        http(expecting(twin(), NEW))?;
        // It keeps no sessions, so of the old revision it cannot ask.
        http(unasked(speaking(twin(), OLD)))?;
        drop(server);
        let mut stdio = self.peers.script(script);
        stdio.arg("--stdio");
        self.on_stdio(expecting(twin(), NEW), &stdio)?;
        self.on_stdio(speaking(twin(), OLD), &stdio)
    }

    fn rmcp_server(&self) -> anyhow::Result<()> {
        let program = self.rust("rmcp-server");
        let log = self.logs().join("rmcp-server.log");
        let server = Server::start(&mut Command::new(&program), log)?;
        let url = format!("http://127.0.0.1:{}/mcp", server.port());
        let twin = || self.client("twin");
        let http = |mut client: Command| run(client.args(["--url", &url]), CLIENT_LIMIT);
        http(expecting(twin(), NEW))?;
        http(speaking(twin(), OLD))?;
        drop(server);
        let mut stdio = Command::new(&program);
        stdio.arg("--stdio");
        self.on_stdio(expecting(twin(), NEW), &stdio)?;
        self.on_stdio(speaking(twin(), OLD), &stdio)
    }

    /// It knows the old revision alone, over each of its three transports.
    fn everything(&self) -> anyhow::Result<()> {
        let client = || expecting(self.client("everything"), OLD);
        let mut stdio = self.peers.script(EVERYTHING);
        stdio.arg("stdio");
        self.on_stdio(client(), &stdio)?;
        for words in [
            &["list"][..],
            &["call", "echo", "message=hello"],
            &["inspect"],
        ] {
            let mut command = Command::new(&self.ours.fastmcp);
            command.args(words).arg("--").arg(stdio.get_program());
            run(command.args(stdio.get_args()), CLIENT_LIMIT)?;
        }
        for (transport, flag, path) in [("streamableHttp", "--url", "mcp"), ("sse", "--sse", "sse")]
        {
            let mut script = self.peers.script("everything.mjs");
            let log = self.logs().join(format!("everything-{transport}.log"));
            let server = Server::start(script.arg(transport), log)?;
            let url = format!("http://127.0.0.1:{}/{path}", server.port());
            run(client().args([flag, &url]), CLIENT_LIMIT)?;
        }
        Ok(())
    }

    fn filesystem(&self) -> anyhow::Result<()> {
        let folder = self.logs().join("files");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
        let mut client = expecting(self.client("filesystem"), OLD);
        client.arg("--folder").arg(&folder);
        let mut program = self.peers.script(FILESYSTEM);
        program.arg(&folder);
        self.on_stdio(client, &program)
    }
}

/// Whichever revision is newest, and it must be this one.
fn expecting(mut client: Command, revision: &str) -> Command {
    client.args(["--expect", revision]);
    client
}

/// This revision and no other.
fn speaking(client: Command, revision: &str) -> Command {
    let mut client = expecting(client, revision);
    client.args(["--revision", revision]);
    client
}

fn unasked(mut client: Command) -> Command {
    client.arg("--unasked");
    client
}
