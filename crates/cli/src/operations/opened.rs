//! The state of a gateway, opened beside it.

use std::{future::Future, path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use fastmcp_audit::Log;
use fastmcp_gateway::{
    config::part::StatePart,
    keys::Keys,
    manifest::Manifest,
    state::{
        Location, Options, SealedWith, Sight, State,
        act::Untold,
        label::LabelStore,
        ledger::Ledger,
        machine::Status,
        manifest::After,
        operation::{Filter, Report},
    },
};
use fastmcp_guard::clock::SystemClock;
use tokio::runtime::Runtime;

use super::{Which, settle::open_log};
use crate::place::Place;

/// The most operations that one question to the state answers. Source: [`Filter::limit`].
pub(super) const MOST: u32 = 500;
/// The keys that a gateway makes at its first start, without which its state cannot be read or its log written.
const KEYS: [&str; 3] = ["seal.key", "audit-signing.p8", "audit-salt.key"];

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime can be started")
}

fn look(runtime: &Runtime, location: &Location) -> anyhow::Result<Sight> {
    Ok(runtime.block_on(State::inspect(location, &SystemClock))?)
}

/// Whether there is a state, which must be of this version.
fn is_there(sight: &Sight) -> anyhow::Result<bool> {
    match sight.schema {
        Some(version) if version < sight.known => bail!(
            "the state is of schema version {version}, and this program brings it to {}, which a gateway of before that still runs would not \
             understand: start this version of the gateway first",
            sight.known
        ),
        Some(version) if version > sight.known => bail!(
            "the state is of schema version {version}, and this program knows {} and older: use the one that the gateway is of",
            sight.known
        ),
        schema => Ok(schema.is_some()),
    }
}

fn no_state(location: &Location) -> String {
    format!(
        "there is no state in `{location}`; name the gateway's data folder with --data-dir, or its database with DATABASE_URL"
    )
}

/// What the keys sealed of the state.
#[derive(Debug)]
pub(crate) enum Sealed {
    /// How much each of them did.
    Seen(Vec<SealedWith>),
    /// Nobody knows: there is no state where this command looks, or it is of another version. Says why.
    Unseen(String),
}

/// The open state, with what it was opened by.
pub(crate) struct Opened {
    runtime: Runtime,
    state: State,
    config: StatePart,
    keys: Keys,
}

impl Opened {
    /// Opens the state, works with it and closes it.
    pub(crate) fn with<T>(
        place: &Place,
        work: impl FnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let opened = Self::open(place)?;
        let ended = work(&opened);
        opened.wait(opened.state.close());
        ended
    }

    /// Whether a gateway has made its state there; refuses one that only a gateway brings up to date.
    pub(crate) fn exists(place: &Place) -> anyhow::Result<bool> {
        let config = place.state()?;
        is_there(&look(&runtime()?, &config.state)?)
    }

    fn open(place: &Place) -> anyhow::Result<Self> {
        let config = place.state()?;
        let runtime = runtime()?;
        // A look makes neither file nor tables.
        if !is_there(&look(&runtime, &config.state)?)? {
            bail!(no_state(&config.state));
        }
        // A key that is made now opens nothing that was sealed before.
        let found = Keys::inspect(config.data_dir())?;
        if let Some(missing) = KEYS
            .iter()
            .find(|name| !found.iter().any(|path| path.ends_with(name)))
        {
            bail!(
                "key `{missing}` of this state is not in `{}`; restore it from a backup, or name the gateway's data folder with --data-dir",
                config
                    .data_dir()
                    .join(fastmcp_gateway::keys::FOLDER)
                    .display()
            );
        }
        let keys = Keys::open(config.data_dir())?;
        let seal = Arc::new(keys.seal());
        let mut options = Options::new(config.state.clone(), seal, &config.audit.instance)
            .context("no gateway was started with this data folder yet")?;
        options.retention = config.idempotency_ttl;
        options.connections = 1;
        let state = runtime.block_on(State::open(options))?;
        Ok(Self {
            runtime,
            state,
            config,
            keys,
        })
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The data folder of the gateway.
    pub(crate) fn data_dir(&self) -> &Path {
        self.config.data_dir()
    }

    /// The audit log, unless a running gateway holds it.
    pub(crate) fn log(&self) -> anyhow::Result<Option<Log>> {
        open_log(&self.config.audit, &self.keys)
    }

    /// How much of the state each key sealed. Brings no state to another version.
    pub(crate) fn sealed_with(place: &Place) -> anyhow::Result<Sealed> {
        let config = place.state()?;
        let sight = look(&runtime()?, &config.state)?;
        match sight.schema {
            None => Ok(Sealed::Unseen(no_state(&config.state))),
            Some(version) if version != sight.known => Ok(Sealed::Unseen(format!(
                "the state in `{}` has the schema of version {version}, and this command reads that of version {}; \
                 restart the gateway with this version, or use the command of the gateway's",
                config.state, sight.known
            ))),
            Some(_) => Self::with(place, |opened| {
                Ok(Sealed::Seen(opened.wait(opened.ledger().sealed_with())?))
            }),
        }
    }

    /// Leaves an act to the running gateway, which records it.
    pub(crate) fn leave(&self, untold: Untold) -> anyhow::Result<()> {
        Ok(self.wait(self.state.acts().leave(untold))?)
    }

    pub(super) fn ledger(&self) -> &Ledger {
        self.state.ledger()
    }

    pub(crate) fn labels(&self) -> &dyn LabelStore {
        self.state.labels()
    }

    pub(super) fn list(
        &self,
        tenant: Option<&str>,
        status: Option<Status>,
        limit: u32,
    ) -> anyhow::Result<Vec<Report>> {
        Ok(self.wait(self.ledger().list(Filter {
            tenant: tenant.map(str::to_owned),
            status,
            limit,
        }))?)
    }

    /// Every registered manifest, of all tenants.
    pub(crate) fn manifests(&self) -> anyhow::Result<Vec<Manifest>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.wait(self.state.manifests().page(after.take(), MOST))?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = Some(After {
                tenant: last.manifest.tenant.clone(),
                tool_id: last.manifest.tool_id.clone(),
            });
            all.extend(page.into_iter().map(|registered| registered.manifest));
        }
    }

    /// The report on an operation, with what time has done to it since it last moved.
    pub(super) fn find(&self, which: &Which) -> anyhow::Result<Report> {
        let id = &which.id;
        let tenant = match &which.tenant {
            Some(tenant) => tenant.clone(),
            None => self.tenant(which)?,
        };
        match self.wait(self.ledger().report(&tenant, id))? {
            Some(report) => Ok(report),
            None => bail!("tenant `{tenant}` has no operation `{id}`"),
        }
    }

    /// The tenant of an operation: an id alone opens nothing, neither for callers nor here.
    fn tenant(&self, which: &Which) -> anyhow::Result<String> {
        for status in Status::ALL {
            let found = self
                .list(None, Some(status), MOST)?
                .into_iter()
                .find(|report| report.operation_id == which.id);
            if let Some(report) = found {
                return Ok(report.binding.tenant);
            }
        }
        bail!(
            "there is no operation `{}` among the newest {MOST} of each status; if it is older, name its tenant with --tenant",
            which.id
        )
    }
}
