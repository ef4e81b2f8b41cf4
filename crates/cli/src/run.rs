//! `fastmcp run`: a server is run, as it is or behind a front.

mod http;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
};

use anyhow::Context as _;
use clap::Args;
use fastmcp::{
    Server,
    transport::{StdioWireConfig, http::AllowedHosts},
};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::{
    Outcome,
    declared::{self, Deployment, Transport},
    definition::Definition,
    front,
    output::{self, Usage, printable},
    reach::{self, Ready, failed},
    surroundings::Surroundings,
    target::{Found, Reach, Servers, plain_name},
};

/// The port where none is named.
const PORT: u16 = 8_000;

/// Run a server, or put one in front of others
///
/// On standard input and output, a package or command is started as it is. Everything else is a front: over HTTP, for a
/// server at an address, and for the servers of an `mcpServers` file, which become one whose tools are called NAME_TOOL.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp run                                          build the package of this folder and run it
  fastmcp run --transport http --port 9000             the same, over HTTP
  fastmcp run mcp.json                                 all servers of a file as one
  fastmcp run https://mcp.example.com/mcp --oauth      a bridge for clients that start processes
  fastmcp run -t http -- npx -y @modelcontextprotocol/server-everything
  fastmcp run --print-schema > fastmcp.schema.json     what fastmcp.json may say, for editors

A front asks nobody who they are: beyond this machine, put `fastmcp serve` in front. Targets: `fastmcp list --help`.")]
pub(crate) struct Run {
    /// Which server; without one it is the working folder
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// A command that speaks MCP on its standard input and output
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// How the server is reached [default: stdio]
    #[arg(short, long, value_name = "TRANSPORT")]
    transport: Option<Transport>,
    #[command(flatten)]
    listen: Listen,
    /// What is logged on standard error: error, warn, info, debug or trace [default: warn]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Print what fastmcp.json may say as a JSON Schema, and run nothing
    #[arg(long, exclusive = true)]
    print_schema: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Where HTTP is served.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Listen {
    /// HTTP: the address to listen at [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// HTTP: the port; 0 stands for any that is free [default: 8000]
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// HTTP: the path of the endpoint [default: /mcp]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// HTTP: a name by which the server may be addressed, beside those of this machine
    #[arg(long = "allowed-host", value_name = "NAME")]
    allowed_hosts: Vec<String>,
}

/// Where HTTP is served, checked.
pub(crate) struct Endpoint {
    listener: TcpListener,
    path: String,
    hosts: AllowedHosts,
}

impl Run {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        if self.print_schema {
            output::say_json(&declared::schema())?;
            return Ok(Outcome::Passed);
        }
        let around = Surroundings::of_process()?;
        let found = self
            .reach
            .find(self.target.as_deref(), &self.command, &around)?;
        let level = self
            .log_level
            .as_deref()
            .or(found.deployment.log_level.as_deref());
        reach::log(level.unwrap_or("warn"), self.reach.verbose)?;
        let transport = self
            .transport
            .or(found.deployment.transport)
            .unwrap_or(Transport::Stdio);
        match (transport, &found.servers) {
            (
                Transport::Stdio,
                Servers::One(definition @ (Definition::Process(_) | Definition::Project(_))),
            ) => as_it_is(definition.clone(), &around),
            _ => reach::run_to_end(|tasks| Box::pin(self.serve(found, transport, around, tasks))),
        }
    }

    async fn serve(
        self,
        found: Found,
        transport: Transport,
        around: Surroundings,
        tasks: TaskTracker,
    ) -> anyhow::Result<Outcome> {
        let told = found.told();
        let deployment = found.deployment.clone();
        let endpoint = match transport {
            Transport::Http => Some(self.listen.bind(&deployment).await?),
            Transport::Stdio => None,
        };
        let server =
            reach::unless_interrupted(Box::pin(self.front(found, &around, &tasks))).await?;
        server
            .end_on_signals()
            .map_err(|error| failed("signals cannot be taken", &error))?;
        match endpoint {
            Some(endpoint) => {
                output::say(&format!("listening on {}", endpoint.url()?))?;
                output::complain(&format!("serving {told}; ctrl-c ends it"));
                endpoint.serve(&server).await?;
            }
            None => server
                .serve_stdio()
                .await
                .map_err(|error| failed("standard input and output", &error))?,
        }
        Ok(Outcome::Passed)
    }

