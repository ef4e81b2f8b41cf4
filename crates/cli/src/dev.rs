//! `fastmcp dev`: a server is run while it is written.

mod watch;

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::Context as _;
use clap::Args;
use fastmcp::{Server, provider::SourceId};
use tokio::{process::Command, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::watch::{Stamps, Watched};
use crate::{
    Outcome,
    declared::Transport,
    definition::Definition,
    front,
    output::{self, Usage, printable},
    reach::{self, Ready, failed},
    run::{Endpoint, Listen},
    surroundings::Surroundings,
    target::{Found, Reach, Servers, plain_name},
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(400);
/// The inspector that is started; one that is known to work with this command.
const INSPECTOR: &str = "@modelcontextprotocol/inspector@2.12.0";

/// Run a server while it is written: built and started anew on every change
///
/// A front stands before it, so that clients stay connected: they hear that its lists changed. When it does not build or
/// does not start, the last good one goes on, and the compiler says why. The server speaks on standard input and output.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp dev                                          the package of this folder, at http://127.0.0.1:8000/mcp
  fastmcp dev --inspector                              and the MCP inspector beside it
  fastmcp dev --transport stdio                        for a client that starts processes
  fastmcp dev --watch src -- node server.js            a command; started anew when files below src change

Targets: `fastmcp list --help`.")]
pub(crate) struct Dev {
    /// Which server; without one it is the working folder
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// A command that speaks MCP on its standard input and output
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// How the front is reached
    #[arg(short, long, value_name = "TRANSPORT", default_value = "http")]
    transport: Transport,
    #[command(flatten)]
    listen: Listen,
    /// A further folder or file whose changes count, whatever the files are; may be repeated
    #[arg(short, long, value_name = "PATH")]
    watch: Vec<PathBuf>,
    /// Start the MCP inspector too, by npx
    #[arg(long)]
    inspector: bool,
    #[command(flatten)]
    reach: Reach,
}

/// What is built and started again and again.
struct Bench {
    name: String,
    definition: Definition,
    around: Surroundings,
    tasks: TaskTracker,
    silence: Duration,
}

impl Dev {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let around = Surroundings::of_process()?;
        let found = self
            .reach
            .find(self.target.as_deref(), &self.command, &around)?;
        reach::log("warn", self.reach.verbose)?;
        if self.inspector && self.transport == Transport::Stdio {
            return Err(Usage::new(
                "--inspector: the inspector connects over HTTP; leave out --transport stdio",
            ));
        }
        let Servers::One(definition @ (Definition::Process(_) | Definition::Project(_))) =
            &found.servers
        else {
            return Err(Usage::new(
                "what is developed is a package or a command; `fastmcp run` serves the rest",
            ));
        };
        let definition = definition.clone();
        reach::run_to_end(|tasks| {
            let bench = Bench {
                name: plain_name(found.name.as_deref().unwrap_or("server")),
                definition,
                around,
                tasks,
                silence: self.reach.timeout(),
            };
            Box::pin(self.develop(found, bench))
        })
    }

    async fn develop(self, found: Found, bench: Bench) -> anyhow::Result<Outcome> {
        let endpoint = match self.transport {
            Transport::Http => Some(self.listen.bind(&found.deployment).await?),
            Transport::Stdio => None,
        };
        let watched = self.watched(&bench).await?;
        let mut stamps = watched.look().await?;
        let server =
            reach::unless_interrupted(Box::pin(first(&bench, &watched, &mut stamps))).await?;
        server
            .end_on_signals()
            .map_err(|error| failed("signals cannot be taken", &error))?;
        let mut inspector = None;
        if let Some(endpoint) = &endpoint {
            let url = endpoint.url()?;
            output::say(&format!("listening on {url}"))?;
            if self.inspector {
                inspector = Some(inspect(&url, server.shutdown().clone())?);
            }
        }
        output::complain("changes are built as they come; ctrl-c ends it");
        let serving = Box::pin(serve(&server, endpoint));
        let following = Box::pin(follow(&bench, &server, &watched, stamps));
        let outcome = tokio::select! {
            served = serving => served,
            failed = following => failed,
        };
        if let Some(inspector) = inspector {
            inspector
                .await
                .context("the inspector cannot be waited for")?;
        }
        outcome?;
        Ok(Outcome::Passed)
    }

    async fn watched(&self, bench: &Bench) -> anyhow::Result<Watched> {
        let folders = match &bench.definition {
            Definition::Project(project) => project.sources().await?,
            Definition::Process(process) if self.watch.is_empty() => {
                vec![
                    process
                        .folder
                        .clone()
                        .unwrap_or_else(|| bench.around.folder.clone()),
                ]
            }
            _ => Vec::new(),
        };
        let named = self
            .watch
            .iter()
            .map(|path| bench.around.absolute(path))
            .collect();
        Watched::new(folders, named)
    }
}

async fn serve(server: &Server, endpoint: Option<Endpoint>) -> anyhow::Result<()> {
    match endpoint {
        Some(endpoint) => endpoint.serve(server).await,
        None => server
            .serve_stdio()
            .await
            .map_err(|error| failed("standard input and output", &error)),
    }
}

/// The first that builds and starts; until then, changes are waited for.
async fn first(bench: &Bench, watched: &Watched, stamps: &mut Stamps) -> anyhow::Result<Server> {
    loop {
        match bench.ready().await {
            Ok(ready) => match Box::pin(front::of_one(&bench.name, ready, bench.silence)).await {
                Ok(server) => return Ok(server),
                Err(error) => output::complain(&output::told(&error)),
            },
            Err(error) => output::complain(&output::told(&error)),
        }
        output::complain("a change is waited for");
        *stamps = changed(watched, stamps).await?;
    }
}

/// Builds what changes, and puts it in the place of what was there.
async fn follow(
    bench: &Bench,
    server: &Server,
    watched: &Watched,
    mut stamps: Stamps,
) -> anyhow::Result<()> {
    let mut current = server.providers().first().map(|status| status.id);
    loop {
        stamps = changed(watched, &stamps).await?;
        match Box::pin(bench.replace(server, current)).await {
            Ok(id) => {
                current = Some(id);
                output::complain("the new one is served");
            }
            Err(error) => output::complain(&format!(
                "{}; the last good one goes on",
                output::told(&error)
            )),
        }
    }
}

impl Bench {
    async fn ready(&self) -> anyhow::Result<Ready> {
        Ready::of(self.definition.clone(), &self.around, &self.tasks).await
    }

    /// Takes the old one away only when the new one is there.
    async fn replace(&self, server: &Server, old: Option<SourceId>) -> anyhow::Result<SourceId> {
        let ready = self.ready().await?;
        let fresh = front::source(&self.name, ready, self.silence).await?;
        if let Some(old) = old {
            server
                .remove_provider(old)
                .map_err(|error| failed("the old one cannot be taken away", &error))?;
        }
        let added = server.add_provider(fresh).await;
        added.map_err(|error| failed("the new one cannot be shown", &error))
    }
}

/// Waits until something changed, and nothing does any more: editors and tools write in several steps.
async fn changed(watched: &Watched, before: &Stamps) -> anyhow::Result<Stamps> {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Stamps> = None;
    loop {
        ticks.tick().await;
        let now = watched.look().await?;
        if last.as_ref() == Some(&now) {
            if let Some(path) = now.first_difference(before) {
                output::complain(&format!(
                    "{} changed",
                    printable(&path.display().to_string())
                ));
            }
            return Ok(now);
        }
        last = (now != *before).then_some(now);
    }
}

/// Starts the inspector; it ends with the server.
fn inspect(
    url: &str,
    shutdown: CancellationToken,
) -> anyhow::Result<impl Future<Output = std::io::Result<()>> + use<>> {
    let npx = if cfg!(windows) { "npx.cmd" } else { "npx" };
    let mut child = Command::new(npx)
        .args(["-y", INSPECTOR, "--transport", "http", "--protocol-era", "auto", "--server-url", url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("npx cannot be started; it comes with Node.js (https://nodejs.org). Without --inspector nothing of it is needed")?;
    Ok(async move {
        tokio::select! {
            () = shutdown.cancelled() => child.kill().await,
            ended = child.wait() => ended.map(drop),
        }
    })
}
