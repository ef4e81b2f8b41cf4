//! `fastmcp serve`: the gateway.

mod banner;
mod signal;

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use fastmcp_gateway::{
    app::App,
    config::{Config, Loaded, Transport},
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::signal::Signals;
use crate::{Outcome, logging, output, place::Place};

/// Start the gateway: MCP and REST over one set of governed tools
///
/// Nothing need be set up: keys, state, a sample database, a folder for files and a default policy are made in the data
/// folder, and it listens on loopback alone. Settings come from fastmcp.yaml, then .env, then the environment, then
/// flags; `--print-config` shows each one with its source.
///
/// SIGTERM or ctrl-c lets running calls finish, SIGHUP loads policy, limits, API keys and certificates anew
/// (as does a change of their files).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp serve                                     on http://127.0.0.1:8000
  fastmcp serve --bind 127.0.0.1:0                  on any free port; the first line says which
  fastmcp serve --stdio --role data-analyst         for one local MCP client
  JWT_ISSUER=https://idp.example.com JWT_JWKS_URL=https://idp.example.com/jwks.json fastmcp serve --bind 0.0.0.0:8000")]
pub(crate) struct Serve {
    /// Address to listen at; beyond loopback it takes the keys of an identity provider [default: 127.0.0.1:8000;
    /// variables HOST, PORT]
    #[arg(long, value_name = "ADDR:PORT")]
    bind: Option<SocketAddr>,
    /// Speak MCP on standard input and output instead, with one local client [variable TRANSPORT=stdio]
    #[arg(long, conflicts_with = "bind")]
    stdio: bool,
    /// With --stdio: a role of the local client; may be repeated. Without one it may call nothing
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Show each setting with its value and source, secrets left out, and start nothing
    #[arg(long)]
    print_config: bool,
    /// With --print-config: as JSON
    #[arg(long, requires = "print_config")]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl Serve {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        if self.print_config {
            let loaded = self.place.preview(self.bind)?;
            return print_config(&loaded, self.json);
        }
        let Loaded {
            config, warnings, ..
        } = self.place.load(self.bind)?;
        logging::install(&config)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("no threads can be started")?;
        let is_stdio = self.stdio || config.transport == Transport::Stdio;
        runtime.block_on(async {
            if is_stdio {
                over_stdio(&config, self.roles).await
            } else {
                over_http(&config, &self.place).await
            }
        })?;
        // A read of stdin cannot be cancelled; the process does not wait for it.
        runtime.shutdown_background();
        Ok(Outcome::Passed)
    }
}

async fn over_http(config: &Config, place: &Place) -> anyhow::Result<()> {
    // From here on a signal waits for its turn instead of ending the process.
    let signals = Signals::listen()?;
    let app = App::open(config).await?;
    let shutdown = CancellationToken::new();
    let work = async {
        let served = listen_and_serve(&app, config, place, &shutdown).await;
        // Closed whatever happened: what was recorded must reach the disk.
        let closed = app.close().await;
        let finished = served?;
        closed?;
        if !finished {
            tracing::warn!("some calls did not finish within the grace period");
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = work => done,
        never = signals.obey(&app, &shutdown) => match never {},
    }
}

async fn listen_and_serve(
    app: &App,
    config: &Config,
    place: &Place,
    shutdown: &CancellationToken,
) -> anyhow::Result<bool> {
    let bind = config.bind;
    let listener = TcpListener::bind(bind)
        .await
        .with_context(|| format!("cannot listen at {bind}; name another address with --bind"))?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let banner = banner::Banner {
        config,
        place,
        address,
    }
    .to_string();
    if let Err(error) = output::say(&banner) {
        tracing::warn!(
            error = output::told(&error),
            "stdout is gone; serving all the same"
        );
    }
    tracing::info!(%address, instance = config.instance, "listening");
    Ok(app.serve(listener, shutdown.clone()).await?)
}

async fn over_stdio(config: &Config, roles: Vec<String>) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let app = App::open(config).await?;
    if roles.is_empty() {
        tracing::warn!("no --role was given: the local client may call nothing");
    }
    let shutdown = CancellationToken::new();
    let work = async {
        let served = app.serve_stdio(roles, shutdown.clone()).await;
        let closed = app.close().await;
        served?;
        Ok(closed?)
    };
    tokio::select! {
        done = work => done,
        never = signals.obey(&app, &shutdown) => match never {},
    }
}

fn print_config(loaded: &Loaded, as_json: bool) -> anyhow::Result<Outcome> {
    if as_json {
        let settings: Vec<_> = loaded
            .settings
            .iter()
            .map(|setting| json!({"name": setting.name, "value": setting.value, "source": setting.source.to_string()}))
            .collect();
        output::say_json(&json!({"settings": settings, "warnings": loaded.warnings}))?;
        return Ok(Outcome::Passed);
    }
    let rows: Vec<_> = loaded
        .settings
        .iter()
        .map(|setting| {
            let value = if setting.value.is_empty() {
                "-".to_owned()
            } else {
                output::printable(&setting.value)
            };
            vec![setting.name.clone(), value, setting.source.to_string()]
        })
        .collect();
    output::say(&output::table(&rows))?;
    loaded
        .warnings
        .iter()
        .for_each(|warning| output::complain(warning));
    Ok(Outcome::Passed)
}