    async fn front(
        &self,
        found: Found,
        around: &Surroundings,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Server> {
        let name = plain_name(found.name.as_deref().unwrap_or("fastmcp"));
        let silence = self.reach.timeout();
        match found.servers {
            Servers::One(definition) => {
                let ready = Ready::of(definition, around, tasks).await?;
                front::of_one(&name, ready, silence).await
            }
            Servers::Many(servers) => {
                let mut all = Vec::new();
                for (name, definition) in servers {
                    let ready = Ready::of(definition, around, tasks).await;
                    all.push((
                        name.clone(),
                        ready.with_context(|| format!("server `{}`", printable(&name)))?,
                    ));
                }
                let front = front::of_many(&name, all, silence)?;
                front
                    .start()
                    .await
                    .map_err(|error| failed("the servers cannot be started", &error))?;
                reach::tell_failures(&front);
                Ok(front)
            }
        }
    }
}

impl Listen {
    /// Listens where the command line says, else where the file does.
    pub(crate) async fn bind(&self, deployment: &Deployment) -> anyhow::Result<Endpoint> {
        let host = self
            .host
            .as_deref()
            .or(deployment.host.as_deref())
            .unwrap_or("127.0.0.1");
        let address: IpAddr = match host {
            "localhost" => Ipv4Addr::LOCALHOST.into(),
            host => host.parse().map_err(|_| {
                Usage::new(format!(
                    "--host: `{}` is no address; give 127.0.0.1 or ::1",
                    printable(host)
                ))
            })?,
        };
        let names: Vec<_> = self
            .allowed_hosts
            .iter()
            .chain(&deployment.allowed_hosts)
            .collect();
        if !address.is_loopback() && names.is_empty() {
            return Err(Usage::new(format!(
                "`{address}` can be reached from other machines, and a front asks nobody who they are; if that is what \
                 you want, name the host by which it may be addressed with --allowed-host, else put `fastmcp serve` in front"
            )));
        }
        let path = self
            .path
            .as_deref()
            .or(deployment.path.as_deref())
            .unwrap_or("/mcp");
        if !path.starts_with('/') || path.contains(['?', '#', ' ']) {
            return Err(Usage::new("--path: give a path such as /mcp"));
        }
        let address = SocketAddr::new(address, self.port.or(deployment.port).unwrap_or(PORT));
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen at {address}; name another port with --port")
        })?;
        let hosts = names
            .into_iter()
            .fold(AllowedHosts::default(), |hosts, name| {
                hosts.allow_host(name)
            });
        Ok(Endpoint {
            listener,
            path: path.to_owned(),
            hosts,
        })
    }
}

/// Starts the server in place of this process, so that nothing stands between it and who speaks with it.
fn as_it_is(definition: Definition, around: &Surroundings) -> anyhow::Result<Outcome> {
    let ready = reach::run(|tasks| async move { Ready::of(definition, around, &tasks).await })?;
    match ready {
        Ready::Process(config) => become_process(&config),
        Ready::Remote { .. } => Err(Usage::new("an address is no process")),
    }
}

fn process(config: &StdioWireConfig) -> Command {
    let mut command = Command::new(&config.program);
    command.args(&config.args).env_clear().envs(&config.env);
    if let Some(folder) = &config.directory {
        command.current_dir(folder);
    }
    command
}

#[cfg(unix)]
fn become_process(config: &StdioWireConfig) -> anyhow::Result<Outcome> {
    use std::os::unix::process::CommandExt as _;
    let error = process(config).exec();
    Err(error).with_context(|| format!("`{}` cannot be started", config.program.display()))
}

#[cfg(not(unix))]
fn become_process(config: &StdioWireConfig) -> anyhow::Result<Outcome> {
    let ended = process(config)
        .status()
        .with_context(|| format!("`{}` cannot be started", config.program.display()))?;
    Ok(if ended.success() {
        Outcome::Passed
    } else {
        Outcome::Failed
    })
}
